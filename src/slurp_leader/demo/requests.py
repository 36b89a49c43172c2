"""What the demo asks for: files of a repository, seen by several roles. The same repository gives the same requests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slurp_leader.errors import FileRefusedError, RequestInvalidError, RetryAfterError
from slurp_leader.generators.languages import Kind, detect
from slurp_leader.generators.workspace import Workspace
from slurp_leader.jobs.request import ContextGenerationRequest

REQUESTS = 240
LARGEST_FILE = 256 * 1024
_ROLES = ("developer", "reviewer", "architect", "security", "operations", "tester", "general")
_PROGRAMS = (Kind.CODE, Kind.SCRIPT)
_GIT_TIMEOUT_S = 20.0
_NOT_SOURCES = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist", "target", "vendor", "venv"})
_MOST_WALKED = 200_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests, in the order in which they are submitted, and how many files they are about."""

    root: Path
    files: int
    requests: tuple[ContextGenerationRequest, ...]


def plan_requests(root: Path, count: int = REQUESTS) -> Plan:
    """Choose `count` requests about the source files below a folder. Empty when it has none.

    Programs and scripts come first; where they are few, configuration, documents and markup are taken too. Of more
    files than requests every n-th is taken, so that all folders are seen. Of fewer, each is seen by several roles.
    """
    workspace = Workspace(root, LARGEST_FILE)
    names = list_files(root)
    programs = [name for name in names if detect(name, "").kind in _PROGRAMS]
    others = [name for name in names if detect(name, "").kind not in (*_PROGRAMS, Kind.TEXT)]
    files = sorted(_readable(workspace, programs, count))
    files += sorted(_readable(workspace, others, max(0, count // 4 - len(files))))
    return Plan(root, len(files), tuple(_requests(files, count)))


def _requests(files: Sequence[str], count: int) -> Iterator[ContextGenerationRequest]:
    """One request a file in each round; from round to round another role looks at it."""
    for number in range(count if files else 0):
        lap, index = divmod(number, len(files))
        role = _ROLES[(index + lap) % len(_ROLES)]
        yield ContextGenerationRequest(file_path=files[index], role=role, requested_by="slurp demo")


def _readable(workspace: Workspace, names: Sequence[str], count: int) -> list[str]:
    """At most `count` of these files that the generator will not refuse, evenly chosen."""
    chosen: list[str] = []
    for name in spread(names, count):
        if len(chosen) == count:
            break
        try:
            ContextGenerationRequest(file_path=name)
            workspace.read(name)
        except (FileRefusedError, RetryAfterError, RequestInvalidError):
            continue  # binary, huge, a link, or a name that cannot be written down
        chosen.append(name)
    return chosen


def spread(names: Sequence[str], count: int) -> list[str]:
    """All names; first `count` of them at even distances, then the rest, which stands in for what is refused."""
    if not 0 < count < len(names):
        return list(names)
    first = [index * len(names) // count for index in range(count)]
    taken = set(first)
    return [names[index] for index in first] + [name for index, name in enumerate(names) if index not in taken]


# ---------------------------------------------------------------- which files there are


def git_root(folder: Path) -> Path:
    """The top of the repository that a folder is in; the folder itself when git knows of none."""
    answer = _git(folder, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(answer).rstrip("\n")) if answer else folder


def list_files(root: Path) -> list[str]:
    """Files below a folder, relative to it, in byte order; without those that git ignores, or else that are hidden."""
    answer = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = answer.split(b"\0") if answer else _walk(root)
    return [os.fsdecode(name) for name in sorted(set(names)) if name]


def _git(folder: Path, *arguments: str) -> bytes | None:
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):  # not installed, or no answer: the folder is walked instead
        return None
    return done.stdout if done.returncode == 0 else None


def _walk(root: Path) -> list[bytes]:
    found: list[bytes] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not _is_left_out(Path(folder, name)))
        found += [os.fsencode(os.path.relpath(Path(folder, name), root)) for name in sorted(files) if name[0] != "."]
        if len(found) > _MOST_WALKED:
            break
    return found


def _is_left_out(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in _NOT_SOURCES or (folder / "pyvenv.cfg").exists()
