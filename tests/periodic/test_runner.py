"""Running functions and coroutines: how they end, and that nothing they do ends more than themselves."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.errors import ConfigurationError, LeadershipLostError
from slurp_leader.periodic.messages import Begin, RunEnded, RunOutcome
from slurp_leader.periodic.runner import Runner, Task
from slurp_leader.term import Term
from support.errors import UnprintableError
from support.waiting import WAIT_S

DUE = datetime(2026, 1, 1, tzinfo=UTC)


def term() -> Term:
    clock = SystemClock()
    made = Term("reports", 9, 1, "a", "s", "t", b"k", b"v", clock)
    made.trust.until = clock.boottime() + 3600
    return made


class Bench:
    """Runs functions one after another, and says how they ended."""

    def __init__(self) -> None:
        self.ended: queue.SimpleQueue[RunEnded] = queue.SimpleQueue()
        self.tasks: dict[str, Task] = {}
        self.runner = Runner(self.tasks, SystemClock(), self.ended.put)
        self.term = term()

    def begin(self, function: Callable[..., Any], run_id: int = 1) -> None:
        self.tasks[f"work-{run_id}"] = Task.of(function)
        self.runner.begin(Begin(run_id, f"work-{run_id}", DUE, self.term))

    def outcome(self) -> RunOutcome | None:
        return self.ended.get(timeout=WAIT_S).outcome

    def turn_loop(self) -> None:
        """Wait until the loop has done all that was there to be done, and what that led to."""
        assert self.runner._loop is not None
        for _ in range(10):
            turned = threading.Event()
            self.runner._loop.call_soon_threadsafe(turned.set)
            assert turned.wait(WAIT_S)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.runner.stop(WAIT_S)


def test_a_function_gets_the_term_if_it_takes_one(bench: Bench) -> None:
    got: list[Any] = []

    async def coroutine(term: Term) -> None:
        got.append(term)

    bench.begin(got.append)
    assert bench.outcome() is RunOutcome.COMPLETED
    bench.begin(lambda: got.append("nothing"))
    assert bench.outcome() is RunOutcome.COMPLETED
    bench.begin(coroutine)
    assert bench.outcome() is RunOutcome.COMPLETED
    assert got == [bench.term, "nothing", bench.term]


def test_a_coroutine_and_a_function_that_raise_have_failed_and_say_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def coroutine() -> None:
        raise ZeroDivisionError("in a coroutine")

    def leaves() -> None:
        raise SystemExit("in a function")

    for run_id, function in enumerate((coroutine, leaves), 1):
        bench.begin(function, run_id)
        assert bench.outcome() is RunOutcome.FAILED
    assert "in a coroutine" in caplog.text
    assert "in a function" in caplog.text


async def leaves_at_once(error: BaseException) -> None:
    raise error


async def leaves_in_a_task(error: BaseException) -> None:
    await asyncio.create_task(leaves_at_once(error))


async def leaves_in_a_callback(error: BaseException) -> None:
    def leave() -> None:
        raise error

    asyncio.get_running_loop().call_soon(leave)
    await asyncio.sleep(0)
    raise error


async def stops_the_loop(error: BaseException) -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    raise error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
@pytest.mark.parametrize("leave", [leaves_at_once, leaves_in_a_task, leaves_in_a_callback, stops_the_loop])
def test_what_ends_programs_ends_one_coroutine_and_none_beside_it(
    bench: Bench, leave: Callable[[BaseException], Any], error: BaseException
) -> None:
    began, go_on = threading.Event(), threading.Event()

    async def beside() -> None:
        began.set()
        await asyncio.get_running_loop().run_in_executor(None, go_on.wait, WAIT_S)

    bench.begin(beside, 1)
    assert began.wait(WAIT_S)
    bench.begin(functools.partial(leave, error), 2)
    first = bench.ended.get(timeout=WAIT_S)
    assert (first.run_id, first.outcome) == (2, RunOutcome.FAILED)
    go_on.set()
    assert bench.outcome() is RunOutcome.COMPLETED
    bench.begin(beside, 3)
    assert bench.outcome() is RunOutcome.COMPLETED


def test_what_ends_programs_does_not_keep_the_loop_from_its_end(bench: Bench) -> None:
    began = threading.Event()

    async def leaves_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise SystemExit(3)

    async def work() -> None:
        left = asyncio.create_task(leaves_when_cancelled())
        await asyncio.sleep(0)
        began.set()
        await asyncio.Event().wait()
        await left

    bench.begin(work)
    assert began.wait(WAIT_S)
    assert bench.runner.stop(WAIT_S)
    assert bench.runner._loop is not None
    assert bench.runner._loop.is_closed()


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_nothing_is_called_once_the_term_is_not_valid_any_more(bench: Bench, kind: str) -> None:
    called: list[Term] = []

    async def coroutine(term: Term) -> None:
        called.append(term)

    bench.term.trust.until = float("-inf")
    bench.begin(called.append if kind == "function" else coroutine)
    assert bench.outcome() is None
    assert called == []


def test_a_coroutine_behind_one_that_blocks_looks_at_the_term_when_its_turn_has_come(bench: Bench) -> None:
    began, go_on = threading.Event(), threading.Event()
    called: list[Term] = []

    async def blocks() -> None:
        began.set()
        go_on.wait(WAIT_S)

    async def work(term: Term) -> None:
        called.append(term)

    bench.begin(blocks, 1)
    assert began.wait(WAIT_S)
    bench.begin(work, 2)
    bench.term.trust.until = float("-inf")
    go_on.set()
    assert [bench.outcome(), bench.outcome()] == [RunOutcome.COMPLETED, None]
    assert called == []


def test_where_no_thread_can_be_had_a_coroutine_fails_and_a_stop_does_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuses_the_loop(thread: threading.Thread) -> None:
        if thread.name == "slurp-periodic-loop":
            raise RuntimeError("can't start new thread")
        start(thread)

    async def work() -> None:
        pass

    monkeypatch.setattr(threading.Thread, "start", refuses_the_loop)
    bench.begin(work)
    assert bench.outcome() is RunOutcome.FAILED
    assert bench.runner.stop(WAIT_S)


def test_an_error_that_cannot_be_printed_ends_its_run_all_the_same(bench: Bench) -> None:
    def work() -> None:
        raise UnprintableError

    bench.begin(work)
    assert bench.outcome() is RunOutcome.FAILED
    assert [error for error, _ in bench.runner.failing.values()] == ["UnprintableError"]


def test_work_fails_from_its_newest_failure_until_it_is_done_once(bench: Bench) -> None:
    def work(term: Term) -> None:
        term.check()
        if raises:
            raise ValueError("no disk")

    def failing_after(run_id: int) -> list[str]:
        bench.runner.begin(Begin(run_id, "report", DUE, bench.term))
        bench.outcome()
        return [f"{name}: {error}" for name, (error, _) in bench.runner.failing.items()]

    bench.tasks["report"], raises = Task.of(work), True
    assert failing_after(1) == ["report: ValueError('no disk')"]
    bench.term.trust.until = float("-inf")
    assert failing_after(2) == ["report: ValueError('no disk')"]  # an interruption tells nothing
    bench.term, raises = term(), False
    assert failing_after(3) == []


@pytest.mark.parametrize("is_over", [True, False])
def test_the_loss_of_the_term_is_an_interruption_and_anything_else_a_failure(bench: Bench, is_over: bool) -> None:
    def work(term: Term) -> None:
        if is_over:
            term.trust.until = float("-inf")
        term.check()
        other = Term("other", 1, 1, "a", "s", "t", b"k", b"v", SystemClock())
        other.check()

    bench.begin(work)
    assert bench.outcome() is (RunOutcome.INTERRUPTED if is_over else RunOutcome.FAILED)


def test_the_loss_of_a_term_that_was_proved_again_meanwhile_is_an_interruption_too(bench: Bench) -> None:
    proved_until = bench.term.trust.until

    def work(term: Term) -> None:
        term.trust.until = float("-inf")
        try:
            term.check()
        finally:
            term.trust.until = proved_until

    bench.begin(work)
    assert bench.outcome() is RunOutcome.INTERRUPTED


def test_a_loss_that_the_work_made_up_is_a_failure_of_it(bench: Bench) -> None:
    """Its term was never in doubt: some receiver refused it, say, and will do so again."""

    def work(term: Term) -> None:
        raise LeadershipLostError("the ledger refused our token", token=term.token)

    bench.begin(work)
    assert bench.outcome() is RunOutcome.FAILED


def test_a_coroutine_is_cancelled_and_has_ended_only_when_it_has_cleaned_up(bench: Bench) -> None:
    began, cleaning, may_end = threading.Event(), threading.Event(), threading.Event()

    async def work(term: Term) -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.get_running_loop().run_in_executor(None, may_end.wait, WAIT_S)

    bench.begin(work)
    assert began.wait(WAIT_S)
    bench.term.trust.until = float("-inf")
    bench.runner.cancel(1)
    assert cleaning.wait(WAIT_S)
    assert bench.ended.empty()
    may_end.set()
    assert bench.outcome() is RunOutcome.INTERRUPTED


def test_a_coroutine_that_is_cancelled_before_its_first_step_ends_too(bench: Bench) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    for run_id in range(1, 30):
        bench.begin(work, run_id)
        bench.runner.cancel(run_id)
    for _ in range(1, 30):
        bench.ended.get(timeout=WAIT_S)


def test_a_coroutine_that_is_cancelled_before_its_loop_knows_of_it_ends_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stops the runner while another thread begins something."""

    async def work() -> None:
        await asyncio.Event().wait()

    async def nothing() -> None: ...

    bench.begin(nothing, 1)
    assert bench.outcome() is RunOutcome.COMPLETED
    loop = bench.runner._loop
    assert loop is not None
    tell = loop.call_soon_threadsafe

    def cancelled_first(begin: Callable[[], None]) -> None:
        monkeypatch.undo()
        bench.runner.cancel(2)
        tell(begin)

    monkeypatch.setattr(loop, "call_soon_threadsafe", cancelled_first)
    bench.begin(work, 2)
    assert bench.ended.get(timeout=WAIT_S).run_id == 2


