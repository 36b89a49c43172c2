"""What a file is, why it exists, and the words to find it by."""

from __future__ import annotations

import re
from collections import Counter

from slurp_leader.generators.facts import Facts
from slurp_leader.generators.languages import Kind
from slurp_leader.generators.surroundings import is_test
from slurp_leader.generators.symbols import comments as prose
from slurp_leader.generators.wording import capitalised, counted, listed, quoted, sentence

_LEAD, _MORE = 220, 300
_MARKUP = re.compile(r":\w+:`([^`]+)`|`{2}([^`]+)`{2}|\[([^\]]+)\]\([^)]*\)|\{@\w+\s+([^}]+)\}|</?\w+/?>")
_EMPHASIS = re.compile(r"(?<![^\s(])(\*{1,3})(?=\S)([^*]+?)(?<=\S)\1(?=[\s,.;:!?)]|$)")
_ENTRY_NAMES = {
    "__main__.py",
    "main.py",
    "main.go",
    "main.rs",
    "main.c",
    "Main.java",
    "manage.py",
    "wsgi.py",
    "asgi.py",
}
_FOLDER_SAYS = {
    "examples": "Sample code",
    "benchmarks": "Measures speed",
    "docs": "Explains the project to people",
    "doc": "Explains the project to people",
    "migrations": "Changes the database schema",
    "scripts": "Run by hand or by CI, not imported",
    "tools": "Run by hand or by CI, not imported",
    "cmd": "Part of a command",
    "cli": "Part of the command line",
    "api": "Part of the interface to the outside",
    "handlers": "Answers requests",
    "routes": "Answers requests",
    "views": "Answers requests",
    "middleware": "Stands between a request and its answer",
    "models": "Defines data",
    "schemas": "Defines data",
    "settings": "Reads the configuration",
    "config": "Configures something",
    "deploy": "Brings the project into production",
    ".github": "Tells GitHub what to do",
    "workflows": "Runs in CI",
    "vendor": "Copied from another project",
    "third_party": "Copied from another project",
    "node_modules": "Copied from another project",
    "generated": "Made by a tool",
    "proto": "Defines messages between programs",
}
_FILE_SAYS = {
    "pyproject.toml": "Tells Python tools how to build, check and install the project",
    "package.json": "Tells Node.js tools how to build and install the project",
    "go.mod": "Names the Go module and the modules that it needs",
    "cargo.toml": "Tells Cargo how to build the project",
    "dockerfile": "Builds a container image",
    "makefile": "Names the commands that people run in this project",
    "docker-compose.yml": "Starts several containers together",
    "readme.md": "The first page that people read",
    "changelog.md": "Tells users what changed",
    "conftest.py": "Fixtures that pytest hands to the tests beside and below it",
    "setup.py": "Builds and installs the package",
    "errors.py": "Names what can go wrong, so that callers can tell the cases apart",
    "exceptions.py": "Names what can go wrong, so that callers can tell the cases apart",
    "license": "Says who may use the project, and how",
}
_FUNCTIONS = {"function", "method", "macro"}
_NOUNS = {"Go": "source file", "Rust": "module", "Java": "source file", "C": "source file", "Python": "module"}


def summary(facts: Facts) -> str:
    """What the file is: its own first sentence where it has one, then its size and what it holds."""
    sentences = _sentences(facts)
    lead = sentence(prose.shorten(sentences[0], _LEAD)) + " " if sentences else _main_symbol(facts)
    holds = _contents(facts)
    return f"{lead}{capitalised(_form(facts))}, {counted(facts.lines, 'line')}{': ' + holds if holds else ''}."


def purpose(facts: Facts) -> str:
    """Why it exists: what its place and its public names say, then what it says itself after its first sentence."""
    said: list[str] = []
    for one in _sentences(facts)[1:5]:
        if said and len(" ".join([*said, one])) > _MORE:
            break
        said.append(prose.shorten(one, _MORE))
    if said and said[-1].endswith(":"):  # what it leads up to is cut off
        said.pop()
    parts = [_place(facts, bool(said)), *([" ".join(said)] if said else [])]
    return " ".join(sentence(part) for part in parts)


def tags(facts: Facts) -> tuple[str, ...]:
    """Words to find it by, sorted."""
    found = {facts.language.slug, facts.language.kind.value}
    found |= {field for one in facts.dependencies for field in one.fields}
    if facts.is_test:
        found.add("test")
    if facts.name in _ENTRY_NAMES:
        found.add("entry-point")
    if facts.name == "__init__.py":
        found.add("package")
    if facts.is_code and "async " in facts.structure.code:
        found.add("async")
    if re.search(r"(?i)code generated|do not edit|@generated", facts.text[:1000]):
        found.add("generated")
    words = [part.lower() for part in facts.path.split("/")[:-1] if re.fullmatch(r"[A-Za-z][\w-]{2,}", part)]
    found |= {word for word in words[-3:] if word not in ("src", "lib", "main", "java")}
    return tuple(sorted(found))


