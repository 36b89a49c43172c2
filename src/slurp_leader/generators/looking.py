"""What was looked at around a file, noted, so that it can be seen whether one would see the same today.

What is found around a file follows from the file and from the answers of the workspace: which names are in a folder,
what stands in a file. So as long as every answer is the one that was noted, all of them will be asked for again and
nothing else, and the same is found. To see that takes no parser and no pattern.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from slurp_leader.generators.workspace import Workspace

_FOLDER, _FILE = "folder", "file"


@dataclass(frozen=True, slots=True)
class Look:
    """The answers of a workspace, in order: what was asked for, and the digest of what was there.

    Attributes:
        of: What the questions followed from.
    """

    of: str
    answers: tuple[tuple[str, str, bytes], ...]

    def still_holds(self, workspace: Workspace) -> bool:
        """Whether the workspace gives the same answers now."""
        return all(_answer(workspace, kind, name) == digest for kind, name, digest in self.answers)

    @property
    def digest(self) -> bytes:
        """One digest of all."""
        whole = hashlib.blake2b(self.of.encode(), digest_size=16)
        for kind, name, digest in self.answers:
            whole.update(f"\0{kind}\0{name}\0".encode("utf-8", "surrogateescape") + digest)
        return whole.digest()


class NotingWorkspace(Workspace):
    """A workspace that notes how it was looked at. For one look, on one thread."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.root, workspace.max_bytes)
        self._noted: dict[tuple[str, str], bytes] = {}
        self._is_torn = False

    def glance(self, relative: str, max_bytes: int = 256 * 1024) -> str | None:
        text = super().glance(relative, max_bytes)
        self._note(_FILE, relative, _of_text(text))
        return text

    def names(self, folder: str) -> dict[str, bool]:
        names = super().names(folder)
        self._note(_FOLDER, folder, _of_names(names))
        return names

    def look(self, of: str) -> Look | None:
        """What was noted; None: something changed under way, or could not be seen."""
        answers = tuple((kind, name, digest) for (kind, name), digest in self._noted.items())
        return None if self._is_torn else Look(of, answers)

    def _missed(self) -> None:
        self._is_torn = True

    def _note(self, kind: str, name: str, digest: bytes) -> None:
        if self._noted.setdefault((kind, name), digest) != digest:
            self._is_torn = True


def _answer(workspace: Workspace, kind: str, name: str) -> bytes:
    return _of_names(workspace.names(name)) if kind == _FOLDER else _of_text(workspace.glance(name))


def _of_text(text: str | None) -> bytes:
    return b"" if text is None else hashlib.blake2b(text.encode(), digest_size=16).digest()


def _of_names(names: dict[str, bool]) -> bytes:
    """Of names and whether they are files; in which order they were listed means nothing to anybody."""
    text = "\0".join(f"{name}/{regular:d}" for name, regular in sorted(names.items()))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()
