"""The guard as a child of the program: an interpreter of its own, started by `client`, never forked off."""

from __future__ import annotations

import os
import signal
import socket

from slurp_leader.guard.watch import Watch, ignore


def main(parent: int, descriptor: int = 0) -> None:
    """Guard the process that started this one, until it has died or said goodbye.

    Args:
        parent: Its pid.
        descriptor: The end of the socket.
    """
    ignore((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE))
    # Who is not our parent any more when the watch has begun had died before.
    watch = Watch(socket.socket(fileno=descriptor), is_gone=lambda pid: pid == parent and os.getppid() != parent)
    while not watch.is_over or watch.has_work:
        watch.turn()
    os._exit(0)  # gRPC's threads would be waited for
