"""Which tests belong to a file, and which file belongs to a test: by the habits of naming, then by what they import."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.surroundings.imports import imported_by_python
from slurp_leader.generators.surroundings.view import View, join
from slurp_leader.generators.symbols.habits import read_import

_MAX_TESTS = 5
_MAX_CANDIDATES = 24  # read for the sake of one file; those that bear its name come first
_WORD = re.compile(r"\w+")
_PYTHON_IMPORT = bounded(
    r"(?m)^[ \t]*(?:from[ \t]+[.\w]+[ \t]+import[ \t]*(?:\([^)]{0,1500}\)|[^\n(]+)|import[ \t]+[^\n]+)"
)
_SOURCE_FOLDERS = {"src", "lib", "source", "sources"}
_FOLDER_ITSELF = {"__init__", "index", "mod"}
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
    """Tests of a file, each on evidence: never because a word of its name occurs somewhere else.

    A test counts where the file's own module path is in its name and place (`_named_tests`). A Python test must besides
    import from the file's package; one that imports the file itself counts whatever its name is.
    """
    named = list(dict.fromkeys(_named_tests(view, path)))
    python = path.endswith(".py")
    candidates = list(dict.fromkeys([*named, *_python_tests_near(view, path)]))[:_MAX_CANDIDATES] if python else named
    found = 0
    for test in candidates:
        if test == path or found == _MAX_TESTS:
            continue
        text = view.workspace.glance(test)
        if text is not None and (not python or _imports(view, test, text, path, by_name=test in named)):
            found += 1
            yield TestFile(test, frozenset(_WORD.findall(text)))


def _imports(view: View, test: str, text: str, path: str, by_name: bool) -> bool:
    """Whether a Python test imports a file, or, when it bears its name, anything of the file's package."""
    module = _module(path)
    package, stem = module[0], module[-1]
    folder = f"{join('/'.join(path.split('/')[: _sources_end(path)]), package)}/"
    for hit in _PYTHON_IMPORT.finditer(text):
        if not by_name and stem not in hit[0] and "from ." not in hit[0]:
            continue  # looking for files takes long: not for imports that cannot mean this one
        for one in read_import("Python", hit[0].strip(), 1):
            files = imported_by_python(view, test, one)
            own = one.module.partition(".")[0] == package or any(file.startswith(folder) for file in files)
            if path in files or (by_name and own):
                return True
    return False


def _module(path: str) -> list[str]:
    """The parts of a file's module path: without the folder that only holds sources, and without the suffix."""
    *folders, name = path.split("/")
    stem = name.rpartition(".")[0] or name
    parts = folders[_sources_end(path) :] + ([] if stem in _FOLDER_ITSELF else [stem])
    return parts or [stem]


def _sources_end(path: str) -> int:
    """How many parts of a path lead to the folder that only holds sources, itself included; 0 when there is none."""
    folders = path.split("/")[:-1]
    return max((at + 1 for at, part in enumerate(folders) if part in _SOURCE_FOLDERS), default=0)


def _named_tests(view: View, path: str) -> Iterator[str]:
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    if not stem:
        return
    places = [(place, stem) for place in _mirrors(folder, suffix == "py")]
    if stem in _FOLDER_ITSELF and folder:
        above, _, own = folder.rpartition("/")
        places += [(place, own) for place in (folder, *_mirrors(above, suffix == "py"))]
    for place, bare in places:
        names = [f"test_{bare}.{suffix}", f"{bare}_test.{suffix}", f"{bare}.test.{suffix}", f"{bare}.spec.{suffix}"]
        names += [f"{bare}Test.{suffix}", f"{bare}Tests.{suffix}"]
        here = view.names(place)
        longer = (name for name in sorted(here) if name.startswith(f"test_{bare}_") and name.endswith(f".{suffix}"))
        yield from (join(place, name) for name in (*names, *longer) if here.get(name))
        if _TEST_FOLDERS & set(place.split("/")):
            own = join(place, bare)  # a folder of tests for one module
            yield from (join(own, name) for name in sorted(view.names(own)) if _is_of_tests(name, suffix))


def _is_of_tests(name: str, suffix: str) -> bool:
    return bool(_TEST_NAME.search(name)) and name != "conftest.py" and name.endswith(f".{suffix}")


def _mirrors(folder: str, package_left_out: bool) -> Iterator[str]:
    """Where tests of the files in a folder stand when they mirror it, the likeliest first.

    Args:
        folder: Folder of the tested file.
        package_left_out: Whether tests may leave out the outermost package, as those of Python do.
    """
    segments = [part for part in folder.split("/") if part]
    yield folder
    yield from (join(folder, name) for name in ("tests", "__tests__", "test"))
    if "main" in segments:  # Maven and Gradle
        yield "/".join("test" if part == "main" else part for part in segments)
    for at in range(len(segments) + 1):
        base, inner = "/".join(segments[:at]), segments[at:]
        if inner and inner[0] in _SOURCE_FOLDERS:
            inner = inner[1:]
        for rest in (inner, inner[1:]) if package_left_out and inner else (inner,):
            for kind in ("tests", "tests/unit", "test"):
                yield join(join(base, kind), "/".join(rest))


def _python_tests_near(view: View, path: str) -> Iterator[str]:
    """Tests in the folders that mirror a Python file's, and in those above them; names that share a word first."""
    folder, stem = path.rpartition("/")[0], _module(path)[-1]
    places = list(_mirrors(folder, package_left_out=True))
    places += [above for place in places for above in _above(place)]
    for place in dict.fromkeys(places):
        names = [name for name in view.names(place) if _is_of_tests(name, "py")]
        yield from (join(place, name) for name in sorted(names, key=lambda name: (stem not in name, name)))


def _above(place: str) -> Iterator[str]:
    """The folders above a folder of tests that hold tests too."""
    while _TEST_FOLDERS & set((place := place.rpartition("/")[0]).split("/")):
        yield place


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
