"""Holds a history against the promises. The store's log of changes is the truth; one pass over it, in order.

A term is every put of the leader key, until the next put or delete of it (PROTOCOL A30). What is checked:

* I1 terms do not overlap, epochs and term ids are never used twice;
* I2 what a node writes about jobs and beats lies inside a term of its own, whenever it was sent;
* I3 no body starts without trust, or after its term (and nobody trusts a term that is over: checked as it happens);
* I4 the loss of a term stops what runs under it (checked as it happens);
* I5 an accepted request has one job and one outcome, a refused one has none, nothing appears out of nowhere;
* A18 a wish to end a job, or to take its place, means one incarnation; who is cancelled was wished to be;
* O  orders of operators bind every taking of the key from their own revision on, and each term is told of;
* B  claims, run numbers, states and outcomes follow the rules of the protocol, and outcomes are those of their runs;
     a job comes back from its outcome only, and a run is given the newest checkpoint of those before it;
* P  no periodic run begins without trust, or twice; a handover waits for it and for its claim, as long as it may
     (checked as it happens);
* L  after the trouble there is a leader soon, everything accepted ends, periodic work goes on, and then nothing changes
     any more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from simulation.cluster import ELECTION, JOB_KEYS, JOBS
from simulation.history import History, Request
from simulation.periodic import EVERY_S, LONGEST_S
from slurp_leader.election import Reason
from slurp_leader.election.history.entries import election_key
from slurp_leader.election.operator import OperatorRecord, read_operator
from slurp_leader.election.records import LeaderRecord
from slurp_leader.errors import IdempotencyConflictError, QueueFullError
from slurp_leader.jobs.records import Cancel, Claim, ClaimEntry, JobOutcome, JobState, JobStatus, Spec, read_checkpoint
from slurp_leader.store import Event, EventKind
from slurp_leader.term import Grant
from support.electing import KEYS
from support.virtual import Write

_LEADER_WITHIN_S = 2 * ELECTION.lease_ttl_s + 2.0
_OF_ONE_JOB = (JOB_KEYS.queue, JOB_KEYS.state, JOB_KEYS.done, JOB_KEYS.cancel, JOB_KEYS.progress, JOB_KEYS.checkpoint)
_OF_ANY_NODE = (KEYS.nodes, KEYS.candidates, KEYS.leader, KEYS.epoch, KEYS.ack)
_NEXT_STATES = {
    "follower": {"candidate", "follower"},
    "candidate": {"leader", "follower"},
    "leader": {"suspended", "draining", "candidate", "follower"},
    "suspended": {"leader", "draining", "candidate", "follower"},
    "draining": {"candidate", "follower"},
}


def check(history: History) -> list[str]:
    """Everything that is wrong with a history, in the order of what matters; empty when all promises were kept."""
    log = _Replay(history)
    for write in history.world.log:
        log.take(write)
    _count_effects(history, log)
    violations = [*history.broken_at_once, *log.violations]
    violations += _check_requests(history, log)
    violations += _check_bodies(history, log)
    violations += _check_state_paths(history)
    violations += _check_peace(history, log)
    return violations


def _count_effects(history: History, log: _Replay) -> None:
    """What happened, so that a set of seeds in which nothing happens is not taken for a proof."""
    count = history.world.count
    for job in log.jobs.values():
        outcome = job.outcome
        if outcome is None:
            continue
        count(f"outcome:{outcome.status.value}")
        if (outcome.error or {}).get("code") == "poison":
            count("outcome:poison")
        if outcome.status is JobStatus.COMPLETED and job.state.attempts:
            count("run_again_after_failure")
        if outcome.status is JobStatus.COMPLETED and job.state.crashes:
            count("run_again_after_crash")
        if job.pruned:
            count("pruned")
        if any(token > job.revision for token in log.terms if token <= outcome.token):
            count("under_a_later_term")


# ---------------------------------------------------------------- the log, replayed


@dataclass(slots=True)
class _TermSeen:
    token: int
    record: LeaderRecord
    end: int | None = None


@dataclass(slots=True)
class _JobSeen:
    """One job, as the log tells it."""

    job_id: str
    spec: Spec
    revision: int
    state: JobState = field(default_factory=JobState)
    state_revision: int = 0
    outcome: JobOutcome | None = None
    ended_at: int = 0
    gone: bool = False
    pruned: bool = False
    ops: list[str] = field(default_factory=list)
    """Of its outcomes, those of earlier incarnations too."""
    first_revision: int = 0
    """Of its first incarnation."""
    wish: int = 0
    """Revision of the wish to end this incarnation."""
    key_was_free_again: bool = False
    """Its idempotency key had stood for another job, which was pruned."""


class _Replay:
    """Goes through the log once."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.violations: list[str] = []
        self.terms: dict[int, _TermSeen] = {}
        self.jobs: dict[str, _JobSeen] = {}
        self.claims: dict[tuple[str, int, int, int], int] = {}
        """(job, incarnation, run, token) of every claim entry ever made, with the revision of its first claim: a late
        copy of a claim may bring the record of dead entries back."""
        self._open_claims: dict[bytes, tuple[int, Claim]] = {}
        self._by_number: dict[int, list[str]] = {}
        self.checkpoints: dict[str, list[tuple[int, bytes | None]]] = {}
        """Every write of each job's, with its revision; None: deleted."""
        self._idem: dict[bytes, str] = {}
        self._idem_freed: set[bytes] = set()
        self._current: _TermSeen | None = None
        self.grants: dict[int, Grant] = {}
        """Those that stand, by token."""
        self._grants_before: dict[int, Grant] = {}
        """Those that stood before the write that is looked at."""
        self._sessions: dict[str, int] = {}
        self._orders = OperatorRecord()
        """In force before the write that is looked at."""
        self._appointed_by = ""
        """Who handed the newest term over, if it was handed over."""
        self._nodes = {name for name in history.world.hosts if name.startswith("n")}

    @property
    def numbers(self) -> list[int]:
        return list(self._by_number)

    def jobs_of(self, number: int) -> list[str]:
        return self._by_number.get(number, [])

    def wrong(self, rule: str, write: Write, text: str) -> None:
        self.violations.append(
            f"{rule} at revision {write.revision} ({write.at:.3f}, by {write.author or '-'}): {text}"
        )

    def take(self, write: Write) -> None:
        self._grants_before = dict(self.grants)
        for event in write.events:
            if event.kv.key == KEYS.leader:
                self._leader_key(event, write)
        for event in write.events:
            self._other_key(event, write)
        self._check_author(write)
        self._check_atomic_end(write)
        for event in write.events:
            if event.kv.key == KEYS.operator:
                self._orders, _ = read_operator(event.kv)

    # ------------------------------------------------------------ I1, I2

    def _leader_key(self, event: Event, write: Write) -> None:
        if self._current is not None:
            self._current.end = write.revision
        if event.kind is EventKind.DELETE:
            self._current = None
            return
        record = LeaderRecord.from_value(event.kv.key, event.kv.value)
        for earlier in self.terms.values():
            if record.term_id == earlier.record.term_id:
                self.wrong("I1", write, f"term id of token {earlier.token} used again")
            if record.epoch <= earlier.record.epoch:
                self.wrong("I1", write, f"epoch {record.epoch} after epoch {earlier.record.epoch}")
        if record.node_id != write.author:
            self._handed_over(record, write)
        self._check_orders(record, write)
        self._current = self.terms[write.revision] = _TermSeen(write.revision, record)

    def _handed_over(self, record: LeaderRecord, write: Write) -> None:
        """C: only the leader names another, it leaves a grant, and the key hangs on that one's lease."""
        before = self.terms.get(max(self.terms, default=0))
        if before is None or before.end != write.revision or before.record.node_id != write.author:
            self.wrong("C", write, f"{write.author} named {record.node_id}, and did not lead")
        elif not any(e.kv.key == JOB_KEYS.grant_of(before.token) for e in write.events):
            self.wrong("C", write, "handed over without a grant")
        lease = next(e.kv.lease for e in write.events if e.kv.key == KEYS.leader)
        if self._sessions.get(record.session) != lease:
            self.wrong("C", write, f"the key hangs on {lease}, not on the session of {record.node_id}")

    def _check_orders(self, record: LeaderRecord, write: Write) -> None:
        """O: whoever is blocked is given no term, and in a frozen election nobody is elected.

        A key in its own name that it finds in a frozen one it keeps, blocked or not: nobody could follow (A24).
        """
        keeps_own = self._orders.frozen is not None and record.reason == Reason.ADOPTED
        if record.node_id in self._orders.blocked and not keeps_own:
            self.wrong("O", write, f"{record.node_id} begins a term, and is blocked")
        if self._orders.frozen is not None and record.reason == Reason.ELECTED:
            self.wrong("O", write, f"{record.node_id} was elected in a frozen election")
        if self._orders.frozen is not None and record.reason == Reason.STOLEN and self._appointed_by != write.author:
            self.wrong("O", write, f"{record.node_id} took the lead in a frozen election, and had not given it")
        self._appointed_by = write.author if record.reason == Reason.HANDOVER else ""
        if not any(event.kv.key == election_key(KEYS, record.epoch) for event in write.events):
            self.wrong("O", write, f"epoch {record.epoch} is not told of in the history")

    def _grant(self, event: Event, write: Write) -> None:
        token = int(event.kv.key[len(JOB_KEYS.grant) :])
        if event.kind is EventKind.DELETE:
            self.grants.pop(token, None)
        else:
            self.grants[token] = Grant.from_value(event.kv.key, event.kv.value)
            if token not in self.terms or self.terms[token].end != write.revision:
                self.wrong("C", write, f"a grant for token {token}, whose term did not just end")

    def _session(self, event: Event) -> None:
        name = event.kv.key.rpartition(b"/")[2].decode()
        if event.kind is EventKind.DELETE:
            self._sessions.pop(name, None)
        else:
            self._sessions[name] = event.kv.lease

    def _may_end(self, token: int, write: Write) -> bool:
        """Whether what runs under a token may be ended by this write: its term is in force, or its grant stands."""
        if self._current is not None and token == self._current.token:
            return True
        grant = self._grants_before.get(token)
        return grant is not None and grant.node_id == write.author

    def _check_author(self, write: Write) -> None:
        """I2: leases and epochs apart, a node writes inside its own terms only, or under a grant of its own."""
        if write.author not in self._nodes:
            return
        kinds = {event.kv.key for event in write.events}
        if all(_is_any_nodes(key) for key in kinds if not self._goes_with_the_key(key, kinds)):
            return
        if KEYS.leader in kinds and self._current is not None and self._current.record.node_id != write.author:
            return  # a handover, looked at above
        if self._under_own_grant(write):
            return
        if self._current is None or self._current.record.node_id != write.author:
            holder = self._current.record.node_id if self._current else "nobody"
            self.wrong("I2", write, f"{sorted(kinds)} written while {holder} leads")

    @staticmethod
    def _goes_with_the_key(key: bytes, kinds: set[bytes]) -> bool:
        """What is written for people with each new term, and the wish that goes with an old one."""
        return KEYS.leader in kinds and (key == KEYS.transfer or key.startswith(KEYS.history))

    def _under_own_grant(self, write: Write) -> bool:
        """Ends of runs, and of the records of this very grant; no claim, and nothing of the leader's own."""
        own = {token for token, grant in self._grants_before.items() if grant.node_id == write.author}
        for event in write.events:
            key = event.kv.key
            if key.startswith((JOB_KEYS.run, JOB_KEYS.grant)):
                token = int(key.rpartition(b"/")[2].partition(b"-")[0])
                if event.kind is not EventKind.DELETE or token not in own:
                    return False
            elif not key.startswith(_OF_ONE_JOB):
                return False
        return bool(own)

    # ------------------------------------------------------------ jobs

    def _other_key(self, event: Event, write: Write) -> None:
        key = event.kv.key
        if key.startswith(JOB_KEYS.queue):
            self._queue(key[len(JOB_KEYS.queue) :].decode(), event, write)
        elif key.startswith(JOB_KEYS.done):
            self._done(event, write)
        elif key.startswith(JOB_KEYS.run):
            self._claim(event, write)
        elif key.startswith(JOB_KEYS.state):
            self._state(key[len(JOB_KEYS.state) :].decode(), event, write)
        elif key.startswith(JOB_KEYS.idem):
            self._idempotency(event, write)
        elif key.startswith(JOB_KEYS.cancel):
            self._cancel(key[len(JOB_KEYS.cancel) :].decode(), event, write)
        elif key.startswith(JOB_KEYS.checkpoint):
            self._checkpoint(key, event, write)
        elif key.startswith(JOB_KEYS.grant):
            self._grant(event, write)
        elif key.startswith(KEYS.nodes):
            self._session(event)

    def _queue(self, job_id: str, event: Event, write: Write) -> None:
        if event.kind is EventKind.DELETE:
            self.jobs[job_id].gone = True
            return
        spec = Spec.from_value(event.kv.key, event.kv.value)
        before = self.jobs.get(job_id)
        job = self.jobs[job_id] = _JobSeen(job_id, spec, write.revision, first_revision=write.revision)
        if before is not None:
            self._tried_again(job, before, write)
            return
        self._by_number.setdefault(spec.payload["n"], []).append(job_id)

    def _tried_again(self, job: _JobSeen, before: _JobSeen, write: Write) -> None:
        """B: a job comes back in another incarnation only from its outcome, which goes at the same revision."""
        self._history.world.count("tried_again")
        done = JOB_KEYS.done + job.job_id.encode()
        if not any(event.kv.key == done and event.kind is EventKind.DELETE for event in write.events):
            self.wrong("I5", write, f"job {job.job_id} created again")
        elif before.outcome is None or before.outcome.status is JobStatus.COMPLETED or before.pruned:
            self.wrong("B", write, f"job {job.job_id} tried again after {before.outcome}")
        if job.spec.payload != before.spec.payload:
            self.wrong("B", write, f"job {job.job_id} tried again with another request")
        job.ops, job.first_revision = before.ops, before.first_revision
        job.key_was_free_again = before.key_was_free_again

    def _cancel(self, job_id: str, event: Event, write: Write) -> None:
        job = self.jobs.get(job_id)
        if event.kind is EventKind.DELETE or job is None:
            return
        wish = Cancel.from_value(event.kv.key, event.kv.value)
        if job.gone or wish.queue_revision != job.revision:
            self.wrong("A18", write, f"a wish to end incarnation {wish.queue_revision} of {job_id}, which is not there")
        job.wish = write.revision

    def _checkpoint(self, key: bytes, event: Event, write: Write) -> None:
        job_id = key[len(JOB_KEYS.checkpoint) :].decode()
        value = None if event.kind is EventKind.DELETE else read_checkpoint(key, event.kv.value)
        self.checkpoints.setdefault(job_id, []).append((write.revision, value))
        job = self.jobs.get(job_id)
        if value is not None and (job is None or job.gone):
            self.wrong("B", write, f"checkpoint of {job_id}, which has ended")

    def checkpoint_before(self, job_id: str, revision: int) -> bytes | None:
        """The newest one of a job that a run claimed at this revision has to find."""
        return next((value for at, value in reversed(self.checkpoints.get(job_id, [])) if at < revision), None)

    def _done(self, event: Event, write: Write) -> None:
        if event.kind is EventKind.DELETE:
            job = self.jobs[event.kv.key[len(JOB_KEYS.done) :].decode()]
            job.pruned = job.revision != write.revision  # else it is tried again
            return
        outcome = JobOutcome.from_value(event.kv.key, event.kv.value)
        job = self.jobs.get(outcome.job_id)
        if job is None:
            self.wrong("I5", write, f"outcome of {outcome.job_id}, which was never submitted")
            return
        if job.outcome is not None:
            self.wrong("I5", write, f"second outcome of {outcome.job_id}")
        if outcome.queue_revision != job.revision:
            self.wrong("B", write, f"outcome of {outcome.job_id} for incarnation {outcome.queue_revision}")
        if not self._may_end(outcome.token, write):
            self.wrong("I2", write, f"outcome of {outcome.job_id} under token {outcome.token}")
        self._check_outcome(job, outcome, write)
        job.outcome, job.ended_at = outcome, write.revision
        job.ops.append(outcome.op)

    def _check_outcome(self, job: _JobSeen, outcome: JobOutcome, write: Write) -> None:
        ran = (job.job_id, job.revision, outcome.run, outcome.token) in self.claims
        if outcome.status is JobStatus.CANCELLED and not job.wish:
            self.wrong("A18", write, f"{job.job_id} cancelled, and nobody wished that")
        if outcome.status is JobStatus.COMPLETED:
            result = _result(outcome)
            expected = {"n": job.spec.payload["n"], "run": outcome.run, "token": outcome.token}
            if not ran or result != expected:
                self.wrong("B", write, f"{job.job_id} completed with {result}, expected {expected}")
        elif not ran and outcome.run != job.state.closed:
            self.wrong("B", write, f"{job.job_id} ended by run {outcome.run}, which nobody claimed")
        lowest = job.state.closed + (outcome.status is JobStatus.COMPLETED)  # others may end between two runs
        if outcome.run < lowest:
            self.wrong("B", write, f"{job.job_id} ended by run {outcome.run}, closed was {job.state.closed}")
        if outcome.attempts > job.spec.limits.max_attempts:
            self.wrong("B", write, f"{job.job_id} had {outcome.attempts} attempts")
        if outcome.interruptions < job.state.interruptions:
            self.wrong("B", write, f"{job.job_id} forgot interruptions")
        poison = (outcome.error or {}).get("code") == "poison"
        if poison and not job.spec.payload["kills"] and outcome.interruptions < JOBS.max_interruptions:
            self.wrong("B", write, f"{job.job_id} condemned after {outcome.interruptions} interruptions")

    def _check_atomic_end(self, write: Write) -> None:
        """An outcome and the end of its queue record are one."""
        done = {e.kv.key[len(JOB_KEYS.done) :] for e in write.events if _is(e, JOB_KEYS.done, EventKind.PUT)}
        gone = {e.kv.key[len(JOB_KEYS.queue) :] for e in write.events if _is(e, JOB_KEYS.queue, EventKind.DELETE)}
        if done != gone:
            self.wrong("I5", write, f"outcomes of {sorted(done)}, queue records of {sorted(gone)} deleted")

    def _claim(self, event: Event, write: Write) -> None:
        key = event.kv.key
        if event.kind is EventKind.DELETE:
            token, claim = self._open_claims.pop(key)
            if token in self._grants_before and self._grants_before[token].node_id != write.author:
                self.wrong("C", write, f"claim of token {token} closed while its grant stands")
            self._check_dropped(claim, token, write)
            return
        token = int(key[len(JOB_KEYS.run) :].partition(b"-")[0])
        if self._current is None or token != self._current.token:
            self.wrong("I2", write, f"claim of token {token}")
        claim = Claim.from_value(key, event.kv.value)
        for entry in claim.entries:
            self._check_entry(entry, write)
            self.claims.setdefault((entry.job_id, entry.queue_revision, entry.run, token), write.revision)
        self._open_claims[key] = (token, claim)

    def _check_entry(self, entry: ClaimEntry, write: Write) -> None:
        job = self.jobs.get(entry.job_id)
        if job is None:
            self.wrong("B", write, f"claim of {entry.job_id}, which was never submitted")
            return
        if job.gone or job.revision != entry.queue_revision:
            return  # not live: the job ended in between, which the claim does not compare
        if entry.run > job.state.closed and self._lives(job):
            self.wrong("B", write, f"claim of {entry.job_id}, which runs already")
        if entry.run > job.state.closed + 1:
            self.wrong("B", write, f"run {entry.run} of {entry.job_id}, closed is {job.state.closed}")

    def _check_dropped(self, claim: Claim, token: int, write: Write) -> None:
        """A claim goes when none of its entries is live; its closing writes their states at the same revision."""
        written = {e.kv.key[len(JOB_KEYS.state) :].decode() for e in write.events if _is(e, JOB_KEYS.state, None)}
        for entry in claim.entries:
            job = self.jobs.get(entry.job_id)
            if job is None or job.gone or job.revision != entry.queue_revision:
                continue
            if entry.run > job.state.closed and entry.job_id not in written:
                self.wrong(
                    "B", write, f"claim of token {token} dropped while run {entry.run} of {entry.job_id} is live"
                )

    def _lives(self, job: _JobSeen) -> bool:
        return any(
            entry.job_id == job.job_id and entry.queue_revision == job.revision and entry.run > job.state.closed
            for _, claim in self._open_claims.values()
            for entry in claim.entries
        )

    def _state(self, job_id: str, event: Event, write: Write) -> None:
        job = self.jobs.get(job_id)
        if job is None or job.gone:
            if event.kind is EventKind.PUT:
                self.wrong("B", write, f"state of {job_id}, which has ended")
            return
        if event.kind is EventKind.DELETE:
            if not any(_is(e, JOB_KEYS.done, EventKind.PUT) for e in write.events):
                self.wrong("B", write, f"state of {job_id} deleted while it lives")
            return
        before, after = job.state, JobState.from_value(event.kv.key, event.kv.value)
        grew = (after.attempts - before.attempts) + (after.interruptions - before.interruptions)
        if after.closed != before.closed + 1 or grew != 1:
            self.wrong("B", write, f"state of {job_id} went from {before} to {after}")
        job.state, job.state_revision = after, write.revision

    def _idempotency(self, event: Event, write: Write) -> None:
        key = event.kv.key
        if event.kind is EventKind.DELETE:
            self._idem.pop(key, None)
            self._idem_freed.add(key)
        elif key in self._idem and not self._moves(key, event, write):
            self.wrong("I5", write, f"idempotency key of {self._idem[key]} used for another job")
        else:
            job_id = self._idem[key] = json.loads(event.kv.value)["id"]
            self.jobs[job_id].key_was_free_again = key in self._idem_freed

    def _moves(self, key: bytes, event: Event, write: Write) -> bool:
        """A18: a key goes from a job to one that takes its place, if that has ended, or is to end; or it stays."""
        new, old = json.loads(event.kv.value)["id"], self.jobs[self._idem[key]]
        if new == old.job_id:
            return True
        self._history.world.count("replaced")
        asked = self._history.requests[self.jobs[new].spec.payload["n"]].replaces
        wished = bool(old.wish) or any(e.kv.key == JOB_KEYS.cancel + old.job_id.encode() for e in write.events)
        return asked and self.jobs[new].revision == write.revision and (old.gone or wished)


