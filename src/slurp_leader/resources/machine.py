"""What the kernel says of the whole machine, through psutil."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import psutil


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """What one core did since the machine started, in seconds. `idle_s` includes waiting for disks."""

    idle_s: float
    total_s: float


class Machine(Protocol):
    """What is asked of a machine. Each call answers at once, and may raise anything where the answer is not known."""

    def core_times(self) -> list[CoreTimes]:
        """Of the cores that this process may use."""
        ...

    def cores(self) -> int:
        """How many the machine has."""
        ...

    def memory(self) -> tuple[int, int]:
        """Bytes: what can be had without swapping, and all there is."""
        ...

    def load(self) -> float:
        """Tasks that ran or wanted to, over the last minute."""
        ...


class ThisMachine:
    """The machine this runs on.

    Reads counters instead of ``psutil.cpu_percent``: that keeps what it saw last in one place for each thread, where
    the service may use it too, and looks at all cores.
    """

    def core_times(self) -> list[CoreTimes]:
        times = psutil.cpu_times(percpu=True)
        ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(len(times)))
        # Cores that are off have no line, and the others move up: then no line is known to be ours.
        known = times if max(ours) >= len(times) else [each for core, each in enumerate(times) if core in ours]
        return [_core_times(each._asdict()) for each in known]

    def cores(self) -> int:
        return int(psutil.cpu_count() or 1)

    def memory(self) -> tuple[int, int]:
        memory = psutil.virtual_memory()
        return int(memory.available), int(memory.total)

    def load(self) -> float:
        return float(psutil.getloadavg()[0])


def _core_times(seconds: dict[str, float]) -> CoreTimes:
    # Time of guests is counted twice by the kernel: in their own fields and as time of user programs.
    total_s = sum(spent_s for kind, spent_s in seconds.items() if kind not in ("guest", "guest_nice"))
    return CoreTimes(seconds.get("idle", 0.0) + seconds.get("iowait", 0.0), total_s)
