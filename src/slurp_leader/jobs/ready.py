"""Who is next: by priority, then by arrival; and who has to wait for a date."""

from __future__ import annotations

import heapq

from slurp_leader.jobs.picture import Job


class ReadyQueue:
    """Jobs that could run now, most urgent first, within a priority in the order they arrived.

    Arrival is the revision of the queue record, not the id: ids carry the clocks of many machines. A job that was put back
    keeps its revision, so it is at the head of its class again.
    """

    __slots__ = ("_heap", "_in")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._in: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._in)

    def push(self, job: Job) -> None:
        if self._in.get(job.job_id) != job.revision:
            self._in[job.job_id] = job.revision
            heapq.heappush(self._heap, (-job.spec.priority.rank, job.revision, job.job_id))

    def discard(self, job_id: str) -> None:
        self._in.pop(job_id, None)

    def pop(self) -> str | None:
        """Id of the next job, removed; None when there is none."""
        while self._heap:
            _, revision, job_id = heapq.heappop(self._heap)
            if self._in.get(job_id) == revision:
                del self._in[job_id]
                return job_id
        return None


class Schedule:
    """Jobs that wait for a date, earliest first."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[str, str]] = []

    def push(self, run_at: str, job_id: str) -> None:
        heapq.heappush(self._heap, (run_at, job_id))

    def take_due(self, today: str) -> list[str]:
        """Ids of jobs whose date has come. Some may have changed meanwhile: look at them anew."""
        due = []
        while self._heap and self._heap[0][0] <= today:
            due.append(heapq.heappop(self._heap)[1])
        return due

    @property
    def next_date(self) -> str | None:
        return self._heap[0][0] if self._heap else None