def _is(event: Event, prefix: bytes, kind: EventKind | None) -> bool:
    return event.kv.key.startswith(prefix) and kind in (None, event.kind)


def _result(outcome: JobOutcome) -> Any:
    return json.loads(outcome.result_json) if outcome.result_json is not None else None


# ---------------------------------------------------------------- what was said


def _check_requests(history: History, log: _Replay) -> list[str]:
    """I5: each answer is true, at the moment it is given and ever after."""
    wrong: list[str] = []
    wrong += [f"I5 job of request {n}, which nobody made" for n in log.numbers if n not in history.requests]
    for request in history.requests.values():
        jobs = log.jobs_of(request.number)
        if len(jobs) > 1:
            wrong.append(f"I5 request {request.number} has {len(jobs)} jobs")
        if request.answered_at is None:
            continue
        if request.error is None:
            wrong += _check_accepted(history, log, request, jobs)
        elif isinstance(request.error, IdempotencyConflictError | QueueFullError):
            wrong += _ghosts(history, log, request, jobs)
    return wrong


def _check_accepted(history: History, log: _Replay, request: Request, jobs: list[str]) -> list[str]:
    job = log.jobs.get(request.job_id)
    if job is None:
        return [f"I5 request {request.number} was accepted, but job {request.job_id} never was there"]
    wrong = []
    if request.created and jobs != [request.job_id]:
        wrong.append(f"I5 request {request.number} was told {request.job_id}, its jobs are {jobs}")
    if request.created and request.revision not in (0, job.first_revision):
        wrong.append(f"I5 request {request.number} was told revision {request.revision}, it is {job.first_revision}")
    if not request.created:
        wrong += _ghosts(history, log, request, jobs)
        if job.spec.payload["text"] != request.body:
            wrong.append(f"I5 request {request.number} was given the job of another body")
    seen = history.outcomes_seen.get((request.submitter, request.job_id))
    if seen is not None and job.outcome is not None:
        told = JobOutcome.from_value(JOB_KEYS.done + request.job_id.encode(), seen)
        if told.op not in job.ops:
            wrong.append(f"I5 {request.submitter} saw another outcome of {request.job_id} than the one recorded")
    return wrong


