"""`Follower` when the store loses, delays, breaks and compacts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

import pytest

from slurp_leader.errors import LifecycleError, StoreClosedError, StoreDeniedError, StoreError
from slurp_leader.store import Delete, Get, GetResult, Request, Store, WatchFailed, WatchProgress, WatchSink
from slurp_leader.store.follow import Changes, Follower, FollowFailed, FollowNotice, Progress, Snapshot
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, Recorder, do, put
from support.logs import events

Notices = Recorder[FollowNotice]
P = b"/p/"


def is_read(request: Request[Any]) -> bool:
    return isinstance(request, Get)


class Between:
    """A store that lets a test change the answers of another one."""

    def __init__(self, store: Store, change: Callable[[GetResult], GetResult | StoreError]) -> None:
        self._store = store
        self._change = change
        self.sinks: list[WatchSink] = []
        self.watches_ended = 0

    def call(self, request: Request[Any], timeout_s: float) -> Future[Any]:
        future = self._store.call(request, timeout_s)
        if future.exception(PATIENCE_S) is not None:
            return future
        changed: Future[Any] = Future()
        answer = self._change(cast(GetResult, future.result()))
        if isinstance(answer, StoreError):
            changed.set_exception(answer)
        else:
            changed.set_result(answer)
        return changed

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: WatchSink) -> Any:
        self.sinks.append(sink)
        self._watch = self._store.watch(key, range_end, start_revision, sink)
        return self

    def cancel(self) -> None:
        self.watches_ended += 1
        self._watch.cancel()

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with MemoryStore() as store:
        yield store


def keys(notice: FollowNotice) -> list[bytes]:
    assert isinstance(notice, Snapshot)
    return [kv.key.removeprefix(P) for kv in notice.kvs]


def test_a_change_that_was_compacted_unseen_leads_to_a_new_snapshot(store: MemoryStore) -> None:
    put(store, P + b"stays")
    put(store, P + b"goes")
    seen: Notices = Recorder()
    with Follower(store, P, seen):
        assert keys(seen.next()) == [b"goes", b"stays"]
        store.faults.break_watches()
        do(store, Delete(P + b"goes"))
        last = put(store, P + b"new")
        put(store, P + b"new")
        store.compact()
        store.faults.mend_watches()
        reloaded = seen.until(lambda n: isinstance(n, Snapshot))
        assert keys(reloaded) == [b"new", b"stays"]
        assert reloaded.revision > last  # type: ignore[union-attr]
        put(store, P + b"after")
        changes = seen.until(lambda n: isinstance(n, Changes))
    assert [e.kv.key for e in changes.events] == [P + b"after"]  # type: ignore[union-attr]


def test_a_broken_watch_goes_on_where_it_was(store: MemoryStore) -> None:
    seen: Notices = Recorder()
    with Follower(store, P, seen):
        seen.next()
        store.faults.break_watches()
        written = [put(store, P + b"%d" % n) for n in range(5)]
        store.faults.mend_watches()
        revisions = []
        while len(revisions) < 5:
            notice = seen.until(lambda n: isinstance(n, Changes | Snapshot))
            assert isinstance(notice, Changes)
            revisions += [event.kv.mod_revision for event in notice.events]
    assert revisions == written


def test_lost_answers_are_asked_for_again(store: MemoryStore) -> None:
    put(store, P + b"a")
    store.faults.lose_answer(2, when=is_read, at_once=True)
    store.faults.lose_request(1, when=is_read)
    seen: Notices = Recorder()
    with Follower(store, P, seen, timeout_s=0.1):
        assert keys(seen.next()) == [b"a"]


def test_an_outage_is_reported_once_and_its_end_too(store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    store.faults.lose_request(4, when=is_read, at_once=True)
    seen: Notices = Recorder()
    with caplog.at_level(logging.INFO, "slurp_leader.store"), Follower(store, P, seen):
        seen.next()
    assert events(caplog) == ["store.unavailable", "store.back"]


def test_a_compaction_between_two_pages_starts_the_reading_anew(store: MemoryStore) -> None:
    for n in range(6):
        put(store, P + b"%d" % n)
    compacted = threading.Event()

    def compact_once(result: GetResult) -> GetResult:
        if not compacted.is_set():
            compacted.set()
            put(store, P + b"9")
            store.compact()
        return result

    seen: Notices = Recorder()
    with Follower(Between(store, compact_once), P, seen, page=3):
        assert keys(seen.next()) == [b"0", b"1", b"2", b"3", b"4", b"5", b"9"]


def test_a_snapshot_older_than_what_was_delivered_is_not_taken(store: MemoryStore) -> None:
    stale_answers = 0
    delivered = 0

    def older(result: GetResult) -> GetResult:
        nonlocal stale_answers
        if not delivered or stale_answers == 2:
            return result
        stale_answers += 1
        return replace(result, header=replace(result.header, revision=delivered - 1), kvs=())

    seen: Notices = Recorder()
    with Follower(Between(store, older), P, seen):
        seen.next()
        delivered = put(store, P + b"a")
        seen.until(lambda n: isinstance(n, Changes))
        store.faults.break_watches()
        put(store, P + b"b")
        put(store, P + b"b")
        store.compact()
        store.faults.mend_watches()
        assert keys(seen.until(lambda n: isinstance(n, Snapshot))) == [b"a", b"b"]
    assert stale_answers == 2


def test_a_denial_ends_the_follower(store: MemoryStore) -> None:
    seen: Notices = Recorder()
    with Follower(Between(store, lambda _: StoreDeniedError("no")), P, seen):
        notice = seen.next()
    assert isinstance(notice, FollowFailed)
    assert isinstance(notice.error, StoreDeniedError)


def test_a_watch_that_fails_for_good_ends_the_follower(store: MemoryStore) -> None:
    between = Between(store, lambda result: result)
    seen: Notices = Recorder()
    with Follower(between, P, seen):
        seen.next()
        put(store, P + b"a")
        seen.until(lambda n: isinstance(n, Changes))  # the watch stands
        between.sinks[0](WatchFailed(StoreClosedError()))
        seen.until(lambda n: isinstance(n, FollowFailed))


def test_a_word_of_progress_from_before_what_was_delivered_takes_nothing_back(store: MemoryStore) -> None:
    """It is no lie, and may come of a member that lags: but the picture is of a later revision."""
    between = Between(store, lambda result: result)
    seen: Notices = Recorder()
    with Follower(between, P, seen):
        seen.next()
        first = put(store, P + b"a")
        seen.until(lambda n: isinstance(n, Changes))
        between.sinks[0](WatchProgress(first - 1))
        between.sinks[0](WatchProgress(first))
        assert seen.next() == Progress(first)


def test_an_error_of_the_sink_ends_the_follower_and_is_handed_to_it(store: MemoryStore) -> None:
    seen: Notices = Recorder()

    def sink(notice: FollowNotice) -> None:
        seen(notice)
        if isinstance(notice, Snapshot):
            raise KeyError("cannot make sense of this")

    with Follower(store, P, sink):
        seen.next()
        notice = seen.next()
    assert isinstance(notice, FollowFailed)
    assert isinstance(notice.error, KeyError)


def test_stop_does_not_wait_for_an_answer_that_does_not_come(store: MemoryStore) -> None:
    asked = threading.Event()
    store.faults.lose_request(1000, when=lambda request: asked.set() or is_read(request))  # type: ignore[func-returns-value]
    follower = Follower(store, P, Recorder[FollowNotice](), timeout_s=100 * PATIENCE_S)
    follower.start()
    assert asked.wait(PATIENCE_S)
    stopper = threading.Thread(target=follower.stop)
    stopper.start()
    stopper.join(PATIENCE_S)
    assert not stopper.is_alive()


def test_stop_before_start_is_fine_and_final(store: MemoryStore) -> None:
    follower = Follower(store, P, Recorder[FollowNotice]())
    follower.stop()
    with pytest.raises(LifecycleError):
        follower.start()


def test_a_follower_starts_once(store: MemoryStore) -> None:
    with Follower(store, P, Recorder[FollowNotice]()) as follower, pytest.raises(LifecycleError):
        follower.start()


def test_a_sink_may_stop_its_own_follower(store: MemoryStore) -> None:
    seen: Notices = Recorder()

    def sink(notice: FollowNotice) -> None:
        follower.stop()
        seen(notice)

    follower = Follower(store, P, sink)
    follower.start()
    seen.next()
    follower.stop()
    assert seen.is_empty()


def test_a_stopped_follower_leaves_no_watch(store: MemoryStore) -> None:
    between = Between(store, lambda result: result)
    seen: Notices = Recorder()
    with Follower(between, P, seen):
        seen.next()
        put(store, P + b"a")
        seen.until(lambda n: isinstance(n, Changes))
    assert (len(between.sinks), between.watches_ended) == (1, 1)


def test_a_stopped_follower_leaves_no_thread(store: MemoryStore) -> None:
    seen: Notices = Recorder()
    with Follower(store, b"/only here/", seen):
        seen.next()
    assert not [t for t in threading.enumerate() if "/only here/" in t.name]
