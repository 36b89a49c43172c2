"""Options that are one parameter of a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from slurp_leader.cli.commands import command
from slurp_leader.cli.options import Invocation


@dataclass(frozen=True, slots=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="From left to right.")]
    depth: Annotated[int, typer.Option(help="From front to back.")] = 2
    height: Annotated[int | None, typer.Option("--tall", help="From floor to top.")] = None


@dataclass(frozen=True, slots=True)
class FlatSize(Size):
    depth: int = field(default=0, init=False)


def shown(call: Invocation, before: str, size: Size, after: str = "z") -> None:
    """Show it."""
    typer.echo(f"{before} {size} {after}")


def shown_flat(call: Invocation, size: FlatSize) -> None:
    """Show it."""
    typer.echo(f"{size}")


def run(*arguments: str) -> str:
    app = typer.Typer()
    command(app, "show")(shown)
    command(app, "flat")(shown_flat)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "NO_COLOR": "1"}).output


def test_the_options_of_a_group_come_as_one_value() -> None:
    assert run("show", "a", "--width", "3", "--tall", "5") == "a Size(width=3, depth=2, height=5) z\n"


def test_they_stand_in_the_help_where_the_group_stands() -> None:
    said = run("show", "--help")
    places = [said.index(text) for text in ("From left", "From front", "From floor", "--after")]
    assert places == sorted(places)


@pytest.mark.parametrize(("arguments", "complaint"), [((), "Missing option"), (("--width", "0"), "Invalid value")])
def test_an_option_of_a_group_is_checked_as_any_other(arguments: tuple[str, ...], complaint: str) -> None:
    said = run("show", "a", *arguments)
    assert complaint in said
    assert "--width" in said


def test_what_a_derived_group_fixes_is_no_option() -> None:
    assert run("flat", "--width", "3") == "FlatSize(width=3, depth=0, height=None)\n"
    assert "--depth" not in run("flat", "--help")
