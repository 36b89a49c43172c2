"""The scheduler: what a leader does with the queue. A machine, like the elector.

While this node does not lead it keeps the `Picture` warm, nothing else. With a term it reads from the top:

    lead -> (picture complete for the token) -> take over -> look at every job -> claim -> run -> finish, or try again

Everything about one term lives in one `_Leading` object and dies with it: an answer or a run of an old term finds
nobody to talk to (PROTOCOL A29). Nothing here decides by what a read said: each write compares the fence and the
revisions of its job, and what is in memory changes only when the store has answered.

Commands: `Call`, `StartRun`, `StopRun`, `HandedBack`, `JobEnded`, `Note`.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from slurp_leader.clock import Clock, format_utc, parse_utc
from slurp_leader.jobs import intents
from slurp_leader.jobs.commit import CommitLimits, Committer, Settlement, Verdict
from slurp_leader.jobs.decisions import (
    Finish,
    RunEnd,
    RunReport,
    after_crash,
    after_run,
    error_of,
    is_poison,
    is_suspect,
    poison_error,
)
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.picture import ClaimView, Job, Picture, StateView, due_at
from slurp_leader.jobs.pruner import Pruner
from slurp_leader.jobs.ready import ReadyQueue, Schedule
from slurp_leader.jobs.records import (
    Claim,
    ClaimEntry,
    JobKeys,
    JobOutcome,
    JobState,
    JobStatus,
    closed_value,
    floor_value,
    parked_value,
    progress_value,
)
from slurp_leader.machine.calls import Answer, Call, Calls, Timers
from slurp_leader.store.follow import Changes, Progress, Snapshot
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Term

_RECONCILE_S = 2.0
"""How often a leader looks at the whole picture without an event, so that one error never loses work for good."""
_STOP_GRACE_S = 5.0
"""How long a run that was told to stop may take before its end is recorded without it."""
_PROGRESS_EVERY_S = 1.0
_AHEAD_WINDOW_S = 0.005
"""Jobs may be claimed ahead of a free worker when they will be started within about this time."""


# ---------------------------------------------------------------- events and commands


@dataclass(frozen=True, slots=True)
class Lead:
    """Event: this node has a term."""

    term: Term


@dataclass(frozen=True, slots=True)
class Pause:
    """Event: the term cannot be proved at present. Start nothing."""

    token: int


@dataclass(frozen=True, slots=True)
class HandBack:
    """Event: the term will be given back. Start nothing, finish what runs, say `HandedBack`."""

    token: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Event: the term is over."""

    token: int


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Event: the body of a run begins now."""

    run_id: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """Event: a worker is done with a run. `report` is None when the run was never started (its term was not valid)."""

    run_id: int
    report: RunReport | None
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Event: how far a run is, 0 to 1."""

    run_id: int
    fraction: float
    note: str


@dataclass(frozen=True, slots=True)
class StartRun:
    """Command: run this job. `fencing_token`: revision of the claim; it grows with every run of the same job."""

    run_id: int
    job: Job
    run: int
    attempt: int
    fencing_token: int
    term: Term


