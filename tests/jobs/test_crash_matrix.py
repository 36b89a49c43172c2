"""The crash matrix: what a crash, a lost answer or a pause at each point of a job's life leads to, row by row.

::

    submit     before the commit - after it, before the answer - one key from two nodes - the answer is lost
    claim      not committed - committed, not started - started, at each point of the run
    finish     result put away, not recorded - not committed - committed, answer lost - late - waiter without a watch
    takeover   the old leader wakes up - while it drains - unknown kinds and broken records - ten thousand runs
    handover   the old leader dies - the new one dies - claimed in doubt
    cancel     asker dies - races the end - in a drain - leader dies - and the key is used again
    limits     crash with all places taken - lowered while jobs run
    retry      the date of the next attempt, under a leader of another date
    store      compacted - full - too large - too many - stalled - its leader changes
    poison     a job that takes its leader down each time

In each row an accepted job is in the queue or has ended, never both and never neither, and has ended once.
"""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.rig import (
    INTERRUPTED,
    KEYS,
    KEYSPACE,
    LEADER_KEY,
    RETURNED,
    Client,
    Node,
    Rig,
    deletes,
    options,
    puts,
)
from jobs.threaded import Cluster, Gate, cluster_on
from slurp_leader.errors import QueueFullError, RequestTooLargeError, StoreFullError, TerminalError
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.jobs import JobStatus, NewJob
from slurp_leader.jobs.changes import RetryAnswer
from slurp_leader.jobs.commit import CommitLimits
from slurp_leader.jobs.decisions import RunEnd, RunReport, error_of
from slurp_leader.jobs.messages import CollectPayloads, RunCheckpoint, RunProgress, StartRun, WindDown
from slurp_leader.jobs.new_job import OnDuplicate
from slurp_leader.jobs.records import Cancel, Claim, ClaimEntry, Codec, JobOutcome, Payload
from slurp_leader.jobs.submitter import CancelAnswer
from slurp_leader.orders import Order
from slurp_leader.payloads import FolderPayloadStore
from slurp_leader.payloads.collection import GRACE, Collection, make_round
from slurp_leader.store import Delete, Get, Grant, Put, Request, Txn, prefix_end
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, do, get, new_lease_id, put
from support.etcd import EtcdServers, open_etcd
from support.members import Trio, etcd_leader, lose
from support.virtual import World, answer_lost, late, request_lost
from support.waiting import until

BY = Order("ops")


@pytest.fixture
def rig() -> Rig:
    return Rig()


# ---------------------------------------------------------------- what every row promises


def ended_once(
    rig: Rig,
    job_id: str,
    status: JobStatus = JobStatus.COMPLETED,
    *,
    attempts: int = 1,
    interruptions: int = 0,
    within_s: float = 60.0,
) -> JobOutcome:
    """The outcome of a job that has ended like this: once, with nothing left, and nothing lost on the way."""
    rig.wait_for(job_id, within_s)
    rig.settle(10)  # what is late has arrived
    outcome = rig.outcome(job_id)
    assert outcome is not None
    assert (outcome.status, outcome.attempts, outcome.interruptions) == (status, attempts, interruptions)
    assert rig.outcomes_written(job_id) == 1
    of_job = (KEYS.queue, KEYS.state, KEYS.cancel, KEYS.checkpoint, KEYS.progress)
    assert [prefix for prefix in of_job if rig.kv(prefix + job_id.encode())] == []
    assert not [key for key in rig.keys(KEYS.run) if job_id in claimed(rig, key)]
    assert_never_lost(rig, job_id)
    return outcome


def assert_never_lost(rig: Rig, job_id: str) -> None:
    """From its submit on, at every revision: in the queue or ended, one of them."""
    queue, done = KEYS.queue + job_id.encode(), KEYS.done + job_id.encode()
    there: dict[bytes, bool] = {}
    for write in rig.world.log:
        for event in write.events:
            if event.kv.key in (queue, done):
                there[event.kv.key] = event.kind.value == "put"
        if there:
            assert sum(there.values()) == 1, f"at revision {write.revision}: {there}"


def claimed(rig: Rig, key: bytes) -> list[str]:
    """The jobs that a claim record names."""
    kv = rig.kv(key)
    return [] if kv is None else [entry.job_id for entry in Claim.from_value(kv.key, kv.value).entries]


def counts(rig: Rig, job_id: str) -> tuple[int, int, int, int]:
    """Of the state record: runs closed, attempts, interruptions, crashes."""
    state = rig.state(job_id)
    assert state is not None
    return state.closed, state.attempts, state.interruptions, state.crashes


def was_written(rig: Rig, key: bytes) -> bool:
    return bool(rig.history(key))


def successor(rig: Rig, name: str = "b") -> Node:
    """Another node, which leads from now on."""
    return Node(rig.world, name, rig.jobs).lead()


def given(rig: Rig, node: Node | None = None, **fields: Any) -> tuple[str, StartRun]:
    """A job that was given to a worker."""
    job_id = rig.client.submit(**fields)
    return job_id, rig.wait_for_run(job_id, node=node)


def begun(rig: Rig, node: Node | None = None, **fields: Any) -> tuple[str, StartRun]:
    """A job whose body runs."""
    job_id, run = given(rig, node, **fields)
    (node or rig.node).started(run)
    return job_id, run


def hear_again(node: Node) -> None:
    node.host.deaf = False
    for feed in node.host.feeds:
        feed.nudge()


# ---------------------------------------------------------------- submit


