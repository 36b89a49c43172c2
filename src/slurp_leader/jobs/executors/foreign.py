"""Any `concurrent.futures.Executor`: a pool that a service has already, or the client of an engine on other machines.

In this process the body gets the `JobContext` itself. Beyond it the context goes along as a copy that is alone there
(`ContextElsewhere`): it knows the run and its time, and stops by itself when that is over. What it tells is kept with
it, and comes back with the end of the run. So for a body elsewhere

* a cancel, and the end of the term, reach it only while it waits for its turn; the fencing token does the rest;
* progress is not seen; a checkpoint survives a failed attempt, not the loss of the engine; `extend` adds nothing.

When a pool begins what it was given is not known here, so a run's time counts from when it was handed in: give the pool
as many places as ``jobs.workers``, or its jobs run out of time in its queue.

The loss of an engine is nobody's fault: its runs are interrupted. One that was handed in is lost for good, and its node
lets another lead; where a function that makes one was handed in, the next run makes the next.
"""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass
from functools import partial

from slurp_leader.errors import ConfigurationError
from slurp_leader.jobs.context import JobContext
from slurp_leader.jobs.decisions import RunReport
from slurp_leader.jobs.executors.body import Body, perform, report_of
from slurp_leader.jobs.executors.measuring import ThreadUse
from slurp_leader.jobs.executors.port import INTERRUPTED, Launch
from slurp_leader.jobs.messages import RunCheckpoint
from slurp_leader.jobs.records import Spec
from slurp_leader.jobs.use import Use
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.jobs")

PoolSource = concurrent.futures.Executor | Callable[[], concurrent.futures.Executor]
"""A pool, or what makes one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back from the pool. No report: the term was over before the body could begin."""

    report: RunReport | None = None
    checkpoint: RunCheckpoint | None = None
    use: Use | None = None


def perform_there(body: Body, spec: Spec, context: JobContext) -> Answer:
    """What is handed to the pool."""
    if not context._may_begin():
        return Answer()
    measured = ThreadUse()
    report = perform(body, spec, context)
    return Answer(report, getattr(context, "newest", None), measured.taken())


class Foreign:
    """A pool of somebody else's.

    Args:
        source: The pool, or what makes one. One that was handed in is not shut down here.
        body: What does a job.
    """

    can_kill = False
    holds_worker = True
    per_worker = 1

    def __init__(self, source: PoolSource, body: Body) -> None:
        self._make = None if isinstance(source, concurrent.futures.Executor) else source
        self._body = body
        self.trouble = ""
        self.name = type(source).__name__ if self._make is None else getattr(source, "__name__", "foreign")
        self._lost: Callable[[BaseException], None] = _ignore
        self._lock = threading.Lock()  # guards all below
        self._pool = source if isinstance(source, concurrent.futures.Executor) else None
        self._futures: dict[int, Future[Answer]] = {}
        self._is_closed = False

    def open(self, lost: Callable[[BaseException], None], ready: Callable[[], None]) -> None:
        self._lost = lost

    def scale(self, count: int) -> None:
        """They are somebody else's."""

    def start(self, launch: Launch) -> None:
        if not launch.begin_apart():
            return
        try:
            future = self._pool_of_now().submit(perform_there, self._body, launch.spec, launch.context)
        except Exception as error:  # broken, shut down, or it cannot be made
            self._is_gone(error)
            launch.end(None)
            return
        with self._lock:
            self._futures[launch.run_id] = future
        if launch.context.should_stop():  # told meanwhile
            future.cancel()
        future.add_done_callback(partial(self._done, launch))

    def stop(self, launch: Launch, reason: str) -> None:
        """Taken back if it waits for its turn; else its context has been told, if it is in this process."""
        with self._lock:
            future = self._futures.get(launch.run_id)
        if future is not None:
            future.cancel()

    def close(self, timeout_s: float) -> bool:
        with self._lock:
            self._is_closed = True
            under_way = list(self._futures.values())
            pool = self._pool if self._make is not None else None
        for future in under_way:
            future.cancel()
        _, not_back = concurrent.futures.wait(under_way, timeout_s)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        return not not_back

    def _pool_of_now(self) -> concurrent.futures.Executor:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("closed")
            if self._pool is None:
                assert self._make is not None
                self._pool = self._make()
            return self._pool

    def _done(self, launch: Launch, future: Future[Answer]) -> None:
        """On a thread of the pool, or of whoever cancelled."""
        with self._lock:
            self._futures.pop(launch.run_id, None)
        if future.cancelled():
            launch.end(INTERRUPTED)
            return
        error = future.exception()
        if error is None:
            self.trouble = ""
            answer = future.result()
            if answer.checkpoint is not None:
                launch.tell(answer.checkpoint)
            launch.end(answer.report, answer.use)
        elif isinstance(error, BrokenExecutor):
            launch.end(INTERRUPTED)
            self._is_gone(error)
        elif isinstance(error, ConfigurationError):  # what it was given cannot be sent there: the fault of no job
            launch.end(None)
            self._is_gone(error)
        elif isinstance(error, CancelledError):  # by the engine, on its own
            launch.end(INTERRUPTED)
        else:
            launch.end(report_of(error))

    def _is_gone(self, error: BaseException) -> None:
        with self._lock:
            is_new = not self.trouble
            self.trouble = f"{self.name} runs nothing more: {error!r:.500}"
            broken, self._pool = (self._pool, None) if self._make is not None else (None, self._pool)
            is_over = self._make is None and not self._is_closed
        if is_new and not self._is_closed:
            log_event(_logger, logging.ERROR, LogEvent.EXECUTOR_LOST, executor=self.name, error=repr(error))
        if broken is not None:
            broken.shutdown(wait=False, cancel_futures=True)
        if is_over and is_new:
            self._lost(error)


def _ignore(error: BaseException) -> None:
    """Nobody is to be told."""
