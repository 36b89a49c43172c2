"""Orders, history and explanations through the faces of the library: system, plain election, observer."""

from __future__ import annotations

import asyncio
import inspect
from operator import attrgetter
from typing import Any

import pytest

from slurp_leader import LeaderElection, LeaderObserver, SlurpLeaderSystem, SlurpSettings
from slurp_leader.election import ElectionKeys
from slurp_leader.election.history.entries import ActionRecord, HistoryRecord
from slurp_leader.election.ranking.candidates import read_candidates
from slurp_leader.errors import ConfigurationError, LifecycleError
from slurp_leader.store import Get, prefix_end
from slurp_leader.store.keyspace import Keyspace
from support.waiting import WAIT_S, until, when_it_stands


def election(shared: Any, node_id: str, **options: Any) -> LeaderElection:
    settings = SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3, **options})
    return LeaderElection("reports", settings, stores=shared)


def test_why_not_me(shared: Any) -> None:
    with election(shared, "a") as first, election(shared, "b") as second:
        assert first.wait_for_leader(WAIT_S)
        leader, other = (first, second) if first.wait_for_leadership(1) else (second, first)
        until(lambda: len(other.control.simulate().rows) == 2)
        told = other.control.explain()
        assert told.node_id == other.settings.node.id
        assert not told.leads
        assert leader.settings.node.id in told.sentence
        assert leader.control.explain().leads


def test_an_observer_reads_the_history_and_gives_no_orders(shared: Any) -> None:
    with election(shared, "a") as only:
        assert only.wait_for_leadership(WAIT_S)
        only.control.freeze("the night")
        with LeaderObserver("reports", SlurpSettings(), stores=shared) as observer:
            newest, before = observer.history()
            assert isinstance(newest, ActionRecord)
            assert (newest.action, newest.by, newest.why) == ("freeze", "a", "the night")
            assert isinstance(before, HistoryRecord)
            assert (before.node_id, before.token) == ("a", only.require_term().token)
            assert observer.orders().frozen is not None
            assert not hasattr(observer, "freeze")


def test_who_is_held_back_says_so_in_its_health(shared: Any) -> None:
    with election(shared, "a") as only:
        assert only.wait_for_leadership(WAIT_S)
        only.control.block("a", "new disk")
        until(lambda: not only.is_leader)
        until(lambda: [each["what"] for each in only.health()["problems"]] == ["held_back"])
        assert "it is blocked by a: new disk" in only.health()["problems"][0]["message"]
        only.control.unblock("a")
        assert only.wait_for_leadership(WAIT_S)
        until(lambda: only.health()["healthy"])


def test_a_system_requires_the_project_manager_and_an_election_requires_nothing(shared: Any) -> None:
    lacking = SlurpSettings(node={"id": "lacking", "capabilities": ["context_curation"]}, election={"lease_ttl": 3})
    with LeaderElection("plain", lacking, stores=shared) as plain:
        assert plain.wait_for_leadership(WAIT_S)
    with SlurpLeaderSystem(lacking, generator=lambda request, job: {}, stores=shared) as system:
        until(lambda: [each["what"] for each in system.health()["problems"]] == ["held_back"])
        assert "it lacks the capability project_manager" in system.status()["election"]["held_back"]
    asked = SlurpSettings(node=lacking.node, election={"lease_ttl": 3, "requires": []})
    with SlurpLeaderSystem(asked, generator=lambda request, job: {}, stores=shared) as system:
        assert system.wait_for_leadership(WAIT_S)


@pytest.mark.parametrize("face", ["election", "system"])
def test_a_candidate_publishes_what_is_free_of_its_machine(shared: Any, face: str) -> None:
    standing: Any = election(shared, "a")
    if face == "system":
        settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3})
        standing = SlurpLeaderSystem(settings, generator=lambda request, job: {}, stores=shared)
    with standing:
        assert standing.wait_for_leadership(WAIT_S)
        keys = ElectionKeys.of(Keyspace(standing.settings.node.cluster_id), "slurp" if face == "system" else "reports")
        kvs = shared.store.call(Get(keys.candidates, prefix_end(keys.candidates)), WAIT_S).result().kvs
        (published,) = read_candidates(kvs)
        assert published.inputs.memory_free is not None  # the processor is measured between two looks


def test_a_veto_is_told_of_by_health(shared: Any) -> None:
    only = election(shared, "a")

    @only.on_elected
    def refuse(term: Any) -> None:
        raise RuntimeError("the database is read only")

    with only:
        until(lambda: [each["what"] for each in only.health()["problems"]] == ["unfit"])
        assert "the database is read only" in only.health()["problems"][0]["message"]


def test_orders_and_questions_are_awaited(shared: Any) -> None:
    async def ask(control: Any) -> str:
        done = await control.aio.freeze("the night", by="alice")
        assert done.orders.frozen.by == "alice"
        return str(await control.aio.explain())

    with election(shared, "a") as only:
        assert only.wait_for_leadership(WAIT_S)
        assert only.control.simulate({"capability": 0.35}).first == "a"
        assert asyncio.run(ask(only.control)).startswith("a leads since ")


@pytest.mark.parametrize("wish", ["control.transfer", "control.step_down", "control.aio.step_down", "transfer"])
def test_the_history_tells_who_wished_for_a_handover(shared: Any, wish: str) -> None:
    def ask(which: LeaderElection, **fields: Any) -> Any:
        done = attrgetter(wish)(which)(**fields)
        return asyncio.run(done) if inspect.isawaitable(done) else done

    with election(shared, "a") as first:
        assert first.wait_for_leadership(WAIT_S)
        with election(shared, "b") as second:
            when_it_stands(first.transfer, "b", dry_run=True)
            for successor, by, named in ((second, "alice", "alice"), (first, "", "b")):
                when_it_stands(ask, second, why="new disk", by=by, timeout=WAIT_S)
                assert successor.wait_for_leadership(WAIT_S)
                (told,) = first.control.history(1)
                assert isinstance(told, HistoryRecord)
                assert (told.reason, told.by, told.why) == ("handover", named, "new disk")


def test_orders_need_something_that_runs(shared: Any) -> None:
    with pytest.raises(LifecycleError):
        election(shared, "a").control.freeze()
    with election(shared, "a") as only, pytest.raises(ConfigurationError):
        only.control.pin("a/b")


def test_weights_that_do_not_sum_to_one_are_refused_with_the_fix() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SlurpSettings(election={"weight_network": 0.5})
    assert "weight_network = 0.5" in str(caught.value)
    assert "take 0.35 away" in str(caught.value)
    with pytest.raises(ConfigurationError):
        SlurpSettings(election={"weight_network": -0.1, "weight_uptime": 0.4})
    heavy = {f"weight_{name}": 0 for name in ("capability", "resources", "uptime", "experience")}
    assert SlurpSettings(election={**heavy, "weight_network": 1}).election.weights.network == 1.0
