"""`ProcessTree`: what a process and all that it has started take, and who these are."""

from __future__ import annotations

from contextlib import suppress

import psutil


class ProcessTree:
    """Asks the machine about processes. Never raises; what cannot be read counts as nothing."""

    def memory_of(self, pid: int) -> int:
        """Bytes of memory that a process and all that it has started take at present; 0: not known. Memory that they
        share counts for each."""
        taken = 0
        for each in (pid, *self.below(pid)):
            with suppress(psutil.Error, OSError):
                taken += int(psutil.Process(each).memory_info().rss)
        return taken

    def below(self, pid: int) -> list[int]:
        """Processes that it, or one of these, has started."""
        try:
            return [each.pid for each in psutil.Process(pid).children(recursive=True)]
        except (psutil.Error, OSError):
            return []
