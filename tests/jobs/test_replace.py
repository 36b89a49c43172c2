"""What a submit does when its idempotency key was used before; above all: one job takes the place of another (A18)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.rig import KEYS, RAISED, RETURNED, Client, Rig, options, puts
from slurp_leader.errors import DuplicateJobError, IdempotencyConflictError
from slurp_leader.jobs import intents
from slurp_leader.jobs.intents import Replaced
from slurp_leader.jobs.new_job import OnDuplicate
from slurp_leader.jobs.records import Cancel, Idempotency, JobStatus, idempotency_hash
from slurp_leader.jobs.submitter import Submitted
from slurp_leader.store import Put, Txn
from support.virtual import answer_lost, late, request_lost

IDEM = KEYS.idem + idempotency_hash("k").encode()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def replace(rig: Rig, client: Client | None = None, **fields: object) -> Submitted:
    on = client or rig.client
    answer = on.answer(on.send(key="k", on_duplicate=OnDuplicate.REPLACE, **fields))
    assert answer.error is None, answer.error
    return answer


def holder(rig: Rig) -> str:
    """The job that the key stands for."""
    kv = rig.kv(IDEM)
    assert kv is not None
    return Idempotency.from_value(kv.key, kv.value).job_id


def two_at_once(rig: Rig, other: Client) -> tuple[Submitted, Submitted]:
    """Two that replace: the one that applied first, and the one that the key stands for now."""
    clients = (rig.client, other)
    tickets = [client.send(key="k", on_duplicate=OnDuplicate.REPLACE) for client in clients]
    answers = [client.answer(ticket) for client, ticket in zip(clients, tickets, strict=True)]
    last = next(answer for answer in answers if answer.job_id == holder(rig))
    first = next(answer for answer in answers if answer is not last)
    return first, last


# ---------------------------------------------------------------- raise


def test_raise_tells_of_the_job_that_is_there(rig: Rig) -> None:
    first = rig.client.submit(key="k")
    error = rig.client.answer(rig.client.send(key="k", on_duplicate=OnDuplicate.RAISE)).error
    assert isinstance(error, DuplicateJobError)
    assert error.job_id == first
    assert len(rig.keys(KEYS.queue)) == 1


def test_raise_with_another_request_is_a_conflict(rig: Rig) -> None:
    rig.client.submit(key="k", payload={"n": 1})
    ticket = rig.client.send(key="k", payload={"n": 2}, on_duplicate=OnDuplicate.RAISE)
    assert isinstance(rig.client.answer(ticket).error, IdempotencyConflictError)


def test_raise_does_not_take_an_own_lost_answer_for_another_job(rig: Rig) -> None:
    rig.world.order(answer_lost(), puts(KEYS.queue), times=1)
    answer = rig.client.answer(rig.client.send(key="k", on_duplicate=OnDuplicate.RAISE))
    assert (answer.error, answer.created) == (None, True)


# ---------------------------------------------------------------- replace


def test_a_key_that_is_free_replaces_nothing(rig: Rig) -> None:
    answer = replace(rig)
    assert (answer.created, answer.replaced) == (True, None)
    assert rig.keys(KEYS.cancel) == []


def test_a_waiting_job_is_replaced_at_one_revision_and_ended_by_the_leader_alone(rig: Rig) -> None:
    old = rig.client.submit(key="k", payload={"n": 1})
    answer = replace(rig, payload={"n": 2})
    assert (answer.created, answer.replaced) == (True, old)
    assert holder(rig) == answer.job_id
    cancel = rig.kv(KEYS.cancel + old.encode())
    queue = rig.kv(KEYS.queue + old.encode())
    assert cancel is not None
    assert queue is not None  # only a leader removes it
    wish = Cancel.from_value(cancel.key, cancel.value)
    assert (wish.queue_revision, wish.reason) == (queue.mod_revision, "replaced")
    written = [rig.history(key)[-1][0] for key in (KEYS.queue + answer.job_id.encode(), IDEM, cancel.key)]
    assert len(set(written)) == 1
    rig.node.lead().body = lambda start: RETURNED
    assert rig.wait_for(old).status is JobStatus.CANCELLED
    assert rig.wait_for(answer.job_id).status is JobStatus.COMPLETED
    assert rig.node.runs_of(old) == []


def test_a_running_job_that_is_replaced_is_told_to_stop(rig: Rig) -> None:
    rig.node.lead()
    old = rig.client.submit(key="k")
    run = rig.wait_for_run(old)
    rig.node.started(run)
    new = replace(rig).job_id
    rig.world.run_until(lambda: rig.node.stops_of(run) == ["cancelled"])
    rig.node.end(run, RAISED)
    assert rig.wait_for(old).status is JobStatus.CANCELLED
    rig.node.do(rig.wait_for_run(new))
    assert rig.wait_for(new).status is JobStatus.COMPLETED


def test_an_ended_job_is_replaced_and_stays_as_it_ended(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    old = rig.client.submit(key="k")
    rig.wait_for(old)
    new = replace(rig).job_id
    assert rig.wait_for(new).status is JobStatus.COMPLETED
    outcome = rig.outcome(old)
    assert outcome is not None
    assert outcome.status is JobStatus.COMPLETED
    assert rig.keys(KEYS.cancel) == []


def test_a_job_that_somebody_cancels_already_is_replaced_too(rig: Rig) -> None:
    old = rig.client.submit(key="k")
    rig.client.cancel(old, "mine")
    new = replace(rig).job_id
    cancel = rig.kv(KEYS.cancel + old.encode())
    assert cancel is not None
    assert Cancel.from_value(cancel.key, cancel.value).reason == "mine"
    rig.node.lead().body = lambda start: RETURNED
    assert rig.wait_for(old).status is JobStatus.CANCELLED
    assert rig.wait_for(new).status is JobStatus.COMPLETED


@pytest.mark.parametrize("trouble", [answer_lost(), request_lost()])
def test_a_replace_without_an_answer_is_one_replace(rig: Rig, trouble: object) -> None:
    old = rig.client.submit(key="k")
    rig.world.order(trouble, puts(KEYS.cancel), times=2)
    answer = replace(rig)
    assert answer.replaced == old
    assert holder(rig) == answer.job_id
    assert len(rig.keys(KEYS.queue)) == 2


def test_a_late_copy_of_a_replace_takes_nothing_from_the_one_after_it(rig: Rig) -> None:
    old = rig.client.submit(key="k")
    rig.world.order(late(20.0), puts(KEYS.cancel), times=1)
    ticket = rig.client.send(key="k", on_duplicate=OnDuplicate.REPLACE)
    second = rig.client.answer(ticket)  # a copy of it has applied; the first is still on its way
    third = replace(rig)
    rig.settle(60)
    assert second.replaced == old
    assert third.replaced == second.job_id
    assert holder(rig) == third.job_id
    rig.node.lead().body = lambda start: RETURNED
    assert rig.wait_for(third.job_id).status is JobStatus.COMPLETED
    assert rig.wait_for(second.job_id).status is JobStatus.CANCELLED
    assert rig.outcomes_written(old) == rig.outcomes_written(second.job_id) == 1


def test_of_two_that_replace_at_once_each_takes_the_place_of_another(rig: Rig) -> None:
    other = Client(rig.world, "other")
    other.submit()
    old = rig.client.submit(key="k")
    first, last = two_at_once(rig, other)
    assert (first.replaced, last.replaced) == (old, first.job_id)
    rig.node.lead().body = lambda start: RETURNED
    for job_id in (old, first.job_id):
        assert rig.wait_for(job_id).status is JobStatus.CANCELLED
    assert rig.wait_for(last.job_id).status is JobStatus.COMPLETED


def test_many_in_one_flush_that_replace_each_other_leave_one(rig: Rig) -> None:
    rig.client.submit(key="k")
    tickets = [rig.client.send(key="k", on_duplicate=OnDuplicate.REPLACE) for _ in range(10)]
    answers = [rig.client.answer(ticket) for ticket in tickets]
    assert all(answer.error is None for answer in answers)
    rig.node.lead().body = lambda start: RETURNED
    ended = [rig.wait_for(answer.job_id).status for answer in answers]
    assert sorted(ended) == [JobStatus.CANCELLED] * 9 + [JobStatus.COMPLETED]


def test_of_two_that_replace_an_ended_job_at_once_the_second_replaces_the_first(rig: Rig) -> None:
    """Nothing but the revision of the key can tell them that they are two."""
    other = Client(rig.world, "other")
    other.submit()
    rig.node.lead().body = lambda start: RETURNED
    old = rig.client.submit(key="k")
    rig.wait_for(old)
    rig.node.body = None
    first, last = two_at_once(rig, other)
    assert (first.replaced, last.replaced) == (old, first.job_id)


@pytest.mark.parametrize("moved", ["the key", "the earlier job", "the wish to end it", "the new job", "its outcome"])
def test_whatever_has_moved_since_it_was_looked_at_refuses_the_replace(rig: Rig, moved: str) -> None:
    old = rig.client.submit(key="k")
    idem, queue = rig.kv(IDEM), rig.kv(KEYS.queue + old.encode())
    assert idem is not None
    assert queue is not None
    spec = rig.client.spec(key="k")
    replaced = Replaced(idem, old, queue.mod_revision)
    digest = Idempotency(spec.job_id, "")
    intent = intents.replace(KEYS, intents.AdmissionGate(KEYS), spec, digest, replaced, lambda *_: None)
    key = {
        "the key": IDEM,
        "the earlier job": KEYS.queue + old.encode(),
        "the wish to end it": KEYS.cancel + old.encode(),
        "the new job": KEYS.queue + spec.job_id.encode(),
        "its outcome": KEYS.done + spec.job_id.encode(),
    }[moved]
    rig.world.apply(Put(key, b"{}"))
    assert not rig.world.apply(Txn(intent.compares, intent.operations)).succeeded


def test_a_job_that_ends_while_it_is_replaced_keeps_its_outcome(rig: Rig) -> None:
    rig.node.lead()
    old = rig.client.submit(key="k")
    run = rig.wait_for_run(old)
    rig.world.order(late(0.5), puts(KEYS.cancel), times=1)
    ticket = rig.client.send(key="k", on_duplicate=OnDuplicate.REPLACE)
    rig.settle(0.1)
    rig.node.do(run)
    assert rig.wait_for(old).status is JobStatus.COMPLETED
    answer = rig.client.answer(ticket)
    assert answer.replaced == old
    rig.node.do(rig.wait_for_run(answer.job_id))
    assert rig.wait_for(answer.job_id).status is JobStatus.COMPLETED
    rig.settle(5)
    assert rig.keys(KEYS.cancel) == []
    assert rig.outcomes_written(old) == 1


def test_the_key_outlives_the_outcome_that_it_was_taken_from() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=5)))
    rig.node.lead().body = lambda start: RETURNED
    old = rig.client.submit(key="k")
    rig.wait_for(old)
    new = replace(rig, run_at="2026-02-01T00:00:00.000Z").job_id
    rig.world.run_until(lambda: rig.outcome(old) is None)
    assert holder(rig) == new
