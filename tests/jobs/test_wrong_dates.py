"""The calendar of a leader or a submitter is an hour back, or a year ahead: dates shift by that, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.rig import KEYS, RAISED, RETURNED, Client, Node, Rig
from slurp_leader.clock import format_utc
from slurp_leader.jobs.records import JobStatus

HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
OFF = pytest.mark.parametrize("off", [-HOUR, YEAR], ids=["an hour back", "a year ahead"])


@pytest.fixture
def rig() -> Rig:
    return Rig()


@OFF
def test_what_waits_for_a_date_waits_by_the_calendar_of_the_leader(rig: Rig, off: timedelta) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.node.host.clock._date_off = off
    job_id = rig.client.submit(run_at=format_utc(rig.world.clock.utcnow() + timedelta(seconds=60)))
    rig.settle(10)
    assert (rig.outcome(job_id) is not None) == (off > timedelta(0))  # a year ahead, its time has come
    rig.wait_for(job_id, within_s=60 + HOUR.total_seconds() + 10)
    assert rig.outcomes_written(job_id) == 1


@OFF
def test_each_job_ends_once_while_dates_jump_under_leader_and_submitter(rig: Rig, off: timedelta) -> None:
    rig.node.lead().body = lambda start: RAISED if start.attempt == 1 else RETURNED
    ids = []
    for number in range(6):
        ids.append(rig.client.submit(payload={"n": number}))
        jumping = (rig.client.host, rig.node.host)[number % 2]
        jumping.clock._date_off = timedelta(0) if jumping.clock._date_off else off
        rig.settle(5)
    rig.node.host.clock._date_off = YEAR + HOUR  # a second attempt that was put off by a year has its time too
    for job_id in ids:
        rig.world.run_until(lambda job_id=job_id: rig.outcomes_written(job_id) == 1)  # type: ignore[misc]
    rig.settle(5)
    assert [rig.outcomes_written(job_id) for job_id in ids] == [1] * 6
    assert ids == sorted(ids)  # ids grow, whatever the date
    assert len(set(ids)) == 6


@OFF
def test_a_submitter_of_another_date_is_served_in_the_order_of_arrival(rig: Rig, off: timedelta) -> None:
    other = Client(rig.world, "other")
    other.host.clock._date_off = off
    ids = [client.submit() for client in (rig.client, other, rig.client, other)]
    rig.node.lead().body = lambda start: RETURNED
    for job_id in ids:
        assert rig.wait_for(job_id).status is JobStatus.COMPLETED
    assert [run.job.job_id for run in rig.node.runs] == ids


@OFF
def test_the_next_leader_of_another_date_is_fenced_off_from_nothing_and_fences_the_old_one(
    rig: Rig, off: timedelta
) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    old = rig.wait_for_run(job_id)
    other = Node(rig.world, "b")
    other.host.clock._date_off = off
    other.lead().body = lambda start: RETURNED
    rig.wait_for_run(job_id, node=other)
    rig.node.do(old)  # it does not know yet
    outcome = rig.wait_for(job_id)
    rig.settle(5)
    assert (outcome.node_id, rig.outcomes_written(job_id)) == ("b", 1)


def test_outcomes_are_kept_by_the_calendar_of_the_leader_and_a_year_ahead_they_expire_at_once(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    rig.settle(60)
    assert rig.outcome(job_id) is not None
    rig.node.host.clock._date_off = YEAR
    rig.world.run_until(lambda: rig.kv(KEYS.done + job_id.encode()) is None, within_s=120)
    later = rig.client.submit()  # and new ones are taken on, above the floor
    assert rig.wait_for(later).status is JobStatus.COMPLETED
