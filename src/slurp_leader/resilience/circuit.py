"""When calls that keep failing are stopped, and how they come back: a circuit breaker as functions over values.

::

    closed     -- enough of the calls in the window failed -->   open
    open       -- its time is over, and somebody asks -->        half open: that one call is the probe
    half open  -- the probe succeeded -->                        closed
               -- the probe failed -->                           open, for longer
               -- it said nothing, or its lease ran out -->      half open: the next one that asks is the probe

Four rules, and what they are for:

* **One probe.** Of a thousand calls that wait for the end of the open time, one learns whether it was long enough.
* **A probe has a lease.** Its caller may never be heard of again: a thread that hangs, a coroutine that was thrown
  away. Then the next call is let through, and what the first one comes to counts no more.
* **What was begun before a change of state does not count after it.** Permits carry the *period*, which grows with
  every change: late failures of a burst do not open a circuit that has just been closed.
* **A circuit that opens again soon after it was closed stays open for longer**, as one does whose probe failed.

No clock, no lock, no dice of its own. `slurp_leader.resilience.breaker` has these, for calls; the scheduler of jobs
steps a circuit itself.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

_SLICES = 20
"""Of a window: what is older than it is forgotten a twentieth at a time, and memory does not grow with the calls."""
_MOST_DOUBLINGS = 60


class CircuitState(StrEnum):
    """How a circuit stands."""

    CLOSED = "closed"
    """Calls are made."""
    OPEN = "open"
    """Calls are refused."""
    HALF_OPEN = "half_open"
    """One call is under way to find out; all others are refused."""


class CallEnd(StrEnum):
    """What a call says about what it called."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNCOUNTED = "uncounted"
    """Nothing: it was cancelled, or its input was wrong."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a circuit opens, and for how long. Times in seconds.

    Attributes:
        window_s: How far back calls count.
        minimum_calls: So many calls in the window before it opens; infinity: never.
        failure_ratio: Share of them that has to fail, more than 0 and up to 1.
        slow_s: A call that succeeds after more than this counts as failed.
        open_s: How long it is open the first time, doubled each time it opens again.
        longest_open_s: How long it is open at most.
        jitter: Share, 0 to 1, of the open time that is left to chance: it gets shorter by up to so much.
        lease_s: How long a probe may be under way before the next one is let through.
    """

    window_s: float = 60.0
    minimum_calls: float = 10
    failure_ratio: float = 0.5
    slow_s: float = math.inf
    open_s: float = 5.0
    longest_open_s: float = 60.0
    jitter: float = 0.2
    lease_s: float = 60.0


class Permit(NamedTuple):
    """Leave to make a call, which has to be given back with what became of it (`settle`).

    Attributes:
        period: Of the circuit when it was given.
        is_probe: Whether the circuit waits for this very call.
    """

    period: int
    is_probe: bool = False


class _Slice(NamedTuple):
    number: int
    calls: int
    failures: int


@dataclass(frozen=True, slots=True)
class Window:
    """Calls that count, by slices of time, the newest last; and their sums."""

    slices: tuple[_Slice, ...] = ()
    calls: int = 0
    failures: int = 0

    def at(self, now: float, rules: Rules) -> Window:
        """What of it still counts."""
        oldest = _slice_at(now, rules) - _SLICES
        if not self.slices or self.slices[0].number > oldest:
            return self
        kept = tuple(each for each in self.slices if each.number > oldest)
        return Window(kept, sum(each.calls for each in kept), sum(each.failures for each in kept))

    def counting(self, failures: int, now: float, rules: Rules) -> Window:
        """With one more call; `failures`: 1 if it failed, else 0."""
        current = self.at(now, rules)
        slices, number = current.slices, _slice_at(now, rules)
        if slices and slices[-1].number >= number:
            last = slices[-1]
            slices = (*slices[:-1], _Slice(last.number, last.calls + 1, last.failures + failures))
        else:
            slices = (*slices, _Slice(number, 1, failures))
        return Window(slices, current.calls + 1, current.failures + failures)


def _slice_at(now: float, rules: Rules) -> int:
    return math.floor(now * _SLICES / rules.window_s)


@dataclass(frozen=True, slots=True)
class Circuit:
    """How things stand. Times are boottime seconds.

    Attributes:
        period: Grows with every change of state, and with every probe.
        since: When this state was entered.
        until: When a call is let through again: the end of the open time, or of the lease of the probe under way.
        openings: How often it opened, one soon after the other.
        window: The calls that count while it is closed; afterwards, those that opened it.
    """

    state: CircuitState = CircuitState.CLOSED
    period: int = 0
    since: float = -math.inf
    until: float = -math.inf
    openings: int = 0
    window: Window = Window()

    def wait_s(self, now: float) -> float:
        """Seconds until a call is let through again, as things stand; 0: at once."""
        return max(0.0, self.until - now)


def admit(circuit: Circuit, rules: Rules, now: float, lease_s: float | None = None) -> tuple[Circuit, Permit | None]:
    """Somebody wants to make a call. `lease_s`: what it may take if it is a probe; None: as the rules say.

    Returns:
        How things stand now, and the permit; None: the call is refused, for `Circuit.wait_s`.
    """
    if circuit.state is CircuitState.CLOSED:
        return circuit, Permit(circuit.period)
    if now < circuit.until:
        return circuit, None
    since = circuit.since if circuit.state is CircuitState.HALF_OPEN else now
    until = now + (rules.lease_s if lease_s is None else lease_s)
    probing = replace(circuit, state=CircuitState.HALF_OPEN, period=circuit.period + 1, since=since, until=until)
    return probing, Permit(probing.period, is_probe=True)


def settle(
    circuit: Circuit, rules: Rules, permit: Permit, end: CallEnd, duration_s: float, now: float, rng: random.Random
) -> Circuit:
    """A call has ended. Safe for one that was settled before, and for one that nobody waits for any more.

    Args:
        circuit: How things stood.
        rules: When it opens.
        permit: Under which the call was made.
        end: What the call says.
        duration_s: What it took.
        now: When.
        rng: Source of the jitter.
    """
    if permit.period != circuit.period:
        return circuit
    failed = end is CallEnd.FAILED or duration_s > rules.slow_s
    if circuit.state is CircuitState.HALF_OPEN:
        if end is CallEnd.UNCOUNTED:
            return replace(circuit, until=min(circuit.until, now))
        return _opened(circuit, rules, now, rng) if failed else _closed(circuit, now)
    if end is CallEnd.UNCOUNTED:
        return circuit
    counted = replace(circuit, window=circuit.window.counting(int(failed), now, rules))
    return _opened(counted, rules, now, rng) if _is_enough(counted.window, rules) else counted


def _is_enough(window: Window, rules: Rules) -> bool:
    return window.calls >= rules.minimum_calls and window.failures / window.calls >= rules.failure_ratio


def _opened(circuit: Circuit, rules: Rules, now: float, rng: random.Random) -> Circuit:
    was_well = circuit.state is CircuitState.CLOSED and now - circuit.since >= rules.window_s
    openings = 1 if was_well else circuit.openings + 1
    longest_s = min(rules.longest_open_s, rules.open_s * 2.0 ** min(openings - 1, _MOST_DOUBLINGS))
    until = now + longest_s * (1 - rules.jitter * rng.random())
    return Circuit(CircuitState.OPEN, circuit.period + 1, now, until, openings, circuit.window)


def _closed(circuit: Circuit, now: float) -> Circuit:
    return Circuit(CircuitState.CLOSED, circuit.period + 1, now, openings=circuit.openings)
