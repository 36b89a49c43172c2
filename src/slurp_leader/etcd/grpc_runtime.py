"""gRPC, imported so that the host program may fork.

gRPC ends and begins its threads around every ``os.fork``, also for a child that never uses it. While calls are under
way, and under an election they always are, that aborts or hangs the child now and then ("Mutex::Fer while waiting on
Condition"; 1 of some 40 forks here; with its switch GRPC_ENABLE_FORK_SUPPORT=1 even more). Left alone, gRPC is merely
dead in the child, which is all that a child of ours needs. The switch is read once, while gRPC is imported, so it is
set for that moment. A host that has set it, or has imported gRPC before us, has decided for itself.

A child in which gRPC is dead must not open a channel: its calls would never end. `claim_for_this_process` says so.
"""

from __future__ import annotations

import os
import sys

from slurp_leader.errors import LifecycleError

_SWITCH = "GRPC_ENABLE_FORK_SUPPORT"


def _import_without_fork_handlers() -> None:
    if "grpc" in sys.modules or _SWITCH in os.environ:
        return
    os.environ[_SWITCH] = "0"
    try:
        import grpc  # noqa: F401
    finally:
        del os.environ[_SWITCH]


_import_without_fork_handlers()

import grpc  # noqa: E402 - above it was imported in the right way, if it was for us to choose

__all__ = ["claim_for_this_process", "grpc"]

_owner_pid: int | None = None
"""The process that opened the first channel: the one that has gRPC's threads."""


def claim_for_this_process() -> None:
    """Call before a channel is opened.

    Raises:
        LifecycleError: This process was forked off one that had used gRPC. No channel was opened.
    """
    global _owner_pid
    if _owner_pid is None:
        _owner_pid = os.getpid()
    elif _owner_pid != os.getpid():
        raise LifecycleError(
            "this process was forked off one that was connected to etcd, and gRPC does not work after such a fork: "
            "connect in a new process (multiprocessing's 'spawn' or 'forkserver'), or fork before the first start"
        )
