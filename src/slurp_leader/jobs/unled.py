"""Admission while nobody leads: submitters look after the store themselves (PROTOCOL A9).

With a leader, the leader closes the queue. Without one nobody would, and submitters would fill the store until no
leader can be elected. So a submitter that has seen no sign of a leader looks itself, at most once a second, and
refuses by the same limits.

A sign is a heartbeat that has moved while the leader key is there; it counts for a minute, by the clock of the
submitter. Without a leader key there is no leader: no minute has to pass. The first submit of a process waits for the
first look; as long as signs come, later ones wait for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slurp_leader.errors import QueueFullError, StoreError
from slurp_leader.jobs.quota import StoreLimits, StoreVerdict, fill_of, judge
from slurp_leader.store import Get, Request, Txn, prefix_end
from slurp_leader.store.maintenance import Survey

SIGN_COUNTS_S = 60.0
_LOOK_FOR_SIGNS_EVERY_S = 15.0
_CHECK_EVERY_S = 1.0

Ask = Callable[[Request[Any], Callable[[Any, float], None]], None]
Admitted = Callable[[Exception | None, float], None]
"""Told once whether a job may be brought in, and the time: None, or why not."""


@dataclass(frozen=True, slots=True)
class Signs:
    """Where a leader shows that it is there: its key, and its heartbeat."""

    leader: bytes
    heartbeat: bytes


class Unled:
    """Part of the submitter's machine.

    Args:
        queue: Prefix of the queue.
        signs: Of the leader.
        limits: How much of the store may be used.
        queue_limit: Jobs that may wait.
        ask: Sends a read; the handler takes the response or the error.
    """

    def __init__(self, queue: bytes, signs: Signs, limits: StoreLimits, queue_limit: int, ask: Ask) -> None:
        self._count = Get(queue, prefix_end(queue), count_only=True)
        self._look = Txn(success=(Get(signs.leader, keys_only=True), Get(signs.heartbeat, keys_only=True)))
        self._limits = limits
        self._queue_limit = queue_limit
        self._ask = ask
        self._heartbeat = -1  # its revision, when it was last looked for
        self._led_until = float("-inf")
        self._look_at = float("-inf")
        self._looking = False
        self._valid_until = float("-inf")  # of the last check
        self._room = 0
        self._verdict: StoreVerdict | None = None
        self._waiting: list[Admitted] = []

    @property
    def waiting(self) -> int:
        """How many wait for a look to end."""
        return len(self._waiting)

    def admit(self, admitted: Admitted, now: float) -> None:
        """May one more job be brought in? Told at once as long as a leader shows itself."""
        is_led = now < self._led_until
        if not self._looking and now >= self._look_at and (is_led or now >= self._valid_until):
            self._looking = True
            self._ask(self._look, self._looked)
        if is_led:
            admitted(None, now)
        elif now < self._valid_until:
            admitted(self._refusal(), now)
        else:
            self._waiting.append(admitted)

    # ------------------------------------------------------------ does anybody lead?

    def _looked(self, result: Any, now: float) -> None:
        if isinstance(result, StoreError):
            self._let_go(now)
            return
        leader, heartbeat = (answer.kvs[0].mod_revision if answer.kvs else 0 for answer in result.results)
        if not leader:
            self._led_until = float("-inf")
        elif heartbeat != self._heartbeat:
            self._led_until = now + SIGN_COUNTS_S
        self._heartbeat = heartbeat
        if now < self._led_until:
            self._look_at = now + _LOOK_FOR_SIGNS_EVERY_S
            self._end_look(now)
        else:
            self._ask(self._count, self._counted)

    # ------------------------------------------------------------ nobody does

    def _counted(self, result: Any, now: float) -> None:
        if isinstance(result, StoreError):
            self._let_go(now)
            return
        self._room = self._queue_limit - result.count
        self._ask(Survey(), self._surveyed)

    def _surveyed(self, result: Any, now: float) -> None:
        if isinstance(result, StoreError):
            self._let_go(now)
            return
        self._verdict = judge(fill_of(result.members, self._limits), self._verdict)
        self._check_holds(now)

    def _refusal(self) -> QueueFullError | None:
        """Why one more may not be brought in. What is let through counts: the next look is up to a second away."""
        unled = "nobody leads, and"
        if self._verdict is not None and self._verdict.refuse:
            message = f"{unled} the store is nearly full: {self._verdict.fill}; see `slurp etcd doctor`"
            return QueueFullError(message, reason="store nearly full", retry_after_s=_CHECK_EVERY_S)
        if self._room <= 0:
            message = f"{unled} {self._queue_limit} jobs wait already (jobs.queue_limit)"
            return QueueFullError(message, reason="queue full", retry_after_s=_CHECK_EVERY_S)
        self._room -= 1
        return None

    def _let_go(self, now: float) -> None:
        """Nothing could be found out: let the store decide, as it does anyway."""
        self._verdict, self._room = None, self._queue_limit
        self._check_holds(now)

    def _check_holds(self, now: float) -> None:
        self._valid_until = self._look_at = now + _CHECK_EVERY_S
        self._end_look(now)

    def _end_look(self, now: float) -> None:
        self._looking = False
        waiting, self._waiting = self._waiting, []
        is_led = now < self._led_until
        for admitted in waiting:
            admitted(None if is_led else self._refusal(), now)
