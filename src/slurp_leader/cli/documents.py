"""Records as documents of ``--json``: one set of names for all commands, whatever stands in etcd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slurp_leader.election import LeaderInfo
    from slurp_leader.election.transfer import TransferRecord

_NAMES = {"node": "node_id", "ttl": "ttl_s"}
_LEFT_OUT = ("lease",)
"""Ids of leases are larger than what JSON readers take for a whole number, and tell nobody anything."""
_NULL_WHEN_EMPTY = {
    *("before", "by", "why", "unfit", "what", "to", "instead_of", "against", "first", "first_before"),
    *("endpoint", "version"),
}
_PLACES = ("place", "place_before")
_NAMED_BY_DATA = ("blocked", "counts", "settings", "settings_changed", "control", "parts", "weights", "inputs")
"""What stands in these has names that are data, such as node ids: they are left as they are."""


def as_document(data: Any) -> Any:
    """Plain data of a record, with the names of the command line.

    >>> as_document({"node": "a", "place": 0, "why": "", "lease": 7})
    {'node_id': 'a', 'place': 1, 'why': None}
    """
    if isinstance(data, list | tuple):
        return [as_document(each) for each in data]
    if not isinstance(data, Mapping):
        return data
    return {_NAMES.get(name, name): _value(name, each) for name, each in data.items() if name not in _LEFT_OUT}


def _value(name: str, data: Any) -> Any:
    if name in _NULL_WHEN_EMPTY and data == "":
        return None
    if name in _PLACES and data is not None:
        return data + 1  # people count from 1, and the table does
    if name in _NAMED_BY_DATA and isinstance(data, Mapping):
        return {own: as_document(each) for own, each in data.items()}
    return as_document(data)


def leader_as_json(info: LeaderInfo | None) -> dict[str, Any] | None:
    """A leader as plain data; `readable` is false where only the token is known. None: nobody leads."""
    from slurp_leader.system.leader_view import describe_leader

    described = describe_leader(info)
    if info is None or described is None:
        return None
    record = info.record
    more = {"ttl_s": record.ttl_s if record else None, "reason": record.reason if record else None}
    return {**described, "endpoint": described["endpoint"] or None, **more}


def handover_as_json(record: TransferRecord | None) -> dict[str, Any] | None:
    """A handover that is under way. `offered_to`: who is asked to take over; null: nobody yet."""
    if record is None:
        return None
    told = {"to": record.to, "by": record.by, "why": record.why}
    return {"offered_to": record.node_id or None, "steps_down": record.steps_down, **as_document(told)}


def leads(info: LeaderInfo | None, *, has_begun: bool = True) -> str:
    """Who leads, in words. `has_begun`: whether it does so already."""
    if info is None:
        return "nobody leads"
    if info.record is None:
        return f"somebody leads whose record cannot be read (token {info.token})"
    verb = "leads" if has_begun else "holds the lead, and does not lead yet"
    return f"{info.record.node_id} {verb} (epoch {info.record.epoch}, token {info.token})"
