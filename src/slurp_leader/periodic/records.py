"""What is kept of periodic work in etcd, and the transactions that write it. Pure.

==============================================  ==============================================================
``b/periodic/{election name}/{name of work}``   the due time of the newest run that was begun, and under which
                                                token, by which node; by the leader, fenced, before the run begins
==============================================  ==============================================================

Under ``b/``: read by key when a term begins, and by nobody else, so no candidate has to watch it go by.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import MINYEAR, datetime

from pydantic_core import from_json, to_json

from slurp_leader.clock import format_utc, parse_utc
from slurp_leader.errors import RecordError
from slurp_leader.store import Compare, Delete, Get, KeyValue, Put, Txn, mod_revision
from slurp_leader.store.keyspace import Keyspace, key_segment
from slurp_leader.store.records import SCHEMA, read_object, unknown
from slurp_leader.term import Term


def periodic_key(keyspace: Keyspace, election: str, name: str) -> bytes:
    """Where the last run of some work is kept.

    Raises:
        ConfigurationError: A name cannot be part of a key.
    """
    segments = key_segment("election.name", election), key_segment("name", name)
    return keyspace.bulk + b"periodic/" + "/".join(segments).encode()


def read_due(key: bytes, value: bytes) -> datetime:
    """The due time of the newest run that was begun.

    Raises:
        RecordError: It cannot be read, is of a newer version, or its due time is in the first year of the calendar: no
            clock of ours wrote it, and a schedule that looks for local dates before it finds none.
    """
    data = read_object(key, value)
    try:
        due = parse_utc(data["due"])
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(key, repr(error)) from error
    if due.year == MINYEAR:
        raise _bad(key, f"due = {data['due']}: nothing can be counted from so early a date")
    return due


def _bad(key: bytes, why: str) -> RecordError:
    return RecordError(f"periodic record: {why}", key=key.decode("ascii", "replace"))


@dataclass(frozen=True, slots=True)
class Kept:
    """The record as it stands in etcd. Absent: revision 0, no value."""

    revision: int = 0
    value: bytes | None = None

    @classmethod
    def of(cls, kv: KeyValue | None) -> Kept:
        return cls(kv.mod_revision, kv.value) if kv else cls()


def claim_value(due: datetime, term: Term, claim_id: str, before: bytes | None = None) -> bytes:
    """The record that claims a due time. `claim_id` is random, so the value is never the same twice.

    Fields of the record `before` that are not known are kept. It is one that can be read: others are left alone.
    """
    kept = {} if before is None else unknown(from_json(before), ("schema", "due", "token", "epoch", "node", "claim"))
    return to_json(
        {
            **kept,
            "schema": SCHEMA,
            "due": format_utc(due),
            "token": term.token,
            "epoch": term.epoch,
            "node": term.node_id,
            "claim": claim_id,
        }
    )


def claim(key: bytes, kept: Kept, value: bytes, term: Term) -> Txn:
    """Claim a due time: only as the leader, and only if nobody wrote since the record was read.

    Repeated after an unknown answer it is refused if an earlier copy had arrived, and the refusal reads our own value.
    """
    return _write(key, kept, (Put(key, value),), term)


def give_back(key: bytes, claimed: Kept, before: Kept, term: Term) -> Txn:
    """Take a claim back whose run was not begun, so that the next leader begins it."""
    undo = Delete(key) if before.value is None else Put(key, before.value)
    return _write(key, claimed, (undo,), term)


def _write(key: bytes, kept: Kept, writes: tuple[Put | Delete, ...], term: Term) -> Txn:
    compares: tuple[Compare, ...] = (*term.fence(), mod_revision(key, kept.revision))
    return Txn(compares=compares, success=writes, failure=(Get(term.key), Get(key)))
