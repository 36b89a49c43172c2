"""Answers from the result cache, as a program sees them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from slurp_leader import (
    ContextGenerationRequest,
    ContextGenerationResult,
    JobContext,
    JobFailedError,
    SlurpLeaderSystem,
    SlurpSettings,
    TerminalError,
)
from slurp_leader.clock import SystemClock
from slurp_leader.errors import ConfigurationError
from slurp_leader.system.recall import cache_for
from slurp_leader.telemetry.metrics import CACHE_LOOKUPS, Instrument, NoMetrics
from support.logs import events
from support.waiting import WAIT_S, until

Request = ContextGenerationRequest


class Counting:
    """A generator over files in memory. Counts its calls; a result tells which call it is of."""

    version = "1"

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.calls: list[str] = []
        self.on_generate: Callable[[], object] = lambda: None

    def content_hash(self, request: Request) -> str | None:
        return self.files.get(request.file_path, "empty")

    def generate(self, request: Request, job: JobContext) -> Any:
        self.calls.append(request.file_path)
        self.on_generate()
        return {"call": len(self.calls), "content": self.files.get(request.file_path, "empty")}


def system_of(shared: Any, generator: Any, *, metrics: Any = None, **more: Any) -> SlurpLeaderSystem:
    jobs = {"backoff_base": 0.01, "backoff_cap": 0.02, "cache_bytes": "1MiB", **more.pop("jobs", {})}
    settings = SlurpSettings(election={"lease_ttl": 3}, jobs=jobs, **more.pop("sections", {}))
    return SlurpLeaderSystem(settings, generator=generator, stores=shared, metrics=metrics, **more)


def ask(system: SlurpLeaderSystem, path: str = "a.py", **fields: Any) -> ContextGenerationResult:
    return system.request_context_generation(path, WAIT_S, **fields)


def test_the_same_content_is_answered_without_the_generator(shared: Any) -> None:
    generator = Counting()
    with system_of(shared, generator) as system:
        first, second = ask(system), ask(system)
        reports = [system.jobs.report(each.job_id) for each in (first, second)]
        figures = system.status()["cache"]
    assert first.value == second.value == {"call": 1, "content": "empty"}
    assert (first.cached, second.cached) == (False, True)
    assert second.to_wire()["cached"] is True
    assert [report.cached for report in reports] == [False, True]
    assert [report.status for report in reports] == ["completed"] * 2
    assert generator.calls == ["a.py"]
    assert (figures["hits"], figures["misses"], figures["entries"]) == (1, 1, 1)


def test_what_has_changed_is_generated_and_what_has_changed_back_is_there(shared: Any) -> None:
    generator = Counting()
    with system_of(shared, generator) as system:
        ask(system)
        generator.files["a.py"] = "x"
        changed = ask(system)
        generator.files["a.py"] = "empty"
        back = ask(system)
    assert (changed.cached, changed.value) == (False, {"call": 2, "content": "x"})
    assert (back.cached, back.value["call"]) == (True, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "b.py"},
        {"role": "reviewer"},
        {"max_depth": 0},
        {"metadata": {"a": 1}},
        {"ucxl_address": "ucxl://any:general@any:any/*^/a.py"},
    ],
)
def test_what_an_answer_depends_on_tells_requests_apart(shared: Any, fields: dict[str, Any]) -> None:
    generator = Counting()
    with system_of(shared, generator) as system:
        ask(system)
        assert not ask(system, **fields).cached
        assert ask(system, **fields).cached
    assert len(generator.calls) == 2


@pytest.mark.parametrize("fields", [{"priority": "high"}, {"timeout": 7}, {"requested_by": "me"}])
def test_how_a_job_is_run_does_not(shared: Any, fields: dict[str, Any]) -> None:
    with system_of(shared, Counting()) as system:
        ask(system)
        assert ask(system, **fields).cached


def test_statistics_tell_which_generator_in_which_version_did_the_work(shared: Any) -> None:
    with system_of(shared, Counting()) as system:
        ask(system)
        told = until(lambda: system.status()["statistics"]["generators"])  # counted a moment after it is told
    (name,) = told
    assert name.endswith("test_cache.Counting 1")
    assert told[name]["ended"] == {"completed": 1}


def test_another_version_of_the_generator_begins_anew(shared: Any) -> None:
    generator = Counting()
    with system_of(shared, generator) as system:
        ask(system)
        generator.version = "2"
        assert not ask(system).cached
        assert ask(system).cached


def test_force_is_generated_and_its_result_is_the_one_that_is_kept(shared: Any) -> None:
    generator = Counting()
    with system_of(shared, generator) as system:
        ask(system)
        forced, after = ask(system, force=True), ask(system)
    assert (forced.cached, forced.value["call"]) == (False, 2)
    assert (after.cached, after.value["call"]) == (True, 2)


def test_what_was_made_of_newer_content_is_not_kept_as_that_of_the_older(shared: Any) -> None:
    generator = Counting()
    generator.files["a.py"] = "old"
    generator.on_generate = lambda: generator.files.update({"a.py": "new"})
    with system_of(shared, generator) as system:
        assert ask(system).value["content"] == "new"
        generator.on_generate = lambda: None
        generator.files["a.py"] = "old"
        again = ask(system)
    assert (again.cached, again.value["content"]) == (False, "old")


def test_what_a_run_returns_that_was_told_to_stop_is_not_kept(shared: Any) -> None:
    class Stopped(Counting):
        def generate(self, request: Request, job: JobContext) -> Any:
            system.jobs.cancel(job.id)
            until(job.should_stop)
            return super().generate(request, job)

    generator = Stopped()
    with system_of(shared, generator) as system:
        system.submit("a.py").outcome(WAIT_S)  # completed, as it returned: but maybe with what it had by then
        assert generator.calls == ["a.py"]
        assert system.status()["cache"]["entries"] == 0


def test_failures_are_not_kept(shared: Any) -> None:
    generator = Counting()

    def fail() -> None:
        raise TerminalError("no")

    generator.on_generate = fail
    with system_of(shared, generator) as system:
        for _ in range(2):
            with pytest.raises(JobFailedError):
                ask(system)
        assert system.status()["cache"]["entries"] == 0
    assert len(generator.calls) == 2


def test_a_result_goes_with_the_age_of_the_settings() -> None:
    class Ahead(SystemClock):
        ahead_s = 0.0

        def boottime(self) -> float:
            return super().boottime() + self.ahead_s

    clock = Ahead()
    settings = SlurpSettings(jobs={"cache_bytes": "1MiB", "cache_age": "10s"})
    cache = cache_for(settings.jobs, Counting(), settings.jobs.executor, clock)
    assert cache is not None
    cache.put(b"key", b"1")
    assert cache.get(b"key") == b"1"
    clock.ahead_s = 10.0
    assert cache.get(b"key") is None


# ---------------------------------------------------------------- who takes part, and who cannot


class Silent:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def generate(self, request: Request, job: JobContext) -> str:
        self.calls.append(request.file_path)
        return "result"


def test_a_generator_that_does_not_say_what_it_reads_is_named_once_and_generates(
    shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    generator = Silent()
    with system_of(shared, generator) as system:
        assert not ask(system).cached
        assert not ask(system).cached
        assert system.status()["cache"] is None
    assert len(generator.calls) == 2
    assert events(caplog).count("cache.unused") == 1
    [record] = [each for each in caplog.records if getattr(each, "slurp_event", "") == "cache.unused"]
    assert record.levelno == logging.WARNING
    assert "Silent" in record.getMessage()
    assert "content_hash" in record.getMessage()


def test_without_room_nothing_is_asked_and_nothing_is_said(shared: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(Counting):
        def content_hash(self, request: Request) -> str | None:
            raise AssertionError("it was asked although the cache is off")

    with system_of(shared, Refusing(), jobs={"cache_bytes": 0}) as system:
        ask(system)
        assert not ask(system).cached
        assert system.status()["cache"] is None
    assert not {"cache.unused", "cache.hash_failed"} & set(events(caplog))


class Unsure(Counting):
    def content_hash(self, request: Request) -> Any:
        match request.file_path:
            case "raises.py":
                raise OSError("the disk is gone")
            case "wrong.py":
                return b"no text"
        return None


def test_where_the_content_is_not_known_the_generator_is_called_each_time(
    shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    generator = Unsure()
    with system_of(shared, generator) as system:
        for path in ("none.py", "raises.py", "wrong.py"):
            assert not ask(system, path).cached
            assert not ask(system, path).cached
    assert len(generator.calls) == 6
    assert events(caplog).count("cache.hash_failed") == 4
    assert "the disk is gone" in caplog.text


def generate_at_top(request: Request, job: JobContext) -> str:
    return "result"


@pytest.mark.parametrize("pool", [False, True])
def test_a_cache_for_other_processes_is_refused_at_the_start(shared: Any, pool: bool) -> None:
    executor: Any = ProcessPoolExecutor(1, get_context("spawn")) if pool else "processes"
    system = system_of(shared, generate_at_top, executor=executor)
    try:
        with pytest.raises(ConfigurationError, match=r"jobs\.cache_bytes to 0") as caught:
            system.start()
        assert caught.value.field == "jobs.cache_bytes"
        assert system.status()["running"] is False
    finally:
        if pool:
            executor.shutdown()


def test_a_pool_of_threads_answers_from_the_cache(shared: Any) -> None:
    with ThreadPoolExecutor(2) as pool, system_of(shared, Counting(), executor=pool) as system:
        assert not ask(system).cached
        assert ask(system).cached


def pool_of_processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))


def test_a_pool_that_turns_out_to_be_elsewhere_costs_no_job_and_tells_the_fix(shared: Any) -> None:
    generator = Counting()
    generator.on_generate = len  # can be sent, so that it is the cache that cannot
    system = system_of(shared, generator, executor=pool_of_processes, jobs={"max_attempts": 1})
    with system:
        handle = system.submit("a.py")
        until(lambda: "set jobs.cache_bytes to 0" in str(system.status()["executor"]))
        assert handle.status() in ("pending", "running")


def test_a_result_in_the_payload_store_is_kept_too(shared: Any, tmp_path: Path) -> None:
    class Large(Counting):
        def generate(self, request: Request, job: JobContext) -> Any:
            return {**super().generate(request, job), "large": random.Random(1).randbytes(5000).hex()}

    jobs = {"result_limit": "1KiB", "payload_store": str(tmp_path)}
    with system_of(shared, Large(), jobs=jobs) as system:
        first, second = ask(system), ask(system)
        report = system.jobs.report(second.job_id)
    assert (second.cached, second.value) == (True, first.value)
    assert report.payload is not None
    assert report.cached


def test_a_new_leader_begins_with_nothing_and_is_right(shared: Any) -> None:
    for number in (1, 2):
        generator = Counting()
        generator.files["a.py"] = "same"
        with system_of(shared, generator, sections={"node": {"id": f"node-{number}"}}) as system:
            first, second = ask(system), ask(system)
        assert (first.cached, second.cached) == (False, True)
        assert first.value == second.value == {"call": 1, "content": "same"}


# ---------------------------------------------------------------- coroutines


class CountingAsync(Counting):
    async def generate(self, request: Request, job: JobContext) -> Any:
        return Counting.generate(self, request, job)


class HashedAsync(Counting):
    async def content_hash(self, request: Request) -> str | None:  # type: ignore[override]
        if request.file_path == "raises.py":
            raise OSError("not now")
        return Counting.content_hash(self, request)


class AllAsync(HashedAsync, CountingAsync):
    pass


@pytest.mark.parametrize("executor", ["auto", "threads", "coroutines"])
@pytest.mark.parametrize("kind", [Counting, CountingAsync, HashedAsync, AllAsync])
def test_coroutines_take_part_wherever_they_run(shared: Any, kind: type[Counting], executor: str) -> None:
    generator = kind()
    with system_of(shared, generator, executor=executor) as system:
        results = [ask(system), ask(system), ask(system, role="reviewer")]
        expected = "coroutines" if executor == "auto" and kind in (CountingAsync, AllAsync) else executor
        assert system.status()["executor"]["name"] == ("threads" if expected == "auto" else expected)
    assert [result.cached for result in results] == [False, True, False]
    assert len(generator.calls) == 2


@pytest.mark.parametrize("kind", [HashedAsync, AllAsync])
def test_an_awaited_hash_that_raises_leaves_it_to_the_generator(
    shared: Any, kind: type[Counting], caplog: pytest.LogCaptureFixture
) -> None:
    with system_of(shared, kind()) as system:
        assert [ask(system, "raises.py").cached for _ in range(2)] == [False, False]
    assert events(caplog).count("cache.hash_failed") == 2


@pytest.mark.parametrize("kind", [HashedAsync, AllAsync])
def test_a_result_that_is_there_counts_though_its_hash_is_cut_short(shared: Any, kind: type[Counting]) -> None:
    class Slow(kind):  # type: ignore[misc, valid-type]
        async def content_hash(self, request: Request) -> str | None:
            if self.calls:  # the second time
                system.jobs.cancel(running[0])
                await asyncio.sleep(3600)
            return "empty"

        def generate(self, request: Request, job: JobContext) -> Any:
            running.append(job.id)
            return super().generate(request, job)

    running: list[str] = []
    with system_of(shared, Slow()) as system:
        outcome = system.submit("a.py").outcome(WAIT_S)
        assert (outcome.status.value, outcome.attempts) == ("completed", 1)
        assert system.status()["cache"]["entries"] == 0


def test_a_version_that_cannot_be_told_leaves_it_to_the_generator(
    shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Unversioned(Counting):
        @property
        def version(self) -> str:  # type: ignore[override]
            raise OSError("the model is not loaded")

    with system_of(shared, Unversioned()) as system:
        assert [ask(system).cached for _ in range(2)] == [False, False]
    assert events(caplog).count("cache.hash_failed") == 2


# ---------------------------------------------------------------- batches


class Batches:
    """Does many at once, and remembers which."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def content_hash(self, request: Request) -> Any:
        return "same"

    def generate_batch(self, requests: Sequence[Request], jobs: Sequence[JobContext]) -> Any:
        self.batches.append([request.file_path for request in requests])
        assert [job.id for job in jobs]
        return [
            TerminalError("bad") if request.file_path == "bad.py" else {"path": request.file_path}
            for request in requests
        ]


