"""What is kept of elections, for people: who was elected, who else stood, why, and what operators did. Pure values.

Written in the very transaction that begins a term, that an operator's order is, or that gives a term back because one
wished for it or its node could not start: what is in force has its entry, and nothing else has one. The newest `KEPT`
of each kind stay. Nothing is decided by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from slurp_leader.election import fields
from slurp_leader.election.operator import OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import Cause, Circumstances, Hindrance, Standing, Verdict
from slurp_leader.election.ranking.scoring import Score, Weights
from slurp_leader.election.records import ElectionKeys
from slurp_leader.errors import RecordError
from slurp_leader.orders import LONGEST_TEXT
from slurp_leader.store import Delete, KeyValue, Put
from slurp_leader.store.records import SCHEMA, read_object

KEPT = 100
"""So many elections, and so many actions of operators, are remembered."""
_MOST_STANDINGS = 32
"""A record names the best so many candidates."""
_LARGEST = 64 * 1024
"""Bytes of a record. It stands in the transaction that ends a vacancy: were it so large that etcd refuses it, nobody
could be elected, whatever the reason. So it tells less instead."""
_LONGEST_S = 1e12
_COMPONENTS = tuple(Weights().to_fields())
STEP_DOWN = "step_down"
VETO = "veto"
"""Actions that are told of by the transaction that gives a term back."""
_OF_A_VETO = b"-" + VETO.encode()


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """How one term came about.

    Attributes:
        epoch: Number of the term.
        node_id, session: Who leads in it.
        reason: As in the leader's record: elected, adopted, stolen or handover.
        at: When (UTC, by the clock of who wrote it).
        vacancy_s: How long nobody had led, as the winner saw it; None: it does not know, or there was no vacancy.
        waited_s: How long of that the winner let better candidates go first.
        rank_wait_s: `ElectionOptions.rank_wait` of the winner, in seconds, from which the waits of all candidates
            follow; None: there were none, as in a handover, or it is not told.
        before: Node id that led before; empty: nobody, or not known.
        by, why: Of a handover that was wished for.
        standings: The candidates, the best first, as the winner saw them; at most 32 are kept.
        stood: How many candidates there were.
        circumstances: What counted for all of them.
        weights: Of the scores.
    """

    epoch: int
    node_id: str
    session: str
    reason: str
    at: str = ""
    vacancy_s: float | None = None
    waited_s: float = 0.0
    before: str = ""
    by: str = ""
    why: str = ""
    standings: tuple[Standing, ...] = ()
    stood: int = 0
    circumstances: Circumstances = field(default_factory=Circumstances)
    weights: Weights = field(default_factory=Weights)
    rank_wait_s: float | None = None
    token: int = field(default=0, compare=False)
    """Revision of the record, which is the token of its term: the transaction is the same. 0: not read from etcd."""

    def to_value(self) -> bytes:
        """As it stands in etcd: at most 64 KiB, so it may name fewer candidates, and at last leave out the orders."""
        told = {"schema": SCHEMA, **self.to_fields()}
        while len(value := to_json(told)) > _LARGEST and told["candidates"]:
            told["candidates"] = told["candidates"][: len(told["candidates"]) // 2]
        return value if len(value) <= _LARGEST else to_json({**told, "orders": {}, "requires": []})

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "epoch": self.epoch,
            "node": self.node_id,
            "session": self.session,
            "reason": self.reason,
            "at": self.at,
            "vacancy_s": None if self.vacancy_s is None else round(self.vacancy_s, 4),
            "waited_s": round(self.waited_s, 4),
            "rank_wait_s": None if self.rank_wait_s is None else round(self.rank_wait_s, 4),
            "before": self.before,
            "by": self.by[:LONGEST_TEXT],
            "why": self.why[:LONGEST_TEXT],
            "stood": self.stood,
            "requires": list(self.circumstances.requires),
            "min_nodes": self.circumstances.min_nodes,
            "orders": self.circumstances.operator.to_fields(),
            "weights": self.weights.to_fields(),
            "candidates": [_standing_fields(each) for each in self.standings[:_MOST_STANDINGS]],
        }

    @property
    def names_all_placed(self) -> bool:
        """Whether none of those that could have led is left out of `standings`, so that one can count them."""
        return self.stood <= len(self.standings) or any(each.place is None for each in self.standings)

    @classmethod
    def from_value(cls, kv: KeyValue) -> HistoryRecord:
        """Raises RecordError when it cannot be read."""
        data = read_object(kv.key, kv.value)
        try:
            standings = tuple(_standing(each) for each in _list(data.get("candidates", [])))
            epoch = fields.whole(data["epoch"])
            circumstances = Circumstances.of(
                [each.candidate for each in standings],
                OperatorRecord.from_fields(data.get("orders", {})),
                requires=tuple(fields.text(name) for name in _list(data.get("requires", []))),
                min_nodes=fields.whole(data.get("min_nodes", 1)),
                epoch=epoch - 1,
            )
            return cls(
                epoch=epoch,
                node_id=fields.name(data["node"]),
                session=fields.name(data["session"]),
                reason=fields.text(data["reason"]),
                at=fields.text(data.get("at", "")),
                vacancy_s=_seconds(data.get("vacancy_s")),
                waited_s=fields.number(data.get("waited_s", 0.0), _LONGEST_S),
                rank_wait_s=_seconds(data.get("rank_wait_s")),
                before=fields.text(data.get("before", "")),
                by=fields.text(data.get("by", "")),
                why=fields.text(data.get("why", "")),
                standings=standings,
                stood=fields.whole(data.get("stood", len(standings))),
                circumstances=circumstances,
                weights=_weights(data.get("weights", {})),
                token=kv.mod_revision,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"history: {error!r}", key=kv.key.decode("ascii", "replace")) from error


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """What an operator ordered, or how a node ended a term that it could not start.

    Attributes:
        action: freeze, unfreeze, pin, unpin, block, unblock, require_version, force, or step_down where nobody could
            take over, so that the term was given back (else the next term tells of it). And veto, which nobody
            ordered: the node that was elected, or was handed the lead, gave the term back before it led.
        epoch: Of the newest term when it was ordered.
        by, why, at: Who, why, when (UTC, by that machine's clock).
        what: The node or the version it is about; empty: none.
    """

    action: str
    epoch: int
    by: str = ""
    why: str = ""
    at: str = ""
    what: str = ""
    revision: int = field(default=0, compare=False)

    @property
    def is_veto(self) -> bool:
        """Whether no operator ordered it: see `action`."""
        return self.action == VETO

    def to_value(self) -> bytes:
        return to_json({"schema": SCHEMA, **self.to_fields()})

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        words = {name: str(getattr(self, name))[:LONGEST_TEXT] for name in ("by", "why", "at", "what")}
        return {"action": self.action, "epoch": self.epoch, **words}

    @classmethod
    def from_value(cls, kv: KeyValue) -> ActionRecord:
        """Raises RecordError when it cannot be read."""
        data = read_object(kv.key, kv.value)
        try:
            words = {name: fields.text(data.get(name, "")) for name in ("by", "why", "at", "what")}
            action, epoch = fields.name(data["action"]), fields.whole(data["epoch"])
            return cls(action, epoch, **words, revision=kv.mod_revision)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"history: {error!r}", key=kv.key.decode("ascii", "replace")) from error


Entry = HistoryRecord | ActionRecord


# ---------------------------------------------------------------- keys


def election_key(keys: ElectionKeys, epoch: int) -> bytes:
    return keys.history + b"%010d" % epoch


def action_key(keys: ElectionKeys, epoch: int, action_id: str) -> bytes:
    return keys.history + b"%010d-" % epoch + action_id.encode()


def remember(keys: ElectionKeys, record: HistoryRecord) -> tuple[Put | Delete, ...]:
    """What the transaction that begins a term writes of it; the oldest entry makes room, with the veto of that term."""
    put = Put(election_key(keys, record.epoch), record.to_value())
    oldest = record.epoch - KEPT
    return (put, Delete(election_key(keys, oldest)), Delete(end_key(keys, oldest, VETO))) if oldest > 0 else (put,)


def end_key(keys: ElectionKeys, epoch: int, action: str) -> bytes:
    """Key of what the transaction that gives a term back tells of it. Once a term, so it needs no id."""
    return action_key(keys, epoch, action.replace("_", "-"))


def remember_end(keys: ElectionKeys, record: ActionRecord) -> tuple[Put | Delete, ...]:
    """What the transaction that gives a term back writes of why; where each term ends so, the oldest makes room."""
    put = Put(end_key(keys, record.epoch, record.action), record.to_value())
    oldest = record.epoch - KEPT
    return (put, Delete(end_key(keys, oldest, record.action))) if oldest > 0 else (put,)


def read_entries(kvs: Iterable[KeyValue]) -> tuple[list[Entry], int]:
    """Elections and actions in the order in which they happened, and how many records could not be read."""
    entries: list[Entry] = []
    unreadable = 0
    for kv in sorted(kvs, key=lambda kv: kv.mod_revision):
        kind = ActionRecord if b"-" in kv.key.rpartition(b"/")[2] else HistoryRecord
        try:
            entries.append(kind.from_value(kv))
        except RecordError:
            unreadable += 1
    return entries, unreadable


def action_keys(kvs: Sequence[KeyValue]) -> list[bytes]:
    """Keys of what operators ordered, the oldest first. Vetoes go with their terms: a node that never starts takes
    none of their room."""
    actions = [kv for kv in kvs if b"-" in kv.key.rpartition(b"/")[2] and not kv.key.endswith(_OF_A_VETO)]
    return [kv.key for kv in sorted(actions, key=lambda kv: kv.mod_revision)]


# ---------------------------------------------------------------- standings


def _standing_fields(each: Standing) -> dict[str, Any]:
    return {
        **each.candidate.to_fields(),
        "score": round(each.score.total, 4),
        "parts": {name: round(part, 4) for name, part in each.score.parts.items()},
        "place": each.place,
        "absolute": [_hindrance_fields(hindrance) for hindrance in each.verdict.absolute],
        "soft": [_hindrance_fields(hindrance) for hindrance in each.verdict.soft],
    }


def _standing(data: Mapping[str, Any]) -> Standing:
    place, parts = data.get("place"), data.get("parts", {})
    return Standing(
        Candidate.from_fields(dict(data)),
        Score(fields.number(data["score"], 1), {name: fields.number(part, 1) for name, part in parts.items()}),
        Verdict(_hindrances(data.get("absolute", [])), _hindrances(data.get("soft", []))),
        None if place is None else fields.whole(place),
    )


def _hindrance_fields(hindrance: Hindrance) -> dict[str, str]:
    return {"cause": str(hindrance.cause), "text": hindrance.text}


def _hindrances(data: Any) -> tuple[Hindrance, ...]:
    return tuple(Hindrance(_cause(each["cause"]), fields.words(each["text"])) for each in _list(data))


def _cause(data: Any) -> str:
    """One of a later version, which this one does not know, stays the word that it is."""
    word = fields.name(data)
    try:
        return Cause(word)
    except ValueError:
        return word


def _weights(data: Any) -> Weights:
    """Of the components that this version knows. Where a later one has more, the known ones count among themselves as
    much as they do there: so they sum to 1 here, too."""
    if not isinstance(data, dict):
        raise TypeError(f"{data!r:.80} is not an object")
    known = {name: data[name] for name in _COMPONENTS if name in data}
    if len(known) == len(data):
        return Weights(**known)
    shares = {name: fields.number(known.get(name, 0), 1) for name in _COMPONENTS}
    if not (total := math.fsum(shares.values())):
        raise ValueError("no component of a score that is known here counts anything")
    return Weights(**{name: share / total for name, share in shares.items()})


def _seconds(data: Any) -> float | None:
    return None if data is None else fields.number(data, _LONGEST_S)


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise TypeError(f"{data!r:.80} is not a list")
    return data
