"""The options by which commands choose jobs, and the filter that they come to."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from slurp_leader.cli.exits import UsageError
from slurp_leader.clock import SystemClock
from slurp_leader.errors import RequestInvalidError

if TYPE_CHECKING:
    from slurp_leader.jobs.job_filter import JobFilter


class StatusName(StrEnum):
    """What `slurp_leader.JobStatus` has; here so that the help need not import it. A test compares the two."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PARKED = "parked"


class PriorityName(StrEnum):
    """What `slurp_leader.Priority` has; here so that the help need not import it. A test compares the two."""

    BACKGROUND = "background"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


_PANEL = "Which jobs"

StatusOption = Annotated[
    list[StatusName] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help=f"Only these: {', '.join(StatusName)}. May be repeated.",
        rich_help_panel=_PANEL,
    ),
]
PriorityOption = Annotated[
    PriorityName | None,
    typer.Option("--priority", metavar="CLASS", help="Only of this priority.", rich_help_panel=_PANEL),
]
RoleOption = Annotated[str | None, typer.Option("--role", help="Only for this role.", rich_help_panel=_PANEL)]
ProjectOption = Annotated[
    str | None, typer.Option("--project", help="Only of this project, as in the UCXL address.", rich_help_panel=_PANEL)
]
SubmittedByOption = Annotated[
    str | None,
    typer.Option("--submitted-by", metavar="NODE", help="Only what this node submitted.", rich_help_panel=_PANEL),
]
CodeOption = Annotated[
    str | None,
    typer.Option("--code", help="Only those that ended with this error, such as timeout.", rich_help_panel=_PANEL),
]
OlderThanOption = Annotated[
    str | None,
    typer.Option(
        "--older-than",
        metavar="AGE",
        help="Only those that ended, or else were submitted, longer ago than this: 90, 15m, 7d.",
        rich_help_panel=_PANEL,
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="All that this can be done to.", rich_help_panel=_PANEL)]


def conditions(
    status: Sequence[StatusName] | None = None,
    priority: PriorityName | None = None,
    role: str | None = None,
    project: str | None = None,
    submitted_by: str | None = None,
    code: str | None = None,
    older_than: str | None = None,
) -> JobFilter:
    """The filter that the options come to.

    Raises:
        UsageError: One makes no sense.
    """
    from slurp_leader.jobs.job_filter import JobFilter
    from slurp_leader.options.durations import parse_duration

    try:
        age = None if older_than is None else parse_duration(older_than)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from None
    try:
        return JobFilter.of(
            SystemClock().utcnow(),
            [each.value for each in status or ()],
            priority=None if priority is None else priority.value,
            older_than=age,
            role=role,
            project=project,
            submitted_by=submitted_by,
            code=code,
        )
    except RequestInvalidError as error:
        raise UsageError(f"--{str(error).replace('_', '-', 1)}") from None


def chosen(ids: list[str], wanted: JobFilter, every: bool) -> JobFilter | list[str]:
    """Which jobs are meant: those named, or those that meet the conditions, or with ``--all`` every one.

    Raises:
        UsageError: None of the three was given, or more than one; or something is no job id.
    """
    from slurp_leader.jobs.job_filter import JobFilter
    from slurp_leader.jobs.records import JobStatus

    if sum((bool(ids), not wanted.is_empty, every)) != 1:
        raise UsageError("give either job ids, or conditions such as --status, or --all")
    check_ids(ids)
    if every:
        return JobFilter(status=frozenset(JobStatus))
    return ids or wanted


def check_ids(ids: list[str]) -> None:
    """Raises UsageError when something is no job id."""
    from slurp_leader.jobs.ids import is_job_id

    for job_id in ids:
        if not is_job_id(job_id):
            raise UsageError(f"{job_id!r} is not a job id; `slurp submit` prints them, `slurp jobs ls` lists them")
