"""`LeaderObserver`: who leads an election, for processes that do not stand in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.election import ElectionKeys
from slurp_leader.election.observing.observer import Observer, Sighting
from slurp_leader.election.orders import Orders
from slurp_leader.errors import LifecycleError
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.system.aio import AsyncFace
from slurp_leader.system.connection import (
    SettingsLike,
    StoreFactory,
    etcd_stores,
    look,
    settings_of,
)
from slurp_leader.system.leader_view import LeaderView
from slurp_leader.system.lifetime import Lifetime
from slurp_leader.system.parts import ElectionView

_VERBS = frozenset({"explain", "get", "history", "orders", "sighting", "simulate", "start", "stop", "wait"})


@dataclass(slots=True)
class _Parts:
    """What runs between `start` and `stop`."""

    store: Store
    view: ElectionView
    _pid: int = field(default_factory=os.getpid)

    @property
    def is_ours(self) -> bool:
        return self._pid == os.getpid()

    def stop(self) -> None:
        self.view.close()
        self.store.close()


class LeaderObserver(LeaderView, Lifetime):
    """Follows one election and never stands in it. Safe to use from any thread.

    ::

        with LeaderObserver("reports") as leader:
            leader.get()                       # from memory; fresh=True asks etcd
            leader.wait(timeout=30)            # until somebody leads
            for change in leader.observe(): ...

    In a coroutine: ``async with``, ``await leader.aio.get()``, ``async for change in leader.observe()``.

    It holds one connection and one watch, has no lease and writes nothing. A forked child holds no part of it: there it
    is not started, and it cannot connect to etcd.

    Attributes:
        settings: The settings in force.
        aio: The verbs that wait, awaited: ``get``, ``sighting``, ``wait``, ``start``, ``stop``.

    Args:
        name: Of the election; None: ``election.name`` of the settings.
        settings: Settings or a file; None: environment and discovered file.
        stores: Makes the store; None: etcd, as the settings say.
        clock: Source of time.

    Raises:
        ConfigurationError: A setting is wrong.
    """

    def __init__(
        self,
        name: str | None = None,
        settings: SettingsLike = None,
        *,
        stores: StoreFactory | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings: SlurpSettings = settings_of(settings)
        node_id, rank_wait_s = self.settings.node.id, self.settings.election.rank_wait_s
        super().__init__(self._observing, self._ask_etcd, self._ordering, node_id, rank_wait_s)
        self._clock = clock or SystemClock()
        self._make_store = stores or etcd_stores(self.settings, self._clock)
        self._name = self.settings.election.name if name is None else name
        self._keys = ElectionKeys.of(Keyspace(self.settings.node.cluster_id), self._name)
        self._lifecycle = threading.RLock()  # held while it starts and while it stops
        self._parts: _Parts | None = None
        self._inherited: _Parts | None = None
        self.aio = AsyncFace(self._verb, _VERBS)
        """The verbs that wait, awaited: ``await leader.aio.get()``."""

    def __repr__(self) -> str:
        return f"<LeaderObserver of {self._name!r}: get, sighting, wait, observe, history, explain>"

    @property
    def name(self) -> str:
        """Of the election."""
        return self._name

    def start(self) -> None:
        """Begin to follow. Returns at once, also while etcd cannot be reached.

        Raises:
            LifecycleError: Started already.
        """
        inherited = self._parts
        if inherited is not None and not inherited.is_ours:  # see SlurpLeaderSystem
            self._inherited, self._parts = inherited, None
            self._lifecycle = threading.RLock()
        with self._lifecycle:
            if self._parts is not None:
                raise LifecycleError("this observer is running; stop() it first")
            store = self._make_store()
            self._parts = _Parts(store, ElectionView(store, self._keys, self._clock))

    def stop(self) -> bool:
        """End it: who waits is told, and every `observe` ends. Safe twice and before `start`. Always True."""
        parts = self._parts
        if parts is not None and not parts.is_ours:
            return True  # the parent process stops it
        with self._lifecycle:
            if self._parts is not None:
                self._parts.stop()
                self._parts = None
        return True

    def _running(self) -> _Parts:
        parts = self._parts
        if parts is None or not parts.is_ours:
            raise LifecycleError("the observer is not running: start() it first")
        return parts

    def _observing(self) -> Observer:
        return self._running().view.observer

    def _ask_etcd(self, timeout: float) -> Sighting:
        return look(self._running().store, self._keys, self._clock, timeout)

    def _ordering(self) -> Orders:
        """Only asked here, never told."""
        rpc_timeout_s = self.settings.election.rpc_timeout_s
        return Orders(self._running().store, self._keys, self._name, self._clock, rpc_timeout_s, self.settings.node.id)

    def _verb(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self, name)
        return method
