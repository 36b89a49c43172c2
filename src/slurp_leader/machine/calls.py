"""Calls under way and timers that run: the bookkeeping every machine needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from slurp_leader.errors import StoreError
from slurp_leader.store import Request

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Call:
    """Command: send this request; its answer comes back as `Answer` with the same `call_id`."""

    call_id: int
    request: Request[Any]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Event: what became of a call. `result` is the store's response, or the error."""

    call_id: int
    result: Any


@dataclass(frozen=True, slots=True)
class Tick:
    """Event: time has passed."""


Handler = Callable[[Any, float], None]
"""Takes the response or the `StoreError`, and the time."""


class Calls:
    """Remembers who waits for which answer. An answer nobody waits for any more is dropped.

    Args:
        ids: Where call ids come from, if several of these share one machine: then an answer fits one of them at most.
    """

    __slots__ = ("_handlers", "_ids")

    def __init__(self, ids: Iterator[int] | None = None) -> None:
        self._handlers: dict[int, Handler] = {}
        self._ids = ids if ids is not None else count(1)

    def send(self, request: Request[Any], timeout_s: float, handler: Handler) -> Call:
        call_id = next(self._ids)
        self._handlers[call_id] = handler
        return Call(call_id, request, timeout_s)

    def settle(self, answer: Answer, now: float) -> None:
        handler = self._handlers.pop(answer.call_id, None)
        if handler is not None:
            handler(answer.result, now)

    def forget(self) -> None:
        """Drop all: their answers will be ignored."""
        self._handlers.clear()

    def __len__(self) -> int:
        return len(self._handlers)


class Timers:
    """Named moments. Setting a name again moves it."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def set(self, name: str, at: float) -> None:
        self._at[name] = at

    def set_no_later(self, name: str, at: float) -> None:
        self._at[name] = min(at, self._at.get(name, NEVER))

    def clear(self, name: str) -> None:
        self._at.pop(name, None)

    def clear_all(self) -> None:
        self._at.clear()

    def keep(self, name: str) -> None:
        """Clear all but this one."""
        self._at = {key: at for key, at in self._at.items() if key == name}

    def take_due(self, now: float) -> list[str]:
        """Names whose moment has come, earliest first; they are removed."""
        due = [(at, name) for name, at in self._at.items() if at <= now]
        if not due:
            return []
        due.sort()
        for _, name in due:
            del self._at[name]
        return [name for _, name in due]

    @property
    def next_at(self) -> float:
        return min(self._at.values(), default=NEVER)


def is_error(result: Any) -> bool:
    """Whether an answer is an error rather than a response."""
    return isinstance(result, StoreError)
