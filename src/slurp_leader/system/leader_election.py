"""`LeaderElection`: one election, without jobs. What nine services in ten need."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.election import Election, ElectionEvent, ElectionKeys, ElectionState, Identity, LeaderInfo
from slurp_leader.errors import LeadershipLostError, LifecycleError
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Store
from slurp_leader.store.follow import Follower
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.system.connection import SettingsLike, StoreFactory, etcd_stores, settings_of
from slurp_leader.telemetry.metrics import Metrics
from slurp_leader.term import Term

T = TypeVar("T")


class LeaderElection:
    """Stands for one election for as long as it is started. Safe to use from any thread.

    ::

        election = LeaderElection("reports")
        with election:
            if election.is_leader: ...

    or ``FastAPI(lifespan=election.lifespan)``, or ``election.run(work)``.

    Args:
        name: Of the election. Services that use the same name and cluster compete.
        settings: Settings or a file; None: environment and discovered file.
        stores: Makes the store; None: etcd, as the settings say.
        clock: Source of time.
        metrics: Where measurements go.

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
        metrics: Metrics | None = None,
    ) -> None:
        self.settings: SlurpSettings = settings_of(settings)
        self._clock = clock or SystemClock()
        self._make_store = stores or etcd_stores(self.settings, self._clock)
        self._metrics = metrics
        options = self.settings.election
        self._options = options if name is None else type(options)(**{**dict(options), "name": name})
        self._keyspace = Keyspace(self.settings.node.cluster_id)
        self._store: Store | None = None
        self._election: Election | None = None
        self._follower: Follower | None = None

    @property
    def name(self) -> str:
        return self._options.name

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to stand. Returns at once, also while etcd cannot be reached.

        Raises:
            LifecycleError: Started already.
        """
        if self._election is not None:
            raise LifecycleError("this election is running; stop() it first")
        self._store = self._make_store()
        self._election = Election(
            self._store,
            self._keyspace,
            self._options,
            identity_of(self.settings),
            clock=self._clock,
            metrics=self._metrics,
        )
        prefix = ElectionKeys.of(self._keyspace, self._options.name).prefix
        self._follower = Follower(self._store, prefix, self._election.feed, clock=self._clock)
        self._follower.start()
        self._election.start()

    def stop(self) -> bool:
        """Give back what is held, and stop. Blocks at most `election.stop_timeout` and a little. Safe twice.

        Returns:
            Whether everything was given back. If not, the lease ends the rest.
        """
        election, follower, store = self._election, self._follower, self._store
        if election is None or follower is None or store is None:
            return True
        clean = election.stop()
        follower.stop()
        store.close()
        self._election = self._follower = self._store = None
        return clean

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """For ``FastAPI(lifespan=election.lifespan)``: stands while the service runs, gives back when it stops."""
        async with self:
            yield

    # ------------------------------------------------------------ questions

    @property
    def is_leader(self) -> bool:
        """Whether this process may act as leader right now. Ask again before every act: it is a matter of time."""
        return self._election is not None and self._election.is_leader

    @property
    def term(self) -> Term | None:
        """The term this process may act in right now; None when there is none."""
        return self._election.term if self._election else None

    def require_term(self) -> Term:
        """The term in force.

        Raises:
            NotLeaderError: This process does not lead.
        """
        return self._running().require_term()

    @property
    def state(self) -> ElectionState:
        return self._election.state if self._election else ElectionState.FOLLOWER

    @property
    def leader(self) -> LeaderInfo | None:
        """Who leads, as last seen; None: nobody, or not known yet."""
        return self._election.leader if self._election else None

    def wait_for_leadership(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until this process leads."""
        return self._running().wait_for_leadership(timeout)

    def wait_for_leader(self, timeout: float | None = None) -> LeaderInfo:
        """Wait until anybody leads.

        Raises:
            NoLeaderError: Nobody did within `timeout` seconds.
        """
        return self._running().wait_for_leader(timeout)

    def subscribe(self, listener: Callable[[ElectionEvent], None]) -> Callable[[], None]:
        """Tell `listener` of every change, in order, on a thread of the election. Returns a function that ends it."""
        return self._running().subscribe(listener)

    def resign(self, pause: float = 2.0) -> None:
        """Give the term back, and let others go first for `pause` seconds.

        Raises:
            NotLeaderError: This process does not lead.
        """
        self._running().resign(pause)

    # ------------------------------------------------------------ work that only the leader does

    def run(self, work: Callable[[Term], T]) -> T:
        """Wait until this process leads, then call ``work(term)`` and return what it returns.

        `work` should come to its end when ``term.should_stop`` (``while not term.wait(60): ...``). If the term was
        lost under it, it is called anew with the next one. When it returns or raises, the term is given back.
        Starts and stops the election if it is not running.

        Raises:
            Whatever `work` raises, except the loss of its term.
        """
        if self._election is None:
            with self:
                return self.run(work)
        election = self._election
        owner = f"run-{secrets.token_hex(4)}"
        election.add_owner(owner)
        while election.wait_for_leadership():
            term = election.term
            if term is None:
                continue
            try:
                result = work(term)
            except LeadershipLostError:
                election.drained(owner, term.token)
                continue
            except BaseException:
                self._give_back(election, owner, term)
                raise
            stopped_by_loss = not term.is_valid
            self._give_back(election, owner, term)
            if not stopped_by_loss:
                return result
        raise LifecycleError("the election was stopped before this process led")

    @staticmethod
    def _give_back(election: Election, owner: str, term: Term) -> None:
        current = election.term
        if current is not None and current.token == term.token and not term.leaving.is_set():
            election.resign()
            term.leaving.wait(5)
        election.drained(owner, term.token)

    def _running(self) -> Election:
        if self._election is None:
            raise LifecycleError("the election is not running: start() it first")
        return self._election


def identity_of(settings: SlurpSettings) -> Identity:
    """Who stands, as the settings say."""
    from slurp_leader import __version__

    node = settings.node
    return Identity(node.id, "", node.advertise, tuple(node.capabilities), __version__)
