"""Pauses that grow and are spread, and the loop around a call that may fail for a while."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random_exponential

_FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
"""Seconds between two tries, at most: what an outage that is over can still cost."""

# Half of each pause is certain, so that nobody spins; half is random, so that all who lost the store at one moment do
# not come back at one moment.
_BACKOFF = wait_exponential(multiplier=_FIRST_PAUSE_S / 2, max=LONGEST_PAUSE_S / 2) + wait_random_exponential(
    multiplier=_FIRST_PAUSE_S / 2, max=LONGEST_PAUSE_S / 2
)
_POLICY = Retrying(wait=_BACKOFF)


def pause_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 0.05, 0.1, 0.2 ... up to `LONGEST_PAUSE_S`, less up to a half.

    Args:
        failures: 1 or more.
    """
    state = RetryCallState(_POLICY, None, (), {})
    state.attempt_number = failures
    return _BACKOFF(state)


def trying_again(
    may_pass: Callable[[BaseException], bool],
    *,
    failed: Callable[[BaseException], None],
    pause: Callable[[float], None],
) -> Retrying:
    """What calls a function again and again: ``trying_again(...)(function)``. It never gives up by itself.

    Args:
        may_pass: Whether an error is worth another try. Any other is raised as it is.
        failed: Told of each error that is, before the pause.
        pause: Waits so many seconds; raises to give up.
    """

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            failed(error)

    return Retrying(retry=retry_if_exception(may_pass), wait=_BACKOFF, before_sleep=tell, sleep=pause, reraise=True)
