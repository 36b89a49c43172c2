"""Campaign: when this node takes the leader key, and how. A part of the elector's machine.

    nobody leads                -> after the better ones have had their time (`contest`): campaign
    a holder is silent          -> the same, by a steal (PROTOCOL A7b)
    one that we appointed is    -> take the lead back, whatever ranks and orders to hold no election say
    the key names this session  -> begin the term that was promised, else rewrite the key, or clear it (A7a)

It also sees who leads, and says so: what it does is counted from there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

from slurp_leader.election import transactions
from slurp_leader.election.attempt import Attempt, Attempts, key_is_free
from slurp_leader.election.contest import Contest
from slurp_leader.election.desk import Desk
from slurp_leader.election.events import HeldBack, LeaderChanged, Reason
from slurp_leader.election.handover import Successor
from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.records import ElectionKeys, LeaderRecord, published_ttl
from slurp_leader.election.session import Session
from slurp_leader.election.view import View
from slurp_leader.store import KeyValue
from slurp_leader.telemetry.events import LogEvent

TIMER = "look"
"""Brings the elector back to seek."""

_OTHERS_LATER_S = 1.0
"""A successor that stays silent is replaced by who appointed it; so much later by anybody."""
_NOT_KNOWN = -1
"""In place of the token of who leads, before etcd was heard."""


class Won(Protocol):
    """Told that the key is this node's."""

    def __call__(
        self, session: Session, record: LeaderRecord, reason: Reason, value: bytes, token: int, now: float
    ) -> None: ...


class Campaign:
    """Seeks the lead for one session at a time.

    Args:
        desk: Shared with the elector. Uses the timer "look".
        options: Of the election.
        keys: Of the election.
        view: What is known of it.
        contest: Who goes first.
        successor: Knows the terms that were promised to this node.
        attempts: Where a taking of the key is made definite.
        gave: The token of the term that this node handed out last.
        won: Told when the key is ours.
    """

    def __init__(
        self,
        desk: Desk,
        options: ElectionOptions,
        keys: ElectionKeys,
        view: View,
        contest: Contest,
        successor: Successor,
        attempts: Attempts,
        gave: Callable[[], int],
        won: Won,
    ) -> None:
        self._desk = desk
        self._options = options
        self._keys = keys
        self._view = view
        self._contest = contest
        self._successor = successor
        self._attempts = attempts
        self._gave = gave
        self._won = won
        self._told_leader: int | None = _NOT_KNOWN
        self._vacant_since: float | None = None
        self._saw_it_end = False  # whether this node saw a leader before the vacancy; else it began before it looked
        self._told_held_back = ""

    # ------------------------------------------------------------ who leads

    def notice(self, now: float) -> None:
        """Report a change of leader, once each."""
        if not self._view.is_known:
            return
        leader = self._view.leader
        token = leader.mod_revision if leader else None
        if token == self._told_leader:
            return
        vacancy_s = None if token is None or self._vacant_since is None else now - self._vacant_since
        self._vacant_since = now if token is None else None
        self._saw_it_end = self._told_leader not in (None, _NOT_KNOWN)
        self._contest.begin_vacancy()
        self._tell_held_back(None, now, now)
        self._told_leader = token
        self._desk.say(LeaderChanged(self._view.leader_info(), self._view.leader_revision, vacancy_s))

    def is_there_to_take(self, session: Session | None, now: float) -> bool:
        """Whether nobody holds the key, or its holder has been silent for too long."""
        if not self._view.is_known:
            return False
        leader = self._view.leader
        return leader is None or (session is not None and now >= self._silent_since(session, leader))

    def _silent_since(self, session: Session, leader: KeyValue) -> float:
        """When the holder has been silent for too long, or will have been."""
        return self._view.changed_at + self._patience_s(session, leader)

    def _patience_s(self, session: Session, leader: KeyValue) -> float:
        """How long a holder may be silent: its published TTL; less when it was handed the lead and has said nothing."""
        record = self._view.leader_record
        if record is None:  # of a later version: its holder trusts itself for the TTL that stands in it
            return max(published_ttl(leader), session.timing.ttl_s)
        if record.reason != Reason.HANDOVER or self._view.heartbeat_revision > leader.mod_revision:
            return record.ttl_s
        later_s = 0.0 if self._gave() == leader.mod_revision else _OTHERS_LATER_S
        return min(record.ttl_s, self._options.takeover_timeout_s + later_s)

    # ------------------------------------------------------------ when

    def seek(self, session: Session, now: float) -> None:
        """No term, a live session: is there a key to take?"""
        leader, record = self._view.leader, self._view.leader_record
        if leader is None:
            since = now if self._vacant_since is None else self._vacant_since
            self._take_when_due(session, Reason.ELECTED, None, since, session.stands_back_until, now)
        elif record is not None and record.session == session.name:
            self._take_own(session, leader, record, now)
        else:
            silent_since = self._silent_since(session, leader)
            if self._gave() == leader.mod_revision and not self._contest.must_not_hold(session, now):
                self._take_back(session, leader, silent_since, now)
            else:
                self._take_when_due(session, Reason.STOLEN, leader, silent_since, silent_since, now)

    def _take_when_due(
        self, session: Session, reason: Reason, seen: KeyValue | None, since: float, not_before: float, now: float
    ) -> None:
        """Take a key that nobody holds, or whose holder is silent, once the better ones have had their time."""
        if now < since:
            self._tell_held_back(None, now, now)  # a holder that was silent speaks again
            self._desk.timers.set(TIMER, since)
            return
        due = max(not_before, self._contest.may_take_at(session, since, now))
        self._tell_held_back(session, due, now)
        if now >= due:
            self._take(session, reason, seen, since, now)
        elif due < math.inf:  # else an event will tell of what changes it
            self._desk.timers.set(TIMER, due)

    def _take_back(self, session: Session, leader: KeyValue, silent_since: float, now: float) -> None:
        """From a successor that stays silent: no new election, so a frozen one, or ranks, do not matter."""
        if now < silent_since:
            self._desk.timers.set(TIMER, silent_since)
        else:
            self._take(session, Reason.STOLEN, leader, silent_since, now)

    def _take_own(self, session: Session, leader: KeyValue, record: LeaderRecord, now: float) -> None:
        """The key names this session, and there is no term (A7a)."""
        if self._successor.takes(session, record):
            self._won(session, record, Reason.HANDOVER, leader.value, leader.mod_revision, now)
        elif self._contest.must_clear(session, now):
            self._clear(session, leader)
        else:
            self._take(session, Reason.ADOPTED, leader, None, now)

    def clear_own(self, session: Session) -> None:
        """Of a node that stops, while its session lives on for what it has lent: a key that names it all the same, by a
        campaign that was applied late or by a handover that it had agreed to, is free for others (A7a)."""
        leader, record = self._view.leader, self._view.leader_record
        if leader is not None and record is not None and record.session == session.name:
            self._clear(session, leader)

    def _clear(self, session: Session, leader: KeyValue) -> None:
        clear = Attempt(transactions.clear(self._keys, leader), None, key_is_free)
        self._attempts.begin(clear, session.timing.rpc_timeout_s)

    def _tell_held_back(self, session: Session | None, due: float, now: float) -> None:
        """Report what forbids this node a key that is there to be taken, once each; and that nothing does any more."""
        verdict = self._contest.verdict(session, now) if session is not None and due == math.inf else None
        text = "; ".join(each.text for each in verdict.absolute) if verdict is not None else ""
        if text != self._told_held_back:
            self._told_held_back = text
            self._desk.say(HeldBack(text))

    # ------------------------------------------------------------ how

    def _take(self, session: Session, reason: Reason, seen: KeyValue | None, since: float | None, now: float) -> None:
        record = LeaderRecord(
            node_id=session.identity.node_id,
            session=session.name,
            term_id=self._desk.random_hex(128),
            ttl_s=session.timing.ttl_s,
            epoch=self._view.epoch_number + 1,
            endpoint=session.identity.endpoint,
            reason=reason.value,
        )
        began = since if reason is not Reason.ELECTED or self._saw_it_end else None
        told = self._contest.tell_taken(session, record, since, began, now)
        if seen is None:
            txn = transactions.campaign(self._keys, self._view, record, session.lease_id, told)
        elif reason is Reason.ADOPTED:
            txn = transactions.adopt(self._keys, self._view, seen, record, session.lease_id, told)
        else:
            txn = transactions.steal(self._keys, self._view, seen, record, session.lease_id, told)
        self._desk.note(logging.DEBUG, LogEvent.ELECTION_CAMPAIGN, reason=reason.value, epoch=record.epoch)
        value = record.to_value()
        won = partial(self._won, session, record, reason, value)
        self._attempts.begin(Attempt(txn, value, won), session.timing.rpc_timeout_s)
