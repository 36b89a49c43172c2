"""`MemoryState`: etcd's rules as a plain object. No threads, no sockets, no time but the clock it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from slurp_leader.clock import Clock
from slurp_leader.errors import RequestTooLargeError
from slurp_leader.store.maintenance import DEFAULT_QUOTA_BYTES, MemberStatus, Survey, SurveyResult
from slurp_leader.store.memory.compare import holds
from slurp_leader.store.memory.keyspace import Keyspace
from slurp_leader.store.memory.leases import Leases
from slurp_leader.store.memory.rules import check_form
from slurp_leader.store.memory.space import LEASE_COST, Space, put_cost, txn_cost
from slurp_leader.store.requests import (
    Delete,
    DeleteResult,
    Get,
    GetResult,
    Grant,
    GrantResult,
    Header,
    KeepAlive,
    KeepAliveResult,
    KeyValue,
    Put,
    PutResult,
    Request,
    Revoke,
    RevokeResult,
    Status,
    StatusResult,
    Txn,
    TxnResult,
    WatchEvents,
)

R = TypeVar("R")

MAX_ANSWER_BYTES = 4 * 1024**2
"""Longest answer to a read; what gRPC for Python receives by default."""

_MEMBER_ID = 1


class MemoryState:
    """The state of a store, changed by one request at a time.

    The same requests at the same times of the clock give the same answers and revisions, always. Leases whose time
    is up are ended, each in one revision of its own, before the next request is looked at, or by `expire_due`.

    Differs from etcd where etcd is vague: a lease ends exactly at its time (etcd: up to half a second later); the size
    of the database is that of its records, without free pages, so `compact` gives space back at once; a write over the
    quota is refused and never applied all the same; the alarm also stops puts in nested transactions.

    Threads: none. Not safe to share.
    """

    def __init__(self, clock: Clock, *, quota_bytes: int = DEFAULT_QUOTA_BYTES, cluster_id: int = 1) -> None:
        """Start empty, at revision 1.

        Args:
            clock: Decides when leases expire.
            quota_bytes: Size of the database at which puts and grants are refused.
            cluster_id: What headers show.
        """
        self._clock = clock
        self._space = Space(quota_bytes)
        self._cluster_id = cluster_id
        self._keys = Keyspace()
        self._leases = Leases()
        self._header = Header(cluster_id, _MEMBER_ID, self._keys.revision, 1)
        self._appliers: dict[type, Callable[[Any], Any]] = {
            Txn: self._apply_txn,
            Get: self._apply_get,
            Put: self._apply_put,
            Delete: self._apply_delete,
            KeepAlive: self._apply_keepalive,
            Grant: self._apply_grant,
            Revoke: self._apply_revoke,
            Status: self._apply_status,
            Survey: self._apply_survey,
        }

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._keys.revision

    @property
    def leases(self) -> int:
        """How many leases there are."""
        return len(self._leases)

    @property
    def compact_revision(self) -> int:
        """The oldest revision that can still be read; 0 before the first compaction."""
        return self._keys.compact_revision

    def apply(self, request: Request[R]) -> R:
        """Carry out one request.

        Raises:
            StoreError: It was refused, and nothing changed.
        """
        self.expire_due()
        check_form(request)
        answer: R = self._appliers[type(request)](request)
        return answer

    def expire_due(self) -> int:
        """End the leases whose time is up. Returns how many."""
        due = self._leases.due(self._clock.boottime())
        for lease_id in due:
            self._end_lease(lease_id)
        return len(due)

    def next_expiry(self) -> float:
        """When `expire_due` is worth calling next, in seconds of the clock; infinity when there is no lease."""
        return self._leases.earliest()

    def events_since(self, revision: int, key: bytes, range_end: bytes | None = None) -> list[WatchEvents]:
        """Changes of a key or range from `revision` on: one entry for each revision that touched it, in order.

        Raises:
            RevisionCompactedError: Some of them are gone.
        """
        return self._keys.events_since(revision, key, range_end)

    def compact(self, revision: int | None = None) -> None:
        """Forget what was overwritten or deleted before `revision`; None: before the newest, if that is left to do.

        Raises:
            RevisionCompactedError: The revision named was compacted before.
            RequestMalformedError: It lies ahead.
        """
        if revision is None and self.revision == self.compact_revision:
            return
        self._keys.compact(self.revision if revision is None else revision)

    def disarm(self) -> None:
        """Clear the NOSPACE alarm. It comes back with the next put when there is still no space."""
        self._space.disarm()

    # ------------------------------------------------------------ single operations

    def _apply_get(self, get: Get) -> GetResult:
        self._keys.check_revision(get.revision)
        result = self._read(get, self._fresh_header())
        size = sum(len(kv.key) + len(kv.value) for kv in result.kvs)
        if size > MAX_ANSWER_BYTES:
            raise RequestTooLargeError(f"the answer has {size} bytes; {MAX_ANSWER_BYTES} can be received")
        return result

    def _apply_put(self, put: Put) -> PutResult:
        self._claim_space(put_cost(put))
        self._leases.check(put.lease)
        self._put(put)
        return PutResult(self._commit())

    def _apply_delete(self, delete: Delete) -> DeleteResult:
        deleted = self._delete(delete)
        return DeleteResult(self._commit(), deleted)

    def _read(self, get: Get, header: Header) -> GetResult:
        kvs, count = self._keys.read(get.key, get.range_end, get.revision, get.limit)
        if get.count_only:
            return GetResult(header, (), False, count)
        more = len(kvs) < count
        if get.keys_only:
            kvs = [_without_value(kv) for kv in kvs]
        return GetResult(header, tuple(kvs), more, count)

    def _put(self, put: Put) -> None:
        before = self._keys.put(put.key, put.value, put.lease)
        held_by = before.lease if before is not None else 0
        if held_by != put.lease:
            self._leases.move(put.key, held_by, put.lease)

    def _delete(self, delete: Delete) -> int:
        gone = self._keys.delete(delete.key, delete.range_end)
        for kv in gone:
            self._leases.move(kv.key, kv.lease, 0)
        return len(gone)

    def _commit(self) -> Header:
        self._keys.commit()
        return self._fresh_header()

    def _fresh_header(self) -> Header:
        if self._header.revision != self._keys.revision:
            self._header = Header(self._cluster_id, _MEMBER_ID, self._keys.revision, 1)
        return self._header

    # ------------------------------------------------------------ transactions

    def _apply_txn(self, txn: Txn) -> TxnResult:
        self._claim_space(txn_cost(txn))
        taken = self._decide(txn)
        self._check(taken)  # all that can be refused is refused here: from the first write on nothing may fail
        header = self._fresh_header()
        if self._writes(taken):
            header = Header(self._cluster_id, _MEMBER_ID, header.revision + 1, header.raft_term)
        result = self._run(taken, header)
        self._keys.commit()
        self._header = header
        return result

    def _decide(self, txn: Txn) -> _Taken:
        """Choose the branches, nested ones too, by the state *before* the transaction, as etcd does."""
        succeeded = all(holds(c, self._keys.get(c.key)) for c in txn.compares)
        branch = txn.success if succeeded else txn.failure
        steps = tuple(self._decide(step) if isinstance(step, Txn) else step for step in branch)
        return _Taken(succeeded, steps)

    def _check(self, taken: _Taken) -> None:
        for step in taken.steps:
            if isinstance(step, Put):
                self._leases.check(step.lease)
            elif isinstance(step, Get):
                self._keys.check_revision(step.revision)
            elif isinstance(step, _Taken):
                self._check(step)

    def _writes(self, taken: _Taken) -> bool:
        return any(
            isinstance(step, Put)
            or (isinstance(step, Delete) and self._keys.read(step.key, step.range_end, 0, 0)[1] > 0)
            or (isinstance(step, _Taken) and self._writes(step))
            for step in taken.steps
        )

    def _run(self, taken: _Taken, header: Header) -> TxnResult:
        return TxnResult(header, taken.succeeded, tuple([self._step(step, header) for step in taken.steps]))

    def _step(self, step: _Step, header: Header) -> GetResult | PutResult | DeleteResult | TxnResult:
        if isinstance(step, Put):
            self._put(step)
            return PutResult(header)
        if isinstance(step, Get):
            return self._read(step, header)
        if isinstance(step, Delete):
            return DeleteResult(header, self._delete(step))
        return self._run(step, header)

    # ------------------------------------------------------------ leases, space, status

    def _apply_grant(self, grant: Grant) -> GrantResult:
        self._claim_space(LEASE_COST)
        lease_id, ttl_s = self._leases.grant(grant.lease_id, grant.ttl_s, self._clock.boottime())
        return GrantResult(self._fresh_header(), lease_id, ttl_s)

    def _apply_keepalive(self, keepalive: KeepAlive) -> KeepAliveResult:
        ttl_s = self._leases.renew(keepalive.lease_id, self._clock.boottime())
        return KeepAliveResult(self._fresh_header(), keepalive.lease_id, ttl_s)

    def _apply_revoke(self, revoke: Revoke) -> RevokeResult:
        self._end_lease(revoke.lease_id)
        return RevokeResult(self._fresh_header())

    def _end_lease(self, lease_id: int) -> None:
        for key in self._leases.drop(lease_id):
            self._keys.delete(key, None)
        self._keys.commit()

    def _apply_status(self, _: Status) -> StatusResult:
        size = self._keys.bytes_held
        alarms = ("NOSPACE",) if self._space.alarm else ()
        return StatusResult(self._fresh_header(), "memory", size, size, _MEMBER_ID, alarms)

    def _apply_survey(self, _: Survey) -> SurveyResult:
        status, quota_bytes = self._apply_status(Status()), self._space.quota_bytes
        size, revision = status.db_size, status.header.revision
        member = MemberStatus(
            status.header, "memory", status.version, size, size, quota_bytes, _MEMBER_ID, revision, False, status.alarms
        )
        return SurveyResult((member,))

    def _claim_space(self, cost: int) -> None:
        self._space.claim(cost, self._keys.bytes_held)


# ---------------------------------------------------------------- transactions, decided


@dataclass(frozen=True, slots=True)
class _Taken:
    """A transaction whose compares were looked at: the branch to run."""

    succeeded: bool
    steps: tuple[_Step, ...]


_Step = Get | Put | Delete | _Taken


def _without_value(kv: KeyValue) -> KeyValue:
    return KeyValue(kv.key, b"", kv.create_revision, kv.mod_revision, kv.version, kv.lease)
