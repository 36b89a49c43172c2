"""What a reader of source text finds, in the same form for every language and every way of reading."""

from __future__ import annotations

from dataclasses import dataclass

from slurp_leader.jobs.result import Symbol


@dataclass(frozen=True, slots=True)
class Import:
    """Something that the file names from elsewhere.

    Attributes:
        module: As written: ``..store.port``, ``net/http``, ``./util``, ``std::io``, ``<stdio.h>``, ``"a.h"``.
        line: Where, counted from 1.
        names: What is taken from it, where the language says so.
    """

    module: str
    line: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment, or neighbouring line comments taken as one, without the comment signs."""

    line: int
    end_line: int
    text: str


@dataclass(frozen=True, slots=True)
class Structure:
    """A source text, taken apart.

    Attributes:
        symbols: In the order of the file.
        imports: In the order of the file.
        comments: In the order of the file.
        doc: What the file says about itself: docstring or leading comment.
        code: The text without comments and strings; the line ends inside them are kept, so lines stay where they are.
        bare: The text without comments and docstrings, in the same way; other strings stand.
        remarks: The comments alone, also those behind code; lines stay where they are.
        reader: How it was read: the name of a parser, or ``text``.
        broken: The parser found syntax that it does not understand.
        note: Why a better reader was not used; empty when there is none better.
    """

    symbols: tuple[Symbol, ...] = ()
    imports: tuple[Import, ...] = ()
    comments: tuple[Comment, ...] = ()
    doc: str = ""
    code: str = ""
    bare: str = ""
    remarks: str = ""
    reader: str = "text"
    broken: bool = False
    note: str = ""
