"""``slurp leader``: who leads, now and from now on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli import elections, orders, why
from slurp_leader.cli.asking import Lead, asking
from slurp_leader.cli.commands import about_one_election, command
from slurp_leader.cli.connection import check_live, client
from slurp_leader.cli.documents import handover_as_json, leader_as_json, leads
from slurp_leader.cli.options import Invocation
from slurp_leader.clock import SystemClock, format_utc
from slurp_leader.errors import LifecycleError

if TYPE_CHECKING:
    from slurp_leader.election import LeaderChanged

_LOOK_S = 0.5
"""How often a watching command looks for signals."""


def register(app: typer.Typer) -> None:
    leader = typer.Typer(name="leader", help="Who leads, why, and what changes that.", no_args_is_help=True)
    about_one_election(leader)
    command(leader, "show", election=True)(show)
    command(leader, "watch", election=True)(watch)
    command(leader, "transfer", election=True, waits=orders.TRANSFER_WAITS)(orders.transfer)
    command(leader, "ls")(elections.ls)
    why.register(leader)
    orders.register(leader)
    app.add_typer(leader)


def show(
    call: Invocation,
    wait_for: Annotated[
        float, typer.Option("--for", metavar="SECONDS", min=0, help="Wait so long for a leader.")
    ] = 0.0,
) -> None:
    """Show who leads. Exits with 3 when nobody does."""
    from slurp_leader.errors import NoLeaderError

    settings = call.settings()
    with asking(call, settings=settings) as asked:
        lead, name = asked.lead(), asked.name
        info = lead.leader
        if info is None:
            asked.say_who_stands()
    if info is None and wait_for:
        with client(call, settings) as system, suppress(NoLeaderError):
            info = system.leader.wait(wait_for)
            lead = Lead(info)
    if info is None:
        raise NoLeaderError(f"nobody leads the election {name!r} of cluster {settings.node.cluster_id!r}")
    output = call.output()
    if output.as_json:
        output.json(
            {
                "election": name,
                "leader": leader_as_json(info),
                "starting": not lead.has_begun,
                "handover": handover_as_json(lead.handover),
            }
        )
        return
    record = info.record
    output.fields(
        [
            ("leader", info.node_id or "a record that cannot be read"),
            ("election", name),
            ("epoch", str(record.epoch) if record else ""),
            ("token", str(info.token)),
            ("lease", f"{record.ttl_s} s" if record else ""),
            ("endpoint", record.endpoint if record else ""),
            ("reason", record.reason if record else ""),
            ("starting", "" if lead.has_begun else "it does not lead yet"),
            ("handover", str(lead.handover) if lead.handover else ""),
        ]
    )


def watch(
    call: Invocation,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many lines.")] = None,
) -> None:
    """Print who leads, and then every change, until Ctrl-C. With --json one object a line.

    An outage of etcd does not end it. It fails when etcd refuses to be watched, or is another one than before.
    """
    output, settings = call.output(), call.settings()
    with client(call, settings, log_level="warning") as system:
        for number, change in enumerate(_interruptible(system.leader.watch()), 1):
            at = format_utc(SystemClock().utcnow())
            if output.as_json:
                output.json_line({"election": settings.election.name, **_change_as_json(change, at)})
            else:
                output.line(f"{at}  {_change_as_text(change)}")
            if number == count:
                return
        check_live(system, call.timeout_s)
        raise LifecycleError("the watch has ended, and it is not known why; start it again")


def _interruptible(changes: Iterator[LeaderChanged]) -> Iterator[LeaderChanged]:
    """Hand changes on, such that Ctrl-C is heard between them. Ends when there will be none any more.

    A signal that arrives just before the main thread begins to wait without limit is seen when that wait ends: never.
    """
    arrived: SimpleQueue[LeaderChanged | None] = SimpleQueue()

    def carry() -> None:
        for change in changes:
            arrived.put(change)
        arrived.put(None)

    threading.Thread(target=carry, name="slurp-watch-leader", daemon=True).start()
    while True:
        try:
            change = arrived.get(timeout=_LOOK_S)
        except Empty:
            continue
        if change is None:
            return
        yield change


def _change_as_json(change: LeaderChanged, at: str) -> dict[str, Any]:
    return {
        "at": at,
        "leader": leader_as_json(change.leader),
        "revision": change.revision,
        "vacancy_s": change.vacancy_s,
        "missed": change.missed,
    }


def _change_as_text(change: LeaderChanged) -> str:
    vacancy = "" if change.vacancy_s is None else f", after {change.vacancy_s:.3f} s without a leader"
    return f"{leads(change.leader)}{vacancy}{_missed(change.missed)}"


def _missed(count: int | None) -> str:
    """What could not be told right before a change, in words."""
    if count is None:
        return " (changes before this one were missed; nobody knows how many)"
    return f" (missed before this one: {count})" if count else ""
