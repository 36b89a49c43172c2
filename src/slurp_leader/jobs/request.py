"""What a caller asks for: one file, seen with the eyes of one role.

Bad fields never travel: a request that exists is a valid one, and every refusal is a `RequestInvalidError` that
names the field and what to write instead. Values are not echoed, since metadata may hold secrets.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, field_validator
from pydantic_core import ErrorDetails

from slurp_leader.errors import AddressError, RequestInvalidError
from slurp_leader.ucxl import UcxlAddress

MAX_TIMEOUT_S = 7 * 24 * 3600.0
MAX_METADATA_BYTES = 64 * 1024
MAX_METADATA_DEPTH = 16
MAX_FOLLOW_DEPTH = 8
_MAX_PATH_BYTES = 4096
_MAX_DERIVED_PATH = 700
_NOT_IN_ADDRESS = re.compile(r"[^A-Za-z0-9_./-]")


class Priority(StrEnum):
    """How urgent a request is."""

    BACKGROUND = "background"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """BZZZ's number of this priority: 1 (background) to 5 (critical, the most urgent)."""
        return _RANKS[self]

    @classmethod
    def parse(cls, value: object) -> Priority:
        """Read a name (in any case) or one of BZZZ's integers, 1 to 5, where 5 is the most urgent.

        Raises:
            RequestInvalidError: Anything else. `True` is not 1, and 3.0 is not 3.
        """
        if isinstance(value, str) and value.lower() in _NAMES:
            return cls(value.lower())
        if type(value) is int and 1 <= value <= len(_RANKED):
            return _RANKED[value - 1]
        raise RequestInvalidError(
            f"priority: must be one of {', '.join(_NAMES)}, or 1 to 5 (5 = critical)", field="priority"
        )


_RANKED = tuple(Priority)
_RANKS = {priority: rank for rank, priority in enumerate(_RANKED, 1)}
_NAMES = tuple(priority.value for priority in Priority)


