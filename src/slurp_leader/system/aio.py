"""``system.aio``: the verbs that wait for something, awaited. One table feeds both faces.

Each runs on a thread of the event loop's default pool, so that the loop never waits for etcd. Results need no thread:
``await handle`` waits on a future.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

VERBS = frozenset(
    {
        "cancel",
        "list",
        "ping",
        "report",
        "request_context_generation",
        "resign",
        "start",
        "stop",
        "submit",
        "submit_many",
        "wait_for_leader",
        "wait_for_leadership",
    }
)
"""Verbs of the system, and of its views, that may wait."""


class AsyncFace:
    """The same verbs with ``await``: ``handle = await system.aio.submit("src/main.py")``."""

    def __init__(self, find: Callable[[str], Callable[..., Any]]) -> None:
        self._find = find

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        if verb not in VERBS:
            raise AttributeError(f"there is no awaited {verb!r}; there are {', '.join(sorted(VERBS))}")
        call = self._find(verb)

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(call, *args, **kwargs)

        awaited.__name__ = verb
        awaited.__doc__ = call.__doc__
        return awaited

    def __dir__(self) -> list[str]:
        return sorted(VERBS)
