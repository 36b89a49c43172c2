"""What git knows about a file: one call of ``git log``, which never fails the job.

A workspace may hold a repository that somebody else prepared, so the call is made as harmless as git allows: no
prompt, no pager, no hook, no network, no external diff or text conversion, no signature program, no lock taken. git's
own check of who owns the repository stays in force; the answer then says what the operator can do about it.

The repository may begin above the workspace root (a workspace that is one folder of a larger repository). Only the
history of the one file is asked for.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which

from slurp_leader.jobs.result import Author, Commit, History

_OPTIONS = (
    "--no-pager",
    "--literal-pathspecs",
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "log.showSignature=false"),
    *("-c", "log.follow=false"),
    *("-c", "protocol.allow=never"),
)
_LOG = (
    "log",
    "--no-merges",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--raw",
    "--numstat",
    "--no-abbrev",
    "-z",
    "--format=%H%x00%aN%x00%aI%x00%s",
)
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone must not go to the network for old content
    "GIT_PAGER": "cat",
    "LC_ALL": "C",
}
_FIELDS = 7  # id, author, date, subject, raw line, path, numbers with the path
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class GitOptions:
    """How git is asked.

    Attributes:
        commits: Most commits to look at, 1 or more. More cost about 0.1 ms each, and a longer node.
        timeout_s: Seconds until the answer is given up. A rarely changed file in a very large repository takes long.
        trust_owner: Read repositories that belong to another user, as in a container with a mounted workspace.
    """

    commits: int = 20
    timeout_s: float = 2.0
    trust_owner: bool = False


def history_of(root: Path, relative: str, data: bytes, options: GitOptions | None = None) -> tuple[History | None, str]:
    """Ask git about one file.

    Args:
        root: The workspace root.
        relative: The file, below the root.
        data: Its bytes, to tell whether they differ from what is committed.
        options: How to ask.

    Returns:
        The history, or None; and a note for people on why there is none.
    """
    options = options or GitOptions()
    git = _git()
    if git is None:
        return None, "git is not installed here"
    trust = ("-c", "safe.directory=*") if options.trust_owner else ()
    command = [git, "-C", str(root), *_OPTIONS, *trust, *_LOG, f"-n{options.commits + 1}", "--", relative]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=options.timeout_s, env=_environment()
        )
    except subprocess.TimeoutExpired:
        return None, f"git did not answer within {options.timeout_s:g} s"
    except OSError as error:
        return None, f"git could not be started: {error.strerror}"
    if answer.returncode != 0:
        return None, explain(answer.stderr.decode(errors="replace"))
    history = read_log(answer.stdout, data, options.commits)
    return history, "" if history else "not committed to git"


def is_passing(note: str) -> bool:
    """Whether a note tells of a failure that may be over the next time, with the repository as it is."""
    return note.startswith(("git did not answer", "git could not be started", "git failed"))


def explain(complaint: str) -> str:
    """Say in plain words why git refused.

    Args:
        complaint: What it wrote to stderr.
    """
    if "dubious ownership" in complaint or "unsafe repository" in complaint:
        return "git refuses this repository: another user owns it; set trust_owner, or git's safe.directory"
    if "not a git repository" in complaint:
        return "not in a git repository"
    if "does not have any commits" in complaint:
        return "the git repository has no commits yet"
    return f"git failed: {_clean(complaint, 120) or 'no reason given'}"


def read_log(output: bytes, data: bytes, limit: int) -> History | None:
    """Read what ``git log`` printed.

    Args:
        output: Groups of seven NUL-separated fields, newest commit first.
        data: The file's bytes as they are now.
        limit: How many commits to keep; one more in the output means that there are more.
    """
    fields = output.decode(errors="replace").split("\0")
    groups = [fields[at : at + _FIELDS] for at in range(0, len(fields) - _FIELDS + 1, _FIELDS)]
    if not groups:
        return None
    commits = tuple(_commit(group) for group in groups[:limit])
    counted = Counter(commit.author for commit in commits)
    authors = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return History(
        commit=commits[0].id,
        commits=commits,
        authors=tuple(Author(name=name, commits=count) for name, count in authors),
        total=len(commits),
        truncated=len(groups) > limit,
        added=sum(commit.added for commit in commits),
        deleted=sum(commit.deleted for commit in commits),
        modified=not _is_blob(_newest_blob(groups[0]), data),
    )


def _commit(group: list[str]) -> Commit:
    added, deleted = [*group[6].split("\t"), "0", "0"][:2]
    return Commit(
        id=group[0].strip(),
        author=_clean(group[1], 80),
        date=group[2],
        subject=_clean(group[3], 120),
        added=int(added) if added.isdigit() else 0,  # "-" for a version that was binary
        deleted=int(deleted) if deleted.isdigit() else 0,
    )


def _newest_blob(group: list[str]) -> str:
    parts = group[4].split()  # ":100644 100644 <before> <after> M"
    return parts[3] if len(parts) > 3 else ""


def _is_blob(blob: str, data: bytes) -> bool:
    """Whether the bytes have this git object name, with line ends as they are or as git stores them."""
    algorithm = hashlib.sha256 if len(blob) == 64 else hashlib.sha1
    spellings = (data, data.replace(b"\r\n", b"\n")) if b"\r\n" in data else (data,)
    return any(algorithm(b"blob %d\0" % len(one) + one).hexdigest() == blob for one in spellings)


def _clean(text: str, limit: int) -> str:
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _environment() -> dict[str, str]:
    """Ours, without the variables that point git elsewhere (a hook of another repository sets them)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | _ENVIRONMENT


@cache
def _git() -> str | None:
    return which("git")
