"""`LeaderElection` alone, through its public face."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from slurp_leader import LeaderElection, LeadershipLostError, NotLeaderError, SlurpSettings
from slurp_leader.election import ElectionState
from slurp_leader.errors import (
    ConfigurationError,
    HandoverError,
    LifecycleError,
    SlurpLeaderError,
    StoreFullError,
    StoreTimeoutError,
)
from slurp_leader.store import Delete, Get, Put, Txn
from slurp_leader.term import Term
from support.waiting import WAIT_S, until, when_it_stands


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


def test_run_lets_through_a_loss_that_the_work_made_up_in_a_term_that_was_never_in_doubt(shared: Any) -> None:
    """Such as one translated from the refusal of some receiver, which it would get again and again."""
    calls: list[int] = []

    def work(term: Any) -> None:
        calls.append(term.token)
        raise LeadershipLostError("the ledger refused our token", token=term.token)

    with election(shared, "a") as mine, pytest.raises(LeadershipLostError, match="ledger"):
        mine.run(work)
    assert len(calls) == 1


def test_run_gives_the_term_back_when_the_work_raises(shared: Any) -> None:
    def work(term: Any) -> None:
        raise ZeroDivisionError

    with election(shared, "a") as mine, pytest.raises(ZeroDivisionError):
        mine.run(work)
    assert not shared.store.call(Get(b"/slurp/v1/default/m/election/reports/leader"), 5).result().kvs


def test_run_refuses_what_it_would_not_await(shared: Any) -> None:
    async def work(term: Term) -> None: ...

    mine = election(shared, "a")
    with pytest.raises(ConfigurationError, match="does not await"):
        mine.run(work)
    assert mine.run(lambda term: asyncio.run(work(term)) or "done") == "done"  # type: ignore[func-returns-value]


@contextmanager
def handing_over(mine: LeaderElection, other: LeaderElection, work: Callable[[Term], Any]) -> Iterator[list[Any]]:
    """`mine` runs this work, and the lead is handed to `other` as soon as it has begun. What `run` returns is added to
    the list."""
    begun, answers = threading.Event(), list[Any]()

    def noticed(term: Term) -> Any:
        begun.set()
        return work(term)

    worker = threading.Thread(target=lambda: answers.append(mine.run(noticed)))
    with mine, other:
        worker.start()
        if not mine.wait_for_leadership(1):
            when_it_stands(other.transfer, "a")
        assert begun.wait(WAIT_S)
        when_it_stands(other.transfer, "b")
        yield answers
        worker.join(WAIT_S)


def test_work_that_ended_for_a_handover_begins_anew_in_the_next_term_of_this_process(shared: Any) -> None:
    began: list[int] = []
    mine, other = election(shared, "a"), election(shared, "b")

    def work(term: Any) -> None:
        began.append(term.token)
        while not term.wait(60):
            pass

    with handing_over(mine, other, work) as answers:
        assert other.wait_for_leadership(WAIT_S)
        assert answers == []
        assert other.transfer("a").node_id == "a"  # it stands on, and does not rest as who wanted to be rid of the lead
        until(lambda: len(began) == 2)
        assert began[1] > began[0]
        assert mine.stop()
    assert answers == [None]


def test_work_that_has_something_to_show_is_done_also_when_the_term_is_to_be_handed_over(shared: Any) -> None:
    def work(term: Any) -> int:
        assert term.leaving.wait(WAIT_S)  # it does not look, and comes to its end
        return term.token  # type: ignore[no-any-return]

    with handing_over(election(shared, "a"), election(shared, "b"), work) as answers:
        until(lambda: answers)
    assert len(answers) == 1


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


# ---------------------------------------------------------------- etcd that is full, or silent


class Troubled:
    """A connection to the shared store that is full, or falls silent, when a test says so."""

    def __init__(self, shared: Any) -> None:
        self._store = shared.store
        self.watch = self._store.watch
        self.is_full = False
        self.is_silent = False
        self.silent_at: Callable[[Any], bool] = lambda request: False

    def call(self, request: Any, timeout_s: float) -> Future[Any]:
        self.is_silent |= self.silent_at(request)
        if self.is_silent:
            return self._fails(StoreTimeoutError("no answer"))
        if self.is_full and isinstance(request, Txn) and any(isinstance(step, Put) for step in request.success):
            return self._fails(StoreFullError("no space"))
        return self._store.call(request, timeout_s)  # type: ignore[no-any-return]

    @staticmethod
    def _fails(error: Exception) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(error)
        return future

    def close(self) -> None:
        return


def in_background(call: Callable[[], Any]) -> threading.Thread:
    """Does it on a thread of its own; what the library refuses there is no matter of the test's."""

    def run() -> None:
        with suppress(SlurpLeaderError, AssertionError):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def takes_over(request: Any) -> bool:
    steps = request.success if isinstance(request, Txn) else ()
    return any(isinstance(step, Put) and step.key.endswith(b"/leader") for step in steps)


