"""Handing the lead over: offer, answer, one transaction; no revision without a leader, and no two that trust."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from slurp_leader.election import (
    Drained,
    ElectionState,
    FitnessChanged,
    GoOn,
    Lending,
    Reason,
    ResignWanted,
    Settled,
    SettleWanted,
    StopWanted,
    transactions,
)
from slurp_leader.election.operator import OperatorRecord
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.election.records import LeaderRecord
from slurp_leader.election.transfer import AckRecord, Readiness, Stage, TransferRecord
from slurp_leader.errors import LeaseNotFoundError, StoreBusyError
from slurp_leader.orders import Order
from slurp_leader.store import Delete, EventKind, Get, KeepAlive, Put, Request, Revoke, Txn, prefix_end
from support.electing import (
    KEYS,
    LENDING,
    OPTIONS,
    BeliefWatch,
    Node,
    crash,
    leader_key,
    leader_record,
    leading_node,
    node,
    order,
)
from support.virtual import Fate, World, answer_lost, failed, fine, late, puts_of, request_lost, silence, writes_key


def hands_over(request: Request[object]) -> bool:
    """The one transaction of a handover: it takes the key for a lease that is not the sender's."""
    steps = request.success if isinstance(request, Txn) else ()
    return any(isinstance(step, Delete) and step.key == KEYS.ack for step in steps)


def pair(world: World, lending: Lending | None = None) -> tuple[Node, Node, BeliefWatch]:
    leader, other = leading_node(world, "a", lending=lending), node(world, "b", lending=lending)
    watch = BeliefWatch([leader, other])
    world.on_write.append(watch)
    world.run_for(0.5)
    return leader, other, watch


def wish(world: World, token: int, to: str = "", number: str = "w1") -> None:
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, token, number, to, "operator", "why not").to_value()))


def transfer(world: World) -> TransferRecord | None:
    kvs = world.apply(Get(KEYS.transfer)).kvs
    return TransferRecord.from_value(KEYS.transfer, kvs[0].value) if kvs else None


def refusal(world: World) -> str:
    record = transfer(world)
    assert record is not None
    assert record.stage is Stage.REFUSED
    return record.reason


def vacancies(world: World) -> int:
    """How often the leader key was deleted."""
    return sum(e.kind is EventKind.DELETE and e.kv.key == KEYS.leader for w in world.log for e in w.events)


# ---------------------------------------------------------------- it works


@pytest.mark.parametrize("leaves", ["wish", "stop", "resign"])
def test_the_lead_is_handed_over_without_a_revision_in_which_nobody_leads(leaves: str) -> None:
    world = World()
    leader, other, watch = pair(world)
    match leaves:
        case "wish":
            wish(world, leader.term.token)
        case "stop":
            leader.stop()
        case _:
            leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.run_until(lambda: other.leads, within_s=0.2)
    assert vacancies(world) == 0
    assert other.last_reason is Reason.HANDOVER
    assert (ElectionState.CANDIDATE, Reason.HANDOVER) in leader.states
    assert leader_record(world).epoch == leader.term.epoch + 1
    assert transfer(world) is None
    assert world.apply(Get(KEYS.ack)).kvs == ()
    world.run_for(20)
    assert other.leads
    assert watch.violations == []
    assert len(puts_of(world.log, KEYS.leader)) == 2  # nobody rewrote the key of the handed term


def test_the_handed_term_has_the_token_of_the_handover_itself() -> None:
    world = World()
    leader, other, _ = pair(world)
    wish(world, leader.term.token)
    world.run_until(lambda: other.leads)
    handed = puts_of(world.log, KEYS.leader)[1].kv
    assert other.term.token == handed.mod_revision
    assert other.term.term_id == LeaderRecord.from_value(handed.key, handed.value).term_id
    assert handed.lease != puts_of(world.log, KEYS.leader)[0].kv.lease


def test_the_lead_can_be_handed_back() -> None:
    world = World()
    leader, other, watch = pair(world)
    wish(world, leader.term.token)
    world.run_until(lambda: other.leads)
    wish(world, other.term.token, "a")
    world.run_until(lambda: leader.leads)
    assert len(leader.terms) == 2
    assert watch.violations == []


def test_the_node_that_is_wished_for_gets_it() -> None:
    world = World()
    leader, _, _ = pair(world)
    third = node(world, "c")
    world.run_for(0.5)
    wish(world, leader.term.token, "c")
    world.run_until(lambda: third.leads, within_s=0.2)


def test_a_candidate_that_does_not_answer_is_passed_over() -> None:
    world = World()
    leader, other, _ = pair(world)
    third = node(world, "c")
    world.run_for(0.5)
    other.host.deaf = True
    leader.stop()
    world.run_until(lambda: third.leads, within_s=2.0)
    assert vacancies(world) == 0


def test_the_search_for_a_successor_ends_in_time_where_many_do_not_answer() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    silent = [node(world, name, lending=LENDING) for name in "bcdef"]
    world.run_for(0.5)
    for each in silent:
        each.host.deaf = True
    wish(world, leader.term.token)
    world.run_for(0.7)
    first = transfer(world)
    assert first is not None
    world.apply(Put(KEYS.ack, AckRecord(first.nonce, first.session, 1, 4711, "busy").to_value()))
    world.run_for(2.4)
    assert refusal(world) == "silent"
    written = [TransferRecord.from_value(event.kv.key, event.kv.value) for event in puts_of(world.log, KEYS.transfer)]
    assert len({record.session for record in written if record.stage is Stage.OFFERED}) == 3
    assert leader.leads


