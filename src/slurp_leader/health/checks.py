"""Runs the checks, each on a thread of its own while it lasts, so that one that hangs holds up no other."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import ConfigurationError
from slurp_leader.forks import free_in_child
from slurp_leader.health.options import HealthOptions
from slurp_leader.health.state import CheckState
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics

_logger = logging.getLogger("slurp_leader.health")
_LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `function` takes nothing, is sync or async, and fails by raising or by returning False."""

    name: str
    function: Callable[[], Any]
    interval_s: float
    timeout_s: float
    critical: bool = True


@dataclass(slots=True, eq=False)
class _Running:
    check: Check
    state: CheckState
    due_at: float
    late_at: float | None = None  # when the run under way counts as failed
    hangs: bool = False  # it has, and was not heard of since


class HealthChecks:
    """The checks of one node. Safe to use from any thread.

    Args:
        options: Defaults.
        clock: Source of time.
        changed: Told, on a thread of the checks, when the node becomes unfit to lead (why) or fit again (empty text).
        metrics: Where measurements go.
    """

    def __init__(
        self,
        options: HealthOptions,
        clock: Clock,
        changed: Callable[[str], None] = lambda why: None,
        metrics: Metrics | None = None,
    ) -> None:
        self._options = options
        self._clock = clock
        self._changed = changed
        self._metrics = metrics or NoMetrics()
        self._wake = free_in_child(threading.Condition())
        # Guarded by _wake:
        self._checks: dict[str, _Running] = {}
        self._thread: threading.Thread | None = None
        self._stopped = True
        self._has_news = False  # something to look at came, perhaps while the thread was not waiting for it
        self._told = ""

    def add(
        self,
        name: str,
        function: Callable[[], Any],
        interval_s: float | None = None,
        timeout_s: float | None = None,
        *,
        critical: bool = True,
    ) -> None:
        """Run a check from now on, or from `start` on.

        Args:
            name: Shown to people; must be new.
            function: Fails by raising or by returning False. Sync or async.
            interval_s: Seconds between two runs; None: `health.interval`.
            timeout_s: Seconds a run may take; None: `health.timeout`.
            critical: Whether failing makes this node unfit to lead; else it is only shown.

        Raises:
            ConfigurationError: The name is taken, a time is not positive, or there is nothing to call.
        """
        if not callable(function):
            raise ConfigurationError(f"health check {name!r}: {function!r:.40} cannot be called: give it a function")
        check = Check(
            name,
            function,
            self._options.interval_s if interval_s is None else interval_s,
            self._options.timeout_s if timeout_s is None else timeout_s,
            critical,
        )
        if not (check.interval_s > 0 and check.timeout_s > 0):
            raise ConfigurationError(f"health check {name!r}: interval and timeout must be more than 0 seconds")
        with self._wake:
            if name in self._checks:
                raise ConfigurationError(f"health check {name!r}: there is one of that name already")
            state = CheckState(self._options.failure_threshold)
            self._checks[name] = _Running(check, state, self._clock.boottime())
            self._wake_up()
            if not self._stopped:
                self._begin()

    def start(self) -> None:
        """Begin to run them, at once."""
        with self._wake:
            self._stopped = False
            self._told = ""  # whoever is told from now on knows nothing of what has failed before
            for running in self._checks.values():
                running.due_at = self._clock.boottime()
            if self._checks:
                self._begin()

    def stop(self) -> None:
        """Run no more. A check that is under way is not waited for."""
        with self._wake:
            self._stopped = True
            self._wake_up()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    @property
    def failing(self) -> dict[str, tuple[str, float | None]]:
        """Checks that fail: what they last said, and since when, in boottime seconds."""
        with self._wake:
            running = [each for each in self._checks.values() if each.state.is_failing]
            return {each.check.name: (each.state.error, each.state.since) for each in running}

    # ------------------------------------------------------------ the thread

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="slurp-health", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._stopped or self._thread is not threading.current_thread():
                    return
                now, self._has_news = self._clock.boottime(), False
                for running in self._checks.values():
                    self._look(running, now)
                pause_s = min((self._next_at(each) for each in self._checks.values()), default=now) - now
            self._tell()
            with self._wake:
                self._wake.wait_for(lambda: self._has_news, min(max(pause_s, 0.0), _LONGEST_WAIT_S))

    def _wake_up(self) -> None:
        """With the lock held: have the thread look, now or, where it is about something else, right after that."""
        self._has_news = True
        self._wake.notify_all()

    @staticmethod
    def _next_at(running: _Running) -> float:
        return running.due_at if running.late_at is None else running.late_at

    def _look(self, running: _Running, now: float) -> None:
        if running.hangs and now >= running.due_at:  # not started twice, and failed once more
            running.due_at = now + running.check.interval_s
            self._note(running, "it hangs", now)
        elif running.late_at is not None and now >= running.late_at:
            running.late_at, running.hangs = None, True
            running.due_at = now + running.check.interval_s
            self._note(running, f"no answer within {running.check.timeout_s:g} s", now)
        elif running.late_at is None and now >= running.due_at:  # nor does it hang: none is under way
            running.late_at = now + running.check.timeout_s
            name = f"slurp-health-{running.check.name}"
            threading.Thread(target=self._check, args=(running,), name=name, daemon=True).start()

    def _check(self, running: _Running) -> None:
        """On a thread of its own."""
        error = ""
        try:
            answer = running.check.function()
            if inspect.isawaitable(answer):
                answer = asyncio.run(_awaited(answer))
            if answer is False:
                error = "it returned False"
        except BaseException as raised:  # SystemExit too: on this thread it would only silence the check
            error = repr(raised)
        with self._wake:
            now = self._clock.boottime()
            was_late, running.hangs, running.late_at = running.hangs, False, None
            running.due_at = now + running.check.interval_s
            if not was_late or not error:
                self._note(running, error, now)
            self._wake_up()

    def _note(self, running: _Running, error: str, now: float) -> None:
        was_failing = running.state.is_failing
        if error:
            running.state.failed(error, now)
        else:
            running.state.passed()
        self._metrics.add(instruments.HEALTH_CHECKS, check=running.check.name, outcome="failed" if error else "ok")
        if running.state.is_failing != was_failing:
            level = logging.INFO if was_failing else logging.WARNING
            log_event(
                _logger,
                level,
                LogEvent.HEALTH_CHANGED,
                check=running.check.name,
                failing=not was_failing,
                critical=running.check.critical,
                error=error or None,
            )

    def _tell(self) -> None:
        """Tell the owner when what he knows has changed. Outside of the lock: he may ask back."""
        with self._wake:
            names = [each.check.name for each in self._checks.values() if each.state.is_failing and each.check.critical]
            why = f"health checks fail: {', '.join(sorted(names))}" if names else ""
            if why == self._told:
                return
            self._told = why
        self._changed(why)


async def _awaited(answer: Any) -> Any:
    return await answer
