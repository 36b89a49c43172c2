"""`EtcdStore`: the `Store` Protocol over a real etcd."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.errors import Outcome, StoreClosedError
from slurp_leader.etcd import bridge
from slurp_leader.etcd.calls import Calls
from slurp_leader.etcd.identity import ClusterIdentity
from slurp_leader.etcd.login import Login
from slurp_leader.etcd.maintenance import EtcdMaintenance
from slurp_leader.etcd.members import Member, Members
from slurp_leader.etcd.options import EtcdOptions
from slurp_leader.etcd.outage import Outage
from slurp_leader.etcd.watch import EtcdWatch, Surroundings
from slurp_leader.store.maintenance import Survey
from slurp_leader.store.port import StoreOutage, Watch, WatchSink
from slurp_leader.store.requests import Request

R = TypeVar("R")


class EtcdStore:
    """A connection to one etcd cluster. Fulfils `slurp_leader.store.Store`.

    Making one sends nothing; the first request connects, and logs in where a user is set. Two stores never share a
    connection. A forked child can use none and make none: gRPC does not work after a fork (see `grpc_runtime`).

    Args:
        options: Where etcd is; None for ``localhost:2379``.
        clock: Where time comes from.

    Raises:
        ConfigurationError: etcd3 is missing or not the one that is needed.
        LifecycleError: This process was forked off one that had connected.
    """

    def __init__(self, options: EtcdOptions | None = None, *, clock: Clock | None = None) -> None:
        chosen = options or EtcdOptions()
        etcd = bridge.load()
        self._set_up(chosen, Members.connect(chosen, etcd), etcd, clock or SystemClock())

    @classmethod
    def from_client(cls, client: Any, options: EtcdOptions | None = None, *, clock: Clock | None = None) -> Self:
        """Use the connection of an `etcd3.Etcd3Client` that the host program has.

        `close` leaves the client open.

        Args:
            client: The client. Its deadline is not used: each call brings its own. If it logged in, its token is used.
            options: Times of the watches; user and password to log in again when the client's token ran out, which
                the client itself cannot do. Endpoints, certificates and the largest answer taken (4 MiB unless it was
                given `grpc_options`) are the client's own.
            clock: Where time comes from.
        """
        store = cls.__new__(cls)
        etcd = bridge.load()
        member = Member(str(getattr(client, "_url", "the host's client")), client.channel, etcd, owns_channel=False)
        token = dict(client.metadata or ()).get("token")
        store._set_up(options or EtcdOptions(), Members([member]), etcd, clock or SystemClock(), token=token)
        return store

    def _set_up(
        self, options: EtcdOptions, members: Members, etcd: bridge.EtcdModules, clock: Clock, token: str | None = None
    ) -> None:
        self._pid = os.getpid()
        self._members = members
        self._login = _login(options, members, etcd, clock, token)
        identity, self._outage = ClusterIdentity(), Outage(clock)
        self._calls = Calls(members, self._login, identity, self._outage, etcd.rpc, clock)
        self.maintenance = EtcdMaintenance(self._calls, members)
        self._around = Surroundings(members, self._login, identity, self._outage, etcd.rpc, options, clock)
        self._lock = threading.Lock()  # guards _watches and _closed
        self._watches: set[EtcdWatch] = set()
        self._closed = False

    @property
    def outage(self) -> StoreOutage | None:
        """Since when no member answers; None while one does. See `slurp_leader.store.port.TellsOutages`."""
        return self._outage.current

    # ------------------------------------------------------------ the Protocol

    def call(self, request: Request[R], timeout_s: float) -> Future[R]:
        """Send one request; see `Store.call`.

        Raises:
            LifecycleError: This process was forked off the one that made the store.
        """
        if isinstance(request, Survey):
            return self.maintenance.survey(timeout_s)  # type: ignore[return-value]
        return self._calls.start(request, timeout_s)

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: WatchSink) -> Watch:
        """Follow the changes of a key or range; see `Store.watch`.

        Raises:
            LifecycleError: This process was forked off the one that made the store.
            StoreClosedError: The store is closed.
        """
        self._calls.refuse_fork()
        watch = EtcdWatch(key, range_end, start_revision, sink, self._around, self._forget)
        with self._lock:
            if self._closed:
                raise StoreClosedError("the store is closed", outcome=Outcome.NOT_APPLIED)
            self._watches.add(watch)
            watch.start()
        return watch

    def close(self) -> None:
        """End all; see `Store.close`. In a forked child it does nothing: the connections are the parent's."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closed = True
            watches = list(self._watches)
        self._calls.close()
        for watch in watches:
            watch.close(StoreClosedError("the store was closed"))
        if self._login is not None:
            self._login.close()
        self._members.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self, watch: EtcdWatch) -> None:
        with self._lock:
            self._watches.discard(watch)


def _login(
    options: EtcdOptions, members: Members, etcd: bridge.EtcdModules, clock: Clock, token: str | None
) -> Login | None:
    if options.username is not None and options.password is not None:
        request = etcd.rpc.AuthenticateRequest(name=options.username, password=options.password.get_secret_value())
    elif token is not None:
        request = None
    else:
        return None
    return Login(members, request, options.login_timeout.total_seconds(), clock, token=token)
