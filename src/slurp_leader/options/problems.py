"""From pydantic's errors to one `ConfigurationError`: field, value and fix, and never a secret."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, get_args

from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from slurp_leader.errors import ConfigurationError, SettingProblem
from slurp_leader.options.durations import format_duration
from slurp_leader.options.fields import FieldError

Path = tuple[str, ...]

_SHOWN = 60
_USERINFO = re.compile(r"[^\s'\"]+@")
_SHARE = "weight_"
"""Fields whose names begin so are shares of one whole."""
_NEAR_ENOUGH = 1e-6
"""Shares written in decimals sum to 1 up to so much."""
_MOST_ENTRIES = 3
"""So many wrong entries of a list are quoted."""


def configuration_error(
    model: type[BaseModel],
    error: ValidationError,
    *,
    section: str = "",
    origin: Callable[[str], str] = lambda field: "",
) -> ConfigurationError:
    """Say in our words what pydantic found wrong.

    Args:
        model: The model that was being built.
        error: What pydantic said.
        section: Put before every field name.
        origin: Tells for a dotted field which source set it; empty when that is not known.
    """
    prefix = (section,) if section else ()
    problems: list[SettingProblem] = []
    for details in error.errors(include_url=False):
        problems.extend(_problems(model, details, prefix))
    return refusal(replace(problem, origin=problem.origin or origin(problem.field)) for problem in problems)


def refusal(problems: Iterable[SettingProblem]) -> ConfigurationError:
    """One error for all that is wrong, so that a file can be corrected in one go."""
    found = tuple(problems)
    lines = [str(problem) for problem in found]
    message = lines[0] if len(lines) == 1 else "\n  - ".join([f"{len(lines)} settings are wrong:", *lines])
    return ConfigurationError(message, field=found[0].field, problems=found)


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to say about a name that nobody knows: the nearest known one, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """The field that a path leads to, through nested models; None when there is none."""
    field: FieldInfo | None = None
    current: type[BaseModel] | None = model
    for name in path:
        field = current.model_fields.get(name) if current else None
        if field is None:
            return None
        current = submodel(field)
    return field


def submodel(field: FieldInfo) -> type[BaseModel] | None:
    """The model that a field holds, if it holds one."""
    return next((kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)), None)


def is_secret(field: FieldInfo) -> bool:
    """Whether the value of a field must never be shown."""
    return any(issubclass(kind, SecretStr | SecretBytes) for kind in _kinds(field.annotation))


def _kinds(annotation: Any) -> list[type]:
    arguments = get_args(annotation)
    if not arguments:
        return [annotation] if isinstance(annotation, type) else []
    return [kind for argument in arguments for kind in _kinds(argument)]


def _problems(model: type[BaseModel], details: ErrorDetails, prefix: Path) -> tuple[SettingProblem, ...]:
    inner = details.get("ctx", {}).get("error")
    if isinstance(inner, ConfigurationError) and inner.problems:
        return inner.problems  # from the options of a section, complete with its name
    path = tuple(str(part) for part in details["loc"])
    if isinstance(inner, FieldError):
        return (_of_several(_model_at(model, path), inner, details["input"], prefix + path),)
    if details["type"] == "extra_forbidden":
        # The value stays unsaid: behind a mistyped `pasword` there is a password.
        return (SettingProblem(".".join(prefix + path), f"unknown setting; {_instead(model, path)}"),)
    given = _given(model, path, details)
    return (SettingProblem(".".join(prefix + path), _reason(details, shows=bool(given)), given),)


def _instead(model: type[BaseModel], path: Path) -> str:
    holder = _model_at(model, path[:-1])
    fields = holder.model_fields if holder else {}
    members = family(path[-1], fields)
    return f"the {path[-1]} are {', '.join(members)}" if members else suggestion(path[-1], fields)


def family(name: str, known: Iterable[str]) -> list[str]:
    """The known names that an unknown one stands for, as `weights` does for all of `weight_...`; else none."""
    stem = name.lower().removesuffix("s")
    members = [each for each in known if each.startswith(f"{stem}_")]
    return members if name.lower() == f"{stem}s" and len(members) > 1 else []


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    field = field_at(model, path) if path else None
    return submodel(field) if field else (None if path else model)


def _of_several(model: type[BaseModel] | None, error: FieldError, given: Any, holder: Path) -> SettingProblem:
    """What a check over several fields found. Of shares that do not make one whole: which were set, and how far off."""
    plain = SettingProblem(".".join((*holder, error.field)), error.reason)
    if model is None or not error.field.startswith(_SHARE) or not isinstance(given, Mapping):
        return plain
    fields = {name: field for name, field in model.model_fields.items() if name.startswith(_SHARE)}
    ours = [name for name in fields if name in given]
    shares = {name: float(given.get(name, field.default)) for name, field in fields.items()}
    off = math.fsum(shares.values()) - 1
    if not ours or abs(off) <= _NEAR_ENOUGH:
        return plain
    total = " + ".join(f"{name} {share:g}" for name, share in shares.items())
    change = f"take {off:.6g} away from" if off > 0 else f"add {-off:.6g} to"
    named = f"set are {', '.join(ours)}; " if len(ours) > 1 else ""
    reason = f"{named}{total} = {off + 1:.6g}, not 1: {change} some of them"
    return SettingProblem(".".join((*holder, ours[0])), reason, shown(given[ours[0]]))


def _reason(details: ErrorDetails, *, shows: bool) -> str:
    if details["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return "must be a section with settings in it, not a single value"
    if details["type"] in {"tuple_type", "list_type", "set_type", "frozen_set_type"}:
        return f"must be a list: write it as in {_as_list(details['input'] if shows else None)}"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return _without_userinfo(re.sub(r"^Input should (be )?", r"must \1", message))


def _as_list(value: Any) -> str:
    """What somebody wrote as a single value, as he should have; of what is not to be shown, an example."""
    is_plain = isinstance(value, str) and 0 < len(value) <= _SHOWN and value.isprintable() and "@" not in value
    return json.dumps([value], ensure_ascii=False) if is_plain else '["a", "b"]'


def _given(model: type[BaseModel], path: Path, details: ErrorDetails) -> str:
    """The bad value, as far as it may be shown: plain values of known fields that are no secrets."""
    known = path
    while known and field_at(model, known) is None:
        known = known[:-1]  # the end of a path may be a place in a list
    field = field_at(model, known)
    value = details["input"]
    if field is None or is_secret(field) or submodel(field) or details["type"] == "missing":
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, _wrong_entries(field, value)))
    if isinstance(value, timedelta):
        return format_duration(value)
    if not isinstance(value, str | int | float | bool | None):
        return ""
    return shown(value)


def _wrong_entries(field: FieldInfo, entries: list[Any] | tuple[Any, ...]) -> list[Any]:
    """The entries of a list that are refused by themselves; empty when only the whole is wrong, as when one is there
    twice."""
    kind: Any = Annotated[field.annotation, *field.metadata]
    adapter = TypeAdapter[Any](kind)
    wrong = []
    for entry in entries:
        try:
            adapter.validate_python([entry])
        except ValidationError:
            wrong.append(entry)
    return [entry for entry in wrong if isinstance(entry, str | int | float | bool | None)][:_MOST_ENTRIES]


def shown(value: object) -> str:
    """A value for an error message: one line, not too long, without the user and password of an address."""
    text = repr(value)
    if "@" in text:
        text = f"{text[0]}**********{text[text.rindex('@') :]}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _without_userinfo(text: str) -> str:
    """A reason without user and password of an address that it repeats: ``http://user:password@host``."""
    return _USERINFO.sub("**********@", text)