def test_stop_cancels_coroutines_and_waits_for_functions(bench: Bench) -> None:
    began = threading.Barrier(3)
    go_on = threading.Event()

    async def coroutine() -> None:
        began.wait(WAIT_S)
        await asyncio.Event().wait()

    def function() -> None:
        began.wait(WAIT_S)
        go_on.wait(WAIT_S)

    bench.begin(coroutine, 1)
    bench.begin(function, 2)
    began.wait(WAIT_S)
    assert not bench.runner.stop(0)
    go_on.set()
    assert bench.runner.stop(WAIT_S)


def test_stop_cancels_coroutines_before_it_waits_for_functions(bench: Bench) -> None:
    began = threading.Barrier(3)
    go_on = threading.Event()

    def function() -> None:
        began.wait(WAIT_S)
        go_on.wait(WAIT_S * 2)

    async def coroutine() -> None:
        began.wait(WAIT_S)
        try:
            await asyncio.Event().wait()
        finally:
            go_on.set()

    bench.begin(function, 1)
    bench.begin(coroutine, 2)
    began.wait(WAIT_S)
    assert bench.runner.stop(WAIT_S)


@pytest.mark.parametrize("was_lost", [True, False])
def test_stop_lets_a_coroutine_clean_up_that_was_cancelled_before_with_the_tasks_it_uses(
    bench: Bench, was_lost: bool, caplog: pytest.LogCaptureFixture
) -> None:
    began, cleaning, may_end = threading.Event(), threading.Event(), threading.Event()
    cleaned: list[bool] = []

    async def close() -> bool:
        return await asyncio.get_running_loop().run_in_executor(None, may_end.wait, WAIT_S)

    async def work() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            cleaned.append(await asyncio.create_task(close()))

    bench.begin(work)
    assert began.wait(WAIT_S)
    if was_lost:
        bench.term.trust.until = float("-inf")
        bench.runner.cancel(1)
        assert cleaning.wait(WAIT_S)
    assert not bench.runner.stop(0)
    assert cleaning.wait(WAIT_S)
    bench.turn_loop()
    assert not bench.runner.stop(0)
    bench.turn_loop()
    may_end.set()
    assert bench.runner.stop(WAIT_S)
    assert cleaned == [True]
    assert [said.getMessage() for said in caplog.records if said.name == "asyncio"] == []


