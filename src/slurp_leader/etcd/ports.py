"""Free ports on loopback, and the proof of who listens on one."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

_FIRST, _LAST = 20_000, 32_000
"""Below the range from which Linux takes the source ports of outgoing connections (32768 and up). In that range a
client that dials a stopped etcd again and again can be given the very port it dials, and so connect to itself."""


def free_ports(count: int) -> tuple[int, ...]:
    """Ports on which nothing listens right now. Another process may still take one: check the listener afterwards."""
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            candidate = socket.socket()
            try:
                candidate.bind((LOOPBACK, random.randrange(_FIRST, _LAST)))
            except OSError:
                candidate.close()
                continue
            held.append(candidate)
        return tuple(sock.getsockname()[1] for sock in held)
    finally:
        for sock in held:
            sock.close()


def is_free(port: int) -> bool:
    """Whether nothing listens on that port of loopback right now. Another process may still take it."""
    with socket.socket() as candidate:
        # As etcd does: connections that ended a moment ago do not keep a port, a listener does.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def is_listener(pid: int, port: int) -> bool:
    """Whether exactly this process listens on that TCP port.

    Where there is no ``/proc`` this cannot be known and the answer is True: there, a taken port shows only by etcd
    exiting at start.
    """
    if not Path("/proc/self/net/tcp").exists():
        return True
    return not _listening_inodes(port).isdisjoint(_socket_inodes(pid))


def _listening_inodes(port: int) -> set[str]:
    inodes: set[str] = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:  # IPv6 switched off
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: LISTEN
                inodes.add(fields[9])
    return inodes


def _socket_inodes(pid: int) -> set[str]:
    inodes: set[str] = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(entry.path)
            except FileNotFoundError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                inodes.add(target[len("socket:[") : -1])
    # The process has ended. Until it is waited for, everybody but root is told that he may not look.
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return set()
    return inodes
