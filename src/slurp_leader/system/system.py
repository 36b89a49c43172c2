"""`SlurpLeaderSystem`: a node that stands for election and, while it leads, runs the queue; or a mere client.

The life of one request, in the order of the code:

1. `submit`: the request is checked, gets an id, and is in etcd before the caller is answered (`jobs.client`).
2. The leader sees it by watch, claims it under its token, runs the generator, and records the outcome (`jobs.engine`).
3. The submitter sees the outcome by watch; `JobHandle.result` returns (`jobs.outcomes`).
4. Every candidate follows the same keys, so the next leader starts from memory.
5. When the leader goes, the next one closes what it left running and runs it again (`jobs.scheduler`).

Election and jobs do not know each other. They meet in the `Term` (`slurp_leader.system.node`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Unpack, overload

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.election import ElectionKeys, ElectionState
from slurp_leader.election.hooks import HookKind, Hooks
from slurp_leader.errors import LifecycleError, RequestInvalidError
from slurp_leader.failover import Failover
from slurp_leader.health import HealthChecks
from slurp_leader.jobs.client import JobClient, JobHandle, NewJob
from slurp_leader.jobs.executors.body import Body
from slurp_leader.jobs.executors.choice import ExecutorChoice, check_body, check_choice
from slurp_leader.jobs.executors.foreign import PoolSource
from slurp_leader.jobs.options import ExecutorName
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.jobs.records import JobKeys
from slurp_leader.jobs.request import ContextGenerationRequest
from slurp_leader.jobs.result import ContextGenerationResult
from slurp_leader.jobs.unled import Signs
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import StatusResult, Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.system.aio import AsyncFace
from slurp_leader.system.condition import Facts, health_of
from slurp_leader.system.connection import (
    SettingsLike,
    StoreFactory,
    ask_status,
    etcd_stores,
    settings_of,
)
from slurp_leader.system.failover_view import FAILOVER_VERBS, FailoverView
from slurp_leader.system.guarding import Reach, guard_of
from slurp_leader.system.hooks import HasHooks, HookT
from slurp_leader.system.leader_view import LEADER_VERBS, Access, LeaderControl
from slurp_leader.system.leader_work import LeaderWork
from slurp_leader.system.lifetime import RunsParts
from slurp_leader.system.node import Node
from slurp_leader.system.parts import Parts
from slurp_leader.system.queue_view import QueueView
from slurp_leader.system.recall import cache_for, with_cache
from slurp_leader.system.requests import SubmitFields, new_job, patience
from slurp_leader.system.results import result_of
from slurp_leader.system.status import status_of
from slurp_leader.system.views import JOBS_VERBS, JobsView
from slurp_leader.system.work import ErrorTypes, GeneratorLike, GeneratorT, body_of, refuse_local
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.telemetry.own import Telemetry
from slurp_leader.telemetry.tracing import Tracer
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.system")

_VERBS = frozenset(
    {
        "get_leader",
        "ping",
        "request_context_generation",
        "resign",
        "start",
        "stop",
        "submit",
        "submit_many",
        "wait_for_leader",
        "wait_for_leadership",
    }
)
"""Verbs of the system itself that may wait."""


class SlurpLeaderSystem(HasHooks, RunsParts[Parts], LeaderWork):
    """A node, or with ``candidate=False`` a client. Safe to use from any thread.

    What was started lives until `stop`, like a thread: also when nobody refers to it any more. A process that ends
    without `stop` ends at once; the crash guard gives its lease back, and what ran is run again by the next leader. A
    child process that was forked off holds no part of it: there it does not lead and is not running, and it cannot
    connect to etcd.

    ::

        with SlurpLeaderSystem("slurp.toml") as slurp:
            handle = slurp.submit("src/main.py", role="developer")
            result = handle.result(timeout=60)

    In a coroutine, where waiting would hold up the loop, await the same verbs::

        handle = await slurp.aio.submit("src/main.py", role="developer")
        result = await handle

    All candidates of one cluster (``node.cluster_id``) must have the same generator: any of them may lead, and the one
    that leads does the work of all.

    Attributes:
        settings: The settings in force.
        candidate: Whether this node stands for election.
        leader: Who leads, and why: ``get``, ``wait``, ``observe``, ``history``, ``explain``; and what changes that:
            ``transfer``, ``step_down``, ``freeze``, ``pin``, ``block``, ``force`` ...
        jobs: Jobs of any process: ``get``, ``report``, ``list``, ``cancel``, ``retry``, ``purge``, ``parked``.
        queue: How the queue stands: ``status``; and ``pause``, ``resume``, ``drain``, ``limits``, ``workers``. Awaited:
            ``queue.aio``.
        failover: What leaders left to their successors: ``manifest``, ``verify``, ``kept``, ``last``.
        telemetry: Instruments of the service's own, to where `metrics` go: ``counter``, ``gauge``, ``timer``.
        aio: The verbs that wait, awaited.

    Args:
        settings: Settings, the path of a settings file, or None: environment and discovered file.
        generator: What does the work: an object with ``generate(request, job)``, or a function of these. None: the
            generator that comes with the library, over ``generator.workspace_root``.
        executor: Where the generator runs: ``"threads"``, ``"coroutines"``, ``"processes"``, any
            `concurrent.futures.Executor`, or a function that makes one. None: as the generator or ``jobs.executor``
            says. A pool that is handed in is not shut down.
        candidate: Whether this node stands for election. False: it only submits, waits and looks.
        stores: Makes stores; None: etcd, as the settings say.
        clock: Source of time.
        metrics: Where measurements go, such as ``slurp_leader.otel.OtelMetrics()``; None: nowhere.
        tracer: Where spans go; None: nowhere.
        reaches_etcd: Whether `stores` lead to the etcd of the settings, so that a crash guard can reach it by itself;
            None: only when no `stores` are given. Where they are, the start says in the log that there is no guard.

    Raises:
        ConfigurationError: A setting is wrong, or the file is missing.
    """

    _called = "the system"

    def __init__(
        self,
        settings: SettingsLike = None,
        *,
        generator: GeneratorLike | None = None,
        executor: ExecutorChoice | None = None,
        candidate: bool = True,
        stores: StoreFactory | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
        reaches_etcd: bool | None = None,
    ) -> None:
        super().__init__()
        self.settings: SlurpSettings = settings_of(settings)
        self.candidate = candidate
        self._body: Body | None = None
        self._generator: object = None  # what the body calls
        self._executor = None if executor is None else check_choice(executor)
        self._own_executor: ExecutorName | PoolSource | None = None  # what the generator says of itself
        self._clock = clock or SystemClock()
        self._make_store = stores or etcd_stores(self.settings, self._clock)
        self._hooks = Hooks(self.settings.election.name, self.settings.election.hook_timeout_s, metrics)
        self._checks = HealthChecks(self.settings.health, self._clock, self._on_health, metrics)
        self._reach = Reach.of(stores, reaches_etcd)
        self._metrics = metrics
        self._tracer = tracer
        self._keyspace = Keyspace(self.settings.node.cluster_id)
        self.leader = LeaderControl(self._access())
        """Who leads: ``get``, ``wait``, ``observe``, ``history``, ``explain``; and ``transfer``, ``step_down``,
        ``freeze``, ``pin``, ``block``, ``force``, to change that."""
        self.jobs = JobsView(lambda: self._running().client, self._clock)
        """Jobs of any process: ``get``, ``report``, ``list``, ``cancel``, ``retry``, ``purge``, ``parked``."""
        self.queue = QueueView(
            lambda: self._running().store,
            JobKeys(self._keyspace),
            self.settings.jobs,
            self._clock,
            self.settings.node.id,
            lambda: self._node.engine.stuck_places if self._node else (0, 0),
            lambda: self._node.engine.places if self._node else None,
        )
        """How the queue stands: ``status``; and ``pause``, ``resume``, ``drain``, ``limits``, ``workers``."""
        self.telemetry = Telemetry(metrics or NoMetrics(), self._clock)
        """Instruments of the service's own: ``counter``, ``gauge``, ``timer``."""
        self.failover = FailoverView(
            lambda: self._running().store, self._own_failover, self._keyspace, self._clock, self.settings.jobs.in_force
        )
        """What leaders left to their successors: ``manifest``, ``verify``, ``kept``, ``last``."""
        self.aio = AsyncFace(self._verb, _VERBS | JOBS_VERBS | LEADER_VERBS | FAILOVER_VERBS)
        """The verbs that wait, awaited: ``await system.aio.submit(...)``."""
        if generator is not None:
            self.generator(generator)

    @overload
    def generator(
        self,
        generate: GeneratorT,
        /,
        *,
        executor: ExecutorChoice | None = None,
        retry_on: ErrorTypes | None = None,
        no_retry_on: ErrorTypes = (),
    ) -> GeneratorT: ...

    @overload
    def generator(
        self,
        generate: None = None,
        /,
        *,
        executor: ExecutorChoice | None = None,
        retry_on: ErrorTypes | None = None,
        no_retry_on: ErrorTypes = (),
    ) -> Callable[[GeneratorT], GeneratorT]: ...

    def generator(
        self,
        generate: Any = None,
        /,
        *,
        executor: ExecutorChoice | None = None,
        retry_on: ErrorTypes | None = None,
        no_retry_on: ErrorTypes = (),
    ) -> Any:
        """Set what does the work, and return it. A decorator for functions, with or without arguments; takes objects
        with a ``generate`` method too. All candidates of one cluster must have the same.

        Args:
            generate: The generator.
            executor: Where it runs, unless the system was told otherwise when it was made.
            retry_on: Types of errors that are worth another attempt; what else it raises ends the job `failed` at once.
                None: all are. A run out of time is tried again whatever this says, as is `RetryAfterError`.
            no_retry_on: Types of errors that are not, whatever `retry_on` says.

        Raises:
            LifecycleError: The system is running.
            ConfigurationError: It cannot be called with a request and a job, or not be found by name where it is to
                run; or another argument is wrong.
        """
        if generate is None:
            return partial(self.generator, executor=executor, retry_on=retry_on, no_retry_on=no_retry_on)
        if self._running_parts is not None:
            raise LifecycleError("set the generator before start()")
        own = None if executor is None else check_choice(executor)
        refuse_local(self._executor or own or self.settings.jobs.executor, generate)
        self._body = body_of(generate, retry_on, no_retry_on)
        self._generator = generate
        self._own_executor = own
        return generate

    def on_queue_level(self, hook: HookT) -> HookT:
        """Call ``hook(change)`` when the queue fills up (``jobs.queue_high_mark``), is full, or has room again, while
        this node leads. `change` has `level` (``normal``, ``high``, ``full``), `jobs`, `size` in bytes, and `fill`, the
        used share of the limits. Sync or async; a decorator, like the other hooks."""
        self._hooks.add(HookKind.QUEUE_LEVEL, hook)
        return hook

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin. Returns at once, also while etcd cannot be reached: it is tried for ever, and `health` says so.

        Raises:
            LifecycleError: Started already.
            ConfigurationError: The workspace of the built-in generator is not there, the generator cannot be sent to
                where it is to run, or its results cannot be cached there. Nothing was started.
        """
        self._leave_to_parent()
        with self._lifecycle:
            if self._parts is not None:
                raise LifecycleError("the system is running; stop() it first")
            if self.candidate:
                if self._body is None:
                    self._generator = self._built_in_generator()
                    self._body = body_of(self._generator, None, ())
                check_body(self._executor_choice, self._body)
            parts = self._new_parts()
            try:
                parts.client.start()
                if parts.node is not None:
                    parts.node.start()
            except BaseException:
                parts.stop()
                raise
            self._parts = parts
            self._checks.start()
        log_event(
            _logger,
            logging.INFO,
            LogEvent.SYSTEM_STARTED,
            node_id=self.settings.node.id,
            cluster=self._keyspace.cluster_id,
            candidate=self.candidate,
        )

    def stop(self) -> bool:
        """Hand the lead over, finish what runs (up to ``jobs.drain_timeout``), and end. With nobody to hand it to,
        finish first and give the term back. Periodic runs that have begun are waited for before that, up to
        ``election.stop_timeout``. Safe twice, before `start`, and from several threads: each returns when all has
        ended.

        Without etcd it takes a few seconds longer, and what is held is left to the lease.

        Returns:
            Whether everything was given back in time. If not, the lease ends the rest, and the next leader runs again
            what was interrupted. True when nothing was running.
        """
        if self._runs_in_parent:
            return True  # which stops it
        with self._lifecycle:
            parts = self._parts
            if parts is None:
                return True
            self._checks.stop()
            clean = parts.stop()
            self._parts = None
        log_event(_logger, logging.INFO, LogEvent.SYSTEM_STOPPED, node_id=self.settings.node.id, clean=clean)
        return clean

    def _new_parts(self) -> Parts:
        """What is to be started; nothing stays open if it cannot be made."""
        with ExitStack() as made:
            store = self._make_store()
            made.callback(store.close)
            client = self._new_client(store)
            parts = Parts(store, client, self._new_node(store, made) if self.candidate else None)
            made.pop_all()
        return parts

    def _new_client(self, store: Store) -> JobClient:
        election = ElectionKeys.of(self._keyspace, self.settings.election.name)
        return JobClient(
            store,
            self._keyspace,
            self.settings.jobs,
            node_id=self.settings.node.id,
            clock=self._clock,
            metrics=self._metrics,
            tracer=self._tracer,
            convert=result_of,
            signs=Signs(election.leader, election.heartbeat),
            store_limits=StoreLimits(self.settings.etcd.quota_bytes),
        )

    def _new_node(self, jobs_store: Store, made: ExitStack) -> Node:
        assert self._body is not None
        cache = cache_for(self.settings.jobs, self._generator, self._executor_choice, self._clock)
        election_store = self._make_store()
        made.callback(election_store.close)
        guard = guard_of(self.settings, self._clock, self._reach)
        if guard is not None:
            made.callback(guard.release)
        return Node(
            self.settings,
            self._body if cache is None else with_cache(self._body, self._generator, cache),
            election_store,
            jobs_store,
            clock=self._clock,
            executor=self._executor_choice,
            metrics=self._metrics,
            tracer=self._tracer,
            hooks=self._hooks,
            guard=guard,
            cache=cache,
            periodic=self._works,
        )

    # ------------------------------------------------------------ requests

    def submit(
        self, request: ContextGenerationRequest | str, /, **fields: Unpack[SubmitFields]
    ) -> JobHandle[ContextGenerationResult]:
        """Bring in one request. Returns when it is committed; no leader is needed for that.

        It waits for etcd. In a coroutine: ``handle = await system.aio.submit(...)``.

        Args:
            request: A request, or the path of a file.
            fields: Fields of the request (`role`, `priority`, `timeout` ...), and of the job: `idempotency_key`,
                `max_attempts`, `run_at` (a date with time zone) or `delay` (seconds or `timedelta`, 0 or more),
                `project` (default: that of the address) for turns and limits, `slots` (workers, default 1) and
                `memory` (bytes) that a run takes,
                `queue_timeout` (longest wait for its first run), `deadline` (a date from which on nothing of it starts
                or runs), `backoff_base`, `backoff_cap`, `backoff_jitter`. What is left out comes from the settings.
                `on_duplicate`: what to do when the key was used before (see `OnDuplicate`): ``return_existing``,
                ``raise`` or ``replace``. `on_full`: ``reject``, or ``block`` to wait for room, at most `block_timeout`
                (by default ``jobs.submit_timeout``).

        Raises:
            RequestInvalidError: A field is wrong. Nothing was submitted.
            RequestTooLargeError: It takes more than 1 MiB. Nothing was submitted.
            QueueFullError: The queue takes no new jobs, or did not for as long as was waited. Nothing was submitted.
            IdempotencyConflictError: The key was used for another request. Nothing was submitted.
            DuplicateJobError: The key was used, and ``on_duplicate="raise"`` asked for this. Nothing was submitted.
            StoreTimeoutError: No definite answer within ``jobs.submit_timeout``. Repeat with the same idempotency key.
            StoreError: etcd refuses this process for good; see `health`.
            LifecycleError: Not started.
        """
        return self._running().client.submit(new_job(request, fields, self._clock), **patience(fields))

    def submit_many(
        self, requests: Iterable[ContextGenerationRequest | str], /, **fields: Unpack[SubmitFields]
    ) -> list[JobHandle[ContextGenerationResult] | Exception]:
        """Bring in many requests, in few transactions. `fields` apply to each.

        It waits for etcd. In a coroutine: ``handles = await system.aio.submit_many(...)``.

        Returns:
            For each request, in order, its handle, or the error that `submit` would have raised.
        """
        client, waits = self._running().client, patience(fields)
        answers: list[JobHandle[ContextGenerationResult] | Exception] = []
        jobs: list[NewJob] = []
        for request in requests:
            try:
                jobs.append(new_job(request, fields, self._clock))
                answers.append(_PENDING)
            except RequestInvalidError as error:
                answers.append(error)
        submitted = iter(client.submit_many(jobs, **waits))
        return [next(submitted) if answer is _PENDING else answer for answer in answers]

    def request_context_generation(
        self,
        request: ContextGenerationRequest | str,
        timeout: float | None = None,
        /,
        **fields: Unpack[SubmitFields],
    ) -> ContextGenerationResult:
        """Submit a request and wait for its result, at most `timeout` seconds.

        In a coroutine: ``result = await system.aio.request_context_generation(...)``.

        Raises:
            JobFailedError, JobCancelledError: How it ended.
            ResultPendingError: It had not ended in time. It goes on.
            What `submit` raises.
        """
        return self.submit(request, **fields).result(timeout)

    # ------------------------------------------------------------ leadership

    @property
    def is_leader(self) -> bool:
        """Whether this node may act as leader right now."""
        return self.term is not None

    @property
    def term(self) -> Term | None:
        """The term this node may act in right now; None when there is none."""
        node = self._node
        return node.election.term if node else None

    def require_term(self) -> Term:
        """The term in force.

        Raises:
            NotLeaderError: This node does not lead.
            LifecycleError: Not started, or not a candidate.
        """
        return self._running_node().election.require_term()

    @property
    def state(self) -> ElectionState:
        """Where this node stands."""
        node = self._node
        return node.election.state if node else ElectionState.FOLLOWER

    def wait_for_leadership(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until this node leads. False, too, as soon as it never will.

        Raises:
            LifecycleError: Not started, or not a candidate: it would never lead.
        """
        return self._running_node().election.wait_for_leadership(timeout)

    def resign(self, pause: float = 2.0) -> None:
        """Ask this node to hand the lead over; with nobody to hand it to, to finish what runs (up to
        ``jobs.drain_timeout``), give the term back, and let others go first for `pause` seconds. In a frozen election,
        where nobody can take it, this node goes on leading.

        Returns at once: until the term ends, `is_leader` may still be true. To wait for that, keep `term` before, and
        wait for ``term.lost``.

        Raises:
            NotLeaderError: This node does not lead.
        """
        self._running_node().election.resign(pause)

    # ------------------------------------------------------------ how it is

    def ping(self, timeout: float = 5.0) -> StatusResult:
        """Ask etcd how it is.

        Raises:
            StoreError: It did not answer within `timeout` seconds, or refused; says which setting to look at.
        """
        return ask_status(self._running().store, timeout)

    def status(self) -> dict[str, Any]:
        """How this node stands, as plain data: what it knows, without asking etcd. See `slurp_leader.system.status`."""
        parts = self._running_parts
        observer = parts.view.observer if parts and parts.view else None
        status = {
            "node_id": self.settings.node.id,
            "cluster_id": self._keyspace.cluster_id,
            "candidate": self.candidate,
            "running": parts is not None,
        }
        name = self.settings.election.name
        return {**status, **status_of(self._facts(), name, parts.node if parts else None, observer, self._clock)}

    def health(self) -> dict[str, Any]:
        """Whether this node is fit, as plain data: `live`, `ready`, `healthy`, and the `problems`, each with its fix.

        See `slurp_leader.system.condition` for what each word means.
        """
        return health_of(self._facts(), self._clock)

    def _facts(self) -> Facts:
        parts, node_id, election = self._running_parts, self.settings.node.id, self.settings.election.name
        if parts is None:
            return Facts(node_id, election, is_running=False)
        return replace(parts.facts(node_id, election), failing_checks=self._checks.failing)

    def _on_health(self, why: str) -> None:
        node = self._node
        if node is not None:
            node.election.set_fitness(why)

    # ------------------------------------------------------------ small things

    def __repr__(self) -> str:
        node, cluster = self.settings.node.id, self._keyspace.cluster_id
        role = self.state.value if self.candidate else "client"
        return f"<SlurpLeaderSystem {node!r} in {cluster!r}: {role if self._running_parts else 'not running'}>"

    def _verb(self, name: str) -> Callable[..., Any]:
        """The method behind a verb of `aio`: the system's own, or that of one of its views."""
        if name in ("get_leader", "wait_for_leader"):
            return self.leader.get if name == "get_leader" else self.leader.wait
        homes: tuple[tuple[frozenset[str], object], ...]
        homes = ((JOBS_VERBS, self.jobs), (LEADER_VERBS, self.leader), (FAILOVER_VERBS, self.failover))
        home = next((home for verbs, home in homes if name in verbs), self)
        method: Callable[..., Any] = getattr(home, name)
        return method

    @property
    def _node(self) -> Node | None:
        parts = self._running_parts
        return parts.node if parts else None

    def _running(self) -> Parts:
        return self._need_parts()

    def _running_node(self) -> Node:
        node = self._running().node
        if node is None:
            raise LifecycleError("this system is no candidate: it was made with candidate=False")
        return node

    def _own_failover(self) -> tuple[Failover, Term | None] | None:
        node = self._node
        return (node.failover, node.election.term) if node else None

    def _access(self) -> Access:
        options = self.settings.election
        keys = ElectionKeys.of(self._keyspace, options.name)
        return Access(
            lambda: self._running().store,
            lambda: self._running().observe(keys, self._clock),
            keys,
            options,
            self.settings.node.id,
            self._clock,
        )

    @property
    def _executor_choice(self) -> ExecutorName | PoolSource:
        return self._executor or self._own_executor or self.settings.jobs.executor

    def _built_in_generator(self) -> GeneratorLike:
        from slurp_leader.generators import FileContextGenerator  # parsers load when they are needed

        options = self.settings.generator
        return FileContextGenerator(options.workspace_root, max_bytes=options.max_bytes)


_PENDING: Any = object()
"""Marks the place of a request that was handed on."""
