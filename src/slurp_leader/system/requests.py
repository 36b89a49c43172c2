"""What `submit` takes, as types, and the job that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypedDict, TypeVar

from slurp_leader.clock import Clock
from slurp_leader.errors import RequestInvalidError
from slurp_leader.jobs.client import OnFull
from slurp_leader.jobs.new_job import NewJob, OnDuplicate
from slurp_leader.jobs.request import ContextGenerationRequest, Priority
from slurp_leader.ucxl import WILDCARD, UcxlAddress

EnumT = TypeVar("EnumT", bound=StrEnum)
_LONGEST_S = 1e9


class SubmitFields(TypedDict, total=False):
    """Keywords of `submit`: fields of the request (see `ContextGenerationRequest`), then those of the job."""

    role: str
    ucxl_address: str | UcxlAddress | None
    priority: Priority | str | int
    force: bool
    max_depth: int
    timeout: float | timedelta | None
    metadata: dict[str, Any]
    requested_by: str
    idempotency_key: str | None
    max_attempts: int | None
    run_at: datetime | None
    delay: float | timedelta | None
    project: str | None
    slots: int
    memory: int
    on_duplicate: OnDuplicate | str
    queue_timeout: float | timedelta | None
    deadline: datetime | None
    backoff_base: float | timedelta | None
    backoff_cap: float | timedelta | None
    backoff_jitter: float | None
    on_full: OnFull | str
    block_timeout: float | timedelta | None


_JOB_OPTIONS = frozenset(
    {
        *("idempotency_key", "max_attempts", "run_at", "delay", "project", "slots", "memory"),
        *("on_duplicate", "queue_timeout", "deadline", "backoff_base", "backoff_cap", "backoff_jitter"),
        *("on_full", "block_timeout"),
    }
)


class Patience(TypedDict):
    """What a submit does when the queue is full, as the client takes it."""

    on_full: OnFull
    block_timeout_s: float | None


def patience(fields: Mapping[str, Any]) -> Patience:
    """What the keywords of `submit` say about a full queue.

    Raises:
        RequestInvalidError: A field is wrong; names it.
    """
    on_full = _choice(OnFull, "on_full", fields.get("on_full", OnFull.REJECT))
    block_timeout_s = _seconds("block_timeout", fields.get("block_timeout"))
    if block_timeout_s is not None and on_full is not OnFull.BLOCK:
        raise RequestInvalidError("block_timeout: give on_full='block' too", field="block_timeout")
    return {"on_full": on_full, "block_timeout_s": block_timeout_s}


def new_job(request: ContextGenerationRequest | str, fields: Mapping[str, Any], clock: Clock) -> NewJob:
    """The job for a request and the keywords of `submit`.

    Raises:
        RequestInvalidError: A field is wrong or unknown; names it.
    """
    rest = {name: value for name, value in fields.items() if name not in _JOB_OPTIONS}
    if isinstance(request, ContextGenerationRequest) and not rest:
        built = request
    else:
        built = ContextGenerationRequest.build(request, **rest)
    return NewJob(
        payload=built.to_wire(),
        priority=built.priority,
        idempotency_key=fields.get("idempotency_key"),
        timeout_s=built.timeout_s,
        max_attempts=fields.get("max_attempts"),
        run_at=_run_at(fields.get("run_at"), fields.get("delay"), clock),
        role=built.role,
        project=_project(built) if fields.get("project") is None else fields["project"],
        slots=fields.get("slots", 1),
        memory=fields.get("memory", 0),
        on_duplicate=_choice(OnDuplicate, "on_duplicate", fields.get("on_duplicate", OnDuplicate.RETURN_EXISTING)),
        queue_timeout_s=_seconds("queue_timeout", fields.get("queue_timeout")),
        deadline=fields.get("deadline"),
        backoff_base_s=_seconds("backoff_base", fields.get("backoff_base")),
        backoff_cap_s=_seconds("backoff_cap", fields.get("backoff_cap")),
        backoff_jitter=fields.get("backoff_jitter"),
    )


def _project(request: ContextGenerationRequest) -> str:
    """The project that the address names; empty where it names none."""
    project = request.address.project
    return "" if project == WILDCARD else project


def _choice(kind: type[EnumT], name: str, value: Any) -> EnumT:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(each.value for each in kind)
        raise RequestInvalidError(f"{name}: use one of {known}", field=name) from None


def _seconds(name: str, value: object) -> float | None:
    """Seconds from what people write for a duration; None stays None."""
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < _LONGEST_S:
        raise RequestInvalidError(f"{name}: use seconds or a timedelta, 0 or more", field=name)
    return float(seconds)


def _run_at(run_at: datetime | None, delay: object, clock: Clock) -> datetime | None:
    if delay is None:
        return run_at
    if run_at is not None:
        raise RequestInvalidError("delay: give either run_at or delay, not both", field="delay")
    wrong = RequestInvalidError("delay: use seconds or a timedelta, 0 or more", field="delay")
    if isinstance(delay, bool) or not isinstance(delay, int | float | timedelta):
        raise wrong
    try:
        wait = delay if isinstance(delay, timedelta) else timedelta(seconds=delay)
        date = clock.utcnow() + wait
    except (ValueError, OverflowError):  # not a number, or beyond the calendar
        raise wrong from None
    if wait < timedelta(0):
        raise wrong
    return date
