"""The ways to run something for a while, once for both faces: ``with``, ``async with``, and a service's lifespan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

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
