"""Old revisions, compaction, and ranges read at one revision."""

from __future__ import annotations

import pytest

from slurp_leader.errors import RequestMalformedError, RevisionCompactedError
from slurp_leader.store import Delete, Get, Put, Store, Txn, prefix_end
from slurp_leader.store.pages import read_pages
from support.calls import PATIENCE_S, do, get, put
from support.etcd import Operator


def keys_at(store: Store, prefix: bytes, revision: int) -> list[bytes]:
    kvs = do(store, Get(prefix, prefix_end(prefix), revision=revision)).kvs
    return [kv.key.removeprefix(prefix) for kv in kvs]


def test_a_range_can_be_read_as_it_was(store: Store, prefix: bytes) -> None:
    one = put(store, prefix + b"a", b"1")
    two = put(store, prefix + b"b", b"1")
    three = do(store, Delete(prefix + b"a")).header.revision
    four = put(store, prefix + b"a", b"2")
    assert [keys_at(store, prefix, r) for r in (one - 1, one, two, three, four)] == [
        [], [b"a"], [b"a", b"b"], [b"b"], [b"a", b"b"],
    ]  # fmt: skip
    old = get(store, prefix + b"a", revision=two)
    assert old is not None
    assert (old.value, old.mod_revision, old.version) == (b"1", one, 1)


def test_a_limited_read_of_the_past_counts_the_past(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a")
    then = put(store, prefix + b"b")
    put(store, prefix + b"c")
    result = do(store, Get(prefix, prefix_end(prefix), limit=1, revision=then))
    assert (len(result.kvs), result.more, result.count) == (1, True, 2)


def test_a_revision_ahead_of_time_is_refused(store: Store, prefix: bytes) -> None:
    now = put(store, prefix + b"a")
    with pytest.raises(RequestMalformedError):
        do(store, Get(prefix + b"a", revision=now + 1000))


def test_a_compacted_revision_cannot_be_read_but_the_one_compacted_to_can(
    store: Store, operator: Operator, prefix: bytes
) -> None:
    first = put(store, prefix + b"a", b"1")
    put(store, prefix + b"gone")
    do(store, Delete(prefix + b"gone"))
    compacted = put(store, prefix + b"a", b"2")
    put(store, prefix + b"a", b"3")
    operator.compact(compacted)
    with pytest.raises(RevisionCompactedError):
        get(store, prefix + b"a", revision=first)
    old = get(store, prefix + b"a", revision=compacted)
    assert old is not None
    assert (old.value, old.create_revision, old.version) == (b"2", first, 2)
    assert keys_at(store, prefix, compacted) == [b"a"]


def test_a_compacted_read_in_a_transaction_refuses_its_writes_too(
    store: Store, operator: Operator, prefix: bytes
) -> None:
    first = put(store, prefix + b"a")
    operator.compact(put(store, prefix + b"a"))
    with pytest.raises(RevisionCompactedError):
        do(store, Txn(success=(Put(prefix + b"b", b""), Get(prefix + b"a", revision=first))))
    assert get(store, prefix + b"b") is None


# ---------------------------------------------------------------- pages


def fill(store: Store, prefix: bytes, count: int, size: int = 1) -> int:
    """Keys ``0000`` to `count`. Returns the last revision."""
    revision = 0
    for start in range(0, count, 100):
        puts = tuple(Put(prefix + b"%04d" % n, b"x" * size) for n in range(start, min(start + 100, count)))
        revision = do(store, Txn(success=puts)).header.revision
    return revision


def test_pages_hold_the_whole_range_in_order(store: Store, prefix: bytes) -> None:
    revision = fill(store, prefix, 120)
    pages = list(read_pages(store, prefix, prefix_end(prefix), timeout_s=PATIENCE_S, page=50))
    assert [len(page.kvs) for page in pages] == [50, 50, 20]
    assert [kv.key for page in pages for kv in page.kvs] == [prefix + b"%04d" % n for n in range(120)]
    assert pages[0].header.revision == revision


def test_pages_are_of_one_revision_while_writes_go_on(store: Store, prefix: bytes) -> None:
    first = fill(store, prefix, 90)
    seen = []
    for page in read_pages(store, prefix, prefix_end(prefix), timeout_s=PATIENCE_S, page=30):
        seen += [kv.key for kv in page.kvs]
        do(store, Delete(prefix + b"0089"))
        put(store, prefix + b"0050", b"changed")
        put(store, prefix + b"0055 new")
        assert all(kv.mod_revision <= first for kv in page.kvs)
    assert seen == [prefix + b"%04d" % n for n in range(90)]


def test_pages_of_an_empty_range_are_one_empty_page(store: Store, prefix: bytes) -> None:
    pages = list(read_pages(store, prefix, prefix_end(prefix), timeout_s=PATIENCE_S))
    assert [page.kvs for page in pages] == [()]


def test_a_full_last_page_is_followed_by_none(store: Store, prefix: bytes) -> None:
    fill(store, prefix, 100)
    pages = list(read_pages(store, prefix, prefix_end(prefix), timeout_s=PATIENCE_S, page=50))
    assert [len(page.kvs) for page in pages] == [50, 50]


def test_pages_can_be_of_an_older_revision(store: Store, prefix: bytes) -> None:
    then = fill(store, prefix, 10)
    do(store, Delete(prefix, prefix_end(prefix)))
    pages = list(read_pages(store, prefix, prefix_end(prefix), timeout_s=PATIENCE_S, page=4, revision=then))
    assert sum(len(page.kvs) for page in pages) == 10


def test_pages_too_large_to_be_received_are_asked_for_in_halves(store: Store, prefix: bytes) -> None:
    for n in range(6):
        put(store, prefix + b"%d" % n, bytes(1_400_000))
    pages = list(read_pages(store, prefix, prefix_end(prefix), timeout_s=PATIENCE_S))
    assert [kv.key[-1:] for page in pages for kv in page.kvs] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    do(store, Delete(prefix, prefix_end(prefix)))


def test_pages_compacted_while_they_are_turned_say_so(store: Store, operator: Operator, prefix: bytes) -> None:
    fill(store, prefix, 20)
    pages = read_pages(store, prefix, prefix_end(prefix), timeout_s=PATIENCE_S, page=10)
    next(pages)
    put(store, prefix + b"x")
    operator.compact(put(store, prefix + b"x"))
    with pytest.raises(RevisionCompactedError):
        next(pages)
