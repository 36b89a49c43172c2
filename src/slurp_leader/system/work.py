"""What does the work of a job: which shapes of generator are taken, and the checks when one is set."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from slurp_leader.errors import ConfigurationError, RecordError, RequestInvalidError, TerminalError
from slurp_leader.jobs.context import JobContext
from slurp_leader.jobs.executors.body import Body, Retries, is_coroutine
from slurp_leader.jobs.executors.choice import ExecutorChoice
from slurp_leader.jobs.options import ExecutorName
from slurp_leader.jobs.records import Spec
from slurp_leader.jobs.request import ContextGenerationRequest

GenerateFunction = Callable[[ContextGenerationRequest, JobContext], Any]
"""Takes request and job; returns a context node, any JSON value, or an awaitable of one."""

ErrorTypes = type[BaseException] | tuple[type[BaseException], ...]


class Generates(Protocol):
    """An object that does the work; see `slurp_leader.Generator`."""

    def generate(self, request: ContextGenerationRequest, job: JobContext, /) -> Any:
        """Do the work of one job."""
        ...


class GeneratesBatches(Protocol):
    """An object that does many jobs in one call."""

    def generate_batch(self, requests: Sequence[ContextGenerationRequest], jobs: Sequence[JobContext], /) -> Any:
        """Do these jobs. For each, in order, its result, or an exception if it failed; or an awaitable of that."""
        ...


GeneratorLike = GenerateFunction | Generates | GeneratesBatches
GeneratorT = TypeVar("GeneratorT", bound=GeneratorLike)


@dataclass(frozen=True, slots=True)
class GeneratorWork:
    """Calls a generator with the request in a job's spec. It can be sent to where the generator can."""

    generate: GenerateFunction

    @property
    def is_coroutine(self) -> bool:
        """Whether the generator is an ``async def``."""
        return is_coroutine(self.generate)

    def __call__(self, spec: Spec, job: JobContext) -> Any:
        return self.generate(read_request(spec), job)


@dataclass(frozen=True, slots=True)
class BatchGeneratorWork:
    """Calls a generator with the requests in many jobs' specs. What cannot be read fails alone."""

    generate_batch: Callable[[Sequence[ContextGenerationRequest], Sequence[JobContext]], Any]

    def __call__(self, specs: Sequence[Spec], jobs: Sequence[JobContext]) -> Any:
        read = [request_or_error(spec) for spec in specs]
        good = [at for at, each in enumerate(read) if isinstance(each, ContextGenerationRequest)]
        if not good:
            return read
        requests = [each for each in read if isinstance(each, ContextGenerationRequest)]
        try:
            answers = self.generate_batch(requests, [jobs[at] for at in good])
        except Exception as error:
            return _failed(error, read, good)
        return _later(answers, read, good) if hasattr(answers, "__await__") else _merged(answers, read, good)


async def _later(answers: Awaitable[Any], read: list[Any], good: list[int]) -> list[Any]:
    try:
        return _merged(await answers, read, good)
    except (Exception, asyncio.CancelledError) as error:
        return _failed(error, read, good)


def _merged(answers: Any, read: list[Any], good: list[int]) -> list[Any]:
    """The answers in their places, between the errors of those that were not asked about."""
    try:
        given = matched(answers, len(good))
    except Exception as error:
        return _failed(error, read, good)
    merged = list(read)
    for at, answer in zip(good, given, strict=True):
        merged[at] = answer
    return merged


def _failed(error: BaseException, read: list[Any], good: list[int]) -> list[Any]:
    """The call failed for those that were asked about; what is wrong with the others stays what it was."""
    return [error if at in good else each for at, each in enumerate(read)]


def matched(answers: Any, count: int) -> list[Any]:
    """The answers of a batch of so many.

    Raises:
        TerminalError: They are more or fewer, so that nobody knows whose they are.
    """
    given = list(answers)
    if len(given) != count:
        raise TerminalError(f"generate_batch gave {len(given)} results for {count} jobs", code="batch_mismatch")
    return given