def test_submit_crash_before_the_commit_leaves_nothing_and_the_key_is_free(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.client.submit()
    rule = rig.world.order(request_lost(), puts(KEYS.queue))
    rig.client.send(key="k")
    rig.world.run_until(lambda: rule.met == 1)
    rig.client.host.crash()
    rig.world.rules.clear()
    rig.settle(5)
    assert rig.keys(KEYS.idem) == rig.keys(KEYS.queue) == []
    answer = (other := Client(rig.world, "other")).answer(other.send(key="k"))
    assert answer.created
    ended_once(rig, answer.job_id)


def test_submit_crash_with_the_request_on_its_way_makes_one_job_of_the_two_with_its_key(rig: Rig) -> None:
    rig.client.submit()
    rule = rig.world.order(late(3.0), puts(KEYS.queue), times=1)
    rig.client.send(key="k")
    rig.world.run_until(lambda: rule.met == 1)
    rig.client.host.crash()
    before = rig.keys(KEYS.queue)
    other = Client(rig.world, "other")
    job_id = other.submit(key="k")
    rig.settle(5)
    assert set(rig.keys(KEYS.queue)) - set(before) == {KEYS.queue + job_id.encode()}
    rig.node.lead().body = lambda start: RETURNED
    ended_once(rig, job_id)


def test_submit_crash_after_the_commit_keeps_the_job_and_the_key_leads_to_it(rig: Rig) -> None:
    rule = rig.world.order(answer_lost(), puts(KEYS.queue))
    rig.client.send(key="k")
    rig.world.run_until(lambda: bool(rig.keys(KEYS.queue)))
    rig.client.host.crash()
    rig.world.rules.clear()
    assert rule.met == 1
    other = Client(rig.world, "other")
    answer = other.answer(other.send(key="k"))
    assert (answer.created, rig.keys(KEYS.queue)) == (False, [KEYS.queue + answer.job_id.encode()])
    rig.node.lead().body = lambda start: RETURNED
    ended_once(rig, answer.job_id)
    assert len(rig.node.runs) == 1


def test_submit_of_one_key_from_two_nodes_at_once_is_one_job(rig: Rig) -> None:
    other = Client(rig.world, "other")
    for client in (rig.client, other):
        client.submit()
    tickets = rig.client.send(key="k"), other.send(key="k")
    answers = [rig.client.answer(tickets[0]), other.answer(tickets[1])]
    assert sorted(answer.created for answer in answers) == [False, True]
    assert answers[0].job_id == answers[1].job_id
    rig.node.lead().body = lambda start: RETURNED
    ended_once(rig, answers[0].job_id)
    assert len(rig.node.runs) == 3


@pytest.mark.parametrize("by_then", ["queued", "ended", "pruned"])
def test_submit_whose_answer_was_lost_is_repeated_and_is_one_job(by_then: str) -> None:
    """And a copy of it that comes much later brings nothing back."""
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=2 if by_then == "pruned" else 600)))
    rig.client.submit()
    rig.settle()
    rule = rig.world.order(late(60.0), puts(KEYS.queue), times=1)
    rig.world.order(answer_lost(), puts(KEYS.queue), times=2)
    if by_then != "queued":
        rig.node.lead().body = lambda start: RETURNED
    ticket = rig.client.send()
    job_id = rig.client.answer(ticket).job_id
    assert (rig.client.answers[ticket].error, rule.met) == (None, 1)
    rig.settle(90)
    assert (rig.outcome(job_id) is not None) == (by_then == "ended")
    writes = [value is not None for _, value in rig.history(KEYS.queue + job_id.encode())]
    assert writes == ([True] if by_then == "queued" else [True, False])
    assert len(rig.node.runs_of(job_id)) == rig.outcomes_written(job_id) == (by_then != "queued")


# ---------------------------------------------------------------- claim


def test_claim_crash_before_the_commit_counts_nothing(rig: Rig) -> None:
    rig.node.lead()
    rule = rig.world.order(request_lost(), puts(KEYS.run))
    job_id = rig.client.submit()
    rig.world.run_until(lambda: rule.met == 1)
    rig.node.host.crash()
    rig.world.rules.clear()
    assert rig.node.runs == []
    run = rig.wait_for_run(job_id, node=(other := successor(rig)))
    assert (run.run, run.attempt) == (1, 1)
    other.do(run)
    ended_once(rig, job_id)
    assert not was_written(rig, KEYS.state + job_id.encode())


def test_claim_on_its_way_at_the_crash_is_refused_once_another_leads(rig: Rig) -> None:
    rig.node.lead()
    rule = rig.world.order(late(3.0), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: rule.met == 1)
    old = rig.node.token
    rig.node.host.crash()
    run = rig.wait_for_run(job_id, node=(other := successor(rig)))
    rig.settle(5)
    assert not was_written(rig, KEYS.claim(old, 1))
    other.do(run)
    ended_once(rig, job_id)


def test_claim_crash_between_commit_and_start_is_an_interruption_and_no_attempt(rig: Rig) -> None:
    rig.node.lead()
    rig.world.order(answer_lost(), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: bool(rig.keys(KEYS.run)))
    first = rig.kv(rig.keys(KEYS.run)[0])
    rig.node.host.crash()
    assert rig.node.runs == []
    run = rig.wait_for_run(job_id, node=(other := successor(rig)))
    assert first is not None
    assert (run.run, run.attempt) == (2, 1)
    assert run.fencing_token > first.mod_revision
    assert counts(rig, job_id) == (1, 0, 1, 1)
    assert rig.keys(KEYS.run) == [KEYS.claim(other.token, 1)]
    other.do(run)
    ended_once(rig, job_id, interruptions=1)


