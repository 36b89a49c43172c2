"""Generators that do many jobs in one call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from slurp_leader import (
    ContextGenerationRequest,
    JobCancelledError,
    JobContext,
    JobFailedError,
    SlurpLeaderSystem,
    SlurpSettings,
    TerminalError,
)
from slurp_leader.errors import ConfigurationError
from support.waiting import WAIT_S, until

Requests = Sequence[ContextGenerationRequest]
Jobs = Sequence[JobContext]


class Generator:
    """Remembers its batches, by the paths in them."""

    def __init__(self, **more: Any) -> None:
        self.batches: list[list[str]] = []
        self.more = more

    def generate_batch(self, requests: Requests, jobs: Jobs) -> Any:
        self.batches.append([request.file_path for request in requests])
        return [self.answer(request, job) for request, job in zip(requests, jobs, strict=True)]

    def answer(self, request: ContextGenerationRequest, job: JobContext) -> Any:
        return {"path": request.file_path, "id": job.id}


def system_of(shared: Any, generator: Any, **jobs: Any) -> SlurpLeaderSystem:
    options = {"workers": 1, "batch_wait": 0.2, "backoff_base": 0.01, "backoff_cap": 0.02, **jobs}
    return SlurpLeaderSystem(SlurpSettings(election={"lease_ttl": 3}, jobs=options), generator=generator, stores=shared)


def paused(system: SlurpLeaderSystem, names: Sequence[str], **fields: Any) -> list[Any]:
    """Jobs that are all there before the first of them is claimed."""
    system.queue.pause()
    handles = [system.submit(name, **fields) for name in names]
    system.queue.resume()
    return handles


def test_a_batch_is_as_large_as_it_may_be_and_each_job_gets_its_own_result(shared: Any) -> None:
    generator = Generator()
    with system_of(shared, generator, batch_size=8) as system:
        names = [f"{number}.py" for number in range(20)]
        handles = paused(system, names)
        assert [handle.result(WAIT_S).value for handle in handles] == [
            {"path": name, "id": handle.id} for name, handle in zip(names, handles, strict=True)
        ]
        assert system.status()["executor"]["name"] == "batches"
    assert max(map(len, generator.batches)) == 8
    assert sorted(name for batch in generator.batches for name in batch) == sorted(names)


def test_one_job_alone_does_not_wait_for_a_full_batch(shared: Any) -> None:
    generator = Generator()
    with system_of(shared, generator, batch_size=100, batch_wait=0.01) as system:
        assert system.request_context_generation("a.py", WAIT_S).value["path"] == "a.py"
    assert generator.batches == [["a.py"]]


@pytest.mark.parametrize(("by", "apart"), [("role", True), ("project", False), ("none", False)])
def test_a_batch_holds_what_has_something_in_common(shared: Any, by: str, apart: bool) -> None:
    generator = Generator()
    with system_of(shared, generator, batch_size=8, batch_by=by) as system:
        system.queue.pause()
        handles = [system.submit(f"{n}-{role}.py", role=role) for n in range(4) for role in ("x", "y")]
        system.queue.resume()
        for handle in handles:
            handle.result(WAIT_S)
    mixed = [batch for batch in generator.batches if len({name[-4] for name in batch}) > 1]
    assert bool(mixed) is not apart


class Failing(Generator):
    def answer(self, request: ContextGenerationRequest, job: JobContext) -> Any:
        match request.file_path:
            case "bad.py":
                return TerminalError("never")
            case "once.py" if job.attempt == 1:
                return ValueError("not yet")
            case _:
                return super().answer(request, job)


def test_an_error_among_the_results_is_that_of_one_job(shared: Any) -> None:
    with system_of(shared, Failing()) as system:
        good, bad, once = paused(system, ["good.py", "bad.py", "once.py"])
        assert good.result(WAIT_S).value["path"] == "good.py"
        assert once.result(WAIT_S).value["path"] == "once.py"
        with pytest.raises(JobFailedError, match="never"):
            bad.result(WAIT_S)
        assert [system.jobs.report(each.id).attempts for each in (good, bad, once)] == [1, 1, 2]


class Raising(Generator):
    def generate_batch(self, requests: Requests, jobs: Jobs) -> Any:
        self.batches.append([request.file_path for request in requests])
        if len(self.batches) == 1:
            raise ValueError("the whole")
        return ["well" for _ in requests]


class Short(Generator):
    def generate_batch(self, requests: Requests, jobs: Jobs) -> Any:
        return ["too few"] * (len(requests) - 1)


def test_what_the_call_raises_is_held_against_all_of_them(shared: Any) -> None:
    with system_of(shared, Raising()) as system:
        handles = paused(system, ["a.py", "b.py"])
        assert [handle.result(WAIT_S).value for handle in handles] == ["well", "well"]
        assert [system.jobs.report(each.id).attempts for each in handles] == [2, 2]


def test_results_that_cannot_be_told_apart_fail_all_of_them_for_good(shared: Any) -> None:
    with system_of(shared, Short()) as system:
        for handle in paused(system, ["a.py", "b.py"]):
            with pytest.raises(JobFailedError, match=r"results for \d jobs"):
                handle.result(WAIT_S)
            assert system.jobs.report(handle.id).attempts == 1


class Waiting(Generator):
    """Gives each job up when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.release, self.stopped = threading.Event(), threading.Event(), threading.Event()

    def generate_batch(self, requests: Requests, jobs: Jobs) -> Any:
        self.began.set()
        answers: list[Any] = [None] * len(jobs)
        while not self.release.wait(0.01):
            for at, job in enumerate(jobs):
                if job.should_stop() and answers[at] is None:
                    answers[at] = TerminalError("stopped")
                    self.stopped.set()
        return [answer or "well" for answer in answers]


