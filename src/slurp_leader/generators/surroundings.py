"""The files around a file: those it imports, those that test it, the one that it tests.

`max_depth` of a request says how far to go: 0 looks at the file alone; 1 adds the manifests above it and its tests; 2
adds the workspace files that it imports; each step more adds the imports of those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slurp_leader.generators.languages import detect
from slurp_leader.generators.manifests import Manifest, nearest
from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.symbols import Import, Structure, read
from slurp_leader.generators.workspace import Workspace

MAX_RELATED = 40
_MAX_TESTS = 5
_MAX_CANDIDATES = 8
_WORD = re.compile(r"\w+")
_SCRIPT_SUFFIXES = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs", ".cjs")
_TEST_FOLDERS = {"tests", "test", "__tests__", "spec", "specs", "testing"}
_TEST_NAME = re.compile(r"(?:^test_|_test\.|\.test\.|\.spec\.|^conftest\.py$|Tests?\.java$|_spec\.)")


@dataclass(frozen=True, slots=True)
class TestFile:
    """A file of tests for another file, and all words in it."""

    __test__ = False  # for pytest: not a class of tests

    path: str
    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a file.

    Attributes:
        manifests: The nearest of each ecosystem.
        tests: Files that test this one.
        subject: The file that this one tests, when this one is a test; else empty.
        imported: Each imported module that is a file of the workspace, to that file.
        related: Files followed, nearest first, without the file itself.
        looked: How far was looked: the request's `max_depth`.
    """

    manifests: tuple[Manifest, ...] = ()
    tests: tuple[TestFile, ...] = ()
    subject: str = ""
    imported: tuple[tuple[str, str], ...] = ()
    related: tuple[str, ...] = ()
    looked: int = 0


def look_around(workspace: Workspace, path: str, language: str, structure: Structure, max_depth: int) -> Surroundings:
    """Look at what stands around a file, as far as `max_depth` allows."""
    if max_depth < 1:
        return Surroundings()
    view = _View(workspace)
    manifests = nearest(workspace, path)
    tests: tuple[TestFile, ...] = ()
    subject = ""
    if is_test(path):
        subject = _subject(view, path)
    else:
        tests = tuple(_tests_of(view, path))
    imported = tuple(_imported(view, path, language, structure, manifests)) if max_depth >= 2 else ()
    related = _follow(view, path, [file for _, file in imported], manifests, max_depth - 2) if imported else ()
    return Surroundings(manifests, tests, subject, imported, related, max_depth)


def is_test(path: str) -> bool:
    """Whether a path is that of a test, by the habits of its language."""
    *folders, name = path.split("/")
    return bool(_TEST_NAME.search(name)) or bool(_TEST_FOLDERS & set(folders))


