"""Executors in this process, and pools of others: where bodies run, how they stop, what is lost with a pool."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs import bodies
from jobs.threaded import CLOCK, OPTIONS, Cluster, Gate, Leader, cluster_on
from slurp_leader.errors import (
    CheckpointInvalidError,
    ConfigurationError,
    JobCancelledError,
    JobFailedError,
    JobInterrupted,
)
from slurp_leader.jobs import JobHandle, JobStatus, NewJob
from slurp_leader.jobs.context import CHECKPOINT_LIMIT, ContextElsewhere, JobContext, RunFacts
from slurp_leader.jobs.executors.body import Body, Retries
from slurp_leader.jobs.executors.choice import check_choice
from slurp_leader.jobs.executors.threads import Threads
from slurp_leader.jobs.records import Spec
from slurp_leader.store import Get, Store
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, do
from support.waiting import until


def error_of(handle: JobHandle[Any]) -> dict[str, Any]:
    with pytest.raises(JobFailedError) as caught:
        handle.result(PATIENCE_S)
    assert caught.value.error is not None
    return caught.value.error


# ---------------------------------------------------------------- coroutines


def test_coroutines_run_on_one_loop_many_at_once(cluster: Cluster) -> None:
    """More than there are workers: each waits until all have begun, on an event that belongs to one loop."""
    count = OPTIONS.workers * 5
    begun = 0
    all_begun: asyncio.Event | None = None
    threads: set[int] = set()

    async def body(spec: Spec, job: JobContext) -> Any:
        nonlocal begun, all_begun
        all_begun = all_begun or asyncio.Event()
        begun += 1
        threads.add(threading.get_ident())
        if begun == count:
            all_begun.set()
        await all_begun.wait()
        return spec.payload["n"]

    leader = cluster.engine(body)
    assert leader.engine.executor.name == "coroutines"
    handles = cluster.client().submit_many(NewJob({"n": n}) for n in range(count))
    assert [handle.result(PATIENCE_S) for handle in handles if not isinstance(handle, Exception)] == [*range(count)]
    assert len(threads) == 1


def test_no_more_of_them_at_once_than_the_options_say(memory_store: MemoryStore) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()
    most = now = 0

    async def body(spec: Spec, job: JobContext) -> Any:
        nonlocal most, now
        now += 1
        most = max(most, now)
        begun.release()
        while not go_on.is_set():
            await asyncio.sleep(0.001)
        now -= 1

    with cluster_on(memory_store, OPTIONS.model_copy(update={"coroutines": 3})) as few:
        few.engine(body)
        handles = few.client().submit_many(NewJob({}) for _ in range(9))
        for _ in range(3):
            assert begun.acquire(timeout=PATIENCE_S)
        go_on.set()
        for handle in handles:
            assert not isinstance(handle, Exception)
            handle.result(PATIENCE_S)
    assert most == 3


def test_a_cancelled_coroutine_may_await_while_it_cleans_up(cluster: Cluster) -> None:
    begun, cleaned = threading.Event(), threading.Event()

    async def body(spec: Spec, job: JobContext) -> Any:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.3)  # longer than the loop takes to look again
            cleaned.set()

    cluster.engine(body)
    handle = cluster.client().submit(NewJob({}))
    assert begun.wait(PATIENCE_S)
    handle.cancel("enough")
    with pytest.raises(JobCancelledError):
        handle.result(PATIENCE_S)
    assert cleaned.is_set()


def test_a_coroutine_is_cancelled_when_trust_runs_out_and_nobody_says_so(cluster: Cluster) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def body(spec: Spec, job: JobContext) -> Any:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    leader = cluster.engine(body)
    cluster.client().submit(NewJob({}))
    assert begun.wait(PATIENCE_S)
    leader.trust.until = float("-inf")
    assert cancelled.wait(PATIENCE_S)


def test_a_coroutine_that_cancels_itself_has_failed(cluster: Cluster) -> None:
    async def body(spec: Spec, job: JobContext) -> Any:
        raise asyncio.CancelledError

    cluster.engine(body)
    assert error_of(cluster.client().submit(NewJob({}, max_attempts=1)))["type"] == "CancelledError"


def test_what_ends_programs_ends_one_job_of_the_loop(cluster: Cluster) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def body(spec: Spec, job: JobContext) -> Any:
        if spec.payload.get("odd"):
            return await asyncio.create_task(leave())
        return "fine"

    cluster.engine(body)
    client = cluster.client()
    assert error_of(client.submit(NewJob({"odd": 1}, max_attempts=1)))["type"] == "SystemExit"
    assert client.submit(NewJob({})).result(PATIENCE_S) == "fine"


def test_an_engine_that_stops_cancels_its_coroutines(cluster: Cluster) -> None:
    begun = threading.Event()

    async def body(spec: Spec, job: JobContext) -> Any:
        begun.set()
        await asyncio.sleep(3600)

    leader = cluster.engine(body)
    cluster.client().submit(NewJob({}))
    assert begun.wait(PATIENCE_S)
    assert leader.engine.stop(PATIENCE_S)


def test_a_coroutine_can_be_had_on_threads(cluster: Cluster) -> None:
    async def body(spec: Spec, job: JobContext) -> Any:
        await asyncio.sleep(0)
        return threading.current_thread().name

    leader = cluster.engine(body, executor="threads")
    assert leader.engine.executor.name == "threads"
    assert cluster.client().submit(NewJob({})).result(PATIENCE_S).startswith("slurp-job-")


# ---------------------------------------------------------------- threads


def test_a_thread_that_ignores_the_word_to_stop_is_counted_and_not_used_again(memory_store: MemoryStore) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def body(spec: Spec, job: JobContext) -> Any:
        if spec.payload.get("deaf"):
            begun.set()
            go_on.wait(PATIENCE_S)
        return "fine"

    with cluster_on(memory_store, OPTIONS.model_copy(update={"workers": 1})) as small:
        leader = small.engine(body)
        client = small.client()
        deaf = client.submit(NewJob({"deaf": 1}))
        assert begun.wait(PATIENCE_S)
        deaf.cancel("enough")
        with pytest.raises(JobCancelledError):
            deaf.result(PATIENCE_S)  # recorded without it
        waiting = client.submit(NewJob({}))
        assert leader.engine.stuck == leader.engine.depth()["stuck"] == 1
        assert waiting.status() is JobStatus.PENDING
        go_on.set()
        assert waiting.result(PATIENCE_S) == "fine"
        assert leader.engine.stuck == 0


class _Launch:
    """One that may always begin."""

    spec = context = None

    def __init__(self) -> None:
        self.over = threading.Event()

    def begin(self) -> bool:
        return True

    def span(self) -> Any:
        return nullcontext()

    def end(self, report: Any, use: Any = None) -> None:
        self.over.set()


def test_threads_come_and_go_while_others_work() -> None:
    both = threading.Barrier(2)
    go_on, busy = threading.Event(), threading.Event()

    def work(spec: Any, job: Any) -> None:
        both.wait(PATIENCE_S)
        busy.set()
        go_on.wait(PATIENCE_S)

    threads = Threads(Body(work), 1, CLOCK)
    threads.open(lambda error: None, lambda: None)
    launches: list[Any] = [_Launch(), _Launch()]
    for launch in launches:
        threads.start(launch)
    threads.scale(2)
    assert busy.wait(PATIENCE_S)  # only two of them pass
    threads.scale(0)
    threads.scale(1)  # one of those that were too many stays
    go_on.set()
    for launch in launches:
        assert launch.over.wait(PATIENCE_S)
    until(lambda: len(threads._threads) == 1)
    assert threads.close(PATIENCE_S)
    assert threads._threads == []


# ---------------------------------------------------------------- what a body may ask


def test_an_extension_is_bounded(memory_store: MemoryStore) -> None:
    added: list[float] = []

    def body(spec: Spec, job: JobContext) -> Any:
        added.extend(job.extend(asked) for asked in (0, 4, timedelta(seconds=4), 4, 4))
        for wrong in (-1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="seconds"):
                job.extend(wrong)
        return job.remaining_s

    with cluster_on(memory_store, OPTIONS.model_copy(update={"max_extension": timedelta(seconds=10)})) as short:
        short.engine(body)
        assert short.client().submit(NewJob({}, timeout_s=100)).result(PATIENCE_S) == pytest.approx(110, abs=PATIENCE_S)
    assert added == [0, 4, 4, 2, 0]


def test_a_run_that_extends_itself_outlives_its_timeout(cluster: Cluster) -> None:
    def body(spec: Spec, job: JobContext) -> Any:
        assert job.extend(600) == 600
        until = CLOCK.boottime() + 0.4
        while CLOCK.boottime() < until:
            job.wait(0.1)
            job.check()
        return "done"

    cluster.engine(body)
    assert cluster.client().submit(NewJob({}, timeout_s=0.2, max_attempts=1)).result(PATIENCE_S) == "done"


def test_a_run_that_was_told_to_stop_gets_no_more_time(cluster: Cluster) -> None:
    added: list[float] = []

    def body(spec: Spec, job: JobContext) -> Any:
        while not job.wait(PATIENCE_S):
            pass
        added.append(job.extend(60))
        job.check()

    cluster.engine(body)
    error_of(cluster.client().submit(NewJob({}, timeout_s=0.05, max_attempts=1)))
    assert added == [0]


@pytest.mark.parametrize("data", [object(), float("nan"), "\ud800", "x" * CHECKPOINT_LIMIT])
def test_a_checkpoint_that_cannot_be_kept_is_refused_and_the_one_before_stands(cluster: Cluster, data: Any) -> None:
    def body(spec: Spec, job: JobContext) -> Any:
        if job.attempt == 2:
            return job.restored
        job.checkpoint("before")
        with pytest.raises(CheckpointInvalidError):
            job.checkpoint(data)
        raise ValueError("not yet")

    cluster.engine(body)
    assert cluster.client().submit(NewJob({})).result(PATIENCE_S) == "before"


def test_the_largest_checkpoint_comes_back(cluster: Cluster) -> None:
    data = "x" * (CHECKPOINT_LIMIT - 2)

    def body(spec: Spec, job: JobContext) -> Any:
        if job.attempt == 2:
            return job.restored == data
        job.checkpoint(data)
        raise ValueError("not yet")

    cluster.engine(body)
    assert cluster.client().submit(NewJob({})).result(PATIENCE_S) is True


def test_a_checkpoint_goes_on_to_the_next_leader(store: Store) -> None:
    begun = threading.Event()

    def body(spec: Spec, job: JobContext) -> Any:
        job.checkpoint({"files": 3})
        begun.set()
        while not job.wait(PATIENCE_S):
            pass
        job.check()

    with cluster_on(store) as cluster:
        leader = cluster.engine(body)
        handle = cluster.client().submit(NewJob({}))
        assert begun.wait(PATIENCE_S)
        key = Get(cluster.keys.checkpoint + handle.id.encode())
        until(lambda: do(store, key).kvs)
        leader.stop()
        cluster.engine(lambda spec, job: job.restored, "next")
        assert handle.result(PATIENCE_S) == {"files": 3}
        assert handle.report().interruptions == 1
        assert not do(store, key).kvs


# ---------------------------------------------------------------- which errors are worth another attempt


@pytest.mark.parametrize(
    ("retries", "raised", "attempts"),
    [
        (Retries(), ValueError, 3),
        (Retries(retry_on=(LookupError,)), KeyError, 3),
        (Retries(retry_on=(LookupError,)), ValueError, 1),
        (Retries(no_retry_on=(ValueError,)), UnicodeError, 1),
        (Retries(no_retry_on=(ValueError,)), KeyError, 3),
        (Retries(retry_on=(ValueError,), no_retry_on=(UnicodeError,)), UnicodeError, 1),
    ],
)
@pytest.mark.parametrize("is_coroutine", [False, True])
def test_the_type_of_an_error_says_whether_to_try_again(
    cluster: Cluster, retries: Retries, raised: type[Exception], attempts: int, is_coroutine: bool
) -> None:
    def body(spec: Spec, job: JobContext) -> Any:
        raise raised("no")

    async def body_async(spec: Spec, job: JobContext) -> Any:
        raise raised("no")

    cluster.engine(Body(body_async if is_coroutine else body, retries))
    handle = cluster.client().submit(NewJob({}))
    assert error_of(handle)["type"] == raised.__name__
    assert handle.report().attempts == attempts


def test_a_body_told_to_stop_may_raise_anything_on_its_way_out(memory_store: MemoryStore) -> None:
    """It would end `failed` for good else, though it was only interrupted."""
    begun = threading.Event()

    def body(spec: Spec, job: JobContext) -> Any:
        begun.set()
        while not job.wait(PATIENCE_S):
            pass
        raise ValueError("pulled the rug away")

    with cluster_on(memory_store, OPTIONS.model_copy(update={"drain_timeout": timedelta(0)})) as hasty:
        leader = hasty.engine(Body(body, Retries(retry_on=())))
        handle = hasty.client().submit(NewJob({}))
        assert begun.wait(PATIENCE_S)
        leader.drain()
        leader.engine.lose(leader.term.token)
        hasty.engine(lambda spec, job: "done", "next")
        assert handle.result(PATIENCE_S) == "done"


# ---------------------------------------------------------------- pools of others


def test_a_thread_pool_gets_the_context_itself_and_is_not_shut_down(cluster: Cluster) -> None:
    gate = Gate()
    with ThreadPoolExecutor(2, "theirs") as pool:
        leader = cluster.engine(gate, executor=pool)
        handle = cluster.client().submit(NewJob({"n": 1}))
        gate.wait_until_begun()
        handle.cancel("enough")
        with pytest.raises(JobCancelledError):
            handle.result(PATIENCE_S)
        assert leader.engine.stop(PATIENCE_S)
        assert pool.submit(int, "3").result(PATIENCE_S) == 3


def test_no_body_begins_in_a_pool_after_the_term(cluster: Cluster) -> None:
    """It waited behind the work of others, and meanwhile the term ended."""
    go_on = threading.Event()
    gate = Gate()
    gate.open.set()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(go_on.wait, PATIENCE_S)
        leader = cluster.engine(gate, executor=pool)
        handle = cluster.client().submit(NewJob({}))
        until(lambda: pool._work_queue.qsize() > 0)  # nobody says when it has been handed over
        leader.trust.until = float("-inf")
        go_on.set()
        pool.submit(int).result(PATIENCE_S)
        assert gate.runs == []
        leader.trust.until = float("inf")
        assert handle.result(PATIENCE_S) == {}


def _spawned() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def test_a_process_pool_of_theirs_does_the_work_and_brings_a_checkpoint_back(cluster: Cluster, tmp_path: Path) -> None:
    with _spawned() as pool:
        cluster.engine(bodies.work, executor=pool)
        handle = cluster.client().submit(NewJob({"do": "step", "folder": str(tmp_path)}))
        result = handle.result(PATIENCE_S)
    assert result["restored"] == {"at": 1}
    assert result["added"] == 0  # nobody there to ask


def test_a_broken_pool_interrupts_its_runs_and_is_made_anew(cluster: Cluster, tmp_path: Path) -> None:
    cluster.engine(bodies.work, executor=_spawned)
    client = cluster.client()
    deaf = client.submit(NewJob({"do": "exit_once", "folder": str(tmp_path)}))
    assert deaf.result(PATIENCE_S) == "again"
    assert (deaf.report().attempts, deaf.report().interruptions) == (1, 1)


class BreakingPool(Executor):
    """As a pool whose workers were killed: broken for good."""

    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
        raise BrokenProcessPool("its workers are gone")


def test_a_pool_that_is_lost_for_good_costs_no_job_an_attempt_and_the_node_is_told(cluster: Cluster) -> None:
    lost = threading.Event()
    leader = cluster.engine(lambda spec, job: "fine", executor=BreakingPool(), executor_lost=lost.set)
    handle = cluster.client().submit(NewJob({}))
    assert lost.wait(PATIENCE_S)
    assert isinstance(leader.engine.executor_failure, BrokenProcessPool)
    assert "its workers are gone" in leader.engine.executor.trouble
    leader.drain()
    leader.engine.lose(leader.term.token)
    cluster.engine(lambda spec, job: "fine", "next")
    assert handle.result(PATIENCE_S) == "fine"
    assert handle.report().attempts == 1


class CancellingPool(Executor):
    """As an engine elsewhere that cancels what it has, when its own leader goes: the first time."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
        self.calls += 1
        future: Future[Any] = Future()
        if self.calls == 1:
            future.cancel()
        else:
            future.set_result(fn(*args, **more))
        return future