def test_a_candidate_that_has_not_seen_all_that_came_before_the_offer_answers_when_it_has() -> None:
    world = World()
    seen = [1]
    leader = leading_node(world, "a", lending=LENDING)
    other = node(world, "b", lending=LENDING, ready=lambda: Readiness(seen[0]))
    world.run_for(0.5)
    wish(world, leader.term.token)
    world.run_for(0.5)
    offer = transfer(world)
    assert offer is not None
    assert offer.stage is Stage.OFFERED
    assert not world.apply(Get(KEYS.ack)).kvs
    seen[0] = world.apply(Get(KEYS.transfer)).kvs[0].mod_revision
    world.run_until(lambda: other.leads, within_s=0.5)


def test_an_answer_that_arrives_when_its_offer_was_given_up_leaves_nothing_behind() -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    rule = world.order(late(5.0), writes_key(KEYS.ack), host=other.host)
    wish(world, leader.term.token)
    world.run_for(4)
    assert rule.met > 0
    assert refusal(world) == "silent"
    world.run_for(8)
    assert not world.apply(Get(KEYS.ack)).kvs
    assert leader.leads


def test_an_answer_that_arrives_when_the_term_is_over_leaves_nothing_behind() -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    rule = world.order(late(1.0), writes_key(KEYS.ack), host=other.host, times=1)
    wish(world, leader.term.token)
    world.run_until(lambda: rule.met == 1)
    world.apply(Delete(KEYS.leader))
    world.run_for(5)
    offer = transfer(world)
    assert offer is not None
    assert (offer.stage, offer.token) == (Stage.OFFERED, leader.terms[0].token)  # it stands, and means nothing (A24)
    assert not world.apply(Get(KEYS.ack)).kvs


@pytest.mark.parametrize(
    ("differs", "said"),
    [({}, ""), ({"nonce": "0" * 32}, "silent"), ({"session": "another"}, "silent"), ({"lease": 4711}, "unfit")],
    ids=["in nothing", "nonce", "session", "lease"],
)
def test_only_an_answer_to_this_very_offer_by_the_session_it_was_made_to_and_with_its_lease_counts(
    differs: dict[str, Any], said: str
) -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    world.order(request_lost(), writes_key(KEYS.ack), host=other.host)
    wish(world, leader.term.token)
    world.run_until(lambda: len(puts_of(world.log, KEYS.transfer)) == 2)
    offer = transfer(world)
    assert offer is not None
    lease = world.apply(Get(_session_of(world, "b"))).kvs[0].lease
    answer = AckRecord(offer.nonce, offer.session, world.state.revision, lease)
    world.apply(Put(KEYS.ack, replace(answer, **differs).to_value()))
    world.run_for(4)
    if said:
        assert (leader.leads, len(leader.terms), other.terms) == (True, 1, [])
        assert refusal(world) == said
    else:
        assert other.leads


def test_an_offer_under_an_older_token_is_not_answered() -> None:
    """A24."""
    world = World()
    leader, _, _ = pair(world, LENDING)
    session = _session_of(world, "b").rpartition(b"/")[2].decode()
    answers = world.order(fine(), writes_key(KEYS.ack))
    offer = TransferRecord(Stage.OFFERED, leader.term.token - 1, session=session, node_id="b", nonce="0" * 32)
    world.apply(Put(KEYS.transfer, offer.to_value()))
    world.run_for(5)
    assert answers.met == 0
    wish(world, leader.term.token)
    world.run_until(lambda: answers.met == 1, within_s=0.1)


def test_a_promise_dies_with_the_session_it_was_made_to() -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    world.order(request_lost(), hands_over)
    wish(world, leader.term.token)
    world.run_until(lambda: bool(world.apply(Get(KEYS.ack)).kvs))
    offer = transfer(world)
    assert offer is not None
    world.apply(Revoke(world.apply(Get(_session_of(world, "b"))).kvs[0].lease))
    opened = lambda: other.elector._sessions.current.name not in ("", offer.session)  # noqa: E731
    world.run_until(lambda: other.elector._sessions.current is not None and opened(), within_s=OPTIONS.lease_ttl_s)
    session = other.elector._sessions.current
    world.run_until(lambda: session.live)
    crash(leader)
    forged = LeaderRecord("b", session.name, offer.nonce, session.timing.ttl_s, 9, reason="handover")
    world.apply(Put(KEYS.leader, forged.to_value(), lease=session.lease_id))
    world.run_until(lambda: other.leads)
    assert other.last_reason is Reason.ADOPTED


def test_a_late_copy_of_an_answer_does_not_move_it() -> None:
    """The handover compares the answer as it was read: a copy would refuse it."""
    world = World()
    for key in (KEYS.leader, KEYS.transfer):
        world.apply(Put(key, b"{}"))
    leader, offer = (world.apply(Get(key)).kvs[0].mod_revision for key in (KEYS.leader, KEYS.transfer))
    answer = transactions.acknowledge(KEYS, leader, offer, 0, b"{}")
    assert world.apply(answer).succeeded
    assert not world.apply(answer).succeeded


