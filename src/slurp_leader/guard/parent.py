"""The guard as the parent: ``slurp guard -- CMD``, for containers, where the kernel ends all others with process 1.

It starts the command, passes on signals and the exit code, reaps orphans when it is process 1, and gives back what the
command and its children held when they die.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from slurp_leader.guard.inherited import GUARD_SOCKET
from slurp_leader.guard.watch import Watch

NOT_FOUND, NOT_RUNNABLE = 127, 126

_KEPT = {
    # About ourselves, or not to be caught.
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS,
}  # fmt: skip


def main(command: Sequence[str]) -> None:
    """Run a command under guard, and end as it ends: with its exit code, or 128 and the number of the signal.

    126 and 127 as in a shell: the command cannot be run, or is not there.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        process = _start(command, theirs)
    except OSError as error:
        sys.stderr.write(f"slurp: {command[0]}: {error.strerror}\n")
        raise SystemExit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE) from None
    theirs.close()
    code = _Parent(ours, process).run()
    sys.stdout.flush()
    os._exit(code)  # gRPC's threads would be waited for


def _start(command: Sequence[str], theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start the command in a group of its own, in front where there is a terminal, so that Ctrl-C reaches it once."""
    in_front = _is_in_front()
    process = subprocess.Popen(
        command,
        pass_fds=[theirs.fileno()],
        env={**os.environ, GUARD_SOCKET: str(theirs.fileno())},
        process_group=0,
    )
    if in_front:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, process.pid)
    return process


def _is_in_front() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False  # no terminal


class _Parent:
    def __init__(self, speaker: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._code: int | None = None
        self._watch = Watch(speaker, on_wake=self._reap)
        signal.set_wakeup_fd(self._watch.wake_fd, warn_on_full_buffer=False)
        for number in signal.valid_signals() - _KEPT:
            try:
                signal.signal(number, self._pass_on)
            except (OSError, ValueError):
                pass  # the C library keeps some for itself
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def run(self) -> int:
        """Guard until the command has ended and all is given back; returns the exit code."""
        self._reap()  # it may have ended before we listened
        while self._code is None:
            self._watch.turn()
        self._watch.revoke_all()  # what else lives of it ends with this process, or is orphaned
        while self._watch.has_work:
            self._watch.turn()
        return self._code

    def _pass_on(self, number: int, _frame: object) -> None:
        if self._code is None:
            os.kill(self._process.pid, number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._watch.died(pid)
            if pid == self._process.pid:
                code = os.waitstatus_to_exitcode(status)
                self._process.returncode = code
                self._code = code if code >= 0 else 128 - code
