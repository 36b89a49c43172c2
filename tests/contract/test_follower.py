"""`Follower` on every store: a picture built from its notices is the truth."""

from __future__ import annotations

from slurp_leader.store import Delete, EventKind, KeyValue, Put, Store, Txn, prefix_end
from slurp_leader.store.follow import Changes, Follower, FollowFailed, FollowNotice, Progress, Snapshot
from support.calls import Recorder, do, put
from support.etcd import Operator

Notices = Recorder[FollowNotice]


class Picture:
    """What a consumer knows, by the rules that the notices state."""

    def __init__(self) -> None:
        self.kvs: dict[bytes, KeyValue] = {}
        self.revision = 0

    def see(self, notice: FollowNotice) -> None:
        assert not isinstance(notice, FollowFailed), notice
        assert notice.revision >= self.revision
        if isinstance(notice, Snapshot):
            self.kvs = {kv.key: kv for kv in notice.kvs}
        elif isinstance(notice, Changes):
            for event in notice.events:
                assert event.kv.mod_revision > self.revision
                if event.kind is EventKind.PUT:
                    self.kvs[event.kv.key] = event.kv
                else:
                    self.kvs.pop(event.kv.key, None)
        self.revision = notice.revision

    def values(self, prefix: bytes) -> dict[bytes, bytes]:
        return {key.removeprefix(prefix): kv.value for key, kv in self.kvs.items()}


def see_until(picture: Picture, seen: Notices, revision: int) -> None:
    while picture.revision < revision:
        picture.see(seen.next())


def test_the_first_notice_is_everything_there_is(store: Store, prefix: bytes) -> None:
    for n in range(25):
        last = put(store, prefix + b"%02d" % n)
    seen: Notices = Recorder()
    with Follower(store, prefix, seen, page=10):
        notice = seen.next()
    assert isinstance(notice, Snapshot)
    assert notice.revision >= last
    assert [kv.key for kv in notice.kvs] == [prefix + b"%02d" % n for n in range(25)]


def test_an_empty_prefix_of_keys_is_an_empty_snapshot(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    with Follower(store, prefix, seen):
        notice = seen.next()
    assert isinstance(notice, Snapshot)
    assert notice.kvs == ()


def test_changes_follow_the_snapshot_without_gap(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"old", b"1")
    seen, picture = Recorder[FollowNotice](), Picture()
    with Follower(store, prefix, seen):
        picture.see(seen.next())
        put(store, prefix + b"new", b"2")
        do(store, Delete(prefix + b"old"))
        last = do(store, Txn(success=(Put(prefix + b"a", b"3"), Put(prefix + b"b", b"4")))).header.revision
        see_until(picture, seen, last)
    assert picture.values(prefix) == {b"new": b"2", b"a": b"3", b"b": b"4"}


def test_writes_between_the_pages_of_a_snapshot_are_neither_lost_nor_seen_twice(store: Store, prefix: bytes) -> None:
    for n in range(60):
        put(store, prefix + b"%02d" % n, b"old")
    seen, picture = Recorder[FollowNotice](), Picture()
    with Follower(store, prefix, seen, page=2):
        for n in range(60):  # at the same time as the pages are turned
            last = put(store, prefix + b"%02d" % (59 - n), b"new")
        see_until(picture, seen, last)
    assert picture.values(prefix) == {b"%02d" % n: b"new" for n in range(60)}


def test_a_neighbour_prefix_is_not_followed(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    with Follower(store, prefix + b"a/", seen):
        seen.next()
        put(store, prefix + b"a0")
        put(store, prefix + b"a/x")
        notice = seen.until(lambda n: not isinstance(n, Progress))
    assert isinstance(notice, Changes)
    assert [e.kv.key for e in notice.events] == [prefix + b"a/x"]


def test_a_follower_that_starts_after_a_compaction_sees_what_is_left(
    store: Store, operator: Operator, prefix: bytes
) -> None:
    put(store, prefix + b"gone")
    do(store, Delete(prefix + b"gone"))
    operator.compact(put(store, prefix + b"kept", b"1"))
    seen, picture = Recorder[FollowNotice](), Picture()
    with Follower(store, prefix, seen):
        picture.see(seen.next())
        see_until(picture, seen, put(store, prefix + b"later", b"2"))
    assert picture.values(prefix) == {b"kept": b"1", b"later": b"2"}


def test_two_followers_see_the_same(store: Store, prefix: bytes) -> None:
    recorders = [Recorder[FollowNotice](), Recorder[FollowNotice]()]
    pictures = [Picture(), Picture()]
    with Follower(store, prefix, recorders[0]), Follower(store, prefix, recorders[1]):
        for n in range(30):
            last = put(store, prefix + b"%d" % (n % 5), b"%d" % n)
        for seen, picture in zip(recorders, pictures, strict=True):
            see_until(picture, seen, last)
    assert pictures[0].kvs == pictures[1].kvs
    assert len(pictures[0].kvs) == 5


def test_nothing_comes_after_stop(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    follower = Follower(store, prefix, seen)
    follower.start()
    seen.next()
    follower.stop()
    follower.stop()
    other: Notices = Recorder()
    with Follower(store, prefix, other):
        other.next()
        put(store, prefix + b"late")
        other.until(lambda n: isinstance(n, Changes))
    assert all(isinstance(n, Progress) for n in seen.rest())


def test_closing_the_store_ends_the_follower_and_says_so(store: Store, prefix: bytes) -> None:
    seen: Notices = Recorder()
    with Follower(store, prefix, seen):
        seen.next()
        store.close()
        seen.until(lambda n: isinstance(n, FollowFailed))


def test_following_everything_is_possible(store: Store, prefix: bytes) -> None:
    seen, picture = Recorder[FollowNotice](), Picture()
    last = put(store, prefix + b"a", b"1")
    with Follower(store, b"", seen):
        see_until(picture, seen, last)
    assert picture.kvs[prefix + b"a"].value == b"1"
    assert prefix_end(b"") == b"\x00"
