"""Process groups that end with a program, also where guard and program do not count processes alike.

None of it needs an etcd.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slurp_leader.guard.groups import number_here, own_namespace
from slurp_leader.guard.messages import LARGEST_PACKET, Group, Hello, Message, Ready, Route, decode, encode
from support.waiting import WAIT_S

_SOURCES = Path(__file__).parents[2] / "src"
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(_SOURCES)}
_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]

_IMPORTS = """
import os, signal, subprocess, sys
from slurp_leader.guard.client import GuardClient
from slurp_leader.guard.messages import Route
route = Route(("127.0.0.1:1",))
"""

_INSIDE = f"""{_IMPORTS}
runner = os.fork()
if runner == 0:
    program = subprocess.Popen(["sleep", "1000"], process_group=0)
    guard = GuardClient(route)
    guard.kill_group(program.pid)
    print(program.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
for _ in range(2):
    pid, status = os.wait()
    if pid != runner:
        print(os.WTERMSIG(status), flush=True)
"""

_OUTSIDE = """
import json, os, subprocess, sys
bystanders = [subprocess.Popen(["sleep", "1000"], process_group=0) for _ in range(20)]
ended = subprocess.run(sys.argv[1:], capture_output=True, text=True)
program, number = map(int, ended.stdout.split())
assert program in [each.pid for each in bystanders], "a number of nobody proves nothing"
print(json.dumps([number, [each.poll() for each in bystanders if each.poll() is not None]]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a PID namespace")
def test_a_group_of_another_pid_namespace_is_killed_and_not_the_one_of_that_number_here() -> None:
    guard = [sys.executable, "-c", "import sys; from slurp_leader.guard.parent import main; main(sys.argv[1:])"]
    inner = [*guard, *_NAMESPACE, sys.executable, "-c", _INSIDE]
    ended = subprocess.run(
        [*_NAMESPACE, sys.executable, "-c", _OUTSIDE, *inner],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env=_ENVIRONMENT,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == [signal.SIGKILL, []]


@pytest.mark.parametrize("when", ["before it is told of", "after that"])
def test_a_group_whose_leader_has_ended_is_killed_with_the_rest_of_it(when: str) -> None:
    program = f"""{_IMPORTS}
guard = GuardClient(route)
script = "sleep 1000 > /dev/null & echo $!; read _"
work = subprocess.Popen(["sh", "-c", script], process_group=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(work.stdout.readline().decode(), end="", flush=True)
if {when.startswith("after")}:
    guard.kill_group(work.pid)
work.communicate(b"\\n")
if {when.startswith("before")}:
    guard.kill_group(work.pid)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdin is not None
        left = os.pidfd_open(int(runner.stdout.readline()))
        try:
            runner.stdin.write("\n")
            runner.stdin.flush()
            assert select.select([left], [], [], WAIT_S)[0], "the rest of the group outlives the program"
        finally:
            os.close(left)
            runner.kill()


def test_where_numbers_are_ours_so_is_that_of_a_group() -> None:
    assert number_here(Group(1, 4242, own_namespace()), []) == 4242
    assert number_here(Group(1, 0, own_namespace()), []) == 0


@pytest.mark.parametrize("namespace", [0, 1], ids=["unknown", "another"])
def test_elsewhere_only_a_process_that_has_a_number_here_tells_it(namespace: int) -> None:
    group = Group(1, 4242, namespace)
    process = subprocess.Popen(["sleep", "1000"])
    pidfd = os.pidfd_open(process.pid)
    try:
        assert number_here(group, [pidfd]) == process.pid
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert number_here(group, [pidfd]) == process.pid  # its number is taken as long as nobody has waited for it
        process.wait()
        assert number_here(group, [pidfd]) == 0
        assert number_here(group, []) == 0
        with socket.socket() as no_pidfd:
            assert number_here(group, [no_pidfd.fileno()]) == 0
    finally:
        os.close(pidfd)
        process.kill()
        process.wait()


def test_a_guard_says_that_it_cannot_kill_a_group_as_long_as_that_is_so() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(WAIT_S)
    code = f"from slurp_leader.guard.child import main; main({os.getpid()})"
    with theirs:
        guard = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, env=_ENVIRONMENT)

    def say(message: Message) -> None:
        ours.send(encode(message))

    def until_it_says(*, is_trouble: bool) -> None:
        while True:
            said = decode(ours.recv(LARGEST_PACKET))
            if isinstance(said, Ready) and ("process group" in said.problem) is is_trouble:
                return

    try:
        say(Hello(1, Route(("127.0.0.1:1",))))
        until_it_says(is_trouble=False)
        say(Group(1, 4242, namespace=1))
        until_it_says(is_trouble=True)
        say(Group(1, 0))
        until_it_says(is_trouble=False)
    finally:
        ours.close()
        guard.kill()
        guard.wait()