def _ghosts(history: History, log: _Replay, request: Request, jobs: list[str]) -> list[str]:
    """Jobs of a request that was told it has none.

    One is allowed: the key of another job was in the way, that job was pruned, and then a late copy of the submit came
    in. From there on the key is free, so such a copy is a submit like any other (PROTOCOL A27's window).
    """
    told = f"I5 request {request.number} was told it has no job, and has"
    wrong = []
    for job_id in jobs:
        if log.jobs[job_id].key_was_free_again:
            history.world.count("ghost_after_prune")
        else:
            wrong.append(f"{told} {job_id}")
    return wrong


def _check_bodies(history: History, log: _Replay) -> list[str]:
    wrong = []
    begun: set[tuple[str, int, int, int]] = set()
    for body in history.bodies:
        where = f"run {body.run} of {body.job_id} on {body.node} at {body.at:.3f}"
        run = (body.job_id, body.incarnation, body.run, body.token)
        if not body.trusted or (not body.held and body.token not in history.forced):
            wrong.append(f"I3 {where} began without a term (token {body.token})")
        if log.claims.get(run, 0) == 0 or log.claims[run] != body.fencing_token:
            wrong.append(f"B {where} began with fencing token {body.fencing_token}, claimed at {log.claims.get(run)}")
        if run in begun:
            wrong.append(f"B {where} began twice")
        left = log.checkpoint_before(body.job_id, body.fencing_token)
        if body.restored != left:
            wrong.append(f"B {where} was given the checkpoint {body.restored!r}, the newest was {left!r}")
        if body.restored is not None:
            history.world.count("restored")
        if body.attempt > JOBS.max_attempts:
            wrong.append(f"B {where} is attempt {body.attempt}")
        begun.add(run)
    return wrong


