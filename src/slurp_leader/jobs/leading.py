"""The queue under one term, read top-down: take over, look at jobs, claim, run, record; then hand back, or lose it.

Everything about a term lives in one `Leading` and dies with it: an answer or a run of an old term finds nobody to talk
to (PROTOCOL A29). Nothing here decides by what a read said: each write compares the fence and the revisions of its job,
and what is in memory changes only when the store has answered.

Who owns what: `Claims` who could run and what is claimed; `Runs` what is under way; `Recorder` nothing but the writing;
`Orphans` the claims of earlier terms, `Grants` what those were lent; `QuotaGuard` how
full the store is; `Upkeep` and `Pruner` the rest. What there is to
put right is decided in `recovery`. `Desk` is what they share.
"""

from __future__ import annotations

import logging
from typing import Any

from slurp_leader.clock import parse_utc
from slurp_leader.jobs import intents, recovery
from slurp_leader.jobs.claims import Claims
from slurp_leader.jobs.commit import CommitStats
from slurp_leader.jobs.decisions import expires_at, without_run
from slurp_leader.jobs.desk import Desk, Site
from slurp_leader.jobs.grants import Grants
from slurp_leader.jobs.intent import Settlement
from slurp_leader.jobs.intents import GrantGate
from slurp_leader.jobs.messages import (
    HandBack,
    HandedBack,
    Lead,
    Pause,
    RunCheckpoint,
    RunEnded,
    RunExtended,
    RunProgress,
    RunStarted,
    TakeStock,
)
from slurp_leader.jobs.orphans import Orphans
from slurp_leader.jobs.picture import Job, StateView, due_at
from slurp_leader.jobs.pruner import Pruner
from slurp_leader.jobs.quota import StoreVerdict
from slurp_leader.jobs.quota_guard import QuotaGuard
from slurp_leader.jobs.recorder import Recorder
from slurp_leader.jobs.records import JobOutcome
from slurp_leader.jobs.recovery import CloseClaim, EndGrant, InHand, Park, Sweep
from slurp_leader.jobs.run import Run
from slurp_leader.jobs.runs import STOP_GRACE_S, Runs
from slurp_leader.jobs.schedule import Schedule
from slurp_leader.jobs.upkeep import Upkeep
from slurp_leader.jobs.workers import Workers
from slurp_leader.machine.calls import Answer
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Lent, Term

_BEAT_EVERY_S = 0.5
_LOOK_AGAIN_S = 0.05
_MOST_REFUSALS = 10
"""So many are counted: from the sixth on the pause is the longest."""
_RECONCILE_S = 2.0
"""How often a leader looks at the whole picture without an event, so that one error never loses work for good."""


