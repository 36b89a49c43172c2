"""`Election`: the elector on its threads, and what is told to listeners. In memory and on real etcd."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from election.conftest import OPTIONS, Stand, Standing
from slurp_leader.clock import SystemClock
from slurp_leader.election import (
    Election,
    ElectionEvent,
    ElectionState,
    FitnessChanged,
    Identity,
    Lending,
    Reason,
    StateChanged,
)
from slurp_leader.election.hooks import HookKind, Hooks
from slurp_leader.errors import LeadershipLostError, LifecycleError, NoLeaderError, NotLeaderError
from slurp_leader.store import Delete, Request, Revoke, Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, Recorder, do, get
from support.etcd import EtcdServers, open_etcd
from support.virtual import writes_key


def leading(stand: Stand, store: Store, node_id: str = "a", **more: Any) -> Standing:
    standing = stand(store, node_id, **more)
    assert standing.election.wait_for_leadership(PATIENCE_S)
    return standing


def becomes(state: ElectionState) -> Any:
    return lambda event: isinstance(event, StateChanged) and event.state is state


# ---------------------------------------------------------------- on every store


def test_one_leads_the_other_knows_who_and_follows_when_it_stops(stand: Stand, store: Store) -> None:
    first = leading(stand, store, "a")
    second = stand(store, "b")
    assert second.election.wait_for_leader(PATIENCE_S).node_id == "a"
    assert not second.election.is_leader
    token = first.election.require_term().token
    assert first.stop()
    assert second.election.wait_for_leadership(PATIENCE_S)
    assert second.election.require_term().token > token


def test_a_stop_leaves_no_key_behind(stand: Stand, store: Store) -> None:
    leader = leading(stand, store)
    assert leader.stop()
    assert get(store, leader.keys.leader) is None
    assert leader.election.state is ElectionState.FOLLOWER


def test_a_revoked_lease_ends_the_term_and_a_new_one_follows(stand: Stand, store: Store) -> None:
    """What a guard does when its process died, done to a process that lives."""
    leader = leading(stand, store)
    term = leader.election.require_term()
    key = get(store, leader.keys.leader)
    assert key is not None
    do(store, Revoke(key.lease))
    assert term.lost.wait(PATIENCE_S)
    assert not term.is_valid
    with pytest.raises(LeadershipLostError):
        term.check()
    assert leader.election.wait_for_leadership(PATIENCE_S)
    assert leader.election.require_term().token > term.token


def test_a_leader_whose_key_is_deleted_is_told_by_its_watch(stand: Stand, store: Store) -> None:
    leader = leading(stand, store)
    term = leader.election.require_term()
    do(store, Delete(leader.keys.leader))
    assert term.lost.wait(PATIENCE_S)
    lost = leader.heard.until(becomes(ElectionState.CANDIDATE))
    while lost.term is None:  # the candidate of the beginning
        lost = leader.heard.until(becomes(ElectionState.CANDIDATE))
    assert lost.reason is Reason.FENCED


@pytest.mark.etcd
def test_an_etcd_that_stands_still_ends_the_trust_before_the_lease(stand: Stand, etcd_servers: EtcdServers) -> None:
    from slurp_leader.etcd.local import EtcdProcess

    with EtcdProcess(binary=etcd_servers.binary("any")) as etcd:
        store = open_etcd(etcd.endpoint)
        try:
            leader = leading(stand, store)
            term = leader.election.require_term()
            etcd.pause()
            try:
                # Every renewal that counts was sent before this moment, so trust ends a margin before the lease can.
                assert term.trust.until <= SystemClock().boottime() + OPTIONS.lease_ttl_s - OPTIONS.margin_s
                assert term.lost.wait(PATIENCE_S)
                assert not leader.election.is_leader
            finally:
                etcd.resume()
            assert leader.election.wait_for_leadership(PATIENCE_S)
            assert leader.election.require_term().token > term.token
            assert leader.stop()
        finally:
            store.close()


class _Replaced(MemoryStore):
    """A store in whose place another one answers from some moment on."""

    by: MemoryStore | None = None

    def call(self, request: Request[Any], timeout_s: float) -> Future[Any]:
        return self.by.call(request, timeout_s) if self.by else super().call(request, timeout_s)


def test_an_election_that_another_cluster_ends_says_why_and_that_is_in_the_log_once(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    with _Replaced() as store, MemoryStore(cluster_id=2) as other:
        election = leading(stand, store).election
        store.by = other
        assert election.wait_until(lambda: election.has_ended, PATIENCE_S)
        why = "another etcd cluster answers: id 2, before 1"
        assert (election.why_ended, election.reason) == (why, Reason.STORE_CHANGED)
        (entry,) = [each for each in caplog.records if getattr(each, "slurp_event", "") == "election.ended"]
        assert (entry.levelname, entry.__dict__["slurp"]["error"]) == ("ERROR", why)
        assert not election.is_news("the watch has found it out too")
        assert election.why_ended == why


# ---------------------------------------------------------------- listeners


def test_a_listener_that_raises_harms_neither_the_renewal_nor_the_others(
    stand: Stand, memory_store: MemoryStore
) -> None:
    leader = stand(memory_store, "a")

    def broken(_: ElectionEvent) -> None:
        raise RuntimeError("a listener with a bug")

    leader.election.subscribe(broken)
    leader.heard.until(becomes(ElectionState.LEADER))
    leader.wait_for_heartbeats(2)
    assert leader.election.is_leader


def test_hooks_are_told_of_a_term_once_although_its_trust_was_interrupted(
    stand: Stand, memory_store: MemoryStore
) -> None:
    hooks, said = Hooks(OPTIONS.name, 5), Recorder[str]()
    hooks.add(HookKind.LEADING, lambda: said("leading"))
    hooks.add(HookKind.LOST, lambda: said("lost"))
    leader = leading(stand, memory_store, hooks=hooks)
    memory_store.faults.refuse_full(2, when=writes_key(leader.keys.heartbeat))
    leader.heard.until(becomes(ElectionState.SUSPENDED))
    assert leader.heard.until(becomes(ElectionState.LEADER)).reason is Reason.RENEWED
    assert leader.stop()
    assert said.rest() == ["leading", "lost"]


def test_a_listener_that_blocks_does_not_stop_the_renewal(stand: Stand, memory_store: MemoryStore) -> None:
    release = threading.Event()
    blocked = threading.Event()

    def blocking(_: ElectionEvent) -> None:
        blocked.set()
        release.wait(PATIENCE_S)

    leader = leading(stand, memory_store)
    leader.election.subscribe(blocking)
    leader.election.resign(0.0)  # something to be told
    assert blocked.wait(PATIENCE_S)
    try:
        assert leader.election.wait_for_leadership(PATIENCE_S)
        leader.wait_for_heartbeats(3)
        assert leader.election.is_leader
    finally:
        release.set()


def test_a_listener_hears_every_change_in_order_until_it_is_taken_back(stand: Stand, memory_store: MemoryStore) -> None:
    leader = leading(stand, memory_store)
    heard: list[ElectionEvent] = []
    unsubscribe = leader.election.subscribe(heard.append)
    unsubscribe()
    assert leader.stop()
    leader.heard.until(becomes(ElectionState.FOLLOWER))
    states = [event.state for event in leader.heard.seen if isinstance(event, StateChanged)]
    assert states == [
        ElectionState.CANDIDATE,
        ElectionState.LEADER,
        ElectionState.DRAINING,
        ElectionState.CANDIDATE,
        ElectionState.FOLLOWER,
    ]
    assert heard == []


# ---------------------------------------------------------------- draining


def test_a_stop_waits_for_every_owner_of_the_term(stand: Stand, memory_store: MemoryStore) -> None:
    leader = leading(stand, memory_store)
    leader.election.add_owner("jobs")
    leader.election.add_owner("timers")
    term = leader.election.require_term()
    stopping = threading.Thread(target=leader.election.stop)
    stopping.start()
    assert term.leaving.wait(PATIENCE_S)
    assert term.should_stop
    assert term.is_valid  # what is under way may end
    leader.election.drained("jobs", term.token)
    leader.wait_for_heartbeats(2)
    assert term.is_valid
    leader.election.drained("timers", term.token)
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()
    assert term.lost.is_set()


def test_drained_of_another_term_does_not_count(stand: Stand, memory_store: MemoryStore) -> None:
    leader = leading(stand, memory_store)
    leader.election.add_owner("jobs")
    leader.election.add_owner("timers")
    term = leader.election.require_term()
    leader.election.resign(0.0)
    assert term.leaving.wait(PATIENCE_S)
    leader.election.drained("jobs", term.token - 1)
    leader.election.drained("timers", term.token)
    leader.wait_for_heartbeats(2)
    assert term.is_valid
    leader.election.drained("jobs", term.token)
    assert term.lost.wait(PATIENCE_S)


def test_an_owner_that_is_done_with_a_term_before_it_is_given_back_is_not_awaited(
    stand: Stand, memory_store: MemoryStore
) -> None:
    """So a part that has died does not hold up the stop."""
    leader = leading(stand, memory_store)
    leader.election.add_owner("jobs")
    term = leader.election.require_term()
    leader.election.drained("jobs", term.token)
    leader.election.resign(0.0)
    assert term.lost.wait(PATIENCE_S)


def test_an_owner_that_was_taken_back_is_not_awaited(stand: Stand, memory_store: MemoryStore) -> None:
    leader = leading(stand, memory_store)
    leader.election.add_owner("jobs")
    leader.election.add_owner("timers")
    term = leader.election.require_term()
    leader.election.remove_owner("jobs")
    leader.election.resign(0.0)
    assert term.leaving.wait(PATIENCE_S)
    leader.election.remove_owner("timers")
    assert term.lost.wait(PATIENCE_S)


def test_an_owner_that_was_taken_back_has_ended_what_was_lent_of_it(
    stand: Stand, memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    """Else a stop would wait for it as long as it may."""
    lending = Lending(keyspace.mirrored + b"grant/", lambda: 60.0)
    leader = leading(stand, memory_store, lending=lending)
    leader.election.add_owner("jobs")
    successor = stand(memory_store, "b", lending=lending)
    successor.heard.until(becomes(ElectionState.CANDIDATE))
    leader.election.resign(0.0)
    assert successor.election.wait_for_leadership(PATIENCE_S)
    leader.election.remove_owner("jobs")
    stopping = threading.Thread(target=leader.stop)
    stopping.start()
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()


def test_an_election_looks_at_once_when_its_node_becomes_unfit(
    stand: Stand, memory_store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would find out by itself, but only when something else happens."""
    leader = leading(stand, memory_store)
    told: list[object] = []
    monkeypatch.setattr(leader.election._loop, "post", told.append)
    leader.election.set_fitness("no disk")
    monkeypatch.undo()
    assert told == [FitnessChanged("no disk")]


