"""What `submit` takes, as types, and the job that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from slurp_leader.clock import Clock
from slurp_leader.errors import RequestInvalidError
from slurp_leader.jobs.new_job import NewJob
from slurp_leader.jobs.request import ContextGenerationRequest, Priority
from slurp_leader.ucxl import WILDCARD, UcxlAddress


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


_JOB_OPTIONS = frozenset({"idempotency_key", "max_attempts", "run_at", "delay", "project", "slots", "memory"})


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
    )


def _project(request: ContextGenerationRequest) -> str:
    """The project that the address names; empty where it names none."""
    project = request.address.project
    return "" if project == WILDCARD else project


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