def test_work_that_begins_anew_in_a_term_that_was_in_doubt_is_waited_for_like_any(shared: Any) -> None:
    """It is one term to the election: what ended for want of proof did not end the work of that term."""
    connection = Troubled(shared)
    settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3})
    mine, other = LeaderElection("reports", settings, stores=lambda: connection), election(shared, "b")
    began, in_doubt, tokens, beside = threading.Semaphore(0), threading.Event(), [], []

    def work(term: Any) -> None:
        tokens.append(term.token)
        began.release()
        if len(tokens) == 1:
            until(lambda: not term.is_valid)
            in_doubt.set()
            return
        assert term.leaving.wait(WAIT_S)
        other.wait_for_leadership(0.5)  # a step that cannot be interrupted
        beside.append(other.is_leader)

    with mine:
        working = in_background(lambda: mine.run(work))
        assert began.acquire(timeout=WAIT_S)
        connection.is_full = True
        assert in_doubt.wait(WAIT_S)
        connection.is_full = False
        assert began.acquire(timeout=WAIT_S)
        assert tokens[0] == tokens[1]
        with other:
            until(lambda: other.control.transfer("b", timeout=WAIT_S), not_yet=HandoverError)
            assert other.wait_for_leadership(WAIT_S)
            until(lambda: beside)
    working.join(WAIT_S)
    assert beside == [False]


def test_a_stop_that_etcd_does_not_answer_ends_the_election_all_the_same(
    shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurp_leader.election.election._LONGEST_GOODBYE_S", 0.5)
    connection = Troubled(shared)
    settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 60, "stop_timeout": 0.5})
    mine, leads = LeaderElection("reports", settings, stores=lambda: connection), []
    mine.start()
    assert mine.wait_for_leadership(WAIT_S)
    term, inner = mine.require_term(), mine._running()
    with election(shared, "b") as other:
        connection.silent_at = takes_over  # when it hands over
        handing = in_background(
            lambda: until(lambda: other.control.transfer("b", timeout=3), patience_s=3, not_yet=HandoverError)
        )
        until(lambda: connection.is_silent)
        waiting = in_background(lambda: leads.append(inner.wait_for_leadership()))
        assert mine.stop() is False
        waiting.join(WAIT_S)
        assert leads == [False]
        assert (inner.has_ended, term.lost.is_set(), term.may_go_on) == (True, True, False)
        handing.join(WAIT_S)


def test_work_that_saw_its_term_in_doubt_begins_anew_although_it_was_proved_again_meanwhile(shared: Any) -> None:
    """As it does when its end takes a moment: what it raises is the loss of its own term all the same."""
    connection = Troubled(shared)
    settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3})
    mine, tokens = LeaderElection("reports", settings, stores=lambda: connection), []

    def work(term: Any) -> str:
        tokens.append(term.token)
        if len(tokens) > 1:
            return "done"
        connection.is_full = True
        until(lambda: not term.is_valid)
        try:
            term.check()
        finally:
            connection.is_full = False
            until(lambda: term.is_valid)
        return "not told"

    assert mine.run(work) == "done"
    assert tokens[0] == tokens[1]


def test_work_that_fails_while_its_term_is_in_doubt_gives_the_term_back(shared: Any) -> None:
    connection = Troubled(shared)
    settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3})
    mine, errors = LeaderElection("reports", settings, stores=lambda: connection), []

    def work(term: Any) -> None:
        connection.is_full = True
        until(lambda: mine.state is ElectionState.SUSPENDED and not mine.is_leader)
        raise ValueError("broken")

    def run() -> None:
        try:
            mine.run(work)
        except ValueError as error:
            errors.append(error)

    with mine:
        in_background(run)
        until(lambda: errors)
        connection.is_full = False
        with election(shared, "b") as other:
            assert other.wait_for_leadership(WAIT_S)


def test_the_verbs_that_wait_can_be_awaited(shared: Any) -> None:
    async def lead() -> None:
        async with election(shared, "a") as mine:
            assert await mine.aio.wait_for_leadership(WAIT_S)
            leader = await mine.aio.wait_for_leader(WAIT_S)
            assert leader.node_id == "a"
            assert await mine.aio.get_leader(fresh=True) == leader
            with pytest.raises(HandoverError) as caught:
                await mine.aio.transfer("a")
            assert caught.value.reason == "itself"
            assert await mine.aio.run(lambda term: term.token) == leader.token

    asyncio.run(lead())
