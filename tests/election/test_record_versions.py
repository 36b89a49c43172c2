"""Leader records of other versions: unknown fields do no harm, and what cannot be read is respected all the same."""

from __future__ import annotations

import json

import pytest

from slurp_leader.election import LeaderRecord, Reason
from slurp_leader.store import Put
from support.electing import KEYS, OPTIONS, leader_key, node
from support.virtual import World

LATER = {"node": "z", "session": "s", "term": "t", "ttl": 30, "epoch": 7, "zone": {"of": ["a", "later", "version"]}}


def hold(world: World, record: object) -> int:
    """A holder of another version has the key. Returns its token."""
    value = record if isinstance(record, bytes) else json.dumps(record).encode()
    world.apply(Put(KEYS.epoch, b"7"))
    token: int = world.apply(Put(KEYS.leader, value)).header.revision
    return token


def test_unknown_fields_of_a_leader_record_are_ignored() -> None:
    world = World()
    token = hold(world, {"schema": 1, **LATER})
    kv = leader_key(world)
    assert kv is not None
    assert LeaderRecord.from_value(kv.key, kv.value).node_id == "z"
    candidate = node(world)
    world.run_for(29)
    assert candidate.leaders_seen == [token]
    assert candidate.terms == []
    world.run_until(lambda: candidate.leads)
    assert (candidate.last_reason, candidate.term.epoch) == (Reason.STOLEN, 8)


@pytest.mark.parametrize("schema", [2, "two", None])
def test_a_leader_of_a_later_schema_leads_and_is_not_replaced_before_its_own_ttl(schema: object) -> None:
    world = World()
    token = hold(world, {"schema": schema, **LATER})
    candidate = node(world)
    world.run_for(29)
    assert candidate.leaders_seen == [token]  # somebody leads
    assert candidate.terms == []
    world.run_until(lambda: candidate.leads)
    assert candidate.term.token > token


def test_heartbeats_of_a_later_schema_keep_the_key() -> None:
    world = World()
    hold(world, {"schema": 2, **LATER})
    candidate = node(world)
    for beat in range(20):
        world.apply(Put(KEYS.heartbeat, b'{"schema": 2, "beat": %d}' % beat))
        world.run_for(20)
    assert candidate.terms == []


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b'{"schema":2}', b'{"schema":2,"ttl":true}', b'{"ttl":1e9}'])
def test_where_no_ttl_can_be_found_our_own_decides(value: bytes) -> None:
    world = World()
    hold(world, value)
    candidate = node(world)
    world.run_for(OPTIONS.lease_ttl_s - 1)
    assert candidate.terms == []
    world.run_until(lambda: candidate.leads)
