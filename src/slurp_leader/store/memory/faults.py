"""`Faults`: what goes wrong between a program and its `MemoryStore`, to order.

Each order holds for the next `count` requests that match `when`; orders are looked at in the sequence given. Nothing
goes wrong by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slurp_leader.forks import free_in_child
from slurp_leader.store.requests import Request

When = Callable[[Request[Any]], bool]


class FaultKind(StrEnum):
    LOSE_REQUEST = "lose_request"
    LOSE_ANSWER = "lose_answer"
    DELAY = "delay"
    REFUSE_FULL = "refuse_full"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request."""

    kind: FaultKind
    delay_s: float = 0.0
    at_once: bool = False
    applied: bool = False


@dataclass(slots=True)
class _Order:
    fault: Fault
    left: int
    when: When


def _any_request(_: Request[Any]) -> bool:
    return True


class Faults:
    """The faults of one store. Safe to use from any thread."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called, without a lock held, after anything that may set waiting work free."""
        self._changed = changed
        self._lock = free_in_child(threading.Lock())  # guards all below
        self._orders: list[_Order] = []
        self._stalled = False
        self._watches_broken = False

    def lose_request(self, count: int = 1, *, when: When = _any_request, at_once: bool = False) -> None:
        """Requests never arrive. The caller learns nothing until its deadline (`StoreTimeoutError`), or, `at_once`,
        that the connection broke (`StoreUnavailableError`)."""
        self._order(Fault(FaultKind.LOSE_REQUEST, at_once=at_once), count, when)

    def lose_answer(self, count: int = 1, *, when: When = _any_request, at_once: bool = False) -> None:
        """Requests are carried out, but their answers never arrive. The caller sees what it sees for `lose_request`."""
        self._order(Fault(FaultKind.LOSE_ANSWER, at_once=at_once), count, when)

    def delay(self, delay_s: float, count: int = 1, *, when: When = _any_request) -> None:
        """Requests arrive `delay_s` seconds late, even when their caller has given up by then."""
        self._order(Fault(FaultKind.DELAY, delay_s=delay_s), count, when)

    def refuse_full(self, count: int = 1, *, when: When = _any_request, applied: bool = False) -> None:
        """Requests are refused with `StoreFullError`; `applied`: and carried out all the same, as etcd does at the
        edge of its quota."""
        self._order(Fault(FaultKind.REFUSE_FULL, applied=applied), count, when)

    def stall(self) -> None:
        """From now on requests wait, as if etcd had lost its quorum. Leases do not expire meanwhile."""
        with self._lock:
            self._stalled = True
        self._changed()

    def resume(self) -> None:
        """End `stall`. What waited is carried out, even when its caller has given up."""
        with self._lock:
            self._stalled = False
        self._changed()

    def break_watches(self) -> None:
        """From now on watches deliver nothing."""
        with self._lock:
            self._watches_broken = True
        self._changed()

    def mend_watches(self) -> None:
        """End `break_watches`. Watches go on exactly where they were, or learn that this was compacted away."""
        with self._lock:
            self._watches_broken = False
        self._changed()

    def clear(self) -> None:
        """Take back every order, and end `stall` and `break_watches`."""
        with self._lock:
            self._orders.clear()
            self._stalled = self._watches_broken = False
        self._changed()

    @property
    def stalled(self) -> bool:
        """Requests wait at present."""
        with self._lock:
            return self._stalled

    @property
    def watches_broken(self) -> bool:
        """Watches deliver nothing at present."""
        with self._lock:
            return self._watches_broken

    def take(self, request: Request[Any]) -> Fault | None:
        """Use up the first order that matches this request; None: nothing goes wrong."""
        with self._lock:
            for order in self._orders:
                if order.when(request):
                    order.left -= 1
                    if order.left <= 0:
                        self._orders.remove(order)
                    return order.fault
        return None

    def _order(self, fault: Fault, count: int, when: When) -> None:
        with self._lock:
            self._orders.append(_Order(fault, count, when))
