"""Reading source text with tree-sitter. Only this module knows it."""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from slurp_leader.generators.symbols import comments as prose
from slurp_leader.generators.symbols.habits import is_exported, read_import, symbol_kind
from slurp_leader.generators.symbols.queries import GRAMMARS
from slurp_leader.generators.symbols.structure import Comment, Import, Structure
from slurp_leader.jobs.result import Symbol

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Query

_SCOPES = {"class", "struct", "interface", "trait", "enum", "module", "scope"}
_MOST_ATTRIBUTES = 20
_SLICE, _READ_AT_MOST = 512, 8
_VAGUE = {"type", "constant"}  # another pattern may know better what the same text is
_PARSERS = threading.local()  # a parser serves one thread at a time


@dataclass(frozen=True, slots=True)
class _Toolkit:
    language: Language
    definitions: Query
    imports: Query
    spans: Query


@dataclass(slots=True, eq=False)
class _Definition:
    """A definition while its surroundings are still being found out."""

    node: Node
    kind: str
    name: str
    parent: str = ""
    doc: str = ""
    branches: int = 0
    local: bool = False
    owner: _Definition | None = None  # who its branches count for

    @property
    def start(self) -> int:
        return self.node.start_byte

    @property
    def end(self) -> int:
        return self.node.end_byte


def available(language: str) -> bool:
    """Whether the grammar of a language is installed."""
    return language in GRAMMARS and _toolkit(language) is not None


def read(language: str, text: str) -> Structure | None:
    """Take a source text apart, or None when it is no text of that language that a parser can cope with.

    The grammar must be `available`.
    """
    kit = _toolkit(language)
    assert kit is not None, "ask `available` first"
    data = text.encode()
    root = _parse(_parser(language, kit), data)
    if root is None:
        return None
    spans = _captures(kit.spans, root)
    blocks = _comment_blocks(spans.get("comment", []), data)
    definitions, module_doc = _definitions(kit.definitions, root, data)
    _place(definitions, spans.get("branch", []))
    kept = [found for found in definitions if not found.local and found.kind != "scope"]
    _document(kept, blocks, data)
    symbols = _symbols(language, kept, data)
    return Structure(
        symbols=symbols,
        imports=_imports(language, kit.imports, root, data),
        comments=blocks,
        doc=module_doc or prose.about_the_file(blocks, symbols[0].line if symbols else 1 << 30),
        code=_without(data, spans, "comment", "string"),
        bare=_without(data, spans, "comment", "docstring"),
        remarks=_only(data, spans.get("comment", [])),
        reader="tree-sitter",
        broken=root.has_error,
    )


# ---------------------------------------------------------------- the tools


@cache
def _toolkit(language: str) -> _Toolkit | None:
    grammar = GRAMMARS[language]
    try:
        from tree_sitter import Language, Query

        pointer = getattr(importlib.import_module(grammar.package), grammar.function)()
    except ImportError:
        return None
    tree_language = Language(pointer)
    queries = (Query(tree_language, text) for text in (grammar.definitions, grammar.imports, grammar.spans))
    return _Toolkit(tree_language, *queries)


def _parser(language: str, kit: _Toolkit) -> Any:
    from tree_sitter import Parser

    parsers: dict[str, Parser] = _PARSERS.__dict__
    if language not in parsers:
        parsers[language] = Parser(kit.language)
    return parsers[language]