class Leading:
    """One term.

    Args:
        site: What the terms of the scheduler share.
        workers: The places of the pool.
        term: The term.
        now: When it began.
    """

    def __init__(self, site: Site, workers: Workers, term: Term, now: float) -> None:
        self.term = term
        self._picture = site.picture
        self._desk = desk = Desk(site, term)
        self._calls = desk.calls
        self._pruner = Pruner(desk)
        self._quota = QuotaGuard(desk, self._press)
        self._upkeep = Upkeep(desk, self._quota)
        self._recorder = Recorder(desk, self._ended)
        self._claims = Claims(desk, workers, self._upkeep, self._begin)
        self._runs = Runs(desk, workers, self._claims, self._recorder)
        self._orphans = Orphans(desk, self._look_again)
        self._grants = Grants(desk, self._upkeep)
        self._schedule = Schedule()
        self._expiring = Schedule()
        self._lent: Lent | None = None
        self._grant_dropping = False
        self._winds_down = False
        self.is_over = False
        """Of a term that was handed over: nothing of it is under way any more."""
        self._heirs_seen = -1
        self._refusals = 0  # of what was to be put right, in a row
        self._taken_over = False
        self._accepting = True
        self._leaving = False
        self._handed_back = False
        self._stopped_as_fenced = False
        self._began_at = now
        self._beat(now)

    # ------------------------------------------------------------ the main path

    @property
    def wake_at(self) -> float:
        return min(self._desk.timers.next_at, self._desk.committer.wake_at)

    def begin(self, now: float) -> None:
        """First in each round: what time has brought."""
        self._desk.begin_step()
        for name in self._desk.timers.take_due(now):
            self._on_timer(name, now)

    def take(self, event: Any, now: float) -> None:
        """Take one event of the round."""
        match event:
            case Answer():
                self._calls.settle(event, now)
            case RunStarted():
                self._runs.on_started(event, now)
            case RunEnded():
                self._runs.on_ended(event, now)
            case RunProgress():
                self._runs.on_progress(event, now)
            case RunCheckpoint():
                self._runs.on_checkpoint(event, now)
            case RunExtended():
                self._runs.on_extended(event, now)
            case Lead(term) if term.token == self.term.token:
                self._go_on(now)
            case Pause(token) if token == self.term.token:
                self._hold_back()
            case HandBack(token) if token == self.term.token:
                self._leave(now)
            case _:
                pass  # what a follower delivers is in the picture already

    def act(self, now: float) -> None:
        """Last in each round: do what can be done, as things stand now."""
        if self._lent is not None:
            self._end_what_was_lent(self._lent, now)
            self._desk.committer.flush(now)
            return
        if not self._taken_over:
            self._try_take_over(now)
        if self._is_at_work:
            if self._heirs_seen != self._picture.heirs_changed:
                self._reconcile(now)  # what was somebody's to end may be an orphan now
            self._look_at_touched(now)
            self._quota.act(now)
            if self._accepting and not self._leaving and not self._quota.stands:
                self._claims.count_lent()
                self._claims.claim(now, len(self._runs))
            self._upkeep.admit(now)
        if self._desk.fenced and not self._stopped_as_fenced:
            self._stopped_as_fenced = True
            self._runs.abandon(now)  # sooner than the election finds out
        self._hand_back_if_idle()
        self._desk.committer.flush(now)

    @property
    def _is_at_work(self) -> bool:
        return self._taken_over and not self._desk.fenced and not self._handed_back and self._lent is None

    def _on_timer(self, name: str, now: float) -> None:
        match name:
            case "beat":
                self._beat(now)
            case "reconcile":
                self._reconcile(now)
            case "schedule":
                self._release_scheduled(now)
            case "drain":
                self._runs.stop_all("shutdown", now)
            case "drain end" if self._lent is not None:
                self._give_up(now)
            case "drain end":
                self._hand_back()
            case "prune" if self._is_at_work and not self._leaving:
                self._pruner.work(now)
                self._desk.timers.set("prune", now + self._pruner.interval_s)
            case _:
                self._runs.on_timer(name, now)  # or of the claims: every step makes those that are due

    def _beat(self, now: float) -> None:
        """Prove that this loop moves: renewal of the term depends on it."""
        self.term.beat()
        self._desk.timers.set("beat", now + _BEAT_EVERY_S)

    # ------------------------------------------------------------ taking over

    def _try_take_over(self, now: float) -> None:
        """Begin once everything older than the token is in the picture; before, nothing may be claimed or closed."""
        picture = self._picture
        if picture.revision < self.term.token:
            return
        self._taken_over = True
        # A long queue is lined up at once, so that the first claim does not wait for a look at each of its jobs.
        plain = picture.plain_jobs(self._desk.busy)
        self._claims.offer_plain(plain, now)
        picture.touched = picture.jobs.keys() - {job.spec.job_id for job in plain}
        self._desk.note(
            logging.INFO,
            LogEvent.QUEUE_TAKEOVER,
            token=self.term.token,
            jobs=len(picture.jobs),
            orphaned_claims=len(picture.claims),
            parked=len(picture.parked),
            waited_s=round(now - self._began_at, 3),
        )
        self._upkeep.found_floor(now)
        self._reconcile(now)
        self._desk.timers.set("prune", now + self._pruner.interval_s / 10)

    def _press(self, pressure: float, now: float) -> None:
        """The store fills: what has to give way is pruned now, not when it is time again."""
        if self._pruner.press(pressure) and not self._leaving:
            self._desk.timers.set_no_later("prune", now)

    def _reconcile(self, now: float) -> None:
        """Level-triggered: close what earlier terms left running, sweep up leftovers, look at the calendar."""
        self._desk.say(TakeStock())
        if self._is_at_work:
            self._desk.timers.set("reconcile", now + _RECONCILE_S)
            self._heirs_seen = self._picture.heirs_changed
            steps = recovery.plan(self._picture, self._desk.keys, self._in_hand(now))
            if not steps:
                self._refusals = 0
            for step in steps:
                self._perform(step, now)
            self._release_scheduled(now)

    def _in_hand(self, now: float) -> InHand:
        return InHand(
            claims=self._claims.own,
            writing=self._upkeep.writing | self._orphans.closing,
            jobs=self._desk.busy,
            honoured_s=self._grants.honoured_s(now),
        )

    def _perform(self, step: recovery.Step, now: float) -> None:
        match step:
            case EndGrant():
                self._grants.end(step, now)
            case CloseClaim():
                self._orphans.close(step, now)
            case Sweep(key, revision):
                self._upkeep.drop(key, revision, now)
            case Park():
                self._upkeep.note_parked(step, now)

    def _look_again(self, refused: bool, now: float) -> None:
        """Something is left to be put right. At once after a success; else soon, and later each time in a row."""
        if not refused:
            self._refusals = 0
            self._desk.timers.set_no_later("reconcile", now)
            return
        self._desk.timers.set_no_later("reconcile", now + min(_RECONCILE_S, _LOOK_AGAIN_S * 2**self._refusals))
        self._refusals = min(self._refusals + 1, _MOST_REFUSALS)

    # ------------------------------------------------------------ looking at jobs

    def _look_at_touched(self, now: float) -> None:
        touched = self._picture.touched
        if touched:
            self._picture.touched = set()
            for job_id in sorted(touched):  # oldest first; and the same in every process, as a set of texts is not
                self._consider(job_id, now)

    def _consider(self, job_id: str, now: float) -> None:
        """What does this job ask for, as things stand?"""
        picture = self._picture
        job = picture.jobs.get(job_id)
        if job is None:
            self._claims.discard(job_id)
            self._schedule.discard(job_id)
            self._expiring.discard(job_id)
            self._runs.vanished(job_id, now)
            return
        wish = picture.wanted_cancel(job)
        if job_id in self._desk.busy:
            if wish is not None:
                self._runs.cancel(job_id, now)
            return
        if picture.is_parked(job_id) or picture.live_claims(job):
            return  # once that changes, it is touched again
        view = picture.state_of(job_id)
        finish = without_run(job.spec, view.state, wish, self._desk.today)
        if finish is not None:
            self._claims.discard(job_id)
            self._recorder.record_end(job, view, finish, now)
        else:
            self._line_up(job, view, now)

    def _line_up(self, job: Job, view: StateView, now: float) -> None:
        run_at, expires = due_at(job, view.state), expires_at(job.spec, view.state)
        if expires is not None:
            self._expiring.push(expires, job.job_id)
            self._plan_schedule(now)
        if run_at is not None and run_at > self._desk.today:
            self._schedule.push(run_at, job.job_id)
            self._plan_schedule(now)
        else:
            self._claims.offer(job, view, now)

    def _plan_schedule(self, now: float) -> None:
        dates = [each.next_date for each in (self._schedule, self._expiring)]
        date = min((date for date in dates if date is not None), default=None)
        if date is not None:
            wait_s = (parse_utc(date) - self._desk.utcnow).total_seconds()
            self._desk.timers.set_no_later("schedule", now + max(0.0, wait_s))

    def _release_scheduled(self, now: float) -> None:
        for each in (self._schedule, self._expiring):
            self._picture.touched.update(each.take_due(self._desk.today))
        self._plan_schedule(now)

    def _ended(self, outcome: JobOutcome, revision: int) -> None:
        self._pruner.ended(outcome, revision)
        self._upkeep.ended()

    def _begin(self, run: Run, now: float) -> None:
        self._runs.begin(run, now)

    # ------------------------------------------------------------ handed over (PROTOCOL C)

    def lend(self, lent: Lent, now: float) -> None:
        """The term is another's, and what this one has under way is lent: end that under the grant, claim nothing."""
        self._lent = lent
        self._accepting = False
        self._pruner.stop()
        for name in ("reconcile", "schedule", "prune"):
            self._desk.timers.clear(name)
        self._desk.committer.switch(GrantGate(lent), now)
        self._runs.lend(lent.begin_until, now)
        options = self._desk.options
        reserve_s = STOP_GRACE_S + 2 * options.rpc_timeout_s
        self._desk.timers.set("drain", max(now, lent.end_by - reserve_s))
        self._desk.timers.set("drain end", max(now, lent.end_by))
        if self._winds_down:
            self.wind_down(now)

    def wind_down(self, now: float) -> None:
        """The node is stopping: what is lent has the drain timeout left."""
        self._winds_down = True
        if self._lent is None:
            return
        timeout_s, options = self._desk.options.drain_timeout_s, self._desk.options
        longest_s = timeout_s + STOP_GRACE_S + 2 * options.rpc_timeout_s
        self._desk.timers.set("drain", min(now + timeout_s, self._lent.end_by))
        self._desk.timers.set("drain end", min(now + longest_s, self._lent.end_by))

    def look_at(self, touched: set[str], now: float) -> None:
        """Of a term that was handed over: somebody wants a job of ours to end, or has ended it."""
        for job_id in self._runs.jobs_among(touched):
            job = self._picture.jobs.get(job_id)
            if job is None:
                self._runs.vanished(job_id, now)
            elif self._picture.wanted_cancel(job) is not None:
                self._runs.cancel(job_id, now)

    def _end_what_was_lent(self, lent: Lent, now: float) -> None:
        picture = self._picture
        if self.is_over:
            return
        gone = picture.revision >= lent.revision and self.term.token not in picture.grants
        if self._desk.fenced or gone:
            self._give_up(now)
        elif not (len(self._runs) or self._claims.claiming or len(self._desk.committer)) and not self._grant_dropping:
            self._grant_dropping = True
            self._desk.committer.add(intents.drop(lent.key, lent.revision, self._grant_dropped, lendable=True), now)

    def _grant_dropped(self, settlement: Settlement, now: float) -> None:
        """All is ended, and the successor knows. A grant that was gone already means the same."""
        self._settle_estate()

    def _give_up(self, now: float) -> None:
        """The grant is over: what still runs is told to stop, and nothing of it is accepted any more (I4)."""
        if not self.is_over:
            self.abandon(now)
            self._settle_estate()

    def _settle_estate(self) -> None:
        self.is_over = True
        self._hand_back()

    # ------------------------------------------------------------ suspended, leaving, gone

    def _hold_back(self) -> None:
        """The term cannot be proved at present: claim and start nothing. Runs go on, results are held."""
        self._accepting = False
        self._runs.hold_back()

    def _go_on(self, now: float) -> None:
        """The term is proved again."""
        self._accepting = True
        self._runs.go_on(now)

    def _leave(self, now: float) -> None:
        """Begin nothing new; let runs finish, up to the drain timeout."""
        if self._leaving:
            return
        self._leaving = True
        self._pruner.stop()
        self._runs.leave(now)
        options = self._desk.options
        self._desk.timers.set("drain", now + options.drain_timeout_s)
        longest_s = options.drain_timeout_s + STOP_GRACE_S + 2 * options.rpc_timeout_s
        self._desk.timers.set("drain end", now + longest_s)

    def _hand_back_if_idle(self) -> None:
        """Hand back once nothing is under way; at once when nothing ever was, or nothing can be written any more."""
        if self._leaving and not self._handed_back:
            under_way = len(self._runs) or self._claims.claiming or len(self._desk.committer)
            if not under_way or self._desk.fenced or not self._taken_over:
                self._hand_back()

    def _hand_back(self) -> None:
        """What is still under way after the longest drain is left to the fence and to the next leader."""
        if not self._handed_back:
            self._handed_back = True
            self._desk.say(HandedBack(self.term.token))

    def abandon(self, now: float) -> None:
        """The term is over: tell every run to stop. Nothing is written any more, and no answer is awaited."""
        self._calls.forget()
        self._claims.abandon()
        self._runs.abandon(now)

    # ------------------------------------------------------------ reports

    @property
    def stats(self) -> CommitStats:
        """Of the group commit."""
        return self._desk.committer.stats

    def has_run(self, run_id: int) -> bool:
        """Whether this run is one of this term's."""
        return run_id in self._runs

    @property
    def running(self) -> int:
        """Runs that are not written down yet."""
        return len(self._runs)

    @property
    def longest_timeout_s(self) -> float:
        """The longest time that one of them may take."""
        return self._runs.longest_timeout_s

    @property
    def store_verdict(self) -> StoreVerdict | None:
        """How full the store is, and what that stops; None: not known yet."""
        return self._quota.verdict

    @property
    def scheduled(self) -> int:
        """Jobs that wait for a date."""
        return len(self._schedule)
