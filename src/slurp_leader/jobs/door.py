"""Waiting before a closed queue: one watch over its record while anybody waits, and one at a time goes in.

Whoever waits is let in in the order of coming: the first in line tries, and while it tries the others wait. So a queue
that has opened with a tenth free is not overrun by all of a process at once, and who is refused again keeps its place.

A watch that ends by itself takes what it has told with it: how the queue stands is read anew, and watched from there.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from slurp_leader.clock import Clock
from slurp_leader.errors import StoreClosedError, StoreError
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
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.jobs")


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
        self._failures = 0  # reads and watches in a row that came to nothing
        self._outage_since: float | None = None
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
                if not self._line:  # how it stands will be looked at anew, and whatever was wrong may be long over
                    self._vain = self._failures = 0
                    self._outage_since = None
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
            watch = self._forget()
        if watch is not None:
            watch.cancel()

    def _forget(self) -> Watch | None:
        """What is known is out of date, and so is what a look under way will find. With the lock held.

        Returns:
            The watch that there was.
        """
        self._is_open = False
        self._look_number += 1
        watch, self._watch = self._watch, None
        self._changed.notify_all()
        return watch

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
                    left_s = deadline - self._clock.boottime()
            self._look(max(0.0, min(left_s, self._timeout_s)))  # only the first in line does

    def _look(self, timeout_s: float) -> None:
        """Read how it stands, and watch from there."""
        with self._changed:
            self._look_number += 1
            number = self._look_number
        watch = None
        try:
            result = self._store.call(Get(self._key, keys_only=True), timeout_s).result()
            if result.kvs:
                watch = self._store.watch(self._key, None, result.header.revision + 1, partial(self._take, number))
        except StoreError as error:
            self._failed(number, error)
            return
        with self._changed:
            # Not if the watch has ended meanwhile, or somebody was refused: nothing would ever be heard of it.
            is_current = number == self._look_number and not self._stopped
            if is_current:
                self._watch = watch
                self._is_open = self._is_open or not result.kvs
        if not is_current and watch is not None:
            watch.cancel()
        elif watch is None:
            self._answered(number)  # else that is told by the watch: a store may answer reads and refuse to be watched

    def _take(self, number: int, notice: WatchNotice) -> None:
        if number != self._look_number:
            return
        match notice:
            case WatchCompacted():
                log_event(_logger, logging.WARNING, LogEvent.WATCH_RELOADED, prefix="closed")
                self._failed(number, None)
                return
            case WatchFailed():
                self._failed(number, notice.error)
                return
            case WatchEvents():
                with self._changed:
                    if number != self._look_number:
                        return
                    self._is_open = notice.events[-1].kind is EventKind.DELETE
                    self._vain = 0
                    self._changed.notify_all()
            case _:
                pass  # alive, and nothing new
        self._answered(number)

    # ------------------------------------------------------------ outages

    def _failed(self, number: int, error: Exception | None) -> None:
        """A look came to nothing, or its watch has ended by itself. `error`: of an outage, which is said once. After a
        store that was closed nothing comes any more."""
        with self._changed:
            if number != self._look_number:
                return
            self._forget()
            self._failures += 1
            if isinstance(error, StoreClosedError):
                self._stopped = True
            is_new = error is not None and self._outage_since is None and not self._stopped
            if is_new:
                self._outage_since = self._clock.boottime()
        if is_new:
            log_event(_logger, logging.WARNING, LogEvent.STORE_UNAVAILABLE, doing="watch for room", error=str(error))

    def _answered(self, number: int) -> None:
        with self._changed:
            if number != self._look_number:
                return
            self._failures = 0
            since, self._outage_since = self._outage_since, None
        if since is not None:
            outage_s = round(self._clock.boottime() - since, 3)
            log_event(_logger, logging.INFO, LogEvent.STORE_BACK, doing="watch for room", outage_s=outage_s)


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
