"""From the record of how a job ended to the result a caller gets."""

from __future__ import annotations

from datetime import datetime

from slurp_leader.jobs.records import JobOutcome
from slurp_leader.jobs.result import ContextGenerationResult, ResultError


def result_of(outcome: JobOutcome) -> ContextGenerationResult:
    """An outcome as the result of a context generation."""
    started = None if outcome.started_at is None else datetime.fromisoformat(outcome.started_at)
    finished = datetime.fromisoformat(outcome.finished_at)
    error = outcome.error
    return ContextGenerationResult.of(
        outcome.result,
        job_id=outcome.job_id,
        status=outcome.status.value,
        generated_by=outcome.node_id,
        token=outcome.token,
        epoch=outcome.epoch,
        cached=outcome.cached,
        started_at=started,
        finished_at=finished,
        duration_s=max(0.0, (finished - started).total_seconds()) if started else 0.0,
        error=ResultError(code=str(error.get("code", "error")), message=str(error.get("message", "")))
        if error
        else None,
    )
