"""How a function becomes a command: the options of every command are added, and errors become exit codes."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from slurp_leader.cli.entry import PipeClosed
from slurp_leader.cli.exits import INTERNAL_HINT, report
from slurp_leader.cli.groups import gathered, spread
from slurp_leader.cli.options import COMMON, ElectionOption, Invocation, timeout_option

Body = Callable[..., int | None]
"""Takes the `Invocation` first, then its own options and groups of them by name. Returns the exit code; None is 0."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What a command waits for beyond the answers of etcd: how ``--timeout`` reads, and what it is by default."""

    help: str
    default_s: float


def command(
    app: typer.Typer,
    name: str,
    *,
    json: bool = True,
    election: bool = False,
    timeout: bool = True,
    waits: Waits | None = None,
    **typer_options: Any,
) -> Callable[[Body], Body]:
    """Make a command of a function. Its docstring is the help.

    Args:
        app: Where it belongs.
        name: What is typed.
        json: Whether it has data to write, and so takes ``--json``.
        election: Whether it is about one election, and so takes ``--election``.
        timeout: Whether it gives up when etcd does not answer, and so takes ``--timeout``.
        waits: What else ``--timeout`` bounds, and how long that is by default; None: nothing.
        typer_options: Passed to ``Typer.command``.
    """

    def register(body: Body) -> Body:
        takes = {"as_json": json, "election": election, "timeout": timeout}
        common = {name: value for name, value in COMMON.items() if takes.get(name, True)}
        if waits is not None:
            common["timeout"] = Annotated[float | None, timeout_option(waits.help, waits.default_s)], None
        _, *own = inspect.signature(body, eval_str=True).parameters.values()

        def run(ctx: typer.Context, **given: Any) -> None:
            before = ctx.find_object(Invocation) or Invocation()
            if not timeout and before.timeout is not None:
                raise typer.BadParameter("it takes no --timeout: it does not give up", ctx)
            after = {name: given.pop(name) if name in common else default for name, (_, default) in COMMON.items()}
            call = before.merged(after)
            if waits is not None and call.timeout is None:
                call = replace(call, timeout=waits.default_s)
            code = perform(call, body, gathered(own, given))
            if code:
                raise typer.Exit(code)

        parameters = _parameters(own, common)
        # Typer reads a command's options off its signature.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = _flowing(body.__doc__ or "")
        app.command(name, **typer_options)(run)
        return body

    return register


def about_one_election(group: typer.Typer) -> None:
    """Let ``--election`` be given before the command, too: ``slurp leader --election NAME show``."""

    @group.callback()
    def _group(ctx: typer.Context, election: ElectionOption = None) -> None:
        ctx.obj = replace(ctx.find_object(Invocation) or Invocation(), election=election)


def _flowing(text: str) -> str:
    """Paragraphs without the line ends of the source, so that the help breaks lines where the terminal ends."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _parameters(own: Sequence[inspect.Parameter], common: dict[str, tuple[Any, Any]]) -> list[inspect.Parameter]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in spread(own)),
        *(inspect.Parameter(name, keyword, annotation=kind, default=value) for name, (kind, value) in common.items()),
    ]


def perform(call: Invocation, body: Body, given: dict[str, Any]) -> int:
    """Run the body of a command.

    Returns:
        The exit code.
    """
    try:
        with call.hushed():
            return body(call, **given) or 0
    except BrokenPipeError:
        raise PipeClosed from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if call.wants_traces:
            traceback.print_exc()
        return report(error, as_json=call.as_json, hint=INTERNAL_HINT, said=call.hint)
