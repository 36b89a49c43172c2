"""Whatever somebody writes under the keys of an election: nobody leads beside another, and soon one does (I7)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from slurp_leader.election import ElectionOptions, Reason
from slurp_leader.election.history.entries import election_key
from slurp_leader.election.operator import OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.scoring import Free, ScoreInputs
from slurp_leader.election.records import LeaderRecord, heartbeat_value, node_value, read_epoch
from slurp_leader.election.transfer import AckRecord, Stage, TransferRecord
from slurp_leader.orders import Order
from slurp_leader.store import Get, Grant, KeyValue, Put
from support.electing import KEYS, LENDING, OPTIONS, Node, crash, leading_node, node
from support.virtual import World

BEST = ScoreInputs(("project_manager", "context_curation", "decision_ingestion"), 1, 1, 1, 1e9, 0.0, 1000, 1e9)
MIB = 1024 * 1024
OPS = Order("ops", "maintenance", "2026-01-01T00:00:00Z")


def session_of(standing: Node) -> Any:
    session = standing.elector._sessions.current
    assert session is not None
    return session


def three(world: World, options: ElectionOptions = OPTIONS) -> list[Node]:
    nodes = [leading_node(world, "a", options, lending=LENDING)]
    nodes += [node(world, name, options, lending=LENDING) for name in "bc"]
    world.run_for(3)
    return nodes


def run_for(world: World, nodes: list[Node], seconds: float) -> None:
    """Let time pass, and look all the while whether there are two that lead."""
    for _ in range(round(seconds / 0.25)):
        world.run_for(0.25)
        assert sum(each.leads for each in nodes) <= 1


def one_leads(world: World, nodes: list[Node], within_s: float) -> Node:
    world.run_until(lambda: any(each.leads for each in nodes), within_s)
    [leader] = [each for each in nodes if each.leads]
    return leader


def check_all_is_well(world: World, nodes: list[Node]) -> None:
    """One leads; when it stops another one follows; when that dies, one more."""
    leader = one_leads(world, nodes, 2 * OPTIONS.lease_ttl_s + 5)
    run_for(world, nodes, 5)
    assert leader.leads
    leader.stop()
    others = [each for each in nodes if each is not leader]
    second = one_leads(world, others, 6)
    world.run_for(3)
    crash(second)
    [third] = [each for each in others if each is not second]
    assert one_leads(world, [third], 2 * OPTIONS.rank_wait_s + 0.5) is third  # a pin to nobody delays as long as that


# ---------------------------------------------------------------- anything under any key


def valid_values(nodes: list[Node]) -> dict[bytes, bytes]:
    """Of each key of the election a value that makes sense now, of the hand of somebody else."""
    leader, other = nodes[0], session_of(nodes[1])
    nonce = "ab" * 16
    candidate = Candidate("b", other.name, other.lease_id, 10, inputs=BEST)
    offer = TransferRecord(Stage.OFFERED, leader.term.token, "w", "b", "ops", "", other.name, "b", nonce)
    return {
        KEYS.leader: LeaderRecord("b", other.name, nonce, 10, leader.term.epoch + 1, "", "handover").to_value(),
        KEYS.epoch: b"999999",
        KEYS.heartbeat: heartbeat_value(other.identity, 1, 1, {}),
        KEYS.transfer: offer.to_value(),
        KEYS.ack: AckRecord(nonce, other.name, 1, other.lease_id).to_value(),
        KEYS.operator: OperatorRecord().block("z", OPS).pin("y", OPS).to_value(),
        KEYS.candidate(other.name): candidate.to_value(),
        KEYS.session("b", other.name): node_value(other.identity, other.lease_id, 10, "slurp"),
        election_key(KEYS, leader.term.epoch): b'{"schema": 1, "epoch": 1, "node": "z", "session": "s", "reason": ""}',
        election_key(KEYS, leader.term.epoch + 1): b"{}",
    }


def forgeries(value: bytes, rng: random.Random) -> Iterator[bytes]:
    yield value
    yield from (value[: rng.randrange(len(value))] for _ in range(3))
    yield rng.randbytes(40)
    yield b"x" * MIB
    try:
        fields = json.loads(value)
    except ValueError:
        return
    if not isinstance(fields, dict):
        return
    yield json.dumps({**fields, "schema": 2}).encode()
    for part in (None, -1, 10**30, "x" * (MIB // 4), [], {"x": 1}, True):
        changed = {name: part if name != "schema" and rng.random() < 0.5 else was for name, was in fields.items()}
        yield json.dumps(changed).encode()


WHICH = ["leader", "epoch", "hb", "transfer", "ack", "operator", "candidate", "node", "history", "next history"]
LEASES = ["none", "its own", "of the leader", "of the standby", "of somebody else"]


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("which", range(len(WHICH)), ids=WHICH)
def test_a_forged_record_makes_no_two_leaders_and_soon_one_leads(which: int, lease: str) -> None:
    rng = random.Random(which * 10 + LEASES.index(lease))
    for number in range(16):
        world = World(number)
        nodes = three(world)
        key, valid = list(valid_values(nodes).items())[which]
        made = list(forgeries(valid, rng))
        if number >= len(made):
            break
        foreign = world.apply(Grant(4711, 5)).lease_id
        hangs_on = {
            "none": 0,
            "its own": kept(world, key).lease,
            "of the leader": session_of(nodes[0]).lease_id,
            "of the standby": session_of(nodes[1]).lease_id,
            "of somebody else": foreign,
        }[lease]
        world.apply(Put(key, made[number], hangs_on))
        run_for(world, nodes, 3)
        check_all_is_well(world, nodes)


def kept(world: World, key: bytes) -> KeyValue:
    found: tuple[KeyValue, ...] = world.apply(Get(key)).kvs
    return found[0] if found else KeyValue(key, b"", 0, 0, 0)


@pytest.mark.parametrize("seed", range(10))
def test_a_storm_of_forged_records_makes_no_two_leaders_and_when_it_is_over_one_leads(seed: int) -> None:
    world = World(seed)
    nodes = three(world)
    rng = random.Random(seed)
    for _ in range(30):
        key, valid = rng.choice(list(valid_values(nodes).items()))
        lease = rng.choice([0, 0, session_of(rng.choice(nodes)).lease_id if nodes[0].elector._sessions.current else 0])
        world.apply(Put(key, rng.choice(list(forgeries(valid, rng))), lease))
        run_for(world, nodes, rng.choice([0.25, 1, 3]))
    world.apply(Put(KEYS.operator, OperatorRecord().to_value()))
    check_all_is_well(world, nodes)


# ---------------------------------------------------------------- one by one


def test_a_leader_with_a_name_of_a_megabyte_is_replaced_all_the_same() -> None:
    """It goes into the history of the next term, and that into the transaction which begins it."""
    world = World()
    nodes = three(world)
    value = LeaderRecord("z" * (3 * MIB // 2 - 1000), "s", "t", 10, 7, "e", "elected").to_value()
    world.apply(Put(KEYS.leader, value))
    world.run_for(1)
    assert not any(each.leads for each in nodes)
    leader = one_leads(world, nodes, OPTIONS.lease_ttl_s + OPTIONS.rank_wait_s + 1)
    assert leader.last_reason is Reason.STOLEN


@pytest.mark.parametrize("ttl_s", [0, 10**15])
def test_a_forged_ttl_of_a_candidate_makes_no_leader_that_nobody_can_read(ttl_s: int) -> None:
    world = World()
    leader, other = leading_node(world, "a", lending=LENDING), node(world, "b", lending=LENDING)
    world.run_for(10)
    session = session_of(other)
    forged = json.loads(Candidate("b", session.name, session.lease_id, 10).to_value()) | {"ttl": ttl_s}
    world.apply(Put(KEYS.candidate(session.name), json.dumps(forged).encode(), session.lease_id))
    leader.stop()
    world.run_until(lambda: other.leads, within_s=4)
    assert other.last_reason is Reason.ELECTED  # the forged one was nobody to hand over to
    world.run_for(60)
    assert (other.leads, len(other.terms)) == (True, 1)


@pytest.mark.parametrize("names", ["the lease of another", "the session of another"])
def test_a_forged_candidate_with_the_best_score_gains_a_second_and_no_more(names: str) -> None:
    world = World()
    nodes = three(world)
    victim = session_of(nodes[1])
    if names == "the lease of another":
        forged = Candidate("z", "zz", victim.lease_id, 10, inputs=BEST)
    else:
        forged = Candidate("z", victim.name, victim.lease_id, 10, inputs=BEST)
    world.apply(Put(KEYS.candidate("zz"), forged.to_value(), victim.lease_id))
    began = world.clock.now
    nodes[0].stop()
    leader = one_leads(world, nodes[1:], 2.0)
    assert world.clock.now - began <= (1.6 if forged.session == "zz" else 0.2)
    world.run_for(5)
    crash(leader)
    [last] = [each for each in nodes[1:] if each is not leader]
    assert one_leads(world, [last], OPTIONS.rank_wait_s + 0.2) is last


@pytest.mark.parametrize(
    "inputs",
    [
        {"cpu_free": -1},
        {"cpu_free": 1e308},
        {"led_s": 1e300},
        {"terms_led": -5},
        {"uptime_s": "much"},
        {"load_free": []},
    ],
)
def test_a_candidate_whose_figures_nobody_measures_is_nobody_until_it_says_better(inputs: dict[str, Any]) -> None:
    world = World()
    leader = leading_node(world, "a")
    poor, rich = node(world, "b", free=Free(0.1, 0.1, 0.1)), node(world, "c", free=Free(0.9, 0.9, 0.9))
    world.run_for(10)
    session = session_of(poor)
    forged = json.loads(kept(world, KEYS.candidate(session.name)).value)
    forged["inputs"] |= inputs
    world.apply(Put(KEYS.candidate(session.name), json.dumps(forged).encode(), session.lease_id))
    world.run_for(0.1)
    crash(leader)
    world.run_until(lambda: poor.leads or rich.leads, within_s=0.2)
    assert not (poor.leads and rich.leads)


@pytest.mark.parametrize(
    ("value", "epoch"),
    [
        (b"7", 7),
        (b"0000000007", 7),
        (b"9999999998", 9_999_999_998),
        (b"9999999999", 0),  # the next one would need a digit more than keys of the history have
        (b"00000000007", 0),
        (b"12345678901", 0),
        (b"9" * 5000, 0),
        (b"-1", 0),
        (b"", 0),
    ],
)
def test_an_epoch_that_nobody_can_have_counted_up_to_reads_as_0(value: bytes, epoch: int) -> None:
    assert read_epoch(value) == epoch
