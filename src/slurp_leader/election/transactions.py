"""The transactions of an election, exactly as PROTOCOL B, C' and A7 have them. Pure: values in, a `Txn` out.

Whatever branch runs ends with a read of the election's own keys (`election_reads`): a refusal tells why (A5), and a
success is known before the watch tells it. Only the heartbeat, which is sent all the time, reads nothing when it
succeeds.
"""

from __future__ import annotations

from slurp_leader.election.records import ElectionKeys, LeaderRecord, epoch_value
from slurp_leader.election.view import View
from slurp_leader.store import (
    Compare,
    CompareOp,
    Delete,
    Get,
    GetResult,
    KeyValue,
    Put,
    Txn,
    TxnResult,
    lease_of,
    mod_revision,
    prefix_end,
    value_of,
    version_of,
)
from slurp_leader.term import Term

Told = tuple[Put | Delete, ...]
"""Operations beside those that matter: history."""


def read_election(keys: ElectionKeys) -> tuple[Get, ...]:
    """Read leader, epoch, heartbeat and the operator's record, in this order."""
    return (Get(keys.leader), Get(keys.epoch), Get(keys.heartbeat), Get(keys.operator))


def election_reads(keys: ElectionKeys, result: TxnResult) -> list[tuple[bytes, GetResult]]:
    """What `read_election` found, at the end of a transaction's answer: each key with what was read of it."""
    names = (keys.leader, keys.epoch, keys.heartbeat, keys.operator)
    reads = result.results[-len(names) :]
    found = [(name, read) for name, read in zip(names, reads, strict=True) if isinstance(read, GetResult)]
    assert len(found) == len(names), "the transaction did not end with read_election"
    return found


def leader_read(result: TxnResult) -> KeyValue | None:
    """The leader key as `read_election` found it."""
    read = result.results[-4]
    return read.kvs[0] if isinstance(read, GetResult) and read.kvs else None


def read_candidates(keys: ElectionKeys) -> Get:
    """Read the records of all candidates; stands right before `read_election`."""
    return Get(keys.candidates, prefix_end(keys.candidates))


def candidates_read(keys: ElectionKeys, result: TxnResult) -> GetResult | None:
    """What `read_candidates` found; None: it was not asked."""
    before = result.results[: -len(read_election(keys))]
    return before[-1] if before and isinstance(before[-1], GetResult) else None


def look(keys: ElectionKeys, *, with_candidates: bool = False) -> Txn:
    """Read the four keys, and the candidates where they matter, at one revision."""
    return Txn(success=(*((read_candidates(keys),) if with_candidates else ()), *read_election(keys)))


def campaign(keys: ElectionKeys, view: View, record: LeaderRecord, lease_id: int, told: Told = ()) -> Txn:
    """Take the leader key if nobody has it.

    The epoch is compared so that no two terms get one number (A21); `record.epoch` must be one above the view's. The
    operator's record is compared, so that what was ordered meanwhile refuses it (A17).

    Args:
        keys: Of the election.
        view: What is known of it.
        record: The new term.
        lease_id: Of the session.
        told: What is written with it, for people.
    """
    return _take(keys, view, record, lease_id, (version_of(keys.leader, 0),), told)


def adopt(keys: ElectionKeys, view: View, seen: KeyValue, record: LeaderRecord, lease_id: int, told: Told = ()) -> Txn:
    """Rewrite a leader key that names our own session while we have no term: a new token, never the old one (A7a)."""
    return _take(keys, view, record, lease_id, (mod_revision(keys.leader, seen.mod_revision),), told)


def clear(keys: ElectionKeys, seen: KeyValue) -> Txn:
    """Delete such a key instead, where this node must not lead (A7a)."""
    return Txn(
        compares=(mod_revision(keys.leader, seen.mod_revision),),
        success=(Delete(keys.leader), *read_election(keys)),
        failure=read_election(keys),
    )


def steal(keys: ElectionKeys, view: View, seen: KeyValue, record: LeaderRecord, lease_id: int, told: Told = ()) -> Txn:
    """Take the key from a holder that went silent (C').

    Safe because trust needs a committed heartbeat: if the holder's heartbeat moved after we looked, this is refused.
    The value is compared too, as a restored store may come to the same revision with another holder; one that is no
    record may be too large for that.
    """
    same_value = () if view.leader_record is None else (value_of(keys.leader, CompareOp.EQUAL, seen.value),)
    silent = (
        mod_revision(keys.leader, seen.mod_revision),
        *same_value,
        mod_revision(keys.heartbeat, view.heartbeat_revision),
    )
    return _take(keys, view, record, lease_id, silent, told)


def _take(
    keys: ElectionKeys, view: View, record: LeaderRecord, lease_id: int, conditions: tuple[Compare, ...], told: Told
) -> Txn:
    return Txn(
        compares=(
            *conditions,
            mod_revision(keys.epoch, view.epoch_revision),
            mod_revision(keys.operator, view.operator_revision),
        ),
        success=(
            Put(keys.leader, record.to_value(), lease=lease_id),
            Put(keys.epoch, epoch_value(record.epoch)),
            *told,
            *read_election(keys),
        ),
        failure=read_election(keys),
    )


def heartbeat(keys: ElectionKeys, term: Term, value: bytes) -> Txn:
    """Prove the term: nothing but its holder can get this through (D)."""
    return Txn(compares=term.fence(), success=(Put(keys.heartbeat, value),), failure=read_election(keys))


def release(keys: ElectionKeys, term: Term, told: Told = ()) -> Txn:
    """Give the key back by token. Never by name, and never by revoking the lease (A16).

    Args:
        keys: Of the election.
        term: The one that ends.
        told: What is written with it, for people.
    """
    # With the wish that it may obey (A24).
    return Txn(
        compares=term.fence(),
        success=(Delete(keys.leader), Delete(keys.transfer), *told, *read_election(keys)),
        failure=read_election(keys),
    )


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
    left_behind: Told,
    grant_key: bytes,
) -> Txn:
    """Hand the lead over, whatever is in flight (PROTOCOL C). There is no revision without a leader.

    The last heartbeat is compared, so that the next one kills a late copy; the lease of the successor's session key, so
    that the leader key never hangs on anything but a live session of just that candidate (A23); the operator's record,
    so that nobody is handed the lead whom an order forbids it.
    """
    return Txn(
        compares=(
            *term.fence(),
            mod_revision(keys.heartbeat, heartbeat_revision),
            lease_of(session_key, lease_id),
            mod_revision(keys.ack, ack_revision),
            mod_revision(keys.epoch, view.epoch_revision),
            mod_revision(keys.operator, view.operator_revision),
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
