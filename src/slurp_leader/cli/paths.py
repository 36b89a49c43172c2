"""Paths as they are typed, and as a request has to name them: from the workspace root of the nodes.

Where that root is, only the nodes know. ``generator.workspace_root``, where it is set, says it here too; else the
root of the git repository around the working directory is the best guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurp_leader.settings import SlurpSettings


@dataclass(frozen=True, slots=True)
class Placed:
    """A path for a request. `hint` is for whoever typed it; empty where all is plain."""

    path: str
    hint: str = ""


def presumed_root(settings: SlurpSettings, here: Path) -> Path | None:
    """The workspace root of the nodes, as far as it can be told from this side."""
    if settings.origins()["generator.workspace_root"] != "default":
        return (here / settings.generator.workspace_root).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), None)


def place(typed: str, root: Path | None, here: Path) -> Placed:
    """Name a file from the root.

    A full path of a file below `root` becomes the path from there, so that one file has one name. A relative path
    stays as it is, since it may be meant for a node on another machine; where the file is here and not there, the
    hint says so.
    """
    if "\0" in typed or not _is_file(here / typed):
        return Placed(typed)
    from_root = _below(here / typed, root)
    if typed.startswith("/"):
        if from_root is None:
            return Placed(typed, f"{typed}: a leading / means the workspace root of the nodes, not this machine's")
        return Placed(typed) if _is_file(root / typed.lstrip("/")) else Placed(from_root)  # type: ignore[operator]
    if from_root is None or root is None or _is_file(root / typed):
        return Placed(typed)
    return Placed(
        typed, f"{typed}: paths count from the workspace root of the nodes; if that is {root}, submit {from_root}"
    )


def _below(file: Path, root: Path | None) -> str | None:
    """The path of a file from the root; None when it is not below it. Links to the file itself are kept."""
    if root is None:
        return None
    whole = file.parent.resolve() / file.name
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be looked into
        return False
