"""`Observer`: what was fed, told in order and without loss; and what was missed, found or counted."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.election import ElectionKeys, LeaderChanged, LeaderRecord
from slurp_leader.election.observing import missed
from slurp_leader.election.observing.changes import Gap, LeaderChanges
from slurp_leader.election.observing.missed import Ask
from slurp_leader.election.observing.observer import Observer
from slurp_leader.election.records import epoch_value
from slurp_leader.errors import ConfigurationError, NoLeaderError, StoreUnavailableError
from slurp_leader.store import Delete, EventKind, Get, GetResult, Put, Store, Txn
from slurp_leader.store import Event as StoreEvent
from slurp_leader.store.follow import Changes, Follower, FollowFailed, Progress, Snapshot
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, do, put
from support.etcd import Operator

Told = list[tuple[str | None, int | None]]


class Election:
    """Terms as real leaders write them: leader key and epoch in one transaction."""

    def __init__(self, store: Store, keys: ElectionKeys) -> None:
        self.store = store
        self.keys = keys
        self.epoch = 0

    def wins(self, node: str) -> int:
        self.epoch += 1
        record = LeaderRecord(node, f"session-{node}", f"term-{self.epoch}", 3, self.epoch)
        puts = (Put(self.keys.leader, record.to_value()), Put(self.keys.epoch, epoch_value(self.epoch)))
        return do(self.store, Txn(success=puts)).header.revision

    def ends(self) -> int:
        return do(self.store, Delete(self.keys.leader)).header.revision

    def snapshot(self) -> Snapshot:
        """All there is, as a follower tells it after a compaction."""
        result = do(self.store, Get(self.keys.prefix, self.keys.prefix + b"\xff"))
        return Snapshot(result.header.revision, result.kvs)

    def ask(self, get: Get) -> GetResult:
        return do(self.store, get)


@pytest.fixture
def keys(prefix: bytes) -> ElectionKeys:
    return ElectionKeys.of(Keyspace(prefix.decode().strip("/").replace("/", "-")), "slurp")


@pytest.fixture
def election(store: Store, keys: ElectionKeys) -> Election:
    return Election(store, keys)


def observer(election: Election, ask: Ask | None = None) -> Observer:
    return Observer(election.keys, SystemClock(), ask or election.ask)


def take(changes: LeaderChanges, count: int) -> Told:
    """So many changes, as node and `missed`."""
    return [brief(next(changes)) for _ in range(count)]


def brief(change: LeaderChanged) -> tuple[str | None, int | None]:
    return change.leader.node_id if change.leader else None, change.missed


def test_changes_that_come_together_are_told_one_by_one(election: Election) -> None:
    observed = observer(election)
    observed.feed(election.snapshot())
    changes = observed.observe()
    first = election.wins("a")
    notices: list[StoreEvent] = []
    election.wins("b")
    election.ends()
    election.wins("c")
    revision = first
    for node in ("a", "b", None, "c"):
        kvs = do(election.store, Get(election.keys.leader, revision=revision)).kvs
        assert [LeaderRecord.from_value(kv.key, kv.value).node_id for kv in kvs] == ([node] if node else [])
        kind = EventKind.PUT if kvs else EventKind.DELETE
        kv = kvs[0] if kvs else do(election.store, Get(election.keys.leader, revision=first)).kvs[0]
        notices.append(StoreEvent(kind, kv if kvs else type(kv)(kv.key, b"", 0, revision, 0)))
        revision += 1

    for _ in range(2):  # what is told twice is news once
        observed.feed(Changes(revision - 1, tuple(notices)))
    observed.close()

    assert [brief(change) for change in changes] == [(None, 0), ("a", 0), ("b", 0), (None, 0), ("c", 0)]


def test_a_follower_feeds_it_with_every_change_in_order(election: Election) -> None:
    observed = observer(election)
    with Follower(election.store, election.keys.prefix, observed.feed):
        assert observed.wait_until_known(PATIENCE_S)
        changes = observed.observe()
        for _ in range(20):
            election.wins("a")
            election.wins("b")
            election.ends()
        assert take(changes, 61) == [(None, 0), *[("a", 0), ("b", 0), (None, 0)] * 20]


def test_vacancies_are_measured(election: Election) -> None:
    observed = observer(election)
    with Follower(election.store, election.keys.prefix, observed.feed):
        assert observed.wait_until_known(PATIENCE_S)
        changes = observed.observe()
        next(changes)
        election.wins("a")
        assert next(changes).vacancy_s is not None  # since this was started
        election.wins("b")
        assert next(changes).vacancy_s is None


# ---------------------------------------------------------------- away for longer than the history


def test_terms_that_a_compaction_hid_from_the_watch_are_read_back(election: Election, operator: Operator) -> None:
    observed = observer(election)
    election.wins("a")
    observed.feed(election.snapshot())
    changes = observed.observe()
    compacted = election.wins("b")
    election.wins("c")
    election.ends()
    election.wins("d")
    operator.compact(compacted)  # too late for a watch that wants to go on after "a"

    observed.feed(election.snapshot())

    assert take(changes, 5) == [("a", 0), ("b", 0), ("c", 0), (None, 0), ("d", 0)]
    assert observed.leader is not None
    assert observed.leader.node_id == "d"


def test_a_vacancy_that_a_compaction_hid_is_told(election: Election, operator: Operator) -> None:
    """The newest term is the same before and after: only that its leader is gone tells them apart."""
    observed = observer(election)
    election.wins("a")
    observed.feed(election.snapshot())
    changes = observed.observe()
    operator.compact(election.ends())

    observed.feed(election.snapshot())

    assert observed.leader is None
    assert take(changes, 2) == [("a", 0), (None, 0)]


def test_terms_that_etcd_has_forgotten_are_counted(election: Election, operator: Operator) -> None:
    observed = observer(election)
    election.wins("a")
    observed.feed(election.snapshot())
    changes = observed.observe()
    for node in ("b", "c", "d"):
        election.wins(node)
    operator.compact(election.wins("e"))

    observed.feed(election.snapshot())

    assert take(changes, 2) == [("a", 0), ("e", 3)]


def test_what_nobody_can_count_is_said_to_be_unknown(election: Election, operator: Operator) -> None:
    observed = observer(election)
    do(election.store, Put(election.keys.leader, b"of a later version"))
    observed.feed(election.snapshot())
    changes = observed.observe()
    election.wins("b")
    operator.compact(election.wins("c"))

    observed.feed(election.snapshot())

    assert take(changes, 2) == [(None, 0), ("c", None)]


def test_a_vacancy_before_and_after_does_not_hide_the_term_between(election: Election, operator: Operator) -> None:
    observed = observer(election)
    election.wins("a")
    election.ends()
    observed.feed(election.snapshot())
    changes = observed.observe()
    operator.compact(election.wins("b"))
    election.ends()

    observed.feed(election.snapshot())

    assert take(changes, 3) == [(None, 0), ("b", 0), (None, 0)]


@pytest.mark.parametrize("has_vacancies", [False, True])
def test_of_a_long_absence_only_the_newest_terms_are_read_back_and_the_others_counted(
    memory_store: MemoryStore, keys: ElectionKeys, monkeypatch: pytest.MonkeyPatch, has_vacancies: bool
) -> None:
    monkeypatch.setattr(missed, "MOST_TERMS", 2)
    election = Election(memory_store, keys)
    observed = observer(election)
    election.wins("a")
    observed.feed(election.snapshot())
    changes = observed.observe()
    for node in "bcdefgh":
        if has_vacancies:
            election.ends()
            put(memory_store, b"another key")  # a vacancy is told once, however much else is written meanwhile
        election.wins(node)

    observed.feed(election.snapshot())

    newest = [(None, 0), ("g", 0), (None, 0), ("h", 0)] if has_vacancies else [("e", 0), ("f", 0), ("g", 0), ("h", 0)]
    oldest = ("f", 4) if has_vacancies else ("d", 2)
    assert take(changes, 6) == [("a", 0), oldest, *newest]


def test_an_epoch_that_somebody_wrote_while_nobody_led_is_read_past(
    memory_store: MemoryStore, keys: ElectionKeys
) -> None:
    """It names a term at the very revision that was read, which is not to be read for ever."""
    election = Election(memory_store, keys)
    asked: list[int] = []

    def ask(get: Get) -> GetResult:
        asked.append(get.revision)
        return election.ask(get)

    observed = observer(election, ask)
    first = election.wins("a")
    observed.feed(election.snapshot())
    changes = observed.observe()
    election.wins("b")
    election.ends()
    do(memory_store, Put(keys.epoch, epoch_value(7)))

    observed.feed(election.snapshot())

    assert take(changes, 4) == [("a", 0), ("b", 0), (None, 0), (None, 0)]
    assert asked == [first + 2, first + 1]


def test_a_snapshot_that_says_nothing_new_is_not_told(election: Election) -> None:
    observed = observer(election)
    election.wins("a")
    observed.feed(election.snapshot())
    changes = observed.observe()
    observed.feed(election.snapshot())
    observed.close()
    assert [brief(change) for change in changes] == [("a", 0)]


def test_later_changes_wait_for_those_that_are_being_looked_up(memory_store: MemoryStore, keys: ElectionKeys) -> None:
    election, asked, may_answer = Election(memory_store, keys), threading.Event(), threading.Event()

    def slowly(get: Get) -> GetResult:
        asked.set()
        assert may_answer.wait(PATIENCE_S)
        return election.ask(get)

    observed = observer(election, slowly)
    with Follower(memory_store, keys.prefix, observed.feed):
        assert observed.wait_until_known(PATIENCE_S)
        changes = observed.observe()
        memory_store.faults.break_watches()
        election.wins("a")
        memory_store.compact(election.wins("b"))
        memory_store.faults.mend_watches()
        assert asked.wait(PATIENCE_S)
        election.wins("c")
        told = observed.observe()
        while (change := next(told)).leader is None or change.leader.node_id != "c":
            pass  # it was fed while the look-up is under way
        may_answer.set()
        assert take(changes, 3) == [(None, 0), ("b", 1), ("c", 0)]


def test_an_etcd_that_does_not_answer_leaves_a_count(election: Election) -> None:
    def broken(_: Get) -> GetResult:
        raise StoreUnavailableError

    observed = observer(election, broken)
    observed.feed(election.snapshot())
    changes = observed.observe()
    election.wins("a")
    election.wins("b")
    observed.feed(election.snapshot())
    assert take(changes, 2) == [(None, 0), ("b", 1)]


# ---------------------------------------------------------------- consumers


def test_a_slow_consumer_is_told_how_many_it_missed(memory_store: MemoryStore, keys: ElectionKeys) -> None:
    election = Election(memory_store, keys)
    observed = observer(election)
    with Follower(memory_store, keys.prefix, observed.feed):
        assert observed.wait_until_known(PATIENCE_S)
        slow, quick = observed.observe(limit=3), observed.observe()
        for node in "abcdefgh":
            election.wins(node)
        assert take(quick, 9)[-1] == ("h", 0)
        # How things stood, and a to e.
        assert take(slow, 3) == [("f", 6), ("g", 0), ("h", 0)]


@pytest.mark.parametrize("limit", [0, -1])
@pytest.mark.parametrize("is_known", [False, True])
def test_a_limit_that_lets_nothing_wait_is_refused_and_other_observers_go_on(
    memory_store: MemoryStore, keys: ElectionKeys, is_known: bool, limit: int
) -> None:
    election = Election(memory_store, keys)
    observed = observer(election)
    if is_known:
        observed.feed(election.snapshot())
    other = observed.observe()
    with pytest.raises(ConfigurationError) as caught:
        observed.observe(limit=limit)
    assert caught.value.field == "limit"
    observed.feed(election.snapshot())
    election.wins("a")
    observed.feed(election.snapshot())
    assert take(other, 2) == [(None, 0), ("a", 0)]
    assert list(observed._logs) == [other]


def test_a_coroutine_observes_without_holding_up_its_loop(memory_store: MemoryStore, keys: ElectionKeys) -> None:
    election = Election(memory_store, keys)
    observed = observer(election)

    async def observe() -> Told:
        told: Told = []
        others = 0

        async def other_work() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other_work())
        async for change in observed.observe():
            told.append(brief(change))
            before = others
            while others == before:
                await asyncio.sleep(0)
            if change.leader is None:
                await asyncio.to_thread(election.wins, "a")
            elif change.leader.node_id == "a":
                await asyncio.to_thread(election.wins, "b")
            else:
                observed.close()
        beside.cancel()
        return told

    with Follower(memory_store, keys.prefix, observed.feed):
        assert asyncio.run(asyncio.wait_for(observe(), PATIENCE_S)) == [(None, 0), ("a", 0), ("b", 0)]


def test_a_coroutine_that_stops_waiting_loses_no_change(memory_store: MemoryStore, keys: ElectionKeys) -> None:
    election = Election(memory_store, keys)
    observed = observer(election)

    async def observe() -> Told:
        changes = observed.observe()
        told = [brief(await anext(changes))]
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.to_thread(election.wins, "a")
        return [*told, brief(await anext(changes))]

    with Follower(memory_store, keys.prefix, observed.feed):
        assert asyncio.run(asyncio.wait_for(observe(), PATIENCE_S)) == [(None, 0), ("a", 0)]


def test_a_coroutine_whose_loop_was_closed_under_it_holds_up_nobody_else(
    memory_store: MemoryStore, keys: ElectionKeys
) -> None:
    election = Election(memory_store, keys)
    observed = observer(election)
    left, other = observed.observe(), observed.observe()

    async def begin_to_wait() -> Coroutine[Any, Any, LeaderChanged]:
        waiting = left.__anext__()
        waiting.send(None)
        return waiting

    waiting = asyncio.run(begin_to_wait())

    observed.feed(election.snapshot())

    assert take(other, 1) == take(left, 1) == [(None, 0)]
    waiting.close()


LATER = LeaderChanged(None, 9)


def test_what_was_dropped_counts_with_all_that_it_had_missed() -> None:
    changes = LeaderChanges(limit=1)
    changes.put(replace(LATER, missed=2))
    changes.put(replace(LATER, missed=4))
    assert take(changes, 1) == [(None, 3 + 4)]
    changes.put(LATER)
    assert take(changes, 1) == [(None, 0)]


def test_a_look_up_that_was_dropped_or_came_after_the_end_leaves_it_unknown_how_many_were_missed() -> None:
    dropped, ended = LeaderChanges(limit=2), LeaderChanges()
    for changes in (dropped, ended):
        changes.put(gap := Gap())
        for _ in range(2):
            changes.put(LATER)
        changes.close()
        told = [brief(next(changes))]
        changes.fill(gap, [LATER])
        assert [*told, *map(brief, changes)] == [(None, None), (None, 0)]


@pytest.mark.parametrize("end", [Observer.close, lambda observed: observed.feed(FollowFailed(StoreUnavailableError()))])
def test_the_end_wakes_all_who_wait(
    memory_store: MemoryStore, keys: ElectionKeys, end: Callable[[Observer], None]
) -> None:
    observed = observer(Election(memory_store, keys))
    ended: list[str] = []
    begun = threading.Barrier(3)

    def observe() -> None:
        begun.wait()
        ended.extend("observe" for _ in (*observed.observe(), None))

    def wait() -> None:
        begun.wait()
        with pytest.raises(NoLeaderError):
            observed.wait_for_leader()
        ended.append("wait")

    threads = [threading.Thread(target=each) for each in (observe, wait)]
    for each in threads:
        each.start()
    begun.wait()
    end(observed)
    for each in threads:
        each.join(PATIENCE_S)
    assert sorted(ended) == ["observe", "wait"]


def test_closing_one_leaves_the_others_open(memory_store: MemoryStore, keys: ElectionKeys) -> None:
    election = Election(memory_store, keys)
    observed = observer(election)
    observed.feed(election.snapshot())
    with observed.observe() as one:
        other = observed.observe()
    assert [brief(change) for change in one] == [(None, 0)]
    observed.feed(Progress(10))
    observed.close()
    assert [brief(change) for change in other] == [(None, 0)]


def test_one_that_nobody_reads_any_more_is_forgotten(memory_store: MemoryStore, keys: ElectionKeys) -> None:
    observed = observer(Election(memory_store, keys))
    kept = observed.observe()
    observed.observe()
    gc.collect()
    assert list(observed._logs) == [kept]


# ---------------------------------------------------------------- how far it is known


class Stopped(SystemClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def boottime(self) -> float:
        return self.now


def test_an_answer_says_of_which_revision_it_is_and_how_old(memory_store: MemoryStore, keys: ElectionKeys) -> None:
    election, clock = Election(memory_store, keys), Stopped()
    observed = Observer(keys, clock)
    assert not observed.wait_until_known(0)
    token = election.wins("a")
    observed.feed(Snapshot(token + 5, election.snapshot().kvs))
    clock.now += 2
    seen = observed.sighting
    assert seen is not None
    assert seen.leader is not None
    assert (seen.as_of, seen.age_s, seen.leader.as_of, seen.leader.age_s) == (token + 5, 2, token + 5, 2)
    observed.feed(Progress(token + 7))
    seen = observed.sighting
    assert seen is not None
    assert (seen.as_of, seen.age_s) == (token + 7, 0)
    assert seen.leader == observed.leader  # the figures are no part of who it is