def test_work_that_cannot_be_lent_ends_before_the_key_moves() -> None:
    world = World()
    leader, other, _ = pair(world)
    leader.drains_at_once = False
    wish(world, leader.term.token)
    world.run_for(OPTIONS.renew_interval_s)
    assert leader.state is ElectionState.DRAINING
    assert leader.leads
    leader.seat.post(Drained(leader.term.token))
    world.run_until(lambda: other.leads, within_s=0.1)
    assert vacancies(world) == 0


SETTLING = replace(LENDING, settles_within_s=5.0)
"""Of a node that has work beside it which cannot be lent."""


def settles(world: World, leader: Node) -> int:
    """Let a handover come to where it waits for what cannot be lent. Returns the token of the term."""
    token = leader.term.token
    world.run_until(lambda: SettleWanted(token) in leader.said, within_s=0.2)
    return token


@pytest.mark.parametrize("leaves", ["wish", "stop"])
def test_what_cannot_be_lent_ends_before_the_key_moves_while_the_term_leads_as_ever(leaves: str) -> None:
    world = World()
    leader, other, watch = pair(world, SETTLING)
    if leaves == "stop":
        leader.stop()
    else:
        wish(world, leader.term.token)
    token = settles(world, leader)
    trusted_until = leader.term.trust.until
    world.run_for(4.5)
    leader.seat.post(Settled(token - 1))  # of another term
    world.run_for(0.2)
    assert leader.leads
    assert leader.state is ElectionState.LEADER
    assert leader.term.trust.until > trusted_until
    assert leader.term.should_stop == (leaves == "stop")  # a wish may still be refused
    leader.seat.post(Settled(token))
    world.run_until(lambda: other.leads, within_s=0.2)
    assert leader.term.trust.lent is not None
    assert GoOn(token) not in leader.said
    assert (vacancies(world), watch.violations) == (0, [])


def test_where_all_can_be_lent_nobody_is_asked() -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    wish(world, leader.term.token)
    world.run_until(lambda: other.leads, within_s=0.2)
    assert not any(isinstance(said, SettleWanted) for said in leader.said)


def test_what_cannot_be_lent_and_does_not_end_delays_a_handover_by_its_time_and_no_more() -> None:
    world = World()
    leader, other, watch = pair(world, SETTLING)
    wish(world, leader.term.token)
    settles(world, leader)
    began = world.clock.now
    world.run_until(lambda: other.leads, within_s=5.2)
    assert world.clock.now - began >= 5.0
    assert (vacancies(world), watch.violations) == (0, [])


def test_a_handover_that_fails_after_it_has_settled_lets_the_work_go_on_and_the_next_one_asks_anew() -> None:
    world = World()
    leader, other, _ = pair(world, SETTLING)
    wish(world, leader.term.token)
    token = settles(world, leader)
    world.apply(Put(KEYS.ack, world.apply(Get(KEYS.ack)).kvs[0].value))  # what it rests on has moved
    assert GoOn(token) not in leader.said
    leader.seat.post(Settled(token))
    assert refusal_soon(world) == "refused"
    assert GoOn(token) in leader.said
    assert leader.term.leaving.is_set() is False
    leader.said.clear()
    wish(world, token, number="w2")
    settles(world, leader)
    assert not other.leads
    leader.seat.post(Settled(token))
    world.run_until(lambda: other.leads, within_s=0.2)


@pytest.mark.parametrize("ordered", ["block", "pin", "require"])
def test_an_order_that_is_given_while_a_handover_waits_is_obeyed(ordered: str) -> None:
    """A17. It may have been acknowledged long ago when the lead moves."""
    world = World()
    leader, other, _ = pair(world, SETTLING)
    wish(world, leader.term.token)
    token = settles(world, leader)
    if ordered == "require":
        order(world, lambda orders: orders.require_version("0.0.1", Order("ops")))
    else:
        node_id = "b" if ordered == "block" else "a"
        order(world, lambda orders: getattr(orders, ordered)(node_id, Order("ops")))
    world.run_for(0.1)
    leader.seat.post(Settled(token))
    if ordered == "require":  # forbids it nobody, so it is asked again, and nothing waited for again
        world.run_until(lambda: other.leads, within_s=0.2)
        return
    assert refusal_soon(world) == ("blocked" if ordered == "block" else "pinned_elsewhere")
    assert GoOn(token) in leader.said
    assert leader.leads
    assert other.terms == []


def test_a_candidate_that_is_unfit_after_a_long_wait_is_passed_over_for_one_that_is_well() -> None:
    world = World()
    leader, first, _ = pair(world, SETTLING)
    second = node(world, "c", lending=SETTLING, free=Free(0.01, 0.01, 0.01))
    world.run_for(3)
    wish(world, leader.term.token)
    token = settles(world, leader)
    first.seat.post(FitnessChanged("no disk"))
    world.run_for(2)
    leader.seat.post(Settled(token))
    world.run_until(lambda: second.leads, within_s=0.3)
    assert first.terms == []


def drains_for_a_handover(world: World) -> tuple[Node, Node]:
    """A leader whose owner ends its work before it is handed over, and who is to have it."""
    leader, other, _ = pair(world)
    leader.drains_at_once = False
    wish(world, leader.term.token)
    world.run_until(lambda: leader.state is ElectionState.DRAINING)
    return leader, other


def test_where_all_work_had_to_end_an_order_that_was_given_meanwhile_is_obeyed() -> None:
    world = World()
    leader, other = drains_for_a_handover(world)
    order(world, lambda orders: orders.block("b", Order("ops")))
    world.run_for(0.1)
    leader.seat.post(Drained(leader.term.token))
    world.run_until(lambda: leader.state is ElectionState.CANDIDATE)  # its work has ended: no way back into the term
    world.run_for(5)
    assert other.terms == []
    assert leader.leads


