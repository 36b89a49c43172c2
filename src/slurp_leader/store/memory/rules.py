"""Which requests etcd refuses for their form, before it looks at any key.

The rules, and the places where they surprise, were tried on etcd 3.4.23 and 3.5.1:

* At most 128 compares and 128 operations in a transaction. A nested one may use what its parent left: 128 less
  the parent's compares or operations, whichever are more.
* No key may be put twice, nor put and deleted, in one transaction, nested ones included. The two branches of one
  nested transaction exclude each other and may share a key. Deleting twice is allowed.
* etcd looks at nested transactions in their order, so a put in one and a delete in a *later* one pass; the other
  way round they do not. It also takes the "every key from here on" form of a delete literally and sees no overlap.
* 1.5 MiB a request.

Source: `checkTxnRequest` and `checkIntervals` in etcd's `api/v3rpc/key.go`.
"""

from __future__ import annotations

from typing import Any

from slurp_leader.errors import RequestMalformedError, RequestTooLargeError
from slurp_leader.store.requests import Compare, Delete, Get, Operation, Put, Txn

MAX_OPERATIONS = 128
"""Compares, and operations, that etcd allows in one transaction by default."""

MAX_REQUEST_BYTES = 1536 * 1024
"""Bytes that etcd allows in one request by default."""

_ENVELOPE_BYTES = 24
"""What etcd's encoding adds to a request or operation besides keys and values, about: tags, lengths, ids."""


def check_form(request: Any) -> None:
    """Refuse what etcd would refuse unseen.

    Raises:
        RequestMalformedError: An empty key, or a key written twice.
        RequestTooLargeError: Too many compares or operations, or too many bytes.
    """
    if isinstance(request, Txn):
        _check_txn(request, MAX_OPERATIONS)
        _check_branch(request.success)
        _check_branch(request.failure)
        _check_size(_txn_bytes(request))
    elif isinstance(request, Put):
        _check_key(request.key)
        _check_size(_operation_bytes(request))
    elif isinstance(request, Get | Delete):
        _check_key(request.key)


def _check_key(key: bytes) -> None:
    if not key:
        raise RequestMalformedError("the key is empty")


def _check_size(size: int) -> None:
    if size > MAX_REQUEST_BYTES:
        raise RequestTooLargeError(f"the request has about {size} bytes; etcd takes {MAX_REQUEST_BYTES}")


# ---------------------------------------------------------------- counts and keys


def _check_txn(txn: Txn, allowed: int) -> None:
    used = max(len(txn.compares), len(txn.success), len(txn.failure))
    if used > allowed:
        raise RequestTooLargeError(f"{used} compares or operations in one transaction; {allowed} are allowed here")
    for compare in txn.compares:
        _check_key(compare.key)
    for branch in (txn.success, txn.failure):
        for operation in branch:
            if isinstance(operation, Txn):
                _check_txn(operation, allowed - used)
            else:
                _check_key(operation.key)


# ---------------------------------------------------------------- keys written twice

_Interval = tuple[bytes, bytes | None]


def _check_branch(operations: tuple[Operation, ...]) -> tuple[set[bytes], list[_Interval]]:
    """What a branch puts and deletes, or an error when that overlaps."""
    deletes: list[_Interval] = [(o.key, o.range_end) for o in operations if isinstance(o, Delete)]
    puts: set[bytes] = set()
    for operation in operations:
        if isinstance(operation, Txn):
            _check_nested(operation, puts, deletes)
    for operation in operations:
        if isinstance(operation, Put):
            _claim(operation.key, puts, deletes)
    return puts, deletes


def _check_nested(txn: Txn, puts: set[bytes], deletes: list[_Interval]) -> None:
    then_puts, then_deletes = _check_branch(txn.success)
    else_puts, else_deletes = _check_branch(txn.failure)
    for key in then_puts | else_puts:  # one set: the branches exclude each other
        _claim(key, puts, deletes)
    deletes += then_deletes
    deletes += else_deletes


def _claim(key: bytes, puts: set[bytes], deletes: list[_Interval]) -> None:
    if key in puts or any(_covers(interval, key) for interval in deletes):
        raise RequestMalformedError(f"the key {key!r} is written twice in one transaction")
    puts.add(key)


def _covers(interval: _Interval, key: bytes) -> bool:
    begin, end = interval
    return begin <= key < end if end else key == begin


# ---------------------------------------------------------------- bytes


def _txn_bytes(txn: Txn) -> int:
    size = _ENVELOPE_BYTES
    for compare in txn.compares:
        size += _compare_bytes(compare)
    for operation in txn.success:
        size += _operation_bytes(operation)
    for operation in txn.failure:
        size += _operation_bytes(operation)
    return size


def _compare_bytes(compare: Compare) -> int:
    operand = compare.operand
    return _ENVELOPE_BYTES + len(compare.key) + (len(operand) if isinstance(operand, bytes) else 0)


def _operation_bytes(operation: Operation) -> int:
    if isinstance(operation, Put):
        return _ENVELOPE_BYTES + len(operation.key) + len(operation.value)
    if isinstance(operation, Txn):
        return _txn_bytes(operation)
    return _ENVELOPE_BYTES + len(operation.key) + len(operation.range_end or b"")
