"""What was generated lately, to be given again: the last results by what they depend on.

It lives in the memory of one leader, and a new leader begins with an empty one. Nothing is ever wrong by that: a key
names everything that its result depends on, so an answer from here is the one that would be generated, and an answer
that is not here is generated. For the same reason nothing is ever told to forget: what has changed has another key.

It is looked into when a job runs: so an answer from here costs a claim and a commit as any other, waits while the
circuit of the generator is open, and does not close it again.

Two equal jobs that run at once are both generated, as neither has an answer yet; the later one is kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import NoReturn

from slurp_leader.clock import Clock
from slurp_leader.errors import ConfigurationError

OVERHEAD = 300
"""Bytes that an entry takes beside its key and its result: 250 by the count of CPython 3.11, and some that are lost
between allocations."""


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """What is in a cache, and how often it had an answer since it was made."""

    hits: int
    misses: int
    entries: int
    size: int
    limit: int

    def to_fields(self) -> dict[str, int]:
        return {
            "hits": self.hits,
            "misses": self.misses,
            "entries": self.entries,
            "bytes": self.size,
            "bytes_limit": self.limit,
        }


class ResultCache:
    """Results by key. Beyond its size those go that were not asked for the longest. Safe to use from any thread.

    Args:
        limit_bytes: Bytes that all entries take together, keys and `OVERHEAD` included. A result that is larger than
            this alone is not kept.
        age_s: Seconds after which a result is not given any more, however often it was. Until it is asked for or
            pushed out it still takes its room.
        clock: Source of time.
    """

    def __init__(self, limit_bytes: int, age_s: float, clock: Clock) -> None:
        self._limit = limit_bytes
        self._age_s = age_s
        self._clock = clock
        self._lock = threading.Lock()  # guards all below
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()  # result and end, by last use
        self._size = 0
        self._hits = 0
        self._misses = 0

    def get(self, key: bytes) -> bytes | None:
        """The result kept under this key, as JSON text; None: there is none, or it is too old. Counted."""
        now = self._clock.boottime()
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and now < entry[1]:
                self._entries.move_to_end(key)
                self._hits += 1
                return entry[0]
            if entry is not None:
                self._remove(key)
            self._misses += 1
            return None

    def put(self, key: bytes, result_json: bytes) -> None:
        """Keep a result, in place of what was under its key."""
        until = self._clock.boottime() + self._age_s
        with self._lock:
            if key in self._entries:
                self._remove(key)
            size = _size_of(key, result_json)
            if size > self._limit:
                return
            self._entries[key] = result_json, until
            self._size += size
            while self._size > self._limit:
                self._remove(next(iter(self._entries)))

    def figures(self) -> CacheFigures:
        """How it stands."""
        with self._lock:
            return CacheFigures(self._hits, self._misses, len(self._entries), self._size, self._limit)

    def _remove(self, key: bytes) -> None:
        self._size -= _size_of(key, self._entries.pop(key)[0])

    def __reduce__(self) -> NoReturn:
        """A copy in another process would be empty, and thrown away with each job."""
        raise in_other_processes()


def _size_of(key: bytes, result_json: bytes) -> int:
    return len(key) + len(result_json) + OVERHEAD


def in_other_processes() -> ConfigurationError:
    """The refusal of a cache for generators that run in processes of their own."""
    return ConfigurationError(
        "jobs.cache_bytes: results are kept in the memory of the leader's process, and this generator runs in other "
        "processes; set jobs.cache_bytes to 0, or let it run on threads or as coroutines (executor)",
        field="jobs.cache_bytes",
    )
