"""From pydantic's errors to one `ConfigurationError`: field, value and fix, and never a secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from slurp_leader.errors import ConfigurationError, SettingProblem
from slurp_leader.options.durations import format_duration
from slurp_leader.options.fields import FieldError

Path = tuple[str, ...]

_SHOWN = 60
_USERINFO = re.compile(r"[^\s'\"]+@")


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
        return (SettingProblem(".".join((*prefix, *path, inner.field)), inner.reason),)
    if details["type"] == "extra_forbidden":
        # The value stays unsaid: behind a mistyped `pasword` there is a password.
        return (SettingProblem(".".join(prefix + path), f"unknown setting; {_instead(model, path)}"),)
    return (SettingProblem(".".join(prefix + path), _reason(details), _given(model, path, details)),)


def _instead(model: type[BaseModel], path: Path) -> str:
    holder: type[BaseModel] | None = model
    if len(path) > 1:
        field = field_at(model, path[:-1])
        holder = submodel(field) if field else None
    return suggestion(path[-1], holder.model_fields if holder else ())


def _reason(details: ErrorDetails) -> str:
    if details["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return "must be a section with settings in it, not a single value"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return _without_userinfo(re.sub(r"^Input should (be )?", r"must \1", message))


def _given(model: type[BaseModel], path: Path, details: ErrorDetails) -> str:
    """The bad value, as far as it may be shown: plain values of known fields that are no secrets."""
    known = path
    while known and field_at(model, known) is None:
        known = known[:-1]  # the end of a path may be a place in a list
    field = field_at(model, known)
    value = details["input"]
    if field is None or is_secret(field) or submodel(field) or details["type"] == "missing":
        return ""
    if isinstance(value, timedelta):
        return format_duration(value)
    if not isinstance(value, str | int | float | bool | None):
        return ""
    return shown(value)


def shown(value: object) -> str:
    """A value for an error message: one line, not too long, without the user and password of an address."""
    text = repr(value)
    if "@" in text:
        text = f"{text[0]}**********{text[text.rindex('@') :]}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _without_userinfo(text: str) -> str:
    """A reason without user and password of an address that it repeats: ``http://user:password@host``."""
    return _USERINFO.sub("**********@", text)
