"""A real etcd on this machine, for development and tests: one member, or a small cluster.

::

    with EtcdProcess() as etcd:
        store = EtcdStore(EtcdOptions(endpoints=[etcd.endpoint]))

It listens on loopback only, takes free ports, checks that the listener is the very process it started, has a quota and
auto-compaction switched on, and ends with its parent. Never start one silently in place of an etcd that was configured.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from slurp_leader.clock import SystemClock
from slurp_leader.errors import ConfigurationError, LifecycleError, StoreUnavailableError
from slurp_leader.etcd.binary import EtcdBinary, find_all, find_etcd
from slurp_leader.etcd.ports import LOOPBACK, free_ports, is_listener
from slurp_leader.etcd.spawn import spawn

__all__ = ["EtcdBinary", "EtcdCluster", "EtcdProcess", "LocalTls", "find_all", "find_etcd"]

DEFAULT_QUOTA_BYTES = 2 * 1024**3
START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
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
class _Ports:
    client: int
    peer: int
    metrics: int

    @classmethod
    def free(cls, client: int | None = None) -> _Ports:
        picked = free_ports(3)
        return cls(client or picked[0], picked[1], picked[2])


class EtcdProcess:
    """One etcd member as a child process. Not for use from several threads at once, except `pid` and `endpoint`.

    Args:
        data_dir: Where data and log are kept. None: a temporary folder, deleted by `close`.
        binary: Which etcd to run; None: `find_etcd()`.
        quota_bytes: Size of the database at which etcd refuses writes (NOSPACE).
        extra_args: More arguments of etcd, such as ``("--auth-token-ttl=3",)``.
        client_port: Port for clients; None: a free one, the same after every restart.
        tls: Serve clients over TLS.
        name: Name of the member; None: a unique one.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        binary: EtcdBinary | None = None,
        quota_bytes: int = DEFAULT_QUOTA_BYTES,
        extra_args: Sequence[str] = (),
        client_port: int | None = None,
        tls: LocalTls | None = None,
        name: str | None = None,
    ) -> None:
        self.binary = binary or find_etcd()
        self.name = name or f"local-{uuid.uuid4().hex[:12]}"
        self._temporary = tempfile.TemporaryDirectory(prefix="slurp-etcd-") if data_dir is None else None
        self.data_dir = Path(self._temporary.name) if self._temporary else Path(data_dir or "")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._database = self.data_dir / "member-data"
        self._is_new = not self._database.exists()
        self._quota_bytes = quota_bytes
        self._extra_args = tuple(extra_args)
        self._client_port = client_port
        self._tls = tls
        self._ports: _Ports | None = None  # fixed by the first start that worked
        self._initial_cluster: str | None = None  # of several members; None: alone
        self._process: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------ what it is

    @property
    def endpoint(self) -> str:
        """``"127.0.0.1:port"`` for clients."""
        return f"{LOOPBACK}:{self._known_ports().client}"

    @property
    def pid(self) -> int:
        """Process id of the running member."""
        if not self.is_running():
            raise LifecycleError("this etcd is not running")
        assert self._process is not None
        return self._process.pid

    @property
    def log_file(self) -> Path:
        """What etcd wrote, over all its starts."""
        return self.data_dir / "etcd.log"

    def is_running(self) -> bool:
        """Whether the process exists (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self) -> str:
        """The last lines of the log; empty when there is none."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])

    # ------------------------------------------------------------ its life

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Start it and wait until it serves.

        Raises:
            ConfigurationError: The client port asked for is taken by somebody else.
            StoreUnavailableError: It did not come up; shows the end of its log. Nothing is left running.
        """
        if self.is_running():
            raise LifecycleError("this etcd runs already")
        _start_together([self], timeout_s)
        return self

    def stop(self) -> None:
        """End it in order (SIGTERM), by force after 5 s. Keeps the data: `start` goes on from there. Safe twice."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL). Keeps the data. Safe twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Stop it if it runs, then start it again on the same ports and data."""
        self.stop()
        return self.start(timeout_s)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers. Returns when the last of its threads stands."""
        os.kill(self.pid, signal.SIGSTOP)
        # An end is left for `Popen` to find.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and delete the data, if the folder was its own. Safe twice."""
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            return self if self.is_running() else self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ inside

    def _known_ports(self) -> _Ports:
        if self._ports is None:
            raise LifecycleError("this etcd was never started, so it has no ports yet")
        return self._ports

    def _forget_ports(self) -> None:
        """After a first start that failed: what a neighbour's taken port left half-founded must not be found again."""
        self._ports = None
        if self._is_new:
            shutil.rmtree(self._database, ignore_errors=True)

    def _peer_url(self) -> str:
        return f"http://{LOOPBACK}:{self._known_ports().peer}"

    def _launch(self) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_") or k == "ETCD_UNSUPPORTED_ARCH"}
        self._process = spawn(self._command(), log=self.log_file, env=env)

    def _command(self) -> list[str]:
        ports = self._known_ports()
        client_url = f"{'https' if self._tls else 'http'}://{LOOPBACK}:{ports.client}"
        command = [
            str(self.binary.path),
            f"--name={self.name}",
            f"--data-dir={self._database}",
            f"--listen-client-urls={client_url}",
            f"--advertise-client-urls={client_url}",
            f"--listen-peer-urls={self._peer_url()}",
            f"--initial-advertise-peer-urls={self._peer_url()}",
            f"--listen-metrics-urls=http://{LOOPBACK}:{ports.metrics}",
            f"--initial-cluster={self._initial_cluster or f'{self.name}={self._peer_url()}'}",
            "--initial-cluster-state=new",
            f"--quota-backend-bytes={self._quota_bytes}",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1h",
            "--logger=zap",
            "--log-level=warn",
        ]
        if self._tls:
            command += [f"--cert-file={self._tls.cert_file}", f"--key-file={self._tls.key_file}"]
            if self._tls.client_ca_file:
                command += ["--client-cert-auth", f"--trusted-ca-file={self._tls.client_ca_file}"]
        return [*command, *self._extra_args]

    def _serves(self) -> bool:
        """Whether our own process listens on its ports and knows a raft leader."""
        ports = self._known_ports()
        if not self.is_running():
            return False
        if not (is_listener(self.pid, ports.client) and is_listener(self.pid, ports.metrics)):
            return False
        return "\netcd_server_has_leader 1\n" in _fetch_metrics(ports.metrics)

    def _start_error(self, timeout_s: float) -> StoreUnavailableError:
        state = f"did not serve within {timeout_s:g} s" if self.is_running() else "exited at start"
        binary = f"etcd {self.binary.version} ({self.binary.path})"
        return StoreUnavailableError(f"{binary} {state}; its log ends:\n{self.log_tail()}")

    def _port_was_taken(self, log_from: int) -> bool:
        with self.log_file.open("rb") as log:
            log.seek(log_from)
            return b"address already in use" in log.read()


