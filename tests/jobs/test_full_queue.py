"""A queue with a limit: levels, what a refusal tells, waiting for room, and who goes in first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rig import KEYS, RETURNED, Node, Rig, options
from jobs.threaded import CLOCK, OPTIONS, Cluster
from slurp_leader.errors import QueueFullError, StoreClosedError, StoreDeniedError, StoreUnavailableError
from slurp_leader.jobs import door as door_module
from slurp_leader.jobs.admission import DrainRate, Load, QueueLevel, closed_by, level_of, retry_after_s
from slurp_leader.jobs.client import JobClient, OnFull
from slurp_leader.jobs.door import Door
from slurp_leader.jobs.messages import LevelChanged
from slurp_leader.jobs.new_job import NewJob
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import Closed, closed_value
from slurp_leader.orders import Order
from slurp_leader.store import Delete, Event, EventKind, Get, KeyValue, Put, Store, WatchEvents, WatchFailed, WatchSink
from slurp_leader.store.maintenance import Survey
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, do
from support.virtual import VirtualClock, failed

BY = Order("ops")
SMALL = options(queue_limit=100, queue_high_mark=0.8)
NORMAL, HIGH, FULL = QueueLevel.NORMAL, QueueLevel.HIGH, QueueLevel.FULL

# ---------------------------------------------------------------- decided by values


@pytest.mark.parametrize(
    ("jobs", "before", "level"),
    [
        (0, NORMAL, NORMAL), (79, NORMAL, NORMAL), (80, NORMAL, HIGH), (99, HIGH, HIGH), (100, HIGH, FULL),
        (90, FULL, FULL), (89, FULL, HIGH), (73, HIGH, HIGH), (71, HIGH, NORMAL), (71, FULL, NORMAL),
        (500, NORMAL, FULL),
    ],
)  # fmt: skip
def test_a_level_is_left_with_a_tenth_of_its_mark_free(jobs: int, before: QueueLevel, level: QueueLevel) -> None:
    assert level_of(Load(jobs, 0), before, SMALL) is level


def test_bytes_fill_the_queue_as_jobs_do() -> None:
    assert level_of(Load(1, SMALL.queue_bytes), NORMAL, SMALL) is FULL
    assert Load(50, SMALL.queue_bytes // 4).fill(SMALL) == 0.5


@given(st.integers(1, 10_000), st.integers(0, 10**9), st.none() | st.floats(0, 1e6))
def test_when_to_come_again_is_always_a_sensible_time(jobs: int, size: int, rate: float | None) -> None:
    assert 0.5 <= retry_after_s(Load(jobs, size), SMALL, rate) <= 300


def test_it_follows_from_the_rate_at_which_jobs_end() -> None:
    assert retry_after_s(Load(100, 0), SMALL, 2.0) == pytest.approx(5.0)  # ten have to go
    assert retry_after_s(Load(100, 0), SMALL, 1.0) == pytest.approx(10.0)


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    rate = DrainRate()
    assert rate.per_s(0.0, 0) is None
    for second in range(60):
        rate.sample(float(second), 10 * second if second < 30 else 300 + 2 * (second - 30))
    assert rate.per_s(60.0, 360) == pytest.approx(2.0, rel=0.2)


# ---------------------------------------------------------------- the leader


def full_rig() -> Rig:
    """A leader that has closed its queue: ten jobs wait."""
    rig = Rig(jobs=options(queue_limit=10))
    rig.node.lead()
    for _ in range(10):
        rig.client.submit()
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    return rig


def levels(node: Node) -> list[QueueLevel]:
    return [said.level for said in node.said if isinstance(said, LevelChanged)]


def test_the_leader_tells_of_a_queue_that_fills_up_before_it_closes_it() -> None:
    rig = Rig(jobs=options(queue_limit=10, queue_high_mark=0.5))
    rig.node.lead()
    for _ in range(5):
        rig.client.submit()
    rig.settle()
    assert levels(rig.node) == [HIGH]
    assert rig.kv(KEYS.closed) is None
    for _ in range(5):
        rig.client.submit()
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    rig.node.body = lambda start: RETURNED
    for run in list(rig.node.runs):
        rig.node.do(run)
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is None)
    rig.settle(5)
    assert levels(rig.node) == [HIGH, FULL, HIGH, NORMAL]


def test_a_new_leader_finds_the_level_by_itself() -> None:
    rig = full_rig()
    rig.node.crash()
    other = Node(rig.world, "b", rig.jobs).lead()
    rig.settle(1)
    assert levels(other) == [FULL]
    assert rig.kv(KEYS.closed) is not None


def test_a_queue_that_was_only_drained_is_not_taken_for_full_by_the_next_leader() -> None:
    rig = Rig(jobs=options(queue_limit=100))
    rig.node.lead()
    rig.order(lambda now: now.pause("role:x", BY))
    for _ in range(93):
        rig.client.submit(role="x")
    rig.order(lambda now: now.drain(BY))
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    rig.node.crash()
    other = Node(rig.world, "b", rig.jobs).lead()
    rig.settle(10)
    assert rig.kv(KEYS.closed) is not None
    rig.order(lambda now: replace(now, draining=None))
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is None)
    assert FULL not in levels(other)


@pytest.mark.parametrize("full", [True, False], ids=["full", "draining"])
def test_where_the_store_tells_nothing_of_itself_the_queue_opens_again(full: bool) -> None:
    rig = Rig(jobs=options(queue_limit=10))
    rig.world.order(failed(StoreUnavailableError("no such service")), lambda request: isinstance(request, Survey))
    rig.node.lead()
    if full:
        for _ in range(10):
            rig.client.submit()
    else:
        rig.order(lambda now: now.drain(BY))
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    rig.order(lambda now: replace(now, draining=None))
    for run in list(rig.node.runs):
        rig.node.do(run)
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is None)


def test_a_refusal_tells_how_full_it_is_and_when_to_come_again() -> None:
    rig = full_rig()
    error = rig.client.answer(rig.client.send()).error
    assert isinstance(error, QueueFullError)
    assert (error.depth, error.limit, error.size_limit) == (10, 10, rig.jobs.queue_bytes)
    assert error.size is not None
    assert error.retry_after_s == 10.0  # nothing has ended that could be counted
    assert "10 jobs" in str(error)


def test_while_it_is_closed_the_leader_tells_the_rate_it_measures() -> None:
    rig = Rig(jobs=options(queue_limit=200, workers=1))
    rig.node.lead().pace_s = 0.5
    rig.node.body = lambda start: RETURNED
    for _ in range(202):
        rig.client.send()
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    told = set()
    for _ in range(8):
        kv = rig.kv(KEYS.closed)
        if kv is None:
            break
        told.add(Closed.from_value(kv.key, kv.value).retry_after_s)
        rig.settle(1)
    assert len(told) > 1
    assert all(after_s is not None and 0.5 <= after_s <= 12 for after_s in told)


@pytest.mark.parametrize("value", [b"?", b"{}", b'{"schema":1,"reason":7,"by":""}', closed_value("full", "older")])
def test_a_record_that_tells_nothing_closes_the_queue_all_the_same(value: bytes) -> None:
    rig = Rig()
    rig.client.submit()
    rig.world.apply(Put(KEYS.closed, value))
    error = rig.client.answer(rig.client.send()).error
    assert isinstance(error, QueueFullError)
    assert (error.depth, error.retry_after_s) == (None, 10.0)


def test_what_a_leader_writes_is_what_a_submitter_reads() -> None:
    closed = closed_by(Load(100, 5), SMALL, 4.0, "a")
    assert Closed.from_value(b"k", closed.to_value()) == closed


# ---------------------------------------------------------------- waiting for room, on a store with threads


@pytest.fixture
def cluster(store: Store) -> Iterator[Cluster]:
    changes = {**OPTIONS.model_dump(), "submit_timeout": timedelta(seconds=PATIENCE_S)}
    with Cluster(store, JobsOptions(**changes)) as cluster:
        yield cluster


class Watched:
    """A store that says when somebody begins to watch a key."""

    def __init__(self, inner: Store, key: bytes) -> None:
        self.inner = inner
        self.key = key
        self.watched = threading.Event()
        self.reads = 0

    def call(self, request: Any, timeout_s: float) -> Any:
        self.reads += request == Get(self.key, keys_only=True)
        return self.inner.call(request, timeout_s)

    def watch(self, key: bytes, *rest: Any) -> Any:
        watch = self.inner.watch(key, *rest)
        if key == self.key:
            self.watched.set()
        return watch

    def close(self) -> None:
        """It belongs to the test."""


def client_on(cluster: Cluster, store: Any) -> JobClient:
    client = JobClient(store, cluster.keyspace, cluster.options, node_id="c", clock=CLOCK)
    client.start()
    return client


def test_a_submit_that_blocks_goes_in_when_there_is_room(cluster: Cluster) -> None:
    do(cluster.store, Put(cluster.keys.closed, closed_value("full", "me")))
    watched = Watched(cluster.store, cluster.keys.closed)
    client = client_on(cluster, watched)
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.submit, NewJob({"n": 1}), on_full=OnFull.BLOCK)
            assert watched.watched.wait(PATIENCE_S)
            assert do(cluster.store, Get(cluster.keys.queue, cluster.keys.queue + b"~")).count == 0
            do(cluster.store, Put(cluster.keys.closed, closed_value("still", "me")))  # no reason to knock
            do(cluster.store, Delete(cluster.keys.closed))
            handle = waiting.result(PATIENCE_S)
        assert do(cluster.store, Get(cluster.keys.queue + handle.id.encode())).count == 1
        assert watched.reads == 1  # by watch, not by asking over and over
    finally:
        client.stop()


def test_a_submit_that_blocks_gives_up_in_time_and_nothing_was_submitted(cluster: Cluster) -> None:
    do(cluster.store, Put(cluster.keys.closed, closed_value("full", "me")))
    client = cluster.client()
    with pytest.raises(QueueFullError):
        client.submit(NewJob({}), on_full=OnFull.BLOCK, block_timeout_s=0.05)
    assert do(cluster.store, Get(cluster.keys.queue, cluster.keys.queue + b"~")).count == 0
    do(cluster.store, Delete(cluster.keys.closed))
    client.submit(NewJob({}), on_full=OnFull.BLOCK)


def test_a_stop_ends_the_wait_for_room(cluster: Cluster) -> None:
    do(cluster.store, Put(cluster.keys.closed, closed_value("full", "me")))
    watched = Watched(cluster.store, cluster.keys.closed)
    client = client_on(cluster, watched)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.submit, NewJob({}), on_full=OnFull.BLOCK, block_timeout_s=3600)
        assert watched.watched.wait(PATIENCE_S)
        client.stop()
        with pytest.raises(QueueFullError):
            waiting.result(PATIENCE_S)


def test_who_finds_the_queue_closed_again_waits_again(cluster: Cluster) -> None:
    key = cluster.keys.closed
    door = Door(cluster.store, key, 2.0, CLOCK)
    with door.place() as place:
        assert place.wait(CLOCK.boottime() + PATIENCE_S)
        do(cluster.store, Put(key, closed_value("full", "me")))
        place.refused()
        assert not place.wait(CLOCK.boottime() + 0.05)
        do(cluster.store, Delete(key))
        assert place.wait(CLOCK.boottime() + PATIENCE_S)
    door.stop()


def test_who_is_refused_through_an_open_door_pauses_longer_each_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody leads and nothing says closed, but submitters see to the limit: without a pause that is a busy loop."""
    pauses: list[int] = []

    def told(failures: int) -> float:
        pauses.append(failures)
        return 0.0

    monkeypatch.setattr(door_module, "pause_s", told)
    door = Door(cluster.store, cluster.keys.closed, 2.0, CLOCK)
    with door.place() as place:
        place.refused()
        for _ in range(4):
            assert place.wait(CLOCK.boottime() + PATIENCE_S)
            place.refused()
    assert pauses == [1, 2, 3]
    with door.place() as place:  # another, later: whoever was refused has gone
        assert place.wait(CLOCK.boottime() + PATIENCE_S)
    assert pauses == [1, 2, 3]
    door.stop()


