"""The life of a job under one leader, and across leaders (PROTOCOL B: the crash points)."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from typing import Any

import pytest

from jobs.rig import INTERRUPTED, KEYS, KEYSPACE, RAISED, RETURNED, Client, Node, Rig, deletes, options, puts
from slurp_leader.clock import format_utc
from slurp_leader.errors import RequestTooLargeError, StoreDeniedError
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.records import Claim, ClaimEntry, JobLimits, JobState, JobStatus
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.scheduler import RunProgress
from slurp_leader.store import Delete, Put, Request, Txn
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Grant
from support.virtual import answer_lost, failed, full, late, request_lost, takes_space


@pytest.fixture
def rig() -> Rig:
    return Rig()


# ---------------------------------------------------------------- the happy path


def test_a_job_is_claimed_run_and_recorded_once_and_leaves_nothing_behind(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    job_id = rig.client.submit()
    outcome = rig.wait_for(job_id)
    rig.settle(5)
    assert (outcome.status, outcome.run, outcome.attempts, outcome.result) == (JobStatus.COMPLETED, 1, 1, {"ok": True})
    assert outcome.token == rig.node.token
    for prefix in (KEYS.queue, KEYS.run, KEYS.state, KEYS.cancel, KEYS.progress):
        assert rig.keys(prefix) == []
    assert rig.outcomes_written(job_id) == 1


def test_a_body_starts_only_after_its_claim_has_committed(rig: Rig) -> None:
    rig.node.lead()
    rule = rig.world.order(request_lost(), puts(KEYS.run))
    job_id = rig.client.submit()
    rig.settle(5)
    assert rule.met > 1
    assert rig.node.runs == []
    rig.world.rules.remove(rule)
    run = rig.wait_for_run(job_id)
    [key] = rig.keys(KEYS.run)
    claim = rig.kv(key)
    assert claim is not None
    assert run.fencing_token == claim.mod_revision


def test_jobs_run_by_priority_and_then_by_arrival(rig: Rig) -> None:
    ids = [rig.client.submit(priority=p) for p in (Priority.LOW, Priority.NORMAL, Priority.CRITICAL, Priority.NORMAL)]
    rig.node.lead().body = lambda start: RETURNED
    for job_id in ids:
        rig.wait_for(job_id)
    assert [run.job.job_id for run in rig.node.runs] == [ids[2], ids[1], ids[3], ids[0]]


def test_no_more_jobs_run_at_once_than_there_are_workers(rig: Rig) -> None:
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(5)]
    rig.settle(3)
    assert len(rig.node.runs) == 2
    rig.node.do(rig.node.runs[0])
    rig.wait_for(rig.node.runs[0].job.job_id)
    rig.settle(3)
    assert len(rig.node.runs) == 3
    assert {run.job.job_id for run in rig.node.runs} <= set(ids)


def test_many_short_jobs_share_claims(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.node.pace_s = 0.0001
    for _ in range(1000):
        rig.client.send()
    rig.world.run_until(lambda: len(rig.node.ended) == 1000)
    claims = {event.kv.key for w in rig.world.log for event in w.events if event.kv.key.startswith(KEYS.run)}
    assert len(claims) < 200


# ---------------------------------------------------------------- crash points


def test_a_claim_whose_answer_is_lost_is_asked_for_again_and_the_job_starts_once(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rule = rig.world.order(answer_lost(), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    assert rule.met == 1
    assert len(rig.node.runs_of(job_id)) == 1


def test_an_outcome_whose_answer_is_lost_is_recorded_once_and_believed(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.world.order(answer_lost(), puts(KEYS.done), times=2)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: len(rig.node.ended) == 1)
    assert rig.node.ended[0].job_id == job_id
    assert rig.outcomes_written(job_id) == 1
    assert len(rig.node.runs) == 1


def test_an_outcome_that_arrives_long_after_its_caller_gave_up_changes_nothing(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.world.order(late(20.0), puts(KEYS.done), times=1)
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    rig.settle(60)
    assert rig.outcomes_written(job_id) == 1


def test_a_claim_whose_leader_died_before_the_body_began_is_closed_and_the_job_runs_again(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    first = rig.wait_for_run(job_id)
    rig.node.host.crash()
    other = Node(rig.world, "b").lead()
    second = rig.wait_for_run(job_id, node=other)
    state = rig.state(job_id)
    assert state is not None
    assert (state.closed, state.interruptions, state.crashes, state.attempts) == (1, 1, 1, 0)
    assert (second.run, second.attempt) == (2, 1)
    assert second.fencing_token > first.fencing_token
    assert rig.keys(KEYS.run) == [KEYS.claim(other.token, 1)]


def test_nothing_is_claimed_or_closed_before_the_picture_is_complete_for_the_token(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    rig.wait_for_run(job_id)
    rig.node.host.crash()
    other = Node(rig.world, "b")
    rig.settle()
    other.host.deaf = True
    other.lead()
    revision = rig.world.state.revision
    rig.settle(10)
    assert rig.world.state.revision == revision
    other.host.deaf = False
    for feed in other.host.feeds:
        feed.nudge()
    rig.wait_for_run(job_id, node=other)


def test_an_old_leader_that_wakes_up_records_nothing(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.node.host.pause()
    other = Node(rig.world, "b").lead()
    other.body = lambda start: RETURNED
    rig.wait_for(job_id)
    rig.node.host.resume()
    rig.node.end(run, RunReport(RunEnd.RETURNED, result_json=b'"stale"'))
    rig.settle(5)
    assert rig.outcomes_written(job_id) == 1
    outcome = rig.outcome(job_id)
    assert outcome is not None
    assert (outcome.token, outcome.result, outcome.run) == (other.token, {"ok": True}, 2)


def test_a_leader_that_finds_itself_fenced_stops_its_runs_before_it_is_told(rig: Rig) -> None:
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(2)]
    runs = [rig.wait_for_run(job_id) for job_id in ids]
    Node(rig.world, "b").lead()
    rig.node.end(runs[0])
    rig.settle(3)
    assert "term_lost" in rig.node.stops_of(runs[1])


def test_an_outcome_committed_before_the_takeover_scan_is_not_counted_as_interrupted(rig: Rig) -> None:
    rig.node.lead()
    rig.world.order(request_lost(), deletes(KEYS.run))  # the claim record outlives its job
    job_id = rig.client.submit()
    rig.node.do(rig.wait_for_run(job_id))
    rig.wait_for(job_id)
    rig.node.host.crash()
    rig.world.rules.clear()
    other = Node(rig.world, "b").lead()
    rig.world.run_until(lambda: rig.keys(KEYS.run) == [])
    assert rig.state(job_id) is None
    assert other.runs == []
    assert rig.outcomes_written(job_id) == 1


def test_closing_an_orphaned_claim_counts_once_whatever_is_repeated(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    rig.wait_for_run(job_id)
    rig.node.host.crash()
    rig.world.order(answer_lost(), deletes(KEYS.run), times=3)
    other = Node(rig.world, "b").lead()
    rig.wait_for_run(job_id, node=other)
    state = rig.state(job_id)
    assert state is not None
    assert (state.interruptions, state.closed) == (1, 1)


def test_an_answer_to_a_call_of_an_old_term_settles_nothing_in_the_next(rig: Rig) -> None:
    """A29: both terms number their calls; a late answer must not fit."""
    rig.node.lead()
    job_id = rig.client.submit()
    rig.world.order(late(0.5), puts(KEYS.run), times=1)
    rig.world.order(request_lost(), puts(KEYS.run))
    rig.settle(0.1)  # the claim of the first term is on its way
    rig.node.lose()
    rig.node.lead()
    rig.settle(0.9)  # its answer would come now; the second term's claim is lost
    assert rig.node.runs_of(job_id) == []
    rig.world.rules.clear()
    assert rig.wait_for_run(job_id).term.token == rig.node.token


def test_a_grant_of_an_older_term_keeps_its_claims_open(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    rig.wait_for_run(job_id)
    grant = KEYS.grant + b"%d" % rig.node.token
    rig.world.apply(Put(KEYSPACE.mirrored + b"nodes/a/session", b"{}"))
    rig.world.apply(Put(grant, Grant("session", "a", "nonce", 60.0).to_value()))
    rig.node.host.crash()
    other = Node(rig.world, "b").lead()
    rig.settle(10)
    assert other.runs == []
    rig.world.apply(Delete(grant))
    rig.wait_for_run(job_id, node=other)


def test_a_late_copy_of_a_claim_is_swept_up(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.world.order(late(3.0), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    rig.settle(10)
    claims = [value for _, value in rig.history(KEYS.claim(rig.node.token, 1)) if value is not None]
    assert len(claims) == 2  # it did come back
    assert rig.keys(KEYS.run) == []
    assert rig.outcomes_written(job_id) == 1


# ---------------------------------------------------------------- trying again


def test_a_failed_attempt_is_tried_again_after_a_growing_wait(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RAISED if start.attempt < 3 else RETURNED
    job_id = rig.client.submit()
    at = []
    for attempt in (1, 2, 3):
        rig.wait_for_run(job_id, runs=attempt)
        at.append(rig.world.clock.now)
    outcome = rig.wait_for(job_id)
    assert [round(b - a) for a, b in itertools.pairwise(at)] == [1, 2]
    assert (outcome.status, outcome.attempts, len(outcome.errors)) == (JobStatus.COMPLETED, 3, 2)
    assert rig.keys(KEYS.state) == []


def test_a_job_out_of_attempts_ends_failed_and_keeps_its_request(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RAISED
    job_id = rig.client.submit(payload={"file": "a.py"})
    outcome = rig.wait_for(job_id)
    assert (outcome.status, outcome.attempts) == (JobStatus.FAILED, 3)
    assert outcome.error == {"code": "error", "message": "boom"}
    assert outcome.spec is not None
    assert outcome.spec["request"] == {"file": "a.py"}


def test_what_a_later_version_wrote_into_spec_and_state_is_kept_by_who_writes_the_next_state(rig: Rig) -> None:
    """A retry, an interruption by a crash, and the outcome that keeps the request."""
    job_id = rig.client.mint.mint()
    later = {"zz_new": {"of": ["a", "later", "version"]}}
    for prefix, record in (
        (KEYS.queue, rig.client.spec(job_id=job_id)),
        (KEYS.state, JobState(closed=1, attempts=1, op="x")),
    ):
        value = json.dumps({**json.loads(record.to_value()), **later}).encode()
        rig.world.apply(Put(prefix + job_id.encode(), value))
    rig.node.lead().body = lambda start: RAISED
    rig.wait_for_run(job_id)
    rig.world.run_until(lambda: rig.state(job_id).attempts == 2)
    rig.node.body = lambda start: None
    rig.wait_for_run(job_id, runs=2)
    rig.node.crash()
    other = Node(rig.world, "b").lead()
    rig.world.run_until(lambda: rig.state(job_id).crashes == 1)
    written = [json.loads(value) for _, value in rig.history(KEYS.state + job_id.encode()) if value is not None]
    assert [(state["attempts"], state["crashes"], state["zz_new"]) for state in written] == [
        (1, 0, later["zz_new"]),
        (2, 0, later["zz_new"]),
        (2, 1, later["zz_new"]),
    ]
    other.body = lambda start: RAISED
    outcome = rig.wait_for(job_id)
    assert outcome.status is JobStatus.FAILED
    assert outcome.spec is not None
    assert outcome.spec["zz_new"] == later["zz_new"]


def test_a_terminal_error_is_not_tried_again(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RunReport(RunEnd.TERMINAL, error=error_of("missing", "no such file"))
    job_id = rig.client.submit()
    assert rig.wait_for(job_id).attempts == 1
    assert len(rig.node.runs) == 1


def test_the_wait_for_the_next_attempt_survives_a_change_of_leader(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RunReport(RunEnd.RAISED, error=error_of("busy", ""), retry_after_s=30)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: rig.state(job_id) is not None)
    failed_at = rig.world.clock.now
    rig.node.host.crash()
    other = Node(rig.world, "b").lead()
    rig.settle(5)
    assert other.runs == []
    run = rig.wait_for_run(job_id, node=other)
    assert rig.world.clock.now - failed_at == pytest.approx(30, abs=1)
    assert (run.run, run.attempt) == (2, 2)


def test_a_wait_without_end_asked_for_by_a_generator_does_no_harm(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RunReport(RunEnd.RAISED, retry_after_s=float("inf"))
    job_id = rig.client.submit()
    rig.world.run_until(lambda: rig.state(job_id) is not None)
    rig.node.body = lambda start: RETURNED
    rig.wait_for(rig.client.submit())


def test_a_job_with_a_date_waits_for_it(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    begin = rig.world.clock.now
    job_id = rig.client.submit(run_at=format_utc(rig.world.clock.utcnow() + timedelta(seconds=90)))
    rig.wait_for(job_id, within_s=200)
    assert rig.world.clock.now - begin == pytest.approx(90, abs=0.5)


def test_a_run_that_takes_too_long_is_told_to_stop_and_counts_as_an_attempt(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit(limits=JobLimits(timeout_s=5, max_attempts=1))
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.settle(4.5)
    assert rig.node.stops_of(run) == []
    rig.settle(1)
    assert rig.node.stops_of(run) == ["timeout"]
    rig.node.end(run, INTERRUPTED)
    outcome = rig.wait_for(job_id)
    assert (outcome.status, outcome.attempts) == (JobStatus.FAILED, 1)
    assert outcome.error is not None
    assert outcome.error["code"] == "timeout"


def test_a_run_that_ignores_the_word_to_stop_is_ended_without_it_and_keeps_its_worker(rig: Rig) -> None:
    rig.node.lead()
    stuck_id = rig.client.submit(limits=JobLimits(timeout_s=5, max_attempts=1))
    stuck = rig.wait_for_run(stuck_id)
    rig.node.started(stuck)
    assert rig.wait_for(stuck_id).status is JobStatus.FAILED
    assert len(rig.node.notes(LogEvent.JOB_STUCK)) == 1
    others = [rig.client.submit() for _ in range(2)]
    rig.settle(3)
    assert len(rig.node.runs) == 2  # one of two workers is still taken
    rig.node.end(stuck)
    rig.settle(3)
    assert len(rig.node.runs) == 3
    assert {run.job.job_id for run in rig.node.runs[1:]} == set(others)
    assert rig.outcomes_written(stuck_id) == 1


def test_a_result_that_came_in_just_as_the_time_was_up_counts(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit(limits=JobLimits(timeout_s=5, max_attempts=1))
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    rig.settle(5.5)
    rig.node.end(run)
    assert rig.wait_for(job_id).status is JobStatus.COMPLETED


# ---------------------------------------------------------------- progress


def test_progress_is_written_once_a_second_and_gone_with_the_job(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.started(run)
    for _ in range(10):
        rig.node.seat.post(RunProgress(run.run_id, 0.5, "half"))
        rig.settle(0.2)
    assert 2 <= len(rig.history(KEYS.progress + job_id.encode())) <= 3
    rig.node.end(run)
    rig.wait_for(job_id)
    assert rig.keys(KEYS.progress) == []


def test_progress_told_just_before_the_end_harms_no_outcome(rig: Rig) -> None:
    """Both write the progress key: in one transaction etcd would refuse everything in it."""
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(2)]
    runs = [rig.wait_for_run(job_id) for job_id in ids]
    rule = rig.world.order(late(0.05), puts(KEYSPACE_M), times=1)  # something is under way, so the rest gathers
    rig.node.started(runs[0])
    rig.node.seat.post(RunProgress(runs[1].run_id, 0.1, ""))
    rig.node.seat.post(RunProgress(runs[0].run_id, 0.9, ""))
    for run in runs:
        rig.node.end(run)
    for job_id in ids:
        assert rig.wait_for(job_id).status is JobStatus.COMPLETED
    rig.settle(5)
    assert rule.met <= 1
    assert rig.node.notes(LogEvent.COMMIT_REFUSED) == []
    assert rig.keys(KEYS.progress) == []


def test_progress_of_an_earlier_run_is_gone_with_the_job_too(rig: Rig) -> None:
    rig.node.lead()
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    rig.node.seat.post(RunProgress(run.run_id, 0.5, "half"))
    rig.world.run_until(lambda: rig.keys(KEYS.progress) != [])
    rig.node.host.crash()
    other = Node(rig.world, "b").lead()
    other.body = lambda start: RETURNED
    rig.wait_for(job_id)
    assert rig.keys(KEYS.progress) == []


KEYSPACE_M = KEYS.mirrored


# ---------------------------------------------------------------- what the store does


def test_while_the_store_is_full_results_are_held_and_committed_later(rig: Rig) -> None:
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(2)]
    runs = [rig.wait_for_run(job_id) for job_id in ids]
    rule = rig.world.order(full(), takes_space)
    rig.node.pause()
    for run in runs:
        rig.node.do(run)
    rig.settle(60)
    assert rule.met > 10
    assert rig.outcome(ids[0]) is None
    rig.world.rules.remove(rule)
    rig.node.resume()
    for job_id in ids:
        assert rig.wait_for(job_id).run == 1
    assert len(rig.node.runs) == 2


def test_a_refusal_that_was_written_all_the_same_is_believed(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.world.order(full(written=True), puts(KEYS.done), times=1)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: len(rig.node.ended) == 1)
    assert rig.outcomes_written(job_id) == 1


def test_a_store_that_denies_the_outcome_is_asked_again_and_the_body_is_not(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rule = rig.world.order(failed(StoreDeniedError()), puts(KEYS.done))
    job_id = rig.client.submit()
    rig.settle(30)
    rig.world.rules.remove(rule)
    rig.wait_for(job_id)
    assert len(rig.node.runs) == 1


def test_a_compacted_watch_is_followed_by_a_snapshot_and_nothing_is_lost(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    done = rig.client.submit()
    rig.wait_for(done)
    rig.node.host.deaf = True
    job_id = rig.client.submit()
    rig.world.compact()
    rig.node.host.deaf = False
    for feed in rig.node.host.feeds:
        feed.nudge()
    rig.wait_for(job_id)
    assert len(rig.node.runs_of(done)) == 1


def test_an_outcome_too_large_to_keep_ends_the_job_failed(rig: Rig) -> None:
    small = Rig(jobs=options(result_limit=2048, compress_above=1024 * 1024))
    small.node.lead().body = lambda start: RunReport(RunEnd.RETURNED, result_json=b'"' + b"x" * 4000 + b'"')
    outcome = small.wait_for(small.client.submit())
    assert outcome.status is JobStatus.FAILED
    assert outcome.error is not None
    assert outcome.error["code"] == "result_too_large"
    assert outcome.result_json is None


def test_an_outcome_that_etcd_refuses_for_its_size_ends_the_job_failed(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.world.order(failed(RequestTooLargeError()), puts(KEYS.done), times=1)
    outcome = rig.wait_for(rig.client.submit())
    assert outcome.error is not None
    assert outcome.error["code"] == "result_too_large"


def test_an_outcome_that_etcd_refuses_even_without_a_result_is_recorded_bare(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RunReport(RunEnd.TERMINAL, error=error_of("gone", "no such file"))
    rig.world.order(failed(RequestTooLargeError()), puts(KEYS.done), times=1)
    outcome = rig.wait_for(rig.client.submit())
    assert outcome.error == {"code": "gone", "message": "no such file"}
    assert (outcome.spec, outcome.errors) == (None, ())
    assert len(rig.node.runs) == 1


def test_a_claim_too_large_to_be_closed_at_once_is_closed_in_parts(rig: Rig) -> None:
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(2)]
    for job_id in ids:
        rig.wait_for_run(job_id)
    entries = tuple(ClaimEntry(run.job.job_id, run.job.revision, 1) for run in rig.node.runs)
    rig.node.host.crash()
    for key in rig.keys(KEYS.run):
        rig.world.apply(Delete(key))
    rig.world.apply(Put(KEYS.claim(2, 50), Claim("s", entries).to_value()))

    def both(request: Request[Any]) -> bool:
        return (
            isinstance(request, Txn)
            and sum(isinstance(step, Put) and step.key.startswith(KEYS.state) for step in request.success) > 1
        )

    rule = rig.world.order(failed(RequestTooLargeError()), both)
    other = Node(rig.world, "b").lead()
    other.body = lambda start: RETURNED
    assert [rig.wait_for(job_id).interruptions for job_id in ids] == [1, 1]
    assert rule.met == 1


def test_results_are_compressed_above_the_set_size() -> None:
    rig = Rig(jobs=options(compress_above=1000))
    rig.node.lead().body = lambda start: RunReport(RunEnd.RETURNED, result_json=b'"' + b"x" * 5000 + b'"')
    job_id = rig.client.submit()
    assert rig.wait_for(job_id).result == "x" * 5000
    kv = rig.kv(KEYS.done + job_id.encode())
    assert kv is not None
    assert b'"result_zlib"' in kv.value
    assert len(kv.value) < 1000


def test_the_queue_record_goes_and_the_outcome_comes_at_one_revision(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    [(revision, _)] = rig.history(KEYS.done + job_id.encode())
    assert rig.history(KEYS.queue + job_id.encode())[-1] == (revision, None)


def test_two_clients_share_the_queue(rig: Rig) -> None:
    second = Client(rig.world, "second")
    rig.node.lead().body = lambda start: RETURNED
    outcomes = [rig.wait_for(job_id) for job_id in (rig.client.submit(), second.submit())]
    assert [outcome.status for outcome in outcomes] == [JobStatus.COMPLETED] * 2
    assert len(rig.history(KEYS.floor)) == 1
