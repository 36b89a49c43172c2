"""Orders for the queue: one record, changed by one transaction each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.errors import ConfigurationError, OrderRefusedError
from slurp_leader.jobs.queue_orders import QueueOrders
from slurp_leader.jobs.records import JobKeys
from slurp_leader.store import Get, Put, Store, Txn
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore

KEYS = JobKeys(Keyspace("test"))


@pytest.fixture
def store() -> Iterator[Store]:
    store = MemoryStore()
    yield store
    store.close()


def orders(store: Any, by: str = "ops") -> QueueOrders:
    return QueueOrders(store, KEYS, SystemClock(), 5.0, by, 5.0)


def test_an_order_is_in_force_from_the_revision_it_tells(store: Store) -> None:
    done = orders(store).pause("role:x", "the night")
    kv = store.call(Get(KEYS.queue_control), 5).result().kvs[0]
    assert (done.changed, done.revision) == (True, kv.mod_revision)
    now = orders(store).read()
    assert (now.revision, now.problem) == (kv.mod_revision, "")
    assert (now.control.paused["role:x"].by, now.control.paused["role:x"].why) == ("ops", "the night")


def test_an_order_that_is_in_force_changes_nothing(store: Store) -> None:
    first = orders(store).limits({"all": 3})
    again = orders(store, "others").limits({"all": 3}, "again")
    assert (again.changed, orders(store).read().revision) == (False, first.revision)
    assert again.control.limits["all"].order.by == "ops"


def test_who_orders_at_the_same_time_undoes_nothing(store: Store) -> None:
    start = threading.Barrier(8)

    def order(number: int) -> None:
        start.wait()
        for turn in range(5):
            orders(store).pause(f"role:{number}-{turn}")

    threads = [threading.Thread(target=order, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(orders(store).read().control.paused) == 40


def test_a_record_that_cannot_be_read_is_written_anew(store: Store) -> None:
    store.call(Put(KEYS.queue_control, b"garbage"), 5).result()
    assert orders(store).read().problem
    assert orders(store).resume("all").changed
    assert not orders(store).read().problem


def test_what_a_later_version_ordered_is_not_undone(store: Store) -> None:
    store.call(Put(KEYS.queue_control, b'{"schema":2}'), 5).result()
    with pytest.raises(OrderRefusedError, match="later version"):
        orders(store).pause()
    assert store.call(Get(KEYS.queue_control), 5).result().kvs[0].value == b'{"schema":2}'


def test_an_order_whose_answer_was_lost_is_told_once(store: Store) -> None:
    from slurp_leader.errors import StoreTimeoutError

    class Lossy:
        """Applies the first write and loses its answer."""

        lost = False

        def call(self, request: Any, timeout_s: float) -> Any:
            future = store.call(request, timeout_s)
            if isinstance(request, Txn) and not self.lost:
                self.lost = True
                future.result()
                raise StoreTimeoutError("lost")
            return future

    done = orders(Lossy()).pause("all")
    assert (done.changed, done.revision) == (True, orders(store).read().revision)


@pytest.mark.parametrize(
    "order",
    [
        lambda to: to.pause("everything"),
        lambda to: to.resume("role:"),
        lambda to: to.limits({"all": -1}),
        lambda to: to.limits({"node": 1}),
        lambda to: to.workers(0),
        lambda to: to.pause("all", "x" * 5000),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_before_anything_is_written(store: Store, order: Any) -> None:
    with pytest.raises(ConfigurationError):
        order(orders(store))
    assert orders(store).read().revision == 0
