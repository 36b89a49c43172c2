"""Durations as people write them: seconds, a `timedelta`, or text such as ``5s`` and ``1m30s``."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)\s*", re.ASCII)
_FORM = "write seconds (15, 0.5) or a number with a unit: us, ms, s, m, h, d (500ms, 15s, 1m30s, 7d)"
_LONGEST = timedelta(days=36_500)  # beyond this only a slip of the keyboard; and `timedelta` overflows further up
_LONGEST_TEXT = 64


def parse_duration(value: Any) -> timedelta:
    """Read a duration.

    Args:
        value: A `timedelta`; a number of seconds; or text: a plain number (seconds), or numbers with units
            (``us ms s m h d``) one after the other, which add up.

    Raises:
        ValueError: None of these, negative, not finite, or longer than a hundred years.
    """
    duration = _read(value)
    if duration < timedelta(0):
        raise ValueError("must not be negative")
    if duration > _LONGEST:
        raise ValueError("must be shorter than a hundred years")
    return duration


def _read(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return _from_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a duration: {_FORM}")  # noqa: TRY004 - pydantic reports ValueError only
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be a finite duration: {_FORM}")
    return _from_seconds(value)


def _from_seconds(seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError("must be shorter than a hundred years") from None


def _from_text(text: str) -> timedelta:
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"must be a duration: {_FORM}")
    if _NUMBER.fullmatch(text):
        return _from_seconds(float(text))
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text):
        raise ValueError(f"must be a duration: {_FORM}")
    try:
        return timedelta(microseconds=sum(float(number) * _MICROSECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError("must be shorter than a hundred years") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration with the largest unit that divides it, so that `parse_duration` reads the same again."""
    microseconds = duration // timedelta(microseconds=1)
    if microseconds == 0:
        return "0s"
    unit = next(unit for unit, size in reversed(_MICROSECONDS.items()) if microseconds % size == 0)
    return f"{microseconds // _MICROSECONDS[unit]}{unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["number", "string"], "description": "Seconds, or text such as 500ms, 15s, 1m30s, 7d."}),
]
"""A field that holds a duration. It is a `timedelta` once read."""
