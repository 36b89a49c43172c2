"""Watches: order, whole revisions, the past, compaction, the end."""

from __future__ import annotations

import threading

from slurp_leader.errors import StoreClosedError
from slurp_leader.store import (
    Delete,
    Event,
    EventKind,
    Put,
    Store,
    Txn,
    Watch,
    WatchCompacted,
    WatchEvents,
    WatchFailed,
    WatchNotice,
    prefix_end,
)
from support.calls import PATIENCE_S, Recorder, do, put
from support.etcd import Operator

Notices = Recorder[WatchNotice]


def watch(store: Store, prefix: bytes, start_revision: int, seen: Notices) -> Watch:
    return store.watch(prefix, prefix_end(prefix), start_revision, seen)


def next_events(seen: Notices) -> WatchEvents:
    notice = seen.until(lambda n: not hasattr(n, "revision") or isinstance(n, WatchEvents))
    assert isinstance(notice, WatchEvents), notice
    return notice


def events_until(seen: Notices, key: bytes) -> list[Event]:
    """Events up to and with the one of `key`."""
    events: list[Event] = []
    while not (events and events[-1].kv.key == key):
        events += next_events(seen).events
    return events


def test_changes_come_in_order_of_revision_each_once(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    running = watch(store, prefix, put(store, prefix + b"before") + 1, seen)
    revisions = [put(store, prefix + b"%d" % (n % 7)) for n in range(50)]
    put(store, prefix + b"end")
    events = events_until(seen, prefix + b"end")
    running.cancel()
    assert [event.kv.mod_revision for event in events][:-1] == revisions


def test_a_put_event_carries_the_whole_record(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    created = put(store, prefix + b"a", b"1")
    running = watch(store, prefix, created + 1, seen)
    written = put(store, prefix + b"a", b"2")
    (event,) = next_events(seen).events
    running.cancel()
    assert (event.kind, event.kv.key, event.kv.value) == (EventKind.PUT, prefix + b"a", b"2")
    assert (event.kv.create_revision, event.kv.mod_revision, event.kv.version) == (created, written, 2)


def test_a_delete_event_carries_its_own_revision(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    running = watch(store, prefix, put(store, prefix + b"a") + 1, seen)
    deleted = do(store, Delete(prefix + b"a")).header.revision
    (event,) = next_events(seen).events
    running.cancel()
    assert (event.kind, event.kv.key, event.kv.mod_revision) == (EventKind.DELETE, prefix + b"a", deleted)


def test_a_transaction_of_many_keys_arrives_in_one_notice(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    start = put(store, prefix + b"gone") + 1
    running = watch(store, prefix, start, seen)
    puts = tuple(Put(prefix + b"%03d" % n, b"x" * 2000) for n in range(127))
    revision = do(store, Txn(success=(*puts, Delete(prefix + b"gone")))).header.revision
    notice = next_events(seen)
    running.cancel()
    assert notice.revision >= revision
    assert [e.kv.key for e in notice.events] == [*(p.key for p in puts), prefix + b"gone"]
    assert {e.kv.mod_revision for e in notice.events} == {revision}


def test_large_revisions_of_the_past_arrive_whole(store: Store, prefix: bytes) -> None:
    start = put(store, prefix + b"first") + 1
    revisions = [
        do(store, Txn(success=tuple(Put(prefix + b"%d" % n, b"x" * 60_000) for n in range(20)))).header.revision
        for _ in range(4)
    ]
    seen: Notices = Recorder()
    running = watch(store, prefix, start, seen)
    found: dict[int, int] = {}
    while sum(found.values()) < 80:
        in_notice: dict[int, int] = {}
        for event in next_events(seen).events:
            in_notice[event.kv.mod_revision] = in_notice.get(event.kv.mod_revision, 0) + 1
        assert not found.keys() & in_notice.keys()
        found |= in_notice
    running.cancel()
    assert found == dict.fromkeys(revisions, 20)
    do(store, Delete(prefix, prefix_end(prefix)))


def test_a_watch_from_the_past_catches_up_and_goes_on(store: Store, prefix: bytes) -> None:
    revisions = [put(store, prefix + b"a", b"%d" % n) for n in range(10)]
    seen: Notices = Recorder()
    running = watch(store, prefix, revisions[3], seen)
    put(store, prefix + b"end")
    events = events_until(seen, prefix + b"end")
    running.cancel()
    assert [e.kv.value for e in events[:-1]] == [b"%d" % n for n in range(3, 10)]


def test_a_watch_can_be_taken_up_where_another_one_ended(store: Store, prefix: bytes) -> None:
    first: Notices = Recorder()
    running = watch(store, prefix, put(store, prefix + b"a") + 1, first)
    put(store, prefix + b"b")
    reached = next_events(first).revision
    running.cancel()
    put(store, prefix + b"c")
    second: Notices = Recorder()
    running = watch(store, prefix, reached + 1, second)
    assert [e.kv.key for e in next_events(second).events] == [prefix + b"c"]
    running.cancel()


def test_a_watch_waits_for_a_start_that_lies_ahead(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    now = put(store, prefix + b"now")
    running = watch(store, prefix, now + 3, seen)
    for name in (b"1", b"2", b"3"):
        put(store, prefix + name)
    assert [e.kv.key for e in next_events(seen).events] == [prefix + b"3"]
    running.cancel()


def test_a_watch_without_start_sees_what_comes_next(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    put(store, prefix + b"old")
    running = watch(store, prefix, 0, seen)
    # When "next" begins is the store's business, so keep writing until something is seen.
    arrived = threading.Event()
    probe = store.watch(prefix, prefix_end(prefix), 0, lambda _: arrived.set())
    for n in range(2000):
        put(store, prefix + b"new", b"%d" % n)
        if arrived.is_set() and not seen.is_empty():
            break
    assert all(e.kv.key == prefix + b"new" for e in next_events(seen).events)
    running.cancel()
    probe.cancel()


def test_a_watch_of_one_key_sees_no_other(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    running = store.watch(prefix + b"a", None, put(store, prefix + b"x") + 1, seen)
    for name in (b"a0", b"A", b"b", b"a"):
        put(store, prefix + name)
    assert [e.kv.key for e in next_events(seen).events] == [prefix + b"a"]
    running.cancel()


def test_many_watches_each_see_their_own(store: Store, prefix: bytes) -> None:
    start = put(store, prefix + b"x") + 1
    recorders: list[Notices] = [Recorder() for _ in range(10)]
    running = [watch(store, prefix + b"%d/" % n, start, seen) for n, seen in enumerate(recorders)]
    for n in reversed(range(10)):
        put(store, prefix + b"%d/k" % n)
    for n, seen in enumerate(recorders):
        assert [e.kv.key for e in next_events(seen).events] == [prefix + b"%d/k" % n]
    for one in running:
        one.cancel()


def test_a_watch_from_before_a_compaction_ends_and_names_it(store: Store, operator: Operator, prefix: bytes) -> None:
    first = put(store, prefix + b"a")
    for _ in range(3):
        last = put(store, prefix + b"a")
    operator.compact(last)
    seen: Notices = Recorder()
    watch(store, prefix, first, seen)
    notice = seen.until(lambda n: isinstance(n, WatchCompacted | WatchEvents))
    assert notice == WatchCompacted(last)
    other: Notices = Recorder()
    running = watch(store, prefix, put(store, prefix + b"b"), other)
    next_events(other)
    running.cancel()
    assert seen.is_empty()


def test_a_watch_that_is_up_to_date_outlives_a_compaction(store: Store, operator: Operator, prefix: bytes) -> None:
    seen: Notices = Recorder()
    running = watch(store, prefix, put(store, prefix + b"a") + 1, seen)
    last = put(store, prefix + b"b")
    next_events(seen)
    operator.compact(last)
    put(store, prefix + b"c")
    assert [e.kv.key for e in next_events(seen).events] == [prefix + b"c"]
    running.cancel()


def test_nothing_comes_after_cancel(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    cancelled = watch(store, prefix, put(store, prefix + b"a") + 1, seen)
    put(store, prefix + b"b")
    next_events(seen)
    cancelled.cancel()
    cancelled.cancel()
    other: Notices = Recorder()
    running = watch(store, prefix, put(store, prefix + b"c"), other)
    next_events(other)  # by now the first one would have seen it too
    running.cancel()
    assert seen.is_empty()


def test_cancel_waits_for_the_notice_under_way(store: Store, prefix: bytes) -> None:
    entered, leave, left = threading.Event(), threading.Event(), threading.Event()

    def sink(_: WatchNotice) -> None:
        entered.set()
        assert leave.wait(PATIENCE_S)
        left.set()

    running = watch(store, prefix, put(store, prefix + b"a"), sink)  # type: ignore[arg-type]
    assert entered.wait(PATIENCE_S)
    finished: list[bool] = []
    canceller = threading.Thread(target=lambda: (running.cancel(), finished.append(left.is_set())))
    canceller.start()
    leave.set()
    canceller.join(PATIENCE_S)
    assert finished == [True]


def test_a_sink_may_cancel_its_own_watch(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    ready = threading.Event()
    running: list[Watch] = []

    def sink(notice: WatchNotice) -> None:
        assert ready.wait(PATIENCE_S)
        running[0].cancel()
        seen(notice)

    first = put(store, prefix + b"a")
    for _ in range(5):
        put(store, prefix + b"b")
    running.append(store.watch(prefix, prefix_end(prefix), first, sink))
    put(store, prefix + b"c")
    ready.set()
    seen.next()
    put(store, prefix + b"d")
    other: Notices = Recorder()
    second = watch(store, prefix, first, other)
    events_until(other, prefix + b"d")
    second.cancel()
    assert seen.is_empty()


def test_closing_the_store_ends_its_watches(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    watch(store, prefix, 0, seen)
    store.close()
    notice = seen.until(lambda n: isinstance(n, WatchFailed))
    assert isinstance(notice, WatchFailed)
    assert isinstance(notice.error, StoreClosedError)
