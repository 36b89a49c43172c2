"""Programs that fork while a system runs, and programs that end without a stop. Each runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

pytestmark = pytest.mark.etcd

_WAIT_S = 60
_PROGRAM = """
import os, sys, threading
from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.errors import LifecycleError

settings = SlurpSettings(
    etcd={"endpoints": [sys.argv[1]]}, node={"id": "a", "cluster_id": sys.argv[2]}, election={"lease_ttl": 3}
)
system = SlurpLeaderSystem(settings, generator=lambda request, job: None)
system.start()
assert system.wait_for_leadership(30)
term = system.term
assert system.request_context_generation("a.py", 30).success

def in_child(check):
    pid = os.fork()
    if pid == 0:
        try:
            check()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    # The parent was not disturbed.
    assert system.wait_for_leadership(30)
    assert system.request_context_generation("b.py", 30).success
"""


def run(endpoint: str, cluster: str, program: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GRPC_VERBOSITY": "NONE"}  # gRPC tells of every fork
    arguments = [sys.executable, "-c", _PROGRAM + program, endpoint, cluster]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=_WAIT_S, check=False, env=environment)


@pytest.fixture
def program(etcd_endpoint: str, request: pytest.FixtureRequest) -> Any:
    return lambda text: run(etcd_endpoint, request.node.name.replace("_", "-")[:60], text)


def test_a_forked_child_does_not_lead_although_its_parent_does(program: Any) -> None:
    ended = program("""
election = LeaderElection("reports", settings)
election.start()
assert election.wait_for_leadership(30)

def check():
    assert not election.is_leader and election.leader is None
    assert election.stop()
    assert not system.is_leader and system.term is None
    assert not term.is_valid and term.should_stop and term.remaining_s() == 0
    assert not system.health()["live"] and not system.status()["running"]
    try:
        system.submit("c.py")
    except LifecycleError as error:
        assert "parent" in str(error), error
    else:
        raise AssertionError("the child submitted over the connection of its parent")
    assert system.stop()

in_child(check)
assert election.wait_for_leadership(30)
assert election.stop() and system.stop()
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.skipif(
    tuple(int(part) for part in version("grpcio").split(".")[:2]) < (1, 70),
    reason="gRPC 1.66 was seen to crash in a forked child that connects anew; there, spawn instead of forking",
)
def test_a_forked_child_may_start_anew(program: Any) -> None:
    ended = program("""
def check():
    system.start()  # the parent leads, and does the work
    assert system.request_context_generation("c.py", 30).success
    assert system.stop()

in_child(check)
assert system.stop()
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_worker_of_multiprocessing_ends_and_leaves_the_parent_alone(program: Any) -> None:
    ended = program("""
import multiprocessing

def work(answers):
    answers.put(system.is_leader)

forked = multiprocessing.get_context("fork")
answers = forked.SimpleQueue()
worker = forked.Process(target=work, args=(answers,))
worker.start()
worker.join(30)
assert worker.exitcode == 0, worker.exitcode
assert answers.get() is False
assert system.wait_for_leadership(30)
assert system.stop()
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize(("end", "code"), [("", 0), ("sys.exit(3)", 3)])
def test_a_program_that_forgets_to_stop_ends_at_once_and_without_a_word(
    etcd_endpoint: str, end: str, code: int
) -> None:
    ended = run(etcd_endpoint, f"forgets-{code}-{len(end)}", end)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")
