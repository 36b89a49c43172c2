"""What operators have ordered for the queue, and what settings say, on leaders: pauses, limits, workers, drain."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.rig import KEYS, KEYSPACE, LIMITS, RETURNED, Node, Rig, options
from slurp_leader.errors import QueueFullError
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.options import ExecutorName
from slurp_leader.jobs.picking.control import ALL, QueueControl
from slurp_leader.jobs.queue_status import Places, queue_status
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.scheduler import Scale, StartRun
from slurp_leader.orders import Order
from slurp_leader.store import Put

BY = Order("ops")


@pytest.fixture
def rig() -> Rig:
    return Rig(jobs=options(workers=4))


def running(node: Node) -> list[str]:
    """Ids of the jobs whose bodies were started, in order."""
    return [run.job.job_id for run in node.runs]


def status(node: Node, places: Places | None = None) -> Any:
    stuck = node.scheduler.stuck_places(node.host.clock.boottime())
    places = places or Places(node.options.workers)
    return queue_status(node.scheduler.picture, node.options, node.host.clock.utcnow(), stuck, places)


# ---------------------------------------------------------------- pause


def test_nothing_is_started_while_all_is_paused_and_what_runs_goes_on(rig: Rig) -> None:
    node = rig.node.lead()
    first = rig.client.submit()
    run = rig.wait_for_run(first)
    rig.order(lambda now: now.pause(ALL, BY))
    second = rig.client.submit()
    node.do(run)
    assert rig.wait_for(first).status is JobStatus.COMPLETED
    rig.settle(5)
    assert running(node) == [first]
    rig.order(lambda now: now.resume(ALL))
    rig.wait_for_run(second)


def test_a_paused_role_holds_back_no_other(rig: Rig) -> None:
    node = rig.node.lead()
    rig.order(lambda now: now.pause("role:x", BY))
    held = rig.client.submit(role="x", priority=Priority.CRITICAL)
    free = rig.client.submit(role="y")
    rig.wait_for_run(free)
    rig.settle(3)
    assert held not in running(node)
    assert status(node).held == {"role 'x' is paused": 1}
    rig.order(lambda now: now.resume("role:x"))
    rig.wait_for_run(held)


def test_orders_are_in_force_on_the_next_leader_at_once(rig: Rig) -> None:
    rig.node.lead()
    rig.order(lambda now: now.pause("project:p", BY).limit("role:x", 1, BY).scale(3, BY))
    held = rig.client.submit(project="p")
    rig.settle()
    other = Node(rig.world, "b", options(workers=1))
    rig.node.crash()
    other.lead()
    jobs = [rig.client.submit(role="x"), rig.client.submit(role="x"), rig.client.submit(), rig.client.submit()]
    rig.wait_for_run(jobs[3], node=other)
    rig.settle(3)
    assert running(other) == [jobs[0], jobs[2], jobs[3]]  # three workers, one of role x
    assert held not in running(other)
    assert [each.workers for each in other.said if isinstance(each, Scale)] == [3]


def test_a_record_that_cannot_be_read_orders_nothing_and_is_shown(rig: Rig) -> None:
    node = rig.node.lead()
    rig.order(lambda now: now.pause(ALL, BY))
    rig.settle()
    rig.world.apply(Put(KEYS.queue_control, b"garbage"))
    rig.wait_for_run(rig.client.submit())
    assert KEYS.queue_control in node.scheduler.picture.parked
    rig.world.apply(Put(KEYS.queue_control, QueueControl().to_value()))
    rig.settle()
    assert KEYS.queue_control not in node.scheduler.picture.parked


# ---------------------------------------------------------------- limits


def test_limits_of_the_settings_hold_and_an_order_goes_before_them(rig: Rig) -> None:
    rig = Rig(jobs=options(workers=4, limit_per_role=1))
    node = rig.node.lead()
    jobs = [rig.client.submit(role="x") for _ in range(3)]
    rig.settle(3)
    assert running(node) == jobs[:1]
    rig.order(lambda now: now.limit("role:x", 2, BY))
    rig.wait_for_run(jobs[1])
    rig.settle(3)
    assert running(node) == jobs[:2]
    node.do(node.run_of(jobs[0]))
    rig.wait_for_run(jobs[2])


def test_what_an_old_leader_still_runs_counts_against_limits(rig: Rig) -> None:
    """Under the grant of a handover (A19)."""
    rig.order(lambda now: now.limit("role:x", 1, BY))
    rig.node.lead()
    rig.node.stand()
    old, new = rig.node, Node(rig.world, "b")
    first = rig.client.submit(role="x")
    run = rig.wait_for_run(first)
    old.started(run)
    old.hand_over(new)
    second, third = rig.client.submit(role="x"), rig.client.submit(role="y")
    rig.wait_for_run(third, node=new)
    rig.settle(3)
    assert second not in running(new)
    old.end(run)
    rig.wait_for_run(second, node=new)


def test_no_limit_leaks_over_crashes_retries_and_cancels(rig: Rig) -> None:
    rig.order(lambda now: now.limit("role:x", 1, BY))
    node = rig.node.lead()
    cancelled, crashed = rig.client.submit(role="x"), rig.client.submit(role="x")
    run = rig.wait_for_run(cancelled)
    node.started(run)
    rig.client.cancel(cancelled)
    rig.world.run_until(lambda: bool(node.stops_of(run)))
    node.end(run, None)
    rig.wait_for_run(crashed)
    node.crash()
    node.lead()
    again = rig.wait_for_run(crashed)
    node.do(again)
    for _ in range(5):
        job_id = rig.client.submit(role="x")
        node.do(rig.wait_for_run(job_id))
        rig.wait_for(job_id)


def test_large_jobs_take_their_slots_and_memory(rig: Rig) -> None:
    mib = 1024 * 1024
    rig = Rig(jobs=options(workers=4, memory_limit=10 * mib))
    node = rig.node.lead()
    wide, small = rig.client.submit(slots=3), [rig.client.submit() for _ in range(3)]
    rig.settle(3)
    assert running(node) == [wide, small[0]]
    node.do(node.run_of(wide))
    rig.wait_for(wide)
    rig.settle()
    assert running(node)[2:] == small[1:]
    for job_id in small:
        node.do(node.run_of(job_id))
    heavy = [rig.client.submit(memory=6 * mib) for _ in range(2)]
    rig.wait_for_run(heavy[0])
    rig.settle(3)
    assert heavy[1] not in running(node)
    node.do(node.run_of(heavy[0]))
    rig.wait_for_run(heavy[1])


def test_a_job_that_can_never_fit_holds_back_nobody_and_is_told_of(rig: Rig) -> None:
    rig = Rig(jobs=options(workers=3))
    node = rig.node.lead()
    huge, gone, large = (rig.client.submit(slots=slots) for slots in (4, 4, 3))
    node.do(rig.wait_for_run(large))
    assert status(node).held == {"it takes 4 slots, and there are 3": 2}
    rig.client.cancel(gone)
    assert rig.wait_for(gone).status is JobStatus.CANCELLED
    rig.order(lambda now: now.scale(4, BY))
    node.do(rig.wait_for_run(huge))
    assert running(node) == [large, huge]


def stick(rig: Rig, **fields: Any) -> StartRun:
    """A run that is told to stop and does not: it holds its place."""
    run = rig.wait_for_run(rig.client.submit(limits=replace(LIMITS, timeout_s=5, max_attempts=1), **fields))
    rig.node.started(run)
    rig.wait_for(run.job.job_id)
    assert rig.node.scheduler.stuck(rig.node.host.clock.boottime()) == 1
    return run


@pytest.mark.parametrize(
    ("large", "why"),
    [
        ({"slots": 4}, "it takes 4 slots, and there are 3 beside those of runs that do not stop"),
        ({"memory": 9}, "it takes 9 bytes of memory, and there are 8 beside that of runs that do not stop"),
    ],
)
def test_a_large_job_that_waits_for_a_stuck_run_holds_back_nobody(large: dict[str, int], why: str) -> None:
    rig = Rig(jobs=options(workers=4, memory_limit=10, age_step=timedelta(seconds=60)))
    node = rig.node.lead()
    stuck = stick(rig, memory=2)
    waits = rig.client.submit(**large)
    rig.settle(70)
    small = [rig.client.submit(memory=3) for _ in range(3)]
    rig.settle(1)
    assert running(node)[1:] == small[:2]  # memory holds back the third
    assert status(node).held == {why: 1}
    node.end(stuck, None)  # it stops after all: from now on the large one has waited for long enough
    rig.settle(1)
    assert status(node).held == {}
    assert running(node)[3:] == []
    for each in small[:2]:
        node.do(node.run_of(each))
    rig.wait_for_run(waits)
    assert running(node)[3:] == [waits]


def test_stuck_runs_of_many_slots_leave_none_to_be_claimed_ahead(rig: Rig) -> None:
    node = rig.node.lead()
    node.body, node.pace_s = lambda start: RETURNED, 0.0001
    for _ in range(60):
        rig.wait_for(rig.client.submit())
    node.body = None
    stick(rig, slots=4)
    waits = rig.client.submit()
    rig.settle(1)
    assert waits not in running(node)


# ---------------------------------------------------------------- workers, drain


def test_workers_up_and_down(rig: Rig) -> None:
    node = rig.node.lead()
    rig.order(lambda now: now.scale(1, BY))
    rig.settle()
    jobs = [rig.client.submit() for _ in range(3)]
    rig.settle(3)
    assert running(node) == jobs[:1]
    rig.order(lambda now: now.scale(2, BY))
    rig.wait_for_run(jobs[1])
    rig.settle(1)
    assert running(node) == jobs[:2]
    rig.order(lambda now: now.scale(None, BY))
    rig.wait_for_run(jobs[2])
    assert [each.workers for each in node.said if isinstance(each, Scale)] == [1, 2, 4]


def test_a_drained_queue_takes_nothing_and_works_off_what_it_has(rig: Rig) -> None:
    node = rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.order(lambda now: now.drain(Order("ops", "moving")))
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    refused = rig.client.answer(rig.client.send())
    assert isinstance(refused.error, QueueFullError)
    node.do(run)
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED
    rig.settle(3)
    assert status(node).closed == "draining, by ops: moving"
    other = Node(rig.world, "b")
    node.crash()
    other.lead()
    rig.settle(3)
    assert rig.kv(KEYS.closed) is not None
    rig.order(lambda now: now.resume(ALL))
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is None)
    other.body = lambda start: RETURNED
    rig.wait_for(rig.client.submit())


# ---------------------------------------------------------------- age


def test_the_time_that_a_job_ran_is_no_age() -> None:
    rig = Rig(jobs=options(workers=1, age_step=timedelta(seconds=5)))
    node = rig.node.lead()
    low = rig.client.submit(priority=Priority.LOW)
    run = rig.wait_for_run(low)
    node.started(run)
    rig.settle(28)
    urgent = rig.client.submit(priority=Priority.CRITICAL)
    node.end(run, RunReport(RunEnd.RAISED, error=error_of("x", "")))
    run = rig.wait_for_run(urgent)
    node.started(run)
    normal = rig.client.submit()
    rig.settle(10)  # the failed one may run again by now
    node.end(run)
    rig.wait_for_run(normal)
    assert len(node.runs_of(low)) == 1


def test_age_counts_over_a_failover() -> None:
    """The rig's jobs were submitted on a day long before: they are as old as can be."""
    rig = Rig(jobs=options(workers=1))
    for _ in range(2):
        rig.client.submit(priority=Priority.HIGH)
    old = rig.client.submit(priority=Priority.LOW)
    rig.world.apply(Put(KEYSPACE.mirrored + b"x", b""))
    node = rig.node.lead()
    node.body = lambda start: RETURNED
    rig.wait_for(old)
    late = rig.client.submit(priority=Priority.HIGH)
    rig.wait_for(late)
    assert running(node).index(old) == 2


