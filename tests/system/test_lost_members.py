"""Jobs on three members of etcd, while a member, the leader of etcd, the quorum, or the way to all of them is lost.

Whatever happens, a submit that was acknowledged ends in exactly one recorded outcome; no two nodes lead at once; and
nobody believes to lead for longer after the last renewal that was possible than its lease lives.
"""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdCluster, EtcdProcess
from slurp_leader.jobs.records import JobKeys
from slurp_leader.store import Get, prefix_end
from slurp_leader.store.keyspace import Keyspace
from support.calls import do
from support.etcd import EtcdServers
from support.members import Cable, Trio, etcd_leader, followers, lose
from support.waiting import WAIT_S, until

pytestmark = pytest.mark.etcd

TTL_S = 5
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def running(etcd_servers: EtcdServers) -> Iterator[Trio]:
    with Trio(etcd_servers.binary("any")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Trio) -> Iterator[Trio]:
    """Three members that serve; put right again after the test, when its nodes have ended."""
    yield running
    running.repair()


@dataclass(frozen=True)
class Start:
    """A job that a node began."""

    node_id: str
    path: str
    epoch: int


@dataclass
class Work:
    """What the nodes do. A job named ``held`` ends when it is told to, or when its term is over."""

    starts: list[Start] = field(default_factory=list)
    holding: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def of(self, node_id: str) -> Callable[[Any, Any], dict[str, str]]:
        def generate(request: Any, job: Any) -> dict[str, str]:
            self.starts.append(Start(node_id, request.file_path, job.epoch))
            if request.file_path == "held":
                self.holding.set()
                while not self.release.wait(0.02) and not job.should_stop():
                    pass
            return {"by": node_id}

        return generate


class Nodes:
    """Two nodes, of which the first leads; watched: do two of them lead, and until when is each term believed?

    Attributes:
        believed: By token, the last moment after which `is_leader` was still true, in boottime seconds.
    """

    def __init__(self, endpoints: list[str], work: Work, *, of_first: list[str] | None = None) -> None:
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.believed: dict[int, float] = {}
        self._both: list[tuple[str, str]] = []
        self._over = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="test-watching")
        self.first = self._node("a", of_first or endpoints, work)
        self.second = self._node("b", endpoints, work)

    def _node(self, node_id: str, endpoints: list[str], work: Work) -> SlurpLeaderSystem:
        settings = SlurpSettings(
            etcd={"endpoints": endpoints},
            node={"id": node_id, "cluster_id": self.name},
            election={"lease_ttl": TTL_S},
            jobs={"workers": 1, "submit_timeout": 2 * WAIT_S},
        )
        return SlurpLeaderSystem(settings, generator=work.of(node_id))

    def __enter__(self) -> Self:
        self.first.start()
        assert self.first.wait_for_leadership(WAIT_S)
        self.second.start()
        self._watching.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.second.stop()
        self.first.stop()
        self._over.set()
        self._watching.join()
        assert self._both == []

    def wait_until_one_leads(self) -> None:
        """And not both; fails the test when that does not come."""
        until(lambda: self.first.is_leader != self.second.is_leader)

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            for one, other in ((self.first, self.second), (self.second, self.first)):
                at, term = CLOCK.boottime(), one.term
                if term is None or not term.is_valid:
                    continue
                self.believed[term.token] = at
                # Asked again after the other one: it led all the while.
                if other.is_leader and term.is_valid:
                    self._both.append((one.settings.node.id, other.settings.node.id))


