"""Jobs whose time is up: in the queue, before the body, while they run, between two attempts, and across leaders."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.rig import INTERRUPTED, KEYS, LIMITS, RAISED, RETURNED, Node, Rig, puts
from slurp_leader.clock import parse_utc
from slurp_leader.jobs.decisions import Finish, RunEnd, after_run, expires_at, longest_run_s, queue_until, without_run
from slurp_leader.jobs.executors.port import Launch
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.messages import RunEnded
from slurp_leader.jobs.picture import FRESH
from slurp_leader.jobs.records import JobState, JobStatus, Spec
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.runner import Runner
from support.virtual import request_lost

IMPATIENT = replace(LIMITS, queue_timeout_s=20.0)
SPEC = Spec(LOWEST, {}, Priority.NORMAL, LIMITS, "2026-01-01T00:00:00.000Z", "")
NOON, LATER = "2026-01-01T12:00:00.000Z", "2026-01-01T12:00:01.000Z"


@pytest.fixture
def rig() -> Rig:
    return Rig()


def code_of(rig: Rig, job_id: str, within_s: float = 120.0) -> str:
    outcome = rig.wait_for(job_id, within_s)
    assert outcome.status is JobStatus.FAILED
    assert outcome.error is not None
    return str(outcome.error["code"])


def occupied(rig: Rig) -> None:
    """All workers are taken, for longer than any test waits."""
    rig.node.lead()
    for _ in range(rig.node.options.workers):
        rig.wait_for_run(rig.client.submit(limits=replace(LIMITS, timeout_s=3600.0)))


# ---------------------------------------------------------------- decided by values


def test_the_deadline_is_part_of_the_time_that_is_over() -> None:
    spec = replace(SPEC, deadline=NOON)
    assert without_run(spec, FRESH, None, "2026-01-01T11:59:59.999Z") is None
    ended = without_run(spec, FRESH, None, NOON)
    assert ended is not None
    assert ended.error is not None
    assert (ended.status, ended.error["code"], ended.attempts) == (JobStatus.FAILED, "deadline", 0)


def test_the_wait_in_the_queue_counts_from_the_submit_or_from_run_at_if_that_is_later() -> None:
    spec = replace(SPEC, limits=IMPATIENT)
    assert queue_until(spec, FRESH) == "2026-01-01T00:00:20.000Z"
    assert queue_until(replace(spec, run_at=NOON), FRESH) == "2026-01-01T12:00:20.000Z"
    assert queue_until(spec, JobState(closed=1)) is None  # it has begun once
    assert queue_until(spec, JobState(closed=2, not_begun=2)) == "2026-01-01T00:00:20.000Z"
    assert queue_until(spec, JobState(closed=3, not_begun=2)) is None
    assert queue_until(replace(spec, submitted_at="whenever"), FRESH) is None
    assert queue_until(replace(spec, limits=replace(IMPATIENT, queue_timeout_s=9e11)), FRESH) is None


def test_a_job_expires_at_whichever_comes_first() -> None:
    spec = replace(SPEC, limits=IMPATIENT, deadline=NOON)
    assert expires_at(spec, FRESH) == "2026-01-01T00:00:20.000Z"
    assert expires_at(spec, JobState(closed=1)) == NOON
    assert expires_at(SPEC, FRESH) is None


def test_a_deadline_shortens_the_longest_run() -> None:
    spec = replace(SPEC, deadline=NOON)
    assert longest_run_s(spec, parse_utc("2026-01-01T11:59:50.000Z")) == 10.0
    assert longest_run_s(spec, parse_utc("2026-01-01T11:00:00.000Z")) == LIMITS.timeout_s
    assert longest_run_s(spec, parse_utc(LATER)) == 0.0
    assert longest_run_s(SPEC, datetime(2026, 1, 1, tzinfo=UTC)) == LIMITS.timeout_s


def test_an_attempt_that_could_only_start_after_the_deadline_is_none() -> None:
    spec = replace(SPEC, deadline=NOON)
    decided = after_run(spec, FRESH, 1, RAISED, parse_utc("2026-01-01T11:59:59.500Z"), random.Random(1), "op")
    assert isinstance(decided, Finish)
    assert (decided.status, decided.error) == (JobStatus.FAILED, RAISED.error)


# ---------------------------------------------------------------- as it happens


def test_a_job_that_waits_too_long_for_a_worker_ends_without_a_run(rig: Rig) -> None:
    occupied(rig)
    begin = rig.world.clock.now
    job_id = rig.client.submit(limits=IMPATIENT)
    assert code_of(rig, job_id) == "queue_timeout"
    assert rig.node.runs_of(job_id) == []
    assert 19.9 <= rig.world.clock.now - begin <= 21


def test_a_job_that_begins_in_time_is_not_ended_by_its_longest_wait(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit(limits=IMPATIENT)
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.settle(25)
    rig.node.end(run)
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED


def test_a_claim_that_was_interrupted_before_the_body_began_is_no_end_of_the_wait(rig: Rig) -> None:
    rig.node.lead()
    begin = rig.world.clock.now
    job_id = rig.client.submit(limits=IMPATIENT)
    rig.wait_for_run(job_id)
    rig.settle(10)
    rig.node.hand_back()
    rig.world.run_until(lambda: rig.node.stops_of(rig.node.run_of(job_id)) == ["shutdown"])
    rig.node.end(rig.node.run_of(job_id), INTERRUPTED)
    rig.world.run_until(lambda: rig.node.handed_back)
    Node(rig.world, "b").lead()
    assert code_of(rig, job_id) == "queue_timeout"
    assert rig.world.clock.now - begin <= 22  # what it had waited before counts
    assert rig.outcomes_written(job_id) == 1


def test_a_job_that_its_worker_could_not_begin_after_all_waits_for_its_first_run_still(rig: Rig) -> None:
    """As when a worker process ends before the body began there."""
    rig.node.lead()
    job_id = rig.client.submit(limits=IMPATIENT)
    run = rig.wait_for_run(job_id)
    rig.node.pause()
    rig.node.started(run)
    rig.node.end(run, None)
    rig.settle()
    rig.node.hand_back()
    rig.world.run_until(lambda: rig.node.handed_back)
    state = rig.state(job_id)
    assert state is not None
    assert (state.closed, state.not_begun) == (1, 1)


def test_a_body_that_was_interrupted_has_ended_the_wait(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit(limits=IMPATIENT)
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.node.hand_back()
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["shutdown"])
    rig.node.end(run, INTERRUPTED)
    rig.world.run_until(lambda: rig.node.handed_back)
    rig.settle(30)
    other = Node(rig.world, "b").lead()
    other.do(rig.wait_for_run(job_id, node=other))
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED


def test_a_job_that_waits_for_its_deadline_ends_without_a_run(rig: Rig) -> None:
    occupied(rig)
    job_id = rig.client.submit(deadline=rig.date(10))
    assert code_of(rig, job_id) == "deadline"
    assert rig.node.runs_of(job_id) == []


def test_a_job_whose_time_was_up_while_nobody_led_never_starts(rig: Rig) -> None:
    late_one = rig.client.submit(deadline=rig.date(10))
    waited = rig.client.submit(limits=IMPATIENT)
    plain = rig.client.submit()
    rig.settle(30)
    rig.node.lead().body = lambda start: RETURNED
    assert code_of(rig, late_one) == "deadline"
    assert code_of(rig, waited) == "queue_timeout"
    assert rig.wait_for(plain).status is JobStatus.COMPLETED
    assert rig.node.runs_of(late_one) == rig.node.runs_of(waited) == []


def test_a_deadline_holds_under_the_next_leader(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit(run_at=rig.date(100), deadline=rig.date(50))
    rig.settle(10)
    rig.node.crash()
    other = Node(rig.world, "b").lead()
    assert code_of(rig, job_id) == "deadline"
    assert other.runs_of(job_id) == []


def test_a_job_that_is_scheduled_beyond_its_deadline_ends_at_the_deadline(rig: Rig) -> None:
    """As a record may say it; a submit refuses such a thing."""
    rig.node.lead()
    begin = rig.world.clock.now
    job_id = rig.client.submit(run_at=rig.date(60), deadline=rig.date(10))
    assert code_of(rig, job_id) == "deadline"
    assert rig.world.clock.now - begin < 12


def test_a_claim_that_is_written_too_late_starts_no_body(rig: Rig) -> None:
    rig.node.lead()
    rig.settle()
    outage = rig.world.order(request_lost(), puts(KEYS.run))
    job_id = rig.client.submit(deadline=rig.date(10))
    rig.settle(12)
    rig.world.rules.remove(outage)
    assert code_of(rig, job_id) == "deadline"
    assert rig.node.runs_of(job_id) == []
    assert rig.outcomes_written(job_id) == 1


def test_a_run_is_stopped_at_the_deadline_and_not_tried_again(rig: Rig) -> None:
    rig.node.lead()
    begin = rig.world.clock.now
    job_id = rig.client.submit(deadline=rig.date(10))
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["timeout"])
    assert 9 <= rig.world.clock.now - begin <= 11
    rig.node.end(run, RAISED)
    assert code_of(rig, job_id) == "deadline"
    assert len(rig.node.runs_of(job_id)) == 1


def test_a_run_that_takes_too_long_before_its_deadline_is_a_timeout_and_tried_again(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit(deadline=rig.date(300))
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["timeout"], 60)
    rig.node.end(run, RAISED)
    rig.node.do(rig.wait_for_run(job_id, runs=2))
    outcome = rig.wait_for(job_id)
    assert (outcome.status, [error["code"] for error in outcome.errors]) == (JobStatus.COMPLETED, ["timeout"])


def test_jobs_that_could_expire_and_do_not_count_as_pending(rig: Rig) -> None:
    occupied(rig)
    rig.client.submit(deadline=rig.date(1000))
    rig.settle()
    assert rig.node.scheduler.leading is not None
    assert rig.node.scheduler.leading.scheduled == 0


# ---------------------------------------------------------------- given to the pool, and not begun


def test_a_run_that_waits_in_the_pool_is_ended_at_its_deadline(rig: Rig) -> None:
    rig.node.lead()
    begin = rig.world.clock.now
    job_id = rig.client.submit(deadline=rig.date(10))
    run = rig.wait_for_run(job_id)
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["deadline"])
    assert 9 <= rig.world.clock.now - begin <= 11
    rig.node.end(run, INTERRUPTED)  # as an executor says of one that it takes back
    outcome = rig.wait_for(job_id)
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.attempts, outcome.started_at) == ("deadline", 0, None)


def test_a_run_that_the_pool_does_not_give_back_is_ended_soon_after_its_deadline(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit(deadline=rig.date(10))
    rig.wait_for_run(job_id)
    outcome = rig.wait_for(job_id, within_s=20)
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.attempts) == ("deadline", 0)


def test_a_worker_that_dies_at_the_timeout_before_it_has_begun_cost_an_attempt_and_no_more(rig: Rig) -> None:
    """An executor counts a run as begun when it hands it on. Taken for one that was too late to begin, it was not tried
    again."""
    rig.node.lead()
    job_id = rig.client.submit(limits=replace(LIMITS, timeout_s=1.0, max_attempts=2))
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["timeout"])
    rig.node.end(run, None)
    rig.node.do(rig.wait_for_run(job_id, runs=2))
    outcome = rig.wait_for(job_id)
    assert (outcome.status, [error["code"] for error in outcome.errors]) == (JobStatus.COMPLETED, ["timeout"])


class Pool:
    """An executor that begins a run when a test says so."""

    name = "by hand"
    can_kill = False
    holds_worker = True
    per_worker = 1
    trouble = ""

    def __init__(self) -> None:
        self.launches: list[Launch] = []

    def open(self, lost: Any, ready: Any) -> None: ...

    def scale(self, count: int) -> None: ...

    def start(self, launch: Launch) -> None:
        self.launches.append(launch)

    def stop(self, launch: Launch, reason: str) -> None: ...

    def close(self, timeout_s: float) -> bool:
        return True


def in_a_pool(rig: Rig, **fields: Any) -> tuple[Launch, list[Any]]:
    """A run that a real `Runner` was given, and what that tells."""
    rig.node.lead()
    run = rig.wait_for_run(rig.client.submit(**fields))
    pool, told = Pool(), []
    Runner(pool, rig.node.host.clock, told.append).run(run)
    return pool.launches[0], told


def test_a_body_does_not_begin_after_the_deadline(rig: Rig) -> None:
    launch, told = in_a_pool(rig, deadline=rig.date(10))
    rig.settle(11)
    assert not launch.begin()
    (ended,) = told
    assert (ended.report.end, ended.report.error["code"], ended.duration_s) == (RunEnd.EXPIRED, "deadline", 0)


def test_a_body_that_begins_late_has_the_time_that_is_left(rig: Rig) -> None:
    launch, _ = in_a_pool(rig, deadline=rig.date(20))
    rig.settle(15)
    assert launch.begin()
    assert 4 <= launch.context.remaining_s <= 5
    assert 4 <= launch.context._facts.timeout_s <= 5  # as it goes to other processes


def test_a_body_that_begins_late_without_a_deadline_has_all_its_time(rig: Rig) -> None:
    launch, _ = in_a_pool(rig)
    rig.settle(15)
    assert launch.begin()
    assert launch.context.remaining_s == LIMITS.timeout_s


def test_a_run_that_never_began_says_nothing_of_how_long_jobs_take(rig: Rig) -> None:
    rig.node.lead()
    before = rig.node.scheduler._workers._typical_s
    run = rig.wait_for_run(rig.client.submit())
    rig.node.seat.post(RunEnded(run.run_id, INTERRUPTED))
    rig.settle()
    assert rig.node.scheduler._workers._typical_s == before
