"""What follows from what happened to a job. Pure functions over values: no clock, no store, no dice of their own."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from slurp_leader.clock import format_utc, parse_utc
from slurp_leader.jobs.records import ERRORS_KEPT, Cancel, JobLimits, JobState, JobStatus, Payload, Spec

_LONGEST_TEXT = 2000
"""Characters of an error message that are kept: errors are records too."""

DEADLINE_CODE = "deadline"
"""Of the error of a job that its deadline has ended."""

_LONGEST_WAIT_S = 3650 * 86400.0
"""Ten years. A generator may ask for any wait; a date has to come out of it."""


class RunEnd(StrEnum):
    """How the run of an attempt came to its end."""

    RETURNED = "returned"
    RAISED = "raised"
    TERMINAL = "terminal"
    """Raised something that says: trying again cannot help."""
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its deadline had passed before the body began."""
    INTERRUPTED = "interrupted"
    """Stopped because the term was given back. Not the job's fault, and not an attempt."""
    REFUSED = "refused"
    """A circuit breaker inside the generator is open: nothing was attempted."""
    NOT_STORED = "not_stored"
    """Returned, and the payload store did not take the result. Not the job's fault, and not an attempt."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run came to.

    Attributes:
        result_json: What a run that returned came to: a JSON value as UTF-8 text.
        payload: Where that is, if it is in the payload store.
        error: ``{"code", "message", ...}`` of one that did not.
        retry_after_s: Least wait before the next attempt, when the generator or a circuit breaker asked for one.
        cached: The generator was not called: the result is that of an earlier run.
    """

    end: RunEnd
    result_json: bytes | None = None
    error: dict[str, Any] | None = None
    retry_after_s: float = 0.0
    payload: Payload | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """The job has ended: record this outcome."""

    status: JobStatus
    attempts: int
    errors: tuple[dict[str, Any], ...] = ()
    result_json: bytes | None = None
    error: dict[str, Any] | None = None
    payload: Payload | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class GoOn:
    """The job has not ended: record this state. It will be run again."""

    state: JobState


def after_run(
    spec: Spec,
    state: JobState,
    run: int,
    report: RunReport,
    today: datetime,
    rng: random.Random,
    op: str,
    *,
    begun: bool = True,
) -> Finish | GoOn:
    """Decide what becomes of a job after one of its runs.

    Args:
        spec: The job.
        state: As it was when the run was claimed.
        run: Number of the run.
        report: How it ended.
        today: The calendar date.
        rng: Source of the jitter.
        op: Id of the write that this leads to.
        begun: Whether its body had begun, which only an interruption can leave open.
    """
    if report.end is RunEnd.INTERRUPTED:
        interruptions, not_begun = state.interruptions + 1, state.not_begun + (not begun)
        return GoOn(replace(state, closed=run, interruptions=interruptions, not_begun=not_begun, run_at=None, op=op))
    if report.end is RunEnd.NOT_STORED:
        return _not_stored(spec, state, run, report, today, rng, op)
    if report.end is RunEnd.CANCELLED:
        return Finish(JobStatus.CANCELLED, state.attempts, state.errors, error=report.error)
    if report.end is RunEnd.REFUSED:
        run_at = _next_date(spec.limits, 1, report, today, rng)
        return GoOn(replace(state, closed=run, run_at=run_at, op=op))
    if report.end is RunEnd.EXPIRED:
        return Finish(JobStatus.FAILED, state.attempts, state.errors, error=report.error)
    attempts = state.attempts + 1
    if report.end is RunEnd.RETURNED:
        return Finish(
            JobStatus.COMPLETED,
            attempts,
            state.errors,
            result_json=report.result_json,
            payload=report.payload,
            cached=report.cached,
        )
    errors = (*state.errors, report.error or {})[-ERRORS_KEPT:]
    if report.end is RunEnd.TERMINAL or attempts >= spec.limits.max_attempts:
        return Finish(JobStatus.FAILED, attempts, errors, error=report.error)
    run_at = _next_date(spec.limits, attempts, report, today, rng)
    if spec.deadline is not None and run_at >= spec.deadline:  # nothing of it would start then
        return Finish(JobStatus.FAILED, attempts, errors, error=report.error)
    return GoOn(replace(state, closed=run, attempts=attempts, errors=errors, run_at=run_at, op=op))


def _next_date(limits: JobLimits, attempts: int, report: RunReport, today: datetime, rng: random.Random) -> str:
    wait_s = min(max(backoff_s(limits, attempts, rng), report.retry_after_s), _LONGEST_WAIT_S)
    return format_utc(today + timedelta(seconds=wait_s))


def _not_stored(
    spec: Spec, state: JobState, run: int, report: RunReport, today: datetime, rng: random.Random, op: str
) -> GoOn:
    """An interruption that waits, longer each time: the payload store may be back by then. However often."""
    interruptions = state.interruptions + 1
    errors = (*state.errors, report.error or {})[-ERRORS_KEPT:]
    run_at = _next_date(spec.limits, interruptions, report, today, rng)
    return GoOn(replace(state, closed=run, interruptions=interruptions, errors=errors, run_at=run_at, op=op))


