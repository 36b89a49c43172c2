"""The breaker around calls: threads, coroutines, decorators, and what is told of it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import pickle
import random
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest

from slurp_leader.errors import (
    CircuitOpenError,
    ConfigurationError,
    JobInterrupted,
    LeadershipLostError,
    LifecycleError,
    Outcome,
    RequestInvalidError,
    RetryAfterError,
    StoreUnavailableError,
    TerminalError,
)
from slurp_leader.resilience import BreakerOptions, CircuitBreaker, CircuitChange, CircuitState, is_failure
from slurp_leader.telemetry.metrics import CIRCUIT_REFUSED, CIRCUIT_STATE, CIRCUIT_TRANSITIONS, Instrument
from support.calls import PATIENCE_S
from support.virtual import VirtualClock

OPTIONS = BreakerOptions(minimum_calls=4, open_base=5, open_cap=60, open_jitter=0, probe_timeout=30)


class Numbers:
    """Metrics that can be looked at."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, dict[str, str]]] = []

    def _note(self, instrument: Instrument, value: float = 1, **attributes: str) -> None:
        self.seen.append((instrument.name, value, attributes))

    add = set = record = _note

    def of(self, instrument: Instrument) -> list[tuple[float, dict[str, str]]]:
        return [(value, attributes) for name, value, attributes in self.seen if name == instrument.name]


class Bench:
    """A breaker over a clock that is moved by hand."""

    def __init__(self, options: BreakerOptions = OPTIONS, **more: Any) -> None:
        self.clock = VirtualClock()
        self.changes: list[CircuitChange] = []
        more = {"listener": self.changes.append, **more}
        self.breaker = CircuitBreaker("models", options, clock=self.clock, rng=random.Random(1), **more)

    def fail(self, times: int = 4, error: BaseException | None = None) -> Bench:
        for _ in range(times):
            with pytest.raises(type(error or OSError())):
                self.breaker.call(_raise, error or OSError("no route"))
        return self

    def until_probe(self) -> None:
        self.clock.now += self.breaker.snapshot().wait_s


def _raise(error: BaseException) -> None:
    raise error


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---------------------------------------------------------------- calls


def test_what_keeps_failing_is_called_no_more_until_a_probe_succeeds(bench: Bench) -> None:
    bench.fail()
    called = []
    with pytest.raises(CircuitOpenError) as refused:
        bench.breaker.call(called.append, 1)
    assert called == []
    assert refused.value.circuit == "models"
    assert refused.value.retry_after_s == 5
    assert (refused.value.retryable, refused.value.outcome) == (True, Outcome.NOT_APPLIED)
    assert "OSError: no route" in str(refused.value)
    assert pickle.loads(pickle.dumps(refused.value)).retry_after_s == 5
    bench.until_probe()
    bench.breaker.call(called.append, 2)
    bench.breaker.call(called.append, 3)
    assert called == [2, 3]
    assert bench.breaker.state is CircuitState.CLOSED


def test_results_and_errors_come_through_as_they_are(bench: Bench) -> None:
    assert bench.breaker.call(divmod, 7, 2) == (3, 1)
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        bench.breaker.call(_raise, error)
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (OSError(), True),
        (StoreUnavailableError(), True),
        (RetryAfterError(), True),
        (CircuitOpenError(), True),
        (JobInterrupted(reason="timeout"), True),
        (JobInterrupted(reason="cancelled"), False),
        (TerminalError(), False),
        (RequestInvalidError(), False),
        (LeadershipLostError(), False),
        (asyncio.CancelledError(), False),
        (CancelledError(), False),
        (KeyboardInterrupt(), False),
        (SystemExit(), False),
        (GeneratorExit(), False),
    ],
    ids=repr,
)
def test_errors_that_say_nothing_about_what_was_called_do_not_count(error: BaseException, counts: bool) -> None:
    assert is_failure(error) is counts
    bench = Bench().fail(4, error)
    assert (bench.breaker.state is CircuitState.OPEN) is counts


def test_what_counts_can_be_said() -> None:
    bench = Bench(counts=lambda error: isinstance(error, ZeroDivisionError))
    bench.fail(10, OSError())
    assert bench.breaker.state is CircuitState.CLOSED
    bench.fail(4, ZeroDivisionError())
    assert bench.breaker.state is CircuitState.OPEN


def test_a_predicate_that_raises_does_not_keep_the_probe() -> None:
    def broken(error: BaseException) -> bool:
        if type(error) is KeyError:
            raise RuntimeError("a bug")
        return True

    bench = Bench(counts=broken).fail()
    bench.until_probe()
    with pytest.raises(RuntimeError):
        bench.breaker.call(_raise, KeyError())
    assert bench.breaker.call(lambda: "next") == "next"


