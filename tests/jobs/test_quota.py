"""Jobs give way before the store is full: outcomes first, then new jobs, then jobs that wait (I9, PROTOCOL A8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.rig import KEYS, RETURNED, Node, Rig, options
from slurp_leader.errors import QueueFullError, StoreUnavailableError
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.quota import (
    FILE_AT,
    PRUNE_AT,
    REFUSE_AT,
    STAND_AT,
    Fill,
    StoreLimits,
    StoreVerdict,
    fill_of,
    judge,
    kept_share,
)
from slurp_leader.jobs.records import closed_value
from slurp_leader.store import Delete, Header, Put
from slurp_leader.store.maintenance import MemberStatus, Survey
from slurp_leader.telemetry.events import LogEvent
from support.virtual import World, failed

QUOTA = 1000 * 1024
FILLER = b"/of-others/filler"


# ---------------------------------------------------------------- the decision


def member(in_use: float, file: float | None = None, *, told: int = 0, alarms: tuple[str, ...] = ()) -> MemberStatus:
    size, used = round((in_use if file is None else file) * QUOTA), round(in_use * QUOTA)
    return MemberStatus(Header(1, 1, 9, 1), "m:1", "3.5.9", size, used, told, 1, 9, False, alarms)


def verdict(in_use: float, file: float | None = None, *, before: StoreVerdict | None = None) -> StoreVerdict:
    return judge(fill_of([member(in_use, file)], StoreLimits(QUOTA)), before)


def test_below_all_limits_nothing_gives_way() -> None:
    assert verdict(0.69) == StoreVerdict(Fill(0.69, 0.69, QUOTA), refuse=False, stand=False, pressure=0)


@pytest.mark.parametrize(
    ("in_use", "refuse", "stand"),
    [(0.71, False, False), (0.849, False, False), (0.85, True, False), (0.949, True, False), (0.95, True, True)],
)
def test_what_is_in_use_decides(in_use: float, refuse: bool, stand: bool) -> None:
    now = verdict(in_use)
    assert (now.refuse, now.stand) == (refuse, stand)
    assert now.pressure > 0


def test_a_file_of_mostly_free_pages_stops_nothing_until_it_is_near_the_quota() -> None:
    assert not verdict(0.3, 0.94).refuse
    now = verdict(0.3, FILE_AT)
    assert now.refuse
    assert (now.stand, now.pressure) == (False, 0)  # pruning would not make it smaller
    assert "95%" in now.reason
    assert "30% are in use" in now.reason


def test_what_was_stopped_goes_on_only_well_below_the_limit() -> None:
    refused = verdict(REFUSE_AT)
    assert verdict(0.81, before=refused).refuse
    assert not verdict(0.81).refuse
    assert not verdict(0.79, before=refused).refuse
    stood = verdict(STAND_AT)
    assert verdict(0.91, before=stood).stand
    assert not verdict(0.89, before=stood).stand
    assert verdict(0.1, 0.92, before=refused).refuse
    assert not verdict(0.1, 0.89, before=refused).refuse


def test_the_fullest_member_decides_and_its_own_quota_counts() -> None:
    fill = fill_of([member(0.2), member(0.5, told=QUOTA // 2), member(0.3)], StoreLimits(QUOTA))
    assert (fill.in_use, fill.quota_bytes) == (1.0, QUOTA // 2)


def test_the_alarm_stops_all_whatever_the_sizes() -> None:
    now = judge(fill_of([member(0.1), member(0.1, alarms=("NOSPACE",))], StoreLimits(QUOTA)))
    assert now.refuse
    assert now.stand
    assert "NOSPACE" in now.reason


def test_completed_jobs_give_way_before_cancelled_and_failed_ones_only_when_jobs_are_refused() -> None:
    for pressure in (0.1, 0.5, 0.9, 1.0, 1.3, 2.0):
        completed, cancelled, failed_ones = kept_share(pressure)
        assert completed <= cancelled <= failed_ones
        assert (failed_ones < 1) == (pressure > 1)
    assert verdict(PRUNE_AT).pressure == pytest.approx(0)
    assert verdict(REFUSE_AT).pressure == pytest.approx(1)


# ---------------------------------------------------------------- the leader


@pytest.fixture
def rig() -> Rig:
    return Rig(World(quota_bytes=QUOTA))


def fill(rig: Rig, share: float) -> None:
    """Somebody else's data takes up the store to this share of the quota."""
    rig.world.apply(Delete(FILLER))
    rig.world.compact()
    size = int(share * QUOTA) - rig.world.state.apply(Survey()).members[0].db_size
    rig.world.apply(Put(FILLER, bytes(size - 256 - len(FILLER))))


