"""Which requests the demo makes of a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slurp_leader.demo.requests import LARGEST_FILE, git_root, list_files, plan_requests, spread


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "pkg").mkdir(parents=True)
    git(root, "init", "--quiet")
    for number in range(5):
        (root / "pkg" / f"part{number}.py").write_text(f'"""Part {number}."""\n')
    (root / "README.md").write_text("# Project\n")
    (root / ".gitignore").write_text("*.tmp.py\n")
    return root


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True)


def paths(root: Path, count: int = 240) -> list[str]:
    return [request.file_path for request in plan_requests(root, count).requests]


def test_the_same_folder_gives_the_same_requests(repository: Path) -> None:
    assert plan_requests(repository) == plan_requests(repository)


def test_few_files_are_seen_by_several_roles(repository: Path) -> None:
    plan = plan_requests(repository, 240)

    roles = {request.role for request in plan.requests if request.file_path == "pkg/part0.py"}
    assert len(plan.requests) == 240
    assert len(roles) == 7


def test_of_many_files_every_nth_is_taken(repository: Path) -> None:
    for number in range(100):
        (repository / f"more{number:03}.py").write_text("x = 1\n")

    plan = plan_requests(repository, 20)

    chosen = [request.file_path for request in plan.requests]
    assert len(set(chosen)) == plan.files == 20
    assert chosen[0] < "more010.py"
    assert chosen[-1] > "more090.py"


def test_what_the_generator_would_refuse_is_left_out(repository: Path) -> None:
    (repository / "binary.py").write_bytes(b"\0\1\2")
    (repository / "latin.py").write_bytes(b"# caf\xe9\n")
    (repository / "empty.py").touch()
    (repository / "huge.py").write_text("#" * (LARGEST_FILE + 1))
    (repository / "link.py").symlink_to("pkg/part0.py")
    (repository / "ignored.tmp.py").write_text("x = 1\n")
    (repository / "new\nline.py").write_text("x = 1\n")

    assert set(paths(repository)) == {*(f"pkg/part{number}.py" for number in range(5)), "README.md"}


def test_a_deleted_file_that_git_still_lists_is_left_out(repository: Path) -> None:
    git(repository, "add", ".")
    (repository / "pkg" / "part0.py").unlink()

    assert "pkg/part0.py" not in paths(repository)


def test_without_git_hidden_and_built_folders_are_left_out(tmp_path: Path) -> None:
    for folder in ("src", ".hidden", "node_modules", "env"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("x = 1\n")
    (tmp_path / "env" / "pyvenv.cfg").touch()

    assert list_files(tmp_path) == ["src/a.py"]


def test_a_folder_without_sources_gives_no_requests(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_bytes(b"\0")

    assert plan_requests(tmp_path).requests == ()


def test_the_root_of_a_subfolder_is_the_top_of_its_repository(repository: Path) -> None:
    assert git_root(repository / "pkg") == repository.resolve()


def test_outside_a_repository_the_folder_itself_is_the_root(tmp_path: Path) -> None:
    assert git_root(tmp_path) == tmp_path


def test_spreading_takes_even_distances_first_and_then_the_rest() -> None:
    names = list("abcdefgh")

    assert spread(names, 4) == ["a", "c", "e", "g", "b", "d", "f", "h"]
    assert spread(names, 9) == names
    assert spread(names, 0) == names
