"""What runs between `start` and `stop` of a system, and how it ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from slurp_leader.clock import Clock
from slurp_leader.election import ElectionKeys
from slurp_leader.election.observing.observer import Observer
from slurp_leader.errors import LifecycleError
from slurp_leader.jobs.client import JobClient
from slurp_leader.store import Store
from slurp_leader.store.follow import Follower, FollowFailed, FollowNotice
from slurp_leader.system.condition import Facts
from slurp_leader.system.connection import asker, outage_of
from slurp_leader.system.lifetime import ProcessParts
from slurp_leader.system.node import Node


class ElectionView:
    """An observer of the election, and the watch that feeds it."""

    def __init__(self, store: Store, keys: ElectionKeys, clock: Clock) -> None:
        self.observer = Observer(keys, clock, asker(store))
        self.failure: Exception | None = None
        """Why it sees nothing any more."""
        self._follower = Follower(store, keys.prefix, self._take, clock=clock)
        self._follower.start()

    def close(self) -> None:
        """End the watch, and the wait of everybody who waits for a change."""
        self._follower.stop()
        self.observer.close()

    def _take(self, notice: FollowNotice) -> None:
        if isinstance(notice, FollowFailed):
            self.failure = notice.error
            self.observer.close()
        else:
            self.observer.feed(notice)


@dataclass(slots=True)
class Parts(ProcessParts):
    """What runs. It belongs to the process that started it: a forked child has a copy, but none of its threads."""

    store: Store
    client: JobClient
    node: Node | None = None
    """None for a mere client."""
    view: ElectionView | None = None
    is_stopping: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)  # guards view and is_stopping

    def observe(self, keys: ElectionKeys, clock: Clock) -> Observer:
        """The observer of the election, with a watch of its own, from when it is first asked for.

        Raises:
            LifecycleError: All is being stopped.
        """
        with self._lock:
            if self.is_stopping:
                raise LifecycleError("the system is being stopped")
            if self.view is None:
                self.view = ElectionView(self.store, keys, clock)
            return self.view.observer

    def stop(self) -> bool:
        """End all: first what needs the rest. Safe twice, and to be repeated when it was interrupted.

        Returns:
            Whether everything that was held was given back.
        """
        with self._lock:
            self.is_stopping = True
        clean = self.node.stop() if self.node else True
        if self.view is not None:
            self.view.close()
        self.client.stop()
        self.store.close()
        return clean

    def facts(self, node_id: str, election: str) -> Facts:
        """What is known of how they are."""
        node, client = self.node, self.client
        stores = (self.store, node.store) if node else (self.store,)
        facts = Facts(
            node_id,
            election,
            is_stopping=self.is_stopping,
            outage=next((outage for outage in map(outage_of, stores) if outage), None),
            lost_store=client.failure or (self.view.failure if self.view else None),
            has_heard=client.is_following,
        )
        return node.add_to(facts) if node else facts
