"""Waiting for jobs: until they end, the time is over, or etcd falls silent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.exits import Exit, answer_to, describe, report
from slurp_leader.cli.options import Invocation
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
    from slurp_leader.jobs.client import JobHandle
    from slurp_leader.system import SlurpLeaderSystem

ForOption = Annotated[
    float | None,
    typer.Option(
        "--for", metavar="SECONDS", min=0, help="Wait at most this long for the jobs. (default: until they end)"
    ),
]

_LOOK_S = 2.0
"""How often a waiting command looks whether etcd still answers."""


def wait_and_show(call: Invocation, system: SlurpLeaderSystem, job_ids: Sequence[str], seconds: float | None) -> int:
    """Wait for jobs, show each as it ends, in the order given.

    Returns:
        0 when all completed; else the exit code of the first that did not.
    """
    try:
        return _wait_and_show(call, system, job_ids, seconds)
    except KeyboardInterrupt:
        call.output().say("waits no more; the jobs go on, see `slurp jobs ls`")
        raise


def _wait_and_show(call: Invocation, system: SlurpLeaderSystem, job_ids: Sequence[str], seconds: float | None) -> int:
    output, code = call.output(), 0
    documents = []
    if system.leader.get(_LOOK_S) is None:
        output.say("nobody leads at present; the jobs wait until a node does (`slurp run`)")
    for job_id, ended in _outcomes(call, system, job_ids, seconds):
        if isinstance(ended, SlurpLeaderError):
            answer = answer_to(ended)
            code = code or int(answer.exit if answer else Exit.FAILED)
            documents.append({"id": job_id, **_status(ended), "error": describe(ended)})
            report(ended, as_json=False)
        else:
            documents.append({"id": job_id, **ended.to_wire()})
            if not output.as_json:
                show_result(output, ended)
    if output.as_json:
        output.json({"jobs": documents})
    return code


def _outcomes(
    call: Invocation, system: SlurpLeaderSystem, job_ids: Sequence[str], seconds: float | None
) -> Iterator[tuple[str, Any]]:
    clock = SystemClock()
    deadline = None if seconds is None else clock.boottime() + seconds
    for job_id in job_ids:
        try:
            yield job_id, _wait_for(call, system, system.jobs.get(job_id), deadline, clock)
        except SlurpLeaderError as error:
            yield job_id, error


def _wait_for(
    call: Invocation, system: SlurpLeaderSystem, handle: JobHandle, deadline: float | None, clock: SystemClock
) -> Any:
    """Wait for one job.

    Raises:
        StoreError: etcd fell silent for as long as ``--timeout``.
        NoLeaderError: The time is over, and nobody leads.
        JobFailedError and others: As `JobHandle.result`.
    """
    while True:
        left = _LOOK_S if deadline is None else max(0.0, min(_LOOK_S, deadline - clock.boottime()))
        try:
            return handle.result(left)
        except ResultPendingError:
            over = deadline is not None and clock.boottime() >= deadline
            if over and system.leader.get(_LOOK_S) is None:
                raise NoLeaderError(f"job {handle.id} was not run: nobody leads", job_id=handle.id) from None
            if over:
                raise
        system.ping(call.timeout_s)


def _status(error: SlurpLeaderError) -> dict[str, str]:
    """The status that an error stands for, where it stands for one."""
    if isinstance(error, JobFailedError):
        return {"status": "failed"}
    return {"status": "cancelled"} if isinstance(error, JobCancelledError) else {}
