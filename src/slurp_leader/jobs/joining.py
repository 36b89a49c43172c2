"""Waiting for threads that may never end."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from slurp_leader.clock import Clock


def joined(threads: Iterable[threading.Thread], timeout_s: float, clock: Clock) -> bool:
    """Wait for threads to end, for this long in all, however many of them hang.

    Args:
        threads: They have been started. One that calls this is not waited for, and counts as one that goes on.
        timeout_s: Longest wait for all of them together.
        clock: What the wait is measured by.

    Returns:
        Whether all have ended.
    """
    threads = list(threads)
    deadline = clock.boottime() + timeout_s
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - clock.boottime()))
    return not any(thread.is_alive() for thread in threads)
