"""An outline of files that no parser is kept for: headings, sections, targets, functions, tables.

Each pattern finds things that stand at the start of a line; what it names ends where the next one begins.
"""

from __future__ import annotations

import re

from slurp_leader.generators.languages import Kind, Language
from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.symbols import comments as prose
from slurp_leader.generators.symbols.structure import Comment, Import, Structure
from slurp_leader.jobs.result import Symbol

_FUNCTIONS = (
    r"^[ \t]*(?:(?:public|private|protected|internal|static|async|final|open|override|export|abstract|virtual)"
    r"[ \t]+){0,5}"
    r"(?P<kind>class|interface|struct|enum|trait|object|protocol|module|def|fun|func|function|fn)\s+(?P<name>[\w.?!]+)"
)
_PATTERNS = {
    "Markdown": r"^(?P<kind>#{1,3})\s+(?P<name>[^\n]+)",
    "YAML": r"^(?P<name>[A-Za-z_][\w.-]*)\s*:(?=\s|$)",
    "TOML": r"^\[{1,2}(?P<name>[^\]]+)\]{1,2}",
    "INI": r"^\[(?P<name>[^\]]+)\]",
    "Shell": r"^(?:function\s+)?(?P<name>[A-Za-z_][\w:-]*)\s*\(\)",
    "Makefile": r"^(?P<name>[A-Za-z][\w./-]*)\s*:(?!=)",
    "Dockerfile": r"^FROM\s+(?P<name>\S+)",
    "SQL": r"(?i)^\s*create\s+(?:or\s+replace\s+)?(?:unique\s+)?"
    r"(?P<kind>table|view|index|function|procedure|trigger)\s+(?:if\s+not\s+exists\s+)?(?P<name>[\w.\"]+)",
    "Protocol Buffers": r"^\s*(?P<kind>message|service|enum|rpc)\s+(?P<name>\w+)",
    "Terraform": r"^(?P<kind>resource|module|variable|output|data|provider)\s+(?P<name>\"[^{]+\")",
    "JSON": r"^(?:  |\t)\"(?P<name>[^\"]+)\"\s*:",
}
_COMPILED = {name: bounded(pattern, re.MULTILINE) for name, pattern in _PATTERNS.items()}
_ANY_CODE = bounded(_FUNCTIONS, re.MULTILINE)
_LEAD_WITHIN = 8_000
_NO_PROSE = re.compile(r"[\[!<|>:]|[*+-](?:\s|$)|[-+]|```|\d+[.)]\s|\.\. ")  # emphasis and code words are prose
_PLAIN_KIND = {
    "YAML": "key",
    "JSON": "key",
    "TOML": "section",
    "INI": "section",
    "Shell": "function",
    "Makefile": "target",
    "Dockerfile": "stage",
}
_SAME_KIND = {"def": "function", "fun": "function", "func": "function", "fn": "function"}
_INCLUDES = bounded(
    r"^\s*(?:#include\s+|require(?:_relative)?\s+|using\s+|import\s+|source\s+|\.\s+)([^\s;]+)", re.MULTILINE
)


def read(language: Language, text: str, note: str = "") -> Structure:
    """Make an outline of a text.

    Args:
        language: Its language.
        text: The text.
        note: Why no parser read it, when there is one for the language.
    """
    comments = prose.scan(text, language)
    bare = _without(text, comments)
    symbols = _outline(language, text if language.name == "Markdown" else bare)
    first = symbols[0].line if symbols and language.kind is not Kind.DOCUMENT else 1 << 30
    return Structure(
        symbols=symbols,
        imports=_includes(bare) if language.kind in (Kind.CODE, Kind.SCRIPT) else (),
        comments=comments,
        doc=_lead(text) if language.kind in (Kind.DOCUMENT, Kind.TEXT) else prose.about_the_file(comments, first),
        code=bare,
        bare=bare,
        remarks=_only(text, comments),
        reader="text",
        note=note,
    )


def _outline(language: Language, text: str) -> tuple[Symbol, ...]:
    pattern = _COMPILED.get(language.name) or (_ANY_CODE if language.kind is Kind.CODE else None)
    if pattern is None:
        return ()
    if language.name == "Markdown":
        text = re.sub(
            r"^(```|~~~).*?^\1", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
        )
    found = [(_line(text, hit.start("name")), hit) for hit in pattern.finditer(text)]
    if not found:
        return ()
    last = text.count("\n") + (not text.endswith("\n"))
    ends = [line - 1 for line, _ in found[1:]] + [last]
    return tuple(
        Symbol(
            name=hit["name"].rstrip("# ").strip().strip('"'),
            kind=_kind(language, hit.groupdict().get("kind") or ""),
            line=line,
            end_line=max(line, end),
        )
        for (line, hit), end in zip(found, ends, strict=True)
    )


def _kind(language: Language, word: str) -> str:
    if language.name == "Markdown":
        return "title" if word == "#" else "heading"
    return _PLAIN_KIND.get(language.name) or _SAME_KIND.get(word.lower(), word.lower())


def _includes(text: str) -> tuple[Import, ...]:
    hits = _INCLUDES.finditer(text)
    return tuple(Import(hit[1].strip("\"'"), _line(text, hit.start(1))) for hit in hits)


def _lead(text: str) -> str:
    """The first paragraph of prose of a document: no heading, badge, table, list or markup."""
    text = re.sub(r"\A---\n.*?\n---\n|<!--.*?-->", "", text[:_LEAD_WITHIN], flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", text)[:12]:
        prose_lines = [line for line in paragraph.strip().splitlines() if not re.match(r"#|[-=~*^\"`]{3,}\s*$", line)]
        joined = " ".join(prose_lines).strip()
        if joined and not _NO_PROSE.match(joined) and len(joined.split()) >= 3:
            return joined
    return ""


def _without(text: str, comments: tuple[Comment, ...]) -> str:
    lines = text.split("\n")
    for comment in comments:
        for number in range(comment.line, comment.end_line + 1):
            lines[number - 1] = ""
    return "\n".join(lines)


def _only(text: str, comments: tuple[Comment, ...]) -> str:
    lines = [""] * (text.count("\n") + 1)
    for comment in comments:
        for offset, line in enumerate(comment.text.split("\n")):
            lines[min(comment.line + offset, comment.end_line) - 1] += line
    return "\n".join(lines)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
