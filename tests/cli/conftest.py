"""The program in this process, and nodes for it to talk to."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.cli import main
from slurp_leader.etcd.local import EtcdProcess
from support.waiting import WAIT_S


@dataclass(frozen=True)
class Result:
    """What one call of ``slurp`` came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


Slurp = Callable[..., Result]


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test, and no settings file to be found."""
    for name in list(os.environ):
        if name.startswith(("SLURP_", "BZZZ_", "NO_COLOR", "FORCE_COLOR", "COLUMNS")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def slurp(capsys: pytest.CaptureFixture[str]) -> Slurp:
    """Runs the program as the entry point does."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        assert "Traceback" not in written.out + written.err
        return Result(code, written.out, written.err)

    return run


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that contexts are generated for."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "greet.py").write_text('"""Greets people."""\n\n\ndef greet(name: str) -> str:\n    return name\n')
    monkeypatch.setenv("SLURP_GENERATOR__WORKSPACE_ROOT", str(folder))
    return folder


@pytest.fixture
def cluster(etcd_server: EtcdProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster of its own on the shared etcd, known to the program through the environment."""
    cluster_id = f"cli-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", etcd_server.endpoint)
    monkeypatch.setenv("SLURP_NODE__CLUSTER_ID", cluster_id)
    monkeypatch.setenv("SLURP_ELECTION__LEASE_TTL", "3")
    return cluster_id


@pytest.fixture
def node(cluster: str, workspace: Path) -> Iterator[SlurpLeaderSystem]:
    """A node that leads the cluster, with the built-in generator."""
    with SlurpLeaderSystem(SlurpSettings(node={"id": "node-a"})) as system:
        assert system.wait_for_leadership(WAIT_S)
        yield system
