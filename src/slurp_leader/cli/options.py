"""What can be given on every command, and the value it becomes."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.exits import as_typed

if TYPE_CHECKING:
    from slurp_leader.cli.output import Output
    from slurp_leader.settings import SlurpSettings

DEFAULT_TIMEOUT_S = 10.0
PLACES = "$SLURP_CONFIG_FILE, ./slurp.toml, $XDG_CONFIG_HOME (else ~/.config)/slurp/config.toml, /etc/slurp/config.toml"
"""Where settings are looked for, in this order. `slurp_leader.settings.files` decides."""

_PANEL = "Options of every command"


class Color(StrEnum):
    """When to use colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help=f"Settings file, TOML or YAML. (default: {PLACES})",
                 rich_help_panel=_PANEL, show_default=False),
]  # fmt: skip


def timeout_option(help_text: str, default_s: float) -> Any:
    """``--timeout``, as a command means it."""
    return typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        max=3600,
        help=f"{help_text} (default: {default_s:g})",
        rich_help_panel=_PANEL,
        show_default=False,
    )


TimeoutOption = Annotated[
    float | None, timeout_option("Give up when etcd has not answered within this time.", DEFAULT_TIMEOUT_S)
]
VerboseOption = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, help="Say more; -vv: everything, and tracebacks.", rich_help_panel=_PANEL,
        show_default=False, metavar="",
    ),
]  # fmt: skip
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say nothing but errors and data.", rich_help_panel=_PANEL)
]
ColorOption = Annotated[
    Color | None,
    typer.Option(
        "--color",
        metavar="WHEN",
        help="auto (the default; follows NO_COLOR and FORCE_COLOR), always or never.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="One JSON document on standard output, also on errors.", rich_help_panel=_PANEL),
]
ElectionOption = Annotated[
    str | None,
    typer.Option(
        "--election",
        metavar="NAME",
        help="Name of the election. (default: election.name)",
        show_default=False,
    ),
]

COMMON: dict[str, tuple[Any, Any]] = {
    "election": (ElectionOption, None),
    "as_json": (JsonOption, False),
    "config": (ConfigOption, None),
    "timeout": (TimeoutOption, None),
    "verbose": (VerboseOption, 0),
    "quiet": (QuietOption, False),
    "color": (ColorOption, None),
}
"""Parameter -> its type and default, in the order of the help. Some only where the command has a use for them."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of ``slurp``: what was given before the command and after it, taken together."""

    as_json: bool = False
    config: Path | None = None
    timeout: float | None = None
    verbose: int = 0
    quiet: bool = False
    color: Color | None = None
    election: str | None = None

    def merged(self, given: dict[str, Any]) -> Invocation:
        """With what was given after the command, which wins."""
        return replace(
            self,
            as_json=self.as_json or given["as_json"],
            config=given["config"] or self.config,
            timeout=given["timeout"] or self.timeout,
            verbose=max(self.verbose, given["verbose"]),
            quiet=self.quiet or given["quiet"],
            color=given["color"] or self.color,
            election=self.election if given["election"] is None else given["election"],
        )

    @property
    def timeout_s(self) -> float:
        return DEFAULT_TIMEOUT_S if self.timeout is None else self.timeout

    @property
    def wants_traces(self) -> bool:
        return self.verbose >= 2

    def hint(self, text: str) -> str:
        """What is to be done next: the commands that it names ask about the same election as this one."""
        from slurp_leader.election.commands import about

        return about(self.election, text) if self.election is not None else text

    def output(self) -> Output:
        """Where this call writes."""
        from slurp_leader.cli.output import Output

        return Output(as_json=self.as_json, quiet=self.quiet, color=self.color or Color.AUTO)

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Keep other people's voices off standard error, unless everything was asked for."""
        if self.wants_traces:
            yield
            return
        # gRPC prints its own view of a failed handshake; ours is in the error. It looks here once, when it is loaded.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        before, threading.excepthook = threading.excepthook, _say_in_one_line
        try:
            yield
        finally:
            threading.excepthook = before

    def settings(self, read: Callable[[], SlurpSettings] | None = None) -> SlurpSettings:
        """Read the settings; what deserves a look is said on standard error.

        Raises:
            UsageError: The election cannot have the name that was given.
            ConfigurationError: Something is wrong or missing.
        """
        check_name("--election", self.election)
        from slurp_leader.settings import ConfigurationWarning, SlurpSettings

        output = self.output()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConfigurationWarning)
            settings = read() if read else SlurpSettings.load(self.config, **self._sections())
        for warning in caught:
            if issubclass(warning.category, ConfigurationWarning):
                output.say(f"warning: {warning.message}")
        if self.verbose:
            output.say(f"settings: {settings.file or 'no file; environment and defaults'}")
        return settings

    def _sections(self) -> dict[str, Any]:
        """What the command line says of settings."""
        return {} if self.election is None else {"election": {"name": self.election}}

    def log_to_stderr(self, level: str) -> Callable[[], None]:
        """Show what the library logs, from `level` on; with -v from info, with -vv from debug. Returns the undo."""
        from slurp_leader.telemetry.logs import configure_logging

        return configure_logging(level=("critical" if self.quiet else level, "info", "debug")[min(self.verbose, 2)])


def check_name(option: str, name: str | None) -> None:
    """Raises UsageError when no election can have the name that was given, if one was."""
    from slurp_leader.store.keyspace import key_segment

    if name is not None:
        with as_typed():
            key_segment(option, name)


def _say_in_one_line(failure: threading.ExceptHookArgs) -> None:
    name = failure.thread.name if failure.thread else "a thread"
    print(f"slurp: {name} failed: {failure.exc_type.__name__}: {failure.exc_value}", file=sys.stderr)
