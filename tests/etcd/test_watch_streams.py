"""A watch goes on where it was, whatever happens to its streams; ends when it must; and never spins."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from slurp_leader.errors import RequestMalformedError
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.etcd.watch import EtcdWatch
from slurp_leader.store import (
    Put,
    Txn,
    WatchCompacted,
    WatchEvents,
    WatchFailed,
    WatchNotice,
    WatchProgress,
)
from support.calls import PATIENCE_S, Recorder, do, put, put_once_taken
from support.etcd import EtcdOperator
from support.logs import events
from support.waiting import until

pytestmark = pytest.mark.etcd

Notices = Recorder[WatchNotice]


@pytest.fixture
def store(own_etcd: EtcdProcess) -> Iterator[EtcdStore]:
    options = EtcdOptions(endpoints=[own_etcd.endpoint], watch_probe_interval=0.3, watch_probe_timeout=0.5)
    with EtcdStore(options) as made:
        yield made


class Openings:
    """Counts how often the store opens a watch stream, and passes everything on."""

    def __init__(self, store: EtcdStore) -> None:
        self.count = 0
        member = store._members.in_use()
        self._open = member.watch
        member.watch = self

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return self._open(*arguments, **options)


def _revisions(notices: list[WatchNotice]) -> list[int]:
    return [event.kv.mod_revision for notice in notices if isinstance(notice, WatchEvents) for event in notice.events]


def _until_revision(notices: Notices, revision: int) -> None:
    notices.until(lambda notice: isinstance(notice, WatchEvents) and notice.revision == revision)


def test_a_watch_survives_kill_and_restart_without_loss_or_repetition(store: EtcdStore, own_etcd: EtcdProcess) -> None:
    notices = Notices()
    revisions = [put(store, b"k")]
    store.watch(b"k", None, revisions[0], notices)
    _until_revision(notices, revisions[-1])
    for _ in range(3):
        own_etcd.kill()
        own_etcd.start()
        revisions.append(put_once_taken(store, b"k"))
        revisions.append(put(store, b"k"))
    _until_revision(notices, revisions[-1])
    assert _revisions(notices.seen) == revisions


def test_a_watch_for_whatever_comes_next_resumes_where_it_was_created(store: EtcdStore, own_etcd: EtcdProcess) -> None:
    notices = Notices()
    put(store, b"k")
    store.watch(b"k", None, 0, notices)
    notices.until(lambda notice: isinstance(notice, WatchProgress))  # it exists; nothing has changed
    own_etcd.kill()
    own_etcd.start()
    revision = put_once_taken(store, b"k")
    _until_revision(notices, revision)
    assert _revisions(notices.seen) == [revision]


def test_a_silent_member_is_noticed_and_the_watch_goes_on_when_it_speaks_again(
    store: EtcdStore, own_etcd: EtcdProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "slurp_leader.etcd")
    openings, notices = Openings(store), Notices()
    store.watch(b"k", None, put(store, b"k"), notices)
    notices.until(lambda notice: isinstance(notice, WatchEvents))
    own_etcd.pause()
    until(lambda: openings.count > 1)
    own_etcd.resume()
    revision = put_once_taken(store, b"k")
    _until_revision(notices, revision)
    assert "watch.resumed" in events(caplog)


def test_a_quiet_watch_proves_that_it_lives_and_claims_no_more_than_it_delivered(store: EtcdStore) -> None:
    notices = Notices()
    revision = put(store, b"k")
    store.watch(b"k", None, revision, notices)
    _until_revision(notices, revision)
    put(store, b"elsewhere")
    progress = notices.until(lambda notice: isinstance(notice, WatchProgress))
    assert progress == WatchProgress(revision)


def test_what_was_compacted_while_disconnected_ends_the_watch_by_name(store: EtcdStore, own_etcd: EtcdProcess) -> None:
    first = put(store, b"k")
    put(store, b"k")
    newest = put(store, b"k")
    EtcdOperator(own_etcd.endpoint).compact(newest)
    notices = Notices()
    store.watch(b"k", None, first, notices)
    assert notices.next() == WatchCompacted(newest)


def test_while_etcd_is_down_a_watch_neither_spins_nor_floods_the_log(
    store: EtcdStore, own_etcd: EtcdProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "slurp_leader.etcd")
    openings, notices = Openings(store), Notices()
    store.watch(b"k", None, put(store, b"k"), notices)
    notices.until(lambda notice: isinstance(notice, WatchEvents))
    own_etcd.kill()
    threading.Event().wait(1.2)  # a span of time is what is tested: attempts within it
    attempts = openings.count - 1
    assert 2 <= attempts <= 10
    own_etcd.start()
    _until_revision(notices, put_once_taken(store, b"k"))
    assert events(caplog).count("store.unavailable") == 1
    assert events(caplog).count("store.back") == 1


def test_one_transaction_is_one_notice(store: EtcdStore) -> None:
    notices = Notices()
    revision = do(
        store, Txn(success=tuple(Put(b"t/%03d" % number, b"x" * 8192) for number in range(120)))
    ).header.revision
    store.watch(b"t/", b"t0", revision, notices)
    notice = notices.next()
    assert isinstance(notice, WatchEvents)
    assert notice.revision == revision
    assert len(notice.events) == 120


@pytest.mark.parametrize("state", ["up", "down", "frozen"])
def test_cancel_returns_and_nothing_comes_after_it(store: EtcdStore, own_etcd: EtcdProcess, state: str) -> None:
    notices = Notices()
    watch = store.watch(b"k", None, put(store, b"k"), notices)
    notices.until(lambda notice: isinstance(notice, WatchEvents))
    if state == "down":
        own_etcd.kill()
    elif state == "frozen":
        own_etcd.pause()
    canceller = threading.Thread(target=watch.cancel)
    canceller.start()
    canceller.join(PATIENCE_S)
    assert not canceller.is_alive()
    notices.rest()
    if state == "up":
        put(store, b"k")
        put(store, b"k")
    assert notices.is_empty()
    watch.cancel()  # safe twice


def test_an_answer_that_was_read_as_the_watch_was_cancelled_is_not_handed_over(store: EtcdStore) -> None:
    notices = Notices()
    watch = store.watch(b"k", None, put(store, b"k"), notices)
    notices.until(lambda notice: isinstance(notice, WatchEvents))
    watch.cancel()
    notices.rest()
    assert isinstance(watch, EtcdWatch)
    watch._hand_over(WatchProgress(1))  # what its thread does with an answer it holds already
    assert notices.is_empty()


def test_a_sink_may_cancel_its_own_watch(store: EtcdStore) -> None:
    revision = put(store, b"k")
    put(store, b"k")
    taken: list[WatchNotice] = []
    ready, done = threading.Event(), threading.Event()

    def sink(notice: WatchNotice) -> None:
        taken.append(notice)
        ready.wait(PATIENCE_S)
        watch.cancel()
        done.set()

    watch = store.watch(b"k", None, revision, sink)
    ready.set()
    assert done.wait(PATIENCE_S)
    put(store, b"k")
    watch.cancel()
    assert len(taken) == 1


def test_a_sink_may_close_its_store(own_etcd: EtcdProcess) -> None:
    store = EtcdStore(EtcdOptions(endpoints=[own_etcd.endpoint]))
    taken: list[WatchNotice] = []
    failed = threading.Event()

    def sink(notice: WatchNotice) -> None:
        taken.append(notice)
        if isinstance(notice, WatchFailed):
            failed.set()
        else:
            store.close()

    store.watch(b"k", None, put(store, b"k"), sink)
    assert failed.wait(PATIENCE_S)


def test_a_sink_that_raises_ends_its_watch_loudly_and_alone(store: EtcdStore, caplog: pytest.LogCaptureFixture) -> None:
    failed = threading.Event()

    def sink(notice: WatchNotice) -> None:
        if isinstance(notice, WatchFailed):
            failed.set()
        raise RuntimeError("a bug in the sink")

    other = Notices()
    revision = put(store, b"k")
    store.watch(b"k", None, revision, other)
    store.watch(b"k", None, revision, sink)
    assert failed.wait(PATIENCE_S)
    _until_revision(other, put(store, b"k"))
    assert "loop.failed" in events(caplog)


def test_a_range_that_makes_no_sense_is_refused_for_good(store: EtcdStore) -> None:
    notices = Notices()
    store.watch(b"b", b"a", 0, notices)
    notice = notices.next()
    assert isinstance(notice, WatchFailed)
    assert isinstance(notice.error, RequestMalformedError)
