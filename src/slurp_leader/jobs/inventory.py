"""What there is, as one number: kept up to date with every event, so that a handover need not scan the queue.

The *stock* at a revision is, for each mirrored kind that describes the queue, how many records there are, and the sum
mod 2^128 of ``blake2b-128(key, 0, mod_revision)`` over all of them. A sum does not depend on the order, and a record
that comes or goes is added or taken off. The revision of a record stands for its value: no write keeps it.

It is told what the watch delivers and nothing else, unlike the `Picture`, which runs ahead of the watch with what this
node wrote itself. So it is exactly what etcd had at `revision`, and whoever reads etcd *at that revision* can compare.

What it costs. Most jobs of a busy queue live for a fraction of a second; hashing them would be wasted. So the newest
records are *young*, that is, only noted: they are hashed when some thousands of newer ones have come, or when somebody
asks. A job that ends before is never hashed, any other once, as the hash is kept to be taken off again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from slurp_leader.store import Event, EventKind, KeyValue

KINDS = (b"queue", b"state", b"run", b"cancel", b"grant", b"control", b"parked")
"""Of what lies under ``m/``. Not sessions and elections: those change by themselves while nothing happens to a job."""

_BITS = 128
_MASK = (1 << _BITS) - 1
_MOST_YOUNG = 8192
"""What asking may cost at most, in hashes: about 10 ms. Fewer: more jobs are hashed under load."""
_AT_ONCE = 256
"""Hashed together, in a third of a millisecond: to find the oldest young ones costs a little each time."""


def weight_of(key: bytes, mod_revision: int) -> int:
    """What one record adds to the sum."""
    return int.from_bytes(blake2b(key + b"\0" + mod_revision.to_bytes(8, "big"), digest_size=16).digest(), "big")


@dataclass(frozen=True, slots=True)
class Stock:
    """What there is at one revision.

    Attributes:
        revision: Of etcd.
        counts: Records by kind; every kind of `KINDS` is there.
        sum: Of their weights, mod 2^128.
    """

    revision: int
    counts: Mapping[str, int]
    sum: int

    @property
    def hash(self) -> str:
        """The sum as 32 hex digits."""
        return f"{self.sum:032x}"


class Inventory:
    """The stock as far as the watch has told. Fed by one thread; `stock` may be asked for by any.

    Args:
        mirrored: The prefix ``m/``.
    """

    def __init__(self, mirrored: bytes) -> None:
        self._mirrored = mirrored
        self._lock = threading.Lock()  # guards all below
        self._revision = 0
        self._young: dict[bytes, int] = {}  # key -> revision of records that are not in the sum yet, the oldest first
        self._weighed = _Weighed(mirrored)

    def load(self, revision: int, kvs: Iterable[KeyValue]) -> None:
        """Replace everything by a snapshot."""
        weighed = _Weighed(self._mirrored)
        for kv in kvs:
            weighed.add(kv.key, kv.mod_revision)
        with self._lock:  # only now: of a large queue it took a while
            self._weighed, self._young, self._revision = weighed, {}, revision

    def change(self, revision: int, events: Iterable[Event]) -> None:
        """Take what the watch delivered. A job that comes and goes costs a quarter of a microsecond."""
        put = EventKind.PUT
        with self._lock:
            young, weighed = self._young, self._weighed
            weights = weighed.weights
            for event in events:
                kv = event.kv
                key = kv.key
                if weights and key in weights:
                    weighed.remove(key)
                if event.kind is put:
                    young[key] = kv.mod_revision
                else:
                    young.pop(key, None)
            self._revision = revision
            if len(young) >= _MOST_YOUNG + _AT_ONCE:
                self._weigh(len(young) - _MOST_YOUNG)

    def progress(self, revision: int) -> None:
        """Nothing has changed up to `revision`."""
        with self._lock:
            self._revision = max(self._revision, revision)

    def stock(self) -> Stock:
        """What there is, as of the newest revision that was heard of. Takes a few milliseconds at most."""
        with self._lock:
            self._weigh(len(self._young))
            return self._weighed.stock(self._revision)

    def _weigh(self, count: int) -> None:
        """Put the oldest of the young ones into the sum."""
        young, add = self._young, self._weighed.add
        for key in list(islice(young, count)):
            add(key, young.pop(key))


class _Weighed:
    """Records that are in the sum."""

    __slots__ = ("_counts", "_start", "_sum", "weights")

    def __init__(self, mirrored: bytes) -> None:
        self._start = len(mirrored)
        self._counts = dict.fromkeys(KINDS, 0)
        self._sum = 0
        self.weights: dict[bytes, int] = {}
        """What each added to it, by key."""

    def add(self, key: bytes, mod_revision: int) -> None:
        """Add a record that is not in it. Of other kinds: nothing."""
        kind = self._kind_of(key)
        if kind in self._counts:
            self._counts[kind] += 1
            self.weights[key] = weight = weight_of(key, mod_revision)
            self._sum += weight

    def remove(self, key: bytes) -> None:
        """Take one off that is in it."""
        self._counts[self._kind_of(key)] -= 1
        self._sum -= self.weights.pop(key)

    def stock(self, revision: int) -> Stock:
        counts = {kind.decode(): count for kind, count in self._counts.items()}
        return Stock(revision, counts, self._sum & _MASK)

    def _kind_of(self, key: bytes) -> bytes:
        return key[self._start : key.find(b"/", self._start)]


def stock_of(mirrored: bytes, revision: int, kvs: Iterable[KeyValue]) -> Stock:
    """Take stock of what was read at one revision; only keys and revisions matter."""
    weighed = _Weighed(mirrored)
    for kv in kvs:
        weighed.add(kv.key, kv.mod_revision)
    return weighed.stock(revision)
