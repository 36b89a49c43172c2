"""Signals that end a program, wherever they arrive and whatever it does meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from support.waiting import WAIT_S

_PROGRAM = """
import os, signal, threading, time
from slurp_leader.signals import Signals

def to_another_thread():
    threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()

"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _PROGRAM + code], capture_output=True, text=True, timeout=WAIT_S)


def test_a_signal_is_heard_although_another_thread_took_it() -> None:
    """The main thread waits without limit, and no system call of it is interrupted."""
    ended = run(
        """
with Signals() as signals:
    timer = threading.Timer(0.2, to_another_thread)
    timer.start()
    signals.first.wait()
    print(signals.number)
"""
    )
    assert (ended.stdout, ended.returncode) == ("15\n", 0), ended.stderr


def test_the_second_one_ends_a_program_whose_main_thread_waits_for_a_lock() -> None:
    ended = run(
        """
with Signals() as signals:
    to_another_thread()
    signals.first.wait()
    threading.Timer(0.2, to_another_thread).start()
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
"""
    )
    assert ended.returncode == 143, ended.stderr


def test_an_event_that_others_set_makes_no_signal_the_second_one() -> None:
    ended = run(
        """
with Signals() as signals:
    signals.first.set()
    to_another_thread()
    while not signals.number:
        time.sleep(0.01)
"""
    )
    assert ended.returncode == 0, ended.stderr


def test_a_signal_to_a_forked_child_ends_the_child_and_not_the_program() -> None:
    ended = run(
        """
with Signals() as signals:
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()  # never comes back: the signal ends the child
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), signals.first.wait(0.2))
"""
    )
    assert ended.stdout == "-15 False\n", ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_afterwards_signals_mean_what_they_meant_before(number: signal.Signals) -> None:
    ended = run(
        f"""
with Signals() as signals:
    pass
signal.raise_signal({int(number)})
"""
    )
    assert ended.returncode == -number, ended.stderr


def test_what_is_ignored_stays_ignored() -> None:
    ended = run(
        """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with Signals() as signals:
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    signals.first.wait()
    print(signals.number)
"""
    )
    assert ended.stdout == "15\n", ended.stderr


def test_nothing_of_it_stays_open() -> None:
    ended = run(
        """
for _ in range(3):
    with Signals():
        pass
    print(len(os.listdir("/proc/self/fd")), threading.active_count())
"""
    )
    assert len(set(ended.stdout.split("\n")) - {""}) == 1, ended.stdout
