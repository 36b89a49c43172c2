"""Who leads, for those who do not stand: fed like an `Election`, and asked the same questions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from slurp_leader.clock import Clock
from slurp_leader.election.events import LeaderChanged
from slurp_leader.election.records import ElectionKeys, LeaderInfo
from slurp_leader.election.view import View
from slurp_leader.errors import NoLeaderError
from slurp_leader.store.follow import Changes, FollowNotice, Snapshot

_LONGEST_WAIT_S = 0.5

Listener = Callable[[LeaderChanged], None]


class Observer:
    """Follows one election without standing in it. Safe to use from any thread.

    Its owner hands it what a `Follower` of the election's keys (or of a wider range) delivers, through `feed`.
    """

    def __init__(self, keys: ElectionKeys, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        # Guarded by _changed:
        self._view = View(keys, clock.boottime())
        self._leader: LeaderInfo | None = None
        self._known = False
        self._vacant_since: float | None = None
        self._listeners: list[Listener] = []
        self._closed = False
        self._queues: list[SimpleQueue[LeaderChanged | None]] = []

    def close(self) -> None:
        """Nothing more will be fed: who waits is told, and every `changes` ends. Safe twice."""
        with self._changed:
            self._closed = True
            for queue in self._queues:
                queue.put(None)
            self._changed.notify_all()

    def feed(self, notice: FollowNotice) -> None:
        """Hand over what was seen. Listeners are told on the calling thread, in order; they must not block or raise."""
        now = self._clock.boottime()
        with self._changed:
            if isinstance(notice, Changes):
                self._view.learn_events(notice.events, now)
            elif isinstance(notice, Snapshot):
                self._view.learn_snapshot(notice.revision, notice.kvs, now)
            change = self._change(now)
            listeners = tuple(self._listeners)
            if change is not None:
                for queue in self._queues:
                    queue.put(change)
        if change is not None:
            for listener in listeners:
                listener(change)

    def _change(self, now: float) -> LeaderChanged | None:
        if not self._view.is_known:
            return None
        leader = self._view.leader_info()
        if self._known and (leader and leader.token) == (self._leader and self._leader.token):
            return None
        vacancy_s = None if leader is None or self._vacant_since is None else now - self._vacant_since
        self._vacant_since = now if leader is None else None
        self._leader, self._known = leader, True
        self._changed.notify_all()
        return LeaderChanged(leader, self._view.leader_revision, vacancy_s)

    @property
    def leader(self) -> LeaderInfo | None:
        """Who led when etcd was last heard; None: nobody, or not known yet."""
        return self._leader

    def wait_until_known(self, timeout_s: float | None = None) -> bool:
        """Wait until etcd has told who leads, or that nobody does. False when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._known or self._closed, timeout=timeout_s)
            return self._known

    def wait_for_leader(self, timeout_s: float | None = None) -> LeaderInfo:
        """Wait until somebody leads.

        Raises:
            NoLeaderError: Nobody did within the time, or before `close`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._leader is not None or self._closed, timeout=timeout_s)
            if self._leader is None:
                raise NoLeaderError("nobody led " + ("before the end" if self._closed else f"within {timeout_s} s"))
            return self._leader

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every change from now on. Returns a function that ends it."""
        with self._changed:
            self._listeners.append(listener)

        def remove() -> None:
            with self._changed:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return remove

    def changes(self) -> Iterator[LeaderChanged]:
        """Every change, in order and without loss, beginning with how things stand. Blocks between them, until
        `close`."""
        queue: SimpleQueue[LeaderChanged | None] = SimpleQueue()
        with self._changed:
            if self._known:
                queue.put(LeaderChanged(self._leader, self._view.leader_revision))
            if self._closed:
                queue.put(None)
            self._queues.append(queue)
        try:
            while (change := _take(queue)) is not None:
                yield change
        finally:
            with self._changed:
                self._queues.remove(queue)


def _take(queue: SimpleQueue[LeaderChanged | None]) -> LeaderChanged | None:
    """Wait for the next change. In short waits: one without end can sleep through a Ctrl-C in the main thread."""
    while True:
        try:
            return queue.get(timeout=_LONGEST_WAIT_S)
        except Empty:
            continue
