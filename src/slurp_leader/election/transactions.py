"""The transactions of an election, exactly as PROTOCOL B, C' and A7 have them. Pure: values in, a `Txn` out.

Whatever branch runs ends with a read of the election's keys: a refusal tells why (A5), and a success is known before
the watch tells it. Only the heartbeat, which is sent all the time, reads nothing when it succeeds.
"""

from __future__ import annotations

from slurp_leader.election.records import ElectionKeys, LeaderRecord, epoch_value
from slurp_leader.election.view import View
from slurp_leader.store import Compare, Delete, Get, KeyValue, Put, Txn, lease_of, mod_revision, version_of
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


# ---------------------------------------------------------------- handing over


def write_transfer(keys: ElectionKeys, term: Term, seen_revision: int, value: bytes) -> Txn:
    """Write the leader's word about a handover, over the record it was decided on."""
    return Txn(
        compares=(*term.fence(), mod_revision(keys.transfer, seen_revision)),
        success=(Put(keys.transfer, value),),
        failure=(Get(keys.transfer), *read_election(keys)),
    )


def acknowledge(keys: ElectionKeys, token: int, offer_revision: int, ack_revision: int, value: bytes) -> Txn:
    """Answer an offer, as long as it stands; over the answer that is there, so that a late copy changes nothing."""
    return Txn(
        compares=(
            mod_revision(keys.leader, token),
            mod_revision(keys.transfer, offer_revision),
            mod_revision(keys.ack, ack_revision),
        ),
        success=(Put(keys.ack, value),),
    )


def hand_over(
    keys: ElectionKeys,
    view: View,
    term: Term,
    *,
    heartbeat_revision: int,
    ack_revision: int,
    session_key: bytes,
    record: LeaderRecord,
    lease_id: int,
    left_behind: tuple[Put, ...],
    grant_key: bytes,
) -> Txn:
    """Hand the lead over, whatever is in flight (PROTOCOL C). There is no revision without a leader.

    The last heartbeat is compared, so that the next one kills a late copy; the lease of the successor's session key, so
    that the leader key never hangs on anything but a live session of just that candidate (A23).
    """
    return Txn(
        compares=(
            *term.fence(),
            mod_revision(keys.heartbeat, heartbeat_revision),
            lease_of(session_key, lease_id),
            mod_revision(keys.ack, ack_revision),
            mod_revision(keys.epoch, view.epoch_revision),
        ),
        success=(
            Put(keys.leader, record.to_value(), lease=lease_id),
            Put(keys.epoch, epoch_value(record.epoch)),
            *left_behind,
            Delete(keys.transfer),
            Delete(keys.ack),
            *read_election(keys),
        ),
        failure=(Get(grant_key), *read_election(keys)),
    )
