"""Who may campaign, who goes first, and how long the others wait."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from election.test_scoring import WEIGHTS
from slurp_leader.election.operator import Forced, OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import (
    Cause,
    Circumstances,
    Hindrance,
    Standing,
    Verdict,
    choose_successor,
    eligible,
    standings,
    waits_s,
)
from slurp_leader.election.ranking.scoring import Score, ScoreInputs, Weights
from slurp_leader.orders import Order

OPS = Order("ops", "disk is failing")
UPTIME = Weights(0, 0, 1, 0, 0)
NO_ORDERS = OperatorRecord()


def candidate(node_id: str = "n-a", worth: float = 0.5, **more: Any) -> Candidate:
    """`worth`: its score by `UPTIME`."""
    inputs = ScoreInputs(more.pop("capabilities", ()), uptime_s=600 * worth / (1 - worth))
    facts: dict[str, Any] = {"session": f"s-{node_id}", "lease": 1, "ttl_s": 10, **more}
    return Candidate(node_id, inputs=inputs, **facts)


def standing(place: int | None, *soft: Cause) -> Standing:
    verdict = Verdict((), tuple(Hindrance(cause, "") for cause in soft))
    return Standing(candidate(), Score(0.5), verdict, place)


def judge(
    of: Candidate, *others: Candidate, orders: OperatorRecord = NO_ORDERS, **more: Any
) -> tuple[list[Cause], list[Cause]]:
    """What forbids a candidate to lead, and what puts it back."""
    verdict = eligible(of, Circumstances.of([of, *others], orders, **more))
    return [each.cause for each in verdict.absolute], [each.cause for each in verdict.soft]


def order_of(candidates: list[Candidate], orders: OperatorRecord = NO_ORDERS, **more: Any) -> list[tuple[str, Any]]:
    placed = standings(candidates, Circumstances.of(candidates, orders, **more), UPTIME)
    return [(each.candidate.node_id, each.place) for each in placed]


# ---------------------------------------------------------------- what stands against one of them

A, B, C = candidate("n-a"), candidate("n-b"), candidate("n-c")


def test_nothing_stands_against_a_candidate_by_itself() -> None:
    verdict = eligible(A, Circumstances.of([A], NO_ORDERS))
    assert verdict == Verdict()
    assert verdict.text == ""
    assert verdict.causes == ()


def test_who_is_blocked_may_not_lead() -> None:
    orders = NO_ORDERS.block("n-a", OPS)
    assert judge(A, B, orders=orders) == ([Cause.BLOCKED], [])
    assert judge(B, A, orders=orders) == ([], [])
    assert eligible(A, Circumstances.of([A], orders)).text == "it is blocked by ops: disk is failing"


def test_in_a_frozen_election_nobody_may() -> None:
    orders = NO_ORDERS.freeze(OPS)
    assert judge(A, B, orders=orders) == ([Cause.FROZEN], [])
    assert judge(B, A, orders=orders) == ([Cause.FROZEN], [])


def test_while_the_one_that_is_wanted_could_lead_no_other_may() -> None:
    orders = NO_ORDERS.pin("n-b", OPS)
    assert judge(A, B, orders=orders) == ([Cause.PINNED_ELSEWHERE], [])
    assert judge(B, A, orders=orders) == ([], [])


@pytest.mark.parametrize(
    "wanted",
    [None, candidate("n-b", unfit="ill", capabilities=("lead",)), candidate("n-b", capabilities=("less",))],
)
def test_while_the_one_that_is_wanted_cannot_lead_the_others_only_wait(wanted: Candidate | None) -> None:
    orders = NO_ORDERS.pin("n-b", OPS)
    leads = candidate("n-a", capabilities=("lead",))
    others = [wanted] if wanted else []
    assert judge(leads, *others, orders=orders, requires=("lead",)) == ([], [Cause.NOT_PINNED])


def test_one_that_is_wanted_and_blocked_holds_nobody_up() -> None:
    orders = NO_ORDERS.pin("n-b", OPS).block("n-b", OPS)
    assert judge(A, B, orders=orders) == ([], [Cause.NOT_PINNED])
    assert judge(B, A, orders=orders) == ([Cause.BLOCKED], [])


def test_one_start_of_the_wanted_node_that_could_lead_is_enough() -> None:
    ill, well = candidate("n-b", session="s1", unfit="ill"), candidate("n-b", session="s2")
    assert judge(A, ill, well, orders=NO_ORDERS.pin("n-b", OPS)) == ([Cause.PINNED_ELSEWHERE], [])


def test_who_lacks_a_capability_may_not_lead() -> None:
    needs = ("project-manager", "cooking")
    assert judge(A, requires=needs) == ([Cause.CAPABILITY], [])
    able = candidate("n-a", capabilities=("Project_Manager", "cooking", "more"))
    assert judge(able, requires=needs) == ([], [])
    half = candidate("n-a", capabilities=("cooking",))
    verdict = eligible(half, Circumstances.of([half], NO_ORDERS, requires=needs))
    assert verdict.text == "it lacks the capability project-manager"


def test_before_enough_nodes_stand_nobody_leads() -> None:
    assert judge(A, B, min_nodes=3) == ([Cause.TOO_FEW_NODES], [])
    assert judge(A, B, C, min_nodes=3) == ([], [])
    again = candidate("n-b", session="s2")
    assert judge(A, B, again, min_nodes=3) == ([Cause.TOO_FEW_NODES], [])  # one node, started twice


def test_who_is_not_fit_only_waits() -> None:
    ill = candidate("n-a", unfit="disk is full")
    assert judge(ill, B) == ([], [Cause.UNFIT])
    assert eligible(ill, Circumstances.of([ill], NO_ORDERS)).text == "it is not fit: disk is full"


@pytest.mark.parametrize(
    ("version", "oldest", "waits"),
    [
        ("1.9", "1.10", True),
        ("1.10", "1.9", False),
        ("1.2", "1.2.0", False),
        ("1.2.0", "1.2", False),
        ("1.2", "1.2.1", True),
        ("", "0.1", True),
        ("", "0", True),
        ("0", "0.0", False),
        ("unknown", "0.1", True),
        ("2.0rc1", "2.0", False),
        ("1.2", "", False),
        ("", "", False),
        ("1" * 5000, "2", False),
    ],
)
def test_who_is_too_old_only_waits(version: str, oldest: str, waits: bool) -> None:
    node = candidate("n-a", version=version)
    assert judge(node, orders=NO_ORDERS.require_version(oldest, OPS)) == ([], [Cause.TOO_OLD] if waits else [])


def test_who_led_until_now_only_waits() -> None:
    assert judge(A, B, gave_up=A.session) == ([], [Cause.GAVE_UP])
    assert judge(B, A, gave_up=A.session) == ([], [])


def test_after_a_term_that_was_ended_by_force_the_one_that_led_comes_last_and_the_named_one_first() -> None:
    orders = NO_ORDERS.force(Forced(7, "n-b", A.session, OPS))
    assert judge(A, B, C, orders=orders, epoch=7) == ([], [Cause.GAVE_UP])
    assert judge(B, A, C, orders=orders, epoch=7) == ([], [])
    assert judge(C, A, B, orders=orders, epoch=7) == ([], [Cause.NOT_FIRST])
    anybody = NO_ORDERS.force(Forced(7, "", A.session, OPS))
    assert judge(C, A, B, orders=anybody, epoch=7) == ([], [])


@pytest.mark.parametrize("epoch", [6, 8])
def test_force_is_for_one_vacancy_only(epoch: int) -> None:
    orders = NO_ORDERS.force(Forced(7, "n-b", A.session, OPS))
    assert judge(A, B, C, orders=orders, epoch=epoch) == ([], [])
    assert judge(C, A, B, orders=orders, epoch=epoch) == ([], [])


def test_a_block_comes_before_a_freeze_and_that_before_a_pin_and_that_before_a_score() -> None:
    best = candidate("n-a", worth=0.9, unfit="ill")
    orders = NO_ORDERS.pin("n-b", OPS).freeze(OPS).block("n-a", OPS)
    assert judge(best, B, orders=orders) == ([Cause.BLOCKED, Cause.FROZEN, Cause.PINNED_ELSEWHERE], [Cause.UNFIT])
    assert order_of([best, B], orders.unfreeze()) == [("n-b", 0), ("n-a", None)]
    assert order_of([candidate("n-a", worth=0.9), B], NO_ORDERS.pin("n-b", OPS)) == [("n-b", 0), ("n-a", None)]


def test_all_that_stands_against_it_is_said() -> None:
    node = candidate("n-a", unfit="ill")
    orders = NO_ORDERS.block("n-a", OPS).pin("n-x", OPS)
    verdict = eligible(node, Circumstances.of([node], orders, gave_up=node.session))
    assert verdict.causes == (Cause.BLOCKED, Cause.NOT_PINNED, Cause.UNFIT, Cause.GAVE_UP)
    assert verdict.text == (
        "it is blocked by ops: disk is failing; "
        "the lead is pinned to n-x, which cannot take it at present, by ops: disk is failing; "
        "it is not fit: ill; it led last, so others go first"
    )


# ---------------------------------------------------------------- all of them


def test_the_higher_score_goes_first() -> None:
    assert order_of([candidate("n-a", 0.3), candidate("n-b", 0.8), candidate("n-c", 0.5)]) == [
        ("n-b", 0),
        ("n-c", 1),
        ("n-a", 2),
    ]


def test_scores_that_differ_by_noise_are_equal_and_the_node_id_decides() -> None:
    assert order_of([candidate("n-b", 0.502), candidate("n-a", 0.499)]) == [("n-a", 0), ("n-b", 1)]
    assert order_of([candidate("n-b", 0.511), candidate("n-a", 0.499)]) == [("n-b", 0), ("n-a", 1)]
    assert order_of([candidate("n-b", session="s1"), candidate("n-a", session="s2")]) == [("n-a", 0), ("n-b", 1)]


def test_of_one_node_that_was_started_twice_the_session_decides() -> None:
    twice = [candidate("n-a", session="s2"), candidate("n-a", session="s1")]
    placed = standings(twice, Circumstances.of(twice, NO_ORDERS), UPTIME)
    assert [each.candidate.session for each in placed] == ["s1", "s2"]


def test_who_has_not_seen_all_goes_after_who_has() -> None:
    assert order_of([candidate("n-a", 0.9, warm=False), candidate("n-b", 0.2)]) == [("n-b", 0), ("n-a", 1)]


def test_fit_comes_before_who_led_until_now_and_that_before_who_should_not() -> None:
    nodes = [candidate("n-a", 0.9, unfit="ill"), candidate("n-b", 0.8), candidate("n-c", 0.1, warm=False)]
    assert order_of(nodes, gave_up="s-n-b") == [("n-c", 0), ("n-b", 1), ("n-a", 2)]


def test_who_may_not_lead_stands_last_without_a_place() -> None:
    nodes = [candidate("n-a", 0.9), candidate("n-b", 0.8, unfit="ill"), candidate("n-c", 0.1)]
    assert order_of(nodes, NO_ORDERS.block("n-a", OPS)) == [("n-c", 0), ("n-b", 1), ("n-a", None)]


NODES = st.sampled_from(["n-a", "n-b", "n-c", "n-d", "n-e"])
CANDIDATES = st.lists(
    st.builds(
        candidate,
        NODES,
        st.floats(0, 0.99),
        session=st.text("0123456789", min_size=1, max_size=8),
        unfit=st.sampled_from(["", "", "ill"]),
        warm=st.booleans(),
        version=st.sampled_from(["", "1.0", "2.0"]),
        capabilities=st.sampled_from([(), ("lead",)]),
    ),
    max_size=8,
    unique_by=lambda each: each.session,
)
ORDERS = st.builds(
    lambda frozen, pinned_to, blocked, oldest, forced: OperatorRecord(
        frozen=OPS if frozen else None,
        pinned_to=pinned_to,
        pinned=OPS if pinned_to else Order(),
        blocked=dict.fromkeys(blocked, OPS),
        oldest_version=oldest,
        versions=OPS if oldest else Order(),
        forced=forced,
    ),
    frozen=st.sampled_from([False, False, True]),
    pinned_to=st.sampled_from(["", "", "n-a", "n-x"]),
    blocked=st.lists(NODES, max_size=2),
    oldest=st.sampled_from(["", "1.5"]),
    forced=st.none() | st.builds(Forced, st.integers(6, 8), st.sampled_from(["", "n-b", "n-x"]), st.just("1")),
)
RULES = st.fixed_dictionaries(
    {"requires": st.sampled_from([(), ("lead",)]), "min_nodes": st.integers(0, 3), "epoch": st.just(7)}
)


@given(CANDIDATES, ORDERS, RULES, WEIGHTS, st.randoms())
def test_all_nodes_see_one_order_however_they_heard_of_each_other(
    candidates: list[Candidate], orders: OperatorRecord, rules: dict[str, Any], weights: Weights, random: Any
) -> None:
    circumstances = Circumstances.of(candidates, orders, **rules)
    placed = standings(candidates, circumstances, weights)
    random.shuffle(candidates)
    assert standings(candidates, Circumstances.of(candidates, orders, **rules), weights) == placed
    assert sorted(each.candidate.session for each in placed) == sorted(each.session for each in candidates)
    may = [each.place for each in placed if not each.verdict.absolute]
    assert may == list(range(len(may)))
    assert [each.place for each in placed] == [*may, *[None] * (len(placed) - len(may))]
    waits = [waits_s(each, len(may), 1.0) for each in placed[: len(may)]]
    assert waits == sorted(waits)
    assert all(0 <= wait <= 2 for wait in waits)


@given(CANDIDATES, ORDERS, WEIGHTS)
def test_where_somebody_stands_that_is_neither_blocked_nor_lacks_anything_somebody_may_lead(
    candidates: list[Candidate], orders: OperatorRecord, weights: Weights
) -> None:
    orders = orders.unfreeze()
    placed = standings(candidates, Circumstances.of(candidates, orders, epoch=7), weights)
    assert any(each.place == 0 for each in placed) == any(each.node_id not in orders.blocked for each in candidates)


# ---------------------------------------------------------------- who is asked to take over


def asked(
    candidates: list[Candidate], to: str = "", orders: OperatorRecord = NO_ORDERS, **more: Any
) -> tuple[list[str], str]:
    found, why = choose_successor(candidates, Circumstances.of(candidates, orders, **more), UPTIME, to)
    return [each.session for each in found], why


def test_the_best_is_asked_first_and_who_is_not_fit_last() -> None:
    nodes = [candidate("n-a", 0.1), candidate("n-b", 0.9, unfit="ill"), candidate("n-c", 0.5)]
    assert asked(nodes) == (["s-n-c", "s-n-a", "s-n-b"], "")
    old = candidate("n-d", 0.9, version="1")
    wanted = asked([candidate("n-a", 0.1, version="2", unfit="ill"), old], orders=NO_ORDERS.require_version("2", OPS))
    assert wanted == (["s-n-d", "s-n-a"], "")


def test_who_has_seen_the_queue_is_asked_before_one_with_a_better_score_that_has_not() -> None:
    nodes = [candidate("n-a", 0.9, warm=False), candidate("n-b", 0.2), candidate("n-c", 0.95, warm=False, unfit="ill")]
    assert asked(nodes) == (["s-n-b", "s-n-a", "s-n-c"], "")


def test_only_the_one_that_is_named_is_asked() -> None:
    nodes = [candidate("n-a", 0.1), candidate("n-b", 0.9), candidate("n-a", 0.2, session="s2")]
    assert asked(nodes, "n-a") == (["s2", "s-n-a"], "")
    assert asked(nodes, "s2") == (["s2"], "")
    assert asked(nodes, "n-x") == ([], "unknown")
    assert asked([], "n-x") == ([], "unknown")
    assert asked([]) == ([], "no_candidate")


@pytest.mark.parametrize(
    ("orders", "more", "reason"),
    [
        (NO_ORDERS.block("n-a", OPS), {}, "blocked"),
        (NO_ORDERS.pin("n-b", OPS), {}, "pinned_elsewhere"),
        (NO_ORDERS, {"requires": ("lead",)}, "capability"),
        (NO_ORDERS.block("n-a", OPS).freeze(OPS), {}, "blocked"),
        (NO_ORDERS.freeze(OPS).pin("n-b", OPS), {"requires": ("lead",)}, "pinned_elsewhere"),
    ],
)
def test_who_must_not_lead_is_not_asked(orders: OperatorRecord, more: dict[str, Any], reason: str) -> None:
    everybody = [A, candidate("n-b", capabilities=("lead",))]
    circumstances = Circumstances.of(everybody, orders, **more)
    assert choose_successor([A], circumstances, UPTIME) == ([], reason)
    assert choose_successor(everybody, circumstances, UPTIME, "n-a") == ([], reason)


def test_where_nobody_may_be_asked_the_reason_is_that_of_the_best() -> None:
    nodes = [candidate("n-b", 0.2), candidate("n-a", 0.9, capabilities=("lead",))]
    assert asked(nodes, orders=NO_ORDERS.block("n-a", OPS), requires=("lead",)) == ([], "blocked")


def test_a_frozen_election_and_one_with_few_nodes_may_be_handed_on() -> None:
    assert asked([A], orders=NO_ORDERS.freeze(OPS)) == ([A.session], "")
    assert asked([A], min_nodes=3) == ([A.session], "")


@given(CANDIDATES, ORDERS, RULES, st.sampled_from(["", "n-a", "n-b", "1", "n-x"]))
def test_nobody_is_asked_that_must_not_lead(
    candidates: list[Candidate], orders: OperatorRecord, rules: dict[str, Any], to: str
) -> None:
    circumstances = Circumstances.of(candidates, orders, **rules)
    found, why = choose_successor(candidates, circumstances, UPTIME, to)
    forbidding = {Cause.BLOCKED, Cause.CAPABILITY, Cause.PINNED_ELSEWHERE}
    assert bool(found) != bool(why)
    for each in found:
        assert not forbidding & set(eligible(each, circumstances).causes)
        assert to in ("", each.node_id, each.session)
    assert [bool(each.unfit) for each in found] == sorted(bool(each.unfit) for each in found)
    able = [
        each
        for each in candidates
        if to in ("", each.node_id, each.session) and not forbidding & set(eligible(each, circumstances).causes)
    ]
    assert len(found) == len(able)


# ---------------------------------------------------------------- how long they wait

JITTERS = st.floats(0, 0.999)


def test_the_first_with_nothing_against_it_goes_at_once() -> None:
    assert waits_s(standing(0), 3, 1.0) == 0.0
    assert waits_s(standing(0), 3, 1.0, jitter=0.99) == 0.0


@pytest.mark.parametrize(
    ("place", "jitter", "waits"),
    [(1, 0.0, 0.8125), (1, 0.5, 0.84375), (2, 0.0, 0.875), (3, 0.0, 0.9375)],
)
def test_the_others_come_one_after_the_other_in_the_last_quarter(place: int, jitter: float, waits: float) -> None:
    assert waits_s(standing(place), 4, 1.0, jitter) == pytest.approx(waits)
    assert waits_s(standing(place), 4, 8.0, jitter) == pytest.approx(8 * waits)


@pytest.mark.parametrize(("place", "waits"), [(0, 1.75), (2, 1.875), (4, 2.0), (9, 2.0)])
def test_who_should_not_lead_waits_twice_as_long_even_as_the_first(place: int, waits: float) -> None:
    assert waits_s(standing(place, Cause.UNFIT), 4, 1.0) == pytest.approx(waits)


def test_who_led_until_now_waits_no_longer_than_those_with_nothing_against_them() -> None:
    assert waits_s(standing(0, Cause.GAVE_UP), 1, 1.0) == 0.0
    assert waits_s(standing(3, Cause.GAVE_UP), 4, 1.0) == waits_s(standing(3), 4, 1.0)
    assert waits_s(standing(3, Cause.GAVE_UP, Cause.UNFIT), 4, 1.0) > 1.75


def test_without_a_bound_nobody_waits() -> None:
    assert waits_s(standing(2, Cause.UNFIT), 4, 0.0, 0.5) == 0.0


@given(
    grades=st.lists(st.sampled_from([(), (Cause.GAVE_UP,), (Cause.UNFIT,)]), min_size=1, max_size=20),
    jitters=st.lists(JITTERS, min_size=20, max_size=20),
    rank_wait_s=st.floats(0, 60),
)
def test_waits_are_bounded_and_in_the_order_of_places_whatever_is_drawn(
    grades: list[tuple[Cause, ...]], jitters: list[float], rank_wait_s: float
) -> None:
    grades.sort(key=[(), (Cause.GAVE_UP,), (Cause.UNFIT,)].index)
    placed = [standing(place, *soft) for place, soft in enumerate(grades)]
    waits = [waits_s(each, len(placed), rank_wait_s, jitter) for each, jitter in zip(placed, jitters, strict=False)]
    assert all(0 <= wait <= 2 * rank_wait_s for wait in waits)
    assert waits == sorted(waits)


@given(of=st.integers(1, 100), early=JITTERS, late=JITTERS)
def test_neighbouring_places_never_come_at_the_same_moment(of: int, early: float, late: float) -> None:
    for soft in ((), (Cause.UNFIT,)):
        waits = [waits_s(standing(place, *soft), of, 1.0, max(early, late)) for place in range(of)]
        later = [waits_s(standing(place, *soft), of, 1.0, min(early, late)) for place in range(of)]
        for place, following in itertools.pairwise(range(of)):
            assert waits[place] < later[following]
