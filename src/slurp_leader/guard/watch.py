"""The loop of a guard: waits for packets, deaths and wake-ups, and carries out what `Holdings` decides."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slurp_leader.clock import SystemClock
from slurp_leader.guard.holdings import TICK_S, Holdings, Kill, Revocation
from slurp_leader.guard.messages import LARGEST_PACKET, Hello, Ready, Route, decode, encode

if TYPE_CHECKING:
    from slurp_leader.guard.etcd import Connection

_AGAIN_TICKS = 10
_LONGEST_DEATH_S = 0.5
"""A process that hangs in the kernel does not keep the lease for longer."""


@dataclass(slots=True)
class _Revoking:
    revocation: Revocation
    ticks: int = 0
    tries: int = 0


class Watch:
    """Guards whoever speaks over one socket.

    Args:
        speaker: The guard's end of the socket.
        is_gone: Asked once the watch over a pid has begun: whether that process had ended before, and the number may be
            somebody else's by now.
        on_wake: Called after each wait.
    """

    def __init__(
        self,
        speaker: socket.socket,
        is_gone: Callable[[int], bool] = lambda pid: False,
        on_wake: Callable[[], None] = lambda: None,
    ) -> None:
        speaker.setblocking(False)
        self._speaker = speaker
        self._is_gone = is_gone
        self._on_wake = on_wake
        self._clock = SystemClock()
        self._turned_at = self._clock.boottime()
        self._since_tick_s = 0.0
        self._holdings = Holdings()
        self._connections: dict[Route, Connection] = {}
        self._revoking: dict[int, _Revoking] = {}
        self._pidfds: dict[int, int] = {}  # file descriptor -> pid
        self._poll = select.poll()
        self._poll.register(speaker, select.POLLIN)
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_out, select.POLLIN)
        self._is_closed = False
        self._is_listening = True
        self._said: str | None = None
        self._ticks = 0

    @property
    def wake_fd(self) -> int:
        """A byte written here ends a wait: for signals and for threads of gRPC."""
        return self._wake_in

    @property
    def has_work(self) -> bool:
        """Whether leases are still to be revoked."""
        return bool(self._revoking)

    @property
    def is_over(self) -> bool:
        """Whether nobody is left to be guarded: all said goodbye or died, or all ends of the socket are closed and
        nothing is held."""
        return self._holdings.is_over or (self._is_closed and not self._holdings.leases)

    def _guard(self, pid: int) -> None:
        """Watch for the death of a process."""
        if pid in self._pidfds.values():
            return
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self.died(pid)
            return
        except (OSError, AttributeError):
            return  # an old kernel, or forbidden: the end of the socket and the silence have to do
        if self._is_gone(pid):
            os.close(descriptor)
            self.died(pid)
            return
        self._pidfds[descriptor] = pid
        self._poll.register(descriptor, select.POLLIN)

    def died(self, pid: int) -> None:
        """A process is dead: end what it started, give back what it held."""
        for action in self._holdings.died(pid):
            if isinstance(action, Kill):
                _kill_group(action.group)
            else:
                self._revoke(action)

    def end_of_the_dead(self) -> None:
        """Give back what is held by who has died by now. Who lives may believe in its leases, and keeps them."""
        self._take_packets()
        for descriptor in list(self._pidfds):
            if _is_readable(descriptor):
                self._forget(descriptor)

    def turn(self) -> None:
        """Wait for something to happen, at most one wake-up long, and act."""
        ready = self._poll.poll(TICK_S * 1000)
        now = self._clock.boottime()
        # A gap of any length is one wake-up: who was frozen with the program does not take that for its silence.
        self._since_tick_s += min(now - self._turned_at, TICK_S)
        self._turned_at = now
        for descriptor, _ in ready:
            if descriptor == self._wake_out:
                _empty(self._wake_out)
        # What was said comes first: a packet from before the death or the silence still counts.
        self._take_packets()
        self._on_wake()
        for descriptor, _ in ready:
            if descriptor in self._pidfds:
                self._forget(descriptor)
        for connection in self._connections.values():
            connection.take_answers()
        self._tell()
        if self._since_tick_s >= TICK_S * 0.99:
            self._since_tick_s = 0.0
            self._tick()

    def _tick(self) -> None:
        self._ticks += 1
        for revocation in self._holdings.tick():
            self._revoke(revocation)
        for connection in self._connections.values():
            connection.tick()
        for revoking in list(self._revoking.values()):
            self._go_on(revoking)

    # ------------------------------------------------------------ what is said

    def _take_packets(self) -> None:
        new_pids = []
        while (packet := self._receive()) is not None:
            try:
                message = decode(packet)
            except ValueError:
                continue  # no words of ours
            self._holdings.take(message)
            if isinstance(message, Hello):
                new_pids.append(message.pid)
                self._connection(message.route)
        for pid in new_pids:  # who has died by now said before what it held
            self._guard(pid)
        if self._is_closed and self._is_listening:
            self._stop_listening()

    def _receive(self) -> bytes | None:
        """The next packet; None when there is none at present, or never will be."""
        if self._is_closed:
            return None
        try:
            packet = self._speaker.recv(LARGEST_PACKET)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            packet = b""
        self._is_closed = not packet
        return packet or None

    def _stop_listening(self) -> None:
        """Nobody can speak any more. Who cannot be seen to live by other means is taken for dead."""
        self._is_listening = False
        self._poll.unregister(self._speaker)
        for pid in self._holdings.pids:
            if pid not in self._pidfds.values():
                self.died(pid)

    def _forget(self, descriptor: int) -> None:
        pid = self._pidfds.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        self.died(pid)

    def _tell(self) -> None:
        """Tell the program how etcd is reached, when that has changed."""
        problem = "; ".join(sorted({each.problem for each in self._connections.values() if each.problem}))
        if self._connections and problem != self._said and not self._is_closed:
            self._said = problem
            try:
                self._speaker.send(encode(Ready(problem[:500])))
            except OSError:
                pass  # it listens to somebody else, or has other things to do

    # ------------------------------------------------------------ revoking

    def _connection(self, route: Route) -> Connection:
        if route not in self._connections:
            from slurp_leader.guard.etcd import (
                Connection,
            )  # takes a tenth of a second, in which deaths are noted already

            self._connections[route] = Connection(route, self._wake)
        return self._connections[route]

    def _revoke(self, revocation: Revocation) -> None:
        revoking = _Revoking(revocation)
        self._revoking[revocation.lease_id] = revoking
        self._ask(revoking)

    def _ask(self, revoking: _Revoking) -> None:
        revocation = revoking.revocation
        connection = self._connection(revocation.route)
        connection.revoke(revocation.lease_id, revoking.tries, lambda gone: self._answered(revocation, gone))
        revoking.tries += 1

    def _answered(self, revocation: Revocation, gone: bool) -> None:
        if gone:
            self._revoking.pop(revocation.lease_id, None)

    def _go_on(self, revoking: _Revoking) -> None:
        """Ask the next member, again and again, until the lease has ended by itself."""
        revoking.ticks += 1
        if revoking.ticks * TICK_S > revoking.revocation.ttl_s:
            self._revoking.pop(revoking.revocation.lease_id, None)
        elif revoking.ticks <= _FIRST_TICKS or revoking.ticks % _AGAIN_TICKS == 0:
            self._ask(revoking)

    def _wake(self) -> None:
        try:
            os.write(self._wake_in, b"\0")
        except BlockingIOError:
            pass  # full of wake-ups


_FIRST_TICKS = 3
"""So many members are asked in quick succession, in case the first ones are down."""


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _empty(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def _kill_group(group: int) -> None:
    """Kill a group, and wait a moment until its leader is really gone: the next leader's work begins right after."""
    try:
        leader = os.pidfd_open(group)
    except (OSError, AttributeError):
        leader = -1
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    if leader >= 0:
        gone = select.poll()
        gone.register(leader, select.POLLIN)
        gone.poll(_LONGEST_DEATH_S * 1000)
        os.close(leader)


def ignore(signals: Iterable[signal.Signals]) -> None:
    """Let these pass by: a guard outlives the group it was started in."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
