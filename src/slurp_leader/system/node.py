"""What a candidate has beyond a client: election, engine, and one watch for both."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.election import (
    Election,
    ElectionEvent,
    ElectionState,
    LeaderChanged,
    Lending,
    Readiness,
    Reason,
    StateChanged,
)
from slurp_leader.election.hooks import HookKind, Hooks
from slurp_leader.election.options import ElectionOptions
from slurp_leader.failover import Failover
from slurp_leader.guard.shared import SharedGuard
from slurp_leader.jobs.cache import ResultCache
from slurp_leader.jobs.engine import JobEngine
from slurp_leader.jobs.executors.body import Body
from slurp_leader.jobs.executors.choice import ExecutorChoice
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.jobs.records import JobKeys
from slurp_leader.periodic import Periodic, Task
from slurp_leader.periodic import Work as PeriodicWork
from slurp_leader.resources import MachineMeter, ProcessTree
from slurp_leader.settings import SlurpSettings
from slurp_leader.store import Store
from slurp_leader.store.follow import Follower, FollowFailed, FollowNotice
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.system.condition import Facts, hold_as_fields
from slurp_leader.system.leader_election import end_for_good, identity_of, stop_aside, unfit_of
from slurp_leader.system.leader_work import failing_work_of, periodic_of
from slurp_leader.telemetry.metrics import Metrics
from slurp_leader.telemetry.tracing import Tracer
from slurp_leader.term import Lent

_logger = logging.getLogger("slurp_leader.system")

_STOP_RESERVE_S = 10.0
"""What a stop gets beyond the drain timeout, to write down what was interrupted and to release the key."""
_OWNER = "jobs"
_REQUIRES = ("project_manager",)
"""Who leads here generates context for all: the original's project manager."""


