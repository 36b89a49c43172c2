"""Runs jobs: a pool of threads, and what a generator is handed.

A run is started by the scheduler's command, checks its term once more before any user code, and reports how it ended. A
run that is told to stop gets an event; a thread cannot be killed, so a generator that never looks keeps its worker, and
the scheduler counts that worker as taken.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import queue
import threading
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json

from slurp_leader.clock import Clock
from slurp_leader.errors import (
    JobInterrupted,
    LeadershipLostError,
    RequestInvalidError,
    RetryAfterError,
    TerminalError,
)
from slurp_leader.jobs.decisions import RunEnd, RunReport, clean_text, error_of, longest_run_s
from slurp_leader.jobs.records import Spec
from slurp_leader.jobs.scheduler import RunEnded, RunProgress, RunStarted, StartRun, StopRun
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.tracing import NoTracer, Tracer

_logger = logging.getLogger("slurp_leader.jobs")

Work = Callable[[Spec, "JobContext"], Any]
"""Does one job: takes spec and context; returns a JSON value, something with `to_wire()`, or a coroutine of either."""


class JobContext:
    """What a running job knows and may ask. Safe to use from any thread.

    Attributes:
        id: The job's id, in any process.
        attempt: 1 for the first attempt.
        run: Counts all runs, interrupted ones too.
        epoch: The leader's epoch, for people.
        token: Fencing token: grows with every run of this job. Hand it to outside stores, to be kept per job or thing.
        log: A logger whose records carry job id and attempt.
    """

    def __init__(self, start: StartRun, clock: Clock, post: Callable[[Any], None]) -> None:
        spec = start.job.spec
        self.id = spec.job_id
        self.attempt = start.attempt
        self.run = start.run
        self.epoch = start.term.epoch
        self.token = start.fencing_token
        self.log = logging.LoggerAdapter(_logger, {"slurp": {"job_id": spec.job_id, "attempt": start.attempt}})
        self._timeout_s = longest_run_s(spec, clock.utcnow())
        self._run_id = start.run_id
        self._term = start.term
        self._clock = clock
        self._post = post
        self._began = clock.boottime()
        self._stop = threading.Event()
        self._reason = ""

    @property
    def remaining_s(self) -> float:
        """Seconds left of the time this run may take."""
        return max(0.0, self._began + self._timeout_s - self._clock.boottime())

    @property
    def deadline(self) -> datetime:
        """The calendar date at which the time of this run is up, by this machine's clock."""
        return self._clock.utcnow() + timedelta(seconds=self.remaining_s)

    def should_stop(self) -> bool:
        """Whether this run has to come to its end: cancelled, out of time, or its term is over."""
        return self._stop.is_set() or not self._term.may_go_on

    def check(self) -> None:
        """Raise if this run has to come to its end. Call it between steps.

        Raises:
            JobInterrupted: Stop now; let it pass through.
        """
        if self.should_stop():
            reason = self._reason or "term_lost"
            raise JobInterrupted(f"the run was stopped: {reason}", reason=reason)

    def wait(self, seconds: float) -> bool:
        """Wait, at most this long, for the word to stop. Returns `should_stop()`."""
        self._stop.wait(seconds)
        return self.should_stop()

    def progress(self, fraction: float, note: str = "") -> None:
        """Tell how far the run is, 0 to 1. Cheap; written at most once a second."""
        self._post(RunProgress(self._run_id, min(1.0, max(0.0, float(fraction))), clean_text(note[:500])))

    def _tell_to_stop(self, reason: str) -> None:
        self._reason = reason
        self._stop.set()


