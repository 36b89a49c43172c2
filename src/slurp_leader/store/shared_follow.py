"""`SharedFollower`: one watch over a wide prefix, as many followers of narrower ones.

Whoever follows a part is told what a `Follower` of that part would tell: a snapshot first, then every change, in order.
Where a change concerns others, it hears that it is up to date as of that revision.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from slurp_leader.clock import Clock
from slurp_leader.errors import LifecycleError
from slurp_leader.store.follow import Changes, Follower, FollowFailed, FollowNotice, FollowSink, Progress, Snapshot
from slurp_leader.store.port import Store
from slurp_leader.store.requests import Event, EventKind, KeyValue
from slurp_leader.telemetry.events import LogEvent, log_event

_log = logging.getLogger("slurp_leader.store")


class SharedFollower:
    """Follows one prefix, and passes each part of it on to whom it concerns. Lives once: start, stop. Thread-safe.

    It keeps what stands under the prefix in memory, for those who begin later.

    Args:
        store: Where to read and watch.
        prefix: All that is followed.
        clock: Measures outages, for the log.
    """

    def __init__(self, store: Store, prefix: bytes, clock: Clock) -> None:
        self._prefix = prefix
        self._follower = Follower(store, prefix, self._take, clock=clock)
        # Re-entrant, for a sink may end its own part. Held while sinks are told: so nothing overtakes a part's first
        # snapshot, and nothing comes after its end. Guards all below.
        self._lock = threading.RLock()
        self._kvs: dict[bytes, KeyValue] = {}
        self._revision: int | None = None
        self._failed: FollowFailed | None = None
        self._parts: list[Part] = []

    def start(self) -> None:
        """Begin to follow. Returns at once."""
        self._follower.start()

    def stop(self) -> None:
        """End it. When this returns no part is told anything more. Safe twice, and before `start`."""
        self._follower.stop()

    def part(self, prefix: bytes, sink: FollowSink) -> Part:
        """Follow a part. The sink must not block, for all parts are told on one thread; one that raises is told
        `FollowFailed` and nothing more, and the others go on.

        Raises:
            LifecycleError: It is no part of what is followed here.
        """
        if not prefix.startswith(self._prefix):
            raise LifecycleError(f"{prefix!r} is no part of {self._prefix!r}, which is all that is followed here")
        return Part(self, prefix, sink)

    # ------------------------------------------------------------ for the parts

    def add(self, part: Part) -> None:
        """From now on this part is told, beginning with how things stand."""
        with self._lock:
            self._parts.append(part)
            if self._failed is not None:
                part.tell(self._failed)
            elif self._revision is not None:
                part.tell(self._snapshot_for(part, self._revision))

    def remove(self, part: Part) -> None:
        """Tell it nothing more."""
        with self._lock:
            self._parts = [each for each in self._parts if each is not part]

    # ------------------------------------------------------------ what the one watch says

    def _take(self, notice: FollowNotice) -> None:
        with self._lock:
            if isinstance(notice, FollowFailed):
                self._failed = notice
            else:
                self._revision = notice.revision
                self._learn(notice)
            for part in tuple(self._parts):
                part.tell(self._for_part(part, notice))

    def _learn(self, notice: Snapshot | Changes | Progress) -> None:
        if isinstance(notice, Snapshot):
            self._kvs = {kv.key: kv for kv in notice.kvs}
        elif isinstance(notice, Changes):
            for event in notice.events:
                if event.kind is EventKind.PUT:
                    self._kvs[event.kv.key] = event.kv
                else:
                    self._kvs.pop(event.kv.key, None)

    def _for_part(self, part: Part, notice: FollowNotice) -> FollowNotice:
        if isinstance(notice, Snapshot):
            return self._snapshot_for(part, notice.revision)
        if isinstance(notice, Changes):
            events = _events_of(part, notice.events)
            return Changes(notice.revision, events) if events else Progress(notice.revision)
        return notice

    def _snapshot_for(self, part: Part, revision: int) -> Snapshot:
        keys = sorted(key for key in self._kvs if key.startswith(part.prefix))
        return Snapshot(revision, tuple(self._kvs[key] for key in keys))


class Part:
    """What one of them is told. Made by `SharedFollower.part`; lives once: start, stop."""

    def __init__(self, shared: SharedFollower, prefix: bytes, sink: FollowSink) -> None:
        self.prefix = prefix
        self._shared = shared
        self._sink = sink

    def start(self) -> None:
        """Begin. If the watch is under way, the snapshot is handed over before this returns."""
        self._shared.add(self)

    def stop(self) -> None:
        """End. When this returns no further notice comes, unless it is called from within the sink. Safe twice."""
        self._shared.remove(self)

    def tell(self, notice: FollowNotice) -> None:
        """Hand one notice over; a sink that raises ends only itself."""
        try:
            self._sink(notice)
        except Exception as error:
            log_event(_log, logging.ERROR, LogEvent.LOOP_FAILED, loop=f"follow {self.prefix!r}", error=repr(error))
            self.stop()
            if not isinstance(notice, FollowFailed):
                self.tell(FollowFailed(error))


def _events_of(part: Part, events: Sequence[Event]) -> tuple[Event, ...]:
    return tuple(event for event in events if event.kv.key.startswith(part.prefix))
