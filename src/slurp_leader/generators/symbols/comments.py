"""Comments as people mean them: without their signs, and neighbouring line comments as one."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from slurp_leader.generators.languages import Language
from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.symbols.structure import Comment

_LINE_SIGNS = bounded(r"^\s*(?:///?!?|//|#+!?|--+|;+|%+)\s?")
_BLOCK_START = bounded(r"^\s*(?:/\*+!?|<!--|\"\"\"|''')")
_BLOCK_END = bounded(r"(?:\*+/|-->|\"\"\"|''')\s*$")
_STAR = re.compile(r"^\s*\*(?:\s|$)")
_NOT_ABOUT_THE_FILE = re.compile(
    r"copyright|licen[sc]e|SPDX-|all rights reserved|^go:build|^\+build|eslint|prettier-ignore|jshint|@ts-|"
    r"^-\*-|coding[:=]|vim?:|type: *ignore|noqa|pylint|mypy:|flake8|ruff:|^!|^region\b|code generated|"
    r"shellcheck|use strict|global .*:writable",
    re.IGNORECASE,
)
_MOST_LINES, _MOST_TEXT = 200, 8_000  # of one comment; more is no description but a page
_MOST_PARAGRAPHS = 6
_LIST_OR_SAMPLE = re.compile(r"\s|[-*+]\s|\d+[.)]\s")
_END_OF_PROSE = re.compile(r"[-+|>]\S|[|>]|::|```|@\w+|:\w+|(?:Args|Returns|Raises|Usage|Example)s?:")
_RULER = re.compile(r"[-=*#~_/ ]{6,}")
_SENTENCE_END = re.compile(r"(?<=[^.\s][.!?])\s+(?=[A-Z`'\"(<\[*0-9])|(?<=:)\s+(?=[-*]\s)")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|resp|approx|incl|no|fig|Mr|Dr)\.$", re.IGNORECASE)


def plain(text: str) -> str:
    """Take the comment signs and the indentation off a comment or docstring."""
    lines = text.strip().splitlines()
    if not lines:
        return ""
    lines[0] = _BLOCK_START.sub("", lines[0])
    lines[-1] = _BLOCK_END.sub("", lines[-1])
    bare = [_STAR.sub("", _LINE_SIGNS.sub("", line)).rstrip() for line in lines]
    return "\n".join(line.strip() for line in bare if not _RULER.fullmatch(line)).strip()


def docstring(literal: str) -> str:
    """The text of a Python string literal that stands as a docstring."""
    body = literal.lstrip("rRbBuUfF")
    for quotes in ('"""', "'''", '"', "'"):
        if body.startswith(quotes):
            return inspect.cleandoc(body[len(quotes) : _MOST_TEXT].removesuffix(quotes)).strip()
    return body[:_MOST_TEXT]


def join(comments: Iterable[tuple[int, int, int, str]]) -> tuple[Comment, ...]:
    """Make one comment of line comments that stand below each other in one column.

    Args:
        comments: First line, last line, column and raw text of each, in order, of those that begin their line.
    """
    joined: list[list[tuple[int, int, int, str]]] = []
    for current in comments:
        previous = joined[-1][-1] if joined else None
        block = current[3].startswith(("/*", "<!--"))
        if previous and not block and current[0] == previous[1] + 1 and current[2] == previous[2]:
            joined[-1].append(current)
        else:
            joined.append([current])
    return tuple(_comment(group) for group in joined)


def _comment(parts: list[tuple[int, int, int, str]]) -> Comment:
    text = "\n".join(part[3] for part in parts[:_MOST_LINES])
    if len(text) > _MOST_TEXT:
        text = text[:_MOST_TEXT].rpartition("\n")[0] or text[:_MOST_TEXT]
    return Comment(parts[0][0], parts[-1][1], plain(text))


def scan(text: str, language: Language) -> tuple[Comment, ...]:
    """Find the comments of a language without a parser: only those that begin their line are sure to be comments."""
    found: list[tuple[int, int, int, str]] = []
    ends = dict(language.block_comments)
    open_end, open_at, parts = "", 0, list[str]()
    for number, line in enumerate(text.split("\n"), start=1):  # not `splitlines`: it also cuts at form feeds and others
        stripped = line.lstrip()
        if open_end:
            parts.append(line)
        elif (start := next((sign for sign in ends if stripped.startswith(sign)), None)) is not None:
            open_end, open_at, parts = ends[start], number, [line]
            stripped = stripped[len(start) :]
        elif language.line_comments and stripped.startswith(language.line_comments):
            found.append((number, number, len(line) - len(stripped), stripped))
        if open_end and open_end in stripped:
            found.append((open_at, number, 0, "\n".join(parts)))
            open_end = ""
    return join(found)


def about_the_file(comments: Iterable[Comment], before_line: int) -> str:
    """The first comment at the top of a file that says something about it: no licence, no order to a tool.

    Args:
        comments: In the order of the file.
        before_line: Where the first definition stands; comments below it speak of something else.
    """
    for comment in comments:
        if comment.line > before_line:
            break
        if speaks(comment.text):
            return comment.text
    return ""


def speaks(text: str) -> bool:
    """Whether a comment is prose about the code: no licence, no order to a tool, more than one word."""
    return not _NOT_ABOUT_THE_FILE.search(text[:400]) and len(re.findall(r"[A-Za-z]{2,}", text)) >= 2


def first_sentence(text: str, limit: int = 160) -> str:
    """The first sentence of a comment, on one line."""
    sentences = split_sentences(text)
    return shorten(sentences[0], limit) if sentences else ""


def split_sentences(text: str) -> list[str]:
    """The sentences of the first paragraphs, each on one line.

    Lists and indented samples are left out, with the sentence that leads up to them; tables, marked samples and
    sections end the prose.
    """
    sentences: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip())[:_MOST_PARAGRAPHS]:
        lines = paragraph.splitlines()
        if not lines or _END_OF_PROSE.match(lines[0]):
            break
        if _LIST_OR_SAMPLE.match(lines[0]):
            sentences = _closed(sentences)
            continue
        sentences += _cut(" ".join(line.strip() for line in lines))
        if paragraph.endswith("::"):
            break
    return _closed(sentences)


def _closed(sentences: list[str]) -> list[str]:
    """Without a last sentence that only leads up to something else; a lone one loses its colon."""
    if not sentences or not sentences[-1].endswith(":"):
        return sentences
    return sentences[:-1] or [sentences[0].rstrip(": ")]


def _cut(prose: str) -> list[str]:
    sentences: list[str] = []
    for part in _SENTENCE_END.split(prose):
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] += f" {part}"
        elif part:
            sentences.append(part)
    return sentences


def shorten(text: str, limit: int) -> str:
    """Cut at a word, with an ellipsis, when longer than `limit`."""
    if len(text) <= limit:
        return text
    return text[: limit - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"