def _check_state_paths(history: History) -> list[str]:
    wrong = []
    last: dict[str, str] = {}
    for at, node, state, reason, _ in history.state_changes:
        before = last.get(node, "follower")
        started_anew = state == "candidate" and reason == "started"
        if not started_anew and state not in _NEXT_STATES[before]:
            wrong.append(f"state of {node} went from {before} to {state} ({reason}) at {at:.3f}")
        last[node] = state
    return wrong


# ---------------------------------------------------------------- peace


def _check_peace(history: History, log: _Replay) -> list[str]:
    wrong = []
    peace = history.peace_at
    if history.led_at is None or history.led_at - peace > _LEADER_WITHIN_S:
        wrong.append(f"L1 peace at {peace:.1f}, a leader at {history.led_at}")
    accepted = {r.job_id for r in history.requests.values() if r.accepted}
    unended = sorted(job_id for job_id in accepted if job_id in log.jobs and log.jobs[job_id].outcome is None)
    wrong += [f"L2 {job_id} was accepted and never ended" for job_id in unended]
    if history.settled_at is None:
        wrong.append("L2 it never came to rest")
        return wrong
    changes = [write.at for write in history.world.log for e in write.events if e.kv.key == KEYS.leader]
    if changes and changes[-1] > max(history.settled_at, peace + _LEADER_WITHIN_S):
        wrong.append(f"L5 the leader changed at {changes[-1]:.1f}, though all was at rest at {history.settled_at:.1f}")
    idle_s = 0.0 if history.periodic_begun_at is None else history.world.clock.now - history.periodic_begun_at
    if idle_s > LONGEST_S + 2 * EVERY_S:
        wrong.append(f"L6 periodic work was begun last {idle_s:.1f} s before the end")
    if history.believers_at_end != ([log._current.token] if log._current else []):
        holder = log._current.token if log._current else None
        wrong.append(f"L4 tokens {history.believers_at_end} are trusted at the end, {holder} is in force")
    return wrong


def _is_any_nodes(key: bytes) -> bool:
    """Whether the key is for any node to write, whoever leads."""
    return key.startswith(_OF_ANY_NODE)
