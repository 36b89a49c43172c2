"""Where data and messages go: data to standard output, for people or as JSON; messages to standard error.

On a terminal a table fits the width: the least important columns are left out, then the rest is cut; ids never are.
Elsewhere every line is written in full, so that other programs can work on it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurp_leader.cli.options import Color
from slurp_leader.telemetry.logs import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

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
        right: Aligned to the right, for numbers.
    """

    title: str
    from_width: int = 0
    whole: bool = False
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
        """Lines of data that belong together."""
        for line in text.split("\n"):
            self.line(line)

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names and values, one pair a line."""
        shown = [(name, value) for name, value in pairs if value]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            if self.console.is_terminal:
                self.console.print(_pair(name, value, width), soft_wrap=True)
            else:
                print(f"{name:<{width}}  {printable(value)}")

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Rows under their heads."""
        if self.console.is_terminal:
            self._rich_table(columns, rows)
        else:
            _plain_table(columns, rows)

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
                width=_width_said(),
            )
        return self._console

    def _rich_table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        from rich.table import Table

        shown = [number for number, column in enumerate(columns) if self.console.width >= column.from_width]
        overflow = "ellipsis" if self.console.encoding.startswith("utf") else "crop"
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for number in shown:
            column = columns[number]
            table.add_column(
                column.title,
                no_wrap=True,
                overflow="fold" if column.whole else overflow,  # type: ignore[arg-type]
                min_width=max((len(row[number]) for row in rows), default=0) if column.whole else None,
                justify="right" if column.right else "left",
            )
        for row in rows:
            table.add_row(*(_text(row[number], STYLES.get(row[number], "")) for number in shown))
        self.console.print(table)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(printable(text), style=style)


def _pair(name: str, value: str, width: int) -> Text:
    line = _text(f"{name:<{width}}  ", "bold")
    return line.append_text(_text(value, STYLES.get(value, "not bold")))


def _plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    lines = [[column.title for column in columns], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _width_said() -> int | None:
    """COLUMNS, where it makes sense; a terminal that says 0 columns has no idea."""
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isdecimal() and int(said) > 0 else None
