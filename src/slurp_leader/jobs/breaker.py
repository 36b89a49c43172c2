"""The circuit breaker of the generator: while it is open, no job is claimed.

So a job never meets it: it waits in the queue, with its reason, and uses up no attempt. When the open time is over one
job is claimed, the probe, and the queue goes on with what that one says.

It counts what runs came to, as the scheduler sees them, and so it does not matter where they ran: on a thread, on a
loop, in a process. What was cancelled, interrupted, hopeless from the start, cut short by its own deadline or answered
from the cache says nothing about the generator. Runs that share a call of it, a batch, count once (`SharedCalls`): a
model that is down for one call has failed once, however many jobs were in it.
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
        end = _end_of(report)
        if end is CallEnd.FAILED:
            self._error = str((report.error or {}).get("message", ""))
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


def _end_of(report: RunReport) -> CallEnd:
    is_no_call = report.cached or (report.error or {}).get("code") == DEADLINE_CODE
    return CallEnd.UNCOUNTED if is_no_call else _ENDS.get(report.end, CallEnd.UNCOUNTED)


@dataclass(slots=True)
class _SharedCall:
    """A call that does several runs.

    Attributes:
        runs: That are not over.
        permit: The newest of theirs: they may have been claimed apart, one of them as the probe.
        report: Of the one that says most about the generator.
        duration_s: Of the longest.
    """

    runs: int = 0
    permit: Permit | None = None
    report: RunReport | None = None
    duration_s: float = 0.0


class SharedCalls:
    """The calls of one term that do several runs at once. Each counts once, when the last of its runs is over: it has
    succeeded if one of them did, for then the generator was there; else it has failed if one of them did.

    Args:
        breaker: What they are counted by.
    """

    def __init__(self, breaker: JobBreaker) -> None:
        self._breaker = breaker
        self._calls: dict[int, _SharedCall] = {}

    def begun(self, call: int) -> None:
        """One more run begins in this call."""
        self._calls.setdefault(call, _SharedCall()).runs += 1

    def ended(self, call: int, permit: Permit, report: RunReport, duration_s: float, now: float) -> None:
        """A run is over. `call`: what it had begun in; 0: a call of its own, or none."""
        if not call:
            self._breaker.ended(permit, report, duration_s, now)
            return
        shared = self._calls[call]
        shared.runs -= 1
        shared.permit = permit if shared.permit is None else max(shared.permit, permit)
        shared.duration_s = max(shared.duration_s, duration_s)
        if shared.report is None or _says(report) > _says(shared.report):
            shared.report = report
        if not shared.runs:
            del self._calls[call]
            self._breaker.ended(shared.permit, shared.report, shared.duration_s, now)


def _says(report: RunReport) -> int:
    """How much a run says about the generator, beside the others in its call."""
    return (CallEnd.UNCOUNTED, CallEnd.FAILED, CallEnd.SUCCEEDED).index(_end_of(report))
