"""``slurp status``: the whole cluster at a glance."""

from __future__ import annotations

from typing import Any

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import reading
from slurp_leader.cli.documents import as_document
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.orders import in_force
from slurp_leader.cli.output import Column, Output
from slurp_leader.clock import SystemClock

_NODES = (
    Column("NODE"),
    Column("ROLE", whole=True),
    Column("SCORE", from_width=60, right=True),
    Column("ENDPOINT", from_width=70),
    Column("VERSION", from_width=80),
    Column("CAPABILITIES", from_width=100),
    Column("UNFIT", below=True),
)


def register(app: typer.Typer) -> None:
    command(app, "status", election=True)(status)


def status(call: Invocation) -> None:
    """Show who leads, the queue, the nodes and the state of etcd."""
    from slurp_leader.cli.overview import overview, read
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    keyspace = Keyspace(settings.node.cluster_id)
    with reading(call, settings) as store:
        seen = read(store, keyspace, call.timeout_s)
    document = overview(seen, keyspace, settings.election.name, SystemClock(), settings.election.weights)
    document["problems"] = [{**problem, "fix": call.hint(problem["fix"])} for problem in document["problems"]]
    output = call.output()
    if output.as_json:
        output.json({**document, "orders": as_document(document["orders"])})
    else:
        _show(output, document)


def _show(output: Output, document: dict[str, Any]) -> None:
    from slurp_leader.election.operator import OperatorRecord

    output.fields(
        [
            ("cluster", f"{document['cluster_id']}, election {document['election']}"),
            ("leader", _leader(document)),
            ("orders", "; ".join(in_force(OperatorRecord.from_fields(document["orders"])))),
            ("queue", _queue(document["queue"])),
            ("store", _store(document["store"])),
        ]
    )
    output.line()
    if document["nodes"]:
        output.table(_NODES, [_node(node) for node in document["nodes"]])
    else:
        output.line("no nodes")
    if document["problems"]:
        output.line()
    for problem in document["problems"]:
        output.line(f"! {problem['message']}; {problem['fix']}", style="yellow")


def _leader(document: dict[str, Any]) -> str:
    leader = document["leader"]
    if leader is None:
        return f"nobody (epoch {document['epoch']} has ended)" if document["epoch"] else "nobody, so far"
    name = leader["node_id"] or "a record that cannot be read"
    return f"{name} (epoch {leader['epoch'] or document['epoch']}, token {leader['token']})"


def _queue(queue: dict[str, int]) -> str:
    parts = [f"{queue[name]} {name}" for name in ("pending", "scheduled", "running", "parked")]
    return ", ".join([*parts, f"{queue['outcomes_kept']} outcomes kept"])


def _store(store: dict[str, Any]) -> str:
    from slurp_leader.options import format_about

    used, size = format_about(store["db_size_in_use"]), format_about(store["db_size"])
    alarms = ", ".join(store["alarms"]) or "no alarms"
    return f"etcd {store['version']}, {used} in use in a file of {size}, {alarms}, revision {store['revision']}"


def _node(node: dict[str, Any]) -> list[str]:
    role = "leader" if node["leads"] else "standby"
    if not node["readable"]:
        return [node["node_id"], role, "", "", "", "cannot be read", ""]
    return [
        node["node_id"],
        role,
        "" if node["score"] is None else f"{node['score']:.2f}",
        str(node["endpoint"] or ""),
        str(node["version"] or ""),
        ", ".join(str(name) for name in node["capabilities"] or ()),
        str(node["unfit"] or ""),
    ]
