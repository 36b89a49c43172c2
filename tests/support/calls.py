"""Short ways to use a store in a test."""

from __future__ import annotations

import itertools
import queue
import random
from collections.abc import Callable
from typing import Generic, TypeVar

from slurp_leader.clock import SystemClock
from slurp_leader.errors import StoreError
from slurp_leader.store import Get, KeyValue, Put, Request, Store, WatchEvents, WatchNotice
from support.waiting import until

R = TypeVar("R")
N = TypeVar("N")

PATIENCE_S = 20.0
"""How long to wait for something that must come. Generous, for the machine may be busy."""

_clock = SystemClock()
_lease_ids = itertools.count(random.SystemRandom().randrange(1, 2**62))


def do(store: Store, request: Request[R]) -> R:
    """Send one request and wait for the answer."""
    return store.call(request, PATIENCE_S).result()


def put(store: Store, key: bytes, value: bytes = b"v", lease: int = 0) -> int:
    """Write one key. Returns the revision."""
    return do(store, Put(key, value, lease)).header.revision


def put_once_taken(store: Store, key: bytes, value: bytes = b"v", timeout_s: float = PATIENCE_S) -> int:
    """Write a key, as soon as a member takes it. Returns the revision."""
    return until(lambda: store.call(Put(key, value), timeout_s).result().header.revision, not_yet=StoreError)


def get(store: Store, key: bytes, revision: int = 0) -> KeyValue | None:
    kvs = do(store, Get(key, revision=revision)).kvs
    return kvs[0] if kvs else None


def await_writes(store: Store, key: bytes, count: int) -> None:
    """Wait until a key was written so many times, from now on."""
    notices: Recorder[WatchNotice] = Recorder()
    watch = store.watch(key, None, 0, notices)
    seen = 0
    while seen < count:
        notice = notices.next()
        seen += len(notice.events) if isinstance(notice, WatchEvents) else 0
    watch.cancel()


def new_lease_id() -> int:
    """A lease id that no other test uses."""
    return next(_lease_ids)


class Recorder(Generic[N]):
    """A sink that keeps what it is given, for a test to wait for.

    Attributes:
        seen: What `next` and `until` have taken so far, in order.
    """

    def __init__(self) -> None:
        self.seen: list[N] = []
        self._queue: queue.SimpleQueue[N] = queue.SimpleQueue()

    def __call__(self, notice: N) -> None:
        self._queue.put(notice)

    def next(self, patience_s: float = PATIENCE_S) -> N:
        """The next notice; fails the test when none comes."""
        try:
            notice = self._queue.get(timeout=max(0.0, patience_s))
        except queue.Empty:
            raise AssertionError(f"nothing more came after {self.seen!r}") from None
        self.seen.append(notice)
        return notice

    def until(self, wanted: Callable[[N], bool]) -> N:
        """Take notices until one is `wanted`; returns it. Fails the test when none is."""
        give_up_at = _clock.boottime() + PATIENCE_S
        while not wanted(notice := self.next(give_up_at - _clock.boottime())):
            pass
        return notice

    def is_empty(self) -> bool:
        """Nothing waits to be taken."""
        return self._queue.empty()

    def rest(self) -> list[N]:
        """What waits to be taken at this moment; takes it."""
        taken: list[N] = []
        while not self._queue.empty():
            taken.append(self._queue.get())
        return taken
