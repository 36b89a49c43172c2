"""Nodes and submitters, joined as a program joins them, and the bodies of the jobs, which only take time."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from simulation.history import BodyStart, History, Request
from simulation.periodic import SETTLES_WITHIN_S, SimPeriodic
from slurp_leader.clock import format_utc
from slurp_leader.election import (
    Drained,
    ElectionOptions,
    ElectionState,
    Elector,
    Finished,
    FitnessChanged,
    GoOn,
    Identity,
    Lending,
    Readiness,
    Reason,
    ResignWanted,
    Settled,
    SettleWanted,
    StateChanged,
    StopWanted,
)
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.election.records import nodes_prefix
from slurp_leader.jobs.changes import RetryAnswered, RetryJob
from slurp_leader.jobs.commit import CommitLimits
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.ids import IdMint
from slurp_leader.jobs.messages import RunCheckpoint
from slurp_leader.jobs.new_job import OnDuplicate
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import JobKeys, JobLimits, Spec, digest_of, idempotency_hash
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.scheduler import (
    HandBack,
    HandedBack,
    HandedOver,
    Lead,
    Lost,
    Pause,
    RunEnded,
    RunStarted,
    Scheduler,
    StartRun,
    StopRun,
    WindDown,
)
from slurp_leader.jobs.submitter import CancelAnswered, CancelJob, Submit, Submitted, Submitter
from slurp_leader.resilience import BreakerOptions, CircuitChange
from slurp_leader.store import Event, EventKind
from slurp_leader.store.follow import Changes, Snapshot
from slurp_leader.term import Term
from support.electing import KEYS, KEYSPACE
from support.virtual import Host, World

JOB_KEYS = JobKeys(KEYSPACE)
ELECTION = ElectionOptions(lease_ttl=4, rpc_timeout=0.65, margin=0.3, stop_timeout=5)
JOBS = JobsOptions(
    workers=2,
    queue_limit=24,
    retain_completed=6,
    retain_failed=20,
    retain_cancelled=6,
    rpc_timeout=0.8,
    drain_timeout=2,
    backoff_base=0.3,
    backoff_cap=2,
    timeout=3,
)
LIMITS = JobLimits(JOBS.timeout_s, JOBS.max_attempts, JOBS.max_interruptions, 0.3, 2.0, 0.2)
BREAKER = BreakerOptions(window=5, minimum_calls=5, open_base=0.2, open_cap=0.8, probe_timeout=1)
LENDING = Lending(JOB_KEYS.grant, lambda: 6.0)
RETURN_EXISTING = OnDuplicate.RETURN_EXISTING
BETWEEN_THREADS_S = 0.0005
"""What a word from one thread of a process to another takes."""
_STOPPED_WITHIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Body:
    """What a job is going to do, as drawn when it is submitted; it is in the payload."""

    seconds: float
    fails: int = 0
    """So many attempts raise, then it returns."""
    terminal: bool = False
    kills: bool = False
    """Takes its process with it, every time."""
    deaf: bool = False
    """Never looks whether it should stop."""
    notes: bool = False
    """Leaves a checkpoint half way."""


# ---------------------------------------------------------------- a node


class Pool:
    """The workers of one life of a node: what `slurp_leader.jobs.runner.Runner` does with threads."""

    def __init__(self, node: SimNode, workers: int) -> None:
        self._node = node
        self._free = workers
        self._waiting: deque[StartRun] = deque()
        self._under_way: dict[int, StartRun] = {}
        self._told: set[int] = set()

    def run(self, start: StartRun) -> None:
        self._waiting.append(start)
        self._fill()

    def stop_run(self, stop: StopRun) -> None:
        self._told.add(stop.run_id)
        start = self._under_way.get(stop.run_id)
        if start is not None and not start.job.spec.payload["deaf"]:
            error = error_of("interrupted", stop.reason)
            self._node.later(0.05, self._end, start, RunReport(RunEnd.INTERRUPTED, error=error))

    def not_told(self, token: int) -> list[StartRun]:
        """Runs of a term that nobody told to stop."""
        runs = [*self._under_way.values(), *self._waiting]
        return [start for start in runs if start.term.token == token and start.run_id not in self._told]

    def _fill(self) -> None:
        while self._free and self._waiting:
            self._begin(self._waiting.popleft())

    def _begin(self, start: StartRun) -> None:
        if not start.term.may_begin:
            self._say(RunEnded(start.run_id, None))
            return
        if start.run_id in self._told:
            self._say(RunEnded(start.run_id, RunReport(RunEnd.INTERRUPTED)))
            return
        payload = start.job.spec.payload
        self._node.body_begins(start)
        self._free -= 1
        self._under_way[start.run_id] = start
        self._say(RunStarted(start.run_id))
        if payload["kills"]:
            self._node.later(0.01, self._node.die_of, start)
            return
        if payload["notes"]:
            self._node.later(payload["seconds"] / 2, self._note, start)
        self._node.later(payload["seconds"], self._end, start, _report_of(start, payload))

    def _note(self, start: StartRun) -> None:
        if self._under_way.get(start.run_id) is start:
            self._say(RunCheckpoint(start.run_id, b"[%d,%d]" % (start.fencing_token, start.run)))

    def _end(self, start: StartRun, report: RunReport) -> None:
        if self._under_way.pop(start.run_id, None) is not None:
            self._free += 1
            self._say(RunEnded(start.run_id, report, start.job.spec.payload["seconds"]))
            self._fill()

    def _say(self, event: Any) -> None:
        self._node.later(BETWEEN_THREADS_S, self._node.jobs.post, event)


def _report_of(start: StartRun, payload: dict[str, Any]) -> RunReport:
    if payload["terminal"]:
        return RunReport(RunEnd.TERMINAL, error=error_of("terminal", "it cannot work"))
    if start.attempt <= payload["fails"]:
        return RunReport(RunEnd.RAISED, error=error_of("error", "not this time"))
    result = {"n": payload["n"], "run": start.run, "token": start.term.token}
    return RunReport(RunEnd.RETURNED, result_json=json.dumps(result).encode())


class SimNode:
    """A candidate: elector and scheduler on one host, fed by one watch."""

    def __init__(self, host: Host, history: History, rng: random.Random) -> None:
        self.host = host
        self.history = history
        self.terms: list[Term] = []
        self.up = False
        self.stopped = False
        self._rng = rng
        self.start()

    def start(self) -> None:
        """Begin a new life."""
        clock, name = self.host.clock, self.host.name
        self.up, self.stopped, self.terms = True, False, []
        self._drained: dict[int, set[str]] = {}  # who of jobs and periodic work is done with the term of this token
        seed = self._rng.getrandbits(64)
        share = random.Random(seed).random()
        self.elector = Elector(
            ELECTION,
            Identity(name, ""),
            KEYS,
            nodes_prefix(KEYSPACE, name),
            clock,
            random.Random(seed),
            lending=replace(LENDING, settles_within_s=SETTLES_WITHIN_S) if self._has_periodic_work else LENDING,
            ready=lambda: Readiness(self.scheduler.picture.revision),
            free=lambda: Free(share, share, share),
        )
        self.scheduler = Scheduler(JOBS, JOB_KEYS, name, clock, random.Random(seed + 1), BREAKER)
        self.pool = Pool(self, JOBS.workers)
        self.election = self.host.seat(self.elector, self._on_election)
        self.jobs = self.host.seat(self.scheduler, self._on_jobs)
        self.periodic = (
            SimPeriodic(self.host, self.history, seed, self._on_periodic) if self._has_periodic_work else None
        )
        self.election.carry_out(self.elector.start(clock.boottime()))
        self.host.follow(KEYSPACE.mirrored, self._feed)

    @property
    def _has_periodic_work(self) -> bool:
        """In every fourth seed, so that the others stay what they are."""
        return self.host.world.seed % 8 in (0, 7)

    def crash(self) -> None:
        """As SIGKILL does."""
        self.up = False
        if self.periodic is not None:
            self.periodic.died()
        self.host.crash()

    def later(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        """Do something on this host, if it lives by then; a paused one does it when it is woken."""
        self.host.world.after(seconds, self._in_life, self.host.life, do, args)

    def _in_life(self, life: int, do: Callable[..., None], args: tuple[Any, ...]) -> None:
        if life == self.host.life:
            self.host.do(do, *args)

    # ------------------------------------------------------------ what joins election and jobs

    def _feed(self, notice: Snapshot | Changes) -> None:
        self.election.post(notice)
        self.jobs.post(notice)

    def _on_election(self, command: Any) -> None:
        if isinstance(command, StateChanged):
            self._on_state(command)
        elif isinstance(command, SettleWanted | GoOn) and self.periodic is not None:
            self.later(BETWEEN_THREADS_S, self.periodic.ask, command)
        elif isinstance(command, Finished):
            self.stopped = True

    def _on_periodic(self, word: Drained | Settled) -> None:
        if isinstance(word, Settled):
            self.later(BETWEEN_THREADS_S, self.election.post, word)
        else:
            self._has_drained("periodic", word.token)

    def _has_drained(self, owner: str, token: int) -> None:
        done = self._drained.setdefault(token, set())
        done.add(owner)
        if self.periodic is None or len(done) == 2:
            self.later(BETWEEN_THREADS_S, self.election.post, Drained(token))

    def _on_state(self, change: StateChanged) -> None:
        term, world = change.term, self.host.world
        token = term.token if term else 0
        entry = (world.clock.now, self.host.name, change.state.value, change.reason.value, token)
        self.history.state_changes.append(entry)
        if change.state is ElectionState.LEADER:
            self.history.note_leader(world.clock.now)
        world.count(f"reason:{change.reason.value}")
        if term is None:
            return
        match change.state:
            case ElectionState.LEADER:
                if term not in self.terms:
                    self.terms.append(term)
                word: Any = Lead(term)
            case ElectionState.SUSPENDED:
                word = Pause(token)
            case ElectionState.DRAINING:
                word = HandBack(token)
            case _ if change.reason is Reason.HANDOVER and term.trust.lent is not None:
                word = HandedOver(token, term.trust.lent)
            case _:
                word = Lost(token)
                self.later(_STOPPED_WITHIN_S, self._expect_stopped, token)
        self.later(BETWEEN_THREADS_S, self.jobs.post, word)
        if self.periodic is not None:
            self.later(2 * BETWEEN_THREADS_S, self.periodic.tell, change)

    def _expect_stopped(self, token: int) -> None:
        """I4: the loss of a term is told to everything that runs under it."""
        for start in self.pool.not_told(token):
            self.history.broken_at_once.append(
                f"I4 {self.host.name} lost token {token}, and nobody told run {start.run} of {start.job.job_id}"
            )

    def _on_jobs(self, command: Any) -> None:
        match command:
            case StartRun():
                self.later(BETWEEN_THREADS_S, self.pool.run, command)
            case StopRun():
                self.later(BETWEEN_THREADS_S, self.pool.stop_run, command)
            case HandedBack():
                self._has_drained("jobs", command.token)
            case CircuitChange():
                self.host.world.count(f"circuit:{command.state.value}")

    def resign(self) -> None:
        if (term := self.elector.term) is not None:
            self.election.post(ResignWanted(term.token, 1.0))

    def be_fit(self, unfit: str) -> None:
        self.election.post(FitnessChanged(unfit))

    def stop(self) -> None:
        self.jobs.post(WindDown())
        self.election.post(StopWanted())

    # ------------------------------------------------------------ bodies

    def body_begins(self, start: StartRun) -> None:
        world = self.host.world
        token = start.term.token
        held = token in (self.history.holder, *self.history.grants)
        self.history.bodies.append(
            BodyStart(
                world.clock.now,
                self.host.name,
                start.job.job_id,
                start.run,
                start.attempt,
                token,
                start.fencing_token,
                start.term.may_begin,
                held,
                start.job.revision,
                start.restored,
            )
        )

    def die_of(self, start: StartRun) -> None:
        """The job takes the process with it; somebody starts it again."""
        self.host.world.count("killed_by_job")
        self.crash()
        self.host.world.after(0.5, self.restart)

    def restart(self) -> None:
        if not self.up:
            self.start()

    @property
    def leads(self) -> bool:
        """Whether this node believes in a term; a paused one is not asked."""
        return self.up and not self.host.paused and any(term.is_valid for term in self.terms)


# ---------------------------------------------------------------- a submitter


class SimSubmitter:
    """A pure client: submits, cancels, and watches outcomes."""

    def __init__(self, host: Host, history: History, rng: random.Random) -> None:
        self.host = host
        self.history = history
        self._rng = rng
        self._requests: dict[int, Request] = {}
        self._cancels: dict[int, str] = {}
        self._retries = 0
        self.start()

    def start(self) -> None:
        clock = self.host.clock
        self.up = True
        self.mint = IdMint(clock, random.Random(self._rng.getrandbits(64)))
        limits = CommitLimits(items=JOBS.flush_items, rpc_timeout_s=JOBS.rpc_timeout_s)
        self.submitter = Submitter(JOB_KEYS, self.mint, limits)
        self.seat = self.host.seat(self.submitter, self._hear)
        self.host.follow(JOB_KEYS.done, self._see)

    def crash(self) -> None:
        """What was not answered never will be."""
        self.up = False
        self._requests.clear()
        self.host.crash()

    def restart(self) -> None:
        if not self.up:
            self.start()

    def submit(
        self, body: Body, priority: Priority, key: str | None, text: str, on_duplicate: OnDuplicate = RETURN_EXISTING
    ) -> None:
        number = len(self.history.requests) + 1
        clock = self.host.clock
        request = Request(number, self.host.name, self.host.world.clock.now, key, text)
        request.replaces = on_duplicate is OnDuplicate.REPLACE
        self.history.requests[number] = self._requests[number] = request
        payload = {
            "n": number,
            "text": text,
            "seconds": body.seconds,
            "fails": body.fails,
            "terminal": body.terminal,
            "kills": body.kills,
            "deaf": body.deaf,
            "notes": body.notes,
        }
        spec = Spec(
            job_id=self.mint.mint(),
            payload=payload,
            priority=priority,
            limits=LIMITS,
            submitted_at=format_utc(clock.utcnow()),
            submitted_by=self.host.name,
            run_at=format_utc(clock.utcnow() + timedelta(seconds=2)) if self._rng.random() < 0.1 else None,
            idem=idempotency_hash(key) if key is not None else None,
        )
        digest = digest_of({"text": text}) if key is not None else ""
        self.seat.post(Submit(number, spec, digest, on_duplicate))

    def cancel(self, job_id: str) -> None:
        ticket = -len(self._cancels) - 1
        self._cancels[ticket] = job_id
        self.history.cancels.setdefault(job_id, "asked")
        self.seat.post(CancelJob(ticket, job_id, "enough", self.host.name))

    def retry(self, job_id: str) -> None:
        """Have an ended job tried again."""
        self._retries += 1
        op, today = f"{self.host.name} {self._retries}", format_utc(self.host.clock.utcnow())
        self.seat.post(RetryJob(self._retries, job_id, op, self.host.name, LIMITS, today))

    def _hear(self, command: Any) -> None:
        if isinstance(command, Submitted):
            request = self._requests.pop(command.ticket)
            request.answered_at = self.host.world.clock.now
            request.job_id, request.created = command.job_id, command.created
            request.revision, request.error = command.revision, command.error
            kind = type(command.error).__name__ if command.error else "created" if command.created else "duplicate"
            self.host.world.count(f"submit:{kind}")
        elif isinstance(command, CancelAnswered):
            answer = command.answer.value if command.answer else type(command.error).__name__
            self.history.cancels[self._cancels[command.ticket]] = answer
            self.host.world.count(f"cancel:{answer}")
        elif isinstance(command, RetryAnswered):
            answer = command.answer.value if command.answer else type(command.error).__name__
            self.host.world.count(f"retry:{answer}")

    def _see(self, notice: Snapshot | Changes) -> None:
        if isinstance(notice, Snapshot):
            kvs = [(kv.key, kv.value) for kv in notice.kvs]
        else:
            kvs = [(event.kv.key, event.kv.value) for event in notice.events if event.kind is EventKind.PUT]
        for key, value in kvs:
            job_id = key[len(JOB_KEYS.done) :].decode()
            self.history.outcomes_seen[self.host.name, job_id] = value


# ---------------------------------------------------------------- all of it


@dataclass(slots=True)
class Cluster:
    """Three nodes, two submitters, one store."""

    world: World
    history: History
    nodes: list[SimNode] = field(default_factory=list)
    submitters: list[SimSubmitter] = field(default_factory=list)

    @classmethod
    def build(cls, seed: int) -> Cluster:
        world = World(seed)
        history = History(world)
        cluster = cls(world, history)
        world.on_write.append(cluster._watch_belief)
        draw = world.rng
        for name in ("n1", "n2", "n3"):
            host = world.host(
                name, zero=draw.uniform(0, 1e6), speed=draw.uniform(0.99, 1.01), date_off_s=draw.uniform(-1, 1)
            )
            cluster.nodes.append(SimNode(host, history, random.Random(draw.getrandbits(64))))
        for name in ("s1", "s2"):
            host = world.host(name, zero=draw.uniform(0, 1e6), date_off_s=draw.uniform(-1, 1))
            cluster.submitters.append(SimSubmitter(host, history, random.Random(draw.getrandbits(64))))
        return cluster

    def _watch_belief(self, write: Any) -> None:
        """I3, at each moment it could break: when the leader key changes hands, nobody trusts an older term."""
        for event in write.events:
            if event.kv.key.startswith(JOB_KEYS.grant):
                self._watch_grant(event)
            if event.kv.key != KEYS.leader:
                continue
            for node in self.nodes:
                if node.periodic is not None and node.host.name == write.author:
                    node.periodic.lead_was_given(event, self.history.holder)
            self.history.holder = write.revision if event.kind is EventKind.PUT else 0
            for node in self.nodes:
                for term in node.terms:
                    left_s = node.host.clock.in_world(term.trust.until) - write.at
                    over = term.token < write.revision and term.token not in self.history.forced
                    if over and left_s > 0 and node.up:
                        self.history.broken_at_once.append(
                            f"I3 {node.host.name} trusts token {term.token} for {left_s:.3f} s after the leader key "
                            f"changed hands at revision {write.revision}"
                        )

    def _watch_grant(self, event: Event) -> None:
        """I4: the loss of a grant is told to everything that runs under it."""
        token = int(event.kv.key[len(JOB_KEYS.grant) :])
        if event.kind is EventKind.PUT:
            self.history.grants.add(token)
            self.world.count("granted")
        else:
            self.history.grants.discard(token)
