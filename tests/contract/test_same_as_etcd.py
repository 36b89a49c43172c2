"""The store in memory and a real etcd, asked the same at random, answer the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from slurp_leader.errors import StoreError
from slurp_leader.store import (
    Compare,
    CompareOp,
    CompareTarget,
    Delete,
    Event,
    Get,
    GetResult,
    Grant,
    KeepAlive,
    KeyValue,
    Operation,
    Put,
    Request,
    Revoke,
    Store,
    Txn,
    TxnResult,
    WatchEvents,
    WatchNotice,
    prefix_end,
)
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, Recorder, do, new_lease_id, put
from support.etcd import EtcdServers, open_etcd

REQUESTS = 150


@pytest.fixture(params=[pytest.param(kind, marks=pytest.mark.etcd) for kind in ("etcd-on-path", "etcd-in-wheel")])
def real(request: pytest.FixtureRequest, etcd_servers: EtcdServers) -> Iterator[Store]:
    store = open_etcd(etcd_servers.get(request.param).endpoint)
    yield store
    store.close()


class Asker:
    """Makes requests at random: the same ones for the same seed, but for the revision it counts from."""

    def __init__(self, seed: int, prefix: bytes, lease_ids: list[int], base: int) -> None:
        self._rng = random.Random(seed)
        self._prefix = prefix
        self._lease_ids = lease_ids
        self._base = base
        self._asked = 0

    def next(self) -> Request[Any]:
        self._asked += 1
        kind = self._rng.random()
        if kind < 0.15:
            lease_id = self._rng.choice(self._lease_ids)
            return self._rng.choice((Grant(lease_id, 600), Grant(lease_id, 600), KeepAlive(lease_id), Revoke(lease_id)))
        if kind < 0.5:
            return self._single()
        return self._txn(depth=2)

    def _single(self) -> Get | Put | Delete:
        key, kind = self._key(), self._rng.random()
        if kind < 0.45:
            lease = self._rng.choice((0, 0, *self._lease_ids))
            return Put(key, self._rng.choice((b"", b"m", b"z")), lease)
        end = self._rng.choice((None, self._key(), prefix_end(self._prefix)))
        if kind < 0.65:
            return Delete(key, end if self._rng.random() < 0.4 else None)
        return Get(
            key,
            end,
            limit=self._rng.choice((0, 0, 1, 3)),
            revision=self._rng.choice((0, 0, 0, self._revision(), self._revision() + 10_000)),
            keys_only=self._rng.random() < 0.2,
            count_only=self._rng.random() < 0.1,
        )

    def _txn(self, depth: int) -> Txn:
        compares = tuple(self._compare() for _ in range(self._rng.randint(0, 2)))
        return Txn(compares, self._branch(depth), self._branch(depth))

    def _branch(self, depth: int) -> tuple[Operation, ...]:
        operations = (
            self._txn(depth - 1) if depth and self._rng.random() < 0.3 else self._single()
            for _ in range(self._rng.randint(0, 3))
        )
        return tuple(operations)

    def _compare(self) -> Compare:
        target = self._rng.choice(list(CompareTarget))
        operand: int | bytes = self._rng.choice((0, 1, 2))
        if target is CompareTarget.VALUE:
            operand = self._rng.choice((b"", b"m", b"n"))
        elif target in (CompareTarget.MOD, CompareTarget.CREATE):
            operand = self._rng.choice((0, self._revision()))
        elif target is CompareTarget.LEASE:
            operand = self._rng.choice((0, *self._lease_ids))
        return Compare(self._key(), target, self._rng.choice(list(CompareOp)), operand)

    def _key(self) -> bytes:
        return self._prefix + b"%d" % self._rng.randint(0, 6)

    def _revision(self) -> int:
        return self._base + self._rng.randint(0, self._asked)


def answer(store: Store, request: Request[Any], base: int) -> Any:
    """The answer as something to compare: revisions count from `base`, errors are their type."""
    try:
        result = do(store, request)
    except StoreError as error:
        # Of several faults in one transaction etcd names the one it looks for first, which differs between versions.
        kind = StoreError if isinstance(request, Txn) else type(error)
        return kind, error.outcome, error.retryable
    return relative(result, base), result.header.revision - base


def relative(result: Any, base: int) -> Any:
    if isinstance(result, TxnResult):
        return result.succeeded, [relative(inner, base) for inner in result.results]
    if isinstance(result, GetResult):
        return [relative_kv(kv, base) for kv in result.kvs], result.more, result.count
    return {name: getattr(result, name) for name in ("deleted", "lease_id", "ttl_s") if hasattr(result, name)}


def relative_kv(kv: KeyValue, base: int) -> tuple[bytes, bytes, int, int, int, int]:
    return kv.key, kv.value, kv.create_revision - base, kv.mod_revision - base, kv.version, kv.lease


def events(store: Store, prefix: bytes, base: int) -> list[Any]:
    """Everything that ever happened under the prefix, as a watch tells it."""
    end = put(store, prefix + b"end")
    seen: Recorder[WatchNotice] = Recorder()
    watch = store.watch(prefix, prefix_end(prefix), base + 1, seen)
    found: list[Event] = []
    while not (found and found[-1].kv.mod_revision == end):
        notice = seen.until(lambda n: isinstance(n, WatchEvents))
        assert isinstance(notice, WatchEvents)
        found += notice.events
    watch.cancel()
    return [(e.kind, e.kv.key, e.kv.value, e.kv.mod_revision - base) for e in found]


@pytest.mark.parametrize("seed", range(6))
def test_the_same_requests_get_the_same_answers_and_events(real: Store, prefix: bytes, seed: int) -> None:
    lease_ids = [new_lease_id() for _ in range(3)]
    with MemoryStore() as memory:
        stores = (real, memory)
        bases = [put(store, prefix + b"0") for store in stores]
        askers = [Asker(seed, prefix, lease_ids, base) for base in bases]
        for _ in range(REQUESTS):
            request = askers[0].next()
            expected = answer(real, request, bases[0])
            assert answer(memory, askers[1].next(), bases[1]) == expected, request
        assert events(memory, prefix, bases[1]) == events(real, prefix, bases[0])
        for lease_id in lease_ids:
            real.call(Revoke(lease_id), PATIENCE_S).exception()
