"""``system.aio``: the verbs that wait for something, awaited. Each part of a face names its own verbs.

Each call runs on a daemon thread of its own, so that the loop never waits for etcd. Not on the loop's default pool:
that one is small, shared, and joined when the loop ends. A few tasks that wait for leadership would fill it, and the
`stop` that ends their wait would queue up behind them. Results need no thread: ``await handle`` waits on a future.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from slurp_leader.errors import repr_of


class AsyncFace:
    """The same verbs with ``await``: ``handle = await system.aio.submit("src/main.py")``.

    Cancelling the await gives up waiting for the answer; what the verb does goes on. `LeaderElection.run` of a
    coroutine function alone ends with its await.

    Args:
        find: The method behind a verb. A coroutine function is awaited as it is.
        verbs: Those that may wait.
    """

    def __init__(self, find: Callable[[str], Callable[..., Any]], verbs: frozenset[str]) -> None:
        self._find = find
        self._verbs = verbs

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        if verb not in self._verbs:
            raise AttributeError(f"there is no awaited {verb!r}; there are {', '.join(sorted(self._verbs))}")
        call = self._find(verb)
        if inspect.iscoroutinefunction(call):
            return call

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await on_own_thread(call, *args, **kwargs)

        awaited.__name__ = verb
        awaited.__doc__ = call.__doc__
        return awaited

    def __dir__(self) -> list[str]:
        return sorted(self._verbs)


async def on_own_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call something that waits, on a daemon thread made for it, with the context variables of the caller."""
    return await called_on_own_thread(call, *args, **kwargs)


def called_on_own_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
    """The same for who wants to go on: a future of the running loop, which is no task, so that the end of the loop does
    not cancel it."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()
    work = partial(copy_context().run, partial(call, *args, **kwargs))

    def run() -> None:
        try:
            result, error = work(), None
        except BaseException as raised:
            result, error = None, raised
        try:
            loop.call_soon_threadsafe(_settle, answer, result, error)
        except RuntimeError:
            pass  # the loop was closed: nobody awaits this any more

    threading.Thread(target=run, name="slurp-await", daemon=True).start()
    return answer


def _settle(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():
        return  # the await was cancelled
    if error is None:
        answer.set_result(result)
    elif isinstance(error, StopIteration):  # a future refuses it
        answer.set_exception(RuntimeError(f"the call raised {repr_of(error)}"))
    else:
        answer.set_exception(error)
