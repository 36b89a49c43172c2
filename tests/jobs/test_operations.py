"""What operators do, on every store: by id and by filter, each answered on its own; and records nobody can read."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from jobs.threaded import CLOCK, OPTIONS, Cluster, Gate
from slurp_leader.errors import (
    JobFailedError,
    JobNotFoundError,
    JobParkedError,
    RecordError,
    RequestInvalidError,
    ResultExpiredError,
    TerminalError,
)
from slurp_leader.jobs.changes import CancelAnswer, RetryAnswer
from slurp_leader.jobs.client import JobClient
from slurp_leader.jobs.handle import JobHandle
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.job_filter import JobFilter
from slurp_leader.jobs.new_job import NewJob, OnDuplicate
from slurp_leader.jobs.operations import PurgeAnswer, expired_of
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.parked import ReleaseAnswer
from slurp_leader.jobs.records import JobStatus, Spec, floor_value, read_floor
from slurp_leader.jobs.runner import JobContext
from slurp_leader.store import Get, Put, Store
from support.calls import PATIENCE_S, do

LATER = CLOCK.utcnow() + timedelta(days=1)


@pytest.fixture
def cluster(store: Store) -> Iterator[Cluster]:
    changes = {**OPTIONS.model_dump(), "submit_timeout": timedelta(seconds=PATIENCE_S)}
    with Cluster(store, JobsOptions(**changes)) as cluster:
        yield cluster


def body(spec: Spec, job: JobContext) -> Any:
    if "fails" in spec.payload:
        raise TerminalError("boom", code=spec.payload["fails"])
    return spec.payload


def submitted(client: JobClient, count: int, **fields: Any) -> list[JobHandle[Any]]:
    later = fields.pop("run_at", None)
    answers = client.submit_many([NewJob({"n": n, **fields}, run_at=later) for n in range(count)])
    assert not [each for each in answers if isinstance(each, Exception)]
    return answers  # type: ignore[return-value]


def all_failed(client: JobClient, count: int, code: str = "broken", **fields: Any) -> list[str]:
    handles = submitted(client, count, fails=code, **fields)
    for handle in handles:
        assert handle.outcome(PATIENCE_S).status is JobStatus.FAILED
    return [handle.id for handle in handles]


def wanted(**conditions: Any) -> JobFilter:
    return JobFilter.of(CLOCK.utcnow(), **conditions)


# ---------------------------------------------------------------- cancel


def test_a_cancel_that_waits_tells_that_the_leader_has_ended_the_job(cluster: Cluster) -> None:
    cluster.engine(body)
    client = cluster.client()
    [handle] = submitted(client, 1, run_at=LATER)
    assert handle.cancel("enough", wait=PATIENCE_S) is CancelAnswer.CANCELLED
    assert handle.cancel("enough", wait=PATIENCE_S) is CancelAnswer.ALREADY_DONE


def test_a_cancel_that_waits_in_vain_has_been_asked_for(cluster: Cluster) -> None:
    [handle] = submitted(cluster.client(), 1)
    assert handle.cancel(wait=0.05) is CancelAnswer.REQUESTED  # nobody leads


def test_jobs_are_cancelled_by_filter_whether_they_wait_or_run(cluster: Cluster) -> None:
    gate = Gate()
    cluster.engine(gate)
    client = cluster.client()
    running = submitted(client, 1, role="a")
    assert gate.begun.wait(PATIENCE_S)
    waiting = submitted(client, 300, run_at=LATER, role="a")
    others = submitted(client, 3, run_at=LATER, role="b")
    answers = cluster.client("other").operations.cancel_all(wanted(role="a"), "all of a", PATIENCE_S)
    assert answers == {handle.id: CancelAnswer.CANCELLED for handle in (*running, *waiting)}
    assert {handle.status() for handle in others} == {JobStatus.SCHEDULED}
    assert client.operations.cancel_all(wanted(role="a")) == {}


def test_of_ids_each_is_answered_by_itself(cluster: Cluster) -> None:
    cluster.engine(body)
    client = cluster.client()
    [done], [live] = submitted(client, 1), submitted(client, 1, run_at=LATER)
    done.result(PATIENCE_S)
    answers = client.operations.cancel_all([done.id, live.id, LOWEST])
    assert answers[done.id] is CancelAnswer.ALREADY_DONE
    assert answers[live.id] is CancelAnswer.REQUESTED
    assert isinstance(answers[LOWEST], JobNotFoundError | ResultExpiredError)


@pytest.mark.parametrize("verb", ["cancel_all", "retry_all", "purge_all"])
def test_a_filter_without_any_condition_is_refused(cluster: Cluster, verb: str) -> None:
    operations = cluster.client().operations
    with pytest.raises(RequestInvalidError, match="condition"):
        getattr(operations, verb)(JobFilter())
    with pytest.raises(RequestInvalidError, match="job id"):
        getattr(operations, verb)(["nonsense"])


# ---------------------------------------------------------------- retry, purge


def test_dead_letters_are_listed_and_tried_again_by_filter(cluster: Cluster) -> None:
    mended: list[bool] = []

    def mends(spec: Spec, job: JobContext) -> Any:
        if not mended:
            raise TerminalError("boom", code=spec.payload["fails"])
        return spec.payload

    cluster.engine(mends)
    client = cluster.client()
    broken, other = all_failed(client, 50), all_failed(client, 2, "other")
    assert [report.id for report in client.list(wanted(status="failed", code="broken"))] == broken[::-1]
    assert len(client.list(wanted(status="failed"), limit=10)) == 10
    mended.append(True)
    answers = client.operations.retry_all(wanted(code="broken"))
    assert answers == dict.fromkeys(broken, RetryAnswer.RETRIED)
    for job_id in broken:
        outcome = client.handle(job_id).outcome(PATIENCE_S)
        assert outcome.status is JobStatus.COMPLETED
    report = client.report(broken[0])
    assert ([error["code"] for error in report.errors], report.attempts) == (["broken"], 1)
    assert {client.report(job_id).status for job_id in other} == {JobStatus.FAILED}
    assert client.operations.retry(broken[0]) is RetryAnswer.NOT_KEPT
    assert client.operations.retry_all(wanted(status="completed")) == dict.fromkeys(broken, RetryAnswer.NOT_KEPT)


def test_ended_jobs_are_purged_by_filter_and_the_floor_rises_above_them(cluster: Cluster) -> None:
    cluster.engine(body)
    client = cluster.client()
    failed, kept = all_failed(client, 95), submitted(client, 3)
    for handle in kept:
        handle.result(PATIENCE_S)
    assert client.operations.purge_all(wanted(status="failed")) == dict.fromkeys(failed, PurgeAnswer.PURGED)
    floor = do(cluster.store, Get(cluster.keys.floor)).kvs[0]
    assert (read_floor(floor.value) or "") >= max(failed)
    with pytest.raises(ResultExpiredError):
        client.report(failed[0])
    assert [report.id for report in client.list(wanted())] == [handle.id for handle in kept][::-1]
    assert submitted(client, 1)[0].outcome(PATIENCE_S).status is JobStatus.COMPLETED


def test_a_purge_takes_the_idempotency_key_along_and_frees_it(cluster: Cluster) -> None:
    cluster.engine(body)
    client = cluster.client()
    first = client.submit(NewJob({}, idempotency_key="k"))
    first.outcome(PATIENCE_S)
    assert client.operations.purge(first.id) is PurgeAnswer.PURGED
    assert do(cluster.store, Get(cluster.keys.idem, cluster.keys.idem + b"~")).count == 0
    assert client.submit(NewJob({}, idempotency_key="k")).created


def test_an_outcome_that_is_another_one_by_now_is_not_purged(cluster: Cluster) -> None:
    cluster.engine(body)
    client = cluster.client()
    [handle] = submitted(client, 1)
    handle.result(PATIENCE_S)
    kv = do(cluster.store, Get(cluster.keys.done + handle.id.encode())).kvs[0]
    seen = expired_of(kv.key, kv.value, kv.mod_revision)
    do(cluster.store, Put(kv.key, kv.value))  # as a retry and another end would
    assert client.operations._purge([seen]) == {handle.id: PurgeAnswer.CHANGED}
    assert client.report(handle.id).status is JobStatus.COMPLETED


def test_a_live_job_is_not_purged(cluster: Cluster) -> None:
    client = cluster.client()
    [handle] = submitted(client, 1)
    assert client.operations.purge(handle.id) is PurgeAnswer.NOT_ENDED
    assert client.operations.purge_all(wanted(status="pending")) == {}
    with pytest.raises(JobNotFoundError):
        client.operations.purge(client._mint.mint())


def test_retries_and_purges_at_once_leave_each_job_in_one_place(cluster: Cluster) -> None:
    """On real etcd: each job is either gone or back in the queue, and is told to be so by the one that won."""
    leader = cluster.engine(body)
    client = cluster.client()
    failed = all_failed(client, 80)
    leader.stop()
    with ThreadPoolExecutor(2) as pool:
        retries = pool.submit(client.operations.retry_all, failed)
        purges = pool.submit(cluster.client("other").operations.purge_all, wanted(status="failed"))
        retried, purged = retries.result(PATIENCE_S), purges.result(PATIENCE_S)
    for job_id in failed:
        raw = job_id.encode()
        there = [do(cluster.store, Get(prefix + raw)).count for prefix in (cluster.keys.queue, cluster.keys.done)]
        if retried[job_id] is RetryAnswer.RETRIED:
            assert there == [1, 0]
        else:
            assert isinstance(retried[job_id], ResultExpiredError)
            assert there == [0, 0]
            assert purged[job_id] is PurgeAnswer.PURGED


def test_two_that_replace_at_once_leave_one_key_and_one_job_that_is_wanted(cluster: Cluster) -> None:
    client, other = cluster.client(), cluster.client("other")
    client.submit(NewJob({"n": 0}, idempotency_key="k"))

    def replace(by: JobClient, count: int) -> list[JobHandle[Any]]:
        jobs = [NewJob({"n": n}, idempotency_key="k", on_duplicate=OnDuplicate.REPLACE) for n in range(count)]
        answers = by.submit_many(jobs)
        assert not [each for each in answers if isinstance(each, Exception)]
        return answers  # type: ignore[return-value]

    with ThreadPoolExecutor(2) as pool:
        parts = [pool.submit(replace, each, 20) for each in (client, other)]
        handles = [handle for part in parts for handle in part.result(PATIENCE_S)]
    replaced = [handle.replaced for handle in handles]
    assert len(set(replaced)) == 40  # each took the place of another
    cluster.engine(body)
    ended = [handle.outcome(PATIENCE_S).status for handle in handles]
    assert ended.count(JobStatus.COMPLETED) == 1
    assert ended.count(JobStatus.CANCELLED) == 39


# ---------------------------------------------------------------- parked


def broken_job(cluster: Cluster, client: JobClient, value: bytes = b"?") -> tuple[str, bytes]:
    [handle] = submitted(client, 1)
    key = cluster.keys.queue + handle.id.encode()
    good = do(cluster.store, Get(key)).kvs[0].value
    do(cluster.store, Put(key, value))
    return handle.id, good


def test_parked_records_are_listed_and_shown_safely(cluster: Cluster) -> None:
    client = cluster.client()
    parked = client.operations.parked
    assert parked.list() == []
    job_id, _ = broken_job(cluster, client, b"\x1b[31m\xff\n?")
    done = cluster.keys.done + client._mint.mint().encode()
    do(cluster.store, Put(done, b"{}"))
    do(cluster.store, Put(cluster.keys.floor, b"?"))
    names = [record.name for record in parked.list()]
    assert names == sorted(["control/floor", "done/" + done[-36:].decode(), f"queue/{job_id}"])
    shown = parked.get(f"queue/{job_id}")
    assert (shown.job_id, shown.size, shown.text) == (job_id, 8, "\\x1b[31m\\xff\\n?")
    assert shown.reason


def test_a_record_that_still_cannot_be_read_is_not_released_by_asking(cluster: Cluster) -> None:
    client = cluster.client()
    job_id, good = broken_job(cluster, client)
    parked = client.operations.parked
    with pytest.raises(JobParkedError, match="still cannot be read"):
        parked.release(f"queue/{job_id}")
    with pytest.raises(RecordError, match="either"):
        parked.release(f"queue/{job_id}", value=b"!")
    with pytest.raises(RequestInvalidError, match="not both"):
        parked.release(f"queue/{job_id}", value=good, delete=True)
    assert do(cluster.store, Get(cluster.keys.queue + job_id.encode())).kvs[0].value == b"?"


def test_a_job_that_was_put_right_runs(cluster: Cluster) -> None:
    client = cluster.client()
    job_id, good = broken_job(cluster, client)
    cluster.engine(body)
    assert client.operations.parked.release(f"queue/{job_id}", value=good) is ReleaseAnswer.PUT_RIGHT
    assert client.handle(job_id).result(PATIENCE_S) == {"n": 0}
    assert client.operations.parked.list() == []


def test_a_record_that_was_repaired_by_hand_is_parked_no_more(cluster: Cluster) -> None:
    client = cluster.client()
    job_id, good = broken_job(cluster, client)
    note = cluster.keys.note_of(cluster.keys.queue + job_id.encode())
    do(cluster.store, Put(note, b"{}"))
    do(cluster.store, Put(cluster.keys.queue + job_id.encode(), good))
    assert client.operations.parked.release(f"queue/{job_id}") is ReleaseAnswer.READABLE
    assert do(cluster.store, Get(note)).count == 0
    with pytest.raises(RequestInvalidError, match="not parked"):
        client.operations.parked.get(f"queue/{job_id}")


def test_a_job_whose_record_is_deleted_ends_failed_so_that_whoever_waits_is_told(cluster: Cluster) -> None:
    client = cluster.client()
    cluster.engine(body)
    [waiting] = submitted(client, 1, run_at=LATER)
    key = cluster.keys.queue + waiting.id.encode()
    do(cluster.store, Put(key, b"?"))
    checkpoint = cluster.keys.checkpoint + waiting.id.encode()
    do(cluster.store, Put(checkpoint, b"left by a run"))
    assert client.operations.parked.release(f"queue/{waiting.id}", delete=True) is ReleaseAnswer.DELETED
    assert do(cluster.store, Get(checkpoint)).count == 0
    with pytest.raises(JobFailedError) as caught:
        waiting.result(PATIENCE_S)
    assert caught.value.error is not None
    assert caught.value.error["code"] == "parked"
    assert do(cluster.store, Get(key)).count == 0
    assert client.report(waiting.id).status is JobStatus.FAILED
    with pytest.raises(JobNotFoundError):
        client.operations.parked.release(f"queue/{waiting.id}", delete=True)


def test_a_state_that_is_deleted_lets_its_job_run(cluster: Cluster) -> None:
    client = cluster.client()
    [handle] = submitted(client, 1)
    do(cluster.store, Put(cluster.keys.state + handle.id.encode(), b"?"))
    cluster.engine(body)
    assert client.operations.parked.release(f"state/{handle.id}", delete=True) is ReleaseAnswer.DELETED
    assert handle.result(PATIENCE_S) == {"n": 0}


def test_an_outcome_that_is_deleted_raises_the_floor_and_the_floor_itself_can_only_be_put_right(
    cluster: Cluster,
) -> None:
    client = cluster.client()
    submitted(client, 1)
    job_id = client._mint.mint()
    do(cluster.store, Put(cluster.keys.done + job_id.encode(), b"?"))
    parked = client.operations.parked
    do(cluster.store, Put(cluster.keys.floor, b"?"))
    with pytest.raises(RecordError, match="put right first"):
        parked.release(f"done/{job_id}", delete=True)
    with pytest.raises(RequestInvalidError, match="cannot be deleted"):
        parked.release("control/floor", delete=True)
    assert parked.release("control/floor", value=floor_value(LOWEST)) is ReleaseAnswer.PUT_RIGHT
    assert parked.release(f"done/{job_id}", delete=True) is ReleaseAnswer.DELETED
    assert do(cluster.store, Get(cluster.keys.floor)).kvs[0].value == floor_value(job_id)


@pytest.mark.parametrize("name", ["", "queue", "queue/", "election/slurp/leader", "idem/x", "../x"])
def test_only_records_of_jobs_can_be_released(cluster: Cluster, name: str) -> None:
    with pytest.raises(RequestInvalidError, match="KIND/ID"):
        cluster.client().operations.parked.release(name, delete=True)
