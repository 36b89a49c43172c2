"""``slurp leader history | explain | simulate``: how terms came about, and why not another node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.asking import asking
from slurp_leader.cli.commands import command
from slurp_leader.cli.documents import as_document
from slurp_leader.cli.exits import Exit
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.output import Column
from slurp_leader.cli.question import Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurp_leader.cli.output import Output
    from slurp_leader.election.history.entries import Entry
    from slurp_leader.election.history.table import Row

_HISTORY = (
    Column("EPOCH", right=True),
    Column("AT", whole=True),
    Column("WHAT", whole=True),
    Column("NODE", whole=True),
    Column("BEFORE", from_width=90),
    Column("VACANCY", from_width=100, right=True),
    Column("BY", from_width=110),
    Column("WHY", below=True),
)
_SHORT = {"capability": "CAP", "resources": "RES", "uptime": "UP", "network": "NET", "experience": "EXP"}
"""Heads of the parts of a score, such that all of them fit 80 columns."""


def register(leader: typer.Typer) -> None:
    command(leader, "history", election=True)(history)
    command(leader, "explain", election=True)(explain)
    command(leader, "simulate", election=True)(simulate)


def history(
    call: Invocation,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, metavar="N", help="So many at most.")] = 20,
) -> None:
    """Show how the newest terms came about, and what operators ordered, the newest first.

    VACANCY is for how long nobody led before the term, as its leader saw it: empty where the lead was handed over, or
    where the vacancy was there before that node looked. Narrow terminals leave columns out, --json none.
    """
    with asking(call) as asked:
        entries, unreadable = asked.orders().history()
    newest = entries[::-1][:limit]
    output = call.output()
    if unreadable:
        output.say(f"{unreadable} records cannot be read")
    if output.as_json:
        told = [_entry_as_json(each) for each in newest]
        output.json({"election": asked.name, "entries": told, "unreadable": unreadable})
    elif not newest:
        output.line(f"nothing is remembered of the election {asked.name!r}: nobody has led yet")
    else:
        output.table(_HISTORY, [_entry_as_row(each, output) for each in newest])


def explain(
    call: Invocation,
    node: Annotated[
        str | None, typer.Argument(metavar="NODE", help="Node id; none: whoever leads.", show_default=False)
    ] = None,
    epoch: Annotated[int | None, typer.Option("--epoch", min=1, metavar="N", help="Of an earlier term.")] = None,
) -> int:
    """Say why a node leads, or why it does not: in a sentence, then in numbers.

    Without NODE: why the leader leads, or why nobody does. Exits with 5 when no candidate has that node id.
    """
    with asking(call) as asked:
        orders = asked.orders()
        question = Question.of(asked.name, orders.situation(), orders.history()[0], asked.settings, epoch)
    told = (question.about(node) if node is not None else question.about_the_lead()).hinted(call.hint)
    output = call.output()
    if output.as_json:
        output.json(
            {
                "election": asked.name,
                "nobody_leads": question.situation.leader is None,
                **as_document(told.to_fields()),
                "node_id": told.node_id or None,
            }
        )
    else:
        _show(output, told.sentence, told.notes, told.rows, question.as_of(output))
    return Exit.OK if node is None or question.knows(node) else Exit.NOT_FOUND


def simulate(
    call: Invocation,
    weights: Annotated[
        str,
        typer.Option("--weights", metavar="NAME=NUMBER,...", help="Those to try; the others stay. They sum to 1."),
    ] = "",
) -> None:
    """Say who would go first if an election were held now, with other weights. Changes nothing."""
    with asking(call) as asked:
        told = asked.orders().simulate(weights, rank_wait_s=asked.settings.election.rank_wait_s)
    output = call.output()
    if output.as_json:
        output.json({"election": asked.name, **as_document(told.to_fields())})
    else:
        _show(output, told.sentence, (), told.rows, "as they stand now")


# ---------------------------------------------------------------- tables


def _show(output: Output, sentence: str, notes: Sequence[str], rows: Sequence[Row], as_of: str) -> None:
    output.paragraph(sentence)
    output.bullets(notes)
    if rows:
        output.line()
        output.line(f"The candidates {as_of}:")
        _candidates(output, rows)


def _candidates(output: Output, rows: Sequence[Row]) -> None:
    parts = list(rows[0].parts)
    waits = any(row.wait_s is not None for row in rows)
    before = any(row.place_before is not None for row in rows)
    columns = [
        Column("PLACE", right=True),
        *([Column("NOW", right=True)] if before else []),
        Column("NODE", whole=True),
        Column("SCORE", right=True),
        *(Column(_SHORT.get(name, name.upper()), from_width=60, right=True) for name in parts),
        *([Column("WAIT", right=True)] if waits else []),
        Column("AGAINST IT", below=True),
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


def _entry_as_row(entry: Entry, output: Output) -> list[str]:
    from slurp_leader.election.history.entries import ActionRecord

    at = output.time(entry.at)
    if isinstance(entry, ActionRecord) and entry.is_veto:
        return [str(entry.epoch), at, "refused", entry.what, "", "", "", entry.why]
    if isinstance(entry, ActionRecord):
        action = entry.action.replace("_", " ")
        return [str(entry.epoch), at, f"ordered: {action}", entry.what, "", "", entry.by, entry.why]
    vacancy = "" if entry.vacancy_s is None else f"{entry.vacancy_s:.3f} s"
    return [str(entry.epoch), at, entry.reason, entry.node_id, entry.before, vacancy, entry.by, entry.why]


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    from slurp_leader.election.history.entries import ActionRecord

    if isinstance(entry, ActionRecord):
        kind = "veto" if entry.is_veto else "order"
        return {"kind": kind, "revision": entry.revision, **as_document(entry.to_fields())}
    return {"kind": "term", "token": entry.token, **as_document(entry.to_fields())}
