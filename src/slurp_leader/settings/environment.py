"""Settings from environment variables: ``SLURP_<SECTION>__<FIELD>``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from slurp_leader.errors import SettingProblem
from slurp_leader.options.problems import family, field_at, refusal, submodel, suggestion
from slurp_leader.settings.layers import Layer, nest

PREFIX = "SLURP_"
NESTING = "__"

FALLBACKS = {"BZZZ_AGENT_ID": "node.id", "BZZZ_LOG_LEVEL": "logs.level"}
"""Variables that BZZZ services have already; they count only where nothing else set the field."""


def read_environment(model: type[BaseModel], environ: Mapping[str, str]) -> Layer:
    """What the environment sets.

    A variable with ``__`` in its name is meant for us and has to match a field; other ``SLURP_*`` are left alone. An
    empty variable counts as unset, as container tools pass on variables that way. Lists: ``a,b`` or ``["a", "b"]``.

    Raises:
        ConfigurationError: A variable matches no field, or its list cannot be read.
    """
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[SettingProblem] = []
    for variable in sorted(environ):
        path = _path(variable)
        if not path or not environ[variable]:
            continue
        field = field_at(model, path)
        if field is None:
            problems.append(SettingProblem(variable, _unknown(model, path)))
            continue
        name = ".".join(path)
        found[name] = decode(field, environ[variable])
        origins[name] = f"environment {variable}"
    if problems:
        raise refusal(problems)
    return Layer(nest(found), origins)


def read_fallbacks(environ: Mapping[str, str]) -> Layer:
    """What BZZZ's own variables set."""
    found = {field: environ[variable] for variable, field in FALLBACKS.items() if environ.get(variable)}
    origins = {field: f"environment {variable}" for variable, field in FALLBACKS.items() if field in found}
    return Layer(nest(found), origins)


def decode(field: FieldInfo, text: str) -> Any:
    """Text as it stands in a variable or a secret file, for one field: lists are taken apart, all else stays text."""
    if not _is_list(field.annotation):
        return text
    if not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # no list, so the check of the field refuses it, with its name


def _is_list(kind: Any) -> bool:
    """Whether values of this type are lists, or may be."""
    origin = get_origin(kind)
    if origin in {UnionType, Union}:
        return any(map(_is_list, get_args(kind)))
    return _is_list(get_args(kind)[0]) if origin is Annotated else origin in {list, tuple, set, frozenset}


def _path(variable: str) -> tuple[str, ...]:
    """The field that a variable names; empty when the variable is not for us."""
    upper = variable.upper()
    if not upper.startswith(PREFIX) or NESTING not in upper[len(PREFIX) :]:
        return ()
    return tuple(variable[len(PREFIX) :].lower().split(NESTING))


def _unknown(model: type[BaseModel], path: tuple[str, ...]) -> str:
    known = [
        f"{PREFIX}{section}{NESTING}{name}".upper()
        for section, field in model.model_fields.items()
        for name in getattr(submodel(field), "model_fields", ())
    ]
    section = field_at(model, path[:-1])
    members = family(path[-1], getattr(section and submodel(section), "model_fields", ()))
    if members:
        names = [NESTING.join((*path[:-1], name)).upper() for name in members]
        return f"no such setting; the {path[-1]} are {', '.join(PREFIX + name for name in names)}"
    wanted = f"{PREFIX}{NESTING.join(path)}"
    near = suggestion(wanted.lower(), [name.lower() for name in known])
    if near.startswith("did you mean"):
        return f"no such setting; {near.upper().replace('DID YOU MEAN', 'did you mean')}"
    return f"no such setting; sections are {', '.join(sorted(model.model_fields))}"


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a child process that is to have none of our settings from it."""
    return {key: value for key, value in environ.items() if not key.upper().startswith(PREFIX) and key not in FALLBACKS}
