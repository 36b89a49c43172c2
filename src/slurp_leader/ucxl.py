"""UCXL addresses: names for context, with a place in time.

::

    address  = "ucxl://" agent ":" role "@" project ":" task [ "/" temporal [ "/" path ] ]
    temporal = "*^" latest | "*~" any version | "*~N" version N | "~~N" N steps back | "^^N" N steps forward

Names are made of ASCII letters, digits, ``_`` and ``-``; the word ``any`` is the wildcard. A path adds ``.``
and ``/``. Case is kept. Without a temporal segment the latest version is meant.

People write two looser forms, and both are read:

* a path straight after the task: ``ucxl://a:r@p:t/src/x.py`` means ``ucxl://a:r@p:t/*^/src/x.py``;
* an authority without ``@``: ``ucxl://example.com/x.py`` means ``ucxl://any:any@example.com:any/*^/x.py``. For its
  sake a project may hold dots, in the full form too: the canonical form of an address must be an address.

What was written stays in `UcxlAddress.raw`; ``str(address)`` is the canonical form, and parsing that gives an
equal address. Timestamps, queries and fragments were planned for UCXL and never shipped: they are refused.

Source: grammar of the UCXL parser of BZZZ and CHORUS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from slurp_leader.errors import AddressError

WILDCARD = "any"
MAX_LENGTH = 1024
"""Most characters of an address."""

_SCHEME = "ucxl://"
_MAX_COUNT = 2**63 - 1
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9_-]")
_NOT_IN_PROJECT = re.compile(r"[^A-Za-z0-9_.-]")
_NOT_IN_PATH = re.compile(r"[^A-Za-z0-9_./-]")
_COUNTED = re.compile(r"(\*~|~~|\^\^)([0-9]+)", re.ASCII)
_LOOKS_TEMPORAL = ("*", "~", "^")
_FORM = "ucxl://agent:role@project:task[/temporal[/path]]"


class TemporalType(StrEnum):
    """Which versions an address means."""

    LATEST = "latest"
    ANY = "any"
    SPECIFIC = "specific"
    RELATIVE = "relative"


class Direction(StrEnum):
    """Which way a relative step goes in time."""

    BACKWARD = "backward"
    FORWARD = "forward"


@dataclass(frozen=True, slots=True)
class Temporal:
    """The temporal segment.

    Attributes:
        type: Which versions are meant.
        direction: For `RELATIVE` only.
        count: The version for `SPECIFIC`, the number of steps for `RELATIVE`, otherwise None.
    """

    type: TemporalType = TemporalType.LATEST
    direction: Direction | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        counted = self.type in (TemporalType.SPECIFIC, TemporalType.RELATIVE)
        if counted != (self.count is not None) or (self.type is TemporalType.RELATIVE) != (self.direction is not None):
            _refuse("temporal", "a specific version needs a count, a relative one a count and a direction", 0, "")
        if self.count is not None and not 0 <= self.count <= _MAX_COUNT:
            _refuse("temporal", f"the number must be 0 to {_MAX_COUNT}", 0, str(self.count))

    def __str__(self) -> str:
        match self.type:
            case TemporalType.LATEST:
                return "*^"
            case TemporalType.ANY:
                return "*~"
            case TemporalType.SPECIFIC:
                return f"*~{self.count}"
            case TemporalType.RELATIVE:
                return f"{'~~' if self.direction is Direction.BACKWARD else '^^'}{self.count}"


LATEST = Temporal()
ANY_VERSION = Temporal(TemporalType.ANY)


@dataclass(frozen=True, slots=True)
class UcxlAddress:
    """A UCXL address. Two addresses are equal when their canonical forms are.

    Attributes:
        agent, role, project, task: Names, or ``any``.
        temporal: Which version.
        path: Without a leading slash; empty when the address names no path.
        raw: What was written. Not part of equality. Empty when the address was not read from text.
    """

    agent: str = WILDCARD
    role: str = WILDCARD
    project: str = WILDCARD
    task: str = WILDCARD
    temporal: Temporal = LATEST
    path: str = ""
    raw: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("agent", "role", "project", "task"):
            _check_name(name, getattr(self, name), 0, getattr(self, name))
        if self.path != _clean_path(self.path, 0, self.path):
            _refuse("path", "write it without a leading slash, empty or '.' segments", 0, self.path)
        if len(str(self)) > MAX_LENGTH:
            _refuse(
                "address", f"longer than {MAX_LENGTH} characters in canonical form", MAX_LENGTH, self.raw or str(self)
            )

    @classmethod
    def parse(cls, text: str) -> UcxlAddress:
        """Read an address, in the full form or in one of the looser ones.

        Raises:
            AddressError: Not an address. `field` names the part, `position` the first offending character of `raw`.
        """
        return _parse(text)

    def format(self) -> str:
        """Write the canonical form; the same as ``str(address)``."""
        tail = f"/{self.path}" if self.path else ""
        return f"{_SCHEME}{self.agent}:{self.role}@{self.project}:{self.task}/{self.temporal}{tail}"

    def __str__(self) -> str:
        return self.format()

    @property
    def is_exact(self) -> bool:
        """No wildcard in any part: names one thing, though ``latest`` may be another version tomorrow."""
        names = (self.agent, self.role, self.project, self.task)
        return WILDCARD not in names and self.temporal.type is not TemporalType.ANY

    def matches(self, other: UcxlAddress, *, ignore_case: bool = False) -> bool:
        """Tell whether two addresses can mean the same thing; the order does not matter.

        Each name must be equal, or ``any`` on either side. So must the temporal segment. An address without a
        path stands for every path.
        """
        mine, theirs = self._names(ignore_case), other._names(ignore_case)
        if any(a != b and WILDCARD not in (a, b) for a, b in zip(mine[:4], theirs[:4], strict=True)):
            return False
        if mine[4] and theirs[4] and mine[4] != theirs[4]:
            return False
        return self.temporal == other.temporal or ANY_VERSION in (self.temporal, other.temporal)

    def to_wire(self) -> dict[str, Any]:
        """The parsed parts, under BZZZ's JSON names."""
        temporal: dict[str, Any] = {"type": self.temporal.type.value}
        if self.temporal.direction is not None:
            temporal["direction"] = self.temporal.direction.value
        if self.temporal.count is not None:
            temporal["count"] = self.temporal.count
        return {
            "agent": self.agent,
            "role": self.role,
            "project": self.project,
            "task": self.task,
            "temporal_segment": temporal,
            "path": self.path,
            "raw": self.raw or str(self),
        }

    def _names(self, ignore_case: bool) -> tuple[str, ...]:
        names = (self.agent, self.role, self.project, self.task, self.path)
        return tuple(name.lower() for name in names) if ignore_case else names


