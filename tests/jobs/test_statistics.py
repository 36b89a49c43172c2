"""What became of jobs of late."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.jobs.statistics import OTHERS, Durations, Statistics


@given(st.lists(st.floats(1e-5, 1e5), min_size=1, max_size=200), st.sampled_from([50, 95, 99]))
def test_a_percentile_is_told_within_five_percent(values: list[float], percent: int) -> None:
    bag = Durations()
    for value in values:
        bag.add(value)
    true = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
    assert bag.percentile(percent) == pytest.approx(true, rel=0.0501)
    assert bag.most_s == max(values)


def test_nothing_has_no_percentiles() -> None:
    assert Durations().as_dict() == {"p50_s": 0, "p95_s": 0, "p99_s": 0, "max_s": 0}


def test_two_bags_merged_are_one() -> None:
    one, other, both = Durations(), Durations(), Durations()
    for number in range(1, 50):
        (one if number % 2 else other).add(number / 10)
        both.add(number / 10)
    one.merge(other)
    assert (one.as_dict(), one.count) == (both.as_dict(), 49)


def test_it_tells_of_all_of_each_role_and_of_each_generator() -> None:
    statistics = Statistics(0.0)
    for number in range(10):
        statistics.add("x", "model 1", "completed" if number else "failed", 0.1, 1.0, float(number))
    statistics.add("y", "model 2", "cancelled", 3.0, 0.0, 10.0)
    told = statistics.as_dict(20.0)
    assert (told["window_s"], told["per_second"]) == (20.0, 0.55)
    assert told["ended"] == {"completed": 9, "failed": 1, "cancelled": 1}
    assert told["success_ratio"] == 0.9
    assert told["roles"]["x"]["run"]["p50_s"] == pytest.approx(1.0, rel=0.05)
    assert told["roles"]["y"]["success_ratio"] is None
    assert told["wait"]["max_s"] == 3.0
    assert told["generators"]["model 1"] == told["roles"]["x"]
    assert told["generators"]["model 2"]["ended"] == {"cancelled": 1}


def test_what_was_long_ago_counts_no_more() -> None:
    statistics = Statistics(0.0)
    statistics.add("x", "model 1", "failed", 9.0, 9.0, 1.0)
    assert statistics.as_dict(299.0)["ended"] == {"failed": 1}
    statistics.add("x", "model 1", "completed", 1.0, 1.0, 299.0)
    told = statistics.as_dict(301.0)
    assert (told["ended"], told["wait"]["max_s"]) == ({"completed": 1}, 1.0)
    assert told["window_s"] == pytest.approx(241.0)
    assert statistics.as_dict(1e6)["ended"] == {}


def test_idle_minutes_count_in_the_rate() -> None:
    statistics = Statistics(0.0)
    statistics.add("x", "model 1", "completed", 0.0, 0.0, 1.0)
    statistics.add("x", "model 1", "completed", 0.0, 0.0, 5000.0)
    told = statistics.as_dict(5000.05)
    assert told["per_second"] < 0.01
    assert told["window_s"] == pytest.approx(240.05)


def test_names_without_number_take_no_room_without_end() -> None:
    statistics = Statistics(0.0)
    for number in range(1000):
        statistics.add(f"role {number}", f"model {number}", "completed", 0.1, 0.1, 0.0)
    told = statistics.as_dict(1.0)
    assert len(told["roles"]) == 51
    assert sum(told["roles"][OTHERS]["ended"].values()) == 950
    assert len(told["generators"]) == 51
