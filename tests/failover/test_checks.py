"""Manifests and the keys that they are about, in memory and on real etcd."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.errors import NotLeaderError, StoreError
from slurp_leader.failover import Failover, FailoverKeys, Manifest, ManifestReason, Verdict, Verification
from slurp_leader.failover.failover import _Check
from slurp_leader.failover.keeping import read_kept, take_stock, verify, verify_kept
from slurp_leader.failover.manifest import KEPT
from slurp_leader.jobs.inventory import Inventory, Stock
from slurp_leader.store import Delete, Get, Put, Store, Txn, prefix_end
from slurp_leader.store.follow import Follower, FollowNotice, Snapshot
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
from slurp_leader.term import Term
from support.etcd import Operator
from support.logs import events
from support.waiting import WAIT_S

CLOCK = SystemClock()


@pytest.fixture
def keyspace() -> Keyspace:
    return Keyspace(f"failover-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def write(store: Store, keyspace: Keyspace) -> Callable[..., int]:
    """Writes or deletes (None) keys under ``m/`` in one transaction; returns the revision."""

    def write(**keys: bytes | None) -> int:
        steps = []
        for name, value in keys.items():
            key = keyspace.mirrored + name.replace("__", "/").encode()
            steps.append(Delete(key) if value is None else Put(key, value))
        return store.call(Txn((), tuple(steps)), WAIT_S).result().header.revision

    return write


def leave(store: Store, keyspace: Keyspace, epoch: int, stock: Stock, **fields: Any) -> int:
    """Write a manifest as a handover does; returns the token of the term that begins with it."""
    manifest = Manifest(epoch, 1, stock, ManifestReason.HANDOVER, "a", "", **fields)
    keys = FailoverKeys(keyspace)
    return store.call(Put(keys.of(manifest), manifest.to_value()), WAIT_S).result().header.revision


def check(store: Store, keyspace: Keyspace, epoch: int, token: int | None = None) -> Verification:
    key = FailoverKeys(keyspace).manifest(epoch)
    return verify(store, keyspace, key, epoch, clock=CLOCK, timeout_s=WAIT_S, token=token)


def test_what_was_left_is_verified_at_its_revision_whatever_came_since(
    store: Store, keyspace: Keyspace, write: Callable[..., int]
) -> None:
    write(queue__a=b"1", queue__b=b"2", state__a=b"3", election__slurp__hb=b"x")
    stock = take_stock(store, keyspace, timeout_s=WAIT_S)
    assert stock.counts == {
        "queue": 2, "state": 1, "run": 0, "cancel": 0, "grant": 0, "control": 0, "parked": 0
    }  # fmt: skip
    token = leave(store, keyspace, 5, stock)
    write(queue__a=None, queue__c=b"4", state__a=b"5")
    found = check(store, keyspace, 5, token)
    assert (found.verdict, found.why, found.found) == (Verdict.VERIFIED, "", stock)
    assert take_stock(store, keyspace, timeout_s=WAIT_S).sum != stock.sum


def test_a_leader_that_had_seen_something_else_left_a_mismatch(
    store: Store, keyspace: Keyspace, write: Callable[..., int]
) -> None:
    """It missed a delete, or an event came twice: what it had in memory was not what there was."""
    write(queue__a=b"1", queue__b=b"2")
    wrong = take_stock(store, keyspace, timeout_s=WAIT_S)
    revision = write(queue__b=None)
    token = leave(store, keyspace, 5, replace(wrong, revision=revision))
    found = check(store, keyspace, 5, token)
    assert found.verdict is Verdict.MISMATCH
    assert found.differences[0] == "queue: 2 left, 1 found"
    assert found.differences[1].startswith(f"hash: {wrong.hash} left, ")


def test_a_record_that_was_rewritten_is_a_mismatch_though_no_count_differs(
    store: Store, keyspace: Keyspace, write: Callable[..., int]
) -> None:
    write(queue__a=b"1")
    before = take_stock(store, keyspace, timeout_s=WAIT_S)
    revision = write(queue__a=b"1")
    token = leave(store, keyspace, 5, replace(before, revision=revision))
    found = check(store, keyspace, 5, token)
    assert found.verdict is Verdict.MISMATCH
    assert [difference.split(":")[0] for difference in found.differences] == ["hash"]


def test_a_manifest_that_somebody_wrote_again_is_a_mismatch_though_it_fits(
    store: Store, keyspace: Keyspace, write: Callable[..., int]
) -> None:
    write(queue__a=b"1")
    token = leave(store, keyspace, 5, take_stock(store, keyspace, timeout_s=WAIT_S))
    leave(store, keyspace, 5, take_stock(store, keyspace, timeout_s=WAIT_S))
    found = check(store, keyspace, 5, token)
    assert found.verdict is Verdict.MISMATCH
    assert "written again" in found.why


def test_a_manifest_of_the_future_is_a_mismatch(store: Store, keyspace: Keyspace) -> None:
    token = leave(store, keyspace, 5, replace(take_stock(store, keyspace, timeout_s=WAIT_S), revision=2**40))
    assert check(store, keyspace, 5, token).verdict is Verdict.MISMATCH


def test_a_revision_that_is_compacted_is_unverifiable(
    store: Store, keyspace: Keyspace, write: Callable[..., int], operator: Operator
) -> None:
    write(queue__a=b"1")
    token = leave(store, keyspace, 5, take_stock(store, keyspace, timeout_s=WAIT_S))
    write(queue__b=b"1")
    operator.compact(write(queue__c=b"1"))
    found = check(store, keyspace, 5, token)
    assert found.verdict is Verdict.UNVERIFIABLE
    assert "is compacted" in found.why
    assert found.left is not None


def test_without_a_manifest_or_with_one_that_cannot_be_read_nobody_can_tell(store: Store, keyspace: Keyspace) -> None:
    found = check(store, keyspace, 5)
    assert (found.verdict, found.why.startswith("there is no ")) == (Verdict.UNVERIFIABLE, True)
    store.call(Put(FailoverKeys(keyspace).manifest(5), b"{"), WAIT_S).result()
    found = check(store, keyspace, 5)
    assert (found.verdict, "not JSON" in found.why) == (Verdict.UNVERIFIABLE, True)


def test_stock_is_taken_at_one_revision_over_many_pages(
    store: Store, keyspace: Keyspace, write: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurp_leader.failover.keeping._PAGE", 3)
    for number in range(10):
        write(**{f"queue__{number}": b"1"})
    turned: list[int] = []

    def meanwhile() -> None:
        turned.append(write(queue__9=None, queue__x=b"1"))

    stock = take_stock(store, keyspace, timeout_s=WAIT_S, between=meanwhile)
    assert stock.counts["queue"] == 10
    assert len(turned) == 3
    assert take_stock(store, keyspace, stock.revision, timeout_s=WAIT_S) == stock


def test_stock_is_taken_without_the_values(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    """They are a thousand times as large as what is counted."""
    memory_store.call(Put(keyspace.mirrored + b"queue/a", b"x" * 1000), WAIT_S).result()
    asked = _Listening(memory_store)
    assert take_stock(asked, keyspace, timeout_s=WAIT_S).counts["queue"] == 1  # type: ignore[arg-type]
    assert [request.keys_only for request in asked.requests] == [True]


class _Listening:
    """A store that remembers what it was asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.requests: list[Any] = []

    def call(self, request: Any, timeout_s: float) -> Any:
        self.requests.append(request)
        return self._store.call(request, timeout_s)


