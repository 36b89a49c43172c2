"""Retention: outcomes that are old enough are deleted, and the floor is raised above them.

While the store fills up, outcomes are kept for less (`press`): completed ones give way first, failed ones last.

Part of a leader's machine. What this term ended it knows already; what earlier terms left it reads page by page, oldest
first, once. An outcome that cannot be read is left alone.
"""

from __future__ import annotations

import heapq
from datetime import timedelta
from functools import partial
from typing import Any

from slurp_leader.clock import format_utc, parse_utc
from slurp_leader.errors import RecordError, RequestTooLargeError, StoreError
from slurp_leader.jobs import intents
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.intents import Expired
from slurp_leader.jobs.quota import kept_share
from slurp_leader.jobs.records import JobOutcome, JobStatus, floor_value
from slurp_leader.store import Get, GetResult, prefix_end

_GIVE_WAY = (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED)
"""In this order, when there is no room."""
_PAGE = 20
"""Outcomes in one read, at first: each may be as large as `jobs.result_limit`."""
_BATCH = 40
"""Outcomes deleted in one transaction: a compare and up to two operations each."""


_LEAST_KEPT = timedelta(seconds=60)
"""However full the store is: whoever waits for a job comes by for its outcome."""


class Pruner:
    """Deletes old outcomes, a few at a time.

    Args:
        desk: Of the term.
    """

    def __init__(self, desk: Desk) -> None:
        options = desk.options
        self._kept = {
            JobStatus.COMPLETED: options.retain_completed,
            JobStatus.FAILED: options.retain_failed,
            JobStatus.CANCELLED: options.retain_cancelled,
        }
        self._desk = desk
        self._expiring: dict[JobStatus, list[tuple[str, Expired]]] = {status: [] for status in _GIVE_WAY}
        self._early = dict.fromkeys(_GIVE_WAY, timedelta(0))  # by how much sooner they go than they should
        self._pressure = 0.0
        self._known: set[str] = set()
        self._cursor: bytes | None = desk.keys.done
        self._page = _PAGE
        self._under_way = False
        self._stopped = False
        shortest = min(self._kept.values())
        self.interval_s = min(30.0, max(1.0, shortest.total_seconds() / 4))
        """How often `work` wants to be called."""

    def ended(self, outcome: JobOutcome, revision: int) -> None:
        """Remember an outcome until it is old enough."""
        if outcome.job_id in self._known:
            return
        try:
            date = format_utc(parse_utc(outcome.finished_at) + self._kept[outcome.status])
        except (ValueError, OverflowError):
            return  # no date to go by: it stays until an operator looks
        self._known.add(outcome.job_id)
        heapq.heappush(
            self._expiring[outcome.status],
            (date, Expired(outcome.job_id, outcome.idem, outcome.queue_revision, revision)),
        )

    def work(self, now: float) -> None:
        """Read the next page of what earlier terms left, or delete what is old enough."""
        if self._under_way or self._stopped:
            return
        if self._cursor is not None:
            self._under_way = True
            self._desk.ask(Get(self._cursor, prefix_end(self._desk.keys.done), limit=self._page), self._read)
        else:
            self._delete_old(now)

    def press(self, pressure: float) -> bool:
        """Keep outcomes for less, as `kept_share` says. Returns whether more has to give way than before."""
        rises, self._pressure = pressure > self._pressure, pressure
        for status, share in zip(_GIVE_WAY, kept_share(pressure), strict=True):
            kept = self._kept[status]
            self._early[status] = max(timedelta(0), kept - max(kept * share, _LEAST_KEPT))
        return rises

    def stop(self) -> None:
        """Begin nothing new: the term is about to be given back."""
        self._stopped = True

    # ------------------------------------------------------------ what earlier terms left

    def _read(self, result: Any, now: float) -> None:
        self._under_way = False
        if isinstance(result, RequestTooLargeError) and self._page > 1:
            self._page = max(1, self._page // 2)  # more than can be received at once
        elif isinstance(result, StoreError):
            return  # the next round tries again
        else:
            self._learn(result)
        self.work(now)

    def _learn(self, result: GetResult) -> None:
        for kv in result.kvs:
            try:
                self.ended(JobOutcome.from_value(kv.key, kv.value), kv.mod_revision)
            except RecordError:
                continue
        self._cursor = result.kvs[-1].key + b"\x00" if result.more and result.kvs else None

    # ------------------------------------------------------------ deleting

    def _delete_old(self, now: float) -> None:
        picture = self._desk.picture
        if picture.floor is None or not picture.floor_revision:
            return  # none yet, or none that can be read: it must not be put back below what was pruned before
        old: list[Expired] = []
        for status, expiring in self._expiring.items():
            today = format_utc(self._desk.utcnow + self._early[status])
            while expiring and expiring[0][0] <= today and len(old) < _BATCH:
                old.append(heapq.heappop(expiring)[1])
        if old:
            self._under_way = True
            floor = max([picture.floor, *(each.job_id for each in old)])
            settled = partial(self._deleted, old, floor)
            self._desk.committer.add(intents.prune(self._desk.keys, old, floor, picture.floor_revision, settled), now)

    def _deleted(self, old: list[Expired], floor: str, settlement: Settlement, now: float) -> None:
        self._under_way = False
        if settlement.verdict is Verdict.APPLIED:
            self._known.difference_update(each.job_id for each in old)
            self._desk.picture.put(self._desk.keys.floor, floor_value(floor), settlement.revision)
            self.work(now)
        else:
            self._cursor = self._desk.keys.done  # something is not as remembered: read all of it again
            for expiring in self._expiring.values():
                expiring.clear()
            self._known.clear()
