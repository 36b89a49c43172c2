"""A circuit breaker around calls: a lock, a clock and dice around `slurp_leader.resilience.circuit`."""

from __future__ import annotations

import functools
import inspect
import logging
import random
import secrets
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.errors import (
    CircuitOpenError,
    ConfigurationError,
    JobInterrupted,
    LeadershipLostError,
    LifecycleError,
    RequestInvalidError,
    TerminalError,
)
from slurp_leader.forks import free_in_child
from slurp_leader.resilience.changes import CircuitChange, change_between, measure, tell
from slurp_leader.resilience.circuit import CallEnd, Circuit, CircuitState, Permit, admit, settle
from slurp_leader.resilience.options import BreakerOptions
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.metrics import Metrics, NoMetrics

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger("slurp_leader.resilience")
_SAYS_NOTHING = (TerminalError, RequestInvalidError, LeadershipLostError, CancelledError)


def is_failure(error: BaseException) -> bool:
    """Whether an error speaks against what was called: all do but wrong input (`TerminalError`, `RequestInvalidError`),
    and being stopped (`JobInterrupted`, cancellation, the end of the process). Out of time is a failure."""
    if isinstance(error, JobInterrupted):
        return error.reason == "timeout"
    return isinstance(error, Exception) and not isinstance(error, _SAYS_NOTHING)


@dataclass(frozen=True, slots=True)
class CircuitSnapshot:
    """How a circuit stands at one moment.

    Attributes:
        circuit: Its name.
        state: As of the last call: an open one whose time is over stays open until somebody calls.
        calls, failures: In the window; of one that is not closed, when it opened.
        openings: How often it opened, one soon after the other.
        wait_s: Seconds until a call is let through; 0: at once.
        error: What failed last; empty: nothing has.
    """

    circuit: str
    state: CircuitState
    calls: int
    failures: int
    openings: int
    wait_s: float
    error: str


