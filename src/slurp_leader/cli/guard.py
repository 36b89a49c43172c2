"""``slurp guard`` and ``slurp lead``: other programs, guarded, or run on the leader only."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.exits import UsageError
from slurp_leader.cli.node import logging_of
from slurp_leader.cli.options import Invocation, check_name
from slurp_leader.clock import SystemClock
from slurp_leader.errors import LifecycleError
from slurp_leader.guard.inherited import EPOCH, GUARD_SOCKET, TOKEN
from slurp_leader.guard.parent import NOT_FOUND, NOT_RUNNABLE
from slurp_leader.guard.starter import Starter, signal_group
from slurp_leader.signals import Signals

if TYPE_CHECKING:
    from slurp_leader.settings import SlurpSettings
    from slurp_leader.system import LeaderElection
    from slurp_leader.term import Term

_LOOK_S = 0.2
_STOP_RESERVE_S = 5
"""How much longer than the program may take to end the term is held at least: for noticing that, and for killing it."""
_LONGEST_GRACE_S = 3600 - _STOP_RESERVE_S
"""`election.stop_timeout` is an hour at most."""
_TRIES = 3
"""Processes that end while they wait for the lead are replaced; who ends them all will not let the program run."""
_RUN_GUARD = (
    "import sys; n = int(sys.argv[1]); sys.path[:] = sys.argv[2:n + 2]; "
    "from slurp_leader.guard.parent import main; main(sys.argv[n + 2:])"
)

CommandArgument = Annotated[
    list[str] | None, typer.Argument(metavar="-- CMD [ARG]...", help="What to run.", show_default=False)
]


def register(app: typer.Typer) -> None:
    command(app, "guard", json=False, timeout=False)(guard)
    command(app, "lead", json=False, timeout=False)(lead)


def guard(call: Invocation, cmd: CommandArgument = None) -> int:
    """Run a program under a crash guard that is its parent, as process 1 of a container should.

    When the program dies, its leases are given back at once, and the next leader starts in milliseconds. Signals are
    passed on, orphans are reaped, and the exit code is the program's (128 and the number of the signal that ended it).
    The program has to use this library; it finds the guard by itself.
    """
    wanted = _checked(cmd, "guard")
    places = [str(Path(place).absolute()) for place in sys.path]
    # An interpreter that has loaded nothing of ours yet: the guard stays, so it has to be small.
    arguments = [sys.executable, "-I", "-S", "-c", _RUN_GUARD, str(len(places)), *places, *wanted]
    sys.stdout.flush()
    os.execv(sys.executable, arguments)


def lead(
    call: Invocation,
    cmd: CommandArgument = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of the election. (default: election.name)")] = None,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=_LONGEST_GRACE_S,
            help="How long it may take to end when it is told to. The term is held for it.",
        ),
    ] = 10.0,
) -> int:
    """Run a program, in any language, on the leader only.

    It is started when this node leads and finds the fencing token in SLURP_TOKEN, and in SLURP_EPOCH the number of the
    term, for people. When the term is given back, as in a
    handover, it gets SIGTERM, and after --grace SIGKILL; so long the next leader waits, whatever election.stop_timeout
    says. When the term is lost, it is killed before the lease ends. If this command is killed or stopped, its crash
    guard kills the program before the next leader can start.

    After a term this node stands again, and the program is started anew when it leads again. This command ends when a
    signal tells it to, with 128 and the number of it; a second one kills the program and ends it at once. It ends, too,
    when the program ends by itself in a term that is not being given back: what is left in its process group is killed,
    and the exit code is the program's.
    """
    from slurp_leader.system import LeaderElection

    wanted = _checked(cmd, "lead")
    check_name("--name", name)
    settings = call.settings()
    with logging_of(call, settings):
        election = LeaderElection(name, _with_time_to_end(settings, grace))
        return _Lead(call, election, wanted, grace).run()


def _with_time_to_end(settings: SlurpSettings, grace_s: float) -> SlurpSettings:
    """The settings, with a stop that waits until the program has ended: it must not run beside the next leader's."""
    options = settings.election
    stop_timeout = max(options.stop_timeout, timedelta(seconds=grace_s + _STOP_RESERVE_S))
    return settings.model_copy(update={"election": options.but(stop_timeout=stop_timeout)})


def _checked(cmd: list[str] | None, verb: str) -> list[str]:
    if not cmd:
        raise UsageError(f"nothing to run; write `slurp {verb} -- CMD`")
    return cmd


