"""Programs that fork while a system runs, and programs that end without a stop. Each runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from support import forking
from support.waiting import WAIT_S

pytestmark = pytest.mark.etcd

_PROGRAM = """
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
    assert code_of_child(check) == 0
    # The parent was not disturbed.
    assert system.wait_for_leadership(30)
    assert system.request_context_generation("b.py", 30).success
"""


def run(endpoint: str, cluster: str, program: str) -> subprocess.CompletedProcess[str]:
    return forking.run(_PROGRAM + program, endpoint, cluster)


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
    assert term.lost.wait() and term.wait(3600)
    assert not system.health()["live"] and not system.status()["running"]
    for call in (lambda: system.submit("c.py"), election.require_term, election.transfer, election.control.unfreeze):
        try:
            call()
        except LifecycleError as error:
            assert "parent" in str(error) and "start() it" not in str(error), error
        else:
            raise AssertionError("the child used the connection of its parent")
    assert system.stop()

in_child(check)
assert election.wait_for_leadership(30)
assert election.stop() and system.stop()
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_forked_child_holds_none_of_many_elections_and_nothing_of_an_observer(program: Any) -> None:
    ended = program("""
import asyncio
from slurp_leader import Elections, LeaderObserver

async def all_of(changes):
    return [change async for change in changes]

elections, leader = Elections(settings), LeaderObserver("reports", settings)
reports = elections.add("reports")
elections.add("mail")
elections.start()
leader.start()
changes = leader.observe()
assert all(elections[name].wait_for_leadership(30) for name in elections)
tokens = {name: elections[name].require_term().token for name in elections}

def check():
    assert not any(elections[name].is_leader for name in elections)
    assert not elections.health()["live"] and list(changes) == []
    assert asyncio.run(asyncio.wait_for(all_of(changes), 20)) == []
    for call in (leader.get, lambda: leader.get(fresh=True), elections.start, leader.start):
        try:
            call()
        except LifecycleError as error:
            assert "forked" in str(error), error
        else:
            raise AssertionError(f"{call} worked in a child")
    assert elections.stop() and leader.stop()

in_child(check)
assert {name: elections[name].require_term().token for name in elections} == tokens
assert leader.wait(30).token == tokens["reports"]
assert elections.stop() and leader.stop() and system.stop()
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_no_lock_of_the_parent_holds_up_a_forked_child(program: Any) -> None:
    ended = program("""
from slurp_leader import Elections, MemoryFence
from slurp_leader.guard.client import GuardClient
from slurp_leader.guard.messages import Route, Told
from slurp_leader.guard.shared import _lock as sharing
from slurp_leader.resilience import CircuitBreaker

elections, fence, breaker, guard = Elections(settings), MemoryFence(), CircuitBreaker("x"), GuardClient(Route(()))
reports = elections.add("reports")
elections.start()
assert reports.wait_for_leadership(30)
changes = reports.observe()
locks = [
    elections._lock, elections._lifecycle, reports._lifecycle, reports._listeners._lock, reports._checks._wake,
    reports._hooks._lock, changes._arrived, fence._lock, breaker._lock, breaker._telling, guard._lock, sharing,
]

def check():
    assert not elections.health()["live"] and not reports.health()["live"]
    assert elections["reports"] is reports and list(elections) == ["reports"]
    reports.subscribe(print)()
    reports.add_health_check("disk", bool)
    changes.close()
    fence.admit(1, "a")
    assert breaker.call(lambda: "well") == "well"
    assert guard.beat(1) is Told.NOBODY
    for face in (elections, reports):
        try:
            face.start()
        except LifecycleError as error:
            assert "forked" in str(error) or "many" in str(error), error
        else:
            raise AssertionError(f"{face} started in a child")

with held(*locks):
    code = code_of_child(check)
assert code == 0, code
assert elections.stop() and system.stop()
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_forked_child_has_the_results_that_were_there_and_waits_for_no_other(program: Any) -> None:
    ended = program("""
ended, waiting = system.submit("c.py"), system.submit("d.py", delay=3600)
assert ended.result(30).success
locks = [ended._future._condition, waiting._future._condition, waiting._access._outcomes._lock, waiting._access._lock]

def check():
    assert ended.result().success and ended.result(1).success
    waits = waiting.result, lambda: waiting.result(60), waiting.outcome
    new = lambda: system.request_context_generation("e.py")
    refuses(LifecycleError, *waits, new, waiting.status, waiting.cancel, ended.report, saying="parent")

with held(*locks):
    code = code_of_child(check)
assert code == 0, code
assert waiting.cancel(wait=30).value == "cancelled"
assert system.stop()
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_forked_child_may_lead_if_its_parent_has_not_connected(
    etcd_endpoint: str, request: pytest.FixtureRequest
) -> None:
    ended = forking.run(
        """
from slurp_leader import LeaderElection, SlurpSettings
from slurp_leader.etcd import bridge, grpc_runtime
from slurp_leader.guard.shared import _lock as sharing
etcd, node = {"endpoints": [sys.argv[1]]}, {"id": "a", "cluster_id": sys.argv[2]}
election = LeaderElection("reports", SlurpSettings(etcd=etcd, node=node, election={"lease_ttl": 3}))
bridge.load()
leads = threading.Event()
election.on_leading(leads.set)
locks = [
    bridge._loading, grpc_runtime._lock, sharing, election._lifecycle, election._listeners._lock, election._hooks._lock,
    election._checks._wake,
]

def check():
    with election:
        assert election.wait_for_leadership(30) and leads.wait(30)
        assert election.health()["live"]
    assert not election.is_leader

with held(*locks):
    code = code_of_child(check)
assert code == 0, code
""",
        etcd_endpoint,
        request.node.name.replace("_", "-")[:60],
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_forked_child_that_starts_is_told_how_to_get_a_process_that_can(program: Any) -> None:
    ended = program("""
def check():
    for face in (system, LeaderElection("reports", settings)):
        try:
            face.start()
        except LifecycleError as error:
            assert "spawn" in str(error), error
        else:
            raise AssertionError(f"{face} started in a child, where its calls would never end")
        assert face.stop()

in_child(check)
assert system.stop()
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_many_forked_children_all_end_well_and_grpc_begins_no_threads_in_them(program: Any) -> None:
    ended = program("""
for _ in range(20):
    system.submit("between.py").result(30)
    held, release = os.pipe()
    children = []
    for _ in range(20):
        children.append(os.fork())
        if children[-1] == 0:
            os.close(release)
            os.read(held, 1)  # lives until all its siblings do
            os._exit(len(os.listdir("/proc/self/task")) - 1)  # threads that gRPC began are what aborts it
    os.close(release)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(codes), codes
    os.close(held)
os._exit(0)
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("chosen", [None, "1"])
def test_the_fork_switch_of_grpc_is_left_as_the_host_has_it(chosen: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "GRPC_ENABLE_FORK_SUPPORT"}
    if chosen is not None:
        environment["GRPC_ENABLE_FORK_SUPPORT"] = chosen
    code = """
import os
from slurp_leader.etcd import EtcdStore
EtcdStore().close()
print(os.environ.get("GRPC_ENABLE_FORK_SUPPORT"))
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert printed.stdout.strip() == str(chosen)


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
