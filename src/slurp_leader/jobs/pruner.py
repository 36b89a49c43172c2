"""Retention: outcomes that are old enough are deleted, and the floor is raised above them.

Part of a leader's machine. What this term ended it knows already; what earlier terms left it reads page by page, oldest
first, once. An outcome that cannot be read is left alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any

from slurp_leader.clock import Clock, format_utc, parse_utc
from slurp_leader.errors import RecordError, StoreError
from slurp_leader.jobs import intents
from slurp_leader.jobs.commit import Intent, Settlement, Verdict
from slurp_leader.jobs.intents import Expired
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import JobKeys, JobOutcome, JobStatus
from slurp_leader.store import Get, prefix_end

_PAGE = 20
"""Outcomes in one read: each may be as large as `jobs.result_limit`."""
_BATCH = 40
"""Outcomes deleted in one transaction: a compare and up to two operations each."""


class Pruner:
    """Deletes old outcomes, a few at a time.

    Args:
        options: How long what is kept.
        keys: Keys of the jobs.
        clock: The calendar.
        ask: Sends a read; its handler takes the answer.
        commit: Takes an intent.
        floor: Gives the floor and its revision.
        raised: Told the new floor and its revision once it has committed.
    """

    def __init__(
        self,
        options: JobsOptions,
        keys: JobKeys,
        clock: Clock,
        ask: Callable[[Get, Callable[[Any, float], None]], None],
        commit: Callable[[Intent, float], None],
        floor: Callable[[], tuple[str, int]],
        raised: Callable[[str, int], None],
    ) -> None:
        self._kept = {
            JobStatus.COMPLETED: options.retain_completed,
            JobStatus.FAILED: options.retain_failed,
            JobStatus.CANCELLED: options.retain_cancelled,
        }
        self._keys = keys
        self._clock = clock
        self._ask = ask
        self._commit = commit
        self._floor = floor
        self._raised = raised
        self._expiring: list[tuple[str, Expired]] = []
        self._known: set[str] = set()
        self._cursor: bytes | None = keys.done
        self._under_way = False
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
        heapq.heappush(self._expiring, (date, Expired(outcome.job_id, outcome.idem, outcome.queue_revision, revision)))

    def work(self, now: float) -> None:
        """Read the next page of what earlier terms left, or delete what is old enough."""
        if self._under_way:
            return
        if self._cursor is not None:
            self._under_way = True
            self._ask(Get(self._cursor, prefix_end(self._keys.done), limit=_PAGE), self._read)
        else:
            self._delete_old(now)

    def _read(self, result: Any, now: float) -> None:
        self._under_way = False
        if isinstance(result, StoreError):
            return  # the next round tries again
        for kv in result.kvs:
            try:
                self.ended(JobOutcome.from_value(kv.key, kv.value), kv.mod_revision)
            except RecordError:
                continue
        self._cursor = result.kvs[-1].key + b"\x00" if result.more and result.kvs else None
        self.work(now)

    def _delete_old(self, now: float) -> None:
        today = format_utc(self._clock.utcnow())
        floor, floor_revision = self._floor()
        old: list[Expired] = []
        while floor_revision and self._expiring and self._expiring[0][0] <= today and len(old) < _BATCH:
            old.append(heapq.heappop(self._expiring)[1])
        if old:
            self._under_way = True
            settled = partial(self._deleted, old, max([floor, *(each.job_id for each in old)]))
            self._commit(intents.prune(self._keys, old, floor, floor_revision, settled), now)

    def _deleted(self, old: list[Expired], floor: str, settlement: Settlement, now: float) -> None:
        self._under_way = False
        if settlement.verdict is Verdict.APPLIED:
            self._known.difference_update(each.job_id for each in old)
            self._raised(floor, settlement.revision)
            self._delete_old(now)
        else:
            self._cursor = self._keys.done  # something is not as remembered: read all of it again
            self._expiring.clear()
            self._known.clear()
