"""What a worker process and its parent say to each other: pickled values over a socket pair of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slurp_leader.jobs.context import RunFacts, Told
from slurp_leader.jobs.decisions import RunReport
from slurp_leader.jobs.records import Spec
from slurp_leader.jobs.use import Use

# ---------------------------------------------------------------- to the worker


@dataclass(frozen=True, slots=True)
class Prepare:
    """First: what `multiprocessing` knows of the parent (path, main module), and the body, pickled."""

    parent: dict[str, Any]
    body: bytes


@dataclass(frozen=True, slots=True)
class Do:
    """Do this. Only when nothing else is being done."""

    facts: RunFacts
    spec: Spec
    log_level: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The run has to come to its end."""

    run_id: int
    reason: str


# ---------------------------------------------------------------- from the worker


@dataclass(frozen=True, slots=True)
class Ready:
    """The body is loaded."""


@dataclass(frozen=True, slots=True)
class Unloadable:
    """The body cannot be loaded there. The worker ends."""

    why: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The body begins: from here on, the end of the worker is held against the run."""

    run_id: int


@dataclass(frozen=True, slots=True)
class Done:
    """What the run came to. The worker can do the next."""

    run_id: int
    report: RunReport
    use: Use


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry that `JobContext.log` was given."""

    record: Any


FromWorker = Ready | Unloadable | Begun | Done | Logged | Told
