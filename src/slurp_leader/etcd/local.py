"""A real etcd on this machine, for development and tests: one member, or a small cluster.

::

    with EtcdProcess() as etcd:
        store = EtcdStore(EtcdOptions(endpoints=[etcd.endpoint]))

It listens on loopback only, takes free ports, checks that the listener is the very process it started, has a quota and
auto-compaction switched on, and ends with its parent. Never start one silently in place of an etcd that was configured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from slurp_leader.errors import LifecycleError
from slurp_leader.etcd.binary import EtcdBinary, find_all, find_etcd
from slurp_leader.etcd.ports import LOOPBACK
from slurp_leader.etcd.server import LocalTls, Server, ServerPlan, start_together
from slurp_leader.store.maintenance import DEFAULT_QUOTA_BYTES

__all__ = ["EtcdBinary", "EtcdCluster", "EtcdProcess", "LocalTls", "find_all", "find_etcd"]

START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0


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
        folder = self.data_dir.resolve()
        plan = ServerPlan(self.binary, self.name, folder, quota_bytes, tuple(extra_args), client_port, tls)
        self._server = Server(plan)

    # ------------------------------------------------------------ what it is

    @property
    def endpoint(self) -> str:
        """``"127.0.0.1:port"`` for clients."""
        return f"{LOOPBACK}:{self._server.ports.client}"

    @property
    def pid(self) -> int:
        """Process id of the running member."""
        if self._server.process is None or not self.is_running():
            raise LifecycleError("this etcd is not running")
        return self._server.process.pid

    @property
    def log_file(self) -> Path:
        """What etcd wrote, over all its starts."""
        return self._server.plan.log_file

    def is_running(self) -> bool:
        """Whether the process exists (a paused one does)."""
        return self._server.is_running()

    def log_tail(self) -> str:
        """The last lines of the log; empty when there is none."""
        return self._server.log_tail()

    # ------------------------------------------------------------ its life

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Start it and wait until it serves.

        Raises:
            ConfigurationError: The client port asked for is taken by somebody else.
            StoreUnavailableError: It did not come up; shows the end of its log. Nothing is left running.
        """
        if self.is_running():
            raise LifecycleError("this etcd runs already")
        start_together([self._server], timeout_s)
        return self

    def stop(self) -> None:
        """End it in order (SIGTERM), by force after 5 s. Keeps the data: `start` goes on from there. Safe twice."""
        process = self._server.process
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
        self._server.kill()

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
        start_together([member._server for member in self.members if not member.is_running()], timeout_s)
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
