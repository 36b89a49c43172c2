"""`Faults`: each goes wrong as it says, and only as often as ordered."""

from __future__ import annotations

import threading

import pytest

from slurp_leader.errors import (
    Outcome,
    StoreClosedError,
    StoreFullError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from slurp_leader.store import Get, Grant, KeepAlive, Put, Request, WatchEvents, WatchNotice, WatchProgress
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, Recorder, do, get, put

SHORT_S = 0.05


def is_put(request: Request[object]) -> bool:
    return isinstance(request, Put)


def test_a_lost_request_times_out_and_was_not_carried_out(memory_store: MemoryStore) -> None:
    memory_store.faults.lose_request()
    with pytest.raises(StoreTimeoutError) as caught:
        memory_store.call(Put(b"a", b""), SHORT_S).result()
    assert caught.value.outcome is Outcome.UNKNOWN
    assert get(memory_store, b"a") is None


def test_a_lost_answer_times_out_and_was_carried_out(memory_store: MemoryStore) -> None:
    memory_store.faults.lose_answer()
    with pytest.raises(StoreTimeoutError) as caught:
        memory_store.call(Put(b"a", b""), SHORT_S).result()
    assert caught.value.outcome is Outcome.UNKNOWN
    assert get(memory_store, b"a") is not None


@pytest.mark.parametrize("applied", [False, True])
def test_a_broken_connection_is_noticed_at_once(memory_store: MemoryStore, applied: bool) -> None:
    faults = memory_store.faults
    (faults.lose_answer if applied else faults.lose_request)(at_once=True)
    with pytest.raises(StoreUnavailableError) as caught:
        do(memory_store, Put(b"a", b""))
    assert caught.value.outcome is Outcome.UNKNOWN
    assert (get(memory_store, b"a") is not None) is applied


@pytest.mark.parametrize("applied", [False, True])
def test_a_refusal_for_space_may_have_been_written(memory_store: MemoryStore, applied: bool) -> None:
    memory_store.faults.refuse_full(applied=applied)
    with pytest.raises(StoreFullError):
        do(memory_store, Put(b"a", b""))
    assert (get(memory_store, b"a") is not None) is applied


def test_a_delayed_request_arrives_after_its_caller_gave_up(memory_store: MemoryStore) -> None:
    seen: Recorder[WatchNotice] = Recorder()
    memory_store.watch(b"a", None, 2, seen)
    memory_store.faults.delay(4 * SHORT_S)
    with pytest.raises(StoreTimeoutError):
        memory_store.call(Put(b"a", b"late"), SHORT_S).result()
    notice = seen.until(lambda n: isinstance(n, WatchEvents))
    assert isinstance(notice, WatchEvents)
    assert notice.events[0].kv.value == b"late"


def test_a_delayed_request_is_overtaken_and_then_answered(memory_store: MemoryStore) -> None:
    memory_store.faults.delay(SHORT_S)
    late = memory_store.call(Put(b"a", b"late"), PATIENCE_S)
    first = put(memory_store, b"a", b"first")
    assert late.result().header.revision > first


def test_a_request_is_delayed_once(memory_store: MemoryStore) -> None:
    memory_store.faults.delay(0.001, 1000)
    put(memory_store, b"a")


def test_a_stalled_store_answers_nothing_and_catches_up(memory_store: MemoryStore) -> None:
    memory_store.faults.stall()
    given_up = memory_store.call(Put(b"a", b"1"), SHORT_S)
    waiting = memory_store.call(Put(b"b", b"2"), PATIENCE_S)
    with pytest.raises(StoreTimeoutError):
        given_up.result()
    assert not waiting.done()
    memory_store.faults.resume()
    waiting.result()
    assert get(memory_store, b"a") is not None  # it was on its way


def test_a_fault_hits_only_what_it_was_ordered_for(memory_store: MemoryStore) -> None:
    memory_store.faults.lose_request(2, when=is_put, at_once=True)
    for _ in range(2):
        do(memory_store, Get(b"a"))
        with pytest.raises(StoreUnavailableError):
            do(memory_store, Put(b"a", b""))
    do(memory_store, Put(b"a", b""))


def test_clear_takes_all_orders_back(memory_store: MemoryStore) -> None:
    memory_store.faults.lose_request(100)
    memory_store.faults.stall()
    memory_store.faults.break_watches()
    memory_store.faults.clear()
    put(memory_store, b"a")
    assert not memory_store.faults.watches_broken


def test_broken_watches_are_silent_until_they_are_mended(memory_store: MemoryStore) -> None:
    seen: Recorder[WatchNotice] = Recorder()
    memory_store.faults.break_watches()
    memory_store.watch(b"a", b"b", 1, seen)
    written = [put(memory_store, b"a%d" % n) for n in range(3)]
    assert seen.is_empty()
    memory_store.faults.mend_watches()
    revisions = [n.revision for n in (seen.next(), seen.next(), seen.next()) if isinstance(n, WatchEvents)]
    assert revisions == written


def test_a_watch_without_news_is_told_that_it_is_up_to_date_however_busy_the_others_are() -> None:
    with MemoryStore(progress_interval_s=0.01) as store:
        silent: Recorder[WatchNotice] = Recorder()
        store.watch(b"a", None, 0, silent)
        busy: Recorder[WatchNotice] = Recorder()
        store.watch(b"b", None, 0, busy)
        first = put(store, b"b")
        while not any(isinstance(n, WatchProgress) and n.revision > first for n in silent.rest()):
            put(store, b"b")


def test_one_failing_sink_does_not_stop_the_others(memory_store: MemoryStore) -> None:
    def fail(_: WatchNotice) -> None:
        raise ValueError("a bug of the sink")

    seen: Recorder[WatchNotice] = Recorder()
    memory_store.watch(b"a", None, 2, fail)
    memory_store.watch(b"a", None, 2, seen)
    put(memory_store, b"a")
    put(memory_store, b"a")
    seen.until(lambda n: isinstance(n, WatchEvents) and n.revision == 3)


def test_leases_end_by_themselves(memory_store: MemoryStore) -> None:
    seen: Recorder[WatchNotice] = Recorder()
    do(memory_store, Grant(1, 2))
    put(memory_store, b"a", lease=1)
    memory_store.watch(b"a", None, 3, seen)
    assert isinstance(seen.next(), WatchEvents)  # nobody asks anything meanwhile
    assert do(memory_store, KeepAlive(1)).ttl_s == 0


def test_close_fails_what_is_under_way_with_an_unknown_outcome() -> None:
    store = MemoryStore()
    store.faults.stall()
    under_way = store.call(Put(b"a", b""), PATIENCE_S)
    store.close()
    with pytest.raises(StoreClosedError) as caught:
        under_way.result()
    assert caught.value.outcome is Outcome.UNKNOWN


def test_a_closed_store_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with MemoryStore() as store:
        put(store, b"a")
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("slurp-memory")]


def test_a_callback_may_send_the_next_request(memory_store: MemoryStore) -> None:
    done = threading.Event()

    def second(_: object) -> None:
        memory_store.call(Put(b"b", b""), PATIENCE_S).add_done_callback(lambda _: done.set())

    memory_store.call(Put(b"a", b""), PATIENCE_S).add_done_callback(second)
    assert done.wait(PATIENCE_S)
