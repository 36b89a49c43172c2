"""Who may campaign, who goes first, and how long the others wait."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.election.candidates import Candidate
from slurp_leader.election.eligible import Cause, Hindrance, Standing, Verdict, waits_s
from slurp_leader.election.scoring import Score


def candidate(node_id: str = "n-a", **more: object) -> Candidate:
    facts: dict[str, object] = {"session": f"s-{node_id}", "lease": 1, "ttl_s": 10, **more}
    return Candidate(node_id, **facts)  # type: ignore[arg-type]


def standing(place: int | None, *soft: Cause) -> Standing:
    verdict = Verdict((), tuple(Hindrance(cause, "") for cause in soft))
    return Standing(candidate(), Score(0.5), verdict, place)


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
