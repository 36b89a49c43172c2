"""One run of a job under this term, from its claim until what it came to is written down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slurp_leader.jobs.picture import Job, StateView
from slurp_leader.jobs.use import Use
from slurp_leader.machine.calls import NEVER
from slurp_leader.resilience.circuit import Permit


class Phase(StrEnum):
    """Where a run stands."""

    HELD = "held"
    """Claimed, not started: waits until the term can be proved again."""
    GIVEN = "given"
    """Handed to the pool."""
    ENDING = "ending"
    """What it came to is being written down."""


@dataclass(slots=True, eq=False)
class Run:
    """A run, as the scheduler sees it.

    Attributes:
        before: The state of the job when it was claimed.
        number: Of the run, counted over the life of the job.
        claim_key, claim_revision: Of its claim. The revision is the fencing token of user code.
        permit: Of the circuit breaker.
        claimed_at, ready_at: When it was claimed, and since when it could have been.
        stop_reason: Set once it was told to stop.
        record_at: When it is told to stop; of one that was told, when its end is recorded even if the worker has not
            come back.
        started_at: Date at which its body began.
        call: Of the generator, where that does several runs at once; 0: one of its own.
        progress_at: When progress was written last.
        extended_s: By how much it has prolonged itself.
        is_recalled: Whether it is known what earlier runs have left.
        recalling: It is being read.
        restored: What they have left.
        checkpoint: Its own newest, as long as that is not written.
        checkpoint_due: From when on one may be written.
        use: What it has taken, once it has ended.
    """

    run_id: int
    job: Job
    before: StateView
    number: int
    claim_key: bytes
    claim_revision: int
    permit: Permit
    claimed_at: float
    ready_at: float
    phase: Phase = Phase.HELD
    stop_reason: str | None = None
    record_at: float = NEVER
    started_at: str | None = None
    call: int = 0
    progress_at: float = -NEVER
    extended_s: float = 0.0
    is_recalled: bool = False
    recalling: bool = False
    restored: bytes | None = None
    checkpoint: bytes | None = None
    checkpoint_due: float = -NEVER
    use: Use | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the pool has it, has not begun it, and was not told to stop it."""
        return self.phase is Phase.GIVEN and self.started_at is None and self.stop_reason is None

    @property
    def has_progress(self) -> bool:
        """Whether a progress record was written, or asked for."""
        return self.progress_at != -NEVER

    @property
    def has_checkpoint(self) -> bool:
        """Whether one was written, or asked for."""
        return self.checkpoint is not None or self.checkpoint_due != -NEVER

    @property
    def timeout_s(self) -> float:
        """How long it may take."""
        return self.job.spec.limits.timeout_s + self.extended_s