@pytest.mark.parametrize("point", ["given to a worker", "begun", "progress told", "checkpoint written"])
def test_claim_crash_while_it_runs_is_an_interruption_and_the_next_run_finds_the_checkpoint(
    rig: Rig, point: str
) -> None:
    rig.node.lead()
    job_id, run = given(rig)
    if point != "given to a worker":
        rig.node.started(run)
    if point == "progress told":
        rig.node.seat.post(RunProgress(run.run_id, 0.5, "half"))
        rig.world.run_until(lambda: rig.kv(KEYS.progress + job_id.encode()) is not None)
    if point == "checkpoint written":
        rig.node.seat.post(RunCheckpoint(run.run_id, b'{"page":7}'))
        rig.world.run_until(lambda: rig.kv(KEYS.checkpoint + job_id.encode()) is not None)
    rig.node.host.crash()
    again = rig.wait_for_run(job_id, node=(other := successor(rig)))
    assert (again.run, again.attempt, counts(rig, job_id)) == (2, 1, (1, 0, 1, 1))
    assert again.restored == (b'{"page":7}' if point == "checkpoint written" else None)
    other.do(again)
    ended_once(rig, job_id, interruptions=1)


# ---------------------------------------------------------------- finish


def offloaded(store: FolderPayloadStore, content: bytes) -> RunReport:
    """The end of a run whose result was put into the payload store."""
    payload = Payload(store.put(content), len(content), len(content), Codec.PLAIN)
    return RunReport(RunEnd.RETURNED, payload=payload)


@pytest.mark.parametrize("second", [b"another", b"the same"])
def test_finish_crash_with_the_result_put_away_but_not_recorded_leaves_an_orphan_that_is_collected(
    tmp_path: Path, second: bytes
) -> None:
    """A second run that puts the same content refers to it, and then it is no orphan."""
    rig = Rig(jobs=options(retain_cancelled=timedelta(seconds=4)))  # so that shards come round fast
    store = FolderPayloadStore(tmp_path)
    rig.node.lead()
    job_id, run = begun(rig)
    rule = rig.world.order(request_lost(), puts(KEYS.done))
    first = offloaded(store, b"the same")
    rig.node.end(run, first)
    rig.world.run_until(lambda: rule.met == 1)
    rig.node.host.crash()
    rig.world.rules.clear()
    other = successor(rig)
    other.body = lambda start: offloaded(store, second)
    outcome = ended_once(rig, job_id, interruptions=1)
    assert first.payload is not None
    assert outcome.payload is not None
    collections = [comes_round(rig, other, payload) for payload in (first.payload, outcome.payload)]
    a_day_later = max(date_of(store, payload) for payload in (first.payload, outcome.payload)) + 2 * GRACE
    for each in collections:
        make_round(store, Collection(each.shard, each.referenced, a_day_later))
    kept = {entry.reference for each in collections for entry in store.list(each.shard)}
    assert kept == {outcome.payload.reference}


def comes_round(rig: Rig, node: Node, payload: Payload) -> Collection:
    """What the leader says of the shard of this payload, once it does."""

    def rounds() -> list[Collection]:
        said = (each.collection for each in node.said if isinstance(each, CollectPayloads))
        return [each for each in said if payload.reference.startswith(each.shard)]

    rig.world.run_until(lambda: bool(rounds()), 400)
    return rounds()[0]


def date_of(store: FolderPayloadStore, payload: Payload) -> datetime:
    """When it was put last."""
    found = {entry.reference: entry.touched_at for entry in store.list(payload.reference[:2])}
    date = found[payload.reference]
    assert date is not None
    return date


def test_finish_crash_before_the_outcome_commits_runs_the_job_again(rig: Rig) -> None:
    rig.node.lead()
    job_id, run = begun(rig)
    rule = rig.world.order(request_lost(), puts(KEYS.done))
    rig.node.end(run)
    rig.world.run_until(lambda: rule.met == 1)
    rig.node.host.crash()
    rig.world.rules.clear()
    other = successor(rig)
    other.body = lambda start: RETURNED
    outcome = ended_once(rig, job_id, interruptions=1)
    assert (outcome.run, outcome.token) == (2, other.token)


@pytest.mark.parametrize("claim_record", ["deleted", "left"])
def test_finish_crash_after_the_outcome_committed_runs_nothing_and_counts_nothing(rig: Rig, claim_record: str) -> None:
    rig.node.lead()
    job_id, run = begun(rig)
    if claim_record == "left":
        rig.world.order(request_lost(), deletes(KEYS.run))
        rig.node.end(run)
        rig.wait_for(job_id)
    else:
        rig.world.order(answer_lost(), puts(KEYS.done), times=1)
        rig.node.end(run)
        rig.world.run_until(lambda: rig.outcome(job_id) is not None)
    token = rig.node.token
    rig.node.host.crash()
    rig.world.rules.clear()
    other = successor(rig)
    rig.world.run_until(lambda: rig.keys(KEYS.run) == [])
    outcome = ended_once(rig, job_id)
    assert (outcome.run, outcome.token) == (1, token)
    assert other.runs == []
    assert not was_written(rig, KEYS.state + job_id.encode())


def test_finish_whose_answer_was_lost_is_repeated_and_recorded_once(rig: Rig) -> None:
    rig.node.lead()
    job_id, run = begun(rig)
    rig.world.order(late(8.0), puts(KEYS.done), times=1)
    rig.world.order(answer_lost(), puts(KEYS.done), times=2)
    rig.node.end(run)
    rig.world.run_until(lambda: len(rig.node.ended) == 1)
    ended_once(rig, job_id)
    assert (len(rig.node.ended), len(rig.node.runs)) == (1, 1)


def test_finish_that_arrives_under_the_next_leader_is_refused_before_that_has_closed_the_claim(rig: Rig) -> None:
    """Only the fence stands in its way: nothing else has changed."""
    rig.node.lead()
    job_id, run = begun(rig)
    rule = rig.world.order(late(3.0), puts(KEYS.done), times=1)
    rig.node.end(run)
    rig.world.run_until(lambda: rule.met == 1)
    rig.node.host.crash()
    other = Node(rig.world, "b")
    rig.settle()
    other.host.deaf = True  # it cannot know yet what it took over
    other.lead()
    rig.settle(5)
    assert rig.outcome(job_id) is None
    hear_again(other)
    other.do(rig.wait_for_run(job_id, node=other))
    assert ended_once(rig, job_id, interruptions=1).token == other.token


