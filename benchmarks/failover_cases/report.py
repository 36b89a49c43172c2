"""From times to rows: median, p95, max, the figure that was asked for, and whether it was reached."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        what: What was measured.
        unit: Of all numbers in it.
        count: How many times.
        median, p95, most: Over all of them; equal when it was measured once.
        wanted: The figure that was asked for, as people write it; empty: none.
        met: Whether it was reached; None where none was asked for.
    """

    what: str
    unit: str
    count: int
    median: float
    p95: float
    most: float
    wanted: str = ""
    met: bool | None = None


@dataclass(slots=True)
class CaseReport:
    """What one case found.

    Attributes:
        case: Its id.
        title: In words.
        rows: The figures.
        notes: What a reader has to know to judge them.
        skipped: Why it was not run; empty: it was.
        failed: What it broke off with; empty: nothing.
    """

    case: str
    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    failed: str = ""

    def times(
        self,
        what: str,
        values: Sequence[float],
        *,
        unit: str = "ms",
        median_below: float | None = None,
        most_below: float | None = None,
    ) -> None:
        """Add a row over many measurements. Nothing measured is a note, never a figure."""
        if not values:
            self.notes.append(f"{what}: nothing was measured")
            return
        ordered = sorted(values)
        middle, p95, most = statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1) + 0.5)], ordered[-1]
        wanted = [
            f"{name} <= {limit:g}"
            for name, limit in (("median", median_below), ("max", most_below))
            if limit is not None
        ]
        met = (median_below is None or middle <= median_below) and (most_below is None or most <= most_below)
        self.rows.append(Row(what, unit, len(ordered), middle, p95, most, ", ".join(wanted), met if wanted else None))

    def number(self, what: str, value: float, *, unit: str = "", at_most: float | None = None) -> None:
        """Add a row for something that is counted or read once."""
        wanted = "" if at_most is None else f"<= {at_most:g}"
        met = None if at_most is None else value <= at_most
        self.rows.append(Row(what, unit, 1, value, value, value, wanted, met))

    def to_wire(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        return asdict(self)


def print_report(report: CaseReport) -> None:
    """The table of one case, for people."""
    print(f"\n{report.case.upper()}  {report.title}")
    if report.skipped:
        print(f"  skipped: {report.skipped}")
    if report.failed:
        print(f"  FAILED: {report.failed}")
    for row in report.rows:
        if row.count == 1:
            figures = f"{row.median:,.1f} {row.unit}".rstrip()
        else:
            figures = f"median {row.median:,.1f}  p95 {row.p95:,.1f}  max {row.most:,.1f} {row.unit}  (n={row.count})"
        verdict = "" if row.met is None else f"   wanted {row.wanted}: {'met' if row.met else 'MISSED'}"
        print(f"  {row.what:<58} {figures}{verdict}")
    for note in report.notes:
        print(f"  note: {note}")


def progress(text: str) -> None:
    """Say how far it is, beside the data."""
    print(f"  .. {text}", file=sys.stderr, flush=True)


class Unmeasurable(Exception):  # noqa: N818 - no error of the thing under test
    """This case cannot be run here; the text says why."""
