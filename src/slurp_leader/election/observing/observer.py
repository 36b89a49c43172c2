"""Who leads, for those who do not stand: fed like an `Election`, and asked the same questions."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace

from slurp_leader.clock import Clock
from slurp_leader.election.events import LeaderChanged
from slurp_leader.election.observing.changes import WAITING_LIMIT, Gap, LeaderChanges
from slurp_leader.election.observing.missed import Ask, Standing, changes_between, differs
from slurp_leader.election.records import ElectionKeys, LeaderInfo
from slurp_leader.errors import NoLeaderError
from slurp_leader.forks import free_in_child
from slurp_leader.store import Event, EventKind
from slurp_leader.store.follow import Changes, FollowFailed, FollowNotice, Snapshot

Listener = Callable[[LeaderChanged], None]


@dataclass(frozen=True, slots=True)
class Sighting:
    """Who leads, and how far that is known."""

    leader: LeaderInfo | None
    """None: nobody did."""
    as_of: int
    """Revision of etcd up to which this is known to hold."""
    age_s: float
    """Seconds since etcd was last heard. It grows while etcd is out of reach; a watch that is well hears a leader's
    heartbeat every fifth of its TTL, and asks for a sign of life by itself."""

    @classmethod
    def of(cls, leader: LeaderInfo | None, as_of: int, age_s: float) -> Sighting:
        """With the two figures on the leader as well."""
        return cls(replace(leader, as_of=as_of, age_s=age_s) if leader else None, as_of, age_s)


class Observer:
    """Follows one election without standing in it. Safe to use from any thread.

    Its owner hands it what a `Follower` of the election's keys (or of a wider range) delivers, through `feed`. For a
    forked child it is closed: it is the parent's that is fed.

    Args:
        keys: Of the election.
        clock: Measures ages and vacancies.
        ask: Asks etcd, and waits. For terms that the watch missed because etcd compacted them away; None: those are
            only counted. Called on a thread of its own.
    """

    def __init__(self, keys: ElectionKeys, clock: Clock, ask: Ask | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._ask = ask
        self._pid = os.getpid()
        self._changed = free_in_child(threading.Condition())
        # Guarded by _changed:
        self._standing: Standing | None = None
        self._leader: LeaderInfo | None = None
        self._told_at = 0  # the revision of the change that led to it
        self._heard_at = clock.boottime()
        self._vacant_since: float | None = None
        self._listeners: list[Listener] = []
        self._closed = False
        self._logs: weakref.WeakSet[LeaderChanges] = weakref.WeakSet()  # one that nobody reads any more is forgotten

    def close(self) -> None:
        """Nothing more will be fed: who waits is told, and every `observe` ends. Safe twice."""
        with self._changed:
            self._closed = True
            for log in self._logs:
                log.close()
            self._changed.notify_all()

    # ------------------------------------------------------------ what is seen

    def feed(self, notice: FollowNotice) -> None:
        """Hand over what was seen. Listeners are told on the calling thread, in order; they must not block or raise."""
        if isinstance(notice, FollowFailed):
            self.close()
            return
        with self._changed:
            changes = self._learn(notice, self._clock.boottime())
            listeners = tuple(self._listeners)
        for change in changes:
            for listener in listeners:
                listener(change)

    def _learn(self, notice: FollowNotice, now: float) -> list[LeaderChanged]:
        self._heard_at = now
        if isinstance(notice, Snapshot):
            return self._replace(Standing.of(self._keys, notice.revision, notice.kvs), now)
        if self._standing is None:
            return []  # the first thing that a follower tells is a snapshot
        changes = []
        if isinstance(notice, Changes):
            changes = [change for event in notice.events if (change := self._see(event, now))]
        assert not isinstance(notice, FollowFailed)
        self._standing = replace(self._standing, revision=max(notice.revision, self._standing.revision))
        return changes

    def _see(self, event: Event, now: float) -> LeaderChanged | None:
        """One event; each change of leader is told by itself, however many come together."""
        standing, kv = self._standing, event.kv
        assert standing is not None
        if kv.mod_revision <= standing.revision or kv.key not in (self._keys.leader, self._keys.epoch):
            return None
        found = kv if event.kind is EventKind.PUT else None
        if kv.key == self._keys.epoch:
            self._standing = replace(standing, epoch=found)
            return None
        self._standing = replace(standing, leader=found)
        change = self._tell(LeaderChanged(self._standing.info, kv.mod_revision), now)
        for log in self._logs:
            log.put(change)
        return change

    def _replace(self, standing: Standing, now: float) -> list[LeaderChanged]:
        """Everything anew: at the beginning, and when the watch was away for longer than etcd's history."""
        before, self._standing = self._standing, standing
        if before is not None and not differs(before, standing):
            return []
        change = self._tell(standing.change, now)
        if before is None:
            for log in self._logs:
                log.put(change)
            return [change]
        self._look_up(before, standing, change)
        return [replace(change, missed=changes_between(before, standing, self._keys, None)[0].missed)]

    def _tell(self, change: LeaderChanged, now: float) -> LeaderChanged:
        since, self._vacant_since = self._vacant_since, now if change.leader is None else None
        self._leader, self._told_at = change.leader, change.revision
        self._changed.notify_all()
        return replace(change, vacancy_s=None if change.leader is None or since is None else now - since)

    def _look_up(self, before: Standing, standing: Standing, newest: LeaderChanged) -> None:
        """Fill the gap before `newest` on a thread of its own: etcd has to be asked, and more may come meanwhile."""
        logs, gap = list(self._logs), Gap()
        for log in logs:
            log.put(gap)

        def look_up() -> None:
            changes = changes_between(before, standing, self._keys, self._ask)
            if len(changes) == 1 and changes[0].missed == 0:
                changes = [newest]  # how long nobody led is known
            for log in logs:
                log.fill(gap, changes)

        if logs:
            threading.Thread(target=look_up, name="slurp-missed-terms", daemon=True).start()

    # ------------------------------------------------------------ questions

    @property
    def leader(self) -> LeaderInfo | None:
        """Who led when etcd was last heard; None: nobody, or not known yet."""
        return self._leader

    @property
    def _is_over(self) -> bool:
        return self._closed or os.getpid() != self._pid

    @property
    def sighting(self) -> Sighting | None:
        """The same, and how far it is known; None: etcd has not told yet. Never blocks for etcd."""
        with self._changed:
            if self._standing is None:
                return None
            return Sighting.of(self._leader, self._standing.revision, self._clock.boottime() - self._heard_at)

    def wait_until_known(self, timeout_s: float | None = None) -> bool:
        """Wait until etcd has told who leads, or that nobody does. False when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._standing is not None or self._is_over, timeout=timeout_s)
            return self._standing is not None

    def wait_for_leader(self, timeout_s: float | None = None) -> LeaderInfo:
        """Wait until somebody leads.

        Raises:
            NoLeaderError: Nobody did within the time, or before `close`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._leader is not None or self._is_over, timeout=timeout_s)
            if self._leader is None:
                raise NoLeaderError("nobody led " + ("before the end" if self._is_over else f"within {timeout_s} s"))
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

    def observe(self, limit: int = WAITING_LIMIT) -> LeaderChanges:
        """Every change from now on, in order and without loss, beginning with how things stand.

        Raises:
            ConfigurationError: `limit` is less than 1.
        """
        log = LeaderChanges(limit)
        with self._changed:
            if self._standing is not None:
                log.put(LeaderChanged(self._leader, self._told_at))
            if self._is_over:
                log.close()
            self._logs.add(log)
        return log
