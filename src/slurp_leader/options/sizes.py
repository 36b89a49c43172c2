"""Sizes as people write them: bytes, or text such as ``512KiB`` and ``1MB``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_BY_LOWER = {unit.lower(): size for unit, size in _BYTES.items()}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([a-z]*)", re.ASCII)
_FORM = "write bytes (4096) or a number with a unit: B, KiB, MiB, GiB, KB, MB, GB (512KiB, 1.5MiB)"


def parse_size(value: Any) -> int:
    """Read a size in bytes.

    Args:
        value: A whole number of bytes, or text: a number, alone or with a unit. ``KiB`` counts in 1024, ``KB`` in 1000.

    Raises:
        ValueError: Neither, negative, or not a whole number of bytes.
    """
    if isinstance(value, str):
        return _from_text(value.strip().lower())
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a size: {_FORM}")  # noqa: TRY004 - pydantic reports ValueError only
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _from_text(text: str) -> int:
    match = _SIZE.fullmatch(text)
    factor = _BY_LOWER.get(match[2] or "b") if match else None
    if match is None or factor is None:
        raise ValueError(f"must be a size: {_FORM}")
    size = Decimal(match[1]) * factor
    if size != size.to_integral_value():
        raise ValueError("must be a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """Write a size with the largest binary unit that divides it, so that `parse_size` reads the same again."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def format_about(size: int) -> str:
    """Write a measured size short, for people: rounded up to whole KiB, from 4 MiB on to whole MiB."""
    unit = 1024 if size < 4 * 1024 * 1024 else 1024 * 1024
    return format_size(-(-size // unit) * unit)


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["integer", "string"], "description": "Bytes, or text such as 512KiB, 256MiB, 1MB."}),
]
"""A field that holds a size. It is a number of bytes once read."""
