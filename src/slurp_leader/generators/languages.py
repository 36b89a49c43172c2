"""Which language a file is written in: by its name, then by its first line, never by guessing from the content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Kind(StrEnum):
    """What sort of file a language makes."""

    CODE = "code"
    SCRIPT = "script"
    CONFIGURATION = "configuration"
    DOCUMENT = "document"
    MARKUP = "markup"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Language:
    """A language.

    Attributes:
        name: As people write it.
        kind: What sort of file it makes.
        line_comments: What begins a comment that ends with the line.
        block_comments: Pairs of what begins and ends a longer one.
    """

    name: str
    kind: Kind
    line_comments: tuple[str, ...] = ()
    block_comments: tuple[tuple[str, str], ...] = ()

    @property
    def slug(self) -> str:
        """The name as a tag: lower case, without blanks."""
        return self.name.lower().replace(" ", "-").replace("+", "p").replace("#", "sharp")


_HASH, _SLASHES, _DASHES = ("#",), ("//",), ("--",)
_C_BLOCK = (("/*", "*/"),)
_XML_BLOCK = (("<!--", "-->"),)

TEXT = Language("text", Kind.TEXT)

_LANGUAGES = (
    Language("Python", Kind.CODE, _HASH),
    Language("Go", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("JavaScript", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("TypeScript", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("TSX", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("Rust", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("Java", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("C", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("C++", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("C#", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("Kotlin", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("Swift", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("Scala", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("PHP", Kind.CODE, ("//", "#"), _C_BLOCK),
    Language("Ruby", Kind.CODE, _HASH),
    Language("Lua", Kind.CODE, _DASHES),
    Language("SQL", Kind.CODE, _DASHES, _C_BLOCK),
    Language("Protocol Buffers", Kind.CODE, _SLASHES, _C_BLOCK),
    Language("Shell", Kind.SCRIPT, _HASH),
    Language("PowerShell", Kind.SCRIPT, _HASH),
    Language("Makefile", Kind.SCRIPT, _HASH),
    Language("Dockerfile", Kind.SCRIPT, _HASH),
    Language("YAML", Kind.CONFIGURATION, _HASH),
    Language("TOML", Kind.CONFIGURATION, _HASH),
    Language("INI", Kind.CONFIGURATION, ("#", ";")),
    Language("JSON", Kind.CONFIGURATION),
    Language("Terraform", Kind.CONFIGURATION, _HASH, _C_BLOCK),
    Language("Go module", Kind.CONFIGURATION, _SLASHES),
    Language("Markdown", Kind.DOCUMENT, (), _XML_BLOCK),
    Language("reStructuredText", Kind.DOCUMENT),
    Language("HTML", Kind.MARKUP, (), _XML_BLOCK),
    Language("XML", Kind.MARKUP, (), _XML_BLOCK),
    Language("CSS", Kind.MARKUP, (), _C_BLOCK),
)
_BY_NAME = {language.name: language for language in _LANGUAGES}

_FILE_NAMES = {
    "dockerfile": "Dockerfile",
    "containerfile": "Dockerfile",
    "makefile": "Makefile",
    "gnumakefile": "Makefile",
    "go.mod": "Go module",
    "go.work": "Go module",
    "pipfile": "TOML",
    "cargo.lock": "TOML",
    "gemfile": "Ruby",
    "rakefile": "Ruby",
    ".bashrc": "Shell",
    ".profile": "Shell",
    ".gitconfig": "INI",
    ".editorconfig": "INI",
}

_SUFFIXES = {
    "Python": "py pyi pyw",
    "Go": "go",
    "JavaScript": "js mjs cjs jsx",
    "TypeScript": "ts mts cts",
    "TSX": "tsx",
    "Rust": "rs",
    "Java": "java",
    "C": "c h",
    "C++": "cc cpp cxx hh hpp hxx",
    "C#": "cs",
    "Kotlin": "kt kts",
    "Swift": "swift",
    "Scala": "scala sc",
    "PHP": "php",
    "Ruby": "rb rake gemspec",
    "Lua": "lua",
    "SQL": "sql",
    "Protocol Buffers": "proto",
    "Shell": "sh bash zsh ksh",
    "PowerShell": "ps1 psm1",
    "Makefile": "mk",
    "Dockerfile": "dockerfile",
    "YAML": "yaml yml",
    "TOML": "toml",
    "INI": "ini cfg conf service",
    "JSON": "json jsonc webmanifest",
    "Terraform": "tf tfvars",
    "Markdown": "md markdown",
    "reStructuredText": "rst",
    "HTML": "html htm",
    "XML": "xml xsd svg",
    "CSS": "css scss",
    "text": "txt text log lock",
}
_BY_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}

_INTERPRETERS = {
    "python": "Python",
    "pypy": "Python",
    "sh": "Shell",
    "bash": "Shell",
    "dash": "Shell",
    "zsh": "Shell",
    "ksh": "Shell",
    "node": "JavaScript",
    "deno": "TypeScript",
    "ts-node": "TypeScript",
    "ruby": "Ruby",
    "lua": "Lua",
    "php": "PHP",
    "pwsh": "PowerShell",
    "make": "Makefile",
}
_SHEBANG = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+|\w+=\S*\s+)*)?(?:\S*/)?([A-Za-z-]+)")


def detect(path: str, text: str) -> Language:
    """Tell the language of a file.

    Args:
        path: Its path; only the name counts.
        text: Its text; only a ``#!`` line counts, and only when the name says nothing.

    Returns:
        The language, `TEXT` when neither says anything.
    """
    name = path.rpartition("/")[2].lower()
    known = _FILE_NAMES.get(name) or _BY_SUFFIX.get(name.rpartition(".")[2] if "." in name else "")
    if known is None and name.startswith(("dockerfile.", "makefile.")):
        known = _FILE_NAMES[name.partition(".")[0]]
    if known is None:
        known = _from_shebang(text) or _from_pygments(name)
    if known is None or known == TEXT.name:
        return TEXT
    return _BY_NAME.get(known) or Language(known, Kind.CODE)


def _from_shebang(text: str) -> str | None:
    found = _SHEBANG.match(text[:200])
    return _INTERPRETERS.get(found[1].rstrip("-")) if found else None


@lru_cache(maxsize=1024)
def _from_pygments(name: str) -> str | None:
    """The name of a rarer language, where pygments is installed and knows the file name."""
    try:
        from pygments.lexers import find_lexer_class_for_filename
    except ImportError:
        return None
    lexer = find_lexer_class_for_filename(name)
    plain = lexer is None or lexer.name in ("Text only", "Text output")
    return None if plain else str(lexer.name)
