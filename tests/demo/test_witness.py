"""The witness and the story around it, on a store in memory and a clock that leaps."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.planted import KEYSPACE
from slurp_leader.clock import SystemClock
from slurp_leader.demo.drama import Aborted, Drama, Inbox, KillRule, Signalled
from slurp_leader.demo.node import CLUSTER, demo_settings
from slurp_leader.demo.scene import Scene
from slurp_leader.demo.stage import DemoError, NodeProcess
from slurp_leader.demo.submitter import Pace, Submitting
from slurp_leader.demo.witness import Witness
from slurp_leader.election.records import ElectionKeys, LeaderRecord
from slurp_leader.jobs.request import ContextGenerationRequest
from slurp_leader.store import Delete, Put
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
from slurp_leader.system import SlurpLeaderSystem

_TIMEOUT_S = 30.0


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with MemoryStore() as memory:
        yield memory


def watch(store: MemoryStore, keyspace: Keyspace = KEYSPACE, inbox: Inbox | None = None) -> Witness:
    notes: Inbox = queue.SimpleQueue() if inbox is None else inbox
    return Witness(store, keyspace, SystemClock(), lambda: notes.put(None))


def test_the_history_begins_with_the_first_revision_and_ends_with_the_marker(store: MemoryStore) -> None:
    key = KEYSPACE.mirrored + b"queue/early"
    store.call(Put(key, b"{}"), _TIMEOUT_S).result()

    witness = watch(store)
    store.call(Delete(key), _TIMEOUT_S).result()

    kinds = [(event.kind.value, event.kv.key.rsplit(b"/", 1)[1]) for event in witness.whole_history()]
    assert kinds == [("put", b"early"), ("delete", b"early"), ("put", b"end")]
    witness.close()


def test_a_history_with_a_gap_is_not_judged(store: MemoryStore) -> None:
    for _ in range(5):
        store.call(Put(KEYSPACE.mirrored + b"queue/early", b"{}"), _TIMEOUT_S).result()
    store.compact(4)
    notes: Inbox = queue.SimpleQueue()

    witness = watch(store, inbox=notes)
    notes.get(timeout=_TIMEOUT_S)

    with pytest.raises(DemoError, match="compacted"), witness.looking():
        pass


def test_a_watch_that_ended_is_not_judged_by(store: MemoryStore) -> None:
    notes: Inbox = queue.SimpleQueue()
    witness = watch(store, inbox=notes)

    store.close()
    notes.get(timeout=_TIMEOUT_S)

    with pytest.raises(DemoError, match="the watch over the records ended"), witness.looking():
        pass


# ---------------------------------------------------------------- the story without its nodes


class LeapingClock(SystemClock):
    """Every look at it costs a second."""

    def __init__(self) -> None:
        self._leaps = 0

    def boottime(self) -> float:
        self._leaps += 1
        return super().boottime() + self._leaps


@dataclass
class NoNodes:
    """Nobody plays: the leader is a key that somebody left behind."""

    nodes: list[NodeProcess] = field(default_factory=list)
    broken: str | None = None

    def failure(self) -> str | None:
        return self.broken

    def logs(self) -> str:
        return "the logs of nobody"


class Dark:
    """A screen on which nothing is seen."""

    def show(self, scene: Scene) -> None:
        pass


@pytest.fixture
def submitting(store: MemoryStore, tmp_path: Path) -> Iterator[Submitting]:
    client = SlurpLeaderSystem(demo_settings("nowhere:1", "submitter", tmp_path), candidate=False, stores=lambda: store)
    with client:
        submitting = Submitting(
            client, [ContextGenerationRequest(file_path="a.py")], Pace(1, 0.0, 0), SystemClock(), lambda: None
        )
        yield submitting
        submitting.cancel()
        submitting.join()


def drama(store: MemoryStore, submitting: Submitting, cast: NoNodes, inbox: Inbox) -> Drama:
    keyspace = Keyspace(CLUSTER)
    record = LeaderRecord("node-1", "session", "term-1", 3, 1)
    store.call(Put(ElectionKeys.of(keyspace, "slurp").leader, record.to_value()), _TIMEOUT_S).result()
    witness = watch(store, keyspace, inbox)
    return Drama(cast, witness, submitting, 1, KillRule(None), inbox, Dark(), LeapingClock())


def test_when_nothing_moves_any_more_the_run_ends_with_the_logs(store: MemoryStore, submitting: Submitting) -> None:
    run = drama(store, submitting, NoNodes(), queue.SimpleQueue())

    with pytest.raises(DemoError, match=r"nothing was recorded.*within 45 s.*\nthe logs of nobody"):
        run.perform()


def test_what_broke_by_itself_ends_the_run(store: MemoryStore, submitting: Submitting) -> None:
    run = drama(store, submitting, NoNodes(broken="node-1 ended by itself"), queue.SimpleQueue())

    with pytest.raises(DemoError, match="node-1 ended by itself"):
        run.perform()


def test_a_signal_ends_the_run(store: MemoryStore, submitting: Submitting) -> None:
    inbox: Inbox = queue.SimpleQueue()
    run = drama(store, submitting, NoNodes(), inbox)
    inbox.put(Signalled(15))

    with pytest.raises(Aborted) as aborted:
        run.perform()

    assert aborted.value.signum == 15
