"""Submitting: accepted means kept, whatever answer is lost; one job for one key (PROTOCOL A2, A4, A5, A27)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.rig import KEYS, RETURNED, Client, Rig, options, puts
from slurp_leader.errors import (
    IdempotencyConflictError,
    JobNotFoundError,
    QueueFullError,
    RecordError,
    RequestTooLargeError,
    ResultExpiredError,
    StoreBusyError,
    StoreDeniedError,
    StoreUnavailableError,
)
from slurp_leader.jobs.commit import CommitLimits
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.records import Idempotency, closed_value, floor_value, idempotency_hash
from slurp_leader.store import Delete, Get, Put, Request, Txn
from support.virtual import answer_lost, failed, late, request_lost


@pytest.fixture
def rig() -> Rig:
    return Rig()


def one_at_a_time(rig: Rig) -> Client:
    """A client of which every job is a transaction of its own."""
    return Client(rig.world, "single", CommitLimits(items=1, rpc_timeout_s=1.0))


# ---------------------------------------------------------------- accepted means kept


def test_the_caller_is_told_only_after_the_commit(rig: Rig) -> None:
    rig.world.order(late(0.5), puts(KEYS.queue), times=1)
    ticket = rig.client.send()
    rig.settle(0.4)
    assert ticket not in rig.client.answers
    answer = rig.client.answer(ticket)
    assert rig.kv(KEYS.queue + answer.job_id.encode()) is not None


def test_a_submit_whose_answer_was_lost_is_the_same_job(rig: Rig) -> None:
    rule = rig.world.order(answer_lost(), puts(KEYS.queue), times=3)
    job_id = rig.client.submit()
    assert rule.met == 3
    assert len(rig.history(KEYS.queue + job_id.encode())) == 1


def test_a_submit_that_meets_an_election_of_etcd_is_answered_soon_after_it(rig: Rig) -> None:
    """What the old leader of etcd was to write is written by nobody, and nobody says so."""
    client = Client(rig.world, "another", CommitLimits())
    client.submit()
    election = rig.world.order(request_lost(), puts(KEYS.queue))
    ticket = client.send()
    rig.settle(2.0)
    rig.world.rules.remove(election)
    assert client.answer(ticket, within_s=1.0).error is None


def test_so_is_the_first_submit_of_a_process(rig: Rig) -> None:
    client = Client(rig.world, "another", CommitLimits())
    election = rig.world.order(request_lost(), puts(KEYS.floor))
    ticket = client.send()
    rig.settle(2.0)
    rig.world.rules.remove(election)
    assert client.answer(ticket, within_s=1.0).error is None


def test_and_so_is_a_cancel(rig: Rig) -> None:
    client = Client(rig.world, "another", CommitLimits())
    job_id = client.submit()
    election = rig.world.order(request_lost(), puts(KEYS.cancel))
    ticket = client.send_cancel(job_id)
    rig.settle(2.0)
    rig.world.rules.remove(election)
    rig.world.run_until(lambda: ticket in client.cancels, within_s=1.0)
    assert client.cancels[ticket].error is None


def test_a_submit_whose_answer_was_lost_is_not_run_again_after_it_has_ended(rig: Rig) -> None:
    """A4: the leader may have finished it before it is sent again."""
    rig.node.lead().body = lambda start: RETURNED
    rig.settle()
    rig.world.order(answer_lost(), puts(KEYS.queue), times=3)
    ticket = rig.client.send()
    answer = rig.client.answer(ticket)
    assert answer.error is None
    rig.wait_for(answer.job_id)
    rig.settle(10)
    assert len(rig.node.runs) == 1
    assert rig.outcomes_written(answer.job_id) == 1


def test_a_late_copy_of_a_submit_does_not_bring_a_job_back(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    rig.settle()
    rig.world.order(late(30.0), puts(KEYS.queue), times=1)
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    rig.settle(60)
    assert len(rig.history(KEYS.queue + job_id.encode())) == 2  # put, deleted, and never put again


def test_a_late_copy_of_a_submit_does_not_bring_a_pruned_job_back() -> None:
    """A4: after pruning there is no record of it left, only the floor."""
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=2)))
    rig.node.lead().body = lambda start: RETURNED
    rig.settle()
    rig.world.order(late(60.0), puts(KEYS.queue), times=1)
    job_id = rig.client.submit()
    rig.wait_for(job_id)
    rig.world.run_until(lambda: rig.outcome(job_id) is None)
    rig.settle(120)
    assert len(rig.node.runs) == 1
    assert len(rig.history(KEYS.queue + job_id.encode())) == 2


def test_a_store_that_is_busy_is_asked_again(rig: Rig) -> None:
    rig.world.order(failed(StoreBusyError()), puts(KEYS.queue), times=3)
    rig.client.submit()


def test_a_store_that_denies_says_so_to_the_caller(rig: Rig) -> None:
    rig.client.submit()
    rig.world.order(failed(StoreDeniedError()), puts(KEYS.queue))
    assert isinstance(rig.client.answer(rig.client.send()).error, StoreDeniedError)


def test_a_store_that_denies_the_very_first_request_says_so_to_the_caller(rig: Rig) -> None:
    rig.world.order(failed(StoreDeniedError()))
    assert isinstance(rig.client.answer(rig.client.send()).error, StoreDeniedError)


def test_one_request_too_large_harms_none_of_those_beside_it(rig: Rig) -> None:
    rig.client.submit()
    tickets = [rig.client.send(payload={"x": "y" * (1_600_000 if n == 3 else 10)}) for n in range(8)]
    answers = [rig.client.answer(ticket) for ticket in tickets]
    assert [type(answer.error) for answer in answers if answer.error] == [RequestTooLargeError]
    assert answers[3].error is not None


# ---------------------------------------------------------------- idempotency keys


def test_the_same_key_and_request_is_the_same_job(rig: Rig) -> None:
    first = rig.client.answer(rig.client.send(key="k"))
    second = rig.client.answer(rig.client.send(key="k"))
    assert (first.created, second.created) == (True, False)
    assert first.job_id == second.job_id
    assert len(rig.keys(KEYS.queue)) == 1


def test_one_key_for_two_requests_is_a_conflict_that_names_the_first(rig: Rig) -> None:
    first = rig.client.submit(key="k", payload={"n": 1})
    error = rig.client.answer(rig.client.send(key="k", payload={"n": 2})).error
    assert isinstance(error, IdempotencyConflictError)
    assert error.job_id == first


def test_one_key_twice_in_one_flush_is_one_job_and_harms_nobody(rig: Rig) -> None:
    """A5: two puts of one key in a transaction are refused, with all that is beside them."""
    rig.world.order(late(0.05), puts(KEYS.queue), times=1)
    rig.client.submit()
    tickets = [rig.client.send(key="k") for _ in range(3)] + [rig.client.send() for _ in range(5)]
    answers = [rig.client.answer(ticket) for ticket in tickets]
    assert all(answer.error is None for answer in answers)
    assert len({answer.job_id for answer in answers[:3]}) == 1
    assert [answer.created for answer in answers[:3]].count(True) == 1


def test_two_clients_with_one_key_at_once_make_one_job(rig: Rig) -> None:
    other = Client(rig.world, "other")
    rig.client.submit()
    other.submit()
    first, second = rig.client.send(key="k"), other.send(key="k")
    answers = [rig.client.answer(first), other.answer(second)]
    assert len({answer.job_id for answer in answers}) == 1
    assert sorted(answer.created for answer in answers) == [False, True]


def test_an_own_lost_answer_is_not_taken_for_a_duplicate(rig: Rig) -> None:
    rig.world.order(answer_lost(), puts(KEYS.queue), times=1)
    answer = rig.client.answer(rig.client.send(key="k"))
    assert answer.created
    assert answer.error is None


def test_a_key_whose_job_ended_still_leads_to_it(rig: Rig) -> None:
    rig.node.lead().body = lambda start: RETURNED
    job_id = rig.client.submit(key="k")
    rig.wait_for(job_id)
    again = rig.client.answer(rig.client.send(key="k"))
    assert (again.job_id, again.created) == (job_id, False)


def test_a_key_whose_job_was_pruned_is_free_again() -> None:
    rig = Rig(jobs=options(retain_completed=timedelta(seconds=2)))
    rig.node.lead().body = lambda start: RETURNED
    job_id = rig.client.submit(key="k")
    rig.wait_for(job_id)
    rig.world.run_until(lambda: rig.outcome(job_id) is None)
    assert rig.keys(KEYS.idem) == []
    assert rig.client.submit(key="k") != job_id


@pytest.mark.parametrize("digest", ["the same", "another"])
def test_a_key_left_behind_by_a_job_that_is_gone_is_replaced_whatever_its_request_was(rig: Rig, digest: str) -> None:
    gone = rig.client.mint.mint()
    rig.client.submit()
    rig.world.apply(Put(KEYS.idem + idempotency_hash("k").encode(), Idempotency(gone, digest).to_value()))
    answer = rig.client.answer(rig.client.send(key="k"))
    assert answer.error is None
    assert answer.created


def test_a_key_whose_record_cannot_be_read_is_an_error_for_that_request_alone(rig: Rig) -> None:
    rig.client.submit()
    rig.world.apply(Put(KEYS.idem + idempotency_hash("k").encode(), b"?"))
    tickets = [rig.client.send(key="k"), rig.client.send()]
    assert isinstance(rig.client.answer(tickets[0]).error, RecordError)
    assert rig.client.answer(tickets[1]).error is None


# ---------------------------------------------------------------- the floor


def test_an_id_below_the_floor_is_minted_anew(rig: Rig) -> None:
    rig.client.submit()
    far = "02000000-0000-7000-8000-000000000000"
    rig.world.apply(Put(KEYS.floor, floor_value(far)))
    assert rig.client.submit() > far


def test_a_first_submit_mints_above_a_floor_that_was_there(rig: Rig) -> None:
    far = "02000000-0000-7000-8000-000000000000"
    rig.world.apply(Put(KEYS.floor, floor_value(far)))
    assert rig.client.submit() > far


def test_a_floor_that_passed_an_id_in_doubt_is_reported_as_unknown(rig: Rig) -> None:
    rig.client.submit()
    rig.world.order(request_lost(), puts(KEYS.queue), times=1)
    ticket = rig.client.send()
    rig.settle(0.1)
    rig.world.apply(Put(KEYS.floor, floor_value("02000000-0000-7000-8000-000000000000")))
    error = rig.client.answer(ticket).error
    assert isinstance(error, StoreUnavailableError)
    assert error.outcome.value == "unknown"


def test_a_floor_that_somebody_deleted_is_made_again(rig: Rig) -> None:
    rig.client.submit()
    rig.world.apply(Delete(KEYS.floor))
    rig.client.submit()
    floor = rig.kv(KEYS.floor)
    assert floor is not None
    assert floor.value == floor_value(LOWEST)


@pytest.mark.parametrize("known_before", [True, False])
def test_a_floor_that_cannot_be_read_refuses_submits_and_says_what_to_do(rig: Rig, known_before: bool) -> None:
    if known_before:
        rig.client.submit()
    rig.world.apply(Put(KEYS.floor, b'"zzz"'))
    error = rig.client.answer(rig.client.send(), within_s=5).error
    assert isinstance(error, RecordError)
    assert "operator" in str(error)


def test_a_floor_beyond_all_calendars_is_no_floor(rig: Rig) -> None:
    rig.world.apply(Put(KEYS.floor, floor_value("ffffffff-ffff-7fff-bfff-ffffffffffff")))
    assert isinstance(rig.client.answer(rig.client.send()).error, RecordError)


def test_a_job_below_the_floor_without_a_record_has_expired_and_one_above_never_was(rig: Rig) -> None:
    low, high = rig.client.mint.mint(), "02000000-0000-7000-8000-000000000001"
    rig.client.submit()
    rig.world.apply(Put(KEYS.floor, floor_value("02000000-0000-7000-8000-000000000000")))
    assert isinstance(rig.client.cancel(low).error, ResultExpiredError)
    assert isinstance(rig.client.cancel(high).error, JobNotFoundError)


# ---------------------------------------------------------------- admission


def test_a_closed_queue_refuses_and_says_so(rig: Rig) -> None:
    rig.client.submit()
    rig.world.apply(Put(KEYS.closed, closed_value("full", "me")))
    assert isinstance(rig.client.answer(rig.client.send()).error, QueueFullError)
    rig.world.apply(Delete(KEYS.closed))
    rig.client.submit()


def test_a_submit_in_doubt_is_not_called_refused_while_the_queue_is_closed(rig: Rig) -> None:
    """It may still arrive when the queue opens again."""
    rig.client.submit()
    rig.world.order(late(20.0), puts(KEYS.queue), times=1)
    ticket = rig.client.send()
    rig.settle(0.1)
    rig.world.apply(Put(KEYS.closed, closed_value("full", "me")))
    rig.settle(10)
    assert ticket not in rig.client.answers
    rig.world.apply(Delete(KEYS.closed))
    answer = rig.client.answer(ticket)
    assert answer.error is None
    assert len(rig.history(KEYS.queue + answer.job_id.encode())) == 1


def test_the_leader_closes_a_full_queue_and_opens_it_with_a_tenth_free() -> None:
    rig = Rig(jobs=options(queue_limit=10))
    rig.node.lead()
    ids = [rig.client.submit() for _ in range(10)]
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)
    assert isinstance(rig.client.answer(rig.client.send()).error, QueueFullError)
    rig.node.body = lambda start: RETURNED
    for run in list(rig.node.runs):
        rig.node.do(run)
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is None)
    rig.client.submit()
    for job_id in ids:
        rig.wait_for(job_id)


def test_the_leader_closes_a_queue_with_too_many_bytes() -> None:
    rig = Rig(jobs=options(queue_bytes=1024 * 1024))
    rig.node.lead()
    for _ in range(3):
        rig.client.submit(payload={"x": "y" * 400_000})
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is not None)


def test_a_new_leader_looks_at_the_door_itself() -> None:
    rig = Rig(jobs=options(queue_limit=2))
    rig.client.submit()
    rig.world.apply(Put(KEYS.closed, closed_value("left by an older leader", "gone")))
    rig.node.lead()
    rig.world.run_until(lambda: rig.kv(KEYS.closed) is None)


def test_a_queue_that_closed_and_opened_while_the_watch_lagged_is_closed_when_it_should_be() -> None:
    rig = Rig(jobs=options(queue_limit=3))
    rig.node.lead().body = lambda start: RETURNED
    rig.world.watch_delay_s = lambda: 0.3
    for _ in range(40):
        rig.client.send()
    rig.settle(60)
    assert rig.keys(KEYS.queue) == []
    assert rig.kv(KEYS.closed) is None


# ---------------------------------------------------------------- group commit


def test_jobs_sent_together_are_committed_together(rig: Rig) -> None:
    rig.client.submit()
    before = rig.world.state.revision
    tickets = [rig.client.send() for _ in range(100)]
    for ticket in tickets:
        rig.client.answer(ticket)
    assert rig.world.state.revision - before < 10


def test_no_transaction_is_beyond_what_etcd_takes(rig: Rig) -> None:
    seen: list[Txn] = []

    def look(request: Request[Any]) -> bool:
        if isinstance(request, Txn):
            seen.append(request)
        return False

    rig.world.order(request_lost(), look)
    for n in range(200):
        rig.client.send(key=f"k{n}")
    rig.settle(5)
    assert len(rig.keys(KEYS.queue)) == 200
    assert max(len(txn.compares) for txn in seen) <= 128
    assert max(len(txn.success) for txn in seen) <= 128


def test_a_flush_is_cut_at_the_bytes_set(rig: Rig) -> None:
    client = Client(rig.world, "small", CommitLimits(size=10_000, rpc_timeout_s=1.0))
    client.submit()
    before = rig.world.state.revision
    for ticket in [client.send(payload={"x": "y" * 3000}) for _ in range(9)]:
        client.answer(ticket)
    assert rig.world.state.revision - before >= 3


def test_jobs_can_be_submitted_one_a_transaction(rig: Rig) -> None:
    client = one_at_a_time(rig)
    client.submit()
    before = rig.world.state.revision
    for ticket in [client.send() for _ in range(5)]:
        client.answer(ticket)
    assert rig.world.state.revision - before == 5
    assert rig.world.apply(Get(KEYS.queue, KEYS.queue + b"~")).count == 6
