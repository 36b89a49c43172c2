"""Who leads, asked by processes that are candidates and by those that are not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from slurp_leader import LeaderElection, LeaderObserver, SlurpSettings
from slurp_leader.errors import LifecycleError, NoLeaderError, StoreTimeoutError
from slurp_leader.store import Get, Txn
from support.waiting import WAIT_S


def settings(node_id: str) -> SlurpSettings:
    return SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3})


def election(shared: Any, node_id: str) -> LeaderElection:
    return LeaderElection("reports", settings(node_id), stores=shared)


def observer(shared: Any) -> LeaderObserver:
    return LeaderObserver("reports", settings("observer"), stores=shared)


def test_an_observer_sees_terms_come_and_go_and_leaves_no_trace(shared: Any) -> None:
    with observer(shared) as leader:
        assert leader.get(WAIT_S) is None
        changes = leader.observe()
        for node in ("a", "b"):
            with election(shared, node) as standing:
                assert standing.wait_for_leadership(WAIT_S)
                token = standing.require_term().token
                assert leader.wait(WAIT_S).token == token
        told = [next(changes) for _ in range(5)]
        assert [each.leader.node_id if each.leader else None for each in told] == [None, "a", None, "b", None]
        assert [each.missed for each in told] == [0] * 5
        revisions = [each.revision for each in told]
        assert revisions == sorted(set(revisions))
    assert list(changes) == []
    left = shared.store.call(Get(b"/slurp/", b"/slurp0"), 5).result().kvs
    assert not [kv.key for kv in left if b"observer" in kv.key or b"observer" in kv.value]


def test_an_answer_from_memory_says_how_old_it_is_and_a_fresh_one_is_etcds(shared: Any) -> None:
    with election(shared, "a") as standing, observer(shared) as leader:
        assert standing.wait_for_leadership(WAIT_S)
        seen = leader.wait_for_leader(WAIT_S)
        assert next(each.leader for each in standing.observe() if each.leader) == seen  # it has heard of itself
        from_memory = (leader.get(), standing.get_leader(WAIT_S))
        for info in (*from_memory, leader.get(fresh=True), standing.get_leader(fresh=True)):
            assert info == seen
            assert info is not None
            assert info.as_of >= info.token
            assert info.age_s >= 0
        shared.store.faults.lose_request(when=lambda request: isinstance(request, Get))
        assert leader.get() == seen  # nobody was asked
        with pytest.raises(StoreTimeoutError):
            leader.get(0.1, fresh=True)


def test_a_fresh_answer_knows_what_a_deaf_watch_does_not(shared: Any) -> None:
    with observer(shared) as leader:
        assert leader.sighting(WAIT_S) is not None
        shared.store.faults.break_watches()
        with election(shared, "a") as standing:
            assert standing.wait_for_leadership(WAIT_S)
            assert leader.get() is None
            fresh = leader.sighting(fresh=True)
            assert fresh is not None
            assert fresh.leader is not None
            assert fresh.leader.node_id == "a"
            assert fresh.as_of >= fresh.leader.token
            shared.store.faults.mend_watches()


def test_candidates_observe_too_each_change_of_every_term(shared: Any) -> None:
    with election(shared, "a") as standing:
        changes = standing.observe()
        assert standing.wait_for_leadership(WAIT_S)
        standing.resign(pause=0)
        names: list[str | None] = []
        while names.count("a") < 2:
            told = next(changes).leader
            names.append(told.node_id if told else None)
    # The first one tells how things stood, which may be before or after the election.
    assert names[-3:] == ["a", None, "a"]
    assert names[:-3] in ([], [None])
    assert [each.leader for each in changes] in ([], [None])  # the stop, if the watch told it before it ended; the end


def test_awaited_verbs(shared: Any) -> None:
    async def serve() -> list[str | None]:
        leader = observer(shared)
        async with leader, election(shared, "a"):
            assert (await leader.aio.wait_for_leader(WAIT_S)).node_id == "a"
            assert (await leader.aio.get(fresh=True)).node_id == "a"
            async for change in leader.observe():
                return [change.leader.node_id if change.leader else None]
        return []

    assert asyncio.run(serve()) == ["a"]


def test_the_system_offers_the_same(make_system: Any) -> None:
    client = make_system(candidate=False)
    with client.leader.observe() as changes:
        assert next(changes).leader is None
        node = make_system()
        assert next(changes).leader.node_id == node.settings.node.id
    assert client.leader.get(fresh=True) == client.leader.wait(WAIT_S) == asyncio.run(client.aio.get_leader())
    assert client.leader.sighting().as_of >= client.leader.get().token


def test_a_stop_ends_every_wait(shared: Any) -> None:
    leader = observer(shared)
    ended: list[str] = []
    leader.start()
    first = threading.Event()

    def observe() -> None:
        for _ in leader.observe():
            first.set()
        ended.append("observe")

    def wait() -> None:
        with pytest.raises((NoLeaderError, LifecycleError)):
            leader.wait()
        ended.append("wait")

    threads = [threading.Thread(target=each) for each in (observe, wait)]
    for each in threads:
        each.start()
    assert first.wait(WAIT_S)
    assert leader.stop()
    for each in threads:
        each.join(WAIT_S)
    assert sorted(ended) == ["observe", "wait"]


def test_it_says_when_it_is_not_running_and_can_be_started_again(shared: Any) -> None:
    leader = observer(shared)
    for ask in (leader.get, leader.wait, leader.observe, leader.sighting, lambda: leader.get(fresh=True)):
        with pytest.raises(LifecycleError, match=r"start\(\) it first"):
            ask()
    assert leader.stop()
    for _ in range(2):
        with leader:
            assert leader.sighting(WAIT_S) is not None
            with pytest.raises(LifecycleError, match="running"):
                leader.start()
    assert leader.stop()


@pytest.mark.etcd
def test_an_observer_on_real_etcd_outlives_a_compaction(
    etcd_settings: Callable[..., SlurpSettings], etcd_server: Any
) -> None:
    from support.etcd import EtcdOperator, open_etcd

    with LeaderObserver("x", etcd_settings("observer")) as leader:
        changes = leader.observe()
        assert next(changes).leader is None
        with LeaderElection("x", etcd_settings("a")) as standing:
            assert standing.wait_for_leadership(WAIT_S)
            with open_etcd(etcd_server.endpoint) as store:  # type: ignore[attr-defined]
                revision = store.call(Txn(), 5).result().header.revision
            EtcdOperator(etcd_server.endpoint).compact(revision)
            assert next(changes).leader == leader.get(fresh=True)
        assert next(changes).leader is None
