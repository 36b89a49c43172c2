"""Brings the requests in, at a pace, as a client that never stands for election."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from slurp_leader.clock import Clock
from slurp_leader.errors import SlurpLeaderError
from slurp_leader.jobs.client import JobHandle
from slurp_leader.jobs.request import ContextGenerationRequest
from slurp_leader.system import SlurpLeaderSystem


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast requests come in.

    Attributes:
        burst: Requests submitted at once. Several, so that the leader runs several jobs at a time.
        pause_s: Seconds from one burst to the next.
        held_back: Requests at the end that wait for `Submitting.release`.
    """

    burst: int
    pause_s: float
    held_back: int

    def bursts(self, count: int) -> Iterator[tuple[int, int]]:
        """Slices of `count` requests, none of them across the border to what is held back."""
        border = max(0, count - self.held_back)
        for start, end in ((0, border), (border, count)):
            for first in range(start, end, self.burst):
                yield first, min(first + self.burst, end)


class Submitting:
    """Submits on a thread of its own: `start`, then `cancel`, stop the client, `join`.

    Args:
        system: A started client.
        requests: What to submit, in this order.
        pace: How fast.
        clock: Source of time.
        wake: Called after each burst, on that thread.
    """

    def __init__(
        self,
        system: SlurpLeaderSystem,
        requests: Sequence[ContextGenerationRequest],
        pace: Pace,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._system = system
        self._requests = requests
        self._pace = pace
        self._clock = clock
        self._wake = wake
        self.began_s = clock.boottime()
        self._released = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slurp-demo-submit", daemon=True)
        self._lock = threading.Lock()
        # Guarded by _lock:
        self._accepted: list[str] = []
        self._refusals: list[Exception] = []

    def start(self) -> None:
        self.began_s = self._clock.boottime()
        self._thread.start()

    def release(self) -> None:
        """Let those come in that were held back."""
        self._released.set()

    def cancel(self) -> None:
        """Submit no more. Does not wait; a submit that is under way ends when its client stops. Safe twice."""
        self._stopping.set()
        self._released.set()

    def join(self) -> None:
        """Wait until the thread has ended. Safe before `start`, and twice."""
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def accepted(self) -> list[str]:
        """Ids of the jobs whose submit was answered, in order."""
        with self._lock:
            return list(self._accepted)

    @property
    def refusals(self) -> list[Exception]:
        """What other submits raised."""
        with self._lock:
            return list(self._refusals)

    def _run(self) -> None:
        border = len(self._requests) - self._pace.held_back
        due = self._clock.boottime()
        for first, end in self._pace.bursts(len(self._requests)):
            if first >= border:
                self._released.wait()
            self._stopping.wait(max(0.0, due - self._clock.boottime()))
            if self._stopping.is_set():
                return
            self._submit(self._requests[first:end])
            due = max(due + self._pace.pause_s, self._clock.boottime())

    def _submit(self, requests: Sequence[ContextGenerationRequest]) -> None:
        try:
            answers = self._system.submit_many(requests)
        except SlurpLeaderError as error:  # not of one request but of all, such as a client that was stopped
            answers = [error]
        with self._lock:
            self._accepted += [answer.id for answer in answers if isinstance(answer, JobHandle)]
            self._refusals += [answer for answer in answers if isinstance(answer, Exception)]
        self._wake()