def parse(text: str) -> UcxlAddress:
    """Read an address; see `UcxlAddress.parse`."""
    return UcxlAddress.parse(text)


# ---------------------------------------------------------------- reading, left to right


def _parse(text: str) -> UcxlAddress:
    if not isinstance(text, str):
        _refuse("address", f"must be text, not {type(text).__name__}", 0, "")
    if len(text) > MAX_LENGTH:
        _refuse("address", f"longer than {MAX_LENGTH} characters", MAX_LENGTH, text)
    if text[: len(_SCHEME)].lower() != _SCHEME:
        _refuse("scheme", f"must begin with {_SCHEME!r}", 0, text)
    start = len(_SCHEME)
    slash = text.find("/", start)
    end = len(text) if slash < 0 else slash
    agent, role, project, task = _parse_authority(text, start, end)
    temporal, path_at = _parse_temporal(text, end)
    path = _clean_path(text[path_at:], path_at, text)
    return UcxlAddress(agent, role, project, task, temporal, path, raw=text)


def _parse_authority(text: str, start: int, end: int) -> tuple[str, str, str, str]:
    at = text.find("@", start, end)
    if at < 0:
        project = text[start:end]
        if ":" in project:
            _refuse("project", "'@project:task' is missing", end, text)
        _check_name("project", project, start, text)
        return WILDCARD, WILDCARD, project, WILDCARD
    agent, role = _parse_pair(text, start, at, ("agent", "role"))
    project, task = _parse_pair(text, at + 1, end, ("project", "task"))
    return agent, role, project, task


