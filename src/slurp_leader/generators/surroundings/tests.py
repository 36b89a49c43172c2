"""Which tests belong to a file, and which file belongs to a test: by the habits of naming, then by what they import."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.surroundings.view import View, join

_MAX_TESTS = 5
_MAX_CANDIDATES = 8
_WORD = re.compile(r"\w+")
_TEST_FOLDERS = {"tests", "test", "__tests__", "spec", "specs", "testing"}
_TEST_NAME = re.compile(r"(?:^test_|_test\.|\.test\.|\.spec\.|^conftest\.py$|Tests?\.java$|_spec\.)")


@dataclass(frozen=True, slots=True)
class TestFile:
    """A file of tests for another file, and all words in it."""

    __test__ = False  # for pytest: not a class of tests

    path: str
    words: frozenset[str]


def is_test(path: str) -> bool:
    """Whether a path is that of a test, by the habits of its language."""
    *folders, name = path.split("/")
    return bool(_TEST_NAME.search(name)) or bool(_TEST_FOLDERS & set(folders))


def tests_of(view: View, path: str) -> Iterator[TestFile]:
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


def _named_tests(view: View, folder: str, stem: str, suffix: str) -> Iterator[str]:
    if not stem:
        return
    names = [f"test_{stem}.{suffix}", f"{stem}_test.{suffix}", f"{stem}.test.{suffix}", f"{stem}.spec.{suffix}"]
    names += [f"{stem}Test.{suffix}", f"{stem}Tests.{suffix}"]
    for place in _test_folders(folder):
        here = view.names(place)
        longer = (name for name in sorted(here) if name.startswith(f"test_{stem}_") and name.endswith(f".{suffix}"))
        yield from (join(place, name) for name in (*names, *longer) if here.get(name))
        own = join(place, stem)  # a folder of tests for one module
        if place.endswith(tuple(_TEST_FOLDERS)) or "/tests/" in f"/{place}/":
            yield from (join(own, name) for name in sorted(view.names(own)) if _TEST_NAME.search(name))


def _tests_that_mention(view: View, folder: str, stem: str) -> Iterator[str]:
    """Tests in the folder that mirrors this one, which import the module under another name than their own."""
    wanted = bounded(rf"\b(?:from|import)\b[^\n]*\b{re.escape(stem)}\b")
    for place in _test_folders(folder):
        tests = [name for name in sorted(view.names(place)) if name.startswith("test_")]
        for name in tests[:_MAX_CANDIDATES]:
            text = view.workspace.glance(join(place, name))
            if text is not None and wanted.search(text):
                yield join(place, name)


def _test_folders(folder: str) -> Iterator[str]:
    """Where tests of the files in a folder may stand, the likeliest first."""
    segments = [part for part in folder.split("/") if part]
    yield folder
    yield from (join(folder, name) for name in ("tests", "__tests__", "test"))
    if "main" in segments:  # Maven and Gradle
        yield "/".join("test" if part == "main" else part for part in segments)
    for depth in range(len(segments) + 1):
        base = "/".join(segments[: max(0, depth - 1)]) if depth > 1 else ""
        for root in dict.fromkeys(("", base)):
            for kind in ("tests", "tests/unit", "test"):
                yield join(join(root, kind), "/".join(segments[depth:]))


def subject_of(view: View, path: str) -> str:
    """The file that a test is about, found by turning the habit of naming around."""
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    bare = re.sub(r"^test_|_test$|\.test$|\.spec$|Tests?$", "", stem)
    if bare in ("", stem) and stem != bare:
        return ""
    segments = [part for part in folder.split("/") if part and part not in _TEST_FOLDERS and part != "unit"]
    places = [folder, "/".join(segments), *(join("src", "/".join(segments[at:])) for at in range(len(segments) + 1))]
    places += [join(join("src", package), "/".join(segments)) for package in sorted(view.names("src"))[:4]]
    places += ["/".join("main" if part == "test" else part for part in folder.split("/"))]
    found = view.first(*(join(place, f"{bare}.{suffix}") for place in places))
    return "" if found == path else found
