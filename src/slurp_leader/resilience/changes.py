"""What is told of circuits: every change of state, as a value, a log entry and figures."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from slurp_leader.resilience.circuit import Circuit, CircuitState
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics

_logger = logging.getLogger("slurp_leader.resilience")
_LONGEST_ERROR = 500
_LEVELS = {CircuitState.OPEN: logging.WARNING, CircuitState.HALF_OPEN: logging.INFO, CircuitState.CLOSED: logging.INFO}
_FIGURES = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


@dataclass(frozen=True, slots=True)
class CircuitChange:
    """A circuit has changed its state.

    Attributes:
        circuit: Its name.
        state: What it is now.
        was: What it was.
        wait_s: Seconds until a call is let through, when it is not closed; of a half open one, if the probe is lost.
        openings: How often it opened, one soon after the other.
        calls, failures: In the window, at the last opening; both 0 once it is closed.
        error: What failed last; empty when it was not told.
    """

    circuit: str
    state: CircuitState
    was: CircuitState
    wait_s: float
    openings: int
    calls: int
    failures: int
    error: str = ""


def change_between(name: str, before: Circuit, after: Circuit, now: float, error: str = "") -> CircuitChange | None:
    """What there is to tell: None while the state is the same."""
    if after.state is before.state:
        return None
    window = after.window
    return CircuitChange(
        name, after.state, before.state, after.wait_s(now), after.openings, window.calls, window.failures, error
    )


def tell(change: CircuitChange, metrics: Metrics) -> None:
    """Log a change, and measure it. Never raises."""
    log_event(
        _logger,
        _LEVELS[change.state],
        LogEvent.CIRCUIT_STATE,
        circuit=change.circuit,
        state=change.state.value,
        was=change.was.value,
        wait_s=None if change.state is CircuitState.CLOSED else round(change.wait_s, 3),
        openings=change.openings,
        calls=change.calls,
        failures=change.failures,
        error=change.error[:_LONGEST_ERROR],
    )
    measure(change.circuit, change.state, metrics)
    metrics.add(instruments.CIRCUIT_TRANSITIONS, circuit=change.circuit, state=change.state.value)


def measure(name: str, state: CircuitState, metrics: Metrics) -> None:
    """Say how a circuit stands; at first before anything happens, so that a circuit that does well is seen too."""
    metrics.set(instruments.CIRCUIT_STATE, _FIGURES[state], circuit=name)
