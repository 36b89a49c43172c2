"""The demo as a program: started, watched, and looked after for what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "slurp_leader.demo"]
_TAKE_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
SOURCES = {
    "pkg/__init__.py": '"""A small package."""\n',
    "pkg/queue.py": '"""A queue."""\n\n\nclass Queue:\n    """Hands things out."""\n\n    length = 1\n',
    "cmd/main.go": "// Package main starts it.\npackage main\n\nfunc main() {}\n",
    "web/app.js": "// Shows it.\nexport function show() { return 1 }\n",
    "run.sh": "#!/bin/sh\n# Runs it.\nexec true\n",
}


@dataclass(frozen=True)
class Scratch:
    """A folder of sources, and a folder for temporary files that nobody else uses."""

    sources: Path
    temporary: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path) -> Scratch:
        for name, text in SOURCES.items():
            file = folder / "sources" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (folder / "temporary").mkdir()
        return cls(folder / "sources", folder / "temporary")

    def environment(self) -> dict[str, str]:
        """Of the demo. It names an etcd that is not there: the demo must not care."""
        return {
            **os.environ,
            "TERM": "xterm",  # whatever runs the tests may have a dumb one, on which nothing is drawn
            "TMPDIR": str(self.temporary),
            "SLURP_ETCD__ENDPOINTS": "localhost:1",
            "SLURP_JOBS__NO_SUCH_FIELD": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the demo on these sources. Standard output and error are pipes."""
        return self._start(
            [*COMMAND, str(self.sources), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def start_on_terminal(self, terminal: int, *options: str) -> subprocess.Popen[str]:
        """Start the demo in a session of its own that has this terminal, as a shell would."""
        command = [sys.executable, "-c", _TAKE_TERMINAL, *COMMAND, str(self.sources), *options]
        return self._start(command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)

    def _start(self, command: list[str], **how: Any) -> subprocess.Popen[str]:
        demo = subprocess.Popen(command, env=self.environment(), text=True, **how)
        self.started.append(demo)
        return demo

    def close(self) -> None:
        """End what a test that failed has left running."""
        for demo in self.started:
            with demo:
                demo.kill()

    def processes(self) -> dict[int, str]:
        """Processes that work for this demo: etcd and nodes name one of our folders in their command line."""
        return {pid: line for pid, line in _command_lines() if str(self.temporary) in line or _is_node(line, self)}

    def nodes(self) -> dict[str, int]:
        """The node processes, by name.

        A child that a node has forked looks like it until it runs its own program (git), so the oldest one counts.
        """
        newest_first = sorted(self.processes().items(), reverse=True)
        return {line.split("\0")[-2]: pid for pid, line in newest_first if _is_node(line, self)}

    def leftovers(self) -> list[str]:
        """What a demo that has ended should not have left: processes and files."""
        return [*self.processes().values(), *(str(path) for path in self.temporary.iterdir())]


def _is_node(line: str, scratch: Scratch) -> bool:
    return "slurp_leader.demo.node" in line and str(scratch.sources) in line


def _command_lines() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
            except OSError:  # ended meanwhile
                continue
            if line:  # a process that has ended and was not reaped has none
                yield int(entry.name), line