class EtcdCluster:
    """Several members that form one cluster.

    Args:
        size: How many members, odd.
        binary: Which etcd to run; None: `find_etcd()`.
        extra_args: More arguments of etcd, for every member.
    """

    def __init__(self, size: int = 3, *, binary: EtcdBinary | None = None, extra_args: Sequence[str] = ()) -> None:
        chosen = binary or find_etcd()
        token = f"--initial-cluster-token={uuid.uuid4().hex}"
        self.members = tuple(
            EtcdProcess(binary=chosen, extra_args=(token, *extra_args), name=f"member-{number}")
            for number in range(1, size + 1)
        )

    @property
    def endpoints(self) -> list[str]:
        """Client endpoints, in the order of `members`."""
        return [member.endpoint for member in self.members]

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Start every member that does not run, and wait until all of them know a leader.

        Raises:
            StoreUnavailableError: One did not come up; shows the end of its log.
        """
        _start_together([member for member in self.members if not member.is_running()], timeout_s)
        return self

    def stop(self) -> None:
        """Stop every member; keeps the data. Safe twice."""
        for member in self.members:
            member.stop()

    def close(self) -> None:
        """Stop every member and delete the data. Safe twice."""
        for member in self.members:
            member.kill()  # in order would wait for peers that are gone; nothing is to be kept
            member.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# ---------------------------------------------------------------- starting


def _start_together(members: Sequence[EtcdProcess], timeout_s: float) -> None:
    """Start these members; on other ports when one was taken between choosing and binding it."""
    fresh = [member for member in members if member._ports is None]
    for attempts_left in reversed(range(_PORT_ATTEMPTS)):
        _choose_ports(fresh)
        try:
            _launch_and_wait(members, fresh, timeout_s)
        except _PortTakenError as taken:
            if fresh and attempts_left and taken.member._client_port is None:
                continue
            raise ConfigurationError(
                f"a port of etcd {taken.member.name} is taken by another process"
                f" (client port asked for: {taken.member._client_port}); choose another `client_port`"
            ) from None
        return


def _choose_ports(fresh: Sequence[EtcdProcess]) -> None:
    for member in fresh:
        member._ports = _Ports.free(member._client_port)
    if len(fresh) > 1:
        peers = ",".join(f"{member.name}={member._peer_url()}" for member in fresh)
        for member in fresh:
            member._initial_cluster = peers


def _launch_and_wait(members: Sequence[EtcdProcess], fresh: Sequence[EtcdProcess], timeout_s: float) -> None:
    """All of them serve afterwards, or none of them runs and the fresh ones have forgotten their ports."""
    log_from = {member.name: _size(member.log_file) for member in members}
    clock = SystemClock()
    give_up_at = clock.boottime() + timeout_s
    try:
        for member in members:
            member._launch()
        for member in members:
            while not member._serves():
                exited = not member.is_running()  # asked first: an exited member has written its last line
                if member._port_was_taken(log_from[member.name]):
                    raise _PortTakenError(member)
                if exited or clock.boottime() > give_up_at:
                    raise member._start_error(timeout_s)
                threading.Event().wait(_POLL_S)
    except BaseException:
        for member in members:
            member.kill()
        for member in fresh:
            member._forget_ports()
        raise


class _PortTakenError(Exception):
    def __init__(self, member: EtcdProcess) -> None:
        super().__init__(member.name)
        self.member = member


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _fetch_metrics(port: int) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1.0)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):  # not up yet
        return ""
    finally:
        connection.close()
