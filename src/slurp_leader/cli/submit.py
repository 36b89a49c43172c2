"""``slurp submit``: bring in requests, and if wanted wait for what they come to."""

from __future__ import annotations

import sys
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import client
from slurp_leader.cli.exits import UsageError, describe, report
from slurp_leader.cli.new_jobs import About, Entry, Timing, as_typed
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.output import Output
from slurp_leader.cli.waiting import ForOption, wait_and_show

if TYPE_CHECKING:
    from slurp_leader.settings import SlurpSettings

_PATHS_HELP = (
    "Files. Paths count from the workspace root of the nodes (their generator.workspace_root, else the folder "
    "where `slurp run` was started), not from this folder. A pattern such as 'src/**/*.py' stands for the files here "
    "that match it; - reads paths from stdin, one a line."
)
_MOST_PATHS = 1_000_000
"""Paths of one call."""


def register(app: typer.Typer) -> None:
    command(app, "submit")(submit)


def submit(
    call: Invocation,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help=_PATHS_HELP)],
    about: About,
    timing: Timing,
    entry: Entry,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the results and show them.")] = False,
    wait_for: ForOption = None,
) -> int:
    """Submit requests for files; prints the job ids.

    Each request is in etcd before its id is printed, and stays there until it has an outcome. No leader is
    needed for that.
    """
    paths = expand(paths)
    if len(paths) > 1 and about.is_of_one_file:
        raise UsageError("--idempotency-key and --address are for one PATH; call `slurp submit` once for each")
    settings = call.settings()
    placed = _place(call.output(), paths, settings)
    fields = {**about.fields(), **timing.fields(), **entry.fields()}
    with client(call, settings) as system:
        answers = [as_typed(answer) for answer in system.submit_many(placed, **fields)]
        if not wait and wait_for is None:
            return _show(call.output(), paths, answers)
        code = _report_refused(answers)
        pairs = list(zip(paths, answers, strict=True))
        accepted = {answer.id: path for path, answer in pairs if not isinstance(answer, Exception)}
        refused = [_as_json(path, answer) for path, answer in pairs if isinstance(answer, Exception)]
        return wait_and_show(call, system, accepted, wait_for, refused) or code


def expand(typed: list[str]) -> list[str]:
    """The paths that were typed, with those in place of a pattern or of ``-`` that it stands for.

    A path that is there is itself, whatever characters it holds.

    Raises:
        UsageError: A pattern matches nothing, or standard input holds no path, or there are too many.
    """
    found = [each for path in typed for each in _meant_by(path)]
    if len(found) > _MOST_PATHS:
        raise UsageError(f"more than {_MOST_PATHS} paths; call `slurp submit` for a part at a time")
    return found


def _meant_by(path: str) -> list[str]:
    if path == "-":
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        paths = [line for line in lines if line]
        if not paths:
            raise UsageError("-: no path came from standard input")
        return paths
    if not any(char in path for char in "*?[") or Path(path).exists():
        return [path]
    matched = sorted(each for each in glob(path, recursive=True) if Path(each).is_file())
    if not matched:
        raise UsageError(f"{path}: no file here matches this")
    return matched


def _place(output: Output, typed: list[str], settings: SlurpSettings) -> list[str]:
    """The paths as the nodes know them. Says what is likely to miss."""
    from slurp_leader.cli.paths import place, presumed_root

    here = Path.cwd()
    root = presumed_root(settings, here)
    placed = [place(path, root, here) for path in typed]
    for each in placed:
        if each.hint:
            output.say(each.hint)
    return [each.path for each in placed]


def _show(output: Output, paths: list[str], answers: list[Any]) -> int:
    if output.as_json:
        output.json({"jobs": [_as_json(path, answer) for path, answer in zip(paths, answers, strict=True)]})
    else:
        for path, answer in zip(paths, answers, strict=True):
            if not isinstance(answer, Exception):
                output.line(answer.id)
                if not answer.created:
                    output.say(f"{path}: this idempotency key was used before; this is the job it made")
                elif answer.replaced:
                    output.say(f"{path}: takes the place of {answer.replaced}")
    return _report_refused(answers)


def _as_json(path: str, answer: Any) -> dict[str, Any]:
    if isinstance(answer, Exception):
        return {"path": path, "error": describe(answer)}
    replaced = {"replaced": answer.replaced} if answer.replaced else {}
    return {"path": path, "id": answer.id, "created": answer.created, **replaced}


def _report_refused(answers: list[Any]) -> int:
    """Say which requests were refused. Returns the exit code of the first of them."""
    code = 0
    for answer in answers:
        if isinstance(answer, Exception):
            said = report(answer, as_json=False)
            code = code or said
    return code
