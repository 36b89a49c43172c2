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
    watch = Watch(socket.socket(fileno=descriptor))
    is_orphan = False
    while watch.has_work or not (watch.is_over or is_orphan):
        watch.turn()
        # Mostly its pidfd tells first. Not where there are none, or when it died before it could hand one over.
        if not is_orphan and os.getppid() not in (parent, 0):  # 0: it is in another PID namespace than its children
            is_orphan = True
            watch.all_died()
    os._exit(0)  # gRPC's threads would be waited for