@pytest.fixture
def cluster(memory_store: MemoryStore) -> Iterator[Cluster]:
    with cluster_on(memory_store) as cluster:
        yield cluster


def test_finish_committed_while_the_watch_of_a_waiter_was_broken_is_found_by_it(
    cluster: Cluster, memory_store: MemoryStore
) -> None:
    gate = Gate()
    cluster.engine(gate)
    handle = cluster.client().submit(NewJob({"n": 1}))
    gate.wait_until_begun()
    memory_store.faults.break_watches()
    gate.open.set()
    until(lambda: get(memory_store, cluster.keys.done + handle.id.encode()))
    put(memory_store, cluster.keyspace.bulk + b"x")
    memory_store.compact()  # what the watch has missed is gone
    memory_store.faults.mend_watches()
    assert handle.result(PATIENCE_S) == {"n": 1}


# ---------------------------------------------------------------- takeover


@pytest.mark.parametrize("by_then", ["another leads", "another has ended the job", "nobody leads"])
def test_takeover_an_old_leader_that_wakes_up_after_twice_its_lease_records_nothing(rig: Rig, by_then: str) -> None:
    rig.world.apply(Grant(7, 4))
    rig.node.lead(lease=7)
    job_id, run = begun(rig)
    rig.node.host.pause()
    rig.world.run_until(lambda: rig.kv(LEADER_KEY) is None, within_s=5)
    other = Node(rig.world, "b")
    if by_then != "nobody leads":
        other.lead()
        again = rig.wait_for_run(job_id, node=other)
        if by_then == "another has ended the job":
            other.do(again)
            rig.wait_for(job_id)
    rig.settle(4)
    rig.node.host.resume()
    rig.node.end(run, RunReport(RunEnd.RETURNED, result_json=b'"stale"'))
    rig.settle(5)
    assert (rig.outcome(job_id) is None) == (by_then != "another has ended the job")
    if by_then == "nobody leads":
        other.lead()
    if by_then != "another has ended the job":
        other.do(rig.wait_for_run(job_id, node=other))
    outcome = ended_once(rig, job_id, interruptions=1)
    assert (outcome.token, outcome.run, outcome.result) == (other.token, 2, {"ok": True})


@pytest.mark.etcd
def test_takeover_on_etcd_what_is_written_after_the_lease_ran_out_is_refused(etcd_endpoint: str) -> None:
    store = open_etcd(etcd_endpoint)
    try:
        with cluster_on(store) as cluster:
            gate = Gate()
            old = cluster.engine(gate, "old")
            lease = do(store, Grant(new_lease_id(), 1)).lease_id
            stale = old.lead(lease)  # nobody renews it
            handle = cluster.client().submit(NewJob({"n": 1}))
            gate.wait_until_begun()
            until(lambda: get(store, cluster.leader_key) is None)
            assert stale.is_valid  # what it believes is no protection
            gate.open.set()
            until(lambda: old.engine.totals["fenced"])
            assert get(store, cluster.keys.done + handle.id.encode()) is None
            new = cluster.engine(lambda spec, job: "new", "new")
            assert handle.result(PATIENCE_S) == "new"
            kv = get(store, cluster.keys.done + handle.id.encode())
            assert kv is not None
            outcome = JobOutcome.from_value(kv.key, kv.value)
            assert (kv.version, outcome.token, outcome.run, outcome.interruptions) == (1, new.term.token, 2, 1)
    finally:
        store.close()


@pytest.mark.parametrize("lands", ["before the takeover", "after it"])
def test_takeover_while_the_old_leader_drains_ends_each_job_once(rig: Rig, lands: str) -> None:
    rig.node.lead()
    job_id, run = begun(rig)
    rig.node.hand_back()
    waiting = rig.client.submit()
    rig.settle(1)
    rig.world.order(late(0.5), puts(KEYS.done), times=1)
    rig.node.end(run)
    if lands == "before the takeover":
        rig.wait_for(job_id)
    else:
        rig.settle(0.1)
    old = rig.node.token
    other = successor(rig)
    other.body = lambda start: RETURNED
    if lands == "before the takeover":
        assert ended_once(rig, job_id).token == old
    else:
        assert ended_once(rig, job_id, interruptions=1).token == other.token
    ended_once(rig, waiting)
    assert rig.node.runs_of(waiting) == []
    assert rig.node.handed_back


BROKEN: dict[str, tuple[bytes, bytes]] = {
    "not JSON": (KEYS.queue, b"{"),
    "of a later schema": (KEYS.queue, b'{"schema":2,"kind":"a later one"}'),
    "a state that is not JSON": (KEYS.state, b"{"),
    "a state of a later schema": (KEYS.state, b'{"schema":2}'),
}


@pytest.mark.parametrize("what", BROKEN)
def test_takeover_of_a_record_that_cannot_be_read_parks_its_job_and_holds_back_no_other(rig: Rig, what: str) -> None:
    prefix, value = BROKEN[what]
    broken, others = rig.client.submit(), [rig.client.submit() for _ in range(3)]
    key = prefix + broken.encode()
    whole = rig.kv(key)
    rig.world.apply(Put(key, value))
    rig.node.lead().body = lambda start: RETURNED
    for job_id in others:
        ended_once(rig, job_id)
    assert rig.node.runs_of(broken) == []
    assert [value for _, value in rig.history(key)][-1] == value
    assert rig.kv(KEYS.note_of(key)) is not None
    rig.node.crash()
    other = successor(rig)  # parked for this one too, and not taken down by it
    other.body = lambda start: RETURNED
    rig.settle(5)
    assert other.runs == []
    rig.world.apply(Delete(key) if whole is None else Put(key, whole.value))
    assert ended_once(rig, broken).node_id == "b"
    assert rig.kv(KEYS.note_of(key)) is None


