"""Waiting for threads that may never end."""

from __future__ import annotations

import threading

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.jobs.joining import joined
from support.calls import PATIENCE_S
from support.virtual import VirtualClock


class Lasting(threading.Thread):
    """Goes on for so many seconds of a clock that moves while it is waited for."""

    def __init__(self, clock: VirtualClock, lasts_s: float) -> None:
        super().__init__()
        self._clock, self._lasts_s = clock, lasts_s
        self.waits: list[float | None] = []

    def join(self, timeout: float | None = None) -> None:
        self.waits.append(timeout)
        waited_s = self._lasts_s if timeout is None else min(timeout, self._lasts_s)
        self._clock.now += waited_s
        self._lasts_s -= waited_s

    def is_alive(self) -> bool:
        return self._lasts_s > 0


def test_threads_that_end_are_waited_for() -> None:
    go_on = threading.Event()
    threads = [threading.Thread(target=go_on.wait, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not joined(threads, 0, SystemClock())
    go_on.set()
    assert joined(threads, PATIENCE_S, SystemClock())


@pytest.mark.parametrize(
    ("lasting", "waits", "ended"),
    [
        ([2, 1, 3], [10, 8, 7], True),
        ([2, 99, 99], [10, 8, 0], False),
        ([99, 0, 0], [10, 0, 0], False),
        ([], [], True),
    ],
)
def test_the_wait_is_for_all_of_them_together(lasting: list[float], waits: list[float], ended: bool) -> None:
    clock = VirtualClock()
    threads = [Lasting(clock, each) for each in lasting]
    assert joined(iter(threads), 10, clock) is ended
    assert [thread.waits for thread in threads] == [[each] for each in waits]


def test_the_thread_that_waits_is_not_waited_for_and_goes_on() -> None:
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(joined([thread], PATIENCE_S, SystemClock())), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert answers == [False]
