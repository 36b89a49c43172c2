"""The transactions of an election, exactly as PROTOCOL B, C' and A7 have them. Pure: values in, a `Txn` out.

Whatever branch runs ends with a read of the election's keys: a refusal tells why (A5), and a success is known before
the watch tells it. Only the heartbeat, which is sent all the time, reads nothing when it succeeds.
"""

from __future__ import annotations

from slurp_leader.election.records import ElectionKeys, LeaderRecord, epoch_value
from slurp_leader.election.view import View
from slurp_leader.store import Compare, Delete, Get, KeyValue, Put, Txn, mod_revision, version_of
from slurp_leader.term import Term


def read_election(keys: ElectionKeys) -> tuple[Get, Get, Get]:
    """Read leader, epoch and heartbeat, in this order."""
    return (Get(keys.leader), Get(keys.epoch), Get(keys.heartbeat))


def look(keys: ElectionKeys) -> Txn:
    """Read the three keys at one revision."""
    return Txn(success=read_election(keys))


def campaign(keys: ElectionKeys, view: View, record: LeaderRecord, lease_id: int) -> Txn:
    """Take the leader key if nobody has it.

    The epoch is compared so that no two terms get one number (A21); `record.epoch` must be one above the view's.
    """
    return _take(keys, view, record, lease_id, (version_of(keys.leader, 0),))


def adopt(keys: ElectionKeys, view: View, seen: KeyValue, record: LeaderRecord, lease_id: int) -> Txn:
    """Rewrite a leader key that names our own session while we have no term: a new token, never the old one (A7a)."""
    return _take(keys, view, record, lease_id, (mod_revision(keys.leader, seen.mod_revision),))


def steal(keys: ElectionKeys, view: View, seen: KeyValue, record: LeaderRecord, lease_id: int) -> Txn:
    """Take the key from a holder that went silent (C').

    Safe because trust needs a committed heartbeat: if the holder's heartbeat moved after we looked, this is refused.
    """
    return _take(
        keys,
        view,
        record,
        lease_id,
        (mod_revision(keys.leader, seen.mod_revision), mod_revision(keys.heartbeat, view.heartbeat_revision)),
    )


def _take(keys: ElectionKeys, view: View, record: LeaderRecord, lease_id: int, conditions: tuple[Compare, ...]) -> Txn:
    return Txn(
        compares=(*conditions, mod_revision(keys.epoch, view.epoch_revision)),
        success=(
            Put(keys.leader, record.to_value(), lease=lease_id),
            Put(keys.epoch, epoch_value(record.epoch)),
            *read_election(keys),
        ),
        failure=read_election(keys),
    )


def heartbeat(keys: ElectionKeys, term: Term, value: bytes) -> Txn:
    """Prove the term: nothing but its holder can get this through (D)."""
    return Txn(compares=term.fence(), success=(Put(keys.heartbeat, value),), failure=read_election(keys))


def release(keys: ElectionKeys, term: Term) -> Txn:
    """Give the key back by token. Never by name, and never by revoking the lease (A16)."""
    return Txn(compares=term.fence(), success=(Delete(keys.leader), *read_election(keys)), failure=read_election(keys))
