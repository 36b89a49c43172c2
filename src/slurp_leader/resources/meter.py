"""`MachineMeter`: what share of processor, memory and load is free, for the score of a candidate.

Within a container, shares are of what the container may use: 2 of 64 cores, 512 MiB of 256 GiB.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from slurp_leader.clock import Clock
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.forks import free_in_child
from slurp_leader.resources.cgroup import Cgroups, CpuLimit
from slurp_leader.resources.machine import CoreTimes, Machine, ThisMachine
from slurp_leader.telemetry.events import LogEvent, log_event

_log = logging.getLogger("slurp_leader.resources")

_SHORTEST_INTERVAL_S = 0.5
"""Counters move in steps of 10 ms; over less than this, steps are what would be measured."""


@dataclass(frozen=True, slots=True)
class CpuReading:
    """The counters of processor time at one moment (boottime seconds)."""

    at: float
    cores: list[CoreTimes]
    limits: list[CpuLimit]


class MachineMeter:
    """Measures what is free. Never waits, never raises; safe to use from any thread.

    The processor is measured between two samples, so it is not known from the first one; what comes within half a
    second of the last measurement is told that one again. What cannot be read is None, and is logged once at level
    debug, for each of the three.
    """

    def __init__(self, clock: Clock, *, machine: Machine | None = None, cgroups: Cgroups | None = None) -> None:
        self._clock = clock
        self._machine = machine or ThisMachine()
        self._cgroups = cgroups or Cgroups()
        self._lock = free_in_child(threading.Lock())  # guards all below
        self._before: CpuReading | None = None
        self._cpu: float | None = None
        self._said: set[str] = set()

    def sample(self) -> Free:
        """What is free at present, as shares from 0 to 1; None: not known."""
        with self._lock:
            return Free(
                cpu=self._try("cpu", self._measure_cpu),
                memory=self._try("memory", self._measure_memory),
                load=self._try("load", self._measure_load),
            )

    def _measure_cpu(self) -> float | None:
        now = self._clock.boottime()
        before = self._before
        if before is not None and now - before.at < _SHORTEST_INTERVAL_S:
            return self._cpu
        self._before = CpuReading(now, self._machine.core_times(), self._cgroups.cpu())
        self._cpu = free_cpu(before, self._before) if before is not None else None
        return self._cpu

    def _measure_memory(self) -> float | None:
        available, total = self._machine.memory()
        limits = self._cgroups.memory()
        free = min([available, *(each.limit - each.used for each in limits)])
        return _share(free, min([total, *(each.limit for each in limits)]))

    def _measure_load(self) -> float | None:
        """Not known where this process may use but a part of the cores: what waits for all of them says nothing of
        those, and would make every container on a large machine look busy."""
        cores = self._machine.cores()
        ours = min([len(self._machine.core_times()), *(each.cores for each in self._cgroups.cpu())])
        return _share(cores - self._machine.load(), cores) if ours >= cores else None

    def _try(self, what: str, measure: Callable[[], float | None]) -> float | None:
        try:
            return measure()
        except Exception as error:  # whatever a kernel, a sandbox or a container does not let us read
            if what not in self._said:
                self._said.add(what)
                log_event(_log, logging.DEBUG, LogEvent.RESOURCES_UNREADABLE, what=what, error=repr(error))
            return None


def free_cpu(before: CpuReading, after: CpuReading) -> float | None:
    """Share of the processor time that was left between two readings: of the cores this process may use, or of the
    tightest limit of its groups, if that is less. None: the two do not belong together."""
    if len(before.cores) != len(after.cores) or len(before.limits) != len(after.limits):
        return None  # cores went on or off, or it was moved to another group
    total_s = sum(each.total_s for each in after.cores) - sum(each.total_s for each in before.cores)
    idle_s = sum(each.idle_s for each in after.cores) - sum(each.idle_s for each in before.cores)
    elapsed_s = after.at - before.at
    if total_s <= 0 or elapsed_s <= 0:
        return None
    count = len(after.cores)
    idle = [count * idle_s / total_s]  # in cores
    for old, new in zip(before.limits, after.limits, strict=True):
        idle.append(new.cores - (new.used_s - old.used_s) / elapsed_s)
    return _share(min(idle), min([count, *(each.cores for each in after.limits)]))


def _share(free: float, of: float) -> float | None:
    return min(1.0, max(0.0, free / of)) if of > 0 else None
