"""What a term does when it cannot be proved, is given back, or is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.rig import INTERRUPTED, KEYS, RETURNED, Node, Rig, options, puts
from slurp_leader.jobs.messages import TakeStock
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.scheduler import HandBack, HandedBack, Pause
from support.virtual import late, request_lost


@pytest.fixture
def rig() -> Rig:
    return Rig()


# ---------------------------------------------------------------- progress


def test_a_scheduler_proves_that_it_moves_also_with_nothing_to_do_and_only_while_it_does(rig: Rig) -> None:
    rig.node.lead()
    rig.world.run_for(20)
    term, clock = rig.node.term, rig.node.host.clock
    assert term is not None
    assert clock.boottime() - term.progress.at <= 1.0
    rig.node.host.pause()
    rig.world.run_for(10)
    assert clock.boottime() - term.progress.at >= 10.0


# ---------------------------------------------------------------- paused


def test_a_paused_term_claims_and_starts_nothing_and_goes_on_when_proved_again(rig: Rig) -> None:
    rig.node.lead()
    rig.settle()
    rig.node.pause()
    job_id = rig.client.submit()
    rig.settle(10)
    assert rig.node.runs == []
    assert rig.keys(KEYS.run) == []
    rig.node.resume()
    rig.wait_for_run(job_id)


def test_a_claim_that_commits_during_a_pause_is_held_and_started_afterwards(rig: Rig) -> None:
    rig.node.lead()
    rig.world.order(late(0.5), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.settle(0.1)
    rig.node.pause()
    rig.settle(5)
    assert rig.keys(KEYS.run) != []
    assert rig.node.runs == []
    rig.node.resume()
    assert len([rig.wait_for_run(job_id)]) == 1


def test_a_run_that_its_worker_refused_is_tried_again_without_a_word_from_the_election(rig: Rig) -> None:
    """Trust may lapse and come back between two steps; nobody says so."""
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.end(run, None)
    before = rig.world.clock.now
    again = rig.wait_for_run(job_id, runs=2)
    assert rig.world.clock.now - before >= 0.1  # not at once: the two would chase each other
    assert (again.run, again.run_id) == (run.run, run.run_id)
    rig.node.do(again)
    assert rig.wait_for(job_id).attempts == 1


def test_a_word_about_an_old_term_does_not_touch_the_new_one(rig: Rig) -> None:
    rig.node.lead()
    old = rig.node.token
    rig.node.lose()
    rig.node.lead()
    rig.node.seat.post(Pause(old))
    rig.node.seat.post(HandBack(old))
    rig.wait_for_run(rig.client.submit())
    assert HandedBack(old) in rig.node.said  # nothing of it is under way
    assert not rig.node.handed_back


# ---------------------------------------------------------------- handed back


def test_a_term_with_nothing_under_way_is_handed_back_at_once(rig: Rig) -> None:
    rig.node.lead()
    rig.settle(5)
    rig.node.hand_back()
    rig.settle(0.01)
    assert rig.node.handed_back


def test_a_draining_term_finishes_what_runs_and_claims_nothing_more(rig: Rig) -> None:
    rig.node.lead()
    first = rig.client.submit()
    run = rig.wait_for_run(first)
    rig.node.hand_back()
    second = rig.client.submit()
    rig.settle(5)
    assert not rig.node.handed_back
    rig.node.do(run)
    rig.world.run_until(lambda: rig.node.handed_back)
    outcome = rig.outcome(first)
    assert outcome is not None
    assert outcome.status is JobStatus.COMPLETED
    assert rig.node.runs_of(second) == []


def test_a_run_that_does_not_end_within_the_drain_is_interrupted_not_failed() -> None:
    rig = Rig(jobs=options(drain_timeout=timedelta(seconds=3)))
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.node.hand_back()
    rig.settle(2.5)
    assert rig.node.stops_of(run) == []
    rig.settle(1)
    assert rig.node.stops_of(run) == ["shutdown"]
    rig.node.end(run, INTERRUPTED)
    rig.world.run_until(lambda: rig.node.handed_back)
    state = rig.state(job_id)
    assert state is not None
    assert (state.interruptions, state.crashes, state.attempts) == (1, 0, 0)
    again = rig.wait_for_run(job_id, node=Node(rig.world, "b").lead())
    assert (again.run, again.attempt) == (2, 1)


def test_a_drain_ends_even_if_a_run_never_comes_back(rig: Rig) -> None:
    rig.node.lead()
    rig.node.started(rig.wait_for_run(rig.client.submit()))
    rig.node.hand_back()
    rig.world.run_until(lambda: rig.node.handed_back, within_s=20)


def test_a_claim_that_commits_while_leaving_starts_nothing_and_is_given_up(rig: Rig) -> None:
    rig.node.lead()
    rig.world.order(late(0.5), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.settle(0.1)
    rig.node.hand_back()
    rig.world.run_until(lambda: rig.node.handed_back, within_s=10)
    assert rig.node.runs == []
    state = rig.state(job_id)
    assert state is not None
    assert (state.interruptions, state.crashes) == (1, 0)


def test_a_drain_that_begins_while_suspended_ends_too(rig: Rig) -> None:
    rig.node.lead()
    rig.world.order(late(0.5), puts(KEYS.run), times=1)
    rig.client.submit()
    rig.settle(0.1)
    rig.node.pause()
    rig.node.hand_back()
    rig.world.run_until(lambda: rig.node.handed_back, within_s=10)
    assert rig.node.runs == []


def test_a_run_refused_by_its_worker_while_leaving_does_not_hold_up_the_drain(rig: Rig) -> None:
    rig.node.lead()
    run = rig.wait_for_run(rig.client.submit())
    rig.node.hand_back()
    rig.node.end(run, None)
    rig.world.run_until(lambda: rig.node.handed_back, within_s=5)


def test_a_drain_ends_even_if_the_store_takes_no_more_outcomes(rig: Rig) -> None:
    rig.node.lead()
    run = rig.wait_for_run(rig.client.submit())
    rig.world.order(request_lost(), puts(KEYS.mirrored))
    rig.world.order(request_lost(), puts(KEYS.done))
    rig.node.do(run)
    rig.node.hand_back()
    rig.world.run_until(lambda: rig.node.handed_back, within_s=30)


def test_after_handing_back_nothing_more_is_begun(rig: Rig) -> None:
    rig.node.lead()
    rig.settle()
    rig.node.hand_back()
    rig.world.run_until(lambda: rig.node.handed_back)
    before = rig.world.state.revision
    job_id = rig.client.submit()
    rig.client.cancel(job_id)
    rig.settle(10)
    assert rig.world.state.revision == before + 2  # the submit and the wish, nothing of the leader


def test_a_term_that_never_took_over_is_handed_back_at_once(rig: Rig) -> None:
    rig.settle()
    rig.node.host.deaf = True
    rig.node.lead()
    rig.node.hand_back()
    rig.settle(0.01)
    assert rig.node.handed_back


# ---------------------------------------------------------------- lost


def test_losing_the_term_stops_every_run_and_their_reports_are_only_noted(rig: Rig) -> None:
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(2)]
    runs = [rig.wait_for_run(job_id) for job_id in ids]
    rig.node.lose()
    assert [rig.node.stops_of(run) for run in runs] == [["term_lost"], ["term_lost"]]
    for run in runs:
        rig.node.do(run)
    rig.settle(5)
    assert all(rig.outcome(job_id) is None for job_id in ids)


def test_a_new_term_without_a_word_about_the_end_of_the_old_one_stops_its_runs(rig: Rig) -> None:
    rig.node.lead()
    run = rig.wait_for_run(rig.client.submit())
    rig.node.lead()
    assert rig.node.stops_of(run) == ["term_lost"]


def test_runs_of_an_old_term_keep_their_workers_in_the_next(rig: Rig) -> None:
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(3)]
    old = [rig.wait_for_run(job_id) for job_id in ids[:2]]
    rig.node.lose()
    rig.node.lead()
    rig.settle(5)
    assert len(rig.node.runs) == 2  # both workers are still in the bodies of the old term
    rig.node.end(old[0])
    rig.world.run_until(lambda: len(rig.node.runs) == 3)
    rig.node.body = lambda start: RETURNED
    rig.node.end(old[1])
    rig.node.do(rig.node.runs[2])
    for job_id in ids:
        rig.wait_for(job_id)
        assert rig.outcomes_written(job_id) == 1


def test_the_floor_is_there_once_somebody_leads(rig: Rig) -> None:
    rig.node.lead()
    rig.settle()
    assert rig.kv(KEYS.floor) is not None


def test_a_new_term_runs_what_waits_by_priority_and_then_by_arrival(rig: Rig) -> None:
    waiting = [rig.client.submit(priority=each) for each in (Priority.LOW, Priority.HIGH, Priority.LOW, Priority.HIGH)]
    cancelled = rig.client.submit(priority=Priority.CRITICAL)
    rig.client.send_cancel(cancelled)
    rig.settle()
    rig.node.body = lambda _run: RETURNED
    rig.node.lead()
    for job_id in waiting:
        rig.wait_for(job_id)
    low, high, low_too, high_too = waiting
    assert [run.job.job_id for run in rig.node.runs] == [high, high_too, low, low_too]
    assert rig.wait_for(cancelled).status is JobStatus.CANCELLED


def test_the_whole_picture_is_looked_at_every_two_seconds_also_without_an_event(rig: Rig) -> None:
    """So that one error never loses work for good."""
    rig.node.lead()
    rig.settle()
    looked = rig.node.said.count(TakeStock())
    rig.settle(20)
    assert rig.node.said.count(TakeStock()) - looked == 10