def _to_seconds(value: object) -> object:
    """Turn what people write for a duration into seconds; leave the rest to the field's own type."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if type(value) is not int:
        return value
    return float(value) if abs(value) <= MAX_TIMEOUT_S else math.inf  # a huge integer has no float


Seconds = Annotated[float | timedelta, BeforeValidator(_to_seconds)]


class ContextGenerationRequest(BaseModel):
    """A request to generate context for one file.

    Attributes:
        file_path: The file, below the workspace root of the generator. A leading ``/`` means that root.
        role: Whose questions the context answers (developer, reviewer, architect, security, operations, tester ...).
        ucxl_address: The address as the caller wrote it, or None. Read `address` for the canonical one.
        priority: Its class in the queue. Accepts names and BZZZ's 1 to 5.
        force: Generate anew, even where something known could be used again.
        max_depth: How far the generator may look beyond the file, in steps of its own (0: the file alone).
        timeout: Seconds (or a `timedelta`) that one run may take; None for the default of the queue.
        metadata: The caller's own JSON, carried into the context node as it is. Do not change it afterwards.
        requested_by: Who asks, for people. Empty when not said.

    Raises:
        RequestInvalidError: A field is wrong. `field` names it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True, title="request"
    )

    file_path: str = Field(min_length=1)
    role: str = Field(default="general", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    ucxl_address: str | None = None
    priority: Annotated[Priority, BeforeValidator(Priority.parse)] = Priority.NORMAL
    force: bool = False
    max_depth: int = Field(default=2, ge=0, le=MAX_FOLLOW_DEPTH)
    timeout: Seconds | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    requested_by: str = Field(default="", max_length=128)

    if not TYPE_CHECKING:  # type checkers keep the signature that pydantic derives from the fields

        def __init__(self, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise _translate(error, tuple(type(self).model_fields)) from None

    @classmethod
    def build(cls, file_path: str | ContextGenerationRequest, /, **fields: Any) -> Self:
        """Make a request from a path and fields that are only known at run time, or from another request.

        Raises:
            RequestInvalidError: A field is wrong or unknown.
        """
        if isinstance(file_path, ContextGenerationRequest):
            given = {name: getattr(file_path, name) for name in file_path.model_fields_set}
            return cls(**(given | fields))
        if "file_path" in fields:
            raise RequestInvalidError("file_path: given twice", field="file_path")
        return cls(file_path=file_path, **fields)

    @property
    def address(self) -> UcxlAddress:
        """The canonical address; `address.raw` is what was written.

        Where the caller gave none it is derived: ``ucxl://any:{role}@any:any/*^/{path}``. Characters that an
        address cannot hold become ``-``, and eight hex digits of the path's SHA-256 keep such names apart.
        """
        if self.ucxl_address is not None:
            return UcxlAddress.parse(self.ucxl_address)
        return UcxlAddress(role=self.role, path=_path_in_address(self.file_path))

    @property
    def timeout_s(self) -> float | None:
        """The timeout in seconds, or None for the default of the queue."""
        return self.timeout.total_seconds() if isinstance(self.timeout, timedelta) else self.timeout

    def to_wire(self) -> dict[str, JsonValue]:
        """Plain JSON under stable names. ``address`` is the canonical form, ``ucxl_address`` what was written."""
        return {
            "file_path": self.file_path,
            "role": self.role,
            "ucxl_address": self.ucxl_address,
            "address": str(self.address),
            "priority": self.priority.value,
            "force": self.force,
            "max_depth": self.max_depth,
            "timeout_s": self.timeout_s,
            "metadata": self.metadata,
            "requested_by": self.requested_by,
        }

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Read what `to_wire` wrote. Unknown names are left out: a newer version may have written them.

        Raises:
            RequestInvalidError: Not an object, or a field is wrong.
        """
        if not isinstance(wire, Mapping):
            raise RequestInvalidError(f"request: must be a JSON object, not {type(wire).__name__}", field="request")
        fields = {name: wire[name] for name in cls.model_fields if name in wire and name != "timeout"}
        if wire.get("timeout_s") is not None:
            fields["timeout"] = wire["timeout_s"]
        return cls(**fields)

    # ------------------------------------------------------------ checks of single fields

    @field_validator("ucxl_address", mode="before")
    @classmethod
    def _read_address(cls, value: object) -> object:
        if isinstance(value, UcxlAddress):
            return value.raw or str(value)
        if isinstance(value, str):
            UcxlAddress.parse(value)
        return value

    @field_validator("file_path", "requested_by")
    @classmethod
    def _check_text(cls, value: str) -> str:
        if not value.isascii() or not value.isprintable():
            _check_printable(value)
        if len(value.encode()) > _MAX_PATH_BYTES:
            raise ValueError(f"longer than {_MAX_PATH_BYTES} bytes")
        return value

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, value: float | timedelta | None) -> float | timedelta | None:
        if isinstance(value, float) and not (math.isfinite(value) and 0 < value <= MAX_TIMEOUT_S):
            raise ValueError("is out of range")
        return value

    @field_validator("metadata")
    @classmethod
    def _check_metadata(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Check depth and size. The value is pydantic's own copy, down to the last list: the caller keeps theirs."""
        if _depth(value) > MAX_METADATA_DEPTH:
            raise ValueError(f"nested deeper than {MAX_METADATA_DEPTH} levels")
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        if len(text.encode()) > MAX_METADATA_BYTES:  # a lone surrogate fails here, as a ValueError
            raise ValueError(f"larger than {MAX_METADATA_BYTES} bytes as JSON; store it elsewhere and pass a reference")
        return value


def _check_printable(value: str) -> None:
    for at, char in enumerate(value):
        if "\ud800" <= char <= "\udfff":
            raise ValueError(f"character {at} is not valid Unicode; only UTF-8 names can be stored")
        if ord(char) < 32 or ord(char) == 127:
            raise ValueError(f"character {at} is a control character ({char!r})")


def _depth(value: JsonValue) -> int:
    """Levels of nesting, counted without recursion: hostile input is deep."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        current, depth = waiting.pop()
        if depth > MAX_METADATA_DEPTH + 1:
            return depth
        deepest = max(deepest, depth)
        if isinstance(current, dict):
            waiting += [(child, depth + 1) for child in current.values()]
        elif isinstance(current, list):
            waiting += [(child, depth + 1) for child in current]
    return deepest


def _path_in_address(file_path: str) -> str:
    segments = [part for part in file_path.split("/") if part not in ("", ".")]
    plain = "/".join(segments)
    if ".." not in segments and not _NOT_IN_ADDRESS.search(plain) and len(plain) <= _MAX_DERIVED_PATH:
        return plain
    mark = hashlib.sha256(plain.encode()).hexdigest()[:8]
    readable = _NOT_IN_ADDRESS.sub("-", "/".join("--" if part == ".." else part for part in segments))
    stem, dot, suffix = readable[-_MAX_DERIVED_PATH:].strip("/").rpartition(".")
    if not dot or "/" in suffix or not stem:
        stem, dot, suffix = readable[-_MAX_DERIVED_PATH:].strip("/"), "", ""
    return f"{stem}-{mark}{dot}{suffix}"


# ---------------------------------------------------------------- errors

_FIXES = {
    "file_path": "give the path of a file below the workspace root, such as 'src/main.py'",
    "role": "use 1 to 64 letters, digits, '_' or '-', such as 'developer'",
    "ucxl_address": "write ucxl://agent:role@project:task/*^/path, or leave it out",
    "force": "use True or False",
    "max_depth": f"use a whole number from 0 to {MAX_FOLLOW_DEPTH}",
    "timeout": f"use seconds or a timedelta, more than 0 and at most {MAX_TIMEOUT_S:.0f} seconds",
    "metadata": f"use a JSON object, at most {MAX_METADATA_DEPTH} levels and {MAX_METADATA_BYTES} bytes",
    "requested_by": "use at most 128 printable characters",
}


_PROBLEMS = {
    "string_pattern_mismatch": "is empty, too long, or holds other characters",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "greater_than_equal": "is out of range",
    "less_than_equal": "is out of range",
    "finite_number": "is not a finite number",
    "invalid-json-value": "holds something that is not JSON",
}
"""Pydantic's kinds of findings, in our words."""


def _translate(error: ValidationError, known: tuple[str, ...]) -> RequestInvalidError:
    """Turn pydantic's report into one error about its first finding."""
    finding = error.errors(include_url=False, include_input=False)[0]
    name = str(finding["loc"][0]) if finding["loc"] else "request"
    if finding["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return RequestInvalidError(f"{name[:64]}: no such field; {hint}", field=name)
    cause = finding.get("ctx", {}).get("error")
    if isinstance(cause, RequestInvalidError):
        return cause
    return RequestInvalidError(f"{name}: {_problem(finding, cause)}; {_FIXES.get(name, 'see its type')}", field=name)


def _problem(finding: ErrorDetails, cause: object) -> str:
    if isinstance(cause, AddressError):
        return str(cause)
    if finding["type"] == "missing":
        return "is missing"
    if isinstance(cause, UnicodeError):
        return "holds text that is not valid Unicode"
    if isinstance(cause, Exception):
        return str(cause)
    if finding["type"].endswith("_type"):
        return "is of another type"
    return _PROBLEMS.get(finding["type"], "cannot be used as it is")
