"""What does the work of a job: which shapes of generator are taken, and the checks when one is set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from slurp_leader.errors import ConfigurationError, RecordError, TerminalError
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


GeneratorLike = GenerateFunction | Generates
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
        try:
            request = ContextGenerationRequest.from_wire(spec.payload)
        except RecordError as error:
            raise TerminalError(f"the request cannot be read: {error}", code="request_invalid") from error
        return self.generate(request, job)


def body_of(generator: object, retry_on: ErrorTypes | None, no_retry_on: ErrorTypes) -> Body:
    """The body that calls a generator.

    Raises:
        ConfigurationError: It cannot be called with a request and a job, or an error to retry on is no type of error.
    """
    retries = Retries(
        None if retry_on is None else _types("retry_on", retry_on), _types("no_retry_on", no_retry_on)
    )  # fmt: skip
    return Body(GeneratorWork(function_of(generator)), retries)


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
    function: GenerateFunction = found
    try:
        signature = inspect.signature(function)
    except ValueError:
        return function  # some of those written in C do not tell
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise ConfigurationError(f"a generator is called with request and job; {generator!r}: {error}") from None
    return function


def _types(field: str, given: ErrorTypes) -> tuple[type[BaseException], ...]:
    types = given if isinstance(given, tuple) else (given,)
    for each in types:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise ConfigurationError(f"{field}: {each!r:.100} is no type of error", field=field)
    return types
