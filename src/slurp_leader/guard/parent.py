"""The guard as the parent: ``slurp guard -- CMD``, for containers, where the kernel ends all others with process 1.

It starts the command, passes on signals and the exit code, reaps orphans when it is process 1, and gives back what the
command and its children held when they die.

Ctrl-Z in a terminal reaches the command alone, which has the terminal. When that stops the command the guard stops too,
so that the shell takes over again, and both go on with ``fg``. A command that is stopped in any other way goes on being
guarded: that is a standstill.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from slurp_leader.guard.inherited import GUARD_SOCKET, name_of_door
from slurp_leader.guard.watch import Watch

NOT_FOUND, NOT_RUNNABLE = 127, 126

_KEPT = {
    # About ourselves, or not to be caught.
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS,
}  # fmt: skip

_OF_JOBS = {signal.SIGTSTP, signal.SIGCONT}
"""Meant for all processes of a job, by a shell and by who sends them."""
_STOPS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_ENDS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


def main(command: Sequence[str]) -> None:
    """Run a command under guard, and end as it ends: with its exit code, or 128 and the number of the signal.

    126 and 127 as in a shell: the command cannot be run, or is not there.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = _Parent(ours)
    try:
        parent.start(command, theirs)
    except OSError as error:
        sys.stderr.write(f"slurp: {command[0]}: {error.strerror}\n")
        raise SystemExit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE) from None
    theirs.close()
    code = parent.run()
    sys.stdout.flush()
    os._exit(code)  # gRPC's threads would be waited for


class _Parent:
    """Listens for signals before there is a command: one that comes while it starts would end the guard alone."""

    def __init__(self, speaker: socket.socket) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._code: int | None = None
        self._is_hurried = False
        self._has_terminal = _in_front() == os.getpgrp()
        self._watch = Watch(speaker, on_wake=self._reap)
        signal.set_wakeup_fd(self._watch.wake_fd, warn_on_full_buffer=False)
        for number in signal.valid_signals() - _KEPT:
            try:
                if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup, both go on
                    signal.signal(number, self._pass_on)
            except (OSError, ValueError):
                continue  # the C library keeps some for itself
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def start(self, command: Sequence[str], theirs: socket.socket) -> None:
        """Start the command in a group of its own, in front where there is a terminal, so that Ctrl-C reaches it once.

        Raises:
            OSError: It cannot be run.
        """
        process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env={**os.environ, GUARD_SOCKET: name_of_door(theirs)},
            process_group=0,
        )
        if self._has_terminal:
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        self._put_in_front(process.pid)
        self._process = process
        for number in self._early:
            self._pass_on(number, None)

    def run(self) -> int:
        """Guard until the command has ended and all is given back; returns the exit code."""
        self._reap()  # it may have ended before we listened
        while self._code is None:
            self._watch.turn()
        if os.getpid() == 1:
            _end_all_others()
        self._watch.end_of_the_dead()  # who lives on keeps what it holds, and has no guard any more
        while self._watch.has_work and not self._is_hurried:
            self._watch.turn()
        return self._code

    def _pass_on(self, number: int, _frame: object) -> None:
        if self._process is None:
            self._early.append(number)
        elif self._code is not None:
            self._is_hurried = self._is_hurried or number in _ENDS
        else:
            with suppress(ProcessLookupError, PermissionError):  # it has just ended, or is somebody else's by now
                (os.killpg if number in _OF_JOBS else os.kill)(self._process.pid, number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            is_command = self._process is not None and pid == self._process.pid
            if os.WIFSTOPPED(status):
                if is_command:
                    self._on_stop(os.WSTOPSIG(status))
                continue
            self._watch.reaped(pid)
            if is_command:
                code = os.waitstatus_to_exitcode(status)
                self._code = code if code >= 0 else 128 - code
                self._take_terminal_back(pid)

    def _on_stop(self, number: int) -> None:
        """Stand still with the command until somebody lets the job go on. Process 1 cannot be stopped: it goes on."""
        if self._process is None or number not in _STOPS:
            return
        # A command may ask for the terminal before it was put in front.
        is_early = number != signal.SIGTSTP and self._has_terminal and _in_front() == self._process.pid
        if not is_early:
            self._put_in_front(os.getpgrp())
            os.kill(os.getpid(), signal.SIGSTOP)
            # Here after SIGCONT, in front or not: that is the shell's choice.
            if _in_front() == os.getpgrp():
                self._put_in_front(self._process.pid)
        self._pass_on(signal.SIGCONT, None)

    def _take_terminal_back(self, command: int) -> None:
        """The command has ended: who called us, in our group, may read on, and Ctrl-C reaches us while we give back.
        Not from anybody else: a shell has it where we were sent to the background."""
        if _in_front() == command:
            self._put_in_front(os.getpgrp())

    def _put_in_front(self, group: int) -> None:
        if self._has_terminal:
            with suppress(OSError):  # the terminal is gone
                os.tcsetpgrp(0, group)


def _in_front() -> int:
    """The group in front of our terminal; 0 without one."""
    try:
        return os.tcgetpgrp(0)
    except OSError:
        return 0


def _end_all_others() -> None:
    """They end with process 1, but only when it is too late to give back what they hold."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
