"""What a program says about jobs: options of a submit, and the verbs of ``system.jobs``, plain and awaited."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from slurp_leader import JobStatus, QueueFullError
from slurp_leader.errors import DuplicateJobError, JobFailedError, RequestInvalidError, TerminalError
from slurp_leader.jobs import CancelAnswer, JobFilter, PurgeAnswer, QueueLevel, RetryAnswer
from slurp_leader.jobs.records import Spec
from slurp_leader.store import Get, Put

WAIT_S = 30
FAR = datetime(2099, 1, 1, tzinfo=UTC)
QUEUE, CLOSED = b"/slurp/v1/default/m/queue/", b"/slurp/v1/default/m/control/closed"


def spec_of(shared: Any, job_id: str) -> Spec:
    key = QUEUE + job_id.encode()
    return Spec.from_value(key, shared.store.call(Get(key), 5).result().kvs[0].value)


def test_options_are_resolved_and_kept_with_the_job(make_system: Any, shared: Any) -> None:
    client = make_system(candidate=False)
    handle = client.submit(
        "a.py",
        timeout=timedelta(seconds=7),
        max_attempts=9,
        queue_timeout=timedelta(minutes=1),
        deadline=FAR,
        backoff_base=2,
        backoff_cap=timedelta(seconds=30),
        backoff_jitter=0.5,
    )
    spec = spec_of(shared, handle.id)
    limits = spec.limits
    assert (limits.timeout_s, limits.max_attempts, limits.queue_timeout_s) == (7, 9, 60)
    assert (limits.backoff_base_s, limits.backoff_cap_s, limits.backoff_jitter) == (2, 30, 0.5)
    assert spec.deadline == "2099-01-01T00:00:00.000Z"
    settings = client.settings.jobs
    plain = spec_of(shared, client.submit("a.py").id)
    assert (plain.limits.timeout_s, plain.limits.max_attempts) == (settings.timeout_s, settings.max_attempts)
    assert (plain.limits.queue_timeout_s, plain.deadline) == (None, None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"deadline": FAR, "run_at": FAR}, "deadline"),
        ({"deadline": datetime(2001, 1, 1, tzinfo=UTC)}, "deadline"),
        ({"deadline": datetime(2099, 1, 1)}, "deadline"),  # noqa: DTZ001 - that is what is wrong with it
        ({"queue_timeout": 0}, "queue_timeout"),
        ({"queue_timeout": "soon"}, "queue_timeout"),
        ({"queue_timeout": True}, "queue_timeout"),
        ({"backoff_base": -1}, "backoff_base"),
        ({"backoff_base": float("nan")}, "backoff_base"),
        ({"backoff_base": 5, "backoff_cap": 1}, "backoff_cap"),
        ({"backoff_jitter": 2}, "backoff_jitter"),
        ({"on_duplicate": "replace"}, "on_duplicate"),
        ({"on_duplicate": "maybe", "idempotency_key": "k"}, "on_duplicate"),
        ({"on_full": "maybe"}, "on_full"),
        ({"block_timeout": 1}, "block_timeout"),
    ],
)
def test_an_option_that_makes_no_sense_is_named_and_nothing_is_submitted(
    make_system: Any, fields: dict[str, Any], field: str
) -> None:
    client = make_system(candidate=False)
    with pytest.raises(RequestInvalidError) as caught:
        client.submit("a.py", **fields)
    assert caught.value.field == field
    assert client.jobs.list() == []


def test_a_long_first_wait_alone_raises_the_longest_with_it(make_system: Any, shared: Any) -> None:
    client = make_system(candidate=False)
    limits = spec_of(shared, client.submit("a.py", backoff_base=1000).id).limits
    assert (limits.backoff_base_s, limits.backoff_cap_s) == (1000, 1000)


def test_a_key_that_was_used_raises_or_replaces_as_asked(make_system: Any) -> None:
    client = make_system(candidate=False)
    first = client.submit("a.py", idempotency_key="k")
    with pytest.raises(DuplicateJobError) as caught:
        client.submit("a.py", idempotency_key="k", on_duplicate="raise")
    assert caught.value.job_id == first.id
    second = client.submit("b.py", idempotency_key="k", on_duplicate="replace")
    assert (second.created, second.replaced) == (True, first.id)
    assert first.report().cancel_requested


def test_a_submit_waits_for_room_as_asked(make_system: Any, shared: Any) -> None:
    client = make_system(candidate=False)
    shared.store.call(Put(CLOSED, b"?"), 5).result()
    with pytest.raises(QueueFullError):
        client.submit("a.py")
    with pytest.raises(QueueFullError):
        client.submit("a.py", on_full="block", block_timeout=timedelta(milliseconds=20))
    [refused] = client.submit_many(["a.py"], on_full="block", block_timeout=0.02)
    assert isinstance(refused, QueueFullError)


def test_jobs_are_cancelled_tried_again_and_purged_by_id_list_filter_or_conditions(make_system: Any) -> None:
    mended = threading.Event()

    def generate(request: Any, job: Any) -> str:
        if not mended.is_set():
            raise TerminalError("not yet", code="early")
        return {"is": "done"}

    node = make_system(generator=generate)
    jobs = node.jobs
    handles = [node.submit(f"{name}.py", role=name) for name in "abc"]
    for handle in handles:
        with pytest.raises(JobFailedError):
            handle.result(WAIT_S)
    a, b, c = (handle.id for handle in handles)
    mended.set()
    assert jobs.retry(a) is RetryAnswer.RETRIED
    assert jobs.retry(role="b", code="early") == {b: RetryAnswer.RETRIED}
    assert jobs.get(b).result(WAIT_S).value == {"is": "done"}
    assert jobs.purge([b, c]) == {b: PurgeAnswer.PURGED, c: PurgeAnswer.PURGED}
    waiting = node.submit("d.py", role="d", delay=3600)
    only_d = JobFilter(role="d")
    assert jobs.cancel(only_d, wait=WAIT_S) == {waiting.id: CancelAnswer.CANCELLED}
    assert jobs.cancel(waiting.id) is CancelAnswer.ALREADY_DONE
    assert [report.id for report in jobs.list("cancelled", role="d")] == [waiting.id]
    assert jobs.purge(status="cancelled", older_than=0) == {waiting.id: PurgeAnswer.PURGED}
    assert [(report.id, report.retried) for report in jobs.list()] == [(a, 0)]


@pytest.mark.parametrize("verb", ["cancel", "retry", "purge"])
def test_whom_a_verb_means_has_to_be_said_in_one_way(make_system: Any, verb: str) -> None:
    jobs = make_system(candidate=False).jobs
    for arguments, conditions in (((), {}), ((JobFilter(),), {}), (("x",), {"role": "a"}), ((["x"],), {"role": "a"})):
        with pytest.raises(RequestInvalidError):
            getattr(jobs, verb)(*arguments, **conditions)


def test_the_same_verbs_awaited(make_system: Any) -> None:
    client = make_system(candidate=False)

    async def use() -> None:
        handle = await client.aio.submit("a.py", role="a", delay=3600)
        assert await client.aio.cancel(role="a") == {handle.id: CancelAnswer.REQUESTED}
        assert await client.aio.retry(handle.id) is RetryAnswer.NOT_ENDED
        assert await client.aio.purge(handle.id) is PurgeAnswer.NOT_ENDED
        assert await client.aio.parked() == []
        assert [report.status for report in await client.aio.list(role="a")] == [JobStatus.SCHEDULED]

    asyncio.run(use())


def test_who_wants_to_know_is_told_when_the_queue_fills_up(make_system: Any) -> None:
    told: list[Any] = []
    full = threading.Event()
    node = make_system(jobs={"queue_limit": 10, "queue_high_mark": 0.5})

    @node.on_queue_level
    def note(change: Any) -> None:
        told.append(change)
        if change.level is QueueLevel.FULL:
            full.set()

    node.submit_many([f"{number}.py" for number in range(10)], delay=3600)
    assert full.wait(WAIT_S)
    assert (told[-1].jobs, told[-1].fill) == (10, 1.0)