def without_run(spec: Spec, state: JobState, wish: Cancel | None, today: str) -> Finish | None:
    """Decide whether a job that is not running ends as it is: because somebody wants it to, because it is poison, or
    because its time is up. `today`: the date, as it stands in records."""
    if wish is not None:
        return Finish(JobStatus.CANCELLED, state.attempts, state.errors, error=cancelled_error(wish))
    if is_poison(spec, state):
        error = poison_error(state)
    elif is_past_deadline(spec, today):
        error = deadline_error(spec)
    elif (until := queue_until(spec, state)) is not None and until <= today:
        error = error_of("queue_timeout", f"it had not begun after {spec.limits.queue_timeout_s:g} s in the queue")
    else:
        return None
    return Finish(JobStatus.FAILED, state.attempts, state.errors, error=error)


def is_past_deadline(spec: Spec, today: str) -> bool:
    """Whether nothing of this job may start any more."""
    return spec.deadline is not None and spec.deadline <= today


def queue_until(spec: Spec, state: JobState) -> str | None:
    """Until which date a job may wait for its first run; None: for ever, or it has run.

    Counted from its submit, or from the date before which it must not run if that is later. A job that was begun once
    is past this: what it waits for then is told by its attempts and its deadline. One that was only claimed is not.
    """
    waits_s = spec.limits.queue_timeout_s
    if waits_s is None or state.closed > state.not_begun:
        return None
    try:
        since = parse_utc(spec.submitted_at)
        if spec.run_at is not None:
            since = max(since, parse_utc(spec.run_at))
        return format_utc(since + timedelta(seconds=waits_s))
    except (ValueError, OverflowError):  # no date to count from, or beyond the calendar
        return None


def expires_at(spec: Spec, state: JobState) -> str | None:
    """The date at which a job ends if it is not running then; None: it may wait for ever."""
    dates = [date for date in (spec.deadline, queue_until(spec, state)) if date is not None]
    return min(dates, default=None)


def longest_run_s(spec: Spec, today: datetime) -> float:
    """How long a run that begins now may take: the timeout, cut short by the deadline."""
    return min(spec.limits.timeout_s, until_deadline_s(spec, today))


def until_deadline_s(spec: Spec, today: datetime) -> float:
    """Seconds until nothing of a job may run any more; infinite without a deadline."""
    if spec.deadline is None:
        return math.inf
    return max(0.0, (parse_utc(spec.deadline) - today).total_seconds())


def backoff_s(limits: JobLimits, attempts: int, rng: random.Random) -> float:
    """Seconds to wait after so many failed attempts: doubled each time, capped, spread by the jitter."""
    wait_s = min(limits.backoff_cap_s, limits.backoff_base_s * 2.0 ** min(attempts - 1, 60))
    return wait_s * (1 + limits.backoff_jitter * (2 * rng.random() - 1))


def after_crash(state: JobState, run: int, *, sole_suspect: bool, op: str) -> JobState:
    """The state of a job whose leader vanished under it (PROTOCOL A14): an interruption, never an attempt."""
    return replace(
        state,
        closed=run,
        interruptions=state.interruptions + 1,
        crashes=state.crashes + 1,
        sole_crashes=state.sole_crashes + sole_suspect,
        run_at=None,
        op=op,
    )


def is_suspect(spec: Spec, state: JobState) -> bool:
    """Whether a job may be what its leaders crashed of, so that it has to run with nothing beside it."""
    return state.crashes >= min(2, spec.limits.max_interruptions)


def is_poison(spec: Spec, state: JobState) -> bool:
    """Whether a job has used up its crashes, one of them while it ran alone: bystanders are never condemned."""
    return state.crashes >= spec.limits.max_interruptions and state.sole_crashes > 0


def poison_error(state: JobState) -> dict[str, Any]:
    message = (
        f"its leader crashed {state.crashes} times while it ran, {state.sole_crashes} of them with nothing beside it"
    )
    return error_of("poison", message)


def deadline_error(spec: Spec) -> dict[str, Any]:
    return error_of(DEADLINE_CODE, f"its deadline was {spec.deadline}")


def cancelled_error(wish: Cancel | None) -> dict[str, Any]:
    return error_of("cancelled", wish.reason if wish else "", by=wish.by if wish else "")


def error_of(code: str, message: str, **facts: Any) -> dict[str, Any]:
    """An error as it is recorded. The texts are cut, and made encodable: they come from anywhere."""
    return {"code": clean_text(code[:100]), "message": clean_text(message[:_LONGEST_TEXT]), **facts}


def clean_text(text: str) -> str:
    """Text that can be written as UTF-8, whatever it held."""
    return text.encode("utf-8", "replace").decode("utf-8")
