"""How far a command is, on standard error: only where a person looks, and gone when it is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from slurp_leader.cli.options import Color, Invocation

_FROM = 2
"""So many things make a bar worth it."""


class Bar:
    """A bar, or nothing."""

    def __init__(self, shown: Any = None, task: Any = None) -> None:
        self._shown = shown
        self._task = task

    def advance(self) -> None:
        """One more is done."""
        if self._shown is not None:
            self._shown.advance(self._task)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Out of the way, while something else is written."""
        if self._shown is None:
            yield
            return
        self._shown.stop()
        try:
            yield
        finally:
            self._shown.start()


@contextmanager
def progress(call: Invocation, total: int) -> Iterator[Bar]:
    """Show how many of `total` are done."""
    if total < _FROM or call.quiet or not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    console = Console(file=sys.stderr, no_color=call.color is Color.NEVER)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        yield Bar(shown, shown.add_task("", total=total))
