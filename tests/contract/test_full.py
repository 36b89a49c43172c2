"""A store over its quota (NOSPACE). Its own small servers, because nobody else could work beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slurp_leader.errors import Outcome, StoreFullError
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.store import Delete, Grant, KeepAlive, Put, Revoke, Status, Store, Txn
from slurp_leader.store.memory import MemoryStore
from support.calls import do, get, new_lease_id, put
from support.etcd import KINDS, Backend, EtcdOperator, EtcdServers, open_etcd

QUOTA_BYTES = 2 * 1024 * 1024


@pytest.fixture(params=KINDS)
def small(request: pytest.FixtureRequest, etcd_servers: EtcdServers) -> Iterator[Backend]:
    """A store that is soon full."""
    if request.param == "memory":
        with MemoryStore(quota_bytes=QUOTA_BYTES) as memory:
            yield Backend("memory", memory, memory)
        return
    with EtcdProcess(binary=etcd_servers.binary(request.param), quota_bytes=QUOTA_BYTES) as server:
        store = open_etcd(server.endpoint)
        yield Backend(request.param, store, EtcdOperator(server.endpoint))
        store.close()


def fill_up(store: Store) -> StoreFullError:
    """Write until it is refused. Returns the refusal. etcd counts only every 100 ms what was written."""
    for _ in range(10_000):
        try:
            put(store, b"filler", bytes(100_000))
        except StoreFullError as error:
            return error
    raise AssertionError("the quota was never met")


def make_room(backend: Backend) -> None:
    """What an operator does: compact, give the pages back, clear the alarm."""
    do(backend.store, Delete(b"filler"))
    backend.operator.compact(do(backend.store, Status()).header.revision)
    if isinstance(backend.operator, EtcdOperator):
        backend.operator.defragment()
    backend.operator.disarm()  # type: ignore[attr-defined]


def refused(store: Store, request: Put | Txn | Grant) -> None:
    with pytest.raises(StoreFullError):
        do(store, request)  # type: ignore[arg-type]


def test_a_full_store_refuses_what_takes_space_and_goes_on_with_the_rest(small: Backend) -> None:
    store = small.store
    kept, ended = (do(store, Grant(new_lease_id(), 600)).lease_id for _ in range(2))
    put(store, b"kept", b"v", lease=kept)
    put(store, b"ended", b"v", lease=ended)
    refusal = fill_up(store)
    assert refusal.outcome is Outcome.UNKNOWN  # etcd has been seen to write what it refused
    assert refusal.retryable

    refused(store, Put(b"x", b""))
    refused(store, Put(b"kept", b"", kept))
    refused(store, Txn(success=(Put(b"x", b""),)))
    refused(store, Txn(success=(Delete(b"kept"),), failure=(Put(b"x", b""),)))
    refused(store, Grant(new_lease_id(), 600))

    assert do(store, Status()).alarms == ("NOSPACE",)
    assert do(store, KeepAlive(kept)).ttl_s == 600
    assert get(store, b"kept") is not None
    do(store, Revoke(ended))
    assert get(store, b"ended") is None
    assert do(store, Delete(b"kept")).deleted == 1


def test_a_store_takes_writes_again_once_there_is_room_and_the_alarm_is_cleared(small: Backend) -> None:
    fill_up(small.store)
    make_room(small)
    assert do(small.store, Status()).alarms == ()
    put(small.store, b"a", bytes(QUOTA_BYTES // 2))


def test_a_full_memory_store_still_deletes_in_transactions() -> None:
    """As etcd 3.4 does; 3.5.1 refuses every transaction, so nobody may count on it."""
    with MemoryStore(quota_bytes=QUOTA_BYTES) as store:
        put(store, b"a")
        fill_up(store)
        assert do(store, Txn(success=(Delete(b"a"),))).succeeded
        store.disarm()
        refused(store, Put(b"filler", bytes(100_000)))  # still no room