class CircuitBreaker:
    """Refuses calls to what keeps failing, and finds out with one call at a time when it is well again.

    Safe to use from any thread and any event loop; nothing here waits. One for each thing that can fail by itself::

        breaker = CircuitBreaker("models")

        with breaker.guard():                     # or: async with
            answer = ask()
        answer = breaker.call(ask, "what?")       # or: await breaker.acall(ask, "what?")

        @breaker                                  # functions and coroutine functions
        def ask(question): ...

    Which call it is that fails is not asked, and no call is repeated. What is refused was not begun: `CircuitOpenError`
    says when it may be tried again. Raised out of a generator, it puts the job back until then, and costs no attempt.

    Args:
        name: Shown in logs and metrics.
        options: When it opens, and for how long.
        clock: Source of time.
        counts: Whether an error speaks against what was called.
        listener: Told of every change of state, in order, one at a time, on the thread of a call, which waits for it.
            What it raises is logged.
        metrics: Where measurements go.
        rng: Source of the jitter.
    """

    def __init__(
        self,
        name: str,
        options: BreakerOptions | None = None,
        *,
        clock: Clock | None = None,
        counts: Callable[[BaseException], bool] = is_failure,
        listener: Callable[[CircuitChange], None] | None = None,
        metrics: Metrics | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self._rules = (options or BreakerOptions()).rules
        self._clock = clock or SystemClock()
        self._counts = counts
        self._listener = listener
        self._metrics = metrics or NoMetrics()
        self._rng = rng or random.Random(secrets.randbits(128))
        self._telling = free_in_child(threading.Lock())  # held by the one thread that tells of changes
        self._lock = free_in_child(threading.Lock())  # guards all below; held for a few microseconds
        self._circuit = Circuit()
        self._error = ""
        self._changes: deque[CircuitChange] = deque()
        measure(name, self._circuit.state, self._metrics)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r}: {self.state.value}>"

    @property
    def state(self) -> CircuitState:
        """How it stands, as of the last call."""
        return self._circuit.state

    def snapshot(self) -> CircuitSnapshot:
        """How it stands, for a status. Changes nothing."""
        with self._lock:
            circuit, error, now = self._circuit, self._error, self._clock.boottime()
        window = circuit.window.at(now, self._rules) if circuit.state is CircuitState.CLOSED else circuit.window
        return CircuitSnapshot(
            self.name, circuit.state, window.calls, window.failures, circuit.openings, circuit.wait_s(now), error
        )

    # ------------------------------------------------------------ calls

    def guard(self, lease_s: float | None = None) -> Guard:
        """What stands around one call: ``with breaker.guard():`` or ``async with breaker.guard():``. Used once.

        Args:
            lease_s: How long the call may be unheard of, if it is the probe; None: ``breaker.probe_timeout``.

        Raises (on entering):
            CircuitOpenError: Refused. The call was not made.
        """
        return Guard(self, lease_s)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function, and count what comes of it.

        Raises:
            CircuitOpenError: Refused. It was not called.
            ConfigurationError: It is a coroutine function: `acall` is for these. It was not called.
            What the function raises.
        """
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{function!r} is a coroutine function: await breaker.acall(...)")
        with self.guard():
            return function(*args, **kwargs)

    async def acall(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function and await what it returns, and count what comes of it.

        Raises:
            CircuitOpenError: Refused. It was not called.
            What the function raises.
        """
        async with self.guard():
            return await function(*args, **kwargs)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Guard every call of a function or a coroutine function: ``@breaker``.

        Raises:
            ConfigurationError: The function yields: it would be counted before it has done anything.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"{function!r} yields: a breaker takes functions and coroutine functions")

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.guard():
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def guarded_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with self.guard():
                return await cast("Awaitable[Any]", function(*args, **kwargs))

        return cast("Callable[P, T]", guarded_coroutine if inspect.iscoroutinefunction(function) else guarded)

    # ------------------------------------------------------------ what a guard does

    def _enter(self, lease_s: float | None) -> tuple[Permit, float]:
        with self._lock:
            now = self._clock.boottime()
            before = self._circuit
            self._circuit, permit = admit(before, self._rules, now, lease_s)
            self._note(before, now)
            wait_s, error = self._circuit.wait_s(now), self._error
        self._tell()
        if permit is None:
            self._metrics.add(instruments.CIRCUIT_REFUSED, circuit=self.name)
            raise CircuitOpenError(
                f"the circuit {self.name!r} is open for {wait_s:.3g} s; what failed last: {error or 'unknown'}",
                circuit=self.name,
                retry_after_s=wait_s,
            )
        return permit, now

    def _leave(self, permit: Permit, began: float, error: BaseException | None) -> None:
        end = CallEnd.UNCOUNTED  # also if the predicate raises: the probe must come back
        try:
            if error is None:
                end = CallEnd.SUCCEEDED
            elif self._counts(error):
                end = CallEnd.FAILED
        finally:
            said = _said(error) if end is CallEnd.FAILED else ""
            with self._lock:
                now = self._clock.boottime()
                before = self._circuit
                self._error = said or self._error
                self._circuit = settle(before, self._rules, permit, end, now - began, now, self._rng)
                self._note(before, now)
            self._tell()

    def _note(self, before: Circuit, now: float) -> None:
        if self._circuit is not before:
            change = change_between(self.name, before, self._circuit, now, self._error)
            if change is not None:
                self._changes.append(change)

    def _tell(self) -> None:
        """Tell of the changes so far, in order, without a lock that calls need.

        One thread tells at a time. Whoever finds it at work leaves its own change to it: that was put in before, and
        the teller looks once more when it is through.
        """
        while self._changes and self._telling.acquire(blocking=False):
            try:
                while self._changes:
                    self._tell_of(self._changes.popleft())
            finally:
                if self._telling.locked():  # not in a child that the listener has forked: it was made free there
                    self._telling.release()

    def _tell_of(self, change: CircuitChange) -> None:
        tell(change, self._metrics)
        if self._listener is not None:
            try:
                self._listener(change)
            except Exception:
                _logger.exception("the listener of the circuit %r failed", self.name)


class Guard:
    """Stands around one call. See `CircuitBreaker.guard`."""

    __slots__ = ("_began", "_breaker", "_lease_s", "_permit")

    def __init__(self, breaker: CircuitBreaker, lease_s: float | None) -> None:
        self._breaker = breaker
        self._lease_s = lease_s
        self._permit: Permit | None = None
        self._began = 0.0

    def __enter__(self) -> Guard:
        if self._permit is not None:
            raise LifecycleError("a guard is for one call: make another with breaker.guard()")
        self._permit, self._began = self._breaker._enter(self._lease_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._permit is not None
        self._breaker._leave(self._permit, self._began, error)

    async def __aenter__(self) -> Guard:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def _said(error: BaseException | None) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
