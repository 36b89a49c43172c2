"""``--app module:attribute``: find what a service has written for us."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from slurp_leader.cli.exits import UsageError

_FORM = "write module:attribute, such as service.work:generate"


def load_app(spec: str) -> Any:
    """The object that ``module:attribute`` names.

    Raises:
        UsageError: No such module or attribute, it cannot be imported, or it is nothing we could run.
    """
    module_name, colon, path = spec.partition(":")
    if not (colon and module_name and path):
        raise UsageError(f"--app {spec!r}: {_FORM}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: Any = _import(spec, module_name)
    for name in path.split("."):
        found = _attribute(spec, found, name)
    if inspect.isclass(found):
        raise UsageError(f"--app {spec!r}: a class; name an object made from it, or a function")
    if not (callable(found) or callable(getattr(found, "generate", None)) or _is_system(found)):
        kind = type(found).__name__
        raise UsageError(f"--app {spec!r}: a {kind}; name a generator (function or object) or a SlurpLeaderSystem")
    return found


def _import(spec: str, name: str) -> ModuleType:
    try:
        missing = find_spec(name) is None
    except (ModuleNotFoundError, ValueError):
        missing = True
    if missing:
        raise UsageError(f"--app {spec!r}: no module {name!r} in {os.getcwd()!r} or among the installed ones")
    try:
        return import_module(name)
    except Exception as error:
        raise UsageError(f"--app {spec!r}: importing it failed: {type(error).__name__}: {error}") from error


def _attribute(spec: str, holder: Any, name: str) -> Any:
    try:
        return getattr(holder, name)
    except AttributeError:
        near = difflib.get_close_matches(name, dir(holder), n=1)
        hint = f"did you mean {near[0]!r}?" if near else _FORM
        raise UsageError(f"--app {spec!r}: there is no {name!r}; {hint}") from None


def _is_system(found: Any) -> bool:
    from slurp_leader.system import SlurpLeaderSystem

    return isinstance(found, SlurpLeaderSystem)