def test_a_stop_without_a_successor_during_the_second_look_ends_what_has_drained_at_once() -> None:
    world = World()
    leader, other = drains_for_a_handover(world)
    world.run_for(2)
    other.host.deaf = True
    leader.seat.post(Drained(leader.term.token))
    world.run_for(0.1)
    leader.seat.post(StopWanted(hands_over=False))
    world.run_until(lambda: leader.finished is not None, within_s=1)


def test_a_stop_while_a_handover_waits_tells_the_work_that_there_is_no_way_back() -> None:
    world = World()
    leader, other, _ = pair(world, SETTLING)
    wish(world, leader.term.token)
    token = settles(world, leader)
    leader.stop()
    assert leader.term.leaving.is_set()
    assert leader.leads
    leader.seat.post(Settled(token))
    world.run_until(lambda: other.leads, within_s=0.2)
    world.run_until(lambda: leader.finished is not None, within_s=0.5)


def test_a_stop_that_looks_for_no_successor_does_not_wait_for_what_a_handover_waited_for() -> None:
    world = World()
    leader, other, _ = pair(world, SETTLING)
    wish(world, leader.term.token)
    settles(world, leader)
    leader.seat.post(StopWanted(hands_over=False))
    assert (ElectionState.DRAINING, Reason.SHUTDOWN) in leader.states
    world.run_until(lambda: leader.finished is not None and other.leads, within_s=1.0)


def test_a_leader_that_stops_keeps_its_session_until_what_it_lent_has_ended() -> None:
    """Its session key tells the successor that somebody still ends it."""
    world = World()
    leader, other, _ = pair(world, LENDING)
    leader.drains_at_once = False
    token = leader.term.token
    leader.stop()
    world.run_until(lambda: other.leads, within_s=0.2)
    assert world.apply(Get(LENDING.key(token))).count == 1
    world.run_for(OPTIONS.stop_timeout_s - 1)
    assert _session_of(world, "a")
    assert leader.finished is None
    leader.seat.post(Drained(token))
    world.run_until(lambda: leader.finished is not None, within_s=0.2)
    assert leader.finished is not None
    assert leader.finished.clean
    assert world.apply(Get(KEYS.nodes + b"a/", prefix_end(KEYS.nodes + b"a/"))).count == 0


def test_what_was_lent_and_does_not_end_delays_a_stop_by_the_stop_timeout_and_no_more() -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    leader.drains_at_once = False
    leader.stop()
    world.run_until(lambda: leader.finished is not None, within_s=OPTIONS.stop_timeout_s + 1)
    assert other.leads


def test_a_session_that_is_lost_while_a_stop_waits_for_lent_work_ends_the_stop() -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    leader.drains_at_once = False
    leader.stop()
    world.run_until(lambda: other.leads)
    lease = world.apply(Get(_session_of(world, "a"))).kvs[0].lease
    world.apply(Revoke(lease))
    world.run_until(lambda: leader.finished is not None, within_s=OPTIONS.renew_interval_s + 1)


# ---------------------------------------------------------------- it is refused


@pytest.mark.parametrize(
    ("to", "reason"), [("a", "itself"), ("nobody", "unknown")], ids=["to itself", "to nobody that stands"]
)
def test_a_wish_that_cannot_be_met_is_answered_and_the_leader_goes_on(to: str, reason: str) -> None:
    world = World()
    leader, _, _ = pair(world)
    wish(world, leader.term.token, to)
    world.run_for(3.0)
    assert refusal(world) == reason
    assert leader.leads
    assert len(puts_of(world.log, KEYS.leader)) == 1


def test_a_wish_without_any_candidate_is_answered() -> None:
    world = World()
    leader = leading_node(world)
    wish(world, leader.term.token)
    world.run_for(1.0)
    assert refusal(world) == "no_candidate"
    assert leader.leads


def test_a_wish_for_an_earlier_term_hits_nobody() -> None:
    """A24."""
    world = World()
    leader, _, _ = pair(world)
    wish(world, leader.term.token - 1)
    world.run_for(5.0)
    assert leader.leads
    assert len(puts_of(world.log, KEYS.leader)) == 1
    record = transfer(world)
    assert record is not None
    assert record.stage is Stage.WISHED


def test_a_second_wish_while_one_is_under_way_does_not_disturb_it() -> None:
    world = World()
    leader, other, _ = pair(world)
    wish(world, leader.term.token)
    wish(world, leader.term.token, number="w2")
    world.run_until(lambda: other.leads, within_s=2.0)
    world.run_for(10)
    assert other.leads
    assert len(puts_of(world.log, KEYS.leader)) == 2


@pytest.mark.parametrize("value", [b"", b"{", b'{"schema":1}', b'{"schema":1,"stage":"wished","token":-1}', b"[]"])
def test_a_forged_or_truncated_record_is_no_wish_and_stands_in_nobodys_way(value: bytes) -> None:
    world = World()
    leader, other, _ = pair(world)
    world.apply(Put(KEYS.transfer, value))
    world.apply(Put(KEYS.ack, value))
    world.run_for(5.0)
    assert leader.leads
    leader.stop()
    world.run_until(lambda: other.leads, within_s=0.2)
    assert vacancies(world) == 0


