"""`Follower`: one prefix, kept in view: everything there is, then every change, in order, for as long as it runs.

::

    start --> read everything at revision R --> Snapshot(R) --> watch from R+1 --> Changes, Progress ...
                    ^                                                |
                    +------------- compacted: read anew -------------+

Whoever keeps a picture of etcd in memory builds it from these notices alone. The rules that make it right
(PROTOCOL A15): all pages of a snapshot are of one revision; a snapshot *replaces* the picture, so what it does not hold
was deleted; nothing is delivered twice or out of order; and no snapshot is older than what was delivered before it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.errors import LifecycleError, RequestTooLargeError, RevisionCompactedError, StoreError
from slurp_leader.resilience import trying_again
from slurp_leader.store.pages import PAGE_KEYS, PageReader
from slurp_leader.store.port import Store
from slurp_leader.store.requests import (
    Event,
    Get,
    GetResult,
    KeyValue,
    WatchCompacted,
    WatchEvents,
    WatchFailed,
    WatchNotice,
    WatchProgress,
    prefix_end,
)
from slurp_leader.telemetry.events import LogEvent, log_event

_log = logging.getLogger("slurp_leader.store")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything under the prefix as it was at `revision`, in byte order. Replaces whatever was known before."""

    revision: int
    kvs: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed, in order; whole revisions. Everything up to `revision` has been delivered with it."""

    revision: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """Nothing changed: the picture is that of `revision` too."""

    revision: int


@dataclass(frozen=True, slots=True)
class FollowFailed:
    """The follower has ended by itself, and nothing more will come: access denied, another cluster, store closed."""

    error: Exception


FollowNotice = Snapshot | Changes | Progress | FollowFailed
FollowSink = Callable[[FollowNotice], None]
"""Takes the notices of one follower, in order, one at a time, on its thread. It may take its time but must not raise:
an error ends the follower with `FollowFailed`."""


class Follower:
    """Follows one prefix on a thread of its own. Lives once: start, stop.

    While the store does not answer it tries again, at most every 2 s, and says so once for each outage
    (`store.unavailable`, `store.back`). It ends by itself only with `FollowFailed`.
    """

    def __init__(
        self,
        store: Store,
        prefix: bytes,
        sink: FollowSink,
        *,
        clock: Clock | None = None,
        timeout_s: float = 5.0,
        page: int = PAGE_KEYS,
    ) -> None:
        """Make it; `start` sets it going.

        Args:
            store: Where to read and watch.
            prefix: What to follow; empty for every key.
            sink: Takes the notices.
            clock: Measures outages, for the log.
            timeout_s: Seconds for each page.
            page: Most keys in a page.
        """
        self._store = store
        self._key = prefix or b"\x00"
        self._range_end = prefix_end(prefix)
        self._sink = sink
        self._clock = clock or SystemClock()
        self._timeout_s = timeout_s
        self._page = page
        self._inbox: SimpleQueue[Future[GetResult] | WatchNotice | None] = SimpleQueue()  # None: look at _stopping
        self._stopping = threading.Event()
        self._lifecycle = threading.Lock()  # guards _thread
        self._thread: threading.Thread | None = None
        self._delivered = 0  # the revision the sink's picture is of; with the next field the thread's own
        self._outage_since: float | None = None

    # ------------------------------------------------------------ lifetime

    def start(self) -> None:
        """Begin to follow. Returns at once; the first notice is a `Snapshot`.

        Raises:
            LifecycleError: It was started or stopped before.
        """
        with self._lifecycle:
            if self._thread is not None or self._stopping.is_set():
                raise LifecycleError("a follower can be started once")
            name = f"slurp-follow-{self._facts()['prefix']}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End it. When this returns, no further notice comes, unless it is called from within the sink. Safe twice,
        and before `start`."""
        self._stopping.set()
        self._inbox.put(None)
        with self._lifecycle:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ------------------------------------------------------------ the thread, top-down

    def _run(self) -> None:
        try:
            while True:
                snapshot = self._load()
                self._deliver(snapshot, snapshot.revision)
                self._watch(snapshot.revision + 1)
        except _Stopped:
            return
        except Exception as error:  # of the store, for good; or of the sink
            log_event(_log, logging.ERROR, LogEvent.LOOP_FAILED, loop=f"follow {self._key!r}", error=repr(error))
            self._sink(FollowFailed(error))

    def _load(self) -> Snapshot:
        """Read everything, however often it takes, at a revision not older than what was delivered."""
        snapshot = trying_again(_is_outdated, failed=self._note_outage, pause=self._pause)(self._read)
        self._note_recovery()
        return snapshot

    def _read(self) -> Snapshot:
        """Read everything once.

        Raises:
            RevisionCompactedError: Compacted while we were turning its pages.
            _StaleReadError: The answer is older than what was delivered.
        """
        reader = PageReader(self._key, self._range_end, page=self._page)
        kvs: list[KeyValue] = []
        while not reader.done:
            try:
                result = self._ask(reader.request())
            except RequestTooLargeError as error:
                reader.shrink(error)
                continue
            reader.accept(result)
            if reader.revision < self._delivered:
                raise _StaleReadError(f"read at revision {reader.revision} after {self._delivered} was delivered")
            kvs += result.kvs
        return Snapshot(reader.revision, tuple(kvs))

    def _ask(self, get: Get) -> GetResult:
        """Ask for one page, again and again while errors may pass."""
        again = trying_again(_is_transient, failed=self._note_outage, pause=self._pause)
        return again(lambda: self._answer(self._store.call(get, self._timeout_s)))

    def _answer(self, future: Future[GetResult]) -> GetResult:
        # Through the inbox and not by `result()`, so that a stop need not wait for an answer that may not come.
        future.add_done_callback(self._inbox.put)
        while self._next() is not future:
            pass
        return future.result()

    def _watch(self, start_revision: int) -> None:
        """Pass changes on until they are compacted away before we saw them."""
        watch = self._store.watch(self._key, self._range_end, start_revision, self._inbox.put)
        try:
            while True:
                notice = self._next()
                if isinstance(notice, WatchCompacted):
                    facts = self._facts() | {"compact_revision": notice.compact_revision}
                    log_event(_log, logging.WARNING, LogEvent.WATCH_RELOADED, **facts)
                    return
                self._pass_on(notice)
        finally:
            watch.cancel()

    def _pass_on(self, notice: Future[GetResult] | WatchNotice | None) -> None:
        if isinstance(notice, WatchFailed):
            raise notice.error
        if isinstance(notice, WatchEvents):
            self._deliver(Changes(notice.revision, notice.events), notice.revision)
        elif isinstance(notice, WatchProgress) and notice.revision >= self._delivered:
            self._deliver(Progress(notice.revision), notice.revision)

    def _deliver(self, notice: FollowNotice, revision: int) -> None:
        if self._stopping.is_set():
            raise _Stopped
        self._delivered = revision
        self._sink(notice)

    # ------------------------------------------------------------ waiting

    def _next(self) -> Future[GetResult] | WatchNotice | None:
        """The next thing that came in."""
        item = self._inbox.get()
        if self._stopping.is_set():
            raise _Stopped
        return item

    def _pause(self, delay_s: float) -> None:
        if self._stopping.wait(delay_s):
            raise _Stopped

    def _note_outage(self, error: BaseException) -> None:
        if self._outage_since is None:
            self._outage_since = self._clock.boottime()
            log_event(_log, logging.WARNING, LogEvent.STORE_UNAVAILABLE, **self._facts(), error=repr(error))

    def _note_recovery(self) -> None:
        if self._outage_since is not None:
            outage_s = round(self._clock.boottime() - self._outage_since, 3)
            self._outage_since = None
            log_event(_log, logging.INFO, LogEvent.STORE_BACK, **self._facts(), outage_s=outage_s)

    def _facts(self) -> dict[str, str | int]:
        return {"prefix": self._key.decode(errors="replace")}


class _Stopped(Exception):  # noqa: N818 - a way out of the loops, not a fault
    """`stop` was called."""


class _StaleReadError(StoreError):
    """An answer from before what is known already."""


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, StoreError) and error.retryable


def _is_outdated(error: BaseException) -> bool:
    """What was read is not what is there now: read anew."""
    return isinstance(error, RevisionCompactedError | _StaleReadError)
