"""``system.jobs``: the part of the system's face that is about jobs of any process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypedDict, Unpack, overload

from slurp_leader.clock import Clock
from slurp_leader.errors import RequestInvalidError
from slurp_leader.jobs.changes import CancelAnswer, RetryAnswer
from slurp_leader.jobs.client import JobClient, JobHandle
from slurp_leader.jobs.job_filter import JobFilter
from slurp_leader.jobs.operations import PurgeAnswer
from slurp_leader.jobs.parked import ParkedRecord, ReleaseAnswer
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.reports import JobReport
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.result import ContextGenerationResult

JOBS_VERBS = frozenset({"cancel", "list", "parked", "parked_record", "purge", "release", "report", "retry"})
"""Those of its verbs that ``system.aio`` has."""


Many = JobFilter | list[str]
"""Several jobs: those that meet a filter, or those with these ids."""


class Conditions(TypedDict, total=False):
    """Which jobs are meant: those that meet every condition given. See `JobFilter`."""

    status: JobStatus | str | Iterable[JobStatus | str]
    priority: Priority | str | int | None
    role: str | None
    project: str | None
    submitted_by: str | None
    code: str | None
    older_than: float | timedelta | None


class JobsView:
    """``system.jobs``: jobs of any process.

    The verbs that change jobs take an id, and then answer about that job; or a list of ids, a `JobFilter`, or its
    conditions by name, and then answer for each job that is meant. Without any they refuse: name all statuses to mean
    all jobs.
    """

    def __init__(self, client: Callable[[], JobClient], clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def __repr__(self) -> str:
        return "<JobsView: get, report, list, cancel, retry, purge, parked, parked_record, release>"

    def get(self, job_id: str) -> JobHandle[ContextGenerationResult]:
        """A handle for a job, from its id."""
        return self._client().handle(job_id)

    def report(self, job_id: str) -> JobReport:
        """All that is known about a job.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
        """
        return self._client().report(job_id)

    def parked(self) -> list[ParkedRecord]:
        """Records that nobody can read. Reads everything."""
        return self._client().operations.parked.list()

    def list(
        self,
        status: JobStatus | str | Iterable[JobStatus | str] = (),
        limit: int = 100,
        **conditions: Unpack[_MoreConditions],
    ) -> list[JobReport]:
        """Jobs that meet every condition, newest first; of all statuses when none are given.

        Raises:
            RequestInvalidError: A condition makes no sense. It is a ValueError.
        """
        wanted = JobFilter.of(self._clock.utcnow(), status, **conditions)
        return self._client().list(wanted, limit)

    @overload
    def cancel(self, job_id: str, reason: str = "", wait: float = 0.0) -> CancelAnswer: ...

    @overload
    def cancel(
        self, job_id: Many | None = None, reason: str = "", wait: float = 0.0, **conditions: Unpack[Conditions]
    ) -> dict[str, CancelAnswer | Exception]: ...

    def cancel(
        self, job_id: str | Many | None = None, reason: str = "", wait: float = 0.0, **conditions: Unpack[Conditions]
    ) -> CancelAnswer | dict[str, CancelAnswer | Exception]:
        """Ask for jobs to end, and wait at most `wait` seconds until they have. Those that have ended stay as they are.

        Returns:
            ``requested``: it is written down, and the leader will end the job. ``cancelled``: it has. ``already_done``:
            it had ended otherwise. With conditions, by job id, the answer or what went wrong.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
            RequestInvalidError: A condition makes no sense, there is none, or both were given.
            StoreTimeoutError: No answer in time; the wish may have been written.
        """
        operations = self._client().operations
        if isinstance(job_id, str):
            _require_none(conditions)
            return operations.cancel(job_id, reason, wait)
        return operations.cancel_all(self._chosen(job_id, conditions), reason, wait)

    @overload
    def retry(self, job_id: str) -> RetryAnswer: ...

    @overload
    def retry(
        self, job_id: Many | None = None, **conditions: Unpack[Conditions]
    ) -> dict[str, RetryAnswer | Exception]: ...

    def retry(
        self, job_id: str | Many | None = None, **conditions: Unpack[Conditions]
    ) -> RetryAnswer | dict[str, RetryAnswer | Exception]:
        """Have jobs that failed or were cancelled tried again, under their ids. Their attempts are counted anew; the
        errors of the earlier ones are kept. Conditions that name no status take those that failed.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
            QueueFullError: The queue is closed. Nothing was changed.
            RequestInvalidError: A condition makes no sense, there is none, or both were given.
            StoreTimeoutError: No answer in time; it may be in the queue again.
        """
        operations = self._client().operations
        if isinstance(job_id, str):
            _require_none(conditions)
            return operations.retry(job_id)
        return operations.retry_all(self._chosen(job_id, conditions))

    @overload
    def purge(self, job_id: str) -> PurgeAnswer: ...

    @overload
    def purge(
        self, job_id: Many | None = None, **conditions: Unpack[Conditions]
    ) -> dict[str, PurgeAnswer | Exception]: ...

    def purge(
        self, job_id: str | Many | None = None, **conditions: Unpack[Conditions]
    ) -> PurgeAnswer | dict[str, PurgeAnswer | Exception]:
        """Delete what is kept of jobs that have ended, before its time. Asking for their results then raises
        `ResultExpiredError`.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
            RequestInvalidError: A condition makes no sense, there is none, or both were given.
            StoreTimeoutError: No answer in time; it may be gone.
        """
        operations = self._client().operations
        if isinstance(job_id, str):
            _require_none(conditions)
            return operations.purge(job_id)
        return operations.purge_all(self._chosen(job_id, conditions))

    def parked_record(self, name: str) -> ParkedRecord:
        """One of them, with what stands in it, escaped.

        Raises:
            JobNotFoundError: There is no such record.
            RequestInvalidError: It can be read.
        """
        return self._client().operations.parked.get(name)

    def release(self, name: str, *, value: bytes | None = None, delete: bool = False) -> ReleaseAnswer:
        """End the parking of a record: it was repaired, or `value` takes its place, or it is deleted; see
        `slurp_leader.jobs.parked`.

        Raises:
            JobParkedError: It still cannot be read, and neither was given. Nothing was changed.
            JobNotFoundError: There is no such record.
            RecordError: `value` cannot be read. Nothing was changed.
        """
        return self._client().operations.parked.release(name, value=value, delete=delete)

    def _chosen(self, given: Many | None, conditions: Conditions) -> Many:
        if given is None:
            return JobFilter.of(self._clock.utcnow(), **conditions)
        _require_none(conditions)
        return given


class _MoreConditions(TypedDict, total=False):
    priority: Priority | str | int | None
    role: str | None
    project: str | None
    submitted_by: str | None
    code: str | None
    older_than: float | timedelta | None


def _require_none(conditions: Conditions) -> None:
    if conditions:
        raise RequestInvalidError("job_id: give an id or conditions, not both", field="job_id")
