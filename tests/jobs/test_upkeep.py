"""Records that cannot be read stop nothing (I7); old outcomes are pruned; leftovers are swept up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.rig import KEYS, RETURNED, Node, Rig, options, puts
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.records import (
    Cancel,
    Claim,
    ClaimEntry,
    JobState,
    JobStatus,
    floor_value,
    parked_value,
    read_floor,
)
from slurp_leader.store import Delete, Get, Put, Txn
from slurp_leader.telemetry.events import LogEvent
from support.virtual import answer_lost, request_lost

BROKEN = (b"", b"{", b"[]", b"\xff\xfe", b'{"schema":2}', b'{"schema":1}', b'{"schema":true}')


@pytest.fixture
def rig() -> Rig:
    return Rig()


def queue_goes_on(rig: Rig, node: Node | None = None) -> None:
    (node or rig.node).body = lambda start: RETURNED
    assert rig.wait_for(rig.client.submit()).status is JobStatus.COMPLETED


# ---------------------------------------------------------------- parked


@pytest.mark.parametrize("value", BROKEN)
@pytest.mark.parametrize("kind", ["queue", "state", "cancel", "run"])
def test_a_record_that_cannot_be_read_is_parked_noted_kept_and_stops_nothing(rig: Rig, kind: str, value: bytes) -> None:
    name = b"%016d-%08d" % (1, 1) if kind == "run" else rig.client.mint.mint().encode()
    key = KEYS.mirrored + kind.encode() + b"/" + name
    rig.node.lead()
    rig.settle()
    rig.world.apply(Put(key, value))
    queue_goes_on(rig)
    note = KEYS.parked + kind.encode() + b"/" + name
    rig.world.run_until(lambda: rig.kv(note) is not None)
    rig.settle(10)
    assert rig.kv(key) is not None
    assert len(rig.node.notes(LogEvent.RECORD_PARKED)) == 1
    assert key in rig.node.scheduler.picture.parked


def test_a_new_leader_finds_parked_records_and_goes_on(rig: Rig) -> None:
    for kind in (b"queue/", b"state/", b"cancel/"):
        rig.world.apply(Put(KEYS.mirrored + kind + rig.client.mint.mint().encode(), b"?"))
    rig.world.apply(Put(KEYS.run + b"nonsense", b"?"))
    rig.node.lead()
    queue_goes_on(rig)


@pytest.mark.parametrize("kind", [b"state/", b"cancel/", b"run/"])
def test_a_record_under_a_key_of_nobody_is_parked_and_not_deleted(rig: Rig, kind: bytes) -> None:
    values = {
        b"state/": JobState().to_value(),
        b"cancel/": Cancel(1, "", "").to_value(),
        b"run/": Claim("s", ()).to_value(),
    }
    rig.node.lead()
    rig.world.apply(Put(KEYS.mirrored + kind + b"x" * 30, values[kind]))
    rig.settle(10)
    assert rig.kv(KEYS.mirrored + kind + b"x" * 30) is not None
    queue_goes_on(rig)


def test_a_job_whose_state_cannot_be_read_is_not_run_until_it_is_repaired(rig: Rig) -> None:
    job_id = rig.client.submit()
    key = KEYS.state + job_id.encode()
    rig.world.apply(Put(key, b"?"))
    rig.node.lead()
    queue_goes_on(rig)
    assert rig.node.runs_of(job_id) == []
    rig.world.apply(Put(key, JobState(closed=4, op="x").to_value()))
    assert rig.wait_for(job_id).run == 5
    rig.world.run_until(lambda: rig.keys(KEYS.parked) == [])  # the note about it is out of date


def test_a_job_whose_state_breaks_while_it_is_in_line_is_not_claimed(rig: Rig) -> None:
    rig.node.lead()
    runs = [rig.wait_for_run(rig.client.submit()) for _ in range(2)]  # all workers are taken
    job_id = rig.client.submit()
    rig.settle()
    rig.world.apply(Put(KEYS.state + job_id.encode(), b"?"))
    rig.settle()
    for run in runs:
        rig.node.do(run)
    rig.settle(5)
    assert rig.node.runs_of(job_id) == []
    queue_goes_on(rig)


def test_a_parked_state_does_not_keep_the_jobs_of_its_claim_from_running_again(rig: Rig) -> None:
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(2)]
    entries = []
    for job_id in ids:
        kv = rig.kv(KEYS.queue + job_id.encode())
        assert kv is not None
        entries.append(ClaimEntry(job_id, kv.mod_revision, 1))
    rig.node.host.crash()
    rig.world.apply(Put(KEYS.claim(2, 77), Claim("s", tuple(entries)).to_value()))
    rig.world.apply(Put(KEYS.state + ids[0].encode(), b"?"))
    other = Node(rig.world, "b").lead()
    other.body = lambda start: RETURNED
    rig.wait_for(ids[1])
    assert other.runs_of(ids[0]) == []
    rig.world.run_until(lambda: rig.keys(KEYS.run) == [])


def test_a_forged_claim_larger_than_any_transaction_is_closed_in_parts(rig: Rig) -> None:
    ids = [rig.client.submit() for _ in range(150)]
    entries = []
    for job_id in ids:
        kv = rig.kv(KEYS.queue + job_id.encode())
        assert kv is not None
        entries.append(ClaimEntry(job_id, kv.mod_revision, 1))
    rig.world.apply(Put(KEYS.claim(1, 1), Claim("s", tuple(entries)).to_value()))
    rig.node.lead().body = lambda start: RETURNED
    for job_id in ids:
        assert rig.wait_for(job_id).interruptions == 1
    rig.world.run_until(lambda: rig.keys(KEYS.run) == [])


def test_a_state_written_by_a_stranger_under_a_running_job_costs_that_run_only(rig: Rig) -> None:
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(2)]
    runs = [rig.wait_for_run(job_id) for job_id in ids]
    rig.world.apply(Put(KEYS.state + ids[0].encode(), JobState(op="stranger").to_value()))
    for run in runs:
        rig.node.do(run)
    assert rig.wait_for(ids[1]).status is JobStatus.COMPLETED
    rig.node.do(rig.wait_for_run(ids[0], runs=2))
    assert rig.wait_for(ids[0]).status is JobStatus.COMPLETED
    assert [rig.outcomes_written(job_id) for job_id in ids] == [1, 1]


@pytest.mark.parametrize("run_at", ["zzz", "2026-01-01", "9999-99-99T00:00:00Z", "0001-01-01T00:00:00+23:59"])
def test_a_forged_date_stops_no_leader(rig: Rig, run_at: str) -> None:
    job_id = rig.client.submit()
    rig.world.apply(Put(KEYS.state + job_id.encode(), JobState(run_at=run_at, op="x").to_value()))
    rig.node.lead()
    queue_goes_on(rig)


def test_a_floor_that_cannot_be_read_is_noted_and_nothing_is_pruned_below_it() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=1)))
    rig.node.lead().body = lambda start: RETURNED
    job_id = rig.client.submit()
    rig.world.apply(Put(KEYS.floor, b"?"))
    rig.settle(30)
    assert rig.outcome(job_id) is not None
    assert rig.kv(KEYS.parked + b"control/floor") is not None
    rig.world.apply(Put(KEYS.floor, floor_value(LOWEST)))
    rig.world.run_until(lambda: rig.outcome(job_id) is None)


def test_a_note_about_a_record_that_can_be_read_is_dropped(rig: Rig) -> None:
    rig.world.apply(Put(KEYS.parked + b"queue/" + rig.client.mint.mint().encode(), parked_value("was broken")))
    rig.node.lead()
    rig.world.run_until(lambda: rig.keys(KEYS.parked) == [])


# ---------------------------------------------------------------- leftovers


def test_states_and_wishes_of_jobs_that_are_gone_are_swept_up(rig: Rig) -> None:
    job_id = rig.client.mint.mint().encode()
    rig.world.apply(Put(KEYS.state + job_id, JobState(op="x").to_value()))
    rig.world.apply(Put(KEYS.cancel + job_id, Cancel(7, "", "").to_value()))
    rig.node.lead()
    rig.world.run_until(lambda: not rig.keys(KEYS.state) and not rig.keys(KEYS.cancel))


def test_a_forged_claim_under_our_own_token_is_closed(rig: Rig) -> None:
    rig.node.lead()
    rig.settle()
    rig.world.apply(Put(KEYS.claim(rig.node.token, 999), Claim("s", ()).to_value()))
    rig.world.run_until(lambda: rig.keys(KEYS.run) == [])


# ---------------------------------------------------------------- pruning


def ended(rig: Rig, **fields: object) -> str:
    job_id = rig.client.submit(**fields)
    rig.wait_for(job_id)
    return job_id


def floor_of(rig: Rig) -> str | None:
    kv = rig.kv(KEYS.floor)
    return None if kv is None else read_floor(kv.value)


def test_outcomes_are_pruned_by_age_each_kind_by_its_own() -> None:
    seconds = timedelta(seconds=1)
    rig = Rig(jobs=options(retain_completed=10 * seconds, retain_failed=60 * seconds, retain_cancelled=30 * seconds))
    fails = RunReport(RunEnd.TERMINAL, error=error_of("x", ""))
    rig.node.lead().body = lambda start: fails if start.job.spec.payload.get("fail") else RETURNED
    completed, failed = ended(rig), ended(rig, payload={"fail": 1})
    cancelled = rig.client.submit(run_at="2026-02-01T00:00:00Z")
    rig.client.cancel(cancelled)
    rig.wait_for(cancelled)
    begin, gone = rig.world.clock.now, {}
    for job_id in (completed, cancelled, failed):
        rig.world.run_until(lambda job_id=job_id: rig.outcome(job_id) is None, 200)  # type: ignore[misc]
        gone[job_id] = rig.world.clock.now - begin
    assert 8 <= gone[completed] <= 20
    assert 25 <= gone[cancelled] <= 40
    assert 55 <= gone[failed] <= 80


def test_pruning_raises_the_floor_and_takes_the_key_along_at_one_revision() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=2)))
    rig.node.lead().body = lambda start: RETURNED
    job_id = ended(rig, key="k")
    rig.world.run_until(lambda: rig.outcome(job_id) is None)
    assert floor_of(rig) == job_id
    pruned_at = rig.history(KEYS.done + job_id.encode())[-1][0]
    assert rig.history(KEYS.floor)[-1] == (pruned_at, floor_value(job_id))
    assert rig.keys(KEYS.idem) == []


def test_a_key_that_stands_for_a_newer_job_outlives_the_older_outcome() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=5)))
    rig.node.lead().body = lambda start: RETURNED
    old = ended(rig, key="k")
    [idem] = rig.keys(KEYS.idem)
    rig.world.apply(Delete(idem))
    new = rig.client.submit(key="k", run_at="2026-02-01T00:00:00Z")
    rig.world.run_until(lambda: rig.outcome(old) is None)
    assert rig.keys(KEYS.idem) == [idem]
    again = rig.client.answer(rig.client.send(key="k", run_at="2026-02-01T00:00:00Z"))
    assert again.job_id == new


def test_what_earlier_leaders_left_is_pruned_too() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=20)))
    rig.node.lead().body = lambda start: RETURNED
    ids = [rig.client.submit() for _ in range(120)]
    for job_id in ids:
        rig.wait_for(job_id)
    rig.node.host.crash()
    Node(rig.world, "b", rig.jobs).lead()
    rig.world.run_until(lambda: rig.keys(KEYS.done) == [], 120)
    assert floor_of(rig) == max(ids)


def test_outcomes_too_large_to_be_read_together_are_pruned_all_the_same() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=5), compress_above=1024 * 1024))
    big = RunReport(RunEnd.RETURNED, result_json=b'"' + b"x" * 900_000 + b'"')
    rig.node.lead().body = lambda start: big
    for _ in range(12):
        ended(rig)
    rig.node.host.crash()
    Node(rig.world, "b", rig.jobs).lead()
    rig.world.run_until(lambda: rig.keys(KEYS.done)[:1] == [], 120)


def test_a_prune_whose_answer_is_lost_is_believed() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=2)))
    rig.node.lead().body = lambda start: RETURNED
    rig.settle()
    rule = rig.world.order(answer_lost(), puts(KEYS.floor), times=2)
    first = ended(rig)
    rig.world.run_until(lambda: rig.outcome(first) is None)
    second = ended(rig)
    rig.world.run_until(lambda: rig.outcome(second) is None)
    assert rule.met == 2
    assert floor_of(rig) == second


def test_a_purge_of_an_operator_to_the_same_floor_is_not_taken_for_an_own_prune() -> None:
    rig = Rig(jobs=options(retain_failed=timedelta(seconds=20), retain_completed=timedelta(seconds=2)))
    fails = RunReport(RunEnd.TERMINAL, error=error_of("x", ""))
    rig.node.lead().body = lambda start: fails if start.job.spec.payload.get("fail") else RETURNED
    kept, purged, newest = ended(rig, payload={"fail": 1}), ended(rig, payload={"fail": 1}), ended(rig)
    rig.world.run_until(lambda: rig.outcome(newest) is None)
    rule = rig.world.order(request_lost(), puts(KEYS.floor), times=1)
    rig.world.run_until(lambda: rule.met == 1)
    rig.world.apply(Txn(success=(Put(KEYS.floor, floor_value(newest)), Delete(KEYS.done + purged.encode()))))
    rig.world.run_until(lambda: rig.outcome(kept) is None, 60)
    assert floor_of(rig) == newest


def test_an_outcome_that_cannot_be_read_is_left_alone_and_the_others_are_pruned() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=5)))
    broken, forged = KEYS.done + rig.client.mint.mint().encode(), KEYS.done + rig.client.mint.mint().encode()
    rig.node.lead().body = lambda start: RETURNED
    job_id = ended(rig)
    kv = rig.kv(KEYS.done + job_id.encode())
    assert kv is not None
    rig.world.apply(Put(broken, b"?"))
    rig.world.apply(Put(forged, kv.value))  # of another job
    rig.node.host.crash()
    Node(rig.world, "b", rig.jobs).lead()
    rig.world.run_until(lambda: rig.outcome(job_id) is None, 60)
    rig.settle(60)
    assert sorted(rig.keys(KEYS.done)) == sorted([broken, forged])


def test_an_outcome_that_an_operator_changed_does_not_stop_the_pruning_of_others() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=10)))
    rig.node.lead().body = lambda start: RETURNED
    first, second = ended(rig), ended(rig)
    kv = rig.kv(KEYS.done + first.encode())
    assert kv is not None
    rig.world.apply(Put(kv.key, kv.value))
    rig.world.run_until(lambda: rig.outcome(first) is None and rig.outcome(second) is None, 120)


def test_the_floor_never_sinks() -> None:
    """Outcomes are pruned by age, so an older id may go after a newer one."""
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=2), retain_failed=timedelta(seconds=30)))
    fails = RunReport(RunEnd.TERMINAL, error=error_of("x", ""))
    rig.node.lead().body = lambda start: fails if start.job.spec.payload.get("fail") else RETURNED
    failed, completed = ended(rig, payload={"fail": 1}), ended(rig)
    rig.world.run_until(lambda: rig.outcome(failed) is None, 120)
    floors = [read_floor(value) for _, value in rig.history(KEYS.floor) if value is not None]
    assert floors == sorted(floors, key=str)
    assert floors[-1] == completed
    assert rig.world.apply(Get(KEYS.done, KEYS.done + b"~")).count == 0
