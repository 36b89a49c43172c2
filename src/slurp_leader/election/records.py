"""The records of an election: what is written under which key. JSON, unknown fields ignored when read.

========================================  =========================================================
``m/election/{name}/leader`` (leased)     `LeaderRecord`; written once a term
``m/election/{name}/epoch``               a number, written in the same transaction
``m/election/{name}/hb``                  `heartbeat_value`; by the leader, each renewal, fenced
``m/election/{name}/control/transfer``    `transfer.TransferRecord`: a handover that is wished for, or offered
``m/election/{name}/control/ack``         `transfer.AckRecord`: a candidate's answer to the offer
``m/election/{name}/control/operator``    `operator.OperatorRecord`: what operators ordered; survives leaders
``m/election/{name}/candidates/{session}``  (leased) `ranking.candidates.Candidate`; by each candidate, now and then
``b/history/{name}/{epoch}``              `history.entries.HistoryRecord`: in the transaction that begins the term
``b/history/{name}/{epoch}-{id}``         `history.entries.ActionRecord`: in the transaction that an order is; or, under
                                          ``{epoch}-step-down``, that gives a term back as an operator wished; under
                                          ``{epoch}-veto``, as its own node could not start
``m/nodes/{node_id}/{session}`` (leased)  `node_value`; by each candidate
========================================  =========================================================

(PROTOCOL B, A20, A23. The leader's value carries a random term id, so it is never the same twice.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from slurp_leader.election import fields
from slurp_leader.errors import RecordError
from slurp_leader.store import KeyValue
from slurp_leader.store.keyspace import Keyspace, key_segment
from slurp_leader.store.records import SCHEMA, read_object

_EPOCH_DIGITS = 10
"""In keys of history and of manifests. With one more they would sort before others, and a range that makes room for a
new one would hold it as well, which etcd refuses."""
_MOST_EPOCH = 10**_EPOCH_DIGITS - 1


@dataclass(frozen=True, slots=True)
class ElectionKeys:
    """The keys of one election."""

    prefix: bytes
    leader: bytes
    epoch: bytes
    heartbeat: bytes
    transfer: bytes
    ack: bytes
    operator: bytes
    candidates: bytes
    """Prefix of the candidates' records."""
    nodes: bytes
    """Prefix of the session keys of all nodes."""
    history: bytes
    """Prefix of the history."""

    @classmethod
    def of(cls, keyspace: Keyspace, name: str) -> ElectionKeys:
        segment = key_segment("election.name", name).encode() + b"/"
        prefix = elections_prefix(keyspace) + segment
        control = prefix + b"control/"
        return cls(
            prefix,
            prefix + b"leader",
            prefix + b"epoch",
            prefix + b"hb",
            control + b"transfer",
            control + b"ack",
            control + b"operator",
            prefix + b"candidates/",
            keyspace.mirrored + b"nodes/",
            keyspace.bulk + b"history/" + segment,
        )

    def session(self, node_id: str, session: str) -> bytes:
        """Key of a session."""
        return self.nodes + f"{node_id}/{session}".encode()

    def candidate(self, session: str) -> bytes:
        """Key of a candidate's record."""
        return self.candidates + session.encode()


def elections_prefix(keyspace: Keyspace) -> bytes:
    """Prefix of all elections of a cluster."""
    return keyspace.mirrored + b"election/"