def refusal(rig: Rig) -> QueueFullError | None:
    error = rig.client.answer(rig.client.send(run_at="2026-02-01T00:00:00Z")).error
    assert error is None or isinstance(error, QueueFullError)
    return error


def test_a_leader_closes_the_queue_and_says_how_full_the_store_is_and_opens_it_when_there_is_room(rig: Rig) -> None:
    rig.node.lead()
    rig.settle()
    assert refusal(rig) is None
    fill(rig, 0.86)
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    error = refusal(rig)
    assert error is not None
    assert "store nearly full" in str(error)
    assert "86%" in str(error)

    fill(rig, 0.82)
    rig.settle(20)
    assert rig.kv(KEYS.closed) is not None
    fill(rig, 0.5)
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is None)
    assert refusal(rig) is None
    assert len(rig.node.notes(LogEvent.QUEUE_CLOSED)) == 1


def test_jobs_that_wait_are_run_while_new_ones_are_refused(rig: Rig) -> None:
    job_id = rig.client.submit()
    fill(rig, 0.86)
    rig.node.lead().body = lambda start: RETURNED
    rig.wait_for(job_id)


def test_near_the_end_no_job_is_begun_and_then_they_go_on(rig: Rig) -> None:
    rig.node.lead()
    runs = [rig.wait_for_run(rig.client.submit()) for _ in range(2)]  # all workers are taken
    job_id = rig.client.submit()
    fill(rig, 0.96)
    rig.settle(10)  # it has seen that
    for run in runs:
        rig.node.do(run)
        rig.wait_for(run.job.job_id)
    rig.settle(10)
    assert rig.node.runs_of(job_id) == []
    rig.node.body = lambda start: RETURNED
    fill(rig, 0.5)
    rig.wait_for(job_id)


def test_a_new_leader_opens_what_is_closed_only_when_it_knows_how_full_the_store_is(rig: Rig) -> None:
    rig.world.apply(Put(KEYS.closed, closed_value("store nearly full: etcd uses 90% ...", "an earlier leader")))
    rule = rig.world.order(failed(StoreUnavailableError("down")), lambda request: isinstance(request, Survey))
    rig.node.lead()
    rig.settle(30)
    assert rule.met > 1
    assert rig.kv(KEYS.closed) is not None
    rig.world.rules.remove(rule)
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is None)


def test_a_new_leader_closes_the_queue_of_a_full_store_within_a_moment(rig: Rig) -> None:
    fill(rig, 0.9)
    rig.node.lead()
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None, 1.0)


def test_a_queue_of_too_many_jobs_is_closed_with_that_reason() -> None:
    rig = Rig(World(quota_bytes=QUOTA), jobs=options(queue_limit=3))
    rig.node.lead()
    for _ in range(3):
        rig.client.submit(run_at="2026-02-01T00:00:00Z")
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    assert "queue full: 3 jobs" in str(refusal(rig))


# ---------------------------------------------------------------- pruned early

FAILS = RunReport(RunEnd.TERMINAL, error=error_of("x", ""))


def three_outcomes(rig: Rig) -> tuple[str, str, str]:
    """A completed, a cancelled and a failed job."""
    rig.node.lead().body = lambda start: FAILS if start.job.spec.payload.get("fail") else RETURNED
    completed, to_fail = rig.client.submit(), rig.client.submit(payload={"fail": 1})
    cancelled = rig.client.submit(run_at="2026-02-01T00:00:00Z")
    rig.client.cancel(cancelled)
    for job_id in (completed, cancelled, to_fail):
        rig.wait_for(job_id)
    return completed, cancelled, to_fail


def kept(rig: Rig, jobs: tuple[str, ...]) -> list[bool]:
    return [rig.outcome(job_id) is not None for job_id in jobs]


