"""A process that waits to become a program, so that a guard knows its group before the program runs.

The number of a program is known only once it runs; who is killed before he has told it to the guard leaves the program
running beside that of the next leader. So a small interpreter waits in a group of its own, and becomes the program, by
`exec`, when it is told what to run. If nobody is left who could tell it, it ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[2:]; from slurp_leader.guard.starter import main; main(int(sys.argv[1]))"
)
_PACKET = 65536
_LOOK_S = 0.1
_CHANGED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that an interpreter ignores, and a program does not expect to be ignored."""


class Starter:
    """One process that has not become a program yet, or has. For one thread at a time; `kill` for any.

    Attributes:
        process: The process: the only one of its group, with the group's number, until the program starts others.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self) -> None:
        if not sys.executable:
            raise OSError("the path of the Python interpreter is not known")
        self._line, theirs = socket.socketpair()
        places = [str(Path(place).absolute()) for place in [*filter(None, sys.path), str(Path(__file__).parents[2])]]
        try:
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(theirs.fileno()), *places],
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                )
        except BaseException:
            self._line.close()
            raise

    def start(self, command: Sequence[str], environment: Mapping[str, str], may_begin: Callable[[], bool]) -> bool:
        """Become the program. Looks again and again whether it still may.

        Returns:
            False: the process had ended before, or might not begin any more. It runs nothing, and is of no use now.

        Raises:
            OSError: The command cannot be run.
        """
        answer = self._answer(json.dumps([list(command), dict(environment)]).encode(), may_begin)
        if answer is None:
            self.kill()
            return False
        if answer:
            raise OSError(int(answer), os.strerror(int(answer)))
        return True

    def _answer(self, order: bytes, may_begin: Callable[[], bool]) -> bytes | None:
        """What it says to this order; nothing, when it has become the program: `exec` closes its end. None: it has
        ended with the order unread, or might not begin any more."""
        self._line.settimeout(_LOOK_S)
        parts: list[bytes] = []
        try:
            while order:
                if not may_begin():
                    return None
                with suppress(TimeoutError):
                    order = order[self._line.send(order) :]
            self._line.shutdown(socket.SHUT_WR)
            while may_begin():
                with suppress(TimeoutError):
                    parts.append(self._line.recv(_PACKET))
                    if not parts[-1]:
                        return b"".join(parts)
        except OSError:
            pass  # nobody reads there any more
        return None

    def kill(self) -> None:
        """Kill it, and all of its group. Only before `close`: after that the number may be another one's."""
        signal_group(self.process, signal.SIGKILL)

    def close(self) -> None:
        """Kill it and what it left behind, and wait for its end."""
        self._line.close()
        self.kill()
        self.process.wait()


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the group of a process that was not waited for yet; nothing happens where none is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def main(descriptor: int) -> None:
    """Wait, and become the program.

    Args:
        descriptor: Of the socket over which it is told what to run.
    """
    with socket.socket(fileno=descriptor) as line:
        line.set_inheritable(False)
        try:
            order = _all_of(line)
        except KeyboardInterrupt:
            return
        if not order:
            return  # who would have told it is gone
        command, environment = json.loads(order)
        for number in _CHANGED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execvpe(command[0], command, environment)
        except OSError as error:
            line.sendall(str(error.errno).encode())


def _all_of(line: socket.socket) -> bytes:
    """What is said until the other end closes."""
    parts = iter(lambda: line.recv(_PACKET), b"")
    return b"".join(parts)
