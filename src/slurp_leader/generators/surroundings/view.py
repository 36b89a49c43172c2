"""The workspace as one job sees it, and paths in it."""

from __future__ import annotations

from slurp_leader.generators.workspace import Workspace


class View:
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


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}".strip("/") if folder else name.strip("/")


def normal(path: str) -> str:
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
