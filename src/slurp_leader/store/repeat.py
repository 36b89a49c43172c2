"""The same request again until its answer is definite (PROTOCOL A2), for callers that may wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from slurp_leader.clock import Clock
from slurp_leader.errors import Outcome, StoreError
from slurp_leader.resilience import pause_s
from slurp_leader.store import Request, Store

R = TypeVar("R")


def until_definite(call: Callable[[], R], clock: Clock, deadline: float) -> R:
    """Make a call again and again until it is answered.

    Args:
        call: Sends the same request each time, with a deadline of its own.
        clock: Source of time.
        deadline: By `Clock.boottime`. No attempt begins after it.

    Raises:
        StoreError: It cannot be repeated, or the time is up; `outcome` is unknown if any attempt may have arrived.
    """
    failures, in_doubt = 0, False
    while True:
        try:
            return call()
        except StoreError as error:
            in_doubt |= error.outcome is Outcome.UNKNOWN
            failures += 1
            pause = pause_s(failures)
            if not error.retryable or clock.boottime() + pause >= deadline:
                error.outcome = Outcome.UNKNOWN if in_doubt else error.outcome
                raise
        threading.Event().wait(pause)


def asks_until(store: Store, rpc_timeout_s: float, clock: Clock, deadline: float) -> Callable[[Request[R]], R]:
    """Makes calls of which none lasts beyond a deadline. Each blocks, and raises StoreError."""

    def ask(request: Request[R]) -> R:
        left_s = max(0.0, deadline - clock.boottime())
        return store.call(request, min(rpc_timeout_s, left_s)).result()

    return ask