class Submits:
    """Jobs that are brought in through both nodes, one after the other, until it ends.

    Attributes:
        handles: Of those that were acknowledged.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.handles: list[Any] = []
        self._acknowledged: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(node,), name="test-submits")
            for node in (nodes.first, nodes.second)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, node: SlurpLeaderSystem) -> None:
        while not self._over.wait(0.01):
            try:
                self._acknowledged.put(node.submit("quick"))
            except Exception as error:
                self._acknowledged.put(error)
                return

    def wait_for(self, count: int) -> None:
        """Wait for so many more."""
        for _ in range(count):
            self._take(WAIT_S)

    def rest(self) -> None:
        """Take what else was acknowledged, after the end."""
        while not self._acknowledged.empty():
            self._take(0)

    def _take(self, timeout_s: float) -> None:
        handle = self._acknowledged.get(timeout=timeout_s)
        if isinstance(handle, Exception):
            raise handle
        self.handles.append(handle)


@contextmanager
def without_quorum(cluster: Trio, how: str) -> Iterator[None]:
    """Two members lost, or none of them within reach of another; the leader of etcd stays and answers, for a while."""
    try:
        if how == "cut":
            cluster.cut()
        else:
            for member in followers(cluster):
                lose(member, how)
        yield
    finally:
        cluster.repair()


def endpoints_from(member: EtcdProcess, cluster: EtcdCluster) -> list[str]:
    """All endpoints; this member is asked first."""
    return [member.endpoint, *(each.endpoint for each in cluster.members if each is not member)]


def assert_each_ended_once(handles: list[Any], cluster: EtcdCluster, nodes: Nodes) -> None:
    """These jobs succeeded, an outcome was written once for each, and there are no others."""
    assert all(handle.result(WAIT_S).success for handle in handles)
    done = JobKeys(Keyspace(nodes.name)).done
    with EtcdStore(EtcdOptions(endpoints=cluster.endpoints)) as store:
        kvs = do(store, Get(done, prefix_end(done), keys_only=True)).kvs
    written = {kv.key.removeprefix(done).decode(): kv.version for kv in kvs}
    assert written == {handle.id: 1 for handle in handles}


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("who", ["follower", "leader"])
def test_jobs_come_in_and_end_while_a_member_is_lost(cluster: Trio, who: str, how: str) -> None:
    member = etcd_leader(cluster) if who == "leader" else followers(cluster)[0]
    with Nodes(endpoints_from(member, cluster), Work()) as nodes:
        with Submits(nodes) as submits:
            submits.wait_for(10)
            lose(member, how)
            submits.wait_for(10)  # two of them may have been under way
        submits.rest()
        assert_each_ended_once(submits.handles, cluster, nodes)


@pytest.mark.parametrize("how", ["killed", "stopped", "cut"])
def test_without_a_quorum_nothing_begins_and_after_it_every_job_ends_once(cluster: Trio, how: str) -> None:
    work = Work()
    with Nodes(cluster.endpoints, work) as nodes:
        term = nodes.first.term
        assert term is not None
        with Submits(nodes) as submits:
            submits.wait_for(10)
            held = nodes.second.submit("held")  # the only worker is on it from now on
            assert work.holding.wait(WAIT_S)
            submits.wait_for(10)
            with without_quorum(cluster, how):
                lost_at = CLOCK.boottime()
                assert term.lost.wait(WAIT_S)
                assert (nodes.first.is_leader, nodes.second.is_leader) == (False, False)
                work.release.set()
            submits.wait_for(10)
        submits.rest()
        assert_each_ended_once([held, *submits.handles], cluster, nodes)
        assert nodes.believed[term.token] <= lost_at + TTL_S
        assert [start.path for start in work.starts if start.epoch == term.epoch][-1] == "held"
        nodes.wait_until_one_leads()


def test_a_leader_that_is_cut_off_begins_nothing_and_the_next_one_ends_its_jobs(cluster: Trio) -> None:
    work = Work()
    with Cable(cluster) as cable, Nodes(cluster.endpoints, work, of_first=cable.endpoints) as nodes:
        term = nodes.first.term
        assert term is not None
        with Submits(nodes) as submits:
            submits.wait_for(10)
            held = nodes.first.submit("held")
            assert work.holding.wait(WAIT_S)
            submits.wait_for(10)
            with cable.cut():
                lost_at = CLOCK.boottime()
                assert nodes.second.wait_for_leadership(WAIT_S)
                assert not term.is_valid
                work.release.set()
                submits.wait_for(10)  # through the second node alone
                assert nodes.second.jobs.get(held.id).result(WAIT_S).value == {"by": "b"}
        submits.rest()
        assert_each_ended_once([held, *submits.handles], cluster, nodes)
        assert nodes.believed[term.token] <= lost_at + TTL_S
        assert [start.path for start in work.starts if start.epoch == term.epoch][-1] == "held"
        nodes.wait_until_one_leads()
