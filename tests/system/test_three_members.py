"""Elections on three members of etcd: one is lost, the leader of etcd is lost, the quorum is lost and comes back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.election import ElectionKeys
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdCluster
from slurp_leader.store.keyspace import Keyspace
from support.calls import await_writes
from support.etcd import EtcdServers
from support.members import etcd_leader, followers, lose
from support.waiting import WAIT_S

pytestmark = pytest.mark.etcd


@pytest.fixture(scope="module")
def running(etcd_servers: EtcdServers) -> Iterator[EtcdCluster]:
    with EtcdCluster(3, binary=etcd_servers.binary("any")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: EtcdCluster) -> Iterator[EtcdCluster]:
    """Three members that serve; put right again after the test."""
    yield running
    for member in running.members:
        if member.is_running():
            member.resume()
    running.start()


@pytest.fixture
def name() -> str:
    """A cluster of nodes of this test alone."""
    return f"test-{uuid.uuid4().hex[:12]}"


def settings(cluster: EtcdCluster, name: str, node_id: str, ttl_s: float) -> SlurpSettings:
    return SlurpSettings(
        etcd={"endpoints": cluster.endpoints},
        node={"id": node_id, "cluster_id": name},
        election={"lease_ttl": ttl_s, "renew_interval": 0.5},
    )


def await_heartbeats(cluster: EtcdCluster, name: str, count: int) -> None:
    """So many heartbeats that are committed from now on."""
    with EtcdStore(EtcdOptions(endpoints=cluster.endpoints)) as store:
        await_writes(store, ElectionKeys.of(Keyspace(name), "slurp").heartbeat, count)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_loss_of_a_member_costs_no_term(cluster: EtcdCluster, name: str, how: str) -> None:
    with LeaderElection("slurp", settings(cluster, name, "a", 9)) as election:
        assert election.wait_for_leadership(WAIT_S)
        term = election.require_term()
        lose(followers(cluster)[0], how)
        await_heartbeats(cluster, name, 3)
        assert not term.lost.is_set()
        assert election.require_term().token == term.token


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_loss_of_the_leader_of_etcd_costs_no_term(cluster: EtcdCluster, name: str, how: str) -> None:
    with LeaderElection("slurp", settings(cluster, name, "a", 9)) as election:
        assert election.wait_for_leadership(WAIT_S)
        term = election.require_term()
        lose(etcd_leader(cluster), how)
        await_heartbeats(cluster, name, 3)
        assert not term.lost.is_set()
        assert election.require_term().token == term.token


def test_without_a_quorum_nobody_leads_and_after_it_one_does(cluster: EtcdCluster, name: str) -> None:
    started: list[str] = []

    def node(node_id: str) -> SlurpLeaderSystem:
        def generate(request: object, job: object) -> dict[str, str]:
            started.append(node_id)
            return {"by": node_id}

        return SlurpLeaderSystem(settings(cluster, name, node_id, 3), generator=generate)

    with node("a") as first:
        assert first.wait_for_leadership(WAIT_S)
        with node("b") as second:
            term = first.term
            assert term is not None
            assert second.leader.wait(WAIT_S).token == term.token
            assert second.submit("before.py").result(WAIT_S).success
            for member in cluster.members[:2]:
                member.kill()
            assert term.lost.wait(WAIT_S)
            assert not term.is_valid
            assert (first.is_leader, second.is_leader) == (False, False)
            assert started == ["a"]
            cluster.start()
            later = second.leader.observe()
            newest = next(change.leader for change in later if change.leader and change.leader.token > term.token)
            holder, other = (first, second) if newest.node_id == "a" else (second, first)
            assert holder.wait_for_leadership(WAIT_S)
            assert not other.is_leader
            assert second.submit("after.py").result(WAIT_S).success
            assert len(started) == 2
