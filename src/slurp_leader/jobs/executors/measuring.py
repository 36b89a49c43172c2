"""What a run takes, as far as that can be told where it runs.

Processor time is no time of day: nothing is decided by it, so it is read here and not from a `Clock`.

where it ran      processor time                                     memory
----------------  -------------------------------------------------  -----------------------------------------
thread            of the thread: what it starts elsewhere is not seen  not known: threads share one heap
batch             of the call, shared evenly among its jobs            not known
process           of the process, and of what it started and awaited   the most that the process took meanwhile
foreign pool      of the thread that ran it                             not known
coroutines        not known: they share one thread                     not known
"""

from __future__ import annotations

import resource
from pathlib import Path
from time import thread_time

from slurp_leader.jobs.use import Use


class ThreadUse:
    """Measures from now on what this thread takes."""

    __slots__ = ("_began_at",)

    def __init__(self) -> None:
        self._began_at = thread_time()

    def taken(self, jobs: int = 1) -> Use:
        """What it has taken until now, a share of one of so many jobs. On the same thread."""
        return Use((thread_time() - self._began_at) / jobs)


class ProcessUse:
    """Measures from now on what this process takes, and what it starts and waits for."""

    def __init__(self) -> None:
        self._began_at = _cpu_s()
        self._forgot = _forget_most_memory()

    def taken(self) -> Use:
        """What it has taken until now."""
        return Use(_cpu_s() - self._began_at, _most_memory() if self._forgot else None)


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _forget_most_memory() -> bool:
    """Have the kernel forget how much it was at most. Not every kernel can, and then it is that of an earlier run."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _most_memory() -> int | None:
    """Bytes that this process has taken at most since the kernel was told to forget; None: it does not say."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
    except (OSError, ValueError, IndexError):
        return None
