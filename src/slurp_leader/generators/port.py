"""The Protocols: what a generator is, and what it may ask of the job that runs it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from slurp_leader.jobs.request import ContextGenerationRequest


class JobContextLike(Protocol):
    """The running job, as a generator sees it. `slurp_leader.jobs` passes its `JobContext`."""

    @property
    def id(self) -> str:
        """The job id."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first run."""
        ...

    @property
    def token(self) -> int:
        """The fencing token of this run. Hand it to every outside store that is written to."""
        ...

    @property
    def deadline(self) -> datetime | None:
        """When this run will be cancelled; None when never."""
        ...

    @property
    def log(self) -> logging.Logger | logging.LoggerAdapter[Any]:
        """A logger whose records carry the job's fields."""
        ...

    def check(self) -> None:
        """Return at once, or raise `JobInterrupted` when the run has to stop. Call it between steps."""
        ...

    def should_stop(self) -> bool:
        """Whether `check` would raise."""
        ...

    def progress(self, fraction: float, note: str = "") -> None:
        """Tell how far the run is, 0 to 1, for people."""
        ...

    def extend(self, seconds: float) -> float:
        """Take so many seconds more. Returns how many were granted."""
        ...

    def checkpoint(self, data: Any) -> None:
        """Keep a JSON value of up to 64 KiB for the next run of this job."""
        ...

    @property
    def restored(self) -> Any:
        """What the runs before this one kept last; None when there is nothing."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Turns a request into context.

    A generator may have an attribute ``version``, a string that changes when the same input gives other output.

    It may have a method ``content_hash(request) -> str | None`` (or an ``async def``), and then takes part in the
    result cache (``jobs.cache_bytes``). Of requests with the same hash, role, path, address, ``max_depth`` and metadata
    only the first is generated; the others are given the same result. So the hash has to cover all else that the
    answer depends on: the bytes of the file, those of other files that are read, what stands in a database; not the
    job, which is another one each time. It is called before `generate` and once more after it, where that runs, so it
    should be much cheaper. None: this request is generated, and not kept; so it is when ``content_hash`` raises, which
    is logged. A request with ``force`` is generated, and kept.
    """

    def generate(self, request: ContextGenerationRequest, job: JobContextLike) -> Any | Awaitable[Any]:
        """Do the work of one job.

        Args:
            request: What was asked for.
            job: The run. Call `job.check()` between steps.

        Returns:
            A context node, any JSON value, or an object with ``to_wire()``; or an awaitable of one.

        Raises:
            TerminalError: Trying again cannot help.
            RetryAfterError: Try again, later.
        """
        ...
