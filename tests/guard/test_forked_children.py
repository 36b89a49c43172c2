"""Guards and programs that fork. Each runs in a process of its own; none of it needs an etcd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_WAIT_S = 60
_SOURCES = Path(__file__).parents[2] / "src"
_PROGRAM = """
import json, os, socket
from pathlib import Path
from slurp_leader.clock import SystemClock
from slurp_leader.guard.client import GuardClient
from slurp_leader.guard.inherited import GUARD_SOCKET, name_of_door
from slurp_leader.guard.messages import LARGEST_PACKET, Route, decode
from slurp_leader.guard.shared import SharedGuard

route = Route(("127.0.0.1:1",))

class Clock(SystemClock):
    ahead_s = 0

    def boottime(self):
        return super().boottime() + self.ahead_s

def tell(*words):
    print(json.dumps(words), flush=True)
"""


def told_by(program: str) -> list[Any]:
    """What this program and its child told, in order."""
    environment = {**os.environ, "PYTHONPATH": str(_SOURCES)}
    arguments = [sys.executable, "-c", _PROGRAM + program]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=_WAIT_S, check=False, env=environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_the_shared_guard_of_a_forked_child_is_its_own_and_that_of_its_parent_goes_on() -> None:
    told = told_by("""
share = SharedGuard(route)
share.hold(1, 60, 0)
first = share.client.guard_pid
child = os.fork()
if child == 0:
    share.release()
    own = SharedGuard(route)
    tell(own.hold(2, 60, 0).value, own.client.guard_pid not in (None, first))
    own.release()
    os._exit(0)
os.waitpid(child, 0)
tell(share.beat(1).value, share.client.guard_pid == first, SharedGuard(route).client is share.client)
""")
    assert told == [["yes", True], ["yes", True, True]]


def test_a_forked_child_starts_no_guard_for_what_its_parent_holds() -> None:
    """It would give the lease back when the child ends. To the child the guard seems to have ended: it is another's
    child. So it would be replaced when its time has come."""
    told = told_by("""
guard = GuardClient(route, clock := Clock())
guard.hold(1, 60, 0)
first = guard.guard_pid
child = os.fork()
if child == 0:
    for clock.ahead_s in (0, 3600):
        tell(guard.beat(1).value, guard.hold(2, 60, 0).value)
        guard.kill_group(1)
    tell(Path(f"/proc/self/task/{os.getpid()}/children").read_text())
    os._exit(0)
os.waitpid(child, 0)
tell(guard.beat(1).value, guard.guard_pid == first)
""")
    assert told == [["nobody", "nobody"], ["nobody", "nobody"], [""], ["yes", True]]


def test_a_forked_child_says_nothing_to_a_guard_that_is_the_parent_of_both() -> None:
    """Its beats would hide that its parent stands still."""
    told = told_by("""
ours, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
os.environ[GUARD_SOCKET] = name_of_door(door)
guard = GuardClient(route)
guard.hold(1, 60, 0)
line = socket.socket(fileno=socket.recv_fds(ours, LARGEST_PACKET, 2)[1][0])
line.setblocking(False)
tell(type(decode(line.recv(LARGEST_PACKET))).__name__)
child = os.fork()
if child == 0:
    tell(guard.beat(1).value, guard.hold(2, 60, 0).value)
    guard.kill_group(1)
    guard.drop(1)
    guard.close()
    os._exit(0)
os.waitpid(child, 0)
try:
    tell(repr(decode(line.recv(LARGEST_PACKET))))
except BlockingIOError:
    tell("nothing")
tell(guard.beat(1).value, type(decode(line.recv(LARGEST_PACKET))).__name__)
""")
    assert told == [["Hold"], ["unheard", "nobody"], ["nothing"], ["yes", "Beat"]]
