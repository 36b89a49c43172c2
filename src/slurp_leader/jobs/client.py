"""The submitter's side, as a program uses it: submit, wait, look, cancel. On any node, or with no node at all."""

from __future__ import annotations

import itertools
import logging
import os
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import (
    LifecycleError,
    Outcome,
    QueueFullError,
    RequestInvalidError,
    RequestTooLargeError,
    StoreTimeoutError,
)
from slurp_leader.jobs.changes import CancelAnswer, CancelAnswered, RetryAnswered, Written
from slurp_leader.jobs.commit import CommitLimits
from slurp_leader.jobs.door import Door
from slurp_leader.jobs.handle import JobHandle
from slurp_leader.jobs.ids import IdMint, is_job_id
from slurp_leader.jobs.job_filter import JobFilter
from slurp_leader.jobs.new_job import NewJob, SpecMaker
from slurp_leader.jobs.operations import Bounds, Operations
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.outcomes import Outcomes
from slurp_leader.jobs.packing import fetched
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.jobs.records import JobKeys, JobOutcome, JobStatus
from slurp_leader.jobs.reports import JobReport, read_job, read_jobs
from slurp_leader.jobs.submitter import Note, Submit, Submitted, Submitter
from slurp_leader.jobs.unled import Signs
from slurp_leader.machine import Loop
from slurp_leader.payloads import PayloadStore, open_payload_store
from slurp_leader.store import Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.telemetry.tracing import NoTracer, Tracer

_logger = logging.getLogger("slurp_leader.jobs")

_UNDER_WAY = 1008
"""Submits of one call that are under way at a time: enough for four times as many transactions as are sent at once."""
_AT_THE_DOOR = 252
"""The same while the queue may be closed at any moment: what it takes beyond its limit before its leader notices."""


class OnFull(StrEnum):
    """What a submit does when the queue is full."""

    REJECT = "reject"
    """Raise `QueueFullError` at once."""
    BLOCK = "block"
    """Wait for room, in line with the other submits of this process; then raise `QueueFullError`."""


