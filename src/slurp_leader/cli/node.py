"""``slurp run``: a node, until it is told to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import check_live, telemetry
from slurp_leader.cli.exits import answer_to
from slurp_leader.cli.loading import load_app
from slurp_leader.cli.options import Invocation
from slurp_leader.errors import StoreDeniedError, StoreError
from slurp_leader.signals import Signals

if TYPE_CHECKING:
    from slurp_leader.settings import SlurpSettings
    from slurp_leader.system import SlurpLeaderSystem

_LOOK_S = 1.0
"""How often the node is asked whether it can go on."""
_ANSWER_S = 2.0
"""How long etcd may take to an answer here, before it is said that it gives none. Nothing else depends on it."""


def register(app: typer.Typer) -> None:
    command(app, "run", json=False, timeout=False)(run)


def run(
    call: Invocation,
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:ATTRIBUTE",
            help="A generator (function or object), or a SlurpLeaderSystem, which brings its own settings. "
            "Looked for in the working directory too. (default: the built-in generator)",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Run a node: it stands for election and, while it leads, runs the queue.

    Ctrl-C, SIGTERM or SIGHUP: it finishes what runs (up to jobs.drain_timeout), hands the rest back, and exits with
    130, 143 or 129. A second one: it quits at once, and the next leader runs again what was interrupted. While etcd
    cannot be reached it goes on trying.
    """
    from slurp_leader.system import SlurpLeaderSystem

    found = load_app(app) if app else None
    own = found if isinstance(found, SlurpLeaderSystem) else None
    settings = call.settings((lambda: own.settings) if own else None)
    with ExitStack() as stack:
        stack.enter_context(logging_of(call, settings))
        system = own or SlurpLeaderSystem(settings, generator=found, **stack.enter_context(telemetry(settings)))
        return _serve(call, system)


def _serve(call: Invocation, system: SlurpLeaderSystem) -> int:
    output = call.output()
    with Signals() as signals, system:
        _greet(call, system)
        while not signals.first.wait(_LOOK_S):
            check_live(system, _ANSWER_S)
        drain_s = system.settings.jobs.drain_timeout_s
        output.say(f"stopping: what runs may end (up to {drain_s:g} s); once more to quit at once")
        if not system.stop():
            output.say("not everything could be given back in time; the lease ends the rest")
    return 128 + signals.number


def _greet(call: Invocation, system: SlurpLeaderSystem) -> None:
    """Say that it runs. An etcd that refuses us will go on refusing; one that is silent may come.

    Raises:
        StoreDeniedError: Credentials, certificates or roles are wrong.
    """
    node = system.settings.node
    output = call.output()
    output.say(f"node {node.id} of cluster {node.cluster_id!r}; Ctrl-C to stop")
    try:
        system.ping(_ANSWER_S)
    except StoreDeniedError:
        raise
    except StoreError as error:
        answer = answer_to(error)
        output.say(f"{error}; {answer.fix if answer else ''}; trying on")


@contextmanager
def logging_of(call: Invocation, settings: SlurpSettings) -> Iterator[None]:
    """Log to standard error, as the settings say, while this lasts."""

    from slurp_leader.telemetry.logs import configure_logging

    level = "debug" if call.verbose else "error" if call.quiet else settings.logs.level
    undo = configure_logging(
        level=level, format=settings.logs.format, file=settings.logs.file, node_id=settings.node.id
    )
    try:
        yield
    finally:
        undo()
