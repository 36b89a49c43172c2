"""A leader's scheduler and submitters in a virtual world: time moved by hand, bodies that end when a test says so.

Who leads is decided by writing the leader key, as an election would; everything else is the library's own code.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from slurp_leader.clock import format_utc
from slurp_leader.jobs.changes import CancelAnswered, CancelJob, RetryAnswered, RetryJob
from slurp_leader.jobs.commit import CommitLimits
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.ids import IdMint
from slurp_leader.jobs.new_job import OnDuplicate
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.picking.control import QueueControl
from slurp_leader.jobs.records import JobKeys, JobLimits, JobOutcome, JobState, Spec, digest_of, idempotency_hash
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.scheduler import (
    HandBack,
    HandedBack,
    HandedOver,
    JobEnded,
    Lead,
    Lost,
    Note,
    Pause,
    RunEnded,
    RunStarted,
    Scheduler,
    StartRun,
    StopRun,
)
from slurp_leader.jobs.submitter import Submit, Submitted, Submitter
from slurp_leader.resilience import BreakerOptions
from slurp_leader.store import Delete, Get, KeyValue, Put, Request, Txn, prefix_end
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Grant, Lent, Term, Trust
from support.virtual import World, takes_space

KEYSPACE = Keyspace("test")
KEYS = JobKeys(KEYSPACE)
LEADER_KEY = KEYSPACE.mirrored + b"election/slurp/leader"
OPTIONS = JobsOptions(
    workers=2,
    rpc_timeout=timedelta(seconds=1),
    backoff_base=timedelta(seconds=1),
    backoff_cap=timedelta(seconds=8),
    backoff_jitter=0,
    drain_timeout=timedelta(seconds=10),
)
LIMITS = JobLimits(
    timeout_s=30, max_attempts=3, max_interruptions=3, backoff_base_s=1, backoff_cap_s=8, backoff_jitter=0
)

RETURNED = RunReport(RunEnd.RETURNED, result_json=b'{"ok":true}')
RAISED = RunReport(RunEnd.RAISED, error=error_of("error", "boom"))
INTERRUPTED = RunReport(RunEnd.INTERRUPTED)

_seeds = itertools.count(1)


def options(**changes: Any) -> JobsOptions:
    return JobsOptions(**{**OPTIONS.model_dump(), **changes})


# ---------------------------------------------------------------- a leader


class Node:
    """A host with a scheduler. `runs`: every body it was told to start, in order; `stops`: every word to stop one."""

    def __init__(
        self, world: World, name: str = "a", jobs: JobsOptions = OPTIONS, breaker: BreakerOptions | None = None
    ) -> None:
        self.world = world
        self.name = name
        self.host = world.host(name)
        self.options = jobs
        self.breaker = breaker
        self.begin()

    def begin(self) -> None:
        """Begin a life, the first or one after a crash."""
        self.said: list[Any] = []
        self.runs: list[StartRun] = []
        self.stops: list[StopRun] = []
        self.body: Callable[[StartRun], RunReport | None] | None = None
        self.pace_s = 0.01
        self.term: Term | None = None
        rng = random.Random(next(_seeds))
        self.scheduler = Scheduler(self.options, KEYS, self.name, self.host.clock, rng, self.breaker)
        self.seat = self.host.seat(self.scheduler, self._hear)
        self.host.follow(KEYSPACE.mirrored, self.seat.post)

    def _hear(self, command: Any) -> None:
        self.said.append(command)
        if isinstance(command, StartRun):
            self.runs.append(command)
            if self.body is not None:
                self.world.after(self.pace_s, self._run_body, command, self.host.life)
        elif isinstance(command, StopRun):
            self.stops.append(command)

    def _run_body(self, start: StartRun, life: int) -> None:
        if life == self.host.life and self.body is not None:
            self.seat.post(RunStarted(start.run_id))
            report = self.body(start)
            if report is not None:
                self.seat.post(RunEnded(start.run_id, report, self.pace_s))

    # ------------------------------------------------------------ the term

    def lead(self, lease: int = 0) -> Node:
        """Take the leader key, and with it the queue; for as long as the lease lives, if there is one."""
        value = f"{self.name} {next(_seeds)}".encode()
        token = self.world.apply(Put(LEADER_KEY, value, lease)).header.revision
        trust = Trust()
        trust.until = math.inf
        self.term = Term("slurp", token, 1, self.name, "session", "term", LEADER_KEY, value, self.host.clock, trust)
        self.seat.post(Lead(self.term))
        return self

    @property
    def token(self) -> int:
        assert self.term is not None
        return self.term.token

    def resume(self) -> None:
        assert self.term is not None
        self.seat.post(Lead(self.term))

    def pause(self) -> None:
        self.seat.post(Pause(self.token))

    def hand_back(self) -> None:
        self.seat.post(HandBack(self.token))

    def lose(self) -> None:
        self.seat.post(Lost(self.token))

    def hand_over(self, other: Node, longest_s: float = 60.0, *, tell: bool = True) -> Lent:
        """Hand the lead to another node at one revision, with a grant; then both are told."""
        assert self.term is not None
        key = KEYS.grant_of(self.token)
        grant = Grant(self.term.session, self.name, f"nonce {next(_seeds)}", longest_s).to_value()
        value = f"{other.name} {next(_seeds)}".encode()
        token = self.world.apply(Txn(success=(Put(LEADER_KEY, value), Put(key, grant)))).header.revision
        now = self.host.clock.boottime()
        lent = self.lent = Lent(key, grant, token, now + 5.0, now + longest_s)
        self.term.trust.until = -math.inf
        self.term.trust.lent = lent
        if tell:
            self.seat.post(HandedOver(self.token, lent))
        trust = Trust()
        trust.until = math.inf
        session = f"session of {other.name}"
        other.term = Term("slurp", token, 2, other.name, session, "term", LEADER_KEY, value, other.host.clock, trust)
        other.seat.post(Lead(other.term))
        return lent

    def stand(self) -> None:
        """Put the session key, by which others see that this node lives."""
        session = self.term.session if self.term is not None else f"session of {self.name}"
        self.world.apply(Put(KEYSPACE.mirrored + f"nodes/{self.name}/{session}".encode(), b"{}"))

    def crash(self) -> None:
        """As SIGKILL does, and then it comes back without a term."""
        self.host.crash()
        self.begin()

    @property
    def handed_back(self) -> bool:
        return HandedBack(self.token) in self.said

    # ------------------------------------------------------------ bodies by hand

    def started(self, run: StartRun, call: int = 0) -> None:
        self.seat.post(RunStarted(run.run_id, call))

    def end(self, run: StartRun, report: RunReport | None = RETURNED) -> None:
        self.seat.post(RunEnded(run.run_id, report, 0.01))

    def do(self, run: StartRun, report: RunReport = RETURNED) -> None:
        """Begin the body and end it."""
        self.started(run)
        self.end(run, report)

    def run_of(self, job_id: str) -> StartRun:
        """The newest run of a job."""
        return [run for run in self.runs if run.job.job_id == job_id][-1]

    def runs_of(self, job_id: str) -> list[StartRun]:
        return [run for run in self.runs if run.job.job_id == job_id]

    def stops_of(self, run: StartRun) -> list[str]:
        return [stop.reason for stop in self.stops if stop.run_id == run.run_id]

    def notes(self, event: LogEvent) -> list[Note]:
        return [said for said in self.said if isinstance(said, Note) and said.event is event]

    @property
    def ended(self) -> list[JobOutcome]:
        return [said.outcome for said in self.said if isinstance(said, JobEnded)]


# ---------------------------------------------------------------- a submitter


class Client:
    """A host with a submitter. Answers by ticket."""

    def __init__(self, world: World, name: str = "client", limits: CommitLimits | None = None, **unled: Any) -> None:
        self.world = world
        self.name = name
        self.host = world.host(name)
        self.mint = IdMint(self.host.clock, random.Random(next(_seeds)))
        self.submitter = Submitter(KEYS, self.mint, limits or CommitLimits(rpc_timeout_s=1.0), **unled)
        self.seat = self.host.seat(self.submitter, self._hear)
        self.answers: dict[int, Submitted] = {}
        self.cancels: dict[int, CancelAnswered] = {}
        self.retries: dict[int, RetryAnswered] = {}
        self._tickets = itertools.count(1)

    def _hear(self, command: Any) -> None:
        if isinstance(command, Submitted):
            assert command.ticket not in self.answers, "answered twice"
            self.answers[command.ticket] = command
        elif isinstance(command, CancelAnswered):
            self.cancels[command.ticket] = command
        elif isinstance(command, RetryAnswered):
            self.retries[command.ticket] = command

    def spec(self, **fields: Any) -> Spec:
        key = fields.pop("key", None)
        return Spec(
            job_id=fields.pop("job_id", None) or self.mint.mint(),
            payload=fields.pop("payload", {"n": 1}),
            priority=fields.pop("priority", Priority.NORMAL),
            limits=fields.pop("limits", LIMITS),
            submitted_at=format_utc(self.host.clock.utcnow()),
            submitted_by=self.name,
            run_at=fields.pop("run_at", None),
            deadline=fields.pop("deadline", None),
            idem=None if key is None else idempotency_hash(key),
            **fields,
        )

    def send(self, **fields: Any) -> int:
        """Submit without waiting. Returns the ticket."""
        on_duplicate = fields.pop("on_duplicate", OnDuplicate.RETURN_EXISTING)
        spec, ticket = self.spec(**fields), next(self._tickets)
        self.seat.post(Submit(ticket, spec, digest_of(spec.payload), on_duplicate))
        return ticket

    def submit(self, **fields: Any) -> str:
        """Submit, wait for the commit, return the id."""
        ticket = self.send(**fields)
        self.world.run_until(lambda: ticket in self.answers)
        answer = self.answers[ticket]
        assert answer.error is None, answer.error
        return answer.job_id

    def answer(self, ticket: int, within_s: float = 60.0) -> Submitted:
        self.world.run_until(lambda: ticket in self.answers, within_s)
        return self.answers[ticket]

    def send_cancel(self, job_id: str, reason: str = "enough", revision: int = 0) -> int:
        """Ask for a job's end without waiting. Returns the ticket."""
        ticket = next(self._tickets)
        self.seat.post(CancelJob(ticket, job_id, reason, self.name, revision))
        return ticket

    def cancel(self, job_id: str, reason: str = "enough", revision: int = 0) -> CancelAnswered:
        ticket = self.send_cancel(job_id, reason, revision)
        self.world.run_until(lambda: ticket in self.cancels)
        return self.cancels[ticket]

    def send_retry(self, job_id: str) -> int:
        """Have an ended job tried again, without waiting. Returns the ticket."""
        ticket = next(self._tickets)
        today = format_utc(self.host.clock.utcnow())
        self.seat.post(RetryJob(ticket, job_id, f"retry {next(_seeds)}", self.name, LIMITS, today))
        return ticket

    def retry(self, job_id: str) -> RetryAnswered:
        ticket = self.send_retry(job_id)
        self.world.run_until(lambda: ticket in self.retries)
        return self.retries[ticket]


