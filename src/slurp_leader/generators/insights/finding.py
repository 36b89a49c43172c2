"""A finding, and the words that findings share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from slurp_leader.generators.facts import Facts
from slurp_leader.generators.signals import Signal
from slurp_leader.generators.wording import at_lines, capitalised, quoted
from slurp_leader.jobs.result import Symbol


@dataclass(frozen=True, slots=True)
class Finding:
    """Something worth telling a reader.

    Attributes:
        weight: How much it matters to the reader at hand, 0 to 10; more comes first.
        text: One or two sentences, with names, numbers and lines.
    """

    weight: float
    text: str


Finder = Callable[[Facts], Iterator[Finding]]
"""Looks at the facts for one kind of finding."""


def span(symbol: Symbol) -> str:
    """Where a symbol stands: ``lines 3-9``."""
    return f"line {symbol.line}" if symbol.lines == 1 else f"lines {symbol.line}-{symbol.end_line}"


def told(signal: Signal, boost: float = 0.0) -> Finding:
    """Word a signal: where, then what and why."""
    names = f": {quoted(signal.names, 8)}" if signal.names else ""
    return Finding(signal.rule.weight + boost, f"{capitalised(at_lines(signal.lines))}: {signal.rule.says}{names}.")
