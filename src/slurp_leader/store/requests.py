"""Requests to a store, and the responses to them: frozen values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

R = TypeVar("R", covariant=True)


# ---------------------------------------------------------------- what comes back


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered, and how far that member was.

    `revision` is the store's newest revision when the answer was made; of a transaction that wrote, it is the
    revision of the write. `raft_term` changes with each etcd leader, `cluster_id` never.
    """

    cluster_id: int
    member_id: int
    revision: int
    raft_term: int


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as it is, or was at the revision asked for. `lease` is 0 when none is attached."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class GetResult:
    """Keys in byte order. `more`: the limit cut the answer. `count`: keys in the whole range."""

    header: Header
    kvs: tuple[KeyValue, ...]
    more: bool
    count: int


@dataclass(frozen=True, slots=True)
class PutResult:
    header: Header


@dataclass(frozen=True, slots=True)
class DeleteResult:
    header: Header
    deleted: int


@dataclass(frozen=True, slots=True)
class TxnResult:
    """`results` belong to the branch that ran, one for each operation, in order."""

    header: Header
    succeeded: bool
    results: tuple[GetResult | PutResult | DeleteResult | TxnResult, ...]


@dataclass(frozen=True, slots=True)
class GrantResult:
    """`ttl_s` is what the store granted; it may be longer than asked for."""

    header: Header
    lease_id: int
    ttl_s: int


@dataclass(frozen=True, slots=True)
class KeepAliveResult:
    """`ttl_s` of zero or less: the lease is gone. That is an answer, not an error."""

    header: Header
    lease_id: int
    ttl_s: int


@dataclass(frozen=True, slots=True)
class RevokeResult:
    header: Header


@dataclass(frozen=True, slots=True)
class StatusResult:
    """State of the member that answered. Sizes in bytes; `alarms` such as ``("NOSPACE",)``."""

    header: Header
    version: str
    db_size: int
    db_size_in_use: int
    leader_member_id: int
    alarms: tuple[str, ...]


# ---------------------------------------------------------------- what is asked


@dataclass(frozen=True, slots=True)
class Request(Generic[R]):
    """Anything a store can be asked; `R` is the type of the answer."""


class CompareTarget(StrEnum):
    MOD = "mod"
    CREATE = "create"
    VERSION = "version"
    VALUE = "value"
    LEASE = "lease"


class CompareOp(StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    GREATER = ">"


class Compare(NamedTuple):
    """One condition of a transaction. A named tuple: some 130 are made for every flush of the job queue.

    A missing key compares as revision 0, version 0, lease 0. It has no value: every compare of VALUE on it is false,
    NOT_EQUAL included.
    """

    key: bytes
    target: CompareTarget
    op: CompareOp
    operand: int | bytes


def mod_revision(key: bytes, equals: int) -> Compare:
    """The key was last written at this revision; 0: the key is absent."""
    return Compare(key, CompareTarget.MOD, CompareOp.EQUAL, equals)


def create_revision(key: bytes, equals: int) -> Compare:
    """The key was created at this revision; 0: the key is absent."""
    return Compare(key, CompareTarget.CREATE, CompareOp.EQUAL, equals)


def version_of(key: bytes, equals: int) -> Compare:
    """The key was written this often since its creation; 0: the key is absent."""
    return Compare(key, CompareTarget.VERSION, CompareOp.EQUAL, equals)


def value_of(key: bytes, op: CompareOp, operand: bytes) -> Compare:
    """The value stands in this relation to `operand`, as bytes; always false for an absent key."""
    return Compare(key, CompareTarget.VALUE, op, operand)


def lease_of(key: bytes, equals: int) -> Compare:
    """The key is attached to this lease."""
    return Compare(key, CompareTarget.LEASE, CompareOp.EQUAL, equals)


@dataclass(frozen=True, slots=True)
class Get(Request[GetResult]):
    """Read one key, or the range from `key` up to and without `range_end`.

    Linearizable unless `serializable`. `revision` 0 reads the newest state. `limit` 0 means no limit: page large
    ranges with `slurp_leader.store.pages.read_pages`.
    """

    key: bytes
    range_end: bytes | None = None
    limit: int = 0
    revision: int = 0
    keys_only: bool = False
    count_only: bool = False
    serializable: bool = False


@dataclass(frozen=True, slots=True)
class Put(Request[PutResult]):
    """Write one key, attached to `lease` (0: to none, and detached from any before)."""

    key: bytes
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete(Request[DeleteResult]):
    """Delete one key, or the range from `key` up to and without `range_end`."""

    key: bytes
    range_end: bytes | None = None


@dataclass(frozen=True, slots=True)
class Txn(Request[TxnResult]):
    """If every compare holds, do `success`, else `failure`; atomically, at one revision."""

    compares: tuple[Compare, ...] = ()
    success: tuple[Operation, ...] = ()
    failure: tuple[Operation, ...] = ()


Operation = Get | Put | Delete | Txn


@dataclass(frozen=True, slots=True)
class Grant(Request[GrantResult]):
    """Create a lease under an id chosen by the caller, so that an unknown answer can be repeated."""

    lease_id: int
    ttl_s: int


@dataclass(frozen=True, slots=True)
class KeepAlive(Request[KeepAliveResult]):
    """Renew a lease once. Each call is its own stream: an answer can only belong to this question."""

    lease_id: int


@dataclass(frozen=True, slots=True)
class Revoke(Request[RevokeResult]):
    """End a lease and delete its keys."""

    lease_id: int


@dataclass(frozen=True, slots=True)
class Status(Request[StatusResult]):
    """Ask the member at hand for its state and the cluster's alarms."""


# ---------------------------------------------------------------- watches


class EventKind(StrEnum):
    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Event:
    """One change. Of a delete, only `kv.key` and `kv.mod_revision` (the revision of the delete) mean anything."""

    kind: EventKind
    kv: KeyValue


@dataclass(frozen=True, slots=True)
class WatchEvents:
    """Changes in order of revision. A revision is never split over two notices.

    Everything in the watched range up to `revision` has been delivered once this notice has been handled.
    """

    revision: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class WatchProgress:
    """Nothing new, and everything up to `revision` was delivered: the watch is alive."""

    revision: int


@dataclass(frozen=True, slots=True)
class WatchCompacted:
    """The next revision wanted is gone. The watch has ended: read the range anew and watch from there."""

    compact_revision: int


@dataclass(frozen=True, slots=True)
class WatchFailed:
    """The watch has ended for good: access denied, another cluster answers, or the store was closed."""

    error: Exception


WatchNotice = WatchEvents | WatchProgress | WatchCompacted | WatchFailed


def prefix_end(prefix: bytes) -> bytes:
    """End of the range of all keys that begin with `prefix`.

    >>> prefix_end(b"a/")
    b'a0'
    >>> prefix_end(b"a\\xff")
    b'b'
    """
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return b"\x00"  # etcd: every key from `key` on
    return stripped[:-1] + bytes([stripped[-1] + 1])
