"""Where a generator runs: said by it, by the system, or by the settings; and what the system tells about it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from slurp_leader import ContextGenerationRequest, JobContext, JobFailedError, SlurpLeaderSystem, SlurpSettings
from slurp_leader.errors import ConfigurationError
from support.waiting import WAIT_S


def where(request: ContextGenerationRequest, job: JobContext) -> dict[str, Any]:
    return {"pid": os.getpid(), "thread": threading.current_thread().name, "path": request.file_path}


class Where:
    """A generator with state."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def generate(self, request: ContextGenerationRequest, job: JobContext) -> dict[str, Any]:
        return {"pid": os.getpid(), "path": f"{self.folder}/{request.file_path}"}


async def where_async(request: ContextGenerationRequest, job: JobContext) -> str:
    return threading.current_thread().name


def system_of(shared: Any, settings: SlurpSettings | None = None, **more: Any) -> SlurpLeaderSystem:
    settings = settings or SlurpSettings(election={"lease_ttl": 3})
    return SlurpLeaderSystem(settings, stores=shared, **more)


def result_of(system: SlurpLeaderSystem) -> Any:
    with system:
        return system.request_context_generation("a.py", WAIT_S).value


def test_a_generator_that_asks_for_processes_runs_in_another_one(shared: Any) -> None:
    system = system_of(shared)
    assert system.generator(executor="processes")(where) is where
    value = result_of(system)
    assert value["pid"] != os.getpid()
    assert value["path"] == "a.py"


def test_an_object_goes_to_worker_processes_with_its_state(shared: Any) -> None:
    value = result_of(system_of(shared, generator=Where("src"), executor="processes"))
    assert value["pid"] != os.getpid()
    assert value["path"] == "src/a.py"


def test_the_generator_of_the_library_runs_in_processes_too(shared: Any, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def run() -> None:\n    pass\n")
    settings = SlurpSettings(
        election={"lease_ttl": 3}, jobs={"executor": "processes"}, generator={"workspace_root": tmp_path}
    )
    system = system_of(shared, settings)
    with system:
        assert system.request_context_generation("a.py", WAIT_S).success
        assert system.status()["executor"] == {"name": "processes", "can_kill": True, "trouble": None}


def test_what_the_system_was_told_comes_before_what_the_generator_says(shared: Any) -> None:
    with ThreadPoolExecutor(1, "theirs") as pool:
        system = system_of(shared, executor=pool)
        system.generator(executor="processes")(where)
        assert result_of(system)["thread"].startswith("theirs")


def test_coroutines_go_to_the_loop_by_themselves(shared: Any) -> None:
    system = system_of(shared, generator=where_async)
    assert result_of(system) == "slurp-job-loop"


def test_why_a_coroutine_waits_is_told_by_the_places_of_coroutines(shared: Any) -> None:
    with system_of(shared, generator=where_async) as system:
        system.submit("a.py", slots=101)
        assert system.queue.status().held == {"it takes 101 slots, and there are 100": 1}


def test_a_generator_that_cannot_be_found_by_name_is_refused_when_it_is_set(shared: Any) -> None:
    system = system_of(shared)

    def local(request: ContextGenerationRequest, job: JobContext) -> None:
        """Nobody finds it."""

    for generator in (local, lambda request, job: None):
        with pytest.raises(ConfigurationError, match="top of a module"):
            system.generator(executor="processes")(generator)
    with pytest.raises(ConfigurationError, match="top of a module"):
        system_of(shared, generator=local, executor="processes")


def test_a_generator_that_cannot_be_packed_is_refused_at_the_start(shared: Any) -> None:
    generator = Where("src")
    generator.lock = threading.Lock()  # type: ignore[attr-defined]
    system = system_of(shared, generator=generator, executor="processes")
    with pytest.raises(ConfigurationError, match="cannot be sent") as caught:
        system.start()
    assert caught.value.field == "generator"
    assert system.status()["running"] is False


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"executor": "fibres"}, "executor"),
        ({"retry_on": "ValueError"}, "retry_on"),
        ({"no_retry_on": (1,)}, "no_retry_on"),
    ],
)
def test_wrong_arguments_of_a_generator_are_named(shared: Any, arguments: Any, field: str) -> None:
    with pytest.raises(ConfigurationError, match=field) as caught:
        system_of(shared).generator(**arguments)(where)
    assert caught.value.field == field


def test_an_error_that_is_not_to_be_tried_again_ends_the_job(shared: Any) -> None:
    system = system_of(shared)

    @system.generator(no_retry_on=KeyError)
    def generate(request: ContextGenerationRequest, job: JobContext) -> None:
        raise KeyError(request.file_path)

    with system:
        handle = system.submit("a.py")
        with pytest.raises(JobFailedError):
            handle.result(WAIT_S)
        assert handle.report().attempts == 1


def test_a_run_that_does_not_stop_shows_in_status_and_health(make_system: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def deaf(request: ContextGenerationRequest, job: JobContext) -> None:
        begun.set()
        go_on.wait(WAIT_S)

    node = make_system(deaf)
    assert node.wait_for_leadership(WAIT_S)
    handle = node.submit("a.py")
    assert begun.wait(WAIT_S)
    handle.cancel()
    handle.outcome(WAIT_S)
    assert node.status()["queue"]["stuck"] == 1
    assert [problem["what"] for problem in node.health()["problems"]] == ["stuck"]
    go_on.set()


class BreakingPool(Executor):
    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
        raise BrokenProcessPool("its workers are gone")


def test_a_node_whose_pool_is_lost_lets_another_lead(shared: Any, make_system: Any) -> None:
    broken = SlurpLeaderSystem(
        SlurpSettings(node={"id": "broken"}, election={"lease_ttl": 3}),
        generator=where,
        executor=BreakingPool(),
        stores=shared,
    )
    with broken:
        assert broken.wait_for_leadership(WAIT_S)
        handle = broken.submit("a.py")
        other = make_system(lambda request, job: "done")
        assert other.jobs.get(handle.id).result(WAIT_S).value == "done"
        assert handle.report().node_id == other.settings.node.id
        health = broken.health()
        assert not health["live"]
        assert [problem["what"] for problem in health["problems"]] == ["executor"]
