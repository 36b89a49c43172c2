"""What the demo runs on: one etcd and several node processes, in a temporary folder that goes with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from slurp_leader.clock import SystemClock
from slurp_leader.errors import SlurpLeaderError
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.etcd.spawn import spawn
from slurp_leader.settings import without_settings

_STOP_TIMEOUT_S = 6.0
_POLL_S = 0.02
_TAIL_LINES = 12


class NodeProcess:
    """One node: a fresh interpreter in a process group of its own. It is killed when this process ends.

    The process is not reaped before `close`. Until then its id cannot be given to anybody else, so a signal sent to
    it, or to its group, cannot hit a stranger.
    """

    def __init__(self, name: str, endpoint: str, root: Path, log: Path) -> None:
        self.name = name
        self.log = log
        self.was_killed = False
        # -P: whatever lies in the current folder, such as another repository, is not imported from.
        command = [sys.executable, "-P", "-m", "slurp_leader.demo.node", endpoint, name, str(root)]
        self._process: subprocess.Popen[bytes] = spawn(command, log=log, env=without_settings(os.environ))

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        """Whether the process is over, by whatever cause."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        """``kill -9``: no goodbye, no cleanup, nothing written down."""
        self.was_killed = True
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end in order."""
        if not self.has_ended():
            os.kill(self.pid, signal.SIGTERM)

    def close(self) -> None:
        """End it now, with all that it started. Safe twice."""
        if self._process.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def tail(self) -> str:
        """The last lines that it wrote."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_TAIL_LINES:])


class Stage:
    """A running etcd, and the nodes that were started on it."""

    def __init__(self, etcd: EtcdProcess, folder: Path, closing: ExitStack) -> None:
        self.etcd = etcd
        self.nodes: list[NodeProcess] = []
        self._folder = folder
        self._closing = closing

    def add_node(self, name: str, root: Path) -> NodeProcess:
        """Start one node. Returns at once."""
        node = NodeProcess(name, self.etcd.endpoint, root, self._folder / f"{name}.log")
        self._closing.callback(node.close)
        self.nodes.append(node)
        return node

    def failure(self) -> str | None:
        """What is broken that nobody broke on purpose, with the end of its log; None when all is well."""
        if not self.etcd.is_running():
            return f"etcd ended by itself; its log ends:\n{self.etcd.log_tail()}"
        for node in self.nodes:
            if node.has_ended() and not node.was_killed:
                return f"{node.name} (pid {node.pid}) ended by itself; its log ends:\n{node.tail()}"
        return None

    def logs(self) -> str:
        """The end of the log of each node."""
        return "\n".join(f"--- {node.name} (pid {node.pid})\n{node.tail()}" for node in self.nodes)

    def stop_nodes(self, aborted: Callable[[], bool]) -> None:
        """Ask all nodes to end, and wait until they have: a while, and not when aborted. The rest is killed."""
        clock = SystemClock()
        give_up_at = clock.boottime() + _STOP_TIMEOUT_S
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            while not node.has_ended() and not aborted() and clock.boottime() < give_up_at:
                threading.Event().wait(_POLL_S)
            node.close()


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Start etcd in a temporary folder. Afterwards no process and no file of the demo is left, whatever happened.

    Raises:
        ConfigurationError: There is no etcd on this machine; says how to get one.
        StoreUnavailableError: etcd did not start; shows the end of its log.
    """
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="slurp-demo-")))
        etcd = EtcdProcess(folder / "etcd")
        closing.callback(etcd.close)
        yield Stage(etcd.start(), folder, closing)


class DemoError(SlurpLeaderError):
    """The demo could not be played to its end."""
