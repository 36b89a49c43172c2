"""The options by which commands choose jobs, and the filter that they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Conditions:
    """The jobs that meet all of these."""

    status: Annotated[
        list[StatusName] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help=f"Only these: {', '.join(StatusName)}. May be repeated.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    priority: Annotated[
        PriorityName | None,
        typer.Option("--priority", metavar="CLASS", help="Only of this priority.", rich_help_panel=_PANEL),
    ] = None
    role: Annotated[str | None, typer.Option("--role", help="Only for this role.", rich_help_panel=_PANEL)] = None
    project: Annotated[
        str | None,
        typer.Option("--project", help="Only of this project, as in the UCXL address.", rich_help_panel=_PANEL),
    ] = None
    submitted_by: Annotated[
        str | None,
        typer.Option("--submitted-by", metavar="NODE", help="Only what this node submitted.", rich_help_panel=_PANEL),
    ] = None
    code: Annotated[
        str | None,
        typer.Option("--code", help="Only those that ended with this error, such as timeout.", rich_help_panel=_PANEL),
    ] = None
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Only those that ended, or else were submitted, longer ago than this: 90, 15m, 7d.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def filter(self) -> JobFilter:
        """What the options come to.

        Raises:
            UsageError: One makes no sense.
        """
        from slurp_leader.jobs.job_filter import JobFilter
        from slurp_leader.options.durations import parse_duration

        try:
            age = None if self.older_than is None else parse_duration(self.older_than)
        except ValueError as error:
            raise UsageError(f"--older-than: {error}") from None
        try:
            return JobFilter.of(
                SystemClock().utcnow(),
                [each.value for each in self.status or ()],
                priority=None if self.priority is None else self.priority.value,
                older_than=age,
                role=self.role,
                project=self.project,
                submitted_by=self.submitted_by,
                code=self.code,
            )
        except RequestInvalidError as error:
            raise UsageError(f"--{str(error).replace('_', '-', 1)}") from None


@dataclass(frozen=True, slots=True)
class Chosen(Conditions):
    """The jobs that something is done to: those named, those that meet the conditions, or all."""

    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Job ids.", show_default=False)] = None
    every: Annotated[bool, typer.Option("--all", help="All that this can be done to.", rich_help_panel=_PANEL)] = False

    def jobs(self, meant_by_all: Iterable[StatusName] = tuple(StatusName)) -> JobFilter | list[str]:
        """The ids, or the filter.

        Args:
            meant_by_all: What ``--all`` stands for.

        Raises:
            UsageError: None of the three was given, or more than one; or something is no job id, or no condition.
        """
        from slurp_leader.jobs.job_filter import JobFilter
        from slurp_leader.jobs.records import JobStatus

        ids, wanted = self.ids or [], self.filter()
        if sum((bool(ids), not wanted.is_empty, self.every)) != 1:
            raise UsageError("give either job ids, or conditions such as --status, or --all")
        check_ids(ids)
        if self.every:
            return JobFilter(status=frozenset(JobStatus(each.value) for each in meant_by_all))
        return ids or wanted


@dataclass(frozen=True, slots=True)
class ChosenToEnd(Chosen):
    """The same without the error that jobs ended with: these have not ended."""

    code: str | None = field(default=None, init=False)


def check_ids(ids: list[str]) -> None:
    """Raises UsageError when something is no job id."""
    from slurp_leader.jobs.ids import is_job_id

    for job_id in ids:
        if not is_job_id(job_id):
            raise UsageError(f"{job_id!r} is not a job id; `slurp submit` prints them, `slurp jobs ls` lists them")
