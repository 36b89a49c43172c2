"""The whole way on a real etcd: election, engine, client; outages; and every record as anybody can read it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.threaded import CLOCK, OPTIONS, Gate
from slurp_leader.election import Election, ElectionOptions, ElectionState, Identity, StateChanged
from slurp_leader.errors import IdempotencyConflictError, JobCancelledError, JobFailedError, RequestTooLargeError
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.jobs import CancelAnswer, JobClient, JobEngine, JobsOptions, JobStatus, NewJob
from slurp_leader.jobs.records import JobKeys, Spec
from slurp_leader.jobs.runner import JobContext
from slurp_leader.store import Get, Put, Store
from slurp_leader.store.follow import Follower
from slurp_leader.store.keyspace import Keyspace
from support.calls import PATIENCE_S, do
from support.etcd import EtcdServers, open_etcd
from support.waiting import until

pytestmark = pytest.mark.etcd

ELECTION = ElectionOptions(lease_ttl=timedelta(seconds=4))


class Node:
    """Election and engine, joined as a program joins them."""

    def __init__(self, store: Store, keyspace: Keyspace, body: Any, name: str, options: JobsOptions = OPTIONS) -> None:
        self.election = Election(store, keyspace, ELECTION, Identity(name, ""), clock=CLOCK)
        self.election.add_owner("jobs")
        self.engine = JobEngine(
            store,
            keyspace,
            options,
            body,
            node_id=name,
            clock=CLOCK,
            handed_back=lambda token: self.election.drained("jobs", token),
        )
        self.leads = threading.Event()
        self.follower = Follower(store, keyspace.mirrored, self._feed)
        self.election.subscribe(self._on_change)
        self.engine.start()
        self.election.start()
        self.follower.start()

    def _feed(self, notice: Any) -> None:
        self.election.feed(notice)
        self.engine.feed(notice)

    def _on_change(self, change: Any) -> None:
        if not isinstance(change, StateChanged) or change.term is None:
            return
        match change.state:
            case ElectionState.LEADER:
                self.engine.lead(change.term)
                self.leads.set()
            case ElectionState.SUSPENDED:
                self.engine.pause(change.term.token)
            case ElectionState.DRAINING:
                self.engine.hand_back(change.term.token)
            case _:
                self.engine.lose(change.term.token)
                self.leads.clear()

    def stop(self) -> None:
        self.election.stop()
        self.follower.stop()
        self.engine.stop()


class Cluster:
    """One cluster's keys on an etcd; everything that was started in it ends with the test."""

    def __init__(self, endpoint: str) -> None:
        self.store = open_etcd(endpoint)
        self.keyspace = Keyspace(uuid.uuid4().hex)
        self.keys = JobKeys(self.keyspace)
        self.stops: list[Any] = [self.store.close]

    def node(self, body: Any, name: str = "node", options: JobsOptions = OPTIONS) -> Node:
        node = Node(self.store, self.keyspace, body, name, options)
        self.stops.append(node.stop)
        return node

    def client(self, name: str = "client") -> JobClient:
        client = JobClient(self.store, self.keyspace, OPTIONS, node_id=name, clock=CLOCK)
        client.start()
        self.stops.append(client.stop)
        return client

    def close(self) -> None:
        for stop in reversed(self.stops):
            stop()


@pytest.fixture
def cluster(etcd_endpoint: str) -> Iterator[Cluster]:
    cluster = Cluster(etcd_endpoint)
    yield cluster
    cluster.close()


def echo(spec: Spec, job: JobContext) -> Any:
    return spec.payload


def results_of(handles: list[Any]) -> list[Any]:
    return [handle.result(PATIENCE_S) for handle in handles]


def test_jobs_go_the_whole_way_and_on_to_the_next_leader(cluster: Cluster) -> None:
    first = cluster.node(echo, "first")
    assert first.leads.wait(PATIENCE_S)
    client = cluster.client()
    assert results_of(client.submit_many(NewJob({"n": n}) for n in range(200))) == [{"n": n} for n in range(200)]
    second = cluster.node(echo, "second")
    later = client.submit_many(NewJob({"n": n}) for n in range(200))
    first.election.stop()
    assert results_of(later) == [{"n": n} for n in range(200)]
    assert second.leads.wait(PATIENCE_S)
    assert client.submit(NewJob({})).report().status is not None


