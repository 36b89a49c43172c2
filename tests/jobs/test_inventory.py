"""The stock, kept up to date with every event: it is always what counting anew would come to."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.rig import KEYS, Rig
from slurp_leader.jobs import inventory as module
from slurp_leader.jobs.inventory import KINDS, Inventory, Stock, stock_of
from slurp_leader.store import Event, EventKind, Get, KeyValue, prefix_end
from slurp_leader.store.follow import Progress, Snapshot

M = KEYS.mirrored
POOL = [M + kind + b"/%d" % number for kind in (*KINDS, b"nodes", b"election") for number in range(3)]


def put(key: bytes, revision: int) -> Event:
    return Event(EventKind.PUT, KeyValue(key, b"", revision, revision, 1))


def deleted(key: bytes, revision: int) -> Event:
    return Event(EventKind.DELETE, KeyValue(key, b"", 0, revision, 0))


def counted(truth: dict[bytes, int], revision: int) -> Stock:
    return stock_of(M, revision, [KeyValue(key, b"", at, at, 1) for key, at in truth.items()])


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "ask", "reload"]), st.lists(st.sampled_from(POOL), unique=True, max_size=6)
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(acts=ACTS, most_young=st.sampled_from([0, 2, 8192]))
def test_it_is_what_counting_anew_would_come_to(acts: list[tuple[str, list[bytes]]], most_young: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_YOUNG", most_young)
        patch.setattr(module, "_AT_ONCE", 2)
        kept, truth = Inventory(M), {}
        for revision, (act, keys) in enumerate(acts, start=2):
            if act == "put":
                truth |= dict.fromkeys(keys, revision)
                kept.change(revision, [put(key, revision) for key in keys])
            elif act == "delete":
                gone = [key for key in keys if truth.pop(key, None) is not None]
                kept.change(revision, [deleted(key, revision) for key in gone])
            elif act == "reload":
                kept.load(revision, [KeyValue(key, b"", at, at, 1) for key, at in truth.items()])
            else:
                kept.progress(revision)
                assert kept.stock() == counted(truth, revision)
        kept.progress(1000)
        assert kept.stock() == counted(truth, 1000)


def test_the_order_does_not_matter_but_every_key_and_every_revision_does() -> None:
    a, b = POOL[0], POOL[1]
    assert counted({a: 5, b: 6}, 9) == counted({b: 6, a: 5}, 9)
    stocks = [counted(truth, 9) for truth in ({a: 5, b: 6}, {a: 6, b: 5}, {a: 5}, {b: 5}, {a: 5, b: 7}, {})]
    assert len({stock.sum for stock in stocks}) == len(stocks)
    assert stocks[-1] == Stock(9, dict.fromkeys((kind.decode() for kind in KINDS), 0), 0)


def test_the_hash_is_the_one_that_is_documented() -> None:
    """So that another program can compute it."""
    one = counted({M + b"queue/x": 258, M + b"run/y": 7}, 300)
    records = (M + b"queue/x\0\0\0\0\0\0\0\1\2", M + b"run/y\0\0\0\0\0\0\0\0\7")
    weights = [int.from_bytes(hashlib.blake2b(record, digest_size=16).digest(), "big") for record in records]
    assert one.hash == f"{sum(weights) % 2**128:032x}"


def test_what_is_not_of_the_queue_is_not_counted() -> None:
    kept = Inventory(M)
    kept.change(5, [put(M + b"election/slurp/hb", 5), put(M + b"nodes/a/s", 5), put(M + b"loose", 5)])
    assert kept.stock() == counted({}, 5)


def test_a_job_that_comes_and_goes_is_never_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []
    monkeypatch.setattr(module, "weight_of", lambda key, revision: hashed.append(key) or 1)
    kept = Inventory(M)
    for revision in range(2, 20_002, 2):
        kept.change(revision, [put(M + b"queue/%d" % revision, revision)])
        kept.change(revision + 1, [deleted(M + b"queue/%d" % revision, revision + 1)])
    assert kept.stock().sum == 0
    assert hashed == []


def test_asking_never_costs_more_than_the_young_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_YOUNG", 100)
    monkeypatch.setattr(module, "_AT_ONCE", 10)
    hashed: list[bytes] = []
    monkeypatch.setattr(module, "weight_of", lambda key, revision: hashed.append(key) or 1)
    kept = Inventory(M)
    for revision in range(2, 1002):
        kept.change(revision, [put(M + b"queue/%d" % revision, revision)])
    assert len(hashed) >= 890
    assert kept.stock().counts["queue"] == len(hashed) == 1000
    kept.stock()
    assert len(hashed) == 1000


def test_it_is_of_the_revision_of_the_watch_not_of_what_this_node_wrote_ahead_of_it() -> None:
    """The picture knows of its own claim at once. Etcd at the revision of the watch has none."""
    rig = Rig()
    rig.node.lead()
    scheduler = rig.node.scheduler

    def check() -> None:
        stock = scheduler.inventory.stock()
        assert stock == stock_of(M, stock.revision, rig.world.apply(Get(M, prefix_end(M), revision=stock.revision)).kvs)

    run = rig.wait_for_run(rig.client.submit())
    (claim,) = scheduler.picture.claims.values()
    assert claim.revision > scheduler.picture.revision, "the watch was faster: this shows nothing"
    check()
    rig.node.do(run)
    rig.settle(1)
    assert scheduler.picture.claims == {}
    check()


def test_while_nothing_changes_it_is_of_newer_revisions_all_the_same() -> None:
    """What it was at an old one can be compacted when somebody wants to compare."""
    rig = Rig()
    scheduler = rig.node.scheduler
    scheduler.step(Snapshot(5, ()), 0.0)
    for revision, expected in ((9, 9), (7, 9)):
        scheduler.step(Progress(revision), 0.0)
        assert scheduler.inventory.stock().revision == expected
