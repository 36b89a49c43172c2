"""The records of a handover. Pure values. Who is asked to take over, `ranking.eligible` says.

One record, ``control/transfer``, goes through its stages in one key, so that no two handovers are ever under way:

    wished (by anybody, for one token) -> offered (by the leader, to one session) -> gone, with the handover itself
                                      \\-> refused (by the leader, and why), until whoever wished has read it

The answer of the one it was offered to is ``control/ack``. Both mean nothing once another token is in force (A24): they
are left where they are, and overwritten by the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pydantic_core import to_json

from slurp_leader.election.fields import text, whole
from slurp_leader.errors import RecordError
from slurp_leader.orders import LONGEST_TEXT
from slurp_leader.store import KeyValue
from slurp_leader.store.records import SCHEMA, read_object, unknown

_TEXTS = ("wish", "to", "by", "why", "session", "nonce", "reason")


class Stage(StrEnum):
    """How far a handover is."""

    WISHED = "wished"
    OFFERED = "offered"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """The value of ``control/transfer``.

    Attributes:
        token: The term that is to be handed over, and no other.
        wish: Random; by it whoever wished knows the answer. Empty when the leader began it by itself.
        to: Node id that is wanted; empty: whoever is the best.
        by, why: For people.
        session, node_id, nonce: Of an offer: to whom, and the id that the new term will have.
        reason: Of a refusal: see `HandoverError`.
        steps_down: The leader gives the term back if nobody can take it over.
        rest: Fields that are not known; the leader writes its answer over the wish of somebody else, and keeps them.
    """

    stage: Stage
    token: int
    wish: str = ""
    to: str = ""
    by: str = ""
    why: str = ""
    session: str = ""
    node_id: str = ""
    nonce: str = ""
    reason: str = ""
    steps_down: bool = False
    rest: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def to_value(self) -> bytes:
        return to_json(
            {
                **self.rest,
                "schema": SCHEMA,
                "stage": self.stage.value,
                "token": self.token,
                "wish": self.wish,
                "to": self.to,
                "by": self.by[:LONGEST_TEXT],
                "why": self.why[:LONGEST_TEXT],
                "session": self.session,
                "node": self.node_id,
                "nonce": self.nonce,
                "reason": self.reason,
                "steps_down": self.steps_down,
            }
        )

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> TransferRecord:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            texts = {name: text(data.get(name, "")) for name in _TEXTS}
            return cls(
                Stage(data["stage"]),
                whole(data["token"]),
                node_id=text(data.get("node", "")),
                steps_down=data.get("steps_down", False) is True,
                rest=unknown(data, ("schema", "stage", "token", "node", "steps_down", *_TEXTS)),
                **texts,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _bad("transfer record", key, error) from error

    def refused(self, reason: str) -> TransferRecord:
        return replace(self, stage=Stage.REFUSED, reason=reason)

    def __str__(self) -> str:
        """What is under way, for people."""
        if self.stage is Stage.OFFERED:
            what = f"{self.node_id} is asked to take over"
        else:
            what = "the leader is asked to " + (
                "step down" if self.steps_down else f"hand over to {self.to or 'another'}"
            )
        return what + (f", by {self.by}" if self.by else "") + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class AckRecord:
    """The value of ``control/ack``: what a candidate says to an offer.

    Attributes:
        nonce: Of the offer.
        revision: Up to which the candidate has seen the keys of the cluster.
        lease: Of its session, to hang the leader key on.
        unfit: Why it will not; empty: it will.
    """

    nonce: str
    session: str
    revision: int
    lease: int
    unfit: str = ""

    def to_value(self) -> bytes:
        return to_json(
            {
                "schema": SCHEMA,
                "nonce": self.nonce,
                "session": self.session,
                "revision": self.revision,
                "lease": self.lease,
                "unfit": self.unfit[:LONGEST_TEXT],
            }
        )

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> AckRecord:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            nonce, session, unfit = (text(data.get(name, "")) for name in ("nonce", "session", "unfit"))
            return cls(nonce, session, whole(data["revision"]), whole(data["lease"]), unfit)
        except (KeyError, TypeError, ValueError) as error:
            raise _bad("answer to an offer", key, error) from error


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the owner of a candidate says of it, for an offer.

    Attributes:
        revision: Up to which it has seen the keys of the cluster; None: it needs to see nothing to lead.
        unfit: Why it cannot take over at present; empty: it can.
    """

    revision: int | None = None
    unfit: str = ""


def under_way(kv: KeyValue | None, token: int) -> TransferRecord | None:
    """The handover of the term with this token that is wished for or offered; None: there is none.

    Args:
        kv: ``control/transfer``; None: it is not there. What cannot be read means nothing.
        token: Of the term in force.
    """
    try:
        record = TransferRecord.from_value(kv.key, kv.value) if kv is not None else None
    except RecordError:
        return None
    return record if record is not None and record.token == token and record.stage is not Stage.REFUSED else None


def _bad(what: str, key: bytes, error: Exception) -> RecordError:
    return RecordError(f"{what}: {error!r}", key=key.decode("ascii", "replace"))
