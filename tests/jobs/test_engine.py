"""Engine, pool and client with their threads: what user code sees, and what it can do wrong."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobs.threaded import CLOCK, OPTIONS, Cluster, Gate, cluster_on
from slurp_leader.errors import (
    IdempotencyConflictError,
    JobCancelledError,
    JobFailedError,
    JobInterrupted,
    JobNotFoundError,
    JobParkedError,
    LifecycleError,
    RequestInvalidError,
    RequestTooLargeError,
    ResultPendingError,
    RetryAfterError,
    StoreTimeoutError,
    TerminalError,
)
from slurp_leader.jobs import CancelAnswer, JobClient, JobStatus, NewJob
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.records import Spec
from slurp_leader.jobs.runner import JobContext
from slurp_leader.otel.tracing import OtelTracer
from slurp_leader.store import Get, Put, Request, Txn
from slurp_leader.store.memory import MemoryStore
from slurp_leader.telemetry.metrics import Instrument
from support.calls import PATIENCE_S, do, get, put
from support.waiting import until


def echo(spec: Spec, job: JobContext) -> Any:
    return spec.payload


# ---------------------------------------------------------------- the whole way


def test_a_result_comes_back_to_whoever_submitted(cluster: Cluster) -> None:
    cluster.engine(echo)
    handle = cluster.client().submit(NewJob({"n": 1}))
    assert handle.result(PATIENCE_S) == {"n": 1}
    assert handle.status() is JobStatus.COMPLETED
    assert handle.report().node_id == "node"


def test_many_jobs_all_come_back_each_with_its_own(cluster: Cluster) -> None:
    cluster.engine(echo)
    handles = cluster.client().submit_many(NewJob({"n": n}) for n in range(300))
    results = [handle.result(PATIENCE_S) for handle in handles if not isinstance(handle, Exception)]
    assert results == [{"n": n} for n in range(300)]


def test_a_handle_from_an_id_gives_the_result_of_a_job_that_ended_before(cluster: Cluster) -> None:
    cluster.engine(echo)
    first = cluster.client().submit(NewJob({"n": 1}))
    first.result(PATIENCE_S)
    assert cluster.client("other").handle(first.id).result(PATIENCE_S) == {"n": 1}


def test_a_handle_from_an_id_waits_for_a_job_that_is_still_to_end(cluster: Cluster) -> None:
    job = cluster.client().submit(NewJob({"n": 1}))
    handle = cluster.client("other").handle(job.id)
    with pytest.raises(ResultPendingError):
        handle.result(0.01)
    cluster.engine(echo)
    assert handle.result(PATIENCE_S) == {"n": 1}


def test_a_coroutine_is_run_to_its_end(cluster: Cluster) -> None:
    async def body(spec: Spec, job: JobContext) -> Any:
        await asyncio.sleep(0)
        return "done"

    cluster.engine(body)
    assert cluster.client().submit(NewJob({})).result(PATIENCE_S) == "done"


def test_a_handle_can_be_awaited(cluster: Cluster) -> None:
    cluster.engine(echo)
    handle = cluster.client().submit(NewJob({"n": 1}))

    async def wait() -> Any:
        return await asyncio.wait_for(_of(handle), PATIENCE_S)

    assert asyncio.run(wait()) == {"n": 1}


async def _of(handle: Any) -> Any:
    return await handle


def test_an_asyncio_timeout_takes_the_result_from_nobody_else(cluster: Cluster) -> None:
    client = cluster.client()
    handle = client.submit(NewJob({"n": 1}))

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_of(handle), 0.01)

    asyncio.run(give_up())
    cluster.engine(echo)
    assert handle.result(PATIENCE_S) == {"n": 1}
    assert client.submit(NewJob({"n": 2})).result(PATIENCE_S) == {"n": 2}  # whoever resolves them is alive


# ---------------------------------------------------------------- what user code can do wrong


class Unprintable(Exception):  # noqa: N818 - it is what its name says
    def __str__(self) -> str:
        raise RuntimeError("no")


class OddCodeError(TerminalError):
    code = 42  # type: ignore[assignment]


def raising(error: BaseException) -> Any:
    def body(spec: Spec, job: JobContext) -> Any:
        raise error

    return body


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (raising(ValueError("boom")), "error"),
        (raising(ValueError("\ud800")), "error"),
        (raising(Unprintable()), "error"),
        (raising(SystemExit(3)), "error"),
        (raising(TerminalError("never", code="gone")), "gone"),
        (raising(OddCodeError("odd")), "42"),
        (raising(RequestInvalidError("bad field")), "request_invalid"),
        (raising(RetryAfterError("later", delay_s="soon")), "retry_after"),
        (raising(RetryAfterError("later", delay_s=-5)), "retry_after"),
        (lambda spec, job: object(), "result_not_json"),
        (lambda spec, job: float("nan"), "result_not_json"),
        (lambda spec, job: "\ud800", "result_not_json"),
        (lambda spec, job: nested(500), "result_not_json"),
        (lambda spec, job: nested(100_000), "result_not_json"),
    ],
)
def test_whatever_user_code_raises_or_returns_belongs_to_its_job(cluster: Cluster, body: Any, code: str) -> None:
    cluster.engine(lambda spec, job: body(spec, job) if spec.payload.get("odd") else "fine")
    client = cluster.client()
    odd = client.submit(NewJob({"odd": 1}, max_attempts=1))
    with pytest.raises(JobFailedError) as caught:
        odd.result(PATIENCE_S)
    assert caught.value.error is not None
    assert caught.value.error["code"] == code
    for handle in client.submit_many(NewJob({}) for _ in range(8)):
        assert not isinstance(handle, Exception)
        assert handle.result(PATIENCE_S) == "fine"  # no worker was lost


def test_a_job_that_raises_is_tried_again(cluster: Cluster) -> None:
    def body(spec: Spec, job: JobContext) -> Any:
        if job.attempt < 3:
            raise ValueError("not yet")
        return job.attempt

    cluster.engine(body)
    handle = cluster.client().submit(NewJob({}))
    assert handle.result(PATIENCE_S) == 3
    assert [error["message"] for error in handle.report().errors] == ["ValueError: not yet"] * 2


def test_each_run_gets_a_larger_fencing_token(cluster: Cluster) -> None:
    tokens: list[int] = []

    def body(spec: Spec, job: JobContext) -> Any:
        tokens.append(job.token)
        if job.attempt < 3:
            raise ValueError
        return None

    cluster.engine(body)
    assert cluster.client().submit(NewJob({})).result(PATIENCE_S) is None
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 3


def test_a_run_out_of_time_is_told_and_may_still_clean_up(cluster: Cluster) -> None:
    told: list[str] = []

    def body(spec: Spec, job: JobContext) -> Any:
        try:
            while not job.wait(0.01):
                pass
            job.check()
        except JobInterrupted as stop:
            told.append(stop.reason)
            raise

    cluster.engine(body)
    with pytest.raises(JobFailedError) as caught:
        cluster.client().submit(NewJob({}, timeout_s=0.05, max_attempts=1)).result(PATIENCE_S)
    assert caught.value.error is not None
    assert caught.value.error["code"] == "timeout"
    assert told == ["timeout"]


def test_a_coroutine_is_cancelled_when_its_job_is(cluster: Cluster) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def body(spec: Spec, job: JobContext) -> Any:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    cluster.engine(body)
    handle = cluster.client().submit(NewJob({}))
    assert begun.wait(PATIENCE_S)
    assert handle.cancel("enough") is CancelAnswer.REQUESTED
    with pytest.raises(JobCancelledError):
        handle.result(PATIENCE_S)
    assert cancelled.is_set()


def test_no_body_starts_when_its_term_is_not_valid(cluster: Cluster) -> None:
    """I3: the pool looks once more, whatever the scheduler believed."""
    gate = Gate()
    leader = cluster.engine(gate)
    leader.trust.until = float("-inf")
    handle = cluster.client().submit(NewJob({"n": 1}))
    with pytest.raises(ResultPendingError):
        handle.result(0.5)
    assert gate.runs == []
    leader.trust.until = float("inf")
    gate.open.set()
    assert handle.result(PATIENCE_S) == {"n": 1}


# ---------------------------------------------------------------- cancel, drain, stop


def test_a_running_job_is_cancelled_from_another_client(cluster: Cluster) -> None:
    gate = Gate()
    cluster.engine(gate)
    handle = cluster.client().submit(NewJob({}))
    gate.wait_until_begun()
    assert cluster.client("other").cancel(handle.id, "not needed \ud800") is CancelAnswer.REQUESTED
    with pytest.raises(JobCancelledError, match="not needed"):
        handle.result(PATIENCE_S)
    assert handle.cancel() is CancelAnswer.ALREADY_DONE


def test_a_cancel_of_nothing_says_so(cluster: Cluster) -> None:
    client = cluster.client()
    with pytest.raises(JobNotFoundError):
        client.cancel(LOWEST[:-1] + "1")
    with pytest.raises(RequestInvalidError):
        client.cancel("nonsense")
    with pytest.raises(JobNotFoundError):
        client.handle(LOWEST[:-1] + "1").result(PATIENCE_S)


def test_a_drain_lets_runs_finish_and_leaves_the_rest_to_the_next(cluster: Cluster) -> None:
    gate = Gate()
    leader = cluster.engine(gate)
    client = cluster.client()
    handles = [client.submit(NewJob({"n": n})) for n in range(OPTIONS.workers + 2)]
    gate.wait_until_begun()
    threading.Timer(0.1, gate.open.set).start()
    leader.drain()
    leader.engine.lose(leader.term.token)
    cluster.engine(echo, "next")
    assert [handle.result(PATIENCE_S) for handle in handles] == [{"n": n} for n in range(OPTIONS.workers + 2)]


def test_an_engine_that_is_stopped_leaves_its_jobs_to_the_next(cluster: Cluster) -> None:
    gate = Gate()
    leader = cluster.engine(gate)
    handle = cluster.client().submit(NewJob({"n": 1}))
    gate.wait_until_begun()
    leader.stop()
    cluster.engine(echo, "next")
    assert handle.result(PATIENCE_S) == {"n": 1}
    assert handle.report().interruptions == 1
    assert handle.report().node_id == "next"


def test_stopping_twice_and_before_the_start_does_nothing(memory_store: MemoryStore) -> None:
    with cluster_on(memory_store) as cluster:
        client = JobClient(memory_store, cluster.keyspace, OPTIONS, node_id="c", clock=CLOCK)
        client.stop()
        client.start()
        client.stop()
        client.stop()
        with pytest.raises(LifecycleError):
            client.submit(NewJob({}))
        with pytest.raises(LifecycleError):
            client.start()


def test_a_body_that_stops_its_own_engine_gets_an_answer(cluster: Cluster) -> None:
    told: list[bool] = []
    done = threading.Event()

    def body(spec: Spec, job: JobContext) -> Any:
        told.append(leader.engine.stop(0.2))
        done.set()

    leader = cluster.engine(body)
    cluster.client().submit(NewJob({}))
    assert done.wait(PATIENCE_S)
    assert told == [False]  # it is still running itself


def test_whoever_waits_when_the_client_stops_is_told(cluster: Cluster) -> None:
    client = cluster.client()
    handle = client.submit(NewJob({}))
    threading.Timer(0.1, client.stop).start()
    with pytest.raises(LifecycleError):
        handle.result(PATIENCE_S)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (NewJob([]), "payload"),  # type: ignore[arg-type]
        (NewJob({"x": object()}), "payload"),
        (NewJob({"x": float("nan")}), "payload"),
        (NewJob({"x": "\ud800"}), "payload"),
        (NewJob({"x": nested(300)}), "payload"),
        (NewJob({"x": nested(100_000)}), "payload"),
        (NewJob({}, idempotency_key=""), "idempotency_key"),
        (NewJob({}, idempotency_key="x" * 2000), "idempotency_key"),
        (NewJob({}, idempotency_key="\ud800"), "idempotency_key"),
        (NewJob({}, timeout_s=0), "timeout"),
        (NewJob({}, timeout_s=float("inf")), "timeout"),
        (NewJob({}, max_attempts=0), "max_attempts"),
        (NewJob({}, run_at=CLOCK.utcnow().replace(tzinfo=None)), "run_at"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_alone_and_names_its_field(
    cluster: Cluster, job: NewJob, field: str
) -> None:
    wrong, right = cluster.client().submit_many([job, NewJob({})])
    assert isinstance(wrong, RequestInvalidError)
    assert wrong.field == field
    assert not isinstance(right, Exception)


def test_whatever_is_accepted_can_be_read_again(cluster: Cluster) -> None:
    """Keys that are no text and sequences that are no lists become what JSON makes of them."""
    cluster.engine(echo)
    payload: Any = {"a": (1, 2), 10: "ten", 9: "nine", "deep": nested(150)}
    result = cluster.client().submit(NewJob(payload)).result(PATIENCE_S)
    assert result == {"a": [1, 2], "10": "ten", "9": "nine", "deep": nested(150)}


def test_a_request_above_a_mebibyte_is_refused(cluster: Cluster) -> None:
    with pytest.raises(RequestTooLargeError):
        cluster.client().submit(NewJob({"x": "y" * (1024 * 1024)}))


def test_a_huge_result_ends_the_job_failed(cluster: Cluster) -> None:
    noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(600_000))
    cluster.engine(lambda spec, job: noise)
    with pytest.raises(JobFailedError) as caught:
        cluster.client().submit(NewJob({})).result(PATIENCE_S)
    assert caught.value.error is not None
    assert caught.value.error["code"] == "result_too_large"


def test_one_key_leads_to_one_job_and_another_body_is_a_conflict(cluster: Cluster) -> None:
    client = cluster.client()
    jobs = [NewJob({"n": 1}, idempotency_key="k")] * 3
    handles = client.submit_many([*jobs, NewJob({"n": 2}, idempotency_key="k")])
    assert isinstance(handles[3], IdempotencyConflictError)
    ids = {handle.id for handle in handles[:3] if not isinstance(handle, Exception)}
    assert len(ids) == 1
    cluster.engine(echo)
    for handle in handles[:3]:
        assert not isinstance(handle, Exception)
        assert handle.result(PATIENCE_S) == {"n": 1}


def test_a_submit_without_an_answer_in_time_says_that_the_job_may_exist(memory_store: MemoryStore) -> None:
    options = OPTIONS.model_copy(update={"submit_timeout": timedelta(milliseconds=300)})
    with cluster_on(memory_store, options) as cluster:
        client = cluster.client()
        client.submit(NewJob({}))

        def of_a_job(request: Request[Any]) -> bool:
            return isinstance(request, Txn) and any(
                isinstance(step, Put) and step.key.startswith(cluster.keys.queue) for step in request.success
            )

        memory_store.faults.lose_answer(1, when=of_a_job)
        with pytest.raises(StoreTimeoutError) as caught:
            client.submit(NewJob({}))
        assert caught.value.outcome.value == "unknown"


def test_a_client_without_a_store_gives_up_in_time(memory_store: MemoryStore) -> None:
    options = OPTIONS.model_copy(update={"submit_timeout": timedelta(milliseconds=100)})
    memory_store.faults.stall()
    with cluster_on(memory_store, options) as cluster:
        with pytest.raises(StoreTimeoutError) as caught:
            cluster.client().submit(NewJob({}))
        assert caught.value.outcome.value == "not_applied"
        memory_store.faults.resume()


# ---------------------------------------------------------------- looking, waiting, measuring


def test_outcomes_that_came_while_the_watch_was_compacted_away_are_found(cluster: Cluster) -> None:
    store = cluster.store
    assert isinstance(store, MemoryStore)
    client = cluster.client()
    handles = [client.submit(NewJob({"n": n})) for n in range(5)]
    store.faults.break_watches()
    leader = cluster.engine(echo)
    put(store, cluster.keyspace.bulk + b"x")
    store.compact()
    store.faults.mend_watches()
    assert [handle.result(PATIENCE_S) for handle in handles] == [{"n": n} for n in range(5)]
    assert leader.engine.failure is None


def test_an_outcome_that_cannot_be_read_fails_the_wait_and_not_the_waiting(cluster: Cluster) -> None:
    client = cluster.client()
    first, second = client.submit(NewJob({})), client.submit(NewJob({"n": 2}))
    put(cluster.store, cluster.keys.done + first.id.encode(), b"?")
    with pytest.raises(JobParkedError):
        first.result(PATIENCE_S)
    cluster.engine(echo)
    assert second.result(PATIENCE_S) == {"n": 2}


def test_jobs_are_listed_newest_first_and_by_status(cluster: Cluster) -> None:
    gate = Gate()
    client = cluster.client()
    handles = [client.submit(NewJob({"n": n})) for n in range(6)]
    broken = cluster.keys.queue + LOWEST.encode()
    put(cluster.store, broken, b"?")
    assert [report.id for report in client.list((JobStatus.PENDING,))] == [handle.id for handle in reversed(handles)]
    assert [report.status for report in client.list((JobStatus.PARKED,))] == [JobStatus.PARKED]
    cluster.engine(gate)
    gate.wait_until_begun()
    gate.open.set()
    for handle in handles:
        handle.result(PATIENCE_S)
    reports = client.list((JobStatus.COMPLETED,), limit=3)
    assert [report.id for report in reports] == [handle.id for handle in handles[:2:-1]]
    assert reports[0].result == {"n": 5}


def test_progress_shows_in_the_report_of_a_running_job(cluster: Cluster) -> None:
    told, finish = threading.Event(), threading.Event()

    def body(spec: Spec, job: JobContext) -> Any:
        job.progress(0.5, "half way")
        told.set()
        finish.wait(PATIENCE_S)

    cluster.engine(body)
    handle = cluster.client().submit(NewJob({}))
    assert told.wait(PATIENCE_S)
    key = cluster.keys.progress + handle.id.encode()
    until(lambda: get(cluster.store, key))
    report = handle.report()
    assert report.status is JobStatus.RUNNING
    assert report.progress == {"run": 1, "fraction": 0.5, "note": "half way"}
    finish.set()
    handle.result(PATIENCE_S)
    assert not do(cluster.store, Get(key)).kvs


class Counted:
    """Metrics that are kept, for a test to look at."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        self.counts[instrument.name] = self.counts.get(instrument.name, 0) + amount

    def set(self, instrument: Instrument, value: float, **attributes: str) -> None:
        """Gauges are not looked at here."""

    def record(self, instrument: Instrument, value: float, **attributes: str) -> None:
        self.counts[instrument.name] = self.counts.get(instrument.name, 0) + 1


