"""Where data and messages go: data to standard output, for people or as JSON; messages to standard error.

On a terminal a table fits the width: the least important columns are left out, then the rest is cut; ids never are.
Elsewhere every line is written in full, so that other programs can work on it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurp_leader.cli.options import Color
from slurp_leader.telemetry.logs import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_USUAL_WIDTH = 80
_HEIGHT = 25
"""Nothing here depends on it; but without one rich takes 80 columns for granted on a dumb terminal."""

STYLES = {
    "completed": "green",
    "running": "cyan",
    "pending": "yellow",
    "scheduled": "yellow",
    "failed": "bold red",
    "parked": "bold red",
    "cancelled": "magenta",
    "leader": "bold green",
}
"""Words that have a colour of their own."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its head.
        from_width: Left out on terminals narrower than this.
        whole: Never cut.
        keep_end: Cut at the beginning, as the end of a path says more.
        right: Aligned to the right, for numbers.
    """

    title: str
    from_width: int = 0
    whole: bool = False
    keep_end: bool = False
    right: bool = False


def dump_json(document: Any, *, indent: int | None = 2) -> str:
    """A document as text that every standard output takes."""
    encoding = (getattr(sys.stdout, "encoding", "") or "").lower()
    return json.dumps(document, indent=indent, ensure_ascii=not encoding.startswith("utf"), default=str)


class Output:
    """The two streams of one call.

    Args:
        as_json: Data is wanted as JSON.
        quiet: Messages are not wanted.
        color: When to use colours.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, color: Color = Color.AUTO) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._color = color
        self._console: Console | None = None

    def say(self, message: str) -> None:
        """A message for whoever sits there; not data."""
        if not self.quiet:
            print(f"slurp: {printable(message)}", file=sys.stderr, flush=True)

    def json(self, document: Any) -> None:
        """One JSON document, over several lines."""
        print(dump_json(document))

    def json_line(self, document: Any) -> None:
        """One JSON document on a line of its own, at once: for what goes on and on."""
        print(dump_json(document, indent=None), flush=True)

    def line(self, text: str = "", *, style: str = "") -> None:
        """One line of data, never broken, at once."""
        if style and self.console.is_terminal:
            self.console.print(_text(text, style), soft_wrap=True)
        else:
            print(printable(text), flush=True)

    def block(self, text: str) -> None:
        """Lines of data that belong together; none when there is no text."""
        for line in text.split("\n") if text else ():
            self.line(line)

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names and values, one pair a line. Empty ones are left out."""
        shown = [(name, value) for name, value in pairs if value]
        if self.console.is_terminal:
            self.console.print(_grid(shown))
            return
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            print(f"{name:<{width}}  {printable(value)}")

    def bullets(self, items: Iterable[str]) -> None:
        """One item a line."""
        if self.console.is_terminal:
            self.console.print(_grid((" -", item) for item in items))
        else:
            self.block("\n".join(f"  - {printable(item)}" for item in items))

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Rows under their heads."""
        printed = [[printable(cell) for cell in row] for row in rows]
        if self.console.is_terminal:
            self._fitted_table(columns, printed)
        else:
            _full_table(columns, printed)

    @property
    def console(self) -> Console:
        """Standard output as rich sees it; made when first asked for, as rich takes long to import."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(
                file=sys.stdout,
                force_terminal=True if self._color is Color.ALWAYS else None,
                color_system=None if self._color is Color.NEVER else "auto",
                no_color=False if self._color is Color.ALWAYS else None,
                highlight=False,
                markup=False,
                emoji=False,
                width=_width(),
                height=_HEIGHT,
            )
        return self._console

    def _fitted_table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        shown = [number for number, column in enumerate(columns) if self.console.width >= column.from_width]
        left_out = [column.title for number, column in enumerate(columns) if number not in shown]
        columns = [columns[number] for number in shown]
        rows = [[row[number] for number in shown] for row in rows]
        widths = fitted_widths(columns, natural_widths(columns, rows), self.console.width)
        mark = "…" if self.console.encoding.startswith("utf") else "~"
        self.console.print(_text(_line([column.title for column in columns], columns, widths, mark), "bold"))
        for row in rows:
            line = _text("")
            for number, cell in enumerate(row):
                style = STYLES.get(cell, "")
                line.append(_cell(cell, columns[number], widths[number], mark) + "  ", style or None)
            line.rstrip()
            self.console.print(line, soft_wrap=True)
        if left_out:
            self.say(f"no room for {', '.join(left_out)}: widen the terminal, or use --json")


def natural_widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column when nothing is cut."""
    return [max(len(column.title), *(len(row[at]) for row in rows), 0) for at, column in enumerate(columns)]


def fitted_widths(columns: Sequence[Column], natural: Sequence[int], total: int) -> list[int]:
    """Widths that fit `total` with two blanks between columns, where that can be: the widest give way first.

    >>> fitted_widths([Column("A", whole=True), Column("B"), Column("C")], [10, 30, 20], 40)
    [10, 13, 13]
    """
    widths = list(natural)
    free = [at for at, column in enumerate(columns) if not column.whole]
    while free and sum(widths) + 2 * (len(widths) - 1) > total:
        widest = max(free, key=lambda at: widths[at])
        if widths[widest] <= len(columns[widest].title):
            break
        widths[widest] -= 1
    return widths


def _full_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    widths = natural_widths(columns, rows)
    for row in [[column.title for column in columns], *rows]:
        print(_line(row, columns, widths, ""))


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], mark: str) -> str:
    parts = [_cell(cell, column, width, mark) for cell, column, width in zip(cells, columns, widths, strict=True)]
    return "  ".join(parts).rstrip()


def _cell(text: str, column: Column, width: int, mark: str) -> str:
    if len(text) > width:
        text = mark + text[len(text) - width + 1 :] if column.keep_end else text[: width - 1] + mark
    return text.rjust(width) if column.right else text.ljust(width)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(printable(text), style=style)


def _grid(pairs: Iterable[tuple[str, str]]) -> Table:
    """Values under each other, long ones over several lines."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(_text(name, "bold"), _text(value, STYLES.get(value, "")))
    return grid


def _width() -> int:
    """Columns of the terminal. One that says 0, as some do, has no idea."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    with suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL_WIDTH
    return _USUAL_WIDTH
