"""What git tells about a file, and that git never fails the job."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from slurp_leader.generators import history as history_module
from slurp_leader.generators.history import GitOptions, explain, history_of

from .running import Git, Write


def commit(git: Git, subject: str, **who: object) -> None:
    git("add", "--all")
    git("commit", "--quiet", "--message", subject, **who)


def test_commits_authors_and_churn_of_a_file(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet")
    write("src/a b.py", "1\n2\n3\n")
    commit(git, "First", author="Ann", day=1)
    write("src/a b.py", "1\n2\n4\n5\n")
    commit(git, "Second\n\nwith a body", author="Bob", day=2)
    write("other.py", "1\n")
    commit(git, "Elsewhere", author="Cleo", day=3)
    data = write("src/a b.py", "1\n2\n4\n5\n").read_bytes()
    history, note = history_of(root, "src/a b.py", data)
    assert history is not None
    assert note == ""
    assert [(one.subject, one.author, one.date[:10], one.added, one.deleted) for one in history.commits] == [
        ("Second", "Bob", "2026-01-02", 2, 1),
        ("First", "Ann", "2026-01-01", 3, 0),
    ]
    assert history.commit == history.commits[0].id == git("rev-parse", "HEAD~1").strip()
    assert [(one.name, one.commits) for one in history.authors] == [("Ann", 1), ("Bob", 1)]
    assert (history.total, history.truncated, history.added, history.deleted, history.modified) == (
        2,
        False,
        5,
        1,
        False,
    )


def test_a_file_that_differs_from_its_commit_is_modified(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet")
    write("a.py", "1\n")
    commit(git, "First")
    for data, modified in ((b"1\n", False), (b"1\r\n", False), (b"2\n", True)):
        history, _ = history_of(root, "a.py", data)
        assert history is not None
        assert history.modified is modified


def test_more_commits_than_wanted_are_cut_and_the_cut_is_told(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet")
    for number in range(4):
        write("a.py", f"{number}\n")
        commit(git, f"Number {number}")
    history, _ = history_of(root, "a.py", b"3\n", GitOptions(commits=3))
    assert history is not None
    assert ([one.subject for one in history.commits], history.truncated) == (
        ["Number 3", "Number 2", "Number 1"],
        True,
    )


def test_a_name_that_looks_like_an_option_or_a_pattern_is_a_name(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet")
    write("--output=x", "1\n")
    write("*.py", "1\n")
    write("b.py", "1\n")
    commit(git, "First")
    write("b.py", "2\n")
    commit(git, "Second")
    for name in ("--output=x", "*.py"):
        history, note = history_of(root, name, b"1\n")
        assert history is not None, note
        assert [one.subject for one in history.commits] == ["First"]
    assert not (root / "x").exists()


def test_control_characters_in_a_subject_do_not_travel_on(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet")
    write("a.py", "1\n")
    commit(git, "Red \x1b[31m alert \x07" + "x" * 500)
    history, _ = history_of(root, "a.py", b"1\n")
    assert history is not None
    assert history.commits[0].subject.isprintable()
    assert len(history.commits[0].subject) <= 120


def test_the_repository_may_begin_above_the_workspace(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet")
    write("inner/a.py", "1\n")
    commit(git, "First")
    history, _ = history_of(root / "inner", "a.py", b"1\n")
    assert history is not None
    assert not history.modified


def test_no_history_is_no_fault_and_the_note_says_why(root: Path, write: Write, git: Git) -> None:
    assert history_of(root, "a.py", b"") == (None, "not in a git repository")
    git("init", "--quiet")
    assert history_of(root, "a.py", b"") == (None, "the git repository has no commits yet")
    write("b.py", "1\n")
    commit(git, "First")
    assert history_of(root, "a.py", b"") == (None, "not committed to git")


def test_variables_that_point_git_elsewhere_are_left_out(
    root: Path, write: Write, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("init", "--quiet")
    write("a.py", "1\n")
    commit(git, "First")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert history_of(root, "a.py", b"1\n")[0] is not None


def test_a_repository_cannot_make_us_run_its_programs(root: Path, write: Write, git: Git, tmp_path: Path) -> None:
    git("init", "--quiet")
    write("a.py", "1\n")
    write(".gitattributes", "*.py diff=evil\n")
    commit(git, "First")
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    evil.chmod(0o755)
    for name in (
        "core.pager",
        "core.fsmonitor",
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "gpg.program",
    ):
        git("config", name, str(evil))
    git("config", "log.showSignature", "true")
    assert history_of(root, "a.py", b"1\n")[0] is not None
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_repository_of_another_user_is_read_only_when_trusted(root: Path, write: Write, git: Git) -> None:
    git("init", "--quiet")
    write("a.py", "1\n")
    commit(git, "First")
    for path in (root, root / ".git"):
        os.chown(path, 12345, 12345)
    history, note = history_of(root, "a.py", b"1\n")
    assert history is None
    assert "trust_owner" in note
    assert history_of(root, "a.py", b"1\n", GitOptions(trust_owner=True))[0] is not None


def test_the_complaints_of_git_are_put_in_plain_words() -> None:
    assert "safe.directory" in explain("fatal: detected dubious ownership in repository at '/x'\nTo add ...")
    assert explain("fatal: bad object HEAD\n") == "git failed: fatal: bad object HEAD"
    assert explain("") == "git failed: no reason given"


def test_a_git_that_does_not_answer_is_given_up(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(history_module, "_git", lambda: str(slow))
    assert history_of(root, "a.py", b"", GitOptions(timeout_s=0.1)) == (None, "git did not answer within 0.1 s")


def test_without_git_there_is_no_history(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "_git", lambda: None)
    assert history_of(root, "a.py", b"") == (None, "git is not installed here")
    monkeypatch.setattr(history_module, "_git", lambda: str(root / "gone"))
    assert history_of(root, "a.py", b"")[1].startswith("git could not be started")


def test_git_itself_is_here_for_these_tests() -> None:
    assert subprocess.run(["git", "--version"], capture_output=True, check=True).stdout
