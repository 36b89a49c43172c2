"""Taking source texts apart: what each language defines, where, and what is comment, string or code."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from slurp_leader.generators.languages import Kind, detect
from slurp_leader.generators.symbols import Structure, read, treesitter

from .running import SAMPLES


def read_sample(path: str) -> Structure:
    text = (SAMPLES / path).read_text()
    return read(detect(path, text), text)


def outline(structure: Structure) -> list[tuple[str, str, int, int, bool]]:
    return [(one.kind, one.qualified_name, one.line, one.end_line, one.exported) for one in structure.symbols]


def test_python() -> None:
    structure = read_sample("jobs/retry.py")
    assert outline(structure) == [
        ("constant", "MAX_ATTEMPTS", 12, 12, True),
        ("class", "GiveUpError", 15, 16, True),
        ("class", "Backoff", 20, 37, True),
        ("method", "Backoff.pauses", 31, 37, True),
        ("function", "should_retry", 40, 44, True),
    ]
    assert structure.doc.startswith("When to try a failed request again.")
    assert [(one.module, one.line) for one in structure.imports][1:3] == [("random", 8), ("collections.abc", 9)]
    by_name = {one.name: one for one in structure.symbols}
    assert by_name["Backoff"].doc == "How long to wait between attempts."
    assert by_name["pauses"].branches == 2
    assert by_name["should_retry"].branches == 2


def test_go() -> None:
    structure = read_sample("path/to/file.go")
    assert outline(structure) == [
        ("variable", "ErrBusy", 18, 18, True),
        ("constant", "defaultSlots", 20, 20, False),
        ("struct", "Limiter", 23, 27, True),
        ("interface", "Waiter", 30, 32, True),
        ("function", "New", 35, 45, True),
        ("method", "Limiter.Do", 48, 58, True),
        ("method", "Limiter.Refused", 61, 61, True),
        ("method", "Limiter.take", 63, 75, False),
    ]
    assert structure.doc.startswith("Package limiter keeps a service")
    assert structure.imports[0].module == "context"
    assert structure.symbols[4].doc.startswith("New returns a Limiter")
    assert structure.symbols[7].branches == 3


def test_javascript() -> None:
    structure = read_sample("web/backoff.js")
    assert outline(structure) == [
        ("constant", "FIRST_MS", 3, 3, False),
        ("constant", "LIMIT_MS", 4, 4, False),
        ("function", "pauseFor", 6, 8, True),
        ("function", "backoff", 11, 12, True),
    ]
    assert structure.doc == "Waits longer after each attempt: 100 ms, 200 ms, 400 ms, at most 5 s."
    assert structure.symbols[3].doc == "Resolves when the pause is over."


def test_javascript_in_the_older_style() -> None:
    text = 'const fs = require("fs");\nfunction load() {}\nfunction hidden() {}\nmodule.exports = { load };\n'
    structure = read(detect("a.cjs", text), text)
    assert [one.module for one in structure.imports] == ["fs"]
    assert [(one.name, one.exported) for one in structure.symbols] == [
        ("fs", False),
        ("load", True),
        ("hidden", False),
    ]


def test_typescript() -> None:
    structure = read_sample("web/client.ts")
    assert outline(structure) == [
        ("interface", "Answer", 7, 10, True),
        ("enum", "Status", 12, 15, True),
        ("type", "Listener", 17, 17, True),
        ("constant", "answerSchema", 19, 19, False),
        ("class", "Client", 22, 49, True),
        ("method", "Client.constructor", 25, 25, True),
        ("method", "Client.onAnswer", 28, 30, True),
        ("method", "Client.wait", 33, 43, True),
        ("method", "Client.fetchOnce", 45, 48, False),
        ("function", "connect", 51, 51, True),
    ]
    assert [one.module for one in structure.imports] == ["zod", "./backoff.js"]
    assert structure.symbols[4].doc == "Talks to one server."


def test_tsx() -> None:
    text = "export const App = () => <p>{name}</p>;\nclass Page extends Base { render() { return <App/>; } }\n"
    structure = read(detect("page.tsx", text), text)
    assert not structure.broken
    assert [(one.kind, one.qualified_name) for one in structure.symbols] == [
        ("function", "App"),
        ("class", "Page"),
        ("method", "Page.render"),
    ]


def test_rust() -> None:
    structure = read_sample("engine/src/lib.rs")
    assert outline(structure) == [
        ("enum", "Priority", 9, 13, True),
        ("struct", "Request", 17, 20, True),
        ("trait", "Worker", 23, 25, True),
        ("method", "Worker.work", 24, 24, False),
        ("struct", "Queue", 28, 30, True),
        ("method", "Queue.push", 34, 40, True),
        ("method", "Queue.next", 42, 44, False),
        ("method", "Queue.run", 46, 50, True),
        ("module", "tests", 54, 64, False),
        ("method", "tests.the_most_urgent_comes_first", 58, 63, False),
    ]
    assert structure.doc == "A queue that hands out the most urgent request first."
    assert structure.symbols[1].doc == "One request."  # above the attribute
    assert structure.imports[1].module == "serde"
    assert structure.imports[1].names == ("Deserialize", "Serialize")


def test_java() -> None:
    structure = read_sample("service/src/main/java/org/example/queue/RequestQueue.java")
    assert outline(structure) == [
        ("class", "RequestQueue", 12, 69, True),
        ("enum", "RequestQueue.Overflow", 15, 15, True),
        ("method", "RequestQueue.RequestQueue", 23, 29, True),
        ("method", "RequestQueue.offer", 32, 47, True),
        ("method", "RequestQueue.poll", 50, 64, True),
        ("method", "RequestQueue.size", 66, 68, False),
    ]
    assert structure.doc.startswith("A bounded queue of requests.")
    assert structure.imports[0].module == "java.util.ArrayDeque"


def test_c() -> None:
    structure = read_sample("native/ring.c")
    assert outline(structure) == [
        ("enum", "ring_state", 7, 7, True),
        ("function", "used", 9, 12, False),
        ("function", "ring_state", 15, 21, True),
        ("function", "ring_push", 23, 29, True),
        ("function", "ring_pop", 31, 36, True),
        ("function", "ring_name", 38, 41, True),
    ]
    assert [one.module for one in structure.imports] == ["<string.h>", '"ring.h"']


def test_c_headers() -> None:
    structure = read_sample("native/ring.h")
    assert [(one.kind, one.name) for one in structure.symbols] == [
        ("constant", "RING_SIZE"),
        ("type", "ring_t"),
        ("prototype", "ring_push"),
        ("prototype", "ring_pop"),
    ]


def test_what_a_private_type_holds_is_private() -> None:
    text = "class _Hidden:\n    def shown(self): ...\n"
    assert [one.exported for one in read(detect("a.py", text), text).symbols] == [False, False]


def test_local_functions_are_no_symbols_and_their_branches_count_outside() -> None:
    text = "def outer():\n    def inner():\n        if x:\n            pass\n    return inner\n"
    (outer,) = read(detect("a.py", text), text).symbols
    assert (outer.name, outer.branches) == ("outer", 1)


def test_broken_syntax_still_gives_what_can_be_read() -> None:
    text = "def good():\n    pass\n\nclass Other:\n    pass\n\ndef bad():\n    x = = 3\n"
    structure = read(detect("a.py", text), text)
    assert structure.broken
    assert {"good", "Other"} <= {one.name for one in structure.symbols}


def test_comments_and_strings_are_told_from_code_and_every_line_stays_where_it_is() -> None:
    text = '"""doc\neval(1)\n"""\nx = "eval(2)"  # eval(3)\n# eval(4)\ny = eval("5")\n'
    structure = read(detect("a.py", text), text)
    for view in (structure.code, structure.bare, structure.remarks):
        assert view.count("\n") == text.count("\n")
    assert [line for line in structure.code.split("\n") if "eval" in line] == ["y = eval()"]
    assert "eval(2)" in structure.bare
    assert "eval(1)" not in structure.bare
    assert [line for line in structure.remarks.split("\n") if "eval" in line] == ["# eval(3)", "# eval(4)"]


@pytest.mark.parametrize(
    "head",
    [
        "// Copyright 2026 Somebody. All rights reserved.\n// Licensed under X.\n\n",
        "/* SPDX-License-Identifier: MIT */\n\n",
        "//go:build linux\n\n",
    ],
)
def test_a_licence_is_not_what_a_file_says_about_itself(head: str) -> None:
    text = head + "// Package a counts sheep.\npackage a\n"
    assert read(detect("a.go", text), text).doc == "Package a counts sheep."


def test_a_minified_file_is_not_taken_apart() -> None:
    text = "function a(){}" * 3000
    structure = read(detect("a.min.js", text), text)
    assert structure.reader == "text"
    assert "minified" in structure.note


def test_deep_nesting_is_read_without_a_fault() -> None:
    text = "x = " + "(" * 4000 + ")" * 4000 + "\n"
    assert read(detect("a.py", text), text).reader == "tree-sitter"


@pytest.fixture
def without_parsers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the extra ``code`` were not installed."""
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    treesitter._toolkit.cache_clear()
    yield
    treesitter._toolkit.cache_clear()


