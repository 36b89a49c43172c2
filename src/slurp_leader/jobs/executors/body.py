"""The body of a run: calling the generator, and what its answer or its error means."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from slurp_leader.errors import (
    CircuitOpenError,
    JobInterrupted,
    LeadershipLostError,
    RequestInvalidError,
    RetryAfterError,
    TerminalError,
)
from slurp_leader.jobs.context import JobContext, as_json
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.records import Spec
from slurp_leader.telemetry.tracing import SpanScope

_logger = logging.getLogger("slurp_leader.jobs")

Work = Callable[[Spec, JobContext], Any]
"""Does one job: takes spec and context; returns a JSON value, something with `to_wire()`, a `RunReport` that says it
all, or an awaitable of one of these."""

BatchWork = Callable[[Sequence[Spec], Sequence[JobContext]], Any]
"""Does many jobs: takes specs and contexts; returns for each, in order, what a `Work` would, or an exception."""

_NO_SPAN: SpanScope = nullcontext()
_LOOK_EVERY_S = 0.1
"""How often a coroutine on a thread of its own is asked whether its term is over."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Which errors of a generator are worth another attempt. `RetryAfterError` always is, `TerminalError` never.

    Attributes:
        retry_on: Only these, and what derives from them; None: all.
        no_retry_on: Not these, whatever `retry_on` says.
    """

    retry_on: tuple[type[BaseException], ...] | None = None
    no_retry_on: tuple[type[BaseException], ...] = ()

    def allow(self, error: BaseException) -> bool:
        """Whether this error is worth another attempt."""
        return not isinstance(error, self.no_retry_on) and (self.retry_on is None or isinstance(error, self.retry_on))


@dataclass(frozen=True, slots=True)
class Body:
    """What does a job, and how its errors are taken."""

    work: Work
    retries: Retries = field(default_factory=Retries)
    batch: BatchWork | None = None
    """Does many at once; None: one at a time."""
    name: str = ""
    """Of the generator, for metrics; empty: it has none."""
    version: str = ""
    """Of the generator when it was set, for statistics; empty: it has none."""

    @property
    def is_coroutine(self) -> bool:
        """Whether calling it only makes a coroutine."""
        return is_coroutine(self.work)


def is_coroutine(work: object) -> bool:
    """Whether this is an ``async def``, or an object that says so or is called like one."""
    said = getattr(work, "is_coroutine", None)
    if isinstance(said, bool):
        return said
    return inspect.iscoroutinefunction(work) or inspect.iscoroutinefunction(getattr(work, "__call__", None))  # noqa: B004


def perform(body: Body, spec: Spec, context: JobContext, span: SpanScope = _NO_SPAN) -> RunReport:
    """Do the job on this thread, to its end. Whatever user code raises belongs to the job, never to the worker."""
    try:
        with span:
            result = body.work(spec, context)
            if hasattr(result, "__await__"):
                result = await_here(result, context)
            return returned(result)
    except BaseException as error:
        return raised(error, body.retries, context)


async def perform_awaited(body: Body, spec: Spec, context: JobContext, span: SpanScope) -> RunReport:
    """Do the job on this event loop. Cancelled because its run was told to stop, it is interrupted."""
    try:
        with span:
            result = body.work(spec, context)
            if hasattr(result, "__await__"):
                result = await result
            return returned(result)
    except BaseException as error:
        return raised(error, body.retries, context)


def await_here(awaitable: Awaitable[Any], context: JobContext) -> Any:
    """Run a coroutine to its end on this thread; cancel it when the run has to stop."""

    async def watched() -> Any:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(awaitable)
        context._on_stop = lambda: _cancel_from_any_thread(loop, task)
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_EVERY_S)
            if context.should_stop() and not task.done():
                task.cancel()
                break
        return await task

    try:
        return asyncio.run(watched())
    finally:
        context._on_stop = None


def _cancel_from_any_thread(loop: asyncio.AbstractEventLoop, task: asyncio.Future[Any]) -> None:
    try:
        loop.call_soon_threadsafe(task.cancel)
    except RuntimeError:
        pass  # the loop is closed: the task has ended


# ---------------------------------------------------------------- what it came to


def returned(result: Any) -> RunReport:
    """What a result means. A report is taken as it is.

    Raises:
        TerminalError: It is no JSON value: trying again would give the same.
    """
    if type(result) is RunReport:
        return result
    to_wire = getattr(result, "to_wire", None)
    try:
        return RunReport(RunEnd.RETURNED, result_json=as_json(to_wire() if callable(to_wire) else result))
    except (TypeError, ValueError, RecursionError) as error:
        raise TerminalError(f"the result is not a JSON value: {error}", code="result_not_json") from error


def raised(error: BaseException, retries: Retries, context: JobContext) -> RunReport:
    """What an error means. A run that was told to stop may raise anything on its way out: that is never terminal by
    the type of the error, and a cancelled coroutine was interrupted."""
    was_told = context.should_stop()
    if was_told and isinstance(error, asyncio.CancelledError):
        error = JobInterrupted("the run was stopped", reason=context._reason or "term_lost")
    report = report_of(error)
    if report.end is RunEnd.RAISED:
        _logger.debug("job %s raised", context.id, exc_info=error)
        if not (was_told or isinstance(error, RetryAfterError) or retries.allow(error)):
            return RunReport(RunEnd.TERMINAL, error=report.error)
    return report


def report_of(error: BaseException) -> RunReport:
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
        case CircuitOpenError():
            wait_s = _seconds_of(error.retry_after_s)
            return RunReport(RunEnd.REFUSED, error=error_of("circuit_open", message, type=kind), retry_after_s=wait_s)
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
    """The wait a generator asked for; 0 when it is none."""
    try:
        seconds = delay_s.total_seconds() if isinstance(delay_s, timedelta) else float(delay_s)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return seconds if seconds > 0 else 0.0
