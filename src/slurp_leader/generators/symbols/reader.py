"""Choosing the reader for a text."""

from __future__ import annotations

from slurp_leader.generators.languages import Language
from slurp_leader.generators.symbols import outline, stdlib_ast, treesitter
from slurp_leader.generators.symbols.queries import GRAMMARS
from slurp_leader.generators.symbols.structure import Structure

_LONGEST_LINE = 20_000
_MOST_PARSED = 400_000


def read(language: Language, text: str) -> Structure:
    """Take a source text apart, with the best reader there is here. Never fails: the worst case is bare text."""
    if language.name not in GRAMMARS:
        return outline.read(language, text)
    if is_minified(text):
        return outline.read(language, text, note="one line is longer than 20,000 characters: minified or generated")
    if len(text) > _MOST_PARSED:
        return outline.read(language, text, note=f"more than {_MOST_PARSED} characters: outlined, not parsed")
    if treesitter.available(language.name):
        note = "the parser gave up on this text: outlined, not parsed"
        return treesitter.read(language.name, text) or outline.read(language, text, note=note)
    note = f"no grammar for {language.name} is installed here; pip install 'slurp-leader[code]'"
    structure = stdlib_ast.read(text) if language.name == "Python" else None
    return structure or outline.read(language, text, note=note)


def is_minified(text: str) -> bool:
    """Whether a text has a line that nobody wrote by hand; its symbols would mean nothing to anybody."""
    return len(text) > _LONGEST_LINE and max(map(len, text.split("\n"))) > _LONGEST_LINE