def _form(facts: Facts) -> str:
    language = facts.language.name
    if facts.is_test:
        return f"{language} tests" if facts.cases else f"{language} test support"
    if facts.name == "__init__.py":
        return "Python package"
    if facts.language.kind is Kind.CODE:
        return f"{language} {_NOUNS.get(language, 'source file')}"
    if facts.language.kind is Kind.TEXT:
        return "text file"
    return f"{language} {facts.language.kind.value}" if facts.language.kind is not Kind.MARKUP else f"{language} file"


def _contents(facts: Facts) -> str:
    if facts.is_test and facts.cases:
        return counted(facts.cases, "test case")
    symbols = [one for one in facts.structure.symbols if not one.parent or facts.language.name == "Java"]
    if not symbols:
        return ""
    if not facts.is_code or facts.language.kind is not Kind.CODE:
        names = [one.name for one in symbols if one.kind != "title"]
        noun = next((one.kind for one in symbols if one.kind != "title"), "part")
        return f"{counted(len(names), noun)} ({listed(names, 6)})" if names else ""
    symbols.sort(key=lambda one: (one.kind in _FUNCTIONS, not one.exported, -one.lines))
    kinds = Counter(one.kind for one in symbols if one.kind not in ("constant", "variable"))
    parts = []
    for kind, count in kinds.items():
        names = [one.name for one in symbols if one.kind == kind]
        parts.append(f"{counted(count, kind)} ({quoted(names, 4)})")
    if not parts:
        return counted(len(symbols), "name") + f" ({quoted([one.name for one in symbols], 4)})"
    return listed(parts, 4)


def _main_symbol(facts: Facts) -> str:
    """What the documentation of its main symbol says, when the file says nothing itself."""
    documented = [one for one in facts.structure.symbols if one.doc and not one.parent and not facts.is_test]
    if not documented:
        return ""
    main = max(documented, key=lambda one: (one.exported, one.lines, -one.line))
    doc = _plain(main.doc)
    # Go documentation begins with the name itself.
    text = doc if doc.startswith(main.name) else f"`{main.name}`: {doc}"
    return sentence(prose.shorten(text, _LEAD)) + " "


def _place(facts: Facts, explained: bool) -> str:
    """What its place says; its public names too where nothing follows that explains it."""
    exported = [one.name for one in facts.exported if one.kind not in ("constant", "variable")]
    exported = exported or [one.name for one in facts.exported]
    if facts.is_test:
        return f"Checks {facts.surroundings.subject or _tested_words(facts)}"
    if (known := _FILE_SAYS.get(facts.name.lower())) is not None:
        return known
    if facts.name == "__init__.py":
        package = facts.folder.removeprefix("src/").replace("/", ".") or "the package"
        names = [name for one in facts.structure.imports if one.module != "__future__" for name in one.names]
        public = list(dict.fromkeys([*names, *exported]))
        return f"The face of the package {package}" + (f"; hands out {quoted(public, 6)}" if public else "")
    if facts.name in _ENTRY_NAMES:
        return f"Where {'the package ' + facts.folder.rpartition('/')[2] if facts.folder else 'the program'} starts"
    where = f" in {facts.folder}" if facts.folder else ""
    if said := _folder_says(facts):
        return said if explained or exported in ([], ["main"]) else f"{said}; gives {quoted(exported, 5)}"
    if exported:
        return f"Gives {quoted(exported, 5)} to the code{where or ' of this project'}"
    if facts.is_code:
        return f"Serves the code{where or ' of this project'}; nothing in it is meant for use from elsewhere"
    return f"{capitalised(facts.language.kind.value)}{where or ' at the root of the workspace'}"


def _folder_says(facts: Facts) -> str:
    """What the nearest folder with a known name says, and where that is unless its name says the same again."""
    folders = facts.folder.split("/")
    known = next((part for part in reversed(folders) if part.lower() in _FOLDER_SAYS), "")
    if not known:
        return ""
    says = _FOLDER_SAYS[known.lower()]
    return says if known == facts.folder else f"{says} in {facts.folder}"


def _tested_words(facts: Facts) -> str:
    stem = re.sub(r"^test_|_test$|\.(?:test|spec)$|Tests?$", "", facts.name.rpartition(".")[0])
    words = " ".join(part for part in re.split(r"[_\-.]+", stem) if part and part != "conftest")
    folder = next((part for part in reversed(facts.folder.split("/")) if part and not is_test(f"{part}/x")), "")
    return f"{words or 'its neighbours'}{f' of {folder}' if folder and folder not in words else ''}"


def _sentences(facts: Facts) -> list[str]:
    """What the file says about itself. Emphasis goes first: a full stop inside it ends a sentence too."""
    return [_plain(one) for one in prose.split_sentences(_EMPHASIS.sub(r"\2", facts.structure.doc))]


def _plain(text: str) -> str:
    """Without the markup of documentation tools."""
    return _MARKUP.sub(lambda hit: next((f"`{part}`" for part in hit.groups() if part), ""), text).strip()