def test_what_a_follower_saw_is_what_etcd_had(store: Store, keyspace: Keyspace, write: Callable[..., int]) -> None:
    """The inventory over the real watch: whatever its revision is, etcd at that revision says the same."""
    inventory = Inventory(keyspace.mirrored)
    rng = random.Random(7)

    def see(notice: FollowNotice) -> None:
        if isinstance(notice, Snapshot):
            inventory.load(notice.revision, notice.kvs)
        else:
            inventory.change(notice.revision, getattr(notice, "events", ()))  # type: ignore[union-attr]

    with Follower(store, keyspace.mirrored, see):
        for _ in range(60):
            names = rng.sample(range(12), rng.randint(1, 4))
            write(**{f"queue__{name}": rng.choice([b"x", None]) for name in names})
            stock = inventory.stock()
            if stock.revision:
                assert stock == take_stock(store, keyspace, stock.revision, timeout_s=WAIT_S)


# ---------------------------------------------------------------- what is kept


def term_on(store: Store, keyspace: Keyspace, epoch: int) -> Term:
    key = keyspace.mirrored + b"election/slurp/leader"
    value = uuid.uuid4().hex.encode()
    token = store.call(Put(key, value), WAIT_S).result().header.revision
    return Term("slurp", token, epoch, "a", "s", "t", key, value, CLOCK)


