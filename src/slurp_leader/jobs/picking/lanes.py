"""Lanes: jobs of one priority, project, role and size, in the order they arrived.

All jobs of a lane meet the same limits, so that one look at its head tells about all of them, and a job that has to
wait holds back only those behind it in its own lane. Sizes are rounded to powers of two for that, or every job would be
a lane of its own; so a head that can never fit tells nothing about the others, and the picker takes it out.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from slurp_leader.jobs.records import Spec

_MIB = 1024 * 1024


class LaneKey(NamedTuple):
    """What the jobs of a lane have in common."""

    rank: int
    project: str
    role: str
    slots: int
    memory: int

    @classmethod
    def of(cls, spec: Spec) -> LaneKey:
        slots, memory = spec.slots, spec.memory
        if slots == 1 and not memory:  # nearly all
            return cls(spec.priority.rank, spec.project, spec.role, 1, 0)
        return cls(spec.priority.rank, spec.project, spec.role, _bucket(slots), _bucket(-(-memory // _MIB)))


def _bucket(size: int) -> int:
    """The power of two that it fits into; 0 for 0."""
    return 1 << (size - 1).bit_length() if size > 0 else 0


class Lane:
    """Jobs that wait, the one that arrived first at the head. Those that left are passed over.

    Attributes:
        level: Class of its head at present: its priority, lifted by age.
        entry: Serial number of the entry that stands for it in the picker; older ones mean nothing.
        lifts_at: When the picker looks at its level again.
    """

    __slots__ = ("entry", "heap", "key", "level", "lifts_at")

    def __init__(self, key: LaneKey) -> None:
        self.key = key
        self.heap: list[tuple[int, str]] = []  # revision of the queue record, id
        self.level = key.rank
        self.entry = 0
        self.lifts_at = float("inf")

    def push(self, revision: int, job_id: str) -> None:
        heapq.heappush(self.heap, (revision, job_id))

    def pop(self) -> None:
        heapq.heappop(self.heap)
