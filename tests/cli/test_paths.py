"""Paths as they are typed, and as the nodes know them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurp_leader import SlurpSettings
from slurp_leader.cli.paths import Placed, place, presumed_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a file in a folder, and one beside it outside."""
    repository = (tmp_path / "repository").resolve()
    (repository / ".git").mkdir(parents=True)
    (repository / "src").mkdir()
    (repository / "src" / "errors.py").write_text("x = 1\n")
    (repository / "top.py").write_text("x = 1\n")
    (repository / "src" / "top.py").write_text("x = 2\n")
    (repository.parent / "outside.py").write_text("x = 1\n")
    return repository


def test_a_file_that_is_here_but_not_below_the_root_gets_a_hint_and_is_sent_as_typed(root: Path) -> None:
    placed = place("errors.py", root, root / "src")
    assert placed.path == "errors.py"
    assert "submit src/errors.py" in placed.hint


def test_a_path_from_the_root_is_plain(root: Path) -> None:
    assert place("src/errors.py", root, root) == Placed("src/errors.py")
    assert place("src/errors.py", root, root / "src") == Placed("src/errors.py")
    assert place("nowhere.py", root, root) == Placed("nowhere.py")
    assert place("nul\0.py", root, root) == Placed("nul\0.py")
    assert place("x" * 5000, root, root) == Placed("x" * 5000)


def test_a_full_path_below_the_root_gets_the_name_that_the_relative_one_has(root: Path) -> None:
    assert place(str(root / "src" / "errors.py"), root, root / "src") == Placed("src/errors.py")


def test_a_full_path_outside_the_root_is_sent_as_typed_with_a_hint(root: Path) -> None:
    outside = str(root.parent / "outside.py")
    assert place(outside, root, root).path == outside
    assert "leading /" in place(outside, root, root).hint
    assert "leading /" in place(outside, None, root).hint


def test_the_root_is_what_the_settings_say_else_that_of_the_repository(root: Path, tmp_path: Path) -> None:
    assert presumed_root(SlurpSettings(), root / "src") == root
    said = SlurpSettings(generator={"workspace_root": str(root / "src")})
    assert presumed_root(said, root) == root / "src"


def test_without_settings_and_repository_nothing_is_presumed(root: Path) -> None:
    (root / ".git").rmdir()
    if not any((folder / ".git").exists() for folder in root.parents):
        assert presumed_root(SlurpSettings(), root) is None
