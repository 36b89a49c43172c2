"""Who orders something, and why: the words that stand beside every order of an operator. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slurp_leader.errors import ConfigurationError
from slurp_leader.store.records import unknown

LONGEST_TEXT = 1024
"""Characters. Orders are copied into history, which stands in the transaction that ends a vacancy: none may be so large
that etcd refuses it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants it, why, and when it was said (UTC, by that machine's clock; for people).

    Raises:
        ConfigurationError: One of them is too long: nobody could read a record with it.
    """

    by: str = ""
    why: str = ""
    at: str = ""
    rest: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Fields that are not known."""

    def __post_init__(self) -> None:
        for field_name in ("by", "why", "at"):
            check_length(field_name, getattr(self, field_name))

    def __str__(self) -> str:
        return f"by {self.by or 'somebody'}" + (f": {self.why}" if self.why else "")


def order_fields(order: Order) -> dict[str, Any]:
    """As plain data."""
    return {**order.rest, "by": order.by, "why": order.why, "at": order.at}


def read_order(data: Mapping[str, Any], *beside: str) -> Order:
    """An order, which may have these fields of its kind beside it.

    Raises:
        TypeError, AttributeError: It is something else.
    """
    by, why, at = (_text(data.get(each, "")) for each in ("by", "why", "at"))
    return Order(by, why, at, unknown(data, ("by", "why", "at", *beside)))


def check_length(what: str, given: str) -> None:
    """Raises ConfigurationError when it is longer than `LONGEST_TEXT`."""
    if len(given) > LONGEST_TEXT:
        too_long = f"{what}: {len(given)} characters, at most {LONGEST_TEXT} are kept: shorten it"
        raise ConfigurationError(too_long, field=what)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise TypeError(f"{value!r:.80} is not text of at most {LONGEST_TEXT} characters")
    return value
