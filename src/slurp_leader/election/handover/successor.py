"""The candidate's side of a handover: answers the offer that is made to it, and knows the term that it was promised.

    offer for my session, under the token in force, seen -> ready? -> answer -> the leader key names me, with that nonce

The answer is what makes the handed term ours to begin: a key that names this session with any other term id is nobody's
term, and is rewritten for a new token (A7). Each promise is good for one term, so an ended token is never resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from slurp_leader.election import transactions
from slurp_leader.election.control import ControlView
from slurp_leader.election.desk import Desk
from slurp_leader.election.records import ElectionKeys, LeaderRecord
from slurp_leader.election.session import Session
from slurp_leader.election.transfer import AckRecord, Readiness, Stage, TransferRecord
from slurp_leader.election.view import View
from slurp_leader.errors import StoreError

TIMER = "answer"

_SEEN_SOON_S = 0.02
"""Pause before it is looked again whether the owner has seen what was written before the offer."""


class Successor:
    """Answers offers.

    Args:
        desk: Shared with the elector. Uses the timer "answer".
        keys: Of the election.
        control: What is known of the offer.
        ready: Whether this node could take over at this time; must not block.
        forbids: What keeps this node from leading at all, by its own rules; those of the leader may be others.
    """

    def __init__(
        self,
        desk: Desk,
        keys: ElectionKeys,
        control: ControlView,
        ready: Callable[[float], Readiness],
        forbids: Callable[[Session, float], str],
    ) -> None:
        self._desk = desk
        self._keys = keys
        self._control = control
        self._ready = ready
        self._forbids = forbids
        self._answered = 0  # revision of the offer that was answered, or is being answered
        self._promised: set[str] = set()  # nonces of offers that this session accepted, each for one term

    def forget(self) -> None:
        """The session is gone, and with it whatever was promised to it."""
        self._promised.clear()
        self._desk.timers.clear(TIMER)

    def takes(self, session: Session, record: LeaderRecord) -> bool:
        """Whether this leader key begins the term that was promised to us. True once only, for each promise."""
        if record.session != session.name or record.term_id not in self._promised:
            return False
        self._promised.discard(record.term_id)
        return True

    def act(self, session: Session, view: View, now: float) -> None:
        """Level-triggered: is there an offer to answer?"""
        offer, at = self._control.transfer, self._control.transfer_revision
        if offer is None or at == self._answered or not self._is_for_us(offer, session, view):
            return
        if self._control.ack is not None and self._control.ack.nonce == offer.nonce:
            return  # written already: a second copy would move the revision that the leader compares
        forbidden = self._forbids(session, now)
        ready = Readiness(unfit=forbidden) if forbidden else self._ready(now)
        if not ready.unfit and ready.revision is not None and ready.revision < at:
            self._desk.timers.set(TIMER, now + _SEEN_SOON_S)  # the owner is a moment behind
            return
        self._answered = at
        if not ready.unfit:
            self._promised.add(offer.nonce)
        seen = at if ready.revision is None else ready.revision
        answer = AckRecord(offer.nonce, session.name, seen, session.lease_id, ready.unfit)
        seen_ack = self._control.ack_revision
        txn = transactions.acknowledge(self._keys, offer.token, at, seen_ack, answer.to_value())
        self._desk.call(txn, session.timing.rpc_timeout_s, partial(self._was_answered, at))

    def _is_for_us(self, offer: TransferRecord, session: Session, view: View) -> bool:
        in_force = view.leader is not None and view.leader.mod_revision == offer.token
        return offer.stage is Stage.OFFERED and offer.session == session.name and in_force and bool(offer.nonce)

    def _was_answered(self, at: int, result: Any, now: float) -> None:
        """Not answered, or refused because an older answer was in the way: again, as long as the offer stands."""
        if (isinstance(result, StoreError) or not result.succeeded) and at == self._answered:
            self._answered = 0
            self._desk.timers.set(TIMER, now + self._desk.soon())
