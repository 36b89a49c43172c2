"""``slurp etcd dev``: a real etcd for development, in the foreground."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.options import Invocation

if TYPE_CHECKING:
    from slurp_leader.cli.output import Output
    from slurp_leader.etcd.local import EtcdProcess

_LOOK_S = 0.5

DEFAULT_PORT = 2379
"""Where every other command looks for etcd when nothing is set."""


def register(app: typer.Typer) -> None:
    etcd = typer.Typer(name="etcd", help="An etcd for development.", no_args_is_help=True)
    command(etcd, "dev", timeout=False)(dev)
    app.add_typer(etcd)


def dev(
    call: Invocation,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help=f"Port for clients, on loopback; 0: a free one. (default: {DEFAULT_PORT} if free, else a free one)",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Keep the data here. (default: a temporary folder)",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run one etcd member on this machine until Ctrl-C. For development: it has no TLS and no login."""
    from slurp_leader.etcd.local import EtcdProcess

    output = call.output()
    if port is None:
        port = _usual_port(output)
    with EtcdProcess(data_dir, client_port=port or None) as etcd:
        if output.as_json:
            output.json_line({"endpoint": etcd.endpoint, "pid": etcd.pid, "data_dir": str(etcd.data_dir)})
        else:
            output.line(f"export SLURP_ETCD__ENDPOINTS={shlex.quote(etcd.endpoint)}")
        kept = "kept" if data_dir else "deleted at the end"
        output.say(f"etcd {etcd.binary.version} serves {etcd.endpoint}; data in {etcd.data_dir}, {kept}")
        output.say(f"{_how_to_reach(port)}; Ctrl-C ends it")
        _wait_until_it_ends(etcd)


def _usual_port(output: Output) -> int:
    """The port where everybody looks; 0, and a word about it, when another process has it."""
    from slurp_leader.etcd.ports import is_free

    if is_free(DEFAULT_PORT):
        return DEFAULT_PORT
    output.say(f"port {DEFAULT_PORT} is taken by another process; taking a free one")
    return 0


def _how_to_reach(port: int) -> str:
    if port == DEFAULT_PORT:
        return f"now `slurp run` in another shell: localhost:{port} is where it looks when nothing else is set"
    return "run the line above in other shells, then `slurp run` there"


def _wait_until_it_ends(etcd: EtcdProcess) -> None:
    """Wait. Ctrl-C and SIGTERM end it from outside, as exceptions.

    Raises:
        StoreUnavailableError: etcd ended by itself.
    """
    from slurp_leader.errors import StoreUnavailableError

    never = threading.Event()
    while etcd.is_running():
        never.wait(_LOOK_S)
    raise StoreUnavailableError(f"etcd ended by itself; its log ends:\n{etcd.log_tail()}")