@pytest.mark.usefixtures("without_parsers")
def test_without_the_extra_python_is_read_by_the_standard_library() -> None:
    structure = read_sample("jobs/retry.py")
    assert structure.reader == "ast"
    assert [one.qualified_name for one in structure.symbols] == [
        "MAX_ATTEMPTS",
        "GiveUpError",
        "Backoff",
        "Backoff.pauses",
        "should_retry",
    ]


@pytest.mark.parametrize(
    "text",
    [
        (SAMPLES / "jobs" / "retry.py").read_text(),
        'x = "eval(2)"  # eval(3)\n"""a\nb"""\ny = ["a", \'\'\'b\nc\'\'\', "d"]  # e\n',
    ],
)
def test_both_readers_of_python_agree(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    language = detect("a.py", text)
    best = read(language, text)
    monkeypatch.setattr(treesitter, "available", lambda _language: False)
    plain = read(language, text)
    assert (best.reader, plain.reader) == ("tree-sitter", "ast")
    assert plain.symbols == best.symbols
    assert [(one.module, one.names) for one in plain.imports] == [(one.module, one.names) for one in best.imports]
    assert plain.code.split() == best.code.split()
    assert plain.code.count("\n") == best.code.count("\n")
    assert [one.strip() for one in plain.remarks.split("\n")] == [one.strip() for one in best.remarks.split("\n")]


@pytest.mark.usefixtures("without_parsers")
def test_without_the_extra_other_languages_are_read_as_text_and_say_so() -> None:
    structure = read_sample("path/to/file.go")
    assert structure.reader == "text"
    assert "slurp-leader[code]" in structure.note
    assert structure.doc.startswith("Package limiter")
    assert {"New", "Limiter"} & {one.name for one in structure.symbols}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "a.md",
            "# Title\n\nIntro text here.\n\n## One\n```\n# no heading\n```\n## Two\n",
            ["title Title 1-4", "heading One 5-8", "heading Two 9-9"],
        ),
        ("a.yaml", "# c\nfirst:\n  inner: 1\nsecond: 2\n", ["key first 2-3", "key second 4-4"]),
        ("a.toml", "[tool.x]\na = 1\n[[y]]\n", ["section tool.x 1-2", "section y 3-3"]),
        ("a.sh", "#!/bin/sh\nrun() {\n  :\n}\nfunction stop() { :; }\n", ["function run 2-4", "function stop 5-5"]),
        ("Makefile", "X := 1\nall: a\n\techo\ntest:\n", ["target all 2-3", "target test 4-4"]),
        ("Dockerfile", "FROM scratch\nCOPY a b\n", ["stage scratch 1-2"]),
        ("a.sql", "CREATE TABLE IF NOT EXISTS jobs (\n id int\n);\n", ["table jobs 1-3"]),
        ("a.json", '{\n  "name": "x",\n  "deps": {\n    "y": 1\n  }\n}\n', ["key name 2-2", "key deps 3-6"]),
        ("a.kt", "class Queue {\n  fun push() {}\n}\n", ["class Queue 1-1", "function push 2-3"]),
    ],
)  # fmt: skip
def test_other_files_get_an_outline(name: str, text: str, expected: list[str]) -> None:
    structure = read(detect(name, text), text)
    assert [f"{one.kind} {one.name} {one.line}-{one.end_line}" for one in structure.symbols] == expected


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [
        ("a.py", "", "Python"),
        ("x/Dockerfile", "", "Dockerfile"),
        ("Dockerfile.dev", "", "Dockerfile"),
        ("go.mod", "", "Go module"),
        ("A.PY", "", "Python"),
        ("run", "#!/usr/bin/env python3\n", "Python"),
        ("run", "#!/bin/bash -e\n", "Shell"),
        ("run", "#!/usr/bin/env -S node --harmony\n", "JavaScript"),
        ("run.ts", "#!/usr/bin/env python3\n", "TypeScript"),
        ("run", "import os\n", "text"),
        ("LICENSE", "def f(): pass\n", "text"),
        ("a.unknown", "x", "text"),
        ("a.hs", "", "Haskell"),
        ("schema.sql", "", "SQL"),
        (".env", "A=1", "text"),
    ],
)
def test_the_language_comes_from_the_name_then_from_the_first_line(path: str, text: str, language: str) -> None:
    assert detect(path, text).name == language


def test_a_language_that_only_pygments_knows_is_code() -> None:
    assert detect("Main.hs", "").kind is Kind.CODE
