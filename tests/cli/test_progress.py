"""The bar of commands that wait: on standard error, where a person looks, and nowhere else."""

from __future__ import annotations

import io

import pytest

from slurp_leader.cli.options import Invocation
from slurp_leader.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, total: int, call: Invocation) -> str:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", stderr)
    with progress(call, total) as bar:
        for number in range(total):
            with bar.aside():
                stderr.write(f"<result {number}>")
            bar.advance()
    return stderr.getvalue()


def test_a_person_sees_how_many_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    written = shown(monkeypatch, Terminal(), 3, Invocation())
    assert "3/3" in written
    assert "<result 2>" in written


@pytest.mark.parametrize(
    ("stderr", "total", "call"),
    [(io.StringIO(), 3, Invocation()), (Terminal(), 1, Invocation()), (Terminal(), 3, Invocation(quiet=True))],
)
def test_nobody_else_does(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, total: int, call: Invocation) -> None:
    written = shown(monkeypatch, stderr, total, call)
    assert written == "".join(f"<result {number}>" for number in range(total))