def test_a_running_job_is_cancelled_from_another_client(cluster: Cluster) -> None:
    gate = Gate()
    cluster.node(gate)
    handle = cluster.client().submit(NewJob({}))
    gate.wait_until_begun()
    assert cluster.client("other").cancel(handle.id, "enough") is CancelAnswer.REQUESTED
    with pytest.raises(JobCancelledError):
        handle.result(PATIENCE_S)


def test_two_clients_with_one_key_at_once_make_one_job(cluster: Cluster) -> None:
    clients = [cluster.client("one"), cluster.client("two")]
    with ThreadPoolExecutor(2) as pool:
        for n in range(10):
            job = NewJob({"n": n}, idempotency_key=f"key {n}")
            handles = list(pool.map(lambda client, job=job: client.submit(job), clients))  # type: ignore[misc]
            assert len({handle.id for handle in handles}) == 1
            assert sorted(handle.created for handle in handles) == [False, True]
    count = do(cluster.store, Get(cluster.keys.queue, cluster.keys.queue + b"~", count_only=True)).count
    assert count == 10
    with pytest.raises(IdempotencyConflictError):
        clients[0].submit(NewJob({"n": "other"}, idempotency_key="key 0"))


def test_what_is_too_large_is_refused_or_fails_by_name(cluster: Cluster) -> None:
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(600_000))
    cluster.node(lambda spec, job: noise)
    client = cluster.client()
    with pytest.raises(RequestTooLargeError):
        client.submit(NewJob({"x": "y" * 1_100_000}))
    with pytest.raises(JobFailedError) as caught:
        client.submit(NewJob({"x": "y" * 1_000_000})).result(PATIENCE_S)
    assert caught.value.error is not None
    assert caught.value.error["code"] == "result_too_large"


def test_many_large_requests_are_cut_into_what_etcd_takes(cluster: Cluster) -> None:
    handles = cluster.client().submit_many(NewJob({"x": "y" * 700_000}) for _ in range(6))
    assert not [handle for handle in handles if isinstance(handle, Exception)]


def test_an_etcd_that_is_stopped_under_load_loses_no_job_and_records_none_twice(etcd_servers: EtcdServers) -> None:
    server = EtcdProcess(binary=etcd_servers.binary("any"))
    with server.start():
        cluster = Cluster(server.endpoint)
        try:
            node = cluster.node(echo)
            assert node.leads.wait(PATIENCE_S)
            client = cluster.client()
            with ThreadPoolExecutor(1) as pool:
                submitting = pool.submit(lambda: client.submit_many(NewJob({"n": n}) for n in range(1500)))
                os.kill(server.pid, signal.SIGSTOP)
                try:
                    threading.Event().wait(2.5)  # longer than one call may take, shorter than the lease lives
                finally:
                    os.kill(server.pid, signal.SIGCONT)
                handles = submitting.result(60)
            assert results_of(handles) == [{"n": n} for n in range(1500)]
            keys = cluster.keys
            done = client.list((JobStatus.COMPLETED,), limit=5000)
            assert len({report.id for report in done}) == len(done) == 1500
            assert do(cluster.store, Get(keys.queue, keys.queue + b"~", count_only=True)).count == 0
        finally:
            cluster.close()


# ---------------------------------------------------------------- the records, with nothing but etcdctl


@pytest.fixture
def etcdctl(etcd_server: EtcdProcess) -> Any:
    """Read records as an operator does."""
    beside = Path(etcd_server.binary.path).with_name("etcdctl")
    tool = str(beside) if beside.exists() else shutil.which("etcdctl")
    if tool is None:
        pytest.skip("no etcdctl: install etcd-client")

    def get(prefix: bytes) -> dict[str, Any]:
        """Every record below a prefix, by key."""
        command = [tool, "--endpoints", etcd_server.endpoint, "get", "--prefix", prefix.decode()]
        answer = subprocess.run(
            command, capture_output=True, check=True, timeout=20, text=True, env={**os.environ, "ETCDCTL_API": "3"}
        )
        lines = answer.stdout.splitlines()
        return {key: json.loads(value) for key, value in zip(lines[::2], lines[1::2], strict=True)}

    return get


def only(records: dict[str, Any]) -> Any:
    [record] = records.values()
    return record


