"""Runs that wait in a pool whose workers are all stuck: they go back to the queue, and on when there is room."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from jobs.rig import INTERRUPTED, LIMITS, RETURNED, Rig, options
from jobs.threaded import CLOCK
from slurp_leader.jobs.decisions import RunReport
from slurp_leader.jobs.executors.batches import Batches, BatchRules
from slurp_leader.jobs.executors.body import Body
from slurp_leader.jobs.executors.port import Executor
from slurp_leader.jobs.executors.threads import Threads
from slurp_leader.jobs.messages import RunEnded, StartRun, WorkerReady
from slurp_leader.jobs.options import BatchBy
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.use import Use
from slurp_leader.orders import Order
from support.calls import PATIENCE_S

HASTY = replace(LIMITS, timeout_s=5.0, max_attempts=1)


def stuck_run(rig: Rig) -> StartRun:
    """One that has begun, was told to stop, and has not."""
    run = rig.wait_for_run(rig.client.submit(limits=HASTY))
    rig.node.started(run)
    return run


def behind_it(rig: Rig, **fields: Any) -> StartRun:
    """One that the pool has, and cannot begin."""
    return rig.wait_for_run(rig.client.submit(**fields))


def taken_back(rig: Rig, run: StartRun) -> None:
    """As an executor does with one that waits."""
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["not_begun"])
    rig.node.end(run, INTERRUPTED)


def jammed() -> tuple[Rig, StartRun]:
    """Two workers, and as far as is known all that there is hangs; what went back waits for one."""
    rig = Rig(jobs=options(workers=2))
    rig.node.lead()
    stuck_run(rig)
    waiting = behind_it(rig)
    taken_back(rig, waiting)
    rig.settle(60)
    return rig, waiting


def test_what_was_claimed_ahead_of_a_worker_that_hangs_goes_back_and_on_when_that_is_free() -> None:
    rig = Rig(jobs=options(workers=1))
    rig.node.lead()
    for _ in range(300):
        rig.node.scheduler._workers.learn(0.0005)  # jobs are short: the next ones are claimed ahead
    hung = stuck_run(rig)
    waiting = behind_it(rig)
    taken_back(rig, waiting)
    rig.settle(300)
    job_id = waiting.job.job_id
    state = rig.state(job_id)
    assert state is not None
    assert (state.attempts, state.crashes, len(rig.node.runs_of(job_id))) == (0, 0, 1)
    rig.node.end(hung)
    rig.node.do(rig.wait_for_run(job_id, runs=2))
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED


def test_answers_from_the_cache_do_not_make_others_be_claimed_ahead() -> None:
    """They take microseconds; what is claimed behind one that is not there takes as long as it takes."""
    rig = Rig(jobs=options(workers=1))
    rig.node.lead()
    cached = replace(RETURNED, cached=True)
    for _ in range(100):
        rig.node.seat.post(RunEnded(-1, cached, 0.0001))
    ids = [rig.client.submit() for _ in range(5)]
    rig.wait_for_run(ids[0])
    rig.settle(5)
    assert len(rig.node.runs) == 1


def test_a_worker_that_comes_up_later_takes_what_went_back() -> None:
    """It may take longer to import a generator than it is waited for."""
    rig, waiting = jammed()
    assert len(rig.node.runs_of(waiting.job.job_id)) == 1
    rig.node.seat.post(WorkerReady())
    rig.node.do(rig.wait_for_run(waiting.job.job_id, runs=2))
    assert rig.wait_for(waiting.job.job_id).status is JobStatus.COMPLETED


def test_no_more_is_given_to_a_pool_that_cannot_begin_it_though_there_are_places() -> None:
    """As of one batch that hangs: it has places left, and no thread."""
    rig = Rig(jobs=options(workers=4))
    rig.node.lead()
    hung = stuck_run(rig)
    waiting = [behind_it(rig) for _ in range(2)]
    for run in waiting:
        taken_back(rig, run)
    later = rig.client.submit()
    rig.settle(300)
    assert rig.node.runs_of(later) == []
    assert [len(rig.node.runs_of(run.job.job_id)) for run in waiting] == [1, 1]
    rig.node.body = lambda start: RETURNED
    rig.node.end(hung)
    for job_id in (later, *(run.job.job_id for run in waiting)):
        assert rig.wait_for(job_id).status is JobStatus.COMPLETED


def test_more_workers_are_room_again() -> None:
    rig, waiting = jammed()
    rig.node.body = lambda start: RETURNED
    rig.order(lambda now: now.scale(3, Order("ops")))
    assert rig.wait_for(waiting.job.job_id).status is JobStatus.COMPLETED


def test_a_run_waits_on_while_any_body_moves() -> None:
    rig = Rig(jobs=options(workers=3))
    rig.node.lead()
    stuck_run(rig)
    moving = rig.wait_for_run(rig.client.submit(limits=replace(LIMITS, timeout_s=3600.0)))
    rig.node.started(moving)
    waiting = behind_it(rig)
    rig.settle(300)
    assert rig.node.stops_of(waiting) == []


def test_one_worker_that_hangs_keeps_no_other_from_its_work() -> None:
    rig = Rig(jobs=options(workers=2))
    rig.node.lead()
    hung = stuck_run(rig)
    rig.settle(30)
    rig.node.body = lambda start: RETURNED
    for _ in range(30):
        assert rig.wait_for(rig.client.submit()).status is JobStatus.COMPLETED
        rig.settle(1)
    assert [stop.run_id for stop in rig.node.stops] == [hung.run_id]


# ---------------------------------------------------------------- executors


class _Launch:
    """One that may always begin."""

    context = None

    def __init__(self) -> None:
        self.spec = self
        self.over = threading.Event()
        self.reports: list[RunReport] = []

    def begin(self, call: int = 0) -> bool:
        return True

    begin_apart = begin

    def span(self) -> Any:
        return nullcontext()

    def end(self, report: RunReport, use: Use | None = None) -> None:
        self.reports.append(report)
        self.over.set()


def on_threads(work: Callable[[], None]) -> Executor:
    return Threads(Body(lambda spec, job: work()), 1, CLOCK)


def in_batches(work: Callable[[], None]) -> Executor:
    def batch(specs: Any, jobs: Any) -> list[Any]:
        work()
        return [None for _ in specs]

    return Batches(Body(lambda spec, job: None, batch=batch), 1, BatchRules(1, 0.0, BatchBy.NONE), CLOCK)


@pytest.mark.parametrize("make", [on_threads, in_batches])
def test_a_run_that_waits_behind_a_body_is_taken_back_at_once(make: Callable[..., Executor]) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def work() -> None:
        begun.release()
        go_on.wait(PATIENCE_S)

    executor = make(work)
    executor.open(lambda error: None, lambda: None)
    deaf, unwanted, last = launches = [_Launch(), _Launch(), _Launch()]
    for launch in launches:
        executor.start(launch)  # type: ignore[arg-type]
    assert begun.acquire(timeout=PATIENCE_S)
    for launch in (deaf, unwanted):
        executor.stop(launch, "cancelled")  # type: ignore[arg-type]
    assert (deaf.reports, unwanted.reports) == ([], [INTERRUPTED])
    go_on.set()
    assert last.over.wait(PATIENCE_S)
    assert executor.close(PATIENCE_S)
    assert (len(deaf.reports), len(unwanted.reports)) == (1, 1)
    assert begun.acquire(blocking=False)  # the last one
    assert not begun.acquire(blocking=False)
