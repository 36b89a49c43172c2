"""What operators have ordered: ``control/operator``, one record for an election. Pure values.

Every transaction that takes the leader key compares the revision of this record, so an order is in force from the
moment its own transaction has committed: a campaign that was decided on before is refused. Precedence, when orders
contradict each other: block, freeze, pin, and only then scores (PROTOCOL A24).

A record that cannot be read means nothing and is shown to be so: no garbage under one key may end all elections (I7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import to_json

from slurp_leader.errors import RecordError
from slurp_leader.store import KeyValue
from slurp_leader.store.records import SCHEMA, read_object

_LONGEST_TEXT = 1024


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants it, why, and when it was said (UTC, by that machine's clock; for people)."""

    by: str = ""
    why: str = ""
    at: str = ""

    def __str__(self) -> str:
        return f"by {self.by or 'somebody'}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class Forced:
    """How the vacancy after one term is to be filled: that of the term with this epoch, and no other.

    Attributes:
        epoch: Of the term that was ended by force.
        to: Node id that goes first; empty: any but the one that led.
        instead_of: Session that led.
    """

    epoch: int
    to: str = ""
    instead_of: str = ""
    order: Order = field(default_factory=Order)


@dataclass(frozen=True, slots=True)
class OperatorRecord:
    """The value of ``control/operator``.

    Attributes:
        frozen: No new election is held; who leads goes on leading.
        pinned_to: Node id that shall lead; empty: none. `pinned` says who ordered it.
        blocked: Node ids that must not lead.
        oldest_version: Nodes of an older version let others go first; empty: none is too old.
        forced: How the vacancy after a term that was ended by force is filled.
    """

    frozen: Order | None = None
    pinned_to: str = ""
    pinned: Order = field(default_factory=Order)
    blocked: Mapping[str, Order] = field(default_factory=dict)
    oldest_version: str = ""
    versions: Order = field(default_factory=Order)
    forced: Forced | None = None

    # ------------------------------------------------------------ changing it

    def freeze(self, order: Order) -> OperatorRecord:
        return replace(self, frozen=order)

    def unfreeze(self) -> OperatorRecord:
        return replace(self, frozen=None)

    def pin(self, node_id: str, order: Order) -> OperatorRecord:
        return replace(self, pinned_to=node_id, pinned=order)

    def unpin(self) -> OperatorRecord:
        return replace(self, pinned_to="", pinned=Order())

    def block(self, node_id: str, order: Order) -> OperatorRecord:
        return replace(self, blocked={**self.blocked, node_id: order})

    def unblock(self, node_id: str) -> OperatorRecord:
        return replace(self, blocked={name: order for name, order in self.blocked.items() if name != node_id})

    def require_version(self, version: str, order: Order) -> OperatorRecord:
        """From this version on; empty: any."""
        return replace(self, oldest_version=version, versions=order if version else Order())

    def force(self, forced: Forced) -> OperatorRecord:
        return replace(self, forced=forced)

    def without_words(self) -> tuple[object, ...]:
        """What is ordered, without who ordered it, why and when."""
        return (self.frozen is not None, self.pinned_to, frozenset(self.blocked), self.oldest_version, self.forced)

    # ------------------------------------------------------------ reading and writing it

    def to_fields(self) -> dict[str, Any]:
        """As plain data; what is not ordered is left out."""
        fields: dict[str, Any] = {}
        if self.frozen is not None:
            fields["frozen"] = _fields(self.frozen)
        if self.pinned_to:
            fields["pinned"] = {"node": self.pinned_to, **_fields(self.pinned)}
        if self.blocked:
            fields["blocked"] = {name: _fields(order) for name, order in sorted(self.blocked.items())}
        if self.oldest_version:
            fields["oldest_version"] = {"version": self.oldest_version, **_fields(self.versions)}
        if self.forced is not None:
            forced = self.forced
            words = {"epoch": forced.epoch, "to": forced.to, "instead_of": forced.instead_of}
            fields["forced"] = {**words, **_fields(forced.order)}
        return fields

    def to_value(self) -> bytes:
        return to_json({"schema": SCHEMA, **self.to_fields()})

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> OperatorRecord:
        """Read the record.

        Raises:
            RecordError: It cannot be read; nothing is known to be ordered.
        """
        data = read_object(key, value)
        try:
            return cls.from_fields(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"orders of an operator: {error!r}", key=key.decode("ascii", "replace")) from error

    @classmethod
    def from_fields(cls, data: Mapping[str, Any]) -> OperatorRecord:
        """Raises KeyError, TypeError, ValueError or AttributeError when it is something else."""
        frozen, pinned, oldest, forced = (data.get(name) for name in ("frozen", "pinned", "oldest_version", "forced"))
        return cls(
            frozen=None if frozen is None else _order(frozen),
            pinned_to="" if pinned is None else _text(pinned["node"]),
            pinned=Order() if pinned is None else _order(pinned),
            blocked={_text(name): _order(each) for name, each in data.get("blocked", {}).items()},
            oldest_version="" if oldest is None else _text(oldest["version"]),
            versions=Order() if oldest is None else _order(oldest),
            forced=None if forced is None else _forced(forced),
        )


def read_operator(kv: KeyValue | None) -> tuple[OperatorRecord, str]:
    """The orders in force, and why the record cannot be read; then none are."""
    if kv is None:
        return OperatorRecord(), ""
    try:
        return OperatorRecord.from_value(kv.key, kv.value), ""
    except RecordError as error:
        return OperatorRecord(), str(error)


def _fields(order: Order) -> dict[str, str]:
    return {"by": order.by, "why": order.why, "at": order.at}


def _order(data: Mapping[str, Any]) -> Order:
    return Order(*(_text(data.get(name, "")) for name in ("by", "why", "at")))


def _forced(data: Mapping[str, Any]) -> Forced:
    epoch = data["epoch"]
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        raise ValueError(f"epoch {epoch!r} is not a whole number from 0 on")
    return Forced(epoch, _text(data.get("to", "")), _text(data.get("instead_of", "")), _order(data))


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise TypeError(f"{value!r:.80} is not text of at most {_LONGEST_TEXT} characters")
    return value
