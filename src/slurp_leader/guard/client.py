"""The program's side of the guard: starts it, tells it what is held, replaces it when it dies.

Nothing here waits. A packet that the socket does not take at once was not said; for a beat that means that it was none.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.forks import free_in_child
from slurp_leader.guard.groups import own_namespace
from slurp_leader.guard.inherited import guard_door, without_settings
from slurp_leader.guard.messages import (
    LARGEST_PACKET,
    STARTING,
    Beat,
    Bye,
    Drop,
    Group,
    Heard,
    Hello,
    Hold,
    Message,
    Ready,
    Route,
    Told,
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

_PATIENCE_S = 5.0
"""So long a guard may lack something before that is worth a warning. On a busy machine its start takes seconds."""

_DIES_ALONG = (
    "this process is process 1, and the kernel kills its child guard along with it; run it as `slurp guard -- CMD`, or "
    "a crash costs the TTL"
)

_SURE = 0.9
"""In this part of `stall_s` a guard has not acted, however its wake-ups fall."""
_PASSES = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Reasons for which a process cannot be started now, but perhaps later."""

_BOOTSTRAP = "import sys; sys.path[:] = sys.argv[2:]; from slurp_leader.guard.child import main; main(int(sys.argv[1]))"


@dataclass(frozen=True, slots=True)
class GuardTrouble:
    """What keeps the guard from its work for longer than a start takes.

    Attributes:
        problem: What it is.
        since: In boottime seconds.
        is_final: No other guard will be started.
        dies_along: It works, but the death of this process is its own.
    """

    problem: str
    since: float
    is_final: bool = False
    dies_along: bool = False


@dataclass(slots=True)
class _Line:
    """The way to one guard."""

    end: socket.socket
    process: subprocess.Popen[bytes] | None
    """None: it is our parent, and not ours to end or replace."""
    began_at: float


