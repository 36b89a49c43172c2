"""A process that cannot move, with all that it is made of: a job that holds the GIL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from support.waiting import WAIT_S

pytestmark = pytest.mark.etcd

STUCK = """
import ctypes, sys, threading
from slurp_leader import SlurpLeaderSystem, SlurpSettings

def generate(request, job):
    print("holding", flush=True)
    ctypes.PyDLL(None).sleep(8)  # in C, and without letting go of the GIL: no other thread runs meanwhile
    print("leads after it:", system.is_leader, flush=True)
    return "from the stuck one"

system = SlurpLeaderSystem(SlurpSettings.model_validate_json(sys.argv[1]), generator=generate)
system.start()
assert system.wait_for_leadership(60)
print("leading", flush=True)
threading.Event().wait()
"""


@pytest.fixture
def cluster(etcd_endpoint: str, prefix: bytes) -> dict[str, Any]:
    return {
        "node": {"cluster_id": prefix.decode().strip("/").replace("/", "-")},
        "etcd": {"endpoints": [etcd_endpoint]},
        "election": {"stall_timeout": 2},
    }


def settings_of(cluster: dict[str, Any], node_id: str) -> SlurpSettings:
    return SlurpSettings(**{**cluster, "node": {**cluster["node"], "id": node_id}})


@pytest.fixture
def stuck(cluster: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    import json

    given = json.dumps({**cluster, "node": {**cluster["node"], "id": "stuck"}})
    process = subprocess.Popen([sys.executable, "-c", STUCK, given], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_a_job_that_holds_the_gil_costs_the_term_and_not_the_job(
    stuck: subprocess.Popen[str], cluster: dict[str, Any]
) -> None:
    """The lease lives for 15 s, and the GIL is held for 8: only the guard, a process of its own, can end it."""
    assert stuck.stdout is not None
    assert stuck.stdout.readline() == "leading\n"
    with SlurpLeaderSystem(settings_of(cluster, "next"), generator=lambda request, job: "from the next one") as system:
        handle = system.submit("src/main.py")
        assert stuck.stdout.readline() == "holding\n"
        assert handle.result(WAIT_S).value == "from the next one"
        report = system.jobs.report(handle.id)
        assert report.interruptions == 1
        assert stuck.stdout.readline() == "leads after it: False\n"
        assert system.is_leader
        assert handle.result(WAIT_S).value == "from the next one"


def test_work_that_has_to_beat_and_does_not_loses_its_term(cluster: dict[str, Any]) -> None:
    import threading

    stuck, ended = threading.Event(), threading.Event()

    def work(term: Any) -> str:
        if not stuck.is_set():
            stuck.set()
            if term.lost.wait(WAIT_S):  # as a loop that hangs: it does not beat
                ended.set()
            term.check()
        return f"token {term.token}"

    election = LeaderElection("beating", settings_of(cluster, "a"), needs_progress=True)
    assert election.run(work).startswith("token ")
    assert ended.is_set()


def test_a_leader_without_work_keeps_its_term_beyond_the_stall_timeout(cluster: dict[str, Any]) -> None:
    """The scheduler beats by itself."""
    with SlurpLeaderSystem(settings_of(cluster, "idle"), generator=lambda request, job: "nothing to do") as system:
        assert system.wait_for_leadership(WAIT_S)
        term = system.term
        assert term is not None
        assert not term.lost.wait(5), "it ended"
