"""The runs of one term: started, told to stop, held back, given up on. What they came to goes to the `Recorder`."""

from __future__ import annotations

import logging
from functools import partial

from slurp_leader.clock import parse_utc
from slurp_leader.jobs import checkpoints, intents
from slurp_leader.jobs.breaker import SharedCalls
from slurp_leader.jobs.checkpoints import Checkpoints
from slurp_leader.jobs.claims import Claims
from slurp_leader.jobs.decisions import (
    RunEnd,
    RunReport,
    cancelled_error,
    deadline_error,
    error_of,
    is_past_deadline,
    longest_run_s,
    until_deadline_s,
)
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.intent import Rank, Settlement
from slurp_leader.jobs.messages import (
    RunCheckpoint,
    RunEnded,
    RunExtended,
    RunProgress,
    RunStarted,
    StartRun,
    StopRun,
)
from slurp_leader.jobs.recorder import Recorder
from slurp_leader.jobs.records import progress_value
from slurp_leader.jobs.run import Phase, Run
from slurp_leader.jobs.workers import Workers
from slurp_leader.machine.calls import NEVER
from slurp_leader.telemetry.events import LogEvent

_TIMER = "runs"
_HELD_TIMER = "held"
_WAITING_TIMER = "waiting"

STOP_GRACE_S = 5.0
"""How long a run that was told to stop may take before its end is recorded without it."""
_HELD_AGAIN_S = 0.2
"""Pause before a run that its worker refused to start, because trust had just run out, is tried again."""
_PROGRESS_EVERY_S = 1.0


