"""Looking around a file, as far as the request asks for."""

from __future__ import annotations

from dataclasses import dataclass

from slurp_leader.generators.manifests import Manifest, nearest
from slurp_leader.generators.surroundings.imports import follow, imported_by
from slurp_leader.generators.surroundings.tests import TestFile, is_test, subject_of, tests_of
from slurp_leader.generators.surroundings.view import View
from slurp_leader.generators.symbols import Structure
from slurp_leader.generators.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a file.

    Attributes:
        manifests: The nearest of each ecosystem.
        tests: Files that test this one.
        subject: The file that this one tests, when this one is a test; else empty.
        imported: Each imported module that is a file of the workspace, to that file.
        related: Files followed, nearest first, without the file itself.
        looked: How far was looked: the request's `max_depth`.
    """

    manifests: tuple[Manifest, ...] = ()
    tests: tuple[TestFile, ...] = ()
    subject: str = ""
    imported: tuple[tuple[str, str], ...] = ()
    related: tuple[str, ...] = ()
    looked: int = 0


def look_around(workspace: Workspace, path: str, language: str, structure: Structure, max_depth: int) -> Surroundings:
    """Look at what stands around a file, as far as `max_depth` allows."""
    if max_depth < 1:
        return Surroundings()
    view = View(workspace)
    manifests = nearest(workspace, path)
    tests: tuple[TestFile, ...] = ()
    subject = ""
    if is_test(path):
        subject = subject_of(view, path)
    else:
        tests = tuple(tests_of(view, path))
    imported = tuple(imported_by(view, path, language, structure, manifests)) if max_depth >= 2 else ()
    related = follow(view, path, [file for _, file in imported], manifests, max_depth - 2) if imported else ()
    return Surroundings(manifests, tests, subject, imported, related, max_depth)
