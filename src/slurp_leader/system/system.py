"""`SlurpLeaderSystem`: a node that stands for election and, while it leads, runs the queue; or a mere client.

The life of one request, in the order of the code:

1. `submit`: the request is checked, gets an id, and is in etcd before the caller is answered (`jobs.client`).
2. The leader sees it by watch, claims it under its token, runs the generator, and records the outcome (`jobs.engine`).
3. The submitter sees the outcome by watch; `JobHandle.result` returns (`jobs.outcomes`).
4. Every candidate follows the same keys, so the next leader starts from memory.
5. When the leader goes, the next one closes what it left running and runs it again (`jobs.scheduler`).

Election and jobs do not know each other. They meet here, in the `Term` (`_on_election`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Self

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.election import Election, ElectionEvent, ElectionKeys, ElectionState, StateChanged
from slurp_leader.election.observer import Observer
from slurp_leader.errors import (
    ConfigurationError,
    LifecycleError,
    RecordError,
    RequestInvalidError,
    TerminalError,
)
from slurp_leader.jobs.client import JobClient, JobHandle, NewJob
from slurp_leader.jobs.engine import JobEngine
from slurp_leader.jobs.records import JobOutcome, Spec
from slurp_leader.jobs.request import ContextGenerationRequest
from slurp_leader.jobs.result import ContextGenerationResult, ResultError
from slurp_leader.jobs.runner import JobContext
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import StatusResult, Store
from slurp_leader.store.follow import Follower, FollowFailed, FollowNotice
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.system.aio import AsyncFace
from slurp_leader.system.connection import SettingsLike, StoreFactory, ask_status, etcd_stores, settings_of
from slurp_leader.system.leader_election import identity_of
from slurp_leader.system.views import JobsView, LeaderView, describe_leader
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics
from slurp_leader.telemetry.tracing import Tracer
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.system")

GenerateFunction = Callable[[ContextGenerationRequest, JobContext], Any | Awaitable[Any]]

_JOB_OPTIONS = ("idempotency_key", "max_attempts", "run_at", "delay")
_STOP_RESERVE_S = 10.0
"""What a stop gets beyond the drain timeout, to write down what was interrupted and to release the key."""


class SlurpLeaderSystem:
    """A node, or with ``candidate=False`` a client. Safe to use from any thread.

    ::

        with SlurpLeaderSystem("slurp.toml") as slurp:
            handle = slurp.submit("src/main.py", role="developer")
            result = handle.result(timeout=60)

    Args:
        settings: Settings, the path of a settings file, or None: environment and discovered file.
        generator: What does the work: an object with ``generate(request, job)``, or a function of these. None: the
            generator that comes with the library, over ``generator.workspace_root``.
        candidate: Whether this node stands for election. False: it only submits, waits and looks.
        stores: Makes stores; None: etcd, as the settings say.
        clock: Source of time.
        metrics: Where measurements go, such as ``slurp_leader.otel.OtelMetrics()``; None: nowhere.
        tracer: Where spans go; None: nowhere.

    Raises:
        ConfigurationError: A setting is wrong, or the file is missing.
    """

    def __init__(
        self,
        settings: SettingsLike = None,
        *,
        generator: Any = None,
        candidate: bool = True,
        stores: StoreFactory | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.settings: SlurpSettings = settings_of(settings)
        self.candidate = candidate
        self._generate: GenerateFunction | None = None
        self._clock = clock or SystemClock()
        self._make_store = stores or etcd_stores(self.settings, self._clock)
        self._metrics = metrics
        self._tracer = tracer
        self._keyspace = Keyspace(self.settings.node.cluster_id)
        self._lock = threading.RLock()  # guards starting, stopping, and the observer
        self._node: _Node | None = None
        self._client: JobClient | None = None
        self._store: Store | None = None
        self._observer: Observer | None = None
        self._observer_follower: Follower | None = None
        self.leader = LeaderView(self._observing)
        """Who leads: ``get``, ``wait``, ``watch``."""
        self.jobs = JobsView(self._running_client)
        """Jobs of any process: ``get``, ``report``, ``list``, ``cancel``."""
        self.aio = AsyncFace(self._verb)
        """The verbs that wait, awaited: ``await system.aio.submit(...)``."""
        if generator is not None:
            self.generator(generator)

    def generator(self, generate: Any) -> Any:
        """Set what does the work. A decorator for functions; takes objects with a ``generate`` method too.

        Raises:
            LifecycleError: The system is running.
            ConfigurationError: It cannot be called.
        """
        if self._client is not None:
            raise LifecycleError("set the generator before start()")
        method = getattr(generate, "generate", generate)
        if not callable(method):
            raise ConfigurationError(f"a generator is a function or has a method `generate`; {generate!r} is neither")
        self._generate = method
        return generate

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin. Returns at once, also while etcd cannot be reached: it is tried for ever, and `health` says so.

        Raises:
            LifecycleError: Started already.
        """
        with self._lock:
            if self._client is not None:
                raise LifecycleError("the system is running; stop() it first")
            self._store = self._make_store()
            self._client = JobClient(
                self._store,
                self._keyspace,
                self.settings.jobs,
                node_id=self.settings.node.id,
                clock=self._clock,
                metrics=self._metrics,
                tracer=self._tracer,
                convert=result_of,
            )
            self._client.start()
            if self.candidate:
                self._node = _Node(self, self._make_store(), self._store)
                self._node.start()
        log_event(
            _logger,
            logging.INFO,
            LogEvent.SYSTEM_STARTED,
            node_id=self.settings.node.id,
            cluster=self._keyspace.cluster_id,
            candidate=self.candidate,
        )

    def stop(self) -> bool:
        """Finish what runs (up to ``jobs.drain_timeout``), give the term back, and end. Safe twice and before `start`.

        Returns:
            Whether everything was given back in time. If not, the lease ends the rest, and the next leader runs again
            what was interrupted.
        """
        with self._lock:
            node, self._node = self._node, None
            client, self._client = self._client, None
            store, self._store = self._store, None
            follower, self._observer_follower = self._observer_follower, None
            self._observer = None
        clean = node.stop() if node else True
        if follower:
            follower.stop()
        if client:
            client.stop()
            log_event(_logger, logging.INFO, LogEvent.SYSTEM_STOPPED, node_id=self.settings.node.id, clean=clean)
        if store:
            store.close()
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
        """For ``FastAPI(lifespan=system.lifespan)``: runs while the service runs."""
        async with self:
            yield

    # ------------------------------------------------------------ requests

    def submit(self, request: ContextGenerationRequest | str, /, **fields: Any) -> JobHandle:
        """Bring in one request. Returns when it is committed; no leader is needed for that.

        Args:
            request: A request, or the path of a file.
            fields: Fields of the request (`role`, `priority`, `timeout` ...), and of the job: `idempotency_key`,
                `max_attempts`, `run_at` (a date with time zone) or `delay` (seconds or `timedelta`).

        Raises:
            RequestInvalidError: A field is wrong. Nothing was submitted.
            QueueFullError: The queue takes no new jobs. Nothing was submitted.
            IdempotencyConflictError: The key was used for another request. Nothing was submitted.
            StoreTimeoutError: No definite answer within ``jobs.submit_timeout``. Repeat with the same idempotency key.
        """
        return self._running_client().submit(self._new_job(request, fields))

    def submit_many(
        self, requests: Iterable[ContextGenerationRequest | str], /, **fields: Any
    ) -> list[JobHandle | Exception]:
        """Bring in many requests, in few transactions. `fields` apply to each.

        Returns:
            For each request, in order, its handle, or the error that `submit` would have raised.
        """
        client = self._running_client()
        answers: list[JobHandle | Exception] = []
        jobs: list[NewJob] = []
        for request in requests:
            try:
                jobs.append(self._new_job(request, fields))
                answers.append(_PENDING)
            except RequestInvalidError as error:
                answers.append(error)
        submitted = iter(client.submit_many(jobs))
        return [next(submitted) if answer is _PENDING else answer for answer in answers]

    def request_context_generation(
        self, request: ContextGenerationRequest | str, timeout: float | None = None, /, **fields: Any
    ) -> ContextGenerationResult:
        """Submit a request and wait for its result, at most `timeout` seconds.

        Raises:
            JobFailedError, JobCancelledError: How it ended.
            ResultPendingError: It had not ended in time. It goes on.
            What `submit` raises.
        """
        result: ContextGenerationResult = self.submit(request, **fields).result(timeout)
        return result

    def _new_job(self, request: ContextGenerationRequest | str, fields: dict[str, Any]) -> NewJob:
        options = {name: fields[name] for name in _JOB_OPTIONS if name in fields}
        rest = {name: value for name, value in fields.items() if name not in options}
        built = ContextGenerationRequest.build(request, **rest) if rest or isinstance(request, str) else request
        return NewJob(
            payload=built.to_wire(),
            priority=built.priority,
            idempotency_key=options.get("idempotency_key"),
            timeout_s=built.timeout_s,
            max_attempts=options.get("max_attempts"),
            run_at=self._run_at(options),
        )

    def _run_at(self, options: dict[str, Any]) -> datetime | None:
        run_at, delay = options.get("run_at"), options.get("delay")
        if run_at is not None and delay is not None:
            raise RequestInvalidError("delay: give either run_at or delay, not both", field="delay")
        if delay is None:
            return run_at
        wait = delay if isinstance(delay, timedelta) else timedelta(seconds=float(delay))
        return self._clock.utcnow() + wait

    # ------------------------------------------------------------ leadership

    @property
    def is_leader(self) -> bool:
        """Whether this node may act as leader right now."""
        return self._node is not None and self._node.election.is_leader

    @property
    def term(self) -> Term | None:
        """The term this node may act in right now; None when there is none."""
        return self._node.election.term if self._node else None

    @property
    def state(self) -> ElectionState:
        """Where this node stands."""
        return self._node.election.state if self._node else ElectionState.FOLLOWER

    def wait_for_leadership(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until this node leads.

        Raises:
            LifecycleError: Not started, or not a candidate: it would never lead.
        """
        return self._running_node().election.wait_for_leadership(timeout)

    def resign(self, pause: float = 2.0) -> None:
        """Finish what runs, give the term back, and let others go first for `pause` seconds.

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
        if self._store is None:
            raise LifecycleError("the system is not running: start() it first")
        return ask_status(self._store, timeout)

    def status(self) -> dict[str, Any]:
        """How this node stands, as plain data: what it knows, without asking etcd."""
        node, term = self._node, self.term
        observer = self._observer
        leader = node.election.leader if node else (observer.leader if observer else None)
        return {
            "node_id": self.settings.node.id,
            "cluster_id": self._keyspace.cluster_id,
            "candidate": self.candidate,
            "running": self._client is not None,
            "election": {
                "name": self.settings.election.name,
                "state": self.state.value,
                "reason": node.election.reason.value if node and node.election.reason else None,
                "is_leader": self.is_leader,
                "token": term.token if term else None,
                "epoch": term.epoch if term else None,
                "trust_remaining_s": round(term.remaining_s(), 3) if term else None,
                "leader": describe_leader(leader),
            },
            "queue": node.engine.depth() if node else None,
            "problems": self._problems(),
        }

    def health(self) -> dict[str, Any]:
        """Whether this node is fit, as plain data: `healthy`, `ready`, and the `problems`, each with its fix.

        A follower is healthy and ready. Not ready: not started, stopping, or it has not heard of etcd yet.
        """
        problems = self._problems()
        node = self._node
        heard = node is None or node.engine.seen_revision > 0
        return {
            "healthy": not problems,
            "ready": self._client is not None and heard and not problems,
            "state": self.state.value,
            "problems": problems,
        }

    def _problems(self) -> list[dict[str, str]]:
        node = self._node
        if node is None:
            return []
        problems = []
        if node.failure is not None:
            problems.append({"what": "store", "message": str(node.failure), "fix": "see the log; restart this node"})
        if node.election.duplicates:
            message = f"another live process uses the node id {self.settings.node.id!r}"
            problems.append({"what": "duplicate_node", "message": message, "fix": "give each node its own node.id"})
        if self.state is ElectionState.SUSPENDED:
            reason = node.election.reason
            message = f"the term cannot be proved: {reason.value if reason else 'unknown'}"
            problems.append({"what": "suspended", "message": message, "fix": "look at etcd: reachable? full?"})
        return problems

    # ------------------------------------------------------------ small things

    def _verb(self, name: str) -> Callable[..., Any]:
        """The method behind a verb of `aio`: the system's own, or that of one of its views."""
        if name == "wait_for_leader":
            return self.leader.wait
        home = self.jobs if name in ("cancel", "list", "report") else self
        method: Callable[..., Any] = getattr(home, name)
        return method

    def _running_client(self) -> JobClient:
        if self._client is None:
            raise LifecycleError("the system is not running: start() it first")
        return self._client

    def _running_node(self) -> _Node:
        self._running_client()
        if self._node is None:
            raise LifecycleError("this system is no candidate: it was made with candidate=False")
        return self._node

    def _observing(self) -> Observer:
        """The observer of the election: a candidate has one anyway, a client gets one when it first asks."""
        self._running_client()
        with self._lock:
            if self._observer is None:
                keys = ElectionKeys.of(self._keyspace, self.settings.election.name)
                self._observer = Observer(keys, self._clock)
                assert self._store is not None
                self._observer_follower = Follower(self._store, keys.prefix, self._observer.feed, clock=self._clock)
                self._observer_follower.start()
            return self._observer

    def _work(self, spec: Spec, job: JobContext) -> Any:
        """Do one job: on a thread of the pool."""
        try:
            request = ContextGenerationRequest.from_wire(spec.payload)
        except RecordError as error:
            raise TerminalError(f"the request cannot be read: {error}", code="request_invalid") from error
        assert self._generate is not None
        return self._generate(request, job)

    def _built_in_generator(self) -> GenerateFunction:
        from slurp_leader.generators import FileContextGenerator  # parsers load when they are needed

        options = self.settings.generator
        return FileContextGenerator(options.workspace_root, max_bytes=options.max_bytes).generate


class _Node:
    """What a candidate has beyond a client: election, engine, and one watch for both."""

    def __init__(self, system: SlurpLeaderSystem, election_store: Store, jobs_store: Store) -> None:
        settings, clock = system.settings, system._clock
        if system._generate is None:
            system._generate = system._built_in_generator()
        self._store = election_store
        self.failure: Exception | None = None
        stop_timeout = max(
            settings.election.stop_timeout,
            settings.jobs.drain_timeout + timedelta(seconds=_STOP_RESERVE_S),
        )
        options = type(settings.election)(**{**dict(settings.election), "stop_timeout": stop_timeout})
        self.election = Election(
            election_store,
            system._keyspace,
            options,
            identity_of(settings),
            clock=clock,
            metrics=system._metrics,
            facts=self._facts,
        )
        self.election.add_owner("jobs")
        self.engine = JobEngine(
            jobs_store,
            system._keyspace,
            settings.jobs,
            system._work,
            node_id=settings.node.id,
            clock=clock,
            handed_back=lambda token: self.election.drained("jobs", token),
            metrics=system._metrics,
            tracer=system._tracer,
        )
        self.follower = Follower(jobs_store, system._keyspace.mirrored, self._on_notice, clock=clock)

    def start(self) -> None:
        self.election.subscribe(self._on_election)
        self.engine.start()
        self.follower.start()
        self.election.start()

    def stop(self) -> bool:
        clean = self.election.stop()
        self.follower.stop()
        clean = self.engine.stop() and clean
        self._store.close()
        return clean

    def _on_notice(self, notice: FollowNotice) -> None:
        """One watch feeds both sides; each takes the keys it knows."""
        if isinstance(notice, FollowFailed):
            self.failure = notice.error
            log_event(_logger, logging.CRITICAL, LogEvent.STORE_UNAVAILABLE, error=str(notice.error), fatal=True)
            threading.Thread(target=self.election.stop, name="slurp-give-up", daemon=True).start()
            return
        self.election.feed(notice)
        self.engine.feed(notice)

    def _on_election(self, event: ElectionEvent) -> None:
        """Where election and jobs meet."""
        if not isinstance(event, StateChanged) or event.term is None:
            return
        term = event.term
        match event.state:
            case ElectionState.LEADER:
                self.engine.lead(term)
            case ElectionState.SUSPENDED:
                self.engine.pause(term.token)
            case ElectionState.DRAINING:
                self.engine.hand_back(term.token)
            case _:
                self.engine.lose(term.token)

    def _facts(self) -> dict[str, Any]:
        """What the heartbeat tells everybody."""
        depth = self.engine.depth()
        return {"jobs": depth["jobs"], "running": depth["running"]}


def result_of(outcome: JobOutcome) -> ContextGenerationResult:
    """An outcome as the result of a context generation."""
    started = None if outcome.started_at is None else datetime.fromisoformat(outcome.started_at)
    finished = datetime.fromisoformat(outcome.finished_at)
    error = outcome.error
    return ContextGenerationResult.of(
        outcome.result,
        job_id=outcome.job_id,
        status=outcome.status.value,
        generated_by=outcome.node_id,
        token=outcome.token,
        started_at=started,
        finished_at=finished,
        duration_s=max(0.0, (finished - started).total_seconds()) if started else 0.0,
        error=ResultError(code=str(error.get("code", "error")), message=str(error.get("message", "")))
        if error
        else None,
    )


_PENDING: Any = object()
"""Marks the place of a request that was handed on."""