def _parse_pair(text: str, start: int, end: int, names: tuple[str, str]) -> tuple[str, str]:
    colon = text.find(":", start, end)
    if colon < 0:
        _check_name(names[0], text[start:end], start, text)
        _refuse(names[1], f"':{names[1]}' is missing", end, text)
    _check_name(names[0], text[start:colon], start, text)
    _check_name(names[1], text[colon + 1 : end], colon + 1, text)
    return text[start:colon], text[colon + 1 : end]


def _parse_temporal(text: str, slash: int) -> tuple[Temporal, int]:
    """Read the temporal segment after the slash at `slash`, if there is one; tell where the path begins."""
    start = slash + 1
    if not text.startswith(_LOOKS_TEMPORAL, start):  # no character of these may begin a path
        return LATEST, min(start, len(text))
    end = text.find("/", start)
    end = len(text) if end < 0 else end
    return _read_temporal(text[start:end], start, text), min(end + 1, len(text))


def _read_temporal(segment: str, start: int, raw: str) -> Temporal:
    if segment == "*^":
        return LATEST
    if segment == "*~":
        return ANY_VERSION
    if segment in ("~~", "^^"):
        _refuse("temporal", f"{segment!r} needs a number of steps, such as {segment}1", start + 2, raw)
    found = _COUNTED.fullmatch(segment)
    if found is None:
        _refuse("temporal", "must be *^, *~, *~N, ~~N or ^^N", start, raw)
    sign, count = found[1], int(found[2])
    if count > _MAX_COUNT:
        _refuse("temporal", f"the number is beyond {_MAX_COUNT}", start + 2, raw)
    if sign == "*~":
        return Temporal(TemporalType.SPECIFIC, count=count)
    return Temporal(TemporalType.RELATIVE, Direction.BACKWARD if sign == "~~" else Direction.FORWARD, count)


# ---------------------------------------------------------------- checks


def _check_name(name: str, value: str, start: int, raw: str) -> None:
    if not value:
        _refuse(name, f"is empty; write {WILDCARD!r} for the wildcard", start, raw)
    dotted = name == "project"
    bad = (_NOT_IN_PROJECT if dotted else _NOT_IN_NAME).search(value)
    if bad is not None:
        allowed = "letters, digits, '_', '-'" + (", '.'" if dotted else "")
        _refuse(name, f"holds {bad[0]!r}; allowed are {allowed}", start + bad.start(), raw)


def _clean_path(path: str, start: int, raw: str) -> str:
    """Check a path and take out empty and ``.`` segments. ``..`` is refused: a name must not climb."""
    bad = _NOT_IN_PATH.search(path)
    if bad is not None:
        hint = {"?": "there is no query part", "#": "there is no fragment part"}.get(
            bad[0], "allowed are letters, digits, '_', '-', '.', '/'"
        )
        _refuse("path", f"holds {bad[0]!r}; {hint}", start + bad.start(), raw)
    kept: list[str] = []
    at = start
    for segment in path.split("/"):
        if segment == "..":
            _refuse("path", "'..' is not allowed", at, raw)
        if segment not in ("", "."):
            kept.append(segment)
        at += len(segment) + 1
    return "/".join(kept)


def _refuse(name: str, problem: str, position: int, raw: str) -> NoReturn:
    shown = raw if len(raw) <= 120 else raw[:117] + "..."
    raise AddressError(
        f"{name} {problem} (at character {position} of {shown!r}; expected {_FORM})",
        field=name,
        position=position,
        raw=raw,
    )
