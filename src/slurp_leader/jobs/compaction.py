"""Whether anybody compacts the store. etcd does not tell its settings, so it is measured.

A revision is remembered; hours later it is asked for. If it can still be read although much was written since, nothing
has been compacted all that time, and the history grows until the quota is met (etcd's auto-compaction is off unless it
is switched on).
"""

from __future__ import annotations

from dataclasses import dataclass

LATE_S = 3 * 3600.0
"""Age at which what was overwritten should be gone. With a retention of an hour etcd takes two hours at most."""

MANY_REVISIONS = 10_000
"""Fewer revisions than that are not worth a word."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A revision, and when the store had it, in boottime seconds."""

    revision: int
    at: float


class CompactionWatch:
    """Remembers one revision at a time. No I/O: the owner asks what `due` names, and tells `answered`."""

    def __init__(self) -> None:
        self._mark: Mark | None = None
        self._warned = False

    def due(self, revision: int, now: float) -> int | None:
        """A revision to read now; None: there is nothing to find out yet.

        Args:
            revision: The newest one of the store.
            now: Boottime seconds.
        """
        if self._mark is None or revision < self._mark.revision:
            self._mark = Mark(revision, now)
        if self._warned or now < self._mark.at + LATE_S or revision < self._mark.revision + MANY_REVISIONS:
            return None
        return self._mark.revision

    def answered(self, revision: int, compacted: bool, now: float) -> str:
        """Take note of what became of the read.

        Returns:
            A warning, once; else nothing.
        """
        mark, self._mark = self._mark, None
        if compacted or mark is None or mark.revision != revision:
            return ""
        self._warned = True
        return warning((now - mark.at) / 3600)


def warning(hours: float) -> str:
    """That nothing was compacted for so long, and what to do."""
    return (
        f"nothing has compacted etcd for {hours:.0f} h: it keeps everything that was overwritten or deleted since, "
        f"until its quota is met. {FIX}"
    )


FIX = "Start etcd with --auto-compaction-mode=periodic --auto-compaction-retention=1h"