def test_one_job_of_a_batch_is_cancelled_and_the_others_go_on(shared: Any) -> None:
    generator = Waiting()
    with system_of(shared, generator) as system:
        stays, goes = paused(system, ["stays.py", "goes.py"])
        assert generator.began.wait(WAIT_S)
        goes.cancel("not needed")
        assert generator.stopped.wait(WAIT_S)
        generator.release.set()
        assert stays.result(WAIT_S).value == "well"
        with pytest.raises((JobCancelledError, JobFailedError)):
            goes.result(WAIT_S)


class Async(Generator):
    async def generate_batch(self, requests: Requests, jobs: Jobs) -> Any:  # type: ignore[override]
        self.batches.append([request.file_path for request in requests])
        return [request.file_path for request in requests]


def test_a_batch_may_be_a_coroutine(shared: Any) -> None:
    generator = Async()
    with system_of(shared, generator) as system:
        handles = paused(system, ["a.py", "b.py", "c.py"])
        assert [handle.result(WAIT_S).value for handle in handles] == ["a.py", "b.py", "c.py"]
    assert max(map(len, generator.batches)) > 1


def test_where_there_are_no_batches_it_gets_one_job_at_a_time(shared: Any) -> None:
    generator = Async()
    with system_of(shared, generator, executor="coroutines") as system:
        handles = paused(system, ["a.py", "b.py"])
        assert [handle.result(WAIT_S).value for handle in handles] == ["a.py", "b.py"]
    assert sorted(generator.batches) == [["a.py"], ["b.py"]]


def test_more_workers_are_more_batches_at_a_time(shared: Any) -> None:
    generator = Waiting()
    with system_of(shared, generator, batch_size=2, batch_wait=0.01) as system:
        system.queue.workers(2)
        handles = [system.submit(f"{number}.py") for number in range(4)]
        until(lambda: system.status()["queue"]["running"] == 4)
        generator.release.set()
        for handle in handles:
            handle.result(WAIT_S)


class Down(Generator):
    def generate_batch(self, requests: Requests, jobs: Jobs) -> Any:
        super().generate_batch(requests, jobs)
        raise ConnectionError("no model")


def test_a_batch_that_fails_is_one_failure_for_the_breaker(shared: Any) -> None:
    generator = Down()
    options = {"workers": 1, "batch_wait": 0.2, "batch_size": 8}
    settings = SlurpSettings(election={"lease_ttl": 3}, jobs=options, breaker={"minimum_calls": 2, "open_base": 60})
    with SlurpLeaderSystem(settings, generator=generator, stores=shared) as system:
        for is_open in (False, True):
            for handle in paused(system, [f"{number}.py" for number in range(8)], max_attempts=1):
                handle.outcome(WAIT_S)
            assert (system.status()["queue"]["hold"] is not None) is is_open
    assert [len(batch) for batch in generator.batches] == [8, 8]


class AsyncDown(Down):
    async def generate_batch(self, requests: Requests, jobs: Jobs) -> Any:
        return Down.generate_batch(self, requests, jobs)


@pytest.mark.parametrize("kind", [Down, AsyncDown])
def test_a_request_that_cannot_be_read_says_so_also_when_the_call_for_the_others_fails(
    shared: Any, kind: type[Down]
) -> None:
    from slurp_leader.jobs.new_job import NewJob

    with system_of(shared, kind()) as system:
        system.queue.pause()
        bad = system._running().client.submit(NewJob({"file_path": 3}, role="general"))
        good = system.submit("good.py", max_attempts=1)
        system.queue.resume()
        for handle, why in ((bad, "file_path"), (good, "no model")):
            with pytest.raises(JobFailedError, match=why):
                handle.result(WAIT_S)


def test_a_request_that_cannot_be_read_fails_alone(shared: Any) -> None:
    from slurp_leader.jobs.new_job import NewJob

    generator = Generator()
    with system_of(shared, generator) as system:
        system.queue.pause()
        bad = system._running().client.submit(NewJob({"file_path": 3}, role="general"))
        good = system.submit("good.py")
        system.queue.resume()
        assert good.result(WAIT_S).value["path"] == "good.py"
        with pytest.raises(JobFailedError, match="file_path"):
            bad.result(WAIT_S)


def test_one_that_takes_something_else_is_refused_when_it_is_set(shared: Any) -> None:
    class Wrong:
        def generate_batch(self, requests: Requests) -> Any:
            return []

    with pytest.raises(ConfigurationError, match="generate_batch"):
        system_of(shared, Wrong())
