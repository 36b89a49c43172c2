"""Instruments of a service's own, beside those of the library and over the same port."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from slurp_leader.clock import Clock
from slurp_leader.errors import ConfigurationError
from slurp_leader.telemetry.metrics import Instrument, Kind, Metrics

P = ParamSpec("P")
R = TypeVar("R")

_RESERVED = "slurp."
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
"""What OpenTelemetry takes for a name."""


class Counter:
    """Counts up. Safe to use from any thread."""

    def __init__(self, metrics: Metrics, instrument: Instrument) -> None:
        self._metrics = metrics
        self._instrument = instrument

    def add(self, amount: float = 1, **attributes: str) -> None:
        """Count so many more, 0 or more."""
        self._metrics.add(self._instrument, amount, **attributes)


class Gauge:
    """Tells how much there is. Safe to use from any thread."""

    def __init__(self, metrics: Metrics, instrument: Instrument) -> None:
        self._metrics = metrics
        self._instrument = instrument

    def set(self, value: float, **attributes: str) -> None:
        """It is so much now."""
        self._metrics.set(self._instrument, value, **attributes)


class Timer:
    """Tells how long things take, in seconds. Safe to use from any thread.

    ::

        parsing = slurp.telemetry.timer("reports.parsing")
        with parsing.time(kind="pdf"):
            ...
        @parsing
        def parse(path): ...
    """

    def __init__(self, metrics: Metrics, instrument: Instrument, clock: Clock) -> None:
        self._metrics = metrics
        self._instrument = instrument
        self._clock = clock

    def record(self, seconds: float, **attributes: str) -> None:
        """Something took so long."""
        self._metrics.record(self._instrument, seconds, **attributes)

    def time(self, **attributes: str) -> Timing:
        """Measure a ``with`` block, however it ends."""
        return Timing(self, self._clock, attributes)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Measure each call of a function. Not of a coroutine: that has only begun when the call returns."""
        import functools
        import inspect

        if inspect.iscoroutinefunction(function):
            raise ConfigurationError("a coroutine is measured with `with timer.time():` in it", field="function")

        @functools.wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.time():
                return function(*args, **kwargs)

        return timed


class Timing:
    """One measurement."""

    def __init__(self, timer: Timer, clock: Clock, attributes: dict[str, str]) -> None:
        self._timer = timer
        self._clock = clock
        self._attributes = attributes
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = self._clock.boottime()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.record(self._clock.boottime() - self._began, **self._attributes)


class Telemetry:
    """Makes instruments of a service's own. The same name may be asked for again.

    Args:
        metrics: Where measurements go.
        clock: For timers.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._kinds: dict[str, Kind] = {}

    def __repr__(self) -> str:
        return "<Telemetry: counter, gauge, timer>"

    def counter(self, name: str, description: str = "", unit: str = "1") -> Counter:
        """Something that is counted.

        Raises:
            ConfigurationError: The name is none, is reserved, or stands for an instrument of another kind.
        """
        return Counter(self._metrics, self._instrument(name, Kind.COUNTER, unit, description))

    def gauge(self, name: str, description: str = "", unit: str = "1") -> Gauge:
        """Something of which there is more or less.

        Raises:
            ConfigurationError: As for `counter`.
        """
        return Gauge(self._metrics, self._instrument(name, Kind.GAUGE, unit, description))

    def timer(self, name: str, description: str = "") -> Timer:
        """Something that takes time; recorded in seconds, as a histogram.

        Raises:
            ConfigurationError: As for `counter`.
        """
        return Timer(self._metrics, self._instrument(name, Kind.HISTOGRAM, "s", description), self._clock)

    def _instrument(self, name: str, kind: Kind, unit: str, description: str) -> Instrument:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"name: {name!r:.80}: begin with a letter, go on with letters, digits and _ . / -", field="name"
            )
        if name.lower().startswith(_RESERVED):
            raise ConfigurationError(f"name: {name}: names that begin with {_RESERVED} are the library's", field="name")
        if self._kinds.setdefault(name, kind) is not kind:
            raise ConfigurationError(f"name: {name} is a {self._kinds[name]} already", field="name")
        return Instrument(name, kind, unit, description)
