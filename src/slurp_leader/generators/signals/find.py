"""Applying the rules to a source text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.signals.rules import RULES, Rule, Topic
from slurp_leader.generators.symbols import Structure


@dataclass(frozen=True, slots=True)
class Signal:
    """A rule that applies, with all the places where it does."""

    rule: Rule
    lines: tuple[int, ...]
    names: tuple[str, ...]


def find(language: str, structure: Structure) -> tuple[Signal, ...]:
    """Apply every rule of a language to a source text.

    Returns:
        One signal for each rule that applies, the weightiest first, then in the order of the file.
    """
    views = {"code": structure.code, "bare": structure.bare, "comments": structure.remarks}
    if language == "Rust":  # its tests stand at the end of the same file, under their own rules
        views = {name: text.partition("#[cfg(test)]")[0] for name, text in views.items()}
    indexes = {view: _line_starts(text) for view, text in views.items()}
    found = []
    for rule, near, pattern in _compiled(language):
        text = views[rule.view]
        if not any(word in text for word in near):
            continue
        hits = list(_hits(pattern, text, indexes[rule.view]))
        if hits:
            lines = tuple(dict.fromkeys(line for line, _ in hits))
            names = tuple(dict.fromkeys(name for _, name in hits if name))
            found.append(Signal(rule, lines, names))
    return tuple(sorted(_merge(found), key=lambda signal: (-signal.rule.weight, signal.lines[0])))


def _hits(pattern: re.Pattern[str], text: str, starts: list[int]) -> Iterator[tuple[int, str]]:
    for hit in pattern.finditer(text):
        at = hit.start() + len(hit[0]) - len(hit[0].lstrip())
        yield bisect_right(starts, at), (hit[1] or "") if pattern.groups else ""


def _merge(signals: list[Signal]) -> list[Signal]:
    """Make one signal of those that say the same thing."""
    merged: dict[str, Signal] = {}
    for signal in signals:
        known = merged.get(signal.rule.says)
        if known is None:
            merged[signal.rule.says] = signal
        else:
            lines = tuple(sorted({*known.lines, *signal.lines}))
            merged[signal.rule.says] = Signal(known.rule, lines, tuple(dict.fromkeys((*known.names, *signal.names))))
    return list(merged.values())


def _line_starts(text: str) -> list[int]:
    starts = [0]
    at = text.find("\n")
    while at >= 0:
        starts.append(at + 1)
        at = text.find("\n", at + 1)
    return starts


@cache
def _compiled(language: str) -> tuple[tuple[Rule, tuple[str, ...], re.Pattern[str]], ...]:
    rules = (rule for rule in RULES if not rule.languages or language in rule.languages)
    return tuple((rule, tuple(rule.near.split()), bounded(rule.pattern)) for rule in rules)


def rules_for(language: str, topic: Topic) -> int:
    """How many rules of a topic are applied to a language."""
    return sum(rule.topic is topic for rule, _, _ in _compiled(language))