def test_takeover_of_a_record_that_was_damaged_but_reads_well_parks_its_job(rig: Rig) -> None:
    """Nothing but its checksum tells."""
    broken, job_id = rig.client.submit(payload={"path": "a.py"}), rig.client.submit()
    key = KEYS.queue + broken.encode()
    whole = rig.kv(key)
    assert whole is not None
    assert b"a.py" in whole.value
    rig.world.apply(Put(key, whole.value.replace(b"a.py", b"b.py")))
    rig.node.lead().body = lambda start: RETURNED
    ended_once(rig, job_id)
    assert rig.node.runs_of(broken) == []
    assert rig.kv(KEYS.note_of(key)) is not None


def test_takeover_of_a_claim_that_cannot_be_read_holds_back_nothing(rig: Rig) -> None:
    rig.node.lead()
    job_id, _ = begun(rig)
    (key,) = rig.keys(KEYS.run)
    rig.node.host.crash()
    rig.world.apply(Put(key, b"{"))
    other = successor(rig)
    other.body = lambda start: RETURNED
    rig.wait_for(job_id)
    assert rig.outcomes_written(job_id) == 1
    assert rig.kv(KEYS.note_of(key)) is not None
    assert rig.kv(key) is not None  # left for somebody who can read it


def test_takeover_of_a_job_of_a_kind_that_no_generator_knows_fails_that_job_once(cluster: Cluster) -> None:
    def only_known(spec: Any, job: Any) -> Any:
        if spec.payload["kind"] != "known":
            raise TerminalError("no such kind")
        return spec.payload

    client = cluster.client()
    unknown, known = client.submit(NewJob({"kind": "?"})), client.submit(NewJob({"kind": "known"}))
    cluster.engine(only_known)
    assert known.result(PATIENCE_S) == {"kind": "known"}
    report = until(lambda: (now := unknown.report()).status is JobStatus.FAILED and now)
    assert (report.attempts, report.interruptions) == (1, 0)


def test_takeover_of_ten_thousand_runs_of_an_old_term_counts_each_once(rig: Rig) -> None:
    count, in_one = 10_000, 62
    specs = [rig.client.spec() for _ in range(count)]
    ids, old = [spec.job_id for spec in specs], []
    for first in range(0, count, in_one):
        part = specs[first : first + in_one]
        queued = Txn(success=tuple(Put(KEYS.queue + spec.job_id.encode(), spec.to_value()) for spec in part))
        revision = rig.world.apply(queued).header.revision
        old.append(KEYS.claim(1, len(old) + 1))
        entries = tuple(ClaimEntry(spec.job_id, revision, 1) for spec in part)
        rig.world.apply(Put(old[-1], Claim("gone", entries).to_value()))
    rig.node.lead()
    for _ in range(100):
        if not set(old) & set(rig.keys(KEYS.run)):
            break
        rig.settle(0.1)
    assert {counts(rig, job_id) for job_id in ids} == {(1, 0, 1, 1)}
    written = [e.kv.key for write in rig.world.log for e in write.events if e.kv.key.startswith(KEYS.state)]
    assert len(written) == len(set(written)) == count
    runs = [rig.wait_for_run(job_id) for job_id in ids[:2]]
    assert [(run.run, run.attempt) for run in runs] == [(2, 1)] * 2


# ---------------------------------------------------------------- handover


def handed_over(rig: Rig) -> tuple[Node, Node, str, StartRun]:
    """A job runs under the grant of a leader that handed its term over."""
    old, new = rig.node.lead(), Node(rig.world, "b")
    old.stand()
    job_id, run = begun(rig)
    old.hand_over(new)
    rig.settle(1)
    return old, new, job_id, run


def test_handover_crash_of_the_old_leader_makes_orphans_of_its_runs_at_once(rig: Rig) -> None:
    old, new, job_id, _ = handed_over(rig)
    old.host.crash()
    rig.world.apply(Delete(KEYSPACE.mirrored + b"nodes/a/session"))
    again = rig.wait_for_run(job_id, node=new, within_s=1.0)
    assert counts(rig, job_id) == (1, 0, 1, 1)
    assert rig.keys(KEYS.grant) == []
    new.do(again)
    ended_once(rig, job_id, interruptions=1)


def test_handover_with_the_outcome_on_its_way_at_the_crash_of_the_old_leader_records_one(rig: Rig) -> None:
    """It arrives when the grant is gone and the run is an orphan: too late."""
    old, new, job_id, run = handed_over(rig)
    rule = rig.world.order(late(3.0), puts(KEYS.done), times=1)
    old.end(run)
    rig.world.run_until(lambda: rule.met == 1)
    old.host.crash()
    new.host.deaf = True  # so that nothing but the compare of the grant stands in its way
    rig.world.apply(Txn(success=(Delete(KEYSPACE.mirrored + b"nodes/a/session"), Delete(old.lent.key))))
    rig.settle(5)
    assert rig.outcome(job_id) is None
    hear_again(new)
    new.do(rig.wait_for_run(job_id, node=new))
    assert ended_once(rig, job_id, interruptions=1).token == new.token


def test_handover_crash_of_the_new_leader_leaves_the_grant_to_the_third(rig: Rig) -> None:
    old, new, job_id, run = handed_over(rig)
    token = old.token
    new.host.crash()
    third = successor(rig, "c")
    rig.settle(5)
    assert third.runs == []
    old.end(run)
    assert ended_once(rig, job_id).token == token
    assert not was_written(rig, KEYS.state + job_id.encode())
    assert rig.keys(KEYS.grant) == rig.keys(KEYS.run) == []


@pytest.mark.parametrize("applied", [True, False], ids=["had applied", "had not"])
def test_handover_with_a_claim_in_doubt_starts_its_job_once(rig: Rig, applied: bool) -> None:
    old, new = rig.node.lead(), Node(rig.world, "b")
    old.stand()
    rule = rig.world.order(answer_lost() if applied else late(3.0), puts(KEYS.run), times=1)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: bool(rig.keys(KEYS.run)) if applied else rule.met == 1)
    old.hand_over(new)
    who, other = (old, new) if applied else (new, old)
    who.do(rig.wait_for_run(job_id, node=who))
    ended_once(rig, job_id)
    assert other.runs_of(job_id) == []


