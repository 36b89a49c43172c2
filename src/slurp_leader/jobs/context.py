"""What a body is handed of the run it is: who it is, whether it has to stop, and what it may tell and ask."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.errors import CheckpointInvalidError, JobInterrupted
from slurp_leader.forks import free_in_child
from slurp_leader.jobs.decisions import clean_text
from slurp_leader.jobs.messages import RunCheckpoint, RunExtended, RunProgress
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.jobs")

CHECKPOINT_LIMIT = 64 * 1024
"""Bytes of a checkpoint, as JSON text."""

Told = RunProgress | RunExtended | RunCheckpoint
"""What a body tells about its run."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run before its body begins. A plain value: it goes to other processes."""

    run_id: int
    job_id: str
    attempt: int
    run: int
    epoch: int
    token: int
    timeout_s: float
    longest_extension_s: float = 0.0
    restored: bytes | None = None


class JobContext:
    """What a running job knows and may ask. Safe to use from any thread.

    Sent to another process or machine it becomes one that is alone there: it knows as much, stops when its time is up,
    and can reach nobody (`ContextElsewhere`).

    Attributes:
        id: The job's id, in any process.
        attempt: 1 for the first attempt.
        run: Counts all runs, interrupted ones too.
        epoch: The leader's epoch, for people.
        token: Fencing token: grows with every run of this job. Hand it to outside stores, to be kept per job or thing.
    """

    def __init__(
        self,
        facts: RunFacts,
        clock: Clock,
        tell: Callable[[Told], None],
        term: Term | None = None,
        until: float = math.inf,
    ) -> None:
        self.id = facts.job_id
        self.attempt = facts.attempt
        self.run = facts.run
        self.epoch = facts.epoch
        self.token = facts.token
        self._facts = facts
        self._term = term
        self._clock = clock
        self._tell = tell
        self._until = until  # the deadline of the job, on our clock
        self._began = clock.boottime()
        self._stop = free_in_child(threading.Event())
        self._reason = ""
        self._on_stop: Callable[[], None] | None = None
        self._lock = free_in_child(threading.Lock())  # guards _extended_s
        self._extended_s = 0.0

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry job id and attempt."""
        return logging.LoggerAdapter(_logger, {"slurp": {"job_id": self.id, "attempt": self.attempt}})

    # ------------------------------------------------------------ time

    @property
    def remaining_s(self) -> float:
        """Seconds left of the time this run may take."""
        ends_at = min(self._began + self._facts.timeout_s + self._extended_s, self._until)
        return max(0.0, ends_at - self._clock.boottime())

    @property
    def deadline(self) -> datetime:
        """The calendar date at which the time of this run is up, by this machine's clock."""
        return self._clock.utcnow() + timedelta(seconds=self.remaining_s)

    def extend(self, seconds: float | timedelta) -> float:
        """Give this run so many seconds more, up to ``jobs.max_extension`` in all. The next attempt starts anew with
        the time of the job.

        Returns:
            Seconds that were added; less than asked for, or 0, when no more is allowed, when the run was told to stop
            already, and where nobody can be told (an executor in another process that is not this library's).

        Raises:
            ValueError: Not a number of seconds, 0 or more.
        """
        wanted_s = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        if not (math.isfinite(wanted_s) and wanted_s >= 0):
            raise ValueError(f"a run is extended by seconds, 0 or more; not by {seconds!r}")
        with self._lock:
            if self._stop.is_set():
                return 0.0
            added_s = min(wanted_s, self._facts.longest_extension_s - self._extended_s)
            self._extended_s += added_s
        if added_s > 0:
            self._tell(RunExtended(self._facts.run_id, added_s))
        return added_s

    # ------------------------------------------------------------ stopping

    def should_stop(self) -> bool:
        """Whether this run has to come to its end: cancelled, out of time, or its term is over."""
        return self._stop.is_set() or (self._term is not None and not self._term.may_go_on)

    def check(self) -> None:
        """Raise if this run has to come to its end. Call it between steps.

        Raises:
            JobInterrupted: Stop now; let it pass through.
        """
        if self.should_stop():
            reason = self._reason or "term_lost"
            raise JobInterrupted(f"the run was stopped: {reason}", reason=reason)

    def wait(self, seconds: float) -> bool:
        """Wait, at most this long, for the word to stop. Returns `should_stop()`. Not in a coroutine: it holds up the
        loop, and there the word to stop cancels what is awaited."""
        self._stop.wait(seconds)
        return self.should_stop()

    # ------------------------------------------------------------ how far it is

    def progress(self, fraction: float, note: str = "") -> None:
        """Tell how far the run is, 0 to 1. Cheap; written at most once a second."""
        share = min(1.0, max(0.0, float(fraction)))
        self._tell(RunProgress(self._facts.run_id, share, clean_text(note[:500])))

    def checkpoint(self, data: Any) -> None:
        """Keep this for the next run of the job: it finds it in `restored`, on whichever leader, whether this run fails
        or is interrupted. It replaces the one before, and goes with the outcome.

        Cheap: it does not wait. Written at once, then at most once a second, and less often the larger it is; what was
        not written yet when the run ends is written with its end. So a crash of the leader costs the last second or
        so (four for the largest). A body that wants to know what is *done* keeps that in the store it works on.

        Args:
            data: Any JSON value, up to 64 KiB as text.

        Raises:
            CheckpointInvalidError: No JSON value, or larger. The one before stands.
        """
        try:
            text = as_json(data)
        except (TypeError, ValueError, RecursionError) as error:
            raise CheckpointInvalidError(f"a checkpoint is a JSON value: {error}", job_id=self.id) from error
        if len(text) > CHECKPOINT_LIMIT:
            message = (
                f"a checkpoint takes at most {CHECKPOINT_LIMIT} bytes, not {len(text)}: keep what is large elsewhere"
            )
            raise CheckpointInvalidError(message, job_id=self.id)
        self._tell(RunCheckpoint(self._facts.run_id, text))

    @property
    def restored(self) -> Any:
        """The newest checkpoint of the runs before this one; None when there is none."""
        return None if self._facts.restored is None else from_json(self._facts.restored)

    # ------------------------------------------------------------ for executors

    def _may_begin(self) -> bool:
        """Whether user code of the term may begin (I3). Where the term is not known, who sent the run has asked."""
        return self._term is None or self._term.may_begin

    def _is_late(self) -> bool:
        """Whether the deadline of the job is past."""
        return self._clock.boottime() >= self._until

    def _begin(self) -> None:
        """The body begins now: what is left of its time counts from here, in other processes too."""
        self._began = self._clock.boottime()
        left_s = max(0.0, self._until - self._began)
        if left_s < self._facts.timeout_s:
            self._facts = replace(self._facts, timeout_s=left_s)

    def _lasted_s(self) -> float:
        return self._clock.boottime() - self._began

    def _tell_to_stop(self, reason: str) -> None:
        self._reason = reason
        self._stop.set()
        if self._on_stop is not None:
            self._on_stop()

    def __reduce__(self) -> tuple[Any, ...]:
        return ContextElsewhere, (self._facts,)


