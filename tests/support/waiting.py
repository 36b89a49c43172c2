"""How a test waits for what gives nothing to wait on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TypeVar

from slurp_leader.clock import SystemClock
from slurp_leader.errors import HandoverError

R = TypeVar("R")
Errors = type[Exception] | tuple[type[Exception], ...]

WAIT_S = 60
"""How long nodes and processes may take over what they must do. Generous, for the machine may be busy."""
_LOOK_EVERY_S = 0.01

_clock = SystemClock()
_pause = threading.Event()


def until(ask: Callable[[], R], patience_s: float = WAIT_S, not_yet: Errors = ()) -> R:
    """What `ask` returns, as soon as that is true. Fails the test when it never is.

    Args:
        not_yet: An exception of this kind is an answer as well: not yet.
    """
    give_up_at = _clock.boottime() + patience_s
    while True:
        answer: object
        try:
            if answer := ask():
                return answer
        except not_yet as error:
            answer = error
        assert _clock.boottime() < give_up_at, f"still {answer!r} after {patience_s} s"
        _pause.wait(_LOOK_EVERY_S)


def when_it_stands(
    ask: Callable[..., R], *args: object, not_yet: Collection[str] = ("unknown", "unfit"), **fields: object
) -> R:
    """Ask for a handover, as soon as the candidate is there for it.

    Args:
        ask: A `transfer`; called with all that follows.
        not_yet: Refused for one of these reasons, it is asked again.
    """

    def answer() -> R | None:
        try:
            return ask(*args, **fields)
        except HandoverError as error:
            if error.reason in not_yet:
                return None
            raise

    return until(answer)
