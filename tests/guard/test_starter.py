"""A process that waits to become a program."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurp_leader.guard.starter import Starter
from support.waiting import WAIT_S


def _always() -> bool:
    return True


@pytest.fixture
def starter() -> Iterator[Starter]:
    starter = Starter()
    yield starter
    starter.close()


def test_it_becomes_the_program(starter: Starter, tmp_path: Path) -> None:
    """With arguments and environment of any bytes, and with the descriptors and ignored signals that a program finds
    when it is started otherwise."""
    odd = os.fsdecode(b"caf\xe9 \n")
    found = tmp_path / "found"
    script = f'{{ echo "$1|$ODD"; ls /proc/self/fd; grep SigIgn /proc/self/status; }} > "{found}"'
    command = ["sh", "-c", script, "sh", odd]
    environment = {"ODD": odd, "PATH": os.environ["PATH"]}
    assert starter.start(command, environment, _always)
    assert starter.process.wait(WAIT_S) == 0
    seen = found.read_bytes()
    assert seen.startswith(os.fsencode(f"{odd}|{odd}\n"))
    assert subprocess.Popen(command, env=environment).wait(WAIT_S) == 0
    assert seen == found.read_bytes()


def test_it_is_the_group_from_the_beginning(starter: Starter) -> None:
    assert os.getpgid(starter.process.pid) == starter.process.pid


@pytest.mark.parametrize(
    ("name", "mode", "number"),
    [("", 0, errno.ENOENT), ("no-program", 0o644, errno.EACCES), ("empty", 0o755, errno.ENOEXEC)],
)
def test_what_cannot_be_run_is_told(starter: Starter, tmp_path: Path, name: str, mode: int, number: int) -> None:
    program = tmp_path / (name or "nowhere")
    if name:
        program.write_text("\n")
        program.chmod(mode)
    with pytest.raises(OSError, match=os.strerror(number)):
        starter.start([str(program)], {}, _always)


def test_who_has_ended_runs_nothing(starter: Starter) -> None:
    starter.process.kill()
    starter.process.wait(WAIT_S)
    assert not starter.start(["true"], {}, _always)


def test_who_has_not_begun_when_it_may_not_any_more_is_killed(starter: Starter) -> None:
    starter.process.send_signal(signal.SIGSTOP)
    assert not starter.start(["true"], {}, iter([True, True, False]).__next__)
    assert starter.process.wait(WAIT_S) == -signal.SIGKILL


def test_an_order_that_nobody_takes_ends_with_its_time(starter: Starter) -> None:
    """One larger than what the kernel keeps for a reader that stands still."""
    starter.process.send_signal(signal.SIGSTOP)
    assert not starter.start(["true", "x" * 4_000_000], {}, iter([True, True, False]).__next__)
    assert starter.process.wait(WAIT_S) == -signal.SIGKILL


def test_when_nobody_is_left_to_tell_it_what_to_run_it_ends() -> None:
    starter = Starter()
    starter._line.close()
    assert starter.process.wait(WAIT_S) == 0
