"""The demo, for real: etcd, node processes, kill -9."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.running import Scratch
from slurp_leader.etcd.local import find_all

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(not find_all(), reason="no etcd on this machine"),
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc"),
]
TIMEOUT_S = 100


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    made = Scratch.make(tmp_path)
    yield made
    made.close()


def lines_until(stream: Iterator[str], wanted: str) -> list[str]:
    """Read lines up to the first one with `wanted` in it."""
    read = []
    for line in stream:
        read.append(line)
        if wanted in line:
            return read
    raise AssertionError(f"{wanted!r} was never said:\n{''.join(read)}")


def test_a_leader_is_killed_and_nothing_is_lost_or_recorded_twice(scratch: Scratch, tmp_path: Path) -> None:
    out = tmp_path / "report.json"

    demo = scratch.start("--fast", "--out", str(out))
    said, errors = demo.communicate(timeout=TIMEOUT_S)

    assert demo.returncode == 0, said + errors
    report = json.loads(out.read_text())
    assert report["ok"]
    assert (report["requests"], report["completed"]) == (240, 240)
    assert (report["lost"], report["twice"], report["failed"]) == (0, 0, 0)
    assert sum(1 for leader in report["leaders"] if leader["outcomes"]) >= 2
    (takeover,) = report["takeovers"]
    assert takeover["successor"] not in (None, takeover["killed"])
    assert takeover["leaderless_ms"] > 0
    assert len(report["samples"]) == 3
    assert "kill -9" in said
    assert "Nothing lost and nothing recorded twice, though the leader was killed." in said
    assert scratch.leftovers() == []


def test_without_a_kill_one_json_document_comes_out(scratch: Scratch) -> None:
    demo = scratch.start("--fast", "--no-kill", "--nodes", "1", "--json")
    said, errors = demo.communicate(timeout=TIMEOUT_S)

    report = json.loads(said)
    assert demo.returncode == 0, errors
    assert report["ok"]
    assert report["takeovers"] == []
    assert [leader["outcomes"] for leader in report["leaders"]] == [240]
    assert "node-1 leads" in errors
    assert scratch.leftovers() == []


def test_ctrl_c_ends_the_demo_and_leaves_nothing_behind(scratch: Scratch) -> None:
    demo = scratch.start("--no-kill", "--nodes", "1")
    assert demo.stdout is not None
    lines_until(demo.stdout, "requests begin to come in")
    assert list(scratch.nodes()) == ["node-1"]

    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=TIMEOUT_S)

    assert demo.returncode == 130
    assert "stopped; nothing is left behind" in errors
    assert scratch.leftovers() == []


def test_a_node_that_dies_by_itself_ends_the_demo_with_its_log(scratch: Scratch) -> None:
    demo = scratch.start("--no-kill", "--nodes", "1")
    assert demo.stdout is not None
    lines_until(demo.stdout, "requests begin to come in")

    os.kill(scratch.nodes()["node-1"], signal.SIGKILL)
    said, errors = demo.communicate(timeout=TIMEOUT_S)

    assert demo.returncode == 1, said
    assert "node-1" in errors
    assert "ended by itself; its log ends:" in errors
    assert "system.started" in errors
    assert scratch.leftovers() == []


def test_a_key_kills_the_leader_and_a_signal_puts_the_terminal_back(scratch: Scratch) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    demo = scratch.start_on_terminal(theirs, "--no-kill")
    terminal = Terminal(ours)
    try:
        terminal.read_until("k: kill the leader now")
        assert termios.tcgetattr(theirs) != before
        terminal.read_until("kill -9 ", pressing=b"k")
        terminal.read_until("epoch 2")
        demo.send_signal(signal.SIGTERM)
        terminal.read_until("stopped; nothing is left behind")
        assert demo.wait(TIMEOUT_S) == 143
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(theirs)
        os.close(ours)
    assert terminal.seen.rindex(_SHOW_CURSOR) > terminal.seen.rindex(_HIDE_CURSOR)
    assert scratch.leftovers() == []


_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Terminal:
    """The other side of a pseudo terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = ""

    def read_until(self, wanted: str, pressing: bytes = b"") -> None:
        """Read what is drawn until `wanted` was; press a key again and again meanwhile."""
        start = len(self.seen)
        while wanted not in self.seen[start:]:
            ready, _, _ = select.select([self._descriptor], [], [], TIMEOUT_S)
            assert ready, f"{wanted!r} was never drawn:\n{self.seen[-4000:]}"
            self.seen += os.read(self._descriptor, 65536).decode(errors="replace")
            os.write(self._descriptor, pressing)


def test_when_nobody_reads_any_more_the_demo_ends_quietly(scratch: Scratch) -> None:
    demo = scratch.start("--no-kill", "--nodes", "1")
    assert demo.stdout is not None
    assert demo.stderr is not None

    demo.stdout.close()
    errors = demo.stderr.read()

    assert demo.wait(TIMEOUT_S) == 128 + signal.SIGPIPE
    assert errors == ""
    assert scratch.leftovers() == []
