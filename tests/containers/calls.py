"""Calls to members that may be starting, paused or dead."""

from __future__ import annotations

from containers.members import Member
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.store import Store
from support.calls import put_once_taken

_CALL_TIMEOUT_S = 2.0


def open_store(*members: Member) -> EtcdStore:
    """A client of these members, in this order."""
    return EtcdStore(EtcdOptions(endpoints=[member.endpoint for member in members]))


def write_until_accepted(store: Store, key: bytes, value: bytes = b"v") -> int:
    """Write a key, again and again until a member takes it. Returns the revision."""
    return put_once_taken(store, key, value, _CALL_TIMEOUT_S)
