"""What a run has taken: measured where it ran, kept with the outcome, told in reports and metrics."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import bodies
from jobs.threaded import CLOCK, OPTIONS, Cluster, Leader, cluster_on
from slurp_leader.jobs import JobHandle, JobOutcome, NewJob
from slurp_leader.jobs.context import JobContext
from slurp_leader.jobs.executors.body import Body
from slurp_leader.jobs.records import Spec
from slurp_leader.jobs.reports import read_job
from slurp_leader.jobs.use import Use
from slurp_leader.resources import ProcessTree
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S

BURNT_S = 0.02
MIB = 1024 * 1024


def burn(spec: Spec, job: JobContext) -> None:
    until = thread_time() + BURNT_S
    while thread_time() < until:
        pass


def use_of(cluster: Cluster, *payloads: dict[str, Any]) -> list[Use | None]:
    handles = cluster.client().submit_many(NewJob(payload) for payload in payloads)
    return [_outcome(handle).use for handle in handles]


def _outcome(handle: JobHandle[Any] | Exception) -> JobOutcome:
    assert isinstance(handle, JobHandle)
    return handle.outcome(PATIENCE_S)


def test_on_a_thread_the_processor_time_of_the_thread(cluster: Cluster) -> None:
    """And of no other: one that waits beside it has taken less."""
    waits = threading.Event()

    def body(spec: Spec, job: JobContext) -> None:
        if spec.payload["burn"]:
            burn(spec, job)
            waits.set()
        else:
            assert waits.wait(PATIENCE_S)

    cluster.engine(body)
    burnt, waited = use_of(cluster, {"burn": True}, {"burn": False})
    assert burnt is not None
    assert waited is not None
    assert (burnt.cpu_s or 0) >= BURNT_S > (waited.cpu_s or 0)
    assert burnt.memory is waited.memory is None


def test_a_batch_shares_what_its_call_has_taken(memory_store: MemoryStore) -> None:
    def batch(specs: Sequence[Spec], jobs: Sequence[JobContext]) -> list[int]:
        burn(specs[0], jobs[0])
        return [1 for _ in specs]

    options = OPTIONS.model_copy(update={"batch_size": 2, "batch_wait": timedelta(seconds=PATIENCE_S)})
    with cluster_on(memory_store, options) as cluster:
        cluster.engine(Body(burn, batch=batch))
        first, second = use_of(cluster, {}, {})
    assert first is not None
    assert first == second
    assert (first.cpu_s or 0) >= BURNT_S / 2


def test_of_coroutines_nothing_is_known(cluster: Cluster) -> None:
    async def body(spec: Spec, job: JobContext) -> None:
        await asyncio.sleep(0)

    cluster.engine(body)
    assert use_of(cluster, {}) == [None]


def test_in_a_pool_of_others_the_processor_time_of_its_thread(cluster: Cluster) -> None:
    with ThreadPoolExecutor(1) as pool:
        cluster.engine(burn, executor=pool)
        (use,) = use_of(cluster, {})
    assert use is not None
    assert (use.cpu_s or 0) >= BURNT_S


def processes(cluster: Cluster) -> Leader:
    return cluster.engine(bodies.work, executor="processes", processes=ProcessTree())


def test_in_a_process_also_what_it_started_and_the_most_memory(cluster: Cluster, tmp_path: Path) -> None:
    """Of each run for itself, although they run in one process, one after the other."""
    processes(cluster).engine.executor.scale(1)
    asked = {"do": "take", "folder": str(tmp_path)}
    large, small = use_of(cluster, {**asked, "bytes": 96 * MIB, "child": True}, {**asked, "bytes": 0, "child": False})
    assert large is not None
    assert small is not None
    assert (large.cpu_s or 0) >= 0.05 > (small.cpu_s or 0)
    assert (large.memory or 0) >= 96 * MIB > (small.memory or 0) > 0


def test_it_is_told_with_the_job_and_counted(cluster: Cluster) -> None:
    leader = cluster.engine(burn)
    handle = cluster.client().submit(NewJob({}, role="architect"))
    use = handle.outcome(PATIENCE_S).use
    report = read_job(cluster.store, cluster.keys, handle.id, CLOCK, PATIENCE_S)
    assert use is not None
    assert report.use == {"cpu_s": use.cpu_s}
    counted = leader.engine.statistics()["roles"]["architect"]["use"]
    assert counted == {"cpu_s": pytest.approx(use.cpu_s, abs=1e-3), "max_memory": None}


@given(
    st.one_of(
        st.none(),
        st.integers(),
        st.dictionaries(
            st.sampled_from(["cpu_s", "memory", "more"]),
            st.one_of(st.integers(), st.floats(), st.text(), st.booleans(), st.none()),
        ),
    )
)
def test_whatever_a_record_says_is_a_time_and_a_size_or_nothing(said: Any) -> None:
    use = Use.from_fields(said)
    if use is not None:
        assert use != Use()
        assert use.cpu_s is None or 0 <= use.cpu_s < 2**62
        assert use.memory is None or 0 <= use.memory < 2**62
        assert Use.from_fields(use.to_fields()) == Use(None if use.cpu_s is None else round(use.cpu_s, 6), use.memory)
