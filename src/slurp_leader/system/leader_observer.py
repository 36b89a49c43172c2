"""`LeaderObserver`: who leads an election, for processes that do not stand in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.election import ElectionKeys
from slurp_leader.errors import LifecycleError
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.system.aio import AsyncFace
from slurp_leader.system.connection import (
    SettingsLike,
    StoreFactory,
    etcd_stores,
    settings_of,
)
from slurp_leader.system.leader_view import Access, LeaderView
from slurp_leader.system.lifetime import ProcessParts, RunsParts
from slurp_leader.system.parts import ElectionView

_VERBS = frozenset(
    {"explain", "get", "history", "orders", "sighting", "simulate", "start", "stop", "wait", "wait_for_leader"}
)


@dataclass(slots=True)
class _Parts(ProcessParts):
    """What runs between `start` and `stop`."""

    store: Store
    view: ElectionView

    def stop(self) -> None:
        self.view.close()
        self.store.close()


class LeaderObserver(LeaderView, RunsParts[_Parts]):
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

    _called = "the observer"

    def __init__(
        self,
        name: str | None = None,
        settings: SettingsLike = None,
        *,
        stores: StoreFactory | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings: SlurpSettings = settings_of(settings)
        options = self.settings.election
        self._options = options if name is None else options.but(name=name)
        self._keys = ElectionKeys.of(Keyspace(self.settings.node.cluster_id), self._options.name)
        self._clock = clock or SystemClock()
        self._make_store = stores or etcd_stores(self.settings, self._clock)
        RunsParts.__init__(self)
        LeaderView.__init__(
            self,
            Access(
                lambda: self._running().store,
                lambda: self._running().view.observer,
                self._keys,
                self._options,
                self.settings.node.id,
                self._clock,
            ),
        )
        self.aio = AsyncFace(self._verb, _VERBS)
        """The verbs that wait, awaited: ``await leader.aio.get()``."""

    def __repr__(self) -> str:
        return f"<LeaderObserver of {self.name!r}: get, sighting, wait, observe, history, explain>"

    @property
    def name(self) -> str:
        """Of the election."""
        return self._options.name

    def start(self) -> None:
        """Begin to follow. Returns at once, also while etcd cannot be reached.

        Raises:
            LifecycleError: Started already.
        """
        self._leave_to_parent()
        with self._lifecycle:
            if self._parts is not None:
                raise LifecycleError("this observer is running; stop() it first")
            store = self._make_store()
            self._parts = _Parts(store, ElectionView(store, self._keys, self._clock))

    def stop(self) -> bool:
        """End it: who waits is told, and every `observe` ends. Safe twice and before `start`. Always True."""
        if self._runs_in_parent:
            return True  # which stops it
        with self._lifecycle:
            if self._parts is not None:
                self._parts.stop()
                self._parts = None
        return True

    def _running(self) -> _Parts:
        return self._need_parts()

    def _verb(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self, name)
        return method
