"""The whole system through its public face, on a store in memory."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from slurp_leader import (
    ContextGenerationRequest,
    JobCancelledError,
    JobContext,
    JobFailedError,
    JobHandle,
    JobInterrupted,
    JobStatus,
    NotLeaderError,
    Priority,
    ResultPendingError,
    SlurpLeaderSystem,
    TerminalError,
)
from slurp_leader.errors import (
    ConfigurationError,
    IdempotencyConflictError,
    JobNotFoundError,
    LifecycleError,
    RequestInvalidError,
)
from slurp_leader.store import Get
from support.waiting import WAIT_S, until


class Exact:
    """A generator, once it is made."""

    def generate(self, request: ContextGenerationRequest, job: JobContext) -> None:
        """Nothing."""


def test_a_request_comes_back_as_a_result_with_its_origin(make_system: Any) -> None:
    node = make_system(lambda request, job: {"path": request.file_path, "role": request.role})
    assert node.wait_for_leadership(WAIT_S)

    result = node.request_context_generation("src/main.py", WAIT_S, role="reviewer")

    assert result.success
    assert result.value == {"path": "src/main.py", "role": "reviewer"}
    assert (result.generated_by, result.token) == (node.settings.node.id, node.term.token)
    assert result.epoch == node.term.epoch == 1


def test_a_request_object_and_its_address_travel_whole(make_system: Any) -> None:
    seen: list[ContextGenerationRequest] = []
    node = make_system(lambda request, job: seen.append(request))
    request = ContextGenerationRequest(
        ucxl_address="ucxl://example.com/path/to/file",
        file_path="/path/to/file.go",
        role="developer",
        priority=Priority.HIGH,
    )

    node.request_context_generation(request, WAIT_S)

    assert seen == [request]


def test_submit_needs_no_leader_and_the_next_one_runs_it(make_system: Any) -> None:
    client = make_system(candidate=False)
    handle = client.submit("a.py")
    with pytest.raises(ResultPendingError):
        handle.result(timeout=0.05)

    make_system()

    assert handle.result(WAIT_S).value == {"path": "a.py"}


def test_a_handle_is_rebuilt_from_its_id_in_another_process(make_system: Any) -> None:
    make_system()
    handle = make_system(candidate=False).submit("a.py")
    handle.result(WAIT_S)

    again = make_system(candidate=False).jobs.get(handle.id)

    assert again.result(WAIT_S).value == {"path": "a.py"}
    assert again.status() is JobStatus.COMPLETED


def test_one_idempotency_key_is_one_job(make_system: Any) -> None:
    node = make_system()
    first = node.submit("a.py", idempotency_key="k")
    second = node.submit("a.py", idempotency_key="k")
    with pytest.raises(IdempotencyConflictError) as caught:
        node.submit("b.py", idempotency_key="k")

    assert (first.created, second.created) == (True, False)
    assert first.id == second.id == caught.value.job_id


def test_many_requests_are_answered_each_on_its_own(make_system: Any) -> None:
    node = make_system()
    answers = node.submit_many(["a.py", "", "b.py"], role="tester")

    assert isinstance(answers[1], RequestInvalidError)
    assert [answer.result(WAIT_S).value["path"] for answer in answers if isinstance(answer, JobHandle)] == [
        "a.py",
        "b.py",
    ]


@pytest.mark.parametrize(
    ("request_", "fields", "field"),
    [
        ("", {}, "file_path"),
        ("a.py", {"role": "no spaces please"}, "role"),
        ("a.py", {"priority": "urgent!"}, "priority"),
        ("a.py", {"timeout": -1}, "timeout"),
        ("a.py", {"nonsense": 1}, "nonsense"),
        ("a.py", {"max_attempts": 0}, "max_attempts"),
        ("a.py", {"idempotency_key": ""}, "idempotency_key"),
        ("a.py", {"run_at": datetime(2030, 1, 1)}, "run_at"),  # noqa: DTZ001 - that is the mistake
        ("a.py", {"run_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "run_at"),
        ("a.py", {"run_at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 5}, "delay"),
        ("a.py", {"ucxl_address": "http://x"}, "ucxl_address"),
        ("a.py", {"run_at": "tomorrow"}, "run_at"),
        ("a.py", {"delay": "x"}, "delay"),
        ("a.py", {"delay": -3}, "delay"),
        ("a.py", {"delay": timedelta(seconds=-1)}, "delay"),
        ("a.py", {"delay": float("nan")}, "delay"),
        ("a.py", {"delay": 1e300}, "delay"),
        ("a.py", {"delay": True}, "delay"),
        ("a.py", {"max_attempts": 2.5}, "max_attempts"),
        ("a.py", {"max_attempts": "2"}, "max_attempts"),
        ("a.py", {"idempotency_key": 7}, "idempotency_key"),
        (7, {}, "file_path"),
    ],
)
def test_a_wrong_field_is_refused_by_name_and_nothing_is_submitted(
    make_system: Any, request_: Any, fields: dict[str, Any], field: str
) -> None:
    client = make_system(candidate=False)
    with pytest.raises(RequestInvalidError) as caught:
        client.submit(request_, **fields)

    assert caught.value.field == field
    assert field in str(caught.value)
    assert client.jobs.list() == []


def test_a_delayed_job_waits_for_its_date(make_system: Any) -> None:
    node = make_system()
    handle = node.submit("a.py", delay=timedelta(hours=1))
    assert node.request_context_generation("b.py", WAIT_S).success  # a later one overtakes it

    assert handle.status() is JobStatus.SCHEDULED
    assert node.submit("c.py", delay=0.05).result(WAIT_S).value == {"path": "c.py"}


def test_a_failing_generator_is_tried_again_and_then_given_up_on(make_system: Any) -> None:
    attempts: list[int] = []

    def generate(request: ContextGenerationRequest, job: Any) -> None:
        attempts.append(job.attempt)
        raise ValueError("boom")

    node = make_system(generate)
    with pytest.raises(JobFailedError) as caught:
        node.request_context_generation("a.py", WAIT_S, max_attempts=2)

    assert attempts == [1, 2]
    assert caught.value.error is not None
    assert "boom" in caught.value.error["message"]


def test_a_terminal_error_is_not_tried_again(make_system: Any) -> None:
    attempts: list[int] = []

    def generate(request: ContextGenerationRequest, job: Any) -> None:
        attempts.append(job.attempt)
        raise TerminalError("no use", code="no_use")

    with pytest.raises(JobFailedError) as caught:
        make_system(generate).request_context_generation("a.py", WAIT_S)

    assert attempts == [1]
    assert caught.value.error is not None
    assert caught.value.error["code"] == "no_use"


def test_a_coroutine_generator_runs_and_is_cancelled_by_anybody(make_system: Any) -> None:
    began = threading.Event()

    async def generate(request: ContextGenerationRequest, job: Any) -> Any:
        if request.file_path == "quick.py":
            return {"quick": True}
        began.set()
        await asyncio.sleep(3600)
        return None

    node = make_system(generate)
    assert node.request_context_generation("quick.py", WAIT_S).value == {"quick": True}
    handle = node.submit("slow.py")
    assert began.wait(WAIT_S)

    make_system(candidate=False).jobs.cancel(handle.id, "enough")

    with pytest.raises(JobCancelledError, match="enough"):
        handle.result(WAIT_S)


def test_resigning_finishes_what_runs_and_another_node_goes_on(make_system: Any) -> None:
    may_end, began = threading.Event(), threading.Event()

    def generate(request: ContextGenerationRequest, job: Any) -> Any:
        began.set()
        assert may_end.wait(WAIT_S)
        return {"run": job.run}

    first = make_system(generate)
    assert first.wait_for_leadership(WAIT_S)
    second = make_system(generate)
    handle = first.submit("a.py")
    assert began.wait(WAIT_S)

    first.resign()
    may_end.set()

    assert handle.result(WAIT_S).value == {"run": 1}
    assert second.wait_for_leadership(WAIT_S)
    assert handle.report().interruptions == 0


def test_a_stop_longer_than_the_drain_puts_the_run_back_for_the_next_leader(make_system: Any) -> None:
    began = threading.Event()

    def generate(request: ContextGenerationRequest, job: Any) -> Any:
        if job.run == 1:
            began.set()
            while not job.should_stop():
                job.wait(1)
            raise JobInterrupted("told to stop")
        return {"run": job.run, "attempt": job.attempt}

    first = make_system(generate, jobs={"drain_timeout": 0})
    assert first.wait_for_leadership(WAIT_S)
    handle = make_system(candidate=False).submit("a.py")
    assert began.wait(WAIT_S)
    second = make_system(generate)

    assert first.stop()

    assert handle.result(WAIT_S).value == {"run": 2, "attempt": 1}
    assert second.is_leader
    assert handle.report().interruptions == 1


def test_progress_of_a_running_job_can_be_read_from_anywhere(make_system: Any) -> None:
    may_end = threading.Event()

    def generate(request: ContextGenerationRequest, job: Any) -> None:
        job.progress(0.5, "half-way")
        assert may_end.wait(WAIT_S)

    make_system(generate)
    client = make_system(candidate=False)
    handle = client.submit("a.py")
    seen = until(lambda: handle.report().progress)
    may_end.set()

    assert seen == {"run": 1, "fraction": 0.5, "note": "half-way"}
    handle.result(WAIT_S)
    assert handle.report().progress is None


def test_awaited_verbs_and_handles(make_system: Any) -> None:
    node = make_system()

    async def use() -> Any:
        handle = await node.aio.submit("a.py")
        result = await handle
        report = await node.aio.report(handle.id)
        return result.value, report.status

    assert asyncio.run(use()) == ({"path": "a.py"}, JobStatus.COMPLETED)
    with pytest.raises(AttributeError, match="there is no awaited"):
        _ = node.aio.is_leader


def test_lifespan_runs_while_the_service_runs(shared: Any) -> None:
    system = SlurpLeaderSystem(generator=lambda request, job: None, stores=shared)

    async def serve() -> bool:
        async with system.lifespan(None):
            return await system.aio.wait_for_leadership(WAIT_S)

    assert asyncio.run(serve())
    assert not system.status()["running"]


def test_who_leads_is_seen_from_a_client_too(make_system: Any) -> None:
    client = make_system(candidate=False)
    assert client.leader.get(WAIT_S) is None
    node = make_system()
    changes = client.leader.watch()
    assert next(changes).leader is None

    seen = next(changes).leader

    assert seen is not None
    assert seen.node_id == node.settings.node.id
    assert client.leader.wait(WAIT_S).node_id == node.settings.node.id


def test_status_and_health_are_plain_data(make_system: Any) -> None:
    node = make_system()
    assert node.wait_for_leadership(WAIT_S)

    status, health = node.status(), node.health()

    assert status["election"]["is_leader"]
    assert status["election"]["leader"]["node_id"] == node.settings.node.id
    assert (health["healthy"], health["problems"]) == (True, [])


def test_jobs_are_listed_by_status(make_system: Any) -> None:
    node = make_system()
    done = node.submit("a.py")
    done.result(WAIT_S)
    waiting = node.submit("b.py", delay=3600)

    assert [report.id for report in node.jobs.list("completed")] == [done.id]
    assert {report.id for report in node.jobs.list()} == {done.id, waiting.id}
    with pytest.raises(ValueError, match="nonsense"):
        node.jobs.list("nonsense")


def test_an_unknown_job_is_not_found(make_system: Any) -> None:
    client = make_system(candidate=False)
    stranger = "01900000-0000-7000-8000-000000000001"
    with pytest.raises(JobNotFoundError):
        client.jobs.get(stranger).result(WAIT_S)
    with pytest.raises(JobNotFoundError):
        client.jobs.cancel(stranger)
    with pytest.raises(RequestInvalidError, match="not a job id"):
        client.jobs.get("nonsense")


def test_a_corrupt_record_is_parked_and_the_queue_goes_on(make_system: Any, shared: Any) -> None:
    from slurp_leader.store import Put

    key = b"/slurp/v1/default/m/queue/01900000-0000-7000-8000-000000000002"
    shared.store.call(Put(key, b"{ not json"), 5).result()
    node = make_system()

    assert node.request_context_generation("a.py", WAIT_S).success

    assert [report.status for report in node.jobs.list("parked")] == [JobStatus.PARKED]
    note = key.replace(b"/m/queue/", b"/m/parked/queue/")
    assert until(lambda: shared.store.call(Get(note), 5).result().kvs)
    assert shared.store.call(Get(key), 5).result().kvs[0].value == b"{ not json"


def test_misuse_of_the_life_cycle_says_what_to_do(shared: Any) -> None:
    system = SlurpLeaderSystem(generator=lambda request, job: None, stores=shared)
    assert system.stop()
    with pytest.raises(LifecycleError, match=r"start\(\) it first"):
        system.submit("a.py")
    with system:
        with pytest.raises(LifecycleError, match="stop"):
            system.start()
        with pytest.raises(LifecycleError, match="before start"):
            system.generator(lambda request, job: None)
    with system:
        assert system.wait_for_leadership(WAIT_S)
    client = SlurpLeaderSystem(candidate=False, stores=shared)
    with client, pytest.raises(LifecycleError, match="no candidate"):
        client.wait_for_leadership(1)
    with pytest.raises(ConfigurationError, match="generate"):
        SlurpLeaderSystem(generator=42, stores=shared)


@pytest.mark.parametrize("generator", [lambda request: None, lambda a, b, c: None, lambda *, request, job: None, Exact])
def test_what_cannot_be_called_with_request_and_job_is_no_generator(shared: Any, generator: Any) -> None:
    with pytest.raises(ConfigurationError, match="request and job"):
        SlurpLeaderSystem(generator=generator, stores=shared)


def test_a_decorated_generator_stays_what_it_was(shared: Any) -> None:
    system = SlurpLeaderSystem(stores=shared)

    @system.generator
    def generate(request: ContextGenerationRequest, job: JobContext, more: int = 1) -> int:
        return more

    exact = Exact()
    assert generate.__name__ == "generate"
    assert system.generator(exact) is exact


def test_a_system_prints_who_it_is_and_how_it_stands(make_system: Any) -> None:
    node, client = make_system(), make_system(candidate=False)
    assert node.wait_for_leadership(WAIT_S)
    assert repr(node) == "<SlurpLeaderSystem 'node-1' in 'default': leader>"
    assert repr(client) == "<SlurpLeaderSystem 'node-2' in 'default': client>"
    assert (repr(node.jobs), repr(node.leader)) == (
        "<JobsView: get, report, list, cancel, retry, purge, parked, parked_record, release>",
        "<LeaderControl: get, observe, history, explain, transfer, step_down, freeze, pin, block, force ...>",
    )
    node.stop()
    assert repr(node) == "<SlurpLeaderSystem 'node-1' in 'default': not running>"


def test_a_follower_does_not_resign(make_system: Any) -> None:
    first = make_system()
    assert first.wait_for_leadership(WAIT_S)
    second = make_system()
    with pytest.raises(NotLeaderError):
        second.resign()


def test_the_second_node_with_one_id_is_told_of(make_system: Any, shared: Any) -> None:
    first = make_system()
    assert first.wait_for_leadership(WAIT_S)
    twin = SlurpLeaderSystem(first.settings, generator=lambda request, job: None, stores=shared)
    with twin:
        problem = until(lambda: twin.health()["problems"], WAIT_S)

    assert problem[0]["what"] == "duplicate_node"
    assert "node.id" in problem[0]["fix"]


def test_no_job_data_hangs_on_a_lease(make_system: Any, shared: Any) -> None:
    """I6: a lease takes its keys with it, so only what is about a live node may hang on one."""
    may_end, began = threading.Event(), threading.Event()

    def generate(request: ContextGenerationRequest, job: Any) -> Any:
        if request.file_path == "runs.py":
            began.set()
            assert may_end.wait(WAIT_S)
        if request.file_path == "fails.py":
            raise ValueError("boom")
        return {}

    node = make_system(generate, jobs={"backoff_base": 600, "backoff_cap": 600})
    node.submit("done.py", idempotency_key="k").result(WAIT_S)
    failing = node.submit("fails.py")
    node.submit("later.py", delay=600)
    running = node.submit("runs.py")
    assert began.wait(WAIT_S)
    until(lambda: failing.status() is JobStatus.SCHEDULED)

    kvs = shared.store.call(Get(b"/slurp/", b"/slurp0"), 5).result().kvs

    kinds = {kv.key.split(b"/")[5] for kv in kvs}
    assert kinds >= {b"queue", b"run", b"state", b"done", b"idem", b"control", b"election", b"nodes"}
    assert {kv.key.split(b"/")[5] for kv in kvs if kv.lease} == {b"election", b"nodes"}
    may_end.set()
    running.result(WAIT_S)
