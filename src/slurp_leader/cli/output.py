"""Where data and messages go: data to standard output, for people or as JSON; messages to standard error.

On a terminal a table fits the width: the least important columns are left out, then the rest is cut; ids never are.
Elsewhere every line is written in full, so that other programs can work on it.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")
_SHORT_TIME = r"\1 \2Z"

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
        right: Aligned to the right, for numbers; never cut either.
        below: Takes what room the others leave; what has none is written in full below its row. For what people say, in
            the last column.
    """

    title: str
    from_width: int = 0
    whole: bool = False
    keep_end: bool = False
    right: bool = False
    below: bool = False

    @property
    def is_whole(self) -> bool:
        return self.whole or self.right


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

    def paragraph(self, text: str) -> None:
        """Sentences: with short times and broken at words where a terminal ends, elsewhere one line as it is."""
        if self.console.is_terminal:
            self.block("\n".join(self._wrapped(_TIME.sub(_SHORT_TIME, printable(text)))))
        else:
            self.line(text)

    def time(self, at: str) -> str:
        """A time (UTC) as records have it; on a terminal short, as ``2026-11-25 21:13:16Z``."""
        return _TIME.sub(_SHORT_TIME, at) if self.console.is_terminal else at

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
        heads = [replace(column, title=printable(column.title)) for column in columns]  # they may come from a record
        if self.console.is_terminal:
            self._fitted_table(heads, printed)
        else:
            _full_table(heads, printed)

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

    def _wrapped(self, text: str, indent: str = "") -> list[str]:
        return textwrap.wrap(
            text,
            max(self.console.width, len(indent) + 20),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _fitted_table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        filled = [number for number in range(len(columns)) if not rows or any(row[number] for row in rows)]
        shown, widths = self._layout(columns, rows, [number for number in filled if not columns[number].below])
        left_out = [columns[number].title for number in filled if number not in shown and not columns[number].below]
        below = [number for number in filled if columns[number].below]
        for number in below:
            room = self.console.width - sum(widths) - 2 * len(widths)
            if room >= len(columns[number].title):
                shown.append(number)
                widths.append(min(room, natural_widths(columns, rows)[number]))
        self._heads([columns[number] for number in shown], widths)
        for row in rows:
            self._row([columns[number] for number in shown], [row[number] for number in shown], widths)
            for number in below:
                if number not in shown or len(row[number]) > widths[shown.index(number)]:
                    self.block("\n".join(self._wrapped(row[number], "    ")))
        if left_out:
            self.say(f"no room for {', '.join(left_out)}: widen the terminal, or use --json")

    def _layout(
        self, columns: Sequence[Column], rows: Sequence[Sequence[str]], numbers: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Of these columns, the numbers of those to show, and their widths."""
        natural, total = natural_widths(columns, rows), self.console.width
        kept = with_room([columns[number] for number in numbers], [natural[number] for number in numbers], total)
        shown = [numbers[at] for at in kept]
        return shown, fitted_widths([columns[at] for at in shown], [natural[at] for at in shown], total)

    def _heads(self, columns: Sequence[Column], widths: Sequence[int]) -> None:
        self.console.print(_text(_line([column.title for column in columns], columns, widths, self._mark), "bold"))

    def _row(self, columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> None:
        line = _text("")
        for cell, column, width in zip(row, columns, widths, strict=True):
            line.append(_cell(cell, column, width, self._mark) + "  ", STYLES.get(cell, "") or None)
        line.rstrip()
        self.console.print(line, soft_wrap=True)

    @property
    def _mark(self) -> str:
        """Stands for what was cut."""
        return "…" if self.console.encoding.startswith("utf") else "~"


def with_room(columns: Sequence[Column], widths: Sequence[int], total: int) -> list[int]:
    """Which columns to show, by number: all when they fit as they are; else not those for wider terminals; else as
    many of those that can be left out as there is room for when the others are cut.

    >>> with_room([Column("A", whole=True), Column("B", from_width=50), Column("C", from_width=20)], [10, 30, 20], 40)
    [0, 2]
    """

    def fits(numbers: Sequence[int], taken: Sequence[int]) -> bool:
        return sum(taken[number] for number in numbers) + 2 * (len(numbers) - 1) <= total

    kept = list(range(len(columns)))
    if fits(kept, widths):
        return kept
    kept = [number for number in kept if columns[number].from_width <= total]
    least = [width if column.is_whole else len(column.title) for column, width in zip(columns, widths, strict=True)]
    while not fits(kept, least) and any(columns[number].from_width for number in kept):
        kept.remove(max(kept, key=lambda number: (columns[number].from_width, number)))
    return kept


def natural_widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column when nothing is cut."""
    return [max(len(column.title), *(len(row[at]) for row in rows), 0) for at, column in enumerate(columns)]


def fitted_widths(columns: Sequence[Column], natural: Sequence[int], total: int) -> list[int]:
    """Widths that fit `total` with two blanks between columns, where that can be: the widest give way first.

    >>> fitted_widths([Column("A", whole=True), Column("B"), Column("C")], [10, 30, 20], 40)
    [10, 13, 13]
    """
    widths = list(natural)
    free = [at for at, column in enumerate(columns) if not column.is_whole and widths[at] > len(column.title)]
    while free and sum(widths) + 2 * (len(widths) - 1) > total:
        widest = max(free, key=lambda at: widths[at])
        widths[widest] -= 1
        if widths[widest] <= len(columns[widest].title):
            free.remove(widest)
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