class Runs:
    """Runs that are not written down yet.

    Args:
        desk: Of the term.
        workers: The places of the pool.
        claims: Told when a run is over.
        recorder: Writes down what runs came to.
    """

    def __init__(self, desk: Desk, workers: Workers, claims: Claims, recorder: Recorder) -> None:
        self._desk = desk
        self._workers = workers
        self._claims = claims
        self._recorder = recorder
        self._checkpoints = Checkpoints(desk, self._recalled)
        self._shared = SharedCalls(desk.breaker)
        self._runs: dict[int, Run] = {}
        self._of_job: dict[str, Run] = {}
        self._accepting = True
        self._leaving = False
        self._lent_until: float | None = None
        self._kept_waiting: set[int] = set()  # runs that no worker was left for, when that was looked at last
        self._look_every_s = STOP_GRACE_S + desk.options.batch_wait_s  # a run that waits for company is not kept

    def __contains__(self, run_id: int) -> bool:
        return run_id in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def longest_timeout_s(self) -> float:
        """The longest time that a run under way may take; 0 when there is none."""
        return max((run.timeout_s for run in list(self._runs.values())), default=0.0)

    def on_timer(self, name: str, now: float) -> None:
        """The time of a timer has come, perhaps one of these."""
        if name == _TIMER:
            self.check_times(now)
        elif name == _HELD_TIMER:
            self.retry_held(now)
        elif name == _WAITING_TIMER:
            self.look_at_waiting(now)
        elif name == checkpoints.TIMER:
            self._checkpoints.write_due(self._runs.values(), now)

    # ------------------------------------------------------------ start

    def begin(self, run: Run, now: float) -> None:
        """Take a run whose claim has committed."""
        self._runs[run.run_id] = run
        self._of_job[run.job.job_id] = run
        self._start(run, now)

    def _start(self, run: Run, now: float) -> None:
        if self._desk.picture.wanted_cancel(run.job) is not None:
            self._conclude(run, self._cancelled(run), now)
        elif is_past_deadline(run.job.spec, self._desk.today):
            self._conclude(run, RunReport(RunEnd.EXPIRED, error=deadline_error(run.job.spec)), now)
        elif self._leaving:
            self._conclude(run, RunReport(RunEnd.INTERRUPTED), now)
        elif not self._accepting:
            run.phase = Phase.HELD
            self._workers.started(run.run_id, run.job.spec)  # it takes its place meanwhile
        elif run.before.revision and not run.is_recalled:
            run.phase = Phase.HELD
            self._workers.started(run.run_id, run.job.spec)
            self._checkpoints.recall(run)
        else:
            run.phase = Phase.GIVEN
            self._workers.started(run.run_id, run.job.spec)
            self._workers.given(run.run_id)
            self._desk.timers.set_no_later(_WAITING_TIMER, now + self._look_every_s)
            if run.job.spec.deadline is not None:  # it may wait in the pool for longer than that
                self._due_at(run, now + until_deadline_s(run.job.spec, self._desk.utcnow))
            attempt, term = run.before.state.attempts + 1, self._desk.term
            command = StartRun(run.run_id, run.job, run.number, attempt, run.claim_revision, term, run.restored)
            self._desk.say(command)

    def _recalled(self, run: Run, now: float) -> None:
        """It is known what earlier runs have left, or the read failed, and is tried again."""
        if self._runs.get(run.run_id) is not run or run.phase is not Phase.HELD:
            return
        if run.is_recalled:
            self._start(run, now)
        else:
            self._desk.timers.set_no_later(_HELD_TIMER, now + _HELD_AGAIN_S)

    def on_started(self, event: RunStarted, now: float) -> None:
        run = self._runs.get(event.run_id)
        if run is not None:
            run.started_at = self._desk.today
            if event.call and not run.call and run.phase is Phase.GIVEN:
                run.call = event.call
                self._shared.begun(event.call)
            if run.stop_reason is None:
                self._due_at(run, now + min(run.timeout_s, longest_run_s(run.job.spec, self._desk.utcnow)))

    def on_extended(self, event: RunExtended, now: float) -> None:
        """A run has prolonged itself, within what `JobContext.extend` allows. Too late once it was told to stop."""
        run = self._runs.get(event.run_id)
        if run is not None and run.phase is Phase.GIVEN and run.stop_reason is None:
            run.extended_s += event.seconds
            run.record_at = min(run.record_at + event.seconds, now + until_deadline_s(run.job.spec, self._desk.utcnow))

    # ------------------------------------------------------------ suspended, proved again, leaving

    def hold_back(self) -> None:
        """The term cannot be proved at present: what is claimed waits."""
        self._accepting = False

    def go_on(self, now: float) -> None:
        """The term is proved again: start what was held."""
        self._accepting = True
        self.retry_held(now)

    def retry_held(self, now: float) -> None:
        """Start what is held, if that may be."""
        if self._accepting:
            for run in [run for run in self._runs.values() if run.phase is Phase.HELD and not run.recalling]:
                self._start(run, now)

    def leave(self, now: float) -> None:
        """Start nothing more; what is held ends here, and its job is for the next leader."""
        self._leaving = True
        for run in [run for run in self._runs.values() if run.phase is Phase.HELD]:
            self._start(run, now)

    def lend(self, begin_until: float, now: float) -> None:
        """The term was handed over with these runs: what is held may begin for a while."""
        self._lent_until = begin_until
        self.go_on(now)

    def jobs_among(self, touched: set[str]) -> list[str]:
        """Which of these jobs have a run here."""
        return sorted(self._of_job.keys() & touched)

    # ------------------------------------------------------------ the end

    def on_ended(self, event: RunEnded, now: float) -> None:
        run = self._runs.get(event.run_id)
        if run is None or run.phase is Phase.ENDING:
            self._desk.note(logging.INFO, LogEvent.JOB_LATE_RESULT, run_id=event.run_id)
        elif event.report is None:
            self._refused_by_worker(run, now)
        else:
            run.use = event.use
            self._conclude(run, self._explained(run, event.report), now, event.duration_s)

    def _refused_by_worker(self, run: Run, now: float) -> None:
        """The worker found the term not valid, or could not start, and started nothing. That may pass without a word.

        Meanwhile it keeps its place: what was held for want of a worker must not start all at once when there is one.
        """
        run.phase, run.record_at = Phase.HELD, NEVER
        self._workers.started(run.run_id, run.job.spec)
        given_up = self._leaving or (self._lent_until is not None and now >= self._lent_until)
        if given_up or run.stop_reason is not None:
            self._conclude(run, self._explained(run, RunReport(RunEnd.INTERRUPTED)), now)
            return
        run.started_at = None
        self._desk.timers.set_no_later(_HELD_TIMER, now + _HELD_AGAIN_S)

    def _explained(self, run: Run, report: RunReport) -> RunReport:
        """A run that was told to stop ended because of that, whatever it raised; a result it still had counts. If its
        time was up while that was put away, in vain, the payload store took the time, not the body."""
        if report.end in (RunEnd.RETURNED, RunEnd.TERMINAL):
            return report
        match run.stop_reason:
            case "timeout" if report.end is RunEnd.NOT_STORED:
                return report
            case "deadline":
                return RunReport(RunEnd.EXPIRED, error=deadline_error(run.job.spec))
            case "timeout":
                return _timed_out(run)
            case "cancelled":
                return self._cancelled(run)
            case "shutdown" | "not_begun":
                return RunReport(RunEnd.INTERRUPTED)
            case _:
                return report

    def _cancelled(self, run: Run) -> RunReport:
        wish = self._desk.picture.wanted_cancel(run.job)
        return RunReport(RunEnd.CANCELLED, error=cancelled_error(wish))

    def _conclude(self, run: Run, report: RunReport, now: float, duration_s: float = 0.0) -> None:
        if run.phase is Phase.HELD:
            self._workers.release(run.run_id)  # it had taken a place while it was being prepared
        run.phase = Phase.ENDING
        self._shared.ended(run.call, run.permit, report, duration_s, now)
        if run.has_progress:
            self._desk.committer.withdraw(Rank.PROGRESS, run.job.job_id)
        self._checkpoints.leave_to_the_end(run)
        self._recorder.record_run(run, report, duration_s, partial(self._over, run), now)

    def _over(self, run: Run, now: float) -> None:
        """What the run came to is written down, or never will be."""
        del self._runs[run.run_id]
        del self._of_job[run.job.job_id]
        self._claims.entry_over(run.claim_key, run.job.spec, now)

    # ------------------------------------------------------------ told to stop

    def cancel(self, job_id: str, now: float) -> None:
        """Somebody wants this job to end."""
        run = self._of_job.get(job_id)
        if run is None or run.phase is Phase.ENDING or run.stop_reason == "cancelled":
            return
        self._desk.note(logging.INFO, LogEvent.JOB_CANCEL_REQUESTED, job_id=job_id, run=run.number)
        if run.phase is Phase.HELD:
            self._conclude(run, self._cancelled(run), now)
        else:
            self._stop(run, "cancelled", now)

    def vanished(self, job_id: str, now: float) -> None:
        """Somebody deleted the queue record of this job: nothing of its run can be recorded any more."""
        run = self._of_job.get(job_id)
        if run is not None and run.phase is Phase.HELD:
            self._conclude(run, RunReport(RunEnd.INTERRUPTED), now)
        elif run is not None and run.phase is Phase.GIVEN and run.stop_reason is None:
            self._stop(run, "cancelled", now)

    def stop_all(self, reason: str, now: float) -> None:
        """Tell every run to stop that was not told yet."""
        for run in list(self._runs.values()):
            if run.phase is Phase.GIVEN and run.stop_reason is None:
                self._stop(run, reason, now)

    def abandon(self, now: float) -> None:
        """The term is over (I4): tell every run to stop. Nothing is written any more."""
        for run in self._runs.values():
            self._desk.breaker.withdrawn(run.permit)
            if run.phase is Phase.HELD:
                self._workers.release(run.run_id)
            else:
                self._workers.told_to_stop(run.run_id, now + STOP_GRACE_S)
                self._desk.say(StopRun(run.run_id, "term_lost"))

    def check_times(self, now: float) -> None:
        """Runs whose time is up are told to stop; those that were told and did not come back are ended without them."""
        for run in list(self._runs.values()):
            if run.phase is not Phase.GIVEN or run.record_at > now:
                continue
            if run.stop_reason is None:
                self._stop(run, "timeout" if run.started_at else "deadline", now)
            else:
                self._desk.note(logging.ERROR, LogEvent.JOB_STUCK, job_id=run.job.job_id, reason=run.stop_reason)
                self._conclude(run, self._explained(run, RunReport(RunEnd.INTERRUPTED)), now)
        upcoming = [run.record_at for run in self._runs.values() if run.phase is Phase.GIVEN]
        if upcoming:
            self._desk.timers.set(_TIMER, min(upcoming))

    def look_at_waiting(self, now: float) -> None:
        """What the pool has and cannot begin, as every worker is stuck, goes back to the queue: here it would wait for
        as long as this node leads. Twice seen: one that was just given, or a machine that slept, proves nothing."""
        waiting = [run for run in self._runs.values() if run.is_waiting]
        kept = {run.run_id for run in waiting} if self._workers.is_still(now) else set()
        if kept & self._kept_waiting:
            self._workers.jammed(self._desk.rules, now)
            for run in waiting:
                self._stop(run, "not_begun", now)
            kept = set()
        elif waiting:
            self._desk.timers.set_no_later(_WAITING_TIMER, now + self._look_every_s)
        self._kept_waiting = kept

    def _stop(self, run: Run, reason: str, now: float) -> None:
        run.stop_reason = reason
        self._due_at(run, now + STOP_GRACE_S)
        self._workers.told_to_stop(run.run_id, now + STOP_GRACE_S)
        self._desk.say(StopRun(run.run_id, reason))

    def _due_at(self, run: Run, at: float) -> None:
        run.record_at = at
        self._desk.timers.set_no_later(_TIMER, at)

    # ------------------------------------------------------------ progress

    def on_progress(self, event: RunProgress, now: float) -> None:
        """Write it at most once a second for each job; the next one comes, so losing one loses nothing."""
        run = self._runs.get(event.run_id)
        if run is None or run.phase is Phase.ENDING or now < run.progress_at + _PROGRESS_EVERY_S:
            return
        run.progress_at = now
        value = progress_value(run.number, event.fraction, event.note)
        desk = self._desk
        desk.committer.withdraw(Rank.PROGRESS, run.job.job_id)
        desk.committer.add(intents.progress(desk.keys, run.job, value, _ignore), now)

    def on_checkpoint(self, event: RunCheckpoint, now: float) -> None:
        """What the next run is to find. One of a run that is over comes too late."""
        run = self._runs.get(event.run_id)
        if run is not None and run.phase is not Phase.ENDING:
            self._checkpoints.take(run, event.data, now)


def _timed_out(run: Run) -> RunReport:
    spec, limit_s = run.job.spec, run.timeout_s
    if run.started_at is not None and until_deadline_s(spec, parse_utc(run.started_at)) < limit_s:
        return RunReport(RunEnd.TIMED_OUT, error=deadline_error(spec))
    return RunReport(RunEnd.TIMED_OUT, error=error_of("timeout", f"the run took longer than {limit_s:g} s"))


def _ignore(settlement: Settlement, now: float) -> None:
    """Progress that was not written is followed by more."""
