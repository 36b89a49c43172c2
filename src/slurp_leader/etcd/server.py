"""One etcd server process: its command line, its ports, and the proof that it serves.

`EtcdProcess` and `EtcdCluster` in `local` are what others use; this is what they have in common.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slurp_leader.clock import SystemClock
from slurp_leader.errors import ConfigurationError, LifecycleError, StoreUnavailableError
from slurp_leader.etcd.binary import EtcdBinary
from slurp_leader.etcd.ports import LOOPBACK, free_ports, is_listener
from slurp_leader.etcd.spawn import spawn

_POLL_S = 0.02
_PORT_ATTEMPTS = 5
_LOG_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class LocalTls:
    """Certificates of the member. With `client_ca_file`, clients must show a certificate signed by it (mTLS)."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """What a server is to be, before it has ports. `folder` takes data and log; `client_port` None: any free one."""

    binary: EtcdBinary
    name: str
    folder: Path
    quota_bytes: int
    extra_args: tuple[str, ...] = ()
    client_port: int | None = None
    tls: LocalTls | None = None

    @property
    def database(self) -> Path:
        return self.folder / "member-data"

    @property
    def log_file(self) -> Path:
        return self.folder / "etcd.log"


@dataclass(frozen=True, slots=True)
class ServerPorts:
    """The three ports of a server, all on loopback."""

    client: int
    peer: int
    metrics: int

    @property
    def peer_url(self) -> str:
        return f"http://{LOOPBACK}:{self.peer}"


def command(plan: ServerPlan, ports: ServerPorts, peers: str) -> list[str]:
    """The command line of etcd.

    Args:
        plan: What it is to be.
        ports: Where it listens.
        peers: All members as etcd wants them: ``name=url,name=url``.
    """
    client_url = f"{'https' if plan.tls else 'http'}://{LOOPBACK}:{ports.client}"
    arguments = [
        str(plan.binary.path),
        f"--name={plan.name}",
        f"--data-dir={plan.database}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={ports.peer_url}",
        f"--initial-advertise-peer-urls={ports.peer_url}",
        f"--listen-metrics-urls=http://{LOOPBACK}:{ports.metrics}",
        f"--initial-cluster={peers}",
        "--initial-cluster-state=new",
        f"--quota-backend-bytes={plan.quota_bytes}",
        # Off by default in etcd: the history would grow until the quota stops all writes.
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--logger=zap",
        "--log-level=warn",
    ]
    if plan.tls:
        arguments += [f"--cert-file={plan.tls.cert_file}", f"--key-file={plan.tls.key_file}"]
        if plan.tls.client_ca_file:
            arguments += ["--client-cert-auth", f"--trusted-ca-file={plan.tls.client_ca_file}"]
    return [*arguments, *plan.extra_args]


class Server:
    """A server process that can be started again. Its ports are fixed by the first start that works."""

    def __init__(self, plan: ServerPlan) -> None:
        self.plan = plan
        self._is_new = not plan.database.exists()
        self._ports: ServerPorts | None = None
        self._peers = ""
        self._log_from = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def ports(self) -> ServerPorts:
        if self._ports is None:
            raise LifecycleError("this etcd was never started, so it has no ports yet")
        return self._ports

    @property
    def has_ports(self) -> bool:
        return self._ports is not None

    def is_running(self) -> bool:
        """Whether the process exists (a paused one does)."""
        return self.process is not None and self.process.poll() is None

    def choose_ports(self) -> None:
        client, peer, metrics = free_ports(3)
        self._ports = ServerPorts(self.plan.client_port or client, peer, metrics)

    def set_peers(self, peers: str) -> None:
        self._peers = peers

    def forget_ports(self) -> None:
        """After a first start that failed: what was half founded because of a neighbour's taken port must not be found
        again."""
        self._ports = None
        if self._is_new:
            shutil.rmtree(self.plan.database, ignore_errors=True)

    def launch(self) -> None:
        # Variables named ETCD_* are flags to etcd, and contradict ours.
        env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_") or k == "ETCD_UNSUPPORTED_ARCH"}
        log = self.plan.log_file
        self._log_from = log.stat().st_size if log.exists() else 0
        self.process = spawn(command(self.plan, self.ports, self._peers), log=log, env=env)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def serves(self) -> bool:
        """Whether this very process listens on its ports and knows a raft leader."""
        if self.process is None or self.process.poll() is not None:
            return False
        if not all(is_listener(self.process.pid, port) for port in (self.ports.client, self.ports.metrics)):
            return False
        return "\netcd_server_has_leader 1\n" in _fetch_metrics(self.ports.metrics)

    def port_was_taken(self) -> bool:
        """Whether the newest start failed for that."""
        with self.plan.log_file.open("rb") as log:
            log.seek(self._log_from)
            return b"address already in use" in log.read()

    def log_tail(self) -> str:
        """The last lines of the log; empty when there is none."""
        if not self.plan.log_file.exists():
            return ""
        return "\n".join(self.plan.log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


def start_together(servers: Sequence[Server], timeout_s: float) -> None:
    """Start servers that form one cluster, or that join theirs again.

    When a port was taken between choosing and binding it, all that never ran try other ports.

    Raises:
        ConfigurationError: The client port asked for is taken, or ports keep being taken.
        StoreUnavailableError: One did not come up. None of them is left running.
    """
    fresh = [server for server in servers if not server.has_ports]
    for attempts_left in reversed(range(_PORT_ATTEMPTS)):
        _choose_ports(fresh)
        try:
            _launch_and_wait(servers, fresh, timeout_s)
        except _PortTakenError as taken:
            plan = taken.server.plan
            if fresh and attempts_left and plan.client_port is None:
                continue
            asked = f" (port {plan.client_port} was asked for)" if plan.client_port else ""
            raise ConfigurationError(
                f"a port of etcd {plan.name} is taken by another process{asked}; choose another port"
            ) from None
        return


def _choose_ports(fresh: Sequence[Server]) -> None:
    for server in fresh:
        server.choose_ports()
    peers = ",".join(f"{server.plan.name}={server.ports.peer_url}" for server in fresh)
    for server in fresh:
        server.set_peers(peers)


def _launch_and_wait(servers: Sequence[Server], fresh: Sequence[Server], timeout_s: float) -> None:
    """All of them serve afterwards, or none of them runs and the fresh ones have forgotten their ports."""
    clock = SystemClock()
    give_up_at = clock.boottime() + timeout_s
    try:
        for server in servers:
            server.launch()
        for server in servers:
            while not server.serves():
                exited = not server.is_running()  # asked first: an exited server has written its last line
                if server.port_was_taken():
                    raise _PortTakenError(server)
                if exited or clock.boottime() > give_up_at:
                    raise _start_error(server, timeout_s, exited=exited)
                threading.Event().wait(_POLL_S)
    except BaseException:
        for server in servers:
            server.kill()
        for server in fresh:
            server.forget_ports()
        raise


class _PortTakenError(Exception):
    def __init__(self, server: Server) -> None:
        super().__init__(server.plan.name)
        self.server = server


def _start_error(server: Server, timeout_s: float, *, exited: bool) -> StoreUnavailableError:
    state = "exited at start" if exited else f"did not serve within {timeout_s:g} s"
    binary = server.plan.binary
    return StoreUnavailableError(f"etcd {binary.version} ({binary.path}) {state}; its log ends:\n{server.log_tail()}")


def _fetch_metrics(port: int) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1.0)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):  # not up yet
        return ""
    finally:
        connection.close()
