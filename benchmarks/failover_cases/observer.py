"""The one observer: watches etcd itself and notes when it saw each change, by CLOCK_MONOTONIC.

What a node says about itself is not counted; who leads is who stands in the leader key. A time is that of the watch
event in this process, so it holds etcd's way to tell us and our own delay, and is never too short.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from slurp_leader.election import ElectionKeys
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.jobs.records import JobKeys
from slurp_leader.store import EventKind, Get, WatchCompacted, WatchEvents, WatchFailed, WatchNotice, prefix_end
from slurp_leader.store.keyspace import Keyspace

CLUSTER = "bench"
ELECTION = "failover"
EFFECTS = b"bench/effects/"
"""Where a leader puts what it does to the world, by fenced writes."""


class Seen(NamedTuple):
    """One change, and when it was seen."""

    at: float
    is_put: bool
    key: bytes
    value: bytes
    revision: int

    @property
    def record(self) -> dict[str, Any]:
        """The value, as JSON."""
        data: dict[str, Any] = json.loads(self.value)
        return data


class Observer:
    """Follows the election, and where asked the claims, outcomes and effects of one cluster.

    Args:
        endpoints: Of etcd.
        jobs: Whether to follow claims and outcomes too.
    """

    def __init__(self, endpoints: list[str], *, jobs: bool = True) -> None:
        keyspace = Keyspace(CLUSTER)
        self.keys = ElectionKeys.of(keyspace, ELECTION)
        self.job_keys = JobKeys(keyspace)
        self.store = EtcdStore(EtcdOptions(endpoints=endpoints))
        self._news = threading.Condition()
        # Guarded by _news; a list only grows, so that an index into it stays good.
        self.leaders: list[Seen] = []
        self.heartbeats: list[Seen] = []
        self.nodes: list[Seen] = []
        self.claims: list[Seen] = []
        self.done: list[Seen] = []
        self.effects: list[Seen] = []
        self.trouble = ""
        follows: list[tuple[bytes, bool, list[Seen]]] = [
            (self.keys.leader, False, self.leaders),
            (self.keys.heartbeat, False, self.heartbeats),
            (keyspace.mirrored + b"nodes/", True, self.nodes),
        ]
        if jobs:
            follows += [
                (self.job_keys.run, True, self.claims),
                (self.job_keys.done, True, self.done),
                (EFFECTS, True, self.effects),
            ]
        begin = self.revision() + 1
        for key, is_prefix, into in follows:
            self.store.watch(key, prefix_end(key) if is_prefix else None, begin, self._into(into))

    def _into(self, into: list[Seen]) -> Callable[[WatchNotice], None]:
        def take(notice: WatchNotice) -> None:
            at = time.monotonic()
            with self._news:
                if isinstance(notice, WatchEvents):
                    into.extend(
                        Seen(at, each.kind is EventKind.PUT, each.kv.key, each.kv.value, each.kv.mod_revision)
                        for each in notice.events
                    )
                elif isinstance(notice, WatchCompacted | WatchFailed):
                    self.trouble = repr(notice)
                self._news.notify_all()

        return take

    def revision(self) -> int:
        """etcd's newest revision: it counts the writes that changed something."""
        return self.store.call(Get(b"\0", count_only=True), 10).result().header.revision

    def until(self, found: Callable[[], Any], timeout_s: float, what: str) -> Any:
        """Wait until `found` answers something, and return that.

        Raises:
            TimeoutError: It did not in time; names `what`.
        """
        with self._news:
            answer = self._news.wait_for(lambda: self.trouble or found(), timeout_s)
        if self.trouble:
            raise RuntimeError(f"the watch of the observer ended: {self.trouble}")
        if not answer:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        return answer

    # ------------------------------------------------------------ questions about the election

    @property
    def leader(self) -> Seen | None:
        """The leader key as last seen; None while there is none."""
        last = self.leaders[-1] if self.leaders else None
        return last if last is not None and last.is_put else None

    def proven_leader(self) -> Seen | None:
        """Who leads and has sent a heartbeat in this term, so that it knows that it leads."""
        leader = self.leader
        if leader is None or not self.heartbeats or self.heartbeats[-1].revision < leader.revision:
            return None
        return leader

    def next_leader(self, after: int, timeout_s: float) -> Seen:
        """The first put of the leader key above revision `after`."""
        found: Seen = self.until(lambda: self.leader_after(after), timeout_s, "the next leader")
        return found

    def leader_after(self, revision: int) -> Seen | None:
        """The first put of the leader key above `revision`, if it has been seen."""
        # From behind: what is asked for is new.
        newer = []
        for each in reversed(self.leaders):
            if each.revision <= revision:
                break
            newer.append(each)
        return next((each for each in reversed(newer) if each.is_put), None)

    def has_joined(self, node_id: str) -> bool:
        """Whether this node has a session."""
        prefix = b"/nodes/" + node_id.encode() + b"/"
        return any(each.is_put and prefix in each.key for each in reversed(self.nodes))

    def first_done(self, token: int) -> Seen | None:
        """The first outcome that a term committed."""
        return next(
            (each for each in self.done if each.is_put and each.revision > token and each.record["token"] == token),
            None,
        )

    def first_claim(self, token: int) -> Seen | None:
        """The first claim of a term."""
        prefix = self.job_keys.run + b"%016d-" % token
        return next((each for each in reversed(self.claims) if each.is_put and each.key.startswith(prefix)), None)

    def close(self) -> None:
        """End the watches."""
        self.store.close()
