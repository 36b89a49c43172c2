"""The crash guard reaches etcd by itself, with all that the adapter can do: certificates, logins, dead members.

It is told of a lease, then nothing more: that is the silence after which it gives the lease back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdBinary, EtcdCluster, EtcdProcess, LocalTls
from slurp_leader.etcd.route import route_of
from slurp_leader.guard.client import GuardClient
from slurp_leader.guard.messages import Told
from slurp_leader.store import EventKind, Grant
from slurp_leader.store.follow import Changes, Follower
from support.calls import Recorder, do, new_lease_id, put

from .conftest import QUICK, Certificates, Servers
from .test_login import PASSWORD, Administrator

pytestmark = pytest.mark.etcd

SILENCE_S = 0.3


@contextmanager
def _followed(store: EtcdStore, prefix: bytes) -> Iterator[Recorder[Any]]:
    seen: Recorder[Any] = Recorder()
    follower = Follower(store, prefix, seen)
    follower.start()
    yield seen
    follower.stop()


def _gives_back(
    options: EtcdOptions,
    observer: EtcdOptions | None = None,
    *,
    silence_s: float = SILENCE_S,
    before: Any = lambda: None,
) -> None:
    """Passes once a guard with these options has revoked a lease, and with it a key."""
    with EtcdStore(observer or options) as store, _followed(store, b"app/") as seen:
        lease_id = new_lease_id()
        do(store, Grant(lease_id, 60))
        put(store, b"app/leader", b"me", lease_id)
        guard = GuardClient(route_of(options))
        before()
        try:
            assert guard.hold(lease_id, 60, silence_s) is Told.YES
            seen.until(
                lambda notice: (
                    isinstance(notice, Changes) and any(event.kind is EventKind.DELETE for event in notice.events)
                )
            )
        finally:
            guard.close()


def test_with_certificates(binary: EtcdBinary, certificates: Certificates, servers: Servers) -> None:
    tls = LocalTls(certificates.pem("server"), certificates.key("server"), certificates.pem("ca"))
    mutual = servers.get(("mutual", binary.version), lambda: EtcdProcess(binary=binary, tls=tls, extra_args=QUICK))
    _gives_back(
        EtcdOptions(
            endpoints=[mutual.endpoint],
            ca_file=certificates.pem("ca"),
            cert_file=certificates.pem("client"),
            key_file=certificates.key("client"),
        )
    )


def test_with_a_user_whose_token_ran_out(binary: EtcdBinary) -> None:
    """Tokens live for a second here, and the guard is silent for longer than that before it needs its own."""
    arguments = (*QUICK, "--auth-token-ttl=1", "--bcrypt-cost=4")
    with EtcdProcess(binary=binary, extra_args=arguments) as etcd, Administrator(etcd.endpoint) as administrator:
        administrator.switch_on()
        options = EtcdOptions(endpoints=[etcd.endpoint], username="app", password=PASSWORD)
        _gives_back(options, silence_s=2.5)


def test_while_the_first_member_is_down(binary: EtcdBinary, servers: Servers) -> None:
    cluster = servers.get(("cluster", binary.version), lambda: EtcdCluster(3, binary=binary))
    cluster.start()
    first, *others = cluster.members
    observer = EtcdOptions(endpoints=[member.endpoint for member in others])
    try:
        _gives_back(EtcdOptions(endpoints=cluster.endpoints), observer, before=first.pause)
    finally:
        first.resume()
