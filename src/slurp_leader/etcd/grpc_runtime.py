"""gRPC, imported so that the host program may fork.

gRPC ends and begins its threads around every ``os.fork``, also for a child that never uses it. While calls are under
way, and under an election they always are, that aborts or hangs the child now and then ("Mutex::Fer while waiting on
Condition"; 1 of some 40 forks here; with its switch GRPC_ENABLE_FORK_SUPPORT=1 even more). Left alone, gRPC is merely
dead in the child, which is all that a child of ours needs. The switch is read once, by 1.85 while it is imported, by
1.66 with the first channel; so it is set for these two moments. A host that has set it, or has imported gRPC before us,
has decided for itself.

A child in which gRPC is dead must not open a channel: its calls would never end. `in_own_process` says so.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from slurp_leader.errors import LifecycleError
from slurp_leader.forks import free_in_child

_SWITCH = "GRPC_ENABLE_FORK_SUPPORT"


_is_ours_to_choose = "grpc" not in sys.modules and _SWITCH not in os.environ
_lock = free_in_child(threading.Lock())  # guards what follows, and the environment while the switch is set
_owner_pid: int | None = None
"""The process that opened the first channel: the one that has gRPC's threads."""


@contextmanager
def _without_fork_handlers() -> Iterator[None]:
    if not _is_ours_to_choose:
        yield
        return
    os.environ[_SWITCH] = "0"
    try:
        yield
    finally:
        os.environ.pop(_SWITCH, None)


with _without_fork_handlers():
    import grpc

__all__ = ["grpc", "in_own_process"]


def in_own_process(open_channel: Callable[[], grpc.Channel]) -> grpc.Channel:
    """Open a channel, unless gRPC is dead in this process.

    Raises:
        LifecycleError: This process was forked off one that had used gRPC. No channel was opened.
    """
    global _owner_pid
    if _owner_pid not in (None, os.getpid()):
        raise LifecycleError(
            "this process was forked off one that was connected to etcd, and gRPC does not work after such a fork: "
            "connect in a new process (multiprocessing's 'spawn' or 'forkserver'), or fork before the first start"
        )
    with _lock:
        if _owner_pid is not None:
            return open_channel()
        _owner_pid = os.getpid()
        with _without_fork_handlers():
            return open_channel()