def test_the_leader_answers_over_a_wish_and_keeps_what_a_later_version_wrote_into_it() -> None:
    world = World()
    leader, other, _ = pair(world)
    for to in ("nobody", "b"):
        known = TransferRecord(Stage.WISHED, leader.term.token, f"to {to}", to, "ops")
        world.apply(Put(KEYS.transfer, json.dumps({**json.loads(known.to_value()), "zz_new": [to]}).encode()))
        world.run_for(1.0)
    assert other.leads
    written = [json.loads(event.kv.value) for event in puts_of(world.log, KEYS.transfer)]
    assert [(record["stage"], record["zz_new"]) for record in written] == [
        ("wished", ["nobody"]),
        ("refused", ["nobody"]),
        ("wished", ["b"]),
        ("offered", ["b"]),
    ]


def test_words_that_are_too_long_are_no_wish_and_a_long_reason_of_the_leader_is_cut() -> None:
    world = World()
    leader, other, _ = pair(world)
    long = TransferRecord(Stage.WISHED, leader.term.token, "w1", "", "ops")
    world.apply(Put(KEYS.transfer, json.dumps({**json.loads(long.to_value()), "why": "x" * 1_000_000}).encode()))
    world.run_for(5.0)
    assert leader.leads
    world.apply(Put(KEYS.operator, OperatorRecord().block("a", Order("b" * 1000, "w" * 1000)).to_value()))
    world.run_until(lambda: other.leads, within_s=2.0)
    assert all(len(event.kv.value) < 4096 for event in puts_of(world.log, KEYS.transfer)[1:])


def test_a_forged_offer_gives_nobody_the_lead() -> None:
    world = World()
    leader, other, _ = pair(world)
    session = _session_of(world, "b").rpartition(b"/")[2].decode()
    offer = TransferRecord(Stage.OFFERED, leader.term.token, session=session, node_id="b", nonce="0" * 32)
    world.apply(Put(KEYS.transfer, offer.to_value()))
    world.run_for(5.0)
    assert leader.leads
    assert not other.terms
    assert refusal(world) == "silent"  # the leader cleared it away


def test_after_a_definite_refusal_the_leader_goes_on_by_a_new_heartbeat() -> None:
    world = World()
    leader, _, watch = pair(world, LENDING)
    world.order(failed(LeaseNotFoundError()), hands_over, times=1)
    beats = len(puts_of(world.log, KEYS.heartbeat))
    wish(world, leader.term.token)
    world.run_until(lambda: (ElectionState.SUSPENDED, Reason.HANDING_OVER) in leader.states, within_s=0.5)
    assert not leader.leads
    world.run_until(lambda: leader.leads, within_s=0.1)
    assert len(puts_of(world.log, KEYS.heartbeat)) > beats
    world.run_for(1.0)
    assert refusal(world) == "refused"
    world.run_for(30)
    assert leader.leads
    assert len(leader.terms) == 1
    assert watch.violations == []


def _session_of(world: World, node_id: str) -> bytes:
    prefix = KEYS.nodes + node_id.encode() + b"/"
    return next(iter(world.apply(Get(prefix, prefix_end(prefix))).kvs)).key


@pytest.mark.parametrize("changed", ["session", "ack", "epoch"])
def test_what_changed_since_the_answer_refuses_the_handover_and_the_leader_goes_on(changed: str) -> None:
    world = World()
    leader, other, watch = pair(world, LENDING)
    session = _session_of(world, "b")
    rule = world.order(fine(0.5, 0.1), hands_over, times=1)
    wish(world, leader.term.token)
    world.run_until(lambda: rule.met == 1)
    match changed:
        case "session":
            world.apply(Delete(session))
        case "ack":
            world.apply(Put(KEYS.ack, world.apply(Get(KEYS.ack)).kvs[0].value))
        case _:
            world.apply(Put(KEYS.epoch, b"7"))
    world.run_until(lambda: leader.leads, within_s=1.0)
    assert refusal_soon(world) == "refused"
    world.run_for(20.0)
    assert leader.leads
    assert len(leader.terms) == 1
    assert not other.terms
    assert watch.violations == []


def refusal_soon(world: World) -> str:
    world.run_for(0.5)
    return refusal(world)


def test_a_busy_store_is_a_definite_refusal() -> None:
    world = World()
    leader, _, _ = pair(world, LENDING)
    world.order(failed(StoreBusyError()), hands_over, times=1)
    wish(world, leader.term.token)
    world.run_for(1.0)
    assert leader.leads
    assert refusal(world) == "refused"


# ---------------------------------------------------------------- it is in doubt


@pytest.mark.parametrize(
    "fate", [answer_lost(), late(1.0), request_lost()], ids=["answer lost", "late", "request lost"]
)
def test_a_handover_in_doubt_is_sent_again_until_it_is_definite_and_trusts_nothing_meanwhile(fate: Fate) -> None:
    world = World()
    leader, other, watch = pair(world)
    world.watch_delay_s = lambda: 0.05
    world.order(fate, hands_over, times=1)
    leader.stop()
    world.run_until(lambda: other.leads, within_s=4.0)
    assert not leader.leads
    assert watch.violations == []
    world.run_until(lambda: leader.finished is not None, within_s=6.0)
    assert (ElectionState.CANDIDATE, Reason.HANDOVER) in leader.states
    assert vacancies(world) == 0


