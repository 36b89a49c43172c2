"""Whatever stands under a key: it is read, or there is one kind of error, which is short. For every kind of record."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from compatibility.values import KINDS, PREFIX, Kind
from slurp_leader.errors import RecordError

OBJECTS = {name: kind for name, kind in KINDS.items() if kind.value.startswith(b"{")}
each_kind = pytest.mark.parametrize("kind", OBJECTS.values(), ids=OBJECTS.keys())
MIB = 1024 * 1024
FOREIGN: list[Any] = [
    None, True, -1, 0, 1.5, 1e308, 10**400, "", "x", "x" * MIB, "\u0000", [], [[]], [1], {}, {"x": {}}, ["x"] * 10_000,
]  # fmt: skip
"""What a field may be forged to be."""


def read(kind: Kind, value: bytes) -> bool:
    """Whether it could be read. Any other error than the one for records fails the test, and so does a long one."""
    try:
        kind.read((PREFIX + kind.key).encode(), value)
    except RecordError as refused:
        error = refused
    else:
        return True
    assert len(str(error)) < 2000
    return False


@each_kind
def test_no_prefix_of_a_record_is_one(kind: Kind) -> None:
    assert read(kind, kind.value)
    assert not any(read(kind, kind.value[:length]) for length in range(len(kind.value)))


@each_kind
def test_random_bytes_are_no_record(kind: Kind) -> None:
    rng = random.Random(kind.key)
    assert not any(read(kind, rng.randbytes(length)) for length in range(200))
    for _ in range(300):  # and one byte that was changed is a record or is not
        changed = bytearray(kind.value)
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        read(kind, bytes(changed))


@each_kind
def test_json_that_is_no_record_is_none(kind: Kind) -> None:
    values = [b"null", b"0", b'"x"', b"[]", b"{}", b"NaN", b'{"schema":NaN}', b"[" * 100_000, b'"' + b"x" * MIB + b'"']
    assert not any(read(kind, value) for value in values)
    assert not any(read(kind, json.dumps({"schema": schema}).encode()) for schema in (0, 2, True, "1", "x" * MIB, {}))


def places(value: Any) -> list[tuple[Any, ...]]:
    """The way to every part of a record."""
    if not isinstance(value, dict | list):
        return [()]
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [(), *((name, *rest) for name, part in parts for rest in places(part))]


def forged(value: Any, place: tuple[Any, ...], part: Any) -> Any:
    if not place:
        return part
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = forged(value[place[0]], place[1:], part)
    return copy


@each_kind
def test_any_part_of_a_record_that_is_of_another_kind_or_gone_is_no_other_error(kind: Kind) -> None:
    value = json.loads(kind.value)
    for place in places(value):
        for part in FOREIGN:
            read(kind, json.dumps(forged(value, place, part)).encode())
    for name in value:
        read(kind, json.dumps({field: part for field, part in value.items() if field != name}).encode())


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"x", b"9" * MIB, b"\xff", b"[]", "٣".encode()])
def test_an_epoch_or_a_floor_that_is_none_is_passed_over(value: bytes) -> None:
    assert KINDS["epoch"].read(b"", value) == 0
    assert KINDS["floor"].read(b"", value) is None
