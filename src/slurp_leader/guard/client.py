"""The program's side of the guard: starts it, tells it what is held, replaces it when it dies.

Nothing here waits. A packet that the socket does not take at once was not said; for a beat that means that it was none.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.guard.inherited import guard_socket
from slurp_leader.guard.messages import (
    LARGEST_PACKET,
    Beat,
    Bye,
    Drop,
    Group,
    Hello,
    Hold,
    Message,
    Ready,
    Route,
    decode,
    encode,
)
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.guard")

_SEND_BUFFER = 256 * 1024
_GOODBYE_S = 2.0
_PAUSE_S = (0.0, 1.0, 5.0, 30.0)
"""Pauses before a guard that died is replaced: after a long life, after the first short one, and so on."""
_LONG_LIFE_S = 60.0
"""A guard that lived so long died of something else than the one before it."""

_BOOTSTRAP = "import sys; sys.path[:] = sys.argv[2:]; from slurp_leader.guard.child import main; main(int(sys.argv[1]))"


@dataclass(slots=True)
class _Line:
    """The way to one guard."""

    end: socket.socket
    process: subprocess.Popen[bytes] | None
    """None: it is our parent, and not ours to end or replace."""
    began_at: float


class GuardClient:
    """One guard for one process, shared by all elections of it. Safe to use from any thread; never blocks, but for
    `close`.

    Args:
        route: How the guard reaches etcd.
        clock: Source of time.
    """

    def __init__(self, route: Route, clock: Clock | None = None) -> None:
        self._route = route
        self._clock = clock or SystemClock()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        # Guarded by _lock:
        self._line: _Line | None = None
        self._held: dict[int, Hold] = {}
        self._group = 0
        self._deaths = 0
        self._next_start_at = float("-inf")
        self._closed = False
        self._given_up = False
        self._problem = "it has not begun yet"
        self._on_ready: list[Callable[[], None]] = []

    # ------------------------------------------------------------ what elections say

    def hold(self, lease_id: int, ttl_s: float, stall_s: float) -> bool:
        """Have a lease revoked when this process dies, or is silent about it for `stall_s` seconds (0: never).

        Said before the lease is granted. Also starts the guard.

        Returns:
            Whether a guard knows it now, so that silence may cost the lease.
        """
        with self._lock:
            self._held[lease_id] = hold = Hold(self._pid, lease_id, ttl_s, stall_s)
            known = self._line is not None
            line = self._line_now()
            return line is not None and (not known or self._say(line, hold))  # a new line was told of all that is held

    def beat(self, lease_id: int) -> bool:
        """Say that the owner of this lease moves.

        Returns:
            Whether it was said: False when no guard runs at present, or it does not take it.
        """
        with self._lock:
            line = self._line_now()
            return line is not None and self._say(line, Beat(self._pid, lease_id))

    def drop(self, lease_id: int) -> None:
        """Leave this lease alone from now on."""
        with self._lock:
            self._held.pop(lease_id, None)
            if self._line is not None and self._pid == os.getpid():
                self._say(self._line, Drop(self._pid, lease_id))

    def kill_group(self, group: int) -> None:
        """Have a process group killed when this process dies, before any lease is revoked. 0: none any more."""
        with self._lock:
            self._group = group
            line = self._line_now()
            if line is not None:
                self._say(line, Group(self._pid, group))

    @property
    def is_running(self) -> bool:
        """Whether a guard runs, as far as is known."""
        return self._line is not None

    @property
    def problem(self) -> str:
        """Why the guard could not do its work at present; empty: it has reached etcd."""
        with self._lock:
            if self._line is not None:
                self._listen(self._line)
            return self._problem

    @property
    def guard_pid(self) -> int | None:
        """Pid of the guard, where it is a child."""
        line = self._line
        return line.process.pid if line and line.process else None

    def close(self) -> None:
        """Say goodbye, and wait a moment for the guard to end. Safe twice; in a forked child it does nothing."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            line, self._line = self._line, None
            if line is None:
                return
            self._say(line, Bye(self._pid))
        if line.process is None:
            return
        line.end.close()
        try:
            line.process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            line.process.kill()
            line.process.wait()

    # ------------------------------------------------------------ the guard's life

    def _line_now(self) -> _Line | None:
        """The way to a guard that lives; begins one where there is none and it is time."""
        if self._closed or self._given_up or self._pid != os.getpid():
            return None
        line = self._line
        if line is not None and line.process is not None and line.process.poll() is not None:
            self._lost(line, f"it ended with {line.process.returncode}")
            line = None
        now = self._clock.boottime()
        if line is None and now >= self._next_start_at:
            line = self._begin(now)
        if line is not None:
            self._listen(line)
        return line

    def _begin(self, now: float) -> _Line | None:
        try:
            line = self._inherited(now) or self._spawn(now)
        except (OSError, AttributeError) as error:  # the latter where there are no such sockets
            self._give_up(f"it cannot be started: {error}")
            return None
        self._line = line
        messages: list[Message] = [Hello(self._pid, self._route), *self._held.values()]
        if self._group:
            messages.append(Group(self._pid, self._group))
        for message in messages:
            if not self._say(line, message):
                return None
        return line

    def _inherited(self, now: float) -> _Line | None:
        number = guard_socket()
        if number is None:
            return None
        try:
            end = socket.socket(fileno=os.dup(number))
        except OSError:
            return None  # it was not passed on to us: only the variable was
        if (end.family, end.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
            end.close()  # something else has that number by now
            return None
        end.setblocking(False)
        return _Line(end, None, now)

    def _spawn(self, now: float) -> _Line:
        if not sys.executable:
            raise OSError("the path of the Python interpreter is not known")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            process = self._start_child(theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return _Line(ours, process, now)

    def _start_child(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        places = [str(Path(place).absolute()) for place in [*filter(None, sys.path), str(Path(__file__).parents[2])]]
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(self._pid), *places],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def _lost(self, line: _Line, problem: str) -> None:
        """This guard is of no use any more. It is ended before another begins, so that no two guard one lease."""
        self._line = None
        line.end.close()
        if line.process is None:
            self._give_up(problem)
            return
        line.process.kill()
        line.process.wait()
        now = self._clock.boottime()
        self._deaths = 0 if now - line.began_at > _LONG_LIFE_S else self._deaths + 1
        self._next_start_at = now + _PAUSE_S[min(self._deaths, len(_PAUSE_S) - 1)]
        self._problem = problem
        log_event(_logger, logging.WARNING, LogEvent.GUARD_LOST, problem=problem)

    def _give_up(self, problem: str) -> None:
        """Without a guard a crash costs the TTL. Said once."""
        self._given_up = True
        self._problem = problem
        log_event(_logger, logging.WARNING, LogEvent.GUARD_UNAVAILABLE, problem=problem)

    # ------------------------------------------------------------ the socket

    def _say(self, line: _Line, message: Message) -> bool:
        try:
            line.end.send(encode(message))
        except BlockingIOError:
            self._lost(line, "it does not read what it is told")
            return False
        except OSError as error:
            self._lost(line, f"the connection to it is gone: {error}")
            return False
        return True

    def _listen(self, line: _Line) -> None:
        """Take what the guard says about etcd. One that is our parent speaks to all of its children at once."""
        if line.process is None:
            self._problem = ""
            return
        try:
            while packet := line.end.recv(LARGEST_PACKET):
                message = decode(packet)
                if isinstance(message, Ready):
                    self._problem = message.problem
                    level = logging.WARNING if message.problem else logging.DEBUG
                    log_event(_logger, level, LogEvent.GUARD_STATE, problem=message.problem or None)
        except (OSError, ValueError):
            pass  # nothing more at present; the end is noticed by its exit code
