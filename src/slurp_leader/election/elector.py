"""The elector: stands for election, holds a term while it can prove it, gives it back.

A machine (see `slurp_leader.machine`). It reads from the top:

    step -> open a session -> look for a vacancy -> campaign -> prove -> renew, renew ... -> end, and again

Losing is normal (I10): every end of a term leads back to "look for a vacancy", except a stop.

Two rules decide everything that can go wrong:

* A call that was not answered did something or nothing; only the *same* call again can tell (`_Attempt`, A2).
* Trust moves forward only when a keepalive and then a fenced heartbeat have both succeeded, and counts from before
  the keepalive was sent (`_Round`, D). Everything else is waiting.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.election import transactions
from slurp_leader.election.events import (
    Drained,
    DuplicateNode,
    ElectionState,
    Finished,
    LeaderChanged,
    Note,
    Reason,
    Renewed,
    ResignWanted,
    StateChanged,
    StopWanted,
)
from slurp_leader.election.options import ElectionOptions, LeaseTiming
from slurp_leader.election.records import (
    ElectionKeys,
    Identity,
    LeaderRecord,
    heartbeat_value,
    node_value,
)
from slurp_leader.election.view import View, read_leader
from slurp_leader.errors import (
    LeaseExistsError,
    LeaseNotFoundError,
    Outcome,
    StoreChangedError,
    StoreError,
    StoreFullError,
)
from slurp_leader.machine.calls import Answer, Call, Calls, Timers
from slurp_leader.store import (
    Get,
    GetResult,
    Grant,
    Header,
    KeepAlive,
    KeyValue,
    Put,
    Request,
    Revoke,
    Txn,
    TxnResult,
    prefix_end,
    version_of,
)
from slurp_leader.store.follow import Changes, Snapshot
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Term, Trust

_SOON_S = 0.2
"""Pause before a call that failed is sent again, jittered by half."""


class Elector:
    """Stands for one election, on behalf of one node.

    Args:
        options: Name, lease and timing.
        identity: Who stands. Each session gets its own random `session`; the one given here is not used.
        keys: Keys of the election.
        sessions_prefix: Prefix of all session keys of this node id.
        clock: Handed to the terms; never read here.
        rng: Source of ids and jitter; a seeded one makes a history repeatable.
        facts: Figures to put into each heartbeat.
    """

    def __init__(
        self,
        options: ElectionOptions,
        identity: Identity,
        keys: ElectionKeys,
        sessions_prefix: bytes,
        clock: Clock,
        rng: random.Random,
        facts: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._options = options
        self._identity = identity
        self._keys = keys
        self._sessions_prefix = sessions_prefix
        self._clock = clock
        self._rng = rng
        self._facts = facts
        self._calls = Calls()
        self._timers = Timers()
        self._out: list[Any] = []
        self._view = View(keys, float("-inf"))
        self._state = ElectionState.FOLLOWER
        self._session: _Session | None = None
        self._reign: _Reign | None = None
        self._round: _Round | None = None
        self._attempt: _Attempt | None = None
        self._stopping = False
        self._finished = False
        self._told_leader: int | None = -1
        self._vacant_since: float | None = None

    @property
    def wake_at(self) -> float:
        return self._timers.next_at

    @property
    def state(self) -> ElectionState:
        return self._state

    @property
    def term(self) -> Term | None:
        """The term in force, proven or suspended; None when there is none."""
        return self._reign.term if self._reign and self._reign.announced else None

    # ------------------------------------------------------------ the main path

    def step(self, event: Any, now: float) -> list[Any]:
        """Take one event: `Snapshot`, `Changes`, `Answer`, `Tick`, `StopWanted`, `ResignWanted` or `Drained`."""
        self._out = []
        if not self._finished:
            for name in self._timers.take_due(now):
                self._on_timer(name, now)
            self._take(event, now)
            self._decide(now)
        return self._out

    def start(self, now: float) -> list[Any]:
        """Begin to stand for election."""
        self._out = []
        self._view.changed_at = now
        self._open_session(now)
        return self._out

    def _decide(self, now: float) -> None:
        """Level-triggered: whatever just happened, do what the situation asks for."""
        self._tell_leader(now)
        if self._finished or self._attempt is not None or self._reign is not None:
            return
        if self._stopping:
            self._give_up_session(now)
        elif self._session is not None and self._session.registered and self._view.is_known:
            self._seek(self._session, now)

    def _seek(self, session: _Session, now: float) -> None:
        """No term, a live session: is there a key to take?"""
        leader = self._view.leader
        if leader is None:
            if now >= session.stands_back_until:
                self._try_to_lead(session, Reason.ELECTED, None, now)
            return
        record = read_leader(leader)
        if record is not None and record.session == session.identity.session:
            self._try_to_lead(session, Reason.ADOPTED, leader, now)
            return
        silent_since = self._view.changed_at
        patience_s = record.ttl_s if record is not None else session.timing.ttl_s
        if now >= silent_since + patience_s:
            self._try_to_lead(session, Reason.STOLEN, leader, now)
        else:
            self._timers.set("look", silent_since + patience_s)

    def _take(self, event: Any, now: float) -> None:
        match event:
            case Answer():
                self._calls.settle(event, now)
            case Changes():
                self._view.learn_events(event.events, now)
                self._notice_deposition(now)
            case Snapshot():
                self._view.learn_snapshot(event.revision, event.kvs, now)
                self._notice_deposition(now)
            case Drained():
                self._on_drained(event, now)
            case ResignWanted():
                self._drain(Reason.RESIGNED, event.pause_s, now)
            case StopWanted():
                self._on_stop(now)

    def _on_timer(self, name: str, now: float) -> None:
        """What each timer is for. "look" only brings the elector back to `_decide`."""
        session, attempt = self._session, self._attempt
        if name == "renew":
            self._start_round(now)
        elif name == "trust":
            self._on_trust_over(now)
        elif name == "again" and attempt is not None:
            self._send_attempt(attempt)
        elif name == "refresh":
            self._refresh()
        elif name == "duplicates":
            self._look_for_duplicates()
        elif name == "stop":
            self._finish(clean=False)
        elif session is not None:
            self._on_session_timer(name, session)

    def _on_session_timer(self, name: str, session: _Session) -> None:
        if name == "grant":
            self._grant(session)
        elif name == "register":
            self._register(session)
        elif name == "revoke":
            self._revoke()

    # ------------------------------------------------------------ a session: lease and node key

    def _open_session(self, now: float) -> None:
        if self._stopping:
            return
        identity = replace(self._identity, session=f"{self._rng.getrandbits(64):016x}")
        lease_id = self._rng.getrandbits(62) + 1  # chosen here, so that an unknown grant can be repeated (A12)
        session = self._session = _Session(identity, lease_id, self._options.for_granted(self._options.lease_ttl_s))
        self._grant(session)

    def _grant(self, session: _Session) -> None:
        grant = Grant(session.lease_id, self._options.lease_ttl_s)
        self._call(grant, session.timing.rpc_timeout_s, partial(self._granted, session))

    def _granted(self, session: _Session, result: Any, now: float) -> None:
        if session is not self._session:
            return
        if isinstance(result, LeaseExistsError):  # our own earlier grant: its answer was lost
            self._register(session)
        elif isinstance(result, StoreError):
            self._report(result, "grant", now)
            self._timers.set("grant", now + self._soon())  # the same lease id again: it may be there already
        else:
            session.timing = self._options.for_granted(result.ttl_s)
            self._register(session)

    def _register(self, session: _Session) -> None:
        """Write the session key; see who else carries our node id."""
        key = self._sessions_prefix + session.identity.session.encode()
        value = node_value(session.identity, session.lease_id, session.timing.ttl_s)
        others = Get(self._sessions_prefix, prefix_end(self._sessions_prefix), keys_only=True)
        txn = Txn(
            compares=(version_of(key, 0),),
            success=(Put(key, value, lease=session.lease_id), others, *transactions.read_election(self._keys)),
            failure=(Get(key), others, *transactions.read_election(self._keys)),
        )
        self._call(txn, session.timing.rpc_timeout_s, partial(self._registered, session))

    def _registered(self, session: _Session, result: Any, now: float) -> None:
        if session is not self._session:
            return
        if isinstance(result, LeaseNotFoundError):
            self._lose_session(now)
            return
        if isinstance(result, StoreError):
            self._report(result, "register", now)
            self._timers.set("register", now + self._soon())
            return
        session.registered = True
        self._learn_election(result.results[2:], now)
        if len(result.results[1].kvs) > 1:
            self._timers.set("duplicates", now + session.timing.ttl_s + 1)
        self._enter(ElectionState.CANDIDATE, Reason.STARTED, None)
        self._note(logging.INFO, LogEvent.SESSION_OPENED, session=session.identity.session, ttl_s=session.timing.ttl_s)
        self._timers.set("renew", now + session.timing.renew_interval_s)
        self._timers.set("refresh", now + self._jittered(self._options.retry_interval_s))

    def _lose_session(self, now: float) -> None:
        """The lease is gone, and with it every key that hung on it."""
        self._note(logging.WARNING, LogEvent.SESSION_LOST, session=self._session and self._session.identity.session)
        self._end_term(Reason.EXPIRED, now, holds_key=False)
        self._calls.forget()
        self._attempt = self._round = self._session = None
        self._timers.clear_all()
        if not self._stopping:
            self._enter(ElectionState.FOLLOWER, Reason.EXPIRED, None)
            self._open_session(now)

    def _look_for_duplicates(self) -> None:
        """Ask once more after a TTL: what a crashed predecessor left behind is gone by then (A23)."""
        request = Get(self._sessions_prefix, prefix_end(self._sessions_prefix), keys_only=True)
        self._call(request, 5.0, self._found_sessions)

    def _found_sessions(self, result: Any, now: float) -> None:
        if isinstance(result, StoreError) or self._session is None:
            self._timers.set("duplicates", now + self._options.retry_interval_s)
            return
        own = self._session.identity.session
        found = (kv.key.rpartition(b"/")[2].decode("ascii", "replace") for kv in result.kvs)
        others = tuple(session for session in found if session != own)
        if others:
            self._out.append(DuplicateNode(self._identity.node_id, others))
            self._timers.set("duplicates", now + self._session.timing.ttl_s)

    def _refresh(self) -> None:
        """Look without an event, so that a watch that went deaf cannot keep this node from standing (A17)."""
        self._call(transactions.look(self._keys), self._timing.rpc_timeout_s, self._refreshed)

    def _refreshed(self, result: Any, now: float) -> None:
        self._timers.set("refresh", now + self._jittered(self._options.retry_interval_s))
        if isinstance(result, TxnResult):
            self._learn_election(result.results, now)
            self._notice_deposition(now)

    # ------------------------------------------------------------ taking the key

    def _try_to_lead(self, session: _Session, reason: Reason, seen: KeyValue | None, now: float) -> None:
        record = LeaderRecord(
            node_id=session.identity.node_id,
            session=session.identity.session,
            term_id=f"{self._rng.getrandbits(128):032x}",
            ttl_s=session.timing.ttl_s,
            epoch=self._view.epoch_number + 1,
            endpoint=session.identity.endpoint,
            reason=reason.value,
        )
        if seen is None:
            txn = transactions.campaign(self._keys, self._view, record, session.lease_id)
        elif reason is Reason.ADOPTED:
            txn = transactions.adopt(self._keys, self._view, seen, record, session.lease_id)
        else:
            txn = transactions.steal(self._keys, self._view, seen, record, session.lease_id)
        won = partial(self._won, session, record, reason)
        self._begin_attempt(_Attempt(txn, record.to_value(), won, self._refused))

    def _won(self, session: _Session, record: LeaderRecord, reason: Reason, token: int, now: float) -> None:
        """The key is ours. Nobody is told before the first full round has proved it (D)."""
        term = Term(
            election=self._options.name,
            token=token,
            epoch=record.epoch,
            node_id=record.node_id,
            session=record.session,
            term_id=record.term_id,
            key=self._keys.leader,
            value=record.to_value(),
            clock=self._clock,
            trust=Trust(),
        )
        self._reign = _Reign(term, reason)
        self._timers.set("trust", now + session.timing.ttl_s)
        self._start_round(now)

    def _refused(self, now: float) -> None:
        """Somebody else was first; the view has learned who."""

    # ------------------------------------------------------------ renewal

    def _start_round(self, now: float) -> None:
        session = self._session
        if session is None:
            return
        # The next round is due whatever becomes of this one: an answer that never comes must not end renewal.
        self._timers.set("renew", now + 2 * session.timing.rpc_timeout_s + session.timing.renew_interval_s)
        this = self._round = _Round(sent_at=now)
        self._call(KeepAlive(session.lease_id), session.timing.rpc_timeout_s, partial(self._kept_alive, this))

    def _kept_alive(self, this: _Round, result: Any, now: float) -> None:
        if this is not self._round or self._session is None:
            return
        if isinstance(result, LeaseNotFoundError):
            self._lose_session(now)
        elif isinstance(result, StoreError):
            self._round_failed(this, result, now)
        elif result.ttl_s <= 0:
            self._lose_session(now)
        elif self._reign is None:
            self._timers.set("renew", this.sent_at + self._session.timing.renew_interval_s)
        else:
            this.ttl_s, this.header = result.ttl_s, result.header
            self._send_heartbeat(this, self._reign)

    def _send_heartbeat(self, this: _Round, reign: _Reign) -> None:
        session = self._session
        assert session is not None
        value = heartbeat_value(session.identity, reign.term.epoch, reign.beats, self._facts())
        txn = transactions.heartbeat(self._keys, reign.term, value)
        self._call(txn, session.timing.rpc_timeout_s, partial(self._beat, this, reign))

    def _beat(self, this: _Round, reign: _Reign, result: Any, now: float) -> None:
        if this is not self._round or reign is not self._reign or self._session is None:
            return
        if isinstance(result, StoreError):
            self._round_failed(this, result, now)
        elif not result.succeeded:
            self._learn_election(result.results, now)
            self._end_term(Reason.FENCED, now, holds_key=False)
        elif this.header is None or not _same_etcd_term(this.header, result.header):
            self._start_round(now)  # two members of different raft terms answered: that proves nothing (A13)
        else:
            self._proved(this, reign, self._session, now)

    def _proved(self, this: _Round, reign: _Reign, session: _Session, now: float) -> None:
        term = reign.term
        remaining_s = max(0.0, term.trust.until - now)
        term.trust.until = max(term.trust.until, this.sent_at + this.ttl_s - session.timing.margin_s)
        reign.beats += 1
        reign.failures = 0
        reign.store_full = False
        self._timers.set("trust", term.trust.until)
        self._timers.set("renew", this.sent_at + session.timing.renew_interval_s)
        self._out.append(Renewed(now - this.sent_at, "ok", remaining_s))
        if not reign.announced:
            reign.announced = True
            self._enter(ElectionState.LEADER, reign.reason, term)
        elif self._state is ElectionState.SUSPENDED:
            self._enter(ElectionState.LEADER, Reason.RENEWED, term)

    def _round_failed(self, this: _Round, error: StoreError, now: float) -> None:
        """No proof this time. Not a loss: the window decides, or a definite refusal."""
        self._report(error, "renew", now)
        self._timers.set("renew", now + self._soon())
        if isinstance(error, StoreChangedError):
            self._halt(now)
            return
        reign = self._reign
        if reign is None:
            return
        self._out.append(Renewed(now - this.sent_at, type(error).__name__, reign.term.remaining_s()))
        reign.failures += 1
        reign.store_full = isinstance(error, StoreFullError)
        if reign.failures >= 2 and self._state is ElectionState.LEADER:
            reason = Reason.STORE_FULL if reign.store_full else Reason.UNREACHABLE
            self._enter(ElectionState.SUSPENDED, reason, reign.term)
        if reign.announced and now >= reign.term.trust.until:
            self._on_trust_over(now)

    def _on_trust_over(self, now: float) -> None:
        reign = self._reign
        if reign is None:
            return
        if reign.announced and now < reign.term.trust.until:
            self._timers.set("trust", reign.term.trust.until)
        elif reign.store_full:
            # Nobody else can win while etcd refuses puts and grants: keep the key, start nothing (A8).
            if self._state is not ElectionState.SUSPENDED:
                self._enter(ElectionState.SUSPENDED, Reason.STORE_FULL, reign.term)
        else:
            self._end_term(Reason.EXPIRED, now, holds_key=True)

    # ------------------------------------------------------------ the end of a term

    def _notice_deposition(self, now: float) -> None:
        """A newer revision of the leader key than our token: the term is over, whoever holds it now.

        A delete that is older than the token is an earlier term's (A22); the view has already sorted that out.
        """
        reign, seen = self._reign, self._view.leader
        if reign is None:
            return
        if (seen is None and self._view.leader_revision > reign.term.token) or (
            seen is not None and seen.mod_revision > reign.term.token
        ):
            self._end_term(Reason.FENCED, now, holds_key=False)

    def _end_term(self, reason: Reason, now: float, *, holds_key: bool) -> None:
        """Stop trusting at once; then, where the key may still be ours, delete it by token until that is definite."""
        reign = self._reign
        if reign is None:
            return
        reign.term.trust.until = float("-inf")
        self._reign = self._round = None
        self._timers.clear("trust")
        if reign.announced:
            state = ElectionState.CANDIDATE if self._session is not None else ElectionState.FOLLOWER
            self._enter(state, reign.leaving or reason, reign.term)
        self._attempt = None
        if holds_key:
            self._begin_attempt(
                _Attempt(transactions.release(self._keys, reign.term), b"", self._released, self._refused)
            )
        if self._session is not None:
            self._timers.set_no_later("renew", now + self._soon())

    def _drain(self, reason: Reason, pause_s: float, now: float) -> None:
        reign = self._reign
        if reign is None:
            return
        reign.leaving = reason
        reign.pause_s = pause_s
        if not reign.announced:
            self._end_term(reason, now, holds_key=True)
        elif self._state is not ElectionState.DRAINING:
            self._enter(ElectionState.DRAINING, reason, reign.term)

    def _on_drained(self, event: Drained, now: float) -> None:
        reign = self._reign
        if reign is None or reign.leaving is None or reign.term.token != event.token:
            return
        if self._session is not None:
            self._session.stands_back_until = now + reign.pause_s
            self._timers.set("look", now + reign.pause_s)
        self._end_term(reign.leaving, now, holds_key=True)

    def _released(self, _revision: int, now: float) -> None:
        """The key is free; others have seen it."""

    # ------------------------------------------------------------ stopping

    def _on_stop(self, now: float) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._timers.set("stop", now + self._options.stop_timeout_s)
        self._drain(Reason.SHUTDOWN, 0.0, now)

    def _give_up_session(self, now: float) -> None:
        """No term and no write under way: the lease can go, and whatever of ours still hangs on it."""
        session = self._session
        if session is None:
            self._finish(clean=True)
        elif not session.leaving:
            session.leaving = True
            self._calls.forget()
            self._timers.keep("stop")
            self._revoke()

    def _revoke(self) -> None:
        session = self._session
        assert session is not None
        self._call(Revoke(session.lease_id), session.timing.rpc_timeout_s, self._revoked)

    def _revoked(self, result: Any, now: float) -> None:
        if isinstance(result, StoreError) and not isinstance(result, LeaseNotFoundError):
            self._timers.set("revoke", now + self._soon())
        else:
            self._session = None
            self._finish(clean=True)

    def _finish(self, *, clean: bool) -> None:
        """Say that it is over. If not clean, the lease ends what is left."""
        reign, self._reign = self._reign, None
        if reign is not None:
            reign.term.trust.until = float("-inf")
        self._finished = True
        self._timers.clear_all()
        self._calls.forget()
        self._enter(ElectionState.FOLLOWER, Reason.SHUTDOWN, reign.term if reign and reign.announced else None)
        self._out.append(Finished(clean))

    def _halt(self, now: float) -> None:
        """Another etcd answers: nothing that was known holds. Do nothing more, and say so (I10)."""
        self._end_term(Reason.STORE_CHANGED, now, holds_key=False)
        self._finished = True
        self._timers.clear_all()
        self._calls.forget()
        self._enter(ElectionState.FOLLOWER, Reason.STORE_CHANGED, None)
        self._out.append(Finished(clean=False))

    # ------------------------------------------------------------ a write that has to become definite

    def _begin_attempt(self, attempt: _Attempt) -> None:
        self._attempt = attempt
        self._send_attempt(attempt)

    def _send_attempt(self, attempt: _Attempt) -> None:
        self._call(attempt.txn, self._timing.rpc_timeout_s, partial(self._attempted, attempt))

    def _attempted(self, attempt: _Attempt, result: Any, now: float) -> None:
        if attempt is not self._attempt:
            return
        if isinstance(result, LeaseNotFoundError):
            self._attempt = None
            self._lose_session(now)
        elif isinstance(result, StoreError):
            self._report(result, "election write", now)
            if isinstance(result, StoreChangedError):
                self._halt(now)
            elif result.outcome is Outcome.NOT_APPLIED and not attempt.in_doubt:
                self._attempt = None
                self._timers.set("look", now + self._soon())
            else:
                attempt.in_doubt = True
                self._timers.set("again", now + self._soon())
        else:
            self._attempt = None
            self._settle(attempt, result, now)

    def _settle(self, attempt: _Attempt, result: TxnResult, now: float) -> None:
        if result.succeeded:
            attempt.on_applied(result.header.revision, now)
            return
        self._learn_election(result.results, now)
        kv = _first(result.results[0])
        if kv is not None and kv.value == attempt.own_value:
            attempt.on_applied(kv.mod_revision, now)  # an earlier send of this very attempt had arrived
        else:
            attempt.on_refused(now)

    # ------------------------------------------------------------ small things

    @property
    def _timing(self) -> LeaseTiming:
        session = self._session
        return session.timing if session else self._options.for_granted(self._options.lease_ttl_s)

    def _call(self, request: Request[Any], timeout_s: float, handler: Callable[[Any, float], None]) -> None:
        call: Call = self._calls.send(request, timeout_s, handler)
        self._out.append(call)

    def _learn_election(self, results: tuple[Any, ...], now: float) -> None:
        for key, result in zip((self._keys.leader, self._keys.epoch, self._keys.heartbeat), results, strict=True):
            self._view.learn_read(key, result, now)

    def _tell_leader(self, now: float) -> None:
        """Report a change of leader, once each."""
        if not self._view.is_known:
            return
        leader = self._view.leader_info()
        token = leader.token if leader else None
        if token == self._told_leader:
            return
        vacancy_s = None if token is None or self._vacant_since is None else now - self._vacant_since
        self._vacant_since = now if token is None else None
        self._told_leader = token
        self._out.append(LeaderChanged(leader, self._view.leader_revision, vacancy_s))

    def _enter(self, state: ElectionState, reason: Reason, term: Term | None) -> None:
        self._state = state
        self._out.append(StateChanged(state, reason, term))

    def _report(self, error: StoreError, doing: str, now: float) -> None:
        self._note(
            logging.WARNING, LogEvent.ELECTION_RENEWAL_FAILED, doing=doing, error=str(error), kind=type(error).__name__
        )

    def _note(self, level: int, event: LogEvent, **fields: object) -> None:
        self._out.append(Note(level, event, fields))

    def _soon(self) -> float:
        return self._jittered(_SOON_S)

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.75 + self._rng.random() / 2)


@dataclass(slots=True)
class _Session:
    """A lease and the node key on it."""

    identity: Identity
    lease_id: int
    timing: LeaseTiming
    registered: bool = False
    leaving: bool = False
    stands_back_until: float = float("-inf")


@dataclass(slots=True, eq=False)
class _Reign:
    """Bookkeeping of one term. It belongs to the term: a re-elected node starts a new one (A29)."""

    term: Term
    reason: Reason
    announced: bool = False
    beats: int = 0
    failures: int = 0
    store_full: bool = False
    leaving: Reason | None = None
    pause_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Round:
    """One renewal: a keepalive, then, in a term, a fenced heartbeat."""

    sent_at: float
    ttl_s: int = 0
    header: Header | None = None


@dataclass(slots=True, eq=False)
class _Attempt:
    """A transaction on the leader key, sent until it is known what became of it (A2)."""

    txn: Txn
    own_value: bytes
    on_applied: Callable[[int, float], None]
    on_refused: Callable[[float], None]
    in_doubt: bool = False


def _same_etcd_term(one: Header, other: Header) -> bool:
    return one.cluster_id == other.cluster_id and one.raft_term == other.raft_term


def _first(result: Any) -> KeyValue | None:
    return result.kvs[0] if isinstance(result, GetResult) and result.kvs else None
