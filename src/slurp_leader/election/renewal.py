"""Renewal: rounds of a keepalive and, in a term, a fenced heartbeat. A part of the elector's machine (PROTOCOL D).

    start -> keepalive answered, TTL > 0 -> heartbeat committed, in the same raft term -> proved
                  |                                |
                  +- lease gone                    +- refused: fenced

Without an answer, or with two that do not belong together, nothing is proved and nothing is lost: again, soon.

Only a whole round moves the window of trust, and counts from before its keepalive was *sent*. At most one round is
under way: the next one replaces it, and an answer to one that was replaced, or forgotten, proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from slurp_leader.election import transactions
from slurp_leader.election.desk import Desk
from slurp_leader.election.events import Renewed
from slurp_leader.election.records import ElectionKeys, heartbeat_value
from slurp_leader.election.reign import Reign, Round, same_raft_term
from slurp_leader.election.session import Session
from slurp_leader.errors import LeaseNotFoundError, StoreError, StoreFullError
from slurp_leader.store import KeepAlive, TxnResult
from slurp_leader.telemetry.events import LogEvent

TIMER = "renew"

_DOING = "renew"
_FAILURES_BEFORE_DOUBT = 2


class Owner(Protocol):
    """The elector, as a renewal sees it."""

    def kept_for(self, session: Session, ttl_s: int, now: float) -> bool:
        """The lease was kept, for so long. False: that is too short, and it was given back."""

    def answered(self, round_trip_s: float) -> None:
        """etcd answered a keepalive."""

    def lease_is_gone(self, now: float) -> None:
        """And with it every key on it."""

    def is_fenced(self, result: TxnResult, now: float) -> None:
        """The heartbeat was refused: the key is somebody else's, or nobody's."""

    def is_proved(self, reign: Reign, now: float, *, first: bool) -> None:
        """Keepalive and heartbeat have both succeeded, and the window has moved."""

    def is_in_doubt(self, reign: Reign) -> None:
        """Rounds fail one after the other."""


class Renewal:
    """Renews the lease of a session, and the term that hangs on it.

    Args:
        owner: The elector.
        desk: Shared with it. Uses the timer "renew".
        keys: Of the election.
        facts: Figures to put into each heartbeat; must not block.
    """

    def __init__(self, owner: Owner, desk: Desk, keys: ElectionKeys, facts: Callable[[], dict[str, Any]]) -> None:
        self._owner = owner
        self._desk = desk
        self._keys = keys
        self._facts = facts
        self.round: Round | None = None
        """The one under way."""

    def forget(self) -> None:
        """An answer that is still to come proves nothing any more."""
        self.round = None

    def start(self, session: Session, reign: Reign | None, now: float) -> None:
        """Begin a round, in place of one under way. `reign` is None where only the lease is renewed."""
        timing = session.timing
        # The next round is due whatever becomes of this one: an answer that never comes must not end renewal, and one
        # that comes after a gap finds its round replaced (`LeaseTiming.fits` keeps this moment inside the window).
        self._desk.timers.set(TIMER, now + timing.renew_interval_s + 2 * timing.rpc_timeout_s)
        this = self.round = Round(now, reign)
        self._desk.call(KeepAlive(session.lease_id), timing.rpc_timeout_s, partial(self._kept_alive, this, session))

    def _kept_alive(self, this: Round, session: Session, result: Any, now: float) -> None:
        if this is not self.round:
            return
        if isinstance(result, LeaseNotFoundError):
            self._owner.lease_is_gone(now)
        elif isinstance(result, StoreError):
            self._unproven(this, result, now)
        elif result.ttl_s <= 0:
            self._owner.lease_is_gone(now)
        elif self._owner.kept_for(session, result.ttl_s, now):
            self._owner.answered(now - this.sent_at)
            self._go_on(this, session, result)

    def _go_on(self, this: Round, session: Session, result: Any) -> None:
        if this.reign is None:
            self.round = None
            self._desk.note_success(_DOING)
            self._desk.timers.set(TIMER, this.sent_at + session.timing.renew_interval_s)
        else:
            this.ttl_s, this.header = result.ttl_s, result.header
            this.reign.lease_until = this.sent_at + result.ttl_s
            self._send_heartbeat(this, this.reign, session)

    def _send_heartbeat(self, this: Round, reign: Reign, session: Session) -> None:
        value = heartbeat_value(
            session.identity, reign.term.epoch, reign.beats, self._facts(), starting=not reign.agreed
        )
        txn = transactions.heartbeat(self._keys, reign.term, value)
        reign.heartbeat_revision = None
        self._desk.call(txn, session.timing.rpc_timeout_s, partial(self._beat, this, reign, session))

    def _beat(self, this: Round, reign: Reign, session: Session, result: Any, now: float) -> None:
        if this is not self.round:
            return
        if isinstance(result, StoreError):
            self._unproven(this, result, now)
        elif not result.succeeded:
            self._owner.is_fenced(result, now)
        elif not same_raft_term(this.header, result.header):
            reign.heartbeat_revision = result.header.revision
            self._unproven(this, None, now)
        else:
            reign.heartbeat_revision = result.header.revision
            self._proved(this, reign, session, now)

    def _proved(self, this: Round, reign: Reign, session: Session, now: float) -> None:
        self.round = None
        remaining_s = max(0.0, reign.term.trust.until - now)
        reign.window = max(reign.window, this.proves_until(session.timing))
        reign.beats += 1
        reign.failures = 0
        reign.store_full = False
        first, reign.proven = not reign.proven, True
        self._desk.note_success(_DOING)
        self._desk.timers.set(TIMER, this.sent_at + session.timing.renew_interval_s)
        self._desk.say(Renewed(now - this.sent_at, "ok", remaining_s))
        self._owner.is_proved(reign, now, first=first)

    def _unproven(self, this: Round, error: StoreError | None, now: float) -> None:
        """No proof this time. Not a loss: the window decides, or a definite refusal.

        Args:
            this: The round.
            error: What went wrong; None: two answers that do not belong together.
            now: The time.
        """
        self.round = None
        outcome = "mixed" if error is None else type(error).__name__
        if error is not None:
            self._desk.note_failure(LogEvent.ELECTION_RENEWAL_FAILED, _DOING, error)
        reign = this.reign
        # Answers that merely do not match are followed up at once; what fails again and again is not.
        at_once = error is None and reign is not None and reign.failures == 0
        self._desk.timers.set(TIMER, now if at_once else now + self._desk.soon())
        if reign is None:
            return
        reign.failures += 1
        reign.store_full = reign.store_full or isinstance(error, StoreFullError)
        self._desk.say(Renewed(now - this.sent_at, outcome, max(0.0, reign.term.trust.until - now)))
        if reign.failures >= _FAILURES_BEFORE_DOUBT:
            self._owner.is_in_doubt(reign)
