"""Beginning and ending: in the wrong order, twice, from several threads, half-way, and under asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from slurp_leader import (
    Elections,
    LeaderElection,
    LeaderObserver,
    LeadershipLostError,
    SlurpLeaderSystem,
    SlurpSettings,
)
from slurp_leader.election import Election
from slurp_leader.errors import ConfigurationError, LifecycleError, NoLeaderError, StoreDeniedError
from slurp_leader.guard import shared as sharing
from slurp_leader.health import HealthChecks
from slurp_leader.periodic import Periodic
from slurp_leader.store import Get, prefix_end
from slurp_leader.store.follow import Follower, FollowFailed
from support.waiting import WAIT_S, until


def settings(node_id: str = "a", **sections: Any) -> SlurpSettings:
    election = {"lease_ttl": 3, **sections.pop("election", {})}
    return SlurpSettings(node={"id": node_id}, election=election, **sections)


def system(shared: Any, generator: Any = None, **sections: Any) -> SlurpLeaderSystem:
    return SlurpLeaderSystem(settings(**sections), generator=generator or (lambda request, job: None), stores=shared)


def own_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("slurp-")}


def leased_keys(shared: Any) -> list[bytes]:
    found = shared.store.call(Get(b"/slurp/", prefix_end(b"/slurp/")), 5).result().kvs
    return [kv.key for kv in found if kv.lease]


def test_every_stop_returns_only_when_all_has_ended(shared: Any) -> None:
    began, may_end, second_called = threading.Event(), threading.Event(), threading.Event()

    def generate(request: Any, job: Any) -> None:
        began.set()
        assert may_end.wait(WAIT_S)

    node = system(shared, generate)
    node.start()
    node.submit("a.py")
    assert began.wait(WAIT_S)
    running_when_stopped: list[bool] = []

    def stop_too() -> None:
        second_called.set()
        node.stop()
        running_when_stopped.append(may_end.is_set())

    first, second = threading.Thread(target=node.stop), threading.Thread(target=stop_too)
    first.start()
    until(lambda: not node.health()["ready"])
    second.start()
    assert second_called.wait(WAIT_S)
    second.join(0.2)
    may_end.set()
    first.join(WAIT_S)
    second.join(WAIT_S)

    assert running_when_stopped == [True]


def test_a_start_that_fails_leaves_nothing_running_and_can_be_repeated(shared: Any) -> None:
    made: list[Any] = []

    def stores() -> Any:
        made.append(None)
        if len(made) == 2:
            raise ConfigurationError("no second connection today")
        return shared()

    before = own_threads()
    node = SlurpLeaderSystem(settings(), generator=lambda request, job: None, stores=stores)
    with pytest.raises(ConfigurationError, match="no second connection"):
        node.start()
    assert own_threads() == before
    assert not node.health()["live"]

    with node:
        assert node.wait_for_leadership(WAIT_S)


@pytest.mark.parametrize("candidate", [True, False])
def test_a_setting_that_is_found_wrong_at_the_start_leaves_no_connection_open(shared: Any, candidate: bool) -> None:
    is_open: list[Any] = []

    class Connection:
        def __init__(self) -> None:
            self.call, self.watch = shared.store.call, shared.store.watch
            is_open.append(self)

        def close(self) -> None:
            is_open.remove(self)

    wrong = settings(jobs={"payload_store": "no-such-kind://bucket"})
    node = SlurpLeaderSystem(wrong, generator=lambda request, job: None, candidate=candidate, stores=Connection)
    with pytest.raises(ConfigurationError, match="payload_store"):
        node.start()
    assert not is_open


def test_a_start_that_fails_leaves_no_share_of_the_crash_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_order(*_: Any) -> None:
        raise ConfigurationError("out of order")

    monkeypatch.setattr("slurp_leader.jobs.engine.open_payload_store", out_of_order)
    shares = dict(sharing._users)
    node = SlurpLeaderSystem(settings(etcd={"endpoints": ["127.0.0.1:9"]}), generator=lambda request, job: None)
    with pytest.raises(ConfigurationError, match="out of order"):
        node.start()
    assert sharing._users == shares


class _Connection:
    """A store that tells whether it is open."""

    open: ClassVar[list[_Connection]] = []

    def __init__(self, store: Any) -> None:
        self.call, self.watch = store.call, store.watch
        self.open.append(self)

    def close(self) -> None:
        self.open.remove(self)


@pytest.mark.parametrize("part", [Follower, Periodic, Election, HealthChecks])
def test_an_election_whose_start_fails_half_way_leaves_nothing_and_can_be_started_again(
    shared: Any, monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    """As where the machine has no room for another thread."""
    before = own_threads()
    election = LeaderElection("reports", settings(), stores=lambda: _Connection(shared.store))
    election.every(60)(_nothing)
    election.add_health_check("well", lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(part, "start", _no_room)
        with pytest.raises(RuntimeError, match="no room"):
            election.start()
    assert own_threads() == before
    assert not _Connection.open
    assert not election.health()["live"]
    with election:
        assert election.wait_for_leadership(WAIT_S)
    assert not _Connection.open


def test_elections_of_which_one_cannot_start_leave_nothing_and_can_be_started_again(
    shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own_threads()
    elections = Elections(settings(), stores=lambda: _Connection(shared.store))
    first, second = elections.add("first"), elections.add("second")
    with monkeypatch.context() as patch:
        patch.setattr(second, "start", _no_room)
        with pytest.raises(RuntimeError, match="no room"):
            elections.start()
    assert own_threads() == before
    assert not _Connection.open
    with elections:
        assert first.wait_for_leadership(WAIT_S)
        assert second.wait_for_leadership(WAIT_S)
    assert not _Connection.open


def _no_room(*_: object) -> None:
    raise RuntimeError("no room")


def _nothing(term: Any) -> None:
    """Work of a moment."""


def test_a_workspace_that_is_not_there_is_said_before_anything_starts(shared: Any, tmp_path: Any) -> None:
    before = own_threads()
    missing = {"workspace_root": str(tmp_path / "missing")}
    node = SlurpLeaderSystem(settings(generator=missing), stores=shared)
    with pytest.raises(ConfigurationError, match="missing"):
        node.start()
    assert own_threads() == before


def test_the_longest_drain_there_is_may_be_set(shared: Any) -> None:
    """A stop gets some seconds more than that, whatever may be set for other stops."""
    with system(shared, jobs={"drain_timeout": "1h"}) as node:
        assert node.wait_for_leadership(WAIT_S)


def test_many_starts_and_stops_leave_no_thread_and_no_lease(shared: Any) -> None:
    before = own_threads()
    node = system(shared)
    for _ in range(20):
        with node:
            node.leader.get(WAIT_S)
    with node:
        assert node.wait_for_leadership(WAIT_S)
        assert node.request_context_generation("a.py", WAIT_S).success
    assert own_threads() == before
    assert not leased_keys(shared)


def test_a_stop_that_was_interrupted_can_be_repeated(shared: Any) -> None:
    """As by Ctrl-C while it drains."""
    interrupts = [KeyboardInterrupt()]

    class Connection:
        def __init__(self) -> None:
            self.call, self.watch = shared.store.call, shared.store.watch

        def close(self) -> None:
            if interrupts:
                raise interrupts.pop()

    before = own_threads()
    node = SlurpLeaderSystem(settings(), generator=lambda request, job: None, stores=Connection)
    node.start()
    assert node.wait_for_leadership(WAIT_S)
    with pytest.raises(KeyboardInterrupt):
        node.stop()
    assert own_threads() - before  # that of the client: it was not reached

    assert node.stop()
    assert own_threads() == before


def test_an_election_that_lost_its_watch_for_good_ends_and_says_so(shared: Any) -> None:
    with LeaderElection("reports", settings(), stores=shared) as mine:
        assert mine.wait_for_leadership(WAIT_S)
        assert mine.health()["healthy"]

        mine._parts.take(FollowFailed(StoreDeniedError("permission denied")))  # type: ignore[union-attr]

        until(lambda: not mine.is_leader)
        assert not mine.wait_for_leadership(WAIT_S)
        health = mine.health()
        assert (health["live"], [problem["what"] for problem in health["problems"]]) == (False, ["store"])


def test_a_listener_that_exits_leaves_nobody_deaf(shared: Any) -> None:
    heard = threading.Event()

    def exits(event: Any) -> None:
        raise SystemExit(1)

    with LeaderElection("reports", settings(), stores=shared) as mine:
        assert mine.wait_for_leadership(WAIT_S)
        mine.subscribe(exits)
        mine.subscribe(lambda event: heard.set())
        mine.resign()
        assert heard.wait(WAIT_S)


def test_a_listener_may_stop_the_election_it_listens_to(shared: Any) -> None:
    mine, stopped = LeaderElection("reports", settings(), stores=shared), threading.Event()

    def listen(event: Any) -> None:
        if getattr(event, "state", None) == "leader":
            assert mine.stop()
            stopped.set()

    mine.start()
    mine.subscribe(listen)
    if mine.is_leader:
        mine.resign(pause=0)

    assert stopped.wait(WAIT_S)
    assert not mine.health()["live"]


def test_a_generator_may_bring_in_more_work_while_its_node_drains(shared: Any) -> None:
    began, may_end = threading.Event(), threading.Event()
    ids: list[str] = []

    def generate(request: Any, job: Any) -> None:
        if request.file_path == "first.py":
            began.set()
            assert may_end.wait(WAIT_S)
            ids.append(node.submit("second.py").id)

    node = system(shared, generate)
    node.start()
    node.submit("first.py")
    assert began.wait(WAIT_S)
    stopping = threading.Thread(target=node.stop)
    stopping.start()
    until(lambda: not node.health()["ready"])
    may_end.set()
    stopping.join(WAIT_S)

    assert len(ids) == 1


# ---------------------------------------------------------------- who waits when it ends


def test_watching_the_leader_ends_when_the_system_stops(make_system: Any) -> None:
    client = make_system(candidate=False)
    seen: list[Any] = []
    first = threading.Event()

    def watch() -> None:
        for change in client.leader.watch():
            seen.append(change.leader)
            first.set()

    watching = threading.Thread(target=watch)
    watching.start()
    assert first.wait(WAIT_S)

    client.stop()
    watching.join(WAIT_S)

    assert not watching.is_alive()
    assert seen == [None]


def said_when_stopped(wait: Callable[[], Any], stop: Callable[[], Any]) -> list[str]:
    """What is told to who waits for a leader, when that is stopped."""
    said: list[str] = []

    def waits() -> None:
        try:
            wait()
        except (NoLeaderError, LifecycleError) as error:
            said.append(str(error))

    waiting = threading.Thread(target=waits)
    waiting.start()
    stop()
    waiting.join(WAIT_S)
    return said


def test_waiting_for_a_leader_ends_when_the_system_stops(make_system: Any) -> None:
    client = make_system(candidate=False)
    assert client.leader.get(WAIT_S) is None
    assert said_when_stopped(client.leader.wait, client.stop)


def test_waiting_for_a_leader_ends_when_the_election_stops(shared: Any) -> None:
    shared.store.faults.stall()  # nobody will ever lead
    mine = LeaderElection("reports", settings(), stores=shared)
    mine.start()
    assert said_when_stopped(mine.wait_for_leader, mine.stop)


# ---------------------------------------------------------------- asyncio


def test_tasks_that_wait_for_leadership_do_not_stand_in_the_way_of_a_stop(make_system: Any) -> None:
    leader = make_system()
    assert leader.wait_for_leadership(WAIT_S)
    follower = make_system()

    async def serve() -> list[bool]:
        waiting = [asyncio.create_task(follower.aio.wait_for_leadership()) for _ in range(64)]
        await asyncio.sleep(0)
        await follower.aio.stop()
        return await asyncio.gather(*waiting)

    assert not any(asyncio.run(serve()))


def test_a_wait_that_was_given_up_does_not_keep_the_loop_from_ending(make_system: Any) -> None:
    leader = make_system()
    assert leader.wait_for_leadership(WAIT_S)
    follower = make_system()

    async def serve() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(follower.aio.wait_for_leadership(), 0.01)

    asyncio.run(serve())  # the follower runs on
    assert follower.health()["live"]


def test_a_cancelled_lifespan_stops_the_system(shared: Any) -> None:
    node = system(shared)

    async def serve() -> None:
        inside = asyncio.Event()

        async def service() -> None:
            async with node.lifespan(None):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(service())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(serve())
    assert not node.status()["running"]


def test_what_an_awaited_verb_raises_comes_through(make_system: Any) -> None:
    follower = make_system(candidate=False)

    async def ask() -> None:
        with pytest.raises(LifecycleError, match="no candidate"):
            await follower.aio.resign()

    asyncio.run(ask())


# ---------------------------------------------------------------- `LeaderElection.run`


def test_a_run_that_is_over_is_not_waited_for_in_the_next_term(shared: Any) -> None:
    an_hour = {"stop_timeout": 3600}
    with LeaderElection("reports", settings(election=an_hour), stores=shared) as mine:
        assert mine.run(lambda term: term.token) > 0
        mine.run(lambda term: None)
        with pytest.raises(KeyboardInterrupt):
            mine.run(_interrupted)
        assert mine.wait_for_leadership(WAIT_S)
        stopping = threading.Thread(target=mine.stop)
        stopping.start()
        stopping.join(WAIT_S)
        assert not stopping.is_alive()


def test_an_interrupted_run_gives_the_key_back(shared: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        LeaderElection("reports", settings(), stores=shared).run(_interrupted)
    assert not leased_keys(shared)


def test_the_loss_of_another_term_is_the_business_of_who_runs(shared: Any) -> None:
    calls: list[int] = []

    def work(term: Any) -> None:
        calls.append(term.token)
        raise LeadershipLostError("the term of another election", token=1)

    with pytest.raises(LeadershipLostError):
        LeaderElection("reports", settings(), stores=shared).run(work)
    assert len(calls) == 1


def test_work_does_not_begin_in_a_term_that_is_being_given_back(shared: Any) -> None:
    with LeaderElection("reports", settings(), stores=shared) as mine:
        assert mine.wait_for_leadership(WAIT_S)
        began, tokens = threading.Event(), []

        def first(term: Any) -> None:
            if began.is_set():
                return
            began.set()
            assert term.leaving.wait(WAIT_S)
            second.start()
            until(lambda: len(mine._running()._owners) == 2)

        def work(term: Any) -> None:
            tokens.append((term.token, term.leaving.is_set()))

        second = threading.Thread(target=lambda: mine.run(work))
        running = threading.Thread(target=lambda: mine.run(first))
        running.start()
        assert began.wait(WAIT_S)
        old = mine.require_term().token
        mine.resign(pause=0)
        running.join(WAIT_S)
        second.join(WAIT_S)

    assert tokens
    assert tokens[0][0] > old
    assert not tokens[0][1]


def _interrupted(term: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "make",
    [
        lambda given: LeaderElection("reports", given),
        SlurpLeaderSystem,
        Elections,
        lambda given: LeaderObserver("reports", given),
    ],
    ids=["LeaderElection", "SlurpLeaderSystem", "Elections", "LeaderObserver"],
)
@pytest.mark.parametrize("given", [{"election": {"lease_ttl": 3}}, 5], ids=["dict", "int"])
def test_settings_that_are_none_are_refused_by_name_with_what_to_give(make: Any, given: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=f"settings: {type(given).__name__} given; give SlurpSettings"
    ) as refused:
        make(given)
    assert refused.value.field == "settings"
