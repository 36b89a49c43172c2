"""``slurp guard`` and ``slurp lead`` as processes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slurp_leader import LeaderElection, LeaderObserver, SlurpSettings
from slurp_leader.cli.guard import _Death, _Lead
from slurp_leader.clock import SystemClock
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.guard.inherited import GUARD_SOCKET
from slurp_leader.guard.starter import Starter
from slurp_leader.term import Term, Trust
from support.calls import Recorder
from support.waiting import WAIT_S, until

from .conftest import Slurp
from .test_processes import PROGRAM, Start, finish, read_until, start

__all__ = ["start"]

NODE = """
import sys, threading
from slurp_leader import LeaderElection, SlurpSettings
election = LeaderElection("guarded", SlurpSettings.load())
election.start()
assert election.wait_for_leadership(30)
print("leading", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("script", "code"), [("exit 7", 7), ("exit 0", 0), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_exit_code_is_the_programs(script: str, code: int) -> None:
    assert finish("guard", "--", "sh", "-c", script).returncode == code


def test_a_program_that_is_not_there() -> None:
    ended = finish("guard", "--", "/nowhere/program")
    assert ended.returncode == 127
    assert ended.stderr == "slurp: /nowhere/program: No such file or directory\n"


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("nothing to run")
    assert finish("guard", "--", str(file)).returncode == 126


@pytest.mark.parametrize("verb", ["guard", "lead"])
def test_nothing_to_run(verb: str) -> None:
    ended = finish(verb)
    assert ended.returncode == 2
    assert f"slurp {verb} -- CMD" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(start: Start, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f'trap "echo caught; exit 5" {name}; echo ready; while :; do sleep 0.05; done'
    guarded = start("guard", "--", "bash", "-c", script)
    read_until(guarded.stdout, "ready")
    guarded.send_signal(number)
    out, _ = guarded.communicate(timeout=WAIT_S)
    assert out == "caught\n"
    assert guarded.returncode == 5


_SIGNALLED_AT_BIRTH = """
import signal, subprocess, sys
from slurp_leader.guard import parent
class Signalled(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        signal.raise_signal(signal.SIGTERM)
subprocess.Popen = Signalled
parent.main(["sleep", "1000"])
"""


def test_a_signal_that_comes_while_the_program_starts_is_passed_on_too() -> None:
    ended = subprocess.run([sys.executable, "-c", _SIGNALLED_AT_BIRTH], timeout=WAIT_S, check=False)
    assert ended.returncode == 143


def test_what_is_ignored_stays_ignored(start: Start) -> None:
    """As under nohup."""
    ignore = "trap '' HUP; exec \"$@\""
    inner = [*PROGRAM, "guard", "--", "sh", "-c", "kill -HUP $PPID; kill -HUP $$; exit 3"]
    assert subprocess.run(["sh", "-c", ignore, "sh", *inner], timeout=WAIT_S, check=False).returncode == 3


def test_a_job_that_is_stopped_stops_as_a_whole_and_goes_on_as_a_whole(start: Start) -> None:
    """As by Ctrl-Z, and `fg` after it."""
    script = 'trap "echo on" CONT; trap "exit 5" TERM; echo $$; while :; do sleep 0.05; done'
    guarded = start("guard", "--", "bash", "-c", script)
    program = int(read_until(guarded.stdout, ""))
    guarded.send_signal(signal.SIGTSTP)
    assert os.waitid(os.P_PID, guarded.pid, os.WSTOPPED).si_status == signal.SIGSTOP
    assert Path(f"/proc/{program}/stat").read_text().split()[2] == "T"
    guarded.send_signal(signal.SIGCONT)
    read_until(guarded.stdout, "on")
    guarded.send_signal(signal.SIGTERM)
    guarded.communicate(timeout=WAIT_S)
    assert guarded.returncode == 5


def test_a_program_that_stands_still_is_guarded_on(start: Start) -> None:
    """SIGSTOP is no Ctrl-Z."""
    guarded = start("guard", "--", "sh", "-c", "echo $$; kill -STOP $$; echo on")
    program = int(read_until(guarded.stdout, ""))
    stopped = os.pidfd_open(program)
    while Path(f"/proc/{program}/stat").read_text().split()[2] != "T":
        select.select([stopped], [], [], 0.01)
    assert not os.waitid(os.P_PID, guarded.pid, os.WSTOPPED | os.WNOHANG)
    os.kill(program, signal.SIGCONT)
    os.close(stopped)
    out, _ = guarded.communicate(timeout=WAIT_S)
    assert out == "on\n"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Our end, which is what a person sees and types, and the programs'."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("cmd", ["true", "sh -c 'kill -9 $$'"])
def test_who_called_it_in_a_terminal_reads_on_after_it(terminal: tuple[int, int], cmd: str) -> None:
    ours, theirs = terminal
    command = ["setsid", "--ctty", "sh", "-c", f'"$@" {cmd}; read -r word && exit $word', "sh", *PROGRAM, "guard", "--"]
    shell = subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        os.write(ours, b"7\n")
        assert shell.wait(WAIT_S) == 7
    finally:
        shell.kill()
        shell.wait()


_UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture
def long_leases(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that nobody here waits for: what ends sooner was given back. `until` ends by itself after 20 s."""
    monkeypatch.setenv("SLURP_ELECTION__LEASE_TTL", "300")


def _watch(name: str) -> tuple[LeaderElection, Recorder[Any]]:
    recorder: Recorder[Any] = Recorder()
    standby = LeaderElection(name, SlurpSettings.load(node={"id": "standby"}))
    standby.subscribe(recorder)
    return standby, recorder


@pytest.mark.etcd
@pytest.mark.parametrize("how", ["plain", "pid 1", "in a namespace of its own"])
def test_when_the_guarded_program_dies_the_next_one_leads(
    start: Start, cluster: str, long_leases: None, how: str
) -> None:
    if how != "plain" and os.geteuid() != 0:
        pytest.skip("only root can make a PID namespace")
    if how == "pid 1":
        inner = [*PROGRAM, "guard", "--", sys.executable, "-c", NODE]
        guarded = subprocess.Popen([*_UNSHARE, *inner], stdout=subprocess.PIPE, text=True)
    elif how == "in a namespace of its own":
        guarded = start("guard", "--", *_UNSHARE, sys.executable, "-c", NODE)
    else:
        guarded = start("guard", "--", sys.executable, "-c", NODE)
    try:
        read_until(guarded.stdout, "leading")
        standby, seen = _watch("guarded")
        with standby:
            leader = standby.wait_for_leader(WAIT_S)
            os.kill(_python_below(guarded.pid), signal.SIGKILL)
            changed = seen.until(lambda event: getattr(event, "leader", None) not in (None, leader))
            assert changed.leader.node_id == "standby"
            assert changed.leader.record.reason == "elected"  # not stolen from a silent one: the key was gone
            code = guarded.wait(WAIT_S)
            assert code == 137 or how == "in a namespace of its own"  # that code is of `unshare`
    finally:
        guarded.kill()
        guarded.wait()
        assert guarded.stdout is not None
        guarded.stdout.close()


_TELLS = """
import json, logging, sys
from slurp_leader import LeaderElection, SlurpSettings
logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
with LeaderElection("guarded", SlurpSettings.load()) as election:
    assert election.wait_for_leadership(30)
    print(json.dumps(election.health()))
"""


@pytest.mark.etcd
@pytest.mark.parametrize("guard", [[], [*PROGRAM, "guard", "--"]])
def test_a_node_that_is_process_1_says_that_it_should_be_run_under_a_guard(cluster: str, guard: list[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a PID namespace")
    ended = subprocess.run(
        [*_UNSHARE, *guard, sys.executable, "-c", _TELLS], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    health = json.loads(ended.stdout)
    assert health["healthy"]
    problems = [(problem["what"], "`slurp guard -- CMD`" in problem["fix"]) for problem in health["problems"]]
    assert problems == ([] if guard else [("guard", True)])
    assert ended.stderr.count("process 1") == (0 if guard else 1)


_LEFT_BEHIND = 'echo $$; "$0" -c "$1" & echo $!; wait'
"""A program that leaves a node behind when it dies; tells their pids."""


@pytest.mark.etcd
def test_a_node_that_outlives_the_program_keeps_its_lease(start: Start, cluster: str) -> None:
    """It lives and believes. Only what is dead is given back, also when the guard ends."""
    guarded = start("guard", "--", "sh", "-c", _LEFT_BEHIND, sys.executable, NODE)
    program, node = (int(read_until(guarded.stdout, "")) for _ in range(2))
    try:
        read_until(guarded.stdout, "leading")
        with LeaderObserver("guarded") as observer:
            before = observer.get(WAIT_S, fresh=True)
            assert before is not None
            os.kill(program, signal.SIGKILL)
            assert guarded.wait(WAIT_S) == 137  # by then a guard has given back what it wants to
            assert observer.get(WAIT_S, fresh=True) == before  # a term it lost would have been followed by another
    finally:
        os.kill(node, signal.SIGKILL)


@pytest.mark.etcd
def test_process_1_ends_a_node_that_outlives_the_program_and_gives_its_lease_back(
    cluster: str, long_leases: None
) -> None:
    """The kernel would end it a moment later, when nobody is left to give anything back."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a PID namespace")
    script = _LEFT_BEHIND.replace("wait", "read -r _")
    command = [*_UNSHARE, *PROGRAM, "guard", "--", "sh", "-c", script, sys.executable, NODE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as guarded:
        assert guarded.stdin is not None
        try:
            read_until(guarded.stdout, "leading")
            standby, seen = _watch("guarded")
            with standby:
                leader = standby.wait_for_leader(WAIT_S)
                guarded.stdin.write("\n")
                guarded.stdin.flush()  # the program ends, and the node lives on
                changed = seen.until(lambda event: getattr(event, "leader", None) not in (None, leader))
                assert changed.leader.node_id == "standby"
        finally:
            guarded.kill()


@pytest.mark.etcd
def test_a_node_whose_guard_was_killed_gets_another_one(start: Start, cluster: str, long_leases: None) -> None:
    guarded = start("guard", "--", sys.executable, "-c", NODE)
    read_until(guarded.stdout, "leading")
    node = _python_below(guarded.pid)
    try:
        guarded.kill()
        until(lambda: any(file.read_text() for file in Path(f"/proc/{node}/task").glob("*/children")))
        standby, seen = _watch("guarded")
        with standby:
            leader = standby.wait_for_leader(WAIT_S)
            os.kill(node, signal.SIGKILL)
            changed = seen.until(lambda event: getattr(event, "leader", None) not in (None, leader))
            assert changed.leader.record.reason == "elected"
    finally:
        with suppress(ProcessLookupError):
            os.kill(node, signal.SIGKILL)


_HOLDS = """
import os, threading
from slurp_leader.etcd import EtcdOptions
from slurp_leader.etcd.route import route_of
from slurp_leader.guard.client import GuardClient
from slurp_leader.guard.messages import Told
guard = GuardClient(route_of(EtcdOptions(endpoints=["127.0.0.1:9"])))
assert guard.hold(7, 300, 0) is Told.YES
print(os.getpid(), flush=True)
threading.Event().wait()
"""


def test_a_second_signal_ends_a_guard_that_cannot_give_back_what_the_program_held(start: Start) -> None:
    """It would try until the TTL is over. The first one ends the program."""
    guarded = start("guard", "--", sys.executable, "-c", _HOLDS)
    program = Path(f"/proc/{read_until(guarded.stdout, '').strip()}")
    guarded.send_signal(signal.SIGTERM)
    until(lambda: not program.exists())
    until(lambda: guarded.poll() is not None or guarded.send_signal(signal.SIGTERM))
    assert guarded.returncode == 143


def _python_below(pid: int) -> int:
    """The pid of the node that runs below the guard."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 1
    below = int(children[0])
    line = Path(f"/proc/{below}/cmdline").read_bytes()
    is_node = b"wait_for_leadership" in line and b"guard.parent" not in line and not line.startswith(b"unshare")
    return below if is_node else _python_below(below)


# ---------------------------------------------------------------- lead


@pytest.mark.etcd
def test_a_program_runs_on_the_leader_and_finds_its_token(cluster: str) -> None:
    ended = finish("lead", "--name", "scripts", "--", "sh", "-c", "echo token=$SLURP_TOKEN epoch=$SLURP_EPOCH; exit 3")
    assert ended.returncode == 3
    token, epoch = ended.stdout.split()
    assert int(token.removeprefix("token=")) > 0
    assert epoch == "epoch=1"


@pytest.mark.etcd
def test_the_log_of_a_normal_run_has_nothing_that_looks_like_a_fault(cluster: str) -> None:
    ended = finish("lead", "--name", "scripts", "--", "true")
    assert "state=leader" in ended.stderr
    for fault in ("None", '""', "not_handed_over", "WARNING"):
        assert fault not in ended.stderr


@pytest.mark.etcd
def test_it_does_not_run_while_somebody_else_leads(start: Start, cluster: str) -> None:
    with LeaderElection("scripts", SlurpSettings.load(node={"id": "other"})) as other:
        assert other.wait_for_leadership(WAIT_S)
        second = start("lead", "--name", "scripts", "--", "sh", "-c", 'echo "$SLURP_TOKEN"')
        read_until(second.stderr, "state=candidate")
        token = other.require_term().token
        other.resign(pause=30)
        out, _ = second.communicate(timeout=WAIT_S)
    assert int(out) > token  # once, in a term of its own
    assert second.returncode == 0


_STANDS_BY = """
trap 'echo ending; exit 0' TERM
echo "led $SLURP_EPOCH"
while :; do sleep 0.05; done
"""


def _hand_over(other: LeaderElection) -> None:
    other.transfer("other")


def _step_down(other: LeaderElection) -> None:
    other.control.step_down()


def _force(other: LeaderElection) -> None:
    other.control.force("other")


@pytest.mark.etcd
@pytest.mark.parametrize("lose", [_hand_over, _step_down, _force])
def test_after_a_term_it_stands_again_and_runs_the_program_anew(
    start: Start, cluster: str, lose: Callable[[LeaderElection], None]
) -> None:
    with LeaderElection("scripts", SlurpSettings.load(node={"id": "other"})) as other:
        assert other.wait_for_leadership(WAIT_S)
        first = start("lead", "--name", "scripts", "--", "bash", "-c", _STANDS_BY)
        read_until(first.stderr, "state=candidate")
        other.resign(pause=0)
        assert read_until(first.stdout, "led") == "led 2\n"
        lose(other)
        assert other.wait_for_leadership(WAIT_S)
        assert first.poll() is None
        other.resign(pause=30)
        assert read_until(first.stdout, "led") == "led 4\n"
        first.send_signal(signal.SIGTERM)
        out, _ = first.communicate(timeout=WAIT_S)
    assert out == "ending\n"
    assert first.returncode == 143


@pytest.mark.etcd
def test_a_stop_ends_it_while_somebody_else_leads(start: Start, cluster: str) -> None:
    with LeaderElection("scripts", SlurpSettings.load(node={"id": "other"})) as other:
        assert other.wait_for_leadership(WAIT_S)
        second = start("lead", "--name", "scripts", "--", "echo", "mine")
        read_until(second.stderr, "state=candidate")
        second.send_signal(signal.SIGTERM)
        out, _ = second.communicate(timeout=WAIT_S)
    assert out == ""
    assert second.returncode == 143


class _Terms:
    """An election of which only the terms matter: one after the other, as `LeaderElection.run` gives them out."""

    def __init__(self, *terms: Term) -> None:
        self._terms = list(terms)
        self.runs = 0

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def stop(self) -> bool:
        return True

    def run(self, work: Callable[[Term], Any]) -> Any:
        self.runs += 1
        return work(self._terms.pop(0))

    def kill_on_death(self, group: int) -> None: ...


def _term(token: int) -> Term:
    trust = Trust()
    trust.until = SystemClock().boottime() + 3600
    return Term("scripts", token, token, "a", "s", "t", b"k", b"v", SystemClock(), trust)


def _lead(elections: _Terms, *cmd: str) -> int:
    return _Lead(cast("Any", None), cast("Any", elections), list(cmd), 10.0).run()


def test_a_program_that_ends_in_the_moment_its_term_is_given_back_is_run_anew_in_the_next() -> None:
    """Whatever its code: somebody else is to lead, and who goes on here is a standby."""
    leaving, in_force = _term(7), _term(8)
    death = _Death.wait

    def seen(self: _Death, seconds: float) -> bool:
        is_dead = death(self, WAIT_S)
        leaving.leaving.set()
        return is_dead

    elections = _Terms(leaving, in_force)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Death, "wait", seen)
        assert _lead(elections, "sh", "-c", "exit $SLURP_TOKEN") == 8
    assert elections.runs == 2


def test_a_term_that_is_trusted_again_while_the_program_is_stopped_does_not_make_that_its_own_end() -> None:
    doubted, in_force = _term(7), _term(8)
    start = Starter.start

    def doubt(self: Starter, *arguments: Any) -> bool:
        has_started = start(self, *arguments)
        doubted.trust.until = float("-inf")
        return has_started

    class Trusted(_Terms):
        def kill_on_death(self, group: int) -> None:
            if group == 0:
                doubted.trust.until = float("inf")

    elections = Trusted(doubted, in_force)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Starter, "start", doubt)
        assert _lead(elections, "sh", "-c", 'test "$SLURP_TOKEN" = 8 || exec sleep 1000') == 0
    assert elections.runs == 2


def test_a_stop_that_comes_between_two_terms_is_not_outrun_by_the_next() -> None:
    """`LeaderElection.run` starts an election that has just stopped."""

    class Restarted(_Terms):
        stops = 0
        is_up = threading.Event()

        def stop(self) -> bool:
            self.stops += 1
            if self.stops > 1:
                self.is_up.set()
            return True

        def run(self, work: Callable[[Term], Any]) -> Any:
            signal.raise_signal(signal.SIGTERM)
            assert self.is_up.wait(WAIT_S)
            return super().run(work)

    elections = Restarted(_term(7))
    assert _lead(elections, "/nowhere/program") == 143  # it would be said that it is not there


@pytest.mark.etcd
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_gives_the_program_time_to_end(start: Start, cluster: str, number: signal.Signals) -> None:
    script = 'trap "echo ending; exit 0" TERM; echo ready; while :; do sleep 0.05; done'
    leading = start("lead", "--name", "scripts", "--", "bash", "-c", script)
    read_until(leading.stdout, "ready")
    leading.send_signal(number)
    out, _ = leading.communicate(timeout=WAIT_S)
    assert out == "ending\n"
    assert leading.returncode == 128 + number


@pytest.mark.etcd
def test_a_program_that_does_not_end_is_killed(start: Start, cluster: str) -> None:
    script = 'trap "" TERM; echo ready; while :; do sleep 0.05; done'
    leading = start("lead", "--grace", "0.3", "--", "bash", "-c", script)
    read_until(leading.stdout, "ready")
    leading.send_signal(signal.SIGINT)
    leading.communicate(timeout=WAIT_S)
    assert leading.returncode == 130


@pytest.mark.etcd
def test_a_program_that_ignores_sigterm_is_killed_before_the_lease_ends(
    start: Start, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much longer `--grace` is."""
    ttl_s = 8
    monkeypatch.setenv("SLURP_ELECTION__LEASE_TTL", str(ttl_s))
    with EtcdProcess() as etcd:
        monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", etcd.endpoint)
        script = 'trap "" TERM; echo $$; while :; do sleep 0.05; done'
        leading = start("lead", "--grace", "60", "--", "bash", "-c", script)
        program = _guarded_program(leading)
        try:
            etcd.pause()
            assert select.select([program], [], [], ttl_s)[0], "the program outlives the lease"
        finally:
            os.close(program)


@pytest.mark.etcd
def test_the_program_of_a_leader_does_not_learn_of_the_guard_that_is_its_grandparent(cluster: str) -> None:
    """The socket is not passed on to it, and its number may be another one's there."""
    script = 'echo "token=$SLURP_TOKEN"; env'
    ended = finish("guard", "--", *PROGRAM, "lead", "--name", "scripts", "--", "sh", "-c", script)
    assert ended.stdout.startswith("token=")
    assert GUARD_SOCKET not in ended.stdout
    assert ended.returncode == 0


@pytest.mark.etcd
def test_a_second_stop_ends_the_program_too_also_without_a_guard(
    start: Start, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURP_ELECTION__GUARD", "false")
    script = 'trap "echo asked" TERM; echo $$; while :; do sleep 0.05; done'
    leading = start("lead", "--name", "scripts", "--", "bash", "-c", script)
    program = _guarded_program(leading)
    try:
        leading.send_signal(signal.SIGTERM)
        read_until(leading.stdout, "asked")
        leading.send_signal(signal.SIGTERM)
        assert leading.wait(WAIT_S) == 143
        assert select.select([program], [], [], WAIT_S)[0], "the program runs on"
    finally:
        os.close(program)


def test_who_quits_at_once_starts_no_program_any_more() -> None:
    leads = _Lead(cast("Any", None), cast("Any", _Terms()), ["true"], 10.0)
    leads._kill_at_once()
    assert leads._start({}, _term(7)) is None


def test_the_guard_knows_the_group_of_the_program_before_each_term() -> None:
    """Else a `kill -9` that comes right after the start would leave the program running beside the next leader's. Also
    where the next term follows without an end of the run, as after a loss."""
    said: list[int] = []
    lost, in_force = _term(7), _term(8)
    start = Starter.start

    def lose(self: Starter, *arguments: Any) -> bool:
        has_started = start(self, *arguments)
        lost.trust.until = float("-inf")
        return has_started

    class Noted(_Terms):
        def kill_on_death(self, group: int) -> None:
            said.append(group)

        def run(self, work: Callable[[Term], Any]) -> Any:
            for term in (lost, in_force):
                assert said[-1] == os.getpgid(said[-1])
                code = work(term)
            return code

    script = 'test "$SLURP_TOKEN" = 8 || exec sleep 1000; test "$(ps -o pgid= $$ | tr -d " ")" = $$'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Starter, "start", lose)
        assert _lead(Noted(), "sh", "-c", script) == 0
    assert said[1::2] == [0, 0]


def test_what_keeps_a_process_from_being_started_is_not_the_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as an interpreter that an upgrade has replaced: no program of that name was looked for."""
    call = SimpleNamespace(output=lambda: SimpleNamespace(say=print))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        assert _Lead(cast("Any", call), cast("Any", _Terms(_term(7))), ["true"], 10.0).run() == 126
    assert capsys.readouterr().out.startswith("true: no process can be started for it: ")


def test_a_process_that_ends_while_it_waits_for_the_lead_is_replaced() -> None:
    said: list[int] = []

    class Killed(_Terms):
        def kill_on_death(self, group: int) -> None:
            said.append(group)

        def run(self, work: Callable[[Term], Any]) -> Any:
            os.killpg(said[-1], signal.SIGKILL)
            return super().run(work)

    assert _lead(Killed(_term(7)), "sh", "-c", "exit $SLURP_TOKEN") == 7
    first, nobody, second, _ = said
    assert nobody == 0 != second != first


def test_processes_that_all_end_while_they_wait_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    class Killed(_Terms):
        def kill_on_death(self, group: int) -> None:
            if group:
                os.killpg(group, signal.SIGKILL)

    call = SimpleNamespace(output=lambda: SimpleNamespace(say=print))
    assert _Lead(cast("Any", call), cast("Any", Killed(_term(7))), ["true"], 10.0).run() == 126
    assert capsys.readouterr().out == "true: it ends before it begins\n"


def test_a_term_that_is_over_before_the_program_begins_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen where it would begin: it may be stopped before it has said a word."""
    leaving, in_force = _term(7), _term(8)
    leaving.leaving.set()
    begins: list[str] = []
    start = Starter.start

    def watched(starter: Starter, command: Any, environment: Any, may_begin: Any) -> bool:
        begins.append(environment["SLURP_TOKEN"])
        return start(starter, command, environment, may_begin)

    monkeypatch.setattr(Starter, "start", watched)
    assert _lead(_Terms(leaving, in_force), "sh", "-c", "exit $SLURP_TOKEN") == 8
    assert begins == ["8"]


@pytest.mark.parametrize(("stop_timeout", "held_s"), [("2s", 65), ("5m", 300)])
def test_the_term_is_held_for_as_long_as_the_program_may_take_to_end(
    slurp: Slurp, monkeypatch: pytest.MonkeyPatch, stop_timeout: str, held_s: float
) -> None:
    """Else the program would run on beside that of the next leader."""
    monkeypatch.setenv("SLURP_ELECTION__STOP_TIMEOUT", stop_timeout)
    held: list[float] = []

    def run(self: _Lead) -> int:
        held.append(self._election.settings.election.stop_timeout_s)
        return 0

    monkeypatch.setattr(_Lead, "run", run)
    assert slurp("lead", "--grace", 60, "--", "true").code == 0
    assert held == [held_s]
    assert slurp("lead", "--grace", 3600, "--", "true").code == 2


def test_a_death_that_was_seen_leaves_the_number_of_the_program_taken() -> None:
    """Its group is killed after that, which must not be another one by then."""
    process = subprocess.Popen(["true"])
    with _Death(process) as death:
        assert death.wait(WAIT_S)
    assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    assert process.wait() == 0


def _guarded_program(runner: Any) -> int:
    """A pidfd of the program of `slurp lead`, which tells its pid: by then its guard knows it."""
    return os.pidfd_open(int(read_until(runner.stdout, "")))


@pytest.mark.etcd
def test_a_killed_runner_takes_its_program_along_before_the_next_one_leads(start: Start, cluster: str) -> None:
    leading = start("lead", "--name", "scripts", "--", "sh", "-c", "echo $$; exec sleep 1000")
    program = _guarded_program(leading)
    try:
        standby, seen = _watch("scripts")
        with standby:
            leader = standby.wait_for_leader(WAIT_S)
            leading.kill()
            seen.until(lambda event: getattr(event, "leader", None) not in (None, leader))
            assert select.select([program], [], [], 0)[0], "the program of the old leader still runs"
    finally:
        os.close(program)


@pytest.mark.etcd
def test_a_runner_that_is_stopped_takes_its_program_along_before_the_next_one_leads(
    start: Start, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its guard gives the lease back for its silence, long before the TTL is over."""
    monkeypatch.setenv("SLURP_ELECTION__LEASE_TTL", "15")
    monkeypatch.setenv("SLURP_ELECTION__STALL_TIMEOUT", "2")
    leading = start("lead", "--name", "scripts", "--", "sh", "-c", "echo $$; exec sleep 1000")
    program = _guarded_program(leading)
    try:
        standby, seen = _watch("scripts")
        with standby:
            leader = standby.wait_for_leader(WAIT_S)
            leading.send_signal(signal.SIGSTOP)
            seen.until(lambda event: getattr(event, "leader", None) not in (None, leader))
            assert select.select([program], [], [], 0)[0], "the program of the old leader still runs"
    finally:
        os.close(program)


@pytest.mark.etcd
def test_a_runner_that_dies_after_it_was_handed_the_lead_is_followed_at_once(
    start: Start, cluster: str, long_leases: None
) -> None:
    """The key came to it by a handover, onto a lease that its guard has held since it was a standby."""
    with LeaderElection("scripts", SlurpSettings.load(node={"id": "other"})) as other:
        assert other.wait_for_leadership(WAIT_S)
        leading = start("lead", "--name", "scripts", "--", "sh", "-c", "echo $$; exec sleep 1000")
        read_until(leading.stderr, "state=candidate")
        other.transfer()
        program = _guarded_program(leading)
        try:
            leading.kill()
            assert other.wait_for_leadership(WAIT_S)
            assert select.select([program], [], [], 0)[0], "the program of the old leader still runs"
        finally:
            os.close(program)


@pytest.mark.etcd
def test_what_the_program_leaves_behind_does_not_outlive_the_term(cluster: str) -> None:
    script = "sleep 1000 >/dev/null 2>&1 & echo $!"
    ended = finish("lead", "--name", "scripts", "--", "sh", "-c", script)
    assert ended.returncode == 0
    left_behind = Path(f"/proc/{ended.stdout.strip()}/stat")
    assert not left_behind.exists() or left_behind.read_text().split()[2] == "Z"