def test_a_call_that_is_too_slow_counts_as_failed() -> None:
    bench = Bench(OPTIONS.model_copy(update={"slow_call": _seconds(2)}))
    for _ in range(4):
        with bench.breaker.guard():
            bench.clock.now += 3
    assert bench.breaker.state is CircuitState.OPEN


def test_one_that_is_switched_off_refuses_nothing() -> None:
    bench = Bench(BreakerOptions(enabled=False)).fail(1000)
    assert bench.breaker.state is CircuitState.CLOSED


# ---------------------------------------------------------------- guards, coroutines, decorators


def test_a_guard_is_for_one_call(bench: Bench) -> None:
    guard = bench.breaker.guard()
    with guard:
        pass
    with pytest.raises(LifecycleError), guard:
        pass


def test_coroutines_are_guarded_in_every_way(bench: Bench) -> None:
    @bench.breaker
    async def ask(question: str) -> str:
        """Asks."""
        await asyncio.sleep(0)
        if question == "?":
            raise OSError("no answer")
        return f"{question}!"

    async def all_ways() -> None:
        assert await ask("a") == "a!"
        assert await bench.breaker.acall(_answer, "b") == "b"
        async with bench.breaker.guard():
            pass
        for _ in range(3):
            with pytest.raises(OSError, match="no answer"):
                await ask("?")
        assert bench.breaker.state is CircuitState.OPEN
        with pytest.raises(CircuitOpenError):
            await ask("a")
        with pytest.raises(CircuitOpenError):
            await bench.breaker.acall(_answer, "b")
        with pytest.raises(CircuitOpenError):
            async with bench.breaker.guard():
                pass

    asyncio.run(all_ways())
    assert inspect.iscoroutinefunction(ask)
    assert (ask.__name__, ask.__doc__) == ("ask", "Asks.")


async def _answer(text: str) -> str:
    return text


def test_functions_are_guarded_by_the_decorator(bench: Bench) -> None:
    @bench.breaker
    def ask(error: Exception | None = None) -> str:
        if error is not None:
            raise error
        return "done"

    assert ask() == "done"
    for _ in range(3):
        with pytest.raises(OSError, match="gone"):
            ask(error=OSError("gone"))
    with pytest.raises(CircuitOpenError):
        ask()


def test_what_yields_and_what_has_to_be_awaited_is_refused_where_it_would_not_be_counted(bench: Bench) -> None:
    def yields() -> Any:
        yield 1

    async def yields_too() -> Any:
        yield 1

    for function in (yields, yields_too):
        with pytest.raises(ConfigurationError, match="yields"):
            bench.breaker(function)
    with pytest.raises(ConfigurationError, match="acall"):
        bench.breaker.call(_answer, "x")


# ---------------------------------------------------------------- the probe


def test_of_many_threads_one_is_the_probe(bench: Bench) -> None:
    bench.fail()
    bench.until_probe()
    threads = 16
    together, let_in, asked, go = threading.Barrier(threads), [], threading.Semaphore(0), threading.Event()

    def ask() -> bool:
        together.wait(PATIENCE_S)
        try:
            with bench.breaker.guard():
                let_in.append(threading.get_ident())
                asked.release()
                assert go.wait(PATIENCE_S)
                return True
        except CircuitOpenError:
            asked.release()
            return False

    with ThreadPoolExecutor(threads) as pool:
        answers = [pool.submit(ask) for _ in range(threads)]
        for _ in range(threads):
            assert asked.acquire(timeout=PATIENCE_S)
        assert len(let_in) == 1
        go.set()
        assert sorted(answer.result(PATIENCE_S) for answer in answers) == [False] * (threads - 1) + [True]
    assert bench.breaker.state is CircuitState.CLOSED


def test_a_cancelled_probe_makes_room_at_once(bench: Bench) -> None:
    bench.fail()
    bench.until_probe()

    async def cancelled() -> None:
        begun = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(bench.breaker.acall(hang))
        await begun.wait()
        with pytest.raises(CircuitOpenError):
            bench.breaker.call(len, "")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert bench.breaker.state is CircuitState.HALF_OPEN
    assert bench.breaker.call(len, "abc") == 3


def test_a_probe_that_was_thrown_away_makes_room(bench: Bench) -> None:
    bench.fail()
    bench.until_probe()

    def probe() -> Any:
        with bench.breaker.guard():
            yield

    thrown_away = probe()
    next(thrown_away)
    with pytest.raises(CircuitOpenError):
        bench.breaker.call(len, "")
    del thrown_away
    gc.collect()
    assert bench.breaker.call(len, "abc") == 3


