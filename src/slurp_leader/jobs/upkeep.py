"""Upkeep: records that come and go beside the jobs. Leftovers, notes about what cannot be read, the admission of jobs.

What is left over and what cannot be read is told by `slurp_leader.jobs.recovery`. Level-triggered: a write that was
refused is simply wanted again at the next look.
"""

from __future__ import annotations

import logging
from collections.abc import Set
from functools import partial

from slurp_leader.jobs import intents
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.quota_guard import QuotaGuard
from slurp_leader.jobs.records import closed_value, floor_value, parked_value
from slurp_leader.jobs.recovery import Park
from slurp_leader.telemetry.events import LogEvent

_REOPEN_BELOW = 0.9
"""Share of the limits below which a closed queue opens again: not so near that it flaps."""


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

    @property
    def writing(self) -> Set[bytes]:
        """Keys with a write under way."""
        return self._busy

    # ------------------------------------------------------------ what there should be

    def found_floor(self, now: float) -> None:
        """Make sure that there is a floor: the compare of submitters is false while there is none (A4)."""
        if self._desk.picture.floor_revision == 0:
            self._create(self._desk.keys.floor, floor_value(LOWEST), now)

    def admit(self, now: float) -> None:
        """Close the door when the queue or the store is full, and open it again when there is room in both."""
        picture, options, closed = self._desk.picture, self._desk.options, self._desk.keys.closed
        jobs, size, store = len(picture.jobs), picture.size, self._quota.verdict
        if picture.closed_revision:
            has_room = jobs < _REOPEN_BELOW * options.queue_limit and size < _REOPEN_BELOW * options.queue_bytes
            if has_room and store is not None and not store.refuse:
                self.drop(closed, picture.closed_revision, now)
            return
        reason = store.reason if store is not None else ""
        if jobs >= options.queue_limit or size >= options.queue_bytes:
            reason = f"queue full: {jobs} jobs, {size} bytes; limits {options.queue_limit} and {options.queue_bytes}"
        if reason and closed not in self._busy:
            self._desk.note(logging.WARNING, LogEvent.QUEUE_CLOSED, reason=reason)
            self._create(closed, closed_value(reason, self._desk.node_id), now)

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

    def _created(self, key: bytes, value: bytes, settlement: Settlement, now: float) -> None:
        self._busy.discard(key)
        if settlement.verdict is Verdict.APPLIED:
            self._desk.picture.put(key, value, settlement.revision)
        elif settlement.found is not None:  # another one is there: that is the one that counts
            self._desk.picture.put(key, settlement.found.value, settlement.found.mod_revision)
