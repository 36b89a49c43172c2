"""Which jobs are meant: one value for every verb that takes more than one job, and a pure test of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from slurp_leader.clock import format_utc
from slurp_leader.errors import AddressError, RequestInvalidError
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.request import Priority
from slurp_leader.ucxl import UcxlAddress

if TYPE_CHECKING:
    from slurp_leader.jobs.reports import JobReport

LIVE = frozenset({JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING})
ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Jobs that meet every condition given; what is left out does not matter.

    Attributes:
        status: Where they stand; empty: anywhere.
        priority: Their class.
        role: The role they were asked for.
        project: The project of their UCXL address.
        submitted_by: The node that submitted them.
        code: Of the error they ended with, such as ``timeout``.
        before: Ended, or if they have not, submitted no later than this date, as it stands in records.
    """

    status: frozenset[JobStatus] = frozenset()
    priority: Priority | None = None
    role: str | None = None
    project: str | None = None
    submitted_by: str | None = None
    code: str | None = None
    before: str | None = None

    @classmethod
    def of(
        cls,
        now: datetime,
        status: JobStatus | str | Iterable[JobStatus | str] = (),
        *,
        priority: Priority | str | int | None = None,
        older_than: float | timedelta | None = None,
        **texts: str | None,
    ) -> JobFilter:
        """A filter from what callers write. `older_than`: seconds or a `timedelta`, counted back from `now`.

        Raises:
            RequestInvalidError: A condition makes no sense, or there is none of that name; names it.
        """
        wanted = [status] if isinstance(status, str) else list(status)
        try:
            statuses = frozenset(JobStatus(each) for each in wanted)
        except ValueError as error:
            known = ", ".join(each.value for each in JobStatus)
            raise RequestInvalidError(f"status: {error}; use one or more of {known}", field="status") from None
        for name, text in texts.items():
            if name not in _TEXTS:
                raise RequestInvalidError(f"{name[:64]}: no such condition; known are {_KNOWN}", field=name)
            if text is not None and not (isinstance(text, str) and text):
                raise RequestInvalidError(f"{name}: use a text that is not empty", field=name)
        return cls(
            statuses,
            None if priority is None else Priority.parse(priority),
            before=None if older_than is None else _cutoff(now, older_than),
            **texts,
        )

    @property
    def is_empty(self) -> bool:
        """Whether it takes all jobs."""
        return self == _ANY

    @property
    def wants_live(self) -> bool:
        """Whether a job that has not ended may meet it."""
        return self.code is None and (not self.status or not self.status <= ENDED)

    @property
    def wants_ended(self) -> bool:
        """Whether a job that has ended may meet it."""
        return not self.status or not self.status.isdisjoint({*ENDED, JobStatus.PARKED})

    def narrowed_to(self, statuses: frozenset[JobStatus]) -> JobFilter | None:
        """The same, for jobs that stand in one of these; None when no job can meet both."""
        both = self.status & statuses if self.status else statuses
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return JobFilter(**{**given, "status": both}) if both else None

    def matches(self, report: JobReport) -> bool:
        """Whether a job meets every condition."""
        return (
            (not self.status or report.status in self.status)
            and (self.priority is None or report.priority == self.priority.value)
            and (self.role is None or role_of(report) == self.role)
            and (self.project is None or project_of(report) == self.project)
            and (self.submitted_by is None or report.submitted_by == self.submitted_by)
            and (self.code is None or (report.error or {}).get("code") == self.code)
            and (self.before is None or "" < (report.finished_at or report.submitted_at) <= self.before)
        )


_ANY = JobFilter()
_TEXTS = frozenset({"role", "project", "submitted_by", "code"})
_KNOWN = ", ".join(sorted({*_TEXTS, "status", "priority", "older_than"}))


def role_of(report: JobReport) -> str | None:
    """The role a job was asked for, if its request is known and has one."""
    role = (report.request or {}).get("role")
    return role if isinstance(role, str) else None


def project_of(report: JobReport) -> str | None:
    """The project of a job's address, if its request is known and has one that can be read."""
    address = (report.request or {}).get("address")
    try:
        return UcxlAddress.parse(address).project if isinstance(address, str) else None
    except AddressError:
        return None


def _cutoff(now: datetime, older_than: Any) -> str:
    wrong = RequestInvalidError("older_than: use seconds or a timedelta, 0 or more", field="older_than")
    if isinstance(older_than, bool) or not isinstance(older_than, int | float | timedelta):
        raise wrong
    try:
        age = older_than if isinstance(older_than, timedelta) else timedelta(seconds=older_than)
        date = format_utc(now - age)
    except (ValueError, OverflowError):  # not a number, or before the calendar
        raise wrong from None
    if age < timedelta(0):
        raise wrong
    return date