def failover_on(store: Store, keyspace: Keyspace, **fields: Any) -> Failover:
    settings: Mapping[str, Any] = fields.pop("settings", {"workers": 4})
    stock = fields.pop("stock", lambda: take_stock(store, keyspace, timeout_s=WAIT_S))
    failover = Failover(
        store,
        keyspace,
        node_id="a",
        stock=stock,
        control=lambda: {"floor": None},
        settings=settings,
        timeout_s=WAIT_S,
        clock=CLOCK,
        **fields,
    )
    failover.begin_after_s = 0.0
    return failover


def test_only_the_newest_epochs_are_kept_also_when_most_of_them_left_nothing(store: Store, keyspace: Keyspace) -> None:
    failover, keys = failover_on(store, keyspace), FailoverKeys(keyspace)
    for epoch in (*range(1, 23), 50, 51, 68):
        left = failover.left_for(epoch, term_on(store, keyspace, epoch - 1))
        assert len(left) <= 2
        store.call(Txn((), (*left, Put(keys.check(epoch), b"{}"))), WAIT_S).result()
    kvs = store.call(Get(keys.prefix, prefix_end(keys.prefix)), WAIT_S).result().kvs
    assert {int(kv.key[len(keys.prefix) :][:10]) for kv in kvs} == {50, 51, 68}
    assert len(kvs) <= 3 * KEPT


def test_one_on_demand_is_written_under_the_fence_and_verified_by_anybody(store: Store, keyspace: Keyspace) -> None:
    failover, term = failover_on(store, keyspace), term_on(store, keyspace, 3)
    manifest = failover.write_down(term, WAIT_S)
    (kept,) = read_kept(store, FailoverKeys(keyspace), WAIT_S)
    assert kept.manifests == (manifest,)
    assert (manifest.reason, manifest.token, manifest.epoch) == (ManifestReason.DEMAND, term.token, 3)
    assert verify_kept(store, keyspace, None, CLOCK, WAIT_S).verdict is Verdict.VERIFIED
    term_on(store, keyspace, 4)
    with pytest.raises(NotLeaderError):
        failover.write_down(term, WAIT_S)
    with pytest.raises(NotLeaderError):
        failover.write_down(None, WAIT_S)


def test_a_record_that_cannot_be_read_hides_no_other(store: Store, keyspace: Keyspace) -> None:
    keys = FailoverKeys(keyspace)
    leave(store, keyspace, 4, take_stock(store, keyspace, timeout_s=WAIT_S))
    for key in (keys.manifest(5), keys.check(4), keys.prefix + b"loose"):
        store.call(Put(key, b"{"), WAIT_S).result()
    newest, older = read_kept(store, keys, WAIT_S)
    assert (newest.epoch, newest.manifests, len(newest.errors)) == (5, (), 1)
    assert (older.epoch, len(older.manifests), len(older.errors)) == (4, 1, 1)
    assert verify_kept(store, keyspace, None, CLOCK, WAIT_S).epoch == 4
    assert verify_kept(store, keyspace, 5, CLOCK, WAIT_S).verdict is Verdict.UNVERIFIABLE
    assert verify_kept(store, keyspace, 6, CLOCK, WAIT_S).why == "there is no manifest of epoch 6"