def test_every_job_is_counted_even_when_nothing_comes_after_it(cluster: Cluster) -> None:
    metrics = Counted()
    leader = cluster.engine(echo, metrics=metrics)
    client = cluster.client(metrics=metrics)
    for handle in client.submit_many(NewJob({}) for _ in range(20)):
        assert not isinstance(handle, Exception)
        handle.result(PATIENCE_S)
    leader.stop()
    assert metrics.counts["slurp.jobs.submitted"] == 20
    assert metrics.counts["slurp.jobs.ended"] == 20


def test_the_span_of_a_run_links_to_the_submit_in_another_thread(cluster: Cluster) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = OtelTracer(provider)
    leader = cluster.engine(echo, tracer=tracer)
    handles = cluster.client(tracer=tracer).submit_many([NewJob({}), NewJob({})])
    for handle in handles:
        assert not isinstance(handle, Exception)
        handle.result(PATIENCE_S)
    leader.stop()
    spans = exporter.get_finished_spans()
    [submit] = [span for span in spans if span.name == "slurp.jobs.submit"]
    runs = [span for span in spans if span.name == "slurp.job.run"]
    assert submit.attributes is not None
    assert submit.attributes["jobs"] == 2
    assert len(runs) == 2
    assert {link.context.span_id for run in runs for link in run.links} == {submit.context.span_id}
    provider.shutdown()
