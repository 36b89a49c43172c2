"""Claims: which jobs could run now, and which this term has taken.

A claim is one record for up to 62 jobs, written before any body starts (PROTOCOL B). It is deleted when none of its
entries is live any more. Claims are gathered like everything that is committed: at once while none is under way, else
when one is full or has waited long enough; so the load itself makes them large.

A *suspect*, whose leaders have crashed twice, runs alone: its claim holds nothing else, and no other run is under way
beside it. So a crash then speaks against it, and only against it (A14).

While the circuit breaker of the generator is open nothing is claimed; when its time is over, one job is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass
from functools import partial

from slurp_leader.clock import parse_utc
from slurp_leader.jobs import intents
from slurp_leader.jobs.decisions import is_suspect
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.picking.picker import Picker
from slurp_leader.jobs.picking.rules import Rules, Usage
from slurp_leader.jobs.picture import Job, StateView
from slurp_leader.jobs.records import Claim, ClaimEntry, Spec
from slurp_leader.jobs.run import Run
from slurp_leader.jobs.upkeep import Upkeep
from slurp_leader.jobs.workers import Claiming, Workers
from slurp_leader.machine.calls import NEVER
from slurp_leader.resilience.circuit import Permit

TIMER = "claim"


@dataclass(frozen=True, slots=True)
class _Taken:
    """One job in a claim that is being written, as it was when it was taken."""

    job: Job
    before: StateView
    ready_at: float
    entry: ClaimEntry


@dataclass(slots=True)
class _OpenClaim:
    """A claim of this term: how many of its entries are live."""

    revision: int
    live: int


class Claims:
    """The claims of one term.

    Args:
        desk: Of the term.
        workers: How many more runs there may be.
        upkeep: Deletes records of claims that are over.
        begin: Told of every job that was claimed.
    """

    def __init__(self, desk: Desk, workers: Workers, upkeep: Upkeep, begin: Callable[[Run, float], None]) -> None:
        self._desk = desk
        self._breaker = desk.breaker
        self._workers = workers
        self._upkeep = upkeep
        self._begin = begin
        self._ready = Picker(self._arrived, desk.options.age_step_s)
        self.usage = Usage()
        """What runs in the cluster, or is about to; what old leaders run under grants counts too (A19)."""
        self._lent: tuple[Spec, ...] = ()
        self._suspects: deque[str] = deque()
        self._sequence = 0
        self._pending: dict[bytes, Permit] = {}  # claims that are being written
        self._claiming = Claiming()  # jobs in them
        self._open: dict[bytes, _OpenClaim] = {}
        self._quarantine: bytes | None = None  # the claim of the suspect that runs
        self._gathering_since = NEVER

    # ------------------------------------------------------------ who could run

    def offer(self, job: Job, view: StateView, now: float) -> None:
        """This job could run now."""
        if not is_suspect(job.spec, view.state):
            self._ready.push(job, now, aged=view.revision > 0)
            return
        self._ready.discard(job.job_id)
        if job.job_id not in self._suspects:
            self._suspects.append(job.job_id)

    def offer_plain(self, jobs: list[Job], now: float) -> None:
        """These plain jobs could run now. Before any other is offered."""
        self._ready.fill(jobs, now)

    def discard(self, job_id: str) -> None:
        """This job cannot run now."""
        self._ready.discard(job_id)

    @property
    def own(self) -> Set[bytes]:
        """Keys of the claims of this term, written or being written."""
        return self._open.keys() | self._pending.keys()

    @property
    def claiming(self) -> int:
        """Jobs whose claim is being written."""
        return self._claiming.jobs

    def count_lent(self) -> None:
        """What old leaders run under grants counts against the limits, but takes none of our places (A19)."""
        picture = self._desk.picture
        if not picture.grants and not self._lent:
            return
        lent = picture.lent_specs()
        for spec in self._lent:
            self.usage.give(spec)
        for spec in lent:
            self.usage.take(spec)
        self._lent = lent

    # ------------------------------------------------------------ claiming

    def claim(self, now: float, running: int) -> None:
        """Take as many jobs as there is room for. `running`: how many runs of this term are under way."""
        if self._quarantine is not None:
            return
        if not self._breaker.room(now):
            self._desk.timers.set_no_later(TIMER, self._breaker.wake_at)
            return
        # What is in force, and what stuck runs leave of the places.
        rules = self._desk.rules.beside_stuck(*self._workers.stuck_places(now))
        suspect = self._next_suspect(rules)
        if suspect is None:
            self._claim_ready(rules, now)
        elif not running and not self._claiming.jobs and self._has_room(suspect, rules):
            self._suspects.remove(suspect.job_id)
            self.usage.take(suspect.spec)
            self._send([(suspect, now)], quarantined=True, now=now)

    def _has_room(self, suspect: Job, rules: Rules) -> bool:
        room = self._workers.room(rules, self._claiming)
        return room.fits(suspect.spec) and not rules.why_held(suspect.spec, self.usage)

    def _next_suspect(self, rules: Rules) -> Job | None:
        """The first suspect that waits for nothing but quiet. One that could not run if nothing ran but what is stuck
        (its role is paused, or a stuck run holds the place that it needs) holds back nobody."""
        for job_id in tuple(self._suspects):
            job = self._claimable(job_id)
            if job is None:
                self._suspects.remove(job_id)
            elif not rules.why_held(job.spec, Usage()):
                return job
        return None

    def _claim_ready(self, rules: Rules, now: float) -> None:
        while len(self._ready):
            room = self._workers.room(rules, self._claiming)
            most = min(room.slots + room.ahead, len(self._ready), self._breaker.room(now))
            if most <= 0 or not self._is_time(most, now):
                return
            picked = self._ready.pick(most, now, room, rules, self.usage, self._claimable)
            if not picked:
                return
            self._send(picked, quarantined=False, now=now)

    def _is_time(self, room: int, now: float) -> bool:
        """Whether to claim now, or to wait for more to claim together while other claims are under way."""
        if not self._pending or room >= intents.MOST_ENTRIES:
            return True
        self._gathering_since = min(self._gathering_since, now)
        due = self._gathering_since + self._desk.options.flush_delay_s
        if now >= due:
            return True
        self._desk.timers.set_no_later(TIMER, due)
        return False

    def _claimable(self, job_id: str) -> Job | None:
        """The job, if it is there and nothing about it is under way. Else it is looked at when that is over."""
        picture = self._desk.picture
        job = picture.jobs.get(job_id)
        if job is None or job_id in self._desk.busy or picture.is_parked(job_id) or picture.live_claims(job):
            return None
        return job

    def _send(self, picked: list[tuple[Job, float]], *, quarantined: bool, now: float) -> None:
        desk = self._desk
        self._gathering_since = NEVER
        self._sequence += 1
        key = desk.keys.claim(desk.term.token, self._sequence)
        taken = []
        for job, ready_at in picked:
            before = desk.picture.state_of(job.job_id)
            entry = ClaimEntry(job.job_id, job.revision, before.state.closed + 1)
            taken.append(_Taken(job, before, ready_at, entry))
            desk.busy.add(job.job_id)
        record = Claim(desk.term.session, tuple(each.entry for each in taken), quarantined, desk.node_id, desk.today)
        permit = self._breaker.admit(max(job.spec.limits.timeout_s for job, _ in picked), now)
        self._pending[key] = permit
        for each in taken:
            self._claiming.add(each.job.spec)
        if quarantined:
            self._quarantine = key
        desk.committer.add(intents.claim(key, record, partial(self._claimed, key, record, taken)), now)

    def _claimed(self, key: bytes, record: Claim, taken: list[_Taken], settlement: Settlement, now: float) -> None:
        permit = self._pending.pop(key)
        for each in taken:
            self._claiming.remove(each.job.spec)
        if settlement.verdict is not Verdict.APPLIED:
            self._breaker.withdrawn(permit)
            self._desk.refused("claim", key.decode(), settlement)
            self._leave_quarantine(key)
            for each in taken:
                self.usage.give(each.job.spec)
                self._desk.release(each.job.job_id)
            return
        self._desk.picture.put(key, record.to_value(), settlement.revision)
        self._open[key] = _OpenClaim(settlement.revision, len(taken))
        for each in taken:
            run_id = self._desk.new_run_id()
            number, revision = each.entry.run, settlement.revision
            run = Run(run_id, each.job, each.before, number, key, revision, permit, now, each.ready_at)
            self._begin(run, now)

    def abandon(self) -> None:
        """The term is over: nobody will hear what becomes of the claims that are being written."""
        for permit in self._pending.values():
            self._breaker.withdrawn(permit)

    # ------------------------------------------------------------ the end of a claim

    def entry_over(self, key: bytes, spec: Spec, now: float) -> None:
        """A run of this claim is over and written down. When it was the last one, the claim can go."""
        self.usage.give(spec)
        claim = self._open[key]
        claim.live -= 1
        if claim.live == 0:
            del self._open[key]
            self._leave_quarantine(key)
            self._upkeep.drop(key, claim.revision, now, lendable=True)

    def _arrived(self, job_id: str, now: float) -> float:
        """Since when a job waits by the calendar, on our clock: of one that came before we looked, or was put back, as
        after a failed attempt, whose run and backoff were no waiting. A wrong calendar shifts its age, nothing else."""
        job = self._desk.picture.jobs.get(job_id)
        if job is None:
            return now
        state = self._desk.picture.state_of(job_id).state
        date = max(job.spec.submitted_at, job.spec.run_at or "", state.run_at or "")
        try:
            age_s = (self._desk.utcnow - parse_utc(date)).total_seconds()
        except (ValueError, OverflowError):
            return now
        return now - max(0.0, age_s)

    def _leave_quarantine(self, key: bytes) -> None:
        if self._quarantine == key:
            self._quarantine = None