@dataclass(frozen=True, slots=True)
class StopRun:
    """Command: tell this run to stop, and why: ``cancelled``, ``timeout``, ``shutdown`` or ``term_lost``."""

    run_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class HandedBack:
    """Command: nothing of the term is under way any more; it may be released."""

    token: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Command: an outcome was recorded."""

    outcome: JobOutcome
    wait_s: float
    run_s: float


@dataclass(frozen=True, slots=True)
class Note:
    """Command: something worth a log entry."""

    level: int
    event: LogEvent
    fields: dict[str, Any]


@dataclass(slots=True)
class Tally:
    """What happened since it was last taken; the shell turns it into metrics."""

    retried: int = 0
    interrupted: int = 0


# ---------------------------------------------------------------- the machine


class Scheduler:
    """Runs the queue while its node leads.

    Args:
        options: Workers, limits, retention.
        keys: Keys of the jobs.
        node_id: Written into outcomes, for people.
        clock: The calendar only.
        rng: Jitter and operation ids.
    """

    def __init__(self, options: JobsOptions, keys: JobKeys, node_id: str, clock: Clock, rng: random.Random) -> None:
        self.picture = Picture(keys)
        self.tally = Tally()
        self._options = options
        self._keys = keys
        self._node_id = node_id
        self._clock = clock
        self._rng = rng
        self._leading: _Leading | None = None
        self._calls = Calls()  # of all terms: an answer to an old term's call must never fit a call of a new one
        self._workers = _Workers(options.workers)
        self._next_run_id = 0
        self._out: list[Any] = []

    @property
    def wake_at(self) -> float:
        return self._leading.wake_at if self._leading else float("inf")

    @property
    def leading(self) -> _Leading | None:
        """The term at work, for reports; None while this node does not lead."""
        return self._leading

    def step(self, event: Any, now: float) -> list[Any]:
        """Take one event: what a `Follower` delivers, `Lead` ... `Lost`, `RunStarted`, `RunEnded`, `RunProgress`, `Answer`,
        `Tick`."""
        self._out = []
        match event:
            case Changes():
                self.picture.change(event.revision, event.events)
            case Snapshot():
                self.picture.load(event.revision, event.kvs)
            case Progress():
                self.picture.progress(event.revision)
            case Lead():
                self._lead(event.term, now)
            case Lost():
                self._lose(event.token)
            case RunEnded():
                self._workers.release(event.run_id)
                if event.report is not None:
                    self._workers.learn(event.duration_s)
        if self._leading is not None:
            self._leading.step(event, now)
        else:
            self.picture.touched.clear()  # nobody here acts on it; a new leader looks at every job
        return self._out

    def _lead(self, term: Term, now: float) -> None:
        if self._leading is not None and self._leading.term.token == term.token:
            self._leading.resume(now)
            return
        if self._leading is not None:
            self._leading.abandon()
        self._calls.forget()
        self._leading = _Leading(self, term, now)

    def _lose(self, token: int) -> None:
        """Stop what runs (I4). What it still writes is refused by the fence."""
        leading = self._leading
        if leading is not None and leading.term.token == token:
            self._leading = None
            self._calls.forget()
            leading.abandon()

    def new_run_id(self) -> int:
        self._next_run_id += 1
        return self._next_run_id

    def new_op(self) -> str:
        return f"{self._rng.getrandbits(64):016x}"


class _Workers:
    """How many runs may be under way. Counted from runs that have not ended, whatever became of their terms."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._occupied: set[int] = set()
        self._typical_s = 1.0

    def started(self, run_id: int) -> None:
        self._occupied.add(run_id)

    def release(self, run_id: int) -> None:
        self._occupied.discard(run_id)

    def learn(self, duration_s: float) -> None:
        self._typical_s += 0.1 * (duration_s - self._typical_s)

    @property
    def occupied(self) -> int:
        return len(self._occupied)

    def free(self, claiming: int) -> int:
        """How many more may be claimed: free workers, and what short jobs will leave free within `_AHEAD_WINDOW_S`.

        A claim ahead of its worker shares the risk of a crash before its body has begun; it is kept to a few
        milliseconds of work, and a job that was interrupted is run alone before anything is held against it (A14).
        """
        ahead = int(self.count * _AHEAD_WINDOW_S / max(self._typical_s, 1e-5))
        return self.count + min(ahead, 2 * intents.MOST_ENTRIES) - len(self._occupied) - claiming


@dataclass(slots=True, eq=False)
class _Running:
    """One run under way."""

    run_id: int
    job: Job
    state: StateView
    entry: ClaimEntry
    claim_key: bytes
    claimed_at: float
    ready_at: float
    stop_reason: str | None = None
    record_at: float = float("inf")
    """When its end is recorded even if the worker has not come back."""
    started_at: str | None = None
    progress_at: float = float("-inf")
    progress_written: bool = False
    ending: bool = False


@dataclass(slots=True)
class _OpenClaim:
    """A claim of this term: how many of its entries are live."""

    revision: int
    live: int


