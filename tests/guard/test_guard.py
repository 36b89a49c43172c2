"""The guard as it is: processes, signals, a real etcd."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.etcd import EtcdOptions
from slurp_leader.etcd.route import route_of
from slurp_leader.guard.client import GuardClient, GuardTrouble
from slurp_leader.guard.holdings import TICK_S, Holdings, Revocation
from slurp_leader.guard.inherited import GUARD_SOCKET, guard_door, name_of_door
from slurp_leader.guard.messages import LARGEST_PACKET, STARTING, Hello, Hold, Message, Ready, Told, decode, encode
from slurp_leader.store import EventKind, Get, Grant, Store
from slurp_leader.store.follow import Changes, Follower
from slurp_leader.telemetry.events import LogEvent
from support.calls import PATIENCE_S, Recorder, do, get, new_lease_id, put
from support.logs import events
from support.virtual import VirtualClock
from support.waiting import until

pytestmark = pytest.mark.etcd

SOURCES = Path(__file__).parents[2] / "src"

PROGRAM = """
import json, os, signal, subprocess, sys, threading
from slurp_leader.etcd import EtcdOptions
from slurp_leader.etcd.route import route_of
from slurp_leader.guard.client import GuardClient, GuardTrouble

options = EtcdOptions(endpoints=[sys.argv[1]])
lease, stall = int(sys.argv[2]), float(sys.argv[3])
guard = GuardClient(route_of(options))
guard.hold(lease, 60, stall)
while guard.problem:
    threading.Event().wait(0.01)
print(json.dumps({"guard": guard.guard_pid}), flush=True)
sys.stdin.readline()  # until the test holds on to the guard
"""


class Guarded:
    """A program with a guard, and a key on the lease that it guards."""

    def __init__(self, endpoint: str, store: Store, key: bytes, then: str, stall_s: float = 0.0) -> None:
        self.lease_id = new_lease_id()
        do(store, Grant(self.lease_id, 60))
        put(store, key, b"mine", self.lease_id)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM + then, endpoint, str(self.lease_id), str(stall_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
        )
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        self.guard_pid: int = json.loads(self.process.stdout.readline())["guard"]
        self.guard = os.pidfd_open(self.guard_pid)
        self.process.stdin.write(b"\n")
        self.process.stdin.close()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self.guard)


@pytest.fixture
def guarded(etcd_endpoint: str, etcd_store: Store, prefix: bytes) -> Iterator[Any]:
    made: list[Guarded] = []

    def make(then: str = "threading.Event().wait()", stall_s: float = 0.0) -> Guarded:
        made.append(Guarded(etcd_endpoint, etcd_store, prefix + b"key", then, stall_s))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def changes(etcd_store: Store, prefix: bytes) -> Iterator[Recorder[Any]]:
    recorder: Recorder[Any] = Recorder()
    follower = Follower(etcd_store, prefix, recorder)
    follower.start()
    yield recorder
    follower.stop()


def await_deletion(changes: Recorder[Any]) -> None:
    changes.until(
        lambda notice: isinstance(notice, Changes) and any(event.kind is EventKind.DELETE for event in notice.events)
    )


def await_end(guarded: Guarded) -> None:
    assert select.select([guarded.guard], [], [], 20)[0], "the guard goes on"


@pytest.mark.parametrize("death", ["signal.raise_signal(signal.SIGKILL)", "os._exit(3)", "os.abort()"])
def test_a_death_gives_the_lease_back(guarded: Any, changes: Recorder[Any], death: str) -> None:
    program = guarded(death)
    await_deletion(changes)
    await_end(program)


def test_a_death_is_seen_although_a_forked_child_has_the_socket(guarded: Any, changes: Recorder[Any]) -> None:
    program = guarded(
        """
child = os.fork()
if child == 0:
    os.read(0, 1)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    await_deletion(changes)
    await_end(program)


