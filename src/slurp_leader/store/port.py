"""The Protocols: what a store can do for the rest of the library."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from slurp_leader.store.requests import Request, WatchNotice

R = TypeVar("R")

WatchSink = Callable[[WatchNotice], None]
"""Takes the notices of one watch, in order, one at a time, on a thread of the store. It must not block or raise."""


@dataclass(frozen=True, slots=True)
class StoreOutage:
    """The store does not answer at present."""

    since: float
    """Boottime seconds of the first failure."""
    error: str


@runtime_checkable
class TellsOutages(Protocol):
    """What a store over a network offers beside `Store`: how it is, without asking it."""

    @property
    def outage(self) -> StoreOutage | None:
        """The outage under way; None while the store answers, and before it was first asked. Never blocks."""
        ...


class Watch(Protocol):
    """A running watch."""

    def cancel(self) -> None:
        """End the watch. Safe twice. After it returns no further notice is handed over, unless it is called
        from within the sink itself."""
        ...


class Store(Protocol):
    """A coordination store with etcd's rules. Safe to use from any thread."""

    def call(self, request: Request[R], timeout_s: float) -> Future[R]:
        """Send one request. Never blocks.

        Args:
            request: What to do.
            timeout_s: Seconds until the future fails with `StoreTimeoutError`, whatever the store does.

        Returns:
            A future of the answer. It fails only with a `StoreError`, whose `outcome` tells whether a write may have
            been applied. Its callbacks may run on a thread of the store and must not block. Writes are never
            repeated by the store; a read may be asked again of another member within the same deadline.
        """
        ...

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: WatchSink) -> Watch:
        """Follow the changes of a key or range, from `start_revision` on.

        The watch looks after itself: it resumes after disconnects exactly where it was, notices a silent
        connection, and backs off while nothing answers. It ends only with `WatchCompacted` or `WatchFailed`, or by
        `Watch.cancel`.

        Args:
            key: The key, or the start of the range.
            range_end: End of the range, or None for one key.
            start_revision: First revision wanted; 0 for whatever comes next.
            sink: Takes the notices.
        """
        ...

    def close(self) -> None:
        """End all watches, fail all calls under way with `StoreClosedError`, release connections. Safe twice."""
        ...
