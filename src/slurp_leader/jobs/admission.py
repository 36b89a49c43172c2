"""How full the queue is, and what follows from it: a warning, a closed door, and when to knock again. Pure functions.

The leader decides with what it has in its picture. Whoever decides without a leader counts for himself and asks the
same functions, so that the queue has one meaning of full.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from slurp_leader.errors import QueueFullError, RecordError
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import Closed
from slurp_leader.store import KeyValue

REOPEN_BELOW = 0.9
"""Share of a mark below which it counts as left again: not so near that it flaps."""

UNKNOWN_RETRY_S = 10.0
"""What is told while nothing has ended that could be counted."""
_LEAST_RETRY_S = 0.5
_LONGEST_RETRY_S = 300.0


class QueueLevel(StrEnum):
    """How full the queue is."""

    NORMAL = "normal"
    HIGH = "high"
    """At or above `jobs.queue_high_mark`."""
    FULL = "full"
    """New jobs are refused, until a tenth of it is free."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is in the queue. `size` in bytes."""

    jobs: int
    size: int

    def fill(self, options: JobsOptions) -> float:
        """The share of the limits that is used, by count or by bytes, whichever is more; 1 is full."""
        return max(self.jobs / options.queue_limit, self.size / options.queue_bytes)


def level_of(load: Load, before: QueueLevel, options: JobsOptions) -> QueueLevel:
    """The level now. A level is left only with a tenth of its mark free."""
    fill, high = load.fill(options), options.queue_high_mark
    if fill >= 1 or (before is QueueLevel.FULL and fill >= REOPEN_BELOW):
        return QueueLevel.FULL
    if fill >= high or (before is not QueueLevel.NORMAL and fill >= REOPEN_BELOW * high):
        return QueueLevel.HIGH
    return QueueLevel.NORMAL


def closed_by(load: Load, options: JobsOptions, drained_per_s: float | None, by: str) -> Closed:
    """What is written when the queue is full."""
    return Closed(
        f"queue full: {load.jobs} jobs, {load.size} bytes; limits {options.queue_limit} and {options.queue_bytes}",
        by,
        "full",
        load.jobs,
        options.queue_limit,
        load.size,
        options.queue_bytes,
        retry_after_s(load, options, drained_per_s),
    )


def retry_after_s(load: Load, options: JobsOptions, drained_per_s: float | None) -> float:
    """When there is likely to be room again, at this rate of jobs that end; between 0.5 and 300 s."""
    share = 1 - REOPEN_BELOW / load.fill(options) if load.fill(options) else 0.0
    if not drained_per_s:
        return UNKNOWN_RETRY_S
    wait_s = max(0.0, share) * load.jobs / drained_per_s
    return round(min(_LONGEST_RETRY_S, max(_LEAST_RETRY_S, wait_s)), 1)


def queue_full(closed: KeyValue | None) -> QueueFullError:
    """The error for a closed queue, with what its record tells. One that cannot be read closes it all the same."""
    try:
        told = Closed.from_value(closed.key, closed.value) if closed is not None else Closed()
    except RecordError:
        told = Closed()
    why = f": {told.reason}" if told.reason else ""
    after_s = UNKNOWN_RETRY_S if told.retry_after_s is None else told.retry_after_s
    return QueueFullError(
        f"the queue takes no new jobs at present{why}; try again in {after_s:g} s",
        reason=told.reason or "closed",
        retry_after_s=after_s,
        depth=told.jobs,
        limit=told.jobs_limit,
        size=told.size,
        size_limit=told.size_limit,
    )


class DrainRate:
    """Jobs that ended per second, over the last half minute."""

    _WINDOW_S = 30.0
    _EVERY_S = 1.0

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, total: int) -> None:
        """Take how many have ended so far. Cheap; may be called at every step."""
        samples = self._samples
        if samples and now < samples[-1][0] + self._EVERY_S:
            return
        samples.append((now, total))
        while now - samples[0][0] > self._WINDOW_S:
            samples.popleft()

    def per_s(self, now: float, total: int) -> float | None:
        """The rate; None while too little was seen."""
        if not self._samples:
            return None
        since, before = self._samples[0]
        return (total - before) / (now - since) if now - since >= self._EVERY_S else None
