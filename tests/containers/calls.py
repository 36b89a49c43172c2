"""Calls to members that may be starting, paused or dead."""

from __future__ import annotations

import threading

from containers.members import Member
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.store import Put, Store

_CALL_TIMEOUT_S = 2.0
_ATTEMPTS = 100


def open_store(*members: Member) -> EtcdStore:
    """A client of these members, in this order."""
    return EtcdStore(EtcdOptions(endpoints=[member.endpoint for member in members]))


def write_until_accepted(store: Store, key: bytes, value: bytes = b"v") -> int:
    """Write a key, again and again until a member takes it. Returns the revision."""
    error: BaseException | None = None
    for _ in range(_ATTEMPTS):
        answer = store.call(Put(key, value), _CALL_TIMEOUT_S)
        error = answer.exception()
        if error is None:
            return answer.result().header.revision
        threading.Event().wait(0.1)
    raise AssertionError(f"no member took the write: {error}")
