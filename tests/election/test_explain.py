"""Why a node leads, or does not, in plain words; and who would, if things were otherwise."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from election.test_eligible import CANDIDATES, NO_ORDERS, OPS, ORDERS, RULES, UPTIME, candidate
from election.test_history_record import told
from election.test_scoring import WEIGHTS
from slurp_leader.election.history.entries import ActionRecord, HistoryRecord
from slurp_leader.election.history.explain import Explanation, explain
from slurp_leader.election.history.simulate import Simulation, simulate
from slurp_leader.election.history.situation import Situation
from slurp_leader.election.operator import Forced, OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import Circumstances
from slurp_leader.election.ranking.scoring import ScoreInputs, Weights
from slurp_leader.election.records import LeaderRecord
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.store import KeyValue
from support.electing import KEYS

A, B, C = candidate("n-a", 0.8), candidate("n-b", 0.6), candidate("n-c", 0.4)
SINCE = "n-a leads since 2026-01-31T12:00:00.000Z, in epoch 8"
PAST = "n-a led in epoch 8, from 2026-01-31T12:00:00.000Z on"
NOT_REPLACED = "Who leads is not replaced by a candidate with a higher score."


def led_by(record: HistoryRecord, *candidates: Candidate, **more: Any) -> Situation:
    """The term of a record is in force."""
    leader = LeaderRecord(record.node_id, record.session, "t", 10, record.epoch, reason=record.reason)
    key = KeyValue(KEYS.leader, leader.to_value(), 5, 5, 1)
    facts: dict[str, Any] = {"newest": record, **more}
    return Situation(9, key, leader, record.epoch, candidates=candidates, **facts)


def vacant(*candidates: Candidate, orders: OperatorRecord = NO_ORDERS, **more: Any) -> Situation:
    """Nobody leads; the newest term, which somebody else had, tells weights and rules."""
    facts: dict[str, Any] = {"session": "s-old", "node_id": "n-old", **more}
    return Situation(9, epoch=8, operator=orders, candidates=candidates, newest=told([], weights=UPTIME, **facts))


def record_of(*candidates: Candidate, orders: OperatorRecord = NO_ORDERS, **more: Any) -> HistoryRecord:
    """Who won is n-a, unless said otherwise."""
    facts: dict[str, Any] = {"waited_s": 0.0, "by": "", "why": "", "before": "n-z", **more}
    return told(list(candidates), orders, UPTIME, **facts)


def why(node_id: str, situation: Situation, *entries: Any, **more: Any) -> Explanation:
    return explain(node_id, situation, entries, rank_wait_s=1.0, **more)


def in_force(node_id: str, record: HistoryRecord, *candidates: Candidate, **more: Any) -> str:
    found = why(node_id, led_by(record, *candidates, **more))
    assert found.epoch == 8
    assert found.leads == (node_id == record.node_id)
    return found.sentence


# ---------------------------------------------------------------- it leads


def test_it_was_elected_as_the_first() -> None:
    record = record_of(A, B)
    assert in_force("n-a", record, A, B) == (
        f"{SINCE}: it was elected as the first of 2 candidates, with a score of 0.80."
    )
    waited = dataclasses.replace(record, waited_s=1.75)
    assert in_force("n-a", waited, A, B).endswith("with a score of 0.80, after 1.8 s in which no other came.")


def test_it_was_elected_as_the_only_one() -> None:
    assert in_force("n-a", record_of(A), A) == f"{SINCE}: it was elected as the only candidate."


def test_it_was_elected_because_a_better_one_did_not_come() -> None:
    record = record_of(candidate("n-a", 0.5), B, waited_s=0.9)
    assert in_force("n-a", record, A, B) == (
        f"{SINCE}: it was elected with a score of 0.50, as the first that came after a wait of 0.9 s: n-b was to go "
        f"first, and did not come in time."
    )


def test_it_was_elected_and_no_more_is_told() -> None:
    assert in_force("n-a", record_of(B), A) == f"{SINCE}: it was elected."
    blocked = record_of(A, B, orders=NO_ORDERS.block("n-a", OPS))
    assert in_force("n-a", blocked, A, B) == f"{SINCE}: it was elected."


@pytest.mark.parametrize(
    ("facts", "how"),
    [
        ({"reason": "stolen"}, "it took the lead from n-z, which had gone silent."),
        ({"reason": "stolen", "before": ""}, "it took the lead from a holder, which had gone silent."),
        ({"reason": "adopted"}, "it found the lead in its own name after an interruption, and took it up again."),
        ({"reason": "handover"}, "n-z handed the lead over to it."),
        ({"reason": "handover", "before": ""}, "who led before handed the lead over to it."),
        ({"reason": "handover", "by": "n-z", "why": "it is not fit"}, "n-z handed the lead over to it: it is not fit."),
        (
            {"reason": "handover", "by": "n-z", "why": "n-z: it is blocked by ops"},
            "n-z handed the lead over to it: n-z is blocked by ops.",
        ),
        (
            {"reason": "handover", "by": "ops", "why": "upgrade"},
            "n-z handed the lead over to it, as ops wished: upgrade.",
        ),
        ({"reason": "lottery"}, "it came to the lead by lottery."),
        ({"reason": ""}, "it came to the lead by a way that is not told."),
    ],
)
def test_it_came_to_the_lead_otherwise(facts: dict[str, Any], how: str) -> None:
    assert in_force("n-a", record_of(A, B, **facts), A, B) == f"{SINCE}: {how}"


def test_a_term_that_is_over_is_told_as_such() -> None:
    record = record_of(A, B)
    now = led_by(record_of(B, A, node_id="n-b", session="s-n-b", epoch=9), A, B)
    found = why("n-a", now, record=record)
    assert found.sentence.startswith(f"{PAST}: it was elected as the first of 2")
    assert (found.epoch, found.leads) == (8, True)
    assert why("n-a", vacant(A, B), record=dataclasses.replace(record, at="")).sentence.startswith(
        "n-a led in epoch 8, from a time that is not told on"
    )


@pytest.mark.parametrize("is_over", [False, True])
def test_a_term_is_told_with_the_waits_of_all_candidates_as_they_were_then(is_over: bool) -> None:
    late, kept = candidate("n-c", 0.4, unfit="ill"), candidate("n-d", 0.9)
    record = record_of(A, B, late, kept, orders=NO_ORDERS.block("n-d", OPS), rank_wait_s=2.0)
    then = Situation(9, operator=NO_ORDERS.block("n-d", OPS), candidates=(A, B, late, kept), newest=None)
    present = {row.node_id: row.wait_s for row in explain("n-a", then, rank_wait_s=2.0).rows}
    assert all(present[name] for name in ("n-b", "n-c"))
    now = vacant(A) if is_over else led_by(record, A)
    told_of = {row.node_id: row.wait_s for row in why("n-a", now, record=record).rows}
    assert told_of == present
    assert (told_of["n-a"], told_of["n-d"]) == (0.0, None)


def test_no_waits_are_told_where_the_record_has_none_or_leaves_out_who_could_have_led() -> None:
    for record in (record_of(A, B), record_of(A, B, rank_wait_s=1.0, stood=40)):
        assert {row.wait_s for row in why("n-a", vacant(A), record=record).rows} == {None}
    blocked = record_of(A, B, orders=NO_ORDERS.block("n-b", OPS), rank_wait_s=1.0, stood=40)
    assert [row.wait_s for row in why("n-a", vacant(A), record=blocked).rows] == [0.0, None]


def test_a_term_of_the_same_number_by_another_session_is_not_in_force() -> None:
    record = record_of(A, B)
    other = led_by(dataclasses.replace(record, session="s2"), A, B)
    assert why("n-a", other, record=record).sentence.startswith(PAST)
    assert why("n-a", dataclasses.replace(other, newest=record)).sentence == (
        "n-a leads, in epoch 8; how that came about is not told in the history."
    )


# ---------------------------------------------------------------- another one leads


def test_it_scored_less_and_what_made_the_difference() -> None:
    weights = Weights(0.0, 0.35, 0.5, 0.15, 0.0)
    near = Candidate("n-a", "s-n-a", 1, 10, inputs=ScoreInputs(cpu_free=0.8, uptime_s=600, round_trip_s=0.001))
    far = Candidate("n-b", "s-n-b", 1, 10, inputs=ScoreInputs(cpu_free=0.75, uptime_s=660, round_trip_s=0.09))
    record = told([near, far], weights=weights, waited_s=0.0)
    assert in_force("n-b", record, near, far) == (
        f"{SINCE}: it was elected. n-b scored 0.54 against 0.67 for n-a; most of the difference is network, 0.10 "
        f"against 0.91, which counts 15%."
    )


def test_where_parts_are_not_told_only_scores_are_compared() -> None:
    record = record_of(A, B)
    bare = [dataclasses.replace(each, score=dataclasses.replace(each.score, parts={})) for each in record.standings]
    assert in_force("n-b", dataclasses.replace(record, standings=tuple(bare)), A, B) == (
        f"{SINCE}: it was elected. n-b scored 0.60 against 0.80 for n-a."
    )


def test_it_scored_the_same_and_the_node_id_decided() -> None:
    twin = candidate("n-b", 0.8)
    assert in_force("n-b", record_of(A, twin), A, twin) == (
        f"{SINCE}: it was elected. n-b scored 0.80 against 0.80 for n-a: that is equal, and then the order of node ids "
        f"decides."
    )


def test_it_scored_more_and_was_put_back() -> None:
    ill = candidate("n-b", 0.9, unfit="disk is full")
    assert in_force("n-b", record_of(A, ill), A, ill) == (
        f"{SINCE}: it was elected. n-b let others go first, with 0.90 against 0.80 for n-a: it is not fit: disk is "
        f"full."
    )


def test_it_had_led_until_then() -> None:
    record = record_of(A, candidate("n-b", 0.9), rules={"gave_up": "s-n-b"})
    assert "n-b let others go first, with 0.90 against 0.80 for n-a: it led last, so others go first." in in_force(
        "n-b", record, A, B
    )


def test_it_was_put_back_behind_one_that_had_led_until_then() -> None:
    record = record_of(A, candidate("n-b", 0.9, unfit="ill"), rules={"gave_up": "s-n-a"})
    assert "n-b let others go first, with 0.90 against 0.80 for n-a: it is not fit" in in_force("n-b", record, A, B)


def test_who_led_until_now_is_behind_one_that_won_too_often_whatever_the_scores() -> None:
    stand = [candidate("n-a", 0.3, cooling=True), candidate("n-b", 0.9)]
    record = record_of(*stand, rules={"gave_up": "s-n-b"})
    assert "n-b let others go first, with 0.90 against 0.30 for n-a: it led last" in in_force("n-b", record, *stand)


def test_of_two_that_are_unfit_the_one_that_led_until_now_is_behind_whatever_the_scores() -> None:
    stand = [candidate("n-a", 0.3, unfit="ill"), candidate("n-b", 0.9, unfit="ill")]
    found = free("n-b", vacant(*stand, session="s-n-b"))
    assert "n-b lets others go first, with 0.90 against 0.30 for n-a: it is not fit: ill; it led last" in found
    assert "equal" not in found


def test_of_two_that_let_others_go_first_the_score_decides() -> None:
    ills = [candidate("n-a", 0.8, unfit="ill"), candidate("n-b", 0.6, unfit="ill too")]
    assert "n-b scored 0.60 against 0.80 for n-a; most" in in_force("n-b", record_of(*ills), *ills)


def test_it_was_not_ready() -> None:
    cold = candidate("n-b", 0.9, warm=False)
    assert in_force("n-b", record_of(A, cold), A, cold) == (
        f"{SINCE}: it was elected. n-b had not yet seen all that it needs to lead at once, with 0.90 against 0.80 for "
        f"n-a."
    )


def test_it_was_to_go_first_and_did_not_come() -> None:
    late = record_of(candidate("n-a", 0.5), B, waited_s=0.9)
    assert in_force("n-b", late, A, B) == (
        f"{SINCE}: it was elected. n-b stood before it, 0.60 against 0.50, but did not come in time: after a wait of "
        f"0.9 s, whoever comes first leads."
    )
    both = record_of(candidate("n-a", 0.5, unfit="ill"), candidate("n-b", 0.6, unfit="busy"), waited_s=1.9)
    assert "did not come in time (it is not fit: busy): after a wait of 1.9 s" in in_force("n-b", both, A, B)


def test_it_could_not_lead_then() -> None:
    record = record_of(A, B, orders=NO_ORDERS.block("n-b", OPS))
    assert in_force("n-b", record, A, B) == (
        f"{SINCE}: it was elected. n-b could not lead then: it is blocked by ops: disk is failing."
    )


def test_only_what_kept_it_from_leading_is_named() -> None:
    record = record_of(A, candidate("n-b", unfit="ill"), orders=NO_ORDERS.block("n-b", OPS))
    assert in_force("n-b", record, A, B).endswith("could not lead then: it is blocked by ops: disk is failing.")


def test_it_was_not_standing_then() -> None:
    assert in_force("n-c", record_of(A, B), A, B, candidate("n-c", 0.99)) == (
        f"{SINCE}: it was elected. n-c was not standing then. {NOT_REPLACED}"
    )


def test_it_is_pinned_and_fit_and_waits_for_who_leads() -> None:
    pinned = NO_ORDERS.pin("n-b", OPS)
    waits = (
        "n-b is pinned by ops: disk is failing, and fit; n-a has not handed over to it yet. If n-a does not answer: "
        "`slurp leader force --to n-b`."
    )
    new = led_by(record_of(A), A, B, operator=pinned)
    assert why("n-b", new).sentence == f"{SINCE}: it was elected. n-b was not standing then. {waits}"
    untold = dataclasses.replace(new, newest=None)
    assert why("n-b", untold).sentence.endswith(f"is not told in the history. {waits}")
    assert why("n-b", led_by(record_of(A, B), A, B, operator=pinned)).sentence.endswith(f"counts 100%. {waits}")
    assert why("n-a", new).notes == (waits,)
    assert waits not in str(why("n-c", led_by(record_of(A), A, B, C, operator=pinned)))
    assert waits not in str(why("n-b", new, record=record_of(A)))


@pytest.mark.parametrize(
    "orders",
    [NO_ORDERS, *(NO_ORDERS.pin(name, OPS) for name in ("n-a", "n-x")), NO_ORDERS.pin("n-b", OPS).block("n-b", OPS)],
)
def test_nobody_waits_for_a_handover_where_none_is_due(orders: OperatorRecord) -> None:
    assert "handed over" not in str(why("n-b", led_by(record_of(A), A, B, operator=orders)))
    ill = candidate("n-b", unfit="ill")
    assert "handed over" not in str(why("n-b", led_by(record_of(A), A, ill, operator=NO_ORDERS.pin("n-b", OPS))))


def test_it_is_no_candidate_at_all() -> None:
    assert in_force("n-x", record_of(A, B), A, B) == (
        f"{SINCE}: it was elected. No candidate is called n-x: n-a, n-b stand."
    )
    assert in_force("n-x", record_of(A), A).endswith("No candidate is called n-x: n-a stands.")
    assert in_force("n-x", record_of(A)).endswith("No candidate is called n-x: nobody stands.")
    many = [candidate(f"n-{number:02}") for number in range(12)]
    assert in_force("n-x", record_of(A), *many).endswith("n-08, n-09 and 2 more stand.")


def test_it_was_not_among_those_that_are_kept() -> None:
    record = dataclasses.replace(record_of(A, B), stood=40)
    assert in_force("n-c", record, A, B, C) == (
        f"{SINCE}: it was elected. n-c was not among the best 2 of 40 candidates, and no more are kept."
    )


def test_the_lead_was_handed_over() -> None:
    facts = {"reason": "handover", "before": "n-b", "by": "ops", "why": "upgrade"}
    handed = "n-b handed the lead over to it, as ops wished: upgrade"
    record = record_of(A, C, **facts)
    assert in_force("n-b", record, A, B, C) == f"{SINCE}: n-b handed the lead over to it, as ops wished: upgrade."
    assert in_force("n-c", record, A, B, C).startswith(f"{SINCE}: {handed}. n-c scored 0.40 against 0.80 for n-a")
    better = record_of(A, candidate("n-c", 0.9), **facts)
    assert in_force("n-c", better, A, B, C) == (
        f"{SINCE}: {handed}. n-c stood before it, 0.90 against 0.80, but n-a was the one that was named, or the first "
        f"that agreed."
    )
    own_wish = record_of(A, reason="handover", before="n-b", by="n-b", why="it is not fit: ill")
    assert in_force("n-b", own_wish, A, B) == f"{SINCE}: n-b handed the lead over to it: it is not fit: ill."


def test_in_a_frozen_election_the_lead_was_handed_to_another() -> None:
    """The freeze kept nobody from that: the winner stood in the same election."""
    handed = {"reason": "handover", "before": "n-z"}
    assert in_force("n-b", record_of(A, B, orders=NO_ORDERS.freeze(OPS), **handed), A, B) == (
        f"{SINCE}: n-z handed the lead over to it. n-b stood with a score of 0.60, but n-a was the one that was named, "
        f"or the first that agreed."
    )
    blocked = record_of(A, B, orders=NO_ORDERS.freeze(OPS).block("n-b", OPS), **handed)
    assert in_force("n-b", blocked, A, B).endswith("could not lead then: it is blocked by ops: disk is failing.")


def test_the_lead_was_taken_from_a_silent_holder() -> None:
    assert in_force("n-b", record_of(A, B, reason="stolen"), A, B).startswith(
        f"{SINCE}: it took the lead from n-z, which had gone silent. n-b scored 0.60 against 0.80"
    )


def test_the_lead_was_taken_up_again() -> None:
    assert in_force("n-b", record_of(A, B, reason="adopted"), A, B) == (
        f"{SINCE}: it found the lead in its own name after an interruption, and took it up again, so there was nothing "
        f"for n-b to win."
    )


def test_who_leads_is_not_among_those_that_are_told_of() -> None:
    assert in_force("n-b", record_of(B), A, B) == f"{SINCE}: it was elected. n-b stood with a score of 0.60."
    forbidden = record_of(A, B, orders=NO_ORDERS.block("n-a", OPS))
    assert in_force("n-b", forbidden, A, B).endswith("n-b stood with a score of 0.60.")


def test_how_the_term_in_force_came_about_is_not_told() -> None:
    situation = dataclasses.replace(led_by(record_of(A, B), A, B), newest=None)
    headline = "n-a leads, in epoch 8; how that came about is not told in the history."
    assert why("n-a", situation).sentence == headline
    assert why("n-a", situation).leads
    assert why("n-b", situation).sentence == f"{headline} {NOT_REPLACED}"
    assert not why("n-b", situation).leads
    assert why("n-x", situation).sentence == f"{headline} No candidate is called n-x: n-a, n-b stand."
    older = dataclasses.replace(situation, newest=record_of(A, B, epoch=7))
    assert why("n-b", older).sentence == f"{headline} {NOT_REPLACED}"


def test_somebody_leads_whose_record_cannot_be_read() -> None:
    found = why("n-b", dataclasses.replace(led_by(record_of(A, B), A, B), record=None))
    assert found.sentence == "Somebody leads whose record cannot be read, so there is no place for n-b."
    assert [row.node_id for row in found.rows] == ["n-a", "n-b"]


# ---------------------------------------------------------------- nobody leads


def free(node_id: str, situation: Situation) -> str:
    found = why(node_id, situation)
    assert (found.epoch, found.leads) == (0, False)
    return found.sentence


def test_it_goes_first() -> None:
    assert free("n-a", vacant(A, B)) == "Nobody leads. n-a goes first: it campaigns as soon as it sees that."


def test_it_lets_a_better_one_go_first() -> None:
    assert free("n-b", vacant(A, B)) == (
        "Nobody leads. n-b lets others go first, for about 0.9 s from when it saw that nobody leads: n-a goes before "
        "it. n-b scores 0.60 against 0.80 for n-a; most of the difference is uptime, 0.60 against 0.80, which counts "
        "100%."
    )
    assert "n-b has not yet seen all that it needs" in free("n-b", vacant(A, candidate("n-b", 0.9, warm=False)))


def test_it_lets_others_go_first_because_it_should_not_lead() -> None:
    ill = candidate("n-b", 0.9, unfit="disk is full")
    assert free("n-b", vacant(A, ill)) == (
        "Nobody leads. n-b lets others go first, for about 1.9 s from when it saw that nobody leads: n-a goes before "
        "it. n-b lets others go first, with 0.90 against 0.80 for n-a: it is not fit: disk is full."
    )
    assert free("n-b", vacant(ill)) == (
        "Nobody leads. n-b lets others go first, for about 1.8 s from when it saw that nobody leads: it is not fit: "
        "disk is full."
    )


def test_it_led_until_now() -> None:
    assert "it led last, so others go first" in free("n-b", vacant(A, candidate("n-b", 0.9), session="s-n-b"))
    alone = vacant(candidate("n-b", 0.9), session="s-n-b")
    assert free("n-b", alone) == "Nobody leads. n-b goes first: it campaigns as soon as it sees that."


@pytest.mark.parametrize(
    ("orders", "rules", "because"),
    [
        (NO_ORDERS.block("n-b", OPS), {}, "it is blocked by ops: disk is failing"),
        (NO_ORDERS.freeze(OPS), {}, "the election is frozen by ops: disk is failing"),
        (NO_ORDERS.pin("n-a", OPS), {}, "the lead is pinned to n-a by ops: disk is failing"),
        (NO_ORDERS, {"requires": ("lead",)}, "it lacks the capability lead"),
        (NO_ORDERS, {"min_nodes": 3}, "2 of at least 3 nodes stand (election.min_nodes)"),
    ],
)
def test_it_does_not_campaign(orders: OperatorRecord, rules: dict[str, Any], because: str) -> None:
    stand = [replace(each, **rules) for each in (A, B)]
    assert free("n-b", vacant(*stand, orders=orders)) == f"Nobody leads. n-b does not campaign: {because}."


def test_each_candidate_is_held_to_what_its_own_settings_ask_for() -> None:
    """As it judges itself: a plain election and one that requires something are one election. Known before anybody ever
    led, too."""
    picky = replace(B, requires=("lead",), min_nodes=3)
    never = Situation(9, candidates=(A, picky))
    assert free("n-b", never) == (
        "Nobody leads. n-b does not campaign: it lacks the capability lead; 2 of at least 3 nodes stand "
        "(election.min_nodes)."
    )
    assert free("n-a", never) == "Nobody leads. n-a goes first: it campaigns as soon as it sees that."


def test_what_one_candidate_requires_keeps_no_other_from_being_the_pinned_one_that_could_lead() -> None:
    pinned = vacant(A, replace(B, requires=("lead",)), orders=NO_ORDERS.pin("n-a", OPS))
    assert free("n-a", pinned) == "Nobody leads. n-a goes first: it campaigns as soon as it sees that."


def test_where_the_leader_hands_over_its_own_settings_say_who_can() -> None:
    able = candidate("n-b", 0.6, capabilities=("lead",))
    leader = replace(A, requires=("lead",), inputs=replace(A.inputs, capabilities=("lead",)))
    picky = replace(C, requires=("moon",))
    rules = led_by(record_of(leader), leader, able, picky).by_the_leader
    assert (rules.requires, rules.able) == (("lead",), frozenset({"n-a", "n-b"}))
    gone = led_by(record_of(leader), able, picky).by_the_leader
    assert (gone.requires, gone.able) == ((), frozenset({"n-b", "n-c"}))


def test_who_led_until_it_died_is_told_of_and_why_nobody_follows() -> None:
    frozen = vacant(A, B, orders=NO_ORDERS.freeze(OPS), node_id="n-x")
    assert free("n-x", frozen) == (
        "Nobody leads. n-x led in epoch 8, and is gone. No candidate is called n-x: n-a, n-b stand. Nobody "
        "campaigns: the election is frozen by ops: disk is failing."
    )


def test_scores_that_count_as_equal_are_said_to() -> None:
    near = candidate("n-c", 0.8004)
    told = simulate([A, near], Circumstances.of([A, near], NO_ORDERS), UPTIME, rank_wait_s=1.0, leader=None)
    assert "next comes n-c with 0.80, which counts as equal, after about" in told.sentence


def test_it_does_not_stand() -> None:
    assert free("n-x", vacant(A, B)) == "Nobody leads. No candidate is called n-x: n-a, n-b stand."
    assert free("n-x", Situation(9)) == "Nobody leads. No candidate is called n-x: nobody stands."


# ---------------------------------------------------------------- notes and rows


def test_what_would_stand_against_it_now_is_noted() -> None:
    record = record_of(A, B)
    blocked = why("n-b", led_by(record, A, B, operator=NO_ORDERS.block("n-b", OPS)))
    assert blocked.notes == ("At present n-b could not lead: it is blocked by ops: disk is failing.",)
    ill = why("n-b", led_by(record, A, candidate("n-b", unfit="ill")))
    assert ill.notes == ("At present n-b would let others go first: it is not fit: ill.",)
    assert why("n-b", led_by(record, A, B)).notes == ()
    assert why("n-a", led_by(record, candidate("n-a", unfit="ill"), B)).notes == ()
    assert why("n-b", led_by(record, A)).notes == ()
    past = why("n-b", vacant(A, B, orders=NO_ORDERS.block("n-b", OPS)), record=record)
    assert past.notes == ()


def test_a_new_start_is_noted() -> None:
    again = candidate("n-b", 0.6, session="s2")
    assert why("n-b", led_by(record_of(A, B), A, again)).notes == ("n-b has been started anew since then.",)


def test_one_node_id_of_several_processes_is_noted() -> None:
    twin = candidate("n-b", 0.3, session="s2")
    found = why("n-b", vacant(A, B, twin))
    assert "n-b scores 0.60" in found.sentence
    assert found.notes == (
        "2 processes stand with the node id n-b, sessions s-n-b, s2. Each of them is a candidate of its own, and the "
        "best placed one is meant here; give each its own node id.",
    )
    same = candidate("n-b", 0.6, session="s-n-c")
    record = record_of(B, same, node_id="n-b", session="s-n-b")
    assert why("n-b", led_by(record, B, same)).leads


def test_orders_that_were_given_meanwhile_are_noted() -> None:
    entries = [
        ActionRecord("freeze", 7, "ops"),
        ActionRecord("block", 8, "ops", what="n-x"),
        ActionRecord("unblock", 8, "", what="n-x"),
        record_of(A, B),
        ActionRecord("pin", 8, "ops", "disk is failing", what="n-a"),
        ActionRecord("require_version", 8, "dev", what="1.2"),
    ]
    expected = (
        "In epoch 8, somebody ordered unblock n-x.",
        "In epoch 8, ops ordered pin n-a: disk is failing.",
        "In epoch 8, dev ordered require version 1.2.",
    )
    assert why("n-b", led_by(record_of(A, B), A, B), *entries).notes == expected
    assert why("n-b", vacant(A, B), *entries).notes == expected
    earlier = why("n-b", vacant(A, B), *entries, record=record_of(A, B, epoch=7))
    assert earlier.notes == ("In epoch 7, ops ordered freeze.",)


def test_orders_that_cannot_be_read_are_noted() -> None:
    situation = dataclasses.replace(vacant(A, B), operator_problem="not JSON")
    assert why("n-a", situation).notes == ("The orders of operators cannot be read, so none is in force: not JSON.",)


def test_force_is_noted() -> None:
    record = record_of(A, B, orders=NO_ORDERS.force(Forced(7, "", "s-n-z", OPS)))
    assert why("n-a", led_by(record, A, B)).notes == ("The term before was ended by force, by ops: disk is failing.",)
    earlier = record_of(A, B, orders=NO_ORDERS.force(Forced(6, "", "s-n-z", OPS)))
    assert why("n-a", led_by(earlier, A, B)).notes == ()


def test_candidates_are_listed_with_all_that_counts() -> None:
    ill = candidate("n-c", 0.9, unfit="ill")
    found = why("n-b", vacant(A, B, ill, candidate("n-d"), orders=NO_ORDERS.block("n-d", OPS)))
    assert [(row.place, row.node_id, row.wait_s, row.against, row.leads) for row in found.rows] == [
        (0, "n-a", 0.0, "", False),
        (1, "n-b", pytest.approx(0.75 + 1 / 12), "", False),
        (2, "n-c", pytest.approx(1.75 + 2 / 12), "it is not fit: ill", False),
        (None, "n-d", None, "it is blocked by ops: disk is failing", False),
    ]
    then = why("n-b", led_by(record_of(A, B), ill))
    assert [(row.place, row.node_id, row.wait_s, row.leads) for row in then.rows] == [
        (0, "n-a", None, True),
        (1, "n-b", None, False),
    ]


def test_an_explanation_is_plain_data() -> None:
    odd = why("n-d", vacant(A, B, C, candidate("n-d", 1 / 3))).to_fields()["candidates"][3]
    assert (odd["score"], odd["wait_s"]) == (0.3333, 0.938)
    fields = json.loads(json.dumps(why("n-b", led_by(record_of(A, B), A, B)).to_fields()))
    assert fields["node"] == "n-b"
    assert fields["epoch"] == 8
    assert fields["leads"] is False
    assert fields["notes"] == []
    assert fields["candidates"][1] == {
        "place": 1, "node": "n-b", "session": "s-n-b", "score": 0.6, "against": "", "wait_s": None, "leads": False,
        "place_before": None,
        "parts": {"capability": 0.0, "resources": 0.5, "uptime": 0.6, "network": 0.5, "experience": 0.0},
    }  # fmt: skip


@given(
    CANDIDATES, CANDIDATES, ORDERS, RULES, WEIGHTS, st.sampled_from(["elected", "stolen", "handover", "adopted", "?"]),
    st.sampled_from(["n-a", "n-b", "n-x"]), st.booleans(),
)  # fmt: skip
def test_there_is_an_answer_whatever_happened(
    then: list[Candidate], now: list[Candidate], orders: OperatorRecord, rules: dict[str, Any], weights: Weights,
    reason: str, node_id: str, leads: bool,
) -> None:  # fmt: skip
    winner = then[0] if then else A
    facts = {"node_id": winner.node_id, "session": winner.session, "reason": reason}
    record = told(then, orders, weights, rules, **facts)
    situation = led_by(record, *now, operator=orders)
    situation = situation if leads else dataclasses.replace(situation, leader=None, record=None)
    for past in (None, record):
        found = why(node_id, situation, record=past)
        assert found.sentence.endswith(".")
        assert all(note.endswith(".") for note in found.notes)
        assert ".." not in found.sentence
        assert "None" not in found.sentence
        json.dumps(found.to_fields())


# ---------------------------------------------------------------- what if


def what_if(
    candidates: list[Candidate],
    orders: OperatorRecord = NO_ORDERS,
    weights: Weights = UPTIME,
    leader: Candidate | None = None,
    rules: dict[str, Any] | None = None,
    before: tuple[OperatorRecord, Weights] | None = None,
) -> Simulation:
    record = LeaderRecord(leader.node_id, leader.session, "t", 10, 8) if leader else None
    tried = Circumstances.of(candidates, orders, **(rules or {}))
    known = (Circumstances.of(candidates, before[0], **(rules or {})), before[1]) if before else None
    return simulate(candidates, tried, weights, rank_wait_s=1.0, leader=record, in_force=known)


def test_who_would_go_first() -> None:
    found = what_if([A, B, C])
    assert found.sentence == (
        "If an election were held now, n-a would go first, with a score of 0.80; next comes n-b with 0.60, after about "
        "0.8 s."
    )
    assert (found.first, found.first_before) == ("n-a", "")
    assert [row.place for row in found.rows] == [0, 1, 2]
    assert [row.wait_s for row in found.rows] == [0.0, pytest.approx(0.75 + 1 / 12), pytest.approx(0.75 + 2 / 12)]


def test_the_only_one_would_go_first_even_if_it_waits() -> None:
    assert what_if([A]).sentence == "If an election were held now, n-a would go first, with a score of 0.80."
    assert what_if([candidate("n-a", 0.8, unfit="ill"), B], NO_ORDERS.block("n-b", OPS)).sentence == (
        "If an election were held now, n-a would go first, with a score of 0.80, after a wait of about 1.8 s."
    )


def test_nobody_could_lead() -> None:
    found = what_if([A, B], NO_ORDERS.block("n-a", OPS), rules={"requires": ("lead",)})
    assert found.sentence == (
        "If an election were held now, nobody could lead. n-a: it is blocked by ops: disk is failing; it lacks the "
        "capability lead; n-b: it lacks the capability lead."
    )
    assert found.first == ""
    assert what_if([]).sentence == "If an election were held now, nobody could lead: no candidate stands."


def test_other_weights_are_compared_with_those_in_force() -> None:
    near = Candidate("n-b", "s-n-b", 1, 10, inputs=ScoreInputs(round_trip_s=0.0))
    found = what_if([A, near], weights=Weights(0, 0, 0, 1, 0), before=(NO_ORDERS, UPTIME))
    assert (found.first, found.first_before) == ("n-b", "n-a")
    assert found.sentence.endswith("With the weights and orders in force, it is n-a.")
    assert [(row.node_id, row.place, row.place_before) for row in found.rows] == [("n-b", 0, 1), ("n-a", 1, 0)]
    same = what_if([A, near], before=(NO_ORDERS, UPTIME))
    assert same.sentence.endswith("That is the same as with the weights and orders in force.")


def test_other_orders_are_compared_with_those_in_force() -> None:
    found = what_if([A, B], before=(NO_ORDERS.freeze(OPS), UPTIME))
    assert (found.first, found.first_before) == ("n-a", "")
    assert found.sentence.endswith("With the weights and orders in force, nobody could lead.")
    assert [row.place_before for row in found.rows] == [None, None]


def test_who_leads_goes_on_leading_unless_an_order_makes_it_go() -> None:
    assert what_if([A, B], leader=B).sentence.endswith(
        "n-b leads now, and goes on leading: a score replaces no leader."
    )
    assert [row.leads for row in what_if([A, B], leader=B).rows] == [False, True]
    assert what_if([A, B], NO_ORDERS.pin("n-a", OPS), leader=B).sentence.endswith(
        "n-b leads now, and would have to hand over: the lead is pinned to n-a by ops: disk is failing."
    )
    assert what_if([A, B], NO_ORDERS.block("n-b", OPS).freeze(OPS), leader=B).sentence.endswith(
        "n-b leads now, and would have to hand over: it is blocked by ops: disk is failing."
    )
    assert "goes on leading" in what_if([A, B], NO_ORDERS.freeze(OPS), leader=B).sentence
    assert "goes on leading" in what_if([A], leader=B).sentence


@given(CANDIDATES, ORDERS, RULES, WEIGHTS, WEIGHTS)
def test_a_simulation_is_plain_data_whatever_is_tried(
    candidates: list[Candidate], orders: OperatorRecord, rules: dict[str, Any], weights: Weights, others: Weights
) -> None:
    found = what_if(candidates, orders, weights, candidates[0] if candidates else None, rules, (NO_ORDERS, others))
    fields = json.loads(json.dumps(found.to_fields()))
    assert fields["first"] == next((row["node"] for row in fields["candidates"] if row["place"] == 0), "")
    assert fields["first_before"] == next((row["node"] for row in fields["candidates"] if row["place_before"] == 0), "")
    assert len(fields["candidates"]) == len(candidates)
    assert fields["sentence"].endswith(".")


def test_a_node_that_refused_its_term_did_not_lead_in_it() -> None:
    veto = ActionRecord("veto", 8, "n-a", "no disk", what="n-a")
    handed = record_of(A, reason="handover", before="n-z")
    told = why("n-a", vacant(A, B), veto, record=handed)
    assert told.sentence == (
        "n-a was to lead in epoch 8, from 2026-01-31T12:00:00.000Z on: n-z handed the lead over to it."
    )
    assert told.notes == ("n-a gave the term of epoch 8 back before it led: no disk.",)
    assert not told.leads
    assert not any(row.leads for row in told.rows)
    assert why("n-z", vacant(A, B), veto, record=handed).notes == told.notes
    assert why("n-a", led_by(handed, A, B), record=handed).leads


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (TransferRecord(Stage.WISHED, 5, "w", "n-b", "ops", "new disk"), "hand over to n-b, by ops: new disk"),
        (TransferRecord(Stage.WISHED, 5, "w"), "the leader is asked to hand over to another"),
        (TransferRecord(Stage.WISHED, 5, "w", by="ops", steps_down=True), "the leader is asked to step down, by ops"),
        (TransferRecord(Stage.OFFERED, 5, "w", by="ops", node_id="n-b"), "n-b is asked to take over, by ops"),
        (TransferRecord(Stage.REFUSED, 5, "w", "n-b"), ""),
        (TransferRecord(Stage.OFFERED, 4, node_id="n-b"), ""),  # of another term
    ],
)
def test_a_handover_that_is_under_way_is_noted(record: TransferRecord, says: str) -> None:
    standing = KeyValue(KEYS.transfer, record.to_value(), 8, 8, 1)
    notes = why("n-a", led_by(record_of(A, B), A, B, transfer=standing)).notes
    assert [note.startswith("A handover is under way: ") and f"{says}." in note for note in notes] == [True] * bool(
        says
    )
    earlier = record_of(A, B, epoch=7)
    now = led_by(record_of(A, B), A, B, transfer=standing)
    assert why("n-a", now, record=earlier).notes == ()
