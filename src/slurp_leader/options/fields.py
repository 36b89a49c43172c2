"""Small field types that pydantic alone reads too generously."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StrictBool

_CAPABILITY = re.compile(r"[a-z0-9_.-]{1,64}", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class FieldError(ValueError):
    """Raised by a check over several fields, to say which one has to change.

    Left to itself, pydantic blames the whole section.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


def _refuse_bool(value: Any) -> Any:
    # Left alone, pydantic reads `workers = true` as one worker.
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - pydantic reports ValueError only
    return value


def _check_segment(text: str) -> str:
    if not _SEGMENT.fullmatch(text) or text in {".", ".."}:
        raise ValueError("must be 1 to 128 letters, digits, dots, dashes or underscores: it is a part of etcd keys")
    return text


def _read_switch(value: Any) -> Any:
    return _SWITCH.get(value.strip().lower(), value) if isinstance(value, str) else value


def _check_capabilities(names: tuple[str, ...]) -> tuple[str, ...]:
    lowered = tuple(name.lower() for name in names)
    for name in lowered:
        if not _CAPABILITY.fullmatch(name):
            raise ValueError("each must be 1 to 64 letters, digits, dots, dashes or underscores")
    if len(set(lowered)) < len(lowered):
        raise ValueError("must not name a capability twice")
    return lowered


Count = Annotated[int, BeforeValidator(_refuse_bool)]
"""A whole number of things."""

Ratio = Annotated[float, BeforeValidator(_refuse_bool)]
"""A plain number, usually 0 to 1."""

Flag = Annotated[StrictBool, BeforeValidator(_read_switch)]
"""On or off: a bool, or the text true, false, yes, no, on, off, 1, 0 (the environment has only text)."""

KeySegment = Annotated[str, AfterValidator(_check_segment)]
"""A name that stands between two slashes of an etcd key: ``[A-Za-z0-9._-]{1,128}``."""

Capabilities = Annotated[tuple[str, ...], AfterValidator(_check_capabilities)]
"""What a node can do, or has to be able to do: names of 1 to 64 ``a-z 0-9 . _ -``, each once, kept in lower case."""
