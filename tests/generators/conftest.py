"""A workspace to work on, a job to run in, and a git repository made on the spot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .running import Git, RunningJob, Write


@pytest.fixture
def job() -> RunningJob:
    return RunningJob()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty workspace; its parent is a safe place for what lies outside."""
    path = tmp_path / "workspace"
    path.mkdir()
    return path


@pytest.fixture
def write(root: Path) -> Write:
    def write_file(name: str, content: str | bytes) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.fixture
def git(root: Path) -> Git:
    """Run git in the workspace, as somebody with a name, at a time that does not change."""

    def run(*arguments: str, author: str = "Ann", day: int = 1) -> str:
        date = f"2026-01-{day:02d}T12:00:00+00:00"
        mail = f"{author.lower()}@example.com"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
            "GIT_AUTHOR_NAME": author,
            "GIT_AUTHOR_EMAIL": mail,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": author,
            "GIT_COMMITTER_EMAIL": mail,
            "GIT_COMMITTER_DATE": date,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
        }
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    return run
