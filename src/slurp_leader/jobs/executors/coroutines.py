"""Coroutines: all runs on one event loop of their own thread. Told to stop, a run's task is cancelled.

One loop for all, so that what a generator keeps open (a client session, a pool of connections) serves every run of it.
The price is asyncio's own: a body that computes, or waits without ``await``, holds up all others.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial

from slurp_leader.clock import Clock
from slurp_leader.jobs.decisions import RunReport
from slurp_leader.jobs.executors.body import Body, perform_awaited
from slurp_leader.jobs.executors.port import INTERRUPTED, Launch
from slurp_leader.loops import run_until

_logger = logging.getLogger("slurp_leader.jobs")

_LOOK_EVERY_S = 0.1
"""How often runs are asked whether their term is over: nobody says so when trust runs out."""


class Coroutines:
    """An event loop on a thread.

    Args:
        body: What does a job; called on the loop.
        clock: For how long `close` waits.
    """

    name = "coroutines"
    can_kill = False
    holds_worker = False
    per_worker = 1
    trouble = ""

    def __init__(self, body: Body, clock: Clock) -> None:
        self._body = body
        self._clock = clock
        self._thread = threading.Thread(target=self._serve, name="slurp-job-loop", daemon=True)
        self._idle = threading.Event()  # nothing runs, as seen by `close`
        self._loop: asyncio.AbstractEventLoop | None = None  # from `open` on
        self._stopped: asyncio.Future[None] | None = None  # likewise
        # Of the loop's thread:
        self._tasks: dict[int, tuple[asyncio.Task[RunReport], Launch]] = {}
        self._told: set[int] = set()
        self._looks = False
        self._is_closing = False

    def open(self, lost: Callable[[BaseException], None], ready: Callable[[], None]) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopped = self._loop.create_future()
        self._thread.start()

    def scale(self, count: int) -> None:
        """There are none."""

    def start(self, launch: Launch) -> None:
        self._call(partial(self._begin, launch))

    def stop(self, launch: Launch, reason: str) -> None:
        self._call(partial(self._cancel, launch.run_id))

    def close(self, timeout_s: float) -> bool:
        if self._loop is None:
            return True
        until = self._clock.boottime() + timeout_s
        self._call(self._cancel_all)
        if threading.current_thread() is self._thread:
            return False  # it is still running itself
        all_back = self._idle.wait(timeout_s)
        self._call(self._stop_loop)
        self._thread.join(max(0.0, until - self._clock.boottime()))
        return all_back and not self._thread.is_alive()

    def _call(self, what: Callable[[], object]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            pass  # closed: nothing runs any more

    # ------------------------------------------------------------ on the loop's thread

    def _serve(self) -> None:
        loop, stopped = self._loop, self._stopped
        assert loop is not None
        assert stopped is not None
        asyncio.set_event_loop(loop)
        try:
            run_until(loop, stopped, _logger)
            for task in asyncio.all_tasks(loop):
                task.cancel()
            run_until(loop, loop.create_task(loop.shutdown_asyncgens()), _logger)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _begin(self, launch: Launch) -> None:
        if not launch.begin():
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(
            perform_awaited(self._body, launch.spec, launch.context, launch.span()),
            name=f"slurp job {launch.spec.job_id}",
        )
        self._tasks[launch.run_id] = task, launch
        task.add_done_callback(partial(self._done, launch))
        if not self._looks:
            self._looks = True
            loop.call_later(_LOOK_EVERY_S, self._look)

    def _done(self, launch: Launch, task: asyncio.Task[RunReport]) -> None:
        del self._tasks[launch.run_id]
        self._told.discard(launch.run_id)
        launch.end(INTERRUPTED if task.cancelled() else task.result())  # cancelled as such: before its first step
        if self._is_closing and not self._tasks:
            self._idle.set()

    def _look(self) -> None:
        for run_id, (_, launch) in list(self._tasks.items()):
            if launch.context.should_stop():
                self._cancel(run_id)
        self._looks = bool(self._tasks)
        if self._looks:
            asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def _cancel(self, run_id: int) -> None:
        """Once: what a body awaits while it cleans up is not cancelled again."""
        running = self._tasks.get(run_id)
        if running is not None and run_id not in self._told:
            self._told.add(run_id)
            running[0].cancel()

    def _stop_loop(self) -> None:
        assert self._stopped is not None
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _cancel_all(self) -> None:
        self._is_closing = True
        for run_id in list(self._tasks):
            self._cancel(run_id)
        if not self._tasks:
            self._idle.set()