def test_a_run_that_its_engine_cancels_is_interrupted(cluster: Cluster) -> None:
    cluster.engine(lambda spec, job: "fine", executor=CancellingPool())
    handle = cluster.client().submit(NewJob({}))
    assert handle.result(PATIENCE_S) == "fine"
    assert (handle.report().attempts, handle.report().interruptions) == (1, 1)


def test_a_context_elsewhere_is_alone_and_ends_with_its_time() -> None:
    context = ContextElsewhere(RunFacts(1, "id", 2, 3, 4, 5, timeout_s=0.05, longest_extension_s=60, restored=b"[1]"))
    assert (context.id, context.attempt, context.run, context.token, context.restored) == ("id", 2, 3, 5, [1])
    assert context.extend(60) == 0
    context.progress(0.5)
    assert context.wait(PATIENCE_S)
    with pytest.raises(JobInterrupted, match="timeout"):
        context.check()


# ---------------------------------------------------------------- choosing


@pytest.mark.parametrize("choice", ["fibres", 3, ""])
def test_what_is_no_executor_is_refused_by_name(choice: Any) -> None:
    with pytest.raises(ConfigurationError, match="coroutines") as caught:
        check_choice(choice)
    assert caught.value.field == "executor"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_pool_that_forks_this_process_is_refused() -> None:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with pytest.raises(ConfigurationError, match="spawn"):
        check_choice(pool)
    pool.shutdown()


def test_a_body_that_cannot_be_sent_to_a_process_pool_is_refused(cluster: Cluster) -> None:
    with _spawned() as pool, pytest.raises(ConfigurationError, match="at the top of a module"):
        Leader(cluster, lambda spec, job: None, "node", {"executor": pool})
