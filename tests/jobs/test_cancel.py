"""Cancelling: wishes written by anybody, carried out by the leader, and racing with everything."""

from __future__ import annotations

import pytest

from jobs.rig import INTERRUPTED, KEYS, RETURNED, Client, Node, Rig, puts
from slurp_leader.errors import JobNotFoundError
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.records import Cancel, JobStatus
from slurp_leader.jobs.submitter import CancelAnswer
from slurp_leader.store import Delete, Put
from support.virtual import answer_lost, request_lost


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_queued_job_is_cancelled_without_running(rig: Rig) -> None:
    rig.node.lead()
    for _ in range(2):
        rig.wait_for_run(rig.client.submit())  # all workers are taken
    job_id = rig.client.submit()
    assert rig.client.cancel(job_id, "changed my mind").answer is CancelAnswer.REQUESTED
    outcome = rig.wait_for(job_id)
    assert (outcome.status, outcome.run, outcome.attempts) == (JobStatus.CANCELLED, 0, 0)
    assert outcome.error == {"code": "cancelled", "message": "changed my mind", "by": "client"}
    assert rig.keys(KEYS.cancel) == []
    assert rig.node.runs_of(job_id) == []


def test_a_job_is_cancelled_before_there_is_a_leader(rig: Rig) -> None:
    job_id = rig.client.submit()
    rig.client.cancel(job_id)
    rig.node.lead()
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED
    assert rig.node.runs == []


def test_a_running_job_is_told_to_stop_and_ends_cancelled(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.client.cancel(job_id)
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["cancelled"])
    rig.node.end(run, INTERRUPTED)
    outcome = rig.wait_for(job_id)
    assert (outcome.status, outcome.run) == (JobStatus.CANCELLED, 1)


def test_a_running_job_that_ignores_the_cancel_ends_cancelled_all_the_same(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    rig.node.started(rig.wait_for_run(job_id))
    rig.client.cancel(job_id)
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED


def test_a_job_that_finishes_before_it_hears_of_the_cancel_is_completed(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.host.deaf = True
    rig.client.cancel(job_id)
    rig.node.do(run)
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED
    rig.node.host.deaf = False
    for feed in rig.node.host.feeds:
        feed.nudge()
    rig.world.run_until(lambda: rig.keys(KEYS.cancel) == [])  # the leftover wish is swept up
    rig.settle(5)
    assert rig.outcomes_written(job_id) == 1


def test_a_cancel_that_arrives_while_the_outcome_is_being_written_changes_nothing(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.world.order(answer_lost(), puts(KEYS.done), times=2)
    rig.node.do(run)
    rig.settle(0.1)
    assert rig.client.cancel(job_id).answer is CancelAnswer.ALREADY_DONE
    rig.settle(10)
    assert rig.outcomes_written(job_id) == 1
    outcome = rig.outcome(job_id)
    assert outcome is not None
    assert outcome.status is JobStatus.COMPLETED


def test_a_cancel_that_arrives_while_the_claim_is_being_written_is_obeyed_before_the_body(rig: Rig) -> None:
    rig.node.lead()
    rule = rig.world.order(request_lost(), puts(KEYS.run))
    job_id = rig.client.submit()
    rig.settle(0.1)
    rig.client.cancel(job_id)
    rig.settle(0.5)
    rig.world.rules.remove(rule)
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED
    assert rig.node.runs == []


def test_a_job_can_be_cancelled_while_its_leader_drains(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.node.hand_back()
    rig.client.cancel(job_id)
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["cancelled"])
    rig.node.end(run, INTERRUPTED)
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED
    rig.world.run_until(lambda: rig.node.handed_back)


def test_a_wish_survives_the_leader_that_should_have_obeyed_it(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    rig.node.started(rig.wait_for_run(job_id))
    rig.client.cancel(job_id)
    rig.node.host.crash()
    other = Node(rig.world, "b").lead()
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED
    assert other.runs == []


def test_a_held_run_is_cancelled_at_once(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.pause()
    rig.node.end(run, None)  # its worker found the term not valid
    rig.client.cancel(job_id)
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED
    rig.node.resume()
    rig.settle(5)
    assert len(rig.node.runs_of(job_id)) == 1


def test_a_cancel_of_an_ended_job_says_so_and_leaves_nothing(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    assert rig.client.cancel(job_id).answer is CancelAnswer.ALREADY_DONE
    assert rig.keys(KEYS.cancel) == []


def test_a_cancel_of_a_job_that_never_was_says_so(rig: Rig) -> None:
    rig.client.submit()  # so that there is a floor
    assert isinstance(rig.client.cancel(rig.client.mint.mint()).error, JobNotFoundError)
    assert rig.client.mint.mint() > LOWEST


def test_cancelling_twice_from_two_places_is_one_wish(rig: Rig) -> None:
    job_id = rig.client.submit()
    other = Client(rig.world, "other")
    assert rig.client.cancel(job_id).answer is other.cancel(job_id).answer is CancelAnswer.REQUESTED
    assert len(rig.history(KEYS.cancel + job_id.encode())) == 1


def test_a_wish_for_another_incarnation_means_nothing(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.world.apply(Put(KEYS.cancel + job_id.encode(), Cancel(1, "old", "someone").to_value()))
    rig.settle(5)
    assert rig.node.stops_of(run) == []
    rig.node.do(run)
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED


def test_a_job_whose_queue_record_an_operator_deleted_is_stopped_and_never_recorded(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.world.apply(Delete(KEYS.queue + job_id.encode()))
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["cancelled"])
    rig.node.end(run)
    rig.settle(10)
    assert rig.outcome(job_id) is None
    assert rig.keys(KEYS.run) == []
    next_id = rig.client.submit()
    rig.node.do(rig.wait_for_run(next_id))
    rig.wait_for(next_id)


def test_a_held_run_whose_queue_record_was_deleted_is_not_started_later(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.pause()
    rig.node.end(run, None)
    rig.world.apply(Delete(KEYS.queue + job_id.encode()))
    rig.settle(10)
    rig.node.resume()
    rig.settle(10)
    assert len(rig.node.runs_of(job_id)) == 1
    assert rig.keys(KEYS.run) == []
