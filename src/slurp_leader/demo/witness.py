"""The witness: watches every record of the cluster in the raw store, and keeps what it saw.

It shares nothing with the submitter or the nodes: a connection of its own, one watch over the whole prefix, from the
first revision on. So the order of its history is the order in which etcd committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager

from slurp_leader.clock import Clock
from slurp_leader.demo.picture import Picture
from slurp_leader.demo.stage import DemoError
from slurp_leader.store import Event, Put, Store, WatchCompacted, WatchEvents, WatchFailed, WatchNotice, prefix_end
from slurp_leader.store.keyspace import Keyspace

_CALL_TIMEOUT_S = 10.0
_MARKER_TIMEOUT_S = 30.0


class Witness:
    """Keeps the history of one cluster. Safe to use from any thread.

    Args:
        store: A store that nobody else uses. Not closed here.
        keyspace: Of the cluster.
        clock: Dates what is seen.
        wake: Called after each notice, on a thread of the store. It must not block.
    """

    def __init__(self, store: Store, keyspace: Keyspace, clock: Clock, wake: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._root = keyspace.mirrored.removesuffix(b"m/")
        self._marker = self._root + b"demo/end"
        self._marked: Future[None] = Future()
        self._lock = threading.Lock()
        # Guarded by _lock:
        self._picture = Picture(keyspace)
        self._history: list[Event] = []
        self._failure: str | None = None
        self._watch = store.watch(self._root, prefix_end(self._root), 1, self._on_notice)

    def close(self) -> None:
        """End the watch."""
        self._watch.cancel()

    @contextmanager
    def looking(self) -> Iterator[Picture]:
        """The picture, which does not change meanwhile. Look quickly.

        Raises:
            DemoError: The history has a gap: nothing can be judged by it.
        """
        with self._lock:
            if self._failure is not None:
                raise DemoError(self._failure)
            yield self._picture

    def whole_history(self) -> list[Event]:
        """Everything committed up to now. An end marker is written, and waited for.

        Raises:
            DemoError: It did not come, or the history has a gap.
        """
        self._store.call(Put(self._marker, b"{}"), _CALL_TIMEOUT_S).result()
        try:
            self._marked.result(_MARKER_TIMEOUT_S)
        except (FutureTimeoutError, CancelledError):
            raise DemoError(f"the end of the history was not seen within {_MARKER_TIMEOUT_S:g} s") from None
        with self.looking():
            return list(self._history)

    def _on_notice(self, notice: WatchNotice) -> None:
        now = self._clock.boottime()
        with self._lock:
            if isinstance(notice, WatchEvents):
                self._history += notice.events
                for event in notice.events:
                    self._picture.learn(event, now)
            elif isinstance(notice, WatchCompacted):
                self._failure = f"etcd compacted revisions up to {notice.compact_revision} before they were seen"
            elif isinstance(notice, WatchFailed):
                self._failure = f"the watch over the records ended: {notice.error}"
            seen_end = isinstance(notice, WatchEvents) and any(e.kv.key == self._marker for e in notice.events)
        if seen_end and not self._marked.done():
            self._marked.set_result(None)
        self._wake()
