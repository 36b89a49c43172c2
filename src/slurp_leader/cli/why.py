"""``slurp leader history | explain | simulate``: how terms came about, and why not another node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.orders import giving_orders
from slurp_leader.cli.output import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurp_leader.cli.output import Output
    from slurp_leader.election.history.entries import Entry
    from slurp_leader.election.history.table import Row


def register(leader: typer.Typer) -> None:
    command(leader, "history")(history)
    command(leader, "explain")(explain)
    command(leader, "simulate")(simulate)


def history(
    call: Invocation,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, metavar="N", help="So many at most.")] = 20,
) -> None:
    """Show how the newest terms came about, and what operators ordered, the newest first."""
    with giving_orders(call, "") as orders:
        entries, unreadable = orders.history()
    newest = entries[::-1][:limit]
    output = call.output()
    if unreadable:
        output.say(f"{unreadable} records cannot be read")
    if output.as_json:
        output.json([_entry_as_json(each) for each in newest])
    elif not newest:
        output.line("nothing is remembered: nobody has led yet")
    else:
        columns = [
            Column("EPOCH", right=True),
            Column("AT", whole=True),
            Column("WHAT", whole=True),
            Column("NODE", whole=True),
            Column("BEFORE", from_width=90),
            Column("VACANCY", from_width=100, right=True),
            Column("BY", from_width=110),
            Column("WHY"),
        ]
        output.table(columns, [_entry_as_row(each) for each in newest])


def explain(
    call: Invocation,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Node id.", show_default=False)],
    epoch: Annotated[int | None, typer.Option("--epoch", min=1, metavar="N", help="Of an earlier term.")] = None,
) -> None:
    """Say why a node leads, or why it does not: in a sentence, then in numbers."""
    with giving_orders(call, "") as orders:
        told = orders.explain(node, rank_wait_s=call.settings().election.rank_wait_s, epoch=epoch)
    output = call.output()
    if output.as_json:
        output.json(told.to_fields())
        return
    output.block(told.sentence)
    output.bullets(told.notes)
    if told.rows:
        output.line()
        _candidates(output, told.rows)


def simulate(
    call: Invocation,
    weights: Annotated[
        str,
        typer.Option("--weights", metavar="NAME=NUMBER,...", help="Those to try; the others stay. They sum to 1."),
    ] = "",
) -> None:
    """Say who would go first if an election were held now, with other weights. Changes nothing."""
    with giving_orders(call, "") as orders:
        told = orders.simulate(weights, rank_wait_s=call.settings().election.rank_wait_s)
    output = call.output()
    if output.as_json:
        output.json(told.to_fields())
        return
    output.block(told.sentence)
    if told.rows:
        output.line()
        _candidates(output, told.rows)


# ---------------------------------------------------------------- tables


def _candidates(output: Output, rows: Sequence[Row]) -> None:
    parts = list(rows[0].parts)
    waits = any(row.wait_s is not None for row in rows)
    before = any(row.place_before is not None for row in rows)
    columns = [
        Column("PLACE", right=True),
        *([Column("BEFORE", right=True)] if before else []),
        Column("NODE", whole=True),
        Column("SCORE", right=True),
        *(Column(name.upper(), from_width=100, right=True) for name in parts),
        *([Column("WAIT", right=True)] if waits else []),
        Column("AGAINST IT"),
    ]
    output.table(
        columns,
        [
            [
                _place(row.place),
                *([_place(row.place_before)] if before else []),
                f"{row.node_id} (leads)" if row.leads else row.node_id,
                f"{row.score:.3f}",
                *(f"{row.parts.get(name, 0.0):.2f}" for name in parts),
                *(["" if row.wait_s is None else f"{row.wait_s:.2f} s"] if waits else []),
                row.against,
            ]
            for row in rows
        ],
    )


def _place(place: int | None) -> str:
    """People count from 1."""
    return "-" if place is None else str(place + 1)


def _entry_as_row(entry: Entry) -> list[str]:
    from slurp_leader.election.history.entries import ActionRecord

    if isinstance(entry, ActionRecord):
        action = entry.action.replace("_", " ")
        return [str(entry.epoch), entry.at, f"ordered: {action}", entry.what, "", "", entry.by, entry.why]
    vacancy = "" if entry.vacancy_s is None else f"{entry.vacancy_s:.3f} s"
    return [str(entry.epoch), entry.at, entry.reason, entry.node_id, entry.before, vacancy, entry.by, entry.why]


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    from slurp_leader.election.history.entries import ActionRecord

    if isinstance(entry, ActionRecord):
        return {"kind": "order", "revision": entry.revision, **entry.to_fields()}
    return {"kind": "term", "token": entry.token, **entry.to_fields()}
