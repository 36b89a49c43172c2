"""The manifests around a file: what project it belongs to, and which packages that project asks for."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slurp_leader.generators.patterns import bounded
from slurp_leader.generators.workspace import Workspace

_REQUIREMENT = bounded(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([^;#]*)")
_GO_REQUIRE = bounded(r"^\s*(?:require\s+)?([\w.-]+\.[\w./-]+)\s+(v[\w.+-]+)", re.MULTILINE)
_GO_MODULE = re.compile(r"^module\s+(\S+)", re.MULTILINE)
_GO_VERSION = re.compile(r"^go\s+(\S+)", re.MULTILINE)
_MAVEN = bounded(r"<(groupId|artifactId|version)>\s*([^<\s]+)\s*</\1>")
_MAVEN_DEPENDENCY = re.compile(r"<dependency>(.{0,1000}?)</dependency>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest, read.

    Attributes:
        path: Relative to the workspace root.
        ecosystem: python, node, go, rust or java.
        name: Of the project or module; may be empty.
        runtime: The version of the language it asks for; may be empty.
        dependencies: Package name to the version wanted, as written; the version may be empty.
    """

    path: str
    ecosystem: str
    name: str
    runtime: str
    dependencies: Mapping[str, str]

    @property
    def folder(self) -> str:
        """The folder it stands in, with a slash behind; empty for the root."""
        return self.path[: self.path.rfind("/") + 1]


_Content = tuple[str, str, dict[str, str]]


def nearest(workspace: Workspace, path: str) -> tuple[Manifest, ...]:
    """Walk up from a file to the workspace root, and take the nearest readable manifest of each ecosystem."""
    found: dict[str, Manifest] = {}
    folder = path.rpartition("/")[0]
    while True:
        names = workspace.names(folder)
        for name, (ecosystem, _reader) in _READERS.items():
            if ecosystem in found or not names.get(name):
                continue
            where = f"{folder}/{name}" if folder else name
            text = workspace.glance(where)
            content = _read(name, text) if text is not None else None
            if content is not None:
                found[ecosystem] = Manifest(where, ecosystem, *content)
        if not folder:
            return tuple(found.values())
        folder = folder.rpartition("/")[0]


@lru_cache(maxsize=64)
def _read(name: str, text: str) -> _Content | None:
    """Read a manifest; None when it is broken, which is not this file's fault. Kept by content, hence never stale."""
    try:
        return _READERS[name][1](text)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def _pyproject(text: str) -> _Content:
    data = tomllib.loads(text)
    project = data.get("project", {})
    wanted = [*project.get("dependencies", [])]
    for group in [*project.get("optional-dependencies", {}).values(), *data.get("dependency-groups", {}).values()]:
        wanted += [line for line in group if isinstance(line, str)]
    dependencies = dict(_requirements(wanted))
    poetry = data.get("tool", {}).get("poetry", {})
    dependencies |= {name: _version(wish) for name, wish in poetry.get("dependencies", {}).items() if name != "python"}
    return project.get("name") or poetry.get("name", ""), project.get("requires-python", ""), dependencies


def _requirements_txt(text: str) -> _Content:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith(("#", "-")))
    return "", "", dict(_requirements(lines))


def _requirements(lines: Iterator[str] | list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if (found := _REQUIREMENT.match(line)) and found[1]:
            yield normalise(found[1]), found[2].strip()


def _package_json(text: str) -> _Content:
    data = json.loads(text)
    dependencies: dict[str, str] = {}
    for section in ("optionalDependencies", "peerDependencies", "devDependencies", "dependencies"):
        dependencies |= {name: str(wish) for name, wish in data.get(section, {}).items()}
    return str(data.get("name", "")), str(data.get("engines", {}).get("node", "")), dependencies


def _go_mod(text: str) -> _Content:
    module, version = _GO_MODULE.search(text), _GO_VERSION.search(text)
    return module[1] if module else "", version[1] if version else "", dict(_GO_REQUIRE.findall(text))


def _cargo(text: str) -> _Content:
    data = tomllib.loads(text)
    package = data.get("package", {})
    dependencies: dict[str, str] = {}
    for section in ("build-dependencies", "dev-dependencies", "dependencies"):
        dependencies |= {normalise(name): _version(wish) for name, wish in data.get(section, {}).items()}
    return package.get("name", ""), str(package.get("rust-version", "")), dependencies


def _pom(text: str) -> _Content:
    dependencies = {}
    for block in _MAVEN_DEPENDENCY.findall(text):
        parts = dict(_MAVEN.findall(block))
        dependencies[f"{parts.get('groupId', '')}:{parts.get('artifactId', '')}"] = parts.get("version", "")
    own = dict(reversed(_MAVEN.findall(_MAVEN_DEPENDENCY.sub("", text))))
    return own.get("artifactId", ""), "", dependencies


def _version(wish: Any) -> str:
    return str(wish.get("version", "")) if isinstance(wish, dict) else str(wish)


def normalise(name: str) -> str:
    """The form in which Python and Rust package names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


_READERS: dict[str, tuple[str, Callable[[str], _Content]]] = {
    "pyproject.toml": ("python", _pyproject),
    "requirements.txt": ("python", _requirements_txt),
    "package.json": ("node", _package_json),
    "go.mod": ("go", _go_mod),
    "Cargo.toml": ("rust", _cargo),
    "pom.xml": ("java", _pom),
}
