"""Handing the lead over, through the public face, and on real etcd under load."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.election import ElectionKeys
from slurp_leader.errors import ConfigurationError, HandoverError, NoLeaderError, OrderRefusedError
from slurp_leader.jobs.records import JobKeys
from slurp_leader.store import EventKind, Get, KeyValue, WatchEvents
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.term import Grant
from support.waiting import WAIT_S, when_it_stands


def election(shared: Any, node_id: str) -> LeaderElection:
    return LeaderElection("reports", SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3}), stores=shared)


def test_a_transfer_answers_who_leads_now(shared: Any) -> None:
    with election(shared, "a") as first:
        assert first.wait_for_leadership(WAIT_S)
        before = first.require_term()
        with election(shared, "b") as second:
            done = when_it_stands(second.transfer, "b", why="to see", timeout=WAIT_S)
            assert (done.before, done.node_id, done.is_dry_run) == ("a", "b", False)
            assert second.wait_for_leadership(WAIT_S)
            assert done.leader.token == second.require_term().token > before.token
            assert done.leader.record is not None
            assert done.leader.record.epoch == before.epoch + 1
            assert done.took_s > 0
            assert before.lost.wait(WAIT_S)
            assert not first.is_leader


def test_a_dry_run_changes_nothing(shared: Any) -> None:
    with election(shared, "a") as first:
        assert first.wait_for_leadership(WAIT_S)
        with election(shared, "b") as second:
            second.wait_for_leader(WAIT_S)
            done = when_it_stands(first.transfer, "b", dry_run=True)
            assert (done.before, done.node_id, done.is_dry_run) == ("a", "b", True)
            assert first.is_leader


@pytest.mark.parametrize(
    ("to", "reason"),
    [("a", "itself"), ("", "nobody"), ("nowhere", "unknown"), (None, "no_candidate")],
    ids=["itself", "nobody", "unknown", "nobody else"],
)
def test_what_cannot_be_done_is_refused_by_name_and_the_leader_goes_on(
    shared: Any, to: str | None, reason: str
) -> None:
    with election(shared, "a") as only:
        assert only.wait_for_leadership(WAIT_S)
        with pytest.raises(HandoverError) as caught:
            only.transfer(to)
        assert caught.value.reason == reason
        assert only.is_leader


def test_two_who_have_the_leader_step_down_at_once_end_one_term(shared: Any) -> None:
    with election(shared, "a") as first, election(shared, "b") as second:
        assert first.wait_for_leader(WAIT_S)
        leading, waiting = (first, second) if first.wait_for_leadership(1) else (second, first)
        when_it_stands(leading.transfer, waiting.settings.node.id, dry_run=True)
        before = leading.require_term()
        answers: list[Any] = []

        def ask(which: LeaderElection) -> None:
            try:
                answers.append(which.control.step_down("twice", timeout=WAIT_S))
            except HandoverError as error:
                answers.append(error.reason)

        threads = [threading.Thread(target=ask, args=(each,), daemon=True) for each in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        done = [answer for answer in answers if not isinstance(answer, str)]
        refused = [answer for answer in answers if isinstance(answer, str)]
        assert len(done) == 1 or {each.before for each in done} == {"a", "b"}, (
            answers
        )  # the second one hit the next term
        assert set(refused) <= {"busy", "changed"}
        assert before.lost.wait(WAIT_S)
        assert first.wait_for_leader(WAIT_S).token > before.token


def test_a_leader_that_stepped_down_is_handed_the_lead_again_when_its_successor_does(shared: Any) -> None:
    with election(shared, "a") as first, election(shared, "b") as second:
        assert first.wait_for_leader(WAIT_S)
        leading, waiting = (first, second) if first.wait_for_leadership(1) else (second, first)
        when_it_stands(leading.transfer, waiting.settings.node.id, dry_run=True)
        tokens = []
        for _ in range(2):
            done = leading.control.step_down("once more", timeout=WAIT_S)
            assert done.leader is not None
            assert (done.before, done.leader.node_id) == (leading.settings.node.id, waiting.settings.node.id)
            tokens.append(done.leader.token)
            assert waiting.wait_for_leadership(WAIT_S)
            leading, waiting = waiting, leading
        assert tokens == sorted(tokens)


@pytest.mark.parametrize("verb", ["transfer", "step_down"])
def test_a_reason_too_long_to_be_read_is_refused_before_anything_is_asked(shared: Any, verb: str) -> None:
    with election(shared, "a") as only:
        assert only.wait_for_leadership(WAIT_S)
        with pytest.raises(ConfigurationError, match="501 characters; 500 at most") as caught:
            getattr(only.control, verb)(why="x" * 501)
        assert caught.value.field == "why"
        assert only.is_leader


@pytest.mark.parametrize("to", ["b", None])
def test_a_frozen_election_is_handed_over_and_not_forced(shared: Any, to: str | None) -> None:
    with election(shared, "a") as first:
        assert first.wait_for_leadership(WAIT_S)
        first.control.freeze("the night")
        with election(shared, "b") as second:
            when_it_stands(first.transfer, "b", dry_run=True)
            for _ in range(2):  # as often as it is asked
                with pytest.raises(OrderRefusedError) as caught:
                    first.control.force("b" if to else "")
                assert caught.value.reason == "frozen"
            assert first.is_leader
            assert first.transfer(to, timeout=WAIT_S).node_id == "b"
            assert second.wait_for_leadership(WAIT_S)
            assert second.control.step_down(timeout=WAIT_S).leader is not None  # back to the first, still frozen
            assert first.wait_for_leadership(WAIT_S)
            assert first.control.orders().frozen is not None


def test_nothing_can_be_handed_over_while_nobody_leads(shared: Any) -> None:
    with election(shared, "a") as only:
        assert only.wait_for_leadership(WAIT_S)
        other = LeaderElection("vacant", SlurpSettings(node={"id": "z"}), stores=shared)
        keys = ElectionKeys.of(Keyspace("default"), "vacant")
        assert keys.leader.endswith(b"vacant/leader")
        with pytest.raises(NoLeaderError):
            _wish(shared, keys).transfer(None, "", 1.0)
        assert not other.is_leader


def _wish(shared: Any, keys: ElectionKeys) -> Any:
    from slurp_leader.clock import SystemClock
    from slurp_leader.election import Wish

    return Wish(shared(), keys, "vacant", SystemClock(), 5.0, "test")


def test_two_transfers_at_once_are_one_handover(shared: Any) -> None:
    with election(shared, "a") as first:
        assert first.wait_for_leadership(WAIT_S)
        with election(shared, "b") as second:
            when_it_stands(first.transfer, "b", dry_run=True)
            answers: list[Any] = []
            go = threading.Barrier(2)

            def ask() -> None:
                go.wait()
                try:
                    answers.append(first.transfer("b", timeout=WAIT_S))
                except HandoverError as error:
                    answers.append(error.reason)

            threads = [threading.Thread(target=ask) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)
            tokens = {answer.leader.token for answer in answers if not isinstance(answer, str)}
            refused = [answer for answer in answers if isinstance(answer, str)]
            assert second.wait_for_leadership(WAIT_S)
            assert tokens == {second.require_term().token}
            assert set(refused) <= {"busy", "changed", "itself"}


def test_a_leader_that_stops_hands_over(shared: Any) -> None:
    first, second = election(shared, "a"), election(shared, "b")
    with second, first:
        assert first.wait_for_leader(WAIT_S)
        leading, waiting = (first, second) if first.wait_for_leadership(1) else (second, first)
        when_it_stands(leading.transfer, waiting.settings.node.id, dry_run=True)
        leading.stop()
        assert waiting.wait_for_leadership(WAIT_S)
        assert waiting.reason == "handover"


# ---------------------------------------------------------------- jobs


def test_a_system_with_periodic_work_that_handed_over_stops_at_once(make_system: Any) -> None:
    first, second = make_system(), make_system()
    first.stop()
    assert second.wait_for_leadership(WAIT_S)
    begun = threading.Event()
    first.every(60, name="report")(begun.set)
    first.start()
    when_it_stands(second.leader.transfer, first.settings.node.id, timeout=WAIT_S)
    assert begun.wait(WAIT_S)
    when_it_stands(first.leader.transfer, second.settings.node.id, timeout=WAIT_S)
    stopped = threading.Thread(target=first.stop, daemon=True)
    stopped.start()
    stopped.join(first.settings.election.stop_timeout_s / 2)
    assert not stopped.is_alive()


def test_jobs_in_flight_survive_a_transfer_without_an_interruption(make_system: Any) -> None:
    release = threading.Event()
    started = threading.Semaphore(0)

    def generate(request: Any, job: Any) -> dict[str, Any]:
        started.release()
        while not release.wait(0.01):
            job.check()
        return {"token": job.token, "run": job.run}

    first = make_system(generate, jobs={"workers": 2})
    assert first.wait_for_leadership(WAIT_S)
    second = make_system(generate, jobs={"workers": 2})
    handles = [first.submit(f"src/{number}.py") for number in range(6)]
    for _ in range(2):
        assert started.acquire(timeout=WAIT_S)
    done = when_it_stands(first.leader.transfer, second.settings.node.id, timeout=WAIT_S)
    for _ in range(2):  # the new leader claims while the old one still works
        assert started.acquire(timeout=WAIT_S)
    assert second.is_leader
    release.set()
    for handle in handles:
        handle.result(timeout=WAIT_S)
    reports = [second.jobs.report(handle.id) for handle in handles]
    assert [report.attempts for report in reports] == [1] * 6
    assert [report.interruptions for report in reports] == [0] * 6
    assert done.leader.token == second.term.token


@pytest.mark.timeout(180)
def test_under_load_on_real_etcd_no_revision_is_without_a_leader_and_no_job_runs_twice(etcd_settings: Any) -> None:
    """Transfers there and back, and a stop, while jobs come in: nothing is interrupted, nothing fails."""
    runs: list[str] = []

    def generate(request: Any, job: Any) -> dict[str, Any]:
        runs.append(job.id)
        job.wait(0.02)
        job.check()
        return {"run": job.run}

    def system(node_id: str) -> SlurpLeaderSystem:
        return SlurpLeaderSystem(etcd_settings(node_id, jobs={"workers": 4}), generator=generate)

    first, second = system("a"), system("b")
    with second, first:
        first.leader.wait(WAIT_S)
        leader_key = ElectionKeys.of(Keyspace(first.settings.node.cluster_id), first.settings.election.name).leader
        history = _History(second, leader_key)
        with _Load(second) as load:
            for target in ("b", "a", "b", "a"):
                if second.leader.get(WAIT_S, fresh=True).node_id != target:  # type: ignore[union-attr]
                    when_it_stands(second.leader.transfer, target, timeout=WAIT_S)
            assert first.wait_for_leadership(WAIT_S)  # who stops while being handed the lead gives it back
            assert first.stop()
            assert second.wait_for_leadership(WAIT_S)
        assert load.failures == []
        for handle in load.handles:
            handle.result(timeout=WAIT_S)
        reports = [second.jobs.report(handle.id) for handle in load.handles]
        assert {(report.attempts, report.interruptions, report.run) for report in reports} == {(1, 0, 1)}
        assert sorted(runs) == sorted(handle.id for handle in load.handles)
        kinds = history.up_to_now()
    assert len(kinds) >= 4
    assert set(kinds) == {EventKind.PUT}, "there was a revision without a leader"


class _Load:
    """Submits a hundred jobs a second, on a thread of its own."""

    def __init__(self, system: SlurpLeaderSystem) -> None:
        self.handles: list[Any] = []
        self.failures: list[Exception] = []
        self._system = system
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(WAIT_S)

    def _run(self) -> None:
        for number in itertools.count():
            if self._ending.wait(0.01):
                return
            try:
                self.handles.append(self._system.submit(f"src/{number}.py"))
            except Exception as error:
                self.failures.append(error)


class _History:
    """Every change of a key that there is by now, as etcd tells them. (Told later, another test may have compacted.)"""

    def __init__(self, system: SlurpLeaderSystem, key: bytes) -> None:
        self._store = system._running().store
        self._key = key
        self._kinds: list[EventKind] = []
        self._changed = threading.Condition()
        self._seen = 0
        begin = self._now().mod_revision + 1
        self._watch = self._store.watch(key, None, begin, self._note)

    def _now(self) -> KeyValue:
        return self._store.call(Get(self._key), WAIT_S).result().kvs[0]

    def _note(self, notice: Any) -> None:
        if isinstance(notice, WatchEvents):
            with self._changed:
                self._kinds.extend(event.kind for event in notice.events)
                self._seen = notice.revision
                self._changed.notify_all()

    def up_to_now(self) -> list[EventKind]:
        up_to = self._now().mod_revision
        with self._changed:
            assert self._changed.wait_for(lambda: self._seen >= up_to, WAIT_S)
        self._watch.cancel()
        return self._kinds


def test_a_grant_lasts_as_long_as_the_longest_job_that_runs(make_system: Any, shared: Any) -> None:
    release, started = threading.Event(), threading.Semaphore(0)

    def generate(request: Any, job: Any) -> dict[str, Any]:
        started.release()
        release.wait(WAIT_S)
        return {}

    first = make_system(generate)
    assert first.wait_for_leadership(WAIT_S)
    second = make_system(generate)
    handle = first.submit("src/main.py", timeout=3600)
    assert started.acquire(timeout=WAIT_S)
    token = first.term.token
    when_it_stands(first.leader.transfer, second.settings.node.id, timeout=WAIT_S)
    key = JobKeys(Keyspace("default")).grant_of(token)
    grant = Grant.from_value(key, shared.store.call(Get(key), 5).result().kvs[0].value)
    release.set()
    handle.result(timeout=WAIT_S)
    assert 3600 < grant.longest_s < 3700
