"""The README's Python blocks run as printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

BLOCKS = re.findall(r"^```python\n(.*?)^```", Path(__file__).parents[2].joinpath("README.md").read_text(), re.S | re.M)

pytestmark = pytest.mark.etcd


def run(block: str, endpoint: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {
        "SLURP_ETCD__ENDPOINTS": endpoint,
        "SLURP_NODE__CLUSTER_ID": f"readme-{uuid.uuid4().hex[:8]}",
        "PYTHONUNBUFFERED": "1",
    }
    program = folder / "program.py"
    program.write_text(block)
    command = [sys.executable, str(program)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, text=True)


def test_there_are_blocks_for_the_election_for_periodic_work_for_the_queue_its_operation_and_executors() -> None:
    assert len(BLOCKS) == 5


def test_the_election_block_publishes_and_ends_at_ctrl_c(etcd_endpoint: str, tmp_path: Path) -> None:
    process = run(BLOCKS[0], etcd_endpoint, tmp_path)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("publishing, fenced by ")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    finally:
        process.kill()
        process.communicate()


def test_the_block_of_periodic_work_reports_and_ends_at_return(etcd_endpoint: str, tmp_path: Path) -> None:
    process = run(BLOCKS[1], etcd_endpoint, tmp_path)
    try:
        assert process.stdout is not None
        seen = ""
        while "report " not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "printed"),
    [(2, "'path': 'src/main.py'"), (3, "their service is down"), (4, "{'steps': 10}")],
    ids=["queue", "operating", "executors"],
)
def test_the_other_blocks_print_what_is_said_and_end(
    etcd_endpoint: str, tmp_path: Path, number: int, printed: str
) -> None:
    process = run(BLOCKS[number], etcd_endpoint, tmp_path)
    try:
        output, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert printed in output
