"""``slurp jobs cancel``, ``retry``, ``purge``: by id, or by the same conditions as ``slurp jobs ls``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import client
from slurp_leader.cli.exits import UsageError, describe, report
from slurp_leader.cli.job_conditions import Chosen, ChosenToEnd, StatusName
from slurp_leader.cli.options import Invocation


def register(jobs: typer.Typer) -> None:
    command(jobs, "cancel")(cancel)
    command(jobs, "retry")(retry)
    command(jobs, "purge")(purge)


def cancel(
    call: Invocation,
    chosen: ChosenToEnd,
    reason: Annotated[str, typer.Option(help="Why; stands in the record of the job.")] = "",
    wait_for: Annotated[
        float, typer.Option("--for", metavar="SECONDS", min=0, help="Wait at most this long until they have ended.")
    ] = 0.0,
) -> int:
    """Ask for jobs to end; prints an answer for each.

    requested: the leader has been asked; it cancels a waiting job as soon as it reads that, a running one when its
    generator next looks. While nobody leads it waits. cancelled: it has ended so, within the time of --for. already
    done: the job has ended, and stays as it is. How it ended is told by `slurp jobs wait`: it can still complete first.
    """
    which = chosen.jobs()
    with client(call, call.settings()) as system:
        return _show(call, system.jobs.cancel(which, reason, wait_for))


def retry(call: Invocation, chosen: Chosen) -> int:
    """Have jobs that failed or were cancelled tried again; prints an answer for each.

    Conditions without --status take those that failed. retried: it is in the queue again under its id; its attempts
    are counted anew, and the errors of the earlier ones are kept. not ended: it waits or runs. not kept: it completed,
    so its request is gone.
    """
    which = chosen.jobs(meant_by_all=(StatusName.FAILED,))
    with client(call, call.settings()) as system:
        return _show(call, system.jobs.retry(which))


def purge(
    call: Invocation,
    chosen: Chosen,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Delete what is kept of jobs that have ended, before its time; prints an answer for each.

    purged: it is gone, and cannot be tried again. not ended: it waits or runs; cancel it first. changed: it was tried
    again meanwhile, and stays.
    """
    which = chosen.jobs()
    if not chosen.ids and not yes:
        if not sys.stdin.isatty():
            raise UsageError("--yes: say it, since nobody can be asked here")
        if not typer.confirm("Delete all that meet this?", err=True):
            raise typer.Abort
    with client(call, call.settings()) as system:
        return _show(call, system.jobs.purge(which))


def _show(call: Invocation, answers: Mapping[str, object]) -> int:
    """Returns the exit code of the first that went wrong."""
    output, code = call.output(), 0
    if output.as_json:
        output.json({"jobs": [_as_json(job_id, answer) for job_id, answer in answers.items()]})
    for job_id, answer in answers.items():
        if isinstance(answer, Exception):
            said = report(answer, as_json=False)
            code = code or said
        elif not output.as_json:
            output.line(f"{job_id}  {str(answer).replace('_', ' ')}")
    if not answers:
        output.say("no jobs that meet this")
    return code


def _as_json(job_id: str, answer: object) -> dict[str, object]:
    if isinstance(answer, Exception):
        return {"id": job_id, "error": describe(answer)}
    return {"id": job_id, "answer": str(answer)}
