"""Compares, branches, nesting, and the keys a transaction may not write twice."""

from __future__ import annotations

import pytest

from slurp_leader.errors import LeaseNotFoundError, Outcome, RequestMalformedError
from slurp_leader.store import (
    Compare,
    CompareOp,
    CompareTarget,
    Delete,
    DeleteResult,
    Get,
    GetResult,
    Put,
    PutResult,
    Store,
    Txn,
    TxnResult,
    create_revision,
    mod_revision,
    value_of,
    version_of,
)
from support.calls import do, get, new_lease_id, put

EQ, NE, LT, GT = CompareOp.EQUAL, CompareOp.NOT_EQUAL, CompareOp.LESS, CompareOp.GREATER
MOD, CREATE, VERSION, VALUE, LEASE = (
    CompareTarget.MOD,
    CompareTarget.CREATE,
    CompareTarget.VERSION,
    CompareTarget.VALUE,
    CompareTarget.LEASE,
)


def holds(store: Store, *compares: Compare) -> bool:
    return do(store, Txn(compares)).succeeded


def test_all_writes_of_a_transaction_share_one_revision(store: Store, prefix: bytes) -> None:
    before = put(store, prefix + b"a")
    result = do(store, Txn(success=(Put(prefix + b"b", b""), Put(prefix + b"c", b""), Delete(prefix + b"a"))))
    kvs = [get(store, prefix + name) for name in (b"b", b"c")]
    assert result.header.revision == before + 1
    assert [kv.mod_revision for kv in kvs if kv] == [before + 1, before + 1]


@pytest.mark.parametrize(
    "operations",
    [(), (Get(b"a"),), (Delete(b"no such key"),), (Txn(success=(Get(b"a"),)),)],
    ids=["nothing", "a read", "a delete of nothing", "a nested read"],
)
def test_a_transaction_that_writes_nothing_makes_no_revision(
    store: Store, prefix: bytes, operations: tuple[Get | Delete | Txn, ...]
) -> None:
    before = put(store, prefix + b"a")
    assert do(store, Txn(success=operations)).header.revision == before


def test_results_come_in_the_order_of_the_operations(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"gone")
    a = prefix + b"a"
    result = do(
        store, Txn(success=(Put(a, b"1"), Get(a), Delete(prefix + b"gone"), Txn(success=(Put(prefix + b"n", b""),))))
    )
    written, read, deleted, nested = result.results
    assert isinstance(written, PutResult)
    assert isinstance(read, GetResult)
    assert isinstance(deleted, DeleteResult)
    assert isinstance(nested, TxnResult)
    assert deleted.deleted == 1
    assert nested.succeeded
    assert isinstance(nested.results[0], PutResult)