def test_outcomes_are_pruned_early_in_their_order_the_fuller_the_store_is() -> None:
    hours = timedelta(hours=1)
    long = options(retain_completed=10 * hours, retain_cancelled=10 * hours, retain_failed=10 * hours)
    rig = Rig(World(quota_bytes=QUOTA), jobs=long)
    jobs = three_outcomes(rig)
    rig.settle(120)
    assert kept(rig, jobs) == [True, True, True]
    fill(rig, 0.78)
    rig.settle(30)
    assert kept(rig, jobs) == [False, True, True]
    fill(rig, 0.845)
    rig.settle(30)
    assert kept(rig, jobs) == [False, True, True]  # the cancelled one still has some minutes
    fill(rig, 0.86)
    rig.settle(30)
    assert kept(rig, jobs) == [False, False, True]
    fill(rig, 0.95)
    rig.settle(30)
    assert kept(rig, jobs) == [False, False, False]
    assert len(rig.node.notes(LogEvent.STORE_FILLING)) == 1


def test_whoever_waits_for_an_outcome_has_a_minute_however_full_the_store_is() -> None:
    rig = Rig(World(quota_bytes=QUOTA), jobs=options(retain_completed=timedelta(hours=1)))
    rig.node.lead().body = lambda start: RETURNED
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    fill(rig, 0.9)
    rig.settle(50)
    assert rig.outcome(job_id) is not None
    rig.world.run_until(lambda: rig.outcome(job_id) is None, 40)


def test_outcomes_shorter_kept_than_that_are_not_kept_longer_by_a_full_store() -> None:
    rig = Rig(World(quota_bytes=QUOTA), jobs=options(retain_completed=timedelta(seconds=5)))
    rig.node.lead().body = lambda start: RETURNED
    fill(rig, 0.78)
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    rig.world.run_until(lambda: rig.outcome(job_id) is None, 12)


def test_once_there_is_room_outcomes_are_kept_as_long_as_they_should_be() -> None:
    rig = Rig(World(quota_bytes=QUOTA), jobs=options(retain_completed=timedelta(hours=1)))
    rig.node.lead().body = lambda start: RETURNED
    fill(rig, 0.8)
    rig.settle(10)
    fill(rig, 0.5)
    rig.settle(10)
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    rig.settle(1800)
    assert rig.outcome(job_id) is not None


# ---------------------------------------------------------------- is anything ever compacted?


def write_much(rig: Rig, revisions: int = 10_000) -> None:
    for _ in range(revisions):
        rig.world.apply(Put(b"/of-others/counter", b""))


def test_a_leader_warns_once_when_nothing_compacts_the_store() -> None:
    rig = Rig()
    rig.node.lead()
    rig.settle(60)
    write_much(rig)
    rig.settle(3 * 3600 - 200)
    assert rig.node.notes(LogEvent.STORE_NOT_COMPACTED) == []
    rig.settle(300)
    [note] = rig.node.notes(LogEvent.STORE_NOT_COMPACTED)
    assert "--auto-compaction-retention=1h" in note.fields["warning"]
    write_much(rig)
    rig.settle(3 * 3600 + 300)
    assert len(rig.node.notes(LogEvent.STORE_NOT_COMPACTED)) == 1


def test_a_store_that_is_compacted_is_not_warned_about() -> None:
    rig = Rig()
    rig.node.lead()
    for _ in range(2):
        rig.settle(2 * 3600)
        write_much(rig)
        rig.world.compact()
    assert rig.node.notes(LogEvent.STORE_NOT_COMPACTED) == []


def test_a_store_that_is_hardly_written_is_not_warned_about() -> None:
    rig = Rig()
    rig.node.lead()
    rig.settle(3 * 3600 + 300)
    assert rig.node.notes(LogEvent.STORE_NOT_COMPACTED) == []


def test_a_term_that_was_lost_asks_no_more(rig: Rig) -> None:
    rig.node.lead()
    rig.settle()
    rig.node.lose()
    other = Node(rig.world, "b").lead()
    fill(rig, 0.9)
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    assert other.notes(LogEvent.QUEUE_CLOSED)
    assert rig.node.notes(LogEvent.QUEUE_CLOSED) == []


def test_a_member_that_says_nothing_of_its_quota_has_that_of_the_settings() -> None:
    silent = replace(member(0.5), quota_bytes=0)
    assert fill_of([silent], StoreLimits(QUOTA)).in_use == pytest.approx(0.5)
    assert fill_of([silent], StoreLimits(2 * QUOTA)).in_use == pytest.approx(0.25)
