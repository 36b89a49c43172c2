"""The submitter's side, as a program uses it: submit, wait, look, cancel. On any node, or with no node at all."""

from __future__ import annotations

import itertools
import logging
import random
import secrets
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from slurp_leader.clock import Clock, format_utc
from slurp_leader.errors import (
    JobCancelledError,
    JobFailedError,
    LifecycleError,
    Outcome,
    RequestInvalidError,
    RequestTooLargeError,
    ResultPendingError,
    StoreTimeoutError,
)
from slurp_leader.jobs.commit import CommitLimits
from slurp_leader.jobs.decisions import clean_text
from slurp_leader.jobs.ids import IdMint, is_job_id
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.outcomes import Outcomes
from slurp_leader.jobs.records import (
    JobKeys,
    JobLimits,
    JobOutcome,
    JobStatus,
    Spec,
    digest_of,
    idempotency_hash,
)
from slurp_leader.jobs.reports import JobReport, read_job, read_jobs
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.submitter import CancelAnswer, CancelAnswered, CancelJob, Note, Submit, Submitted, Submitter
from slurp_leader.machine import Loop
from slurp_leader.store import Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.events import log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.telemetry.tracing import NoTracer, Tracer

_logger = logging.getLogger("slurp_leader.jobs")

LARGEST_REQUEST = 1024 * 1024
"""Bytes of one queue record; etcd takes 1.5 MiB in one request, with everything around it."""

_LONGEST_REASON = 1000
"""Characters of the reason for a cancel that are kept."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to submit: the payload and its options. What is None comes from the settings of the submitter."""

    payload: dict[str, Any]
    priority: Priority = Priority.NORMAL
    idempotency_key: str | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    run_at: datetime | None = None


