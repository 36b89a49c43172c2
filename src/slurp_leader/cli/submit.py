"""``slurp submit``: bring in requests, and if wanted wait for what they come to."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from enum import StrEnum
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import client
from slurp_leader.cli.exits import UsageError, describe, report
from slurp_leader.cli.job_conditions import PriorityName
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.output import Output
from slurp_leader.cli.waiting import ForOption, wait_and_show
from slurp_leader.clock import SystemClock, parse_utc
from slurp_leader.errors import RequestInvalidError

if TYPE_CHECKING:
    from slurp_leader.settings import SlurpSettings

_LARGEST_METADATA = 8 * 1024 * 1024
"""Bytes of a metadata file that are read at all; requests take far less, and say so."""

_DATE_HELP = "a date with a time zone, such as 2026-01-31T12:00:00Z."
_PATHS_HELP = (
    "Files. Paths count from the workspace root of the nodes (their generator.workspace_root, else the folder "
    "where `slurp run` was started), not from this folder. A pattern such as 'src/**/*.py' stands for the files here "
    "that match it; - reads paths from stdin, one a line."
)
_MOST_PATHS = 1_000_000
"""Paths of one call."""

_OPTIONS = {"max_depth": "--max-depth", "max_attempts": "--max-attempts", "timeout": "--run-timeout",
            "role": "--role", "delay": "--delay", "metadata": "--metadata", "ucxl_address": "--address",
            "run_at": "--run-at", "deadline": "--deadline", "queue_timeout": "--queue-timeout",
            "backoff_base": "--backoff-base", "backoff_cap": "--backoff-cap", "on_duplicate": "--on-duplicate",
            "block_timeout": "--block"}  # fmt: skip
"""Field of a request -> what is typed for it."""


class OnDuplicateName(StrEnum):
    """What `slurp_leader.jobs.OnDuplicate` has; here so that the help need not import it. A test compares the two."""

    RETURN_EXISTING = "return_existing"
    RAISE = "raise"
    REPLACE = "replace"


def register(app: typer.Typer) -> None:
    command(app, "submit")(submit)


def submit(
    call: Invocation,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help=_PATHS_HELP)],
    role: Annotated[str, typer.Option(help="For whom: developer, reviewer, architect, security ...")] = "general",
    priority: Annotated[
        PriorityName, typer.Option(metavar="CLASS", help=f"How urgent: {', '.join(PriorityName)}.")
    ] = PriorityName.NORMAL,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Submit once, however often this is repeated. One PATH only.")
    ] = None,
    address: Annotated[str | None, typer.Option(metavar="UCXL", help="The file's UCXL address. One PATH only.")] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="A JSON object to carry along; @FILE reads it, @- from stdin.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Generate anew, use nothing again.")] = False,
    max_depth: Annotated[int, typer.Option(metavar="STEPS", help="How far to look beyond the file, 0 to 8.")] = 2,
    run_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Longest run of one attempt. (default: jobs.timeout)")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", help="Attempts before it fails. (default: jobs.max_attempts)")
    ] = None,
    delay: Annotated[float | None, typer.Option(metavar="SECONDS", help="Run it not before this has passed.")] = None,
    run_at: Annotated[
        str | None, typer.Option(metavar="DATE", help=f"Run it not before this date; {_DATE_HELP}")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help=f"From then on nothing of it starts or runs: 2h from now, or {_DATE_HELP}"),
    ] = None,
    queue_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Longest wait for its first run; then it fails.")
    ] = None,
    backoff_base: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Wait before the second attempt, then doubled. (default: jobs.backoff_base)"
        ),
    ] = None,
    backoff_cap: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Longest wait between attempts. (default: jobs.backoff_cap)"),
    ] = None,
    on_duplicate: Annotated[
        OnDuplicateName,
        typer.Option(
            metavar="POLICY",
            help="When the idempotency key was used: return_existing (that job), raise (refuse), replace (cancel it).",
        ),
    ] = OnDuplicateName.RETURN_EXISTING,
    block: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Wait at most this long when the queue is full.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the results and show them.")] = False,
    wait_for: ForOption = None,
) -> int:
    """Submit requests for files; prints the job ids.

    Each request is in etcd before its id is printed, and stays there until it has an outcome. No leader is
    needed for that.
    """
    paths = expand(paths)
    if len(paths) > 1 and (idempotency_key is not None or address is not None):
        raise UsageError("--idempotency-key and --address are for one PATH; call `slurp submit` once for each")
    settings = call.settings()
    placed = _place(call.output(), paths, settings)
    given = {
        "role": role,
        "priority": priority.value,
        "idempotency_key": idempotency_key,
        "ucxl_address": address,
        "metadata": _read_metadata(metadata),
        "force": force,
        "max_depth": max_depth,
        "timeout": run_timeout,
        "max_attempts": max_attempts,
        "delay": delay,
        "run_at": None if run_at is None else _date("--run-at", run_at),
        "deadline": None if deadline is None else _moment("--deadline", deadline),
        "queue_timeout": queue_timeout,
        "backoff_base": backoff_base,
        "backoff_cap": backoff_cap,
        "on_duplicate": on_duplicate.value,
        "on_full": None if block is None else "block",
        "block_timeout": block,
    }
    fields = {name: value for name, value in given.items() if value is not None}
    with client(call, settings) as system:
        answers = [_as_typed(answer) for answer in system.submit_many(placed, **fields)]
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


def _date(option: str, text: str) -> datetime:
    try:
        return parse_utc(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no date with a time zone; write 2026-01-31T12:00:00Z") from None


def _moment(option: str, text: str) -> datetime:
    """A date, or a time from now."""
    from slurp_leader.options.durations import parse_duration

    try:
        ahead: timedelta = parse_duration(text)
    except ValueError:
        return _date(option, text)
    return SystemClock().utcnow() + ahead


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


def _as_typed(answer: Any) -> Any:
    """A refusal that names the option, not the field behind it."""
    field = getattr(answer, "field", None)
    if not isinstance(answer, RequestInvalidError) or field not in _OPTIONS:
        return answer
    return RequestInvalidError(f"{_OPTIONS[field]}: {str(answer).removeprefix(f'{field}: ')}", field=field)


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


def _read_metadata(given: str | None) -> Any:
    if given is None:
        return None
    text = given if not given.startswith("@") else _read_text(given[1:])
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--metadata: not JSON ({error}); give an object such as '{{\"ticket\": 7}}'") from None


def _read_text(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read(_LARGEST_METADATA)
        with Path(name).open(encoding="utf-8") as file:
            return file.read(_LARGEST_METADATA)
    except OSError as error:
        raise UsageError(f"--metadata: {name} cannot be read: {error.strerror}; name a file that can") from error
    except UnicodeDecodeError:
        raise UsageError(f"--metadata: {name} is not UTF-8 text") from None
