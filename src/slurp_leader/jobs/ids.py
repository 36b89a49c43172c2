"""Job ids: UUIDv7, so that they sort by time as text, minted strictly upwards.

The pruner's floor says "every job up to this id has ended and may be gone". An id at or below the floor would be taken
for an old job, so ids are minted above it (PROTOCOL A4), whatever this machine's calendar says.
"""

from __future__ import annotations

import random
import re
import threading
from datetime import UTC, datetime, timedelta

from slurp_leader.clock import Clock

LOWEST = "00000000-0000-7000-8000-000000000000"
"""Below every id that is ever minted; the floor before anything was pruned."""

_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_COUNTER_BITS = 12


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of a job id."""
    return bool(_FORM.fullmatch(text))


class IdMint:
    """Mints job ids, each above all before. Safe to use from any thread."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._lock = threading.Lock()
        # Guarded by _lock: milliseconds and counter of the newest id.
        self._newest = (0, 0)

    def stay_above(self, job_id: str) -> None:
        """From now on mint only above this id, whatever the calendar says."""
        millis = int(job_id[:8] + job_id[9:13], 16)
        with self._lock:
            self._newest = max(self._newest, (millis + 1, 0))

    def mint(self) -> str:
        with self._lock:
            millis = (self._clock.utcnow() - _EPOCH) // timedelta(milliseconds=1)
            newest_millis, counter = self._newest
            if millis > newest_millis:
                self._newest = (millis, 0)
            elif counter + 1 < 1 << _COUNTER_BITS:
                self._newest = (newest_millis, counter + 1)
            else:
                self._newest = (newest_millis + 1, 0)
            millis, counter = self._newest
            tail = self._rng.getrandbits(62)
        head = f"{millis:012x}"
        variant = 0x8000 | (tail >> 48)
        return f"{head[:8]}-{head[8:]}-7{counter:03x}-{variant:04x}-{tail & 0xFFFF_FFFF_FFFF:012x}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
