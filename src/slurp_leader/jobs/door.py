"""Waiting before a closed queue: one watch over its record while anybody waits, and one at a time goes in.

Whoever waits is let in in the order of coming: the first in line tries, and while it tries the others wait. So a queue
that has opened with a tenth free is not overrun by all of a process at once, and who is refused again keeps its place.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from slurp_leader.clock import Clock
from slurp_leader.errors import StoreError
from slurp_leader.resilience import pause_s
from slurp_leader.store import (
    EventKind,
    Get,
    Store,
    Watch,
    WatchCompacted,
    WatchEvents,
    WatchFailed,
    WatchNotice,
)


class Door:
    """The line before a closed queue. Safe to use from any thread.

    Args:
        store: Where to read and watch.
        key: Of the record that says that the queue is closed.
        rpc_timeout_s: Deadline of one read.
        clock: Source of time.
    """

    def __init__(self, store: Store, key: bytes, rpc_timeout_s: float, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._timeout_s = rpc_timeout_s
        self._clock = clock
        self._changed = threading.Condition()
        # Guarded by _changed:
        self._line: deque[object] = deque()
        self._watch: Watch | None = None
        self._look_number = 0  # of the newest; what an older watch still tells is passed over
        self._is_open = False
        self._failures = 0
        self._vain = 0  # refused in a row although the door was open
        self._stopped = False

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place in the line, until the block ends."""
        place = Place(self)
        with self._changed:
            self._line.append(place)
        try:
            yield place
        finally:
            with self._changed:
                self._line.remove(place)
                if not self._line:
                    self._vain = 0
                watch = self._watch if not self._line else None
                if watch is not None:
                    self._watch = None
                self._changed.notify_all()
            if watch is not None:
                watch.cancel()

    def stop(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._stopped = True
            watch, self._watch = self._watch, None
            self._changed.notify_all()
        if watch is not None:
            watch.cancel()

    def refused(self) -> None:
        """The queue was found closed: that it was open is out of date, and so may be the watch.

        Who finds it closed through an open door (nobody leads, and submitters see to the limit themselves) would be
        refused again at once, and pauses.
        """
        with self._changed:
            if not self._is_open:
                return
            self._vain += 1
            self._is_open = False
            self._look_number += 1
            watch, self._watch = self._watch, None
            self._changed.notify_all()
        if watch is not None:
            watch.cancel()

    def wait(self, place: object, deadline: float) -> bool:
        """Wait until the queue is open and it is the turn of this place. False when the time is over."""
        while True:
            with self._changed:
                if self._stopped:
                    return False
                first = self._line[0] is place
                if first and self._is_open:
                    return True
                left_s = deadline - self._clock.boottime()
                if left_s <= 0:
                    return False
                if not first or self._watch is not None:
                    self._changed.wait(left_s)
                    continue
                if self._failures or self._vain:
                    self._changed.wait(min(left_s, pause_s(self._failures + self._vain)))
            self._look(min(left_s, self._timeout_s))  # only the first in line does

    def _look(self, timeout_s: float) -> None:
        """Read how it stands, and watch from there."""
        with self._changed:
            self._look_number += 1
            sink = partial(self._take, self._look_number)
        try:
            result = self._store.call(Get(self._key, keys_only=True), timeout_s).result()
            watch = None
            if result.kvs:
                watch = self._store.watch(self._key, None, result.header.revision + 1, sink)
        except StoreError:
            with self._changed:
                self._failures += 1
            return
        with self._changed:
            self._failures = 0
            self._watch = watch
            self._is_open = self._is_open or not result.kvs

    def _take(self, look_number: int, notice: WatchNotice) -> None:
        with self._changed:
            if look_number != self._look_number:
                return
            match notice:
                case WatchEvents():
                    self._is_open = notice.events[-1].kind is EventKind.DELETE
                    self._vain = 0
                case WatchCompacted() | WatchFailed():
                    self._watch = None
                    self._failures += 1
                case _:
                    return
            self._changed.notify_all()


class Place:
    """One place in the line."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def wait(self, deadline: float) -> bool:
        """Wait for the turn, with the queue open. False when the time is over, or the client was stopped."""
        return self._door.wait(self, deadline)

    def refused(self) -> None:
        """It was closed again."""
        self._door.refused()
