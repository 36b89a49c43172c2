"""Periodic work on its threads, where the machine behind it has a bug."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from datetime import datetime

from slurp_leader.clock import SystemClock
from slurp_leader.periodic import Periodic, Task, Work
from slurp_leader.store import Put
from slurp_leader.store.memory import MemoryStore
from slurp_leader.term import Term
from support.electing import KEYS, KEYSPACE
from support.waiting import WAIT_S


@dataclass(frozen=True)
class _Broken:
    """A schedule that cannot be asked."""

    follows_calendar: bool = False

    def start(self, last: datetime | None, now: datetime) -> datetime | None:
        raise ZeroDivisionError

    def due(self, last: datetime | None, now: datetime) -> datetime:
        raise ZeroDivisionError


def test_a_bug_holds_up_neither_the_end_of_a_term_nor_a_handover_before_it_and_after_it() -> None:
    clock, failed = SystemClock(), threading.Event()
    said: queue.Queue[tuple[str, int]] = queue.Queue()
    store = MemoryStore(clock)
    put = store.call(Put(KEYS.leader, b"v"), WAIT_S).result()
    term = Term("slurp", put.header.revision, 1, "a", "s", "t", KEYS.leader, b"v", clock)
    periodic = Periodic(
        store,
        KEYSPACE,
        "slurp",
        {Work("report", _Broken(), 60.0): Task.of(lambda: None)},
        clock=clock,
        timeout_s=WAIT_S,
        drained=lambda token: said.put(("drained", token)),
        settled=lambda token: said.put(("settled", token)),
        failed=failed.set,
    )
    periodic.start()
    periodic.lead(term)
    assert failed.wait(WAIT_S)
    assert [said.get_nowait() for _ in range(2)] == [("drained", term.token), ("settled", term.token)]
    periodic.settle(term.token)
    assert said.get_nowait() == ("settled", term.token)
    periodic.stop()
    store.close()