class _Lead:
    """A program that runs whenever an election is won, until it ends by itself or somebody tells us to stop."""

    def __init__(self, call: Invocation, election: LeaderElection, cmd: list[str], grace_s: float) -> None:
        self._call = call
        self._election = election
        self._cmd = cmd
        self._grace_s = grace_s
        self._clock = SystemClock()
        self._signals = Signals(last_act=self._kill_at_once)
        self._lock = threading.Lock()  # guards the two below
        self._starter: Starter | None = None
        self._is_quitting = False
        self._code: int | None = None
        self._error: BaseException | None = None

    def run(self) -> int:
        with self._signals as signals, self._election:
            worker = threading.Thread(target=self._stand_until_it_ends, name="slurp-lead")
            worker.start()
            signals.first.wait()  # set, too, when the program has ended
            while worker.is_alive():
                self._election.stop()  # more than once, as who is about to stand again starts what has just stopped
                worker.join(_LOOK_S)
        if self._code is not None and not signals.number:
            return self._code
        if self._error is not None and not signals.number:
            raise self._error
        return 128 + signals.number

    def _stand_until_it_ends(self) -> None:
        """One term after the other."""
        try:
            while self._code is None and not self._signals.first.is_set():
                self._prepare()
                self._code = self._election.run(self._work)
        except BaseException as error:
            self._error = error
        finally:
            self._signals.first.set()
            self._discard()

    def _work(self, term: Term) -> int | None:
        """Run the program once, in one term.

        Returns:
            Its exit code, where it ended by itself. None: the term was to be given back by then, or was over. That is
            asked after its death was seen: whichever came first, somebody else is to lead, and we stand by.
        """
        environment = {**os.environ, TOKEN: str(term.token), EPOCH: str(term.epoch)}
        environment.pop(GUARD_SOCKET, None)  # the socket is not passed on
        try:
            process = self._start(environment, term)
        except OSError as error:
            self._discard()
            self._call.output().say(f"{self._cmd[0]}: {error.strerror}")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
        if process is None:
            return None
        try:
            has_ended = self._await(process, term)
            is_over = not has_ended or term.should_stop
            if not has_ended:
                self._stop(process, term)
        finally:
            self._discard()  # what it has left behind would run on without the term
        if is_over:
            self._prepare()
            return None
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def _start(self, environment: dict[str, str], term: Term) -> subprocess.Popen[bytes] | None:
        """Start the program; None: we are told to end, or the term is over.

        Raises:
            OSError: It cannot be started.
        """

        def may_begin() -> bool:
            return not term.should_stop

        for _ in range(_TRIES):
            try:
                starter = self._prepared()
            except OSError as error:  # whatever it is, it is not the program's
                raise OSError(errno.EAGAIN, f"no process can be started for it: {error}") from error
            if starter is None or not may_begin():
                return None
            if starter.start(self._cmd, environment, may_begin):
                return starter.process
            self._discard()
            if not may_begin():
                return None
        raise OSError(errno.EAGAIN, "it ends before it begins")

    def _prepare(self) -> None:
        """Have a process ready for the next term, if that can be: else that is said when the program is to begin."""
        with suppress(OSError, LifecycleError):
            self._prepared()

    def _prepared(self) -> Starter | None:
        """A process that can become the program, and that the guard knows. None: we are told to end.

        Raises:
            OSError: It cannot be started.
        """
        with self._lock:  # so that whoever quits at once finds it
            if self._is_quitting or self._signals.first.is_set():
                return None
            if self._starter is None:
                self._starter = Starter()
                self._election.kill_on_death(self._starter.process.pid)
            return self._starter

    def _discard(self) -> None:
        """Kill the program and what it has left behind."""
        with self._lock:
            starter, self._starter = self._starter, None
            if starter is None:
                return
            starter.kill()
        starter.close()  # without the lock: what hangs in the kernel must not hold up who quits at once
        with suppress(LifecycleError):  # stopped: nobody guards it any more
            self._election.kill_on_death(0)

    def _kill_at_once(self) -> None:
        """We quit: the program must not outlive us, also where no guard sees to that."""
        with self._lock:
            self._is_quitting = True
            if self._starter is not None:
                self._starter.kill()

    def _await(self, process: subprocess.Popen[bytes], term: Term) -> bool:
        """Wait until the program ends, or has to. Whether it was seen to end."""
        with _Death(process) as death:
            while not term.should_stop:
                if death.wait(min(_LOOK_S, term.remaining_s())):
                    return True
                term.beat()
        return False

    def _stop(self, process: subprocess.Popen[bytes], term: Term) -> None:
        """Ask it to end, and give it the time it has: until the lease may end, at most. After that it is made to."""
        signal_group(process, signal.SIGTERM)
        until = self._clock.boottime() + self._grace_s
        with _Death(process) as death:
            # Nothing may run of a term that is over; trust ends a margin before the lease.
            while self._clock.boottime() < until and term.is_valid and not death.wait(min(_LOOK_S, term.remaining_s())):
                term.beat()


class _Death:
    """Waits for the end of a child. Where the kernel has pidfds, as Linux since 5.3, that does not reap it: its number
    stays taken, so that its group can be killed without hitting another one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._descriptor: int | None = None

    def __enter__(self) -> _Death:
        try:
            self._descriptor = os.pidfd_open(self._process.pid)
        except (OSError, AttributeError):
            self._descriptor = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, within this time."""
        if self._descriptor is not None:
            readable, _, _ = select.select([self._descriptor], [], [], max(0.0, seconds))
            return bool(readable)
        try:
            self._process.wait(max(0.001, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True
