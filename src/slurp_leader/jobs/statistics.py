"""What became of jobs of late: how many, how fast, how long they waited and ran. Of the leader that ended them.

Values are kept in buckets that grow by a tenth, so a percentile is told within five percent, whatever its size, and a
thousand jobs take no more room than ten. The last five minutes count, in steps of one: what was long ago hides nothing.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.use import Use

_STEP_S = 60.0
_STEPS = 5
_LEAST_S = 1e-5
"""What is shorter counts as this long."""
_GROWTH = math.log(1.1)
_MOST_GROUPS = 50
"""Roles, and generators, that are told apart; names are the callers'. Those beyond are counted together."""
OTHERS = "(others)"
_PERCENTILES = (50, 95, 99)


class Durations:
    """A bag of durations that tells percentiles. Seconds."""

    __slots__ = ("_buckets", "count", "most_s")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.most_s = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.most_s = max(self.most_s, seconds)
        self._buckets[int(math.log(max(seconds, _LEAST_S) / _LEAST_S) / _GROWTH)] += 1

    def merge(self, other: Durations) -> None:
        self.count += other.count
        self.most_s = max(self.most_s, other.most_s)
        self._buckets.update(other._buckets)

    def percentile(self, percent: float) -> float:
        """What so many percent of them do not exceed; 0 when there are none."""
        wanted, seen = self.count * percent / 100, 0
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            if seen >= wanted:
                return min(self.most_s, _LEAST_S * math.exp((bucket + 0.5) * _GROWTH))
        return 0.0

    def as_dict(self) -> dict[str, float]:
        """Percentiles and the longest, as plain data; all 0 when there are none."""
        told = {f"p{percent}_s": round(self.percentile(percent), 6) for percent in _PERCENTILES}
        return {**told, "max_s": round(self.most_s, 6)}


@dataclass(slots=True)
class Group:
    """Jobs that have something in common, such as a role."""

    ended: Counter[str] = field(default_factory=Counter)
    waits: Durations = field(default_factory=Durations)
    runs: Durations = field(default_factory=Durations)
    cpu_s: float | None = None
    most_memory: int | None = None

    def add(self, status: str, wait_s: float, run_s: float, use: Use) -> None:
        self.ended[status] += 1
        self.waits.add(wait_s)
        self.runs.add(run_s)
        self._count(use.cpu_s, use.memory)

    def _count(self, cpu_s: float | None, memory: int | None) -> None:
        if cpu_s is not None:
            self.cpu_s = (self.cpu_s or 0.0) + cpu_s
        if memory is not None:
            self.most_memory = max(self.most_memory or 0, memory)

    def merge(self, other: Group) -> None:
        self.ended.update(other.ended)
        self.waits.merge(other.waits)
        self.runs.merge(other.runs)
        self._count(other.cpu_s, other.most_memory)

    def as_dict(self) -> dict[str, Any]:
        completed, failed = self.ended[JobStatus.COMPLETED.value], self.ended[JobStatus.FAILED.value]
        return {
            "ended": dict(self.ended),
            "success_ratio": round(completed / (completed + failed), 4) if completed + failed else None,
            "wait": self.waits.as_dict(),
            "run": self.runs.as_dict(),
            "use": {"cpu_s": None if self.cpu_s is None else round(self.cpu_s, 3), "max_memory": self.most_memory},
        }


_UNKNOWN = Use()


@dataclass(slots=True)
class _Step:
    """A minute of jobs."""

    began_at: float
    roles: dict[str, Group] = field(default_factory=dict)
    generators: dict[str, Group] = field(default_factory=dict)


class Statistics:
    """Jobs that ended in the last minutes. Not thread-safe.

    Args:
        now: When counting begins.
    """

    def __init__(self, now: float) -> None:
        self._began_at = now
        self._steps: deque[_Step] = deque([_Step(now)], maxlen=_STEPS)

    def add(
        self,
        role: str,
        generator: str,
        status: str,
        wait_s: float,
        run_s: float,
        now: float,
        use: Use | None = None,
    ) -> None:
        """A job has ended.

        Args:
            role: Its role.
            generator: What does the work here, with its version.
            status: How it ended.
            wait_s: From when it could have run until it was claimed.
            run_s: How long its last run took; 0 when there was none.
            now: The time.
            use: What its last run has taken; None: not known.
        """
        self._turn(now)
        step = self._steps[-1]
        for groups, name in ((step.roles, role), (step.generators, generator)):
            group = groups.get(name)
            if group is None:
                group = groups.setdefault(name if len(groups) < _MOST_GROUPS else OTHERS, Group())
            group.add(status, wait_s, run_s, use or _UNKNOWN)

    def as_dict(self, now: float) -> dict[str, Any]:
        """Plain data: ``window_s`` (of what time it tells), ``per_second``, the figures of all jobs, of each role
        (``roles``), and of each generator and version of it (``generators``)."""
        self._turn(now)
        roles = _merged(step.roles for step in self._steps)
        generators = _merged(step.generators for step in self._steps)
        total = Group()
        for group in roles.values():
            total.merge(group)
        window_s = max(now - max(self._began_at, self._steps[0].began_at), 1e-3)
        return {
            "window_s": round(window_s, 3),
            "per_second": round(sum(total.ended.values()) / window_s, 3),
            **total.as_dict(),
            "roles": {name: group.as_dict() for name, group in sorted(roles.items())},
            "generators": {name: group.as_dict() for name, group in sorted(generators.items())},
        }

    def _turn(self, now: float) -> None:
        """Begin a new step when its time has come; empty ones stand for minutes without jobs."""
        while now >= self._steps[-1].began_at + _STEP_S:
            behind = now - self._steps[-1].began_at
            if behind > _STEP_S * (_STEPS + 1):  # nothing of what is there counts any more
                self._steps.clear()
                # The idle minutes count: one job after an hour is no job a second.
                self._steps.extend(_Step(now - _STEP_S * ago) for ago in reversed(range(_STEPS)))
                return
            self._steps.append(_Step(self._steps[-1].began_at + _STEP_S))


def _merged(steps: Iterable[Mapping[str, Group]]) -> dict[str, Group]:
    merged: dict[str, Group] = {}
    for groups in steps:
        for name, group in groups.items():
            merged.setdefault(name, Group()).merge(group)
    return merged