def test_without_an_epoch_the_newest_manifest_is_verified(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    for epoch in (4, 6, 5):  # the newest is the one that was written last
        leave(memory_store, keyspace, epoch, take_stock(memory_store, keyspace, timeout_s=WAIT_S))
    assert verify_kept(memory_store, keyspace, None, CLOCK, WAIT_S).epoch == 5


# ---------------------------------------------------------------- the check after a takeover


def told(failover: Failover, term: Term) -> Verification:
    failover.took_over(term)
    check = failover._check
    assert check is not None
    assert check.thread is not None
    check.thread.join(WAIT_S)
    assert failover.last is not None
    return failover.last


def handed_over(store: Store, keyspace: Keyspace, failover: Failover, epoch: int) -> Term:
    """The lead changes hands; returns the new term."""
    before = term_on(store, keyspace, epoch - 1)
    value = uuid.uuid4().hex.encode()
    steps = (Put(before.key, value), *failover.left_for(epoch, before))
    token = store.call(Txn(before.fence(), steps), WAIT_S).result().header.revision
    return Term("slurp", token, epoch, "b", "s", "t", before.key, value, CLOCK)


def test_the_successor_checks_and_notes_down_what_it_found(
    store: Store, keyspace: Keyspace, write: Callable[..., int]
) -> None:
    write(queue__a=b"1", grant__3=b"2")
    term = handed_over(store, keyspace, failover_on(store, keyspace), 6)
    successor = failover_on(store, keyspace, settings={"workers": 9})
    found = told(successor, term)
    assert (found.verdict, found.changed) == (Verdict.VERIFIED, {"workers": (4, 9)})
    (kept,) = read_kept(store, FailoverKeys(keyspace), WAIT_S)
    assert kept.check == found.to_fields()
    successor.stop()


def test_a_leader_whose_term_is_over_notes_nothing_down(store: Store, keyspace: Keyspace) -> None:
    term = handed_over(store, keyspace, failover_on(store, keyspace), 6)
    term_on(store, keyspace, 7)
    assert told(failover_on(store, keyspace), term).verdict is Verdict.VERIFIED
    assert read_kept(store, FailoverKeys(keyspace), WAIT_S)[0].check is None


def test_one_that_has_seen_nothing_leaves_nothing(store: Store, keyspace: Keyspace) -> None:
    failover = failover_on(store, keyspace, stock=Inventory(keyspace.mirrored).stock)
    assert failover.left_for(6, term_on(store, keyspace, 5)) == ()


def test_an_outage_delays_the_check_and_changes_nothing(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    term = handed_over(memory_store, keyspace, failover_on(memory_store, keyspace), 6)
    failing = _FailsAtFirst(memory_store)
    assert told(failover_on(failing, keyspace), term).verdict is Verdict.VERIFIED  # type: ignore[arg-type]
    assert failing.failures == 0


class _FailsAtFirst:
    """A store that does not answer the first calls."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failures = 2

    def call(self, request: Any, timeout_s: float) -> Any:
        if self.failures:
            self.failures -= 1
            raise StoreError("not now", retryable=True)
        return self._store.call(request, timeout_s)


def test_a_check_ends_with_its_node(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    term = handed_over(memory_store, keyspace, failover_on(memory_store, keyspace), 6)
    stopped = failover_on(_FailsAtFirst(memory_store), keyspace)  # type: ignore[arg-type]
    stopped.begin_after_s = 3600.0
    stopped.took_over(term)
    stopped.stop()
    stopped.stop()
    stopped.took_over(term)
    assert (stopped.last, stopped._check) == (None, None)


TOO_SOON = "the term was over before what it was left was looked at"


def test_a_term_that_ends_before_its_check_is_told_as_unverifiable(
    memory_store: MemoryStore, keyspace: Keyspace, caplog: pytest.LogCaptureFixture
) -> None:
    """Else nobody could tell it from a takeover that was found in order by a leader who could not write that down."""
    term = handed_over(memory_store, keyspace, failover_on(memory_store, keyspace), 6)
    asked = _Listening(memory_store)
    term.lost.set()
    found = told(failover_on(asked, keyspace), term)  # type: ignore[arg-type]
    assert (found.verdict, found.why, found.epoch, found.node_id) == (Verdict.UNVERIFIABLE, TOO_SOON, 6, "a")
    assert [request for request in asked.requests if isinstance(request, Get)] == []
    assert events(caplog) == ["failover.checked"]
    assert TOO_SOON in caplog.text


def test_a_node_that_stops_before_its_check_says_so_and_writes_nothing(
    memory_store: MemoryStore, keyspace: Keyspace, caplog: pytest.LogCaptureFixture
) -> None:
    term = handed_over(memory_store, keyspace, failover_on(memory_store, keyspace), 6)
    asked = _Listening(memory_store)
    stopped = failover_on(asked, keyspace)  # type: ignore[arg-type]
    stopped.begin_after_s = 3600.0
    stopped.took_over(term)
    stopped.stop()
    assert events(caplog) == ["failover.checked"]
    assert "the node stopped before what it was left was looked at" in caplog.text
    assert asked.requests == []  # who stops waits for this thread, and shall not wait for etcd


def test_a_second_takeover_ends_the_check_of_the_first(
    memory_store: MemoryStore, keyspace: Keyspace, caplog: pytest.LogCaptureFixture
) -> None:
    failover = failover_on(memory_store, keyspace)
    failover.begin_after_s = 3600.0
    failover.took_over(handed_over(memory_store, keyspace, failover, 6))
    first = failover._check
    assert first is not None
    assert first.thread is not None
    failover.took_over(handed_over(memory_store, keyspace, failover, 7))
    first.thread.join(WAIT_S)
    assert not first.thread.is_alive()
    assert TOO_SOON in caplog.text
    assert failover.last is None  # of the second nothing is known yet
    failover.stop()


def test_a_check_that_ends_after_a_later_one_does_not_take_its_place(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    held = _HoldsTheFirst(memory_store)
    failover = failover_on(held, keyspace, stock=lambda: take_stock(memory_store, keyspace, timeout_s=WAIT_S))  # type: ignore[arg-type]
    failover.took_over(handed_over(memory_store, keyspace, failover, 6))
    first = failover._check
    assert first is not None
    assert first.thread is not None
    assert held.is_held.wait(WAIT_S)
    assert told(failover, handed_over(memory_store, keyspace, failover, 7)).epoch == 7
    held.go_on.set()
    first.thread.join(WAIT_S)
    assert not first.thread.is_alive()
    assert failover.last is not None
    assert failover.last.epoch == 7


class _HoldsTheFirst:
    """A store whose first call takes until it is told to go on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_held = threading.Event()
        self.go_on = threading.Event()

    def call(self, request: Any, timeout_s: float) -> Any:
        if not self.is_held.is_set():
            self.is_held.set()
            assert self.go_on.wait(WAIT_S)
        return self._store.call(request, timeout_s)


def queue_of(store: Store, keyspace: Keyspace, size: int) -> None:
    steps = tuple(Put(keyspace.mirrored + b"queue/%d" % number, b"1") for number in range(size))
    store.call(Txn((), steps), WAIT_S).result()


def with_a_queue_of(store: MemoryStore, keyspace: Keyspace, size: int, monkeypatch: pytest.MonkeyPatch) -> Term:
    """A term that took over so many keys, of which three are read at once."""
    queue_of(store, keyspace, size)
    monkeypatch.setattr("slurp_leader.failover.keeping._PAGE", 3)
    return handed_over(store, keyspace, failover_on(store, keyspace), 6)


def test_a_check_stops_when_its_term_is_lost(
    memory_store: MemoryStore, keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the whole queue: who does not lead any more has no use for that."""
    term = with_a_queue_of(memory_store, keyspace, 9, monkeypatch)
    asked = _Listening(memory_store)

    def lose_at_the_second_page(check: _Check, seconds: float) -> None:
        if len(asked.requests) == 3:  # the manifest, and two pages
            term.lost.set()
        pause(check, seconds)

    pause = _Check.pause
    monkeypatch.setattr(_Check, "pause", lose_at_the_second_page)
    assert told(failover_on(asked, keyspace), term).why == TOO_SOON  # type: ignore[arg-type]
    assert len([request for request in asked.requests if isinstance(request, Get)]) == 3


def test_a_check_leaves_the_processor_to_the_claims_first_and_to_the_jobs_after_each_page(
    memory_store: MemoryStore, keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    term = with_a_queue_of(memory_store, keyspace, 7, monkeypatch)
    asked = _Listening(memory_store)
    monkeypatch.setattr(_Check, "pause", lambda check, seconds: asked.requests.append(seconds))
    failover = failover_on(asked, keyspace)  # type: ignore[arg-type]
    failover.begin_after_s = Failover.begin_after_s
    assert told(failover, term).verdict is Verdict.VERIFIED
    done = [each if isinstance(each, float) else type(each).__name__ for each in asked.requests]
    assert done == [1.0, "Get", "Get", "Get", 0.005, "Get", 0.005, "Txn"]