def test_while_it_is_in_doubt_no_heartbeat_is_sent_but_the_lease_is_renewed() -> None:
    world = World()
    leader, _, _ = pair(world, LENDING)
    rule = world.order(request_lost(), hands_over)
    wish(world, leader.term.token)
    world.run_until(lambda: rule.met > 0)
    beats = len(puts_of(world.log, KEYS.heartbeat))
    assert leader.terms[0].may_go_on  # whoever leads, what runs is not thrown away
    world.run_for(3 * OPTIONS.lease_ttl_s / 4)
    assert len(puts_of(world.log, KEYS.heartbeat)) == beats
    assert leader_key(world) is not None
    assert not leader.leads


def test_a_renewal_that_is_under_way_when_it_is_decided_sends_no_heartbeat_after_its_keepalive() -> None:
    world = World()
    leader, other, watch = pair(world, LENDING)
    slow = world.order(fine(0.3, 0.3), lambda request: isinstance(request, KeepAlive), host=leader.host, times=1)
    world.run_until(lambda: slow.met == 1)
    in_doubt = world.order(request_lost(), hands_over)
    wish(world, leader.term.token)
    world.run_until(lambda: in_doubt.met == 1, within_s=0.3)
    beats = len(puts_of(world.log, KEYS.heartbeat))
    world.run_for(1)
    assert len(puts_of(world.log, KEYS.heartbeat)) == beats
    world.rules.remove(in_doubt)
    world.run_until(lambda: other.leads, within_s=3)
    assert vacancies(world) == 0
    assert watch.violations == []


def test_what_runs_stops_when_the_proof_is_over_and_it_is_still_in_doubt_who_leads() -> None:
    world = World()
    leader, _, watch = pair(world, LENDING)
    rule = world.order(request_lost(), hands_over)
    until = leader.term.trust.until
    wish(world, leader.term.token)
    world.run_until(lambda: rule.met > 0)
    world.run_to(leader.host.clock.in_world(until) - 0.1)
    assert leader.term.may_go_on
    world.run_until(lambda: not leader.term.may_go_on, within_s=0.2)
    rule.times = 0  # now it can arrive: nobody has waited a whole TTL yet
    world.run_until(lambda: leader.elector.term is None, within_s=5.0)
    assert leader.last_reason is Reason.HANDOVER
    assert watch.violations == []


def test_a_stop_whose_handover_stays_in_doubt_ends_with_the_proof_of_its_term() -> None:
    world = World()
    leader, other, watch = pair(world, LENDING)
    rule = world.order(request_lost(), hands_over)
    leader.stop()
    world.run_until(lambda: rule.met > 0)
    leader.host.cut_off = True
    world.run_until(lambda: leader.finished is not None, within_s=OPTIONS.lease_ttl_s + 4.5)
    world.run_until(lambda: other.leads, within_s=OPTIONS.lease_ttl_s)
    assert watch.violations == []


def test_a_handover_waits_for_the_heartbeat_that_is_under_way() -> None:
    """Its revision is what the transaction compares; one in doubt is settled by the next renewal."""
    world = World()
    leader, other, watch = pair(world, LENDING)
    rule = world.order(fine(0.3, 0.3), writes_key(KEYS.heartbeat), host=leader.host, times=1)
    world.run_until(lambda: rule.met == 1)
    wish(world, leader.term.token)
    world.run_for(0.5)
    assert leader.state is ElectionState.LEADER
    world.run_until(lambda: other.leads, within_s=0.3)
    assert watch.violations == []


def test_a_copy_that_arrives_after_the_term_was_proved_again_is_refused() -> None:
    """MOD(hb): the heartbeat that brings trust back kills whatever is still under way."""
    world = World()
    leader, other, watch = pair(world, LENDING)
    world.order(late(5.0), hands_over, times=1)
    world.order(failed(LeaseNotFoundError()), hands_over, times=1)  # the second one: definite
    wish(world, leader.term.token)
    world.run_until(lambda: leader.state is ElectionState.SUSPENDED)
    world.run_until(lambda: leader.leads, within_s=4.0)
    world.run_for(20.0)
    assert leader.leads
    assert not other.terms
    assert watch.violations == []


def test_a_silent_successor_is_replaced_by_who_appointed_it_within_the_takeover_timeout() -> None:
    world = World()
    leader, other, watch = pair(world)
    world.order(silence(), writes_key(KEYS.heartbeat), host=other.host)
    wish(world, leader.term.token)
    world.run_until(lambda: leader.elector.term is None)
    world.run_until(lambda: leader.leads, within_s=OPTIONS.takeover_timeout_s + 0.2)
    assert leader.last_reason is Reason.STOLEN
    assert not other.leads
    assert watch.violations == []


def _silent_successor(world: World) -> tuple[Node, Node]:
    """A leader that has handed over to somebody who says nothing, and a third node."""
    leader, other, third = leading_node(world, "a"), node(world, "b"), node(world, "c")
    world.run_for(3)
    world.order(silence(), writes_key(KEYS.heartbeat), host=other.host)
    wish(world, leader.term.token, "b")
    world.run_until(lambda: leader.elector.term is None)
    return leader, third


def test_from_a_silent_successor_who_appointed_it_takes_the_lead_before_any_other() -> None:
    world = World()
    leader, third = _silent_successor(world)
    world.run_until(lambda: leader.leads, within_s=OPTIONS.takeover_timeout_s + 0.2)
    assert leader.last_reason is Reason.STOLEN
    assert not third.terms


