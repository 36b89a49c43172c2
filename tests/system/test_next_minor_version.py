"""A node of the next minor version, which writes a field more into every record, beside one of this version."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.store import Get, prefix_end
from support.calls import do
from support.later_version import CONTENT, FIELD, NextMinor
from support.waiting import WAIT_S, until, when_it_stands


class Node:
    """A system, the way it reaches the store, and what its generator and its periodic work did."""

    def __init__(self, shared: Any, node_id: str, *, is_later: bool) -> None:
        self.way = NextMinor(shared, is_later=is_later)
        settings = SlurpSettings(
            node={"id": node_id},
            election={"lease_ttl": 3, "publish_interval": 1},
            jobs={"backoff_base": 0.01, "backoff_cap": 0.02},
        )
        self.id = node_id
        self.go_on = threading.Event()
        self.is_running, self.ticked = threading.Semaphore(0), threading.Semaphore(0)
        self.system = SlurpLeaderSystem(settings, generator=self.generate, stores=self.way)
        self.system.every(1, name="tick")(lambda: self.ticked.release())

    def generate(self, request: Any, job: Any) -> dict[str, Any]:
        job.progress(0.5, "half")
        if request.file_path == "flaky.py" and job.attempt == 1:
            raise OSError("not yet")
        if request.file_path == "slow.py":
            self.is_running.release()
            while not self.go_on.wait(0.01):
                job.check()
        return {"by": self.id}


@pytest.fixture
def nodes(shared: Any) -> Iterator[dict[str, Node]]:
    made = {"old": Node(shared, "old", is_later=False), "new": Node(shared, "new", is_later=True)}
    yield made
    for node in made.values():
        node.go_on.set()
        node.way.is_mute = False
        node.system.stop()


def hand_over(leader: Node, to: Node) -> None:
    """As soon as the other one stands."""
    assert when_it_stands(leader.system.leader.transfer, to.id, timeout=WAIT_S).node_id == to.id


def kinds(keys: set[bytes]) -> set[str]:
    """The kinds of records among these keys: what stands before the first part that is a name or a number."""
    names = set()
    for key in keys:
        parts = key.decode().removeprefix("/slurp/v1/default/").split("/")
        names.add("/".join(parts[3:]) if parts[1] == "election" else parts[1])
    return {"candidates" if name.startswith("candidates/") else name for name in names}


@pytest.mark.parametrize("first", ["old", "new"])
def test_both_lead_in_turn_with_jobs_under_way_and_the_work_of_each_is_done(
    nodes: dict[str, Node], shared: Any, first: str
) -> None:
    leader, other = nodes[first], nodes["new" if first == "old" else "old"]
    leader.system.start()
    assert leader.system.wait_for_leadership(WAIT_S)
    other.system.start()
    for turn in (1, 2):
        flaky = other.system.submit("flaky.py", idempotency_key=f"flaky under {leader.id}")
        assert flaky.result(WAIT_S).success
        report = other.system.jobs.report(flaky.id)
        assert (report.attempts, report.interruptions) == (2, 0)
        assert leader.ticked.acquire(timeout=WAIT_S)

        slow, waits = other.system.submit("slow.py"), other.system.submit("slow.py", delay=3600)
        assert leader.is_running.acquire(timeout=WAIT_S)
        hand_over(leader, other)
        assert other.system.wait_for_leadership(WAIT_S)
        assert other.system.status()["election"]["reason"] == "handover"
        leader.go_on.set()
        assert slow.result(WAIT_S).success
        report = other.system.jobs.report(slow.id)
        assert (report.attempts, report.interruptions) == (1, 0)  # it ended under the grant
        until(lambda turn=turn: verdicts(shared) == ["verified"] * turn)
        assert leader.system.jobs.cancel(waits.id, "not needed")
        until(lambda waits=waits: waits.status().value == "cancelled")
        leader, other = other, leader
    assert leader is nodes[first]
    for node in nodes.values():
        entries = node.system.leader.history()
        assert {"elected", "handover"} <= {getattr(entry, "reason", "") for entry in entries}
    assert not all_of(shared, b"m/parked/")
    assert kinds(nodes["new"].way.written) >= {
        "candidates", "cancel", "control/ack", "control/transfer", "done", "failover", "grant", "hb",
        "history", "idem", "leader", "nodes", "periodic", "progress", "queue", "run", "state",
    }  # fmt: skip


@pytest.mark.parametrize("first", ["old", "new"])
def test_each_takes_the_key_from_the_other_when_that_goes_silent_and_runs_its_jobs_again(
    nodes: dict[str, Node], first: str
) -> None:
    leader, other = nodes[first], nodes["new" if first == "old" else "old"]
    leader.system.start()
    assert leader.system.wait_for_leadership(WAIT_S)
    other.system.start()
    slow = other.system.submit("slow.py")
    assert leader.is_running.acquire(timeout=WAIT_S)
    leader.way.is_mute = True
    other.go_on.set()
    assert other.system.wait_for_leadership(WAIT_S)
    assert other.system.status()["election"]["reason"] == "stolen"
    assert slow.result(WAIT_S).success
    report = other.system.jobs.report(slow.id)
    assert (report.attempts, report.interruptions) == (1, 1)
    leader.go_on.set()
    leader.way.is_mute = False
    until(lambda: leader.system.state == "candidate")
    assert other.system.is_leader


def test_orders_are_given_and_taken_back_by_both_and_nothing_of_them_is_lost(
    nodes: dict[str, Node], shared: Any
) -> None:
    old, new = nodes["old"], nodes["new"]
    old.system.start()
    assert old.system.wait_for_leadership(WAIT_S)
    new.system.start()
    until(lambda: len(old.system.leader.simulate().rows) == 2)
    new.system.leader.freeze("at night")
    old.system.leader.block("z", "old disk")
    until(lambda: set(new.system.leader.orders().blocked) == {"z"})
    assert old.system.leader.orders().frozen.why == "at night"
    old.system.leader.unfreeze()
    old.system.leader.block("old", "new kernel")
    assert new.system.wait_for_leadership(WAIT_S)
    old.system.leader.unblock("z")
    [operator] = [kv for kv in all_of(shared, b"m/election/") if kv.key.endswith(b"control/operator")]
    assert json.loads(operator.value)[FIELD] == CONTENT
    entries = old.system.leader.history()
    assert [entry.action for entry in entries if hasattr(entry, "action")][::-1] == [
        "freeze", "block", "unfreeze", "block", "unblock",
    ]  # fmt: skip


def verdicts(shared: Any) -> list[str]:
    """What each successor made of the manifest that was left for it."""
    checks = [json.loads(kv.value) for kv in all_of(shared, b"b/failover/") if kv.key.endswith(b"-check")]
    return [check["verdict"] for check in checks]


def all_of(shared: Any, under: bytes) -> Any:
    prefix = b"/slurp/v1/default/" + under
    return do(shared.store, Get(prefix, prefix_end(prefix))).kvs
