"""A job as a caller describes it, and the queue record that is made of it: checked, complete, readable by anybody."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic_core import from_json, to_json

from slurp_leader.clock import Clock, format_utc
from slurp_leader.errors import RequestInvalidError, RequestTooLargeError
from slurp_leader.jobs.decisions import clean_text
from slurp_leader.jobs.ids import IdMint
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import JobLimits, Spec, digest_of, idempotency_hash
from slurp_leader.jobs.request import Priority
from slurp_leader.telemetry.tracing import Tracer

LARGEST_REQUEST = 1024 * 1024
"""Bytes of one queue record; etcd takes 1.5 MiB in one request, with everything around it."""

_LONGEST_NAME = 256
_MOST_MEMORY = 2**50


class OnDuplicate(StrEnum):
    """What a submit does when its idempotency key stands for a job already."""

    RETURN_EXISTING = "return_existing"
    """Return that job, with ``created`` False. With another request it is an `IdempotencyConflictError`."""
    RAISE = "raise"
    """Raise `DuplicateJobError`, which carries the id; with another request `IdempotencyConflictError`."""
    REPLACE = "replace"
    """Let the new job take the key, whatever the request; the earlier one is cancelled if it has not ended. At one
    revision: nobody ever sees none or both of them wanted. Repeating such a submit replaces once more; to find out
    what became of one without an answer, repeat it with `RETURN_EXISTING`."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to submit: the payload and its options. What is None comes from the settings of the submitter.

    Attributes:
        role, project: Names, for limits and turns; empty: none.
        slots: Workers that a run takes up, 1 or more.
        memory: Bytes that a run is counted with.
        timeout_s: Longest run of one attempt.
        queue_timeout_s: Longest wait for the first run; then it ends failed with the code ``queue_timeout``. Counted
            from the submit, or from `run_at`. None: any.
        deadline: From then on nothing of it starts, and a run under way is stopped; it ends failed with the code
            ``deadline``. None: never.
        run_at: Not before this date.
        backoff_base_s: Wait before the second attempt, doubled for each further one.
        backoff_cap_s: Longest wait between two attempts.
        backoff_jitter: Random share of each wait, 0 to 1.
    """

    payload: dict[str, Any]
    priority: Priority = Priority.NORMAL
    idempotency_key: str | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    run_at: datetime | None = None
    role: str = ""
    project: str = ""
    slots: int = 1
    memory: int = 0
    on_duplicate: OnDuplicate = OnDuplicate.RETURN_EXISTING
    queue_timeout_s: float | None = None
    deadline: datetime | None = None
    backoff_base_s: float | None = None
    backoff_cap_s: float | None = None
    backoff_jitter: float | None = None


class SpecMaker:
    """Makes queue records. Safe to use from any thread.

    Args:
        options: What a job gets when the caller does not say.
        mint: Gives the ids.
        node_id: Written into the jobs, for people.
        clock: The calendar.
        tracer: Gives the trace that a run will link to.
    """

    def __init__(self, options: JobsOptions, mint: IdMint, node_id: str, clock: Clock, tracer: Tracer) -> None:
        self._mint = mint
        self._node_id = node_id
        self._clock = clock
        self._tracer = tracer
        self.defaults = JobLimits(
            options.timeout_s,
            options.max_attempts,
            options.max_interruptions,
            options.backoff_base_s,
            options.backoff_cap_s,
            options.backoff_jitter,
        )

    def make(self, job: NewJob) -> tuple[Spec, bytes, str]:
        """The queue record of a job, as an object and as it is written, and the digest of what the caller gave (empty
        without an idempotency key).

        Raises:
            RequestInvalidError: A field makes no sense; names it.
            RequestTooLargeError: It is more than `LARGEST_REQUEST` bytes.
        """
        limits = _limits_of(job, self.defaults)
        payload = _plain_json(job.payload)
        key = job.idempotency_key
        if key is not None and not (isinstance(key, str) and 0 < len(key) <= 1024 and clean_text(key) == key):
            raise RequestInvalidError("idempotency_key: use 1 to 1024 characters", field="idempotency_key")
        if key is None and job.on_duplicate is not OnDuplicate.RETURN_EXISTING:
            raise RequestInvalidError("on_duplicate: give an idempotency_key too", field="on_duplicate")
        spec = Spec(
            job_id=self._mint.mint(),
            payload=payload,
            priority=job.priority,
            limits=limits,
            submitted_at=format_utc(self._clock.utcnow()),
            submitted_by=self._node_id,
            run_at=None if job.run_at is None else _date("run_at", job.run_at),
            idem=None if key is None else idempotency_hash(key),
            trace=self._tracer.inject(),
            role=_name("role", job.role),
            project=_name("project", job.project),
            slots=_whole("slots", job.slots),
            memory=_whole("memory", job.memory, least=0, most=_MOST_MEMORY),
            deadline=None if job.deadline is None else _date("deadline", job.deadline),
        )
        if spec.deadline is not None and spec.deadline <= max(spec.submitted_at, spec.run_at or ""):
            raise RequestInvalidError(
                f"deadline: {spec.deadline} is past, or not after run_at: nothing of it could start", field="deadline"
            )
        value = spec.to_value()
        if len(value) > LARGEST_REQUEST:
            raise RequestTooLargeError(f"the request takes {len(value)} bytes; the limit is {LARGEST_REQUEST}")
        body = {"request": payload, "priority": job.priority.value}
        return spec, value, digest_of(body) if key is not None else ""


def _limits_of(job: NewJob, defaults: JobLimits) -> JobLimits:
    """What the options of the caller come to; the settings say the rest.

    Raises:
        RequestInvalidError: One makes no sense; names it.
    """
    given: dict[str, Any] = {}
    if job.timeout_s is not None:
        given["timeout_s"] = _positive("timeout", job.timeout_s)
    if job.max_attempts is not None:
        given["max_attempts"] = _whole("max_attempts", job.max_attempts)
    if job.queue_timeout_s is not None:
        given["queue_timeout_s"] = _positive("queue_timeout", job.queue_timeout_s)
    if job.backoff_base_s is not None:
        given["backoff_base_s"] = _positive("backoff_base", job.backoff_base_s)
        given["backoff_cap_s"] = max(defaults.backoff_cap_s, given["backoff_base_s"])
    if job.backoff_cap_s is not None:
        given["backoff_cap_s"] = _positive("backoff_cap", job.backoff_cap_s)
    if job.backoff_jitter is not None:
        given["backoff_jitter"] = _share("backoff_jitter", job.backoff_jitter)
    if not given:
        return defaults
    limits = replace(defaults, **given)
    if limits.backoff_cap_s < limits.backoff_base_s:
        raise RequestInvalidError(
            f"backoff_cap: {limits.backoff_cap_s:g} s is less than backoff_base, {limits.backoff_base_s:g} s: raise it",
            field="backoff_cap",
        )
    return limits


def _plain_json(payload: Any) -> dict[str, Any]:
    """The payload as a reader of its record will see it: what is accepted can be read, or it would be parked for ever.

    Raises:
        RequestInvalidError: It is not a JSON object, or nested too deep to be read again.
    """
    if not isinstance(payload, dict):
        raise RequestInvalidError("the payload of a job has to be a JSON object", field="payload")
    try:
        plain = from_json(to_json({"request": payload}), allow_inf_nan=False)["request"]
    except (ValueError, RecursionError) as error:
        raise RequestInvalidError(f"the payload is not a JSON value: {error}", field="payload") from error
    return dict(plain)


def _positive(name: str, seconds: float) -> float:
    if isinstance(seconds, bool) or not (isinstance(seconds, int | float) and 0.001 <= seconds < 1e9):
        raise RequestInvalidError(f"{name}: use seconds, 0.001 or more", field=name)
    return seconds


def _share(name: str, share: float) -> float:
    if isinstance(share, bool) or not (isinstance(share, int | float) and 0 <= share <= 1):
        raise RequestInvalidError(f"{name}: use a share from 0 to 1", field=name)
    return share


def _whole(name: str, count: int, *, least: int = 1, most: int = 999_999_999) -> int:
    if type(count) is not int or not least <= count <= most:
        raise RequestInvalidError(f"{name}: use a whole number, {least} or more", field=name)
    return count


def _name(field: str, name: str) -> str:
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or clean_text(name) != name:
        raise RequestInvalidError(f"{field}: use text of at most {_LONGEST_NAME} characters", field=field)
    return name


def _date(name: str, moment: datetime) -> str:
    if not isinstance(moment, datetime):  # who has no type checker
        raise RequestInvalidError(f"{name}: use a datetime with a time zone, such as UTC", field=name)
    try:
        return format_utc(moment)
    except ValueError as error:
        raise RequestInvalidError(f"{name}: {error}; give one in UTC", field=name) from error