def test_who_resigned_leads_again_when_nobody_else_does(stand: Stand, memory_store: MemoryStore) -> None:
    leader = leading(stand, memory_store)
    term = leader.election.require_term()
    leader.election.resign(0.1)
    assert term.lost.wait(PATIENCE_S)
    assert leader.election.wait_for_leadership(PATIENCE_S)
    assert leader.election.require_term().token > term.token


# ---------------------------------------------------------------- life, and questions


def test_stop_is_safe_twice_and_before_start(keyspace: Keyspace, memory_store: MemoryStore) -> None:
    standing = Standing(memory_store, keyspace, "a")
    assert standing.election.stop()
    standing.start()
    assert standing.stop()
    assert standing.stop()


def test_an_election_that_was_stopped_before_its_start_stands_no_more(
    keyspace: Keyspace, memory_store: MemoryStore
) -> None:
    """Whoever finds that this node must not lead may find it before the election has begun."""
    standing = Standing(memory_store, keyspace, "a")
    assert standing.election.stop()
    standing.start()
    assert not standing.election.wait_for_leadership(PATIENCE_S)
    assert standing.election.has_ended
    assert standing.stop()


def test_an_election_is_started_once(stand: Stand, memory_store: MemoryStore) -> None:
    standing = stand(memory_store, "a")
    with pytest.raises(LifecycleError, match="make a new one"):
        standing.election.start()


