"""A node of a version that knew no candidates' records and no history: a session key, a leader key, heartbeats."""

from __future__ import annotations

import json

from slurp_leader.election import Reason
from slurp_leader.election.history.situation import look_at
from slurp_leader.election.records import Identity, epoch_value, heartbeat_value, node_value
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.store import Get, Grant, KeepAlive, Put, Revoke, Txn
from support.electing import KEYS, OPTIONS, crash, leading_node, node
from support.virtual import World

OLD = Identity("old", "01d", "old:8080", (), "")
LEASE = 4711


def stands(world: World) -> None:
    """An older node registers, and goes on renewing its lease."""
    world.apply(Grant(LEASE, OPTIONS.lease_ttl_s))
    world.apply(Put(KEYS.session(OLD.node_id, OLD.session), node_value(OLD, LEASE, 10, "slurp"), LEASE))

    def renew() -> None:
        world.apply(KeepAlive(LEASE))
        world.after(2.0, renew)

    renew()


def leads(world: World, epoch: int) -> None:
    """It takes the key, as it would: no entry in the history, and nothing said of why."""
    record = {"schema": 1, "node": "old", "session": "01d", "term": "f" * 32, "ttl": 10, "epoch": epoch}
    value = json.dumps(record).encode()
    world.apply(Txn(success=(Put(KEYS.leader, value, LEASE), Put(KEYS.epoch, epoch_value(epoch)))))


def beats(world: World, count: int) -> None:
    for beat in range(count):
        world.apply(Put(KEYS.heartbeat, heartbeat_value(OLD, 1, beat, {})))
        world.run_for(2.0)


def refusal(world: World) -> str:
    kv = world.apply(Get(KEYS.transfer)).kvs[0]
    return TransferRecord.from_value(kv.key, kv.value).reason


def test_nobody_waits_for_an_older_node_and_it_is_not_asked_to_take_over() -> None:
    world = World()
    stands(world)
    first = leading_node(world, "a")
    second = node(world, "b")
    world.run_for(3)
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, first.term.token, "w1", "old").to_value()))
    world.run_for(1)
    assert refusal(world) == "unknown"
    first.stop()
    world.run_until(lambda: second.leads, within_s=0.2)
    assert second.last_reason is Reason.HANDOVER
    third = node(world, "c")
    world.run_for(3)
    crash(second)
    world.run_until(lambda: third.leads, within_s=0.2)


def test_an_older_leader_is_respected_and_followed_when_it_goes_silent() -> None:
    world = World()
    stands(world)
    leads(world, 1)
    first, second = node(world, "a"), node(world, "b")
    beats(world, 20)
    assert first.terms == second.terms == []
    world.run_until(lambda: first.leads or second.leads, within_s=OPTIONS.lease_ttl_s + OPTIONS.rank_wait_s)
    leader = first if first.leads else second
    assert (leader.last_reason, leader.term.epoch) == (Reason.STOLEN, 2)
    leads(world, 3)  # and it comes back, over everybody, as it may after force
    world.run_for(1)
    assert not leader.leads
    world.apply(Revoke(LEASE))
    world.run_until(lambda: first.leads or second.leads, within_s=0.2 + OPTIONS.rank_wait_s)


def test_what_is_asked_about_an_older_leader_is_answered_without_a_history() -> None:
    world = World()
    stands(world)
    leads(world, 1)
    node(world, "a")
    world.run_for(1)
    situation = look_at(world.apply, KEYS)
    assert situation.newest is None
    assert situation.record is not None
    assert situation.record.node_id == "old"
    assert [each.node_id for each in situation.others] == ["a"]