def test_from_a_silent_successor_others_take_the_lead_a_second_later_where_who_appointed_it_does_not() -> None:
    world = World()
    leader, third = _silent_successor(world)
    leader.host.crash()
    world.run_for(OPTIONS.takeover_timeout_s + 0.9)
    assert not third.terms
    assert leader_record(world).node_id == "b"
    world.run_until(lambda: third.leads, within_s=0.3)
    assert third.last_reason is Reason.STOLEN


def test_who_answered_an_offer_begins_the_promised_term_once_only() -> None:
    """An ended token is never resumed: the same key, written again by force, is one to be rewritten."""
    world = World()
    leader, other, _ = pair(world)
    wish(world, leader.term.token)
    world.run_until(lambda: other.leads)
    handed = puts_of(world.log, KEYS.leader)[1].kv
    leader.stop()
    world.run_for(1.0)
    world.apply(Put(KEYS.leader, handed.value, lease=handed.lease))
    world.run_until(lambda: len(other.terms) == 2)
    assert other.last_reason is Reason.ADOPTED


def test_a_key_that_names_a_session_which_answered_nothing_is_rewritten() -> None:
    world = World()
    leader, other, _ = pair(world)
    wish(world, leader.term.token)
    other.elector._successor._promised = _Forgetful()
    world.run_until(lambda: other.leads)
    assert other.last_reason is Reason.ADOPTED
    assert len(puts_of(world.log, KEYS.leader)) == 3


class _Forgetful(set):  # type: ignore[type-arg]
    def add(self, element: object) -> None:
        """Nothing is kept."""


def test_a_stop_while_a_handover_is_in_doubt_ends_the_node_also_when_it_is_refused() -> None:
    world = World()
    leader, _, watch = pair(world, LENDING)
    world.order(late(0.5), hands_over, host=leader.host, times=1)
    wish(world, leader.term.token, "b")
    world.run_for(0.2)
    world.apply(Put(KEYS.operator, OperatorRecord().block("b", Order("ops")).to_value()))
    leader.seat.post(StopWanted(hands_over=False))
    world.run_until(lambda: leader.finished is not None, within_s=10)
    assert not watch.violations


def test_a_wish_that_was_taken_back_is_not_obeyed_any_more() -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    reads_candidates = lambda request: isinstance(request, Get) and request.key == KEYS.candidates  # noqa: E731
    world.order(fine(0.3, 0.3), reads_candidates, host=leader.host, times=1)
    wish(world, leader.term.token, "b")
    world.run_for(0.2)
    world.apply(Delete(KEYS.transfer))  # as who wished does, and is told then that nothing was done
    world.run_for(5)
    assert (leader.leads, len(leader.terms), other.terms) == (True, 1, [])


def test_a_wish_that_was_taken_back_while_its_offer_was_under_way_is_not_obeyed_either() -> None:
    world = World()
    leader, other, _ = pair(world, LENDING)
    world.order(fine(0.3, 0.3), writes_key(KEYS.transfer), host=leader.host, times=1)
    wish(world, leader.term.token, "b")
    world.run_for(0.2)
    world.apply(Delete(KEYS.transfer))
    world.run_for(5)
    assert (leader.leads, len(leader.terms), other.terms) == (True, 1, [])


# ---------------------------------------------------------------- said twice, or too late


@pytest.mark.parametrize("again", ["deciding", "ready", "timer"])
def test_what_is_said_of_the_work_after_it_has_ended_does_not_end_the_handover(again: str) -> None:
    """`run` that is called anew while the term is given back says once more that nothing runs."""
    world = World()
    leader, successor = leading_node(world, "a", drains_at_once=False), node(world, "b")
    world.run_for(3)
    token = leader.term.token
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, token, "w1", steps_down=True).to_value()))
    world.run_until(lambda: leader.state is ElectionState.DRAINING, within_s=5)
    if again == "ready":
        world.order(fine(0.3, 0.3), writes_key(KEYS.heartbeat), host=leader.host)
        world.run_until(lambda: leader.elector._reign.heartbeat_revision is None, within_s=10)
    else:
        world.order(fine(0.3, 0.001), writes_key(KEYS.leader), host=leader.host, times=1)
    if again == "timer":
        world.run_for(leader.options.stop_timeout_s - 0.2)
    began = len(world.log)
    leader.seat.post(Drained(token))
    if again != "timer":
        world.run_for(0.05)
        leader.seat.post(Drained(token))
    world.run_for(5)
    changes = [event.kind for write in world.log[began:] for event in write.events if event.kv.key == KEYS.leader]
    assert changes == [EventKind.PUT]
    assert successor.leads
    assert leader.last_reason is Reason.HANDOVER


@pytest.mark.parametrize("how", ["resign", "transfer"])
def test_a_handover_of_a_frozen_election_that_fails_late_leaves_the_lead_where_it_was(how: str) -> None:
    """Work that cannot be lent has ended by then: a new term begins on the same node."""
    world = World()
    leader, successor = leading_node(world, "a", drains_at_once=False), node(world, "b")
    world.run_for(3)
    order(world, lambda orders: orders.freeze(Order("ops", "migration")))
    world.run_for(1)
    token = leader.term.token
    if how == "resign":
        leader.seat.post(ResignWanted(leader.term.token, 2.0))
    else:
        wish(world, token, "b")
    world.run_until(lambda: leader.state is ElectionState.DRAINING, within_s=5)
    lease = successor.elector._sessions.current.lease_id
    successor.host.crash()
    world.apply(Revoke(lease))
    began = len(world.log)
    leader.seat.post(Drained(token))
    world.run_until(lambda: leader.leads, within_s=10)
    assert leader.term.token > token
    assert leader.last_reason is Reason.ADOPTED
    changes = [event.kind for write in world.log[began:] for event in write.events if event.kv.key == KEYS.leader]
    assert changes == [EventKind.PUT]  # at no revision was nobody leading


