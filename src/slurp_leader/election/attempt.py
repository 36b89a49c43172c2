"""A write to the leader key that has to become definite.

A call that was not answered did something or nothing, or will yet do it: reading back proves nothing (PROTOCOL A2). So
the very same transaction is sent again until an answer decides. It can decide, because

* every transaction that takes the key compares the epoch and moves it, and every one that gives it back compares the
  token: once one was applied or overtaken, its copies still under way are refused;
* a refused one reads the leader key, and finding our own value there means that an earlier copy was applied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from slurp_leader.election.desk import Backoff, Desk
from slurp_leader.election.transactions import leader_read
from slurp_leader.errors import LeaseNotFoundError, Outcome, StoreDeniedError, StoreError
from slurp_leader.store import Txn, TxnResult
from slurp_leader.telemetry.events import LogEvent

_DOING = "write the leader key"


@dataclass(slots=True, eq=False)
class Attempt:
    """One transaction made by `transactions`, which ends with `read_election`.

    Attributes:
        own_value: What the leader key holds once it was applied; None when it gives the key back. A store that will not
            even look at the request ends an attempt to take the key, but never one to give it back.
        on_applied: Called with the revision at which it was applied.
    """

    txn: Txn
    own_value: bytes | None
    on_applied: Callable[[int, float], None]
    in_doubt: bool = False


class Attempts:
    """At most one attempt at a time.

    Args:
        desk: Shared with the elector. Uses the timer "again".
        longest_pause_s: Between two sends of one attempt.
        learn: Takes what an answer tells of the election.
        on_denied: This node has not the rights to take the key; told why.
        on_lease_gone: Our own lease is gone, and with it every key on it.
    """

    def __init__(
        self,
        desk: Desk,
        longest_pause_s: float,
        learn: Callable[[TxnResult, float], None],
        on_denied: Callable[[str, float], None],
        on_lease_gone: Callable[[float], None],
    ) -> None:
        self._desk = desk
        self._backoff = Backoff(desk, longest_pause_s)
        self._learn = learn
        self._on_denied = on_denied
        self._on_lease_gone = on_lease_gone
        self._timeout_s = 0.0
        self.current: Attempt | None = None
        self.not_before = float("-inf")
        """A store that refuses unseen is not asked again before this."""

    def begin(self, attempt: Attempt, timeout_s: float) -> None:
        self.current = attempt
        self._timeout_s = timeout_s
        self._send(attempt)

    def drop(self) -> None:
        """Forget the attempt: something else makes it definite, or already has."""
        self.current = None
        self._desk.timers.clear("again")

    def again(self) -> None:
        if self.current is not None:
            self._send(self.current)

    def _send(self, attempt: Attempt) -> None:
        self._desk.call(attempt.txn, self._timeout_s, partial(self._answered, attempt))

    def _answered(self, attempt: Attempt, result: Any, now: float) -> None:
        if attempt is not self.current:
            return
        if isinstance(result, LeaseNotFoundError):
            self.drop()
            self._on_lease_gone(now)
        elif isinstance(result, StoreError):
            self._failed(attempt, result, now)
        else:
            self.drop()
            self._backoff.reset()
            self._desk.note_success(_DOING)
            self._decide(attempt, result, now)

    def _failed(self, attempt: Attempt, error: StoreError, now: float) -> None:
        self._desk.note_failure(LogEvent.ELECTION_CALL_FAILED, _DOING, error)
        pause_s = self._backoff.next_s()
        attempt.in_doubt |= error.outcome is Outcome.UNKNOWN
        if attempt.own_value is not None and not attempt.in_doubt:
            self.drop()
            self.not_before = now + pause_s
            if isinstance(error, StoreDeniedError):
                self._on_denied(str(error), now)
        else:
            self._desk.timers.set("again", now + pause_s)

    def _decide(self, attempt: Attempt, result: TxnResult, now: float) -> None:
        self._learn(result, now)
        if result.succeeded:
            attempt.on_applied(result.header.revision, now)
            return
        leader = leader_read(result)
        if leader is not None and leader.value == attempt.own_value:
            attempt.on_applied(leader.mod_revision, now)  # an earlier copy of this very attempt had arrived


def key_is_free(_revision: int, _now: float) -> None:
    """For an attempt to give the key back: nothing is left to do after it. Others have seen it, and so has the view."""
