"""Pruning: outcomes that are not kept any longer are deleted, and the floor is raised above them.

While the store fills up, outcomes are kept for less (`press`): completed ones give way first, failed ones last.

Part of a leader's machine. What this term ended it knows already; what earlier terms left it reads page by page, oldest
first; and once more when a grant is over, since its owner ended jobs while this term was reading. Which are to go is
decided in `retention`. An outcome that cannot be read is left alone, and so is any payload it may refer to.

Payloads are not deleted here, and not together with the outcome: other outcomes may refer to the same bytes, and ones
that are about to be recorded too. A little at a time they are collected (`slurp_leader.payloads.collection`).

Checkpoints go with the outcome of their job. Where that was written by somebody who does not know of them, an older
version or an operator's hand, they are left behind; a page at a time all are looked through, round and round.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Any

from slurp_leader.clock import format_utc
from slurp_leader.errors import RecordError, RequestTooLargeError, StoreError
from slurp_leader.jobs import intents
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.ids import is_job_id
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.intents import Expired
from slurp_leader.jobs.messages import CollectPayloads
from slurp_leader.jobs.quota import kept_share
from slurp_leader.jobs.records import JobOutcome, JobStatus, floor_value
from slurp_leader.jobs.retention import Retention, rules_of
from slurp_leader.payloads.collection import Collection
from slurp_leader.payloads.port import SHARDS
from slurp_leader.store import Get, GetResult, prefix_end

_GIVE_WAY = (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED)
"""In this order, when there is no room."""
_PAGE = 20
"""Outcomes in one read, at first: each may be as large as `jobs.result_limit`."""
_BATCH = 40
"""Outcomes deleted in one transaction: a compare and up to two operations each."""
_CHECKPOINTS = 500
"""Keys in one read: some 30 KiB, and less than a millisecond to look through."""
_LIKE_A_REFERENCE = re.compile(rb"[0-9a-f]{64}")


_LEAST_KEPT = timedelta(seconds=60)
"""However full the store is: whoever waits for a job comes by for its outcome."""


class Pruner:
    """Deletes outcomes, a few at a time.

    Args:
        desk: Of the term.
    """

    def __init__(self, desk: Desk) -> None:
        rules = rules_of(desk.options)
        self._desk = desk
        self._rules = rules
        self._early = dict.fromkeys(_GIVE_WAY, timedelta(0))  # by how much sooner they go than they should
        self._pressure = 0.0
        self._retention = Retention(rules)
        self._cursor: bytes | None = desk.keys.done
        self._page = _PAGE
        self._grants: frozenset[int] = frozenset()
        self._round = desk.term.token  # not always the same shard first: terms may be short
        self._under_way = False
        self._stopped = False
        self._looked_until = desk.keys.checkpoint  # checkpoints were looked through up to here
        self._looking = False
        self._sweeping: set[str] = set()  # jobs whose checkpoint is being deleted
        shortest = min(rule.age for rule in rules.values())
        self.interval_s = min(30.0, max(1.0, shortest.total_seconds() / 4))
        """How often `work` wants to be called."""

    def ended(self, outcome: JobOutcome, revision: int) -> None:
        """Remember an outcome until it has to go."""
        self._retention.learn(outcome, revision)

    def work(self, now: float) -> None:
        """Read the next page of what others left, or delete what has to go, or look for what nobody needs any more."""
        if self._under_way or self._stopped:
            return
        self._look_at_grants()
        if self._cursor is not None:
            self._under_way = True
            self._desk.ask(Get(self._cursor, prefix_end(self._desk.keys.done), limit=self._page), self._read)
        elif not self._delete_due(now):
            self._collect_payloads()
            self._look_at_checkpoints()

    def press(self, pressure: float) -> bool:
        """Keep outcomes for less, as `kept_share` says. Returns whether more has to give way than before."""
        rises, self._pressure = pressure > self._pressure, pressure
        for status, share in zip(_GIVE_WAY, kept_share(pressure), strict=True):
            kept = self._rules[status].age
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
                found = _LIKE_A_REFERENCE.findall(kv.value)  # a later version may have written it
                self._retention.keep_payloads(tuple(reference.decode() for reference in found))
        self._cursor = result.kvs[-1].key + b"\x00" if result.more and result.kvs else None

    def _look_at_grants(self) -> None:
        """Under a grant an old leader ends jobs beside us: when it is over, all of these are there to be read."""
        grants = frozenset(self._desk.picture.grants)
        if self._grants - grants:
            self._cursor = self._desk.keys.done
        self._grants = grants

    # ------------------------------------------------------------ deleting

    def _delete_due(self, now: float) -> bool:
        """Delete some of what has to go. False: there is nothing, or it cannot be deleted at present."""
        picture = self._desk.picture
        if picture.floor is None or not picture.floor_revision:
            return False  # none yet, or none that can be read: it must not be put back below what was pruned before
        dates = {status: format_utc(self._desk.utcnow + early) for status, early in self._early.items()}
        due = self._retention.due(dates, _BATCH)
        if due:
            self._under_way = True
            floor = max([picture.floor, *(each.job_id for each in due)])
            settled = partial(self._deleted, due, floor)
            self._desk.committer.add(intents.prune(self._desk.keys, due, floor, picture.floor_revision, settled), now)
        return bool(due)

    def _deleted(self, due: list[Expired], floor: str, settlement: Settlement, now: float) -> None:
        self._under_way = False
        if settlement.verdict is Verdict.APPLIED:
            self._retention.forget({each.job_id for each in due})
            self._desk.picture.put(self._desk.keys.floor, floor_value(floor), settlement.revision)
            self.work(now)
        else:
            self._cursor = self._desk.keys.done  # something is not as remembered: read all of it again
            self._retention.clear()

    # ------------------------------------------------------------ payloads

    def _collect_payloads(self) -> None:
        """Have one shard looked through, when all that refers to payloads is known.

        The date is read before the trust: a process that stood still between the two finds its term over, or counts
        age from before it stood still. While there are grants, others end jobs that are not known here.
        """
        as_of = self._desk.utcnow
        if self._grants or not self._desk.term.is_valid:
            return
        self._round += 1
        shard = SHARDS[self._round % len(SHARDS)]
        self._desk.say(CollectPayloads(Collection(shard, self._retention.payloads(shard), as_of)))

    # ------------------------------------------------------------ checkpoints

    def _look_at_checkpoints(self) -> None:
        """Read the next page of them; keys only."""
        if not self._looking:
            self._looking = True
            until = prefix_end(self._desk.keys.checkpoint)
            self._desk.ask(Get(self._looked_until, until, limit=_CHECKPOINTS, keys_only=True), self._sweep)

    def _sweep(self, result: Any, now: float) -> None:
        """Delete those of jobs that are gone. What the picture says only chooses: the transaction compares it. A key
        that names no job is left alone."""
        self._looking = False
        if isinstance(result, StoreError) or self._stopped:
            return  # the next round tries again
        desk, prefix = self._desk, self._desk.keys.checkpoint
        picture = desk.picture
        for kv in result.kvs:
            job_id = kv.key[len(prefix) :].decode("ascii", "replace")
            is_there = job_id in picture.jobs or picture.is_parked(job_id)
            if is_job_id(job_id) and not is_there and job_id not in self._sweeping:
                self._sweeping.add(job_id)
                swept = partial(self._swept, job_id)
                desk.committer.add(intents.sweep_checkpoint(desk.keys, job_id, kv.mod_revision, swept), now)
        self._looked_until = result.kvs[-1].key + b"\x00" if result.more and result.kvs else prefix

    def _swept(self, job_id: str, settlement: Settlement, now: float) -> None:
        """One that was refused is met again, if it is still there."""
        self._sweeping.discard(job_id)