@pytest.mark.parametrize("ordered", ["pin", "block"])
def test_a_frozen_election_keeps_its_leader_against_pin_and_block_until_another_takes_over(
    ordered: str,
) -> None:
    world = World()
    leader, other = leading_node(world, "a", drains_at_once=False), node(world, "b")
    world.run_for(3)
    order(world, lambda orders: orders.freeze(Order("ops", "migration")))
    world.run_for(1)
    order(world, lambda orders: orders.pin("b", Order("ops")) if ordered == "pin" else orders.block("a", Order("ops")))
    world.run_until(lambda: leader.state is ElectionState.DRAINING, within_s=5)
    lost = world.order(request_lost(), writes_key(KEYS.heartbeat), host=leader.host)
    world.run_until(lambda: leader.elector._reign.heartbeat_revision is None, within_s=10)
    leader.drains_at_once = True
    leader.seat.post(Drained(leader.term.token))
    world.run_for(4)  # the last heartbeat is never known, so this handover comes to nothing
    world.rules.remove(lost)
    world.run_until(lambda: other.leads, within_s=60)


def test_a_stop_after_the_work_has_ended_for_a_handover_waits_for_no_more_of_it() -> None:
    world = World()
    leader = leading_node(world, "a", drains_at_once=False)
    node(world, "b")
    world.run_for(3)
    wish(world, leader.term.token, "b")
    world.run_until(lambda: leader.state is ElectionState.DRAINING, within_s=5)
    lost = world.order(request_lost(), writes_key(KEYS.heartbeat), host=leader.host)
    world.run_until(lambda: leader.elector._reign.heartbeat_revision is None, within_s=10)
    leader.seat.post(Drained(leader.term.token))
    world.run_for(0.01)
    leader.seat.post(StopWanted(hands_over=False))
    world.run_for(0.01)
    world.rules.remove(lost)
    world.run_until(lambda: leader.finished is not None, within_s=2)


@pytest.mark.parametrize("hiccup", [False, True])
def test_a_candidate_that_could_not_be_asked_once_is_not_put_behind_the_unfit(hiccup: bool) -> None:
    world = World()
    leader, fit, unfit = leading_node(world, "a"), node(world, "b"), node(world, "c")
    world.run_for(3)
    unfit.elector._service._cannot = (math.inf, "could not start")
    world.run_for(8)
    if hiccup:
        lost = world.order(request_lost(), writes_key(KEYS.transfer), host=leader.host)
        wish(world, leader.term.token, "b")
        world.run_for(4)
        world.rules.remove(lost)
        world.run_for(10)
    began = len(world.log)
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, leader.term.token, "w2", steps_down=True).to_value()))
    world.run_until(lambda: fit.leads, within_s=5)
    changes = [event.kind for write in world.log[began:] for event in write.events if event.kv.key == KEYS.leader]
    assert changes == [EventKind.PUT]


def test_a_candidate_that_was_silent_once_is_asked_before_the_unfit() -> None:
    world = World()
    leader, fit, unfit = leading_node(world, "a"), node(world, "b"), node(world, "c")
    world.run_for(3)
    unfit.elector._service._cannot = (math.inf, "could not start")
    world.run_for(8)
    fit.host.deaf = True
    wish(world, leader.term.token, "b")
    world.run_for(4)
    assert refusal(world) == "silent"
    fit.host.deaf = False
    for feed in fit.host.feeds:
        feed.nudge()
    world.run_for(1)
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, leader.term.token, "w2", steps_down=True).to_value()))
    world.run_until(lambda: fit.leads or unfit.leads, within_s=5)
    assert fit.leads


def test_who_is_handed_the_lead_by_a_wish_keeps_it_whatever_it_wished_before() -> None:
    world = World()
    first, second = leading_node(world, "a"), node(world, "b")
    world.run_for(8)
    first.seat.post(ResignWanted(first.term.token, 60.0))
    world.run_until(lambda: second.leads, within_s=5)
    world.run_for(3)
    wish(world, second.term.token, "a")
    world.run_until(lambda: first.leads, within_s=5)
    token = first.term.token
    world.run_for(60)
    assert first.leads
    assert first.term.token == token


def test_a_refused_handover_without_lending_is_not_taken_for_done_by_an_empty_record() -> None:
    """Nothing is lent, so nothing but the leader key can show that it was applied."""
    world = World()
    leader, other = leading_node(world, "a"), node(world, "b")
    world.run_for(3)
    slow = world.order(fine(0.1), hands_over, times=1)
    leader.seat.post(ResignWanted(leader.term.token, 0.0))
    world.run_until(lambda: slow.met == 1)
    order(world, lambda orders: orders.require_version("1", Order("ops")))  # it is compared, so this refuses it
    world.apply(Put(KEYS.transfer, b""))
    world.run_until(lambda: leader.state is ElectionState.CANDIDATE)
    assert leader.last_reason is Reason.RESIGNED
    world.run_until(lambda: other.leads)
