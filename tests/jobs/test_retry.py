"""An ended job is tried again: another incarnation under the same id, racing with everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.rig import KEYS, LIMITS, RETURNED, Client, Rig, options, puts
from slurp_leader.errors import JobNotFoundError, QueueFullError, RecordError, ResultExpiredError
from slurp_leader.jobs.changes import CancelAnswer, RetryAnswer, retry_txn
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.records import ERRORS_KEPT, Cancel, JobOutcome, JobStatus, Spec, closed_value
from slurp_leader.store import Delete, Put
from support.virtual import answer_lost, late, request_lost

FAILS = RunReport(RunEnd.TERMINAL, error=error_of("broken", "boom"))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def failed(rig: Rig, **fields: object) -> str:
    """A job that has failed."""
    if rig.node.term is None:
        rig.node.lead()
    rig.node.body = lambda start: FAILS
    job_id = rig.client.submit(**fields)
    assert rig.wait_for(job_id).status is JobStatus.FAILED
    rig.settle()
    rig.node.body = None
    return job_id


def spec_of(rig: Rig, job_id: str) -> Spec:
    kv = rig.kv(KEYS.queue + job_id.encode())
    assert kv is not None
    return Spec.from_value(kv.key, kv.value)


def ends(rig: Rig, job_id: str) -> JobOutcome:
    rig.node.body = lambda start: RETURNED
    for run in rig.node.runs_of(job_id)[1:]:
        rig.node.do(run)
    return rig.wait_for(job_id)


def test_a_failed_job_runs_again_with_all_its_attempts_and_keeps_its_errors(rig: Rig) -> None:
    job_id = failed(rig, payload={"n": 7})
    assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED
    assert rig.outcome(job_id) is None
    run = rig.wait_for_run(job_id, runs=2)
    assert (run.run, run.attempt, run.job.spec.payload) == (1, 1, {"n": 7})
    rig.node.do(run)
    outcome = rig.wait_for(job_id)
    assert (outcome.status, outcome.attempts) == (JobStatus.COMPLETED, 1)
    assert [error["code"] for error in outcome.errors] == ["broken"]


def test_the_outcome_goes_and_the_job_comes_back_at_one_revision(rig: Rig) -> None:
    job_id = failed(rig, key="k")
    rig.client.retry(job_id)
    [idem] = rig.keys(KEYS.idem)
    last = [rig.history(key)[-1][0] for key in (KEYS.done + job_id.encode(), idem)]
    queued = next(revision for revision, value in rig.history(KEYS.queue + job_id.encode())[::-1] if value is not None)
    assert last == [queued, queued]


def test_its_fencing_token_is_larger_than_before(rig: Rig) -> None:
    job_id = failed(rig)
    before = rig.node.run_of(job_id).fencing_token
    rig.client.retry(job_id)
    assert rig.wait_for_run(job_id, runs=2).fencing_token > before


def test_it_can_fail_again_and_be_tried_again_and_the_errors_are_bounded(rig: Rig) -> None:
    job_id = failed(rig)
    rig.node.body = lambda start: FAILS
    for times in range(1, ERRORS_KEPT + 3):
        assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED
        assert rig.wait_for(job_id).status is JobStatus.FAILED
        outcome = rig.outcome(job_id)
        assert outcome is not None
        assert outcome.spec is not None
        assert outcome.spec["retried"]["times"] == times
        assert len(outcome.errors) == min(times + 1, ERRORS_KEPT)
        rig.settle()


def test_its_options_come_back_and_a_deadline_that_has_passed_does_not(rig: Rig) -> None:
    limits = replace(LIMITS, timeout_s=77.0, queue_timeout_s=88.0)
    passed, ahead = failed(rig, limits=limits, deadline=rig.date(10)), failed(rig, deadline=rig.date(9000))
    rig.settle(20)
    rig.node.pause()
    rig.client.retry(passed)
    rig.client.retry(ahead)
    assert (spec_of(rig, passed).limits, spec_of(rig, passed).deadline) == (limits, None)
    assert spec_of(rig, ahead).deadline is not None
    assert spec_of(rig, passed).submitted_at > "2026-01-01T00:00:20"  # its wait in the queue begins anew


def test_an_outcome_of_an_older_version_is_tried_again_with_the_options_of_today(rig: Rig) -> None:
    job_id = failed(rig)
    outcome = rig.outcome(job_id)
    assert outcome is not None
    older = replace(outcome, spec={"request": {"n": 1}, "priority": "high", "by": "x", "of_tomorrow": 1})
    rig.world.apply(Put(KEYS.done + job_id.encode(), older.to_value(0)))
    assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED
    spec = spec_of(rig, job_id)
    assert (spec.limits, spec.priority.value, spec.submitted_by) == (LIMITS, "high", "x")
    assert spec.rest == {"of_tomorrow": 1}


@pytest.mark.parametrize("kept", [{"request": 1}, {"request": {}, "options": {}}, {"request": {}, "retried": "x"}])
def test_a_kept_request_that_makes_no_sense_is_said_to(rig: Rig, kept: dict[str, object]) -> None:
    job_id = failed(rig)
    outcome = rig.outcome(job_id)
    assert outcome is not None
    rig.world.apply(Put(KEYS.done + job_id.encode(), replace(outcome, spec=kept).to_value(0)))
    assert isinstance(rig.client.retry(job_id).error, RecordError)
    assert rig.outcome(job_id) is not None


def test_a_cancelled_job_can_be_tried_again_and_a_completed_one_not(rig: Rig) -> None:
    rig.node.lead()
    cancelled = rig.client.submit(run_at=rig.date(100))
    rig.client.cancel(cancelled)
    assert rig.wait_for(cancelled).status is JobStatus.CANCELLED
    rig.settle()
    assert rig.client.retry(cancelled).answer is RetryAnswer.RETRIED
    rig.node.do(rig.wait_for_run(cancelled))
    assert rig.wait_for(cancelled).status is JobStatus.COMPLETED
    assert rig.client.retry(cancelled).answer is RetryAnswer.NOT_KEPT


def test_a_live_job_and_one_that_never_was_are_told_apart(rig: Rig) -> None:
    live = rig.client.submit()
    assert rig.client.retry(live).answer is RetryAnswer.NOT_ENDED
    assert isinstance(rig.client.retry(rig.client.mint.mint()).error, JobNotFoundError)
    assert isinstance(rig.client.retry(LOWEST).error, ResultExpiredError)


def test_a_closed_queue_takes_no_retries_either(rig: Rig) -> None:
    job_id = failed(rig)
    rig.node.host.crash()
    rig.world.apply(Put(KEYS.closed, closed_value("full", "me")))
    assert isinstance(rig.client.retry(job_id).error, QueueFullError)
    assert rig.outcome(job_id) is not None
    rig.world.apply(Delete(KEYS.closed))
    assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED


# ---------------------------------------------------------------- races and lost answers


@pytest.mark.parametrize("trouble", [answer_lost(), request_lost()])
def test_a_retry_without_an_answer_is_one_retry(rig: Rig, trouble: object) -> None:
    job_id = failed(rig)
    rig.world.order(trouble, puts(KEYS.queue), times=2)
    assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED
    assert ends(rig, job_id).status is JobStatus.COMPLETED
    assert len(rig.node.runs_of(job_id)) == 2


def test_a_retry_whose_job_has_ended_before_its_answer_came_is_one_retry(rig: Rig) -> None:
    job_id = failed(rig)
    rig.node.body = lambda start: FAILS
    rig.world.order(answer_lost(), puts(KEYS.queue), times=1)
    assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED
    rig.settle(10)
    assert len(rig.node.runs_of(job_id)) == 2


def test_a_late_copy_of_a_retry_brings_nothing_back(rig: Rig) -> None:
    job_id = failed(rig)
    rig.world.order(late(30.0), puts(KEYS.queue), times=1)
    assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED
    assert ends(rig, job_id).status is JobStatus.COMPLETED
    rig.settle(60)
    assert len(rig.node.runs_of(job_id)) == 2


@pytest.mark.parametrize("moved", [KEYS.done, KEYS.queue, KEYS.idem, KEYS.closed])
def test_whatever_has_moved_since_it_was_looked_at_refuses_the_retry(rig: Rig, moved: bytes) -> None:
    job_id = failed(rig, key="k")
    rig.node.host.crash()
    done = rig.kv(KEYS.done + job_id.encode())
    [idem_key] = rig.keys(KEYS.idem)
    idem = rig.kv(idem_key)
    assert done is not None
    txn = retry_txn(KEYS, done, rig.client.spec(job_id=job_id), idem)
    names = {KEYS.idem: idem_key, KEYS.closed: KEYS.closed}
    rig.world.apply(Put(names.get(moved, moved + job_id.encode()), b"{}"))
    assert not rig.world.apply(txn).succeeded


def test_of_two_retries_at_once_one_is_done(rig: Rig) -> None:
    job_id = failed(rig)
    rig.node.pause()
    other = Client(rig.world, "other")
    tickets = rig.client.send_retry(job_id), other.send_retry(job_id)
    rig.world.run_until(lambda: tickets[0] in rig.client.retries and tickets[1] in other.retries)
    answers = [rig.client.retries[tickets[0]].answer, other.retries[tickets[1]].answer]
    assert sorted(str(answer) for answer in answers) == ["not_ended", "retried"]


def test_a_late_end_of_the_earlier_incarnation_is_refused(rig: Rig) -> None:
    """The outcome of the first is written twice, once much later: by then the job is another incarnation."""
    rig.node.lead()
    job_id = rig.client.submit()
    rig.world.order(late(20.0), puts(KEYS.done), times=1)
    rig.node.do(rig.wait_for_run(job_id), FAILS)
    rig.wait_for(job_id)
    rig.client.retry(job_id)
    run = rig.wait_for_run(job_id, runs=2)
    rig.settle(25)
    assert rig.outcome(job_id) is None
    rig.node.do(run)
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED


def test_a_wish_to_cancel_that_was_left_behind_does_not_end_the_new_incarnation_nor_hide_a_new_wish(rig: Rig) -> None:
    job_id = failed(rig)
    rig.node.pause()
    rig.world.apply(Put(KEYS.cancel + job_id.encode(), Cancel(1, "old", "me").to_value()))
    rig.client.retry(job_id)
    assert rig.keys(KEYS.cancel) == []
    rig.world.apply(Put(KEYS.cancel + job_id.encode(), Cancel(1, "forged", "me").to_value()))
    assert rig.client.cancel(job_id, "now").answer is CancelAnswer.REQUESTED
    rig.node.resume()
    outcome = rig.wait_for(job_id)
    assert outcome.error == {"code": "cancelled", "message": "now", "by": "client"}


def test_a_cancel_that_means_the_earlier_incarnation_leaves_the_new_one_alone(rig: Rig) -> None:
    """As a cancel by filter does, which has read what it means before."""
    job_id = failed(rig)
    before = rig.outcome(job_id)
    assert before is not None
    assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED
    assert rig.client.cancel(job_id, revision=before.queue_revision).answer is CancelAnswer.ALREADY_DONE
    assert ends(rig, job_id).status is JobStatus.COMPLETED


@pytest.mark.parametrize("wait_s", [4.9, 4.99, 5.0, 5.2, 5.6, 6.0, 6.5, 7.0])
@pytest.mark.parametrize("delay_s", [0.0, 0.01, 2.0])
def test_retention_or_a_retry_wins_and_nothing_is_lost_or_done_twice(wait_s: float, delay_s: float) -> None:
    """Around the moment at which the outcome is old enough."""
    rig = Rig(jobs=options(retain_failed=timedelta(seconds=5)))
    job_id = failed(rig, key="k")
    rig.node.body = lambda start: RETURNED
    rig.world.order(late(delay_s), puts(KEYS.floor), times=1)
    rig.settle(wait_s)
    answered = rig.client.retry(job_id)
    if answered.answer is RetryAnswer.RETRIED:
        assert rig.wait_for(job_id).status is JobStatus.COMPLETED
        rig.settle(10)
        assert rig.outcomes_written(job_id) == 2
        assert rig.outcome(job_id) is not None
    else:
        assert isinstance(answered.error, ResultExpiredError)
        rig.settle(10)
        assert rig.outcomes_written(job_id) == 1
        assert rig.keys(KEYS.queue) == rig.keys(KEYS.idem) == []


def test_what_was_tried_again_is_pruned_by_its_new_end_with_its_key() -> None:
    rig = Rig(jobs=options(retain_failed=timedelta(seconds=20), retain_completed=timedelta(seconds=40)))
    job_id, neighbour = failed(rig, key="k"), failed(rig)
    assert rig.client.retry(job_id).answer is RetryAnswer.RETRIED
    assert ends(rig, job_id).status is JobStatus.COMPLETED
    rig.world.run_until(lambda: rig.outcome(neighbour) is None, 120)
    assert rig.outcome(job_id) is not None
    rig.world.run_until(lambda: rig.outcome(job_id) is None, 120)
    assert rig.keys(KEYS.idem) == []
