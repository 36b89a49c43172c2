"""`MemoryState`: what a simulator relies on, beyond the contract."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from slurp_leader.errors import LeaseNotFoundError, RequestTooLargeError, RevisionCompactedError, StoreError
from slurp_leader.store import (
    Delete,
    Event,
    EventKind,
    Get,
    Grant,
    KeepAlive,
    KeyValue,
    Put,
    Revoke,
    Txn,
    prefix_end,
)
from slurp_leader.store.memory import MemoryState


class VirtualClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def boottime(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def state(clock: VirtualClock) -> MemoryState:
    return MemoryState(clock)


def read(state: MemoryState, key: bytes) -> bytes | None:
    kvs = state.apply(Get(key)).kvs
    return kvs[0].value if kvs else None


# ---------------------------------------------------------------- leases by the clock


def test_a_lease_lives_to_the_end_of_its_ttl_and_not_longer(state: MemoryState, clock: VirtualClock) -> None:
    state.apply(Grant(7, 10))
    state.apply(Put(b"a", b"v", 7))
    clock.now += 9.999
    assert read(state, b"a") == b"v"
    clock.now += 0.001
    assert read(state, b"a") is None
    assert state.apply(KeepAlive(7)).ttl_s == 0


def test_renewing_starts_the_ttl_anew(state: MemoryState, clock: VirtualClock) -> None:
    state.apply(Grant(7, 10))
    for _ in range(5):
        clock.now += 9
        assert state.apply(KeepAlive(7)).ttl_s == 10
    clock.now += 10
    with pytest.raises(LeaseNotFoundError):
        state.apply(Revoke(7))


def test_expire_due_ends_leases_in_the_order_of_their_times_each_in_its_revision(
    state: MemoryState, clock: VirtualClock
) -> None:
    for lease_id, ttl_s in ((1, 30), (2, 10), (3, 20), (4, 99)):
        state.apply(Grant(lease_id, ttl_s))
        state.apply(Put(b"%d" % lease_id, b"", lease_id))
    before = state.revision
    clock.now += 50
    assert state.expire_due() == 3
    deleted = [
        (n.revision - before, e.kv.key) for n in state.events_since(before + 1, b"\x00", b"\x00") for e in n.events
    ]
    assert deleted == [(1, b"2"), (2, b"3"), (3, b"1")]


def test_next_expiry_is_never_too_late(state: MemoryState, clock: VirtualClock) -> None:
    assert state.next_expiry() == math.inf
    state.apply(Grant(1, 30))
    state.apply(Grant(2, 10))
    assert state.next_expiry() == clock.now + 10
    clock.now += 5
    state.apply(KeepAlive(2))
    clock.now += 5
    state.expire_due()
    assert state.next_expiry() == clock.now + 5
    clock.now += 5
    assert state.expire_due() == 1
    assert state.next_expiry() == clock.now + 15


def test_a_lease_without_id_gets_one(state: MemoryState) -> None:
    first, second = state.apply(Grant(0, 10)), state.apply(Grant(0, 10))
    assert 0 < first.lease_id < second.lease_id


# ---------------------------------------------------------------- events


def test_events_since_gives_one_entry_for_each_revision_that_touched_the_range(state: MemoryState) -> None:
    one = state.apply(Txn(success=(Put(b"p/a", b""), Put(b"q", b""), Put(b"p/b", b"")))).header.revision
    state.apply(Put(b"q", b""))
    three = state.apply(Delete(b"p/a")).header.revision
    found = state.events_since(one, b"p/", prefix_end(b"p/"))
    assert [(n.revision, [e.kv.key for e in n.events]) for n in found] == [
        (one, [b"p/a", b"p/b"]),
        (three, [b"p/a"]),
    ]
    assert state.events_since(one + 1, b"p/", prefix_end(b"p/")) == found[1:]
    assert state.events_since(three + 1, b"p/", prefix_end(b"p/")) == []
    assert state.events_since(one, b"q")[0].revision == one


def test_events_before_a_compaction_are_gone_and_those_after_it_are_not(state: MemoryState) -> None:
    revisions = [state.apply(Put(b"a", b"%d" % n)).header.revision for n in range(5)]
    state.compact(revisions[2])
    with pytest.raises(RevisionCompactedError) as caught:
        state.events_since(revisions[1], b"a")
    assert caught.value.compact_revision == state.compact_revision == revisions[2]
    assert [n.revision for n in state.events_since(revisions[2], b"a")] == revisions[2:]


def test_compacting_to_now_is_safe_twice_and_naming_an_old_revision_is_not(state: MemoryState) -> None:
    state.apply(Put(b"a", b""))
    state.compact()
    state.compact()
    with pytest.raises(RevisionCompactedError):
        state.compact(state.revision)


def test_an_answer_that_could_not_be_received_is_refused(state: MemoryState) -> None:
    for n in range(5):
        state.apply(Put(b"%d" % n, bytes(1024 * 1024)))
    with pytest.raises(RequestTooLargeError):
        state.apply(Get(b"0", b"9"))
    assert len(state.apply(Get(b"0", b"9", limit=3)).kvs) == 3
    assert state.apply(Get(b"0", b"9", keys_only=True)).count == 5


# ---------------------------------------------------------------- against a model that is too simple to be wrong


class Model:
    """Every state there ever was, each as a whole dictionary."""

    def __init__(self) -> None:
        self.states: dict[int, dict[bytes, KeyValue]] = {1: {}}
        self.revision = 1

    def apply(self, operations: tuple[Put | Delete, ...]) -> None:
        after = dict(self.states[self.revision])
        for operation in operations:
            if isinstance(operation, Put):
                before = after.get(operation.key)
                created, version = (before.create_revision, before.version) if before else (self.revision + 1, 0)
                after[operation.key] = KeyValue(operation.key, operation.value, created, self.revision + 1, version + 1)
            else:
                end = operation.range_end or operation.key + b"\x00"
                after = {key: kv for key, kv in after.items() if not operation.key <= key < end}
        if after != self.states[self.revision]:
            self.revision += 1
            self.states[self.revision] = after


def random_operations(rng: random.Random) -> tuple[Put | Delete, ...]:
    keys = [b"k%d" % n for n in range(8)]
    if rng.random() < 0.3:
        begin, end = sorted(rng.choices(keys, k=2))
        return (Delete(begin, end if rng.random() < 0.5 else None),)
    return tuple(Put(key, rng.randbytes(2)) for key in rng.sample(keys, rng.randint(1, 4)))


@pytest.mark.parametrize("seed", range(20))
def test_every_revision_that_is_left_reads_as_the_model_says(state: MemoryState, seed: int) -> None:
    rng, model = random.Random(seed), Model()
    for _ in range(3):
        oldest = state.compact_revision or 1
        for _ in range(30):
            operations = random_operations(rng)
            state.apply(Txn(success=operations))
            model.apply(operations)
        assert state.revision == model.revision
        check_reads(state, model, oldest)
        oldest = rng.randint(state.compact_revision + 1, state.revision)
        state.compact(oldest)
        check_reads(state, model, oldest)
        with pytest.raises(RevisionCompactedError):
            state.apply(Get(b"k", revision=oldest - 1))


def check_reads(state: MemoryState, model: Model, oldest: int) -> None:
    for revision in range(oldest, model.revision + 1):
        expected = model.states[revision]
        assert state.apply(Get(b"k", b"l", revision=revision)).kvs == tuple(v for _, v in sorted(expected.items()))
        assert state.apply(Get(b"k3", revision=revision)).count == (b"k3" in expected)


@pytest.mark.parametrize("seed", range(10))
def test_a_picture_built_from_events_is_the_state(state: MemoryState, seed: int) -> None:
    rng = random.Random(seed)
    picture: dict[bytes, KeyValue] = {}
    seen = state.revision
    for _ in range(100):
        state.apply(Txn(success=random_operations(rng)))
        if rng.random() < 0.3:
            for notice in state.events_since(seen + 1, b"k", b"l"):
                for event in notice.events:
                    _turn(picture, event)
            seen = state.revision
            assert tuple(kv for _, kv in sorted(picture.items())) == state.apply(Get(b"k", b"l")).kvs


def _turn(picture: dict[bytes, KeyValue], event: Event) -> None:
    if event.kind is EventKind.PUT:
        picture[event.kv.key] = event.kv
    else:
        del picture[event.kv.key]


def test_the_same_requests_give_the_same_answers() -> None:
    def run() -> list[object]:
        clock, rng, answers = VirtualClock(), random.Random(1), list[object]()
        state = MemoryState(clock)
        for n in range(300):
            clock.now += rng.random()
            lease_id = rng.randint(1, 5)
            request = rng.choice(
                (
                    Grant(lease_id, 3),
                    KeepAlive(lease_id),
                    Put(b"%d" % (n % 9), b"", lease_id),
                    Revoke(lease_id),
                    Get(b"1"),
                )
            )
            try:
                answers.append(state.apply(request))  # type: ignore[arg-type]
            except StoreError as error:
                answers.append(repr(error))
        return answers

    assert run() == run()