def test_a_death_is_seen_although_parent_and_socket_of_the_guard_live_on(
    etcd_endpoint: str, etcd_store: Store, prefix: bytes, changes: Recorder[Any]
) -> None:
    """Only the pidfd tells: who dies is not the parent, and somebody else has the socket."""
    lease_id = new_lease_id()
    do(etcd_store, Grant(lease_id, 60))
    put(etcd_store, prefix + b"key", b"mine", lease_id)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = f"from slurp_leader.guard.child import main; main({os.getpid()})"
    with ours, theirs:
        guard = subprocess.Popen(
            [sys.executable, "-c", code], stdin=theirs, env={**os.environ, "PYTHONPATH": str(SOURCES)}
        )
        program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        try:
            pidfd = os.pidfd_open(program.pid)
            hello = Hello(1, route_of(EtcdOptions(endpoints=[etcd_endpoint])), program.pid)
            socket.send_fds(ours, [encode(hello)], [pidfd])
            os.close(pidfd)
            ours.send(encode(Hold(1, lease_id, 60, 0)))
            program.kill()
            await_deletion(changes)
            assert guard.wait(20) == 0
        finally:
            for process in (program, guard):
                process.kill()
                process.wait()


class Spoken:
    """A guard to which a test speaks itself, without a pidfd: the end of the socket is the death of who spoke."""

    def __init__(self, *endpoints: str) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = f"from slurp_leader.guard.child import main; main({os.getpid()})"
        with theirs:
            self.guard = subprocess.Popen(
                [sys.executable, "-c", code], stdin=theirs, env={**os.environ, "PYTHONPATH": str(SOURCES)}
            )
        self._say(Hello(1, route_of(EtcdOptions(endpoints=list(endpoints)))))

    def _say(self, message: Hello | Hold) -> None:
        self._ours.send(encode(message))

    def hold(self, lease_id: int, ttl_s: float = 60) -> None:
        self._say(Hold(1, lease_id, ttl_s, 0))

    def until_ready(self) -> None:
        """Until it knows how it reaches etcd, or that it does not."""
        self._ours.settimeout(PATIENCE_S)
        while getattr(decode(self._ours.recv(LARGEST_PACKET)), "problem", STARTING) == STARTING:
            pass

    def die(self) -> None:
        self._ours.close()

    def end(self) -> None:
        self.die()
        self.guard.kill()
        self.guard.wait()


@pytest.fixture
def spoken() -> Iterator[Callable[..., Spoken]]:
    made: list[Spoken] = []

    def make(*endpoints: str) -> Spoken:
        made.append(Spoken(*endpoints))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def dead_endpoint() -> Iterator[str]:
    """Where nobody listens, and nobody else will."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{nobody.getsockname()[1]}"


@pytest.fixture
def key_on_lease(etcd_store: Store, prefix: bytes) -> int:
    """The lease of a key that nobody else takes away."""
    lease_id = new_lease_id()
    do(etcd_store, Grant(lease_id, 60))
    put(etcd_store, prefix + b"key", b"mine", lease_id)
    return lease_id


@pytest.mark.parametrize("dead_first", [False, True])
def test_a_revocation_that_fails_is_asked_of_the_next_member(
    spoken: Callable[..., Spoken],
    etcd_endpoint: str,
    dead_endpoint: str,
    key_on_lease: int,
    changes: Recorder[Any],
    dead_first: bool,
) -> None:
    program = spoken(*((dead_endpoint, etcd_endpoint) if dead_first else (etcd_endpoint, dead_endpoint)))
    program.hold(key_on_lease)
    program.until_ready()
    program.die()
    await_deletion(changes)
    assert program.guard.wait(PATIENCE_S) == 0


class _Refusing(grpc.GenericRpcHandler):
    """An etcd that refuses to revoke, so many times, and then does it; answers nothing else."""

    def __init__(self, times: int) -> None:
        self.refused = 0
        self._times = times
        self.revoked = threading.Event()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        is_revocation = call.method == "/etcdserverpb.Lease/LeaseRevoke"
        return grpc.unary_unary_rpc_method_handler(self._revoke) if is_revocation else None

    def _revoke(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        if self.refused < self._times:
            self.refused += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        self.revoked.set()
        return b""


def test_a_refused_revocation_is_repeated(spoken: Callable[..., Spoken]) -> None:
    """More often than there are quick repetitions at the beginning."""
    etcd = _Refusing(times=4)
    server = grpc.server(ThreadPoolExecutor(1), handlers=[etcd])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        program = spoken(f"127.0.0.1:{port}")
        program.hold(new_lease_id())
        program.until_ready()
        program.die()
        assert etcd.revoked.wait(PATIENCE_S)
        assert program.guard.wait(PATIENCE_S) == 0
    finally:
        server.stop(None).wait()


def test_a_guard_ends_when_the_ttl_is_over(spoken: Callable[..., Spoken], dead_endpoint: str) -> None:
    """By then the lease has ended by itself; before, it is worth trying."""
    program = spoken(dead_endpoint)
    program.hold(new_lease_id(), ttl_s=2)
    program.until_ready()
    died_at = SystemClock().boottime()
    program.die()
    assert program.guard.wait(PATIENCE_S) == 0
    assert SystemClock().boottime() - died_at >= 1.9


def test_a_forked_child_says_nothing_in_the_name_of_its_parent(guarded: Any, changes: Recorder[Any]) -> None:
    guarded(
        """
