"""`SharedFollower` on every store: each part is told what a follower of its own would tell."""

from __future__ import annotations

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.errors import LifecycleError
from slurp_leader.store import Delete, Put, Store, Txn
from slurp_leader.store.follow import Changes, FollowFailed, FollowNotice, Progress, Snapshot
from slurp_leader.store.memory import MemoryStore
from slurp_leader.store.shared_follow import SharedFollower
from support.calls import PATIENCE_S, Recorder, do, put

Notices = Recorder[FollowNotice]


def shared(store: Store, prefix: bytes) -> SharedFollower:
    return SharedFollower(store, prefix, SystemClock())


def snapshot(seen: Notices) -> dict[bytes, bytes]:
    notice = seen.until(lambda each: isinstance(each, Snapshot))
    assert isinstance(notice, Snapshot)
    return {kv.key: kv.value for kv in notice.kvs}


def changes(seen: Notices, revision: int) -> list[tuple[str, bytes]]:
    """What it was told of up to a revision."""
    told: list[tuple[str, bytes]] = []

    def take(notice: FollowNotice) -> bool:
        assert isinstance(notice, Changes | Progress), notice
        if isinstance(notice, Changes):
            assert notice.events
            told.extend((event.kind.value, event.kv.key) for event in notice.events)
        return notice.revision >= revision

    seen.until(take)
    return told


def test_each_part_is_told_of_its_own_keys_and_how_far_all_is_known(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a/old", b"1")
    one, other = Notices(), Notices()
    follower = shared(store, prefix)
    for name, seen in ((b"a/", one), (b"b/", other)):
        follower.part(prefix + name, seen).start()
    follower.start()
    try:
        assert (snapshot(one), snapshot(other)) == ({prefix + b"a/old": b"1"}, {})
        put(store, prefix + b"a/new")
        do(store, Txn(success=(Put(prefix + b"a/both", b""), Put(prefix + b"b/both", b""), Delete(prefix + b"a/old"))))
        last = put(store, prefix + b"b/last")
        told = changes(one, last)
        assert told[0] == ("put", prefix + b"a/new")
        assert sorted(told[1:]) == [("delete", prefix + b"a/old"), ("put", prefix + b"a/both")]
        assert changes(other, last) == [("put", prefix + b"b/both"), ("put", prefix + b"b/last")]
    finally:
        follower.stop()


def test_who_begins_later_is_told_how_things_stand_and_then_every_change(store: Store, prefix: bytes) -> None:
    first, late = Notices(), Notices()
    follower = shared(store, prefix)
    follower.part(prefix + b"a/", first).start()
    follower.start()
    try:
        snapshot(first)
        put(store, prefix + b"a/gone")
        put(store, prefix + b"a/kept", b"2")
        changes(first, do(store, Delete(prefix + b"a/gone")).header.revision)
        part = follower.part(prefix + b"a/", late)
        part.start()
        assert snapshot(late) == {prefix + b"a/kept": b"2"}
        last = put(store, prefix + b"a/more")
        assert changes(late, last) == [("put", prefix + b"a/more")]
        part.stop()
        part.stop()
        changes(first, put(store, prefix + b"a/after"))
        assert late.is_empty()
    finally:
        follower.stop()


def test_after_a_compaction_each_part_is_told_everything_anew(memory_store: MemoryStore, prefix: bytes) -> None:
    one = Notices()
    follower = shared(memory_store, prefix)
    follower.part(prefix + b"a/", one).start()
    follower.start()
    try:
        put(memory_store, prefix + b"a/old")
        snapshot(one)
        memory_store.faults.break_watches()
        do(memory_store, Delete(prefix + b"a/old"))
        put(memory_store, prefix + b"b/new")
        memory_store.compact(put(memory_store, prefix + b"a/new", b"3"))
        memory_store.faults.mend_watches()
        assert snapshot(one) == {prefix + b"a/new": b"3"}
    finally:
        follower.stop()


def test_a_part_that_raises_ends_alone(memory_store: MemoryStore, prefix: bytes) -> None:
    bad, good = Notices(), Notices()

    def refuse(notice: FollowNotice) -> None:
        bad(notice)
        if isinstance(notice, Changes):
            raise ZeroDivisionError

    follower = shared(memory_store, prefix)
    follower.part(prefix, refuse).start()
    follower.part(prefix, good).start()
    follower.start()
    try:
        snapshot(good)
        changes(good, put(memory_store, prefix + b"a"))
        changes(good, put(memory_store, prefix + b"b"))
        failed = [each for each in bad.rest() if isinstance(each, FollowFailed)]
        assert [type(each.error) for each in failed] == [ZeroDivisionError]
        assert bad.is_empty()
    finally:
        follower.stop()


def test_the_end_of_the_watch_is_told_to_all_and_to_those_who_come_later(prefix: bytes) -> None:
    store, seen, late = MemoryStore(), Notices(), Notices()
    follower = shared(store, prefix)
    follower.part(prefix, seen).start()
    follower.start()
    snapshot(seen)
    store.close()
    seen.until(lambda each: isinstance(each, FollowFailed))
    follower.part(prefix, late).start()
    assert isinstance(late.next(PATIENCE_S), FollowFailed)
    follower.stop()


def test_a_part_of_something_else_is_refused(memory_store: MemoryStore, prefix: bytes) -> None:
    with pytest.raises(LifecycleError, match="no part"):
        shared(memory_store, prefix).part(b"/other", Notices())
