"""Who goes first: what this node knows of all candidates and of orders, and what follows for it. A part of the elector.

It decides when this node may send a campaign, never whether one succeeds: that is the transaction's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from slurp_leader.clock import Clock, format_utc
from slurp_leader.election.candidacy import Candidacy
from slurp_leader.election.desk import Desk
from slurp_leader.election.history.entries import (
    STEP_DOWN,
    VETO,
    ActionRecord,
    HistoryRecord,
    remember,
    remember_end,
)
from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.ranking.candidates import Candidate, CandidateView, read_candidates
from slurp_leader.election.ranking.eligible import (
    Cause,
    Circumstances,
    Standing,
    Verdict,
    choose_successor,
    eligible,
    standings,
    waits_s,
)
from slurp_leader.election.records import ElectionKeys, LeaderRecord
from slurp_leader.election.session import Session
from slurp_leader.election.transactions import Told
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.election.view import View
from slurp_leader.store import Event, KeyValue
from slurp_leader.term import Term

_KEEPS_FROM_LEADING = frozenset({Cause.BLOCKED, Cause.CAPABILITY, Cause.PINNED_ELSEWHERE})
"""What keeps a node from holding the key. The others only forbid to begin an election, or put back in one."""
_WORSE_THAN_UNFIT = _KEEPS_FROM_LEADING | {Cause.UNFIT}
"""To whom an unfit leader does not hand over by itself: two that are both unfit would hand the lead to each other for
ever."""
_NOTHING: frozenset[Cause] = frozenset()
_ANYTHING = frozenset(Cause)
_OF_ALL = frozenset({Cause.FROZEN, Cause.TOO_FEW_NODES})
"""What says nothing against one candidate more than against another, and nothing against a handover."""


class Contest:
    """What one node makes of candidates and orders.

    Args:
        desk: Shared with the elector.
        options: Weights, waits, how many have to stand.
        keys: Of the election.
        view: What is known of it.
        requires: Capabilities without which nobody leads.
        candidacy: This node's own record.
        clock: The calendar only.
    """

    def __init__(
        self,
        desk: Desk,
        options: ElectionOptions,
        keys: ElectionKeys,
        view: View,
        requires: tuple[str, ...],
        candidacy: Candidacy,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._options = options
        self._keys = keys
        self._view = view
        self._requires = requires
        self._candidacy = candidacy
        self._clock = clock
        self._known = CandidateView(keys)
        self._jitter = 0.0

    # ------------------------------------------------------------ what is known

    def learn_events(self, revision: int, events: Iterable[Event]) -> None:
        self._known.learn_events(revision, events)

    def learn_snapshot(self, revision: int, kvs: Iterable[KeyValue]) -> None:
        self._known.learn_snapshot(revision, kvs)

    def begin_vacancy(self) -> None:
        """One wait for each vacancy, so one draw."""
        self._jitter = self._desk.jitter()

    # ------------------------------------------------------------ what follows for this node

    def verdict(self, session: Session, now: float) -> Verdict:
        """What stands against this node."""
        known = self._candidates(session, now)
        return eligible(known[0], self._circumstances(known))

    def must_not_hold(self, session: Session, now: float) -> bool:
        """Whether the key is not for this node to keep, whatever others do."""
        return bool(self.forbids(session, now))

    def must_clear(self, session: Session, now: float) -> bool:
        """Whether a key in this node's name is not for it to take. In a frozen election nobody could follow, so that a
        block or a pin is obeyed once another takes over (A24)."""
        if self._view.operator.frozen is None:
            return self.must_not_hold(session, now)
        return Cause.CAPABILITY in self.verdict(session, now).causes

    def forbids(self, session: Session, now: float) -> str:
        """What keeps this node from holding the key at all, for people; empty: nothing."""
        verdict = self.verdict(session, now)
        against = (*verdict.absolute, *verdict.soft)
        return "; ".join(each.text for each in against if each.cause in _KEEPS_FROM_LEADING)

    def may_take_at(self, session: Session, since: float, now: float) -> float:
        """When this node may take a key that nobody holds, or whose holder went silent. Never: infinity.

        Args:
            session: Its own.
            since: When it saw that the key is there to be taken; waits count from there, once.
            now: The time.
        """
        judged = self._standings(session, now)
        own = next(each for each in judged if each.candidate.session == session.name)
        if own.verdict.absolute:
            return math.inf
        # Those that wait for a thaw have all waited long: ranks count from the thaw, which operators alone can cause.
        return max(since, self._view.thawed_at) + self._waits_s(own, judged)

    def reason_to_go(self, session: Session, token: int, now: float) -> tuple[TransferRecord, frozenset[Cause]] | None:
        """A leader's own wish to hand over, to somebody better, and what must not stand against whoever is asked. None:
        it has no reason."""
        me, orders = session.identity.node_id, self._view.operator
        if not (orders.blocked or orders.pinned_to or orders.oldest_version or self._candidacy.own(session, now).unfit):
            return None  # nearly always, and it is asked at each step
        own = self.verdict(session, now)
        because = {each.cause: each.text for each in (*own.absolute, *own.soft)}
        wish = TransferRecord(Stage.WISHED, token, by=me)
        if (why := because.get(Cause.BLOCKED)) is not None:
            return replace(wish, why=f"{me}: {why}", steps_down=orders.frozen is None), _NOTHING
        if (why := because.get(Cause.PINNED_ELSEWHERE)) is not None:
            return replace(wish, why=why, to=orders.pinned_to), _NOTHING
        for cause, without in ((Cause.UNFIT, _WORSE_THAN_UNFIT), (Cause.TOO_OLD, _ANYTHING)):
            if (why := because.get(cause)) is not None and self._are_there(session, without, now):
                return replace(wish, why=f"{me}: {why}"), without
        return None

    def _are_there(self, session: Session, without: frozenset[Cause], now: float) -> bool:
        """Whether another candidate has none of these against it."""
        return any(without.isdisjoint(each.verdict.causes) for each in self._others(session, now))

    def _others(self, session: Session, now: float) -> list[Standing]:
        me = session.identity.node_id
        return [each for each in self._standings(session, now) if each.candidate.node_id != me]

    # ------------------------------------------------------------ what is left for people

    def tell_taken(
        self, session: Session, record: LeaderRecord, since: float | None, began: float | None, now: float
    ) -> Told:
        """What the transaction that begins a term of this node writes of it.

        Args:
            session: Its own.
            record: The new term.
            since: From when this node let others go first; None: it did not.
            began: When the vacancy or the silence began; None: it was there before this node looked, or there was none.
            now: The time.
        """
        judged = self._standings(session, now)
        own = next(each for each in judged if each.candidate.session == session.name)
        waited_s = 0.0 if since is None else min(max(0.0, now - since), self._waits_s(own, judged))
        vacancy_s = None if began is None else max(0.0, now - began)
        rank_wait_s = None if since is None else self._options.rank_wait_s
        return self._remember(record, judged, vacancy_s=vacancy_s, waited_s=waited_s, rank_wait_s=rank_wait_s)

    def tell_handed(self, record: LeaderRecord, wish: TransferRecord, candidates: list[Candidate]) -> Told:
        """What the handover writes of it.

        Args:
            record: The successor's term.
            wish: What it was wished by.
            candidates: Who stood, the leader not among them.
        """
        judged = standings(candidates, self._circumstances(candidates), self._options.weights)
        return self._remember(record, judged, by=wish.by, why=wish.why)

    def tell_given_back(self, term: Term, wish: TransferRecord | None, veto: str) -> Told:
        """What the transaction that gives a term back writes of it.

        Args:
            term: The one that ends.
            wish: By which an operator had the leader step down; None: nobody did.
            veto: Why this node could not start; empty: it did.
        """
        at = format_utc(self._clock.utcnow())
        if veto:
            return remember_end(self._keys, ActionRecord(VETO, term.epoch, term.node_id, veto, at, term.node_id))
        if wish is not None:
            return remember_end(self._keys, ActionRecord(STEP_DOWN, term.epoch, wish.by, wish.why, at))
        return ()

    def _remember(self, record: LeaderRecord, judged: list[Standing], **more: object) -> Told:
        view = self._view
        before = view.last_leader_record.node_id if view.last_leader_record else ""
        entry = HistoryRecord(
            epoch=record.epoch,
            node_id=record.node_id,
            session=record.session,
            reason=record.reason,
            at=format_utc(self._clock.utcnow()),
            before=before,
            standings=tuple(judged),
            stood=len(judged),
            circumstances=replace(
                self._circumstances([each.candidate for each in judged]),
                operator=view.operator,  # all that is ordered, also what rests
            ),
            weights=self._options.weights,
        )
        return remember(self._keys, replace(entry, **more))  # type: ignore[arg-type]  # fields of the record

    # ------------------------------------------------------------ who is asked to take over

    def successors(
        self,
        session: Session,
        kvs: Iterable[KeyValue],
        to: str,
        *,
        leaves: bool,
        now: float,
        without: frozenset[Cause] = _NOTHING,
    ) -> tuple[list[Candidate], list[Candidate], str]:
        """Who is to be asked to take over, who stands at all, and why nobody is asked.

        Args:
            session: The leader's own.
            kvs: All candidates' records, as just read.
            to: Node id or session that is wanted; empty: any.
            leaves: Whether the leader goes in any case, also one that the lead is pinned to.
            now: The time.
            without: Nobody is asked who has one of these against it.
        """
        stand = [
            each
            for each in read_candidates(kvs)
            if each.session != session.name and each.node_id != session.identity.node_id
        ]
        circumstances = self._circumstances(stand)
        if not leaves:
            circumstances = replace(circumstances, able=circumstances.able | self._able_to_stay(session, now))
        own = without - _OF_ALL
        may_be = [each for each in stand if own.isdisjoint(eligible(each, circumstances).causes)]
        asked, reason = choose_successor(may_be, circumstances, self._options.weights, to)
        return asked, stand, reason

    def _able_to_stay(self, session: Session, now: float) -> frozenset[str]:
        """The leader's own node id, if nothing keeps it from leading."""
        own = self._candidacy.own(session, now)
        return Circumstances.of([own], self._view.operator, requires=self._requires).able

    # ------------------------------------------------------------ from here to the pure functions

    def _waits_s(self, own: Standing, judged: list[Standing]) -> float:
        placed = sum(each.place is not None for each in judged)
        return waits_s(own, placed, self._options.rank_wait_s, self._jitter)

    def _standings(self, session: Session, now: float) -> list[Standing]:
        known = self._candidates(session, now)
        return standings(known, self._circumstances(known), self._options.weights)

    def _candidates(self, session: Session, now: float) -> list[Candidate]:
        """All that are known, this node first."""
        own = self._candidacy.own(session, now)
        return [own, *(each for each in self._known if each.session != own.session)]

    def _circumstances(self, known: Iterable[Candidate]) -> Circumstances:
        view = self._view
        holder = view.leader_record if view.leader is not None else view.last_leader_record
        return Circumstances.of(
            known,
            view.operator,
            requires=self._requires,
            min_nodes=self._options.min_nodes,
            epoch=view.epoch_number,
            gave_up=holder.session if holder is not None else "",
            holder=holder.session if holder is not None and view.leader is not None else "",
        )
