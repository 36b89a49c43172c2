"""What goes into the scheduler and what comes out: events and commands, values all of them.

Beside these it takes what a `Follower` delivers (`Snapshot`, `Changes`, `Progress`), `Answer` and `Tick`, and gives
`Call`, and `CircuitChange` when the breaker of the generator opens or closes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slurp_leader.jobs.admission import QueueLevel
from slurp_leader.jobs.decisions import RunReport
from slurp_leader.jobs.picture import Job
from slurp_leader.jobs.records import JobOutcome
from slurp_leader.jobs.use import Use
from slurp_leader.payloads.collection import Collection
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Lent, Term

# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Lead:
    """Event: this node has a term, or may act on it again after a `Pause`."""

    term: Term


@dataclass(frozen=True, slots=True)
class Pause:
    """Event: the term cannot be proved at present. Start nothing."""

    token: int


@dataclass(frozen=True, slots=True)
class HandBack:
    """Event: the term will be given back. Start nothing, finish what runs, say `HandedBack`."""

    token: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Event: the term is over."""

    token: int


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Event: the term was handed over. Claim nothing more; what was claimed is ended under the grant `lent`. Says
    `HandedBack` when that is done."""

    token: int
    lent: Lent


@dataclass(frozen=True, slots=True)
class WindDown:
    """Event: this node is stopping. What is ended under grants has the drain timeout left."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Event: the body of a run begins now. `call`: which call of the generator does it, where one does several runs; 0:
    one of its own."""

    run_id: int
    call: int = 0


@dataclass(frozen=True, slots=True)
class RunEnded:
    """Event: a worker is done with a run. `report` is None when the run was never started (its term was not valid).
    `duration_s` is 0 when its body has not begun. `use`: what it has taken; None: that is not known."""

    run_id: int
    report: RunReport | None
    duration_s: float = 0.0
    use: Use | None = None


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Event: how far a run is, 0 to 1."""

    run_id: int
    fraction: float
    note: str


@dataclass(frozen=True, slots=True)
class RunExtended:
    """Event: a run has given itself more time."""

    run_id: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunCheckpoint:
    """Event: what the next run of the job is to find, as JSON text."""

    run_id: int
    data: bytes


OfRun = RunStarted | RunEnded | RunProgress | RunExtended | RunCheckpoint
"""Events about one run."""


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """Event: there is a worker more than before, and free."""


# ---------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class StartRun:
    """Command: run this job. `fencing_token`: revision of the claim; it grows with every run of the same job.
    `restored`: the newest checkpoint of the runs before, as JSON text."""

    run_id: int
    job: Job
    run: int
    attempt: int
    fencing_token: int
    term: Term
    restored: bytes | None = None


@dataclass(frozen=True, slots=True)
class StopRun:
    """Command: tell this run to stop, and why: ``cancelled``, ``timeout``, ``shutdown``, ``term_lost``;
    before it has begun also ``deadline``, or ``not_begun``: no worker is left to begin it."""

    run_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Command: so many workers from now on. Fewer: those that are busy finish what they run."""

    workers: int


@dataclass(frozen=True, slots=True)
class HandedBack:
    """Command: nothing of the term is under way any more; it may be released."""

    token: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Command: an outcome was recorded."""

    outcome: JobOutcome
    role: str
    wait_s: float
    run_s: float


@dataclass(frozen=True, slots=True)
class CollectPayloads:
    """Command: delete the payloads of one shard that no outcome refers to, if there is a payload store."""

    collection: Collection


@dataclass(frozen=True, slots=True)
class LevelChanged:
    """Command: the queue is as full as this now. `fill`: the used share of its limits; `size` in bytes."""

    level: QueueLevel
    jobs: int
    size: int
    fill: float


@dataclass(frozen=True, slots=True)
class TakeStock:
    """Command: a moment to measure. Comes every few seconds of a term, so that figures do not grow stale."""


@dataclass(frozen=True, slots=True)
class Note:
    """Command: something worth a log entry."""

    level: int
    event: LogEvent
    fields: dict[str, Any]


@dataclass(slots=True)
class Tally:
    """What happened since it was last taken; the shell turns it into metrics."""

    retried: int = 0
    interrupted: int = 0
