"""Results in the payload store: jobs that wait for it, outcomes that refer to it, and what is collected."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.rig import KEYS, RETURNED, Node, Rig, options, puts
from jobs.test_upkeep import ended, floor_of
from jobs.threaded import OPTIONS, Cluster, cluster_on
from slurp_leader.errors import (
    ConfigurationError,
    JobFailedError,
    PayloadMissingError,
    PayloadStoreError,
    ResultExpiredError,
)
from slurp_leader.jobs import JobStatus, NewJob
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.messages import CollectPayloads, StartRun
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import Codec, Payload
from slurp_leader.payloads import FolderPayloadStore, PayloadEntry, reference_of
from slurp_leader.payloads.port import SHARDS
from slurp_leader.store import Put
from slurp_leader.store.memory import MemoryStore
from slurp_leader.telemetry.events import LogEvent
from support.calls import PATIENCE_S
from support.etcd import open_etcd
from support.virtual import answer_lost

SECOND = timedelta(seconds=1)
OFTEN = options(retain_cancelled=4 * SECOND)
"""The pruner goes about once a second: four times in the shortest retention."""
NOT_STORED = RunReport(RunEnd.NOT_STORED, error=error_of("payload_store", "away"))
BIG = random.Random(1).randbytes(40_000).hex()
"""A result that stays above 2 KiB."""


def kept_as(content: bytes) -> RunReport:
    """The end of a run whose result is in the payload store."""
    payload = Payload(reference_of(content), len(content), len(content), Codec.PLAIN)
    return RunReport(RunEnd.RETURNED, payload=payload)


# ---------------------------------------------------------------- in a virtual world


def test_a_run_whose_result_was_not_stored_is_made_again_later_and_costs_no_attempt() -> None:
    rig = Rig()
    ends = [NOT_STORED] * 5 + [RETURNED]
    rig.node.lead().body = lambda start: ends.pop(0)
    outcome = rig.wait_for(rig.client.submit(), 120)
    assert (outcome.status, outcome.attempts, outcome.interruptions, outcome.run) == (JobStatus.COMPLETED, 1, 5, 6)
    assert rig.world.clock.now > 1 + 2 + 4 + 8 + 8  # the back-off of a failed attempt, though it is none
    assert [run.attempt for run in rig.node.runs] == [1] * 6
    notes = rig.node.notes(LogEvent.JOB_RETRY)
    assert {note.fields["error"] for note in notes} == {"away"}
    assert len(notes) == 5


def told_to_stop_while_its_result_is_put_away(rig: Rig, **fields: Any) -> StartRun:
    """Its time is up, and its body has returned."""
    rig.node.lead()
    run = rig.wait_for_run(rig.client.submit(**fields))
    rig.node.started(run)
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["timeout"])
    return run


def test_a_run_whose_time_was_up_while_its_result_was_put_away_in_vain_costs_no_attempt() -> None:
    rig = Rig()
    run = told_to_stop_while_its_result_is_put_away(rig)
    rig.node.end(run, NOT_STORED)
    rig.node.do(rig.wait_for_run(run.job.job_id, 2))
    outcome = rig.wait_for(run.job.job_id)
    assert (outcome.status, outcome.attempts, outcome.interruptions) == (JobStatus.COMPLETED, 1, 1)
    assert [error["code"] for error in outcome.errors] == ["payload_store"]


def test_a_result_that_was_not_stored_before_the_deadline_is_not_made_again() -> None:
    rig = Rig()
    run = told_to_stop_while_its_result_is_put_away(rig, deadline=rig.date(10))
    rig.node.end(run, NOT_STORED)
    outcome = rig.wait_for(run.job.job_id)
    assert outcome.error is not None
    assert (outcome.status, outcome.error["code"], outcome.attempts) == (JobStatus.FAILED, "deadline", 0)
    assert len(rig.node.runs) == 1


def test_a_job_that_waits_for_the_payload_store_tells_why_and_can_be_cancelled() -> None:
    rig = Rig()
    rig.node.lead().body = lambda start: NOT_STORED
    job_id = rig.client.submit()
    rig.wait_for_run(job_id, 3)
    rig.settle(0.5)
    state = rig.state(job_id)
    assert state is not None
    assert (state.attempts, state.errors[-1]["code"]) == (0, "payload_store")
    rig.client.cancel(job_id)
    assert rig.wait_for(job_id).status is JobStatus.CANCELLED


def test_the_outcome_refers_to_the_payload_and_holds_no_result() -> None:
    rig = Rig()
    rig.node.lead().body = lambda start: kept_as(b"[1]")
    outcome = rig.wait_for(rig.client.submit())
    assert (outcome.status, outcome.result_json) == (JobStatus.COMPLETED, None)
    assert outcome.payload == kept_as(b"[1]").payload


def collections(node: Node) -> list[CollectPayloads]:
    return [said for said in node.said if isinstance(said, CollectPayloads)]


def referenced(node: Node, since: int = 0) -> set[str]:
    return {reference for said in collections(node)[since:] for reference in said.collection.referenced}


def test_shards_come_round_one_at_a_time_with_all_that_outcomes_refer_to() -> None:
    rig = Rig(jobs=OFTEN)
    contents = [b"%d" % number for number in range(3)]
    rig.node.lead().body = lambda start: kept_as(contents[start.job.spec.payload["n"]])
    for number in range(3):
        ended(rig, payload={"n": number})
    rig.node.host.crash()
    other = Node(rig.world, "b", rig.jobs).lead()
    rig.world.run_until(lambda: len(collections(other)) == 256, 400)
    rounds = [said.collection for said in collections(other)]
    assert sorted(each.shard for each in rounds) == list(SHARDS)
    assert referenced(other) == {reference_of(content) for content in contents}
    assert all(reference.startswith(each.shard) for each in rounds for reference in each.referenced)


def test_what_a_pruned_outcome_referred_to_is_referred_to_no_more() -> None:
    rig = Rig(jobs=options(retain_completed=40 * SECOND, retain_cancelled=4 * SECOND))
    rig.node.lead().body = lambda start: kept_as(b"x")
    job_id = ended(rig)
    rig.world.run_until(lambda: rig.outcome(job_id) is None, 200)
    since = len(collections(rig.node))
    rig.world.run_until(lambda: len(collections(rig.node)) >= since + 256, 400)
    assert referenced(rig.node, since + 1) == set()


def test_nothing_is_collected_before_all_that_earlier_leaders_left_is_read() -> None:
    rig = Rig(jobs=OFTEN)
    rig.node.lead().body = lambda start: kept_as(b"x")
    for _ in range(50):
        ended(rig)
    rig.node.host.crash()
    other = Node(rig.world, "b", rig.jobs).lead()
    rig.world.order(answer_lost(), lambda request: getattr(request, "key", b"").startswith(KEYS.done), times=3)
    rig.world.run_until(lambda: len(collections(other)) >= 256, 400)
    assert referenced(other) == {reference_of(b"x")}


def test_what_a_record_that_cannot_be_read_may_refer_to_is_kept() -> None:
    rig = Rig(jobs=OFTEN)
    key = KEYS.done + rig.client.mint.mint().encode()
    rig.world.apply(Put(key, b'{"schema":2,"of":"a later version","payload":"%s"}' % reference_of(b"x").encode()))
    rig.node.lead()
    rig.world.run_until(lambda: len(collections(rig.node)) >= 256, 400)
    assert referenced(rig.node) == {reference_of(b"x")}


def test_what_old_leaders_end_under_a_grant_is_known_before_anything_is_collected_and_pruned_too() -> None:
    rig = Rig(jobs=options(retain_completed=20 * SECOND))
    rig.node.lead()
    rig.node.stand()
    old, new = rig.node, Node(rig.world, "b", rig.jobs)
    job_id = rig.client.submit()
    run = rig.wait_for_run(job_id)
    old.started(run)
    old.hand_over(new)
    rig.settle(15)
    assert collections(new) == []
    old.end(run, kept_as(b"x"))
    rig.world.run_until(lambda: len(collections(new)) >= 1, 100)
    assert new.scheduler.leading is not None
    rig.world.run_until(lambda: rig.outcome(job_id) is None, 100)
    assert floor_of(rig) == job_id


def test_a_leader_that_cannot_be_proved_collects_nothing() -> None:
    rig = Rig()
    rig.node.lead()
    assert rig.node.term is not None
    rig.node.term.trust.until = rig.node.host.clock.boottime()
    rig.settle(200)
    assert collections(rig.node) == []
    rig.node.term.trust.until = float("inf")
    rig.settle(100)
    assert collections(rig.node) != []


# ---------------------------------------------------------------- retention by count, and what is told afterwards


def test_beyond_the_count_the_oldest_outcomes_go_and_those_of_earlier_leaders_are_counted_too() -> None:
    rig = Rig(jobs=options(retain_completed_count=5))
    rig.node.lead().body = lambda start: RETURNED
    ids = [ended(rig) for _ in range(4)]
    rig.node.host.crash()
    other = Node(rig.world, "b", rig.jobs).lead()
    other.body = lambda start: RETURNED
    ids += [ended(rig) for _ in range(4)]
    rig.world.run_until(lambda: len(rig.keys(KEYS.done)) == 5, 120)
    rig.settle(120)
    assert rig.keys(KEYS.done) == [KEYS.done + job_id.encode() for job_id in ids[3:]]
    assert floor_of(rig) == ids[2]


def test_many_beyond_the_count_go_in_one_round() -> None:
    rig = Rig(jobs=options(retain_completed_count=10))
    rig.node.lead().body = lambda start: RETURNED
    tickets = [rig.client.send() for _ in range(300)]
    rig.world.run_until(lambda: len(rig.client.answers) == len(tickets))
    rig.world.run_until(lambda: len(rig.keys(KEYS.done)) == 10, 120)


def test_pruning_by_count_never_hides_a_job_that_is_there() -> None:
    """The floor rises above older jobs: one that waits, one that failed. They are found all the same; only what has no
    record at all is said to have expired."""
    rig = Rig(jobs=options(retain_completed_count=0))
    fails = RunReport(RunEnd.TERMINAL, error=error_of("x", ""))
    rig.node.lead().body = lambda start: fails if start.job.spec.payload.get("fail") else RETURNED
    failed = ended(rig, payload={"fail": 1})
    waiting = rig.client.submit(run_at="2026-02-01T00:00:00Z")
    completed = ended(rig)
    rig.world.run_until(lambda: rig.outcome(completed) is None, 120)
    assert failed < waiting < completed == floor_of(rig)
    assert rig.outcome(failed) is not None
    assert rig.client.cancel(failed).answer == "already_done"
    assert isinstance(rig.client.cancel(completed).error, ResultExpiredError)
    assert rig.client.cancel(waiting).error is None
    assert rig.wait_for(waiting).status is JobStatus.CANCELLED


def test_a_job_is_found_or_expired_at_every_revision_of_a_prune_by_count() -> None:
    rig = Rig(jobs=options(retain_completed_count=0, retain_failed_count=0))
    rig.node.lead().body = lambda start: RETURNED
    rig.settle()
    rig.world.order(answer_lost(), puts(KEYS.floor), times=2)
    ids = [ended(rig) for _ in range(6)]
    rig.world.run_until(lambda: rig.keys(KEYS.done) == [], 120)
    pruned_at = {job_id: rig.history(KEYS.done + job_id.encode())[-1][0] for job_id in ids}
    floors = rig.history(KEYS.floor)
    for job_id, revision in pruned_at.items():
        newest = [value for at, value in floors if at <= revision and value is not None][-1]
        assert newest >= b'"%s"' % job_id.encode()


# ---------------------------------------------------------------- engine, client and store, with their threads


@pytest.fixture
def limits(tmp_path: Path) -> JobsOptions:
    return JobsOptions(**{**OPTIONS.model_dump(), "result_limit": 2048, "payload_store": str(tmp_path)})


@pytest.fixture
def cluster(memory_store: MemoryStore, limits: JobsOptions) -> Iterator[Cluster]:
    with cluster_on(memory_store, limits) as cluster:
        yield cluster


def payload_files(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_large_result_comes_back_to_whoever_waits_asks_and_looks(cluster: Cluster, tmp_path: Path) -> None:
    cluster.engine(lambda spec, job: [BIG, spec.payload["n"]])
    client = cluster.client()
    handle = client.submit(NewJob({"n": 1}))
    assert handle.result(PATIENCE_S) == [BIG, 1]
    assert client.handle(handle.id).result(PATIENCE_S) == [BIG, 1]
    assert asyncio.run(awaited(client.handle(handle.id))) == [BIG, 1]
    report = client.report(handle.id)
    assert (report.result, report.result_problem) == ([BIG, 1], "")
    outcome = handle.outcome()
    assert outcome.payload is not None
    assert outcome.result_json is None
    [path] = payload_files(tmp_path)
    assert path.name == outcome.payload.reference
    assert cluster.keyspace.cluster_id in path.parts
    [listed] = client.list()
    assert (listed.result, listed.payload) == (None, outcome.payload.to_fields())


async def awaited(handle: Any) -> Any:
    return await handle


def test_a_coroutine_that_waits_for_a_payload_holds_up_no_other(cluster: Cluster) -> None:
    """The payload is fetched on another thread than the one of the loop."""
    fetched_on: list[threading.Thread] = []

    class Store(FolderPayloadStore):
        def get(self, reference: str) -> bytes:
            fetched_on.append(threading.current_thread())
            return super().get(reference)

    store = Store(Path(cluster.options.payload_store) / cluster.keyspace.cluster_id)
    cluster.engine(lambda spec, job: BIG)
    client = cluster.client(payloads=store)
    assert asyncio.run(awaited(client.submit(NewJob({})))) == BIG
    assert fetched_on != []
    assert threading.current_thread() not in fetched_on


def test_a_result_is_put_before_its_record_is_written(cluster: Cluster) -> None:
    put: list[bytes] = []
    client = cluster.client()
    job_ids: list[str] = []

    class Store(FolderPayloadStore):
        def put(self, data: bytes) -> str:
            put.append(data)
            assert client.report(job_ids[0]).status is JobStatus.RUNNING
            return super().put(data)

    def body(spec: Any, job: Any) -> Any:
        job_ids.append(spec.job_id)
        return BIG

    cluster.engine(body, payloads=Store(Path(cluster.options.payload_store) / cluster.keyspace.cluster_id))
    assert client.submit(NewJob({})).result(PATIENCE_S) == BIG
    assert len(put) == 1


def test_an_outage_of_the_store_delays_the_job_and_fails_nothing(cluster: Cluster) -> None:
    class Store(FolderPayloadStore):
        outages = 4

        def put(self, data: bytes) -> str:
            if self.outages:
                self.outages -= 1
                raise PayloadStoreError("the share is away")
            return super().put(data)

    store = Store(Path(cluster.options.payload_store) / cluster.keyspace.cluster_id)
    cluster.engine(lambda spec, job: BIG, payloads=store)
    handle = cluster.client().submit(NewJob({}))
    assert handle.result(PATIENCE_S) == BIG
    assert (handle.outcome().attempts, handle.outcome().interruptions) == (1, 1)  # three tries, then one and a success


def test_who_reads_without_the_store_is_told_which_setting_is_missing(cluster: Cluster) -> None:
    cluster.engine(lambda spec, job: BIG)
    job_id = cluster.client().submit(NewJob({})).id
    cluster.options = OPTIONS
    without = cluster.client("other")
    with pytest.raises(ConfigurationError, match=r"jobs\.payload_store"):
        without.handle(job_id).result(PATIENCE_S)
    report = without.report(job_id)
    assert (report.status, report.result) == (JobStatus.COMPLETED, None)
    assert "jobs.payload_store" in report.result_problem


def test_a_payload_that_is_gone_is_told_by_name_and_the_rest_can_be_read(cluster: Cluster, tmp_path: Path) -> None:
    cluster.engine(lambda spec, job: BIG)
    handle = cluster.client().submit(NewJob({}))
    assert handle.result(PATIENCE_S) == BIG
    payload_files(tmp_path)[0].unlink()
    with pytest.raises(PayloadMissingError):
        handle.result(PATIENCE_S)
    report = handle.report()
    assert report.status is JobStatus.COMPLETED
    assert report.result_problem.startswith("payload ")


def test_without_a_store_the_job_fails_and_the_error_names_the_way_out(memory_store: MemoryStore) -> None:
    small = JobsOptions(**{**OPTIONS.model_dump(), "result_limit": 2048})
    with cluster_on(memory_store, small) as cluster:
        cluster.engine(lambda spec, job: BIG)
        with pytest.raises(JobFailedError, match=r"jobs\.payload_store"):
            cluster.client().submit(NewJob({})).result(PATIENCE_S)


def test_an_engine_looks_through_the_store_while_it_leads(cluster: Cluster) -> None:
    listed = threading.Event()

    class Store(FolderPayloadStore):
        def list(self, shard: str) -> Iterator[PayloadEntry]:
            listed.set()
            return super().list(shard)

    cluster.options = JobsOptions(**{**cluster.options.model_dump(), "retain_completed": SECOND})  # at once, and often
    store = Store(Path(cluster.options.payload_store) / cluster.keyspace.cluster_id)
    cluster.engine(lambda spec, job: BIG, payloads=store)
    assert listed.wait(PATIENCE_S)


# ---------------------------------------------------------------- on etcd


@pytest.mark.etcd
def test_a_result_beyond_the_request_size_of_etcd_comes_back(etcd_endpoint: str, tmp_path: Path) -> None:
    big = random.Random(2).randbytes(3 * 1024 * 1024).hex()
    limits = JobsOptions(**{**OPTIONS.model_dump(), "payload_store": tmp_path.as_uri()})
    store = open_etcd(etcd_endpoint)
    try:
        with cluster_on(store, limits) as cluster:
            cluster.engine(lambda spec, job: big)
            assert cluster.client().submit(NewJob({})).result(PATIENCE_S) == big
    finally:
        store.close()