def test_who_does_not_lead_is_told_who_does(stand: Stand, memory_store: MemoryStore) -> None:
    leading(stand, memory_store, "a")
    other = stand(memory_store, "b")
    other.election.wait_for_leader(PATIENCE_S)
    with pytest.raises(NotLeaderError) as raised:
        other.election.require_term()
    assert raised.value.leader == "a"
    with pytest.raises(NotLeaderError):
        other.election.resign()


def test_waiting_for_a_leader_ends_when_there_is_none(keyspace: Keyspace, memory_store: MemoryStore) -> None:
    nobody = Election(memory_store, keyspace, OPTIONS, Identity("a", ""), clock=SystemClock())
    with pytest.raises(NoLeaderError):
        nobody.wait_for_leader(0.01)
    assert not nobody.wait_for_leadership(0.01)


def test_waiting_for_leadership_ends_when_the_election_stops(stand: Stand, memory_store: MemoryStore) -> None:
    leading(stand, memory_store, "a")
    other = stand(memory_store, "b")
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(other.election.wait_for_leadership()))
    waiting.start()
    other.stop()
    waiting.join(PATIENCE_S)
    assert answers == [False]


def test_a_bug_in_the_elector_ends_all_trust_and_is_said(stand: Stand, memory_store: MemoryStore) -> None:
    broken = threading.Event()

    def facts() -> dict[str, Any]:
        if broken.is_set():
            raise RuntimeError("a bug")
        return {}

    leader = leading(stand, memory_store, facts=facts)
    term = leader.election.require_term()
    broken.set()
    assert term.lost.wait(PATIENCE_S)
    assert not term.is_valid
    assert not leader.election.is_leader
    assert leader.election.reason is Reason.FAILED
    assert not leader.stop()


def test_a_store_closed_too_early_ends_the_election_without_a_wait(stand: Stand, keyspace: Keyspace) -> None:
    store = MemoryStore()
    leader = leading(stand, store)
    term = leader.election.require_term()
    store.close()
    assert term.lost.wait(PATIENCE_S)
    assert leader.election.reason is Reason.STORE_CLOSED
    assert not leader.stop()