class Node:
    """Stands for election and, while it leads, runs the queue. Lives once: start, stop.

    Election and jobs do not know each other: they meet in `_on_election`, in the `Term`.

    Args:
        settings: Of the node.
        work: Does one job.
        executor: Where it does; None: as the settings say.
        election_store: For the election alone, so that job traffic cannot delay a renewal. Closed here.
        jobs_store: For everything else. Not closed here.
        clock: Source of time.
        metrics: Where measurements go.
        tracer: Where spans go.
        hooks: Whom to call when this node stands by, is elected, leads, or has lost.
        guard: The crash guard; None: a crash costs the TTL. Released here.
        cache: Where the work finds answers that were generated before; None: it looks nowhere.
        periodic: Work that is done now and then while it leads.
    """

    def __init__(
        self,
        settings: SlurpSettings,
        work: Body,
        election_store: Store,
        jobs_store: Store,
        *,
        clock: Clock,
        executor: ExecutorChoice | None = None,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
        hooks: Hooks | None = None,
        guard: SharedGuard | None = None,
        cache: ResultCache | None = None,
        periodic: Mapping[PeriodicWork, Task] | None = None,
    ) -> None:
        self.store = election_store
        self.guard = guard
        self.failure: Exception | None = None
        """Why nothing is heard of etcd any more, and never will be."""
        self.vacant_since: float | None = None
        """Since when nobody leads, in boottime seconds, as far as this node has seen."""
        self.last_vacancy_s: float | None = None
        """How long nobody led, the last time."""
        self._settings = settings
        self._keyspace = Keyspace(settings.node.cluster_id)
        self._jobs_store = jobs_store
        self._clock = clock
        self._metrics = metrics
        periodic = periodic or {}
        # A run that cannot end holds the lead up, so it gets what was set, and not what jobs may need beyond that.
        settles_within_s = settings.election.stop_timeout_s if periodic else 0.0
        self.election = self._new_election(hooks, settles_within_s)
        self.engine = self._new_engine(work, executor, tracer, hooks, cache)
        self.failover = self._new_failover()
        """What is left at a handover, and what this node found of it."""
        self._periodic = self._new_periodic(periodic)
        self._follower = Follower(jobs_store, self._keyspace.mirrored, self._on_notice, clock=clock)

    # ------------------------------------------------------------ its parts

    def _new_election(self, hooks: Hooks | None, settles_within_s: float) -> Election:
        settings = self._settings
        election = Election(
            self.store,
            self._keyspace,
            _with_time_to_drain(settings),
            identity_of(settings),
            clock=self._clock,
            metrics=self._metrics,
            facts=self._facts,
            guard=self.guard,
            hooks=hooks,
            needs_progress=True,
            free=MachineMeter(self._clock).sample,
            requires=_REQUIRES,
            lending=Lending(JobKeys(self._keyspace).grant, self._longest_run_s, settles_within_s),
            ready=self._readiness,
            manifest=lambda epoch, term: self.failover.left_for(epoch, term),
        )
        election.add_owner(_OWNER)
        return election

    def _new_engine(
        self,
        work: Body,
        executor: ExecutorChoice | None,
        tracer: Tracer | None,
        hooks: Hooks | None,
        cache: ResultCache | None,
    ) -> JobEngine:
        return JobEngine(
            self._jobs_store,
            self._keyspace,
            self._settings.jobs,
            work,
            node_id=self._settings.node.id,
            clock=self._clock,
            handed_back=self._on_handed_back,
            executor=executor,
            executor_lost=self._give_up,
            processes=ProcessTree(),
            metrics=self._metrics,
            tracer=tracer,
            breaker=self._settings.breaker,
            store_limits=StoreLimits(self._settings.etcd.quota_bytes),
            cache=cache,
            on_queue_level=None if hooks is None else partial(hooks.call, HookKind.QUEUE_LEVEL),
        )

    def _new_failover(self) -> Failover:
        jobs = self._settings.jobs
        return Failover(
            self._jobs_store,
            self._keyspace,
            node_id=self._settings.node.id,
            stock=self.engine.stock,
            control=self.engine.control,
            settings=jobs.in_force(),
            timeout_s=jobs.rpc_timeout_s,
            clock=self._clock,
            metrics=self._metrics,
        )

    def _new_periodic(self, works: Mapping[PeriodicWork, Task]) -> Periodic | None:
        return periodic_of(
            works,
            self._jobs_store,
            self._keyspace,
            self.election,
            clock=self._clock,
            metrics=self._metrics,
            give_up=self._give_up,
        )

    # ------------------------------------------------------------ life

    def start(self) -> None:
        self.election.subscribe(self._on_election)
        self.engine.start()
        self._follower.start()
        if self._periodic is not None:
            self._periodic.start()
        self.election.start()

    def stop(self) -> bool:
        """End all, the term first.

        Returns:
            Whether everything was given back and has ended.
        """
        self.engine.wind_down()
        self.failover.stop()
        clean = self.election.stop()
        if self.guard is not None:
            self.guard.release()
        self._follower.stop()
        clean = self.engine.stop() and clean
        if self._periodic is not None:
            clean = self._periodic.stop() and clean
        self.store.close()
        return clean

    def add_to(self, facts: Facts) -> Facts:
        """What this node knows beyond a client."""
        election, engine = self.election, self.engine
        return replace(
            facts,
            has_heard=facts.has_heard and engine.seen_revision > 0,
            state=election.state,
            reason=election.reason,
            has_ended=election.has_ended,
            why_ended=election.why_ended,
            duplicates=election.duplicates,
            slow_hooks=election.hooks.slow,
            trouble=election.trouble,
            held_back=election.held_back,
            unfit=unfit_of(election),
            failing_work=failing_work_of(self._periodic, election),
            lost_store=self.failure or facts.lost_store,
            engine_failure=engine.failure,
            hold=engine.hold() if election.term is not None else None,
            store=engine.store_verdict,
            executor_failure=engine.executor_failure,
            executor_trouble=engine.executor.trouble,
            stuck_jobs=engine.stuck,
            can_kill=engine.executor.can_kill,
            guard_trouble=self.guard.trouble if self.guard else None,
        )

    # ------------------------------------------------------------ what the threads below say

    def _on_notice(self, notice: FollowNotice) -> None:
        """One watch feeds both sides; each takes the keys it knows."""
        if isinstance(notice, FollowFailed):
            self.failure = notice.error
            end_for_good(self.election, notice.error)
            return
        self.election.feed(notice)
        self.engine.feed(notice)

    def _on_election(self, event: ElectionEvent) -> None:
        """Where election and jobs meet."""
        if isinstance(event, LeaderChanged):
            self._on_leader(event)
        elif isinstance(event, StateChanged) and event.term is not None:
            token = event.term.token
            match event.state:
                case ElectionState.LEADER:
                    self.engine.lead(event.term)
                    if event.reason is Reason.HANDOVER:
                        self.failover.took_over(event.term)
                case ElectionState.SUSPENDED:
                    self.engine.pause(token)
                case ElectionState.DRAINING:
                    self._hand_back(token)
                case _ if event.reason is Reason.HANDOVER and event.term.trust.lent is not None:
                    self._hand_over(token, event.term.trust.lent)
                case _:
                    self.engine.lose(token)

    def _on_leader(self, event: LeaderChanged) -> None:
        self.vacant_since = self._clock.boottime() if event.leader is None else None
        if event.vacancy_s is not None:
            self.last_vacancy_s = event.vacancy_s

    def _hand_back(self, token: int) -> None:
        if self.engine.failure is None:
            self.engine.hand_back(token)
        else:  # a dead engine starts nothing and will not answer
            self.election.drained(_OWNER, token)

    def _hand_over(self, token: int, lent: Lent) -> None:
        if self.engine.failure is None:
            self.engine.hand_over(token, lent)
        else:
            self.election.drained(_OWNER, token)

    def _readiness(self) -> Readiness:
        """Whether this node could take over: it can, once the scheduler has seen all that was written before."""
        engine = self.engine
        if engine.failure is not None or engine.executor_failure is not None or self.failure is not None:
            return Readiness(unfit="this node cannot run jobs")
        return Readiness(engine.seen_revision)

    def _longest_run_s(self) -> float:
        """How long what runs here may take from now on, with what it takes to write that down."""
        return max(self._settings.jobs.timeout_s, self.engine.longest_timeout_s) + _STOP_RESERVE_S

    def _on_handed_back(self, token: int) -> None:
        self.election.drained(_OWNER, token)
        if self.engine.failure is not None:
            self._give_up()

    def _give_up(self) -> None:
        """Stand no more, so that a node that can work leads instead."""
        stop_aside(self.election)

    def _facts(self) -> dict[str, Any]:
        """What the heartbeat tells everybody."""
        depth = self.engine.depth()
        told = self.engine.statistics()
        lately = {name: each for name, each in told.items() if name not in ("roles", "generators")}
        facts = {"jobs": depth["jobs"], "running": depth["running"], "slots": depth["slots"], "lately": lately}
        hold = self.engine.hold()
        return facts if hold is None else {**facts, "hold": hold_as_fields(hold, self._clock)}


def _with_time_to_drain(settings: SlurpSettings) -> ElectionOptions:
    """The election's settings, with a stop that waits at least for the jobs to drain."""
    options = settings.election
    stop_timeout = max(options.stop_timeout, settings.jobs.drain_timeout + timedelta(seconds=_STOP_RESERVE_S))
    return options.model_copy(update={"stop_timeout": stop_timeout})  # may be more than can be set