def read_request(spec: Spec) -> ContextGenerationRequest:
    """The request in a job's spec.

    Raises:
        RequestInvalidError: A field is wrong.
        TerminalError: It cannot be read at all.
    """
    try:
        return ContextGenerationRequest.from_wire(spec.payload)
    except RecordError as error:
        raise TerminalError(f"the request cannot be read: {error}", code="request_invalid") from error


def request_or_error(spec: Spec) -> ContextGenerationRequest | Exception:
    """The request in a job's spec, or what is wrong with it."""
    try:
        return read_request(spec)
    except (RequestInvalidError, TerminalError) as error:
        return error


def name_of(generator: object) -> str:
    """The qualified name of a function, or of the class of an object."""
    named = generator if hasattr(generator, "__qualname__") else type(generator)
    return f"{named.__module__}.{named.__qualname__}"


def _version_of(generator: object) -> str:
    """Its ``version``; empty where there is none, or none can be told yet."""
    try:
        return str(getattr(generator, "version", ""))
    except Exception:
        return ""


def body_of(generator: object, retry_on: ErrorTypes | None, no_retry_on: ErrorTypes) -> Body:
    """The body that calls a generator.

    Raises:
        ConfigurationError: It cannot be called with a request and a job, or an error to retry on is no type of error.
    """
    retries = Retries(
        None if retry_on is None else _types("retry_on", retry_on), _types("no_retry_on", no_retry_on)
    )  # fmt: skip
    name, version = name_of(generator), _version_of(generator)
    batch = getattr(generator, "generate_batch", None)
    if not callable(batch):
        return Body(GeneratorWork(function_of(generator)), retries, None, name, version)
    _check_call("generate_batch(requests, jobs)", batch)
    one = function_of(generator) if hasattr(generator, "generate") else OneOfBatch(batch)
    return Body(GeneratorWork(one), retries, BatchGeneratorWork(batch), name, version)


def refuse_local(choice: ExecutorChoice | None, generator: object) -> None:
    """See early that a generator which is to run in worker processes can be found there by its name. All else about it
    is seen at the start: while a decorator runs, the name does not stand for anything yet.

    Raises:
        ConfigurationError: It is a lambda, or defined within a function.
    """
    name = str(getattr(generator, "__qualname__", ""))
    if choice == ExecutorName.PROCESSES and ("<locals>" in name or "<lambda>" in name):
        raise ConfigurationError(
            f"the generator {name} cannot be found by name in another process: define it at the top of a module",
            field="generator",
        )


def function_of(generator: object) -> GenerateFunction:
    """The function of a generator: itself, or its method ``generate``.

    Raises:
        ConfigurationError: It cannot be called with a request and a job.
    """
    found = getattr(generator, "generate", generator)
    if not callable(found):
        raise ConfigurationError(f"a generator is a function or has a method `generate`; {generator!r} is neither")
    _check_call("a generator is called with request and job", found)
    function: GenerateFunction = found
    return function


@dataclass(frozen=True, slots=True)
class OneOfBatch:
    """Where there are no batches, as in worker processes: a generator of batches, with one job at a time."""

    generate_batch: Callable[[Sequence[ContextGenerationRequest], Sequence[JobContext]], Any]

    def __call__(self, request: ContextGenerationRequest, job: JobContext) -> Any:
        answers = self.generate_batch([request], [job])
        return _only_later(answers) if hasattr(answers, "__await__") else _only(answers)


async def _only_later(answers: Awaitable[Any]) -> Any:
    return _only(await answers)


def _only(answers: Any) -> Any:
    (answer,) = answers
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _check_call(what: str, function: Callable[..., Any]) -> None:
    """See that it takes two arguments.

    Raises:
        ConfigurationError: It does not.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # some of those written in C do not tell
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise ConfigurationError(f"{what}; {function!r}: {error}") from None


def _types(field: str, given: ErrorTypes) -> tuple[type[BaseException], ...]:
    types = given if isinstance(given, tuple) else (given,)
    for each in types:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ConfigurationError(f"{field}: {each!r:.100} is no type of error", field=field)
    return types
