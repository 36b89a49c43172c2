"""``slurp etcd doctor``: how etcd is, in plain sentences; and with ``--fix``, room in it again."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import DeadlineStore, reading
from slurp_leader.cli.exits import Exit, UsageError
from slurp_leader.cli.options import Invocation
from slurp_leader.clock import SystemClock

if TYPE_CHECKING:
    from slurp_leader.cli.diagnosis import Checkup
    from slurp_leader.cli.finding import Finding
    from slurp_leader.cli.output import Output
    from slurp_leader.cli.remedy import Plan

_STYLES = {"ok": "green", "note": "", "warning": "yellow", "error": "bold red"}


def register(etcd: typer.Typer) -> None:
    command(etcd, "doctor")(doctor)


def doctor(
    call: Invocation,
    fix: Annotated[
        bool, typer.Option("--fix", help="Make room: compact, defragment member by member, clear the NOSPACE alarm.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --fix: do not ask.")] = False,
) -> int:
    """Explain how etcd is, and what to do about what is wrong.

    It asks every member that etcd.endpoints names, and writes and deletes one small key to see how long that takes.
    Exit code 0: all is well; 1: something is wrong.

    With --fix it makes room, after asking: it compacts the history up to now, for everybody who uses this etcd, then
    defragments one member after the other, the leader of etcd last. A member answers nobody while it is defragmented;
    if it is the only one, leaders are suspended meanwhile, and a term ends where that takes longer than the lease.
    """
    from slurp_leader.cli.diagnosis import diagnose
    from slurp_leader.cli.examining import examine, maintenance_of
    from slurp_leader.cli.remedy import carry_out, plan

    settings, clock, output = call.settings(), SystemClock(), call.output()
    with reading(call, settings) as store:
        checkup = examine(store, settings, clock)
        findings = diagnose(checkup)
        done: list[str] = []
        steps = plan(checkup, findings) if fix else None
        if steps:
            if not yes:
                _ask(output, findings, steps)
            done = carry_out(maintenance_of(store), steps, output.say)
            checkup = examine(DeadlineStore(store.inner, call.timeout_s, clock), settings, clock)
            findings = diagnose(checkup)
        elif fix:
            why = "nothing can be put right from here" if _is_wrong(findings) else "there is nothing to put right"
            output.say(why)
    if output.as_json:
        output.json(_document(checkup, findings, done))
    else:
        _show(output, findings)
    return int(Exit.FAILED if _is_wrong(findings) else Exit.OK)


def _is_wrong(findings: list[Finding]) -> bool:
    return any(finding.is_wrong for finding in findings)


# ---------------------------------------------------------------- putting it right


def _ask(output: Output, findings: list[Finding], steps: Plan) -> None:
    if not output.as_json:
        _show(output, findings)
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: say --yes")
    question = "\n".join(["this would:", *(f"  - {sentence}" for sentence in steps.sentences()), "do that?"])
    if not typer.confirm(question, err=True):
        raise UsageError("not done")


# ---------------------------------------------------------------- telling


def _show(output: Output, findings: list[Finding]) -> None:
    for finding in findings:
        output.line(f"{finding.severity.value:<8} {finding.message}", style=_STYLES[finding.severity.value])
        if finding.fix and finding.severity.value != "ok":
            output.line(f"         -> {finding.fix}")


def _document(checkup: Checkup, findings: list[Finding], done: list[str]) -> dict[str, Any]:
    return {
        "well": not _is_wrong(findings),
        "revision": checkup.revision,
        "findings": [asdict(finding) for finding in findings],
        "members": [
            {
                "endpoint": status.endpoint,
                "member_id": f"{status.header.member_id:x}",
                "version": status.version,
                "leads": status.leads,
                "learner": status.is_learner,
                "db_size": status.db_size,
                "db_size_in_use": status.db_size_in_use,
                "quota": status.quota_bytes or None,
                "raft_term": status.header.raft_term,
                "raft_index": status.raft_index,
                "alarms": list(status.alarms),
            }
            for status in checkup.statuses
        ],
        "done": done,
    }
