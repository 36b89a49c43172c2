"""The watches of a `MemoryStore`: one thread that hands changes over, in order."""

from __future__ import annotations

import logging
import threading

from slurp_leader.clock import Clock
from slurp_leader.errors import RevisionCompactedError, StoreClosedError
from slurp_leader.forks import free_in_child
from slurp_leader.store.memory.faults import Faults
from slurp_leader.store.memory.state import MemoryState
from slurp_leader.store.port import WatchSink
from slurp_leader.store.requests import WatchCompacted, WatchFailed, WatchNotice, WatchProgress
from slurp_leader.telemetry.events import LogEvent, log_event

_log = logging.getLogger("slurp_leader.store")


class MemoryWatch:
    """One running watch. `Watches` fills it."""

    def __init__(
        self, owner: Watches, key: bytes, range_end: bytes | None, next_revision: int, sink: WatchSink
    ) -> None:
        self.key = key
        self.range_end = range_end
        self.next_revision = next_revision
        self._owner = owner
        self._sink = sink
        # Held while the sink runs, so that `cancel` returns only after it. Re-entrant: a sink may cancel.
        self._delivering = free_in_child(threading.RLock())
        self._cancelled = False  # guarded by _delivering

    def cancel(self) -> None:
        self._owner.remove(self)
        with self._delivering:
            self._cancelled = True

    def hand_over(self, notices: list[WatchNotice]) -> None:
        """Give notices to the sink, as long as nobody cancels."""
        for notice in notices:
            with self._delivering:
                if self._cancelled:
                    return
                self._sink(notice)


class Watches:
    """All watches of one store, and the thread that feeds them."""

    def __init__(
        self, state: MemoryState, lock: threading.Lock, faults: Faults, clock: Clock, progress_interval_s: float
    ) -> None:
        """Start the thread.

        Args:
            state: Where changes come from.
            lock: Guards `state`, and the fields here.
            faults: May break the watches.
            clock: Measures the silence.
            progress_interval_s: Every so many seconds a watch without news is told that it is up to date.
        """
        self._state = state
        self._faults = faults
        self._clock = clock
        self._progress_interval_s = progress_interval_s
        self._progress_at = clock.boottime() + progress_interval_s  # the thread's own
        self._changes = threading.Condition(lock)  # on the store's lock, which guards all below
        self._watches: list[MemoryWatch] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="slurp-memory-watches", daemon=True)
        self._thread.start()

    def add(self, key: bytes, range_end: bytes | None, start_revision: int, sink: WatchSink) -> MemoryWatch:
        with self._changes:
            if self._closed:
                raise StoreClosedError("the store is closed")
            watch = MemoryWatch(self, key, range_end, start_revision or self._state.revision + 1, sink)
            self._watches.append(watch)
            self._changes.notify()
        return watch

    def remove(self, watch: MemoryWatch) -> None:
        with self._changes:
            if watch in self._watches:
                self._watches.remove(watch)

    def wake(self) -> None:
        """Look for changes. To be called with the lock held."""
        self._changes.notify()

    def close(self) -> None:
        """End every watch with `WatchFailed` and join the thread. Safe twice, and from within a sink."""
        with self._changes:
            self._closed = True
            self._changes.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while (work := self._next_work()) is not None:
            for watch, notices in work:
                self._deliver(watch, notices)
        with self._changes:
            left, self._watches = self._watches, []
        for watch in left:
            self._deliver(watch, [WatchFailed(StoreClosedError("the store is closed"))])

    def _deliver(self, watch: MemoryWatch, notices: list[WatchNotice]) -> None:
        try:
            watch.hand_over(notices)
        except Exception as error:  # a sink must not raise; the other watches have to go on when one does
            log_event(_log, logging.ERROR, LogEvent.LOOP_FAILED, loop="watch sink", error=repr(error))
            watch.cancel()

    def _next_work(self) -> list[tuple[MemoryWatch, list[WatchNotice]]] | None:
        """Wait for something to hand over; None when the store was closed."""
        with self._changes:
            while not self._closed:
                silence_left_s = self._progress_at - self._clock.boottime()
                work = [(watch, news) for watch in list(self._watches) if (news := self._news(watch))]
                if silence_left_s <= 0:
                    self._progress_at = self._clock.boottime() + self._progress_interval_s
                    work += self._progress(but_for=[watch for watch, _ in work])
                if work:
                    return work
                self._changes.wait(max(0.0, silence_left_s))
        return None

    def _news(self, watch: MemoryWatch) -> list[WatchNotice]:
        if watch.next_revision > self._state.revision or self._faults.watches_broken:
            return []
        try:
            events = self._state.events_since(watch.next_revision, watch.key, watch.range_end)
        except RevisionCompactedError as error:
            self._watches.remove(watch)
            return [WatchCompacted(error.compact_revision)]
        watch.next_revision = self._state.revision + 1
        return list(events)

    def _progress(self, but_for: list[MemoryWatch]) -> list[tuple[MemoryWatch, list[WatchNotice]]]:
        if self._faults.watches_broken:
            return []
        notice = WatchProgress(self._state.revision)
        return [(watch, [notice]) for watch in self._watches if watch not in but_for]