def test_a_probe_that_hangs_holds_the_others_up_for_its_lease_only(bench: Bench) -> None:
    bench.fail()
    bench.until_probe()
    hangs = bench.breaker.guard(lease_s=7)
    hangs.__enter__()
    with pytest.raises(CircuitOpenError) as refused:
        bench.breaker.call(len, "")
    assert refused.value.retry_after_s == 7
    bench.until_probe()
    assert bench.breaker.call(len, "abc") == 3
    hangs.__exit__(OSError, OSError(), None)
    assert bench.breaker.state is CircuitState.CLOSED


# ---------------------------------------------------------------- what is told


def test_every_change_is_told_logged_and_measured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "slurp_leader.resilience")
    numbers = Numbers()
    bench = Bench(metrics=numbers).fail()
    with pytest.raises(CircuitOpenError):
        bench.breaker.call(len, "")
    bench.until_probe()
    bench.fail(1)
    bench.until_probe()
    bench.breaker.call(len, "")
    states = ["open", "half_open", "open", "half_open", "closed"]
    assert [change.state for change in bench.changes] == states
    opened = bench.changes[0]
    assert (opened.was, opened.calls, opened.failures, opened.wait_s) == ("closed", 4, 4, 5)
    assert opened.error == "OSError: no route"
    assert [change.wait_s for change in bench.changes] == [5, 30, 10, 30, 0]
    logged = [record for record in caplog.records if getattr(record, "slurp_event", "") == "circuit.state"]
    assert [record.slurp["state"] for record in logged] == states  # type: ignore[attr-defined]
    assert [record.levelno for record in logged] == [
        logging.WARNING if state == "open" else logging.INFO for state in states
    ]
    assert [value for value, _ in numbers.of(CIRCUIT_STATE)] == [0, 2, 1, 2, 1, 0]
    assert [labels["state"] for _, labels in numbers.of(CIRCUIT_TRANSITIONS)] == states
    assert numbers.of(CIRCUIT_REFUSED) == [(1, {"circuit": "models"})]


def test_a_snapshot_tells_how_it_stands_and_changes_nothing(bench: Bench) -> None:
    bench.breaker.call(len, "")
    bench.fail(2)
    seen = bench.breaker.snapshot()
    assert (seen.circuit, seen.state, seen.calls, seen.failures, seen.wait_s) == ("models", "closed", 3, 2, 0)
    bench.clock.now += 60
    assert bench.breaker.snapshot().calls == 0
    bench.fail(4)
    seen = bench.breaker.snapshot()
    assert (seen.state, seen.calls, seen.failures, seen.wait_s, seen.openings) == ("open", 4, 4, 5, 1)
    assert seen.error == "OSError: no route"
    bench.until_probe()
    assert bench.breaker.snapshot().state is CircuitState.OPEN
    assert repr(bench.breaker) == "<CircuitBreaker 'models': open>"


def test_a_listener_that_raises_harms_no_call_and_hears_the_next_change() -> None:
    heard = []

    def listen(change: CircuitChange) -> None:
        heard.append(change.state.value)
        raise RuntimeError("a bug")

    bench = Bench(listener=listen).fail()
    bench.until_probe()
    assert bench.breaker.call(len, "abc") == 3
    assert heard == ["open", "half_open", "closed"]


def test_a_listener_may_use_the_breaker_and_hears_all_in_order() -> None:
    heard: list[str] = []
    use: list[Callable[[], None]] = []

    def listen(change: CircuitChange) -> None:
        heard.append(change.state.value)
        if change.state is CircuitState.OPEN and len(heard) == 1:
            use[0]()
        heard.append(f"/{change.state.value}")

    bench = Bench(listener=listen)

    def probe() -> None:
        bench.until_probe()
        bench.breaker.call(len, "")

    use.append(probe)
    bench.fail()
    assert heard == ["open", "/open", "half_open", "/half_open", "closed", "/closed"]


def test_while_a_listener_waits_calls_go_on() -> None:
    told, go_on = threading.Event(), threading.Event()
    heard = []

    def listen(change: CircuitChange) -> None:
        told.set()
        assert go_on.wait(PATIENCE_S)
        heard.append(change.state.value)

    bench = Bench(listener=listen)
    with ThreadPoolExecutor(1) as pool:
        failing = pool.submit(bench.fail)
        assert told.wait(PATIENCE_S)
        with pytest.raises(CircuitOpenError):
            bench.breaker.call(len, "")
        bench.until_probe()
        assert bench.breaker.call(len, "abc") == 3
        go_on.set()
        failing.result(PATIENCE_S)
    assert heard == ["open", "half_open", "closed"]


def test_an_error_that_cannot_be_printed_counts_as_any_other(bench: Bench) -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    bench.fail(4, UnprintableError())
    assert bench.breaker.snapshot().error == "UnprintableError"


def _seconds(seconds: float) -> Any:
    return BreakerOptions(slow_call=seconds).slow_call
