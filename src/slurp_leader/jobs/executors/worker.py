"""One worker process, seen from its parent: how it is started, told, and killed."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from slurp_leader.errors import ConfigurationError
from slurp_leader.jobs.decisions import RunReport
from slurp_leader.jobs.executors.body import Body
from slurp_leader.jobs.executors.port import Launch
from slurp_leader.jobs.executors.wire import Do, Prepare, Stop

_SEND_S = 5
"""How long a worker may take to take what it is told, before it counts as dead."""

_BOOTSTRAP = """\
import sys
sys.path[:] = sys.argv[3:]
from slurp_leader.jobs.executors.child import main
main()
"""


class ProcessTable(Protocol):
    """What is asked of the machine about processes. Never raises."""

    def memory_of(self, pid: int) -> int:
        """Bytes of memory that a process and all that it has started take at present; 0: not known."""
        ...

    def below(self, pid: int) -> list[int]:
        """Processes that it, or one of these, has started."""
        ...


class Worker:
    """A process in a session and group of its own, so that it can be killed with what it has started.

    Raises:
        OSError: It could not be started.
    """

    def __init__(self) -> None:
        self._way, theirs = socket.socketpair()
        try:
            # A worker that stands still must not hold up its parent with what it does not read.
            self._way.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_S, 0))
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, str(os.getpid()), str(theirs.fileno()), *_places()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        except OSError:
            self._way.close()
            raise
        finally:
            theirs.close()
        self._line = Connection(os.dup(self._way.fileno()))
        self.pid = self._process.pid
        self.is_ready = False
        self.is_gone = False
        """Nothing more is heard of it."""
        self.idle_since = 0.0
        self.launch: Launch | None = None
        """What it has been given."""
        self.is_at_work = False
        """Whether the body has begun there."""
        self.is_told = False
        """Whether that has been told to stop."""
        self.kill_at: float | None = None
        self.measure_at = 0.0
        self.verdict: RunReport | None = None
        """What its run came to, once the worker was killed."""
        self.fell = False
        """Whether it ended by itself."""

    def give(self, launch: Launch, measure_at: float) -> None:
        """It has this to do now."""
        self.launch, self.measure_at = launch, measure_at
        self.is_at_work = self.is_told = False

    def take_back(self, now: float) -> None:
        """It has done what it was given."""
        self.launch, self.kill_at, self.idle_since = None, None, now

    def say(self, message: Prepare | Do | Stop) -> bool:
        """Tell it. False: it does not listen."""
        try:
            self._line.send(message)
        except (OSError, ValueError):
            return False
        return True

    def hear(self) -> Any:
        """Wait for what it says next.

        Raises:
            Exception: It says nothing more, or nothing that can be understood.
        """
        return self._line.recv()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, and waits to be reaped: what it has started may hold its way open."""
        if self._process.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True  # somebody else has waited for all children of this process

    def kill(self, table: ProcessTable) -> None:
        """With all that it has started: first its group, then what left the group. Not to be called once it is reaped:
        its number may be another's by then."""
        strays = table.below(self.pid)
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in strays:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with suppress(OSError):
            self._way.shutdown(socket.SHUT_RDWR)

    def reap(self, timeout_s: float) -> int | None:
        """Its exit code, negative for a signal; None: the kernel is not done with it yet."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._way.close()
        return code

    def hang_up(self) -> None:
        """Nobody listens to it any more."""
        self._line.close()


def pickled(body: Body) -> bytes:
    """A body as it is sent to another process.

    Raises:
        ConfigurationError: It cannot be: it is not found by name, or holds what cannot be sent.
    """
    try:
        packed = pickle.dumps(body)
    except Exception as error:
        raise ConfigurationError(
            f"the generator cannot be sent to another process: {error}. Define it at the top of a module (no lambda, "
            "no function within a function), or as an object of such a class that can be pickled; or choose threads",
            field="generator",
        ) from error
    if b"__main__" in packed and not {"init_main_from_name", "init_main_from_path"} & about_this_process().keys():
        raise ConfigurationError(
            "the generator is defined in a program that other processes cannot read (an interactive one, or python -c);"
            " put it into a module",
            field="generator",
        )
    return packed


def how_it_ended(code: int) -> str:
    """An exit code, for people."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name} (from outside, or by the kernel when memory is short)" if code == -signal.SIGKILL else name


def about_this_process() -> dict[str, Any]:
    """What makes names mean the same in a worker as here, the main module's too: what `multiprocessing.spawn.prepare`
    takes. Its own function for that would settle the start method of the whole program."""
    data: dict[str, Any] = {"name": "slurp-job", "sys_path": sys.path.copy(), "sys_argv": sys.argv}
    with suppress(OSError):  # it may have been deleted
        data["dir"] = os.getcwd()
    main = sys.modules["__main__"]
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        data["init_main_from_name"] = spec.name
    elif path is not None:
        data["init_main_from_path"] = str(Path(path).absolute())
    return data


def _places() -> list[str]:
    """Where modules are found, this library's included."""
    return [str(Path(place).absolute()) for place in [*filter(None, sys.path), str(Path(__file__).parents[3])]]
