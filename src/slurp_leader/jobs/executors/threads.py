"""Threads: the default. A body that does not look whether it should stop keeps its thread until it returns."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from slurp_leader.clock import Clock
from slurp_leader.jobs.executors.body import Body, perform
from slurp_leader.jobs.executors.port import Launch


class Threads:
    """A pool of threads.

    Args:
        body: What does a job.
        count: Threads.
        clock: For how long `close` waits.
    """

    name = "threads"
    can_kill = False
    holds_worker = True
    trouble = ""

    def __init__(self, body: Body, count: int, clock: Clock) -> None:
        self._body = body
        self._clock = clock
        self._inbox: queue.SimpleQueue[Launch | None] = queue.SimpleQueue()
        # Daemon threads: a generator that never comes back must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._serve, name=f"slurp-job-{number}", daemon=True) for number in range(count)
        ]
        self._is_open = False

    def open(self, lost: Callable[[BaseException], None]) -> None:
        self._is_open = True
        for thread in self._threads:
            thread.start()

    def start(self, launch: Launch) -> None:
        self._inbox.put(launch)

    def stop(self, launch: Launch, reason: str) -> None:
        """The context has been told; there is nothing else one can do to a thread."""

    def close(self, timeout_s: float) -> bool:
        if not self._is_open:
            return True
        for _ in self._threads:
            self._inbox.put(None)
        deadline = self._clock.boottime() + timeout_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - self._clock.boottime()))
        return not any(thread.is_alive() for thread in self._threads)

    def _serve(self) -> None:
        while (launch := self._inbox.get()) is not None:
            if launch.begin():
                launch.end(perform(self._body, launch.spec, launch.context, launch.span()))
