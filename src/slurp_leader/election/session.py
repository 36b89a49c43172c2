"""A session: the lease of one start of a node, and the node key that hangs on it.

    open -> grant -> register -> (live) -> close -> revoke
              ^                     |
              +----- lease gone ----+
              +-- (pause) -- TTL too short for our times

A lease that is gone is never taken up again: the next session has another id and another lease.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from slurp_leader.election import transactions
from slurp_leader.election.desk import Backoff, Desk
from slurp_leader.election.events import DuplicateNode
from slurp_leader.election.options import ElectionOptions, LeaseTiming
from slurp_leader.election.records import ElectionKeys, Identity, node_value, stands_in
from slurp_leader.errors import ConfigurationError, LeaseExistsError, LeaseNotFoundError, StoreError
from slurp_leader.store import Get, Grant, KeyValue, Put, Revoke, Txn, TxnResult, prefix_end, version_of
from slurp_leader.telemetry.events import LogEvent

_GRANT, _REGISTER, _REVOKE = "grant a lease", "register the session", "revoke the lease"
_KEEP = "keep a lease"
_PAUSE_AFTER_SHORT_S = 30.0
"""Longest pause before another lease is asked for, where the last one was too short: it needs somebody to change a
setting, here or of etcd."""


@dataclass(slots=True, eq=False)
class Session:
    """A lease and the node key on it. `timing` follows the TTL that etcd granted."""

    identity: Identity
    lease_id: int
    timing: LeaseTiming
    live: bool = False
    closing: bool = False
    stands_back_until: float = float("-inf")
    """Takes no vacant key before this moment."""

    @property
    def name(self) -> str:
        return self.identity.session


class SessionKeeper:
    """Opens one session at a time.

    Args:
        desk: Shared with the elector. Uses the timers "session" and "duplicates".
        options: TTL and pauses.
        identity: Who stands. Each session gets its own random `session`; the one given here is not used.
        keys: Keys of the election, read on the way.
        prefix: Of all session keys of this node id.
        before_grant: Told of the lease id before it is asked for.
        candidate: The candidate's record, to be written with the session key.
        on_open: The session is live; the answer ends with reads of the candidates and of the election's keys.
        on_lost: The lease is gone before the session was live.
        on_short: The lease is given back because its TTL is too short; another one will be asked for after a pause.
        on_closed: The lease was given back.
    """

    def __init__(
        self,
        desk: Desk,
        options: ElectionOptions,
        identity: Identity,
        keys: ElectionKeys,
        prefix: bytes,
        *,
        before_grant: Callable[[int], None],
        candidate: Callable[[Session, float], Put],
        on_open: Callable[[Session, TxnResult, float], None],
        on_lost: Callable[[float], None],
        on_short: Callable[[float], None],
        on_closed: Callable[[float], None],
    ) -> None:
        self._desk = desk
        self._options = options
        self._identity = identity
        self._keys = keys
        self._prefix = prefix
        self._before_grant = before_grant
        self._candidate = candidate
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_short = on_short
        self._on_closed = on_closed
        self._backoff = Backoff(desk, options.retry_interval_s)
        self._short_backoff = Backoff(desk, _PAUSE_AFTER_SHORT_S)
        self._send_again: Callable[[Session, float], None] | None = None
        self._duplicates: tuple[str, ...] = ()
        self.current: Session | None = None

    # ------------------------------------------------------------ open

    def open(self, now: float) -> None:
        identity = replace(self._identity, session=self._desk.random_hex(64))
        # The id is chosen here, so that a grant whose answer was lost can be repeated (A12).
        self.current = Session(identity, self._desk.random_id(62), self._options.for_requested())
        self._before_grant(self.current.lease_id)
        self._grant(self.current, now)

    def forget(self) -> None:
        """The lease is gone, and with it the node key."""
        self.current = None

    def on_timer(self, now: float) -> None:
        """Send again what failed."""
        if self.current is None:
            self.open(now)  # after a lease that was too short
        elif self._send_again is not None:
            self._send_again(self.current, now)

    def _grant(self, session: Session, _now: float) -> None:
        request = Grant(session.lease_id, self._options.lease_ttl_s)
        self._desk.call(request, session.timing.rpc_timeout_s, partial(self._granted, session))

    def _granted(self, session: Session, result: Any, now: float) -> None:
        if session is not self.current:
            return
        if isinstance(result, LeaseExistsError):  # our own earlier grant: its answer was lost
            self._register(session, now)
        elif isinstance(result, StoreError):
            self._failed(_GRANT, result, self._grant, now)
        else:
            self._set_times(session, result.ttl_s, now, then=self._register)

    def kept_for(self, session: Session, ttl_s: int, now: float) -> bool:
        """A keepalive was answered with this TTL. Returns whether the session goes on.

        It is the granted one, but for a grant whose answer was lost: then nobody knew it until now.
        """
        if ttl_s < session.timing.ttl_s:
            self._set_times(session, ttl_s, now)
        else:
            self._short_backoff.reset()
        return session is self.current

    def _set_times(
        self, session: Session, ttl_s: int, now: float, then: Callable[[Session, float], None] | None = None
    ) -> None:
        """Live by the TTL that etcd gave. A lease that would end between two renewals is given back."""
        try:
            session.timing = self._options.for_granted(ttl_s)
        except ConfigurationError as error:
            self._give_back_short(session, error, now)
        else:
            if then is not None:
                then(session, now)

    def _give_back_short(self, session: Session, error: ConfigurationError, now: float) -> None:
        self._on_short(now)
        # Sent once: if it fails, the lease ends as soon, since nobody renews it.
        self._desk.call(Revoke(session.lease_id), session.timing.rpc_timeout_s, lambda _result, _now: None)
        self._desk.note_failure(LogEvent.ELECTION_CALL_FAILED, _KEEP, error)
        self._desk.timers.set("session", now + self._short_backoff.next_s())

    def _register(self, session: Session, now: float) -> None:
        """Write the session key and the candidate's record; see who else carries our node id."""
        key = self._prefix + session.name.encode()
        value = node_value(session.identity, session.lease_id, session.timing.ttl_s, self._options.name)
        reads = (transactions.read_candidates(self._keys), *transactions.read_election(self._keys))
        txn = Txn(
            compares=(version_of(key, 0),),
            success=(
                self._sessions(),
                Put(key, value, lease=session.lease_id),
                self._candidate(session, now),
                *reads,
            ),
            failure=(self._sessions(), *reads),  # an earlier copy was applied: nobody else can write this key
        )
        self._desk.call(txn, session.timing.rpc_timeout_s, partial(self._registered, session))

    def _registered(self, session: Session, result: Any, now: float) -> None:
        if session is not self.current:
            return
        if isinstance(result, LeaseNotFoundError):
            self._on_lost(now)
        elif isinstance(result, StoreError):
            self._failed(_REGISTER, result, self._register, now)
        else:
            self._backoff.reset()
            self._desk.note_success(_GRANT)
            self._desk.note_success(_REGISTER)
            session.live = True
            if self._others(result.results[0].kvs):
                # Left behind by a crash of ours, or another process: after a TTL it is known which (A23).
                self._desk.timers.set("duplicates", now + session.timing.ttl_s + 1)
            self._on_open(session, result, now)

    def _failed(self, doing: str, error: StoreError, again: Callable[[Session, float], None], now: float) -> None:
        self._desk.note_failure(LogEvent.ELECTION_CALL_FAILED, doing, error)
        self._send_again = again
        self._desk.timers.set("session", now + self._backoff.next_s())

    # ------------------------------------------------------------ others with our node id

    def look_for_duplicates(self) -> None:
        self._desk.call(self._sessions(), self._options.rpc_timeout_s, self._found_sessions)

    def _found_sessions(self, result: Any, now: float) -> None:
        if isinstance(result, StoreError):
            self._desk.timers.set("duplicates", now + self._options.retry_interval_s)
            return
        others = self._others(result.kvs)
        if others != self._duplicates:
            self._duplicates = others
            self._desk.say(DuplicateNode(self._identity.node_id, others))
        if others:
            self._desk.timers.set("duplicates", now + self._options.lease_ttl_s)

    def _sessions(self) -> Get:
        return Get(self._prefix, prefix_end(self._prefix))

    def _others(self, kvs: tuple[KeyValue, ...]) -> tuple[str, ...]:
        """Sessions with our node id in this election. A process may stand in several, with a session in each."""
        own, name = self.current.name if self.current else None, self._options.name
        rivals = [kv for kv in kvs if stands_in(kv, name)]
        found = (kv.key.removeprefix(self._prefix).decode("ascii", "replace") for kv in rivals)
        return tuple(session for session in found if session != own)

    # ------------------------------------------------------------ close

    def close(self, now: float) -> None:
        """Give the lease back, and whatever of ours still hangs on it."""
        session = self.current
        if session is None:
            self._on_closed(now)
        elif not session.closing:
            session.closing = True
            self._revoke(session, now)

    def _revoke(self, session: Session, _now: float) -> None:
        self._desk.call(Revoke(session.lease_id), session.timing.rpc_timeout_s, partial(self._revoked, session))

    def _revoked(self, session: Session, result: Any, now: float) -> None:
        if isinstance(result, StoreError) and not isinstance(result, LeaseNotFoundError):
            self._failed(_REVOKE, result, self._revoke, now)
        else:
            self.current = None
            self._on_closed(now)
