"""The leader's side of a handover: a part of the elector's machine (PROTOCOL C, A6).

::

    wished for, or leaving
      -> looking      who stands in this election, from their session keys; the best first
      -> offering     the offer is written under the fence, to one session, with a nonce
      -> offered      until that session answers; a silent or unfit one is followed by the next
      -> draining     only where no work can be lent: the owner ends what runs, the term is in force meanwhile
      -> settling     only where some work cannot be lent: the owner begins none of it, and says when none of it is
                      under way; meanwhile the term leads, as ever
                      (if either took long, or an operator gave an order meanwhile: looking again, and no more waiting)
      -> ready        until the last heartbeat is known to have committed
      -> deciding     trust is gone; one transaction, the same again until it is definite
      -> handed over, or failed: then a fenced heartbeat proves the term again before anything is trusted

Why it is safe, whatever comes late or twice:

* Nothing up to `deciding` changes who leads. An offer or an answer that arrives late fits no plan, and is ignored.
* Trust ends *before* the one transaction is sent, so it does not matter when this node learns what became of it.
* While it is in doubt no heartbeat is sent: one that commits would refuse the copies still under way. That is why
  trust comes back only with a heartbeat that was sent after the refusal: from its revision on, no late copy can apply.
* The new term's id is the nonce. Only who acknowledged this very offer begins the term under the token of the put;
  for anybody else the key is one that names a session without a term, to be rewritten (A7).
* A refusal says whether an earlier copy was applied: the leader key holds our value, or else the grant does.
* "Lease not found" speaks of the *successor's* lease (A22). It is gone for good, so no copy can apply any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from slurp_leader.election import transactions
from slurp_leader.election.contest import Contest
from slurp_leader.election.control import ControlView
from slurp_leader.election.desk import Backoff, Desk
from slurp_leader.election.events import Reason, SettleWanted
from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import Cause
from slurp_leader.election.records import ElectionKeys, LeaderRecord
from slurp_leader.election.reign import Reign
from slurp_leader.election.session import Session
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.election.view import View
from slurp_leader.errors import LeaseNotFoundError, Outcome, StoreError
from slurp_leader.store import GetResult, KeyValue, Put, Txn, TxnResult
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Grant, Lent, Term

TIMER = "handover"

_ANSWERED_WITHIN_S = 1.5
"""How long a candidate may take to answer, before the next one is asked."""
_FOUND_WITHIN_S = 3.0
"""How long a successor is looked for in all. A leader that stops is waited for, and drains only after that."""
_STANDS_BACK_S = 2.0
"""How long others go first when a leader had to step down and found nobody to hand over to."""
_SILENT_FOR_S = 60.0
"""So long a candidate that did not answer is asked after the others."""
_CHOSEN_FOR_S = 1.5
"""How long it is taken for granted that whoever answered would answer the same."""
_DOING = "hand over"
_WITHDRAWN = "withdrawn"
"""Why a handover fails whose wish is gone before it was answered: who wished waits no more, and was told that nothing
was done."""


@dataclass(frozen=True, slots=True)
class Lending:
    """How work in flight survives a handover. Without it, the owner has to end its work before.

    Attributes:
        grants: Prefix of the keys of grants.
        longest_s: Asked at a handover how long its grant is to be honoured at most; must not block.
        settles_within_s: How long a handover waits at most for work beside it that cannot be lent; 0: there is none.
    """

    grants: bytes
    longest_s: Callable[[], float]
    settles_within_s: float = 0.0

    def key(self, token: int) -> bytes:
        return self.grants + b"%d" % token


class Phase(StrEnum):
    """How far a plan is; see above."""

    LOOKING = "looking"
    OFFERING = "offering"
    OFFERED = "offered"
    DRAINING = "draining"
    SETTLING = "settling"
    READY = "ready"
    DECIDING = "deciding"


@dataclass(slots=True, eq=False)
class _Plan:
    """One handover under way. `wish` is what its records are made from; `leaves`: the leader goes in any case;
    `chosen_under`: the revision of the operator's record that counted when it was found out whom to ask; `is_quiet`:
    what had to end before has ended."""

    term: Term
    wish: TransferRecord
    leaves: bool
    without: frozenset[Cause] = frozenset()
    phase: Phase = Phase.LOOKING
    asked: list[Candidate] = field(default_factory=list)
    stand: list[Candidate] = field(default_factory=list)
    candidate: Candidate | None = None
    offer: TransferRecord | None = None
    deadline: float = 0.0
    give_up_at: float = 0.0
    ack_revision: int = 0
    chosen_at: float = 0.0
    chosen_under: int = 0
    is_quiet: bool = False
    reason: str = "silent"
    decision: _Decision | None = None


@dataclass(slots=True, eq=False)
class _Decision:
    """The one transaction, and what it leads to. `trusted_until`: what was proved before; `end_by`: when what is lent
    has to have ended."""

    txn: Txn
    leader_value: bytes
    grant_key: bytes
    grant_value: bytes | None
    trusted_until: float
    end_by: float
    in_doubt: bool = False


class Owner(Protocol):
    """The elector, as a handover sees it."""

    def learn(self, result: TxnResult, now: float) -> None:
        """Take over the reads that transactions of the election end with."""

    def drain_first(self, now: float) -> None:
        """Have the owner's work ended; then `Handover.drained` is called."""

    def suspend_for_handover(self, now: float) -> None:
        """Trust nothing any more, and send no heartbeat, until `handed_over` or `not_handed_over`."""

    def handed_over(self, token: int, lent: Lent | None, now: float) -> None:
        """The term is over: the successor's has this token."""

    def not_handed_over(self, phase: Phase, now: float) -> None:
        """It failed in this phase. The term is still this node's, as far as is known."""