child = os.fork()
if child == 0:
    guard.drop(lease)
    guard.beat(lease)
    guard.close()
    os._exit(0)
os.waitpid(child, 0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    await_deletion(changes)


def test_standing_still_gives_the_lease_back(guarded: Any, changes: Recorder[Any]) -> None:
    program = guarded(
        """
beating = threading.Event()
while not beating.wait(0.2):
    guard.beat(lease)
""",
        stall_s=2.0,
    )
    os.kill(program.process.pid, signal.SIGSTOP)
    await_deletion(changes)


def test_signals_to_the_group_do_not_reach_the_guard(guarded: Any, changes: Recorder[Any]) -> None:
    program = guarded(
        """
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.kill(guard.guard_pid, signal.SIGINT)
os.kill(guard.guard_pid, signal.SIGTERM)
os.kill(guard.guard_pid, signal.SIGHUP)
assert os.getpgid(guard.guard_pid) != os.getpgid(0)
print("signalled", flush=True)
os.read(0, 1) or threading.Event().wait()
"""
    )
    assert program.process.stdout.readline() == b"signalled\n"
    program.process.kill()
    await_deletion(changes)


def test_a_goodbye_ends_the_guard_and_revokes_nothing(guarded: Any, etcd_store: Store, prefix: bytes) -> None:
    """By itself: one that had not heard it would be ended by force."""
    program = guarded("process = guard._line.process; guard.close(); sys.exit(process.returncode)")
    assert program.process.wait(20) == 0
    await_end(program)
    assert get(etcd_store, prefix + b"key") is not None


def test_a_goodbye_heard_together_with_the_death_revokes_nothing(
    guarded: Any, etcd_store: Store, prefix: bytes
) -> None:
    program = guarded(
        """
from slurp_leader.guard.messages import Bye, encode
os.kill(guard.guard_pid, signal.SIGSTOP)
guard._line.end.send(encode(Bye(guard._who)))
os._exit(0)
"""
    )
    assert program.process.wait(20) == 0
    os.kill(program.guard_pid, signal.SIGCONT)
    await_end(program)
    assert get(etcd_store, prefix + b"key") is not None


def test_what_was_dropped_is_left_alone(guarded: Any, etcd_store: Store, prefix: bytes) -> None:
    program = guarded("guard.drop(lease); os._exit(0)")
    await_end(program)
    assert get(etcd_store, prefix + b"key") is not None


def test_a_guard_that_died_is_replaced_and_knows_what_is_held(guarded: Any, changes: Recorder[Any]) -> None:
    program = guarded(
        """
first = guard.guard_pid
os.kill(first, signal.SIGKILL)
while guard.guard_pid == first or guard.problem:
    guard.beat(lease)
    threading.Event().wait(0.01)
print("replaced", flush=True)
threading.Event().wait()
"""
    )
    assert program.process.stdout.readline() == b"replaced\n"
    program.process.kill()
    await_deletion(changes)


def test_a_group_is_killed_before_the_lease_goes(guarded: Any, changes: Recorder[Any]) -> None:
    program = guarded(
        """
work = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
guard.kill_group(work.pid)
print(work.pid, flush=True)
threading.Event().wait()
"""
    )
    work = os.pidfd_open(int(program.process.stdout.readline()))
    program.process.kill()
    await_deletion(changes)
    assert select.select([work], [], [], 0)[0], "the group outlived the lease"
    os.close(work)


def test_a_guard_without_a_parent_or_a_word_ends(tmp_path: Path) -> None:
    """A pipe that is closed at birth."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    code = f"from slurp_leader.guard.child import main; main({os.getpid()})"
    with theirs:
        ended = subprocess.run(
            [sys.executable, "-c", code],
            stdin=theirs,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            timeout=60,
            check=False,
        )
    assert ended.returncode == 0


def test_no_secret_is_in_the_arguments_or_the_environment_of_the_guard(etcd_endpoint: str) -> None:
    options = EtcdOptions(endpoints=[etcd_endpoint], username="root", password="hunter2")
    guard = GuardClient(route_of(options))
    try:
        guard.hold(new_lease_id(), 60, 0)
        process = Path("/proc") / str(guard.guard_pid)
        for file in ("cmdline", "environ"):
            assert b"hunter2" not in (process / file).read_bytes()
    finally:
        guard.close()


def test_the_guard_does_not_inherit_our_settings(etcd_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURP_ETCD__PASSWORD", "hunter2")
    guard = GuardClient(route_of(EtcdOptions(endpoints=[etcd_endpoint])))
    try:
        guard.hold(new_lease_id(), 60, 0)
        assert b"hunter2" not in (Path("/proc") / str(guard.guard_pid) / "environ").read_bytes()
    finally:
        guard.close()


@pytest.mark.parametrize("dies", [False, True])
def test_nothing_stays_open_and_no_process_stays_behind(etcd_endpoint: str, dies: bool) -> None:
    def one_life() -> int:
        guard = GuardClient(route_of(EtcdOptions(endpoints=[etcd_endpoint])))
        guard.hold(new_lease_id(), 60, 0)
        if dies:
            assert guard.guard_pid is not None
            os.kill(guard.guard_pid, signal.SIGKILL)
            beats_until(guard, 0, Told.NOBODY)
        guard.close()
        return len(os.listdir("/proc/self/fd"))

    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = children.read_text()
    assert one_life() == one_life()
    assert children.read_text() == before


def test_what_one_program_says_does_not_end_the_guard_of_the_others(guarded: Any, changes: Recorder[Any]) -> None:
    program = guarded(
        """
from slurp_leader.guard.messages import Hello, Hold, Route, encode
line = guard._line.end
line.send(encode(Hello(1, Route((7,)))))
line.send(encode(Hello(1, Route(()))))
line.send(encode(Hold(1, lease + 1, "long", None)))
line.send(encode(Hello("?", Route(("nowhere:1",), settings=(("grpc.x", "y"),)))))
line.send(b"?")
while not guard.problem:
    threading.Event().wait(0.01)
print("said", flush=True)
threading.Event().wait()
"""
    )
    assert program.process.stdout.readline() == b"said\n"
    program.process.kill()
    await_deletion(changes)


# ---------------------------------------------------------------- what may be believed


@pytest.fixture
def client(etcd_endpoint: str) -> Iterator[GuardClient]:
    guard = GuardClient(route_of(EtcdOptions(endpoints=[etcd_endpoint])))
    yield guard
    guard.close()


def beats_until(guard: GuardClient, lease_id: int, *wanted: Told, pause_s: float = 0.02) -> list[Told]:
    """What is said of beats, up to one of `wanted`; beats as an election does."""
    said: list[Told] = []
    while not said or said[-1] not in wanted:
        threading.Event().wait(pause_s)
        said.append(guard.beat(lease_id))
    return said


def test_who_was_silent_for_too_long_learns_that_the_lease_is_given_back(client: GuardClient) -> None:
    """No etcd has to be reached for that: what was sent to it may arrive at any time later."""
    client.hold(new_lease_id(), 60, 0)
    until(lambda: not client.problem)  # else it might begin to count after the silence
    lease_id = new_lease_id()
    assert client.hold(lease_id, 60, 0.5) is Told.YES
    threading.Event().wait(1.2)
    said = beats_until(client, lease_id, Told.YES, Told.GIVEN_BACK)
    assert said[0] is Told.UNHEARD
    assert said[-1] is Told.GIVEN_BACK
    assert client.beat(lease_id) is Told.GIVEN_BACK


def test_who_was_frozen_together_with_the_guard_goes_on_when_it_has_answered(
    client: GuardClient, key_on_lease: int, etcd_store: Store, prefix: bytes
) -> None:
    client.hold(key_on_lease, 60, 2.0)
    while client.problem:  # else it would be frozen before it has begun to count
        beats_until(client, key_on_lease, Told.YES)
    assert client.guard_pid is not None
    os.kill(client.guard_pid, signal.SIGSTOP)
    threading.Event().wait(2.5)
    assert client.beat(key_on_lease) is Told.UNHEARD
    os.kill(client.guard_pid, signal.SIGCONT)
    assert beats_until(client, key_on_lease, Told.YES, Told.GIVEN_BACK)[-1] is Told.YES
    threading.Event().wait(1)  # it answers before it counts: what it had counted would cost the lease now
    assert get(etcd_store, prefix + b"key") is not None


def test_a_guard_that_dies_during_a_silence_leaves_the_lease_in_doubt(client: GuardClient) -> None:
    lease_id = new_lease_id()
    client.hold(lease_id, 60, 0.5)
    threading.Event().wait(0.6)
    assert client.guard_pid is not None
    os.kill(client.guard_pid, signal.SIGKILL)
    assert beats_until(client, lease_id, Told.YES, Told.GIVEN_BACK)[-1] is Told.GIVEN_BACK


def test_a_guard_that_is_our_parent_may_act_also_when_it_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after Ctrl-Z: it is not ours to end, so trust stays bounded."""
    ours, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, door:
        monkeypatch.setenv(GUARD_SOCKET, name_of_door(door))
        guard = GuardClient(route_of(EtcdOptions()))
        lease_id = new_lease_id()
        assert guard.hold(lease_id, 60, 3600) is Told.YES
        assert guard.guard_pid is None
        said = [guard.beat(lease_id) for _ in range(2000)]
        assert said[0] is Told.YES
        assert said[-1] is Told.UNHEARD
        assert Told.NOBODY not in said
        guard.close()


def test_a_number_that_is_another_socket_by_now_is_no_door(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, door:
        number, inode = name_of_door(door).split(":")
        monkeypatch.setenv(GUARD_SOCKET, f"{number}:{int(inode) + 1}")
        assert guard_door() is None
        monkeypatch.setenv(GUARD_SOCKET, number)
        assert guard_door() is None


def test_who_closes_the_door_lets_go_of_what_the_guard_behind_it_knows(
    monkeypatch: pytest.MonkeyPatch, client: GuardClient
) -> None:
    """That guard would take the silence for a standstill, whatever a new one is told.

    Here nobody reads what it is told, which is noticed when no more fits in.
    """
    ours, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lease_id = new_lease_id()
    with ours:
        monkeypatch.setenv(GUARD_SOCKET, name_of_door(door))
        assert client.hold(lease_id, 60, 60) is Told.YES
        door.close()
        assert beats_until(client, lease_id, Told.GIVEN_BACK, pause_s=0.001)[-1] is Told.GIVEN_BACK


def test_where_the_parent_guard_is_gone_a_child_does_its_work(
    monkeypatch: pytest.MonkeyPatch, client: GuardClient
) -> None:
    ours, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with door:
        ours.close()
        monkeypatch.setenv(GUARD_SOCKET, name_of_door(door))
        assert client.hold(new_lease_id(), 60, 0) is Told.YES
        assert client.guard_pid is not None


def test_a_guard_whose_parent_died_before_it_said_a_word_ends() -> None:
    """Somebody else has the socket, so that its end does not tell."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = f"from slurp_leader.guard.child import main; main({os.getppid()})"
    with ours, theirs:
        ended = subprocess.run([sys.executable, "-c", code], stdin=theirs, timeout=60, check=False)
    assert ended.returncode == 0


def test_a_program_hands_over_its_own_pidfd(client: GuardClient) -> None:
    client.hold(new_lease_id(), 60, 0)
    until(lambda: not client.problem)
    handed = [file.read_text() for file in Path(f"/proc/{client.guard_pid}/fdinfo").iterdir()]
    assert any(f"Pid:\t{os.getpid()}\n" in words for words in handed)


def test_without_a_pidfd_the_end_of_the_socket_is_the_death(
    spoken: Callable[..., Spoken], etcd_endpoint: str, key_on_lease: int, changes: Recorder[Any]
) -> None:
    """Its parent lives on."""
    program = spoken(etcd_endpoint)
    program.hold(key_on_lease)
    program.until_ready()
    program.die()
    await_deletion(changes)
    assert program.guard.wait(PATIENCE_S) == 0


def test_a_guard_that_is_gone_before_it_is_spoken_to_is_no_error(
    client: GuardClient, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(GuardClient, "_start_child", lambda _self, theirs: _stillborn(theirs))
    assert client.hold(1, 60, 5) is Told.NOBODY
    assert "the connection to it is gone" in client.problem
    assert client.beat(1) is Told.NOBODY
    assert events(caplog) == [LogEvent.GUARD_LOST]


def _stillborn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """A guard that has ended before anything could be said to it."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(1)"])
    process.wait()
    theirs.close()
    return process


