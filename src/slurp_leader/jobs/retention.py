"""Which outcomes are kept: those that are young enough, and of each status no more than so many.

Values only, no clock and no store. Beyond a count the oldest go first, by the date at which they ended. What is known
here of outcomes is also what tells which payloads are referred to.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import timedelta

from slurp_leader.clock import format_utc, parse_utc
from slurp_leader.jobs.intents import Expired
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import JobOutcome, JobStatus


@dataclass(frozen=True, slots=True)
class Rule:
    """How long outcomes of one status are kept, and how many of them at most."""

    age: timedelta
    count: int


def rules_of(options: JobsOptions) -> dict[JobStatus, Rule]:
    """The rule of each status in which a job ends."""
    return {
        JobStatus.COMPLETED: Rule(options.retain_completed, options.retain_completed_count),
        JobStatus.CANCELLED: Rule(options.retain_cancelled, options.retain_cancelled_count),
        JobStatus.FAILED: Rule(options.retain_failed, options.retain_failed_count),
    }


_Kept = tuple[str, str, int, str, int, str | None, str | None]
"""One outcome: the date until which its age allows it to stay, job, revision, status, the job's incarnation, its
idempotency key, and the payload it refers to. The first three, by which a heap compares, are never all the same.

A plain tuple of plain values, since there may be a hundred thousand of them: the garbage collector does not look at
such again, where it would stop the process for longer than a handover takes to go through as many objects."""


class Retention:
    """The outcomes that are there, as far as they are known.

    Args:
        rules: One for each status in which a job ends.
    """

    def __init__(self, rules: Mapping[JobStatus, Rule]) -> None:
        self._rules = rules
        self._known: dict[str, _Kept] = {}
        # In each heap are also some that are not known any more, or not as they are there: passed over when met.
        self._heaps: dict[JobStatus, list[_Kept]] = {status: [] for status in rules}
        self._counts: Counter[JobStatus] = Counter()
        self._payloads: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, outcome: JobOutcome, revision: int) -> None:
        """Take note of an outcome. Of two of one job, the one with the higher revision is there."""
        payload = outcome.payload.reference if outcome.payload else None
        before = self._known.get(outcome.job_id)
        if before is not None:
            if before[2] >= revision:
                return
            self._forget(before)
        try:
            until = format_utc(parse_utc(outcome.finished_at) + self._rules[outcome.status].age)
        except (ValueError, OverflowError):
            if payload is not None:
                self.keep_payloads((payload,))
            return  # no date to go by: it stays until an operator looks
        status, idem = outcome.status.value, outcome.idem
        kept = (until, outcome.job_id, revision, status, outcome.queue_revision, idem, payload)
        self._known[outcome.job_id] = kept
        heapq.heappush(self._heaps[outcome.status], kept)
        self._counts[outcome.status] += 1
        if payload is not None:
            self._payloads[payload] += 1

    def due(self, dates: Mapping[JobStatus, str], most: int) -> list[Expired]:
        """Outcomes that have to go, `most` of them at most: too old, or the oldest of too many. They stay known.

        Args:
            dates: The date by which the age of each status is judged: today, or later where less is to be kept.
            most: So many.
        """
        due: list[Expired] = []
        for status, rule in self._rules.items():
            heap, excess, today = self._heaps[status], self._counts[status] - rule.count, dates[status]
            taken: list[_Kept] = []
            while heap and len(due) + len(taken) < most:
                if self._known.get(heap[0][1]) is not heap[0]:
                    heapq.heappop(heap)
                elif heap[0][0] <= today or len(taken) < excess:
                    taken.append(heapq.heappop(heap))
                else:
                    break
            for kept in taken:
                heapq.heappush(heap, kept)
                due.append(_expired(kept))
        return due

    def forget(self, job_ids: Set[str]) -> None:
        """These outcomes are gone, and what they referred to is referred to no more by them."""
        for job_id in job_ids:
            kept = self._known.get(job_id)
            if kept is not None:
                self._forget(kept)

    def clear(self) -> None:
        """Forget everything: it will be read anew."""
        self._known.clear()
        self._counts.clear()
        self._payloads.clear()
        for heap in self._heaps.values():
            heap.clear()

    # ------------------------------------------------------------ payloads

    def keep_payloads(self, references: tuple[str, ...]) -> None:
        """Something that is no outcome we know refers to these, until `clear`."""
        self._payloads.update(references)

    def payloads(self, shard: str) -> frozenset[str]:
        """What is referred to in one shard of the payload store."""
        return frozenset(reference for reference in self._payloads if reference.startswith(shard))

    def _forget(self, kept: _Kept) -> None:
        _, job_id, _, status, _, _, payload = kept
        del self._known[job_id]
        self._counts[JobStatus(status)] -= 1
        if payload is not None:
            self._payloads[payload] -= 1
            if not self._payloads[payload]:
                del self._payloads[payload]


def _expired(kept: _Kept) -> Expired:
    _, job_id, revision, _, queue_revision, idem, _ = kept
    return Expired(job_id, idem, queue_revision, revision)