class _Leading:
    """The queue under one term."""

    def __init__(self, owner: Scheduler, term: Term, now: float) -> None:
        self.term = term
        self._owner = owner
        self._options = owner._options
        self._keys = owner._keys
        self._picture = owner.picture
        self._calls = owner._calls
        self._timers = Timers()
        options = owner._options
        limits = CommitLimits(
            min(options.flush_items, intents.MOST_ENTRIES),
            options.flush_bytes,
            options.flush_delay_s,
            options.flushes_in_flight,
            options.rpc_timeout_s,
        )
        self.committer = Committer(self._calls, self._send, intents.TermGate(term), limits)
        self._pruner = Pruner(
            options, self._keys, owner._clock, self._ask, self.committer.add, self._floor, self._floor_raised
        )
        self._ready = ReadyQueue()
        self._schedule = Schedule()
        self._suspects: deque[str] = deque()
        self._busy: set[str] = set()  # jobs with a write or a run under way: at most one each
        self._running: dict[int, _Running] = {}
        self._run_of: dict[str, int] = {}
        self._held: list[_Running] = []  # claimed, to be started once the term can be proved again
        self._ready_since: dict[str, float] = {}
        self._claiming = 0
        self._claims: dict[bytes, _OpenClaim] = {}
        self._closing: set[bytes] = set()
        self._upkeep: set[bytes] = set()
        self._sequence = 0
        self._suspect_runs = False
        self._taken_over = False
        self._accepting = True
        self._fenced = False
        self._leaving = False
        self._handed_back = False
        self.took_over_s: float | None = None
        self._began_at = now

    # ------------------------------------------------------------ the main path

    @property
    def wake_at(self) -> float:
        return min(self._timers.next_at, self.committer.wake_at)

    def step(self, event: Any, now: float) -> None:
        for name in self._timers.take_due(now):
            self._on_timer(name, now)
        self._take(event, now)
        if not self._taken_over:
            self._try_take_over(now)
        if self._taken_over and not self._fenced:
            self._look_at_touched(now)
            self._claim(now)
            self._admit(now)
        self._hand_back_if_idle()
        self.committer.flush(now)

    def _take(self, event: Any, now: float) -> None:
        match event:
            case Answer():
                self._calls.settle(event, now)
            case Pause():
                self._accepting = False
            case HandBack():
                self._leave(now)
            case RunStarted():
                self._on_run_started(event, now)
            case RunEnded():
                self._on_run_ended(event, now)
            case RunProgress():
                self._on_progress(event, now)

    def _on_timer(self, name: str, now: float) -> None:
        match name:
            case "reconcile":
                self._reconcile(now)
            case "schedule":
                self._release_scheduled(now)
            case "runs":
                self._check_runs(now)
            case "drain":
                self._stop_all("shutdown", now)
            case "prune" if not self._leaving and not self._fenced:
                self._pruner.work(now)
                self._timers.set("prune", now + self._pruner.interval_s)

    # ------------------------------------------------------------ taking over

    def _try_take_over(self, now: float) -> None:
        """Begin once everything older than the token is in the picture; before, nothing may be claimed or closed."""
        if self._picture.revision < self.term.token:
            return
        self._taken_over = True
        self.took_over_s = now - self._began_at
        picture = self._picture
        picture.touched.update(picture.jobs)
        self._note(
            logging.INFO,
            LogEvent.QUEUE_TAKEOVER,
            token=self.term.token,
            jobs=len(picture.jobs),
            orphaned_claims=len(picture.claims),
            parked=len(picture.parked),
        )
        if picture.floor_revision == 0:
            self._create(self._keys.floor, floor_value(LOWEST), now)
        self._reconcile(now)
        self._timers.set("prune", now + self._pruner.interval_s / 10)

    def _reconcile(self, now: float) -> None:
        """Level-triggered: close what earlier terms left running, note what cannot be read, sweep up leftovers."""
        self._timers.set("reconcile", now + _RECONCILE_S)
        if not self._taken_over or self._fenced:
            return
        for view in list(self._picture.claims.values()):
            if view.token != self.term.token and view.key not in self._closing:
                self._close(view, now)
        for key, reason in list(self._picture.parked.items()):
            self._note_parked(key, reason, now)
        for job_id, wish in list(self._picture.cancels.items()):
            if job_id not in self._picture.jobs:
                self._drop(self._keys.cancel + job_id.encode(), wish.revision, now)
        for job_id, state in list(self._picture.states.items()):
            if job_id not in self._picture.jobs and not self._picture.is_parked(job_id):
                self._drop(self._keys.state + job_id.encode(), state.revision, now)

    def _close(self, view: ClaimView, now: float) -> None:
        """End a claim of an earlier term: proof by token, not by clock, that nobody may finish it."""
        live = []
        sole = view.claim.quarantined and len(view.claim.entries) == 1
        op = self._owner.new_op()
        for entry in self._picture.live_entries(view):
            if entry.job_id in self._busy or self._picture.is_parked(entry.job_id):
                return  # it is being written about; the next look comes soon
            before = self._picture.state_of(entry.job_id)
            after = after_crash(before.state, entry.run, sole_suspect=sole, op=op)
            live.append((self._picture.jobs[entry.job_id], before, entry, after))
        self._closing.add(view.key)
        self._busy.update(job.job_id for job, *_ in live)
        self.committer.add(intents.close_claim(self._keys, view, live, partial(self._closed, view, live)), now)

    def _closed(
        self,
        view: ClaimView,
        live: list[tuple[Job, StateView, ClaimEntry, JobState]],
        settlement: Settlement,
        now: float,
    ) -> None:
        self._closing.discard(view.key)
        for job, _, _, _ in live:
            self._busy.discard(job.job_id)
            self._picture.touched.add(job.job_id)
        if settlement.verdict is not Verdict.APPLIED:
            self._not_applied("close", view.key.decode(), settlement)
            return
        for job, _, entry, after in live:
            self._picture.put(self._keys.state + job.job_id.encode(), after.to_value(), settlement.revision)
            self._owner.tally.interrupted += 1
            self._note(
                logging.WARNING,
                LogEvent.JOB_INTERRUPTED,
                job_id=job.job_id,
                run=entry.run,
                crashes=after.crashes,
                under_token=view.token,
            )
        self._picture.delete(view.key, settlement.revision)

    # ------------------------------------------------------------ looking at jobs

    def _look_at_touched(self, now: float) -> None:
        touched, self._picture.touched = self._picture.touched, set()
        for job_id in touched:
            self._consider(job_id, now)

    def _consider(self, job_id: str, now: float) -> None:
        """What does this job ask for, as things stand?"""
        picture = self._picture
        job = picture.jobs.get(job_id)
        if job is None:
            self._ready.discard(job_id)
            self._stop_vanished(job_id, now)
            return
        wish = picture.wanted_cancel(job)
        if job_id in self._busy:
            if wish is not None:
                self._cancel_running(job_id, now)
            return
        if picture.is_parked(job_id) or picture.live_claims(job):
            return
        view = picture.state_of(job_id)
        if wish is not None:
            report = RunReport(RunEnd.CANCELLED, error=error_of("cancelled", wish.cancel.reason, by=wish.cancel.by))
            self._finish_unrun(job, view, report, now)
        elif is_poison(job.spec, view.state):
            self._finish_unrun(job, view, RunReport(RunEnd.TERMINAL, error=poison_error(view.state)), now)
        else:
            self._enqueue(job, view, now)

    def _enqueue(self, job: Job, view: StateView, now: float) -> None:
        run_at = due_at(job, view.state)
        if run_at is not None and run_at > self._today():
            self._schedule.push(run_at, job.job_id)
            self._plan_schedule(now)
        elif is_suspect(job.spec, view.state):
            if job.job_id not in self._suspects:
                self._suspects.append(job.job_id)
        else:
            self._ready_since.setdefault(job.job_id, now)
            self._ready.push(job)

    def _plan_schedule(self, now: float) -> None:
        date = self._schedule.next_date
        if date is not None:
            wait_s = (parse_utc(date) - self._owner._clock.utcnow()).total_seconds()
            self._timers.set_no_later("schedule", now + max(0.0, wait_s))

    def _release_scheduled(self, now: float) -> None:
        self._picture.touched.update(self._schedule.take_due(self._today()))
        self._plan_schedule(now)

    def _finish_unrun(self, job: Job, view: StateView, report: RunReport, now: float) -> None:
        """End a job that is not running."""
        self._busy.add(job.job_id)
        self._ready.discard(job.job_id)
        running = _Running(0, job, view, ClaimEntry(job.job_id, job.revision, view.state.closed), b"", now, now)
        self._record(running, report, 0.0, now)

    # ------------------------------------------------------------ claiming

    def _claim(self, now: float) -> None:
        """Take as many jobs as workers are free: the record commits before any body starts."""
        if not self._accepting or self._leaving:
            return
        self._claim_suspect(now)
        free = self._owner._workers.free(self._claiming)
        while free > 0 and len(self._ready):
            entries = self._pick(min(free, intents.MOST_ENTRIES))
            if not entries:
                return
            free -= len(entries)
            self._send_claim(entries, False, now)

    def _pick(self, count: int) -> list[Job]:
        picked: list[Job] = []
        while len(picked) < count and (job_id := self._ready.pop()) is not None:
            job = self._picture.jobs.get(job_id)
            if job is not None and job_id not in self._busy:
                picked.append(job)
        return picked

    def _claim_suspect(self, now: float) -> None:
        """One suspect at a time, and nothing else in its claim (A14)."""
        while self._suspects and not self._suspect_runs and self._owner._workers.free(self._claiming) > 0:
            job = self._picture.jobs.get(self._suspects.popleft())
            if job is not None and job.job_id not in self._busy:
                self._suspect_runs = True
                self._send_claim([job], True, now)

    def _send_claim(self, jobs: list[Job], quarantined: bool, now: float) -> None:
        self._sequence += 1
        key = self._keys.claim(self.term.token, self._sequence)
        entries = []
        for job in jobs:
            self._busy.add(job.job_id)
            entries.append(ClaimEntry(job.job_id, job.revision, self._picture.state_of(job.job_id).state.closed + 1))
        self._claiming += len(jobs)
        record = Claim(self.term.session, tuple(entries), quarantined)
        self.committer.add(intents.claim(key, record, partial(self._claimed, key, record, jobs)), now)

    def _claimed(self, key: bytes, record: Claim, jobs: list[Job], settlement: Settlement, now: float) -> None:
        self._claiming -= len(jobs)
        if settlement.verdict is not Verdict.APPLIED:
            self._not_applied("claim", key.decode(), settlement)
            self._suspect_runs = self._suspect_runs and not record.quarantined
            for job in jobs:
                self._busy.discard(job.job_id)
                self._picture.touched.add(job.job_id)
            return
        self._picture.put(key, record.to_value(), settlement.revision)
        self._claims[key] = _OpenClaim(settlement.revision, len(jobs))
        for job, entry in zip(jobs, record.entries, strict=True):
            ready_at = self._ready_since.pop(job.job_id, now)
            state = self._picture.state_of(job.job_id)
            running = _Running(self._owner.new_run_id(), job, state, entry, key, now, ready_at)
            self._running[running.run_id] = running
            self._run_of[job.job_id] = running.run_id
            self._start(running, now)

    # ------------------------------------------------------------ running

    def _start(self, running: _Running, now: float) -> None:
        wish = self._picture.wanted_cancel(running.job)
        if wish is not None:
            self._conclude(running, self._cancelled(running), 0.0, now)
            return
        if not self._accepting:
            self._held.append(running)
            return
        self._owner._workers.started(running.run_id)
        claim = self._claims[running.claim_key]
        self._owner._out.append(
            StartRun(
                running.run_id,
                running.job,
                running.entry.run,
                running.state.state.attempts + 1,
                claim.revision,
                self.term,
            )
        )

    def _on_run_started(self, event: RunStarted, now: float) -> None:
        running = self._running.get(event.run_id)
        if running is not None:
            running.started_at = self._today()
            if running.stop_reason is None:
                running.record_at = now + running.job.spec.limits.timeout_s
                self._timers.set_no_later("runs", running.record_at)

    def _on_run_ended(self, event: RunEnded, now: float) -> None:
        running = self._running.get(event.run_id)
        if running is None or running.ending:
            self._note(logging.INFO, LogEvent.JOB_LATE_RESULT, run_id=event.run_id)
        elif event.report is None:
            self._held.append(running)  # the worker found the term not valid, and started nothing
            if self._accepting:
                self.resume(now)
        else:
            self._conclude(running, self._explained(running, event.report), event.duration_s, now)

    def _explained(self, running: _Running, report: RunReport) -> RunReport:
        """A run that was told to stop ended because of that, whatever it raised; a result it still had counts."""
        if report.end in (RunEnd.RETURNED, RunEnd.TERMINAL):
            return report
        if running.stop_reason == "timeout":
            return _timed_out(running)
        if running.stop_reason == "cancelled":
            return self._cancelled(running)
        if running.stop_reason == "shutdown":
            return RunReport(RunEnd.INTERRUPTED)
        return report

    def _check_runs(self, now: float) -> None:
        """Runs whose time is up are told to stop; those that were told and did not come back are ended without them."""
        for running in list(self._running.values()):
            if running.ending or running.record_at > now:
                continue
            if running.stop_reason is None:
                self._stop(running, "timeout", now)
            else:
                self._note(logging.ERROR, LogEvent.JOB_STUCK, job_id=running.job.job_id, reason=running.stop_reason)
                self._conclude(running, self._explained(running, RunReport(RunEnd.INTERRUPTED)), 0.0, now)
        upcoming = [running.record_at for running in self._running.values() if not running.ending]
        if upcoming:
            self._timers.set("runs", min(upcoming))

    def _stop(self, running: _Running, reason: str, now: float) -> None:
        running.stop_reason = reason
        running.record_at = now + _STOP_GRACE_S
        self._timers.set_no_later("runs", running.record_at)
        self._owner._out.append(StopRun(running.run_id, reason))

    def _cancel_running(self, job_id: str, now: float) -> None:
        running = self._running.get(self._run_of.get(job_id, 0))
        if running is not None and not running.ending and running.stop_reason != "cancelled":
            if running in self._held:
                self._held.remove(running)
                self._conclude(running, self._cancelled(running), 0.0, now)
            else:
                self._stop(running, "cancelled", now)

    def _stop_vanished(self, job_id: str, now: float) -> None:
        """Somebody deleted the queue record of a running job: nothing of it can be recorded any more."""
        running = self._running.get(self._run_of.get(job_id, 0))
        if running is not None and not running.ending and running.stop_reason is None:
            self._stop(running, "cancelled", now)

    def _cancelled(self, running: _Running) -> RunReport:
        wish = self._picture.wanted_cancel(running.job)
        reason, by = (wish.cancel.reason, wish.cancel.by) if wish else ("", "")
        return RunReport(RunEnd.CANCELLED, error=error_of("cancelled", reason, by=by))

    def _on_progress(self, event: RunProgress, now: float) -> None:
        """Write it at most once a second for each job; the next one comes, so losing one loses nothing."""
        running = self._running.get(event.run_id)
        if running is None or running.ending or now < running.progress_at + _PROGRESS_EVERY_S:
            return
        running.progress_at = now
        running.progress_written = True
        raw = running.job.job_id.encode()
        value = progress_value(running.entry.run, event.fraction, event.note)
        self.committer.add(
            intents.progress(self._keys.progress + raw, value, self._keys.queue + raw, running.job.revision, _ignore),
            now,
        )

    # ------------------------------------------------------------ recording

    def _conclude(self, running: _Running, report: RunReport, duration_s: float, now: float) -> None:
        running.ending = True
        self._record(running, report, duration_s, now)

    def _record(self, running: _Running, report: RunReport, duration_s: float, now: float) -> None:
        """Write what a run came to: the end of the job, or how it goes on."""
        job, before = running.job, running.state
        op = self._owner.new_op()
        today = self._owner._clock.utcnow()
        decision = after_run(job.spec, before.state, running.entry.run, report, today, self._owner._rng, op)
        if isinstance(decision, Finish):
            self._record_end(running, decision, op, duration_s, now)
        else:
            settled = partial(self._went_on, running, report, decision.state)
            self.committer.add(intents.put_state(self._keys, job, before, decision.state, settled), now)

    def _record_end(self, running: _Running, decision: Finish, op: str, duration_s: float, now: float) -> None:
        job, state = running.job, decision.state
        outcome = JobOutcome(
            job_id=job.job_id,
            status=decision.status,
            op=op,
            token=self.term.token,
            run=running.entry.run,
            queue_revision=job.revision,
            attempts=state.attempts,
            interruptions=state.interruptions,
            submitted_at=job.spec.submitted_at,
            started_at=running.started_at,
            finished_at=self._today(),
            node_id=self._owner._node_id,
            result_json=decision.result_json,
            error=decision.error,
            errors=state.errors,
            idem=job.spec.idem,
            spec=_spec_kept(job, decision.status),
        )
        value = outcome.to_value(self._options.compress_above)
        if len(value) > self._options.result_limit and decision.status is JobStatus.COMPLETED:
            limit = self._options.result_limit
            error = error_of("result_too_large", f"the result takes {len(value)} bytes; jobs.result_limit is {limit}")
            self._record_end(running, Finish(JobStatus.FAILED, state, error=error), op, duration_s, now)
            return
        raw = job.job_id.encode()
        extra: list[bytes] = []
        if job.job_id in self._picture.cancels:
            extra.append(self._keys.cancel + raw)
        if running.progress_written:
            extra.append(self._keys.progress + raw)
        settled = partial(self._ended, running, outcome, tuple(extra), duration_s)
        self.committer.add(intents.finish(self._keys, job, running.state, outcome, value, tuple(extra), settled), now)

    def _ended(
        self,
        running: _Running,
        outcome: JobOutcome,
        extra: tuple[bytes, ...],
        duration_s: float,
        settlement: Settlement,
        now: float,
    ) -> None:
        if settlement.verdict is not Verdict.APPLIED:
            if self._too_large(running, outcome, settlement, duration_s, now):
                return
            self._not_applied("outcome", outcome.job_id, settlement)
            self._forget(running, now)
            return
        raw = outcome.job_id.encode()
        self._picture.delete(self._keys.queue + raw, settlement.revision)
        self._picture.delete(self._keys.state + raw, settlement.revision)
        for key in extra:
            self._picture.delete(key, settlement.revision)
        self._picture.touched.discard(outcome.job_id)
        self._ready_since.pop(outcome.job_id, None)
        self._forget(running, now)
        self._pruner.ended(outcome, settlement.revision)
        self._owner._out.append(JobEnded(outcome, max(0.0, running.claimed_at - running.ready_at), duration_s))

    def _too_large(
        self, running: _Running, outcome: JobOutcome, settlement: Settlement, duration_s: float, now: float
    ) -> bool:
        """etcd refused the size of an outcome: record that instead, so that the job still ends."""
        if settlement.error is None or outcome.error is not None or outcome.result_json is None:
            return False
        error = error_of("result_too_large", f"etcd refused the outcome: {settlement.reason}")
        self._record_end(
            running, Finish(JobStatus.FAILED, running.state.state, error=error), outcome.op, duration_s, now
        )
        return True

    def _went_on(
        self, running: _Running, report: RunReport, state: JobState, settlement: Settlement, now: float
    ) -> None:
        job_id = running.job.job_id
        if settlement.verdict is Verdict.APPLIED:
            self._picture.put(self._keys.state + job_id.encode(), state.to_value(), settlement.revision)
            if report.end is RunEnd.INTERRUPTED:
                self._owner.tally.interrupted += 1
            else:
                self._owner.tally.retried += 1
                self._note(
                    logging.WARNING,
                    LogEvent.JOB_RETRY,
                    job_id=job_id,
                    attempt=state.attempts,
                    run_at=state.run_at,
                    error=(report.error or {}).get("message", ""),
                )
        else:
            self._not_applied("state", job_id, settlement)
        self._forget(running, now)
        self._picture.touched.add(job_id)

    def _forget(self, running: _Running, now: float) -> None:
        """A run is over and written down. When it was the last of its claim, the claim can go."""
        job_id = running.job.job_id
        self._busy.discard(job_id)
        self._running.pop(running.run_id, None)
        if self._run_of.get(job_id) == running.run_id:
            del self._run_of[job_id]
        claim = self._claims.get(running.claim_key)
        if claim is None:
            return
        claim.live -= 1
        if claim.live == 0:
            del self._claims[running.claim_key]
            view = self._picture.claims.get(running.claim_key)
            if view is not None and view.claim.quarantined:
                self._suspect_runs = False
            self._drop(running.claim_key, claim.revision, now)

    def _not_applied(self, what: str, subject: str, settlement: Settlement) -> None:
        if settlement.reason == "fenced":
            self._fenced = True
        self._note(logging.WARNING, LogEvent.COMMIT_REFUSED, what=what, subject=subject, reason=settlement.reason)

    # ------------------------------------------------------------ upkeep

    def _drop(self, key: bytes, revision: int, now: float) -> None:
        if key not in self._upkeep:
            self._upkeep.add(key)
            self.committer.add(intents.drop(key, revision, partial(self._dropped, key)), now)

    def _dropped(self, key: bytes, settlement: Settlement, now: float) -> None:
        self._upkeep.discard(key)
        if settlement.verdict is Verdict.APPLIED:
            self._picture.delete(key, settlement.revision)

    def _create(self, key: bytes, value: bytes, now: float) -> None:
        if key not in self._upkeep:
            self._upkeep.add(key)
            self.committer.add(intents.create(key, value, partial(self._created, key, value)), now)

    def _created(self, key: bytes, value: bytes, settlement: Settlement, now: float) -> None:
        self._upkeep.discard(key)
        if settlement.verdict is Verdict.APPLIED:
            self._picture.put(key, value, settlement.revision)

    def _note_parked(self, key: bytes, reason: str, now: float) -> None:
        """Write down once that a record cannot be read, where operators look. The record itself is not touched."""
        note = self._keys.parked + key[len(self._keys.mirrored) :]
        if note not in self._picture.notes and note not in self._upkeep:
            self._note(logging.ERROR, LogEvent.RECORD_PARKED, key=key.decode("ascii", "replace"), reason=reason)
            self._create(note, parked_value(reason[:500]), now)

    def _admit(self, now: float) -> None:
        """Close the door when the queue is full, and open it again with a tenth of it free."""
        picture, options = self._picture, self._options
        jobs, size = len(picture.jobs), picture.size
        closed = self._keys.closed
        if picture.closed_revision == 0:
            if jobs >= options.queue_limit or size >= options.queue_bytes:
                reason = f"{jobs} jobs, {size} bytes; limits {options.queue_limit} and {options.queue_bytes}"
                if closed not in self._upkeep:
                    self._note(logging.WARNING, LogEvent.QUEUE_CLOSED, reason=reason)
                self._create(closed, closed_value(reason, self._owner._node_id), now)
        elif jobs < 0.9 * options.queue_limit and size < 0.9 * options.queue_bytes:
            self._drop(closed, picture.closed_revision, now)

    def _floor(self) -> tuple[str, int]:
        """The pruning floor and its revision."""
        return self._picture.floor or LOWEST, self._picture.floor_revision

    def _floor_raised(self, floor: str, revision: int) -> None:
        self._picture.put(self._keys.floor, floor_value(floor), revision)

    # ------------------------------------------------------------ suspended, leaving, gone

    def resume(self, now: float) -> None:
        """The term is proved again: start what was held."""
        if self._leaving:
            return
        self._accepting = True
        held, self._held = self._held, []
        for running in held:
            self._start(running, now)

    def _leave(self, now: float) -> None:
        """Begin nothing new; let runs finish, up to the drain timeout."""
        if self._leaving:
            return
        self._leaving = True
        held, self._held = self._held, []
        for running in held:
            self._conclude(running, RunReport(RunEnd.INTERRUPTED), 0.0, now)
        self._timers.set("drain", now + self._options.drain_timeout_s)

    def _stop_all(self, reason: str, now: float) -> None:
        for running in list(self._running.values()):
            if not running.ending and running.stop_reason is None:
                self._stop(running, reason, now)

    def _hand_back_if_idle(self) -> None:
        if not self._leaving or self._handed_back:
            return
        nothing_left = not self._running and not self._claiming and not len(self.committer)
        if nothing_left or self._fenced or not self._taken_over:
            self._handed_back = True
            self._owner._out.append(HandedBack(self.term.token))

    def abandon(self) -> None:
        """The term is over: tell every run to stop. Nothing is written any more, and no answer is awaited."""
        for running in self._running.values():
            if running not in self._held:
                self._owner._out.append(StopRun(running.run_id, "term_lost"))

    # ------------------------------------------------------------ small things

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def scheduled(self) -> int:
        return len(self._schedule)

    def _today(self) -> str:
        return format_utc(self._owner._clock.utcnow())

    def _send(self, call: Call) -> None:
        self._owner._out.append(call)

    def _ask(self, request: Any, handler: Callable[[Any, float], None]) -> None:
        self._send(self._calls.send(request, self._options.rpc_timeout_s, handler))

    def _note(self, level: int, event: LogEvent, **fields: Any) -> None:
        self._owner._out.append(Note(level, event, fields))


def _timed_out(running: _Running) -> RunReport:
    limit_s = running.job.spec.limits.timeout_s
    return RunReport(RunEnd.TIMED_OUT, error=error_of("timeout", f"the run took longer than {limit_s:g} s"))


def _spec_kept(job: Job, status: JobStatus) -> dict[str, Any] | None:
    """A failed job keeps its whole request, so that an operator can have it tried again."""
    if status is not JobStatus.FAILED:
        return None
    return {"request": job.spec.payload, "priority": job.spec.priority.value, "by": job.spec.submitted_by}


def _ignore(settlement: Settlement, now: float) -> None:
    """Progress that was not written is followed by more."""