class _View:
    """The workspace as one job sees it: each folder is listed once."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._folders: dict[str, dict[str, bool]] = {}

    def names(self, folder: str) -> dict[str, bool]:
        if folder not in self._folders:
            parent, _, name = folder.rpartition("/")
            # A folder that its parent does not list is not asked for: most candidates are guesses.
            there = not folder or name in self.names(parent)
            self._folders[folder] = self.workspace.names(folder) if there else {}
        return self._folders[folder]

    def is_file(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return self.names(folder).get(name, False)

    def first(self, *candidates: str) -> str:
        return next((path for path in candidates if self.is_file(path)), "")


# ---------------------------------------------------------------- tests


def _tests_of(view: _View, path: str) -> Iterator[TestFile]:
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    stem = folder.rpartition("/")[2] if stem in ("__init__", "index", "mod") else stem
    found = list(dict.fromkeys(_named_tests(view, folder, stem, suffix)))
    if not found and suffix == "py":
        found = list(_tests_that_mention(view, folder, stem))
    for test in found[:_MAX_TESTS]:
        text = view.workspace.glance(test)
        if text is not None and test != path:
            yield TestFile(test, frozenset(_WORD.findall(text)))


def _named_tests(view: _View, folder: str, stem: str, suffix: str) -> Iterator[str]:
    if not stem:
        return
    names = [f"test_{stem}.{suffix}", f"{stem}_test.{suffix}", f"{stem}.test.{suffix}", f"{stem}.spec.{suffix}"]
    names += [f"{stem}Test.{suffix}", f"{stem}Tests.{suffix}"]
    for place in _test_folders(folder):
        for name in names:
            where = _join(place, name)
            if view.is_file(where):
                yield where
        own = _join(place, stem)  # a folder of tests for one module
        if place.endswith(tuple(_TEST_FOLDERS)) or "/tests/" in f"/{place}/":
            yield from (_join(own, name) for name in sorted(view.names(own)) if _TEST_NAME.search(name))


def _tests_that_mention(view: _View, folder: str, stem: str) -> Iterator[str]:
    """Tests in the folder that mirrors this one, which import the module under another name than their own."""
    wanted = bounded(rf"\b(?:from|import)\b[^\n]*\b{re.escape(stem)}\b")
    for place in _test_folders(folder):
        tests = [name for name in sorted(view.names(place)) if name.startswith("test_")]
        for name in tests[:_MAX_CANDIDATES]:
            text = view.workspace.glance(_join(place, name))
            if text is not None and wanted.search(text):
                yield _join(place, name)


def _test_folders(folder: str) -> Iterator[str]:
    """Where tests of the files in a folder may stand, the likeliest first."""
    segments = [part for part in folder.split("/") if part]
    yield folder
    yield from (_join(folder, name) for name in ("tests", "__tests__", "test"))
    if "main" in segments:  # Maven and Gradle
        yield "/".join("test" if part == "main" else part for part in segments)
    for depth in range(len(segments) + 1):
        base = "/".join(segments[: max(0, depth - 1)]) if depth > 1 else ""
        for root in dict.fromkeys(("", base)):
            for kind in ("tests", "tests/unit", "test"):
                yield _join(_join(root, kind), "/".join(segments[depth:]))


def _subject(view: _View, path: str) -> str:
    """The file that a test is about, found by turning the habit of naming around."""
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    bare = re.sub(r"^test_|_test$|\.test$|\.spec$|Tests?$", "", stem)
    if bare in ("", stem) and stem != bare:
        return ""
    segments = [part for part in folder.split("/") if part and part not in _TEST_FOLDERS and part != "unit"]
    places = [folder, "/".join(segments), *(_join("src", "/".join(segments[at:])) for at in range(len(segments) + 1))]
    places += [_join(_join("src", package), "/".join(segments)) for package in sorted(view.names("src"))[:4]]
    places += ["/".join("main" if part == "test" else part for part in folder.split("/"))]
    found = view.first(*(_join(place, f"{bare}.{suffix}") for place in places))
    return "" if found == path else found


# ---------------------------------------------------------------- imports


def _imported(
    view: _View, path: str, language: str, structure: Structure, manifests: tuple[Manifest, ...]
) -> Iterator[tuple[str, str]]:
    for one in structure.imports:
        for file in _resolve(view, path, language, one, manifests):
            if file != path:
                yield one.module, file


def _follow(view: _View, path: str, first: list[str], manifests: tuple[Manifest, ...], steps: int) -> tuple[str, ...]:
    """Breadth first, so that a cut at `MAX_RELATED` drops the farthest."""
    seen = dict.fromkeys([path, *first])
    edge = list(dict.fromkeys(first))
    for _ in range(steps):
        reached: list[str] = []
        for file in edge:
            text = view.workspace.glance(file)
            if text is None or len(seen) > MAX_RELATED:
                continue
            language = detect(file, text)
            reached += [to for _, to in _imported(view, file, language.name, read(language, text), manifests)]
        edge = [file for file in dict.fromkeys(reached) if file not in seen]
        seen |= dict.fromkeys(edge)
    return tuple(seen)[1 : MAX_RELATED + 1]


def _resolve(view: _View, path: str, language: str, one: Import, manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    match language:
        case "Python":
            return _resolve_python(view, path, one)
        case "JavaScript" | "TypeScript" | "TSX":
            found = _resolve_script(view, path, one.module)
        case "Go":
            return _resolve_go(view, one.module, manifests)
        case "Rust":
            found = _resolve_rust(view, path, one.module)
        case "Java":
            found = _resolve_java(view, path, one.module)
        case "C" | "C++":
            found = _resolve_include(view, path, one.module)
        case _:
            found = ""
    return (found,) if found else ()


def _resolve_python(view: _View, path: str, one: Import) -> tuple[str, ...]:
    folder = path.rpartition("/")[0]
    name = one.module.lstrip(".")
    dots = len(one.module) - len(name)
    if dots:
        parts = folder.split("/") if folder else []
        if dots - 1 > len(parts):
            return ()
        roots = ["/".join(parts[: len(parts) - dots + 1])]
    else:
        roots = list(dict.fromkeys(("src", "", _source_root(view, folder))))
    for root in roots:
        base = _join(root, name.replace(".", "/"))
        inner = [view.first(_join(base, f"{item}.py"), _join(base, f"{item}/__init__.py")) for item in one.names]
        modules = tuple(file for file in inner if file)
        if modules:  # `from package import module`: the package itself only lends its name
            return modules
        found = view.first(f"{base}.py", _join(base, "__init__.py")) if base else ""
        if found:
            return (found,)
    return ()


def _source_root(view: _View, folder: str) -> str:
    """The folder above the outermost package that a folder belongs to."""
    while folder and view.is_file(_join(folder, "__init__.py")):
        folder = folder.rpartition("/")[0]
    return folder


def _resolve_script(view: _View, path: str, module: str) -> str:
    if not module.startswith("."):
        return ""
    target = _normal(_join(path.rpartition("/")[0], module))
    stem = re.sub(r"\.(?:js|mjs|cjs|jsx)$", "", target)  # TypeScript writes the name of the compiled file
    endings = [f"{base}{suffix}" for base in dict.fromkeys((target, stem)) for suffix in _SCRIPT_SUFFIXES]
    return view.first(target, *endings, *(f"{target}/index{suffix}" for suffix in _SCRIPT_SUFFIXES)) if target else ""


def _resolve_go(view: _View, module: str, manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    own = next((one for one in manifests if one.ecosystem == "go"), None)
    if own is None or not own.name or not f"{module}/".startswith(f"{own.name}/"):
        return ()
    folder = _join(own.folder.rstrip("/"), module[len(own.name) :].strip("/"))
    files = [name for name, regular in sorted(view.names(folder).items()) if regular and name.endswith(".go")]
    return tuple(_join(folder, name) for name in files if not name.endswith("_test.go"))[:_MAX_TESTS]


def _resolve_rust(view: _View, path: str, module: str) -> str:
    first, *rest = module.split("::")
    folder = path.rpartition("/")[0]
    if first == "crate":
        segments = folder.split("/")
        base = "/".join(segments[: segments.index("src") + 1]) if "src" in segments else folder
    elif first in ("self", "super"):
        base = folder
    else:
        return ""
    for end in range(len(rest), 0, -1):  # the last parts may be items, not modules
        inner = _join(base, "/".join(rest[:end]))
        if found := view.first(f"{inner}.rs", f"{inner}/mod.rs"):
            return found
    return ""


def _resolve_java(view: _View, path: str, module: str) -> str:
    parts = module.split(".")
    segments = path.split("/")
    if parts[0] not in segments:
        return ""
    root = "/".join(segments[: segments.index(parts[0])])
    return view.first(*(_join(root, "/".join(parts[:end]) + ".java") for end in (len(parts), len(parts) - 1) if end))


def _resolve_include(view: _View, path: str, module: str) -> str:
    name = module.strip('<>"')
    folders = [path.rpartition("/")[0], "include", "src", ""]
    return view.first(*(_normal(_join(folder, name)) for folder in folders)) if name else ""


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}".strip("/") if folder else name.strip("/")


def _normal(path: str) -> str:
    """Take ``.`` and ``..`` out of a path; empty when it would climb above the root."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == ".." and not kept:
            return ""
        if part == "..":
            kept.pop()
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)
