"""Reading single values of records that anybody may have written: each is what it should be, or an error says so."""

from __future__ import annotations

from typing import Any

from slurp_leader.orders import LONGEST_TEXT

_MOST_WHOLE = 2**62
_LONGEST_TTL_S = 86_400
_MOST_CAPABILITIES, _LONGEST_CAPABILITY = 64, 64


def words(value: Any) -> str:
    """Raises TypeError unless it is text, of any length."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not text")
    return value


def text(value: Any) -> str:
    """Raises TypeError unless it is text of at most `LONGEST_TEXT` characters."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise TypeError(f"{value!r:.80} is not text of at most {LONGEST_TEXT} characters")
    return value


def name(value: Any) -> str:
    """As `text`, and not empty."""
    if not text(value):
        raise ValueError("a name is empty")
    return str(value)


def capabilities(value: Any) -> tuple[str, ...]:
    """Names of capabilities. Raises TypeError when it is something else, or much more than anybody has."""
    if not isinstance(value, list) or len(value) > _MOST_CAPABILITIES:
        raise TypeError(f"not a list of at most {_MOST_CAPABILITIES} capabilities")
    if not all(isinstance(each, str) and len(each) <= _LONGEST_CAPABILITY for each in value):
        raise TypeError(f"a capability is not text of at most {_LONGEST_CAPABILITY} characters")
    return tuple(value)


def whole(value: Any, most: int = _MOST_WHOLE) -> int:
    """Raises TypeError or ValueError unless it is a whole number from 0 to `most`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is not a whole number")
    if not 0 <= value <= most:
        raise ValueError(f"a number is not from 0 to {most}")
    return value


def ttl(value: Any) -> int:
    """Raises TypeError or ValueError unless it is the TTL of a lease, in seconds: at least one, at most a day."""
    if whole(value, _LONGEST_TTL_S) < 1:
        raise ValueError("a TTL is not from 1 on")
    return int(value)


def number(value: Any, most: float) -> float:
    """Raises TypeError or ValueError unless it is a number from 0 to `most`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is not a number")
    if not 0 <= value <= most:  # NaN is neither
        raise ValueError(f"a number is not from 0 to {most:g}")
    return float(value)
