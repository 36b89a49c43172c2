"""Runs periodic work: functions each on a thread of its own, coroutines on one loop on a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from slurp_leader.clock import Clock
from slurp_leader.errors import ConfigurationError, LeadershipLostError, repr_of
from slurp_leader.loops import run_until
from slurp_leader.periodic.messages import Begin, RunEnded, RunOutcome
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.periodic")


@dataclass(frozen=True, slots=True)
class Task:
    """A function as it was registered."""

    function: Callable[..., Any]
    takes_term: bool
    is_async: bool

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Task:
        """Look at a function.

        Raises:
            ConfigurationError: It cannot be called with a term, and not without anything either.
        """
        call = what_is_called(function)
        if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            raise ConfigurationError(f"{function!r} yields: periodic work is a function or a coroutine function")
        return cls(function, _takes_term(function), inspect.iscoroutinefunction(call))

    def call(self, term: Term) -> Any:
        return self.function(term) if self.takes_term else self.function()


def what_is_called(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that runs: of a partial the one behind it, of an object its ``__call__``."""
    given = getattr(function, "func", function)
    return given if inspect.isroutine(given) else type(given).__call__


def _takes_term(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{function!r} cannot be called: {error}") from None
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    wanted = [each for each in parameters if each.default is each.empty]
    by_place = [each for each in wanted if each.kind in positional]
    if len(by_place) > 1 or any(each.kind is each.KEYWORD_ONLY for each in wanted):
        raise ConfigurationError(f"{function!r} is called with the term, or with nothing; it wants more")
    return bool(by_place) or any(each.kind is each.VAR_POSITIONAL for each in parameters)


class _Coroutine:
    """A coroutine under way on the loop; `task` and `is_cancelled` belong to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.task: asyncio.Task[BaseException | None] | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        _call(self._loop, self._cancel)

    def _cancel(self) -> None:
        """Once: what it awaits while it cleans up is not cancelled again."""
        if not self.is_cancelled:
            self.is_cancelled = True
            if self.task is not None:
                self.task.cancel()


class _NotBegun(Exception):  # noqa: N818 - a way out, not a fault
    """The term was not valid any more when the function was to be called."""


class Runner:
    """Runs what it is told, and says how it ended. Whatever a function raises ends that run, and nothing else.

    The term is looked at once more where the function is called: a thread may be slow to start, and a coroutine waits
    for one that blocks the loop.

    Args:
        tasks: The functions, by name.
        clock: To measure runs with.
        ended: Told of every end, on the thread of the run.
    """

    def __init__(self, tasks: Mapping[str, Task], clock: Clock, ended: Callable[[RunEnded], None]) -> None:
        self._tasks = tasks
        self._clock = clock
        self._tell = ended
        self._lock = threading.Lock()
        # Guarded by _lock:
        self._under_way: dict[int, threading.Thread | _Coroutine] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._loop_end: asyncio.Future[None] | None = None
        self._failing: dict[str, tuple[str, float]] = {}

    @property
    def failing(self) -> Mapping[str, tuple[str, float]]:
        """Work whose newest run failed, interruptions left aside: what it raised, and when, in boottime seconds."""
        with self._lock:
            return dict(self._failing)

    def begin(self, begin: Begin) -> None:
        """Begin a run. Never blocks, never raises."""
        task = self._tasks[begin.name]
        start = _Start(self._clock.boottime(), begin.term.trust.refusals)
        try:
            if task.is_async:
                self._begin_on_loop(task, begin, start)
            else:
                self._begin_on_thread(task, begin, start)
        except RuntimeError as error:  # no more threads; or the interpreter ends
            self._finished(begin, start, error)

    def cancel(self, run_id: int) -> None:
        """Cancel a coroutine. A function cannot be ended from outside: it is told by its term."""
        with self._lock:
            under_way = self._under_way.get(run_id)
        if isinstance(under_way, _Coroutine):
            under_way.cancel()

    def stop(self, timeout_s: float) -> bool:
        """Cancel what can be cancelled, and wait, at most this long in all. Safe twice.

        Returns:
            Whether everything has ended.
        """
        with self._lock:
            under_way = dict(self._under_way)
            loop, end, loop_thread = self._loop, self._loop_end, self._loop_thread
        until = self._clock.boottime() + timeout_s
        for run_id in under_way:
            self.cancel(run_id)
        if loop is not None and end is not None:
            _call(loop, partial(_set, end))
        for thread in (*under_way.values(), loop_thread):
            if isinstance(thread, threading.Thread) and thread is not threading.current_thread():
                thread.join(max(0.0, until - self._clock.boottime()))
        with self._lock:
            return not self._under_way

    # ------------------------------------------------------------ threads

    def _begin_on_thread(self, task: Task, begin: Begin, start: _Start) -> None:
        def run() -> None:
            error = None
            try:
                _look_at(begin.term)
                task.call(begin.term)
            except BaseException as raised:  # SystemExit too: it would end this thread only, and unseen
                error = raised
            self._finished(begin, start, error)

        thread = threading.Thread(target=run, name=f"slurp-periodic-{begin.name}", daemon=True)
        with self._lock:
            self._under_way[begin.run_id] = thread
        thread.start()

    # ------------------------------------------------------------ coroutines

    def _begin_on_loop(self, task: Task, begin: Begin, start: _Start) -> None:
        def create() -> None:
            made = loop.create_task(_await(task, begin.term), name=f"slurp-periodic-{begin.name}")
            run.task = made
            # Not a future of another thread: that is done as soon as it is cancelled, while the coroutine still ends.
            made.add_done_callback(lambda done: self._finished(begin, start, _error_of(done)))
            if run.is_cancelled:
                made.cancel()

        with self._lock:
            loop = self._loop = self._loop or self._new_loop()
            run = self._under_way[begin.run_id] = _Coroutine(loop)
        loop.call_soon_threadsafe(create)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        end = loop.create_future()
        thread = threading.Thread(target=self._serve, args=(loop, end), name="slurp-periodic-loop", daemon=True)
        try:
            thread.start()
        except BaseException:
            loop.close()
            raise
        self._loop_end, self._loop_thread = end, thread
        return loop

    def _serve(self, loop: asyncio.AbstractEventLoop, end: asyncio.Future[None]) -> None:
        asyncio.set_event_loop(loop)
        try:
            run_until(loop, end, _logger)
            run_until(loop, loop.create_task(self._wind_down(loop)), _logger)
        finally:
            loop.close()

    async def _wind_down(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the runs, each of which was cancelled, and only then cancel what they have left behind: some of it
        may serve their cleaning up."""
        with self._lock:
            under_way = [each.task for each in self._under_way.values() if isinstance(each, _Coroutine) and each.task]
        await asyncio.gather(*under_way, return_exceptions=True)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    # ------------------------------------------------------------ the end

    def _finished(self, begin: Begin, start: _Start, error: BaseException | None) -> None:
        now = self._clock.boottime()
        duration_s = now - start.at
        with self._lock:
            self._under_way.pop(begin.run_id, None)
        if isinstance(error, _NotBegun):
            self._tell(RunEnded(begin.run_id, None, duration_s))
            return
        outcome = _outcome_of(error, begin.term, start.refusals)
        with self._lock:
            if outcome is RunOutcome.FAILED:
                self._failing[begin.name] = repr_of(error), now
            elif outcome is RunOutcome.COMPLETED:
                self._failing.pop(begin.name, None)
        facts: dict[str, Any] = {"work": begin.name, "token": begin.term.token, "due": begin.due}
        facts |= {"outcome": outcome.value, "duration_s": round(duration_s, 3)}
        if outcome is RunOutcome.FAILED:
            log_event(_logger, logging.ERROR, LogEvent.PERIODIC_ENDED, **facts, error=repr_of(error))
            _logger.error("periodic work %s raised", begin.name, exc_info=error)
        else:
            log_event(_logger, logging.INFO, LogEvent.PERIODIC_ENDED, **facts)
        self._tell(RunEnded(begin.run_id, outcome, duration_s))


class _Start(NamedTuple):
    """When a run began, and how often its term had been refused by then."""

    at: float
    refusals: int


def _outcome_of(error: BaseException | None, term: Term, refusals: int) -> RunOutcome:
    """What a run came to; `refusals`: those of its term when it began."""
    if error is None:
        return RunOutcome.COMPLETED
    if isinstance(error, LeadershipLostError):  # its term may have been proved again by now
        was_stopped = term.should_stop or (error.token == term.token and term.trust.refusals != refusals)
    else:
        was_stopped = isinstance(error, asyncio.CancelledError) and term.should_stop
    return RunOutcome.INTERRUPTED if was_stopped else RunOutcome.FAILED


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(what)
    except RuntimeError:
        pass  # the loop was closed: nothing runs on it any more


def _set(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)


def _look_at(term: Term) -> None:
    if not term.is_valid:
        raise _NotBegun


async def _await(task: Task, term: Term) -> BaseException | None:
    """How it ended. Nothing is raised: `SystemExit` out of a task would come out of the loop too."""
    try:
        _look_at(term)
        await task.call(term)
    except BaseException as error:
        return error
    return None


def _error_of(done: asyncio.Task[BaseException | None]) -> BaseException | None:
    return _NotBegun() if done.cancelled() else done.result()  # cancelled as such: before its first step
