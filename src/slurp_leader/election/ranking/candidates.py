"""Who stands in an election: ``candidates/{session}``, one leased record for each live session. Pure values.

Each candidate says of itself what it measured and whether it should lead; what that is worth, `scoring` and `eligible`
say, on every node alike. The record hangs on the same lease as the session key, so it ends with the session. It
decides who goes first, and nothing else: who forges it gains a second (PROTOCOL A17).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from slurp_leader.election import fields
from slurp_leader.election.ranking.scoring import ScoreInputs
from slurp_leader.election.records import ElectionKeys
from slurp_leader.errors import RecordError
from slurp_leader.orders import LONGEST_TEXT
from slurp_leader.store import Event, EventKind, KeyValue
from slurp_leader.store.records import SCHEMA, read_object


@dataclass(frozen=True, slots=True)
class Candidate:
    """The value of a candidate's record.

    Attributes:
        node_id, session, endpoint, version: Who it is.
        lease: Of its session.
        ttl_s: Of that lease, as granted.
        unfit: Why it should not lead at present; empty: it should. Written as far as it is not too long.
        warm: Whether it has seen what it needs to lead at once.
        cooling: Whether it won so often of late that others go first.
        inputs: What its score is made of.
        requires, min_nodes: What it asks of an election, by its own settings: for people who ask why nobody leads.
    """

    node_id: str
    session: str
    lease: int
    ttl_s: int
    endpoint: str = ""
    version: str = ""
    unfit: str = ""
    warm: bool = True
    inputs: ScoreInputs = field(default_factory=ScoreInputs)
    requires: tuple[str, ...] = ()
    min_nodes: int = 1
    cooling: bool = False

    def to_value(self) -> bytes:
        return to_json({"schema": SCHEMA, **self.to_fields()})

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "node": self.node_id,
            "session": self.session,
            "lease": self.lease,
            "ttl": self.ttl_s,
            "endpoint": self.endpoint,
            "version": self.version,
            "unfit": self.unfit[:LONGEST_TEXT],
            "warm": self.warm,
            "cooling": self.cooling,
            "inputs": self.inputs.to_fields(),
            "requires": list(self.requires),
            "min_nodes": self.min_nodes,
        }

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> Candidate:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            return cls.from_fields(data)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"candidate: {error!r}", key=key.decode("ascii", "replace")) from error

    @classmethod
    def from_fields(cls, data: dict[str, Any]) -> Candidate:
        """Raises KeyError, TypeError or ValueError when it is something else."""
        inputs = data.get("inputs", {})
        if not isinstance(inputs, dict):
            raise TypeError("inputs are not an object")
        return cls(
            node_id=fields.name(data["node"]),
            session=fields.name(data["session"]),
            lease=fields.whole(data["lease"]),
            ttl_s=fields.ttl(data["ttl"]),  # it is published for this candidate when it is handed the lead
            endpoint=fields.text(data.get("endpoint", "")),
            version=fields.text(data.get("version", "")),
            unfit=fields.text(data.get("unfit", "")),
            warm=data.get("warm", True) is True,
            inputs=ScoreInputs.from_fields(inputs),
            requires=fields.capabilities(data.get("requires", [])),
            min_nodes=fields.whole(data.get("min_nodes", 1)),
            cooling=data.get("cooling", False) is True,
        )


class CandidateView:
    """The candidates of one election as last seen. A record that cannot be read, or hangs on no lease, is nobody."""

    __slots__ = ("_by_key", "_prefix", "revision", "unreadable")

    def __init__(self, keys: ElectionKeys) -> None:
        self._prefix = keys.candidates
        self._by_key: dict[bytes, Candidate] = {}
        self.revision = -1
        """Up to which anything was heard."""
        self.unreadable: set[bytes] = set()

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._by_key.values())

    def learn_events(self, revision: int, events: Iterable[Event]) -> None:
        for event in events:
            kv = event.kv
            if kv.key.startswith(self._prefix) and kv.mod_revision > self.revision:
                self._learn(kv.key, kv if event.kind is EventKind.PUT else None)
        self.revision = max(self.revision, revision)

    def learn_snapshot(self, revision: int, kvs: Iterable[KeyValue]) -> None:
        """All records at one revision, among others; those not there are gone."""
        if revision < self.revision:
            return
        self._by_key.clear()
        self.unreadable.clear()
        for kv in kvs:
            if kv.key.startswith(self._prefix):
                self._learn(kv.key, kv)
        self.revision = revision

    def _learn(self, key: bytes, kv: KeyValue | None) -> None:
        self._by_key.pop(key, None)
        self.unreadable.discard(key)
        if kv is None:
            return
        candidate = read_candidate(kv)
        if candidate is None:
            self.unreadable.add(key)
        else:
            self._by_key[key] = candidate


def read_candidates(kvs: Iterable[KeyValue]) -> list[Candidate]:
    """Those whose records can be read."""
    return [candidate for candidate in map(read_candidate, kvs) if candidate is not None]


def read_candidate(kv: KeyValue) -> Candidate | None:
    """A candidate from its record; None: it cannot be read, or would not end with its session."""
    if not kv.lease:
        return None
    try:
        candidate = Candidate.from_value(kv.key, kv.value)
    except RecordError:
        return None
    named = kv.key.rpartition(b"/")[2].decode("ascii", "replace")
    return candidate if candidate.session == named and candidate.lease == kv.lease else None
