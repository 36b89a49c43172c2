"""Process groups that are to end with a program: what they are called here, and how they are killed.

Who comes in by an inherited door may live in a PID namespace of its own, as in ``slurp guard -- unshare -pf ... slurp
lead -- CMD``. What it calls group 7 is another number here, and group 7 is somebody else's.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence
from pathlib import Path

from slurp_leader.guard.messages import Group

_LONGEST_DEATH_S = 0.5
"""A process that hangs in the kernel does not keep the lease for longer."""


def own_namespace() -> int:
    """The PID namespace in which our numbers are valid; 0: not to be found out."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def number_here(group: Group, descriptors: Sequence[int]) -> int:
    """What this group is called here; 0: nothing that is known for certain, and a number alone is not.

    Where the numbers are ours, so is this one, also when the leader of the group has died before the rest.

    Args:
        group: As the program calls it.
        descriptors: What came with that: the ``pidfd`` of its leader, if there was one.
    """
    if group.namespace and group.namespace == own_namespace():
        return group.group
    return _number_of(descriptors[0]) if group.group > 0 and descriptors else 0


def _number_of(pidfd: int) -> int:
    """The number of this process here; 0: it has none, or is gone, or ``/proc`` shows numbers of another namespace."""
    try:
        if _fields(Path("/proc/self/status"))["NSpid"].split() != [str(os.getpid())]:
            return 0
        return max(0, int(_fields(Path(f"/proc/self/fdinfo/{pidfd}"))["Pid"]))
    except (OSError, KeyError, ValueError):
        return 0


def _fields(file: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


def kill_group(number: int) -> None:
    """Kill a group, and wait a moment until its leader is really gone: the next leader's work begins right after."""
    try:
        leader = os.pidfd_open(number)
    except (OSError, AttributeError):
        leader = -1
    try:
        os.killpg(number, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    if leader >= 0:
        gone = select.poll()
        gone.register(leader, select.POLLIN)
        gone.poll(_LONGEST_DEATH_S * 1000)
        os.close(leader)