def test_handover_by_a_node_that_stops_leaves_what_does_not_end_to_the_new_leader_as_no_crash(rig: Rig) -> None:
    old, new, job_id, run = handed_over(rig)
    old.seat.post(WindDown())
    rig.world.run_until(lambda: old.stops_of(run) == ["shutdown"])
    old.end(run, INTERRUPTED)
    again = rig.wait_for_run(job_id, node=new)
    assert counts(rig, job_id) == (1, 0, 1, 0)
    new.do(again)
    ended_once(rig, job_id, interruptions=1)


# ---------------------------------------------------------------- cancel


@pytest.mark.parametrize("crash", ["before its commit", "after its commit"])
def test_cancel_crash_of_who_asked(rig: Rig, crash: str) -> None:
    """A wish that was written is obeyed, whether or not anybody heard that; one that was not leaves nothing."""
    rig.node.lead()
    job_id, run = begun(rig)
    rule = rig.world.order(request_lost() if crash == "before its commit" else answer_lost(), puts(KEYS.cancel))
    rig.client.send_cancel(job_id)
    rig.world.run_until(lambda: rule.met == 1)
    rig.client.host.crash()
    rig.world.rules.clear()
    rig.settle(1)
    if crash == "before its commit":
        assert rig.node.stops == []
        rig.node.end(run)
        ended_once(rig, job_id)
    else:
        assert rig.node.stops_of(run) == ["cancelled"]
        rig.node.end(run, INTERRUPTED)
        ended_once(rig, job_id, JobStatus.CANCELLED, attempts=0)


@pytest.mark.parametrize("first", ["the outcome", "the wish, unheard", "the wish, too late for the body", "the wish"])
def test_cancel_racing_with_the_end_of_the_run_gives_one_outcome(rig: Rig, first: str) -> None:
    """A result that the run still had counts."""
    rig.node.lead()
    job_id, run = begun(rig)
    if first == "the outcome":
        rig.world.order(answer_lost(), puts(KEYS.done), times=1)
        rig.node.end(run)
        rig.world.run_until(lambda: rig.outcome(job_id) is not None)
        assert rig.client.cancel(job_id).answer is CancelAnswer.ALREADY_DONE
    else:
        rig.node.host.deaf = first == "the wish, unheard"
        assert rig.client.cancel(job_id).answer is CancelAnswer.REQUESTED
        rig.settle(0.1)
        rig.node.end(run, INTERRUPTED if first == "the wish" else RETURNED)
        rig.wait_for(job_id)
        hear_again(rig.node)
    if first == "the wish":
        ended_once(rig, job_id, JobStatus.CANCELLED, attempts=0)
    else:
        ended_once(rig, job_id)


def test_cancel_during_a_drain_ends_the_job_and_then_the_drain(rig: Rig) -> None:
    rig.node.lead()
    job_id, run = begun(rig)
    rig.node.hand_back()
    rig.client.cancel(job_id)
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["cancelled"], within_s=1.0)
    rig.node.end(run, INTERRUPTED)
    rig.world.run_until(lambda: rig.node.handed_back, within_s=1.0)
    other = successor(rig)
    ended_once(rig, job_id, JobStatus.CANCELLED, attempts=0)
    assert other.runs == []


@pytest.mark.parametrize("heard", [True, False], ids=["heard of it", "had not heard of it"])
def test_cancel_outlives_the_leader(rig: Rig, heard: bool) -> None:
    rig.node.lead()
    job_id, run = begun(rig)
    rig.node.host.deaf = not heard
    rig.client.cancel(job_id)
    rig.settle(0.1)
    assert (rig.node.stops_of(run) == ["cancelled"]) == heard
    rig.node.host.crash()
    other = successor(rig)
    ended_once(rig, job_id, JobStatus.CANCELLED, attempts=0, interruptions=1)
    assert other.runs == []


@pytest.mark.parametrize("leader", ["lives", "dies"])
def test_cancel_then_the_same_key_again_does_not_cancel_the_new_job(rig: Rig, leader: str) -> None:
    rig.node.lead()
    old = rig.client.submit(key="k")
    run = rig.wait_for_run(old)
    rig.node.started(run)
    rig.client.cancel(old)
    same = rig.client.answer(rig.client.send(key="k"))
    assert (same.job_id, same.created) == (old, False)
    answer = rig.client.answer(rig.client.send(key="k", on_duplicate=OnDuplicate.REPLACE))
    assert answer.replaced == old
    if leader == "lives":
        rig.node.end(run, INTERRUPTED)
        node = rig.node
    else:
        rig.node.host.crash()
        node = successor(rig)
    node.do(rig.wait_for_run(answer.job_id, node=node))
    ended_once(rig, answer.job_id)
    ended_once(rig, old, JobStatus.CANCELLED, attempts=0, interruptions=leader == "dies")
    assert rig.client.answer(rig.client.send(key="k")).job_id == answer.job_id


