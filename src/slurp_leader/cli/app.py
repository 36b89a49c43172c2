"""The program: the table of its commands, and what is typed before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from slurp_leader import __version__
from slurp_leader.cli import config, demo, etcd, failover, guard, jobs, leader, node, queue, status, submit
from slurp_leader.cli.exits import MEANINGS, Exit, UsageError, report
from slurp_leader.cli.options import ColorOption, ConfigOption, Invocation, QuietOption, TimeoutOption, VerboseOption

# What typer raises for wrong usage is click's class; newer ones carry a click of their own, so it is found by kinship.
_ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="slurp",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with `slurp demo`, or with `slurp etcd dev`, `slurp run` and `slurp submit FILE --wait`.\n\n"
    + "\n".join(["Exit codes:", *(f"{code:>5}  {meaning}" for code, meaning in MEANINGS.items())]),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"slurp-leader {__version__}")
        raise typer.Exit


@app.callback()
def slurp(
    ctx: typer.Context,
    config: ConfigOption = None,
    timeout: TimeoutOption = None,
    verbose: VerboseOption = 0,
    quiet: QuietOption = False,
    color: ColorOption = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Elect one leader through etcd, and let only the leader run the queue."""
    ctx.obj = Invocation(config=config, timeout=timeout, verbose=verbose, quiet=quiet, color=color)


for part in (demo, node, guard, submit, status, jobs, queue, leader, failover, etcd, config):
    part.register(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    try:
        code = app(args=list(arguments), prog_name="slurp", standalone_mode=False)
    except _ClickUsageError as error:
        return _refuse(error, arguments)
    except typer.Abort:
        raise KeyboardInterrupt from None  # typer's word for it
    return code if isinstance(code, int) else 0


def _refuse(error: Exception, arguments: Sequence[str]) -> int:
    """Wrong usage in one line, as all errors; where only help was missing, it has been shown."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "slurp"
    text = getattr(error, "format_message", error.__str__)().strip().rstrip(".").replace("Value error, ", "")
    if not text:
        return int(Exit.USAGE)
    return report(UsageError(f"{text}; see `{where} --help`"), as_json="--json" in arguments)
