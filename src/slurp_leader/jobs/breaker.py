"""The circuit breaker of the generator: while it is open, no job is claimed.

So a job never meets it: it waits in the queue, with its reason, and uses up no attempt. When the open time is over one
job is claimed, the probe, and the queue goes on with what that one says.

It counts what runs came to, as the scheduler sees them, and so it does not matter where they ran: on a thread, on a
loop, in a process. What was cancelled, interrupted, hopeless from the start, cut short by its own deadline or answered
from the cache says nothing about the generator.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slurp_leader.jobs.decisions import DEADLINE_CODE, RunEnd, RunReport
from slurp_leader.jobs.intents import MOST_ENTRIES
from slurp_leader.resilience.changes import CircuitChange, change_between
from slurp_leader.resilience.circuit import CallEnd, Circuit, CircuitState, Permit, admit, settle
from slurp_leader.resilience.options import BreakerOptions

NAME = "generator"

_ENDS = {
    RunEnd.RETURNED: CallEnd.SUCCEEDED,
    RunEnd.RAISED: CallEnd.FAILED,
    RunEnd.TIMED_OUT: CallEnd.FAILED,
    RunEnd.REFUSED: CallEnd.FAILED,
    RunEnd.NOT_STORED: CallEnd.FAILED,
}


@dataclass(frozen=True, slots=True)
class Hold:
    """Why the leader claims no job at present.

    Attributes:
        reason: ``circuit_open``: too many runs failed; ``circuit_half_open``: one job is under way to find out whether
            they still would.
        until: When the next one is claimed, in boottime seconds; of a half open circuit, if nothing is heard of the
            probe.
        error: What failed last.
    """

    reason: str
    until: float
    error: str


class JobBreaker:
    """The breaker of one scheduler, over all its terms: the generator is the same.

    Stepped by the scheduler alone. `hold` and `circuit` may be read from any thread.

    Args:
        options: When it opens.
        rng: Source of the jitter.
        say: Told of every change of state.
    """

    def __init__(self, options: BreakerOptions, rng: random.Random, say: Callable[[Any], None]) -> None:
        self._rules = options.rules
        self._rng = rng
        self._say = say
        self._error = ""
        self.circuit = Circuit()
        """How it stands."""

    @property
    def wake_at(self) -> float:
        """When it lets a job through again, as things stand."""
        return self.circuit.until

    def hold(self, now: float) -> Hold | None:
        """Why no job is claimed now; None: nothing here holds up the next one."""
        circuit = self.circuit
        if circuit.wait_s(now) == 0:
            return None
        return Hold(f"circuit_{circuit.state.value}", circuit.until, self._error)

    def room(self, now: float) -> int:
        """How many jobs may be claimed at once: as many as a claim holds, one as a probe, or none."""
        circuit = self.circuit
        if circuit.state is CircuitState.CLOSED:
            return MOST_ENTRIES
        return 1 if now >= circuit.until else 0

    def admit(self, timeout_s: float, now: float) -> Permit:
        """Jobs are claimed, as many as there was `room` for. The permit has to come back with what became of each.

        Args:
            timeout_s: The longest of their runs.
        """
        before = self.circuit
        self.circuit, permit = admit(before, self._rules, now, timeout_s + self._rules.lease_s)
        assert permit is not None, "asked for more than there was room for"
        self._tell(before, now)
        return permit

    def ended(self, permit: Permit, report: RunReport, duration_s: float, now: float) -> None:
        """A run is over."""
        error = report.error or {}
        is_no_call = report.cached or error.get("code") == DEADLINE_CODE
        end = CallEnd.UNCOUNTED if is_no_call else _ENDS.get(report.end, CallEnd.UNCOUNTED)
        if end is CallEnd.FAILED:
            self._error = str(error.get("message", ""))
        self._settle(permit, end, duration_s, now)

    def withdrawn(self, permit: Permit) -> None:
        """What was claimed is not begun, or nobody waits for its end any more. A probe makes room at once."""
        self._settle(permit, CallEnd.UNCOUNTED, 0.0, self.circuit.since)

    def _settle(self, permit: Permit, end: CallEnd, duration_s: float, now: float) -> None:
        before = self.circuit
        self.circuit = settle(before, self._rules, permit, end, duration_s, now, self._rng)
        self._tell(before, now)

    def _tell(self, before: Circuit, now: float) -> None:
        if self.circuit.state is not before.state:
            change: CircuitChange | None = change_between(NAME, before, self.circuit, now, self._error)
            self._say(change)
