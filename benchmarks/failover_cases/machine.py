"""What the machine did meanwhile: whether its processors ran at all, and whether they waited for the disk.

A virtual machine may be kept from its processors without being told (no steal time is counted); ticks are missing from
``/proc/stat`` then. A long time in which that happened says nothing about what was measured.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left, bisect_right
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_EVERY_S = 0.02
_IOWAIT, _STEAL = 4, 7
"""Fields of the first line of ``/proc/stat``, see proc(5)."""


class MachineShares(NamedTuple):
    """Of all processor time there should have been, each 0..1."""

    withheld: float
    """Was not there."""
    waiting: float
    """Nothing could run, since it waited for the disk."""

    def __str__(self) -> str:
        return f"{self.withheld:.0%} of the processor time was withheld, {self.waiting:.0%} waited for the disk"


class MachineLog:
    """Looks at ``/proc/stat`` fifty times a second, on its own thread. Elsewhere than on Linux it knows nothing."""

    def __init__(self) -> None:
        self._stat = Path("/proc/stat")
        self._times: list[float] = []
        self._ticks: list[tuple[int, int]] = []
        """All that were given to us, and those of them that waited for the disk."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-machine", daemon=True)

    def __enter__(self) -> Self:
        if self._stat.exists():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def during(self, began: float, ended: float) -> MachineShares | None:
        """What became of the processor time between two moments of CLOCK_MONOTONIC; None: it is not known."""
        first, last = bisect_right(self._times, began) - 1, bisect_left(self._times, ended)
        if first < 0 or last >= len(self._times) or first == last:
            return None
        given, waited = (later - earlier for later, earlier in zip(self._ticks[last], self._ticks[first], strict=True))
        passed_s = self._times[last] - self._times[first]
        wanted = passed_s * os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
        return MachineShares(max(0.0, 1 - given / wanted), waited / wanted)

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            with self._stat.open() as file:
                fields = [int(field) for field in file.readline().split()[1:9]]
            self._times.append(time.monotonic())
            self._ticks.append((sum(fields) - fields[_STEAL], fields[_IOWAIT]))
