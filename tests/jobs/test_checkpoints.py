"""Checkpoints and extensions, in a virtual world: what is written when, what survives, and what comes too late."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from jobs.rig import INTERRUPTED, KEYS, LIMITS, RAISED, RETURNED, Node, Rig, deletes, puts
from slurp_leader.jobs import intents, pruner
from slurp_leader.jobs.checkpoints import pause_s
from slurp_leader.jobs.decisions import RunEnd, RunReport
from slurp_leader.jobs.intent import Settlement
from slurp_leader.jobs.messages import RunCheckpoint, RunExtended, StartRun
from slurp_leader.jobs.picture import StateView
from slurp_leader.jobs.records import JobStatus, checkpoint_value, read_checkpoint
from slurp_leader.store import Get, Put, Request, Txn
from slurp_leader.telemetry.events import LogEvent
from support.virtual import Fate, Host, Rule, connection_refused, fine, late


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.node.lead()
    return rig


def note(node: Node, run: StartRun, data: Any) -> None:
    node.seat.post(RunCheckpoint(run.run_id, to_json(data)))


def key_of(job_id: str) -> bytes:
    return KEYS.checkpoint + job_id.encode()


def kept(rig: Rig, job_id: str) -> Any:
    kv = rig.kv(key_of(job_id))
    return None if kv is None else from_json(read_checkpoint(kv.key, kv.value))


def begun(rig: Rig, job_id: str, node: Node | None = None, runs: int = 1) -> StartRun:
    run = rig.wait_for_run(job_id, runs, node)
    (node or rig.node).started(run)
    return run


# ---------------------------------------------------------------- written


def test_a_checkpoint_is_written_at_once_and_the_newest_of_more_a_second_later(rig: Rig) -> None:
    job_id = rig.client.submit()
    run = begun(rig, job_id)
    note(rig.node, run, 1)
    rig.settle(0.1)
    assert kept(rig, job_id) == 1
    for number in range(2, 50):
        note(rig.node, run, number)
    rig.settle(0.1)
    assert kept(rig, job_id) == 1
    rig.settle(1.0)
    assert kept(rig, job_id) == 49
    assert len(rig.history(key_of(job_id))) == 2


def test_the_larger_the_rarer() -> None:
    assert pause_s(10) == pause_s(16 * 1024) == 1.0
    assert pause_s(64 * 1024) == 4.0


def test_it_goes_with_the_outcome(rig: Rig) -> None:
    job_id = rig.client.submit()
    run = begun(rig, job_id)
    note(rig.node, run, 1)
    rig.settle()
    note(rig.node, run, 2)  # waits, and has nobody to find it
    rig.node.end(run)
    rig.wait_for(job_id)
    rig.settle(2.0)
    assert rig.kv(key_of(job_id)) is None


# ---------------------------------------------------------------- left behind


def leave_behind(rig: Rig, job_id: str) -> bytes:
    """As an older version, which does not know of checkpoints, leaves it with the outcome that it writes."""
    key = key_of(job_id)
    rig.world.apply(Put(key, checkpoint_value(1, b"1")))
    return key


def test_one_whose_job_has_ended_or_is_gone_is_swept_up(rig: Rig) -> None:
    rig.node.body = lambda start: RETURNED
    ended = rig.client.submit()
    rig.wait_for(ended)
    for job_id in (ended, rig.client.mint.mint()):
        leave_behind(rig, job_id)
    rig.world.run_until(lambda: rig.keys(KEYS.checkpoint) == [], 120)
    assert rig.outcome(ended) is not None


def test_those_of_jobs_that_wait_run_or_cannot_be_read_stay_and_so_do_keys_of_nobody(rig: Rig) -> None:
    running = begun(rig, rig.client.submit(limits=replace(LIMITS, timeout_s=3600.0))).job.job_id
    waiting = rig.client.submit(run_at=rig.date(3600))
    parked = rig.client.mint.mint()
    rig.world.apply(Put(KEYS.queue + parked.encode(), b"?"))
    stay = sorted(leave_behind(rig, job_id) for job_id in (running, waiting, parked, "x"))
    gone = leave_behind(rig, rig.client.mint.mint())
    rig.world.run_until(lambda: gone not in rig.keys(KEYS.checkpoint), 120)
    rig.settle(120)
    assert rig.keys(KEYS.checkpoint) == stay


def test_more_than_one_page_of_them_is_swept_up_while_others_stay(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner, "_CHECKPOINTS", 7)
    waiting = [leave_behind(rig, rig.client.submit(run_at=rig.date(36_000))) for _ in range(20)]
    for _ in range(20):
        leave_behind(rig, rig.client.mint.mint())
    rig.world.run_until(lambda: rig.keys(KEYS.checkpoint) == waiting, 600)


def test_that_of_a_job_that_is_there_again_is_not_swept_up(rig: Rig) -> None:
    """Between the look and the transaction an operator had it tried again."""
    job_id = rig.client.mint.mint()
    key = leave_behind(rig, job_id)
    rule = rig.world.order(late(1.0), deletes(KEYS.checkpoint), times=1)
    rig.world.run_until(lambda: rule.met == 1, 120)
    spec = rig.client.spec(job_id=job_id, run_at=rig.date(3600))
    rig.world.apply(Put(KEYS.queue + job_id.encode(), spec.to_value()))
    rig.settle(60)
    assert rig.keys(KEYS.checkpoint) == [key]
    assert deletes_of(rig, key) == 0


def deletes_of(rig: Rig, key: bytes) -> int:
    return sum(value is None for _, value in rig.history(key))


# ---------------------------------------------------------------- found again


@pytest.mark.parametrize("report", [RAISED, INTERRUPTED, RunReport(RunEnd.TIMED_OUT)])
def test_the_next_run_finds_the_newest_even_if_it_had_not_been_written(rig: Rig, report: RunReport) -> None:
    job_id = rig.client.submit()
    run = begun(rig, job_id)
    assert run.restored is None
    note(rig.node, run, {"at": 1})
    rig.settle()
    note(rig.node, run, {"at": 2})
    rig.node.end(run, report)
    assert begun(rig, job_id, runs=2).restored == b'{"at":2}'


def test_it_outlives_the_leader(rig: Rig) -> None:
    job_id = rig.client.submit()
    run = begun(rig, job_id)
    note(rig.node, run, [1, 2])
    rig.settle()
    other = Node(rig.world, "b")
    rig.node.crash()
    other.lead()
    again = begun(rig, job_id, other)
    assert again.run == 2
    assert again.restored == b"[1,2]"


def test_it_outlives_attempts_that_leave_none(rig: Rig) -> None:
    job_id = rig.client.submit()
    note(rig.node, begun(rig, job_id), 1)
    rig.node.end(rig.node.run_of(job_id), RAISED)
    rig.node.end(begun(rig, job_id, runs=2), RAISED)
    assert begun(rig, job_id, runs=3).restored == b"1"


def test_it_does_not_move_what_the_end_of_the_run_compares(rig: Rig) -> None:
    job_id = rig.client.submit()
    run = begun(rig, job_id)
    for number in range(5):
        note(rig.node, run, number)
        rig.settle(1.1)
    rig.node.end(run)
    assert rig.wait_for(job_id).run == 1
    assert rig.outcomes_written(job_id) == 1


def test_a_first_run_costs_no_read(rig: Rig) -> None:
    asked: list[Request[Any]] = []

    def note_down(host: Host, request: Request[Any]) -> Fate:
        asked.append(request)
        return fine()

    rig.world.choose_fate = note_down
    job_id = rig.client.submit()
    rig.node.end(begun(rig, job_id), RAISED)
    assert Get(key_of(job_id)) not in asked
    rig.wait_for_run(job_id, 2)
    assert asked.count(Get(key_of(job_id))) == 1


# ---------------------------------------------------------------- too late


def test_that_of_an_old_run_comes_too_late(rig: Rig) -> None:
    """A body that was told to stop, whose end was recorded without it, goes on telling."""
    job_id = rig.client.submit(limits=replace(LIMITS, timeout_s=1))
    old = begun(rig, job_id)
    note(rig.node, old, "old")
    new = rig.wait_for_run(job_id, 2)  # out of time, and not back in time
    rig.node.started(new)
    note(rig.node, new, "new")
    rig.settle()
    note(rig.node, old, "older")
    rig.settle(5.0)
    assert kept(rig, job_id) == "new"


def test_a_late_write_of_an_old_run_is_refused_by_what_it_compares(rig: Rig) -> None:
    job_id = rig.client.submit()
    old = begun(rig, job_id)
    after_all = intents.checkpoint(KEYS, old.job, StateView(), checkpoint_value(old.run, b"1"), _unheard)
    rig.node.end(old, RAISED)
    rig.wait_for_run(job_id, 2)
    assert not rig.world.apply(Txn(after_all.compares, after_all.operations)).succeeded


def test_a_late_write_of_an_old_leader_is_refused(rig: Rig) -> None:
    job_id = rig.client.submit()
    old = begun(rig, job_id)
    rig.settle()
    rig.world.rules.append(Rule(late(3.0), puts(KEYS.checkpoint), rig.node.host))
    note(rig.node, old, "old")
    other = Node(rig.world, "b").lead()
    new = begun(rig, job_id, other)
    note(other, new, "new")
    rig.settle(10.0)
    assert kept(rig, job_id) == "new"


def test_one_that_cannot_be_read_is_reported_and_the_job_begins_anew(rig: Rig) -> None:
    job_id = rig.client.submit()
    rig.node.end(begun(rig, job_id), RAISED)
    rig.world.apply(Put(key_of(job_id), b'{"schema": 99}'))
    assert begun(rig, job_id, runs=2).restored is None
    assert len(rig.node.notes(LogEvent.CHECKPOINT_UNREADABLE)) == 1


def test_what_stands_in_a_record_is_what_is_read() -> None:
    assert from_json(read_checkpoint(b"k", checkpoint_value(3, b'{"a":[1,null]}'))) == {"a": [1, None]}


# ---------------------------------------------------------------- more time


def test_a_run_that_extends_itself_is_told_to_stop_that_much_later(rig: Rig) -> None:
    job_id = rig.client.submit()  # 30 s
    run = begun(rig, job_id)
    rig.settle(20)
    rig.node.seat.post(RunExtended(run.run_id, 25.0))
    rig.settle(30)
    assert rig.node.stops_of(run) == []
    rig.settle(6)
    assert rig.node.stops_of(run) == ["timeout"]
    rig.node.end(run, INTERRUPTED)
    rig.settle()
    state = rig.state(job_id)
    assert state is not None
    assert "longer than 55 s" in state.errors[0]["message"]


def test_an_extension_after_the_word_to_stop_changes_nothing(rig: Rig) -> None:
    job_id = rig.client.submit()
    run = begun(rig, job_id)
    rig.settle(30.5)
    assert rig.node.stops_of(run) == ["timeout"]
    rig.node.seat.post(RunExtended(run.run_id, 60.0))
    rig.settle(5.5)
    assert len(rig.node.notes(LogEvent.JOB_STUCK)) == 1


def test_the_next_attempt_has_the_time_of_the_job_again(rig: Rig) -> None:
    job_id = rig.client.submit()
    run = begun(rig, job_id)
    rig.node.seat.post(RunExtended(run.run_id, 60.0))
    rig.node.end(run, RAISED)
    again = begun(rig, job_id, runs=2)
    rig.settle(31)
    assert rig.node.stops_of(again) == ["timeout"]


def test_a_handover_waits_for_what_has_extended_itself(rig: Rig) -> None:
    run = begun(rig, rig.client.submit())
    rig.node.seat.post(RunExtended(run.run_id, 100.0))
    rig.settle()
    leading = rig.node.scheduler.leading
    assert leading is not None
    assert leading.longest_timeout_s == 130.0


# ---------------------------------------------------------------- what is stuck


def stuck(rig: Rig) -> int:
    return rig.node.scheduler.stuck(rig.node.host.clock.boottime())


def test_a_run_that_does_not_stop_is_counted_until_it_comes_back(rig: Rig) -> None:
    run = begun(rig, rig.client.submit(limits=replace(LIMITS, timeout_s=1, max_attempts=1)))
    rig.settle(2)
    assert stuck(rig) == 0  # it may take its time
    rig.settle(5)
    assert stuck(rig) == 1
    rig.node.end(run, RETURNED)
    rig.settle()
    assert stuck(rig) == 0


def test_a_run_of_a_lost_term_is_counted_too(rig: Rig) -> None:
    run = begun(rig, rig.client.submit())
    rig.node.lose()
    rig.settle(6)
    assert stuck(rig) == 1
    rig.node.end(run, INTERRUPTED)
    rig.settle()
    assert stuck(rig) == 0


def test_places_of_stuck_runs_are_given_to_nobody(rig: Rig) -> None:
    limits = replace(LIMITS, timeout_s=1, max_attempts=1)
    stuck = [rig.client.submit(limits=limits) for _ in range(rig.node.options.workers)]
    for job_id in stuck:
        begun(rig, job_id)
    rig.settle(10)
    waiting = rig.client.submit()
    rig.settle(10)
    assert rig.node.runs_of(waiting) == []
    rig.node.end(rig.node.run_of(stuck[0]), INTERRUPTED)
    rig.wait_for_run(waiting)


def test_a_read_that_fails_holds_the_run_and_its_place_until_it_succeeds(rig: Rig) -> None:
    job_id = rig.client.submit()
    note(rig.node, begun(rig, job_id), 1)
    rig.node.end(rig.node.run_of(job_id), RAISED)
    fault = Rule(connection_refused(), lambda request: request == Get(key_of(job_id)), rig.node.host)
    rig.world.rules.append(fault)
    rig.world.run_until(lambda: fault.met > 0)
    others = [rig.client.submit() for _ in range(5)]
    rig.settle(5.0)
    assert fault.met > 1
    assert len(rig.node.runs_of(job_id)) == 1
    assert sum(len(rig.node.runs_of(other)) for other in others) == rig.node.options.workers - 1
    rig.world.rules.remove(fault)
    assert begun(rig, job_id, runs=2).restored == b"1"


def test_a_run_that_ends_while_it_is_prepared_gives_its_place_back(rig: Rig) -> None:
    job_id = rig.client.submit()
    rig.node.end(begun(rig, job_id), RAISED)
    fault = Rule(connection_refused(), lambda request: request == Get(key_of(job_id)), rig.node.host)
    rig.world.rules.append(fault)
    rig.world.run_until(lambda: fault.met > 0)
    rig.client.cancel(job_id)
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED
    others = [rig.client.submit() for _ in range(rig.node.options.workers)]
    for other in others:
        rig.wait_for_run(other)  # all places are free


def test_a_run_that_is_prepared_when_its_term_is_lost_gives_its_place_back(rig: Rig) -> None:
    job_ids = [rig.client.submit() for _ in range(rig.node.options.workers)]
    for job_id in job_ids:
        rig.node.end(begun(rig, job_id), RAISED)
    fault = Rule(connection_refused(), lambda request: request in [Get(key_of(job_id)) for job_id in job_ids])
    rig.world.rules.append(fault)
    rig.world.run_until(lambda: fault.met >= len(job_ids))
    rig.node.lose()
    rig.world.rules.remove(fault)
    rig.node.lead()
    for job_id in job_ids:
        rig.wait_for_run(job_id, 2)


def _unheard(settlement: Settlement, now: float) -> None:
    """Nobody asks."""
