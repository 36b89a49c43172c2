"""How every record in the store is written: a JSON object that names its schema version.

Who rewrites a record that somebody else wrote keeps the fields that it does not know (`unknown`): a later version may
have written them, and reads them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import from_json

from slurp_leader.errors import RecordError

SCHEMA = 1
"""Version of all record formats. A reader refuses any other, and the record is parked (I7)."""


def read_object(key: bytes, value: bytes) -> dict[str, Any]:
    """Read a JSON object of the schema version this library knows. Unknown fields stay in it.

    Raises:
        RecordError: It is not one; `key` names the record.
    """
    name = key.decode("ascii", "replace")
    try:
        data = from_json(value, allow_inf_nan=False)
    except ValueError as error:
        raise RecordError(f"{name}: not JSON: {error}", key=name) from error
    if not isinstance(data, dict):
        raise RecordError(f"{name}: not a JSON object", key=name)
    version = data.get("schema")
    if version != SCHEMA or isinstance(version, bool):
        raise RecordError(f"{name}: schema version {version!r}; this version reads {SCHEMA}", key=name)
    return data


def unknown(data: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """The fields of an object that a reader does not know; to be written back with it."""
    return {name: value for name, value in data.items() if name not in known}


def is_of_later_version(value: bytes) -> bool:
    """Whether a record that cannot be read was written by a later version than this one: it is no garbage."""
    try:
        version = from_json(value)["schema"]
    except (KeyError, TypeError, ValueError):
        return False
    return isinstance(version, int) and version > SCHEMA
