"""Starts and ends what a case needs: an etcd of its own, nodes as real processes, and the observer."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from failover_cases.observer import CLUSTER, EFFECTS, ELECTION, Observer
from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.etcd.local import EtcdCluster, EtcdProcess

_UP_S = 60.0
_ANSWER_S = 60.0
_GUARDS_END_S = 3.0


class NodeLine:
    """One process under test, and the pipes to it.

    Args:
        name: Its node id.
        plan: What `node.py` is told.
        bytecode: Where compiled modules are kept, as they are of an installed package.
        prefix: A command that runs it, such as a guard.
    """

    def __init__(self, name: str, plan: dict[str, Any], bytecode: str, prefix: Sequence[str] = ()) -> None:
        self.name = name
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        command = [*prefix, sys.executable, str(Path(__file__).with_name("node.py")), json.dumps(plan)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.is_wrapped = bool(prefix)
        self.pid = self.process.pid
        """Of the node itself."""
        self.guards: dict[int, int] = {}
        """Pidfds of its guards, by pid."""

    def wait_until_up(self) -> None:
        """Wait for its first line, and find out its pid."""
        self.answer()
        if self.is_wrapped:
            self.pid = next(pid for pid in descendants(self.process.pid) if _is_node(_command_of(pid)))

    def ask(self, *question: Any) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        self.tell(*question)
        return self.answer()

    def tell(self, *question: Any) -> None:
        """Send a command; the answer stays to be read."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the oldest command that has none."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], _ANSWER_S)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError(f"{self.name} did not answer (exit code {self.process.poll()})")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def note_guards(self) -> None:
        """Remember the guards it has now, so that their end can be waited for."""
        for pid in descendants(self.pid):
            if "slurp_leader.guard" in " ".join(_command_of(pid)) and pid not in self.guards:
                try:
                    self.guards[pid] = os.pidfd_open(pid)
                except ProcessLookupError:
                    pass

    def kill(self) -> float:
        """SIGKILL, and the time when kill(2) had returned."""
        os.kill(self.pid, signal.SIGKILL)
        return time.monotonic()

    def end(self) -> None:
        """End it, however it stands. Safe twice."""
        if self.process.poll() is None:
            self.note_guards()
            for pid in (self.pid, self.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass

    def end_guards(self, until: float) -> None:
        """Let its guards end by themselves, by force when they have not until then."""
        for descriptor in self.guards.values():
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        self.guards.clear()


class Bench:
    """One etcd, some nodes and the observer, for one case.

    Args:
        election: Settings of the election that differ from the defaults.
        jobs: Settings of the jobs that differ.
        kind: ``"election"`` or ``"system"``.
        watched: Whether nodes look at their own belief and write effects all the time.
        members: How many members etcd has.
        prefix: A command that runs each node.
        follow_jobs: Whether the observer follows claims and outcomes.
    """

    def __init__(
        self,
        kind: str = "election",
        *,
        election: dict[str, Any] | None = None,
        jobs: dict[str, Any] | None = None,
        watched: bool = False,
        members: int = 1,
        prefix: Sequence[str] = (),
        follow_jobs: bool = True,
    ) -> None:
        self.kind = kind
        self._election = {"name": ELECTION, **(election or {})}
        self._jobs = jobs or {}
        self._watched = watched
        self._prefix = prefix
        self._follow_jobs = follow_jobs
        self._number = 0
        self._lines: list[NodeLine] = []
        """All that were ever started: their guards may live a little longer."""
        self.nodes: dict[str, NodeLine] = {}
        self.cluster = EtcdCluster(members) if members > 1 else None
        self.etcd = EtcdProcess() if members == 1 else None
        self._client: SlurpLeaderSystem | None = None
        self._began = False
        self._bytecode = tempfile.TemporaryDirectory(prefix="slurp-bench-")

    def __enter__(self) -> Self:
        try:
            for each in (self.cluster, self.etcd):
                if each is not None:
                    each.start()
            self.observer = Observer(self.endpoints, jobs=self._follow_jobs)
            self._began = True
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._client is not None:
            self._client.stop()
        for line in self._lines:
            line.end()
        until = time.monotonic() + _GUARDS_END_S
        for line in self._lines:
            line.end_guards(until)
        if self._began:
            self.observer.close()
        for each in (self.cluster, self.etcd):
            if each is not None:
                each.close()
        self._bytecode.cleanup()

    @property
    def endpoints(self) -> list[str]:
        """Of etcd."""
        if self.cluster is not None:
            return self.cluster.endpoints
        assert self.etcd is not None
        return [self.etcd.endpoint]

    def settings(self, name: str) -> dict[str, Any]:
        """Settings of one process, as plain data."""
        return {
            "etcd": {"endpoints": self.endpoints},
            "node": {"id": name, "cluster_id": CLUSTER},
            "election": self._election,
            "jobs": self._jobs,
        }

    @property
    def client(self) -> SlurpLeaderSystem:
        """A client in this process, to submit jobs with."""
        if self._client is None:
            self._client = SlurpLeaderSystem(SlurpSettings.model_validate(self.settings("client")), candidate=False)
            self._client.start()
        return self._client

    # ------------------------------------------------------------ nodes

    def add_nodes(self, count: int) -> list[NodeLine]:
        """Start nodes and wait until each has a session and somebody leads."""
        new = []
        for _ in range(count):
            self._number += 1
            name = f"n{self._number}"
            effects = f"{EFFECTS.decode()}{name}/"
            plan = {"kind": self.kind, "settings": self.settings(name), "watched": self._watched, "effects": effects}
            line = NodeLine(name, plan, self._bytecode.name, self._prefix)
            self._lines.append(line)
            self.nodes[name] = line
            new.append(line)
        for line in new:
            line.wait_until_up()
            self.observer.until(partial(self.observer.has_joined, line.name), _UP_S, f"a session of {line.name}")
            line.note_guards()
        self.observer.until(self.observer.proven_leader, _UP_S, "a leader")
        return new

    def add_submitter(self, rate: float, metadata: dict[str, Any]) -> NodeLine:
        """Start a process that submits jobs when it is told to ``go``."""
        plan = {"kind": "submitter", "settings": self.settings("submitter"), "rate": rate, "metadata": metadata}
        line = NodeLine("submitter", plan, self._bytecode.name)
        self._lines.append(line)
        line.wait_until_up()
        return line

    def leader(self) -> tuple[NodeLine, int]:
        """The node that leads, and its token. Waits until it has proved it."""
        seen = self.observer.until(self.observer.proven_leader, _UP_S, "a leader that sends heartbeats")
        return self.nodes[seen.record["node"]], seen.revision

    def replace(self, line: NodeLine) -> None:
        """End this node, which may be dead already, and start another one."""
        line.end()
        self.nodes.pop(line.name, None)
        self.add_nodes(1)


def descendants(pid: int) -> list[int]:
    """Children, their children, and so on."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _is_node(command: list[str]) -> bool:
    """Whether this is the node, not one of the programs around it, which have it among their arguments."""
    return len(command) > 1 and command[1].endswith("node.py")


def _command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []
