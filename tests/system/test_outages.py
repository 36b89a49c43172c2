"""Real etcd that is not there yet, goes away, stands still, fills up, forgets logins, or is another one than before.

Whatever happens, two nodes never both lead: a sampler asks them all the time.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings, StoreError
from slurp_leader.errors import LifecycleError, StoreChangedError, StoreFullError
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.store import Put
from support.etcd import EtcdOperator, EtcdServers, open_etcd
from support.waiting import WAIT_S, until

pytestmark = pytest.mark.etcd

TTL_S = 3


class Etcd:
    """A server that the test may do anything to."""

    def __init__(self, process: EtcdProcess) -> None:
        self.process = process

    def settings(self, node_id: str, **sections: Any) -> SlurpSettings:
        return SlurpSettings(
            etcd={"endpoints": [self.process.endpoint], **sections.pop("etcd", {})},
            node={"id": node_id},
            election={"lease_ttl": TTL_S, "retry_interval": 1},
            jobs={"submit_timeout": 5},
            **sections,
        )


@pytest.fixture
def start_etcd(etcd_servers: EtcdServers) -> Iterator[Callable[..., Etcd]]:
    """Starts servers of this test alone; they end after its nodes."""
    with ExitStack() as stack:
        binary = etcd_servers.binary("any")
        yield lambda **options: Etcd(stack.enter_context(EtcdProcess(binary=binary, **options)))


@pytest.fixture
def etcd(start_etcd: Callable[..., Etcd]) -> Etcd:
    return start_etcd()


@pytest.fixture
def make_node(start_etcd: Any) -> Iterator[Callable[..., SlurpLeaderSystem]]:
    """Makes systems, stops them after the test, and asks all the time whether two of them lead."""
    nodes: list[SlurpLeaderSystem] = []
    over = threading.Event()
    both: list[tuple[str, ...]] = []

    def sample() -> None:
        while not over.wait(0.005):
            leading = tuple(node.settings.node.id for node in nodes if node.is_leader)
            if len(leading) > 1:
                both.append(leading)

    def make(settings: SlurpSettings, **more: Any) -> SlurpLeaderSystem:
        node = SlurpLeaderSystem(settings, generator=lambda request, job: {"path": request.file_path}, **more)
        nodes.append(node)
        node.start()
        return node

    sampler = threading.Thread(target=sample)
    sampler.start()
    yield make
    over.set()
    sampler.join()
    stopping = [threading.Thread(target=node.stop) for node in nodes]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join()
    assert both == []


def problems(node: SlurpLeaderSystem | LeaderElection) -> set[str]:
    return {problem["what"] for problem in node.health()["problems"]}


def test_all_go_on_by_themselves_when_etcd_comes_and_when_it_comes_back(etcd: Etcd, make_node: Any) -> None:
    etcd.process.stop()
    first, second = make_node(etcd.settings("a")), make_node(etcd.settings("b"))
    client = make_node(etcd.settings("c"), candidate=False)
    for node in (first, second, client):
        until(lambda node=node: "store_unreachable" in problems(node))
        health = node.health()
        assert (health["live"], health["ready"], health["healthy"]) == (True, False, False)
        assert health["problems"][0]["since"]

    etcd.process.start()
    until(lambda: first.is_leader or second.is_leader)
    assert client.request_context_generation("a.py", WAIT_S).success
    until(lambda: all(node.health()["ready"] for node in (first, second, client)))

    etcd.process.kill()
    until(lambda: not first.is_leader and not second.is_leader)
    for node in (first, second, client):
        until(lambda node=node: "store_unreachable" in problems(node))
        assert not node.status()["store"]["reachable"]
    assert not threading.Event().wait(TTL_S)  # the leases are over as well

    etcd.process.start()
    assert client.request_context_generation("b.py", WAIT_S).success
    until(lambda: all(node.health()["healthy"] for node in (first, second, client)))


def test_a_stop_during_an_outage_ends_and_leaves_no_thread(etcd: Etcd, make_node: Any) -> None:
    before = set(threading.enumerate())
    first, second = make_node(etcd.settings("a")), make_node(etcd.settings("b"))
    client = make_node(etcd.settings("c"), candidate=False)
    until(lambda: first.is_leader or second.is_leader)
    client.leader.get()
    etcd.process.pause()

    stopping = [threading.Thread(target=node.stop) for node in (first, second, client)]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    until(lambda: {thread for thread in threading.enumerate() if thread.name.startswith("slurp-")} <= before)
    etcd.process.resume()


def test_starts_and_stops_leave_no_lease_behind(etcd: Etcd) -> None:
    node = SlurpLeaderSystem(etcd.settings("a"), generator=lambda request, job: None)
    for _ in range(5):
        with node:
            assert node.wait_for_leadership(WAIT_S)
    assert EtcdOperator(etcd.process.endpoint).post("/v3/lease/leases").get("leases", []) == []


def test_another_etcd_on_the_same_port_is_refused_and_nobody_leads(etcd: Etcd, make_node: Any) -> None:
    first, second = make_node(etcd.settings("a")), make_node(etcd.settings("b"))
    client = make_node(etcd.settings("c"), candidate=False)
    alone = LeaderElection("alone", etcd.settings("a"))
    with alone:
        until(lambda: (first.is_leader or second.is_leader) and alone.is_leader)
        assert client.request_context_generation("a.py", WAIT_S).success
        port = int(etcd.process.endpoint.rpartition(":")[2])
        etcd.process.close()

        with EtcdProcess(binary=etcd.process.binary, client_port=port):
            for node in (first, second, client):
                until(lambda node=node: problems(node) == {"store"})
                assert "another etcd cluster" in node.health()["problems"][0]["message"]
                assert not node.health()["live"]
            until(lambda: problems(alone) == {"store"})
            until(lambda: not any(node.is_leader for node in (first, second, alone)))  # what they had is given up aside
            assert not first.wait_for_leadership(WAIT_S)  # it will not come any more: no need to wait
            with pytest.raises(StoreChangedError):
                client.submit("b.py")
            with pytest.raises(LifecycleError, match="another etcd cluster"):
                alone.run(lambda term: None)


def test_a_leader_that_finds_etcd_full_keeps_its_term_and_goes_on_when_there_is_room(
    start_etcd: Any, make_node: Any
) -> None:
    etcd = start_etcd(quota_bytes=2 * 1024 * 1024)
    node, client = make_node(etcd.settings("a")), make_node(etcd.settings("c"), candidate=False)
    assert node.wait_for_leadership(WAIT_S)
    token = node.term.token
    operator = EtcdOperator(etcd.process.endpoint)
    revision = _fill(etcd.process.endpoint)

    until(lambda: "store_full" in problems(node))
    until(lambda: not node.is_leader)
    assert (node.health()["live"], node.health()["ready"]) == (True, False)
    with pytest.raises(StoreError):
        client.submit("a.py")

    operator.compact(revision)
    operator.defragment()
    operator.disarm()
    assert client.request_context_generation("b.py", WAIT_S).success
    until(lambda: node.is_leader and node.health()["healthy"])
    assert node.term.token == token


def test_a_login_that_runs_out_costs_no_term(start_etcd: Any, make_node: Any) -> None:
    etcd = start_etcd(extra_args=["--auth-token-ttl=1"])
    operator = EtcdOperator(etcd.process.endpoint)
    operator.post("/v3/auth/role/add", name="root")
    operator.post("/v3/auth/user/add", name="root", password="secret")
    operator.post("/v3/auth/user/grant", user="root", role="root")
    operator.post("/v3/auth/enable")
    login = {"username": "root", "password": "secret"}
    node = make_node(etcd.settings("a", etcd=login))
    client = make_node(etcd.settings("c", etcd=login), candidate=False)
    assert node.wait_for_leadership(WAIT_S)
    token = node.term.token

    for number in range(2):
        assert not threading.Event().wait(1.5)  # longer than a login lives that is not used
        assert client.request_context_generation(f"{number}.py", WAIT_S).success

    assert node.term.token == token


def _fill(endpoint: str) -> int:
    """Fill etcd; the revision at which compacting frees most of it."""
    revision = 0
    with open_etcd(endpoint) as store:  # type: ignore[attr-defined]
        for size in (400_000, 40_000, 4_000, 100):
            try:
                for _ in range(100):
                    put = Put(b"/filler", uuid.uuid4().bytes * (size // 16))
                    revision = store.call(put, 5).result().header.revision
            except StoreFullError:
                continue
    return revision
