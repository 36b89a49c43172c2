"""The source of the package, read but not run."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import slurp_leader

ROOT = Path(__file__).parents[2]
PACKAGE = Path(slurp_leader.__file__).parent


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the package by its path below it, such as ``etcd/calls.py``."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def imports() -> dict[str, frozenset[str]]:
    """What every module imports."""
    return {name: frozenset(imported(tree)) for name, tree in trees().items()}


def imported(tree: ast.Module) -> Iterator[str]:
    """Full names of all modules that are imported anywhere in it, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def all_modules() -> list[ModuleType]:
    """Every module of the package, imported. Those with a `__main__` only run are left out."""
    names = [info.name for info in pkgutil.walk_packages(slurp_leader.__path__, "slurp_leader.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]