def test_every_kind_of_record_is_what_the_documentation_says(cluster: Cluster, etcdctl: Any) -> None:
    keys, gate = cluster.keys, Gate()
    client = cluster.client("me")

    waiting = client.submit(NewJob({"file": "a.py"}, idempotency_key="k"))
    queue = etcdctl(keys.queue)
    assert list(queue) == [(keys.queue + waiting.id.encode()).decode()]
    record = only(queue)
    assert set(record) == {"schema", "id", "request", "priority", "options", "submitted_at", "by", "idem", "sum"}
    assert (record["schema"], record["id"], record["request"]) == (1, waiting.id, {"file": "a.py"})
    assert (record["priority"], record["by"]) == ("normal", "me")
    assert record["options"]["max_attempts"] == OPTIONS.max_attempts
    assert record["submitted_at"].endswith("Z")
    [(idem_key, idem)] = etcdctl(keys.idem).items()
    assert idem_key.endswith("/" + record["idem"])
    assert idem == {"schema": 1, "id": waiting.id, "digest": idem["digest"]}
    floor = etcdctl(keys.floor)
    assert only(floor) == "00000000-0000-7000-8000-000000000000"

    def body(spec: Spec, job: JobContext) -> Any:
        if spec.payload.get("fail"):
            raise ValueError("boom")
        job.progress(0.25, "a quarter")
        return gate(spec, job)

    do(cluster.store, Put(keys.queue + b"broken", b"?"))
    slow = OPTIONS.model_copy(update={"backoff_base": timedelta(hours=1), "backoff_cap": timedelta(hours=1)})
    patient = JobClient(cluster.store, cluster.keyspace, slow, node_id="patient", clock=CLOCK)
    patient.start()
    cluster.stops.append(patient.stop)
    retried = patient.submit(NewJob({"fail": 1}))
    once = patient.submit(NewJob({"fail": 1}, max_attempts=1))
    node = cluster.node(body)
    gate.wait_until_begun()
    with pytest.raises(JobFailedError):
        once.result(PATIENCE_S)

    def below(prefix: bytes) -> dict[str, Any]:
        return until(lambda: etcdctl(prefix))

    [(claim_key, claim)] = below(keys.run).items()
    token, sequence = claim_key.rpartition("/")[2].split("-")
    assert int(sequence) >= 1
    assert set(claim) == {"schema", "session", "node", "at", "quarantined", "entries"}
    assert [entry[0] for entry in claim["entries"]].count(waiting.id) == 1
    assert all(len(entry) == 3 for entry in claim["entries"])
    state = below(keys.state)[(keys.state + retried.id.encode()).decode()]
    fields = {"schema", "closed", "attempts", "interruptions", "crashes", "sole_crashes", "run_at", "errors", "op"}
    assert set(state) == fields
    assert (state["closed"], state["attempts"], state["interruptions"]) == (1, 1, 0)
    assert state["errors"][0]["code"] == "error"
    assert only(below(keys.progress)) == {"schema": 1, "run": 1, "fraction": 0.25, "note": "a quarter"}
    parked = below(keys.parked + b"queue/")
    assert set(only(parked)) == {"schema", "reason"}
    failed = only(below(keys.done + once.id.encode()))
    assert (failed["status"], failed["error"]["code"]) == ("failed", "error")
    assert failed["spec"]["request"] == {"fail": 1}

    do(cluster.store, Put(keys.grant + token.encode().lstrip(b"0"), b"{}"))  # so that the wish stays to be looked at
    node.election.stop()
    client.cancel(waiting.id, "enough")
    wish = only(below(keys.cancel))
    assert (wish["schema"], wish["reason"], wish["by"]) == (1, "enough", "me")
    assert wish["queue_revision"] > 0
    gate.open.set()

    done = client.submit(NewJob({"n": 1}))
    last = cluster.node(lambda spec, job: {"answer": 42}, "last")
    assert last.leads.wait(PATIENCE_S)
    assert done.result(PATIENCE_S) == {"answer": 42}
    outcome = only(below(keys.done + done.id.encode()))
    expected = {"schema", "id", "status", "op", "token", "run", "queue_revision", "attempts", "interruptions"}
    dates = {"submitted_at", "started_at", "finished_at"}
    assert set(outcome) == expected | dates | {"node", "epoch", "priority", "by", "about", "use", "result"}
    assert (outcome["priority"], outcome["by"], outcome["about"]) == ("normal", "me", {"n": 1})
    assert (outcome["status"], outcome["run"], outcome["node"]) == ("completed", 1, "last")
    assert outcome["result"] == {"answer": 42}
