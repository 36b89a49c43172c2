"""Programs that fork, and what they need for it. Each runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from support.waiting import WAIT_S

CHILD_S = 30
"""How long a child may take. Generous, for the machine may be busy; one that waits for ever is ended then."""

CHILDREN = f"""
import os, select, signal, sys, threading
from contextlib import ExitStack, contextmanager

def exit_code_of(child):
    ended = select.poll()
    ended.register(os.pidfd_open(child), select.POLLIN)
    if not ended.poll({CHILD_S} * 1000):
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def code_of_child(check):
    child = os.fork()
    if child == 0:
        try:
            check()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    return exit_code_of(child)

@contextmanager
def held(*locks):
    '''Another thread holds them meanwhile.'''
    holds, may_end = threading.Event(), threading.Event()

    def hold():
        with ExitStack() as all_of_them:
            for lock in locks:
                all_of_them.enter_context(lock)
            holds.set()
            may_end.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    assert holds.wait(30)
    try:
        yield
    finally:
        may_end.set()
        holder.join()

def refuses(error, *calls, saying=""):
    for call in calls:
        try:
            answer = call()
        except error as refusal:
            assert saying in str(refusal), refusal
        else:
            raise AssertionError(f"{{call}} answered {{answer!r}}")
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has what is in `CHILDREN`."""
    environment = os.environ | {"GRPC_VERBOSITY": "NONE"}  # gRPC tells of every fork
    command = [sys.executable, "-c", CHILDREN + program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False, env=environment)
