"""``system.jobs``: the part of the system's face that is about jobs of any process."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from slurp_leader.jobs.client import JobClient, JobHandle
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.reports import JobReport
from slurp_leader.jobs.result import ContextGenerationResult
from slurp_leader.jobs.submitter import CancelAnswer

JOBS_VERBS = frozenset({"cancel", "list", "report"})
"""Those of its verbs that ``system.aio`` has."""


class JobsView:
    """``system.jobs``: jobs of any process."""

    def __init__(self, client: Callable[[], JobClient]) -> None:
        self._client = client

    def __repr__(self) -> str:
        return "<JobsView: get, report, list, cancel>"

    def get(self, job_id: str) -> JobHandle[ContextGenerationResult]:
        """A handle for a job, from its id."""
        return self._client().handle(job_id)

    def report(self, job_id: str) -> JobReport:
        """All that is known about a job.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
        """
        return self._client().report(job_id)

    def list(self, status: JobStatus | str | Iterable[JobStatus | str] = (), limit: int = 100) -> list[JobReport]:
        """Jobs, newest first; of all statuses when none are given.

        Raises:
            ValueError: Not a status.
        """
        wanted = [status] if isinstance(status, str) else list(status)
        return self._client().list([JobStatus(each) for each in wanted], limit)

    def cancel(self, job_id: str, reason: str = "") -> CancelAnswer:
        """Ask for a job to end.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
        """
        return self._client().cancel(job_id, reason)