class Runner:
    """A pool of threads that run jobs.

    Args:
        work: Does one job.
        workers: Threads.
        clock: For run times.
        post: Takes `RunStarted`, `RunEnded` and `RunProgress`; must not block.
        tracer: Where spans go.
    """

    def __init__(
        self, work: Work, workers: int, clock: Clock, post: Callable[[Any], None], tracer: Tracer | None = None
    ) -> None:
        self._work = work
        self._clock = clock
        self._post = post
        self._tracer = tracer or NoTracer()
        self._inbox: queue.SimpleQueue[tuple[StartRun, JobContext] | None] = queue.SimpleQueue()
        self._contexts: dict[int, JobContext] = {}
        # Daemon threads: a generator that never comes back must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._serve, name=f"slurp-job-{number}", daemon=True) for number in range(workers)
        ]
        self._started = False

    def start(self) -> None:
        self._started = True
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Tell all runs to stop and wait for the threads. Safe twice, before `start`, and from a body that runs here.

        Returns:
            Whether all threads have ended. A generator that does not look keeps its own.
        """
        if not self._started:
            return True
        for context in list(self._contexts.values()):
            context._tell_to_stop("shutdown")
        for _ in self._threads:
            self._inbox.put(None)
        deadline = self._clock.boottime() + timeout_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - self._clock.boottime()))
        return not any(thread.is_alive() for thread in self._threads)

    def run(self, start: StartRun) -> None:
        """Take a run. It begins as soon as a thread is free. Never blocks."""
        context = self._contexts[start.run_id] = JobContext(start, self._clock, self._post)
        self._inbox.put((start, context))

    def stop_run(self, stop: StopRun) -> None:
        """Tell a run to stop. Never blocks; a run that has ended does not mind."""
        context = self._contexts.get(stop.run_id)
        if context is not None:
            context._tell_to_stop(stop.reason)

    # ------------------------------------------------------------ on the threads of the pool

    def _serve(self) -> None:
        while (taken := self._inbox.get()) is not None:
            start, context = taken
            report, duration_s = self._run_one(start, context)
            self._contexts.pop(start.run_id, None)
            self._post(RunEnded(start.run_id, report, duration_s))

    def _run_one(self, start: StartRun, context: JobContext) -> tuple[RunReport | None, float]:
        if not start.term.may_begin:
            return None, 0.0  # no user code of a term starts after its trust window (I3)
        if context._stop.is_set():
            return RunReport(RunEnd.INTERRUPTED), 0.0
        context._began = began = self._clock.boottime()
        self._post(RunStarted(start.run_id))
        spec = start.job.spec
        log_event(_logger, logging.DEBUG, LogEvent.JOB_STARTED, job_id=spec.job_id, attempt=start.attempt)
        try:
            with self._tracer.span("slurp.job.run", parent=spec.trace, job_id=spec.job_id, attempt=start.attempt):
                result = self._work(spec, context)
                if inspect.iscoroutine(result):
                    result = _await(result, context)
                report = RunReport(RunEnd.RETURNED, result_json=_as_json(result))
        except BaseException as error:  # whatever user code raises belongs to the job, never to the worker
            report = _report_of(error)
            if report.end is RunEnd.RAISED:
                _logger.debug("job %s raised", spec.job_id, exc_info=True)
        return report, self._clock.boottime() - began


def _await(coroutine: Coroutine[Any, Any, Any], context: JobContext) -> Any:
    """Run a coroutine to its end on this thread; cancel it when the run has to stop."""

    async def watched() -> Any:
        task = asyncio.ensure_future(coroutine)
        while not task.done():
            await asyncio.wait({task}, timeout=0.1)
            if context.should_stop() and not task.done():
                task.cancel()
                break
        try:
            return await task
        except asyncio.CancelledError:
            context.check()
            raise

    return asyncio.run(watched())


_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _as_json(result: Any) -> bytes:
    """A result as JSON text.

    Raises:
        TerminalError: It is no JSON value: trying again would give the same.
    """
    to_wire = getattr(result, "to_wire", None)
    value = to_wire() if callable(to_wire) else result
    try:
        text = _ENCODER.encode(value).encode()
        from_json(b'{"result":%s}' % text)  # what is recorded can be read again: readers go less deep than writers
    except (TypeError, ValueError, RecursionError) as error:
        raise TerminalError(f"the result is not a JSON value: {error}", code="result_not_json") from error
    return text


def _report_of(error: BaseException) -> RunReport:
    """What an exception out of user code means. Nothing in it is trusted to be of the right type, or to print."""
    kind = type(error).__name__
    message = _text_of(error)
    match error:
        case JobInterrupted():
            return RunReport(RunEnd.INTERRUPTED, error=error_of("interrupted", message, type=kind))
        case LeadershipLostError():
            return RunReport(RunEnd.INTERRUPTED, error=error_of("term_lost", message, type=kind))
        case TerminalError():
            return RunReport(RunEnd.TERMINAL, error=error_of(str(error.code), message, type=kind))
        case RequestInvalidError():
            return RunReport(RunEnd.TERMINAL, error=error_of("request_invalid", message, type=kind))
        case RetryAfterError():
            wait_s = _seconds_of(error.delay_s)
            return RunReport(RunEnd.RAISED, error=error_of("retry_after", message, type=kind), retry_after_s=wait_s)
        case _:
            return RunReport(RunEnd.RAISED, error=error_of("error", f"{kind}: {message}", type=kind))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(the error cannot be printed)"


def _seconds_of(delay_s: object) -> float:
    """The wait a generator asked for; 0 when it is no number."""
    try:
        seconds = float(delay_s)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return seconds if seconds > 0 else 0.0
