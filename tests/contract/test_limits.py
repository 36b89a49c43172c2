"""How much fits into one request."""

from __future__ import annotations

import pytest

from slurp_leader.errors import Outcome, RequestTooLargeError
from slurp_leader.store import Get, Operation, Put, Store, Txn, create_revision
from support.calls import do, get

LIMIT_BYTES = 1536 * 1024


def puts(prefix: bytes, count: int) -> tuple[Put, ...]:
    return tuple(Put(prefix + b"%d" % n, b"") for n in range(count))


def refused(store: Store, txn: Txn | Put) -> None:
    with pytest.raises(RequestTooLargeError) as caught:
        do(store, txn)  # type: ignore[arg-type]
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert not caught.value.retryable


def test_128_operations_fit_and_129_do_not(store: Store, prefix: bytes) -> None:
    assert do(store, Txn(success=puts(prefix, 128))).succeeded
    refused(store, Txn(success=puts(prefix, 129)))
    refused(store, Txn(failure=puts(prefix, 129)))


def test_128_compares_fit_and_129_do_not(store: Store, prefix: bytes) -> None:
    compares = tuple(create_revision(prefix + b"%d" % n, 0) for n in range(129))
    assert do(store, Txn(compares[:128])).succeeded
    refused(store, Txn(compares))


def test_compares_and_both_branches_are_counted_apart(store: Store, prefix: bytes) -> None:
    compares = tuple(create_revision(prefix + b"%d" % n, 0) for n in range(128))
    reads = tuple(Get(prefix) for _ in range(128))
    assert do(store, Txn(compares, puts(prefix, 128), reads)).succeeded


def test_a_nested_transaction_may_use_what_its_parent_left(store: Store, prefix: bytes) -> None:
    def nest(count: int) -> Txn:
        outer: tuple[Operation, ...] = tuple(Get(prefix) for _ in range(99))
        return Txn(success=(*outer, Txn(success=puts(prefix, count))))

    assert do(store, nest(28)).succeeded
    refused(store, nest(29))


def test_the_compares_of_a_parent_count_against_its_children(store: Store, prefix: bytes) -> None:
    compares = tuple(create_revision(prefix + b"%d" % n, 0) for n in range(127))
    assert do(store, Txn(compares, (Txn(success=puts(prefix, 1)),))).succeeded
    refused(store, Txn(compares, (Txn(success=puts(prefix, 2)),)))


def test_siblings_do_not_share_their_allowance(store: Store, prefix: bytes) -> None:
    nested = tuple(Txn(success=puts(prefix + b"%d-" % n, 100)) for n in range(5))
    assert do(store, Txn(success=nested)).succeeded


def test_a_put_just_below_the_size_limit_fits_and_one_above_does_not(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    assert do(store, Put(key, bytes(LIMIT_BYTES - len(key) - 100))).header.revision
    refused(store, Put(key, bytes(LIMIT_BYTES)))
    assert len((get(store, key) or pytest.fail("gone")).value) < LIMIT_BYTES


def test_keys_values_and_both_branches_count_together(store: Store, prefix: bytes) -> None:
    third = bytes(LIMIT_BYTES // 3)
    a, b, c = (Put(prefix + name, third) for name in (b"a", b"b", b"c"))
    assert do(store, Txn(success=(a, b))).succeeded
    refused(store, Txn(success=(a, b), failure=(c,)))


def test_a_request_beyond_what_grpc_takes_is_the_same_error(store: Store, prefix: bytes) -> None:
    refused(store, Put(prefix + b"a", bytes(3 * 1024 * 1024)))
