"""Three members of etcd that a test may kill, stop, or cut off from each other."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol, Self

from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdBinary, EtcdCluster, EtcdProcess
from slurp_leader.etcd.ports import LOOPBACK
from slurp_leader.store import Status
from support.calls import do

_CHUNK = 65536


class Relay:
    """A relay of TCP connections that can be cut, as a cable is: nothing passes, and nobody is told.

    What was on its way arrives when it is mended, if the two ends are still there.

    Args:
        target: Tells the port of loopback to connect to; asked for each connection.
    """

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()  # guards all below
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._start(self._accept)

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        """End all connections. Safe twice."""
        with self._lock:
            self._closed = True
            sockets, threads = list(self._sockets), list(self._threads)
        for each in (self._listener, *sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes who waits for it; closing alone does not
            each.close()
        self._whole.set()
        for thread in threads:
            thread.join()

    def _start(self, what: Callable[[], None]) -> None:
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=what, name="test-relay", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                if self._keep(near):
                    self._start(partial(self._connect, near))

    def _connect(self, near: socket.socket) -> None:
        self._whole.wait()
        far = socket.socket()
        if not self._keep(far):
            return
        try:
            far.connect((LOOPBACK, self._target()))
        except OSError:  # nobody listens there
            self._drop(near, far)
        else:
            self._start(partial(self._pump, far, near))
            self._pump(near, far)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK):
                self._whole.wait()
                sink.sendall(chunk)
            self._whole.wait()
        self._drop(source, sink)

    def _keep(self, each: socket.socket) -> bool:
        with self._lock:
            if not self._closed:
                self._sockets.add(each)
                return True
        each.close()
        return False

    def _drop(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with self._lock:
            self._sockets.difference_update(sockets)


class Trio(EtcdCluster):
    """Three members that talk to each other through relays. Clients reach every one of them all the time."""

    def __init__(self, binary: EtcdBinary) -> None:
        names = [f"member-{number}" for number in (1, 2, 3)]
        self._relays = {name: Relay(partial(self._peer_port, number)) for number, name in enumerate(names)}
        urls = {name: f"http://{LOOPBACK}:{relay.port}" for name, relay in self._relays.items()}
        together = (
            f"--initial-cluster-token={uuid.uuid4().hex}",
            f"--initial-cluster={','.join(f'{name}={url}' for name, url in urls.items())}",
        )
        self.members = tuple(
            EtcdProcess(binary=binary, name=name, extra_args=(*together, f"--initial-advertise-peer-urls={url}"))
            for name, url in urls.items()
        )

    def _peer_port(self, number: int) -> int:
        return self.members[number]._server.ports.peer

    def cut(self) -> None:
        """No member hears of another one from here on."""
        for relay in self._relays.values():
            relay.cut()

    def repair(self) -> None:
        """Undo whatever a test did."""
        for relay in self._relays.values():
            relay.mend()
        for member in self.members:
            if member.is_running():
                member.resume()
        self.start()

    def close(self) -> None:
        super().close()
        for relay in self._relays.values():
            relay.close()


class Cable:
    """What connects one program to the members: relays, cut and mended together."""

    def __init__(self, cluster: EtcdCluster) -> None:
        self._relays = [Relay(partial(_client_port, member)) for member in cluster.members]

    @property
    def endpoints(self) -> list[str]:
        """The members as they are reached over it, in their order."""
        return [f"{LOOPBACK}:{relay.port}" for relay in self._relays]

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Cut inside, mended after it."""
        for relay in self._relays:
            relay.cut()
        try:
            yield
        finally:
            for relay in self._relays:
                relay.mend()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for relay in self._relays:
            relay.close()


def _client_port(member: EtcdProcess) -> int:
    return int(member.endpoint.rpartition(":")[2])


class Reached(Protocol):
    """A member, however it runs."""

    @property
    def endpoint(self) -> str: ...


def leads_etcd(member: Reached) -> bool:
    """Whether this member leads etcd."""
    with EtcdStore(EtcdOptions(endpoints=[member.endpoint])) as alone:
        status = do(alone, Status())
    return status.leader_member_id == status.header.member_id


def etcd_leader(cluster: EtcdCluster) -> EtcdProcess:
    """The member that leads etcd."""
    return next(filter(leads_etcd, cluster.members))


def followers(cluster: EtcdCluster) -> list[EtcdProcess]:
    """The others."""
    leader = etcd_leader(cluster)
    return [member for member in cluster.members if member is not leader]


def lose(member: EtcdProcess, how: str) -> None:
    """Kill it, or stop it, so that it answers no more but is still there."""
    member.kill() if how == "killed" else member.pause()
