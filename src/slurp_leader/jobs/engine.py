"""The leader's side, as a program uses it: the scheduler on a thread, the pool beside it, and what is measured."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.jobs.admission import QueueLevel
from slurp_leader.jobs.breaker import NAME, Hold
from slurp_leader.jobs.cache import CacheFigures, ResultCache
from slurp_leader.jobs.executors.body import Body, Work
from slurp_leader.jobs.executors.choice import ExecutorChoice, check_choice, executor_for
from slurp_leader.jobs.executors.worker import ProcessTable
from slurp_leader.jobs.inventory import Stock
from slurp_leader.jobs.messages import CollectPayloads, LevelChanged, Scale
from slurp_leader.jobs.meter import Meter
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.packing import ResultPacker
from slurp_leader.jobs.queue_status import Places
from slurp_leader.jobs.quota import StoreLimits, StoreVerdict
from slurp_leader.jobs.records import JobKeys, JobStatus
from slurp_leader.jobs.runner import Runner
from slurp_leader.jobs.scheduler import (
    HandBack,
    HandedBack,
    HandedOver,
    JobEnded,
    Lead,
    Lost,
    Note,
    Pause,
    Scheduler,
    StartRun,
    StopRun,
    WindDown,
)
from slurp_leader.machine import Loop
from slurp_leader.payloads import PayloadStore, open_payload_store
from slurp_leader.payloads.collection import Collector
from slurp_leader.resilience import CircuitBreaker
from slurp_leader.resilience.changes import CircuitChange, measure, tell
from slurp_leader.resilience.circuit import CircuitState
from slurp_leader.resilience.options import BreakerOptions
from slurp_leader.store import Store
from slurp_leader.store.follow import FollowNotice
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.telemetry.tracing import Tracer
from slurp_leader.term import Lent, Term

_logger = logging.getLogger("slurp_leader.jobs")


class JobEngine:
    """Runs the queue while its node leads. Its owner tells it of terms and hands it what a `Follower` of ``m/`` sees.

    Args:
        store: Where calls go. Not closed here.
        keyspace: Keys of the cluster.
        options: Workers, limits, retention.
        work: Does one job; or a `Body`, which says more.
        node_id: Written into outcomes, for people.
        clock: Source of time.
        handed_back: Called with a token when nothing of that term is under way any more.
        breaker: When a generator that keeps failing is left alone; None: as by default.
        store_limits: How much of the store may be used.
        payloads: Where large results go; None: where `jobs.payload_store` says.
        executor: Where bodies run; None: as the options say.
        executor_lost: Called if it will never run anything again, so that another node should lead.
        processes: What the machine says of processes; needed to run bodies in such.
        cache: The result cache that the body answers from, to be measured here; None: there is none.
        on_queue_level: Called when the queue fills up, is full, or has room again, while this node leads. On the loop's
            thread: it must not block.

    Raises:
        ConfigurationError: What `jobs.payload_store` needs is not installed, or the body cannot be sent to where it is
            to run.
    """

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        options: JobsOptions,
        work: Work | Body,
        *,
        node_id: str,
        clock: Clock,
        handed_back: Callable[[int], None],
        executor: ExecutorChoice | None = None,
        executor_lost: Callable[[], None] | None = None,
        processes: ProcessTable | None = None,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
        rng: random.Random | None = None,
        breaker: BreakerOptions | None = None,
        store_limits: StoreLimits | None = None,
        payloads: PayloadStore | None = None,
        cache: ResultCache | None = None,
        on_queue_level: Callable[[LevelChanged], None] | None = None,
    ) -> None:
        self._options = options
        self._on_queue_level = on_queue_level
        self._cache = cache
        payloads = payloads or open_payload_store(options.payload_store, keyspace.cluster_id)
        rng = rng or random.Random(secrets.randbits(128))
        body = work if isinstance(work, Body) else Body(work)
        self.executor = executor_for(check_choice(executor or options.executor), body, options, clock, processes)
        """Where bodies run."""
        per_worker = self.executor.per_worker
        self.places = Places(
            options.workers * per_worker if self.executor.holds_worker else options.coroutines, per_worker
        )
        """Slots that there are, where no operator has ordered another number of workers."""
        self._scheduler = Scheduler(
            options,
            JobKeys(keyspace),
            node_id,
            clock,
            rng,
            breaker,
            store_limits,
            places=self.places.slots,
            per_worker=self.places.per_worker,
        )
        self._clock = clock
        self._metrics = metrics or NoMetrics()
        self._handed_back = handed_back
        self._loop = Loop("slurp-jobs", self._scheduler, store, clock, self._perform, self._failed)
        self._executor_lost = executor_lost
        self._executor_failure: BaseException | None = None
        circuit = CircuitBreaker("payloads", breaker, clock=clock, metrics=self._metrics)
        self._packer = ResultPacker(payloads, options, self._loop.post, clock, circuit)
        self._runner = Runner(
            self.executor,
            clock,
            self._packer.post,
            longest_extension_s=options.max_extension_s,
            lost=self._lost_executor,
            tracer=tracer,
        )
        self._collector = Collector(payloads) if payloads else None
        self._failure: BaseException | None = None
        self._token = 0
        self._meter = Meter(self._scheduler, options, clock, self._metrics, cache, body.name, body.version)

    def start(self) -> None:
        measure(NAME, CircuitState.CLOSED, self._metrics)
        self._runner.start()
        if self._collector is not None:
            self._collector.start()
        self._loop.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End loop and pool. The term should have been handed back before. Safe twice and before `start`.

        Returns:
            Whether everything came to its end; not, if a generator does not stop.
        """
        ended = self._loop.stop(timeout_s)
        if ended:
            self._meter.measure()  # what came since the last time; the loop's thread is gone
        all_back = self._runner.stop(timeout_s)
        if not all_back:
            log_event(_logger, logging.WARNING, LogEvent.JOB_STUCK, reason="shutdown")
        packed = self._packer.stop(timeout_s)
        collected = self._collector is None or self._collector.stop(timeout_s)
        return ended and all_back and packed and collected

    def feed(self, notice: FollowNotice) -> None:
        """Hand over what was seen of ``m/``."""
        self._loop.post(notice)

    def lead(self, term: Term) -> None:
        """This node leads, or leads again after a suspension."""
        self._token = term.token
        self._loop.post(Lead(term))

    def pause(self, token: int) -> None:
        """The term cannot be proved at present."""
        self._loop.post(Pause(token))

    def hand_back(self, token: int) -> None:
        """The term will be given back; `handed_back` is called when nothing of it is under way."""
        self._loop.post(HandBack(token))

    def hand_over(self, token: int, lent: Lent) -> None:
        """The term was handed over: what is under way is ended under the grant; then `handed_back` is called."""
        self._loop.post(HandedOver(token, lent))

    def wind_down(self) -> None:
        """This node is stopping: what is ended under grants has the drain timeout left."""
        self._loop.post(WindDown())

    def lose(self, token: int) -> None:
        """The term is over."""
        self._loop.post(Lost(token))

    # ------------------------------------------------------------ reports (from any thread: counts may be a moment old)

    @property
    def failure(self) -> BaseException | None:
        """The bug that ended the engine, if one did."""
        return self._failure

    @property
    def executor_failure(self) -> BaseException | None:
        """Why the executor will never run anything again, if so."""
        return self._executor_failure

    @property
    def stuck(self) -> int:
        """Runs that were told to stop, have not, and hold their places."""
        return self._scheduler.stuck(self._clock.boottime())

    @property
    def stuck_places(self) -> tuple[int, int]:
        """Slots and bytes of memory that these take while this node leads."""
        return self._scheduler.stuck_places(self._clock.boottime())

    @property
    def totals(self) -> dict[str, int]:
        """Since `start`, measured once a second: jobs ended here by outcome, and batches, items, unknown answers and
        fenced refusals of its commits."""
        return self._meter.totals

    def statistics(self) -> dict[str, Any]:
        """What became of the jobs that ended here in the last minutes; see `Statistics.as_dict`. From any thread."""
        return self._meter.statistics()

    def cache(self) -> CacheFigures | None:
        """How the result cache stands; None: there is none."""
        return None if self._cache is None else self._cache.figures()

    def depth(self) -> dict[str, int]:
        """Live jobs, as far as this node has seen: in the queue, and parked records. Only a leader knows which of them
        run or wait for a date; elsewhere all count as pending. What old leaders run under grants counts too (A19)."""
        return self._meter.depth()

    def hold(self) -> Hold | None:
        """Why no job is claimed here at present; None: nothing holds up the next one."""
        return self._scheduler.hold(self._clock.boottime())

    @property
    def longest_timeout_s(self) -> float:
        """The longest time that a job which runs here at present may take; 0 when none does."""
        leading = self._scheduler.leading
        return leading.longest_timeout_s if leading else 0.0

    @property
    def seen_revision(self) -> int:
        """Up to which revision this node has seen the queue."""
        return self._scheduler.picture.revision

    def stock(self) -> Stock:
        """What etcd has, as counts and one number, at the revision up to which this node has seen it. Takes a few
        milliseconds at most."""
        return self._scheduler.inventory.stock()

    @property
    def store_verdict(self) -> StoreVerdict | None:
        """How full the store is, and what that stops; None while this node does not lead, or does not know yet."""
        leading = self._scheduler.leading
        return leading.store_verdict if leading else None

    def control(self) -> dict[str, Any]:
        """What is in force for the queue by records in etcd, as far as this node has seen."""
        picture = self._scheduler.picture
        return {
            "floor": picture.floor,
            "closed": picture.closed_revision > 0,
            "queue": picture.control.to_fields(),
        }

    # ------------------------------------------------------------ on the loop's thread

    def _perform(self, command: Any) -> None:
        match command:
            case StartRun():
                self._runner.run(command)
            case StopRun():
                self._runner.stop_run(command)
            case JobEnded():
                self._on_ended(command)
            case HandedBack():
                self._handed_back(command.token)
            case Note():
                log_event(_logger, command.level, command.event, **command.fields)
            case _:
                self._perform_seldom(command)
        self._meter.look_at_the_time()

    def _perform_seldom(self, command: Any) -> None:
        match command:
            case Scale(workers):
                self._runner.scale(workers)
            case CollectPayloads() if self._collector is not None:
                self._collector.collect(command.collection)
            case CircuitChange():
                tell(command, self._metrics)
            case LevelChanged():
                self._on_level(command)
            case _:
                pass  # a moment to measure

    def _on_level(self, command: LevelChanged) -> None:
        fields = {"jobs": command.jobs, "bytes": command.size, "fill": round(command.fill, 3)}
        severity = logging.INFO if command.level is QueueLevel.NORMAL else logging.WARNING
        log_event(_logger, severity, LogEvent.QUEUE_LEVEL, queue_level=command.level.value, **fields)
        if self._on_queue_level is not None:
            self._on_queue_level(command)

    def _on_ended(self, command: JobEnded) -> None:
        outcome = command.outcome
        self._meter.count_ended(command)
        level = logging.WARNING if outcome.status is JobStatus.FAILED else logging.DEBUG
        if _logger.isEnabledFor(level):
            error = outcome.error or {}
            log_event(
                _logger,
                level,
                LogEvent.JOB_ENDED,
                job_id=outcome.job_id,
                status=outcome.status.value,
                attempts=outcome.attempts,
                error=error.get("message"),
            )

    def _lost_executor(self, error: BaseException) -> None:
        """From a thread of the executor."""
        self._executor_failure = error
        if self._executor_lost is not None:
            self._executor_lost()

    def _failed(self, error: BaseException) -> None:
        """The scheduler had a bug: it can neither run nor hand back. Its owner must not lead with it."""
        self._failure = error
        self._handed_back(self._token)
