"""Forked children whose parent has threads that hold locks: whatever they call comes back."""

from __future__ import annotations

import pytest

from support.forking import run

FREED = {
    "a lock": "lock = free_in_child(threading.Lock())",
    "a re-entrant lock": "lock = free_in_child(threading.RLock())",
    "a condition": "lock = free_in_child(threading.Condition())",
    "a condition on a plain lock": "lock = free_in_child(threading.Condition(threading.Lock()))",
    "an event": "event = free_in_child(threading.Event()); lock = event._cond",
}

HELD = {
    "the runtime of gRPC": """
from slurp_leader.etcd import grpc_runtime
locks = [grpc_runtime._lock]

def check():
    assert grpc_runtime.in_own_process(lambda: "a channel") == "a channel"
""",
    "the loader of etcd3": """
from slurp_leader.etcd import bridge
known = bridge.load()
locks = [bridge._loading]

def check():
    assert bridge.load() == known
""",
    "what starts an etcd": """
from pathlib import Path
from slurp_leader.etcd.spawn import _Spawner, spawn
locks = [_Spawner._lock]

def check():
    assert spawn([sys.executable, "-c", "pass"], log=Path(os.devnull), env={}).wait(20) == 0
""",
    "a generator": """
import pickle
from slurp_leader import ContextGenerationRequest, FileContextGenerator
made = FileContextGenerator(os.getcwd(), git=False)
sent = pickle.loads(pickle.dumps(made))
request = ContextGenerationRequest(file_path="a.py")
locks = [made._lock, sent._lock]

def check():
    assert made.content_hash(request) == sent.content_hash(request) is not None
""",
    "a meter": """
from slurp_leader.clock import SystemClock
from slurp_leader.resources import MachineMeter
meter = MachineMeter(SystemClock())
locks = [meter._lock]

def check():
    assert meter.sample().cpu is None
""",
    "a breaker": """
from slurp_leader.resilience import BreakerOptions, CircuitBreaker
told = []
breaker = CircuitBreaker("x", BreakerOptions(minimum_calls=1), listener=told.append)
locks = [breaker._lock, breaker._telling]

def check():
    refuses(ZeroDivisionError, lambda: breaker.call(lambda: 1 / 0))
    assert len(told) == 1 and breaker.snapshot().failures == 1
""",
    "the context of a job": """
from slurp_leader.clock import SystemClock
from slurp_leader.jobs.context import JobContext, RunFacts
told = []
job = JobContext(RunFacts(1, "a", 1, 1, 1, 1, 600.0, longest_extension_s=10.0), SystemClock(), told.append)
locks = [job._lock, job._stop._cond]

def check():
    assert job.extend(5) == 5
    assert not job.wait(0.01)
    job.progress(0.5)
    assert len(told) == 2
""",
    "the way from a worker process": """
from multiprocessing import Pipe
from slurp_leader.jobs.executors.child import _Line
from slurp_leader.jobs.executors.wire import Ready
theirs, ours = Pipe()
line = _Line(ours, os.getppid())
locks = [line._lock]

def check():
    line.say(Ready())
    assert isinstance(theirs.recv(), Ready)
""",
}
"""By what holds locks: a program that makes it, names the locks, and checks in a child what it does there."""


@pytest.mark.parametrize("what", FREED)
def test_a_forked_child_finds_it_free_although_a_thread_held_it(what: str) -> None:
    ended = run(f"""
from slurp_leader.forks import free_in_child
{FREED[what]}

def check():
    with lock:
        pass

with held(lock):
    code = code_of_child(check)
assert code == 0, code
""")
    assert ended.returncode == 0, ended


@pytest.mark.parametrize("what", ["RLock", "Condition"])
def test_what_forks_while_it_holds_one_holds_it_in_the_child(what: str) -> None:
    ended = run(f"""
from slurp_leader.forks import free_in_child
lock = free_in_child(threading.{what}())

def check():
    lock.release()
    refuses(RuntimeError, lock.release)

with lock:
    code = code_of_child(check)
assert code == 0, code
""")
    assert ended.returncode == 0, ended


def test_a_lock_goes_with_what_it_guards() -> None:
    ended = run("""
import gc, weakref
from slurp_leader.forks import free_in_child
kept = [weakref.ref(free_in_child(each())) for each in (threading.Lock, threading.Condition)]
gc.collect()
assert not any(each() for each in kept)
""")
    assert ended.returncode == 0, ended


@pytest.mark.parametrize("what", HELD)
def test_a_forked_child_is_held_up_by_no_lock_of(what: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "a.py").write_text("def a(): ...\n")
    ended = run(f"""
os.chdir({str(folder)!r})

def end():
    pass

{HELD[what]}

with held(*locks):
    code = code_of_child(check)
assert code == 0, code
end()
""")
    assert ended.returncode == 0, ended


def test_a_child_that_a_listener_of_a_breaker_has_forked_goes_on() -> None:
    ended = run("""
from slurp_leader.resilience import BreakerOptions, CircuitBreaker
children = []
breaker = CircuitBreaker("x", BreakerOptions(minimum_calls=1), listener=lambda change: children.append(os.fork()))

def fail():
    raise ValueError

try:
    breaker.call(fail)
except BaseException as error:
    if children == [0]:
        os._exit(7 if isinstance(error, ValueError) else 8)
assert exit_code_of(*children) == 7
""")
    assert ended.returncode == 0, ended