@dataclass(slots=True)
class _Lease:
    """What is held, and what a guard knows of it."""

    hold: Hold
    said_at: float | None = None
    """Boottime before a guard that counts its silence was last told that its owner moves. None: no guard counts it."""
    is_expected: bool = False
    """Its owner knows that silence may cost it, although no guard counts it yet."""
    asks: int = 0
    """The question that has to be answered before anything may be concluded; 0: none is open."""
    is_given_back: bool = False

    def was_silent(self, now: float) -> bool:
        """Whether the guard may have given it back."""
        stall_s = self.hold.stall_s
        return stall_s > 0 and self.said_at is not None and now - self.said_at > stall_s * _SURE


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
        self._who = secrets.randbits(62)
        self._lock = free_in_child(threading.Lock())
        # Guarded by _lock:
        self._line: _Line | None = None
        self._leases: dict[int, _Lease] = {}
        self._questions = 0
        self._group = 0
        self._ending: subprocess.Popen[bytes] | None = None  # a guard that was killed, and may not be gone yet
        self._has_parent = False  # a guard that is our parent may act, also while it cannot be told anything
        self._deaths = 0
        self._next_start_at = float("-inf")
        self._closed = False
        self._given_up = False
        self._problem = "it has not begun yet"
        self._problem_since = float("-inf")
        self._unwell_since: float | None = None  # since when none does its work; None: one does, or none was wanted yet
        self._dies_along_since: float | None = None  # since when this is process 1, and its guard a child
        self._ended_by = ""  # what the last guard was lost by, until one has done its work again
        self._warned_of: set[str] = set()  # kinds of problems, until it was said that all is well again

    # ------------------------------------------------------------ what elections say

    def hold(self, lease_id: int, ttl_s: float, stall_s: float) -> Told:
        """Have a lease revoked when this process dies, or is silent about it for `stall_s` seconds (0: never).

        Said before the lease is granted. Also starts the guard.

        Returns:
            Whether a guard knows it now, so that silence may cost the lease.
        """
        with self._lock:
            line = self._line_now()
            self._leases[lease_id] = lease = _Lease(Hold(self._who, lease_id, ttl_s, stall_s))
            return Told.YES if line is not None and self._say_hold(line, lease) else Told.NOBODY

    def beat(self, lease_id: int) -> Told:
        """Say that the owner of this lease moves.

        A guard that has begun since the last beat counts the silence of this lease from the next one on: by then its
        owner has heard of it.

        Returns:
            What that is worth. After a silence in which the guard may have given the lease back, `Told.UNHEARD` until
            it has answered that it has not.
        """
        with self._lock:
            lease = self._leases.get(lease_id)
            if lease is None:
                return Told.NOBODY
            now = self._clock.boottime()
            line = self._line_now()
            if lease.is_given_back:
                return Told.GIVEN_BACK
            if line is None:
                return Told.UNHEARD if self._has_parent or self._ending is not None else Told.NOBODY
            if lease.said_at is None and lease.is_expected:
                return Told.YES if self._say_hold(line, lease) else self._unsaid(lease)
            if lease.was_silent(now):
                self._questions += 1
                lease.asks = self._questions
            if not self._say(line, Beat(self._who, lease_id, lease.asks)):
                return self._unsaid(lease)
            if lease.said_at is None:
                lease.is_expected = True
            else:
                lease.said_at = now
            return Told.UNHEARD if lease.asks else Told.YES

    def drop(self, lease_id: int) -> None:
        """Leave this lease alone from now on."""
        with self._lock:
            self._leases.pop(lease_id, None)
            if self._line is not None and self._pid == os.getpid():
                self._say(self._line, Drop(self._who, lease_id))

    def kill_group(self, group: int) -> None:
        """Have a process group killed when this process dies or stands still, before any lease is revoked. 0: none any
        more."""
        with self._lock:
            self._group = group
            line = self._line_now()
            if line is not None:
                self._say_group(line)

    @property
    def is_running(self) -> bool:
        """Whether a guard runs, as far as is known."""
        return self._line is not None

    @property
    def problem(self) -> str:
        """Why the guard could not do its work at present; empty: it has reached etcd. ``starting``: it is about to, and
        none was lost before it: one that begins again and again would seem well."""
        with self._lock:
            return self._what_is_wrong()

    @property
    def trouble(self) -> GuardTrouble | None:
        """`problem`, where it lasts or will not pass; None as long as a guard may just be starting. Where all is well
        with a guard that the kernel kills along with this process, that."""
        with self._lock:
            problem, since = self._what_is_wrong(), self._unwell_since
            if since is not None and (self._given_up or self._clock.boottime() - since >= _PATIENCE_S):
                return GuardTrouble(problem, since, self._given_up)
            if self._dies_along_since is not None:
                return GuardTrouble(_DIES_ALONG, self._dies_along_since, dies_along=True)
            return None

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
            line = self._line
            if line is not None:
                self._say(line, Bye(self._who))
            self._line = None
            ending, self._ending = self._ending, None
        if line is not None:
            line.end.close()
        for process in (ending, line.process if line is not None else None):
            if process is not None:
                _await_end(process)

    # ------------------------------------------------------------ the guard's life

    def _line_now(self) -> _Line | None:
        """The way to a guard that lives; begins one where there is none and it is time."""
        if self._closed or self._given_up or self._pid != os.getpid():
            return None
        line = self._line
        if line is not None and line.process is not None and line.process.poll() is not None:
            self._lost(line, f"it ended with {line.process.returncode}")
            line = None
        if self._ending is not None and self._ending.poll() is not None:
            self._ending = None
        now = self._clock.boottime()
        if line is None and self._ending is None and now >= self._next_start_at:
            line = self._begin(now)
        if line is not None:
            self._listen(line)
        return line

    def _what_is_wrong(self) -> str:
        if self._line is not None:
            self._listen(self._line)
        return self._ended_by or STARTING if self._problem == STARTING else self._problem

    def _note_unwell(self, now: float) -> None:
        if self._unwell_since is None:
            self._unwell_since = now

    def _begin(self, now: float) -> _Line | None:
        self._note_unwell(now)  # until it has said that it is not
        try:
            line = self._inherited(now) or self._spawn(now)
        except (OSError, AttributeError) as error:  # the latter where there are no such sockets
            if getattr(error, "errno", None) in _PASSES:
                self._put_off(f"it cannot be started at present: {error}", now)
            else:
                self._give_up(f"it cannot be started: {error}")
            return None
        self._line = line
        self._problem, self._problem_since = STARTING, now
        if line.process is not None:
            try:
                self._introduce(line.end, [])
            except OSError as error:
                self._lost(line, f"the connection to it is gone: {error}")
                return None
        for lease in list(self._leases.values()):
            if not self._say_held(line, lease):
                return None
        if self._group and not self._say_group(line):
            return None
        return line

    def _inherited(self, now: float) -> _Line | None:
        """Come in by the door of a guard that is our parent. Many may do so: each brings a socket of its own."""
        door = guard_door()
        if door is None:
            if self._has_parent:  # the program has closed it: that guard cannot be asked any more, and may act
                self._has_parent = False
                for lease in self._leases.values():
                    lease.is_given_back = lease.is_given_back or lease.said_at is not None
            return None
        ours, theirs = _line()
        with door, theirs:
            try:
                self._introduce(door, [theirs.fileno()])
            except OSError as error:
                ours.close()
                if error.errno == errno.EAGAIN:
                    raise
                self._has_parent = False  # it is gone: a child has to do
                self._doubt_what_was_silent(now)
                return None
        self._has_parent = True
        return _Line(ours, None, now)

    def _spawn(self, now: float) -> _Line:
        if not sys.executable:
            raise OSError("the path of the Python interpreter is not known")
        ours, theirs = _line()
        with theirs:
            try:
                line = _Line(ours, self._start_child(theirs), now)
            except BaseException:
                ours.close()
                raise
        if self._pid == 1 and self._dies_along_since is None:
            self._dies_along_since = now
            log_event(_logger, logging.WARNING, LogEvent.GUARD_UNAVAILABLE, problem=_DIES_ALONG)
        return line

    def _introduce(self, way: socket.socket, descriptors: list[int]) -> None:
        """Say who we are, and hand over what our death is seen by: no number that could be another one's by then."""
        own = _pidfds_of(self._pid)  # where there is none, the end of the socket and the silence have to do
        try:
            hello = encode(Hello(self._who, self._route, self._pid))
            socket.send_fds(way, [hello], [*descriptors, *own], socket.MSG_DONTWAIT)
        finally:
            _close(own)

    def _start_child(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        places = [str(Path(place).absolute()) for place in [*filter(None, sys.path), str(Path(__file__).parents[2])]]
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(self._pid), *places],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=without_settings(os.environ),
        )

    def _lost(self, line: _Line, problem: str) -> None:
        """This guard is of no use any more. It is ended before another begins, so that no two guard one lease."""
        now = self._clock.boottime()
        self._line = None
        line.end.close()
        if line.process is not None:
            line.process.kill()
            self._ending = line.process if line.process.poll() is None else None
            self._doubt_what_was_silent(now)
        if now - line.began_at > _LONG_LIFE_S:
            self._deaths = -1
        self._put_off(problem, now)

    def _doubt_what_was_silent(self, now: float) -> None:
        """A guard is gone. What it had begun may still reach etcd, and nobody is left to be asked about it."""
        for lease in self._leases.values():
            lease.is_given_back = lease.is_given_back or lease.asks != 0 or lease.was_silent(now)
            lease.said_at = None

    def _put_off(self, problem: str, now: float) -> None:
        """Try again later, and later each time. Warned of once, whatever each one ends of, until a guard has worked."""
        self._note_unwell(now)
        self._deaths += 1
        self._next_start_at = now + _PAUSE_S[min(self._deaths, len(_PAUSE_S) - 1)]
        self._problem = self._ended_by = problem
        level = logging.DEBUG if LogEvent.GUARD_LOST in self._warned_of else logging.WARNING
        self._warned_of.add(LogEvent.GUARD_LOST)
        log_event(_logger, level, LogEvent.GUARD_LOST, problem=problem)

    def _give_up(self, problem: str) -> None:
        """Without a guard a crash costs the TTL. Said once."""
        self._given_up = True
        self._problem = problem
        log_event(_logger, logging.WARNING, LogEvent.GUARD_UNAVAILABLE, problem=problem)

    def _unsaid(self, lease: _Lease) -> Told:
        """What a beat is worth that could not be said."""
        if lease.is_given_back:
            return Told.GIVEN_BACK
        return Told.UNHEARD if self._has_parent or self._ending is not None else Told.NOBODY

    # ------------------------------------------------------------ the socket

    def _say_held(self, line: _Line, lease: _Lease) -> bool:
        """Tell a guard that has just begun of a lease that is held. Where none counted its silence up to now, this one
        does not either before the owner knows: he trusts without that bound, and may stand still before his next beat.
        """
        if lease.said_at is not None:  # it is our parent, to which we come again
            return self._say_hold(line, lease)
        lease.is_expected = False
        return self._say(line, replace(lease.hold, stall_s=0))

    def _say_hold(self, line: _Line, lease: _Lease) -> bool:
        now = self._clock.boottime()
        if lease.was_silent(now):  # of a guard that is our parent, to which we come again
            self._questions += 1
            lease.asks = self._questions
        if not self._say(line, lease.hold):
            return False
        lease.said_at = now
        return True

    def _say_group(self, line: _Line) -> bool:
        """Tell of the group, and hand over its leader: the guard may know it by another number."""
        leader = _pidfds_of(self._group) if self._group > 0 else []
        try:
            return self._say(line, Group(self._who, self._group, own_namespace()), leader)
        finally:
            _close(leader)

    def _say(self, line: _Line, message: Message, descriptors: Sequence[int] = ()) -> bool:
        try:
            socket.send_fds(line.end, [encode(message)], descriptors)
        except BlockingIOError:
            self._lost(line, "it does not read what it is told")
            return False
        except OSError as error:
            self._lost(line, f"the connection to it is gone: {error}")
            return False
        return True

    def _listen(self, line: _Line) -> None:
        """Take what the guard says: about etcd, and about leases."""
        try:
            while packet := line.end.recv(LARGEST_PACKET):
                self._take(decode(packet))
        except (OSError, ValueError):
            pass  # nothing more at present; the end is noticed by its exit code
        self._warn_if_it_lasts()

    def _take(self, message: Message) -> None:
        if isinstance(message, Ready):
            self._learn(message.problem)
        elif isinstance(message, Heard):
            lease = self._leases.get(message.lease_id)
            if lease is not None and lease.asks == message.asks:
                lease.asks = 0
                lease.is_given_back = not message.holds

    def _learn(self, problem: str) -> None:
        """What the guard lacks; empty: nothing."""
        if problem and not self._problem:
            self._problem_since = self._clock.boottime()
            self._note_unwell(self._problem_since)
        self._problem = problem
        if not problem:
            self._ended_by = ""
            self._unwell_since = None
            level = logging.INFO if self._warned_of else logging.DEBUG
            self._warned_of.clear()
            log_event(_logger, level, LogEvent.GUARD_STATE, works=True, problem=None)

    def _warn_if_it_lasts(self) -> None:
        """Every kind of problem once, when the guard has not done its work for long enough."""
        problem, kind = self._problem, _kind_of(self._problem)
        if not problem or kind in self._warned_of:
            return
        if self._clock.boottime() - self._problem_since >= _PATIENCE_S:
            self._warned_of.add(kind)
            log_event(_logger, logging.WARNING, LogEvent.GUARD_STATE, works=False, problem=problem)


def _kind_of(problem: str) -> str:
    """The code of gRPC, mostly: during one outage the words behind it change again and again."""
    return problem.partition(":")[0]


def _line() -> tuple[socket.socket, socket.socket]:
    """A socket pair: our end, which never blocks, and the guard's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    return ours, theirs


def _pidfds_of(pid: int) -> list[int]:
    """One; none on an old kernel, where it is forbidden, or for who is gone."""
    try:
        return [os.pidfd_open(pid)]
    except (OSError, AttributeError):
        return []


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_GOODBYE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