def test_a_read_inside_sees_the_writes_before_it(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a", b"old")
    result = do(store, Txn(success=(Get(prefix + b"a"), Put(prefix + b"a", b"new"), Get(prefix + b"a"))))
    before, _, after = result.results
    assert isinstance(before, GetResult)
    assert isinstance(after, GetResult)
    assert (before.kvs[0].value, after.kvs[0].value) == (b"old", b"new")
    assert after.kvs[0].mod_revision == result.header.revision


def test_a_failed_compare_runs_the_other_branch_only(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a", b"1")
    result = do(
        store,
        Txn(
            (mod_revision(prefix + b"a", 0), version_of(prefix + b"a", 1)),
            success=(Put(prefix + b"a", b"2"),),
            failure=(Get(prefix + b"a"),),
        ),
    )
    assert not result.succeeded
    assert isinstance(result.results[0], GetResult)
    assert result.results[0].kvs[0].value == b"1"


@pytest.mark.parametrize("target", [MOD, CREATE, VERSION, LEASE])
def test_numbers_of_a_key_compare_in_every_relation(store: Store, prefix: bytes, target: CompareTarget) -> None:
    key, lease = prefix + b"a", 0
    created = put(store, key)
    written = put(store, key)
    actual = {MOD: written, CREATE: created, VERSION: 2, LEASE: lease}[target]
    truth = {
        (EQ, 0): True, (EQ, 1): False, (NE, 0): False, (NE, 1): True,
        (LT, 0): False, (LT, 1): True, (GT, 0): False, (GT, -1): True,
    }  # fmt: skip
    for (op, offset), expected in truth.items():
        assert holds(store, Compare(key, target, op, actual + offset)) is expected, (op, offset)


@pytest.mark.parametrize("target", [MOD, CREATE, VERSION, LEASE])
def test_an_absent_key_compares_as_zero(store: Store, prefix: bytes, target: CompareTarget) -> None:
    key = prefix + b"absent"
    assert holds(store, Compare(key, target, EQ, 0))
    assert holds(store, Compare(key, target, LT, 1))
    assert holds(store, Compare(key, target, NE, 1))
    assert not holds(store, Compare(key, target, GT, 0))


def test_values_compare_as_bytes(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    put(store, key, b"m")
    assert holds(store, value_of(key, EQ, b"m"))
    assert holds(store, value_of(key, NE, b"n"))
    assert holds(store, value_of(key, LT, b"m\x00"))
    assert holds(store, value_of(key, GT, b"Z"))
    assert holds(store, value_of(key, LT, b"\xff"))
    assert not holds(store, value_of(key, LT, b"m"))


@pytest.mark.parametrize("op", list(CompareOp))
@pytest.mark.parametrize("operand", [b"", b"x"])
def test_no_compare_of_value_holds_for_an_absent_key(
    store: Store, prefix: bytes, op: CompareOp, operand: bytes
) -> None:
    assert not holds(store, value_of(prefix + b"absent", op, operand))


def test_an_empty_value_equals_the_empty_value(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"a", b"")
    assert holds(store, value_of(prefix + b"a", EQ, b""))


def test_one_failed_compare_of_many_is_enough(store: Store, prefix: bytes) -> None:
    many = tuple(create_revision(prefix + b"%d" % n, 0) for n in range(20))
    assert holds(store, *many)
    put(store, prefix + b"13")
    assert not holds(store, *many)


def test_nested_compares_see_the_state_before_the_transaction(store: Store, prefix: bytes) -> None:
    a = prefix + b"a"
    nested = Txn((version_of(a, 0),), success=(Get(a),))
    result = do(store, Txn(success=(Put(a, b"1"), nested)))
    inner = result.results[1]
    assert isinstance(inner, TxnResult)
    assert inner.succeeded  # the compare saw no key
    assert isinstance(inner.results[0], GetResult)
    assert inner.results[0].kvs[0].value == b"1"  # the read saw it


def test_nested_branches_are_chosen_one_by_one(store: Store, prefix: bytes) -> None:
    put(store, prefix + b"here")
    nested = tuple(
        Txn((create_revision(prefix + name, 0),), (Put(prefix + name, b"new"),), (Get(prefix + name),))
        for name in (b"here", b"not here")
    )
    first, second = do(store, Txn(success=nested)).results
    assert isinstance(first, TxnResult)
    assert isinstance(second, TxnResult)
    assert (first.succeeded, second.succeeded) == (False, True)


# ---------------------------------------------------------------- keys written twice

A, B, C = b"a", b"b", b"c"
PUT_A, PUT_B, DEL_A = Put(A, b""), Put(B, b""), Delete(A)


def under(prefix: bytes, operation: object) -> object:
    """The same operation on keys below a prefix."""
    if isinstance(operation, Put):
        return Put(prefix + operation.key, operation.value)
    if isinstance(operation, Delete):
        end = operation.range_end
        return Delete(prefix + operation.key, prefix + end if end and end != b"\x00" else end)
    assert isinstance(operation, Txn)
    return Txn(
        (),
        tuple(under(prefix, o) for o in operation.success),  # type: ignore[misc]
        tuple(under(prefix, o) for o in operation.failure),  # type: ignore[misc]
    )


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param((PUT_A, PUT_A), id="put, put"),
        pytest.param((PUT_A, DEL_A), id="put, delete"),
        pytest.param((DEL_A, PUT_A), id="delete, put"),
        pytest.param((PUT_A, Delete(A, B)), id="put inside a deleted range"),
        pytest.param((PUT_A, Txn(success=(PUT_A,))), id="put, nested put"),
        pytest.param((PUT_A, Txn(failure=(PUT_A,))), id="put, put in the nested branch that is not taken"),
        pytest.param((DEL_A, Txn(failure=(PUT_A,))), id="delete, put in the nested branch that is not taken"),
        pytest.param((Txn(success=(PUT_A,)), Txn(failure=(PUT_A,))), id="two nested, in branches that never meet"),
        pytest.param((Txn(success=(DEL_A,)), Txn(success=(PUT_A,))), id="nested delete, then nested put"),
        pytest.param((Txn(success=(DEL_A,)), PUT_A), id="nested delete, put"),
        pytest.param((PUT_A, Txn(success=(Txn(success=(PUT_A,)),))), id="put, put two levels down"),
    ],
)
def test_a_key_written_twice_refuses_the_whole_transaction(
    store: Store, prefix: bytes, operations: tuple[object, ...]
) -> None:
    branch = tuple(under(prefix, operation) for operation in operations)
    other = Put(prefix + b"other", b"")
    for txn in (Txn(success=(other, *branch)), Txn(failure=branch, success=(other,))):  # type: ignore[arg-type]
        with pytest.raises(RequestMalformedError) as caught:
            do(store, txn)
        assert caught.value.outcome is Outcome.NOT_APPLIED
    assert get(store, prefix + b"other") is None


@pytest.mark.parametrize(
    "operations",
    [
        pytest.param((DEL_A, DEL_A), id="delete, delete"),
        pytest.param((DEL_A, Delete(A, C)), id="delete, deleted range over it"),
        pytest.param((PUT_B, Delete(A, B)), id="put at the end of a deleted range"),
        pytest.param((Txn(success=(PUT_A,), failure=(PUT_A,)),), id="put in both branches of one nested"),
        pytest.param((Txn(success=(DEL_A,), failure=(PUT_A,)),), id="delete in one, put in the other branch"),
        pytest.param((Txn(success=(PUT_A,)), Txn(success=(DEL_A,))), id="nested put, then nested delete"),
    ],
)
def test_overlaps_that_etcd_allows(store: Store, prefix: bytes, operations: tuple[object, ...]) -> None:
    put(store, prefix + A)
    branch = tuple(under(prefix, operation) for operation in operations)
    assert do(store, Txn(success=branch)).succeeded  # type: ignore[arg-type]


def test_both_branches_of_the_outermost_transaction_may_write_one_key(store: Store, prefix: bytes) -> None:
    key = prefix + b"a"
    assert do(store, Txn((), (Put(key, b"1"),), (Put(key, b"2"),))).succeeded


# ---------------------------------------------------------------- refused as a whole


def test_an_unknown_lease_refuses_the_whole_transaction(store: Store, prefix: bytes) -> None:
    with pytest.raises(LeaseNotFoundError) as caught:
        do(store, Txn(success=(Put(prefix + b"a", b""), Put(prefix + b"b", b"", lease=new_lease_id()))))
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert get(store, prefix + b"a") is None


def test_an_unknown_lease_in_the_branch_not_taken_does_not_matter(store: Store, prefix: bytes) -> None:
    unknown = Put(prefix + b"b", b"", lease=new_lease_id())
    assert do(store, Txn(success=(Put(prefix + b"a", b""),), failure=(unknown,))).succeeded


def test_a_read_ahead_of_time_refuses_the_whole_transaction(store: Store, prefix: bytes) -> None:
    now = put(store, prefix + b"x")
    with pytest.raises(RequestMalformedError):
        do(store, Txn(success=(Put(prefix + b"a", b""), Get(prefix + b"a", revision=now + 1000))))
    assert get(store, prefix + b"a") is None