class JobHandle:
    """A job, from the outside. Cheap; rebuilt from the id in any process. Safe to use from any thread, and awaitable.

    Attributes:
        id: The job's id.
        created: False: an idempotency key led to a job that was there before.
    """

    __slots__ = ("_client", "_future", "created", "id")

    def __init__(self, client: JobClient, job_id: str, created: bool, future: Future[JobOutcome] | None) -> None:
        self._client = client
        self.id = job_id
        self.created = created
        self._future = future

    def outcome(self, timeout: float | None = None) -> JobOutcome:
        """Wait for the record of how the job ended, whatever that is.

        Raises:
            ResultPendingError: It had not ended within `timeout` seconds. It goes on.
            JobNotFoundError: There is no such job.
            ResultExpiredError: It ended, and its record was pruned.
        """
        try:
            return self._waited().result(timeout)
        except FutureTimeoutError as error:
            if isinstance(error, ResultPendingError | StoreTimeoutError):
                raise
            raise ResultPendingError(f"job {self.id} had not ended after {timeout} s", job_id=self.id) from None

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result.

        Raises:
            JobFailedError: It ended `failed`; carries the recorded errors.
            JobCancelledError: It ended `cancelled`.
            ResultPendingError, JobNotFoundError, ResultExpiredError: As in `outcome`.
        """
        return self._client._convert(successful(self.outcome(timeout)))

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio  # late: programs without asyncio need not pay for it

        async def wait() -> Any:
            return self._client._convert(successful(await asyncio.wrap_future(self._waited())))

        return wait().__await__()

    def status(self) -> JobStatus:
        """Where the job stands now: one read."""
        return self.report().status

    def report(self) -> JobReport:
        """All that is known about the job now: one read."""
        return self._client.report(self.id)

    def cancel(self, reason: str = "") -> CancelAnswer:
        """Ask for the job to end. Queued jobs end at once, running ones when they next look."""
        return self._client.cancel(self.id, reason)

    def _waited(self) -> Future[JobOutcome]:
        if self._future is None:
            self._future = self._client._outcomes.ask(self.id)
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
    raise JobFailedError(
        f"job {outcome.job_id} failed ({error.get('code', 'error')}): {message}",
        job_id=outcome.job_id,
        error=error,
        errors=outcome.errors,
    )


class JobClient:
    """Submits jobs and waits for them.

    Args:
        store: Where calls go. Not closed here.
        keyspace: Keys of the cluster.
        options: What a job gets when the caller does not say.
        node_id: Written into the jobs, for people.
        clock: Source of time.
        convert: Makes of an outcome what `JobHandle.result` returns; by default the plain JSON value.
    """

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        options: JobsOptions,
        *,
        node_id: str,
        clock: Clock,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
        convert: Callable[[JobOutcome], Any] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._store = store
        self._options = options
        self._node_id = node_id
        self._clock = clock
        self._metrics = metrics or NoMetrics()
        self._tracer = tracer or NoTracer()
        self._convert = convert or (lambda outcome: outcome.result)
        self._keys = JobKeys(keyspace)
        self._mint = IdMint(clock, rng or random.Random(secrets.randbits(128)))
        self._defaults = JobLimits(
            options.timeout_s,
            options.max_attempts,
            options.max_interruptions,
            options.backoff_base_s,
            options.backoff_cap_s,
            options.backoff_jitter,
        )
        limits = CommitLimits(
            options.flush_items,
            options.flush_bytes,
            options.flush_delay_s,
            options.flushes_in_flight,
            options.rpc_timeout_s,
        )
        self._submitter = Submitter(self._keys, self._mint, limits)
        self._loop = Loop("slurp-submit", self._submitter, store, clock, self._perform, self._failed)
        self._outcomes = Outcomes(store, self._keys, options.rpc_timeout_s)
        self._tickets = itertools.count(1)
        self._lock = threading.Lock()
        # Guarded by _lock:
        self._waiting: dict[int, Future[Any]] = {}
        self._started = self._stopped = False
        self._failure: BaseException | None = None

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin. Needs no answer from the store.

        Raises:
            LifecycleError: Started before.
        """
        with self._lock:
            if self._started:
                raise LifecycleError("this client was started before; make a new one")
            self._started = True
        self._outcomes.start()
        self._loop.start()

    def stop(self) -> None:
        """End. Submits without an answer fail with outcome unknown; jobs go on. Safe twice and before `start`."""
        with self._lock:
            if not self._started:
                return
            self._stopped = True
            waiting, self._waiting = self._waiting, {}
        self._loop.stop()
        self._outcomes.stop()
        for future in waiting.values():
            future.set_exception(StoreTimeoutError("the client was stopped before the store had answered"))

    @property
    def failure(self) -> BaseException | None:
        """What ended it for good, if something did: a bug, or a store that will not serve us again."""
        return self._failure or self._outcomes.failure

    @property
    def is_following(self) -> bool:
        """Whether outcomes cannot be missed, so that jobs can be taken."""
        return self._outcomes.wait_until_watching(0)

    # ------------------------------------------------------------ submit

    def submit(self, job: NewJob) -> JobHandle:
        """Bring in one job. Returns after the commit.

        Raises:
            RequestInvalidError: The payload is no JSON object, or an option makes no sense. Nothing was submitted.
            QueueFullError: The queue is closed. Nothing was submitted.
            IdempotencyConflictError: The key was used for another request. Nothing was submitted.
            StoreTimeoutError: No definite answer within `jobs.submit_timeout`: the job may exist. Repeat with the same
                idempotency key.
        """
        answer = self.submit_many([job])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def submit_many(self, jobs: Iterable[NewJob]) -> list[JobHandle | Exception]:
        """Bring in many jobs, in few transactions. Returns after all have been answered, each on its own.

        Returns:
            For each job, in order, its handle or what `submit` would have raised. Invalid ones harm no others.
        """
        self._require_started()
        deadline = self._clock.boottime() + self._options.submit_timeout_s
        if not self._outcomes.wait_until_watching(self._options.submit_timeout_s):
            error = StoreTimeoutError(
                f"the store did not answer within {self._options.submit_timeout_s:g} s (jobs.submit_timeout)",
                outcome=Outcome.NOT_APPLIED,
            )
            return [error for _ in jobs]
        wanted = list(jobs)
        with self._tracer.span("slurp.jobs.submit", jobs=len(wanted)):  # what the run's span will link to
            sent = [self._send(job) for job in wanted]
            return [self._answer(item, deadline) for item in sent]

    def _send(self, job: NewJob) -> _Sent | Exception:
        try:
            spec, digest = self._spec_of(job)
        except (RequestInvalidError, RequestTooLargeError) as error:
            return error
        outcome = self._outcomes.expect(spec.job_id)
        ticket, future = self._new_ticket()
        self._loop.post(Submit(ticket, spec, digest))
        return _Sent(spec.job_id, ticket, future, outcome)

    def _answer(self, sent: _Sent | Exception, deadline: float) -> JobHandle | Exception:
        if isinstance(sent, Exception):
            return sent
        try:
            answer: Submitted = sent.answer.result(max(0.0, deadline - self._clock.boottime()))
        except FutureTimeoutError:
            self._give_up(sent)
            return StoreTimeoutError(
                f"no definite answer within {self._options.submit_timeout_s:g} s (jobs.submit_timeout): "
                f"job {sent.job_id} may exist",
                job_id=sent.job_id,
            )
        except Exception as error:
            self._give_up(sent)
            return error
        if answer.error is not None:
            self._outcomes.forget(sent.job_id)
            return answer.error
        self._metrics.add(instruments.JOBS_SUBMITTED)
        if answer.job_id == sent.job_id:
            return JobHandle(self, answer.job_id, answer.created, sent.outcome)
        self._outcomes.forget(sent.job_id)  # the key led to another job, or its id had to be minted anew
        return JobHandle(self, answer.job_id, answer.created, None)

    def _give_up(self, sent: _Sent) -> None:
        with self._lock:
            self._waiting.pop(sent.ticket, None)
        self._outcomes.forget(sent.job_id)

    def _spec_of(self, job: NewJob) -> tuple[Spec, str]:
        limits = self._defaults
        if job.timeout_s is not None or job.max_attempts is not None:
            limits = JobLimits(
                limits.timeout_s if job.timeout_s is None else _positive("timeout", job.timeout_s),
                limits.max_attempts if job.max_attempts is None else int(_positive("max_attempts", job.max_attempts)),
                limits.max_interruptions,
                limits.backoff_base_s,
                limits.backoff_cap_s,
                limits.backoff_jitter,
            )
        payload = _plain_json(job.payload)
        key = job.idempotency_key
        if key is not None and not (0 < len(key) <= 1024 and clean_text(key) == key):
            raise RequestInvalidError("idempotency_key: use 1 to 1024 characters", field="idempotency_key")
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
        )
        size = len(spec.to_value())
        if size > LARGEST_REQUEST:
            raise RequestTooLargeError(f"the request takes {size} bytes; the limit is {LARGEST_REQUEST}")
        body = {"request": payload, "priority": job.priority.value}
        return spec, digest_of(body) if key is not None else ""

    # ------------------------------------------------------------ look, cancel

    def handle(self, job_id: str) -> JobHandle:
        """A handle for a job of any process.

        Raises:
            RequestInvalidError: Not a job id.
        """
        if not is_job_id(job_id):
            raise RequestInvalidError(f"{job_id!r} is not a job id", field="job_id")
        return JobHandle(self, job_id, False, None)

    def report(self, job_id: str) -> JobReport:
        """All that is known about one job.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
        """
        self.handle(job_id)
        return read_job(self._store, self._keys, job_id, self._clock, self._options.rpc_timeout_s)

    def list(self, statuses: Sequence[JobStatus] = (), limit: int = 100) -> list[JobReport]:
        """Jobs, newest first; of all statuses when none are given."""
        return read_jobs(self._store, self._keys, statuses, limit, self._clock, self._options.rpc_timeout_s)

    def cancel(self, job_id: str, reason: str = "") -> CancelAnswer:
        """Ask for a job to end, from anywhere.

        Returns:
            `requested`: it is written down, and the leader will end the job. `already_done`: it had ended.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
            StoreTimeoutError: No answer in time; the wish may have been written.
        """
        self.handle(job_id)
        self._require_started()
        ticket, future = self._new_ticket()
        self._loop.post(CancelJob(ticket, job_id, clean_text(reason[:_LONGEST_REASON]), self._node_id))
        try:
            answered: CancelAnswered = future.result(self._options.submit_timeout_s)
        except FutureTimeoutError:
            with self._lock:
                self._waiting.pop(ticket, None)
            raise StoreTimeoutError(f"no answer to the cancel of {job_id} in time; it may have been written") from None
        if answered.error is not None:
            raise answered.error
        assert answered.answer is not None
        return answered.answer

    # ------------------------------------------------------------ on the loop's thread

    def _perform(self, command: Any) -> None:
        match command:
            case Submitted() | CancelAnswered():
                with self._lock:
                    future = self._waiting.pop(command.ticket, None)
                if future is not None:
                    future.set_result(command)
            case Note():
                log_event(_logger, command.level, command.event, **command.fields)
            case _:
                pass
        self._measure()

    def _measure(self) -> None:
        stats = self._submitter.committer.stats
        if stats.batches:
            for size, duration_s in zip(stats.sizes, stats.durations_s, strict=True):
                self._metrics.record(instruments.COMMIT_BATCH, size, side="submit")
                self._metrics.record(instruments.COMMIT_DURATION, duration_s, side="submit")
            stats.clear()

    def _failed(self, error: BaseException) -> None:
        """The submitter had a bug: nobody will be answered any more."""
        with self._lock:
            self._failure = error
            self._stopped = True
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(StoreTimeoutError(f"the submitter failed: {error!r}"))

    # ------------------------------------------------------------ small things

    def _new_ticket(self) -> tuple[int, Future[Any]]:
        ticket, future = next(self._tickets), Future[Any]()
        with self._lock:
            self._waiting[ticket] = future
        return ticket, future

    def _require_started(self) -> None:
        if self._failure is not None:
            raise LifecycleError(f"the submitter failed: {self._failure!r}; make a new client")
        if not self._started or self._stopped:
            raise LifecycleError("the client is not running: call start() first, and not after stop()")


@dataclass(frozen=True, slots=True)
class _Sent:
    job_id: str
    ticket: int
    answer: Future[Any] = field(repr=False)
    outcome: Future[JobOutcome] = field(repr=False)


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


def _positive(name: str, value: float) -> float:
    if not 0 < value < 1e9:
        raise RequestInvalidError(f"{name}: {value!r} has to be above 0", field=name)
    return value


def _date(name: str, moment: datetime) -> str:
    try:
        return format_utc(moment)
    except ValueError as error:
        raise RequestInvalidError(f"{name}: {error}; give it one, such as UTC", field=name) from error
