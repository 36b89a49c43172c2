"""`LeaderElection` alone, through its public face."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from slurp_leader import LeaderElection, LeadershipLostError, NotLeaderError, SlurpSettings
from slurp_leader.errors import LifecycleError
from slurp_leader.store import Delete, Get
from support.waiting import WAIT_S


def election(shared: Any, node_id: str, name: str = "reports") -> LeaderElection:
    return LeaderElection(name, SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3}), stores=shared)


def test_one_of_two_leads_and_the_other_takes_over_when_it_stops(shared: Any) -> None:
    first, second = election(shared, "a"), election(shared, "b")
    with second:
        with first:
            assert first.wait_for_leader(WAIT_S).node_id == second.wait_for_leader(WAIT_S).node_id
            leading, waiting = (first, second) if first.wait_for_leadership(1) else (second, first)
            assert (leading.is_leader, waiting.is_leader) == (True, False)
            with pytest.raises(NotLeaderError) as caught:
                waiting.require_term()
            assert caught.value.leader == leading.require_term().node_id
        assert second.wait_for_leadership(WAIT_S)
    assert not second.is_leader


def test_elections_of_different_names_have_different_leaders(shared: Any) -> None:
    with election(shared, "a", "one") as one, election(shared, "b", "two") as two:
        assert one.wait_for_leadership(WAIT_S)
        assert two.wait_for_leadership(WAIT_S)


def test_run_gives_the_term_back_when_the_work_returns(shared: Any) -> None:
    with election(shared, "b") as other:
        assert other.wait_for_leadership(WAIT_S)
        began = threading.Event()
        answers: list[int] = []
        mine = election(shared, "a")
        worker = threading.Thread(target=lambda: answers.append(mine.run(lambda term: began.set() or term.token)))
        worker.start()
        other.resign(pause=60)
        assert began.wait(WAIT_S)
        worker.join(WAIT_S)
        assert answers
        assert answers[0] > 0


def test_run_calls_the_work_again_when_its_term_was_lost(shared: Any) -> None:
    tokens: list[int] = []
    key = b"/slurp/v1/default/m/election/reports/leader"

    def work(term: Any) -> str:
        tokens.append(term.token)
        if len(tokens) == 1:
            shared.store.call(Delete(key), 5).result()  # an operator deletes the key
            assert term.lost.wait(WAIT_S)
            with pytest.raises(LeadershipLostError):
                term.check()
            term.check()
        return "done"

    assert election(shared, "a").run(work) == "done"
    assert tokens[1] > tokens[0]
    assert not shared.store.call(Get(key), 5).result().kvs  # the second term was given back


def test_run_gives_the_term_back_when_the_work_raises(shared: Any) -> None:
    def work(term: Any) -> None:
        raise ZeroDivisionError

    with election(shared, "a") as mine, pytest.raises(ZeroDivisionError):
        mine.run(work)
    assert not shared.store.call(Get(b"/slurp/v1/default/m/election/reports/leader"), 5).result().kvs


def test_work_is_told_to_stop_when_the_service_stops(shared: Any) -> None:
    began = threading.Event()
    mine = election(shared, "a")

    def work(term: Any) -> str:
        began.set()
        while not term.wait(60):
            pass
        return "stopped in order"

    answers: list[str] = []
    mine.start()
    worker = threading.Thread(target=lambda: answers.append(mine.run(work)))
    worker.start()
    assert began.wait(WAIT_S)
    assert mine.stop()
    worker.join(WAIT_S)
    assert answers == ["stopped in order"]


def test_lifespan_and_async_with(shared: Any) -> None:
    mine = election(shared, "a")

    async def serve() -> bool:
        async with mine.lifespan(None):
            return await asyncio.to_thread(mine.wait_for_leadership, WAIT_S)

    assert asyncio.run(serve())
    assert not mine.is_leader


def test_listeners_hear_every_change_in_order(shared: Any) -> None:
    heard: list[str] = []
    stopped = threading.Event()
    mine = election(shared, "a")
    mine.start()

    def listen(event: Any) -> None:
        if hasattr(event, "state"):
            heard.append(event.state.value)
            if event.state.value == "follower":
                stopped.set()

    mine.subscribe(listen)
    assert mine.wait_for_leadership(WAIT_S)
    mine.stop()
    assert stopped.wait(WAIT_S)
    assert heard[-4:] == ["leader", "draining", "candidate", "follower"]


def test_who_listens_before_the_start_hears_all_of_every_start_until_it_ends(shared: Any) -> None:
    heard: list[str] = []
    ended: list[str] = []
    mine = election(shared, "a")

    def listen(event: Any) -> None:
        if hasattr(event, "state"):
            heard.append(event.state.value)

    mine.subscribe(listen)
    end = mine.subscribe(lambda event: ended.append(str(event)))
    for start in (1, 2):
        if start == 2:
            end()
            ended.clear()
        heard.clear()
        with mine:
            assert mine.wait_for_leadership(WAIT_S)
        assert heard[-4:] == ["leader", "draining", "candidate", "follower"]  # a stop ends when all is told
        assert heard.count("leader") == 1
    assert ended == []


def test_questions_before_start_have_answers_and_acts_say_what_to_do(shared: Any) -> None:
    mine = election(shared, "a")
    assert (mine.is_leader, mine.term, mine.leader) == (False, None, None)
    with pytest.raises(LifecycleError, match=r"start\(\) it first"):
        mine.wait_for_leadership(1)
    assert mine.stop()


@pytest.mark.etcd
def test_two_processes_worth_of_election_on_real_etcd(etcd_settings: Callable[..., SlurpSettings]) -> None:
    first, second = LeaderElection("x", etcd_settings("a")), LeaderElection("x", etcd_settings("b"))
    with first:
        assert first.wait_for_leadership(WAIT_S)
        token = first.require_term().token
        second.start()
        assert second.wait_for_leader(WAIT_S).token == token
        assert not second.is_leader
    assert second.wait_for_leadership(WAIT_S)
    assert second.require_term().token > token
    assert second.stop()
