"""``slurp leader``: who leads, now and from now on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli import orders, why
from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import client, reading
from slurp_leader.cli.options import Invocation
from slurp_leader.clock import SystemClock, format_utc
from slurp_leader.errors import RecordError

if TYPE_CHECKING:
    from slurp_leader.election import LeaderChanged, LeaderInfo
    from slurp_leader.settings import SlurpSettings
    from slurp_leader.store import KeyValue, Store


_LOOK_S = 0.5
"""How often a watching command looks for signals."""


def register(app: typer.Typer) -> None:
    leader = typer.Typer(name="leader", help="Who leads, why, and what changes that.", no_args_is_help=True)
    command(leader, "show")(show)
    command(leader, "watch")(watch)
    command(leader, "transfer")(transfer)
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
    name = settings.election.name
    with reading(call, settings) as store:
        info = _read(store, settings, call.timeout_s)
    if info is None and wait_for:
        with client(call, settings) as system:
            info = system.leader.wait(wait_for)
    if info is None:
        raise NoLeaderError(f"nobody leads the election {name!r} of cluster {settings.node.cluster_id!r}")
    output = call.output()
    if output.as_json:
        output.json({"election": name, "leader": leader_as_json(info)})
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
        ]
    )


def watch(
    call: Invocation,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many lines.")] = None,
) -> None:
    """Print who leads, and then every change, until Ctrl-C. With --json one object a line."""
    output = call.output()
    with client(call, call.settings(), log_level="warning") as system:
        for number, change in enumerate(_interruptible(system.leader.watch()), 1):
            at = format_utc(SystemClock().utcnow())
            if output.as_json:
                output.json_line(_change_as_json(change, at))
            else:
                output.line(f"{at}  {_change_as_text(change)}")
            if number == count:
                return


def transfer(
    call: Invocation,
    to: Annotated[str | None, typer.Option(metavar="NODE", help="Node id of the successor.")] = None,
    why: orders.Why = "",
    by: orders.By = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell who would be asked first.")] = False,
) -> None:
    """Hand the lead over to another node, without a moment in which nobody leads. Jobs in flight go on."""
    from slurp_leader.election import ElectionKeys, Wish
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    election = settings.election
    keys = ElectionKeys.of(Keyspace(settings.node.cluster_id), election.name)
    with reading(call, settings) as store:
        wish = Wish(store, keys, election.name, SystemClock(), election.rpc_timeout_s, by or orders.operator())
        done = wish.transfer(to, why, call.timeout_s, dry_run=dry_run)
    output = call.output()
    if output.as_json:
        output.json(
            {
                "election": election.name,
                "dry_run": done.is_dry_run,
                "from": done.before,
                "to": done.node_id,
                "took_s": round(done.took_s, 3),
                "leader": leader_as_json(done.leader),
            }
        )
    elif done.is_dry_run:
        output.line(f"{done.before} would hand over to {done.node_id}")
    else:
        record = done.leader.record
        epoch = record.epoch if record else "?"
        output.line(
            f"{done.node_id} leads (epoch {epoch}, token {done.leader.token}), "
            f"handed over by {done.before} in {done.took_s:.3f} s"
        )


def _interruptible(changes: Iterator[LeaderChanged]) -> Iterator[LeaderChanged]:
    """Hand changes on, such that Ctrl-C is heard between them.

    A signal that arrives just before the main thread begins to wait without limit is seen when that wait ends: never.
    """
    arrived: SimpleQueue[LeaderChanged] = SimpleQueue()

    def carry() -> None:
        for change in changes:
            arrived.put(change)

    threading.Thread(target=carry, name="slurp-watch-leader", daemon=True).start()
    while True:
        with suppress(Empty):
            yield arrived.get(timeout=_LOOK_S)


def _read(store: Store, settings: SlurpSettings, timeout_s: float) -> LeaderInfo | None:
    from slurp_leader.election.records import ElectionKeys
    from slurp_leader.store import Get
    from slurp_leader.store.keyspace import Keyspace

    keys = ElectionKeys.of(Keyspace(settings.node.cluster_id), settings.election.name)
    kvs = store.call(Get(keys.leader), timeout_s).result().kvs
    return leader_of(kvs[0]) if kvs else None


def leader_of(kv: KeyValue) -> LeaderInfo:
    """Who leads, from the leader key. Somebody leads, also where the record cannot be read."""
    from slurp_leader.election import LeaderInfo
    from slurp_leader.election.records import LeaderRecord

    try:
        return LeaderInfo(kv.mod_revision, LeaderRecord.from_value(kv.key, kv.value))
    except RecordError:
        return LeaderInfo(kv.mod_revision)


def leader_as_json(info: LeaderInfo) -> dict[str, Any]:
    """A leader as plain data; `readable` is false where only the token is known."""
    from slurp_leader.system.leader_view import describe_leader

    record = info.record
    return {
        **(describe_leader(info) or {}),
        "ttl_s": record.ttl_s if record else None,
        "reason": record.reason if record else None,
    }


def _change_as_json(change: LeaderChanged, at: str) -> dict[str, Any]:
    return {
        "at": at,
        "leader": leader_as_json(change.leader) if change.leader else None,
        "revision": change.revision,
        "vacancy_s": change.vacancy_s,
    }


def _change_as_text(change: LeaderChanged) -> str:
    info = change.leader
    if info is None:
        return "nobody leads"
    if info.record is None:
        return f"somebody leads whose record cannot be read (token {info.token})"
    vacancy = "" if change.vacancy_s is None else f", after {change.vacancy_s:.3f} s without a leader"
    return f"{info.record.node_id} leads (epoch {info.record.epoch}, token {info.token}{vacancy})"
