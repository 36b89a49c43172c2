"""Which outcomes have to go: by age, by count, and which payloads are referred to meanwhile."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rig import options
from slurp_leader.clock import format_utc
from slurp_leader.jobs.records import Codec, JobOutcome, JobStatus, Payload
from slurp_leader.jobs.retention import Retention, Rule, rules_of
from slurp_leader.payloads import reference_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


def job_id(number: int) -> str:
    return f"01890000-0000-7000-8000-{number:012x}"


def at(second: float) -> str:
    return format_utc(BEGIN + timedelta(seconds=second))


def outcome(
    number: int, second: float, status: JobStatus = JobStatus.COMPLETED, content: bytes | None = None
) -> JobOutcome:
    payload = None if content is None else Payload(reference_of(content), 9, 9, Codec.PLAIN)
    return JobOutcome(job_id(number), status, "op", 1, 1, 7, 1, 0, "", None, at(second), "n", payload=payload)


def retention(age_s: float = 100, count: int = 1000, **others: Rule) -> Retention:
    rules = {status: Rule(timedelta(seconds=age_s), count) for status in ENDS}
    return Retention(rules | {JobStatus(name): rule for name, rule in others.items()})


def due(kept: Retention, second: float, most: int = 1000) -> list[str]:
    return [expired.job_id for expired in kept.due(dict.fromkeys(ENDS, at(second)), most)]


def test_what_is_too_old_goes_oldest_first_and_stays_known_until_it_is_gone() -> None:
    kept = retention(age_s=10)
    for number, second in ((1, 3), (2, 1), (3, 2)):
        kept.learn(outcome(number, second), number)
    assert due(kept, 10.9) == []
    assert due(kept, 12) == [job_id(2), job_id(3)]
    assert due(kept, 12, most=1) == [job_id(2)]
    kept.forget({job_id(2)})
    assert due(kept, 13) == [job_id(3), job_id(1)]


def test_beyond_the_count_the_oldest_go_before_their_time() -> None:
    kept = retention(count=2)
    for number, second in ((1, 5), (2, 1), (3, 3), (4, 2)):
        kept.learn(outcome(number, second), number)
    assert due(kept, 6) == [job_id(2), job_id(4)]
    assert due(kept, 6, most=1) == [job_id(2)]
    kept.forget({job_id(2), job_id(4)})
    assert due(kept, 6) == []


def test_each_status_is_counted_by_itself() -> None:
    kept = retention(completed=Rule(timedelta(days=1), 1), failed=Rule(timedelta(days=1), 2))
    for number in range(3):
        kept.learn(outcome(number, number, JobStatus.COMPLETED), 1)
        kept.learn(outcome(10 + number, number, JobStatus.FAILED), 1)
        kept.learn(outcome(20 + number, number, JobStatus.CANCELLED), 1)
    assert sorted(due(kept, 5)) == [job_id(0), job_id(1), job_id(10)]


def test_no_count_at_all_keeps_nothing() -> None:
    kept = retention(count=0)
    kept.learn(outcome(1, 1), 1)
    assert due(kept, 1) == [job_id(1)]


def test_of_two_outcomes_of_one_job_the_later_one_counts() -> None:
    """An operator had a failed job run again."""
    kept = retention(age_s=10, completed=Rule(timedelta(seconds=10), 1))
    kept.learn(outcome(1, 1, JobStatus.FAILED), 5)
    kept.learn(outcome(1, 8, JobStatus.COMPLETED, b"x"), 9)
    kept.learn(outcome(1, 1, JobStatus.FAILED), 5)
    assert len(kept) == 1
    assert due(kept, 12) == []
    [expired] = kept.due(dict.fromkeys(ENDS, at(18)), 10)
    assert expired.revision == 9
    assert kept.payloads("") == {reference_of(b"x")}


def test_a_payload_is_referred_to_as_long_as_one_outcome_does() -> None:
    kept = retention()
    reference = reference_of(b"x")
    kept.learn(outcome(1, 1, content=b"x"), 1)
    kept.learn(outcome(2, 2, content=b"x"), 2)
    kept.forget({job_id(1)})
    assert kept.payloads(reference[:2]) == {reference}
    assert kept.payloads("zz") == frozenset()
    kept.forget({job_id(2), job_id(3)})
    assert kept.payloads("") == frozenset()


def test_what_cannot_be_dated_stays_and_so_does_its_payload() -> None:
    kept = retention(count=0)
    undated = JobOutcome(
        job_id(1), JobStatus.COMPLETED, "op", 1, 1, 7, 1, 0, "", None, "soon", "n",
        payload=Payload(reference_of(b"x"), 9, 9, Codec.PLAIN),
    )  # fmt: skip
    kept.learn(undated, 1)
    kept.keep_payloads((reference_of(b"y"),))
    assert due(kept, 1e9) == []
    assert kept.payloads("") == {reference_of(b"x"), reference_of(b"y")}
    kept.clear()
    assert kept.payloads("") == frozenset()


Learned = st.tuples(st.integers(0, 15), st.integers(0, 50), st.sampled_from(ENDS))


@given(st.lists(st.one_of(Learned, st.integers(0, 15))), st.integers(0, 80), st.integers(0, 5), st.integers(1, 20))
def test_it_is_what_a_plain_list_would_say(
    steps: list[tuple[int, int, JobStatus] | int], second: int, count: int, most: int
) -> None:
    kept, plain = retention(age_s=30, count=count), dict[int, tuple[int, JobStatus]]()
    for revision, step in enumerate(steps, 1):
        if isinstance(step, int):
            kept.forget({job_id(step)})
            plain.pop(step, None)
        else:
            number, ended, status = step
            kept.learn(outcome(number, ended, status), revision)
            plain[number] = (ended, status)
    expected: set[str] = set()
    for status in ENDS:
        of_status = sorted((ended, number) for number, (ended, its) in plain.items() if its is status)
        excess = max(0, len(of_status) - count)
        expected |= {job_id(number) for _, number in of_status[:excess]}
        expected |= {job_id(number) for ended, number in of_status if ended + 30 <= second}
    assert set(due(kept, second)) == expected
    assert len(due(kept, second, most)) == min(most, len(expected))
    assert set(due(kept, second)) == expected


@pytest.mark.parametrize("status", ENDS)
def test_every_end_has_its_settings(status: JobStatus) -> None:
    ages = {f"retain_{status.value}": timedelta(days=3), f"retain_{status.value}_count": 7}
    assert rules_of(options(**ages))[status] == Rule(timedelta(days=3), 7)


def test_the_garbage_collector_has_nothing_to_look_through() -> None:
    """A hundred thousand may be kept: with a few objects each, a full collection stopped a leader for 100 ms."""
    kept = retention()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1000):
        kept.learn(outcome(number, number, content=b"content of %d" % number), number)
    gc.collect()
    assert len(gc.get_objects()) - before < 100
