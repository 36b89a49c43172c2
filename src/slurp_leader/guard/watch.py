"""The loop of a guard: waits for packets, deaths and wake-ups, and carries out what `Holdings` decides."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slurp_leader.clock import SystemClock
from slurp_leader.guard.groups import kill_group, number_here
from slurp_leader.guard.holdings import TICK_S, Holdings, Kill, Revocation
from slurp_leader.guard.messages import (
    LARGEST_PACKET,
    Beat,
    Bye,
    Group,
    Heard,
    Hello,
    Message,
    Ready,
    Route,
    decode,
    encode,
)

if TYPE_CHECKING:
    from slurp_leader.guard.etcd import Connection

_AGAIN_TICKS = 10
_MOST_DESCRIPTORS = 8
_NO_SUCH_GROUP = "the process group that is to end with the program has no number in this PID namespace"


@dataclass(slots=True)
class _Revoking:
    revocation: Revocation
    ticks: int = 0
    tries: int = 0


@dataclass(slots=True)
class _Client:
    """A program: how it is spoken to (None: no more), how its death is seen (None: by other means), and what cannot be
    done for it alone."""

    line: int | None
    pidfd: int | None
    pid: int
    problem: str = ""


class Watch:
    """Guards whoever speaks over a socket, or comes in by it.

    Args:
        door: The guard's end of the first socket.
        on_wake: Called after each wait.
    """

    def __init__(self, door: socket.socket, on_wake: Callable[[], None] = lambda: None) -> None:
        self._on_wake = on_wake
        self._clock = SystemClock()
        self._ticked_at = self._clock.boottime()
        self._holdings = Holdings()
        self._connections: dict[Route, Connection] = {}
        self._revoking: dict[int, _Revoking] = {}
        self._clients: dict[int, _Client] = {}
        self._poll = select.poll()
        self._sockets: dict[int, socket.socket] = {}
        self._listen_to(door)
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_out, select.POLLIN)
        self._said: dict[int, str] = {}
        self._refused = ""

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
        """Whether nobody is left to be guarded: all said goodbye or died, or all ends of the sockets are closed and
        nothing is held."""
        return self._holdings.is_over or (not self._sockets and not self._holdings.leases)

    def turn(self) -> None:
        """Wait for something to happen, at most one wake-up long, and act."""
        ready = {descriptor for descriptor, _ in self._poll.poll(TICK_S * 1000)}
        now = self._clock.boottime()
        if self._wake_out in ready:
            _empty(self._wake_out)
        # What was said comes first: a packet from before the death or the silence still counts.
        self._take_packets()
        self._on_wake()
        self._bury(ready)
        for connection in self._connections.values():
            connection.take_answers()
        self._tell()
        # A gap of any length is one wake-up: who was frozen with the program does not take that for its silence.
        if now - self._ticked_at >= TICK_S * 0.99:
            self._ticked_at = now
            self._tick()

    def _tick(self) -> None:
        self._perform(self._holdings.tick())
        for connection in self._connections.values():
            connection.tick()
        for revoking in list(self._revoking.values()):
            self._go_on(revoking)

    # ------------------------------------------------------------ deaths

    def reaped(self, pid: int) -> None:
        """A process of ours is dead. Matters where its end cannot be watched; else the number may be another one's."""
        for who, client in list(self._clients.items()):
            if client.pid == pid and client.pidfd is None:
                self._died(who)

    def all_died(self) -> None:
        """Whoever spoke here is dead."""
        self._take_packets()
        for who in self._holdings.clients:
            self._died(who)

    def end_of_the_dead(self) -> None:
        """Give back what is held by who has died by now. Who lives may believe in its leases, and keeps them."""
        self._take_packets()
        self._bury({client.pidfd for client in self._clients.values()})

    def _bury(self, ready: Container[int | None]) -> None:
        for who, client in list(self._clients.items()):
            # Looked at once more: the number may have been another one's when it was found ready.
            if client.pidfd is not None and client.pidfd in ready and _is_readable(client.pidfd):
                self._died(who)

    def _died(self, who: int) -> None:
        """A program is dead: end what it started, give back what it held."""
        self._forget(who)
        self._perform(self._holdings.died(who))

    def _perform(self, actions: Iterable[Kill | Revocation]) -> None:
        for action in actions:
            if isinstance(action, Kill):
                kill_group(action.group)
            else:
                self._revoke(action)

    def _forget(self, who: int) -> None:
        client = self._clients.pop(who, None)
        if client is not None and client.pidfd is not None:
            self._poll.unregister(client.pidfd)
            os.close(client.pidfd)

    # ------------------------------------------------------------ what is said

    def _listen_to(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._sockets[line.fileno()] = line
        self._poll.register(line, select.POLLIN)

    def _take_packets(self) -> None:
        done: set[int] = set()
        while new := [line for line in self._sockets if line not in done]:  # who comes in has said something already
            for line in new:
                done.add(line)
                while (received := self._receive(line)) is not None:
                    try:
                        self._take(line, *received)
                    except Exception as error:  # such as a route that gRPC refuses: no end for whom else we guard
                        self._refused = repr(error)

    def _take(self, line: int, packet: bytes, descriptors: list[int]) -> None:
        try:
            message = decode(packet)
        except ValueError:
            message = None  # no words of ours
        if isinstance(message, Hello):
            self._meet(line, message, descriptors)
        else:
            try:
                if isinstance(message, Group):
                    message = self._as_called_here(message, descriptors)
            finally:
                _close(descriptors)
        if message is not None:
            self._holdings.take(message)
        if isinstance(message, Beat) and message.asks:
            holds = self._holdings.holds(message.who, message.lease_id)
            self._say(message.who, Heard(message.lease_id, message.asks, holds))
        elif isinstance(message, Bye):
            self._forget(message.who)

    def _meet(self, line: int, hello: Hello, descriptors: list[int]) -> None:
        """Somebody introduces himself, for the first time or by another socket than before."""
        pidfd = None
        for descriptor in descriptors:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                self._listen_to(socket.socket(fileno=descriptor))
                line = descriptor
            elif pidfd is None:
                pidfd = descriptor
            else:
                os.close(descriptor)
        self._forget(hello.who)
        if pidfd is not None:
            self._poll.register(pidfd, select.POLLIN)
        self._clients[hello.who] = _Client(line, pidfd, hello.pid)
        self._said.pop(line, None)
        self._connection(hello.route)

    def _as_called_here(self, group: Group, descriptors: list[int]) -> Group:
        number = number_here(group, descriptors)
        client = self._clients.get(group.who)
        if client is not None:
            client.problem = _NO_SUCH_GROUP if group.group and not number else ""
        return replace(group, group=number)

    def _receive(self, line: int) -> tuple[bytes, list[int]] | None:
        """The next packet, and the descriptors in it; None when there is none at present, or never will be."""
        if line not in self._sockets:
            return None
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._sockets[line], LARGEST_PACKET, _MOST_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            packet, descriptors = b"", []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        if packet:
            return packet, descriptors
        _close(descriptors)
        self._close_line(line)
        return None

    def _close_line(self, line: int) -> None:
        """Nobody speaks there any more. Who cannot be seen to live by other means is taken for dead."""
        self._poll.unregister(line)
        self._sockets.pop(line).close()
        self._said.pop(line, None)
        for who, client in list(self._clients.items()):
            if client.line == line:
                client.line = None
                if client.pidfd is None:
                    self._died(who)

    def _tell(self) -> None:
        """Tell the programs what keeps us from our work, when that has changed: mostly how etcd is reached."""
        problems = {each.problem for each in self._connections.values()} | {self._refused}
        for who, client in self._clients.items():
            problem = "; ".join(sorted((problems | {client.problem}) - {""}))
            if client.line is not None and self._said.get(client.line) != problem:
                self._said[client.line] = problem
                self._say(who, Ready(problem[:500]))

    def _say(self, who: int, message: Message) -> None:
        client = self._clients.get(who)
        if client is not None and client.line is not None:
            with suppress(OSError):  # it has other things to do than to listen
                self._sockets[client.line].send(encode(message))

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


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


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


def ignore(signals: Iterable[signal.Signals]) -> None:
    """Let these pass by: a guard outlives the group it was started in."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
