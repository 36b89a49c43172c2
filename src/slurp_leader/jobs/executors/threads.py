"""Threads: the default. A body that does not look whether it should stop keeps its thread until it returns."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable

from slurp_leader.clock import Clock
from slurp_leader.jobs.executors.body import Body, perform
from slurp_leader.jobs.executors.measuring import ThreadUse
from slurp_leader.jobs.executors.port import INTERRUPTED, Launch
from slurp_leader.jobs.joining import joined


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
    per_worker = 1
    trouble = ""

    def __init__(self, body: Body, count: int, clock: Clock) -> None:
        self._body = body
        self._clock = clock
        self._inbox: queue.SimpleQueue[Launch | None] = queue.SimpleQueue()  # None: somebody may be too many
        self._waiting: dict[Launch, bool] = {}  # popped once, by the thread that begins it or by `stop`
        self._names = itertools.count()
        self._lock = threading.Lock()  # guards all below
        self._count = count
        self._is_open = False
        self._threads: list[threading.Thread] = []
        self._too_many = 0

    def open(self, lost: Callable[[BaseException], None], ready: Callable[[], None]) -> None:
        self._is_open = True
        self.scale(self._count)

    def scale(self, count: int) -> None:
        """One that is too many ends once it has nothing to do."""
        with self._lock:
            self._count = count
            if not self._is_open:
                return
            lacking = count - (len(self._threads) - self._too_many)
            stay = max(0, min(lacking, self._too_many))
            self._too_many += max(0, -lacking) - stay
            for _ in range(lacking - stay):
                # Daemon threads: a generator that never comes back must not keep the process from ending.
                name = f"slurp-job-{next(self._names)}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        for _ in range(-lacking):
            self._inbox.put(None)

    def start(self, launch: Launch) -> None:
        self._waiting[launch] = True
        self._inbox.put(launch)

    def stop(self, launch: Launch, reason: str) -> None:
        """Taken back if it waits for a thread: all of them may be stuck. Else its context has been told, and there is
        nothing else one can do to a thread."""
        if self._waiting.pop(launch, False):
            launch.end(INTERRUPTED)

    def close(self, timeout_s: float) -> bool:
        with self._lock:
            threads = list(self._threads)
        self.scale(0)
        return joined(threads, timeout_s, self._clock)

    # ------------------------------------------------------------ on the threads

    def _serve(self) -> None:
        while True:
            launch = self._inbox.get()
            if launch is None:
                if self._may_leave():
                    return
            elif self._waiting.pop(launch, False) and launch.begin():
                measured = ThreadUse()
                report = perform(self._body, launch.spec, launch.context, launch.span())
                launch.end(report, measured.taken())

    def _may_leave(self) -> bool:
        with self._lock:
            if not self._too_many:
                return False
            self._too_many -= 1
            self._threads.remove(threading.current_thread())
            return True
