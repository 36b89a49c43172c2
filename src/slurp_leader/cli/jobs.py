"""``slurp jobs``: look at jobs, and wait for them. What changes them is in `job_changes` and `job_parking`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli import job_changes, job_parking
from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import client, reading
from slurp_leader.cli.job_conditions import Conditions, check_ids
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.output import Column, Output
from slurp_leader.cli.results import format_age, show_node, show_value
from slurp_leader.cli.waiting import ForOption, wait_and_show
from slurp_leader.clock import SystemClock, parse_utc

if TYPE_CHECKING:
    from slurp_leader.jobs.job_filter import JobFilter
    from slurp_leader.jobs.reports import JobReport

IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="Job ids.")]

_COLUMNS = (
    Column("ID", whole=True),
    Column("STATUS", whole=True),
    Column("PRIORITY", from_width=110),
    Column("ROLE", from_width=90),
    Column("FILE", keep_end=True),
    Column("RUNS", from_width=100, right=True),
    Column("AGE", from_width=66, right=True),
    Column("NOTE", from_width=120),
)


def register(app: typer.Typer) -> None:
    jobs = typer.Typer(
        name="jobs", help="Look at jobs, wait for them, cancel them, try them again.", no_args_is_help=True
    )
    command(jobs, "ls")(ls)
    command(jobs, "show")(show)
    command(jobs, "wait")(wait)
    job_changes.register(jobs)
    job_parking.register(jobs)
    app.add_typer(jobs)


def ls(
    call: Invocation,
    conditions: Conditions,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
) -> None:
    """List jobs, newest first. `failed` is the dead-letter list; `parked` are records that nobody can read."""
    from slurp_leader.jobs.records import JobKeys
    from slurp_leader.jobs.reports import read_jobs
    from slurp_leader.store.keyspace import Keyspace

    wanted = conditions.filter()
    settings = call.settings()
    with reading(call, settings) as store:
        keys = JobKeys(Keyspace(settings.node.cluster_id))
        reports = read_jobs(store, keys, wanted, limit, SystemClock(), call.timeout_s)
    output = call.output()
    if output.as_json:
        output.json({"jobs": [report.as_dict() for report in reports]})
    elif reports:
        now = SystemClock().utcnow()
        output.table(_COLUMNS, [_row(report, now) for report in reports])
        if len(reports) == limit:
            output.say(f"the newest {limit}; there may be more (--limit)")
    else:
        output.say(f"no jobs{_that_are(conditions, wanted)}")


def show(call: Invocation, ids: IdsArgument) -> None:
    """Show all that is known about jobs."""
    from slurp_leader.jobs.records import JobKeys
    from slurp_leader.jobs.reports import read_job
    from slurp_leader.payloads import open_payload_store
    from slurp_leader.store.keyspace import Keyspace

    check_ids(ids)
    settings = call.settings()
    cluster_id = settings.node.cluster_id
    payloads = open_payload_store(settings.jobs.payload_store, cluster_id)
    with reading(call, settings) as store:
        keys = JobKeys(Keyspace(cluster_id))
        reports = [read_job(store, keys, job_id, SystemClock(), call.timeout_s, payloads) for job_id in ids]
    output = call.output()
    if output.as_json:
        output.json({"jobs": [report.as_dict() for report in reports]})
        return
    for number, report in enumerate(reports):
        if number:
            output.line()
        _show_report(output, report)


def wait(call: Invocation, ids: IdsArgument, wait_for: ForOption = None) -> int:
    """Wait until jobs have ended, and show their results. Exits with 0 when all of them completed."""
    check_ids(ids)
    settings = call.settings()
    with client(call, settings) as system:
        return wait_and_show(call, system, dict.fromkeys(ids, ""), wait_for)


def _that_are(conditions: Conditions, wanted: JobFilter) -> str:
    if conditions.status:
        return f" that are {' or '.join(conditions.status)}"
    return "" if wanted.is_empty else " that meet this"


def _row(report: JobReport, now: datetime) -> list[str]:
    asked = _asked(report)
    return [
        report.id,
        report.status.value,
        report.priority,
        str(asked.get("role", "")),
        str(asked.get("file_path") or asked.get("path") or ""),
        str(report.run or ""),
        _age(report.submitted_at, now),
        _note(report),
    ]


def _age(submitted_at: str, now: datetime) -> str:
    try:
        return format_age((now - parse_utc(submitted_at)).total_seconds())
    except ValueError:  # of a record that cannot be read
        return ""


def _asked(report: JobReport) -> dict[str, Any]:
    """What the job is about: the request; of a completed job, whose request is gone, the context node."""
    return report.request or (report.result if isinstance(report.result, dict) else {})


def _note(report: JobReport) -> str:
    if report.error:
        return str(report.error.get("message") or report.error.get("code") or "failed")
    if report.cancel_requested:
        return "cancel requested"
    return f"retried: {report.errors[-1].get('message', '')}" if report.errors else ""


def _by(date: str, who: str) -> str:
    return f"{date} by {who}" if date and who else date


def _where(report: JobReport) -> str:
    """Of a result in the payload store: that it is there, or why it cannot be shown."""
    from slurp_leader.options.sizes import format_size

    payload = report.payload
    if payload is None:
        return ""
    place = f"payload {payload['ref']}, {format_size(payload['stored'])}"
    return f"{place}: {report.result_problem}" if report.result_problem else place


def _counted(report: JobReport) -> str:
    """What a run takes of the limits, where that is more than the one slot of every run."""
    from slurp_leader.options.sizes import format_size

    slots = f"{report.slots} slots" if report.slots > 1 else ""
    memory = f"{format_size(report.memory)} of memory" if report.memory else ""
    return ", ".join(part for part in (slots, memory) if part)


def _used(use: Mapping[str, Any]) -> str:
    from slurp_leader.options.sizes import format_about

    cpu = f"{use['cpu_s']:.3f} s of processor time" if "cpu_s" in use else ""
    memory = f"at most {format_about(use['memory'])} of memory" if "memory" in use else ""
    return ", ".join(part for part in (cpu, memory) if part)


def _show_report(output: Output, report: JobReport) -> None:
    from slurp_leader.jobs.result import ContextNode

    asked = _asked(report)
    progress = report.progress or {}
    output.fields(
        [
            ("id", report.id),
            ("status", report.status.value),
            ("file", str(asked.get("file_path") or asked.get("path") or "")),
            ("role", str(asked.get("role", ""))),
            ("priority", report.priority),
            ("submitted", _by(report.submitted_at, report.submitted_by)),
            ("not before", report.run_at or ""),
            ("ends unrun", report.expires_at or ""),
            ("deadline", report.deadline or ""),
            ("tried again", f"{report.retried} times, by operators" if report.retried else ""),
            ("started", report.started_at or ""),
            ("finished", report.finished_at or ""),
            ("run by", f"{report.node_id} under token {report.token}" if report.node_id else ""),
            ("runs", f"{report.run}, {report.interruptions} of them interrupted" if report.run else ""),
            ("counted with", _counted(report)),
            ("used", _used(report.use or {})),
            ("cancel", "requested" if report.cancel_requested else ""),
            ("progress", f"{progress.get('fraction')} {progress.get('note') or ''}" if progress else ""),
            ("error", _note(report) if report.error else ""),
            ("result in", _where(report)),
            ("cached", "yes: an earlier job with the same content had come to it" if report.cached else ""),
        ]
    )
    if len(report.errors) > 1:
        output.bullets(f"{error.get('code', 'error')}: {error.get('message', '')}" for error in report.errors)
    if ContextNode.is_wire(report.result):
        output.line("result", style="bold")
        show_node(output, ContextNode.from_wire(report.result))
    elif report.result is not None:
        show_value(output, "result", report.result)
