"""Worker processes: real ones, killed for real."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from jobs import bodies, leader_alone
from jobs.threaded import CLOCK, OPTIONS, Cluster, Leader, cluster_on
from slurp_leader.clock import parse_utc
from slurp_leader.errors import ConfigurationError, JobCancelledError, JobFailedError
from slurp_leader.jobs import CancelAnswer, JobHandle, JobStatus, NewJob
from slurp_leader.jobs.context import JobContext
from slurp_leader.jobs.executors.body import Body
from slurp_leader.jobs.executors.processes import Processes, ProcessRules
from slurp_leader.jobs.executors.worker import pickled
from slurp_leader.jobs.records import Spec
from slurp_leader.resources import ProcessTree
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S
from support.waiting import until


@pytest.fixture
def cluster(memory_store: MemoryStore) -> Iterator[Cluster]:
    with cluster_on(memory_store, OPTIONS.model_copy(update={"workers": 2})) as cluster:
        yield cluster


def leader_of(cluster: Cluster, body: Any = bodies.work, name: str = "node") -> Leader:
    return cluster.engine(body, name, executor="processes", processes=ProcessTree())


def told(folder: Path, name: str = "begun") -> list[str]:
    """What a body wrote, once it has."""
    until((folder / name).exists)
    return (folder / name).read_text().split()


def submit(cluster: Cluster, do: str, folder: Path, **more: Any) -> JobHandle[Any]:
    fields = {name: more.pop(name) for name in ("timeout_s", "max_attempts") if name in more}
    return cluster.client().submit(NewJob({"do": do, "folder": str(folder), **more}, **fields))


def is_there(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def code_of(handle: JobHandle[Any]) -> str:
    with pytest.raises(JobFailedError) as caught:
        handle.result(PATIENCE_S)
    assert caught.value.error is not None
    return str(caught.value.error["code"])


# ---------------------------------------------------------------- the whole way


def test_a_body_runs_in_another_process_and_a_worker_does_one_job_after_the_other(
    cluster: Cluster, tmp_path: Path
) -> None:
    leader_of(cluster)
    results = [submit(cluster, "echo", tmp_path, n=n).result(PATIENCE_S) for n in range(3)]
    assert [result["n"] for result in results] == [0, 1, 2]
    assert len({result["pid"] for result in results} - {os.getpid()}) == 1
    assert [result["token"] for result in results] == sorted({result["token"] for result in results})


def test_all_that_a_body_tells_and_asks_comes_through(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leader_of(cluster)
    with caplog.at_level(logging.WARNING, "slurp_leader.jobs"):
        handle = submit(cluster, "step", tmp_path)
        result = handle.result(PATIENCE_S)
    assert result["restored"] == {"at": 1}
    assert result["added"] == 60
    assert result["longer"] == pytest.approx(60, abs=5)
    assert handle.report().errors[0]["message"] == "ValueError: not yet"
    said = [record for record in caplog.records if record.getMessage() == "said in a worker"]
    assert [record.slurp["job_id"] for record in said] == [handle.id] * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(("do", "code"), [("terminal", "gone"), ("raise", "error")])
def test_errors_keep_their_meaning(cluster: Cluster, tmp_path: Path, do: str, code: str) -> None:
    leader_of(cluster)
    assert code_of(submit(cluster, do, tmp_path, max_attempts=1)) == code


def test_a_wait_that_a_body_asks_for_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    leader_of(cluster)
    handle = submit(cluster, "later", tmp_path)
    until(lambda: handle.status() is JobStatus.SCHEDULED)
    run_at = handle.report().run_at
    assert run_at is not None
    assert parse_utc(run_at) > CLOCK.utcnow() + timedelta(minutes=50)


class Refused:
    """A run that may not begin."""

    def begin_apart(self) -> bool:
        return False


def test_a_worker_that_has_come_up_is_told_of() -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    processes = Processes(Body(bodies.work), 1, ProcessRules(1.0, 0), ProcessTree(), CLOCK)
    processes.open(lambda error: said.put(repr(error)), lambda: said.put("ready"))
    try:
        processes.start(Refused())  # type: ignore[arg-type]
        assert said.get(timeout=PATIENCE_S) == "ready"
    finally:
        processes.close(PATIENCE_S)


def test_a_worker_that_is_too_many_is_let_go(cluster: Cluster, tmp_path: Path) -> None:
    leader = leader_of(cluster)
    pid = submit(cluster, "echo", tmp_path).result(PATIENCE_S)["pid"]
    leader.engine.executor.scale(0)
    until(lambda: not is_there(pid))
    leader.engine.executor.scale(1)
    assert submit(cluster, "echo", tmp_path).result(PATIENCE_S)["pid"] != pid


# ---------------------------------------------------------------- told to stop


def test_a_body_that_looks_is_told_why_and_its_worker_lives_on(cluster: Cluster, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"kill_grace": timedelta(seconds=4)})
    with cluster_on(cluster.store, options) as patient:
        leader_of(patient)
        handle = submit(patient, "wait", tmp_path)
        (pid,) = told(tmp_path)
        assert handle.cancel("enough") is CancelAnswer.REQUESTED
        with pytest.raises(JobCancelledError):
            handle.result(PATIENCE_S)
        assert told(tmp_path, "told") == ["cancelled"]
        assert submit(patient, "echo", tmp_path).result(PATIENCE_S)["pid"] == int(pid)


def test_a_deaf_body_that_is_cancelled_is_killed_and_its_place_is_free(cluster: Cluster, tmp_path: Path) -> None:
    leader = leader_of(cluster)
    handle = submit(cluster, "deaf", tmp_path)
    (pid,) = told(tmp_path)
    handle.cancel("enough")
    with pytest.raises(JobCancelledError):
        handle.result(PATIENCE_S)
    assert not is_there(int(pid))
    assert leader.engine.stuck == 0
    assert submit(cluster, "echo", tmp_path).result(PATIENCE_S)["pid"] != int(pid)


def test_a_deaf_body_out_of_time_is_killed_with_all_that_it_has_started(cluster: Cluster, tmp_path: Path) -> None:
    leader_of(cluster)
    handle = submit(cluster, "family", tmp_path, timeout_s=2, max_attempts=1)
    pids = [int(pid) for pid in told(tmp_path)]
    assert code_of(handle) == "timeout"
    until(lambda: not any(is_there(pid) for pid in pids))  # the kernel takes a moment


def test_the_loss_of_the_term_kills_what_runs_and_all_that_it_has_started(cluster: Cluster, tmp_path: Path) -> None:
    leader = leader_of(cluster)
    submit(cluster, "family", tmp_path)
    pids = [int(pid) for pid in told(tmp_path)]
    leader.engine.lose(leader.term.token)
    until(lambda: not any(is_there(pid) for pid in pids))


def test_a_worker_that_stands_still_is_killed_and_holds_up_nobody(cluster: Cluster, tmp_path: Path) -> None:
    leader_of(cluster)
    handle = submit(cluster, "stand_still", tmp_path)
    (pid,) = told(tmp_path)
    until(lambda: psutil.Process(int(pid)).status() == psutil.STATUS_STOPPED)
    assert submit(cluster, "echo", tmp_path).result(PATIENCE_S)["n"] is None
    handle.cancel("enough")
    with pytest.raises(JobCancelledError):
        handle.result(PATIENCE_S)
    assert not is_there(int(pid))


def test_a_body_that_tells_without_end_is_killed_all_the_same(cluster: Cluster, tmp_path: Path) -> None:
    leader_of(cluster)
    handle = submit(cluster, "chatter", tmp_path)
    (pid,) = told(tmp_path)
    handle.cancel("enough")
    with pytest.raises(JobCancelledError):
        handle.result(PATIENCE_S)
    until(lambda: not is_there(int(pid)))


def test_what_comes_in_without_end_does_not_keep_from_looking() -> None:
    executor = Processes(Body(bodies.work), 1, ProcessRules(0.1, 0), ProcessTree(), CLOCK)

    def once_more() -> None:
        executor._inbox.put(once_more)

    once_more()
    executor._take()  # comes back


def test_a_body_whose_term_is_lost_has_no_time_to_clean_up(cluster: Cluster, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"kill_grace": timedelta(seconds=4)})
    with cluster_on(cluster.store, options) as patient:
        leader = leader_of(patient)
        submit(patient, "wait", tmp_path)
        (pid,) = told(tmp_path)
        leader.engine.lose(leader.term.token)
        until(lambda: not is_there(int(pid)))
        assert not (tmp_path / "told").exists()


def test_a_run_that_is_cancelled_while_its_worker_comes_up_never_begins(cluster: Cluster, tmp_path: Path) -> None:
    leader_of(cluster)
    handle = submit(cluster, "deaf", tmp_path)
    until(lambda: handle.status() is not JobStatus.PENDING)  # claimed; its worker takes longer to come up than a read
    handle.cancel("enough")
    with pytest.raises(JobCancelledError):
        handle.result(PATIENCE_S)
    assert submit(cluster, "echo", tmp_path).result(PATIENCE_S)["n"] is None
    assert not (tmp_path / "begun").exists()


def test_a_coroutine_in_a_worker_is_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"kill_grace": timedelta(seconds=4)})
    with cluster_on(cluster.store, options) as patient:
        leader_of(patient, bodies.work_async)
        handle = submit(patient, "", tmp_path)
        told(tmp_path)
        handle.cancel("enough")
        with pytest.raises(JobCancelledError):
            handle.result(PATIENCE_S)
        assert (tmp_path / "cancelled").exists()


def test_a_stop_of_the_engine_leaves_no_process(cluster: Cluster, tmp_path: Path) -> None:
    leader = leader_of(cluster)
    submit(cluster, "family", tmp_path)
    pids = [int(pid) for pid in told(tmp_path)]
    assert leader.engine.stop(PATIENCE_S)
    until(lambda: not any(is_there(pid) for pid in pids))  # the kernel takes a moment


# ---------------------------------------------------------------- ended by itself


@pytest.mark.parametrize(("do", "how"), [("exit", "exit code 3"), ("crash", "SIGSEGV")])
def test_a_run_that_brings_its_process_down_has_failed_and_nobody_else(
    cluster: Cluster, tmp_path: Path, do: str, how: str
) -> None:
    leader_of(cluster)
    beside = submit(cluster, "wait", tmp_path)
    told(tmp_path)
    handle = submit(cluster, do, tmp_path, max_attempts=2)
    assert code_of(handle) == "process_died"
    report = handle.report()
    assert how in str((report.error or {})["message"])
    assert (report.attempts, report.interruptions) == (2, 0)
    assert beside.report().interruptions == 0
    assert beside.status() is JobStatus.RUNNING


def test_a_worker_that_is_killed_from_outside_fails_its_attempt_and_the_next_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    leader_of(cluster)
    handle = submit(cluster, "deaf", tmp_path, max_attempts=1)
    (pid,) = told(tmp_path)
    os.kill(int(pid), signal.SIGKILL)
    assert code_of(handle) == "process_died"
    assert submit(cluster, "echo", tmp_path).result(PATIENCE_S)["n"] is None


def test_an_idle_worker_that_dies_harms_no_job(cluster: Cluster, tmp_path: Path) -> None:
    leader_of(cluster)
    pid = submit(cluster, "echo", tmp_path).result(PATIENCE_S)["pid"]
    os.kill(pid, signal.SIGKILL)
    handle = submit(cluster, "echo", tmp_path)
    assert handle.result(PATIENCE_S)["pid"] != pid
    assert (handle.report().attempts, handle.report().interruptions) == (1, 0)


def test_a_checkpoint_outlives_the_process_that_made_it(cluster: Cluster, tmp_path: Path) -> None:
    leader_of(cluster)
    assert submit(cluster, "die_once", tmp_path).result(PATIENCE_S) == {"attempt": 1}


def test_a_worker_that_takes_too_much_memory_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    limit = 200 * 2**20
    with cluster_on(cluster.store, OPTIONS.model_copy(update={"process_memory": limit})) as small:
        leader_of(small)
        assert submit(small, "echo", tmp_path).result(PATIENCE_S)["n"] is None
        handle = submit(small, "grow", tmp_path, bytes=2 * limit, max_attempts=1)
        (pid,) = told(tmp_path)
        assert code_of(handle) == "memory_exceeded"
        assert not is_there(int(pid))


def test_what_a_run_leaves_in_memory_is_not_held_against_the_next(cluster: Cluster, tmp_path: Path) -> None:
    limit = 200 * 2**20
    with cluster_on(cluster.store, OPTIONS.model_copy(update={"process_memory": limit, "workers": 1})) as small:
        leader_of(small)
        pid = submit(small, "leave", tmp_path, bytes=limit // 2).result(PATIENCE_S)
        assert submit(small, "echo", tmp_path).result(PATIENCE_S)["pid"] != pid


def test_workers_end_with_all_they_have_started_when_their_parent_is_killed(tmp_path: Path) -> None:
    alone = subprocess.Popen([sys.executable, leader_alone.__file__, str(tmp_path)])
    try:
        (forked,) = (int(pid) for pid in told(tmp_path, "forked"))
        worker, child, apart = (int(pid) for pid in told(tmp_path))
    finally:
        alone.kill()
        alone.wait()
    try:
        until(lambda: not is_there(worker) and not is_there(child))
    finally:
        for pid in filter(is_there, (worker, child, apart, forked)):  # nobody is left who knows of the third
            os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------- what cannot be sent


def test_a_body_that_is_not_found_by_name_is_refused_when_the_engine_is_made(cluster: Cluster) -> None:
    def local(spec: Spec, job: JobContext) -> Any:
        return None

    with pytest.raises(ConfigurationError, match="at the top of a module") as caught:
        leader_of(cluster, local)
    assert caught.value.field == "generator"


def test_a_body_of_an_interactive_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(spec: Spec, job: JobContext) -> Any:
        return None

    program = ModuleType("__main__")
    body.__module__, body.__qualname__, program.body = "__main__", "body", body  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", program)
    with pytest.raises(ConfigurationError, match="put it into a module"):
        pickled(Body(body))


class UnloadableWork:
    """It can be packed, but not unpacked in a worker."""

    def __call__(self, spec: Spec, job: JobContext) -> Any:
        return None

    def __reduce__(self) -> Any:
        return os.getenv, ("a", "b", "c")


def test_workers_that_do_not_come_up_are_the_fault_of_the_node_not_of_jobs(cluster: Cluster, tmp_path: Path) -> None:
    lost = threading.Event()
    leader = cluster.engine(
        UnloadableWork(), executor="processes", processes=ProcessTree(), executor_lost=lost.set
    )  # fmt: skip
    handle = submit(cluster, "echo", tmp_path)
    assert lost.wait(PATIENCE_S)
    assert "cannot load the generator" in str(leader.engine.executor_failure)
    assert "cannot load the generator" in leader.engine.executor.trouble
    report = handle.report()
    assert (report.attempts, report.interruptions) == (0, 0)
    leader.drain()
    leader.engine.lose(leader.term.token)
    leader_of(cluster, name="next")
    assert handle.result(PATIENCE_S)["n"] is None
