"""The samples, and a job to run them in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from slurp_leader.errors import JobInterrupted

SAMPLES = Path(__file__).parents[2] / "examples" / "workspace"
Write = Callable[[str, str | bytes], Path]
Git = Callable[..., str]


class RunningJob:
    """A job that goes on until its checks are used up."""

    id = "job-1"
    attempt = 1
    token = 7
    deadline: datetime | None = None
    log = logging.getLogger("slurp_leader.tests")

    def __init__(self, checks: int = 1_000) -> None:
        self.checks = checks
        self.notes: list[tuple[float, str]] = []

    def check(self) -> None:
        self.checks -= 1
        if self.should_stop():
            raise JobInterrupted(reason="cancelled")

    def should_stop(self) -> bool:
        return self.checks < 0

    def progress(self, fraction: float, note: str = "") -> None:
        self.notes.append((fraction, note))
