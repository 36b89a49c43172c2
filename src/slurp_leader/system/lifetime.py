"""Running something for a while, once for all faces: ``with``, ``async with``, a service's lifespan. Not in a fork."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Self, TypeVar

from slurp_leader.errors import LifecycleError
from slurp_leader.forks import free_in_child
from slurp_leader.system.aio import on_own_thread


class Lifetime(ABC):
    """Something with `start` and `stop`. `start` returns at once; `stop` may block, so it is awaited on a thread."""

    @abstractmethod
    def start(self) -> None:
        """Begin. Returns at once."""

    @abstractmethod
    def stop(self) -> bool:
        """End. Returns whether everything was given back in time."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await on_own_thread(self.stop)

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """For ``FastAPI(lifespan=it.lifespan)``: runs while the service runs, and gives back when that stops."""
        async with self:
            yield


@dataclass(slots=True)
class ProcessParts:
    """What runs between `start` and `stop`, in the process that started it."""

    _pid: int = field(default_factory=os.getpid, init=False)

    @property
    def is_ours(self) -> bool:
        """Whether this very process started it; a forked child has a copy, but none of its threads."""
        return self._pid == os.getpid()


P = TypeVar("P", bound=ProcessParts)


class RunsParts(Lifetime, Generic[P]):
    """Something whose `start` makes parts that its `stop` ends. A forked child holds none of them."""

    _called: ClassVar[str] = "it"
    """What it is, in messages."""

    def __init__(self) -> None:
        super().__init__()
        self._lifecycle = free_in_child(threading.RLock())  # held while it starts and while it stops
        self._parts: P | None = None
        self._inherited: P | None = None

    @property
    def _is_running(self) -> bool:
        """Whether it was started, in this process."""
        return self._running_parts is not None

    @property
    def _running_parts(self) -> P | None:
        """What runs in this very process."""
        parts = self._parts
        return parts if parts is not None and parts.is_ours else None

    def _need_parts(self) -> P:
        """What runs in this very process.

        Raises:
            LifecycleError: Nothing does.
        """
        parts = self._parts
        if parts is None:
            raise LifecycleError(f"{self._called} is not running: start() it first")
        if not parts.is_ours:
            raise LifecycleError(
                f"{self._called} runs in the parent of this process, which was forked off and holds no part of it: ask "
                f"there, or start one in a new process (multiprocessing's 'spawn' or 'forkserver')"
            )
        return parts

    @property
    def _runs_in_parent(self) -> bool:
        """Whether this is a forked child, and the parent's to stop."""
        parts = self._parts
        return parts is not None and not parts.is_ours

    def _leave_to_parent(self) -> None:
        """In a forked child: forget what runs in the parent, so that `start` says why it cannot begin here.

        It stays referred to, as ending it would reach into the connections of the parent.
        """
        if self._runs_in_parent:
            self._inherited, self._parts = self._parts, None
