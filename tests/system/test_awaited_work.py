"""`await election.aio.run(work)`, where the work is a coroutine function: on the loop of who awaits it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import pytest

from slurp_leader import LeaderElection, LeadershipLostError, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.election import ElectionState
from slurp_leader.errors import ConfigurationError, LifecycleError
from slurp_leader.store import Delete, Get, Put, Txn
from slurp_leader.system.running import _Task
from slurp_leader.term import Term
from support.waiting import WAIT_S, until, when_it_stands

T = TypeVar("T")
KEY = b"/slurp/v1/default/m/election/reports/leader"
WHO = ContextVar("WHO", default="nobody")


def election(shared: Any, node_id: str, **options: Any) -> LeaderElection:
    settings = SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3, **options})
    return LeaderElection("reports", settings, stores=shared)


def soon(awaitable: Awaitable[T]) -> Coroutine[Any, Any, T]:
    return asyncio.wait_for(awaitable, WAIT_S)


async def come_true(ask: Callable[[], Any]) -> None:
    """Wait for what gives nothing to await."""
    await asyncio.to_thread(until, ask)


def is_taken(shared: Any) -> bool:
    return bool(shared.store.call(Get(KEY), 5).result().kvs)


def writes(request: Any) -> bool:
    return isinstance(request, Txn) and any(isinstance(step, Put) for step in request.success)


class Work:
    """Work that goes on until it is cancelled, and then needs a while to end.

    That is in its first term; in the others it returns "done" at once.

    Args:
        answer: What it returns when it is cancelled; an exception is raised.
    """

    def __init__(self, answer: Any = asyncio.CancelledError) -> None:
        self.terms: list[Term] = []
        self.cancelled = 0
        self.task: Any = None
        self.began, self.ends, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._answer = answer

    async def __call__(self, term: Term) -> Any:
        self.terms.append(term)
        self.task = asyncio.current_task()
        self.began.set()
        if len(self.terms) > 1:
            return "done"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            self.ends.set()
            await self.may_end.wait()
            if self._answer is asyncio.CancelledError:
                raise
            if isinstance(self._answer, Exception):
                raise self._answer from None
            return self._answer


# ---------------------------------------------------------------- where it runs, and what it comes to


class Service:
    async def work(self, term: Term) -> Any:
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), WHO.get(), term.is_valid

    async def __call__(self, term: Term) -> Any:
        return await self.work(term)

    async def with_more(self, more: str, term: Term) -> Any:
        assert more == "more"
        return await self.work(term)


@pytest.mark.parametrize(
    "work",
    [Service().work, Service(), partial(Service().with_more, "more"), partial(Service())],
    ids=["method", "object", "partial", "partial of an object"],
)
def test_a_coroutine_function_runs_on_the_loop_of_the_caller(shared: Any, work: Callable[[Term], Any]) -> None:
    async def serve() -> None:
        WHO.set("the service")
        assert await soon(election(shared, "a").aio.run(work)) == (asyncio.get_running_loop(), "the service", True)

    asyncio.run(serve())
    assert not is_taken(shared)


def test_the_loop_goes_on_while_it_waits_for_leadership(shared: Any) -> None:
    work = Service().work

    async def serve() -> None:
        async with election(shared, "b") as other:
            assert await other.aio.wait_for_leadership(WAIT_S)
            running = asyncio.create_task(election(shared, "a").aio.run(work))
            await come_true(lambda: other.control.get(fresh=True) and other.control.explain("a"))
            assert not running.done()
        assert (await soon(running))[2]

    asyncio.run(serve())


@pytest.mark.parametrize("error", [ZeroDivisionError(), LeadershipLostError("the ledger refused our token", token=1)])
def test_what_the_work_raises_comes_through_and_the_term_is_given_back(shared: Any, error: Exception) -> None:
    async def work(term: Term) -> None:
        raise error

    async def serve() -> None:
        async with election(shared, "a") as mine:
            with pytest.raises(type(error)) as caught:
                await soon(mine.aio.run(work))
            assert caught.value is error

    asyncio.run(serve())
    assert not is_taken(shared)


def test_work_that_cancels_itself_is_not_begun_anew(shared: Any) -> None:
    terms: list[Term] = []

    async def work(term: Term) -> None:
        terms.append(term)
        raise asyncio.CancelledError

    async def serve() -> None:
        with pytest.raises(asyncio.CancelledError):
            await soon(election(shared, "a").aio.run(work))

    asyncio.run(serve())
    assert len(terms) == 1
    assert not is_taken(shared)


def test_what_is_not_awaited_is_told_where_it_is(shared: Any) -> None:
    async def work(term: Term) -> str:
        return "done"

    mine = election(shared, "a")
    with pytest.raises(ConfigurationError, match=r"asyncio\.run\(election\.aio\.run\(work\)\)"):
        mine.run(work)
    assert asyncio.run(mine.aio.run(work)) == "done"  # type: ignore[arg-type]


def test_a_plain_function_that_returns_a_coroutine_is_told_what_to_pass_instead(shared: Any) -> None:
    async def work(term: Term) -> str:
        return "done"

    def call(term: Term) -> Any:
        made.append(work(term))
        return made[-1]

    async def serve() -> None:
        await soon(mine.aio.run(call))

    made: list[Any] = []
    mine = election(shared, "a")
    with pytest.raises(ConfigurationError, match=r"coroutine.*asyncio\.run\(election\.aio\.run\(work\)\).*partial"):
        mine.run(call)
    with pytest.raises(ConfigurationError, match=r"returned a coroutine"):
        asyncio.run(serve())
    assert [inspect.getcoroutinestate(each) for each in made] == [inspect.CORO_CLOSED] * 2
    assert not is_taken(shared)


# ---------------------------------------------------------------- the end of a term


def test_work_is_cancelled_when_its_term_is_lost_and_begins_anew_in_the_next(shared: Any) -> None:
    async def serve() -> None:
        work = Work()
        running = asyncio.create_task(election(shared, "a").aio.run(work))
        await soon(work.began.wait())
        shared.store.call(Delete(KEY), 5).result()  # an operator deletes the key
        await soon(work.ends.wait())
        assert not work.terms[0].is_valid
        assert len(work.terms) == 1  # nothing begins beside work that has not ended
        work.may_end.set()
        assert await soon(running) == "done"
        assert work.cancelled == 1
        assert work.terms[1].token > work.terms[0].token

    asyncio.run(serve())
    assert not is_taken(shared)


def test_a_listener_that_hangs_does_not_hold_up_the_cancellation(shared: Any) -> None:
    may_go_on = threading.Event()

    async def serve() -> None:
        work = Work()
        work.may_end.set()
        async with election(shared, "a") as mine:
            running = asyncio.create_task(mine.aio.run(work))
            await soon(work.began.wait())
            mine.subscribe(lambda event: may_go_on.wait(WAIT_S))
            shared.store.call(Delete(KEY), 5).result()
            await soon(work.ends.wait())
            may_go_on.set()
            assert await soon(running) == "done"

    asyncio.run(serve())


def test_work_does_not_begin_in_a_term_that_was_lost_while_the_loop_was_busy(shared: Any) -> None:
    async def serve() -> None:
        work = Work()
        work.may_end.set()
        async with election(shared, "a") as mine:
            running = asyncio.create_task(mine.aio.run(work))
            await asyncio.sleep(0)
            assert mine.wait_for_leadership(WAIT_S)  # the loop stands still
            first = mine.require_term()
            shared.store.call(Delete(KEY), 5).result()
            assert first.lost.wait(WAIT_S)
            await soon(work.began.wait())
            assert work.terms[0].token > first.token
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(serve())


def test_work_does_not_begin_when_trust_has_ended_before_the_loop_came_to_it() -> None:
    """Also where who watches over the term has not noticed yet."""
    begun: list[Term] = []
    term = Term("reports", 1, 1, "a", "session", "term", KEY, b"", SystemClock())

    async def work(term: Term) -> None:
        begun.append(term)

    async def serve() -> None:
        ended = asyncio.Event()
        task = _Task(work, term, asyncio.get_running_loop(), ended.set, WAIT_S)
        task.begin()
        await soon(ended.wait())
        with pytest.raises(LeadershipLostError):
            task.result()

    asyncio.run(serve())
    assert begun == []


def test_the_term_is_held_until_work_that_was_cancelled_for_a_handover_has_ended(shared: Any) -> None:
    async def serve() -> None:
        work = Work()
        mine = election(shared, "a")
        async with mine:
            running = asyncio.create_task(mine.aio.run(work))
            await soon(work.began.wait())
            async with election(shared, "b") as other:
                handing = asyncio.create_task(asyncio.to_thread(when_it_stands, other.transfer, "b"))
                await soon(work.ends.wait())
                assert work.terms[0].leaving.is_set()
                assert work.terms[0].is_valid
                assert not other.is_leader
                work.may_end.set()
                await soon(handing)
                assert await other.aio.wait_for_leadership(WAIT_S)
                assert not running.done()
                assert len(work.terms) == 1
                assert (await other.aio.transfer("a")).node_id == "a"  # it stands on
                assert await soon(running) == "done"
        assert work.cancelled == 1

    asyncio.run(serve())


def test_work_that_has_something_to_show_when_it_is_cancelled_is_done(shared: Any) -> None:
    async def serve() -> None:
        work = Work("something")
        work.may_end.set()
        async with election(shared, "a") as mine, election(shared, "b") as other:
            if not await mine.aio.wait_for_leadership(1):
                await asyncio.to_thread(when_it_stands, other.transfer, "a")
            running = asyncio.create_task(mine.aio.run(work))
            await soon(work.began.wait())
            await asyncio.to_thread(when_it_stands, other.transfer, "b")
            assert await soon(running) == "something"

    asyncio.run(serve())


@pytest.mark.parametrize("answer", [asyncio.CancelledError, None, "stopped in order"])
def test_a_stop_cancels_the_work_and_waits_for_its_end(shared: Any, answer: Any) -> None:
    async def serve() -> None:
        work = Work(answer)
        async with election(shared, "a") as mine:
            running = asyncio.create_task(mine.aio.run(work))
            await soon(work.began.wait())
            stopping = asyncio.create_task(mine.aio.stop())
            await soon(work.ends.wait())
            assert work.terms[0].is_valid
            work.may_end.set()
            assert await soon(running) == (None if answer is asyncio.CancelledError else answer)
            assert await soon(stopping)

    asyncio.run(serve())
    assert not is_taken(shared)


def test_work_that_swallows_its_cancellation_is_waited_for_no_longer_than_any(shared: Any) -> None:
    async def work(term: Term) -> None:
        terms.append(term)
        began.set()
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    async def serve() -> None:
        mine = election(shared, "a", stop_timeout=0.5)
        await mine.aio.start()
        running = asyncio.create_task(mine.aio.run(work))
        await soon(began.wait())
        await soon(mine.aio.stop())
        assert terms[0].lost.is_set()
        assert not running.done()
        async with election(shared, "b") as other:
            assert await other.aio.wait_for_leadership(WAIT_S)
        may_end.set()
        with pytest.raises(LifecycleError, match="no work was done to its end"):
            await soon(running)

    terms = list[Term]()
    began, may_end = asyncio.Event(), asyncio.Event()
    asyncio.run(serve())


def test_work_whose_cancellation_was_lost_is_cancelled_again(shared: Any) -> None:
    """As a wait loses it whose end comes at the same moment."""

    async def work(term: Term) -> str:
        terms.append(term)
        began.set()
        if len(terms) > 1:
            return "done"
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            assert not terms[0].is_valid
        return "never"

    async def serve() -> None:
        running = asyncio.create_task(election(shared, "a", stop_timeout=0.2).aio.run(work))
        await soon(began.wait())
        shared.store.call(Delete(KEY), 5).result()
        assert await soon(running) == "done"

    terms = list[Term]()
    began = asyncio.Event()
    asyncio.run(serve())


@pytest.mark.parametrize("answer", [asyncio.CancelledError, None])
def test_work_in_a_term_in_doubt_is_cancelled_and_begins_anew_when_that_is_proved_again(
    shared: Any, answer: Any
) -> None:
    """Also when it was proved again before the work had ended."""

    async def serve() -> None:
        work = Work(answer)
        async with election(shared, "a") as mine:
            running = asyncio.create_task(mine.aio.run(work))
            await soon(work.began.wait())
            shared.store.faults.refuse_full(1_000_000, when=writes)
            await soon(work.ends.wait())
            assert (mine.state, mine.is_leader) == (ElectionState.SUSPENDED, False)
            shared.store.faults.clear()
            await come_true(lambda: work.terms[0].is_valid)
            work.may_end.set()
            assert await soon(running) == "done"
        assert [term.token for term in work.terms] == [work.terms[0].token] * 2

    asyncio.run(serve())


# ---------------------------------------------------------------- the end of the await


@pytest.mark.parametrize("answer", [asyncio.CancelledError, None, "stopped in order"])
def test_cancelling_the_await_cancels_the_work_and_gives_the_term_back(shared: Any, answer: Any) -> None:
    async def serve() -> None:
        work = Work(answer)
        mine = election(shared, "a")
        running = asyncio.create_task(mine.aio.run(work))
        await soon(work.began.wait())
        running.cancel()
        await soon(work.ends.wait())
        running.cancel()  # who is impatient does not break off what the work does at its end
        assert work.terms[0].is_valid
        work.may_end.set()
        await asyncio.wait([running])
        assert running.cancelled()
        assert work.cancelled == 1
        assert not mine.term  # it was started for this run, and is stopped
        assert not is_taken(shared)

    asyncio.run(serve())


def test_cancelling_the_await_leaves_an_election_that_ran_before_running(shared: Any) -> None:
    async def serve() -> None:
        work = Work()
        work.may_end.set()
        async with election(shared, "a") as mine:
            running = asyncio.create_task(mine.aio.run(work))
            await soon(work.began.wait())
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled()
            assert work.terms[0].leaving.is_set()
            await soon(asyncio.to_thread(work.terms[0].lost.wait))
            assert await mine.aio.wait_for_leadership(WAIT_S)
        assert len(work.terms) == 1

    asyncio.run(serve())


def test_an_error_of_work_that_was_cancelled_with_its_await_is_not_hidden(shared: Any) -> None:
    async def serve() -> None:
        work = Work(ValueError("could not tidy up"))
        work.may_end.set()
        running = asyncio.create_task(election(shared, "a").aio.run(work))
        await soon(work.began.wait())
        running.cancel()
        with pytest.raises(ValueError, match="tidy up"):
            await soon(running)

    asyncio.run(serve())


def test_a_timeout_around_the_await_is_one(shared: Any) -> None:
    async def end(limit: asyncio.Timeout, work: Work) -> None:
        await work.began.wait()
        limit.reschedule(0)

    async def run(work: Work) -> None:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
            tasks.create_task(end(limit, work))
            await election(shared, "a").aio.run(work)

    async def serve() -> None:
        work = Work()
        work.may_end.set()
        with pytest.raises(TimeoutError):
            await run(work)
        assert work.cancelled == 1

    asyncio.run(serve())


def test_cancelling_a_wait_for_leadership_ends_it_and_no_work_begins(shared: Any) -> None:
    async def serve() -> None:
        work = Work()
        async with election(shared, "b") as other:
            assert await other.aio.wait_for_leadership(WAIT_S)
            await other.control.aio.freeze("the night", by="alice")
        async with election(shared, "a") as mine:
            running = asyncio.create_task(mine.aio.run(work))
            await come_true(lambda: mine._running()._owners and mine._running().held_back)  # nothing happens any more
            running.cancel()
            await soon(asyncio.wait([running]))
            assert running.cancelled()
            await mine.control.aio.unfreeze(by="alice")
            assert await mine.aio.wait_for_leadership(WAIT_S)
        assert work.terms == []

    asyncio.run(serve())


def test_cancelling_a_wait_for_a_term_in_doubt_to_be_proved_ends_it(shared: Any) -> None:
    async def serve() -> None:
        work = Work()
        async with election(shared, "a") as mine:
            running = asyncio.create_task(mine.aio.run(work))
            await soon(work.began.wait())
            shared.store.faults.refuse_full(1_000_000, when=writes)
            await soon(work.ends.wait())
            work.may_end.set()
            await come_true(lambda: work.task.done())
            running.cancel()
            await soon(asyncio.wait([running]))
            assert running.cancelled()
            shared.store.faults.clear()

    asyncio.run(serve())


def test_cancelling_a_wait_for_the_end_of_a_term_that_others_work_in_ends_it(shared: Any) -> None:
    async def serve() -> None:
        work = Work()
        work.may_end.set()
        async with election(shared, "a") as mine:
            running = asyncio.create_task(mine.aio.run(work))
            await soon(work.began.wait())
            mine._running().add_owner("others")
            mine.resign()
            await soon(work.ends.wait())
            running.cancel()
            await soon(asyncio.wait([running]))
            assert running.cancelled()
            assert not work.terms[0].lost.is_set()
            mine._running().remove_owner("others")

    asyncio.run(serve())


def cancelled_with_its_loop(shared: Any, work: Any, began: asyncio.Event) -> bool:
    """Whether a run is cancelled by the end of its loop, which comes once its work has begun."""
    tasks: list[Any] = []

    async def serve() -> None:
        tasks.append(asyncio.create_task(election(shared, "a").aio.run(work)))
        await soon(began.wait())

    asyncio.run(serve())
    cancelled: bool = tasks[0].cancelled()
    return cancelled


def test_a_loop_that_ends_with_all_its_tasks_lets_the_work_end_and_gives_the_term_back(shared: Any) -> None:
    ended: list[Term] = []

    async def work(term: Term) -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.append(term)

    began = asyncio.Event()
    assert cancelled_with_its_loop(shared, work, began)
    assert ended
    assert not is_taken(shared)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the end of the work was asked for, on the loop."""
    event, cancel = asyncio.Event(), _Task._cancel

    def ask(task: _Task) -> None:
        cancel(task)
        event.set()

    monkeypatch.setattr(_Task, "_cancel", ask)
    return event


