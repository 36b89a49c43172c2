"""What was changed while the service runs is in force under the next leader: after a crash, and after a handover."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from slurp_leader import QueueFullError, SlurpLeaderSystem, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.errors import HandoverError, JobCancelledError, JobFailedError, StoreUnavailableError
from slurp_leader.jobs.ids import IdMint
from slurp_leader.jobs.records import JobKeys, JobStatus, floor_value
from slurp_leader.store import Get, Put, Revoke, Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
from support.etcd import open_etcd
from support.waiting import WAIT_S, until

LIMIT = 8


class Line:
    """The connections of one node, which can be cut for good: to everybody else it is then as dead as after a crash."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open = open_store
        self.is_cut = False

    def __call__(self) -> Any:
        return _Connection(self._open(), self)


class _Connection:
    def __init__(self, store: Store, line: Line) -> None:
        self._store = store
        self._line = line

    def call(self, request: Any, timeout_s: float) -> Future[Any]:
        if not self._line.is_cut:
            return self._store.call(request, timeout_s)
        dead: Future[Any] = Future()
        dead.set_exception(StoreUnavailableError("cut"))
        return dead

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: Any) -> Any:
        return self._store.watch(key, range_end, start_revision, lambda notice: self._line.is_cut or sink(notice))

    def close(self) -> None:
        self._store.close()


class Cluster:
    """Nodes of one cluster over one store."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self.cluster_id = f"test-{uuid.uuid4().hex[:12]}"
        self.store = open_store()
        self.keyspace = Keyspace(self.cluster_id)
        self.lines: dict[str, Line] = {}
        self._open = open_store
        self._systems: list[SlurpLeaderSystem] = []

    def start(self, node_id: str, generator: Any = None, *, candidate: bool = True, **jobs: Any) -> SlurpLeaderSystem:
        settings = SlurpSettings(
            node={"id": node_id, "cluster_id": self.cluster_id},
            election={"lease_ttl": 3},
            jobs={"queue_limit": LIMIT, "workers": 1, "drain_timeout": 1, "backoff_base": 0.01, **jobs},
        )
        line = self.lines[node_id] = Line(self._open)
        system = SlurpLeaderSystem(
            settings, generator=generator or (lambda request, job: {}), candidate=candidate, stores=line
        )
        self._systems.append(system)
        system.start()
        return system

    def crash(self, system: SlurpLeaderSystem) -> None:
        """Nothing of this node reaches etcd any more, and its lease is gone."""
        key = system.require_term().key
        self.lines[system.settings.node.id].is_cut = True
        lease = self.store.call(Get(key), WAIT_S).result().kvs[0].lease
        self.store.call(Revoke(lease), WAIT_S).result()

    def stop(self) -> None:
        for line in self.lines.values():
            line.is_cut = False  # so that a stop need not wait
        for system in reversed(self._systems):
            system.stop()
        self.store.close()


class _Unclosed:
    def __init__(self, store: Store) -> None:
        self.call, self.watch = store.call, store.watch

    def close(self) -> None:
        """It is closed with the test."""


@pytest.fixture(params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if request.param == "etcd":
        endpoint = request.getfixturevalue("etcd_endpoint")
        cluster = Cluster(lambda: open_etcd(endpoint))
        yield cluster
        cluster.stop()
        return
    store = MemoryStore(SystemClock())
    cluster = Cluster(lambda: _Unclosed(store))
    yield cluster
    cluster.stop()
    store.close()


def is_refused(system: SlurpLeaderSystem) -> bool:
    try:
        system.submit("one-more.py", delay=3600)
    except QueueFullError:
        return True
    return False


def lead_goes_to(cluster: Cluster, first: SlurpLeaderSystem, second: SlurpLeaderSystem, how: str) -> None:
    if how == "crash":
        cluster.crash(first)
    else:
        until(lambda: first.leader.transfer(second.settings.node.id, timeout=WAIT_S), not_yet=HandoverError)
    assert second.wait_for_leadership(WAIT_S)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["crash", "handover"])
def test_what_was_changed_while_it_ran_is_in_force_under_the_next_leader(cluster: Cluster, how: str) -> None:
    started, release, may_fail = threading.Semaphore(0), threading.Event(), threading.Event()
    ran: list[str] = []

    def generate(request: Any, job: Any) -> dict[str, Any]:
        ran.append(request.file_path)
        started.release()
        if request.file_path == "fails.py":
            may_fail.wait(WAIT_S)  # as long as the queue has to be full
            raise ValueError("again and again")
        while not release.wait(0.01):
            job.check()
        return {}

    first = cluster.start("a", generate)
    assert first.wait_for_leadership(WAIT_S)
    first.leader.block("c", "has a bad disk")
    second, third = cluster.start("b", generate), cluster.start("c", generate)
    client = cluster.start("client", candidate=False)

    # What is changed while the first one leads.
    keys = JobKeys(cluster.keyspace)
    floor = IdMint(SystemClock(), random.Random(1)).mint()
    cluster.store.call(Put(keys.floor, floor_value(floor)), WAIT_S).result()
    held = client.submit("held.py")
    assert started.acquire(timeout=WAIT_S)
    later = client.submit("later.py", delay=3600)
    fails = client.submit("fails.py", max_attempts=1)
    pending = client.submit("pending.py")
    until(lambda: is_refused(client))
    before = first.require_term().token
    orders = first.leader.orders()
    run_at = client.jobs.report(later.id).run_at

    lead_goes_to(cluster, first, second, how)

    # And that it counts under the second.
    assert second.require_term().token > before
    assert second.leader.orders() == orders
    assert list(orders.blocked) == ["c"]
    assert not third.is_leader
    until(lambda: second._running_node().engine.control() == {"floor": floor, "closed": True})
    assert is_refused(client)
    report = client.jobs.report(later.id)
    assert (report.status, report.run_at) == (JobStatus.SCHEDULED, run_at)

    may_fail.set()
    client.jobs.cancel(held.id, "not needed")  # of a job that the first one had begun
    client.jobs.cancel(pending.id)
    for handle in (held, pending):
        with pytest.raises(JobCancelledError):
            handle.result(timeout=WAIT_S)
    with pytest.raises(JobFailedError):
        fails.result(timeout=WAIT_S)
    ended = client.jobs.report(fails.id)
    assert (ended.node_id, ended.attempts) == ("b", 1)
    assert ran.count("fails.py") == 1
    assert "later.py" not in ran
    until(lambda: not is_refused(client))  # the door opens again, as soon as there is room
    release.set()


def test_a_cancel_that_no_leader_has_heard_is_obeyed_by_the_next(cluster: Cluster) -> None:
    started = threading.Semaphore(0)

    def generate(request: Any, job: Any) -> dict[str, Any]:
        started.release()
        while not job.wait(1):
            pass
        job.check()
        return {}

    first = cluster.start("a", generate)
    assert first.wait_for_leadership(WAIT_S)
    client = cluster.start("client", candidate=False)
    running, pending = client.submit("running.py"), client.submit("pending.py")
    assert started.acquire(timeout=WAIT_S)
    cluster.crash(first)
    for handle in (running, pending):
        client.jobs.cancel(handle.id)
    second = cluster.start("b", generate)
    for handle in (running, pending):
        with pytest.raises(JobCancelledError):
            handle.result(timeout=WAIT_S)
    assert second.is_leader
    outcome = client.jobs.report(running.id)
    assert (outcome.status, outcome.interruptions) == (JobStatus.CANCELLED, 1)