@pytest.mark.parametrize("wish", ["arrives late", "was left behind"])
def test_cancel_of_a_job_that_is_tried_again_by_then_does_not_cancel_that(rig: Rig, wish: str) -> None:
    rig.node.lead()
    job_id, run = begun(rig)
    before = rig.kv(KEYS.queue + job_id.encode())
    assert before is not None
    if wish == "arrives late":
        rule = rig.world.order(late(5.0), puts(KEYS.cancel), times=1)
        rig.client.send_cancel(job_id)
        rig.world.run_until(lambda: rule.met == 1)
        rig.client.host.crash()
    rig.node.end(run, RunReport(RunEnd.TERMINAL, error=error_of("gone", "no such file")))
    assert rig.wait_for(job_id).status is JobStatus.FAILED
    assert (other := Client(rig.world, "other")).retry(job_id).answer is RetryAnswer.RETRIED
    if wish == "was left behind":
        left = Cancel(before.mod_revision, "enough", "client")
        rig.world.apply(Put(KEYS.cancel + job_id.encode(), left.to_value()))
    again = rig.wait_for_run(job_id, 2)
    rig.node.started(again)
    rig.settle(8)
    assert rig.node.stops == []
    rig.node.end(again)
    rig.world.run_until(lambda: rig.outcomes_written(job_id) == 2)
    outcome = rig.outcome(job_id)
    assert outcome is not None
    assert outcome.status is JobStatus.COMPLETED
    assert other.cancel(job_id).answer is CancelAnswer.ALREADY_DONE
    assert was_written(rig, KEYS.cancel + job_id.encode()) == (wish == "was left behind")


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("of", ["workers", "role"])
def test_limits_no_place_is_leaked_by_a_crash_with_all_of_them_taken(of: str) -> None:
    rig = Rig(jobs=options(workers=2 if of == "workers" else 8))
    if of == "role":
        rig.order(lambda now: now.limit("role:x", 2, BY))
    rig.node.lead()
    ids = [rig.client.submit(role="x") for _ in range(6)]
    crashed: list[str] = []
    for _ in range(2):
        rig.settle(3)
        assert len(rig.node.runs) == 2
        crashed += [run.job.job_id for run in rig.node.runs]
        rig.node.crash()
        rig.node.lead()
    left = list(ids)
    while left:
        rig.settle(1)
        under_way = [run for run in rig.node.runs if run.job.job_id in left]
        assert len(under_way) == min(2, len(left))
        rig.node.do(under_way[0])
        left.remove(under_way[0].job.job_id)
    for job_id in ids:
        ended_once(rig, job_id, interruptions=crashed.count(job_id))


def test_limits_lowered_live_stop_nothing_and_hold_back_what_comes() -> None:
    rig = Rig(jobs=options(workers=8))
    rig.node.lead()
    ids = [rig.client.submit(role="x") for _ in range(6)]
    free = rig.client.submit(role="y")
    rig.order(lambda now: now.limit("role:x", 4, BY))
    rig.world.run_until(lambda: len(rig.node.runs) == 7)
    rig.order(lambda now: now.limit("role:x", 1, BY))
    rig.settle(1)
    late_one = rig.client.submit(role="x")
    for job_id in ids[:5]:
        rig.node.do(rig.node.run_of(job_id))
        rig.settle(1)
        assert rig.node.runs_of(late_one) == []
    assert rig.node.stops == []
    rig.node.do(rig.node.run_of(ids[5]))
    rig.node.do(rig.wait_for_run(late_one))
    rig.node.do(rig.node.run_of(free))
    for job_id in (*ids, late_one, free):
        ended_once(rig, job_id)


# ---------------------------------------------------------------- retry


@pytest.mark.parametrize("skew_s", [-5.0, 0.0, 5.0])
def test_retry_date_holds_under_the_next_leader_by_its_own_calendar(rig: Rig, skew_s: float) -> None:
    """And that does not wait by the calendar: it looks when the time has passed by its own clock."""
    rig.node.lead().body = lambda start: RunReport(RunEnd.RAISED, error=error_of("busy", ""), retry_after_s=30)
    job_id = rig.client.submit()
    rig.world.run_until(lambda: rig.state(job_id) is not None)
    failed_at = rig.world.clock.now
    rig.settle(2)
    rig.node.host.crash()
    other = Node(rig.world, "b")
    other.host.clock._date_off = timedelta(seconds=skew_s)
    other.lead()
    run = rig.wait_for_run(job_id, node=other)
    assert rig.world.clock.now - failed_at == pytest.approx(30 - skew_s, abs=0.5)
    assert (run.run, run.attempt) == (2, 2)
    other.do(run)
    assert len(ended_once(rig, job_id, attempts=2).errors) == 1


# ---------------------------------------------------------------- store


def test_store_compacted_under_a_deaf_leader_and_under_its_successor_loses_nothing(rig: Rig) -> None:
    rig.node.lead()
    first, run = begun(rig)
    rig.node.host.deaf = True
    second = rig.client.submit()
    rig.node.end(run)
    rig.wait_for(first)
    rig.world.compact()
    hear_again(rig.node)
    rig.wait_for_run(second)
    assert rig.world.counts["watch_reloaded"] == 1
    other = Node(rig.world, "b")
    other.body = lambda start: RETURNED
    rig.settle()
    other.host.deaf = True
    rig.node.host.crash()
    third = rig.client.submit()
    rig.world.compact()
    other.lead()
    hear_again(other)
    ended_once(rig, first)
    ended_once(rig, second, interruptions=1)
    ended_once(rig, third)


def test_store_full_and_then_with_room_ends_every_job_once() -> None:
    rig = Rig(World(quota_bytes=400_000))
    rig.node.lead()
    jobs = [begun(rig) for _ in range(2)]
    waiting = rig.client.submit()
    while not isinstance(rig.world.apply(Put(b"filler", bytes(100_000))), StoreFullError):
        pass
    rig.node.pause()  # as the election does when it cannot renew
    for _, run in jobs:
        rig.node.end(run)
    ticket = rig.client.send()
    rig.settle(30)
    assert [rig.outcome(job_id) for job_id, _ in jobs] == [None, None]
    rig.world.apply(Delete(b"filler"))
    rig.world.compact()
    rig.world.state.disarm()
    rig.node.resume()
    rig.node.body = lambda start: RETURNED
    for job_id in (*(job_id for job_id, _ in jobs), waiting):
        assert ended_once(rig, job_id).run == 1
    answer = rig.client.answer(ticket)
    if answer.error is None:
        ended_once(rig, answer.job_id)
    else:
        assert isinstance(answer.error, QueueFullError)
        assert not was_written(rig, KEYS.queue + answer.job_id.encode())