def begins_sleepers(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Has guards begun that say nothing of their own; their ends of the line, in order."""
    begun: list[socket.socket] = []

    def begin(_client: GuardClient, theirs: socket.socket) -> subprocess.Popen[bytes]:
        begun.append(theirs.dup())
        return subprocess.Popen(["sleep", "1000"])

    monkeypatch.setattr(GuardClient, "_start_child", begin)
    return begun


def test_guards_that_die_one_after_the_other_are_warned_of_once_until_one_has_worked(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """And all the time it is said what they die of, also while the next one begins."""
    begun = begins_sleepers(monkeypatch)

    def die() -> None:
        assert client.guard_pid is not None
        os.kill(client.guard_pid, signal.SIGKILL)
        os.waitid(os.P_PID, client.guard_pid, os.WEXITED | os.WNOWAIT)
        client.beat(1)  # it is missed

    caplog.set_level(logging.INFO)
    client = GuardClient(route_of(EtcdOptions()), clock)
    client.hold(1, 60, 0)
    since = clock.now
    for _ in range(10):
        die()
        clock.now += 31
        client.beat(1)  # and replaced
        assert client.problem == "it ended with -9"
        assert client.trouble == GuardTrouble("it ended with -9", since)
    assert len(begun) == 11
    begun[-1].send(encode(Ready("")))
    assert client.problem == ""
    assert client.trouble is None
    die()
    assert client.trouble is None  # it is to be replaced in a moment
    died = clock.now
    clock.now += 5
    assert client.trouble == GuardTrouble("it ended with -9", died)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    lost = ("WARNING", "guard.lost problem='it ended with -9'")
    assert told == [lost, ("INFO", "guard.state works=True"), lost]
    client.close()
    for line in begun:
        line.close()


def _taken(line: socket.socket, holdings: Holdings) -> list[Message]:
    """What a sleeping guard was told since the last look, as it would have taken it."""
    told: list[Message] = []
    line.setblocking(False)
    while True:
        try:
            told.append(decode(line.recv(LARGEST_PACKET)))
        except BlockingIOError:
            return told
        holdings.take(told[-1])


def _stalled_after(holdings: Holdings, seconds: float) -> list[int]:
    """The leases that are given back when nothing is said for so long."""
    actions = [action for _ in range(round(seconds / TICK_S)) for action in holdings.tick()]
    return [action.lease_id for action in actions if isinstance(action, Revocation)]


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(lambda client: client.beat(1), id="the beat of another"),
        pytest.param(lambda client: client.hold(3, 60, 0), id="another lease"),
        pytest.param(lambda client: client.kill_group(0), id="a group"),
    ],
)
def test_a_guard_that_replaces_another_counts_the_silence_of_a_lease_when_its_owner_knows(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, begin: Callable[[GuardClient], object]
) -> None:
    """He was told that nobody acts, and trusts for as long as the lease lasts, until he has heard of this one."""
    begun = begins_sleepers(monkeypatch)
    client = GuardClient(route_of(EtcdOptions()), clock)
    for lease_id in (1, 2):
        assert client.hold(lease_id, 60, 5) is Told.YES
    assert client.guard_pid is not None
    os.kill(client.guard_pid, signal.SIGKILL)
    os.waitid(os.P_PID, client.guard_pid, os.WEXITED | os.WNOWAIT)
    assert client.beat(2) is Told.NOBODY
    clock.now += 31
    begin(client)
    assert len(begun) == 2
    new = Holdings()
    assert {told.lease_id for told in _taken(begun[1], new) if isinstance(told, Hold)} >= {1, 2}
    assert _stalled_after(new, 30) == []
    clock.now += 30
    assert (
        client.beat(2) is Told.YES
    )  # with which he is back in his cycle, and may still stand still before he hears it
    _taken(begun[1], new)
    assert _stalled_after(new, 30) == []
    clock.now += 30
    assert client.beat(2) is Told.YES
    _taken(begun[1], new)
    assert _stalled_after(new, 5) == []
    assert client.beat(2) is Told.YES
    _taken(begun[1], new)
    assert _stalled_after(new, 5.1) == [2]
    clock.now += 5.1
    assert client.beat(2) is Told.UNHEARD
    client.close()
    for line in begun:
        line.close()


def test_where_no_guard_can_run_the_program_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    guard = GuardClient(route_of(EtcdOptions()))
    assert guard.hold(1, 15, 5) is Told.NOBODY
    assert guard.beat(1) is Told.NOBODY
    assert "cannot be started" in guard.problem
    assert guard.trouble is not None
    assert (guard.trouble.problem, guard.trouble.is_final) == (guard.problem, True)  # no matter how lately
    assert events(caplog).count(LogEvent.GUARD_UNAVAILABLE) == 1
    guard.close()


def test_process_1_is_told_once_that_its_guard_dies_along_and_has_it_all_the_same(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    begun = begins_sleepers(monkeypatch)

    monkeypatch.setattr(os, "getpid", lambda: 1)
    client = GuardClient(route_of(EtcdOptions()), clock)
    assert client.trouble is None  # no guard is wanted yet
    assert client.hold(1, 60, 5) is Told.YES
    since = clock.now
    begun[0].send(encode(Ready("")))
    assert client.problem == ""
    trouble = client.trouble
    assert trouble is not None
    assert "run it as `slurp guard -- CMD`" in trouble.problem
    assert trouble == GuardTrouble(trouble.problem, since, dies_along=True)
    begun[0].send(encode(Ready("UNAVAILABLE: nobody there")))
    assert client.problem == "UNAVAILABLE: nobody there"
    clock.now += 5
    assert client.trouble == GuardTrouble("UNAVAILABLE: nobody there", clock.now - 5)  # what is worse
    assert client.guard_pid is not None
    os.kill(client.guard_pid, signal.SIGKILL)
    os.waitid(os.P_PID, client.guard_pid, os.WEXITED | os.WNOWAIT)
    client.beat(1)
    clock.now += 31
    client.beat(1)  # and replaced
    assert len(begun) == 2
    begun[1].send(encode(Ready("")))
    assert client.problem == ""
    assert client.trouble == trouble
    told = [record for record in caplog.records if getattr(record, "slurp_event", "") == LogEvent.GUARD_UNAVAILABLE]
    assert [(record.levelname, record.getMessage()) for record in told] == [
        ("WARNING", f"guard.unavailable problem={trouble.problem!r}")
    ]
    client.close()
    for line in begun:
        line.close()


class _Puppet:
    """A guard that says what a test wants, to a program whose parent it seems to be."""

    def __init__(self, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ours, self._door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        monkeypatch.setenv(GUARD_SOCKET, name_of_door(self._door))
        self.client = GuardClient(route_of(EtcdOptions()), clock)
        self.client.hold(1, 60, 0)
        _, descriptors, _, _ = socket.recv_fds(self._ours, LARGEST_PACKET, 2)
        self._line = socket.socket(fileno=descriptors[0])
        for pidfd in descriptors[1:]:
            os.close(pidfd)

    def says(self, problem: str) -> None:
        self._line.send(encode(Ready(problem)))
        self.client.beat(1)

    def end(self) -> None:
        self.client.close()
        for each in (self._ours, self._door, self._line):
            each.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def puppet(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> Iterator[_Puppet]:
    caplog.set_level(logging.INFO)
    made = _Puppet(clock, monkeypatch)
    yield made
    made.end()


def test_a_guard_that_takes_seconds_to_start_is_no_news(puppet: _Puppet, clock: VirtualClock, caplog: Any) -> None:
    assert puppet.client.problem == STARTING
    clock.now += 3
    puppet.says(STARTING)
    clock.now += 1.9
    puppet.client.beat(1)
    assert puppet.client.problem == STARTING
    puppet.says("")
    assert puppet.client.problem == ""
    clock.now += 60
    puppet.client.beat(1)
    assert events(caplog) == []


@pytest.mark.parametrize("said", [None, STARTING, "UNAVAILABLE: nobody there"])
def test_a_guard_that_does_not_do_its_work_is_warned_of_once_and_so_is_the_end_of_that(
    puppet: _Puppet, clock: VirtualClock, caplog: Any, said: str | None
) -> None:
    if said is not None:
        puppet.says(said)
    for _ in range(3):
        clock.now += 5
        puppet.client.beat(1)
    warned = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert warned == [("WARNING", f"guard.state works=False problem={said or STARTING!r}")]
    for _ in range(2):
        puppet.says("")
    ended = [(record.levelname, record.getMessage()) for record in caplog.records[1:]]
    assert ended[0] == ("INFO", "guard.state works=True")
    assert all(level == "DEBUG" for level, _ in ended[1:])


def test_an_outage_is_warned_of_when_it_lasts_and_not_again_for_other_words(
    puppet: _Puppet, clock: VirtualClock, caplog: Any
) -> None:
    puppet.says("")
    clock.now += 100
    puppet.says("UNAVAILABLE: refused")
    assert events(caplog) == []
    for words in ("UNAVAILABLE: reset", "UNAVAILABLE: refused", "UNAVAILABLE: reset"):
        clock.now += 5
        puppet.says(words)
    assert [record.getMessage() for record in caplog.records] == [
        "guard.state works=False problem='UNAVAILABLE: reset'"
    ]


def test_only_what_lasts_is_trouble(puppet: _Puppet, clock: VirtualClock) -> None:
    began = clock.now
    clock.now += 4.9
    assert puppet.client.trouble is None
    clock.now += 0.2
    assert puppet.client.trouble == GuardTrouble(STARTING, began)
    puppet.says("")
    assert puppet.client.trouble is None
    clock.now += 60
    puppet.says("UNAVAILABLE: refused")
    fell_ill = clock.now
    clock.now += 4.9
    assert puppet.client.trouble is None
    clock.now += 0.2
    puppet.says("UNAVAILABLE: reset")
    assert puppet.client.trouble == GuardTrouble("UNAVAILABLE: reset", fell_ill)


def test_a_guard_that_was_not_wanted_yet_is_no_trouble(clock: VirtualClock) -> None:
    client = GuardClient(route_of(EtcdOptions()), clock)
    clock.now += 60
    assert client.trouble is None


def test_one_member_that_answers_is_enough(etcd_endpoint: str) -> None:
    """Each is tried when a lease is to be given back."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoints = [etcd_endpoint, f"127.0.0.1:{nobody.getsockname()[1]}"]
        guard = GuardClient(route_of(EtcdOptions(endpoints=endpoints)))
        try:
            guard.hold(new_lease_id(), 60, 0)
            while guard.problem == STARTING:
                threading.Event().wait(0.01)
            threading.Event().wait(0.5)
            assert guard.problem == ""
        finally:
            guard.close()


def test_the_guard_is_small(guarded: Any) -> None:
    """40 MiB for every node is what it may cost."""
    program = guarded()
    lines = (Path("/proc") / str(program.guard_pid) / "status").read_text().splitlines()
    used_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    assert used_kib <= 40 * 1024


def test_the_key_is_there_while_all_is_well(guarded: Any, etcd_store: Store, prefix: bytes) -> None:
    guarded()
    assert do(etcd_store, Get(prefix + b"key")).kvs