def test_a_coroutine_that_stops_its_own_runner_does_not_wait_for_itself(bench: Bench) -> None:
    stopped: list[bool] = []

    async def work() -> None:
        stopped.append(bench.runner.stop(WAIT_S))

    bench.begin(work)
    bench.outcome()
    assert stopped == [False]


class Caller:
    def __call__(self, term: Term) -> None: ...


class AsyncCaller:
    async def __call__(self) -> None: ...


async def with_term(term: Term, extra: int = 0) -> None: ...


@pytest.mark.parametrize(
    ("function", "takes_term", "is_async"),
    [
        (lambda: None, False, False),
        (lambda term: None, True, False),
        (lambda *terms: None, True, False),
        (lambda extra=1: None, False, False),
        (with_term, True, True),
        (functools.partial(with_term, None), False, True),
        (Caller(), True, False),
        (AsyncCaller(), False, True),
        (Caller().__call__, True, False),
    ],
)
def test_what_a_function_is_is_seen_when_it_is_registered(
    function: Callable[..., Any], takes_term: bool, is_async: bool
) -> None:
    task = Task.of(function)
    assert (task.takes_term, task.is_async) == (takes_term, is_async)


def yields() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("function", [lambda a, b: None, lambda *, key: None, yields, "text"])
def test_what_cannot_be_periodic_work_is_refused(function: Any) -> None:
    with pytest.raises(ConfigurationError):
        Task.of(function)
