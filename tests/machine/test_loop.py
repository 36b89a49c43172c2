"""The thread that drives a machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.errors import StoreClosedError, StoreUnavailableError
from slurp_leader.machine import Answer, Calls, Loop, Tick
from slurp_leader.store import Get, GetResult
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, Recorder


class Echo:
    """Says what it was told, and asks the store when told to."""

    def __init__(self) -> None:
        self.wake_at = float("inf")
        self._calls = Calls()

    def step(self, event: Any, now: float) -> list[Any]:
        if event == "ask":
            return [self._calls.send(Get(b"k"), 5.0, lambda *_: None)]
        if event == "break":
            raise RuntimeError("a bug in a machine")
        if isinstance(event, Tick):
            self.wake_at = float("inf")
        return [event]


MakeLoop = Callable[..., tuple[Loop, Echo, "Recorder[Any]", "Recorder[BaseException]"]]


@pytest.fixture
def make_loop(memory_store: MemoryStore) -> Iterator[MakeLoop]:
    loops: list[Loop] = []

    def make(store: Any = memory_store) -> tuple[Loop, Echo, Recorder[Any], Recorder[BaseException]]:
        machine, said, failures = Echo(), Recorder[Any](), Recorder[BaseException]()
        loops.append(Loop("echo", machine, store, SystemClock(), said, failures))
        return loops[-1], machine, said, failures

    yield make
    for loop in loops:
        loop.stop()


def test_events_are_stepped_in_order_and_their_commands_performed_in_order(make_loop: MakeLoop) -> None:
    loop, _, said, _ = make_loop()
    loop.start()
    for number in range(1000):
        loop.post(number)
    assert [said.next() for _ in range(1000)] == list(range(1000))


def test_a_call_is_sent_and_its_answer_comes_back_as_an_event(make_loop: MakeLoop) -> None:
    loop, _, said, _ = make_loop()
    loop.start()
    loop.post("ask")
    answer = said.next()
    assert isinstance(answer, Answer)
    assert isinstance(answer.result, GetResult)


def test_an_error_of_the_store_is_an_answer_too(make_loop: MakeLoop) -> None:
    store = MemoryStore()
    store.close()
    loop, _, said, _ = make_loop(store)
    loop.start()
    loop.post("ask")
    assert isinstance(said.next().result, StoreClosedError)


def test_a_cancelled_call_is_answered_as_unavailable(make_loop: MakeLoop) -> None:
    future: Future[Any] = Future()

    class Cancelling:
        def call(self, request: Any, timeout_s: float) -> Future[Any]:
            future.cancel()
            return future

    loop, _, said, _ = make_loop(Cancelling())
    loop.start()
    loop.post("ask")
    assert isinstance(said.next().result, StoreUnavailableError)


def test_the_machine_is_woken_at_its_time_without_an_event(make_loop: MakeLoop) -> None:
    loop, machine, said, _ = make_loop()
    machine.wake_at = SystemClock().boottime() + 0.01
    loop.start()
    assert isinstance(said.next(), Tick)


def test_a_bug_in_a_machine_ends_the_loop_and_is_told_once(make_loop: MakeLoop) -> None:
    loop, _, said, failures = make_loop()
    loop.start()
    loop.post("break")
    loop.post("after")
    assert str(failures.next()) == "a bug in a machine"
    assert loop.stop()
    assert not loop.is_alive
    assert said.is_empty()
    assert failures.is_empty()


def test_stop_lets_what_was_posted_be_stepped_first(make_loop: MakeLoop) -> None:
    loop, _, said, _ = make_loop()
    loop.start()
    loop.post("last words")
    assert loop.stop()
    assert said.next() == "last words"


def test_stop_is_safe_twice_before_start_and_from_the_loop_itself(memory_store: MemoryStore) -> None:
    never = Loop("never", Echo(), memory_store, SystemClock(), lambda _: None, lambda _: None)
    assert never.stop()
    stopped = threading.Event()

    def stop_yourself(_: Any) -> None:
        itself.stop()
        stopped.set()

    itself = Loop("itself", Echo(), memory_store, SystemClock(), stop_yourself, lambda _: None)
    itself.start()
    itself.post("stop")
    assert stopped.wait(PATIENCE_S)
    assert itself.stop()
    assert itself.stop()
