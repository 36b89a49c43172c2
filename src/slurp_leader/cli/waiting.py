"""Waiting for jobs: until they end, the time is over, or etcd falls silent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.exits import describe, report
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.progress import progress
from slurp_leader.cli.results import show_result
from slurp_leader.clock import SystemClock
from slurp_leader.errors import (
    JobCancelledError,
    JobFailedError,
    NoLeaderError,
    ResultPendingError,
    SlurpLeaderError,
)

if TYPE_CHECKING:
    from slurp_leader.cli.output import Output
    from slurp_leader.jobs.client import JobHandle
    from slurp_leader.jobs.result import ContextGenerationResult
    from slurp_leader.system import SlurpLeaderSystem

ForOption = Annotated[
    float | None,
    typer.Option(
        "--for", metavar="SECONDS", min=0, help="Wait at most this long for the jobs. (default: until they end)"
    ),
]

_FEW = 5
"""So many ids fit a message."""

_LOOK_S = 2.0
"""How often a waiting command looks whether etcd still answers."""


def wait_and_show(
    call: Invocation,
    system: SlurpLeaderSystem,
    jobs: Mapping[str, str],
    seconds: float | None,
    refused: Sequence[dict[str, Any]] = (),
) -> int:
    """Wait for jobs, show each as it ends, in the order given.

    Args:
        call: How it is shown.
        system: Whom to ask.
        jobs: Job ids, and the path each is about; empty where that is not known.
        seconds: Longest wait; None: until they end.
        refused: What stands in the document for requests that never became jobs.

    Returns:
        0 when all completed; else the exit code of the first that did not.
    """
    output, code = call.output(), 0
    documents = list(refused)
    try:
        if jobs and system.leader.get(_LOOK_S) is None:
            output.say("nobody leads at present; the jobs wait until a node does (`slurp run`)")
        with progress(call, len(jobs)) as bar:
            for job_id, ended in _outcomes(call, system, jobs, seconds):
                documents.append({"path": jobs[job_id], **_as_json(job_id, ended)})
                with bar.aside():
                    said = _show(output, ended)
                code = code or said
                bar.advance()
    except KeyboardInterrupt:
        ids = " ".join(jobs) if len(jobs) <= _FEW else "ID ..."
        output.say(f"waits no more; the jobs go on: `slurp jobs wait {ids}`")
        raise
    if output.as_json:
        output.json({"jobs": documents})
    return code


def _show(output: Output, ended: ContextGenerationResult | SlurpLeaderError) -> int:
    """Show how one job ended. Returns the exit code."""
    if isinstance(ended, SlurpLeaderError):
        return report(ended, as_json=False)
    if not output.as_json:
        show_result(output, ended)
    return 0


def _as_json(job_id: str, ended: ContextGenerationResult | SlurpLeaderError) -> dict[str, Any]:
    if isinstance(ended, SlurpLeaderError):
        return {"id": job_id, **_status(ended), "error": describe(ended)}
    return {"id": job_id, **ended.to_wire()}


def _outcomes(
    call: Invocation, system: SlurpLeaderSystem, job_ids: Iterable[str], seconds: float | None
) -> Iterator[tuple[str, ContextGenerationResult | SlurpLeaderError]]:
    clock = SystemClock()
    deadline = None if seconds is None else clock.boottime() + seconds
    for job_id in job_ids:
        try:
            yield job_id, _wait_for(call, system, system.jobs.get(job_id), seconds, deadline)
        except SlurpLeaderError as error:
            yield job_id, error


def _wait_for(
    call: Invocation, system: SlurpLeaderSystem, handle: JobHandle, seconds: float | None, deadline: float | None
) -> Any:
    """Wait for one job until `deadline`, which is `seconds` after the wait for all of them began.

    Raises:
        StoreError: etcd fell silent for as long as ``--timeout``.
        NoLeaderError: The time is over, and nobody leads.
        JobFailedError and others: As `JobHandle.result`.
    """
    clock = SystemClock()
    while True:
        left = _LOOK_S if deadline is None else max(0.0, min(_LOOK_S, deadline - clock.boottime()))
        try:
            return handle.result(left)
        except ResultPendingError:
            over = deadline is not None and clock.boottime() >= deadline
            if over and system.leader.get(_LOOK_S) is None:
                raise NoLeaderError(f"job {handle.id} was not run: nobody leads", job_id=handle.id) from None
            if over and seconds is not None:  # what was waited last was only a part of it
                text = f"job {handle.id} had not ended after {seconds:g} s"
                raise ResultPendingError(text, job_id=handle.id) from None
        system.ping(call.timeout_s)


def _status(error: SlurpLeaderError) -> dict[str, str]:
    """The status that an error stands for, where it stands for one."""
    if isinstance(error, JobFailedError):
        return {"status": "failed"}
    return {"status": "cancelled"} if isinstance(error, JobCancelledError) else {}
