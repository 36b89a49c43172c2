"""The customs of each language: what counts as exported, how an import is written, what a name tells."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.symbols.structure import Import

_PYTHON_FROM = re.compile(r"from\s+([.\w]+)\s+import\s+(.+)", re.DOTALL)
_RUST_USE = re.compile(r"(?:pub(?:\([^)]*\))?\s+)?(?:use|extern\s+crate)\s+([^;]+)", re.DOTALL)
_JAVA_IMPORT = re.compile(r"import\s+(?:static\s+)?([\w.]+)(?:\.\*)?")
_EXPORTS = bounded(r"\bexport\s*\{[^}]*\}|\bexports\b[^\n;]*")
_UPPER = re.compile(r"[A-Z][A-Z0-9_]*")


class SyntaxNode(Protocol):
    """The little that is asked of a syntax node."""

    @property
    def start_byte(self) -> int: ...

    @property
    def end_byte(self) -> int: ...


def symbol_kind(language: str, kind: str, name: str, parent: str) -> str:
    """Name the kind as people would: a function in a class is a method, a variable in capitals a constant."""
    if kind == "function" and parent and language in ("Python", "Rust"):
        return "method"
    if kind == "variable" and language == "Python" and _UPPER.fullmatch(name.lstrip("_")):
        return "constant"
    return kind


def is_exported(language: str, name: str, kind: str, node: SyntaxNode, data: bytes) -> bool:
    """Whether a name is meant for use from outside its file or package."""
    head = data[node.start_byte : node.start_byte + 160]
    match language:
        case "Python":
            return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))
        case "Go":
            return name[:1].isupper()
        case "Rust":
            return head.startswith(b"pub") or kind == "macro"
        case "Java":
            return b"public" in head.partition(b"{")[0].partition(b"(")[0]
        case "C":
            return not re.match(rb"(?:inline\s+)?static\b", head)
        case "JavaScript" | "TypeScript" | "TSX":
            return _is_exported_script(name, kind, node, head, data)
        case _:
            return not name.startswith("_")


def _is_exported_script(name: str, kind: str, node: SyntaxNode, head: bytes, data: bytes) -> bool:
    if kind == "method":
        return not name.startswith(("#", "_")) and not head.startswith((b"private", b"protected"))
    line_start = data.rfind(b"\n", 0, node.start_byte) + 1
    if data[line_start : node.start_byte + 7].lstrip().startswith(b"export"):
        return True
    return name in _named_exports(data)


@lru_cache(maxsize=4)
def _named_exports(data: bytes) -> frozenset[str]:
    """Names in ``export { a, b }`` and on the lines that speak of ``exports``."""
    places = _EXPORTS.findall(data.decode())
    return frozenset(word for place in places for word in re.findall(r"\w+", place))


def read_import(language: str, text: str, line: int) -> list[Import]:
    """Read one import as it stands in the source."""
    match language:
        case "Python":
            return _read_python(text, line)
        case "Rust":
            return _read_rust(text, line)
        case "Java":
            found = _JAVA_IMPORT.match(text)
            return [Import(found[1], line)] if found else []
        case "C":
            return [Import(text, line)]
        case _:
            return [Import(text.strip("\"'`"), line)]


def _read_python(text: str, line: int) -> list[Import]:
    text = re.sub(r"#[^\n]*", "", text)
    found = _PYTHON_FROM.match(text)
    if found:
        names = tuple(part.split()[0] for part in found[2].strip("() \n").split(",") if part.strip())
        return [Import(found[1], line, names)]
    return [Import(part.split()[0], line) for part in text.removeprefix("import").split(",") if part.strip()]


def _read_rust(text: str, line: int) -> list[Import]:
    found = _RUST_USE.match(text)
    if not found:
        return []
    module, _, names = "".join(found[1].split(" as ")[0].split()).partition("::{")
    return [Import(module.removesuffix("::*"), line, tuple(part for part in names.strip("{}").split(",") if part))]
