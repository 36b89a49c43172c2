"""``slurp config``: what the settings are, whether they are right, and a file to begin with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.exits import UsageError
from slurp_leader.cli.options import PLACES, Invocation


class Format(StrEnum):
    """How settings are written."""

    TOML = "toml"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    config = typer.Typer(
        name="config",
        help=f"The settings. The first file counts: --config, {PLACES}.",
        short_help="The settings.",
        no_args_is_help=True,
    )
    command(config, "show", timeout=False)(show)
    command(config, "validate", timeout=False)(validate)
    command(config, "init", json=False, timeout=False)(init)
    command(config, "schema", json=False, timeout=False)(schema)
    app.add_typer(config)


def show(
    call: Invocation,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    format: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.TOML,
) -> None:
    """Show the settings in force. Secrets are masked."""
    settings = call.settings()
    chosen: Literal["toml", "yaml", "json"] = "json" if call.as_json else format.value
    call.output().block(settings.render(chosen, origins=origin).rstrip("\n"))


def validate(
    call: Invocation,
    file: Annotated[
        Path | None,
        typer.Argument(help=f"Settings file. (default: --config, else {PLACES})", show_default=False),
    ] = None,
) -> None:
    """Check the settings: file, environment and secrets together, as a node would read them."""
    from slurp_leader.settings import SlurpSettings

    settings = call.settings(lambda: SlurpSettings.load(file or call.config))
    output = call.output()
    read_from = str(settings.file) if settings.file else None
    set_here = {name: origin for name, origin in settings.origins().items() if origin != "default"}
    if output.as_json:
        output.json({"valid": True, "file": read_from, "origins": set_here})
    else:
        output.line(f"ok: {read_from or 'no file'}, {len(set_here)} of {len(settings.origins())} settings set")


def init(
    call: Invocation,
    path: Annotated[Path, typer.Argument(help="File to write; - for standard output.")] = Path("slurp.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Write a settings file to begin with: every setting with its meaning, commented out at its default."""
    from slurp_leader.settings import config_template

    output = call.output()
    if str(path) == "-":
        output.block(config_template().rstrip("\n"))
        return
    if path.suffix != ".toml":
        raise UsageError(f"{path}: the file is written in TOML; name it something.toml")
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(config_template())
    except FileExistsError:
        raise UsageError(f"{path} is there already; name another file, or overwrite it with --force") from None
    output.say(f"wrote {path}")


def schema(call: Invocation) -> None:
    """Write the JSON schema of a settings file, for editors."""
    from slurp_leader.settings import config_schema

    call.output().json(config_schema())
