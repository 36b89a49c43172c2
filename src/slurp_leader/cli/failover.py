"""``slurp failover``: what leaders left to their successors, and whether it is so.

It is about the queue, of which a cluster has one; so there is no election to name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import reading
from slurp_leader.cli.documents import as_document
from slurp_leader.cli.exits import Exit
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.output import Column
from slurp_leader.clock import SystemClock, format_utc

if TYPE_CHECKING:
    from slurp_leader.cli.output import Output
    from slurp_leader.failover.keeping import Kept
    from slurp_leader.failover.manifest import Manifest

_COLUMNS = (
    Column("EPOCH", whole=True, right=True),
    Column("LEFT", whole=True),
    Column("BY"),
    Column("AT", from_width=100),
    Column("JOBS", right=True),
    Column("RUNS", from_width=90, right=True),
    Column("REVISION", from_width=80, right=True),
    Column("CHECK", below=True),
)


def register(app: typer.Typer) -> None:
    failover = typer.Typer(name="failover", help="See what leaders left to their successors.", no_args_is_help=True)
    command(failover, "show")(show)
    command(failover, "verify")(verify)
    command(failover, "manifest")(manifest)
    app.add_typer(failover)


EpochOption = Annotated[int | None, typer.Option("--epoch", min=1, metavar="N", help="Only the term with this number.")]


def show(call: Invocation, epoch: EpochOption = None) -> int:
    """Show the manifests that are kept, and what the successors found. The newest 20 epochs have one, if they began
    with a handover."""
    from slurp_leader.failover.keeping import read_kept
    from slurp_leader.failover.manifest import FailoverKeys
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    with reading(call, settings) as store:
        kept = read_kept(store, FailoverKeys(Keyspace(settings.node.cluster_id)), call.timeout_s)
    kept = [each for each in kept if epoch is None or each.epoch == epoch]
    output = call.output()
    if output.as_json:
        told = [as_document(each.to_fields()) for each in kept]
        output.json({"cluster_id": settings.node.cluster_id, "failovers": told})
    elif kept:
        output.table(_COLUMNS, [row for each in kept for row in _rows(each, output)])
        for error in [error for each in kept for error in each.errors]:
            output.say(error)
    else:
        output.say("no manifests" if epoch is None else f"no manifest of epoch {epoch}")
    return Exit.OK if kept or epoch is None else Exit.NOT_FOUND


def verify(call: Invocation, epoch: EpochOption = None) -> int:
    """Compare a manifest, the newest if none is named, with what etcd had at its revision.

    Exits with 0 when it is verified, with 1 at a mismatch, and with 5 when nobody can tell: it is not there, cannot be
    read, or etcd has compacted what it is about.
    """
    from slurp_leader.failover.keeping import verify_kept
    from slurp_leader.failover.verification import Verdict
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    keyspace = Keyspace(settings.node.cluster_id)
    with reading(call, settings) as store:
        found = verify_kept(store, keyspace, epoch, SystemClock(), call.timeout_s, settings.jobs.in_force())
    output = call.output()
    if output.as_json:
        output.json({"cluster_id": settings.node.cluster_id, **as_document(found.to_fields())})
    else:
        of = f"epoch {found.epoch}" if found.epoch else "nothing"
        output.line(f"{of}: {found.verdict.value}" + (f": {found.why}" if found.why else ""))
        output.bullets(found.differences)
        output.bullets(f"{name}: was {before}, is {own} here" for name, (before, own) in found.changed.items())
    codes = {Verdict.VERIFIED: Exit.OK, Verdict.MISMATCH: Exit.FAILED, Verdict.UNVERIFIABLE: Exit.NOT_FOUND}
    return codes[found.verdict]


def manifest(call: Invocation) -> None:
    """Take stock of the queue as etcd has it now, with the hash that manifests have. Nothing is written."""
    from slurp_leader.failover.keeping import take_stock
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    with reading(call, settings) as store:
        stock = take_stock(store, Keyspace(settings.node.cluster_id), timeout_s=call.timeout_s)
    at = format_utc(SystemClock().utcnow())
    output = call.output()
    if output.as_json:
        output.json(
            {
                "cluster_id": settings.node.cluster_id,
                "revision": stock.revision,
                "at": at,
                "counts": dict(stock.counts),
                "hash": stock.hash,
            }
        )
        return
    counts = ", ".join(f"{count} {kind}" for kind, count in stock.counts.items() if count)
    output.fields([("revision", str(stock.revision)), ("records", counts or "none"), ("hash", stock.hash)])


def _rows(kept: Kept, output: Output) -> list[list[str]]:
    """A row for each manifest; the check is of the one that was left by the handover."""
    if not kept.manifests:
        return [[str(kept.epoch), "", "", "", "", "", "", "cannot be read" if kept.errors else _found(kept.check)]]
    return [_row(each, kept, output) for each in kept.manifests]


def _row(manifest: Manifest, kept: Kept, output: Output) -> list[str]:
    counts = manifest.stock.counts
    handed_over = manifest.reason.value == "handover"
    return [
        str(manifest.epoch),
        f"at the {manifest.reason.value}" if handed_over else f"on {manifest.reason.value}",
        manifest.node_id,
        output.time(manifest.at),
        str(counts.get("queue", 0)),
        str(counts.get("run", 0)),
        str(manifest.stock.revision),
        _found(kept.check) if handed_over else "",
    ]


def _found(check: dict[str, Any] | None) -> str:
    if check is None:
        return ""
    why = check.get("why")
    return f"{check['verdict']}: {why}" if why else str(check["verdict"])
