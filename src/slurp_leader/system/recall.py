"""Answering from the result cache, around the work that calls the generator.

::

    content_hash(request) -> key -> in the cache?  yes: that result, and the generator is not called
                                                   no:  generate -> content_hash once more, the same? -> kept

It is asked twice, since a file may change between the question and the answer: what was made of the new content must
not be kept as that of the old one.

What happens in between is written once, as a generator function that yields what may have to be awaited, and is driven
in two ways: waiting on the thread, or on an event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import repr_of
from slurp_leader.jobs.cache import ResultCache, in_other_processes
from slurp_leader.jobs.context import JobContext
from slurp_leader.jobs.decisions import RunEnd, RunReport
from slurp_leader.jobs.executors.batches import await_here_for
from slurp_leader.jobs.executors.body import BatchWork, Body, await_here, returned
from slurp_leader.jobs.executors.foreign import PoolSource
from slurp_leader.jobs.options import ExecutorName, JobsOptions
from slurp_leader.jobs.records import Spec
from slurp_leader.jobs.request import ContextGenerationRequest
from slurp_leader.system.work import BatchGeneratorWork, GeneratorWork, matched, name_of, read_request, request_or_error
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.jobs")

_FAILURES = (Exception, asyncio.CancelledError)
"""What a call or a wait may end with; the latter, when the run was told to stop."""

Steps = Generator[Any, Any, Any]
"""Yields values or awaitables, takes the value back, and returns the answer."""


def cache_for(
    options: JobsOptions, generator: object, choice: ExecutorName | PoolSource, clock: Clock
) -> ResultCache | None:
    """The cache of a node about to start; None: it has none, since it is off or the generator takes no part in it.

    Raises:
        ConfigurationError: It is on, and the generator is to run in other processes.
    """
    if not options.cache_bytes:
        return None
    if choice == ExecutorName.PROCESSES or isinstance(choice, ProcessPoolExecutor):
        raise in_other_processes()
    if not callable(getattr(generator, "content_hash", None)):
        reason = "it has no content_hash(request), so nothing is kept although jobs.cache_bytes is set"
        log_event(_logger, logging.WARNING, LogEvent.CACHE_UNUSED, generator=name_of(generator), reason=reason)
        return None
    return ResultCache(options.cache_bytes, options.cache_age_s, clock)


def with_cache(body: Body, generator: object, cache: ResultCache) -> Body:
    """The same body, answering from a cache what it can. `generator`: what the body calls; it has a `content_hash`."""
    recall = Recall(generator, cache)
    assert isinstance(body.work, GeneratorWork)
    batch: BatchWork | None = None
    if isinstance(body.batch, BatchGeneratorWork):
        batch = RecallingBatchWork(body.batch, recall)
    return replace(body, work=RecallingWork(body.work, recall), batch=batch)


class Recall:
    """What a generator says its answers depend on, and which of them are there.

    Args:
        generator: Has a `content_hash`, and may have a `version`.
        cache: Where the answers are.
    """

    def __init__(self, generator: Any, cache: ResultCache) -> None:
        self._generator = generator
        self._content_hash: Callable[[ContextGenerationRequest], Any] = generator.content_hash
        self._name = name_of(generator)
        self._cache = cache

    def key(self, request: ContextGenerationRequest) -> bytes | Awaitable[bytes | None] | None:
        """Under what the answer to a request is kept; None: not at all. Maybe to be awaited."""
        try:
            content = self._content_hash(request)
            later = hasattr(content, "__await__")
            return self._key_later(request, content) if later else self._key_of(request, content)
        except Exception as error:  # the generator is called then, and says what is wrong
            self._tell_failed(request, error)
            return None

    def keys(self, requests: Sequence[ContextGenerationRequest]) -> list[bytes | None] | Awaitable[list[bytes | None]]:
        """As `key`, for many."""
        keys = [self.key(request) for request in requests]
        return _gathered(keys) if any(hasattr(key, "__await__") for key in keys) else keys  # type: ignore[return-value]

    def find(self, request: ContextGenerationRequest, key: bytes | None) -> RunReport | None:
        """The answer that is there already; None: the generator has to be called."""
        if key is None or request.force:
            return None
        result = self._cache.get(key)
        return None if result is None else RunReport(RunEnd.RETURNED, result_json=result, cached=True)

    def keep(self, key: bytes, report: RunReport) -> None:
        """Keep what was generated."""
        if report.result_json is not None:
            self._cache.put(key, report.result_json)

    async def _key_later(self, request: ContextGenerationRequest, content: Awaitable[Any]) -> bytes | None:
        try:
            return self._key_of(request, await content)
        except Exception as error:
            self._tell_failed(request, error)
            return None

    def _key_of(self, request: ContextGenerationRequest, content: Any) -> bytes | None:
        if content is None:
            return None
        if not isinstance(content, str):
            self._tell_failed(request, TypeError(f"it gave {type(content).__name__}; a str or None is wanted"))
            return None
        parts = {
            "generator": self._name,
            "version": str(getattr(self._generator, "version", "")),  # read anew: a reloaded model may change it
            "content": content,
            "role": request.role,
            "file_path": request.file_path,
            "ucxl_address": request.ucxl_address,  # as it was written, from which the canonical one follows
            "max_depth": request.max_depth,
            "metadata": request.metadata,
        }
        return hashlib.blake2b(_ENCODER.encode(parts).encode(), digest_size=32).digest()

    def _tell_failed(self, request: ContextGenerationRequest, error: Exception) -> None:
        log_event(
            _logger,
            logging.WARNING,
            LogEvent.CACHE_HASH_FAILED,
            generator=self._name,
            file_path=request.file_path,
            error=repr_of(error),
        )


@dataclass(frozen=True, slots=True)
class RecallingWork:
    """Does one job, unless its answer is there already."""

    work: GeneratorWork
    recall: Recall

    @property
    def is_coroutine(self) -> bool:
        """As without a cache: it decides where the work is done."""
        return self.work.is_coroutine

    def __call__(self, spec: Spec, job: JobContext) -> Any:
        steps = self._steps(read_request(spec), job)
        if self.is_coroutine or _is_on_loop():
            return _driven(steps)
        return _driven_here(steps, lambda awaitable: await_here(awaitable, job))

    def _steps(self, request: ContextGenerationRequest, job: JobContext) -> Steps:
        key = yield self.recall.key(request)
        found = self.recall.find(request, key)
        if found is not None:
            return found
        report = returned((yield self.work.generate(request, job)))
        if key is None or job.should_stop():  # one that was told to stop may have returned what it had by then
            return report
        try:
            after = yield self.recall.key(request)
        except _FAILURES:
            return report  # told to stop now: what it came to counts, and is not kept
        if after == key:
            self.recall.keep(key, report)
        return report


@dataclass(frozen=True, slots=True)
class RecallingBatchWork:
    """Does those of many jobs whose answers are not there yet, in one call."""

    work: BatchGeneratorWork
    recall: Recall

    def __call__(self, specs: Sequence[Spec], jobs: Sequence[JobContext]) -> Any:
        steps = self._steps(specs, jobs)
        if inspect.iscoroutinefunction(self.work.generate_batch):
            return _driven(steps)
        return _driven_here(steps, lambda awaitable: await_here_for(awaitable, jobs))

    def _steps(self, specs: Sequence[Spec], jobs: Sequence[JobContext]) -> Steps:
        answers: list[Any] = [request_or_error(spec) for spec in specs]
        asked = {at: each for at, each in enumerate(answers) if isinstance(each, ContextGenerationRequest)}
        keys = dict(zip(asked, (yield self.recall.keys(list(asked.values()))), strict=True))
        missing = []
        for at, request in asked.items():
            found = self.recall.find(request, keys[at])
            if found is None:
                missing.append(at)
            else:
                answers[at] = found
        if not missing:
            return answers
        try:
            given = yield self.work.generate_batch([asked[at] for at in missing], [jobs[at] for at in missing])
            given = matched(given, len(missing))
        except _FAILURES as error:  # of those that were asked about, and of no other
            given = [error] * len(missing)
        for at, answer in zip(missing, given, strict=True):
            answers[at] = _report_or_error(answer)
        kept = [at for at in missing if keys[at] is not None and not jobs[at].should_stop()]
        try:
            after = yield self.recall.keys([asked[at] for at in kept])
        except _FAILURES:
            return answers
        for at, key in zip(kept, after, strict=True):
            if key is not None and key == keys[at] and isinstance(answers[at], RunReport):
                self.recall.keep(key, answers[at])
        return answers


def _report_or_error(answer: Any) -> Any:
    """What one answer of a batch means; an error is that one's, whether it was given or is what the answer is worth."""
    if isinstance(answer, BaseException):
        return answer
    try:
        return returned(answer)
    except BaseException as error:
        return error


