"""`LeaderElection`: one election, without jobs. What nine services in ten need."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.election import (
    Election,
    ElectionEvent,
    ElectionKeys,
    ElectionState,
    Identity,
    LeaderInfo,
    Reason,
    Transferred,
)
from slurp_leader.election.hooks import Hooks
from slurp_leader.election.observing.changes import WAITING_LIMIT, LeaderChanges
from slurp_leader.election.observing.observer import Observer
from slurp_leader.errors import LifecycleError
from slurp_leader.forks import free_in_child
from slurp_leader.guard.shared import SharedGuard
from slurp_leader.health import HealthChecks
from slurp_leader.periodic import Periodic
from slurp_leader.periodic.runner import what_is_called
from slurp_leader.resources import MachineMeter
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Store
from slurp_leader.store.follow import FollowFailed, FollowNotice
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.system.aio import AsyncFace, on_own_thread
from slurp_leader.system.condition import Facts, health_of
from slurp_leader.system.connection import (
    FollowerFactory,
    Following,
    SettingsLike,
    StoreFactory,
    asker,
    etcd_stores,
    outage_of,
    own_followers,
    settings_of,
)
from slurp_leader.system.guarding import Reach, guard_of
from slurp_leader.system.hooks import HasHooks
from slurp_leader.system.leader_view import Access, LeaderControl
from slurp_leader.system.leader_work import LeaderWork, StallHint, failing_work_of, periodic_of
from slurp_leader.system.lifetime import ProcessParts, RunsParts
from slurp_leader.system.running import Run, awaited_run, not_awaited
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics
from slurp_leader.term import Term

T = TypeVar("T")
Listener = Callable[[ElectionEvent], None]

_logger = logging.getLogger("slurp_leader.system")
_VERBS = frozenset(
    {"get_leader", "resign", "run", "start", "stop", "transfer", "wait_for_leader", "wait_for_leadership"}
)


@dataclass(slots=True)
class _Parts(ProcessParts):
    """What runs between `start` and `stop`."""

    store: Store
    election: Election
    observer: Observer
    guard: SharedGuard | None = None
    follower: Following | None = None
    periodic: Periodic | None = None
    has_heard: bool = False
    failure: Exception | None = None
    is_stopping: bool = False

    def start(self) -> None:
        if self.follower is not None:
            self.follower.start()
        if self.periodic is not None:
            self.periodic.start()
        self.election.start()

    def stop(self) -> bool:
        self.is_stopping = True
        clean = self.election.stop()
        if self.guard is not None:
            self.guard.release()
        if self.follower is not None:
            self.follower.stop()
        if self.periodic is not None:
            clean = self.periodic.stop() and clean
        self.observer.close()
        self.store.close()
        return clean

    def take(self, notice: FollowNotice) -> None:
        """What the watch says."""
        if isinstance(notice, FollowFailed):
            self.failure = notice.error
            end_for_good(self.election, notice.error)
        else:
            self.has_heard = True
            self.election.feed(notice)
        self.observer.feed(notice)


class _Listeners:
    """Who is told of changes, whichever election runs: kept from before a start, and over stops."""

    def __init__(self) -> None:
        self._lock = free_in_child(threading.Lock())
        # Guarded by _lock:
        self._listeners: dict[object, Listener] = {}
        self._ends: dict[object, Callable[[], None]] = {}
        self._election: Election | None = None

    def add(self, listener: Listener) -> Callable[[], None]:
        key = object()
        with self._lock:
            self._listeners[key] = listener
            if self._election is not None:
                self._ends[key] = self._election.subscribe(listener)
        return partial(self._remove, key)

    def hand_to(self, election: Election | None) -> None:
        """From now on this election tells them; None: nobody does."""
        with self._lock:
            self._election = election
            self._ends = {key: election.subscribe(each) for key, each in self._listeners.items()} if election else {}

    def _remove(self, key: object) -> None:
        with self._lock:
            self._listeners.pop(key, None)
            if (end := self._ends.pop(key, None)) is not None:
                end()


class LeaderElection(HasHooks, RunsParts[_Parts], LeaderWork):
    """Stands for one election for as long as it is started. Safe to use from any thread.

    It ends by itself only when etcd refuses it for good, or is another etcd than before: `health` says so.

    What was started lives until `stop`, like a thread: also when nobody refers to it any more. A child process that was
    forked off holds no part of it: there it does not lead, and it cannot connect to etcd.

    ::

        election = LeaderElection("reports")
        with election:
            if election.is_leader: ...

    or ``FastAPI(lifespan=election.lifespan)``, or ``election.run(work)``, or ``@election.every(60)``.

    Attributes:
        settings: The settings in force.
        control: Who leads, and why: ``history``, ``explain``, ``simulate``; and what changes that: ``transfer``,
            ``step_down``, ``freeze``, ``pin``, ``block``, ``force`` ... In a coroutine: ``election.control.aio``.
        aio: The verbs that wait, awaited: ``wait_for_leadership``, ``wait_for_leader``, ``get_leader``, ``transfer``,
            ``resign``, ``start``, ``stop``; and ``run``, whose work may be a coroutine function.

    Args:
        name: Of the election. Services that use the same name and cluster compete.
        settings: Settings or a file; None: environment and discovered file.
        stores: Makes the store; None: etcd, as the settings say.
        clock: Source of time.
        metrics: Where measurements go.
        needs_progress: Whether the term ends when its work does not call ``term.beat()`` (or wait in ``term.wait``) for
            `election.stall_timeout`: a leader that is stuck makes room by itself. For a loop of your own; periodic work
            does not beat for you, so leave this out where there is nothing else.
        reaches_etcd: Whether `stores` lead to the etcd of the settings, so that a crash guard can reach it by itself;
            None: only when no `stores` are given. Where they are, the start says in the log that there is no guard.
        followers: Watches the keys of the election; None: a watch of its own. `Elections` shares one among many.

    Raises:
        ConfigurationError: A setting is wrong.
    """

    _called = "the election"

    def __init__(
        self,
        name: str | None = None,
        settings: SettingsLike = None,
        *,
        stores: StoreFactory | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        needs_progress: bool = False,
        followers: FollowerFactory | None = None,
        reaches_etcd: bool | None = None,
    ) -> None:
        super().__init__()
        self.settings: SlurpSettings = settings_of(settings)
        self._needs_progress = needs_progress
        self._reach = Reach.of(stores, reaches_etcd)
        self._clock = clock or SystemClock()
        self._make_store = stores or etcd_stores(self.settings, self._clock)
        self._make_follower = followers or own_followers(self._clock)
        self._metrics = metrics
        options = self.settings.election
        self._options = options if name is None else options.but(name=name)
        self._hooks = Hooks(self._options.name, self._options.hook_timeout_s, metrics)
        self._checks = HealthChecks(self.settings.health, self._clock, self._on_health, metrics)
        self._keyspace = Keyspace(self.settings.node.cluster_id)
        self._keys = ElectionKeys.of(self._keyspace, self._options.name)
        self.control = LeaderControl(
            Access(
                lambda: self._need_parts().store,
                lambda: self._need_parts().observer,
                self._keys,
                self._options,
                self.settings.node.id,
                self._clock,
            )
        )
        """Who leads, and why; and what changes that: ``step_down``, ``freeze``, ``pin``, ``block``, ``force`` ..."""
        self._listeners = _Listeners()
        self.aio = AsyncFace(self._verb, _VERBS)
        """The verbs that wait, awaited: ``await election.aio.wait_for_leadership(30)``."""

    @property
    def name(self) -> str:
        """Of the election."""
        return self._options.name

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to stand. Returns at once, also while etcd cannot be reached.

        Raises:
            LifecycleError: Started already.
        """
        self._leave_to_parent()
        with self._lifecycle, ExitStack() as undo:
            if self._parts is not None:
                raise LifecycleError("this election is running; stop() it first")
            parts = self._parts = self._new_parts()
            undo.callback(setattr, self, "_parts", None)
            undo.callback(self._listeners.hand_to, None)
            undo.callback(parts.stop)
            self._listeners.hand_to(parts.election)
            parts.start()
            self._checks.start()
            undo.pop_all()

    def _new_parts(self) -> _Parts:
        """What is to be started; nothing stays open if it cannot be made."""
        with ExitStack() as made:
            store = self._make_store()
            made.callback(store.close)
            guard = guard_of(self.settings, self._clock, self._reach)
            if guard is not None:
                made.callback(guard.release)
            election = Election(
                store,
                self._keyspace,
                self._options,
                identity_of(self.settings),
                clock=self._clock,
                metrics=self._metrics,
                guard=guard,
                hooks=self._hooks,
                needs_progress=self._needs_progress,
                free=MachineMeter(self._clock).sample,
            )
            parts = _Parts(store, election, Observer(self._keys, self._clock, asker(store)), guard)
            parts.follower = self._make_follower(store, self._keys.prefix, parts.take)
            parts.periodic = periodic_of(
                self._works,
                store,
                self._keyspace,
                election,
                clock=self._clock,
                metrics=self._metrics,
                give_up=partial(stop_aside, election),
            )
            if parts.periodic is not None and self._needs_progress:
                election.subscribe(StallHint(self.name))
            made.pop_all()
        return parts

    def stop(self) -> bool:
        """Give back what is held, and stop. Blocks at most `election.stop_timeout` and a few seconds. Safe twice,
        before `start`, and from several threads: each returns when all has ended.

        Returns:
            Whether everything was given back. If not, the lease ends the rest. True when nothing was running.
        """
        if self._runs_in_parent:
            return True  # which stops it
        with self._lifecycle:
            parts = self._parts
            if parts is None:
                return True
            self._checks.stop()
            clean = parts.stop()
            self._listeners.hand_to(None)
            self._parts = None
        return clean

    # ------------------------------------------------------------ questions

    @property
    def is_leader(self) -> bool:
        """Whether this process may act as leader right now. Ask again before every act: it is a matter of time."""
        return self.term is not None

    @property
    def term(self) -> Term | None:
        """The term this process may act in right now; None when there is none."""
        parts = self._running_parts
        return parts.election.term if parts else None

    def require_term(self) -> Term:
        """The term in force.

        Raises:
            NotLeaderError: This process does not lead.
        """
        return self._running().require_term()

    @property
    def state(self) -> ElectionState:
        """Where this process stands."""
        parts = self._running_parts
        return parts.election.state if parts else ElectionState.FOLLOWER

    @property
    def reason(self) -> Reason | None:
        """Why `state` was entered; None before anything happened."""
        parts = self._running_parts
        return parts.election.reason if parts else None

    @property
    def leader(self) -> LeaderInfo | None:
        """Who leads, as last seen; None: nobody, or not known yet."""
        parts = self._running_parts
        return parts.election.leader if parts else None

    def health(self) -> dict[str, Any]:
        """Whether this process can stand, as plain data, without asking etcd: `live`, `ready`, `healthy`, and the
        `problems`, each with its fix. See `slurp_leader.system.condition` for what each word means."""
        parts = self._running_parts
        node_id = self.settings.node.id
        if parts is None:
            return health_of(Facts(node_id, self.name, is_running=False), self._clock)
        facts = Facts(
            node_id,
            self.name,
            is_stopping=parts.is_stopping,
            has_heard=parts.has_heard,
            state=parts.election.state,
            reason=parts.election.reason,
            has_ended=parts.election.has_ended,
            why_ended=parts.election.why_ended,
            duplicates=parts.election.duplicates,
            trouble=parts.election.trouble,
            held_back=parts.election.held_back,
            unfit=unfit_of(parts.election),
            failing_checks=self._checks.failing,
            failing_work=failing_work_of(parts.periodic, parts.election),
            slow_hooks=self._hooks.slow,
            outage=outage_of(parts.store),
            lost_store=parts.failure,
            guard_trouble=parts.guard.trouble if parts.guard else None,
        )
        return health_of(facts, self._clock)

    def wait_for_leadership(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until this process leads. False, too, as soon as it never will."""
        return self._running().wait_for_leadership(timeout)

    def wait_for_leader(self, timeout: float | None = None) -> LeaderInfo:
        """Wait until anybody leads.

        Raises:
            NoLeaderError: Nobody did within `timeout` seconds.
            LifecycleError: Not started.
        """
        return self._running().wait_for_leader(timeout)

    def get_leader(self, timeout: float = 5.0, *, fresh: bool = False) -> LeaderInfo | None:
        """Who leads, with the revision and the age of the answer; `fresh` asks etcd. See `LeaderObserver.get`.

        Raises:
            StoreError: `fresh`, and etcd did not answer in time, or refused.
            LifecycleError: Not started.
        """
        return self.control.get(timeout, fresh=fresh)

    def observe(self, limit: int = WAITING_LIMIT) -> LeaderChanges:
        """Every change of leader from now on, for ``for`` and ``async for``, until `stop`: as `LeaderObserver.observe`.

        `subscribe` tells of this process's own state as well, and only of the newest leader where several changed
        between two looks; this tells of each.

        Raises:
            ConfigurationError: `limit` is less than 1.
            LifecycleError: Not started.
        """
        return self.control.observe(limit)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every change from now on, in order, on a thread of the election. Best called before
        `start`, so that nothing is missed; it holds over `stop` and the next `start`.

        Returns:
            A function that ends it.
        """
        return self._listeners.add(listener)

    def resign(self, pause: float = 2.0) -> None:
        """Ask for the lead to be handed over; where nobody can take it, for the term to be given back, and let others
        go first for `pause` seconds. Work of the term ends before. In a frozen election, where nobody can take it, this
        process goes on leading.

        Returns at once: until the term ends, `is_leader` may still be true. To wait for that, keep `term` before, and
        wait for ``term.lost``.

        Raises:
            NotLeaderError: This process does not lead.
        """
        self._running().resign(pause)

    def kill_on_death(self, group: int) -> None:
        """Have the crash guard kill a process group when this process dies, before the next leader can start. For one
        group at a time; 0: none any more. Without a guard nothing happens.

        Raises:
            LifecycleError: Not started.
        """
        self._running()
        parts = self._running_parts
        if parts is not None and parts.guard is not None:
            parts.guard.kill_group(group)

    def transfer(
        self, to: str | None = None, *, why: str = "", by: str = "", dry_run: bool = False, timeout: float = 30.0
    ) -> Transferred:
        """Have the lead handed over, whoever leads, without a moment in which nobody does.

        The leader's work of the term ends before, as for `resign`; see ``term.should_stop``.

        Args:
            to: Node id of the successor; None: the best candidate.
            why: For people; it stands in the history of the next term.
            by: Who wishes it, for the history; empty: ``node.id`` of this process.
            dry_run: Only tell who would be asked first. Nothing is written.
            timeout: Seconds to wait until the successor leads: it has proved its term, and its hooks agree.

        Raises:
            NoLeaderError: Nobody leads.
            HandoverError: It was not handed over, or the successor refused it (``vetoed``); `reason` says why,
                `outcome` whether it still may be.
            StoreError: etcd did not answer, or refused. `outcome` says whether the wish may stand all the same.
            LifecycleError: Not started.
        """
        return self.control.transfer(to, why=why, by=by, dry_run=dry_run, timeout=timeout)

    # ------------------------------------------------------------ work that only the leader does

    def run(self, work: Callable[[Term], T]) -> T:
        """Wait until this process leads, then call ``work(term)`` and return what it returns.

        `work` should come to its end when ``term.should_stop`` (``while not term.wait(60): ...``). If the term was
        lost under it, or it returned None when the term was to be handed over or given back, it is called anew with the
        next one: this process goes on standing until `stop`. When it returns otherwise, or raises, the term is handed
        over or given back; in a frozen election, where nobody could take it up, it is kept until the election is
        stopped. Starts and stops the election if it is not running.

        In a coroutine: ``await election.aio.run(work)``, where `work` may be a coroutine function.

        Raises:
            ConfigurationError: `work` is a coroutine function, or returned a coroutine: it would not be awaited here.
            LifecycleError: The election ended, and `work` had not come to its end within a term. Also in a child that
                `work` has forked, and that comes back from it.
            Whatever `work` raises, except the loss of its term: a `LeadershipLostError` of its own making, in a term
            that was never in doubt, comes through.
        """
        if inspect.iscoroutinefunction(what_is_called(work)):
            raise not_awaited(f"{work!r} is a coroutine function")
        return self._carry_out(Run(work))

    async def _awaited_run(self, work: Callable[[Term], Any]) -> Any:
        """`run`, awaited. A plain function is called on a thread, and goes on when this is cancelled.

        ::

            async def work(term):
                while True:
                    await publish(term.token)
                    await asyncio.sleep(60)  # not term.wait, which would hold up the loop

            await election.aio.run(work)

        A coroutine function runs on the loop of the caller, as a task, and is cancelled as soon as the term is lost, is
        in doubt, or is to be handed over or given back. Its own end comes through `CancelledError`: what has to be
        finished first is finished in ``finally``, where it may await. The term is held meanwhile, for at most
        `election.stop_timeout`, if it was not lost. Work that was cancelled so begins anew in the next term, as does
        work that returns None to a cancellation; when the election is stopped, None is returned. All else is as in
        `run`.

        A coroutine hears of a cancellation when it awaits: before an act that matters it asks ``term.check()``. One
        that swallows it, or does not await, goes on in a term that is not its own any more, like a function that does
        not look at ``term.should_stop``, and nothing is begun anew before it has ended. It is cancelled once, and again
        each time `election.stop_timeout` has passed while it still runs: a cancellation may be lost without its doing,
        as in `asyncio.wait_for` on Python 3.11, when what it waits for ends at the same moment.

        Cancelling this cancels the work, waits for its end, and asks for the term to be given back, before it is
        cancelled itself. It waits a few seconds for that to begin, not until it is done: ``term.lost`` tells that, and
        a stop of the election waits for it. A stop is awaited too (``async with``, ``aio.stop``): one that holds up the
        loop keeps the work from its end. Arguments of the work's own are bound with `functools.partial`: a lambda is a
        plain function. With `needs_progress` the work calls ``term.beat()``.

        Raises:
            ConfigurationError: `work` is a plain function that returned a coroutine, such as a lambda.
            LifecycleError: As `run`; or the loop was closed.
            Whatever `work` raises, as in `run`.
        """
        if not inspect.iscoroutinefunction(what_is_called(work)):
            return await on_own_thread(self.run, work)
        try:
            return await awaited_run(self._carry_out, work)
        except LifecycleError:
            self._refuse_to_child()
            raise

    def _carry_out(self, run: Run[T]) -> T:
        if self._running_parts is None:
            with self:
                return self._carry_out(run)
        try:
            return run.carry_out(self._running())
        except LifecycleError:
            self._refuse_to_child()
            raise

    def _refuse_to_child(self) -> None:
        """Say so, if this is a child that the work has forked, and that has come back from it."""
        if self._runs_in_parent:
            self._need_parts()

    def _verb(self, name: str) -> Callable[..., Any]:
        """The method behind a verb of `aio`."""
        method: Callable[..., Any] = getattr(self, "_awaited_run" if name == "run" else name)
        return method

    def _on_health(self, why: str) -> None:
        parts = self._running_parts
        if parts is not None:
            parts.election.set_fitness(why)

    def _running(self) -> Election:
        return self._need_parts().election


def unfit_of(election: Election) -> str:
    """Why a candidate is unfit, where it is not for its health checks: those are told of by name."""
    why = election.lets_others_go_first
    return "" if why == election.unfit else why


def end_for_good(election: Election, error: Exception) -> None:
    """Nothing will be heard of etcd any more. Said in the log, unless the election has found out and said so itself."""
    if election.is_news(str(error)):
        log_event(_logger, logging.CRITICAL, LogEvent.STORE_UNAVAILABLE, error=str(error), fatal=True)
    stop_aside(election)


def stop_aside(election: Election) -> None:
    """Stop an election from a thread that its stop would wait for."""
    give_up = partial(election.stop, hands_over=False)
    threading.Thread(target=give_up, name="slurp-give-up", daemon=True).start()


def identity_of(settings: SlurpSettings) -> Identity:
    """Who stands, as the settings say."""
    from slurp_leader import __version__

    node = settings.node
    return Identity(node.id, "", node.advertise, tuple(node.capabilities), __version__)