def _parse(parser: Any, data: bytes) -> Node | None:
    """Parse, in slices, and give up on texts that are read over and over again.

    The parser holds the interpreter lock and knows no timeout. Handing out the text in slices lets other threads in
    at each of them (seen: 14 s for 1 MB of nonsense, in which the thread that renews a lease got no turn at all).
    Counting the slices ends the texts on which a scanner looks ahead to the end from every line (seen: 2 s for 40 KB of
    comments): an ordinary text is read about twice. A count gives the same answer on every machine, a clock does not.
    """
    left = _READ_AT_MOST * (len(data) // _SLICE + 50)

    def hand_out(offset: int, _position: object) -> bytes:
        nonlocal left
        left -= 1
        return data[offset : offset + _SLICE] if left > 0 else b""

    root: Node = parser.parse(hand_out).root_node
    return root if left > 0 else None


def _captures(query: Query, root: Node) -> dict[str, list[Node]]:
    from tree_sitter import QueryCursor

    return QueryCursor(query).captures(root)


def _matches(query: Query, root: Node) -> list[dict[str, list[Node]]]:
    from tree_sitter import QueryCursor

    return [captures for _pattern, captures in QueryCursor(query).matches(root)]


def _text(node: Node, data: bytes) -> str:
    return data[node.start_byte : node.end_byte].decode()


# ---------------------------------------------------------------- definitions


def _definitions(query: Query, root: Node, data: bytes) -> tuple[list[_Definition], str]:
    """All definitions in the order of the file, and the module's own docstring."""
    module_doc = ""
    found: dict[tuple[int, str], _Definition] = {}
    names: set[tuple[str, str]] = set()
    for captures in _matches(query, root):
        if "module.doc" in captures:
            module_doc = prose.docstring(_text(captures["module.doc"][0], data))
            continue
        definition = _definition(captures, data)
        key = (definition.start, definition.name)
        known = found.get(key)
        if known is None or (definition.doc and not known.doc) or known.kind in _VAGUE:
            if definition.kind == "variable" and (definition.kind, definition.name) in names:
                continue  # assigned a second time
            names.add((definition.kind, definition.name))
            found[key] = definition
    return sorted(found.values(), key=lambda item: (item.start, -item.end)), module_doc


def _definition(captures: dict[str, list[Node]], data: bytes) -> _Definition:
    label = next(name for name in captures if name == "scope" or name.startswith("def."))
    doc = captures.get("doc")
    parent = captures.get("parent")
    return _Definition(
        node=captures[label][0],
        kind=label.removeprefix("def."),
        name=_text(captures["name"][0], data),
        parent=_text(parent[0], data) if parent else "",
        doc=prose.docstring(_text(doc[0], data)) if doc else "",
    )


def _place(definitions: list[_Definition], branches: list[Node]) -> None:
    """Find what each definition belongs to, and count the branches of each.

    Definitions inside a function are its own affair: they are marked local, and their branches count for it.
    """
    starts = sorted(node.start_byte for node in branches)
    at = 0
    open_ones: list[_Definition] = []
    for definition in [*definitions, None]:
        limit = definition.start if definition else 1 << 62
        while at < len(starts) and starts[at] < limit:
            _close(open_ones, starts[at])
            if open_ones and open_ones[-1].owner is not None:
                open_ones[-1].owner.branches += 1
            at += 1
        if definition is None:
            return
        _close(open_ones, definition.start)
        if open_ones:
            outer = open_ones[-1]
            definition.local = outer.local or outer.kind not in _SCOPES
            definition.parent = definition.parent or outer.name
            definition.owner = outer.owner
        if not definition.local and definition.kind not in _SCOPES:
            definition.owner = definition
        open_ones.append(definition)


def _close(open_ones: list[_Definition], position: int) -> None:
    while open_ones and open_ones[-1].end <= position:
        open_ones.pop()


def _document(definitions: list[_Definition], blocks: tuple[Comment, ...], data: bytes) -> None:
    """Give each definition without a docstring the comment that ends right above it."""
    above = {block.end_line: block for block in blocks}
    lines: list[bytes] | None = None
    for definition in definitions:
        if definition.doc:
            continue
        line = definition.node.start_point[0]  # counted from 0, hence the line above counted from 1
        lines = lines if lines is not None else data.split(b"\n")
        top = max(0, line - _MOST_ATTRIBUTES)
        while line > top and lines[line - 1].lstrip().startswith((b"#[", b"@")):  # they stand in between
            line -= 1
        block = above.get(line)
        if block is not None and prose.speaks(block.text):
            definition.doc = block.text


def _symbols(language: str, definitions: list[_Definition], data: bytes) -> tuple[Symbol, ...]:
    hidden: set[str] = set()  # what belongs to something private is private
    symbols = []
    for definition in definitions:
        exported = definition.parent not in hidden and is_exported(
            language, definition.name, definition.kind, definition.node, data
        )
        if not exported and definition.kind in _SCOPES:
            hidden.add(definition.name)
        symbols.append(_symbol(language, definition, exported))
    return tuple(symbols)


def _symbol(language: str, definition: _Definition, exported: bool) -> Symbol:
    node = definition.node
    return Symbol(
        name=definition.name,
        kind=symbol_kind(language, definition.kind, definition.name, definition.parent),
        line=node.start_point[0] + 1,
        end_line=_last_line(node),
        parent=definition.parent,
        exported=exported,
        doc=prose.first_sentence(definition.doc),
        branches=definition.branches,
    )


def _last_line(node: Node) -> int:
    """The last line, counted from 1. Some grammars let a node end at the start of the line below."""
    line, column = node.end_point
    return max(line if column == 0 else line + 1, node.start_point[0] + 1)


# ---------------------------------------------------------------- imports, comments, blanks


def _imports(language: str, query: Query, root: Node, data: bytes) -> tuple[Import, ...]:
    found: list[Import] = []
    for label, nodes in _captures(query, root).items():
        if label in ("module", "import"):
            for node in nodes:
                found += read_import(language, _text(node, data), node.start_point[0] + 1)
    return tuple(sorted(dict.fromkeys(found), key=lambda item: item.line))


def _comment_blocks(nodes: list[Node], data: bytes) -> tuple[Comment, ...]:
    rows = []
    for node in sorted(nodes, key=lambda item: item.start_byte):
        column = node.start_point[1]
        before = data[node.start_byte - column : node.start_byte]
        if not before.strip():  # a comment behind code speaks of that line only
            rows.append((node.start_point[0] + 1, _last_line(node), column, _text(node, data)))
    return prose.join(rows)


def _without(data: bytes, spans: dict[str, list[Node]], *labels: str) -> str:
    """Take out what the labels captured, leaving the line ends, so that everything else keeps its line."""
    ranges = sorted((node.start_byte, node.end_byte) for label in labels for node in spans.get(label, []))
    parts = []
    at = 0
    for start, end in ranges:
        if start >= at:  # a string inside a captured string has gone already
            parts += [data[at:start], b"\n" * data.count(b"\n", start, end)]
            at = end
    return b"".join([*parts, data[at:]]).decode()


def _only(data: bytes, nodes: list[Node]) -> str:
    """Keep the nodes and, of everything else, the line ends."""
    parts = []
    at = 0
    for node in sorted(nodes, key=lambda item: item.start_byte):
        parts += [b"\n" * data.count(b"\n", at, node.start_byte), data[node.start_byte : node.end_byte]]
        at = node.end_byte
    return b"".join([*parts, b"\n" * data.count(b"\n", at)]).decode()
