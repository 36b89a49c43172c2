"""``slurp demo``: see it all happen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.options import Invocation


def register(app: typer.Typer) -> None:
    command(app, "demo", timeout=False)(demo)


def demo(
    call: Invocation,
    path: Annotated[
        Path | None, typer.Argument(help="Folder with source files. (default: this repository)", show_default=False)
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=9, help="How many nodes.")] = 3,
    kill: Annotated[bool, typer.Option(help="Whether the leader is killed on the way.")] = True,
    fast: Annotated[bool, typer.Option("--fast", help="As fast as it goes.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report here, as .json or .md.", show_default=False)
    ] = None,
) -> int:
    """Watch nodes elect a leader, generate context for the files of a repository, and lose the leader to kill -9.

    Brings its own etcd and needs nothing else. Exits with 0 only if no request was lost and none was recorded twice.
    """
    from slurp_leader.demo.command import run_demo

    return run_demo(path, nodes=nodes, kill=kill, fast=fast, json_output=call.as_json, out=out)
