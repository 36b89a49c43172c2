"""Keys, revisions, ranges."""

from __future__ import annotations

import pytest

from slurp_leader.errors import Outcome, RequestMalformedError, StoreError
from slurp_leader.store import Delete, Get, KeyValue, Put, Status, Store, prefix_end
from support.calls import do, get, put


def test_a_new_key_knows_the_revision_of_its_creation(store: Store, prefix: bytes) -> None:
    revision = put(store, prefix + b"a", b"1")
    assert get(store, prefix + b"a") == KeyValue(prefix + b"a", b"1", revision, revision, 1)


def test_every_write_is_one_revision_and_one_version(store: Store, prefix: bytes) -> None:
    first = put(store, prefix + b"a", b"1")
    second = put(store, prefix + b"a", b"2")
    assert second > first
    assert get(store, prefix + b"a") == KeyValue(prefix + b"a", b"2", first, second, 2)


def test_a_key_that_comes_back_starts_anew(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a")
    do(store, Delete(prefix + b"a"))
    revision = put(store, prefix + b"a")
    kv = get(store, prefix + b"a")
    assert kv is not None
    assert (kv.create_revision, kv.version) == (revision, 1)


def test_an_empty_value_is_a_value(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a", b"")
    kv = get(store, prefix + b"a")
    assert kv is not None
    assert kv.value == b""


def test_deleting_nothing_makes_no_revision(store: Store, prefix: bytes) -> None:
    before = put(store, prefix + b"a")
    result = do(store, Delete(prefix + b"absent"))
    assert (result.deleted, result.header.revision) == (0, before)


def test_deleting_a_range_is_one_revision(store: Store, prefix: bytes) -> None:
    for name in (b"a", b"b", b"c"):
        before = put(store, prefix + name)
    result = do(store, Delete(prefix + b"a", prefix + b"c"))
    assert (result.deleted, result.header.revision) == (2, before + 1)
    assert get(store, prefix + b"c") is not None


def test_a_range_comes_in_the_order_of_bytes_without_its_end(store: Store, prefix: bytes) -> None:
    for name in (b"b", b"\xff", b"a", b"a\x00", b"B", b"z"):
        put(store, prefix + name)
    kvs = do(store, Get(prefix + b"B", prefix + b"z")).kvs
    assert [kv.key.removeprefix(prefix) for kv in kvs] == [b"B", b"a", b"a\x00", b"b"]


def test_a_prefix_covers_everything_that_begins_with_it(store: Store, prefix: bytes) -> None:
    for name in (b"", b"\x00", b"x", b"\xff\xff"):
        put(store, prefix + name)
    put(store, prefix[:-1] + b"0")  # one past the slash
    assert do(store, Get(prefix, prefix_end(prefix))).count == 4


def test_a_zero_byte_as_range_end_means_every_key_from_here_on(store: Store, prefix: bytes) -> None:
    last = b"\xff\xff" + prefix
    put(store, last + b"1")
    put(store, last + b"2")
    kvs = do(store, Get(last, b"\x00")).kvs
    assert [kv.key for kv in kvs][:2] == [last + b"1", last + b"2"]
    assert do(store, Delete(last, b"\x00")).deleted >= 2


def test_an_upside_down_range_is_empty(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"b")
    assert do(store, Get(prefix + b"c", prefix + b"a")).count == 0


def test_a_limit_cuts_the_answer_and_says_so(store: Store, prefix: bytes) -> None:
    for name in (b"a", b"b", b"c"):
        put(store, prefix + name)
    cut = do(store, Get(prefix, prefix_end(prefix), limit=2))
    assert (len(cut.kvs), cut.more, cut.count) == (2, True, 3)
    whole = do(store, Get(prefix, prefix_end(prefix), limit=3))
    assert (len(whole.kvs), whole.more, whole.count) == (3, False, 3)


def test_keys_only_leaves_the_values_out(store: Store, prefix: bytes) -> None:
    revision = put(store, prefix + b"a", b"long")
    kvs = do(store, Get(prefix + b"a", keys_only=True)).kvs
    assert kvs == (KeyValue(prefix + b"a", b"", revision, revision, 1),)


def test_count_only_counts(store: Store, prefix: bytes) -> None:
    for name in (b"a", b"b", b"c"):
        put(store, prefix + name)
    counted = do(store, Get(prefix, prefix_end(prefix), limit=1, count_only=True))
    assert (counted.kvs, counted.count) == ((), 3)


def test_a_read_shows_the_newest_revision_in_its_header(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"old")
    newest = put(store, prefix + b"new")
    assert do(store, Get(prefix + b"old")).header.revision == newest
    assert do(store, Get(prefix + b"old", revision=newest - 1)).header.revision == newest


def test_a_serializable_read_is_a_read(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a", b"1")
    assert do(store, Get(prefix + b"a", serializable=True)).kvs[0].value == b"1"


@pytest.mark.parametrize("request_", [Get(b""), Put(b"", b"v"), Delete(b"")], ids=["get", "put", "delete"])
def test_an_empty_key_is_refused(store: Store, request_: Get | Put | Delete) -> None:
    with pytest.raises(RequestMalformedError) as caught:
        do(store, request_)  # type: ignore[arg-type]
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_headers_name_one_cluster_and_one_member(store: Store, prefix: bytes) -> None:
    first = do(store, Put(prefix + b"a", b"")).header
    second = do(store, Get(prefix + b"a")).header
    assert first.cluster_id == second.cluster_id != 0
    assert first.member_id == second.member_id != 0


def test_status_tells_sizes_and_no_alarm(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a", b"x" * 1000)
    status = do(store, Status())
    assert status.version
    assert status.db_size >= status.db_size_in_use > 1000
    assert status.alarms == ()
    assert status.leader_member_id == status.header.member_id


def test_a_closed_store_fails_calls_and_says_that_nothing_was_sent(store: Store, prefix: bytes) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError) as caught:
        do(store, Put(prefix + b"a", b""))
    assert caught.value.outcome is Outcome.NOT_APPLIED
