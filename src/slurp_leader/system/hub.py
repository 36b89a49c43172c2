"""`Elections`: many elections of one process, over one connection and one watch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.election.records import elections_prefix
from slurp_leader.errors import ConfigurationError, LifecycleError
from slurp_leader.forks import free_in_child
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Request, Store, Watch
from slurp_leader.store.follow import FollowSink
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.port import StoreOutage, WatchSink
from slurp_leader.store.shared_follow import SharedFollower
from slurp_leader.system.connection import (
    Following,
    SettingsLike,
    StoreFactory,
    etcd_stores,
    outage_of,
    settings_of,
)
from slurp_leader.system.guarding import Reach
from slurp_leader.system.leader_election import LeaderElection
from slurp_leader.system.lifetime import ProcessParts, RunsParts
from slurp_leader.telemetry.metrics import Metrics

R = TypeVar("R")


@dataclass(slots=True)
class _Parts(ProcessParts):
    """What runs between `start` and `stop`."""

    store: Store
    shared: SharedFollower
    is_stopping: bool = False


class Elections(RunsParts[_Parts]):
    """Stands for many elections, each for itself, over one connection and one watch. Safe to use from any thread.

    ::

        elections = Elections()
        reports, mail = elections.add("reports"), elections.add("mail")
        with elections:                        # or async with, or FastAPI(lifespan=elections.lifespan)
            if reports.is_leader: ...

    **What is shared**: the connection to etcd, and one watch over all elections of the cluster. **What is not**: each
    election has its own lease, its own two threads, its own trust and its own listeners. So one that loses its lease,
    hangs in a listener or is stopped takes nothing from the others.

    One crash guard (see `slurp_leader.guard`) serves them all, with a beat for each lease.

    **Cost**, measured without it for 50 elections of TTL 15 s that this process leads (Python 3.11, one etcd member,
    two cores): one socket, one watch, 100 threads, 4.5 MiB (90 KiB an election) and 3.4 % of a core. Fifty
    `LeaderElection` by themselves take 50 sockets, 50 watches, 300 threads, 13 MiB and 6 %. Threads that wait cost
    little, so one loop for all of them would save some 4 MiB, and one election that hangs would hang all: each keeps
    its own. The watch brings the heartbeats of every election in the cluster, also of those that this process has no
    part in.

    A forked child holds no part of it: there none of them leads, and it cannot connect to etcd.

    Attributes:
        settings: The settings in force, for all of them but for the name.

    Args:
        settings: Settings or a file; None: environment and discovered file.
        stores: Makes the store; None: etcd, as the settings say.
        clock: Source of time.
        metrics: Where measurements go.
        reaches_etcd: Whether `stores` lead to the etcd of the settings, so that a crash guard can reach it by itself;
            None: only when no `stores` are given. Where they are, the start says in the log that there is no guard.

    Raises:
        ConfigurationError: A setting is wrong.
    """

    def __init__(
        self,
        settings: SettingsLike = None,
        *,
        stores: StoreFactory | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        reaches_etcd: bool | None = None,
    ) -> None:
        super().__init__()
        self.settings: SlurpSettings = settings_of(settings)
        self._clock = clock or SystemClock()
        self._make_store = stores or etcd_stores(self.settings, self._clock)
        self._reach = Reach.of(stores, reaches_etcd)
        self._metrics = metrics
        self._prefix = elections_prefix(Keyspace(self.settings.node.cluster_id))
        self._lock = free_in_child(threading.RLock())  # never held while something is waited for; guards all below
        self._elections: dict[str, LeaderElection] = {}

    def __repr__(self) -> str:
        return f"<Elections: {', '.join(self) or 'none'}>"

    # ------------------------------------------------------------ which

    def add(self, name: str) -> LeaderElection:
        """One more election. It starts with the others; at once, if they run.

        Periodic work (`every`, `cron`) has to be registered before an election starts. Where they run already, `stop`
        the new one, register, and `start` it again. Hooks, health checks and listeners can be added at any time.

        Raises:
            ConfigurationError: There is one of this name here, or the name cannot be part of a key.
            LifecycleError: They are being stopped.
        """
        with self._lock:
            if name in self._elections:
                raise ConfigurationError(f"the election {name!r} was added before: use elections[{name!r}]")
            election = LeaderElection(
                name,
                self.settings,
                stores=self._lend_store,
                clock=self._clock,
                metrics=self._metrics,
                followers=self._follow,
                reaches_etcd=self._reach.is_sure,
            )
            if self._running_parts is not None:
                election.start()
            self._elections[name] = election
        return election

    def remove(self, name: str) -> bool:
        """Stop one election, and forget it. Blocks as its `stop` does.

        Returns:
            Whether everything of it was given back.

        Raises:
            KeyError: There is none of this name here.
        """
        with self._lock:
            election = self._elections.pop(name)
        return election.stop()

    def __getitem__(self, name: str) -> LeaderElection:
        with self._lock:
            return self._elections[name]

    def __iter__(self) -> Iterator[str]:
        """Names, in the order in which they were added."""
        with self._lock:
            return iter(tuple(self._elections))

    def __len__(self) -> int:
        return len(self._elections)

    def __contains__(self, name: object) -> bool:
        return name in self._elections

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to stand in all of them. Returns at once, also while etcd cannot be reached.

        Raises:
            LifecycleError: Started already, or in a forked child.
        """
        self._leave_to_parent()
        with self._lifecycle, ExitStack() as undo:
            with self._lock:
                if self._parts is not None:
                    raise LifecycleError("these elections are running; stop() them first")
                self._reach.say_if_unguarded(self.settings)
                store = self._make_store()
                shared = SharedFollower(store, self._prefix, self._clock)
                self._parts = _Parts(store, shared)
                undo.callback(self.stop)
                shared.start()
                for election in self._elections.values():
                    election.start()
            undo.pop_all()

    def stop(self) -> bool:
        """Give back what is held, and stop; all at the same time, so it takes as long as the slowest. Safe twice,
        before `start`, and from several threads: each returns when all has ended.

        Returns:
            Whether everything was given back. If not, the leases end the rest. True when nothing was running.
        """
        if self._runs_in_parent:
            return True  # which stops it
        with self._lifecycle:
            with self._lock:
                parts = self._parts
                if parts is None:
                    return True
                parts.is_stopping = True
                elections = tuple(self._elections.values())
            clean = all(_at_once([election.stop for election in elections]))
            parts.shared.stop()
            parts.store.close()
            with self._lock:
                self._parts = None
        return clean

    def health(self) -> dict[str, Any]:
        """Whether this process can stand in all of them, as plain data, without asking etcd: `live`, `ready`, `healthy`
        of all, and under `elections` what `LeaderElection.health` says of each."""
        with self._lock:
            each = {name: election.health() for name, election in self._elections.items()}
        words = {word: all(health[word] for health in each.values()) for word in ("live", "ready", "healthy")}
        return {**words, "elections": each}

    # ------------------------------------------------------------ what is shared

    def _lend_store(self) -> Store:
        return _LentStore(self._need_parts().store)

    def _follow(self, store: Store, prefix: bytes, sink: FollowSink) -> Following:
        return self._need_parts().shared.part(prefix, sink)

    def _need_parts(self) -> _Parts:
        parts = self._running_parts
        if parts is None:
            raise LifecycleError("this election is one of many: start() the `Elections` it belongs to first")
        if parts.is_stopping:
            raise LifecycleError("the elections are being stopped")
        return parts


class _LentStore:
    """The store of all, in the hands of one: closing it closes nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def outage(self) -> StoreOutage | None:
        """See `slurp_leader.store.port.TellsOutages`."""
        return outage_of(self._store)

    def call(self, request: Request[R], timeout_s: float) -> Future[R]:
        return self._store.call(request, timeout_s)

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: WatchSink) -> Watch:
        return self._store.watch(key, range_end, start_revision, sink)

    def close(self) -> None:
        """It is the hub's."""


def _at_once(calls: list[Callable[[], bool]]) -> list[bool]:
    """Make all calls at the same time, and wait for all. One that raised counts as False."""
    answers = [False] * len(calls)

    def make(number: int) -> None:
        answers[number] = calls[number]()

    threads = [
        threading.Thread(target=make, args=(number,), name="slurp-stop", daemon=True) for number in range(len(calls))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
