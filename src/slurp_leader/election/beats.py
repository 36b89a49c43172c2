"""Beats: the crash guard of this process is told of our lease, and that we move; and how long that lets us trust.

A guard that hears nothing for `stall_timeout` revokes the lease. So trust ends a margin before that, whatever the lease
says; and after a silence beyond it only a new proof brings it back: the guard may have acted meanwhile (PROTOCOL A1).

How the guard is reached is not our business: the owner carries out `HoldLease`, `SayBeat` and `DropLease`, and answers
with `BeatSaid`.
"""

from __future__ import annotations

import math
from typing import Protocol

from slurp_leader.election.desk import Desk
from slurp_leader.election.events import BeatSaid, DropLease, HoldLease, SayBeat
from slurp_leader.election.options import ElectionOptions
from slurp_leader.guard.messages import Told

TIMER = "beat"
_LONGEST_PAUSE_S = 1.0
_SOON_S = 0.1


class CrashGuard(Protocol):
    """Somebody outside of this process who revokes its leases when it dies. Must not block; safe from any thread."""

    def hold(self, lease_id: int, ttl_s: float, stall_s: float) -> Told:
        """Revoke this lease when the process dies, or is silent about it for `stall_s` seconds; 0: only when it dies.
        Returns whether that is known to the guard now."""
        ...

    def beat(self, lease_id: int) -> Told:
        """Say that the owner of this lease moves. Returns what that is worth. After `Told.NOBODY` no silence is counted
        before `Told.YES` was returned and the next beat is said: until then the owner trusts without that bound."""
        ...

    def drop(self, lease_id: int) -> None:
        """Leave this lease alone."""
        ...


class Beats:
    """What is said to the guard, and until when that lets us trust.

    Args:
        desk: Shared with the elector. Uses the timer "beat".
        options: `stall_timeout`.
        guarded: Whether there is a guard at all.
    """

    def __init__(self, desk: Desk, options: ElectionOptions, *, guarded: bool) -> None:
        self._desk = desk
        self._guarded = guarded
        self._stall_s = options.stall_timeout_s
        self._margin_s = options.stall_margin_s
        self._ttl_s = float(options.lease_ttl_s)
        self._lease_id: int | None = None
        self.until = math.inf
        """Boottime at which the guard may act; without a guard never."""
        self.heard_since = -math.inf
        """Since when the guard has heard us without a gap in which it may have acted."""

    def hold(self, lease_id: int) -> None:
        """A lease will be asked for: the guard learns of it first, so that no death comes in between (A12)."""
        self.until = math.inf
        if self._guarded:
            self._lease_id = lease_id
            self._desk.say(HoldLease(lease_id, self._ttl_s, self._stall_s))

    def drop(self) -> None:
        """The lease is gone, or was given back."""
        self.until = math.inf
        if self._lease_id is not None:
            self._desk.say(DropLease(self._lease_id))
            self._desk.timers.clear(TIMER)
            self._lease_id = None

    def on_timer(self) -> None:
        if self._lease_id is not None:
            self._desk.say(SayBeat(self._lease_id))

    def said(self, event: BeatSaid, now: float) -> bool:
        """A beat was said, or could not be. Returns whether it is about our lease."""
        if event.lease_id != self._lease_id:
            return False
        if event.told is Told.NOBODY or self._stall_s == 0:
            self.until = math.inf
        elif event.told is Told.YES:
            if event.at >= self.until:
                self.heard_since = event.at
            self.until = event.at + self._stall_s - self._margin_s
        # Else trust ends when it would have: a guard that may act did not say that it has heard.
        pause_s = min(_LONGEST_PAUSE_S, self._stall_s / 5) if self._stall_s > 0 else _LONGEST_PAUSE_S
        if event.told is Told.UNHEARD:
            pause_s = min(pause_s, _SOON_S)
        self._desk.timers.set(TIMER, now + pause_s)
        return True
