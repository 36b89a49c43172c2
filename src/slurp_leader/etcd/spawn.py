"""Child processes that cannot outlive this one.

Linux kills a child when its parent *thread* ends, if the child asked for that (``PR_SET_PDEATHSIG``). Two consequences:

* All children are started by one thread that lives as long as this process; otherwise an etcd started by a short
  worker thread would be killed as soon as that worker returns.
* The child has to ask before it becomes etcd. A small Python program does that and then replaces itself (same pid). A
  `preexec_fn` would run Python between fork and exec, which may deadlock in a process that has threads.

Elsewhere than on Linux a child stays behind when its parent dies without stopping it.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from slurp_leader.forks import free_in_child

_Start = Callable[[], subprocess.Popen[bytes]]

_LAUNCHER = """\
import os, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program that is killed when this process ends, however it ends.

    Args:
        command: Absolute path of the program, then its arguments.
        log: Takes its output; appended to.
        env: Its whole environment.

    Raises:
        OSError: It could not be started.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                launcher,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                # Its own group: Ctrl-C at a terminal reaches this process, which then stops the child in order.
                start_new_session=True,
            )

    return _Spawner.of_this_process().run(start)


class _Spawner:
    """The one thread that is the parent of every child."""

    _lock = free_in_child(threading.Lock())  # guards _current
    _current: _Spawner | None = None

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._tasks: queue.SimpleQueue[tuple[_Start, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="slurp-etcd-spawner", daemon=True).start()

    @classmethod
    def of_this_process(cls) -> _Spawner:
        with cls._lock:
            # A forked child has the object but not its thread.
            if cls._current is None or cls._current._pid != os.getpid():
                cls._current = cls()
            return cls._current

    def run(self, start: _Start) -> subprocess.Popen[bytes]:
        future: Future[subprocess.Popen[bytes]] = Future()
        self._tasks.put((start, future))
        return future.result()

    def _work(self) -> None:
        while True:
            start, future = self._tasks.get()
            try:
                future.set_result(start())
            except BaseException as error:  # handed to the caller, who raises it
                future.set_exception(error)
            del start, future
