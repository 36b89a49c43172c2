"""This node's record among the candidates: a part of the elector's machine.

The record is written with the session key, then now and then, and at once when the node becomes fit or unfit, warm or
cold: others rank by it. Nothing waits for it, and a write that fails is made again later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from slurp_leader.election.desk import Backoff, Desk
from slurp_leader.election.events import Published
from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.scoring import ScoreInputs
from slurp_leader.election.records import ElectionKeys
from slurp_leader.election.session import Session
from slurp_leader.errors import StoreError
from slurp_leader.store import Event, EventKind, Put, Txn, lease_of
from slurp_leader.telemetry.events import LogEvent

TIMER = "publish"

_SOONEST_S = 1.0
"""Pause between two publications, however often a node becomes fit and unfit."""
_MEASURED_AFTER_S = 5.0
"""By then etcd has answered a few times, and the processor was measured over an interval."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How this node is at present, as far as others have to know at once.

    Attributes:
        unfit: Why it should not lead; empty: it should.
        warm: Whether it has seen what it needs to lead at once.
        cooling: Whether it won so often of late that others go first.
    """

    unfit: str = ""
    warm: bool = True
    cooling: bool = False


class Candidacy:
    """Publishes.

    Args:
        desk: Shared with the elector. Uses the timer "publish".
        options: How often.
        keys: Of the election.
        condition: How this node is now; asked at each step, so it must be cheap.
        measure: What its score is made of now; must not block.
        requires: Capabilities without which nobody leads, by the settings of this node.
    """

    def __init__(
        self,
        desk: Desk,
        options: ElectionOptions,
        keys: ElectionKeys,
        condition: Callable[[Session, float], Condition],
        measure: Callable[[Session, float], ScoreInputs],
        requires: tuple[str, ...] = (),
    ) -> None:
        self._desk = desk
        self._options = options
        self._keys = keys
        self._condition = condition
        self._measure = measure
        self._requires = requires
        self._backoff = Backoff(desk, options.publish_interval_s)
        self._said: Candidate | None = None  # what stands in etcd, or is on its way there
        self._said_at = 0  # revision of our newest write that was answered
        self._undone_at = 0  # of the newest write to our record, as far as heard, that was not the newest of ours
        self._not_before = float("-inf")
        self._is_sending = False

    def own(self, session: Session, now: float) -> Candidate:
        """This node, as others see it, but in its present condition."""
        condition = self._condition(session, now)
        said = self._said
        if said is None or said.session != session.name:
            return self._describe(session, condition, ScoreInputs(session.identity.capabilities))
        if condition == _told_by(said):
            return said
        return replace(said, unfit=condition.unfit, warm=condition.warm, cooling=condition.cooling)

    def first(self, session: Session, now: float) -> Put:
        """The record to be written with the session key."""
        self._is_sending = False
        return self._put(session, now)

    def begin(self, revision: int, now: float) -> None:
        """The session is open, and its record written. It is soon written again: nothing was measured yet at first."""
        self._said_at = revision
        soon = min(_MEASURED_AFTER_S, self._options.publish_interval_s)
        self._desk.timers.set(TIMER, now + self._desk.jittered(soon))

    def forget(self) -> None:
        """The lease is gone, and with it the record."""
        self._said = None
        self._is_sending = False
        self._desk.timers.clear(TIMER)

    def learn_events(self, events: Iterable[Event]) -> None:
        """A late copy of an earlier write of ours may come in after a newer one, and somebody may delete the record:
        others would go by that until it is written again."""
        said = self._said
        if said is None:
            return
        key = self._keys.candidate(said.session)
        for event in events:
            kv = event.kv
            if kv.key == key and (event.kind is not EventKind.PUT or kv.value != said.to_value()):
                self._undone_at = kv.mod_revision

    def act(self, session: Session, now: float) -> None:
        """Level-triggered: does etcd say what others need to know at once?"""
        said = self._said
        if said is None or self._is_sending:
            return
        condition = self._condition(session, now)
        if condition == _told_by(said) and self._undone_at <= self._said_at:
            return
        if now < self._not_before:
            self._desk.timers.set_no_later(TIMER, self._not_before)
        else:
            self.publish(session, now)

    def publish(self, session: Session, now: float) -> None:
        """Write the record anew; only while the session lives, which its key shows."""
        if self._is_sending or self._said is None or session.closing:
            return
        self._is_sending = True
        txn = Txn(
            compares=(lease_of(self._keys.session(session.identity.node_id, session.name), session.lease_id),),
            success=(self._put(session, now),),
        )
        self._desk.call(txn, session.timing.rpc_timeout_s, partial(self._published, session.name))

    def _published(self, name: str, result: Any, now: float) -> None:
        if self._said is None or self._said.session != name:
            return  # of a session that is gone
        self._is_sending = False
        if isinstance(result, StoreError):
            # Only a remark: it hinders nobody, and an outage is warned of by renewals.
            self._desk.note(logging.DEBUG, LogEvent.ELECTION_NOT_PUBLISHED, error=str(result))
            self._desk.timers.set(TIMER, now + self._backoff.next_s())
        else:  # one that was refused belongs to a session that is gone: the next renewal will say so
            self._said_at = result.header.revision
            self._backoff.reset()
            self._next(now)

    def _put(self, session: Session, now: float) -> Put:
        self._said = self._describe(session, self._condition(session, now), self._measure(session, now))
        self._desk.say(Published(self._said.unfit))
        self._not_before = now + _SOONEST_S
        return Put(self._keys.candidate(session.name), self._said.to_value(), lease=session.lease_id)

    def _describe(self, session: Session, condition: Condition, inputs: ScoreInputs) -> Candidate:
        identity = session.identity
        return Candidate(
            node_id=identity.node_id,
            session=identity.session,
            lease=session.lease_id,
            ttl_s=session.timing.ttl_s,
            endpoint=identity.endpoint,
            version=identity.version,
            unfit=condition.unfit,
            warm=condition.warm,
            cooling=condition.cooling,
            inputs=inputs,
            requires=self._requires,
            min_nodes=self._options.min_nodes,
        )

    def _next(self, now: float) -> None:
        self._desk.timers.set(TIMER, now + self._desk.jittered(self._options.publish_interval_s))


def _told_by(candidate: Candidate) -> Condition:
    return Condition(candidate.unfit, candidate.warm, candidate.cooling)