class Scripted:
    """A store whose watches of the door do first what the test says: each step is given the sink."""

    def __init__(self, inner: Store, *steps: Callable[[WatchSink], None]) -> None:
        self.inner = inner
        self.steps = list(steps)
        self.sinks: list[WatchSink] = []
        self.reads = 0
        self.cancelled = 0

    def call(self, request: Any, timeout_s: float) -> Any:
        self.reads += 1
        return self.inner.call(request, timeout_s)

    def watch(self, key: bytes, range_end: bytes | None, start: int, sink: WatchSink) -> Any:
        self.sinks.append(sink)
        if self.steps:
            self.steps.pop(0)(sink)
            return self
        return self.inner.watch(key, range_end, start, sink)

    def cancel(self) -> None:
        """As of a watch."""
        self.cancelled += 1


DELETED = WatchEvents(7, (Event(EventKind.DELETE, KeyValue(KEYS.closed, b"", 0, 7, 0)),))


def denied(sink: WatchSink) -> None:
    sink(WatchFailed(StoreDeniedError("no")))


def said_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split()[0] for record in caplog.records]


def test_a_watch_that_fails_as_soon_as_it_begins_is_said_once_and_begun_again(
    memory_store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="slurp_leader.jobs")
    do(memory_store, Put(KEYS.closed, closed_value("full", "me")))

    store = Scripted(memory_store, denied, denied, lambda sink: sink(DELETED))
    door = Door(store, KEYS.closed, 2.0, CLOCK)
    with door.place() as place:
        assert place.wait(CLOCK.boottime() + PATIENCE_S)
    assert (len(store.sinks), store.cancelled) == (3, 3)
    assert said_in(caplog) == ["store.unavailable", "store.back"]
    door.stop()