# ---------------------------------------------------------------- status


def test_the_status_tells_what_waits_and_why(rig: Rig) -> None:
    node = rig.node.lead()
    rig.order(lambda now: now.limit("role:x", 1, BY).pause("project:p", BY))
    first = rig.client.submit(role="x")
    rig.wait_for_run(first)
    for fields in ({"role": "x"}, {"project": "p", "priority": Priority.LOW}, {"slots": 9}):
        rig.client.submit(**fields)
    rig.client.submit(run_at="2999-01-01T00:00:00.000Z")
    rig.settle()
    seen = status(node)
    assert seen.counts == {"pending": 3, "scheduled": 1, "running": 1, "parked": 0}
    assert {name: each.jobs for name, each in seen.waiting.items()} == {"normal": 2, "low": 1}
    assert seen.waiting["low"].oldest_s > 0
    assert seen.held == {
        "1 jobs of role 'x' run, which is the limit": 1,
        "project 'p' is paused": 1,
        "it takes 9 slots, and there are 4": 1,
    }
    assert (seen.roles, seen.projects, seen.workers, seen.closed) == ({"x": 1}, {}, 4, "")
    told = seen.as_dict()
    assert told["limits"]["role:x"]["most"] == 1
    assert told["paused"]["project:p"]["by"] == "ops"