def test_a_loop_that_ends_cancels_the_work_once(shared: Any, asked: asyncio.Event) -> None:
    ended: list[Term] = []

    async def work(term: Term) -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            async with asyncio.timeout(WAIT_S):
                await asked.wait()
            ended.append(term)

    began = asyncio.Event()
    assert cancelled_with_its_loop(shared, work, began)
    assert ended
    assert not is_taken(shared)


def test_work_that_is_ended_while_a_timeout_of_its_own_ends_a_part_is_cancelled_after_that(
    shared: Any, asked: asyncio.Event
) -> None:
    steps: list[str] = []

    async def work(term: Term) -> None:
        try:
            async with asyncio.timeout(0):
                try:
                    await asyncio.Event().wait()
                finally:
                    tidies.set()
                    async with asyncio.timeout(WAIT_S):
                        await asked.wait()
                    steps.append("tidied")
        except TimeoutError:
            steps.append("timed out")
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("ended")

    async def serve() -> None:
        running = asyncio.create_task(election(shared, "a").aio.run(work))
        await soon(tidies.wait())
        running.cancel()
        await soon(asyncio.wait([running]))
        assert running.cancelled()

    tidies = asyncio.Event()
    asyncio.run(serve())
    assert steps == ["tidied", "timed out", "ended"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_is_closed_under_the_work_gives_the_term_back(shared: Any) -> None:
    work = Work()
    loop = asyncio.new_event_loop()
    with election(shared, "a") as mine:
        running = loop.create_task(mine.aio.run(work))
        loop.run_until_complete(soon(work.began.wait()))
        loop.close()
        assert work.terms[0].lost.wait(WAIT_S)
        with suppress(RuntimeError):
            running.get_coro().close()


# ---------------------------------------------------------------- etcd


@pytest.mark.etcd
def test_on_real_etcd_the_work_of_one_node_ends_before_that_of_the_next_begins(
    etcd_settings: Callable[..., SlurpSettings],
) -> None:
    seen: list[str] = []

    async def work(name: str, began: asyncio.Event, term: Term) -> None:
        seen.append(f"{name} begins")
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            term.check()
            seen.append(f"{name} ends")

    async def serve() -> None:
        first, second = LeaderElection("x", etcd_settings("a")), LeaderElection("x", etcd_settings("b"))
        began = {name: asyncio.Event() for name in "ab"}
        async with first:
            one = asyncio.create_task(first.aio.run(partial(work, "a", began["a"])))
            await soon(began["a"].wait())
            two = asyncio.create_task(second.aio.run(partial(work, "b", began["b"])))
        assert await soon(one) is None
        await soon(began["b"].wait())
        two.cancel()
        await asyncio.wait([two])

    asyncio.run(serve())
    assert seen == ["a begins", "a ends", "b begins", "b ends"]
