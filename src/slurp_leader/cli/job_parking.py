"""``slurp jobs parked``: records that nobody can read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import client
from slurp_leader.cli.exits import UsageError
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.output import Column

_COLUMNS = (
    Column("RECORD", whole=True),
    Column("BYTES", from_width=90, right=True),
    Column("WHY"),
)
_LARGEST = 2 * 1024 * 1024
"""Bytes of a file that are read at all; etcd takes less."""

NameArgument = Annotated[str, typer.Argument(metavar="RECORD", help="As `slurp jobs parked ls` names it.")]


def register(jobs: typer.Typer) -> None:
    parked = typer.Typer(name="parked", help="Records that nobody can read.", no_args_is_help=True)
    command(parked, "ls")(ls)
    command(parked, "show")(show)
    command(parked, "release")(release)
    jobs.add_typer(parked)


def ls(call: Invocation) -> None:
    """List the records that nobody can read. They stop nothing, and stay until somebody releases them."""
    with client(call, call.settings()) as system:
        records = system.jobs.parked()
    output = call.output()
    if output.as_json:
        output.json({"parked": [record.as_dict() for record in records]})
    elif records:
        output.table(_COLUMNS, [[record.name, str(record.size), record.reason] for record in records])
    else:
        output.say("nothing is parked")


def show(call: Invocation, name: NameArgument) -> None:
    """Show one of them, escaped: its first 4 KiB."""
    with client(call, call.settings()) as system:
        record = system.jobs.parked_record(name)
    output = call.output()
    if output.as_json:
        output.json(record.as_dict())
        return
    output.fields(
        [
            ("record", record.name),
            ("job", record.job_id or ""),
            ("why", record.reason),
            ("bytes", str(record.size)),
            ("revision", str(record.revision)),
        ]
    )
    output.line("content", style="bold")
    output.block(record.text)


def release(
    call: Invocation,
    name: NameArgument,
    value: Annotated[
        str | None, typer.Option("--value", metavar="FILE", help="What takes its place; - for stdin.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it.")] = False,
) -> None:
    """End the parking of a record.

    Without options: it was repaired, so it can be read again (readable). With --value: that takes its place, if it can
    be read (put right). With --delete: a job whose record it was ends failed, with the code `parked`; a state or a
    claim is forgotten, and what it was about is looked at anew (deleted).
    """
    with client(call, call.settings()) as system:
        answer = system.jobs.release(name, value=None if value is None else _read(value), delete=delete)
    output = call.output()
    if output.as_json:
        output.json({"name": name, "answer": answer.value})
    else:
        output.line(f"{name}  {answer.value.replace('_', ' ')}")


def _read(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read(_LARGEST).strip()
        with Path(name).open("rb") as file:
            return file.read(_LARGEST).strip()
    except OSError as error:
        raise UsageError(f"--value: {name} cannot be read: {error.strerror}") from error