def test_an_outage_that_nobody_has_looked_at_since_is_not_told_to_have_lasted(
    memory_store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who waited have left. How it stood until somebody comes again, and when it was over, is not known."""
    caplog.set_level(logging.INFO, logger="slurp_leader.jobs")
    do(memory_store, Put(KEYS.closed, closed_value("full", "me")))
    clock = VirtualClock()

    def fail_until_it_is_too_late(sink: WatchSink) -> None:
        clock.now += 60
        denied(sink)

    store = Scripted(memory_store, fail_until_it_is_too_late, lambda sink: sink(DELETED))
    door = Door(store, KEYS.closed, 2.0, clock)
    for is_let_in in (False, True):
        with door.place() as place:
            assert place.wait(clock.boottime() + 30) is is_let_in
    assert said_in(caplog) == ["store.unavailable"]
    door.stop()


def test_what_a_watch_that_has_failed_told_before_is_believed_no_more(memory_store: MemoryStore) -> None:
    key = KEYS.closed
    do(memory_store, Put(key, closed_value("full", "me")))
    store = Scripted(memory_store, lambda sink: sink(DELETED))
    door = Door(store, key, 2.0, CLOCK)
    with door.place() as place:
        assert place.wait(CLOCK.boottime() + PATIENCE_S)
        denied(store.sinks[0])
        assert not place.wait(CLOCK.boottime() + 0.2)  # it is closed, as a look at it tells
        do(memory_store, Delete(key))
        assert place.wait(CLOCK.boottime() + PATIENCE_S)
    door.stop()


def test_who_is_refused_while_another_one_begins_to_watch_does_not_leave_it_with_a_watch_that_nobody_hears(
    memory_store: MemoryStore,
) -> None:
    do(memory_store, Put(KEYS.closed, closed_value("full", "me")))

    def refuse(sink: WatchSink) -> None:
        sink(DELETED)
        door.refused()

    store = Scripted(memory_store, refuse, lambda sink: sink(DELETED))
    door = Door(store, KEYS.closed, 2.0, CLOCK)
    with door.place() as place:
        assert place.wait(CLOCK.boottime() + PATIENCE_S)
        assert store.cancelled == 1
    door.stop()


@pytest.mark.parametrize("by_watch", [True, False])
def test_nobody_waits_for_a_store_that_was_closed(memory_store: MemoryStore, by_watch: bool) -> None:
    do(memory_store, Put(KEYS.closed, closed_value("full", "me")))
    store = Scripted(memory_store, lambda sink: sink(WatchFailed(StoreClosedError("closed"))))
    if not by_watch:
        memory_store.close()
    door = Door(store, KEYS.closed, 2.0, CLOCK)
    with door.place() as place:
        deadline = CLOCK.boottime() + PATIENCE_S
        assert not place.wait(deadline)
        assert CLOCK.boottime() < deadline
    assert store.reads == 1


def test_those_who_wait_go_in_one_after_the_other_as_they_came(cluster: Cluster) -> None:
    key = cluster.keys.closed
    do(cluster.store, Put(key, closed_value("full", "me")))
    door = Door(cluster.store, key, 2.0, CLOCK)
    inside: list[int] = []
    most: list[int] = []
    lined_up = threading.Semaphore(0)
    go = [threading.Event() for _ in range(5)]

    def wait(number: int) -> None:
        with door.place() as place:
            lined_up.release()
            assert place.wait(CLOCK.boottime() + PATIENCE_S)
            most.append(len(most) - len(inside))
            assert go[number].wait(PATIENCE_S)
            inside.append(number)

    with ThreadPoolExecutor(5) as pool:
        waits = []
        for number in range(5):
            waits.append(pool.submit(wait, number))
            assert lined_up.acquire(timeout=PATIENCE_S)
        do(cluster.store, Delete(key))
        for event in go:
            event.set()
        for each in waits:
            each.result(PATIENCE_S)
    assert inside == [0, 1, 2, 3, 4]
    assert most == [0] * 5  # never two at once
    door.stop()


def test_many_that_block_all_go_in_though_the_queue_fills_up_on_the_way(cluster: Cluster) -> None:
    small = JobsOptions(**{**cluster.options.model_dump(), "queue_limit": 50})
    cluster.options = small
    cluster.engine(lambda spec, job: spec.payload)
    client = cluster.client()
    handles = client.submit_many([NewJob({"n": n}) for n in range(1500)], on_full=OnFull.BLOCK)
    assert not [each for each in handles if isinstance(each, Exception)]
    results = [each.result(PATIENCE_S) for each in handles if not isinstance(each, Exception)]
    assert results == [{"n": n} for n in range(1500)]


def test_thousands_of_jobs_are_answered_in_order_with_a_bounded_number_under_way(
    cluster: Cluster, backend: str
) -> None:
    count = 10_000 if backend == "memory" else 3_000
    most = 0
    client = cluster.client()
    inner = client._new_ticket

    def counted() -> Any:
        nonlocal most
        most = max(most, len(client._waiting))
        return inner()

    client._new_ticket = counted  # type: ignore[method-assign]
    jobs = [NewJob({"n": n}) if n != 2000 else NewJob("bad") for n in range(count)]  # type: ignore[arg-type]
    answers = client.submit_many(jobs)
    assert most <= 1008
    assert [at for at, each in enumerate(answers) if isinstance(each, Exception)] == [2000]
    ids = [each.id for each in answers if not isinstance(each, Exception)]
    assert ids == sorted(ids)
    assert len(set(ids)) == count - 1
    there = do(cluster.store, Get(cluster.keys.queue, cluster.keys.queue + b"~", count_only=True))
    assert there.count == count - 1
