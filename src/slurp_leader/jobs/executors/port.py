"""The port: what an executor is, and a run on its way through one."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from typing import Any, Protocol

from slurp_leader.errors import JobError
from slurp_leader.jobs.context import JobContext, Told
from slurp_leader.jobs.decisions import RunEnd, RunReport, deadline_error
from slurp_leader.jobs.messages import RunEnded, RunStarted, StartRun
from slurp_leader.jobs.records import Spec
from slurp_leader.jobs.use import Use
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.tracing import SpanScope, Tracer

_logger = logging.getLogger("slurp_leader.jobs")

INTERRUPTED = RunReport(RunEnd.INTERRUPTED)


class Executor(Protocol):
    """Runs bodies. Called from any thread; no call blocks but `close`.

    Attributes:
        name: For people.
        can_kill: Whether `stop` ends a body that does not look.
        holds_worker: Whether a run takes a thread or a process for as long as it lasts, so that ``jobs.workers`` says
            how many there may be; else ``jobs.coroutines`` does.
        per_worker: Runs that share a worker, where they do.
        trouble: Why it can run nothing at present; empty when all is well. What it was given meanwhile comes back as
            not begun, and is given again.
    """

    name: str
    can_kill: bool
    holds_worker: bool
    per_worker: int
    trouble: str

    def open(self, lost: Callable[[BaseException], None], ready: Callable[[], None]) -> None:
        """Make ready. Once, first. `lost` is told if it will never run anything again; `ready` whenever a worker has
        come up that was not there, so that what could not begin may now."""
        ...

    def scale(self, count: int) -> None:
        """Have so many workers from now on, if there are any. What runs is not disturbed."""
        ...

    def start(self, launch: Launch) -> None:
        """Run this, as soon as there is room."""
        ...

    def stop(self, launch: Launch, reason: str) -> None:
        """This run has been told to stop: see that it does, as far as can be. `reason`: as in `StopRun`."""
        ...

    def close(self, timeout_s: float) -> bool:
        """End. All runs were told to stop. Safe twice, before `open`, and from a body that runs here.

        Returns:
            Whether all have come back.
        """
        ...


class Launch:
    """One run on its way: an executor begins it and ends it, once each."""

    __slots__ = ("_apart", "_has_begun", "_over", "_post", "_scope", "_tracer", "context", "run_id", "start")

    def __init__(
        self,
        start: StartRun,
        context: JobContext,
        post: Callable[[Any], None],
        tracer: Tracer,
        over: Callable[[int], object],
    ) -> None:
        self.start = start
        self.run_id = start.run_id
        self.context = context
        self._post = post
        self._tracer = tracer
        self._over: Callable[[int], object] | None = over
        self._has_begun = False
        self._apart: contextvars.Context | None = None
        self._scope: SpanScope | None = None

    @property
    def spec(self) -> Spec:
        return self.start.job.spec

    def begin(self, call: int = 0) -> bool:
        """The body is about to begin. Looks at the term once more: no user code starts after its trust window (I3),
        nor after the deadline of the job: it may have waited here for long.

        Args:
            call: As in `RunStarted`.

        Returns:
            Whether it may. If not, the run has ended, and the executor is done with it.
        """
        if not self.start.term.may_begin:
            self.end(None)
            return False
        if self.context._stop.is_set():
            self.end(INTERRUPTED)
            return False
        if self.context._is_late():
            self.end(RunReport(RunEnd.EXPIRED, error=deadline_error(self.spec)))
            return False
        self._has_begun = True
        self.context._begin()
        self._post(RunStarted(self.run_id, call))
        if _logger.isEnabledFor(logging.DEBUG):
            log_event(
                _logger, logging.DEBUG, LogEvent.JOB_STARTED, job_id=self.context.id, attempt=self.context.attempt
            )
        return True

    def span(self) -> SpanScope:
        """The span of the run, for a body on this very thread or task."""
        context = self.context
        return self._tracer.span("slurp.job.run", parent=self.spec.trace, job_id=context.id, attempt=context.attempt)

    def begin_apart(self, call: int = 0) -> bool:
        """As `begin`, for a body that runs elsewhere: the span is open until the end, in nobody's way."""
        if not self.begin(call):
            return False
        self._apart = contextvars.copy_context()
        self._scope = self._apart.run(self.span)
        self._apart.run(self._scope.__enter__)
        return True

    def tell(self, told: Told) -> None:
        """Pass on what the body tells."""
        self._post(told)

    def end(self, report: RunReport | None, use: Use | None = None) -> None:
        """The run is over. No report: its body never began, and the run may be given again. `use`: what it has taken,
        where that is known."""
        over, self._over = self._over, None
        if over is None:
            return
        duration_s = self.context._lasted_s() if report is not None and self._has_begun else 0.0
        if self._apart is not None and self._scope is not None:
            error = _as_error(report)
            self._apart.run(self._scope.__exit__, type(error) if error else None, error, None)
        over(self.run_id)
        self._post(RunEnded(self.run_id, report, duration_s, use))


def _as_error(report: RunReport | None) -> JobError | None:
    if report is None or report.end is RunEnd.RETURNED:
        return None
    return JobError(str((report.error or {}).get("message", report.end.value)))
