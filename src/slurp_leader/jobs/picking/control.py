"""What operators have ordered for the queue: ``control/queue``, one record, in force under every leader. Pure values.

A *scope* says whom an order is about: ``all``, ``role:developer``, ``project:shop``; of limits also ``each-role`` and
``each-project``, for those that have no limit of their own.

A record that cannot be read means nothing and is shown to be so (I7). Fields that are not known are kept: whoever
changes the record may be of an older version than who wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import to_json

from slurp_leader.errors import ConfigurationError, RecordError
from slurp_leader.orders import Order, order_fields, read_order
from slurp_leader.store.records import SCHEMA, read_object, unknown

ALL = "all"
EACH_ROLE = "each-role"
EACH_PROJECT = "each-project"
MOST_WORKERS = 256
_MOST = 1_000_000
_LONGEST_SCOPE = 1024
_LARGEST = 256 * 1024
"""Bytes of a record: some thousand orders."""
_NAMES = ("schema", "op", "paused", "limits", "workers", "draining")


def role_scope(role: str) -> str:
    """The scope of one role."""
    return f"role:{role}"


def project_scope(project: str) -> str:
    """The scope of one project."""
    return f"project:{project}"


def check_scope(scope: object, *, of_limit: bool = False) -> str:
    """The scope, if it is one.

    Raises:
        ConfigurationError: It is none; says what is.
    """
    each = (EACH_ROLE, EACH_PROJECT) if of_limit else ()
    if isinstance(scope, str) and len(scope) <= _LONGEST_SCOPE:
        kind, colon, name = scope.partition(":")
        if scope in (ALL, *each) or (kind in ("role", "project") and colon and name):
            return scope
    known = ", ".join((ALL, *each))
    raise ConfigurationError(f"scope: use {known}, role:NAME or project:NAME", field="scope")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many jobs run at once."""

    most: int
    order: Order = field(default_factory=Order)


@dataclass(frozen=True, slots=True)
class QueueControl:
    """The value of ``control/queue``.

    Attributes:
        paused: Of these scopes no job is started. What runs goes on.
        limits: By scope.
        workers: How many workers a leader has, whatever its settings say; None: as they say.
        draining: No new jobs are taken; what is queued is worked off.
        op: Unique to the write that made this record.
    """

    paused: Mapping[str, Order] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    workers: Limit | None = None
    draining: Order | None = None
    op: str = ""
    rest: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Fields that are not known."""

    # ------------------------------------------------------------ changing it

    def pause(self, scope: str, order: Order) -> QueueControl:
        return replace(self, paused={**self.paused, scope: order})

    def resume(self, scope: str) -> QueueControl:
        """Start jobs of this scope again; `ALL` ends a drain too."""
        kept = {name: order for name, order in self.paused.items() if name != scope}
        return replace(self, paused=kept, draining=None if scope == ALL else self.draining)

    def drain(self, order: Order) -> QueueControl:
        return replace(self, draining=order)

    def limit(self, scope: str, most: int | None, order: Order) -> QueueControl:
        """Set a limit; None takes it away, so that the settings hold again."""
        limits = {name: limit for name, limit in self.limits.items() if name != scope}
        if most is not None:
            limits[scope] = Limit(_count(scope, most, 0, _MOST), order)
        return replace(self, limits=limits)

    def scale(self, workers: int | None, order: Order) -> QueueControl:
        """Set the number of workers; None: as the settings of each leader say."""
        limit = None if workers is None else Limit(_count("workers", workers, 1, MOST_WORKERS), order)
        return replace(self, workers=limit)

    def without_words(self) -> tuple[object, ...]:
        """What is ordered, without who ordered it, why and when."""
        limits = frozenset((scope, limit.most) for scope, limit in self.limits.items())
        workers = self.workers.most if self.workers else None
        return frozenset(self.paused), limits, workers, self.draining is not None

    # ------------------------------------------------------------ reading and writing it

    def to_fields(self) -> dict[str, Any]:
        """As plain data; what is not ordered is left out."""
        fields: dict[str, Any] = {**self.rest}
        if self.paused:
            fields["paused"] = {scope: order_fields(order) for scope, order in sorted(self.paused.items())}
        if self.limits:
            fields["limits"] = {scope: _limit_fields(limit) for scope, limit in sorted(self.limits.items())}
        if self.workers is not None:
            fields["workers"] = _limit_fields(self.workers)
        if self.draining is not None:
            fields["draining"] = order_fields(self.draining)
        return fields

    def to_value(self) -> bytes:
        """As it stands in etcd.

        Raises:
            ConfigurationError: It is too large: what nobody could read is not written, for it would undo all orders.
        """
        value = to_json({"schema": SCHEMA, "op": self.op, **self.to_fields()})
        if len(value) > _LARGEST:
            raise ConfigurationError(
                f"orders of {len(value)} bytes, at most {_LARGEST} are kept: resume or lift some of them",
                field="orders",
            )
        return value

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> QueueControl:
        """Read the record.

        Raises:
            RecordError: It cannot be read; nothing is known to be ordered.
        """
        name = key.decode("ascii", "replace")
        if len(value) > _LARGEST:
            raise RecordError(f"orders for the queue: {len(value)} bytes", key=name)
        data = read_object(key, value)
        try:
            workers, draining = data.get("workers"), data.get("draining")
            return cls(
                paused={_scope(scope): read_order(each) for scope, each in data.get("paused", {}).items()},
                limits={_scope(scope): _limit(each, 0, _MOST) for scope, each in data.get("limits", {}).items()},
                workers=None if workers is None else _limit(workers, 1, MOST_WORKERS),
                draining=None if draining is None else read_order(draining),
                op=str(data.get("op", "")),
                rest=unknown(data, _NAMES),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ConfigurationError) as error:
            raise RecordError(f"orders for the queue: {error!r}", key=name) from error


NOTHING_ORDERED = QueueControl()


def _limit_fields(limit: Limit) -> dict[str, Any]:
    return {**order_fields(limit.order), "most": limit.most}


def _limit(data: Mapping[str, Any], least: int, most: int) -> Limit:
    return Limit(_count("most", data["most"], least, most), read_order(data, "most"))


def _scope(text: Any) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_SCOPE:
        raise ValueError(f"a scope is not text of 1 to {_LONGEST_SCOPE} characters")
    return text


def _count(what: str, given: Any, least: int, most: int) -> int:
    if type(given) is not int or not least <= given <= most:
        raise ConfigurationError(f"{what}: use a whole number from {least} to {most}", field=what)
    return given
