"""What operators have ordered: ``control/operator``, one record for an election. Pure values.

Every transaction that takes the leader key compares the revision of this record, so an order is in force from the
moment its own transaction has committed: a campaign that was decided on before is refused. Precedence, when orders
contradict each other: block, freeze, pin, and only then scores (PROTOCOL A24).

A record that cannot be read means nothing and is shown to be so: no garbage under one key may end all elections (I7).
Fields that are not known are kept, in the record and in each order: whoever changes it may be of an older version than
who wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import to_json

from slurp_leader.election.fields import name, text, whole
from slurp_leader.errors import ConfigurationError, RecordError
from slurp_leader.orders import Order, check_length, order_fields, read_order
from slurp_leader.store import KeyValue
from slurp_leader.store.records import SCHEMA, read_object, unknown

_LARGEST = 64 * 1024
"""Bytes of a record. It is copied into history, in the transaction that ends a vacancy, and that has to be small."""


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

    Raises:
        ConfigurationError: A node id or version is too long.
    """

    frozen: Order | None = None
    pinned_to: str = ""
    pinned: Order = field(default_factory=Order)
    blocked: Mapping[str, Order] = field(default_factory=dict)
    oldest_version: str = ""
    versions: Order = field(default_factory=Order)
    forced: Forced | None = None
    rest: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Fields that are not known."""

    def __post_init__(self) -> None:
        for named in (self.pinned_to, self.oldest_version, *self.blocked):
            check_length("node or version", named)

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

    def in_force_at(self, epoch: int) -> OperatorRecord:
        """What of it is in force while the newest term is the one with this epoch: a force that was about an earlier
        one is spent."""
        is_spent = self.forced is not None and self.forced.epoch != epoch
        return replace(self, forced=None) if is_spent else self

    def without_words(self) -> tuple[object, ...]:
        """What is ordered, without who ordered it, why and when."""
        return (self.frozen is not None, self.pinned_to, frozenset(self.blocked), self.oldest_version, self.forced)

    # ------------------------------------------------------------ reading and writing it

    def to_fields(self) -> dict[str, Any]:
        """As plain data; what is not ordered is left out."""
        fields: dict[str, Any] = {**self.rest}
        if self.frozen is not None:
            fields["frozen"] = order_fields(self.frozen)
        if self.pinned_to:
            fields["pinned"] = {**order_fields(self.pinned), "node": self.pinned_to}
        if self.blocked:
            fields["blocked"] = {name: order_fields(order) for name, order in sorted(self.blocked.items())}
        if self.oldest_version:
            fields["oldest_version"] = {**order_fields(self.versions), "version": self.oldest_version}
        if self.forced is not None:
            forced = self.forced
            words = {"epoch": forced.epoch, "to": forced.to, "instead_of": forced.instead_of}
            fields["forced"] = {**order_fields(forced.order), **words}
        return fields

    def to_value(self) -> bytes:
        """As it stands in etcd.

        Raises:
            ConfigurationError: It is too large: what nobody could read is not written, for it would undo all orders.
        """
        value = to_json({"schema": SCHEMA, **self.to_fields()})
        if len(value) > _LARGEST:
            fix = f"unblock some of the {len(self.blocked)} nodes, or give shorter reasons"
            too_large = f"orders of {len(value)} bytes, at most {_LARGEST} are kept"
            raise ConfigurationError(f"{too_large}: {fix}", field="orders")
        return value

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> OperatorRecord:
        """Read the record.

        Raises:
            RecordError: It cannot be read; nothing is known to be ordered.
        """
        if len(value) > _LARGEST:
            raise RecordError(f"orders of an operator: {len(value)} bytes", key=key.decode("ascii", "replace"))
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
            frozen=None if frozen is None else read_order(frozen),
            pinned_to="" if pinned is None else name(pinned["node"]),
            pinned=Order() if pinned is None else read_order(pinned, "node"),
            blocked={name(node_id): read_order(each) for node_id, each in data.get("blocked", {}).items()},
            oldest_version="" if oldest is None else name(oldest["version"]),
            versions=Order() if oldest is None else read_order(oldest, "version"),
            forced=None if forced is None else _forced(forced),
            rest=unknown(data, _NAMES),
        )


def read_operator(kv: KeyValue | None) -> tuple[OperatorRecord, str]:
    """The orders in force, and why the record cannot be read; then none are."""
    if kv is None:
        return OperatorRecord(), ""
    try:
        return OperatorRecord.from_value(kv.key, kv.value), ""
    except RecordError as error:
        return OperatorRecord(), str(error)


_NAMES = ("schema", "frozen", "pinned", "blocked", "oldest_version", "forced")


def _forced(data: Mapping[str, Any]) -> Forced:
    order = read_order(data, "epoch", "to", "instead_of")
    return Forced(whole(data["epoch"]), text(data.get("to", "")), text(data.get("instead_of", "")), order)
