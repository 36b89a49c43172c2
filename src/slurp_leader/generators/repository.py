"""What the history of a file depends on, read from the files of its git repository, without git.

`history_of` starts a program for every file. To tell that its answer is still the same, that is not needed: the answer
follows from the commit that HEAD stands for, and from a few files that change how commits are shown (names, numbers of
lines), or whether git reads the repository at all.

Where that cannot be seen from files of known places, nothing is claimed: references in another format than files, a
configuration that includes others, replaced commits. Not seen is what git takes from its index when an attribute file
is missing from the working tree, and a configuration of the machine in an unusual place.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

_MOST_BYTES = 1024 * 1024
_MOST_STEPS = 5
"""From HEAD over symbolic references to a commit."""
_NO_COMMIT_HERE = b"ref: refs/heads/.invalid"
"""What stands in HEAD where references are not kept in files."""
_LEADS_ELSEWHERE = (b"[include", b"mailmap", b"attributesfile", b"refstorage")
"""What in a configuration names other files that count."""

_WORKTREE = re.compile(rb"(?im)^\s*worktree\s*=")


class _NotKnownError(Exception):
    """It cannot be told from here."""


def repository_state(root: Path, path: str) -> str | None:
    """A digest of all that the history of a file depends on; None: it is not known without git.

    Args:
        root: The workspace root.
        path: The file, below the root.
    """
    state = hashlib.blake2b(digest_size=16)
    try:
        for part in _parts(root, path):
            state.update(b"%d:" % len(part) + part)
    except (OSError, ValueError, _NotKnownError):
        return None
    return state.hexdigest()


def _parts(root: Path, path: str) -> Iterator[bytes]:
    for file in _of_the_machine():
        yield _configuration(file)
    top = _top(root)
    if top is None:
        yield b"no repository"
        return
    marker = top / ".git"
    own = marker if marker.is_dir() else top / _named(marker, b"gitdir: ")  # a linked working tree, or a submodule
    common = own / os.fsdecode(_read(own / "commondir").strip() or b".")
    yield _owners(root, top, marker, own)
    yield from _commit(own, common)
    for file in (common / "config", own / "config.worktree"):
        data = _configuration(file)
        if own == marker and _WORKTREE.search(data):
            raise _NotKnownError("a working tree elsewhere")
        yield data
    for name in ("shallow", "info/grafts", "info/attributes"):
        yield _read(common / name)
    yield _read(top / ".mailmap")
    folders = [*root.relative_to(top).parts, *path.split("/")[:-1]]
    for depth in range(len(folders) + 1):
        yield _read(top.joinpath(*folders[:depth], ".gitattributes"))


def _top(root: Path) -> Path | None:
    """The folder that git finds a repository in, from the root upwards."""
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            return folder
        if (folder / "HEAD").is_file() and (folder / "objects").is_dir():
            raise _NotKnownError("a repository without a working tree")
    return None


def _commit(own: Path, common: Path) -> Iterator[bytes]:
    """What HEAD stands for: every step to it, and the references that are packed."""
    step = _read(own / "HEAD").strip()
    for _ in range(_MOST_STEPS):
        yield step
        if not step.startswith(b"ref: "):
            break
        name = os.fsdecode(step[5:].strip())
        if step == _NO_COMMIT_HERE or ".." in name or name.startswith("/"):
            raise _NotKnownError(name)
        step = (_read(own / name) or _read(common / name)).strip()
    else:
        raise _NotKnownError("too many steps")
    if not step and not _read(own / "HEAD"):
        raise _NotKnownError("no repository that git would take for one")
    yield _read(common / "packed-refs")
    replaced = common / "refs" / "replace"
    if replaced.is_dir() and any(replaced.iterdir()):
        raise _NotKnownError("replaced commits")


def _of_the_machine() -> Iterator[Path]:
    """Where git looks for the configuration of user and machine, `GIT_` variables aside: they are not passed on."""
    home = Path(os.environ.get("HOME", "/nonexistent"))
    own = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    yield from (home / ".gitconfig", own / "config", own / "attributes", Path("/etc/gitconfig"))
    yield Path("/etc/gitattributes")


def _configuration(file: Path) -> bytes:
    data = _read(file)
    if data and any(word in data.lower() for word in _LEADS_ELSEWHERE):
        raise _NotKnownError(file)
    return data


def _owners(*paths: Path) -> bytes:
    """Whose they are: git refuses the repository of another user."""
    return repr([path.stat().st_uid for path in paths]).encode()


def _named(marker: Path, word: bytes) -> str:
    text = _read(marker)
    if not text.startswith(word):
        raise _NotKnownError(marker)
    return os.fsdecode(text[len(word) :].rstrip(b"\n"))


def _read(file: Path) -> bytes:
    """A file; empty when there is none. An empty one counts as none, and so does git take it."""
    try:
        with open(file, "rb", buffering=0) as opened:
            data = opened.read(_MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    if data is None or len(data) > _MOST_BYTES:
        raise _NotKnownError(file)
    return data