class ContextElsewhere(JobContext):
    """A context without anybody to tell or to be told by."""

    def __init__(self, facts: RunFacts) -> None:
        alone = RunFacts(
            facts.run_id, facts.job_id, facts.attempt, facts.run, facts.epoch, facts.token, facts.timeout_s,
            restored=facts.restored,
        )  # fmt: skip
        super().__init__(alone, SystemClock(), self._keep)
        self.newest: RunCheckpoint | None = None

    def _keep(self, told: Told) -> None:
        if isinstance(told, RunCheckpoint):
            self.newest = told

    def should_stop(self) -> bool:
        """Whether the time of this run is up."""
        return self.remaining_s <= 0

    def check(self) -> None:
        """Raise if the time of this run is up.

        Raises:
            JobInterrupted: Stop now; let it pass through.
        """
        if self.should_stop():
            raise JobInterrupted("the run was stopped: timeout", reason="timeout")

    def wait(self, seconds: float) -> bool:
        """Wait, at most this long, and not beyond the time of this run. Returns `should_stop()`."""
        self._stop.wait(min(seconds, self.remaining_s))
        return self.should_stop()


_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def as_json(value: Any) -> bytes:
    """A value as JSON text that can be read again: readers go less deep than writers.

    Raises:
        TypeError, ValueError, RecursionError: It is no JSON value.
    """
    text = _ENCODER.encode(value).encode()
    from_json(b'{"value":%s}' % text)
    return text
