"""`LeaderChanges`: the changes of leader that one observer has not taken yet."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from slurp_leader.election.events import LeaderChanged
from slurp_leader.errors import ConfigurationError

WAITING_LIMIT = 10_000
"""So many changes wait for a slow observer before the oldest are dropped. An election that changes hands every second
takes three hours to get there, and they take a few MB; without a limit, one that is never read would take all."""

_LONGEST_WAIT_S = 0.5


class Gap:
    """Holds the place of changes that are still being looked up."""


class LeaderChanges(Iterator[LeaderChanged], AsyncIterator[LeaderChanged]):
    """Every change of leader from the moment this was made, vacancies too, in order, beginning with how things stand.

    ::

        for change in election.observe(): ...              # blocks between changes
        async for change in election.observe(): ...        # the loop goes on

    It ends when the election is stopped, or etcd refuses it for good, or by `close`. Nothing is lost while it is taken
    from in time: `WAITING_LIMIT` changes wait, then the oldest are dropped and the next one says how many
    (``change.missed``). One consumer each: two that take from one share the changes. In a forked child it is empty.

    Threads: any; `close` from any, too, and it wakes who waits.

    Args:
        limit: So many changes wait before the oldest are dropped, 1 or more.

    Raises:
        ConfigurationError: `limit` is less than 1.
    """

    def __init__(self, limit: int = WAITING_LIMIT) -> None:
        if limit < 1:
            raise ConfigurationError(f"limit = {limit!r}: let at least 1 change wait", field="limit")
        self._limit = limit
        self._pid = os.getpid()
        self._arrived = threading.Condition()
        # Guarded by _arrived:
        self._waiting: deque[LeaderChanged | Gap] = deque()
        self._dropped: int | None = 0
        self._ended = False
        self._wakers: list[Callable[[], None]] = []

    # ------------------------------------------------------------ taking

    def __next__(self) -> LeaderChanged:
        if self._is_of_parent:
            raise StopIteration
        with self._arrived:
            # In short waits: one without end can sleep through a Ctrl-C in the main thread.
            while not self._is_ready():
                self._arrived.wait(_LONGEST_WAIT_S)
            return self._take(StopIteration)

    async def __anext__(self) -> LeaderChanged:
        if self._is_of_parent:
            raise StopAsyncIteration
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:
                pass  # the loop was closed: nobody waits any more

        while True:
            with self._arrived:
                if self._is_ready():
                    return self._take(StopAsyncIteration)
                self._wakers.append(wake)
            try:
                await woken.wait()
            finally:
                with self._arrived:
                    self._wakers = [each for each in self._wakers if each is not wake]
            woken.clear()

    def close(self) -> None:
        """End it: what waits can still be taken, then the iteration stops. Safe twice."""
        if self._is_of_parent:
            return  # whose threads may have held the lock, and whose loop would be woken
        with self._arrived:
            self._ended = True
            self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _is_of_parent(self) -> bool:
        """Whether this is a forked child: it has nobody who would put anything in."""
        return os.getpid() != self._pid

    def _is_ready(self) -> bool:
        if self._waiting and isinstance(self._waiting[0], Gap):
            return self._ended
        return self._ended or bool(self._waiting)

    def _take(self, end: type[Exception]) -> LeaderChanged:
        while self._waiting:
            change = self._waiting.popleft()
            if isinstance(change, Gap):  # it ended before this was looked up
                self._dropped = None
                continue
            missed, self._dropped = _sum(self._dropped, change.missed), 0
            return replace(change, missed=missed)
        raise end

    # ------------------------------------------------------------ filling (by the observer)

    def put(self, change: LeaderChanged | Gap) -> None:
        """One more. Never blocks."""
        with self._arrived:
            if self._ended:
                return
            self._waiting.append(change)
            self._drop_oldest()
            self._wake()

    def fill(self, gap: Gap, changes: list[LeaderChanged]) -> None:
        """Put in what was looked up, in the place that was held for it."""
        with self._arrived:
            if gap not in self._waiting:
                return  # dropped, or taken as unknown
            place = self._waiting.index(gap)
            after = list(self._waiting)[place + 1 :]
            while len(self._waiting) > place:
                self._waiting.pop()
            self._waiting.extend([*changes, *after])
            self._drop_oldest()
            self._wake()

    def _drop_oldest(self) -> None:
        while len(self._waiting) > self._limit:
            oldest = self._waiting.popleft()
            lost = None if isinstance(oldest, Gap) else _sum(1, oldest.missed)
            self._dropped = _sum(self._dropped, lost)

    def _wake(self) -> None:
        self._arrived.notify_all()
        for wake in self._wakers:
            wake()


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
