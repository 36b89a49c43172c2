"""What follows from what happened: pure functions, every branch."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.jobs.decisions import (
    Finish,
    GoOn,
    RunEnd,
    RunReport,
    after_crash,
    after_run,
    backoff_s,
    error_of,
    is_poison,
    is_suspect,
    without_run,
)
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.picture import FRESH
from slurp_leader.jobs.records import ERRORS_KEPT, Cancel, JobLimits, JobState, JobStatus, Spec
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.schedule import Schedule

TODAY = datetime(2026, 1, 1, tzinfo=UTC)
TODAY_TEXT = "2026-01-01T00:00:00.000Z"
LIMITS = JobLimits(10, 3, 3, 1.0, 8.0, 0.0)
SPEC = Spec(LOWEST, {}, Priority.NORMAL, LIMITS, "", "")


def decide(report: RunReport, state: JobState = FRESH, limits: JobLimits = LIMITS) -> Finish | GoOn:
    return after_run(replace(SPEC, limits=limits), state, state.closed + 1, report, TODAY, random.Random(1), "op")


def test_a_result_completes_the_job() -> None:
    decision = decide(RunReport(RunEnd.RETURNED, result_json=b"1"), JobState(attempts=1, errors=({"code": "x"},)))
    assert decision == Finish(JobStatus.COMPLETED, 2, ({"code": "x"},), result_json=b"1")


def test_an_interruption_is_no_attempt_and_no_crash_and_waits_for_no_date() -> None:
    decision = decide(RunReport(RunEnd.INTERRUPTED), JobState(closed=2, attempts=1, run_at="2026-01-01T00:00:00.000Z"))
    assert decision == GoOn(JobState(closed=3, attempts=1, interruptions=1, op="op"))


@pytest.mark.parametrize("end", [RunEnd.RAISED, RunEnd.TIMED_OUT])
def test_a_failed_attempt_goes_on_until_the_last(end: RunEnd) -> None:
    error = error_of("error", "boom")
    first = decide(RunReport(end, error=error))
    assert isinstance(first, GoOn)
    assert (first.state.attempts, first.state.closed, first.state.errors) == (1, 1, (error,))
    assert first.state.run_at == "2026-01-01T00:00:01.000Z"
    last = decide(RunReport(end, error=error), replace(first.state, attempts=2))
    assert isinstance(last, Finish)
    assert (last.status, last.attempts, last.error) == (JobStatus.FAILED, 3, error)


def test_a_terminal_error_ends_the_job_at_its_first_attempt() -> None:
    decision = decide(RunReport(RunEnd.TERMINAL, error=error_of("missing", "")))
    assert isinstance(decision, Finish)
    assert decision.attempts == 1


def test_only_the_last_errors_are_kept() -> None:
    many = tuple(error_of(str(n), "") for n in range(ERRORS_KEPT))
    decision = decide(RunReport(RunEnd.RAISED, error=error_of("new", "")), JobState(errors=many, op="x"))
    assert isinstance(decision, GoOn)
    assert [error["code"] for error in decision.state.errors] == ["1", "2", "3", "4", "new"]


def test_the_wait_a_generator_asks_for_is_the_least() -> None:
    decision = decide(RunReport(RunEnd.RAISED, retry_after_s=100))
    assert isinstance(decision, GoOn)
    assert decision.state.run_at == "2026-01-01T00:01:40.000Z"


@given(
    st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1), st.integers(1, 10**9), st.floats(0, allow_infinity=True)
)
def test_whatever_the_limits_are_a_date_comes_out(
    base_s: float, cap_s: float, jitter: float, attempts: int, asked_s: float
) -> None:
    limits = JobLimits(10, 2**40, 3, base_s, cap_s, jitter)
    report = RunReport(RunEnd.RAISED, retry_after_s=asked_s)
    decision = decide(report, JobState(attempts=attempts, op="x"), limits)
    assert isinstance(decision, GoOn)
    assert decision.state.run_at is not None


@given(st.integers(1, 100), st.integers(0, 1000))
def test_waits_double_up_to_the_cap_and_stay_within_the_jitter(attempts: int, seed: int) -> None:
    limits = JobLimits(10, 3, 3, 1.0, 60.0, 0.2)
    plain = min(60.0, 2.0 ** (attempts - 1))
    assert 0.8 * plain <= backoff_s(limits, attempts, random.Random(seed)) <= 1.2 * plain


def test_a_crash_is_an_interruption_and_counts_alone_only_when_it_was() -> None:
    assert after_crash(JobState(attempts=1), 4, sole_suspect=False, op="o") == JobState(4, 1, 1, 1, 0, op="o")
    assert after_crash(JobState(crashes=2), 4, sole_suspect=True, op="o").sole_crashes == 1


@pytest.mark.parametrize(
    ("crashes", "alone", "suspect", "poison"),
    [(0, 0, False, False), (1, 0, False, False), (2, 0, True, False), (9, 0, True, False), (3, 1, True, True)],
)
def test_suspicion_begins_at_two_crashes_and_only_one_alone_condemns(
    crashes: int, alone: int, suspect: bool, poison: bool
) -> None:
    state = JobState(crashes=crashes, sole_crashes=alone)
    assert (is_suspect(SPEC, state), is_poison(SPEC, state)) == (suspect, poison)


def test_a_job_that_is_not_running_ends_by_a_wish_or_as_poison_and_else_not() -> None:
    poison = JobState(attempts=1, crashes=3, sole_crashes=1)
    wished = without_run(SPEC, poison, Cancel(1, "stop", "me"), TODAY_TEXT)
    assert wished is not None
    assert (wished.status, wished.attempts) == (JobStatus.CANCELLED, 1)
    condemned = without_run(SPEC, poison, None, TODAY_TEXT)
    assert condemned is not None
    assert (condemned.status, condemned.attempts) == (JobStatus.FAILED, 1)
    assert without_run(SPEC, FRESH, None, TODAY_TEXT) is None


def test_texts_of_errors_are_cut_and_can_be_written() -> None:
    error = error_of("\ud800", "x" * 10_000 + "\ud800")
    assert len(error["message"]) <= 2000
    assert all(text.encode() for text in error.values())


# ---------------------------------------------------------------- who waits for a date


def test_a_schedule_gives_up_what_is_due_once_and_earliest_first() -> None:
    schedule = Schedule()
    for date, name in (("3", "c"), ("1", "a"), ("1", "a"), ("2", "b"), ("9", "z")):
        schedule.push(date, name)
    assert len(schedule) == 4
    assert schedule.next_date == "1"
    assert schedule.take_due("3") == ["a", "b", "c"]
    assert schedule.take_due("3") == []


def test_a_job_waits_for_its_newest_date_only() -> None:
    schedule = Schedule()
    schedule.push("1", "a")
    schedule.push("5", "a")
    schedule.push("2", "b")
    schedule.discard("b")
    assert schedule.take_due("4") == []
    assert schedule.take_due("5") == ["a"]
    assert len(schedule) == 0
