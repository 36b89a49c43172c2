"""What goes in and out of the periodic machine. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from slurp_leader.periodic.schedule import Schedule
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Term


@dataclass(frozen=True, slots=True)
class Work:
    """Something that the leader does now and then.

    Attributes:
        name: Of the work, unique in its election: the last run is kept under it.
        schedule: When it is due.
        grace_s: A run that is later than this is skipped.
    """

    name: str
    schedule: Schedule
    grace_s: float


class RunOutcome(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """Its term was over: it was cancelled, or noticed by itself."""


class SkipReason(StrEnum):
    """Why a due time passed without a run."""

    LATE = "late"
    """Longer ago than its grace."""
    RUNNING = "running"
    """The run before it was still under way."""
    LOST = "lost"
    """The term ended between the claim and the start."""


# ---------------------------------------------------------------- the owner to the machine


@dataclass(frozen=True, slots=True)
class Lead:
    """A term began, or goes on after a pause."""

    term: Term


@dataclass(frozen=True, slots=True)
class Pause:
    """The term with this token cannot be proven at present: begin nothing."""

    token: int


@dataclass(frozen=True, slots=True)
class HandBack:
    """The term with this token will be given back: begin nothing, and say `Drained` when all has ended."""

    token: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The term with this token is about to be handed over: begin nothing, and say `Settled` when nothing is under way.
    It may come before the term's `Lead`."""

    token: int


@dataclass(frozen=True, slots=True)
class GoOn:
    """The term with this token was not handed over: begin again what is due."""

    token: int


@dataclass(frozen=True, slots=True)
class Lose:
    """The term with this token is over."""

    token: int


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has ended.

    Attributes:
        outcome: What it came to; None: the function was not called, as its term was not valid any more.
    """

    run_id: int
    outcome: RunOutcome | None
    duration_s: float


# ---------------------------------------------------------------- the machine to the owner


@dataclass(frozen=True, slots=True)
class Begin:
    """Run the work now."""

    run_id: int
    name: str
    due: datetime
    term: Term


@dataclass(frozen=True, slots=True)
class Cancel:
    """The term of this run is over: cancel it where that can be done."""

    run_id: int


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing of the term with this token runs any more, and nothing will."""

    token: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing of the term with this token is under way, and nothing begins before `GoOn`."""

    token: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Count a run."""

    name: str
    outcome: RunOutcome
    duration_s: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """Count a due time without a run, and say so."""

    name: str
    reason: SkipReason
    due: datetime
    late_s: float


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a log entry."""

    level: int
    event: LogEvent
    fields: dict[str, object]
