"""What is refused before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.running import Scratch
from slurp_leader.demo.command import run_demo


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return Scratch.make(tmp_path).sources


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nodes": 0}, "--nodes 0: use 1 to 9"),
        ({"nodes": 10}, "--nodes 10: use 1 to 9"),
        ({"nodes": 1}, "nobody would be left to take over"),
        ({"out": Path("report.txt")}, "has to end in .json or .md"),
        ({"out": Path("no/such/folder/report.md")}, "there is no folder"),
        ({"out": Path("/dev/full/report.md")}, "there is no folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    sources: Path, options: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(sources, **options) == 2  # type: ignore[arg-type]

    assert said in capsys.readouterr().err


def test_a_report_that_could_not_be_written_is_refused_at_once(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "report.json"
    taken.mkdir()

    assert run_demo(sources, out=taken) == 2

    assert "cannot be written" in capsys.readouterr().err


def test_a_path_that_is_no_folder_is_refused(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(sources / "run.sh") == 2

    assert "not a folder" in capsys.readouterr().err


def test_a_folder_without_sources_is_refused_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(tmp_path, json_output=True) == 2

    answer = json.loads(capsys.readouterr().out)["error"]
    assert answer["type"] == "UsageError"
    assert "holds no source files" in answer["message"]


def test_without_an_etcd_the_demo_says_how_to_get_one(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("slurp_leader.etcd.binary._candidates", lambda: iter(()))

    assert run_demo(sources) == 1

    assert "no etcd found" in capsys.readouterr().err
