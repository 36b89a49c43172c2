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
    "an event that is set": "event = set_in_child(threading.Event()); lock = event._cond",
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
    line.say(Ready())  # it would stand in the middle of what a thread of the parent is saying
    assert not theirs.poll(0)
""",
    "a term": """
from slurp_leader.clock import SystemClock
from slurp_leader.term import Term
term = Term("jobs", 7, 1, "a", "session", "term", b"leader", b"{}", SystemClock())
term.trust.until = float("inf")
locks = [term.lost._cond, term.leaving._cond]

def check():
    assert term.wait(1e9) and term.lost.wait() and term.leaving.wait()
    assert not term.is_valid
""",
    "an election": """
from slurp_leader.clock import SystemClock
from slurp_leader.election import Election, ElectionOptions, Identity
from slurp_leader.errors import NoLeaderError
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
store = MemoryStore()
store.faults.stall()  # nobody leads yet
election = Election(store, Keyspace("forks"), ElectionOptions(), Identity("a", ""), clock=SystemClock())
election.start()
locks = [election._changed]

def check():
    assert election.has_ended and not election.wait_for_leadership()
    refuses(NoLeaderError, election.wait_for_leader)
    election.add_owner("work")
    election.remove_owner("work")
    election.subscribe(print)()
    assert election.stop()

def end():
    store.faults.resume()
    assert election.wait_for_leadership(30) and not election.has_ended
    assert election.stop()
    store.close()
""",
    "an observer": """
from slurp_leader.clock import SystemClock
from slurp_leader.election import ElectionKeys
from slurp_leader.election.observing.observer import Observer
from slurp_leader.errors import NoLeaderError
from slurp_leader.store.keyspace import Keyspace
observer = Observer(ElectionKeys.of(Keyspace("forks"), "jobs"), SystemClock())
locks = [observer._changed]

def check():
    assert observer.sighting is None and not observer.wait_until_known()
    refuses(NoLeaderError, observer.wait_for_leader)
    assert list(observer.observe()) == []
    observer.subscribe(print)()
    observer.close()
""",
    "a store in memory": """
from slurp_leader.errors import LifecycleError
from slurp_leader.store import Get
from slurp_leader.store.memory import MemoryStore
store = MemoryStore()
watch = store.watch(b"k", None, 0, print)
locks = [store._lock, store.faults._lock, watch._delivering]

def check():
    calls = lambda: store.call(Get(b"k"), 5.0), lambda: store.watch(b"k", None, 0, print)
    refuses(LifecycleError, *calls, saying="parent")
    store.compact()
    store.faults.clear()
    watch.cancel()
    store.close()

def end():
    assert store.call(Get(b"k"), 30.0).result().count == 0
    store.close()
""",
    "a job under way": """
import asyncio
from slurp_leader.clock import SystemClock
from slurp_leader.errors import LifecycleError
from slurp_leader.jobs import JobClient, JobsOptions, NewJob
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
store = MemoryStore()
client = JobClient(store, Keyspace("forks"), JobsOptions(), node_id="a", clock=SystemClock())
client.start()
handle = client.submit(NewJob(payload={}))
known, asked = client.handle(handle.id), client.handle(handle.id)
asked._waited()
outcomes = client._outcomes
locks = [
    handle._future._condition, outcomes._lock, outcomes._watching._cond, client._lock, client._mint._lock,
    client._door._changed, store._lock,
]

async def awaited(handle):
    return await handle

def check():
    for each in (handle, known, asked):
        waits = each.result, lambda: each.result(0.01), each.outcome, lambda: asyncio.run(awaited(each))
        refuses(LifecycleError, *waits, each.status, each.report, each.cancel, saying="parent")
    news = lambda: client.submit(NewJob(payload={})), lambda: client.handle(handle.id).result(), client.start
    refuses(LifecycleError, *news, saying="parent")
    assert not client.is_following and client.failure is None
    client.stop()

def end():
    assert handle.status().value == "pending"
    client.stop()
    store.close()
""",
    "a job that has ended": """
import asyncio
from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.store.memory import MemoryStore
store = MemoryStore()
settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3})
system = SlurpLeaderSystem(settings, generator=lambda request, job: {"path": request.file_path}, stores=lambda: store)
system.start()
handle = system.submit("a.py")
result = handle.result(30)
locks = [handle._future._condition, handle._access._outcomes._lock, handle._access._lock]

async def awaited(handle):
    return await handle

def check():
    assert handle.result() == handle.result(1) == asyncio.run(awaited(handle)) == result
    assert system.stop()

def end():
    assert system.submit("b.py").result(30).success
    system.stop()
""",
}
"""By what holds locks: a program that makes it, names the locks, and checks in a child what it does there."""


@pytest.mark.parametrize("what", FREED)
def test_a_forked_child_finds_it_free_although_a_thread_held_it(what: str) -> None:
    ended = run(f"""
from slurp_leader.forks import free_in_child, set_in_child
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


def test_an_event_that_ends_with_the_parent_is_set_in_the_child_alone() -> None:
    ended = run("""
from slurp_leader.forks import set_in_child
event = set_in_child(threading.Event())

def check():
    assert event.wait()

assert code_of_child(check) == 0
assert not event.is_set()
""")
    assert ended.returncode == 0, ended


def test_a_lock_goes_with_what_it_guards() -> None:
    ended = run("""
import gc, weakref
from slurp_leader.forks import free_in_child, set_in_child
kept = [weakref.ref(free_in_child(threading.Lock())), weakref.ref(set_in_child(threading.Event()))]
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


def test_a_child_that_the_work_of_a_leader_has_forked_does_not_wait_for_the_next_term() -> None:
    ended = run("""
from slurp_leader import LeaderElection, LifecycleError, SlurpSettings
from slurp_leader.store.memory import MemoryStore
parent, store = os.getpid(), MemoryStore()
settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3})

def work(term):
    child = os.fork()
    return "done" if child == 0 else exit_code_of(child)

try:
    with LeaderElection("reports", settings, stores=lambda: store) as election:
        code = election.run(work)
except LifecycleError as error:
    os._exit(7 if os.getpid() != parent and "parent" in str(error) else 8)
assert os.getpid() == parent and code == 7, code
store.close()
""")
    assert ended.returncode == 0, ended


def test_a_child_that_awaited_work_has_forked_does_not_wait_for_the_thread_that_watched_over_it() -> None:
    ended = run("""
import asyncio
from slurp_leader import LeaderElection, LifecycleError, SlurpSettings
from slurp_leader.store.memory import MemoryStore
parent, store = os.getpid(), MemoryStore()
settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3})

async def work(term):
    child = os.fork()
    return "done" if child == 0 else exit_code_of(child)

async def serve():
    try:
        return await LeaderElection("reports", settings, stores=lambda: store).aio.run(work)
    except LifecycleError as error:  # the loop is the parent's too: a child does not end it
        os._exit(7 if os.getpid() != parent and "parent" in str(error) else 8)

code = asyncio.run(serve())
assert os.getpid() == parent and code == 7, code
store.close()
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