# ---------------------------------------------------------------- steps


class _Walk:
    """Goes through steps, and knows where it stands.

    Args:
        steps: What to go through. An error given to `fail` is raised inside them: they say what it means.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._resume: Callable[[], Any] = partial(steps.send, None)
        self.value: Any = None
        """What the step yielded; at the end, what was returned."""

    def goes_on(self) -> bool:
        """Do the next step; False: that was the last."""
        try:
            self.value = self._resume()
        except StopIteration as end:
            self.value = end.value
            return False
        return True

    def answer(self, value: Any) -> None:
        """What the step gets back."""
        self._resume = partial(self._steps.send, value)

    def fail(self, error: BaseException) -> None:
        """What it could not be given an answer for."""
        self._resume = partial(self._steps.throw, error)


def _driven_here(steps: Steps, wait: Callable[[Awaitable[Any]], Any]) -> Any:
    """Do them on this thread."""
    walk = _Walk(steps)
    while walk.goes_on():
        try:
            walk.answer(wait(walk.value) if hasattr(walk.value, "__await__") else walk.value)
        except BaseException as error:
            walk.fail(error)
    return walk.value


async def _driven(steps: Steps) -> Any:
    """Do them on an event loop."""
    walk = _Walk(steps)
    while walk.goes_on():
        try:
            walk.answer(await walk.value if hasattr(walk.value, "__await__") else walk.value)
        except BaseException as error:
            walk.fail(error)
    return walk.value


async def _gathered(keys: Sequence[Any]) -> list[bytes | None]:
    """All at once: what a hash waits for may be far away."""
    later = [at for at, key in enumerate(keys) if hasattr(key, "__await__")]
    known = list(keys)
    for at, key in zip(later, await asyncio.gather(*(keys[at] for at in later)), strict=True):
        known[at] = key
    return known


def _is_on_loop() -> bool:
    """Whether an event loop runs on this thread, which must not be waited on."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