class JobClient:
    """Submits jobs and waits for them. A forked child can neither: what follows them are threads of its parent.

    Args:
        store: Where calls go. Not closed here.
        keyspace: Keys of the cluster.
        options: What a job gets when the caller does not say.
        node_id: Written into the jobs, for people.
        clock: Source of time.
        signs: Where a leader shows that it is there: while it does not, the store is looked after here. None: never.
        store_limits: How much of the store may be used.
        convert: Makes of an outcome what `JobHandle.result` returns; by default the plain JSON value.
        payloads: Where large results are; None: where `jobs.payload_store` says.

    Raises:
        ConfigurationError: What `jobs.payload_store` needs is not installed.
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
        signs: Signs | None = None,
        store_limits: StoreLimits | None = None,
        payloads: PayloadStore | None = None,
    ) -> None:
        self._store = store
        self._payloads = payloads or open_payload_store(options.payload_store, keyspace.cluster_id)
        self._options = options
        self._node_id = node_id
        self._clock = clock
        self._metrics = metrics or NoMetrics()
        self._tracer = tracer or NoTracer()
        self._convert = convert or (lambda outcome: outcome.result)
        self._keys = JobKeys(keyspace)
        self._mint = IdMint(clock, rng or random.Random(secrets.randbits(128)))
        self._specs = SpecMaker(options, self._mint, node_id, clock, self._tracer)
        limits = CommitLimits(
            options.flush_items,
            options.flush_bytes,
            options.flush_delay_s,
            options.flushes_in_flight,
            options.rpc_timeout_s,
        )
        self._submitter = Submitter(
            self._keys, self._mint, limits, signs=signs, store_limits=store_limits, queue_limit=options.queue_limit
        )
        self._loop = Loop("slurp-submit", self._submitter, store, clock, self._perform, self._failed)
        self._outcomes = Outcomes(store, self._keys, options.rpc_timeout_s, clock)
        self._door = Door(store, self._keys.closed, options.rpc_timeout_s, clock)
        self.operations = Operations(
            self,
            store,
            self._keys,
            clock,
            Bounds(options.rpc_timeout_s, options.submit_timeout_s),
            self._specs.defaults,
            node_id,
        )
        """Cancel, retry and purge, by id or filter."""
        self._tickets = itertools.count(1)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        # Guarded by _lock:
        self._waiting: dict[int, Future[Any]] = {}
        self._started = self._stopped = False
        self._failure: BaseException | None = None

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin. Needs no answer from the store.

        Raises:
            LifecycleError: Started before, or in a forked child.
        """
        self.refuse_fork()
        with self._lock:
            if self._started:
                raise LifecycleError("this client was started before; make a new one")
            self._started = True
        self._outcomes.start()
        self._loop.start()

    def stop(self) -> None:
        """End. Submits without an answer fail with outcome unknown; jobs go on. Safe twice and before `start`.
        In a forked child it does nothing: they are the parent's."""
        if self._is_of_parent:
            return
        with self._lock:
            if not self._started:
                return
            self._stopped = True
            waiting, self._waiting = self._waiting, {}
        self._door.stop()
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
        return not self._is_of_parent and self._outcomes.wait_until_watching(0)

    # ------------------------------------------------------------ submit

    def submit(
        self, job: NewJob, *, on_full: OnFull = OnFull.REJECT, block_timeout_s: float | None = None
    ) -> JobHandle[Any]:
        """Bring in one job. Returns after the commit.

        Args:
            job: The job.
            on_full: What to do when the queue is full.
            block_timeout_s: Longest wait for room, with `OnFull.BLOCK`; None: `jobs.submit_timeout`.

        Raises:
            RequestInvalidError: The payload is no JSON object, or an option makes no sense. Nothing was submitted.
            QueueFullError: The queue is closed, or was for as long as was waited. Nothing was submitted.
            IdempotencyConflictError: The key was used for another request. Nothing was submitted.
            DuplicateJobError: The key was used, and `OnDuplicate.RAISE` asked for this. Nothing was submitted.
            StoreTimeoutError: No definite answer within `jobs.submit_timeout`: the job may exist. Repeat with the same
                idempotency key.
        """
        answer = self.submit_many([job], on_full=on_full, block_timeout_s=block_timeout_s)[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def submit_many(
        self, jobs: Iterable[NewJob], *, on_full: OnFull = OnFull.REJECT, block_timeout_s: float | None = None
    ) -> list[JobHandle[Any] | Exception]:
        """Bring in many jobs, in few transactions. Returns after all have been answered, each on its own.

        No more than a thousand are under way at a time, however many there are; with `OnFull.BLOCK` fewer, so that
        little more than what there is room for is sent.

        Returns:
            For each job, in order, its handle or what `submit` would have raised. Invalid ones harm no others.
        """
        self._require_started()
        if not self._outcomes.wait_until_watching(self._options.submit_timeout_s):
            error = StoreTimeoutError(
                f"the store did not answer within {self._options.submit_timeout_s:g} s (jobs.submit_timeout)",
                outcome=Outcome.NOT_APPLIED,
            )
            return [error for _ in jobs]
        wanted = list(jobs)
        with self._tracer.span("slurp.jobs.submit", jobs=len(wanted)):  # what the run's span will link to
            if on_full is OnFull.REJECT:
                return self._bring_in(wanted, _UNDER_WAY)
            waits_s = self._options.submit_timeout_s if block_timeout_s is None else block_timeout_s
            return self._bring_in_patiently(wanted, self._clock.boottime() + waits_s)

    def _bring_in(self, jobs: Sequence[NewJob], under_way: int) -> list[JobHandle[Any] | Exception]:
        answers: list[JobHandle[Any] | Exception] = []
        waiting: deque[_Sent | Exception] = deque()
        for job in jobs:
            if len(waiting) >= under_way:
                answers.append(self._answer(waiting.popleft()))
            waiting.append(self._send(job))
        answers += [self._answer(sent) for sent in waiting]
        return answers

    def _bring_in_patiently(self, jobs: Sequence[NewJob], deadline: float) -> list[JobHandle[Any] | Exception]:
        """Some at a time; those that find the queue closed wait for room, and then go first."""
        answers: list[JobHandle[Any] | Exception] = []
        for start in range(0, len(jobs), _AT_THE_DOOR):
            chunk = jobs[start : start + _AT_THE_DOOR]
            answers += self._bring_in(chunk, _AT_THE_DOOR)
            refused = [at for at in range(start, len(answers)) if isinstance(answers[at], QueueFullError)]
            if refused:
                self._knock(jobs, answers, refused, deadline)
        return answers

    def _knock(
        self,
        jobs: Sequence[NewJob],
        answers: list[JobHandle[Any] | Exception],
        refused: list[int],
        deadline: float,
    ) -> None:
        """Wait for room, and send again what was refused."""
        with self._door.place() as place:
            place.refused()
            while refused and place.wait(deadline):
                for at, answer in zip(refused, self._bring_in([jobs[at] for at in refused], _AT_THE_DOOR), strict=True):
                    answers[at] = answer
                refused = [at for at in refused if isinstance(answers[at], QueueFullError)]
                if refused:
                    place.refused()

    def _send(self, job: NewJob) -> _Sent | Exception:
        try:
            spec, value, digest = self._specs.make(job)
        except (RequestInvalidError, RequestTooLargeError) as error:
            return error
        outcome = self._outcomes.expect(spec.job_id)
        ticket, future = self._new_ticket()
        deadline = self._clock.boottime() + self._options.submit_timeout_s
        self._loop.post(Submit(ticket, spec, digest, job.on_duplicate, value))
        return _Sent(spec.job_id, ticket, deadline, future, outcome)

    def _answer(self, sent: _Sent | Exception) -> JobHandle[Any] | Exception:
        if isinstance(sent, Exception):
            return sent
        try:
            answer: Submitted = sent.answer.result(max(0.0, sent.deadline - self._clock.boottime()))
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
        log_event(_logger, logging.DEBUG, LogEvent.JOB_SUBMITTED, job_id=answer.job_id, created=answer.created)
        if answer.job_id == sent.job_id:
            return JobHandle(self, answer.job_id, answer.created, sent.outcome, answer.replaced)
        self._outcomes.forget(sent.job_id)  # the key led to another job, or its id had to be minted anew
        return JobHandle(self, answer.job_id, answer.created, None, answer.replaced)

    def _give_up(self, sent: _Sent) -> None:
        with self._lock:
            self._waiting.pop(sent.ticket, None)
        self._outcomes.forget(sent.job_id)

    # ------------------------------------------------------------ look, cancel

    def handle(self, job_id: str) -> JobHandle[Any]:
        """A handle for a job of any process.

        Raises:
            RequestInvalidError: Not a job id.
        """
        if not is_job_id(job_id):
            raise RequestInvalidError(f"{job_id!r} is not a job id", field="job_id")
        return JobHandle(self, job_id, False, None)

    def outcome_of(self, job_id: str) -> Future[JobOutcome]:
        """A future for the outcome of any job, also of one that ended before; it fails when there is no such job.

        Raises:
            LifecycleError: In a forked child.
        """
        self.refuse_fork()
        return self._outcomes.ask(job_id)

    def convert(self, outcome: JobOutcome) -> Any:
        """What `JobHandle.result` makes of the outcome of a completed job. Waits for the payload store where that has
        the result.

        Raises:
            PayloadError: It cannot be had from there.
            ConfigurationError: No payload store is set here.
        """
        return self._convert(fetched(outcome, self._payloads))

    def report(self, job_id: str) -> JobReport:
        """All that is known about one job.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
        """
        self.handle(job_id)
        return read_job(self._store, self._keys, job_id, self._clock, self._options.rpc_timeout_s, self._payloads)

    def list(self, wanted: JobFilter | Sequence[JobStatus] = (), limit: int = 100) -> list[JobReport]:
        """Jobs that meet the filter, or stand in one of these statuses, newest first. Of none given: all.

        Results in the payload store are not fetched.
        """
        if not isinstance(wanted, JobFilter):
            wanted = JobFilter(status=frozenset(wanted))
        return read_jobs(self._store, self._keys, wanted, limit, self._clock, self._options.rpc_timeout_s)

    def cancel(self, job_id: str, reason: str = "", wait_s: float = 0.0) -> CancelAnswer:
        """Ask for a job to end, from anywhere. See `Operations.cancel`."""
        self.handle(job_id)
        return self.operations.cancel(job_id, reason, wait_s)

    def send(self, make: Callable[[int], Any]) -> Future[Any]:
        """Hand an event to the submitter: what `make` makes of its ticket. The future is the answer.

        Raises:
            LifecycleError: Not running.
        """
        self._require_started()
        ticket, future = self._new_ticket()
        self._loop.post(make(ticket))
        return future

    # ------------------------------------------------------------ on the loop's thread

    def _perform(self, command: Any) -> None:
        match command:
            case Submitted() | CancelAnswered() | RetryAnswered() | Written():
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

    @property
    def _is_of_parent(self) -> bool:
        return os.getpid() != self._pid

    def refuse_fork(self) -> None:
        """Raise in a child process, which nobody tells what becomes of a job.

        Raises:
            LifecycleError: This process was forked off the one that made the client.
        """
        if self._is_of_parent:
            raise LifecycleError(
                "this client is of the parent of this process, which was forked off and is told nothing of jobs: ask "
                "there, or in a new process (multiprocessing's 'spawn' or 'forkserver')"
            )

    def _require_started(self) -> None:
        self.refuse_fork()
        if self._failure is not None:
            raise LifecycleError(f"the submitter failed: {self._failure!r}; make a new client")
        if not self._started or self._stopped:
            raise LifecycleError("the client is not running: call start() first, and not after stop()")


@dataclass(frozen=True, slots=True)
class _Sent:
    job_id: str
    ticket: int
    deadline: float
    answer: Future[Any] = field(repr=False)
    outcome: Future[JobOutcome] = field(repr=False)


__all__ = ["JobClient", "JobHandle", "NewJob"]
