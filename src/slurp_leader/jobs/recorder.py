"""Writing down what became of jobs: the outcome, once and for good, or the state with which they go on.

Whatever is refused here changes nothing in memory but one thing: the job is looked at anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from slurp_leader.errors import RequestTooLargeError
from slurp_leader.jobs import intents
from slurp_leader.jobs.decisions import Finish, RunEnd, RunReport, after_run
from slurp_leader.jobs.desk import Desk
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.messages import JobEnded
from slurp_leader.jobs.packing import inline_size, too_large_error
from slurp_leader.jobs.picture import Job, StateView
from slurp_leader.jobs.records import JobOutcome, JobState, JobStatus, checkpoint_value
from slurp_leader.jobs.run import Run
from slurp_leader.jobs.use import Use
from slurp_leader.telemetry.events import LogEvent

_LONGEST_SHORT_TEXT = 200

Over = Callable[[float], None]
"""Told, with the time, when a record is written or never will be."""


@dataclass(frozen=True, slots=True)
class _Ending:
    """A job that ends: what is known of it beside how."""

    job: Job
    before: StateView
    number: int
    over: Over
    started_at: str | None = None
    has_progress: bool = False
    has_checkpoint: bool = False
    wait_s: float = 0.0
    run_s: float = 0.0
    use: Use | None = None
    is_run: bool = False
    is_bare: bool = False
    """Nothing is kept but how it ended: etcd would not take more."""


class Recorder:
    """Writes outcomes and states of one term.

    Args:
        desk: Of the term.
        ended: Told of every outcome and its revision.
    """

    def __init__(self, desk: Desk, ended: Callable[[JobOutcome, int], None]) -> None:
        self._desk = desk
        self._ended = ended

    def record_run(self, run: Run, report: RunReport, duration_s: float, over: Over, now: float) -> None:
        """Write what a run came to: the end of its job, or how that goes on."""
        desk, job, before = self._desk, run.job, run.before
        op = desk.new_op()
        begun = run.started_at is not None
        decision = after_run(job.spec, before.state, run.number, report, desk.utcnow, desk.rng, op, begun=begun)
        if isinstance(decision, Finish):
            wait_s = max(0.0, run.claimed_at - run.ready_at)
            left = (run.started_at, run.has_progress, run.has_checkpoint)
            ending = _Ending(job, before, run.number, over, *left, wait_s, duration_s, run.use, True)
            self._finish(ending, decision, op, now)
        else:
            settled = partial(self._went_on, job.job_id, report, decision.state, over)
            late = None if run.checkpoint is None else checkpoint_value(run.number, run.checkpoint)
            desk.committer.add(intents.put_state(desk.keys, job, before, decision.state, settled, late), now)

    def record_end(self, job: Job, before: StateView, finish: Finish, now: float) -> None:
        """End a job that is not running."""
        self._desk.busy.add(job.job_id)
        self._finish(_Ending(job, before, before.state.closed, _nothing), finish, self._desk.new_op(), now)

    # ------------------------------------------------------------ the end of a job

    def _finish(self, ending: _Ending, finish: Finish, op: str, now: float) -> None:
        options = self._desk.options
        result, limit = finish.result_json, options.result_limit
        if result is not None and len(result) > limit:
            size = inline_size(result, options.compress_above)
            if size > limit:
                finish = _too_large(finish, f"it takes {size} bytes; jobs.result_limit is {limit}")
        outcome = self._outcome(ending, finish, op)
        self._write(ending, finish, outcome, outcome.to_value(options.compress_above), now)

    def _outcome(self, ending: _Ending, finish: Finish, op: str) -> JobOutcome:
        spec, state = ending.job.spec, ending.before.state
        return JobOutcome(
            job_id=spec.job_id,
            status=finish.status,
            op=op,
            token=self._desk.term.token,
            run=ending.number,
            queue_revision=ending.job.revision,
            attempts=finish.attempts,
            interruptions=state.interruptions,
            submitted_at=spec.submitted_at,
            started_at=ending.started_at,
            finished_at=self._desk.today,
            node_id=self._desk.node_id,
            epoch=self._desk.term.epoch,
            priority=spec.priority.value,
            submitted_by=spec.submitted_by,
            about=_about(spec.payload) if finish.status is JobStatus.COMPLETED else None,
            result_json=finish.result_json,
            error=finish.error,
            errors=() if ending.is_bare else (*(spec.retried.errors if spec.retried else ()), *finish.errors),
            idem=spec.idem,
            spec=None if ending.is_bare else _spec_kept(ending.job, finish.status),
            payload=finish.payload,
            cached=finish.cached,
            use=ending.use,
        )

    def _write(self, ending: _Ending, finish: Finish, outcome: JobOutcome, value: bytes, now: float) -> None:
        keys, picture = self._desk.keys, self._desk.picture
        raw = outcome.job_id.encode()
        extra: list[bytes] = []
        if outcome.job_id in picture.cancels:
            extra.append(keys.cancel + raw)
        if ending.has_progress or ending.before.revision:  # an earlier run may have left progress too
            extra.append(keys.progress + raw)
        if ending.has_checkpoint or ending.before.revision:
            extra.append(keys.checkpoint + raw)
        settled = partial(self._finished, ending, finish, outcome, tuple(extra))
        intent = intents.finish(
            keys, ending.job, ending.before, outcome, value, tuple(extra), settled, lendable=ending.is_run
        )
        self._desk.committer.add(intent, now)

    def _finished(
        self,
        ending: _Ending,
        finish: Finish,
        outcome: JobOutcome,
        extra: tuple[bytes, ...],
        settlement: Settlement,
        now: float,
    ) -> None:
        desk, job_id = self._desk, outcome.job_id
        if settlement.verdict is Verdict.APPLIED:
            raw = job_id.encode()
            for key in (desk.keys.queue + raw, desk.keys.state + raw, *extra):
                desk.picture.delete(key, settlement.revision)
            desk.busy.discard(job_id)
            desk.picture.touched.discard(job_id)
            self._ended(outcome, settlement.revision)
            desk.say(JobEnded(outcome, ending.job.spec.role, ending.wait_s, ending.run_s))
        elif isinstance(settlement.error, RequestTooLargeError) and not ending.is_bare:
            self._write_less(ending, finish, settlement, now)
            return
        else:
            desk.refused("outcome", job_id, settlement)
            desk.release(job_id)
        ending.over(now)

    def _write_less(self, ending: _Ending, finish: Finish, settlement: Settlement, now: float) -> None:
        """etcd refused the outcome for its size: first the result goes, then the request, but the job ends."""
        if finish.result_json is not None:
            finish = _too_large(finish, f"etcd refused it: {settlement.reason}")
        else:
            ending = replace(ending, is_bare=True)
        self._finish(ending, finish, self._desk.new_op(), now)

    # ------------------------------------------------------------ a job goes on

    def _went_on(
        self, job_id: str, report: RunReport, state: JobState, over: Over, settlement: Settlement, now: float
    ) -> None:
        desk = self._desk
        if settlement.verdict is not Verdict.APPLIED:
            desk.refused("state", job_id, settlement)
        else:
            desk.picture.put(desk.keys.state + job_id.encode(), state.to_value(), settlement.revision)
            if report.end is RunEnd.INTERRUPTED:
                desk.tally.interrupted += 1
            else:
                desk.tally.retried += report.end not in (RunEnd.REFUSED, RunEnd.NOT_STORED)
                desk.tally.interrupted += report.end is RunEnd.NOT_STORED
                desk.note(
                    logging.WARNING,
                    LogEvent.JOB_RETRY,
                    job_id=job_id,
                    attempt=state.attempts,
                    run_at=state.run_at,
                    error=(report.error or {}).get("message", ""),
                )
        desk.release(job_id)
        over(now)


def _too_large(finish: Finish, why: str) -> Finish:
    """The end of a job whose result cannot be kept: trying again would give the same."""
    return Finish(JobStatus.FAILED, finish.attempts, finish.errors, error=too_large_error(why))


def _about(payload: dict[str, Any]) -> dict[str, Any]:
    """The short fields of a request: enough to tell what it was, without keeping it twice."""
    return {
        name: value
        for name, value in payload.items()
        if type(value) is bool or type(value) is int or (type(value) is str and 0 < len(value) <= _LONGEST_SHORT_TEXT)
    }


def _spec_kept(job: Job, status: JobStatus) -> dict[str, Any] | None:
    """A job that failed or was cancelled keeps its whole request, so that an operator can have it tried again."""
    if status is JobStatus.COMPLETED:
        return None
    return job.spec.kept()


def _nothing(now: float) -> None:
    """No run waits for this record."""
