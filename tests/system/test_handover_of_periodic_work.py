"""A planned handover of a system and its periodic work: a run ends in its term, and the next one begins elsewhere."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.election import ElectionKeys
from slurp_leader.errors import HandoverError
from slurp_leader.store import Delete, Get, prefix_end
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.term import Term
from support.waiting import WAIT_S, until, when_it_stands


def at_once(request: Any, job: Any) -> dict[str, Any]:
    return {}


class Report:
    """One work of two nodes. The run on the node that led first goes on until `release`; all others end at once."""

    def __init__(self, kind: str) -> None:
        self.release = threading.Event()
        self.begun: queue.Queue[str] = queue.Queue()
        self.ended: list[tuple[str, str]] = []
        """Node, and how its run ended."""
        self.most_at_once = 0
        self._kind = kind
        self._lock = threading.Lock()
        self._under_way = 0

    def register(self, system: SlurpLeaderSystem, node_id: str) -> None:
        async def coroutine(term: Term) -> None:
            with self._run(node_id, term):
                while node_id == "a" and not self.release.is_set():
                    await asyncio.sleep(0.01)

        def function(term: Term) -> None:
            with self._run(node_id, term):
                assert node_id != "a" or self.release.wait(WAIT_S)

        system.every(1, name="report")(coroutine if self._kind == "coroutine" else function)

    @contextmanager
    def _run(self, node_id: str, term: Term) -> Iterator[None]:
        with self._lock:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        self.begun.put(node_id)
        how = "in a term that is over"
        try:
            yield
            how = "in its term" if term.is_valid else how
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        finally:
            with self._lock:
                self._under_way -= 1
            self.ended.append((node_id, how))


@contextmanager
def pair(
    settings: Callable[..., SlurpSettings],
    report: Report,
    stores: Any = None,
    generator: Any = at_once,
    **sections: Any,
) -> Iterator[tuple[SlurpLeaderSystem, SlurpLeaderSystem]]:
    """The leader, with a run under way, and a standby that could take over."""
    first, second = (
        SlurpLeaderSystem(settings(node_id, **sections), generator=generator, stores=stores) for node_id in "ab"
    )
    for system, node_id in ((first, "a"), (second, "b")):
        report.register(system, node_id)
    with first:
        assert first.wait_for_leadership(WAIT_S)
        assert report.begun.get(timeout=WAIT_S) == "a"
        with second:
            when_it_stands(second.leader.transfer, "b", dry_run=True)
            try:
                yield first, second
            finally:
                report.release.set()


def in_memory(node_id: str, **sections: Any) -> SlurpSettings:
    return SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3, **sections.pop("election", {})}, **sections)


def hands_over(how: str, first: SlurpLeaderSystem, second: SlurpLeaderSystem) -> threading.Thread:
    """Begin a handover, and wait until the successor has said that it is ready."""
    act = first.stop if how == "stop" else lambda: second.leader.transfer("b", timeout=WAIT_S)
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    until(lambda: second.is_leader or acknowledged(second))
    return thread


def keys_of(system: SlurpLeaderSystem) -> ElectionKeys:
    settings = system.settings
    return ElectionKeys.of(Keyspace(settings.node.cluster_id), settings.election.name)


def acknowledged(system: SlurpLeaderSystem) -> bool:
    """Whether a successor has answered an offer that stands."""
    return bool(system._running().store.call(Get(keys_of(system).ack), WAIT_S).result().kvs)


def check_run_ends_first(how: str, report: Report, first: SlurpLeaderSystem, second: SlurpLeaderSystem) -> None:
    token = first.term.token
    handing_over = hands_over(how, first, second)
    for number in range(3):  # jobs do not wait
        assert second.submit(f"src/{number}.py").result(timeout=WAIT_S).token == token
    assert first.is_leader
    report.release.set()
    handing_over.join(WAIT_S)
    assert second.wait_for_leadership(WAIT_S)
    assert report.begun.get(timeout=WAIT_S) == "b"
    assert report.ended[0] == ("a", "in its term")
    assert report.most_at_once == 1


@pytest.mark.parametrize("how", ["stop", "transfer"])
@pytest.mark.parametrize("kind", ["coroutine", "function"])
def test_a_run_that_is_under_way_ends_in_its_term_and_the_next_begins_on_the_successor(
    shared: Any, kind: str, how: str
) -> None:
    report = Report(kind)
    with pair(in_memory, report, shared) as (first, second):
        check_run_ends_first(how, report, first, second)


@pytest.mark.parametrize(("kind", "how"), [("coroutine", "stop"), ("function", "transfer")])
def test_on_real_etcd_too(etcd_settings: Any, kind: str, how: str) -> None:
    report = Report(kind)
    with pair(etcd_settings, report) as (first, second):
        check_run_ends_first(how, report, first, second)


def test_a_job_that_begins_while_the_handover_waits_is_lent_as_any_other(shared: Any) -> None:
    report, started, finish = Report("function"), threading.Event(), threading.Event()

    def generate(request: Any, job: Any) -> dict[str, Any]:
        started.set()
        finish.wait(WAIT_S)
        job.check()
        return {}

    with pair(in_memory, report, shared, generator=generate) as (first, second):
        token = first.term.token
        handing_over = hands_over("transfer", first, second)
        handle = second.submit("src/main.py")
        assert started.wait(WAIT_S)
        report.release.set()
        handing_over.join(WAIT_S)
        assert second.wait_for_leadership(WAIT_S)
        finish.set()
        assert handle.result(WAIT_S).token == token
        done = second.jobs.report(handle.id)
        assert (done.attempts, done.interruptions) == (1, 0)


@pytest.mark.parametrize(("kind", "end"), [("coroutine", "cancelled"), ("function", "in a term that is over")])
def test_a_run_that_does_not_end_delays_a_transfer_by_the_stop_timeout_and_is_cut_off(
    shared: Any, kind: str, end: str
) -> None:
    report = Report(kind)
    with pair(in_memory, report, shared, election={"stop_timeout": 0.2}) as (_, second):
        second.leader.transfer("b", timeout=WAIT_S)
        assert report.begun.get(timeout=WAIT_S) == "b"  # beside a function, which nobody can end
        report.release.set()
        until(lambda: ("a", end) in report.ended)


def test_a_coroutine_that_does_not_end_delays_a_stop_by_the_stop_timeout_and_is_cut_off(shared: Any) -> None:
    report = Report("coroutine")
    with pair(in_memory, report, shared, election={"stop_timeout": 0.2}) as (first, second):
        assert first.stop()
        assert second.wait_for_leadership(WAIT_S)
        assert report.ended[0] == ("a", "cancelled")


def test_a_run_that_looks_at_its_term_is_told_of_a_stop_and_ends_in_it(make_system: Any) -> None:
    first, second = make_system(), make_system()
    first.stop()
    assert second.wait_for_leadership(WAIT_S)
    begun, ended = threading.Event(), list[tuple[bool, bool]]()

    def loop(term: Term) -> None:
        begun.set()
        ended.append((term.wait(WAIT_S), term.is_valid))

    first.every(60, name="loop")(loop)
    first.start()
    when_it_stands(second.leader.transfer, first.settings.node.id, timeout=WAIT_S)
    assert begun.wait(WAIT_S)
    when_it_stands(first.leader.transfer, second.settings.node.id, dry_run=True)
    assert first.stop()
    assert ended == [(True, True)]


def test_where_the_handover_is_refused_periodic_work_goes_on(shared: Any) -> None:
    report, answers = Report("function"), list[str]()
    with pair(in_memory, report, shared) as (first, second):

        def transfer() -> None:
            with pytest.raises(HandoverError) as caught:
                second.leader.transfer("b", timeout=WAIT_S)
            answers.append(caught.value.reason)

        handing_over = threading.Thread(target=transfer, daemon=True)
        handing_over.start()
        until(lambda: acknowledged(second))
        session = keys_of(second).nodes + b"b/"  # without it nothing is handed over to that node
        shared.store.call(Delete(session, prefix_end(session)), WAIT_S).result()
        report.release.set()
        handing_over.join(WAIT_S)
        assert answers == ["refused"]
        assert report.begun.get(timeout=WAIT_S) == "a"
        assert first.wait_for_leadership(WAIT_S)