class AsyncBatches(Batches):
    async def generate_batch(self, requests: Sequence[Request], jobs: Sequence[JobContext]) -> Any:
        return Batches.generate_batch(self, requests, jobs)


class HashedBatches(Batches):
    async def content_hash(self, request: Request) -> Any:
        return "same"


def paused(system: SlurpLeaderSystem, names: Sequence[str]) -> list[Any]:
    system.queue.pause()
    handles = [system.submit(name) for name in names]
    system.queue.resume()
    return handles


@pytest.mark.parametrize("kind", [Batches, AsyncBatches, HashedBatches])
def test_only_what_is_not_there_is_given_to_a_batch(shared: Any, kind: type[Batches]) -> None:
    generator = kind()
    with system_of(shared, generator, jobs={"workers": 1, "batch_wait": 0.2}) as system:
        for handle in paused(system, ["b.py", "d.py"]):
            handle.result(WAIT_S)
        handles = paused(system, ["a.py", "b.py", "bad.py", "c.py", "d.py"])
        outcomes = [handle.outcome(WAIT_S) for handle in handles]
        assert [handle.outcome(WAIT_S).cached for handle in paused(system, ["a.py", "bad.py"])] == [True, False]
    assert generator.batches == [["b.py", "d.py"], ["a.py", "bad.py", "c.py"], ["bad.py"]]
    assert [outcome.cached for outcome in outcomes] == [False, True, False, False, True]
    assert [outcome.status for outcome in outcomes] == ["completed", "completed", "failed", "completed", "completed"]
    good = [outcome.result["path"] for outcome in outcomes if outcome.status == "completed"]
    assert good == ["a.py", "b.py", "c.py", "d.py"]


