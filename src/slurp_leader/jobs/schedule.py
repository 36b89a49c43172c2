"""Who has to wait for a date."""

from __future__ import annotations

import heapq


class Schedule:
    """Jobs that wait for a date, earliest first."""

    __slots__ = ("_dates", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[str, str]] = []
        self._dates: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._dates)

    def push(self, run_at: str, job_id: str) -> None:
        """Let a job wait for this date, and no other."""
        if self._dates.get(job_id) != run_at:
            self._dates[job_id] = run_at
            heapq.heappush(self._heap, (run_at, job_id))

    def discard(self, job_id: str) -> None:
        self._dates.pop(job_id, None)

    def take_due(self, today: str) -> list[str]:
        """Ids of jobs whose date has come. Some may have changed meanwhile: look at them anew."""
        due = []
        while self._heap and self._heap[0][0] <= today:
            run_at, job_id = heapq.heappop(self._heap)
            if self._dates.get(job_id) == run_at:
                del self._dates[job_id]
                due.append(job_id)
        return due

    @property
    def next_date(self) -> str | None:
        """The earliest date; it may be one that nobody waits for any more."""
        return self._heap[0][0] if self._heap else None
