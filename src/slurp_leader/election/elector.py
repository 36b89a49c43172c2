"""The elector: stands for election, holds a term while it can prove it, gives it back.

A machine (see `slurp_leader.machine`). It reads from the top:

    step -> open a session -> look for a vacancy -> campaign -> prove -> renew, renew ... -> end, and again

Losing is normal (I10): every end of a term leads back to "look for a vacancy", except a stop.

Two rules decide everything that can go wrong:

* A write to the leader key that was not answered did something or nothing; only the *same* write again can tell
  (`attempt`, A2).
* Trust moves forward only when a keepalive and then a fenced heartbeat have both succeeded, and counts from before
  the keepalive was sent (`renewal`, D). Everything else is waiting.

What it is made of: `SessionKeeper` (the lease), `Campaign` (when and how the key is taken), `Renewal`, `Standstill`
(whether the owner moves), `Handover` and `Successor`, `Attempts` (writes that must become definite). This module keeps
the term itself: how it begins, whether it may be believed, how it ends.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.election import beats, campaign, candidacy, renewal, standstill, transactions
from slurp_leader.election.attempt import Attempt, Attempts, key_is_free
from slurp_leader.election.beats import Beats
from slurp_leader.election.campaign import Campaign
from slurp_leader.election.candidacy import Candidacy
from slurp_leader.election.contest import Contest
from slurp_leader.election.control import ControlView
from slurp_leader.election.desk import Desk
from slurp_leader.election.events import (
    BeatSaid,
    Consent,
    ConsentWanted,
    Drained,
    ElectionState,
    Finished,
    FitnessChanged,
    GoOn,
    Reason,
    ResignWanted,
    Settled,
    StateChanged,
    StopWanted,
)
from slurp_leader.election.handover import Handover, Lending, Phase, Successor
from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.ranking.eligible import missing
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.election.records import ElectionKeys, Identity, LeaderRecord
from slurp_leader.election.reign import Reign
from slurp_leader.election.renewal import Renewal
from slurp_leader.election.service import Service
from slurp_leader.election.session import Session, SessionKeeper
from slurp_leader.election.standstill import Standstill
from slurp_leader.election.transfer import Readiness
from slurp_leader.election.view import View
from slurp_leader.errors import (
    StoreChangedError,
    StoreClosedError,
    StoreError,
)
from slurp_leader.guard.messages import Told
from slurp_leader.machine import Answer, Tick
from slurp_leader.store import TxnResult
from slurp_leader.store.follow import Changes, Snapshot
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Lent, Term

_LETTING_GO_S = 4.0
"""Longest time that a stop spends on giving key and lease back, once no work of the term is left. Then the lease, which
nobody renews any more, ends by itself."""

_MAKES_WAY_AGAIN_S = 10.0
"""Pause before a leader that should not lead, and found nobody to hand over to, looks again."""


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
        lending: How work in flight survives a handover; None: the owner ends it before.
        ready: Asks the owner whether this node could take over now; must not block, and is asked at each step.
        manifest: What to leave for the successor of an epoch when this term is handed over, written with that.
        free: Measures what is free of the machine; must not block.
        requires: Capabilities without which nobody leads.
        guarded: Whether a crash guard revokes our lease when we die or stall; see `beats`.
        needs_consent: Asked for each term: whether the owner has to agree to it before this node leads.
        needs_progress: Whether the owner's loop has to call `Term.beat` at least every `stall_timeout`.
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
        lending: Lending | None = None,
        ready: Callable[[], Readiness] = Readiness,
        manifest: Callable[[int, Term], transactions.Told] = lambda _epoch, _term: (),
        free: Callable[[], Free] = Free,
        *,
        requires: tuple[str, ...] = (),
        guarded: bool = False,
        needs_progress: bool = False,
        needs_consent: Callable[[], bool] = bool,
    ) -> None:
        self._needs_consent = needs_consent
        self._options = options
        self._keys = keys
        self._clock = clock
        self._desk = Desk(rng)
        self._timers = self._desk.timers
        self._beats = Beats(self._desk, options, guarded=guarded)
        self._standstill = Standstill(self._desk, options.stall_timeout_s if needs_progress else 0.0)
        self._made_way_for = -1
        self._makes_way_at = float("-inf")  # when a leader that should not lead looks for a successor again
        self._view = View(keys, float("-inf"))
        self._service = Service(
            options, ready, free, missing(identity.capabilities, requires), lambda: self._standstill.is_stalled
        )
        self._candidacy = Candidacy(self._desk, options, keys, self._service.condition, self._service.measure, requires)
        self._contest = Contest(self._desk, options, keys, self._view, requires, self._candidacy, clock)
        self._sessions = SessionKeeper(
            self._desk,
            options,
            identity,
            keys,
            sessions_prefix,
            before_grant=self._beats.hold,
            candidate=self._candidacy.first,
            on_open=self._session_opened,
            on_lost=self._lose_session,
            on_short=self._give_up_session,
            on_closed=self._session_closed,
        )
        self._attempts = Attempts(
            self._desk, options.retry_interval_s, self._learn, self._service.denied, self._lose_session
        )
        self._control = ControlView(keys)
        self._successor = Successor(self._desk, keys, self._control, self._service.readiness, self._contest.forbids)
        self._handover = Handover(
            self, self._desk, options, keys, self._control, self._view, self._contest, lending, manifest
        )
        self._campaign = Campaign(
            self._desk,
            options,
            keys,
            self._view,
            self._contest,
            self._successor,
            self._attempts,
            lambda: self._handover.gave,
            self._won,
        )
        self._renewal = Renewal(self, self._desk, keys, facts)
        self._lent: set[int] = set()  # tokens of terms handed over, with work that has not ended yet
        self._state = ElectionState.FOLLOWER
        self._reign: Reign | None = None
        self._stopping = False
        self._finished = False
        self._cluster_id: int | None = None

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

    def start(self, now: float) -> list[Any]:
        """Begin to stand for election."""
        self._desk.out = []
        self._view.changed_at = now
        self._service.begins(now)
        self._sessions.open(now)
        return self._desk.out

    def step(self, event: Any, now: float) -> list[Any]:
        """Take one event: `Snapshot`, `Changes`, `Answer`, `Tick`, or what the owner says (`events`)."""
        self._desk.out = []
        for name in self._timers.take_due(now):
            if not self._finished:
                self._on_timer(name, now)
        if not self._finished:
            self._take(event, now)
            self._decide(now)
        return self._desk.out

    def _take(self, event: Any, now: float) -> None:
        match event:
            case Answer():
                self._on_answer(event, now)
            case Changes():
                self._view.learn_events(event.events, now)
                self._control.learn_events(event.revision, event.events)
                self._contest.learn_events(event.revision, event.events)
                self._candidacy.learn_events(event.events)
            case Snapshot():
                self._view.learn_snapshot(event.revision, event.kvs, now)
                self._control.learn_snapshot(event.revision, event.kvs)
                self._contest.learn_snapshot(event.revision, event.kvs)
            case Tick():
                pass
            case _:
                self._take_from_owner(event, now)

    def _take_from_owner(self, event: Any, now: float) -> None:
        match event:
            case FitnessChanged(unfit):
                self._service.unfit = unfit
            case Consent():
                self._on_consent(event, now)
            case BeatSaid():
                self._on_beat(event, now)
            case Drained():
                self._on_drained(event, now)
            case Settled():
                if self._sessions.current is not None:
                    self._handover.settled(self._sessions.current, event.token, now)
            case ResignWanted():
                self._on_resign(event, now)
            case StopWanted():
                self._on_stop(event.hands_over, now)
            case _:
                raise TypeError(f"the elector knows no event {event!r}")

    def _decide(self, now: float) -> None:
        """Level-triggered: whatever just happened, do what the situation asks for."""
        self._notice_deposition(now)
        self._campaign.notice(now)
        session = self._sessions.current
        if session is not None and session.live:
            self._candidacy.act(session, now)
            in_force = self._reign is not None and self._state in (ElectionState.LEADER, ElectionState.DRAINING)
            if self._reign is not None and in_force:
                self._handover.act(session, self._reign, now)
                self._make_way(session, self._reign, now)
        if self._reign is not None or self._attempts.current is not None or self._finished:
            return
        if self._stopping:
            if not self._lent:
                self._sessions.close(now)
            elif session is not None and session.live:
                self._campaign.clear_own(session)
        elif now < self._attempts.not_before:
            self._timers.set(campaign.TIMER, self._attempts.not_before)
        elif session is not None and session.live and self._view.is_known:
            self._successor.act(session, self._view, now)
            if not self._standstill.is_stalled:  # whose loop does not move leads nobody
                self._campaign.seek(session, now)

    def _make_way(self, session: Session, reign: Reign, now: float) -> None:
        """A leader that should not lead looks for somebody better, and asks for that now and then.

        It stays where nobody can take over (A17), but for one that is blocked: it must not lead, so it gives the term
        back, unless the election is frozen, in which nobody could follow it.
        """
        if self._handover.is_busy or self._state is not ElectionState.LEADER:
            return
        reason = self._contest.reason_to_go(session, reign.term.token, now)
        if reason is None:
            return
        wish, without = reason
        if now < self._makes_way_at and self._made_way_for == self._view.operator_revision:
            self._timers.set_no_later(campaign.TIMER, self._makes_way_at)
            return
        self._makes_way_at = now + _MAKES_WAY_AGAIN_S
        self._made_way_for = self._view.operator_revision  # an order is obeyed at once
        if wish.steps_down:
            reign.leaving = Reason.RESIGNED
        self._handover.begin(session, reign.term, now, wish, without)

    def _on_timer(self, name: str, now: float) -> None:
        """What each timer is for."""
        match name:
            case renewal.TIMER:
                self._start_round(now)
            case "held":
                self._on_held_too_long(now)
            case standstill.TIMER:
                self._look_for_progress(now)
            case "consent":
                self._veto(f"no answer within {self._options.hook_timeout_s:g} s", now)
            case "refresh":
                self._refresh(now)
            case "drain":
                self._stop_draining(now)
            case "handover":
                self._handover.on_timer(self._sessions.current, now)
            case "stop":
                self._finish(Reason.SHUTDOWN, clean=False)
            case _:
                self._on_timer_of_a_part(name, now)

    def _on_timer_of_a_part(self, name: str, now: float) -> None:
        match name:
            case "again":
                self._attempts.again()
            case "session":
                self._sessions.on_timer(now)
            case "duplicates":
                self._sessions.look_for_duplicates()
            case candidacy.TIMER:
                if self._sessions.current is not None:
                    self._candidacy.publish(self._sessions.current, now)
            case beats.TIMER:
                self._beats.on_timer()
            case _:
                pass  # `campaign.TIMER`: brings the elector back to `_decide`

    def _on_answer(self, answer: Answer, now: float) -> None:
        if isinstance(answer.result, StoreClosedError):  # under us
            self._finish(Reason.STORE_CLOSED, clean=False)
        elif why := self._changed_store(answer.result):
            self._finish(Reason.STORE_CHANGED, clean=False, why=why)
        else:
            self._desk.calls.settle(answer, now)

    def _changed_store(self, result: Any) -> str:
        """That another etcd answers, so nothing that was known holds (I10, A10), for people; empty: it does not."""
        if isinstance(result, StoreError):
            return str(result) if isinstance(result, StoreChangedError) else ""
        before, self._cluster_id = self._cluster_id, result.header.cluster_id
        if before in (None, self._cluster_id):
            return ""
        return f"another etcd cluster answers: id {self._cluster_id:x}, before {before:x}"

    # ------------------------------------------------------------ the session

    def _session_opened(self, session: Session, result: TxnResult, now: float) -> None:
        self._learn(result, now)
        if (read := transactions.candidates_read(self._keys, result)) is not None:
            self._contest.learn_snapshot(read.header.revision, read.kvs)
        self._enter(ElectionState.CANDIDATE, Reason.STARTED, None)
        self._desk.note(logging.INFO, LogEvent.SESSION_OPENED, session=session.name, ttl_s=session.timing.ttl_s)
        self._candidacy.begin(result.header.revision, now)
        self._timers.set(renewal.TIMER, now + session.timing.renew_interval_s)
        self._timers.set("refresh", now + self._desk.jittered(self._options.retry_interval_s))

    def _lose_session(self, now: float) -> None:
        """The lease is gone, and with it every key that hung on it: nothing is left to give back, or in doubt."""
        session = self._sessions.current
        self._desk.note(logging.WARNING, LogEvent.SESSION_LOST, session=session.name if session else None)
        self._forget_session(Reason.EXPIRED, now)
        if not self._stopping:
            self._sessions.open(now)

    def _give_up_session(self, now: float) -> None:
        """The lease is given back, and with it every key that hung on it; `SessionKeeper` will open another one."""
        self._forget_session(Reason.SHORT_TTL, now)

    def _forget_session(self, reason: Reason, now: float) -> None:
        self._sessions.forget()
        self._beats.drop()
        self._end_term(reason, now, holds_key=False)
        self._desk.calls.forget()
        self._attempts.drop()
        self._successor.forget()
        self._candidacy.forget()
        self._lent.clear()  # with the session, all grants to it are over
        self._timers.clear_all()
        self._standstill.look_at_stalled(now)
        if self._state is not ElectionState.FOLLOWER:
            self._enter(ElectionState.FOLLOWER, reason, None)

    def _refresh(self, now: float) -> None:
        """Look without an event, so that a watch that went deaf cannot keep this node from standing (A17)."""
        is_there_to_take = self._campaign.is_there_to_take(self._sessions.current, now)
        look = transactions.look(self._keys, with_candidates=is_there_to_take)
        self._desk.call(look, self._options.rpc_timeout_s, self._refreshed)

    def _refreshed(self, result: Any, now: float) -> None:
        self._timers.set("refresh", now + self._desk.jittered(self._options.retry_interval_s))
        if isinstance(result, TxnResult):
            self._learn(result, now)
            if (read := transactions.candidates_read(self._keys, result)) is not None:
                self._contest.learn_snapshot(read.header.revision, read.kvs)

    # ------------------------------------------------------------ a term

    def _won(
        self, session: Session, record: LeaderRecord, reason: Reason, value: bytes, token: int, now: float
    ) -> None:
        """The key is ours. Nobody is told before the first full round has proved it (D).

        `value` is what stands in it: of a term that was handed over, a later version may have written more than
        `record` holds, and the fence compares all of it.
        """
        term = Term(
            election=self._options.name,
            token=token,
            epoch=record.epoch,
            node_id=record.node_id,
            session=record.session,
            term_id=record.term_id,
            key=self._keys.leader,
            value=value,
            clock=self._clock,
        )
        self._reign = Reign(term, reason, prove_by=now + session.timing.ttl_s, agreed=not self._needs_consent())
        self._timers.set("held", self._reign.held_until)
        self._start_round(now)

    def _start_round(self, now: float) -> None:
        session = self._sessions.current
        if session is not None and not session.closing:
            # While it is open whom the term belongs to, only the lease is renewed: a heartbeat would decide it.
            self._renewal.start(session, None if self._handover.is_deciding else self._reign, now)

    # ------------------------------------------------------------ renewal (what `Renewal` tells)

    def kept_for(self, session: Session, ttl_s: int, now: float) -> bool:
        """The lease was kept, for so long."""
        return self._sessions.kept_for(session, ttl_s, now)

    def answered(self, round_trip_s: float) -> None:
        """etcd answered a keepalive."""
        self._service.answered(round_trip_s)

    def lease_is_gone(self, now: float) -> None:
        """And with it every key on it."""
        self._lose_session(now)

    def is_fenced(self, result: TxnResult, now: float) -> None:
        """The heartbeat was refused."""
        self._learn(result, now)
        self._end_term(Reason.FENCED, now, holds_key=False)

    def is_proved(self, reign: Reign, now: float, *, first: bool) -> None:
        """The window has moved: believe in it, once this node may lead at all."""
        term = reign.term
        self._timers.set("held", reign.held_until)
        if first and self._needs_consent():
            reign.agreed = False
            self._timers.set("consent", now + self._options.hook_timeout_s)
            self._desk.say(ConsentWanted(term))
        elif first:
            reign.agreed = True
        if not reign.announced:
            self._announce(reign, now)
            return
        term.trust.until = min(reign.window, self._beats.until)
        if self._state is ElectionState.SUSPENDED and term.trust.until > now:
            self._enter(ElectionState.LEADER, Reason.RENEWED, term)

    def is_in_doubt(self, reign: Reign) -> None:
        """Start nothing new until a round succeeds."""
        self._suspend(reign)

    def _announce(self, reign: Reign, now: float) -> None:
        """From here on this node leads, if its owner agrees. Not by what was proved before it stood still: then the
        next proof announces it."""
        trusted_until = min(reign.window, self._beats.until)
        if not reign.agreed or trusted_until <= now:
            return
        reign.announced = True
        self._service.leads(now, won=reign.reason is not Reason.HANDOVER)
        if reign.reason is Reason.HANDOVER and self._sessions.current is not None:
            self._sessions.current.stands_back_until = now  # it was asked to, whatever it wished before
        reign.term.trust.until = trusted_until
        self._standstill.await_progress(reign.term, now)
        self._enter(ElectionState.LEADER, reign.reason, reign.term)

    def _on_consent(self, event: Consent, now: float) -> None:
        reign = self._reign
        if reign is None or reign.agreed or reign.term.token != event.token:
            return  # too late: the term is over, or was vetoed by the clock
        self._timers.clear("consent")
        if event.veto:
            self._veto(event.veto, now)
        else:
            reign.agreed = True
            self._announce(reign, now)
            self._start_round(now)  # whoever waits for this node to lead learns it from the next heartbeat

    def _veto(self, why: str, now: float) -> None:
        """Others go first: this node could not start, and would win again at once (A17)."""
        self._desk.note(logging.WARNING, LogEvent.ELECTION_VETOED, why=why)
        if self._reign is not None:
            self._reign.veto = why
        if self._sessions.current is not None:
            self._sessions.current.stands_back_until = self._service.vetoed(why, now)
        self._end_term(Reason.VETOED, now, holds_key=True)

    def _suspend(self, reign: Reign, reason: Reason | None = None) -> None:
        """Start nothing new; what runs may go on while trust lasts, or the store is full."""
        if self._state is ElectionState.LEADER:
            why = reason or (Reason.STORE_FULL if reign.store_full else Reason.UNREACHABLE)
            self._enter(ElectionState.SUSPENDED, why, reign.term)

    def _on_held_too_long(self, now: float) -> None:
        reign = self._reign
        if reign is None:
            return
        if self._handover.is_deciding:  # what was proved is over, and it is still open whose runs these are: they stop
            reign.term.trust.changing_hands = False
            if self._stopping:  # and nobody can wait for the answer: whatever it is, the end of the lease settles it
                self._end_term(Reason.EXPIRED, now, holds_key=True)
            return
        if now < reign.held_until:  # the store is full: the term stays, without trust
            self._timers.set("held", reign.held_until)
            self._suspend(reign)
        else:
            self._end_term(Reason.EXPIRED, now, holds_key=True)

    # ------------------------------------------------------------ standstill

    def _on_beat(self, event: BeatSaid, now: float) -> None:
        """The guard knows that we move. After a silence in which it may have acted, only a new proof counts (A1)."""
        reign = self._reign
        is_ours = self._beats.said(event, now)
        if is_ours and event.told is Told.GIVEN_BACK:
            self._lose_session(now)  # it may end at any moment, whatever a proof says before
        if not is_ours or reign is None or self._reign is not reign:
            return
        if self._handover.is_deciding:
            return
        is_first = event.at == self._beats.heard_since  # after a silence
        if not reign.announced:
            if is_first:
                reign.window = float("-inf")  # so a term does not begin by it
                self._start_round(now)
        elif reign.term.trust.until > now:
            reign.term.trust.until = min(reign.window, self._beats.until)
        elif reign.window > now:
            self._suspend(reign, Reason.STALLED)
            counts = event.told is not Told.UNHEARD  # else no proof would
            if counts and (is_first or self._renewal.round is None):
                self._start_round(now)  # one that is under way at the first beat began before it, and counts no more

    def _look_for_progress(self, now: float) -> None:
        if self._standstill.look(self._reign, now, is_deciding=self._handover.is_deciding):
            self._end_term(Reason.STALLED, now, holds_key=True)
            self._standstill.look_at_stalled(now)

    # ------------------------------------------------------------ the end of a term

    def _notice_deposition(self, now: float) -> None:
        """A newer revision of the leader key than our token: the term is over, whoever holds it now.

        A delete that is older than the token is an earlier term's (A22); the view has already sorted that out.
        """
        if self._reign is None or not self._view.leader_changed_after(self._reign.term.token):
            return
        if not self._handover.is_deciding:
            self._end_term(Reason.FENCED, now, holds_key=False)
        else:  # trusted no more; who comes after a successor does not tell whether there was one: the answer will
            self._handover.is_done(self._view.leader, now)

    def _end_term(self, reason: Reason, now: float, *, holds_key: bool) -> None:
        """Stop trusting at once; then, where the key may still be ours, delete it by token until that is definite."""
        reign = self._reign
        if reign is None:
            return
        reign.term.trust.until = float("-inf")
        reign.term.trust.changing_hands = False
        self._reign = None
        self._renewal.forget()
        self._handover.drop()
        self._timers.clear("held")
        self._timers.clear("drain")
        self._timers.clear(standstill.TIMER)
        self._timers.clear("consent")
        session = self._sessions.current
        if reign.announced:
            self._service.leads_no_more(now)
            state = ElectionState.FOLLOWER if session is None else ElectionState.CANDIDATE
            self._enter(state, reason, reign.term)
        if session is None:
            return
        self._timers.set_no_later(renewal.TIMER, now + session.timing.renew_interval_s)
        if self._stopping:
            self._timers.set("stop", now + _LETTING_GO_S)
        if holds_key:
            told = self._contest.tell_given_back(reign.term, reign.wished, reign.veto)
            release = Attempt(transactions.release(self._keys, reign.term, told), None, key_is_free)
            self._attempts.begin(release, session.timing.rpc_timeout_s)

    def _on_resign(self, event: ResignWanted, now: float) -> None:
        """In a frozen election the lead is handed over, or kept: nobody could follow who gives it back (A24)."""
        reign, session = self._reign, self._sessions.current
        if reign is None or reign.term.token != event.token:
            return  # it has ended meanwhile
        if self._view.operator.frozen is None:
            self._leave(Reason.RESIGNED, event.pause_s, now)
        elif session is not None and self._state is ElectionState.LEADER:
            reign.pause_s = event.pause_s
            if not self._handover.is_busy:
                self._handover.begin(session, reign.term, now)

    def _leave(self, reason: Reason, pause_s: float, now: float) -> None:
        """Give the term away: to a successor if there is one (PROTOCOL C), else back."""
        reign, session = self._reign, self._sessions.current
        if reign is None or session is None or self._state is not ElectionState.LEADER:
            if not self._handover.is_busy or reign is None:
                self._drain(reason, pause_s, now)
            else:
                reign.leaving, reign.pause_s = reason, pause_s
            return
        reign.leaving, reign.pause_s = reason, pause_s
        if not self._handover.is_busy:
            self._handover.begin(session, reign.term, now)

    def _drain(self, reason: Reason, pause_s: float, now: float) -> None:
        """Ask the owner to end what runs. Renewal goes on until it has, or `stop_timeout` is over."""
        reign = self._reign
        if reign is None:
            return
        reign.leaving, reign.pause_s = reason, pause_s
        if not reign.announced:
            self._end_term(reason, now, holds_key=True)
        elif self._state is not ElectionState.DRAINING:
            self._timers.set("drain", now + self._options.stop_timeout_s)
            self._enter(ElectionState.DRAINING, reason, reign.term)

    def _on_drained(self, event: Drained, now: float) -> None:
        self._standstill.let_go(event.token)
        if self._reign is not None and self._reign.term.token == event.token:
            self._stop_draining(now)
        elif event.token in self._lent:
            self._lent.discard(event.token)
            if self._stopping and not self._lent:
                self._stop_waiting(now)

    def _stop_draining(self, now: float) -> None:
        """Give the term back: all of it has ended, or its time is up."""
        reign, session = self._reign, self._sessions.current
        if session is not None and self._handover.drained(session, now):
            return
        if reign is None and self._lent:
            self._stop_waiting(now)
        if reign is None or reign.leaving is None:
            return
        if session is not None:
            session.stands_back_until = now + reign.pause_s
        # In a frozen election nobody could follow (A24): the key stays, and its next term begins with it (A7a).
        keeps_key = self._view.operator.frozen is not None and not self._stopping
        self._end_term(reign.leaving, now, holds_key=not keeps_key)

    # ------------------------------------------------------------ handing over (what `Handover` asks for)

    def learn(self, result: TxnResult, now: float) -> None:
        """Take over the reads that transactions of the election end with."""
        self._learn(result, now)

    def drain_first(self, now: float) -> None:
        """Have the owner's work ended before the term is handed over: it cannot be lent."""
        assert self._reign is not None
        self._timers.set("drain", now + self._options.stop_timeout_s)
        self._enter(ElectionState.DRAINING, Reason.HANDING_OVER, self._reign.term)

    def suspend_for_handover(self, now: float) -> None:
        """Trust nothing from here on. What runs goes on, whoever leads after this, as long as the proof would last."""
        reign = self._reign
        assert reign is not None
        trust = reign.term.trust
        self._timers.set("held", trust.until)
        trust.changing_hands = True
        trust.until = float("-inf")
        self._renewal.forget()
        self._timers.set_no_later(renewal.TIMER, now + self._options.renew_interval_s)
        if self._state is not ElectionState.DRAINING:
            self._enter(ElectionState.SUSPENDED, Reason.HANDING_OVER, reign.term)

    def handed_over(self, token: int, lent: Lent | None, now: float) -> None:
        """The successor holds the key: this term is over, and there is no way back."""
        reign = self._reign
        assert reign is not None
        reign.term.trust.lent = lent
        if lent is not None:
            self._lent.add(reign.term.token)
        self._service.rests_until = now + reign.pause_s
        self._end_term(Reason.HANDOVER, now, holds_key=False)
        if self._stopping and self._lent:
            self._timers.clear("stop")
            self._timers.set("drain", now + self._options.stop_timeout_s)

    def not_handed_over(self, phase: Phase, now: float) -> None:
        """Go on as if nothing had been; where that cannot be, give the term back."""
        reign = self._reign
        if reign is None:
            return
        leaving = reign.leaving
        if self._state is ElectionState.DRAINING:  # the owner's work has ended, or ends: no way back into the term
            reign.leaving = leaving or Reason.RESIGNED
            if phase is not Phase.DRAINING:
                self._stop_draining(now)
            return
        if phase is Phase.DECIDING:
            self._prove_again(reign, now)
        if leaving is None:
            reign.pause_s = 0.0  # it goes on leading, so it lets nobody go first
            self._desk.say(GoOn(reign.term.token))
        else:
            self._drain(leaving, reign.pause_s, now)

    def _prove_again(self, reign: Reign, now: float) -> None:
        """After a definite refusal: a heartbeat sent from here on proves the term, and kills what may come late."""
        session = self._sessions.current
        assert session is not None
        reign.term.trust.changing_hands = False
        reign.resume_by = now + session.timing.ttl_s
        self._timers.set("held", reign.held_until)
        self._start_round(now)

    # ------------------------------------------------------------ stopping

    def _on_stop(self, hands_over: bool, now: float) -> None:
        if self._stopping:
            return
        self._stopping = self._service.is_stopping = True
        if self._reign is None:
            self._attempts.drop()  # the end of the lease makes it definite; until then, a key in our name is cleared
            if self._lent:
                self._timers.set("drain", now + self._options.stop_timeout_s)
            else:
                self._stop_waiting(now)
        if hands_over:
            self._leave(Reason.SHUTDOWN, 0.0, now)
        elif self._reign is not None and self._handover.is_deciding:
            self._reign.leaving = Reason.SHUTDOWN  # if it is refused there is no way back into the term
        else:
            has_ended = self._handover.is_quiet and self._state is ElectionState.DRAINING  # the work, and it said so
            self._handover.drop()
            self._drain(Reason.SHUTDOWN, 0.0, now)
            if has_ended:
                self._stop_draining(now)

    def _stop_waiting(self, now: float) -> None:
        """Nothing that was lent runs any more, or its time is up: let go of the session."""
        self._lent.clear()
        self._timers.clear("drain")
        self._timers.set("stop", now + _LETTING_GO_S)

    def _session_closed(self, _now: float) -> None:
        self._beats.drop()
        self._finish(Reason.SHUTDOWN, clean=True)

    def _finish(self, reason: Reason, *, clean: bool, why: str = "") -> None:
        """End for good. What could not be given back ends with the lease, which nobody renews any more."""
        reign, self._reign = self._reign, None
        self._finished = True
        self._attempts.drop()
        self._handover.drop()
        self._timers.clear_all()
        self._desk.calls.forget()
        if reign is not None:
            reign.term.trust.until = float("-inf")
            reign.term.trust.changing_hands = False
        self._enter(ElectionState.FOLLOWER, reason, reign.term if reign and reign.announced else None)
        self._desk.say(Finished(clean, why))

    # ------------------------------------------------------------ small things

    def _learn(self, result: TxnResult, now: float) -> None:
        """Take over the reads of the election's keys that every transaction of the election ends with."""
        for key, read in transactions.election_reads(self._keys, result):
            self._view.learn_read(key, read, now)

    def _enter(self, state: ElectionState, reason: Reason, term: Term | None) -> None:
        self._state = state
        self._desk.say(StateChanged(state, reason, term))