class Handover:
    """Hands one term over, when somebody wishes it or the leader leaves.

    Args:
        owner: The elector.
        desk: Shared with it. Uses the timer "handover".
        options: Of the election.
        keys: Of the election.
        control: What is known of offers and answers.
        view: What is known of the election.
        contest: Who stands, and who is the best of them.
        lending: How work in flight survives; None: it has to be ended before.
        manifest: What else to leave for the successor of this epoch, when this term is handed over.
    """

    def __init__(
        self,
        owner: Owner,
        desk: Desk,
        options: ElectionOptions,
        keys: ElectionKeys,
        control: ControlView,
        view: View,
        contest: Contest,
        lending: Lending | None,
        manifest: Callable[[int, Term], transactions.Told],
    ) -> None:
        self._owner = owner
        self._desk = desk
        self._options = options
        self._keys = keys
        self._control = control
        self._view = view
        self._contest = contest
        self._lending = lending
        self._manifest = manifest
        self._backoff = Backoff(desk, options.retry_interval_s)
        self._plan: _Plan | None = None
        self._refused: tuple[str, str] | None = None  # the wish that failed last, and why
        self._refusing = False
        self._silent: dict[str, float] = {}  # sessions that did not answer when they were asked, and when that was
        self.gave = 0
        """Token of the term that this node handed out last: from a silent successor it takes the lead back first."""

    # ------------------------------------------------------------ what the elector asks

    @property
    def is_busy(self) -> bool:
        return self._plan is not None

    @property
    def is_quiet(self) -> bool:
        """Whether the owner's work has ended for it."""
        return self._plan is not None and self._plan.is_quiet

    @property
    def is_deciding(self) -> bool:
        """Whether it is open who leads; then nothing may be trusted and no heartbeat sent."""
        return self._plan is not None and self._plan.phase is Phase.DECIDING

    def drop(self) -> None:
        """The term is over, by something else."""
        self._plan = None
        self._refusing = False
        self._desk.timers.clear(TIMER)

    def begin(
        self,
        session: Session,
        term: Term,
        now: float,
        wish: TransferRecord | None = None,
        without: frozenset[Cause] = frozenset(),
    ) -> None:
        """Hand this term over, to the best candidate or the one that is wished for; to none with one of the causes in
        `without` against it. Not while one is under way."""
        leaves = wish is None or wish.steps_down
        wish = wish or TransferRecord(Stage.WISHED, term.token, by=term.node_id, why="leaving")
        plan = self._plan = _Plan(term, wish, leaves, without)
        if plan.wish.to in (session.name, session.identity.node_id):
            self._fail(plan, "itself", now)
            return
        self._look(plan, session, now)

    def act(self, session: Session, reign: Reign, now: float) -> None:
        """Level-triggered: what does the situation ask for? The reign is announced, and its session live."""
        plan = self._plan
        if plan is None:
            self._look_for_wish(session, reign, now)
            return
        if plan.phase is Phase.OFFERED:
            self._look_for_answer(plan, session, now)
        if plan.phase is Phase.SETTLING and reign.leaving is not None:
            reign.term.leaving.set()  # no way back into the term: work that asks it comes to its end now
        if plan is self._plan and plan.phase is Phase.READY:
            if plan.chosen_under == self._view.operator_revision:
                self._decide(plan, session, reign, now)
            else:
                self._look(plan, session, now)

    def drained(self, session: Session, now: float) -> bool:
        """The owner's work has ended, or its time is up. False: there is no handover that goes on from there.

        Of a plan that has not come so far, or is beyond it, nothing changes: it may be said early, and twice.
        """
        plan = self._plan
        if plan is None:
            return False
        if plan.phase is Phase.DRAINING:
            self._has_ended(plan, session, now)
        return True

    def settled(self, session: Session, token: int, now: float) -> None:
        """Nothing is under way that cannot be lent. As with `drained`, it may be said early, and twice."""
        plan = self._plan
        if plan is not None and plan.phase is Phase.SETTLING and plan.term.token == token:
            self._has_ended(plan, session, now)

    def on_timer(self, session: Session | None, now: float) -> None:
        plan = self._plan
        if plan is None or session is None:
            return
        match plan.phase:
            case Phase.DECIDING:
                self._send_decision(plan, session)
            case Phase.LOOKING | Phase.READY:
                self._fail(plan, "timeout", now)
            case Phase.OFFERING if now < plan.deadline:
                self._send_offer(plan, session)
            case Phase.OFFERING | Phase.OFFERED:
                if plan.phase is Phase.OFFERED and plan.candidate is not None:
                    self._silent[plan.candidate.session] = now
                self._ask_next(plan, session, now)
            case Phase.SETTLING:  # it goes on, and ends with the term
                self._desk.note(logging.WARNING, LogEvent.ELECTION_NOT_SETTLED, token=plan.term.token)
                self._has_ended(plan, session, now)
            case Phase.DRAINING:
                pass

    def is_done(self, leader: KeyValue | None, now: float) -> bool:
        """Whether the leader key shows that the transaction was applied, before its answer came."""
        plan = self._plan
        decision = plan.decision if plan else None
        if plan is None or decision is None or leader is None or leader.value != decision.leader_value:
            return False
        self._applied(plan, decision, leader.mod_revision, now)
        return True

    # ------------------------------------------------------------ wishes

    def _look_for_wish(self, session: Session, reign: Reign, now: float) -> None:
        record = self._control.transfer
        if record is None or record.token != reign.term.token or record.stage is Stage.REFUSED or self._refusing:
            return
        if record.steps_down and reign.leaving is not None:
            return  # it does, already
        known = self._refused is not None and record.wish == self._refused[0]
        if reign.leaving is not None or known or record.stage is Stage.OFFERED:
            # Answered before, or a late copy of an offer that was given up: what was begun is over, whoever asks.
            reason = self._refused[1] if known and self._refused else "leaving" if reign.leaving else "silent"
            self._refuse(session, reign.term, record, reason)
        elif now < reign.term.trust.until:
            if record.steps_down and self._view.operator.frozen is None:
                reign.leaving, reign.pause_s, reign.wished = Reason.RESIGNED, _STANDS_BACK_S, record
            self.begin(session, reign.term, now, record)

    def _refuse(self, session: Session, term: Term, record: TransferRecord, reason: str) -> None:
        self._refusing = True
        value = record.refused(reason).to_value()
        txn = transactions.write_transfer(self._keys, term, self._control.transfer_revision, value)
        self._desk.call(txn, session.timing.rpc_timeout_s, partial(self._was_refused, value))

    def _was_refused(self, value: bytes, result: Any, now: float) -> None:
        self._refusing = False
        if isinstance(result, StoreError):
            self._desk.timers.set_no_later(TIMER, now + self._backoff.next_s())  # brings the elector back to `act`
        elif result.succeeded:
            self._backoff.reset()
            self._control.learn_put(self._keys.transfer, value, result.header.revision)
        else:
            self._learn_refusal(result, now)

    def _learn_refusal(self, result: TxnResult, now: float) -> KeyValue | None:
        """A refused write of ours reads the record that was in its way."""
        read = result.results[0]
        assert isinstance(read, GetResult)
        self._control.learn_read(self._keys.transfer, read)
        self._owner.learn(result, now)
        return read.kvs[0] if read.kvs else None

    # ------------------------------------------------------------ whom to ask

    def _look(self, plan: _Plan, session: Session, now: float) -> None:
        plan.phase = Phase.LOOKING
        plan.give_up_at = now + _FOUND_WITHIN_S
        self._wait_until(plan, now + _ANSWERED_WITHIN_S)
        self._desk.call(
            transactions.read_candidates(self._keys), session.timing.rpc_timeout_s, partial(self._found, plan, session)
        )

    def _found(self, plan: _Plan, session: Session, result: Any, now: float) -> None:
        if plan is not self._plan:
            return
        plan.chosen_at, plan.chosen_under = now, self._view.operator_revision
        if isinstance(result, StoreError):
            self._fail(plan, "timeout", now)
            return
        plan.asked, plan.stand, plan.reason = self._contest.successors(
            session, result.kvs, plan.wish.to, leaves=plan.leaves, now=now, without=plan.without
        )
        self._silent = {session: at for session, at in self._silent.items() if now < at + _SILENT_FOR_S}
        # Stable: else the best is asked first. Whoever was silent may be cut off; an unfit one says that it should not.
        plan.asked.sort(key=lambda each: (bool(each.unfit), each.session in self._silent))
        self._ask_next(plan, session, now)

    def _ask_next(self, plan: _Plan, session: Session, now: float) -> None:
        if plan.wish.wish and not self._control.transfer_revision:
            self._fail(plan, _WITHDRAWN, now)
            return
        if not plan.asked or now >= plan.give_up_at:
            self._fail(plan, plan.reason, now)
            return
        plan.candidate, plan.reason = plan.asked.pop(0), "silent"
        wish = plan.wish
        plan.offer = TransferRecord(
            Stage.OFFERED,
            plan.term.token,
            wish.wish,
            wish.to,
            wish.by,
            wish.why,
            plan.candidate.session,
            plan.candidate.node_id,
            self._desk.random_hex(128),
            steps_down=wish.steps_down,
            rest=wish.rest,
        )
        plan.phase = Phase.OFFERING
        self._wait_until(plan, min(now + _ANSWERED_WITHIN_S, plan.give_up_at))
        self._send_offer(plan, session)

    def _send_offer(self, plan: _Plan, session: Session) -> None:
        assert plan.offer is not None
        value = plan.offer.to_value()
        txn = transactions.write_transfer(self._keys, plan.term, self._control.transfer_revision, value)
        self._desk.call(txn, session.timing.rpc_timeout_s, partial(self._offered, plan, plan.offer, session))

    def _offered(self, plan: _Plan, offer: TransferRecord, session: Session, result: Any, now: float) -> None:
        if plan is not self._plan or offer is not plan.offer or plan.phase is not Phase.OFFERING:
            return
        if isinstance(result, StoreError):
            self._desk.timers.set(TIMER, min(plan.deadline, now + self._desk.soon()))
            return
        value = offer.to_value()
        if result.succeeded:
            self._control.learn_put(self._keys.transfer, value, result.header.revision)
        else:
            standing = self._learn_refusal(result, now)
            if self._plan is not plan:
                return  # the term is over
            if standing is None and plan.wish.wish:
                self._fail(plan, _WITHDRAWN, now)
                return
            if standing is None or standing.value != value:  # another record came in between: ours goes over it
                self._desk.timers.set(TIMER, min(plan.deadline, now + self._desk.soon()))
                return
        plan.phase = Phase.OFFERED
        self._wait_until(plan, plan.deadline)
        self._look_for_answer(plan, session, now)

    def _look_for_answer(self, plan: _Plan, session: Session, now: float) -> None:
        ack, candidate, offer = self._control.ack, plan.candidate, plan.offer
        assert candidate is not None
        assert offer is not None
        if ack is None or ack.nonce != offer.nonce or ack.session != candidate.session:
            return
        self._silent.pop(ack.session, None)
        if ack.unfit or ack.lease != candidate.lease:
            plan.reason = "unfit"
            self._ask_next(plan, session, now)
            return
        plan.ack_revision = self._control.ack_revision
        if plan.is_quiet:
            self._get_ready(plan, session, now)
        elif self._lending is None:
            plan.phase = Phase.DRAINING
            self._desk.timers.clear(TIMER)
            self._owner.drain_first(now)
        elif self._lending.settles_within_s > 0:
            plan.phase = Phase.SETTLING
            self._wait_until(plan, now + self._lending.settles_within_s)
            self._desk.say(SettleWanted(plan.term.token))
        else:
            self._get_ready(plan, session, now)

    def _has_ended(self, plan: _Plan, session: Session, now: float) -> None:
        """What had to end before the lead moves has ended, or its time is up. If that took long, whoever was chosen may
        be gone or unfit by now: it is looked and asked again, while nothing begins here."""
        plan.is_quiet = True
        if now < plan.chosen_at + _CHOSEN_FOR_S:
            self._get_ready(plan, session, now)
        else:
            self._look(plan, session, now)

    # ------------------------------------------------------------ the one transaction

    def _get_ready(self, plan: _Plan, session: Session, now: float) -> None:
        """A renewal under way settles which heartbeat was the last; a leader that stops is waited for."""
        plan.phase = Phase.READY
        renewal_s = session.timing.renew_interval_s + 2 * session.timing.rpc_timeout_s
        self._wait_until(plan, now + (renewal_s if plan.wish.wish else min(renewal_s, _FOUND_WITHIN_S)))

    def _decide(self, plan: _Plan, session: Session, reign: Reign, now: float) -> None:
        """Begin to decide, once it is known which heartbeat was the last."""
        heartbeat = reign.heartbeat_revision
        if heartbeat is None or reign.term is not plan.term:
            return  # one is under way, or in doubt; the next renewal settles it
        decision = self._decision(plan, session, heartbeat, reign.term.trust.until, now)
        self._owner.suspend_for_handover(now)
        plan.phase, plan.decision = Phase.DECIDING, decision
        self._send_decision(plan, session)

    def _decision(
        self, plan: _Plan, session: Session, heartbeat_revision: int, trusted_until: float, now: float
    ) -> _Decision:
        candidate, offer, lending = plan.candidate, plan.offer, self._lending
        assert candidate is not None
        assert offer is not None
        epoch = self._view.epoch_number + 1
        record = LeaderRecord(
            node_id=candidate.node_id,
            session=candidate.session,
            term_id=offer.nonce,
            ttl_s=candidate.ttl_s,
            epoch=epoch,
            endpoint=candidate.endpoint,
            reason=Reason.HANDOVER.value,
        )
        left_behind: tuple[Put, ...] = ()
        longest_s = 0.0
        grant_key, grant_value = self._keys.transfer, None  # without lending: nothing to be recognised by
        if lending is not None:
            longest_s = lending.longest_s()
            grant = Grant(session.name, session.identity.node_id, offer.nonce, longest_s)
            grant_key, grant_value = lending.key(plan.term.token), grant.to_value()
            left_behind = (Put(grant_key, grant_value),)
        txn = transactions.hand_over(
            self._keys,
            self._view,
            plan.term,
            heartbeat_revision=heartbeat_revision,
            ack_revision=plan.ack_revision,
            session_key=self._keys.session(candidate.node_id, candidate.session),
            record=record,
            lease_id=candidate.lease,
            left_behind=(
                *left_behind,
                *self._manifest(epoch, plan.term),
                *self._contest.tell_handed(record, plan.wish, plan.stand),
            ),
            grant_key=grant_key,
        )
        return _Decision(txn, record.to_value(), grant_key, grant_value, trusted_until, now + longest_s)

    def _send_decision(self, plan: _Plan, session: Session) -> None:
        decision = plan.decision
        assert decision is not None
        self._desk.call(decision.txn, session.timing.rpc_timeout_s, partial(self._decided, plan, decision))

    def _decided(self, plan: _Plan, decision: _Decision, result: Any, now: float) -> None:
        if plan is not self._plan:
            return
        if isinstance(result, LeaseNotFoundError):
            self._fail(plan, "refused", now)
        elif isinstance(result, StoreError):
            self._not_decided(plan, decision, result, now)
        else:
            self._backoff.reset()
            self._desk.note_success(_DOING)
            self._judge(plan, decision, result, now)

    def _not_decided(self, plan: _Plan, decision: _Decision, error: StoreError, now: float) -> None:
        self._desk.note_failure(LogEvent.ELECTION_CALL_FAILED, _DOING, error)
        decision.in_doubt |= error.outcome is Outcome.UNKNOWN
        if decision.in_doubt:
            self._desk.timers.set(TIMER, now + self._backoff.next_s())
        else:
            self._fail(plan, "refused", now)

    def _judge(self, plan: _Plan, decision: _Decision, result: TxnResult, now: float) -> None:
        if result.succeeded:
            self._applied(plan, decision, result.header.revision, now, result)
            return
        found, leader = result.results[0], transactions.leader_read(result)
        assert isinstance(found, GetResult)
        for kv in (*((leader,) if leader else ()), *found.kvs):
            if kv.value in (decision.leader_value, decision.grant_value):
                self._applied(plan, decision, kv.mod_revision, now, result)
                return
        self._owner.learn(result, now)
        self._fail(plan, "refused", now)

    # ------------------------------------------------------------ the end

    def _applied(
        self, plan: _Plan, decision: _Decision, token: int, now: float, result: TxnResult | None = None
    ) -> None:
        """No way back."""
        self.drop()
        self.gave = token
        lent = None
        if self._lending is not None:
            assert decision.grant_value is not None
            lent = Lent(
                decision.grant_key,
                decision.grant_value,
                token,
                decision.trusted_until,
                decision.end_by,
            )
        candidate = plan.candidate
        assert candidate is not None
        self._desk.note(
            logging.INFO,
            LogEvent.ELECTION_HANDED_OVER,
            to=candidate.node_id,
            token=token,
            old_token=plan.term.token,
            by=plan.wish.by,
            why=plan.wish.why,
        )
        if result is not None:
            self._owner.learn(result, now)
        self._owner.handed_over(token, lent, now)

    def _fail(self, plan: _Plan, reason: str, now: float) -> None:
        phase = plan.phase
        self.drop()
        if plan.wish.wish:
            self._refused = (plan.wish.wish, reason)
        # Nobody to hand over to is nothing unusual for a leader that leaves by itself.
        unwished = logging.DEBUG if reason == "no_candidate" else logging.INFO
        level = logging.WARNING if plan.wish.wish or phase is Phase.DECIDING else unwished
        self._desk.note(level, LogEvent.ELECTION_NOT_HANDED_OVER, reason=reason, phase=phase.value, to=plan.wish.to)
        self._owner.not_handed_over(phase, now)

    def _wait_until(self, plan: _Plan, at: float) -> None:
        plan.deadline = at
        self._desk.timers.set(TIMER, at)