def test_the_places_of_coroutines_and_batches_are_not_those_of_threads(rig: Rig) -> None:
    rig.client.submit(slots=9)
    rig.client.submit(slots=70)
    rig.settle()
    coroutines, batches = Places(60), Places(64, 16)
    assert status(rig.node, coroutines).held == {"it takes 70 slots, and there are 60": 1}
    assert status(rig.node, batches).held == {"it takes 70 slots, and there are 64": 1}
    assert status(rig.node, batches).workers == 4
    rig.order(lambda now: now.scale(5, BY))
    rig.settle()
    assert status(rig.node, batches).held == {}
    assert status(rig.node, batches).workers == 5


@pytest.mark.parametrize(
    ("executor", "places"),
    [("processes", 4), ("coroutines", 100), ("threads", 64), ("auto", 100)],
)
def test_where_the_generator_is_not_known_only_what_fits_nowhere_is_told_to_be_too_large(
    executor: str, places: int
) -> None:
    rig = Rig(jobs=options(workers=4, executor=ExecutorName(executor)))
    for slots in (places, places + 1):
        rig.client.submit(slots=slots)
    rig.settle()
    node = rig.node
    seen = queue_status(node.scheduler.picture, node.options, node.host.clock.utcnow())
    assert seen.held == {f"it takes {places + 1} slots, and there are {places}": 1}
    assert seen.workers == 4