# ---------------------------------------------------------------- what is in the store


@dataclass(slots=True)
class Rig:
    """A world with one leader and one submitter, and ways to look into the store."""

    world: World = field(default_factory=World)
    node: Node = field(init=False)
    client: Client = field(init=False)
    jobs: JobsOptions = OPTIONS
    breaker: BreakerOptions | None = None

    def __post_init__(self) -> None:
        self.node = Node(self.world, "a", self.jobs, self.breaker)
        self.client = Client(self.world)

    def order(self, change: Callable[[QueueControl], QueueControl]) -> None:
        """Change what operators have ordered for the queue."""
        kv = self.kv(KEYS.queue_control)
        before = QueueControl() if kv is None else QueueControl.from_value(kv.key, kv.value)
        self.world.apply(Put(KEYS.queue_control, change(before).to_value()))

    def kv(self, key: bytes) -> KeyValue | None:
        kvs = self.world.apply(Get(key)).kvs
        return kvs[0] if kvs else None

    def date(self, ahead_s: float) -> str:
        """The date in so many seconds, as it stands in records."""
        return format_utc(self.client.host.clock.utcnow() + timedelta(seconds=ahead_s))

    def keys(self, prefix: bytes) -> list[bytes]:
        return [kv.key for kv in self.world.apply(Get(prefix, prefix_end(prefix), keys_only=True)).kvs]

    def outcome(self, job_id: str) -> JobOutcome | None:
        kv = self.kv(KEYS.done + job_id.encode())
        return None if kv is None else JobOutcome.from_value(kv.key, kv.value)

    def state(self, job_id: str) -> JobState | None:
        kv = self.kv(KEYS.state + job_id.encode())
        return None if kv is None else JobState.from_value(kv.key, kv.value)

    def wait_for(self, job_id: str, within_s: float = 60.0) -> JobOutcome:
        """Let things happen until this job has ended."""
        self.world.run_until(lambda: self.kv(KEYS.done + job_id.encode()) is not None, within_s)
        outcome = self.outcome(job_id)
        assert outcome is not None
        return outcome

    def wait_for_run(self, job_id: str, runs: int = 1, node: Node | None = None, within_s: float = 60.0) -> StartRun:
        """Let things happen until this job's body was told to start that often on the node."""
        on = node or self.node
        self.world.run_until(lambda: len(on.runs_of(job_id)) >= runs, within_s)
        return on.runs_of(job_id)[runs - 1]

    def settle(self, seconds: float = 0.2) -> None:
        self.world.run_for(seconds)

    def history(self, key: bytes) -> list[tuple[int, bytes | None]]:
        """Every write of a key: its revision, and the value, None for a delete."""
        return [
            (write.revision, None if event.kind.value == "delete" else event.kv.value)
            for write in self.world.log
            for event in write.events
            if event.kv.key == key
        ]

    def outcomes_written(self, job_id: str) -> int:
        return sum(value is not None for _, value in self.history(KEYS.done + job_id.encode()))


def puts(prefix: bytes) -> Callable[[Request[Any]], bool]:
    """Chooses transactions that put a key under this prefix."""
    return _writes(Put, prefix)


def deletes(prefix: bytes) -> Callable[[Request[Any]], bool]:
    """Chooses transactions that delete a key under this prefix."""
    return _writes(Delete, prefix)


def _writes(kind: type, prefix: bytes) -> Callable[[Request[Any]], bool]:
    def chosen(request: Request[Any]) -> bool:
        return isinstance(request, Txn) and any(
            isinstance(step, kind) and step.key.startswith(prefix)  # type: ignore[attr-defined]
            for step in request.success
        )

    return chosen


__all__ = [
    "INTERRUPTED",
    "KEYS",
    "KEYSPACE",
    "LEADER_KEY",
    "LIMITS",
    "OPTIONS",
    "RAISED",
    "RETURNED",
    "Client",
    "Node",
    "Rig",
    "deletes",
    "options",
    "puts",
    "takes_space",
]
