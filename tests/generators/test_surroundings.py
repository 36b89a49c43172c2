"""Where imports lead, in each language, and what packages they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurp_leader.generators import FileContextGenerator
from slurp_leader.generators.languages import detect
from slurp_leader.generators.manifests import Manifest, nearest
from slurp_leader.generators.symbols import read
from slurp_leader.generators.technologies import Dependency, Origin, understand
from slurp_leader.generators.workspace import Workspace
from slurp_leader.jobs.request import ContextGenerationRequest

from .running import RunningJob, Write


@pytest.mark.parametrize(
    ("source", "text", "files"),
    [
        ("src/p/a.py", "import p.b\n", ["src/p/b.py"]),
        ("src/p/a.py", "from p.b import x\n", ["src/p/b.py"]),
        ("src/p/a.py", "from . import b, c\n", ["src/p/b.py", "src/p/c.py"]),
        ("src/p/in/a.py", "from ..b import x\n", ["src/p/b.py"]),
        ("src/p/a.py", "from p.sub import x\n", ["src/p/sub/__init__.py"]),
        ("src/p/a.py", "from ........ import x\n", []),
        ("web/a.ts", 'import x from "./b";\n', ["web/b.ts"]),
        ("web/a.ts", 'import x from "./b.js";\n', ["web/b.ts"]),
        ("web/a.js", 'const x = require("../web/c");\n', ["web/c/index.js"]),
        ("web/a.ts", 'import x from "../../../outside";\n', []),
        ("go/cmd/a.go", 'package main\nimport "example.com/m/q"\n', ["go/q/one.go", "go/q/two.go"]),
        ("rs/src/a.rs", "use crate::b::c::Item;\n", ["rs/src/b/c.rs"]),
        ("rs/src/a.rs", "use crate::m::{X, Y};\n", ["rs/src/m/mod.rs"]),
        ("j/x/y/A.java", "package x.y;\nimport x.z.B;\n", ["j/x/z/B.java"]),
        ("c/a.c", '#include "b.h"\n#include <sys/b.h>\n', ["c/b.h", "include/sys/b.h"]),
    ],
)
def test_imports_lead_to_files_of_the_workspace(
    root: Path, write: Write, source: str, text: str, files: list[str]
) -> None:
    for path in (
        *("src/p/b.py", "src/p/c.py", "src/p/sub/__init__.py", "web/b.ts", "web/c/index.js", "go/q/one.go"),
        *("go/q/two.go", "go/q/two_test.go", "rs/src/b/c.rs", "rs/src/m/mod.rs", "j/x/z/B.java", "c/b.h"),
        "include/sys/b.h",
    ):
        write(path, "x\n")
    write("go/go.mod", "module example.com/m\n")
    write(source, text)
    request = ContextGenerationRequest(file_path=source)
    node = FileContextGenerator(root, git=False).generate(request, RunningJob())
    assert list(node.related) == files


def imports_of(name: str, text: str, *manifests: Manifest) -> dict[str, Dependency]:
    language = detect(name, text)
    imports = read(language, text).imports
    return {one.module: one for one in understand(language.name, name, imports, manifests, ())}


def test_origins_of_python_imports() -> None:
    manifest = Manifest("pyproject.toml", "python", "my-shop", "", {"pyyaml": ">=6", "opentelemetry-api": "==1.33"})
    text = "from __future__ import annotations\nimport os.path\nimport yaml\nimport my_shop.x\nfrom .y import z\n"
    text += "from opentelemetry import trace\nimport requests\n"
    found = imports_of("tests/test_a.py", text, manifest)
    assert {name: one.origin for name, one in found.items()} == {
        "os.path": Origin.STANDARD,
        "yaml": Origin.THIRD_PARTY,
        "my_shop.x": Origin.PROJECT,
        ".y": Origin.PROJECT,
        "opentelemetry": Origin.THIRD_PARTY,
        "requests": Origin.THIRD_PARTY,
    }
    assert (found["yaml"].wanted, found["opentelemetry"].wanted, found["requests"].wanted) == (">=6", "==1.33", "")
    assert (found["yaml"].label, found["requests"].fields) == ("YAML", ("http-client",))


def test_origins_of_go_imports() -> None:
    manifest = Manifest("go.mod", "go", "shop/core", "1.22", {"go.etcd.io/etcd/client/v3": "v3.5.1"})
    text = 'package a\nimport (\n"net/http"\n"shop/core/x"\nclient "go.etcd.io/etcd/client/v3"\n"github.com/a/b/c"\n)\n'
    found = imports_of("a.go", text, manifest)
    assert [one.origin for one in found.values()] == [
        Origin.STANDARD,
        Origin.PROJECT,
        Origin.THIRD_PARTY,
        Origin.THIRD_PARTY,
    ]
    assert found["go.etcd.io/etcd/client/v3"].wanted == "v3.5.1"
    assert found["go.etcd.io/etcd/client/v3"].label == "etcd"
    assert found["github.com/a/b/c"].package == "github.com/a/b"


@pytest.mark.parametrize(
    ("name", "text", "module", "origin"),
    [
        ("a.ts", 'import a from "node:fs";', "node:fs", Origin.STANDARD),
        ("a.ts", 'import a from "@scope/pkg/deep";', "@scope/pkg/deep", Origin.THIRD_PARTY),
        ("a.ts", 'import a from "@/here";', "@/here", Origin.PROJECT),
        ("a.rs", "use std::io;", "std::io", Origin.STANDARD),
        ("a.rs", "use super::x;", "super::x", Origin.PROJECT),
        ("a.rs", "use tokio::sync::Mutex;", "tokio::sync::Mutex", Origin.THIRD_PARTY),
        ("org/x/A.java", "import java.util.List;", "java.util.List", Origin.STANDARD),
        ("org/x/A.java", "import org.x.B;", "org.x.B", Origin.PROJECT),
        ("org/x/A.java", "import com.y.B;", "com.y.B", Origin.THIRD_PARTY),
        ("a.c", "#include <stdio.h>", "<stdio.h>", Origin.STANDARD),
        ("a.c", '#include "b.h"', '"b.h"', Origin.PROJECT),
    ],
)
def test_origins_in_other_languages(name: str, text: str, module: str, origin: Origin) -> None:
    assert imports_of(name, text)[module].origin is origin


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "pyproject.toml",
            '[project]\nname = "p"\nrequires-python = ">=3.11"\ndependencies = ["Foo_Bar[x]>=1,<2; os", "b"]\n'
            '[project.optional-dependencies]\nx = ["c==3"]\n',
            ("python", "p", ">=3.11", {"foo-bar": ">=1,<2", "b": "", "c": "==3"}),
        ),
        ("requirements.txt", "# c\n-r other\na==1\nb\n", ("python", "", "", {"a": "==1", "b": ""})),
        (
            "package.json",
            '{"name": "w", "engines": {"node": ">=20"}, "dependencies": {"a": "1"}, '
            '"devDependencies": {"a": "2", "b": "3"}}',
            ("node", "w", ">=20", {"a": "1", "b": "3"}),
        ),
        (
            "go.mod",
            "module m.org/x\n\ngo 1.22\n\nrequire (\n\ta.org/b v1.2.3\n)\nrequire c.org/d v0.1.0\n",
            ("go", "m.org/x", "1.22", {"a.org/b": "v1.2.3", "c.org/d": "v0.1.0"}),
        ),
        (
            "Cargo.toml",
            '[package]\nname = "c"\nrust-version = "1.74"\n[dependencies]\na = "1"\nb_c = { version = "2" }\n',
            ("rust", "c", "1.74", {"a": "1", "b-c": "2"}),
        ),
        (
            "pom.xml",
            "<project><artifactId>j</artifactId><dependencies><dependency><groupId>g</groupId>"
            "<artifactId>a</artifactId><version>1</version></dependency></dependencies></project>",
            ("java", "j", "", {"g:a": "1"}),
        ),
    ],
)
def test_manifests_are_read(
    root: Path, write: Write, name: str, text: str, expected: tuple[str, str, str, dict[str, str]]
) -> None:
    write(name, text)
    write("inner/a.txt", "x\n")
    (found,) = nearest(Workspace(root), "inner/a.txt")
    assert (found.ecosystem, found.name, found.runtime, found.dependencies) == expected
    assert found.path == name


def test_the_nearest_manifest_of_each_ecosystem_wins(root: Path, write: Write) -> None:
    write("pyproject.toml", '[project]\nname = "outer"\n')
    write("go.mod", "module m.org/x\n")
    write("inner/pyproject.toml", '[project]\nname = "inner"\n')
    write("inner/requirements.txt", "a\n")
    found = nearest(Workspace(root), "inner/deep/a.py")
    assert [(one.path, one.name) for one in found] == [("inner/pyproject.toml", "inner"), ("go.mod", "m.org/x")]
