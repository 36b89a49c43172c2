"""Upkeep: records that come and go beside the jobs. Leftovers, notes about what cannot be read, the admission of jobs.

What is left over and what cannot be read is told by `slurp_leader.jobs.recovery`. Level-triggered: a write that was
refused is simply wanted again at the next look.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from functools import partial

from slurp_leader.jobs import intents
from slurp_leader.jobs.admission import DrainRate, Load, QueueLevel, closed_by, level_of
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.messages import LevelChanged
from slurp_leader.jobs.quota_guard import QuotaGuard
from slurp_leader.jobs.records import Closed, floor_value, parked_value
from slurp_leader.jobs.recovery import Park
from slurp_leader.telemetry.events import LogEvent

_TELL_EVERY_S = 5.0
"""How often those who knock at a closed queue are told anew how long it will take."""


class Upkeep:
    """Keeps the shared records of one cluster in order during one term.

    Args:
        desk: Of the term.
        quota: Knows how full the store is.
    """

    def __init__(self, desk: Desk, quota: QuotaGuard) -> None:
        self._desk = desk
        self._quota = quota
        self._busy: set[bytes] = set()  # keys with a write under way
        self._level: QueueLevel | None = None
        self._ended = 0
        self._drain = DrainRate()
        self._told_at = 0.0

    @property
    def writing(self) -> Set[bytes]:
        """Keys with a write under way."""
        return self._busy

    # ------------------------------------------------------------ what there should be

    def found_floor(self, now: float) -> None:
        """Make sure that there is a floor: the compare of submitters is false while there is none (A4)."""
        if self._desk.picture.floor_revision == 0:
            self._create(self._desk.keys.floor, floor_value(LOWEST), now)

    def ended(self) -> None:
        """A job has ended: there is room for another."""
        self._ended += 1

    def admit(self, now: float) -> None:
        """Close the door when the queue or the store is full, or the queue is to be drained, and open it again when
        there is room in both."""
        picture, closed = self._desk.picture, self._desk.keys.closed
        load = Load(len(picture.jobs), picture.size)
        self._drain.sample(now, self._ended)
        why = self._why_closed(load, self._note_level(load), now)
        if why is None:
            if picture.closed is not None and self._may_open(picture.closed):
                self.drop(closed, picture.closed_revision, now)
        elif closed in self._busy:
            return
        elif picture.closed is None:
            self._told_at = now
            self._desk.note(logging.WARNING, LogEvent.QUEUE_CLOSED, reason=why.reason)
            self._create(closed, why.to_value(), now)
        elif now >= self._told_at + _TELL_EVERY_S and (why.jobs is not None or why.reason != picture.closed.reason):
            self._told_at = now
            self._rewrite(closed, why.to_value(), picture.closed_revision, now)

    def _may_open(self, closed: Closed) -> bool:
        """Before the store was looked at, nothing is known of it, and a door that may be closed for its sake stays so.
        Where the store tells nothing of itself, which some do not, the door still opens when the queue was the reason.
        """
        return self._quota.verdict is not None or closed.is_full or closed.cause == "draining"

    def _why_closed(self, load: Load, level: QueueLevel, now: float) -> Closed | None:
        """What keeps new jobs out, the first of it; None: nothing does."""
        desk, store, draining = self._desk, self._quota.verdict, self._desk.picture.control.draining
        if level is QueueLevel.FULL:
            return closed_by(load, desk.options, self._drain.per_s(now, self._ended), desk.node_id)
        if store is not None and store.refuse:
            return Closed(store.reason, desk.node_id, "store")
        if draining is not None:
            return Closed(f"draining, {draining}", desk.node_id, "draining")
        return None

    def _note_level(self, load: Load) -> QueueLevel:
        """How full it is; said when that changes, and by a new leader when it is not as it should be."""
        before = self._level
        if before is None:
            closed = self._desk.picture.closed
            before = QueueLevel.FULL if closed is not None and closed.is_full else QueueLevel.NORMAL
        level = level_of(load, before, self._desk.options)
        if level is not (self._level or QueueLevel.NORMAL):
            self._desk.say(LevelChanged(level, load.jobs, load.size, load.fill(self._desk.options)))
        self._level = level
        return level

    def note_parked(self, step: Park, now: float) -> None:
        """Write down that a record cannot be read, where operators look. The record itself is not touched (I7)."""
        key, reason = step.key, step.reason
        self._desk.note(logging.ERROR, LogEvent.RECORD_PARKED, key=key.decode("ascii", "replace"), reason=reason)
        self._create(self._desk.keys.note_of(key), parked_value(reason[:500]), now)

    # ------------------------------------------------------------ writing

    def drop(self, key: bytes, revision: int, now: float, *, lendable: bool = False) -> None:
        """Delete a record that has served its purpose, if it is still the same. `lendable`: it is this term's own."""
        if key not in self._busy:
            self._busy.add(key)
            dropped = partial(self._dropped, key)
            self._desk.committer.add(intents.drop(key, revision, dropped, lendable=lendable), now)

    def _dropped(self, key: bytes, settlement: Settlement, now: float) -> None:
        self._busy.discard(key)
        if settlement.verdict is Verdict.APPLIED:
            self._desk.picture.delete(key, settlement.revision)

    def _create(self, key: bytes, value: bytes, now: float) -> None:
        if key not in self._busy:
            self._busy.add(key)
            self._desk.committer.add(intents.create(key, value, partial(self._created, key, value)), now)

    def _rewrite(self, key: bytes, value: bytes, revision: int, now: float) -> None:
        self._busy.add(key)
        written = partial(self._created, key, value)
        self._desk.committer.add(intents.rewrite(key, value, revision, written), now)

    def _created(self, key: bytes, value: bytes, settlement: Settlement, now: float) -> None:
        self._busy.discard(key)
        if settlement.verdict is Verdict.APPLIED:
            self._desk.picture.put(key, value, settlement.revision)
        elif settlement.found is not None:  # another one is there: that is the one that counts
            self._desk.picture.put(key, settlement.found.value, settlement.found.mod_revision)
