"""Where the ``slurp`` program begins and ends: exit codes, signals, closed pipes, and the extra that may be missing."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
PIPE_CLOSED = 128 + signal.SIGPIPE


class PipeClosed(BaseException):
    """Whoever read us has gone. No `OSError`, as typer would end the program on that in a way of its own."""


class Terminated(BaseException):
    """SIGTERM arrived. Like `KeyboardInterrupt` no `Exception`, so that everything on the way out is cleaned up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What was typed after ``slurp``; None: of this process.

    Returns:
        The exit code (see `slurp_leader.cli.exits`).
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        print(f"slurp: {' and '.join(missing)} not installed; pip install 'slurp-leader[cli]'", file=sys.stderr)
        return 1
    _prepare_streams()
    code = 0
    try:
        with _sigterm_as_exception():
            code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:  # a full disk behind standard output
        _drop_output()
        if not code:  # else it was said already
            print(f"slurp: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return code or 1
    return code


def _drop_output() -> None:
    """Whoever read us has gone. What is still buffered must not fail once more when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    from slurp_leader.cli.app import run  # late: needs typer

    try:
        return run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated:
        return TERMINATED
    except PipeClosed:
        _drop_output()
        return PIPE_CLOSED


def _prepare_streams() -> None:
    """Write what we have to say wherever we are: no stream at all, an ASCII terminal, names that are not UTF-8."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - stays open as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """So that whatever a command has begun is cleaned up on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
