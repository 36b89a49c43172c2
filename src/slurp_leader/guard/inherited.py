"""What a program finds in its environment when a guard is its parent, or when it is run as the leader's work; and what
a guard that is its child does not find there.

No settings: these tell what the parent has, and mean nothing in a file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

GUARD_SOCKET = "SLURP_GUARD_FD"
"""The socket to the guard, as `name_of_door` writes it (``slurp guard -- CMD``)."""

TOKEN = "SLURP_TOKEN"
"""Fencing token of the term in which a program was started (``slurp lead --name N -- CMD``)."""

EPOCH = "SLURP_EPOCH"
"""The epoch of that term, for people."""


def name_of_door(door: socket.socket) -> str:
    """What tells a program of this socket: number and inode, as a number alone may be another one's by then."""
    return f"{door.fileno()}:{os.fstat(door.fileno()).st_ino}"


def guard_door(environ: Mapping[str, str] | None = None) -> socket.socket | None:
    """A socket of our own to the door of the guard that is our parent; None when there is none.

    The variable may come without the socket: most ways to start a process close all but the standard streams.

    Raises:
        OSError: There is one, and too many files are open.
    """
    number, _, inode = (os.environ if environ is None else environ).get(GUARD_SOCKET, "").partition(":")
    try:
        if os.fstat(int(number)).st_ino != int(inode):
            return None
    except (OSError, ValueError, OverflowError):
        return None
    door = socket.socket(fileno=os.dup(int(number)))
    if (door.family, door.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET):
        return door
    door.close()
    return None


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a guard: of our settings it is told over the socket, and some of them are secrets."""
    return {name: value for name, value in environ.items() if not name.startswith(("SLURP_", "BZZZ_"))}
