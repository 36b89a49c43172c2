"""Which files of the workspace a file imports, by the rules of its language."""

from __future__ import annotations

import re
from collections.abc import Iterator

from slurp_leader.generators.languages import detect
from slurp_leader.generators.manifests import Manifest
from slurp_leader.generators.surroundings.view import View, join, normal
from slurp_leader.generators.symbols import Import, Structure, read

MAX_RELATED = 40
_MOST_OF_A_PACKAGE = 5
_SCRIPT_SUFFIXES = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs", ".cjs")


def imported_by(
    view: View, path: str, language: str, structure: Structure, manifests: tuple[Manifest, ...]
) -> Iterator[tuple[str, str]]:
    for one in structure.imports:
        for file in _resolve(view, path, language, one, manifests):
            if file != path:
                yield one.module, file


def follow(view: View, path: str, first: list[str], manifests: tuple[Manifest, ...], steps: int) -> tuple[str, ...]:
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
            reached += [to for _, to in imported_by(view, file, language.name, read(language, text), manifests)]
        edge = [file for file in dict.fromkeys(reached) if file not in seen]
        seen |= dict.fromkeys(edge)
    return tuple(seen)[1 : MAX_RELATED + 1]


def _resolve(view: View, path: str, language: str, one: Import, manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    match language:
        case "Python":
            return imported_by_python(view, path, one)
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


def imported_by_python(view: View, path: str, one: Import) -> tuple[str, ...]:
    """The files that one import of a Python file stands for; none when it leads out of the workspace."""
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
        base = join(root, name.replace(".", "/"))
        inner = [view.first(join(base, f"{item}.py"), join(base, f"{item}/__init__.py")) for item in one.names]
        modules = tuple(file for file in inner if file)
        if modules:  # `from package import module`: the package itself only lends its name
            return modules
        found = view.first(f"{base}.py", join(base, "__init__.py")) if base else ""
        if found:
            return (found,)
    return ()


def _source_root(view: View, folder: str) -> str:
    """The folder above the outermost package that a folder belongs to."""
    while folder and view.is_file(join(folder, "__init__.py")):
        folder = folder.rpartition("/")[0]
    return folder


def _resolve_script(view: View, path: str, module: str) -> str:
    if not module.startswith("."):
        return ""
    target = normal(join(path.rpartition("/")[0], module))
    stem = re.sub(r"\.(?:js|mjs|cjs|jsx)$", "", target)  # TypeScript writes the name of the compiled file
    endings = [f"{base}{suffix}" for base in dict.fromkeys((target, stem)) for suffix in _SCRIPT_SUFFIXES]
    return view.first(target, *endings, *(f"{target}/index{suffix}" for suffix in _SCRIPT_SUFFIXES)) if target else ""


def _resolve_go(view: View, module: str, manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    own = next((one for one in manifests if one.ecosystem == "go"), None)
    if own is None or not own.name or not f"{module}/".startswith(f"{own.name}/"):
        return ()
    folder = join(own.folder.rstrip("/"), module[len(own.name) :].strip("/"))
    files = [name for name, regular in sorted(view.names(folder).items()) if regular and name.endswith(".go")]
    return tuple(join(folder, name) for name in files if not name.endswith("_test.go"))[:_MOST_OF_A_PACKAGE]


def _resolve_rust(view: View, path: str, module: str) -> str:
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
        inner = join(base, "/".join(rest[:end]))
        if found := view.first(f"{inner}.rs", f"{inner}/mod.rs"):
            return found
    return ""


def _resolve_java(view: View, path: str, module: str) -> str:
    parts = module.split(".")
    segments = path.split("/")
    if parts[0] not in segments:
        return ""
    root = "/".join(segments[: segments.index(parts[0])])
    return view.first(*(join(root, "/".join(parts[:end]) + ".java") for end in (len(parts), len(parts) - 1) if end))


def _resolve_include(view: View, path: str, module: str) -> str:
    name = module.strip('<>"')
    folders = [path.rpartition("/")[0], "include", "src", ""]
    return view.first(*(normal(join(folder, name)) for folder in folders)) if name else ""
