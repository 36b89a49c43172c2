"""Every example runs as it stands, against a real etcd; and says in one line when there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT_S = 100
NEEDS = {"fastapi_service": "fastapi"}
PRINTS = {
    "custom_generator": ("'Where to look'", "is no Markdown"),
    "fastapi_service": ("completed: Package limiter",),
    "fenced_writes": ("refused: token", "kept: of the second term"),
    "leader_only_loop": ("round 3 of", "3 rounds"),
    "periodic_report": ("report 2 by", "published 2 reports"),
    "quickstart": ("path/to/file.go: Package limiter", "4 contexts; the leader is"),
    "source_sample": ("ucxl://any:any@example.com:any/*^/path/to/file", "Package limiter"),
}
"""What each example has to say, at least."""

INSTALLED = sorted(name for name in PRINTS if name not in NEEDS or find_spec(NEEDS[name]))
"""Those whose company is there: the library is shown beside it."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs one example in the folder it lies in, as its text says, with a cluster of its own."""

    def run_example(name: str, endpoint: str, *prefix: str) -> subprocess.CompletedProcess[str]:
        others = {key: value for key, value in os.environ.items() if not key.startswith(("SLURP_", "BZZZ_"))}
        mine = {
            "SLURP_ETCD__ENDPOINTS": endpoint,
            "SLURP_NODE__CLUSTER_ID": f"examples-{uuid.uuid4().hex[:8]}",
            "HOME": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            [*prefix, sys.executable, "-W", "error::ResourceWarning", f"{name}.py"],
            cwd=EXAMPLES,
            env=others | mine,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )

    return run_example


def test_an_example_with_a_generator_of_its_own_has_a_cluster_of_its_own() -> None:
    """Else nodes with another generator that stand in the cluster ``default`` would do its work."""
    for file in EXAMPLES.glob("*.py"):
        text = file.read_text()
        if "SlurpLeaderSystem(" in text:
            settings = text + (EXAMPLES / "config.yaml").read_text() * ("config.yaml" in text)
            assert re.search(rf"cluster_id\W+{file.stem.replace('_', '-')}\b", settings), file.name


def test_every_example_is_run_by_these_tests() -> None:
    assert sorted(PRINTS) == sorted(file.stem for file in EXAMPLES.glob("*.py"))


@pytest.mark.etcd
@pytest.mark.parametrize("name", sorted(PRINTS))
def test_an_example_runs_and_shows_what_it_promises(name: str, run: Run, etcd_endpoint: str) -> None:
    if name not in INSTALLED:
        pytest.skip(f"{NEEDS[name]} is not installed")
    result = run(name, etcd_endpoint)
    assert result.returncode == 0, result.stderr
    for text in PRINTS[name]:
        assert text in result.stdout
    assert result.stderr == ""


@pytest.mark.etcd
def test_an_example_runs_under_the_guard_that_its_text_names(run: Run, etcd_endpoint: str) -> None:
    name = "leader_only_loop"
    assert "slurp guard -- python" in (EXAMPLES / f"{name}.py").read_text()
    guard = (sys.executable, "-c", "from slurp_leader.cli import main; main()", "guard", "--")
    result = run(name, etcd_endpoint, *guard)
    assert (result.returncode, result.stderr) == (0, "")
    assert all(text in result.stdout for text in PRINTS[name])


def test_without_etcd_an_example_says_so_in_one_line(run: Run) -> None:
    """All at once, as each waits for some seconds. Not `source_sample`: that one waits 30 s, as it was given."""
    names = [name for name in INSTALLED if name != "source_sample"]
    with ThreadPoolExecutor(len(names)) as pool:
        results = list(pool.map(lambda name: run(name, "127.0.0.1:9"), names))
    said = {name: (result.returncode, result.stderr) for name, result in zip(names, results, strict=True)}
    for name, (code, text) in said.items():
        assert (code, text.count("\n")) == (1, 1), said
        assert text.startswith(f"{name}: "), said
        assert "Traceback" not in text


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_an_example_is_short_enough_to_be_read(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 60