def make_suspect(rig: Rig, **fields: Any) -> str:
    """A job during which two leaders crashed: it is to run with nothing beside it, and others wait for that. Its role
    is paused."""
    suspect = rig.client.submit(role="x", **fields)
    for _ in range(2):
        rig.node.lead()
        rig.node.started(rig.wait_for_run(suspect))
        rig.node.crash()
    rig.order(lambda now: now.pause("role:x", BY))
    rig.node.lead()
    return suspect


def test_a_suspect_that_waits_for_a_stuck_run_holds_back_nobody(rig: Rig) -> None:
    suspect = make_suspect(rig, slots=4)
    stuck = stick(rig)
    rig.order(lambda now: now.resume("role:x"))
    free = rig.client.submit()
    rig.wait_for_run(free)
    assert suspect not in running(rig.node)
    rig.node.do(rig.node.run_of(free))
    rig.wait_for(free)
    rig.node.end(stuck, None)  # it stops after all
    rig.wait_for_run(suspect)


def test_a_suspect_that_fits_beside_a_stuck_run_is_run_alone(rig: Rig) -> None:
    suspect = make_suspect(rig, slots=3)
    stick(rig)
    rig.order(lambda now: now.resume("role:x"))
    rig.wait_for_run(suspect)
    late = rig.client.submit()
    rig.settle(1)
    assert late not in running(rig.node)
    rig.node.do(rig.node.run_of(suspect))
    rig.wait_for_run(late)


def test_a_suspect_of_a_paused_role_holds_back_nobody(rig: Rig) -> None:
    suspect = make_suspect(rig)
    free = rig.client.submit(role="y")
    rig.wait_for_run(free)
    assert suspect not in running(rig.node)
    rig.order(lambda now: now.resume("role:x"))
    rig.settle(1)
    assert suspect not in running(rig.node)  # not beside another
    rig.node.do(rig.node.run_of(free))
    rig.wait_for_run(suspect)


def test_runs_that_no_worker_takes_keep_their_places(rig: Rig) -> None:
    """An executor is in trouble: what it gives back is held, and must not start all at once when it is well again."""
    rig.node.lead()
    jobs = [rig.client.submit() for _ in range(20)]
    given = len(rig.node.runs)
    for _ in range(30):
        for run in rig.node.runs[-given:]:
            rig.node.end(run, None)
        rig.settle(0.1)
    held = {run.job.job_id for run in rig.node.runs}
    assert len(held) == given < len(jobs)
    slots, workers, _ = rig.node.scheduler.allocation
    assert slots <= max(workers, given)