def nodes_prefix(keyspace: Keyspace, node_id: str) -> bytes:
    """Prefix of all sessions of one node id."""
    return keyspace.mirrored + b"nodes/" + key_segment("node.id", node_id).encode() + b"/"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who stands for election. `session` is random for each start, so a restarted node is somebody else."""

    node_id: str
    session: str
    endpoint: str = ""
    capabilities: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class LeaderRecord:
    """The value of the leader key."""

    node_id: str
    session: str
    term_id: str
    ttl_s: int
    epoch: int
    endpoint: str = ""
    reason: str = ""

    def to_value(self) -> bytes:
        return to_json(
            {
                "schema": SCHEMA,
                "node": self.node_id,
                "session": self.session,
                "term": self.term_id,
                "ttl": self.ttl_s,
                "epoch": self.epoch,
                "endpoint": self.endpoint,
                "reason": self.reason,
            }
        )

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> LeaderRecord:
        """Read a leader key.

        Raises:
            RecordError: Not a leader record. Whoever wrote it still holds the key; its address is unknown.
        """
        data = read_object(key, value)
        try:
            return cls(
                node_id=fields.text(data["node"]),
                session=fields.text(data["session"]),
                term_id=fields.text(data["term"]),
                ttl_s=fields.ttl(data["ttl"]),
                epoch=fields.whole(data["epoch"]),
                endpoint=fields.text(data.get("endpoint", "")),
                reason=fields.text(data.get("reason", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"leader record: {error!r}", key=key.decode("ascii", "replace")) from error


def published_ttl(leader: KeyValue) -> int:
    """The TTL in a leader key of any schema version, in seconds; 0 where none can be found.

    So every later version has to keep ``ttl`` where it is: its holder trusts itself for so long, and a candidate that
    cannot read the rest must not take the key before.
    """
    try:
        return fields.ttl(from_json(leader.value)["ttl"])
    except (KeyError, TypeError, ValueError):
        return 0


def node_value(identity: Identity, lease_id: int, ttl_s: int, election: str) -> bytes:
    """The value of a session key. `election`: the one it stands in; a process has a session for each."""
    return to_json(
        {
            "schema": SCHEMA,
            "node": identity.node_id,
            "session": identity.session,
            "election": election,
            "lease": lease_id,
            "ttl": ttl_s,
            "endpoint": identity.endpoint,
            "capabilities": list(identity.capabilities),
            "version": identity.version,
        }
    )


def stands_in(kv: KeyValue, election: str) -> bool:
    """Whether a session key may be of this election. One that does not say which may be."""
    try:
        return bool(read_object(kv.key, kv.value).get("election", election) == election)
    except RecordError:
        return True


def heartbeat_value(
    identity: Identity, epoch: int, beat: int, facts: dict[str, Any], *, starting: bool = False
) -> bytes:
    """The value of the heartbeat key.

    Args:
        identity: Who leads.
        epoch: Of the term.
        beat: How many the term had before.
        facts: The leader's own figures, such as the depth of its queue.
        starting: The term is proved, but its node asks its hooks whether it may lead, and does not lead yet.
    """
    own = {"schema": SCHEMA, "node": identity.node_id, "session": identity.session, "epoch": epoch, "beat": beat}
    return to_json({**facts, **own, **({"starting": True} if starting else {})})


def is_starting(heartbeat: KeyValue) -> bool:
    """Whether the node that wrote this heartbeat did not lead yet. One that cannot be read says nothing of the sort."""
    try:
        return read_object(heartbeat.key, heartbeat.value).get("starting") is True
    except RecordError:
        return False


def has_begun(token: int, heartbeat: KeyValue | None) -> bool:
    """Whether the node that holds the key under this token leads, as far as etcd tells: a heartbeat has proved the
    term, and its node does not ask its hooks any more."""
    return heartbeat is not None and heartbeat.mod_revision > token and not is_starting(heartbeat)


def epoch_value(epoch: int) -> bytes:
    return b"%d" % epoch


def read_epoch(value: bytes) -> int:
    """The number in the epoch key; 0 when it cannot be read, or is so large that somebody else must have written it: it
    only serves people."""
    epoch = int(value) if value.isdigit() and len(value) <= _EPOCH_DIGITS else 0
    return epoch if epoch < _MOST_EPOCH else 0


@dataclass(frozen=True, slots=True)
class LeaderInfo:
    """Who leads, as seen in etcd. `record` is None when the value cannot be read: somebody leads all the same.

    `as_of` and `age_s` are set by those who answer a question (`Sighting`); they are no part of who it is.
    """

    token: int
    record: LeaderRecord | None = None
    as_of: int = field(default=0, compare=False)
    """Revision of etcd up to which this is known to hold; 0: not said."""
    age_s: float = field(default=0.0, compare=False)
    """Seconds since etcd was last heard when the question was answered."""

    @property
    def node_id(self) -> str | None:
        return self.record.node_id if self.record else None


def leader_info(kv: KeyValue) -> LeaderInfo:
    """Who leads, from the leader key. A value that cannot be read still means that somebody does."""
    try:
        return LeaderInfo(kv.mod_revision, LeaderRecord.from_value(kv.key, kv.value))
    except RecordError:
        return LeaderInfo(kv.mod_revision)
