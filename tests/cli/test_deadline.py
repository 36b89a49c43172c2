"""One deadline for all calls of a command."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from slurp_leader.cli.connection import DeadlineStore
from slurp_leader.store import Get


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def boottime(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


class Patient:
    """A store that writes down how long it was given."""

    def __init__(self) -> None:
        self.given: list[float] = []
        self.closed = False

    def call(self, request: Any, timeout_s: float) -> Future[Any]:
        self.given.append(timeout_s)
        return Future()

    def watch(self, *_: Any) -> Any:
        return None

    def close(self) -> None:
        self.closed = True


def test_later_calls_get_only_what_earlier_ones_left() -> None:
    clock, inner = Hands(), Patient()
    store = DeadlineStore(inner, 10, clock)
    store.call(Get(b"a"), 30)
    clock.now += 7
    store.call(Get(b"a"), 30)
    store.call(Get(b"a"), 1)
    clock.now += 7
    store.call(Get(b"a"), 30)
    assert inner.given == [10, 3, 1, 0]


def test_closing_closes_the_store_behind_it() -> None:
    inner = Patient()
    DeadlineStore(inner, 10, Hands()).close()
    assert inner.closed
