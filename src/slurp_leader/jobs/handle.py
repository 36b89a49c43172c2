"""A job from the outside: wait for it, look at it, cancel it."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Generic, Protocol

from slurp_leader.errors import JobCancelledError, JobFailedError, ResultPendingError, StoreTimeoutError
from slurp_leader.jobs.changes import CancelAnswer
from slurp_leader.jobs.records import JobOutcome, JobStatus
from slurp_leader.jobs.reports import JobReport

if TYPE_CHECKING:  # every type checker knows this module; it need not be installed
    from typing_extensions import TypeVar

    from slurp_leader.jobs.result import ContextGenerationResult

    ResultT = TypeVar("ResultT", default=ContextGenerationResult)
else:
    from typing import TypeVar

    ResultT = TypeVar("ResultT")


class JobAccess(Protocol):
    """What a handle needs of the client it came from."""

    def outcome_of(self, job_id: str) -> Future[JobOutcome]:
        """A future for the outcome of any job."""
        ...

    def refuse_fork(self) -> None:
        """Raise `LifecycleError` where nobody follows outcomes: in a child process that was forked off."""
        ...

    def convert(self, outcome: JobOutcome) -> Any:
        """What `JobHandle.result` makes of an outcome."""
        ...

    def report(self, job_id: str) -> JobReport:
        """All that is known about a job."""
        ...

    def cancel(self, job_id: str, reason: str = "", wait_s: float = 0.0) -> CancelAnswer:
        """Ask for a job to end, and wait at most so long until it has."""
        ...


class JobHandle(Generic[ResultT]):
    """A job, from the outside. Cheap; rebuilt from the id in any process. Safe to use from any thread, and awaitable.

    Attributes:
        id: The job's id.
        created: False: an idempotency key led to a job that was there before.
        replaced: Id of the job whose idempotency key this one took over; None when it took none.
    """

    __slots__ = ("_access", "_future", "created", "id", "replaced")

    def __init__(
        self,
        access: JobAccess,
        job_id: str,
        created: bool,
        future: Future[JobOutcome] | None,
        replaced: str | None = None,
    ) -> None:
        self._access = access
        self.replaced = replaced
        self.id = job_id
        self.created = created
        self._future = future

    def outcome(self, timeout: float | None = None) -> JobOutcome:
        """Wait for the record of how the job ended, whatever that is. A result in the payload store is not fetched.

        Raises:
            ResultPendingError: It had not ended within `timeout` seconds. It goes on.
            JobNotFoundError: There is no such job.
            ResultExpiredError: It ended, and its record was pruned.
            LifecycleError: This process was forked off the one that waits for it, before it had ended.
        """
        try:
            return self._waited().result(timeout)
        except FutureTimeoutError as error:
            if isinstance(error, ResultPendingError | StoreTimeoutError):
                raise
            waited = f" after {round(timeout, 3):g} s" if timeout else ""
            raise ResultPendingError(f"job {self.id} had not ended{waited}", job_id=self.id) from None

    def result(self, timeout: float | None = None) -> ResultT:
        """Wait for the result. In a coroutine: ``await handle``.

        Raises:
            JobFailedError: It ended `failed`; carries the recorded errors.
            JobCancelledError: It ended `cancelled`.
            ResultPendingError, JobNotFoundError, ResultExpiredError, LifecycleError: As in `outcome`.
            PayloadMissingError, PayloadCorruptError: It is in the payload store, and gone or damaged there.
            PayloadStoreError: The payload store did not answer. Ask again: the handle has not forgotten the job.
            ConfigurationError: It is in a payload store, and none is set here.
        """
        result: ResultT = self._access.convert(successful(self.outcome(timeout)))
        return result

    def __await__(self) -> Generator[Any, None, ResultT]:
        import asyncio  # late: programs without asyncio need not pay for it

        async def wait() -> ResultT:
            outcome = successful(await asyncio.wrap_future(self._waited()))
            result: ResultT
            if outcome.payload is None:
                result = self._access.convert(outcome)
            else:  # fetching it may take as long as a network likes
                result = await asyncio.to_thread(self._access.convert, outcome)
            return result

        return wait().__await__()

    def status(self) -> JobStatus:
        """Where the job stands now: one read."""
        return self.report().status

    def report(self) -> JobReport:
        """All that is known about the job now: one read."""
        return self._access.report(self.id)

    def cancel(self, reason: str = "", wait: float = 0.0) -> CancelAnswer:
        """Ask for the job to end, and wait at most `wait` seconds until it has. Queued jobs end at once, running ones
        when they next look."""
        return self._access.cancel(self.id, reason, wait)

    def _waited(self) -> Future[JobOutcome]:
        if self._future is None:
            self._future = self._access.outcome_of(self.id)
        elif not self._future.done():
            self._access.refuse_fork()
        return self._future

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"


def successful(outcome: JobOutcome) -> JobOutcome:
    """The outcome, if it is a success; else the error that says how the job ended."""
    if outcome.status is JobStatus.COMPLETED:
        return outcome
    error = outcome.error or {}
    message = str(error.get("message", ""))
    if outcome.status is JobStatus.CANCELLED:
        raise JobCancelledError(f"job {outcome.job_id} was cancelled: {message}", job_id=outcome.job_id, reason=message)
    code = str(error.get("code", "error"))
    said = "" if f"{code}: " in message else f" ({code})"
    raise JobFailedError(
        f"job {outcome.job_id} failed{said}: {message}",
        job_id=outcome.job_id,
        error=error,
        errors=outcome.errors,
    )
