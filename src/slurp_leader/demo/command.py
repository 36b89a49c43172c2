"""``slurp demo``: options in, exit code out."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from rich.console import Console

from slurp_leader.clock import SystemClock
from slurp_leader.demo.drama import Aborted, Inbox, KillAsked, Screen, Signalled
from slurp_leader.demo.keys import listen_to_keys
from slurp_leader.demo.play import Play, perform
from slurp_leader.demo.report import Report
from slurp_leader.demo.requests import git_root, plan_requests
from slurp_leader.demo.screens import PlainScreen, live_screen
from slurp_leader.demo.stage import open_stage
from slurp_leader.demo.tables import print_report, to_markdown
from slurp_leader.errors import SlurpLeaderError

MOST_NODES = 9
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OK, _FAILED, _USAGE, _BY_SIGNAL = 0, 1, 2, 128


def run_demo(
    path: Path | None = None,
    nodes: int = 3,
    kill: bool = True,
    fast: bool = False,
    json_output: bool = False,
    out: Path | None = None,
) -> int:
    """Play the demo.

    Args:
        path: Folder whose source files contexts are generated for. None: the repository of the current folder.
        nodes: Node processes, 1 to 9; from 2 on with `kill`.
        kill: Kill the leader at 40 % of the outcomes.
        fast: As fast as it goes, not at a steady pace.
        json_output: One JSON document on standard output; what is told meanwhile goes to standard error.
        out: File for the whole report, ``.json`` or ``.md``.

    Returns:
        0 when every accepted request has exactly one outcome, *completed*, and after a kill two leaders committed.
        1 when not, or when it could not be played; 2 for options that make no sense; 128 and the number of a signal
        that ended it.

    Raises:
        BrokenPipeError: Whoever read the output is gone. Everything was cleaned up.
    """
    try:
        play = _read_options(path, nodes, kill, fast, out)
        report = _play(play, sys.stderr if json_output else sys.stdout)
        _deliver(report, json_output, out)
    except UsageError as error:
        return _fail(error, json_output, _USAGE)
    except Aborted as aborted:
        return _fail(aborted, json_output, _BY_SIGNAL + aborted.signum)
    except BrokenPipeError:
        raise
    except (SlurpLeaderError, OSError) as error:
        return _fail(error, json_output, _FAILED)
    return _OK if report.ok else _FAILED


class UsageError(SlurpLeaderError):
    """An option makes no sense."""


def _read_options(path: Path | None, nodes: int, kill: bool, fast: bool, out: Path | None) -> Play:
    if not 1 <= nodes <= MOST_NODES:
        raise UsageError(f"--nodes {nodes}: use 1 to {MOST_NODES}")
    if kill and nodes == 1:
        raise UsageError("--nodes 1 with --kill: nobody would be left to take over; use 2 or more, or --no-kill")
    if out is not None:
        _check_out(out)
    root = (git_root(Path.cwd()) if path is None else path).absolute()
    if not root.is_dir():
        raise UsageError(f"{root}: not a folder; name one that holds source files")
    plan = plan_requests(root)
    if not plan.requests:
        raise UsageError(f"{root}: holds no source files that can be read; name another folder")
    return Play(plan, nodes, kill, fast)


def _check_out(out: Path) -> None:
    """Now, and not when the run is over and its report would be gone."""
    folder = out.absolute().parent
    if out.suffix not in {".json", ".md"}:
        raise UsageError(f"--out {out}: the name has to end in .json or .md")
    if not folder.is_dir():
        raise UsageError(f"--out {out}: there is no folder {folder}; create it")
    if out.is_dir() or not os.access(out if out.exists() else folder, os.W_OK):
        raise UsageError(f"--out {out}: cannot be written; name a file in a folder of yours")


# ---------------------------------------------------------------- the run


def _play(play: Play, stream: TextIO) -> Report:
    inbox: Inbox = queue.SimpleQueue()
    with ExitStack() as closing:
        signals = closing.enter_context(_listen_to_signals(inbox))
        stage = closing.enter_context(open_stage())
        screen = closing.enter_context(_open_screen(play, stage.etcd.binary.version, stream, inbox))
        return perform(play, stage, screen, inbox, lambda: signals[0] if signals else None, SystemClock())


@contextmanager
def _listen_to_signals(inbox: Inbox) -> Iterator[list[int]]:
    """Turn signals into messages, so that none cuts a cleanup short. Yields the list of those that came in."""
    came: list[int] = []

    def on_signal(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        inbox.put(Signalled(signum))

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield came
        return
    # What is ignored, as under nohup, stays ignored.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in heard}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _open_screen(play: Play, etcd_version: str, stream: TextIO, inbox: Inbox) -> Iterator[Screen]:
    console = Console(file=stream)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainScreen(stream)
        return
    title = f"slurp demo: {play.nodes} nodes, etcd {etcd_version}, {play.plan.root.name}"
    with listen_to_keys(lambda key: inbox.put(KillAsked()) if key in "kK" else None) as has_keys:
        hint = "k: kill the leader now   Ctrl-C: stop" if has_keys else "Ctrl-C: stop"
        with live_screen(console, title, hint) as screen:
            yield screen


# ---------------------------------------------------------------- the end


def _deliver(report: Report, json_output: bool, out: Path | None) -> None:
    if out is not None:
        out.write_text(report.to_json() + "\n" if out.suffix == ".json" else to_markdown(report), encoding="utf-8")
    if json_output:
        sys.stdout.write(report.to_json() + "\n")
        sys.stdout.flush()
    else:
        print_report(Console(), report)


def _fail(error: Exception, json_output: bool, code: int) -> int:
    """Say what went wrong. Here and not in the command line around us: its hints are about an etcd of the user's."""
    message = str(error)
    if json_output:
        described = {"type": type(error).__name__, "message": message, "exit_code": code}
        sys.stdout.write(json.dumps({"error": described}) + "\n")
    sys.stderr.write(f"slurp: {message}\n")
    return code
