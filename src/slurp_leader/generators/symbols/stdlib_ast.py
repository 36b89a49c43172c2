"""Reading Python with the standard library, where tree-sitter is not installed."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable, Iterator

from slurp_leader.generators.symbols import comments as prose
from slurp_leader.generators.symbols.structure import Comment, Import, Structure
from slurp_leader.jobs.result import Symbol

_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case, ast.BoolOp, ast.IfExp)
_STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # the second: Python 3.12


def read(text: str) -> Structure | None:
    """Take a Python text apart, or None when it is not valid for this version of Python."""
    try:
        module = ast.parse(text)
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return None
    blocks = _comments(tokens)
    symbols = tuple(_symbols(module.body, ""))
    doc = ast.get_docstring(module) or prose.about_the_file(blocks, symbols[0].line if symbols else 1 << 30)
    docstrings = {(node.lineno, node.col_offset) for node in _docstrings(module)}
    return Structure(
        symbols=symbols,
        imports=tuple(_imports(module)),
        comments=blocks,
        doc=doc,
        code=_without(text, tokens, lambda token: token.type == tokenize.COMMENT or token.type in _STRINGS),
        bare=_without(text, tokens, lambda token: token.type == tokenize.COMMENT or token.start in docstrings),
        remarks=_only_comments(text, tokens),
        reader="ast",
    )


def _symbols(body: list[ast.stmt], parent: str) -> Iterator[Symbol]:
    seen: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield _symbol(node, "class", node.name, parent)
            yield from _symbols(node.body, node.name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _symbol(node, "method" if parent else "function", node.name, parent)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not parent:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id not in seen:
                    seen.add(target.id)
                    yield _symbol(node, "constant" if target.id.lstrip("_").isupper() else "variable", target.id, "")


def _symbol(node: ast.stmt, kind: str, name: str, parent: str) -> Symbol:
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    doc = ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else None
    return Symbol(
        name=name,
        kind=kind,
        line=node.lineno,
        end_line=node.end_lineno or node.lineno,
        parent=parent,
        exported=not name.startswith("_") or (name.startswith("__") and name.endswith("__")),
        doc=prose.first_sentence(doc or ""),
        branches=sum(isinstance(inner, _BRANCHES) for inner in ast.walk(node)) if is_function else 0,
    )


def _imports(module: ast.Module) -> Iterator[Import]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import("." * node.level + (node.module or ""), node.lineno, names)


def _docstrings(module: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(module):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def _comments(tokens: list[tokenize.TokenInfo]) -> tuple[Comment, ...]:
    own_line = (t for t in tokens if t.type == tokenize.COMMENT and not t.line[: t.start[1]].strip())
    return prose.join((t.start[0], t.start[0], t.start[1], t.string) for t in own_line)


def _without(text: str, tokens: list[tokenize.TokenInfo], wanted: Callable[[tokenize.TokenInfo], bool]) -> str:
    """Take out the wanted tokens, leaving the line ends."""
    lines = io.StringIO(text).readlines()  # as the tokens were counted; `splitlines` also cuts at form feeds and others
    for token in reversed(tokens):  # from the back: columns before it stay right
        if not wanted(token):
            continue
        (first, start), (last, end) = token.start, token.end
        for number in range(first, last + 1):
            line = lines[number - 1]
            left = start if number == first else 0
            right = end if number == last else len(line)
            lines[number - 1] = line[:left] + "\n" * line.count("\n", left, right) + line[right:]
    return "".join(lines)


def _only_comments(text: str, tokens: list[tokenize.TokenInfo]) -> str:
    lines = [""] * (text.count("\n") + 1)
    for token in tokens:
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = token.string
    return "\n".join(lines)
