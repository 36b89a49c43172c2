"""Giving orders to the queue, from any process: pause, resume, drain, limits, workers.

An order is one transaction that changes ``control/queue`` and compares the revision of what it was made from. It needs
no leader: whoever leads has the record by watch, and whoever leads next has it too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from slurp_leader.clock import Clock, format_utc
from slurp_leader.errors import OrderRefusedError, Outcome, RecordError, StoreError
from slurp_leader.jobs.picking.control import ALL, NOTHING_ORDERED, QueueControl, check_scope
from slurp_leader.jobs.records import JobKeys
from slurp_leader.orders import Order
from slurp_leader.store import Get, GetResult, KeyValue, Put, Store, Txn, TxnResult, mod_revision
from slurp_leader.store.records import is_of_later_version
from slurp_leader.store.repeat import asks_until, until_definite


@dataclass(frozen=True, slots=True)
class QueueOrdered:
    """What became of an order.

    Attributes:
        action: What was ordered.
        control: All that is in force now.
        revision: Since which; of an order that was in force already, when it was read.
        changed: Whether it changed anything.
    """

    action: str
    control: QueueControl
    revision: int
    changed: bool = True


@dataclass(frozen=True, slots=True)
class ControlAsRead:
    """The record as it was read.

    Attributes:
        revision: Of the record; 0: there is none.
        read_at: Revision at which it was read.
        problem: Why it cannot be read; then nothing is in force.
        is_later: It cannot be read because a later version of this library wrote it.
    """

    control: QueueControl
    revision: int
    read_at: int
    problem: str = ""
    is_later: bool = False


class QueueOrders:
    """Gives orders for one queue. Blocks; safe to use from any thread.

    Each order raises:
        ConfigurationError: A scope, a number or a reason makes no sense. Nothing was ordered.
        OrderRefusedError: A later version of this library wrote what is ordered, or others gave orders all the time.
            Nothing was ordered.
        StoreError: etcd did not answer within `timeout_s`; `outcome` says whether the order may be in force. It can be
            repeated: an order that is in force already changes nothing.

    Args:
        store: Where calls go.
        keys: Of the jobs.
        clock: Source of time, and of dates for people.
        rpc_timeout_s: Deadline of one call.
        by: Who orders, for people.
        timeout_s: Longest time for one order.
    """

    def __init__(
        self, store: Store, keys: JobKeys, clock: Clock, rpc_timeout_s: float, by: str, timeout_s: float = 30.0
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._rpc_timeout_s = rpc_timeout_s
        self._by = by
        self._timeout_s = timeout_s

    def on_behalf_of(self, by: str) -> QueueOrders:
        """The same, but it is `by` who orders; empty: as before."""
        return QueueOrders(self._store, self._keys, self._clock, self._rpc_timeout_s, by or self._by, self._timeout_s)

    # ------------------------------------------------------------ orders

    def pause(self, scope: str = ALL, why: str = "") -> QueueOrdered:
        """Start no jobs of this scope. What runs goes on, and new jobs are taken."""
        name = check_scope(scope)
        return self._order("pause", why, lambda now, order: now.pause(name, order))

    def resume(self, scope: str = ALL, why: str = "") -> QueueOrdered:
        """Start jobs of this scope again; of `all` it ends a drain too. Pauses of other scopes stay."""
        name = check_scope(scope)
        return self._order("resume", why, lambda now, _order: now.resume(name))

    def drain(self, why: str = "") -> QueueOrdered:
        """Take no new jobs, and work off those that are there."""
        return self._order("drain", why, lambda now, order: now.drain(order))

    def limits(self, limits: Mapping[str, int | None], why: str = "") -> QueueOrdered:
        """Let at most so many jobs of each scope run at once; None takes a limit away, 0 lets none start. What runs
        goes on, and those of other scopes stay as they are."""
        names = {check_scope(scope, of_limit=True): most for scope, most in limits.items()}

        def decide(now: QueueControl, order: Order) -> QueueControl:
            for scope, most in names.items():
                now = now.limit(scope, most, order)
            return now

        return self._order("limits", why, decide)

    def workers(self, count: int | None, why: str = "") -> QueueOrdered:
        """Let each leader have so many workers, whatever its settings say; None: as they say. With fewer, what runs
        goes on, and no further job is started until enough have ended."""
        return self._order("workers", why, lambda now, order: now.scale(count, order))

    # ------------------------------------------------------------ reading

    def read(self) -> ControlAsRead:
        """What is in force.

        Raises:
            StoreError: etcd did not answer.
        """
        return self._read(self._clock.boottime() + self._timeout_s)

    def _read(self, deadline: float) -> ControlAsRead:
        ask = asks_until(self._store, self._rpc_timeout_s, self._clock, deadline)
        try:
            found: GetResult = ask(Get(self._keys.queue_control))
        except StoreError as error:
            error.outcome = Outcome.NOT_APPLIED  # nothing was to be written yet
            raise
        return _as_read(found.kvs[0] if found.kvs else None, found.header.revision)

    # ------------------------------------------------------------ one order

    def _order(self, action: str, why: str, decide: Callable[[QueueControl, Order], QueueControl]) -> QueueOrdered:
        """Decide on what is in force, and write that; again from the start when somebody else was first."""
        deadline = self._clock.boottime() + self._timeout_s
        order = Order(self._by, why, format_utc(self._clock.utcnow()))
        now = self._read(deadline)
        while True:
            if now.is_later:  # to write over it would undo all that is ordered
                raise OrderRefusedError(
                    "a later version of slurp_leader wrote the orders in force: give orders with that version",
                    reason="later_version",
                )
            wanted = replace(decide(now.control, order), op=secrets.token_hex(8))
            if wanted.without_words() == now.control.without_words() and not now.problem:
                return QueueOrdered(action, now.control, now.read_at, changed=False)
            result = self._write(wanted, now.revision, deadline)
            if result.succeeded:
                return QueueOrdered(action, wanted, result.header.revision)
            kvs = result.results[0].kvs  # type: ignore[union-attr]  # the read of the branch
            now = _as_read(kvs[0] if kvs else None, result.header.revision)
            if now.control.op == wanted.op:  # an earlier send of this very write
                return QueueOrdered(action, now.control, now.revision)
            if self._clock.boottime() >= deadline:
                raise OrderRefusedError("others give orders all the time; try again", reason="busy")

    def _write(self, wanted: QueueControl, revision: int, deadline: float) -> TxnResult:
        key = self._keys.queue_control
        txn = Txn((mod_revision(key, revision),), (Put(key, wanted.to_value()),), (Get(key),))
        ask = asks_until(self._store, self._rpc_timeout_s, self._clock, deadline)
        return until_definite(lambda: ask(txn), self._clock, deadline)


def _as_read(kv: KeyValue | None, read_at: int) -> ControlAsRead:
    if kv is None:
        return ControlAsRead(NOTHING_ORDERED, 0, read_at)
    try:
        return ControlAsRead(QueueControl.from_value(kv.key, kv.value), kv.mod_revision, read_at)
    except RecordError as error:
        is_later = is_of_later_version(kv.value)
        return ControlAsRead(NOTHING_ORDERED, kv.mod_revision, read_at, str(error), is_later)
