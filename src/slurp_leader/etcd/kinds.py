"""What there is to know about each type of request: its message, its result, and what may be done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from slurp_leader.etcd import codec, maintenance_requests
from slurp_leader.store.requests import (
    Delete,
    Get,
    Grant,
    KeepAlive,
    Operation,
    Put,
    Request,
    Revoke,
    Status,
    Txn,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of request. `encode` builds etcd's message, `decode` the result from request and answer."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any, Any], Any]


def request_kinds(rpc: Any) -> dict[type, Kind]:
    """The kinds by type of request.

    Args:
        rpc: etcd's messages.
    """
    return {
        Get: Kind(lambda get: rpc.RangeRequest(**codec.get_fields(get)), codec.get_result),
        Put: Kind(lambda put: rpc.PutRequest(**codec.put_fields(put)), codec.put_result),
        Delete: Kind(lambda delete: rpc.DeleteRangeRequest(**codec.delete_fields(delete)), codec.delete_result),
        Txn: Kind(lambda txn: rpc.TxnRequest(**codec.txn_fields(txn)), codec.txn_result),
        Grant: Kind(lambda grant: rpc.LeaseGrantRequest(ID=grant.lease_id, TTL=grant.ttl_s), codec.grant_result),
        KeepAlive: Kind(lambda keep: rpc.LeaseKeepAliveRequest(ID=keep.lease_id), codec.keep_alive_result),
        Revoke: Kind(lambda revoke: rpc.LeaseRevokeRequest(ID=revoke.lease_id), codec.revoke_result),
        Status: Kind(lambda status: rpc.StatusRequest(), codec.status_result),
        **{kind: Kind(*both) for kind, both in maintenance_requests.kinds(rpc).items()},
    }


def changes_nothing(request: Request[Any]) -> bool:
    """Whether the request only reads, so that it may be asked again of another member."""
    if isinstance(request, Txn):
        return _only_gets(request.success) and _only_gets(request.failure)
    return isinstance(request, Get | Status | maintenance_requests.READS)


def _only_gets(operations: Iterable[Operation]) -> bool:
    return all(changes_nothing(operation) for operation in operations)


def is_linearizable(request: Request[Any]) -> bool:
    """Whether the answer must not be older than anything answered before the request was sent."""
    if isinstance(request, Get):
        return not request.serializable
    return isinstance(request, Put | Delete | Txn)


def asks_one_member(request: Request[Any]) -> bool:
    """Whether a member may answer for itself, even when it is cut off from the others."""
    return isinstance(request, Status | maintenance_requests.OF_ONE_MEMBER) or (
        isinstance(request, Get) and request.serializable
    )