class Failing(Batches):
    how = ""

    def generate_batch(self, requests: Sequence[Request], jobs: Sequence[JobContext]) -> Any:
        if self.how == "raises":
            raise TerminalError("the model is down")
        return super().generate_batch(requests, jobs)[: None if not self.how else 0]


class AsyncFailing(Failing):
    async def generate_batch(self, requests: Sequence[Request], jobs: Sequence[JobContext]) -> Any:
        return Failing.generate_batch(self, requests, jobs)


@pytest.mark.parametrize("kind", [Failing, AsyncFailing])
@pytest.mark.parametrize("how", ["raises", "gives too few"])
def test_what_is_there_counts_whatever_becomes_of_the_call_for_the_others(
    shared: Any, kind: type[Failing], how: str
) -> None:
    generator = kind()
    with system_of(shared, generator, jobs={"workers": 1, "batch_wait": 0.2}) as system:
        ask(system, "a.py")
        generator.how = how
        handles = paused(system, ["a.py", "b.py"])
        assert [handle.outcome(WAIT_S).status for handle in handles] == ["completed", "failed"]


# ---------------------------------------------------------------- figures


class Lookups(NoMetrics):
    def __init__(self) -> None:
        self.counted = {"hit": 0, "miss": 0}

    def add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        if instrument is CACHE_LOOKUPS:
            self.counted[attributes["outcome"]] += amount


def test_hits_and_misses_are_counted_once_each(shared: Any) -> None:
    lookups = Lookups()
    with system_of(shared, Counting(), metrics=lookups) as system:
        for path in ("a.py", "a.py", "b.py", "a.py"):
            ask(system, path)
        ask(system, force=True)  # is not looked up
    assert lookups.counted == {"hit": 2, "miss": 2}


# ---------------------------------------------------------------- the generator of the library


def test_the_generator_of_the_library_is_asked_again_when_something_has_changed(
    shared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # its git configuration counts
    (tmp_path / "a.py").write_text('"""First things."""\n')
    with system_of(shared, None, sections={"generator": {"workspace_root": tmp_path}}) as system:
        first, second = ask(system), ask(system)
        (tmp_path / "a.py").write_text('"""Second things."""\n')
        third = ask(system)
        (tmp_path / "test_a.py").write_text("import a\n\n\ndef test_a(): ...\n")
        fourth = ask(system)
    assert [each.cached for each in (first, second, third, fourth)] == [False, True, False, False]
    assert first.node == second.node
    assert third.node is not None
    assert "Second things" in third.node.summary + third.node.purpose
    assert fourth.node != third.node