def test_store_refuses_a_record_of_a_mebibyte_and_a_half_alone(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    client = Client(rig.world, "other", CommitLimits(size=8 * 1024 * 1024, rpc_timeout_s=1.0))  # all in one batch
    client.submit()
    tickets = [client.send(payload={"x": "y" * (1_572_864 if n == 3 else 10)}) for n in range(8)]
    answers = [client.answer(ticket) for ticket in tickets]
    assert isinstance(answers.pop(3).error, RequestTooLargeError)
    for answer in answers:
        ended_once(rig, answer.job_id)


def test_store_refuses_a_result_of_a_mebibyte_and_a_half_and_its_job_fails_once(rig: Rig) -> None:
    noise = base64.b64encode(random.Random(1).randbytes(1_179_648))  # no compression makes it small enough
    report = RunReport(RunEnd.RETURNED, result_json=b'"' + noise + b'"')
    rig.node.lead().body = lambda start: report if start.job.spec.payload["n"] == 3 else RETURNED
    tickets = [rig.client.send(payload={"n": n}) for n in range(6)]
    ids = [rig.client.answer(ticket).job_id for ticket in tickets]
    outcome = ended_once(rig, ids.pop(3), JobStatus.FAILED)
    assert outcome.error is not None
    assert outcome.error["code"] == "result_too_large"
    for job_id in ids:
        ended_once(rig, job_id)
    assert len(rig.node.runs) == 6


def test_store_is_given_no_batch_beyond_its_128(rig: Rig) -> None:
    """Neither by submitters nor by the leader, however much comes at once: it would refuse all of it."""
    shapes: list[int] = []

    def look(request: Request[Any]) -> bool:
        if isinstance(request, Txn):
            shapes.append(max(len(request.compares), len(request.success)))
        return False

    rig = Rig(jobs=options(workers=200))
    rig.client.submit()
    rig.world.order(request_lost(), look)
    rig.node.lead()
    tickets = [rig.client.send(key=f"k{n}") for n in range(200)]
    ids = [rig.client.answer(ticket).job_id for ticket in tickets]
    for job_id in ids:
        rig.wait_for_run(job_id)
    rig.node.crash()
    rig.node.lead()  # closes claims of 62 jobs
    for job_id in ids:
        rig.wait_for_run(job_id)
    for job_id in ids:
        rig.node.do(rig.node.run_of(job_id))
    for job_id in ids:
        assert rig.wait_for(job_id).interruptions == 1
    assert 100 < max(shapes) <= 128


def test_store_that_stalls_on_one_call_holds_back_no_other(rig: Rig) -> None:
    rig.node.lead()
    stuck, run = begun(rig)
    rule = rig.world.order(request_lost(), puts(KEYS.done + stuck.encode()))
    rig.node.end(run)
    rig.world.run_until(lambda: rule.met == 1)
    rig.node.body = lambda start: RETURNED
    others = [rig.client.submit() for _ in range(10)]
    for job_id in others:
        rig.wait_for(job_id, within_s=0.5)
    assert rig.outcome(stuck) is None
    rig.world.rules.clear()
    for job_id in (stuck, *others):
        ended_once(rig, job_id)


@pytest.mark.etcd
def test_store_whose_leader_dies_under_load_ends_every_job_once(etcd_servers: EtcdServers) -> None:
    with Trio(etcd_servers.binary("any")) as members:
        leader = etcd_leader(members)
        endpoints = [leader.endpoint, *(each.endpoint for each in members.members if each is not leader)]
        with EtcdStore(EtcdOptions(endpoints=endpoints)) as store, cluster_on(store) as cluster:
            half = threading.Event()
            begun: set[int] = set()

            def body(spec: Any, job: Any) -> Any:
                begun.add(spec.payload["n"])
                if len(begun) >= 300:
                    half.set()
                return spec.payload

            cluster.engine(body)
            client = cluster.client()
            handles = client.submit_many(NewJob({"n": n}) for n in range(600))
            assert half.wait(PATIENCE_S)
            lose(leader, "killed")
            handles += client.submit_many(NewJob({"n": 600 + n}) for n in range(100))
            assert [handle.result(PATIENCE_S) for handle in handles] == [{"n": n} for n in range(700)]  # type: ignore[union-attr]
            keys = cluster.keys
            done = do(store, Get(keys.done, prefix_end(keys.done), keys_only=True)).kvs
            assert {kv.key.removeprefix(keys.done).decode(): kv.version for kv in done} == {
                handle.id: 1  # type: ignore[union-attr]
                for handle in handles
            }


# ---------------------------------------------------------------- poison


def test_poison_ends_failed_after_three_crashes_and_others_proceed(rig: Rig) -> None:
    ids = [rig.client.submit() for _ in range(4)]
    poison = ids[1]
    crashes = 0

    def lead() -> None:
        rig.node.lead().body = body

    def die(life: int) -> None:
        nonlocal crashes
        if life == rig.node.host.life:
            crashes += 1
            rig.node.crash()
            rig.world.after(0.1, lead)

    def body(start: StartRun) -> RunReport | None:
        if start.job.job_id != poison:
            return RETURNED
        rig.world.after(0.05, die, rig.node.host.life)
        return None

    lead()
    outcome = ended_once(rig, poison, JobStatus.FAILED, attempts=0, interruptions=3, within_s=300)
    assert outcome.error is not None
    assert (outcome.error["code"], crashes) == ("poison", 3)
    assert outcome.spec is not None  # kept, so that it can be tried again once it is mended
    for job_id in ids:
        if job_id != poison:
            assert rig.wait_for(job_id).status is JobStatus.COMPLETED
            assert rig.outcomes_written(job_id) == 1
