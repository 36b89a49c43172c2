"""What does the work of a job: which shapes of generator are taken, and the check when one is set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from slurp_leader.errors import ConfigurationError
from slurp_leader.jobs.request import ContextGenerationRequest
from slurp_leader.jobs.runner import JobContext

GenerateFunction = Callable[[ContextGenerationRequest, JobContext], Any]
"""Takes request and job; returns a context node, any JSON value, or an awaitable of one."""


class Generates(Protocol):
    """An object that does the work; see `slurp_leader.Generator`."""

    def generate(self, request: ContextGenerationRequest, job: JobContext, /) -> Any:
        """Do the work of one job."""
        ...


GeneratorLike = GenerateFunction | Generates
GeneratorT = TypeVar("GeneratorT", bound=GeneratorLike)


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
