"""``slurp queue``: how the queue stands, and the orders of operators for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.asking import operator
from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import reading
from slurp_leader.cli.exits import UsageError, as_typed
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.output import Output
from slurp_leader.cli.results import format_age
from slurp_leader.clock import SystemClock

if TYPE_CHECKING:
    from slurp_leader.jobs.picking.control import QueueControl
    from slurp_leader.jobs.queue_orders import QueueOrdered, QueueOrders
    from slurp_leader.jobs.queue_status import QueueStatus
    from slurp_leader.store import KeyValue

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for people; it stands in the record.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who orders it. (default: user and host)", show_default=False),
]
Scope = Annotated[str, typer.Argument(metavar="[SCOPE]", help="all, role:NAME or project:NAME.")]

_MOST_NAMES = 8


def register(app: typer.Typer) -> None:
    queue = typer.Typer(name="queue", help="See how the queue stands; pause, limit or drain it.", no_args_is_help=True)
    command(queue, "status")(status)
    command(queue, "pause")(pause)
    command(queue, "resume")(resume)
    command(queue, "drain")(drain)
    command(queue, "limits")(limits)
    command(queue, "workers")(workers)
    app.add_typer(queue)


def status(call: Invocation) -> None:
    """Show what waits and why, what runs, and what is ordered."""
    from slurp_leader.election.records import ElectionKeys
    from slurp_leader.jobs.queue_status import queue_status
    from slurp_leader.jobs.records import JobKeys
    from slurp_leader.jobs.reports import read_picture
    from slurp_leader.store import Get
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    keyspace = Keyspace(settings.node.cluster_id)
    with reading(call, settings) as store:
        picture = read_picture(store, JobKeys(keyspace), call.timeout_s)
        heartbeat = ElectionKeys.of(keyspace, settings.election.name).heartbeat
        lately = _lately(store.call(Get(heartbeat), call.timeout_s).result().kvs)
    seen = queue_status(picture, settings.jobs, SystemClock().utcnow())
    output = call.output()
    if output.as_json:
        output.json({**seen.as_dict(), "lately": lately})
    else:
        _show(output, seen, lately)


def pause(call: Invocation, scope: Scope = "all", why: Why = "", by: By = None) -> None:
    """Start no jobs of a scope. What runs goes on, and new jobs are taken."""
    _give(call, by, lambda orders: orders.pause(scope, why), f"{_what(scope)} paused", "paused already")


def resume(call: Invocation, scope: Scope = "all", why: Why = "", by: By = None) -> None:
    """Start jobs of a scope again. Of `all` it ends a drain too; pauses of other scopes stay."""
    _give(call, by, lambda orders: orders.resume(scope, why), f"{_what(scope)} resumed", "not paused")


def drain(call: Invocation, why: Why = "", by: By = None) -> None:
    """Take no new jobs, and work off those that are there. `resume` opens the queue again."""
    _give(call, by, lambda orders: orders.drain(why), "the queue takes no new jobs", "being drained already")


def limits(
    call: Invocation,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCOPE=N...]",
            help="all, each-role, each-project, role:NAME or project:NAME, and how many may run at once; "
            "`none` takes the limit away.",
            show_default=False,
        ),
    ] = None,
    why: Why = "",
    by: By = None,
) -> None:
    """Show how many jobs may run at once, or change that: `slurp queue limits all=50 role:tester=2`."""
    wanted = dict(_limit(text) for text in changes or ())
    if wanted:
        _give(call, by, lambda orders: orders.limits(wanted, why), "the limits are changed", "so already")
        return
    with reading(call, call.settings()) as store:
        control = _orders(call, store, by).read().control
    output = call.output()
    if output.as_json:
        output.json({"limits": control.to_fields().get("limits", {})})
        return
    for line in list(_limits_in_force(control)) or ["no limits are ordered; those of the leader's settings hold"]:
        output.line(line)


def workers(
    call: Invocation,
    count: Annotated[str, typer.Argument(metavar="N", help="How many, or `default` for the leader's settings.")],
    why: Why = "",
    by: By = None,
) -> None:
    """Let each leader have so many workers, from now on. With fewer, what runs goes on."""
    wanted = None if count == "default" else _whole("N", count)
    said = "the settings say how many workers there are" if wanted is None else f"{wanted} workers from now on"
    _give(call, by, lambda orders: orders.workers(wanted, why), said, "so already")


# ---------------------------------------------------------------- what they share


def in_force(control: QueueControl) -> Iterator[str]:
    """Each order, in words."""
    for scope, order in sorted(control.paused.items()):
        yield f"{_what(scope)} paused {order}"
    if control.draining is not None:
        yield f"no new jobs: drained {control.draining}"
    yield from _limits_in_force(control)
    if control.workers is not None:
        yield f"{control.workers.most} workers {control.workers.order}"


def _limits_in_force(control: QueueControl) -> Iterator[str]:
    for scope, limit in sorted(control.limits.items()):
        yield f"{scope}: at most {limit.most} at once {limit.order}"


def _give(
    call: Invocation, by: str | None, give: Callable[[QueueOrders], QueueOrdered], said: str, already: str
) -> None:
    with reading(call, call.settings()) as store:
        orders = _orders(call, store, by)
        with as_typed():
            done = give(orders)
    output = call.output()
    if output.as_json:
        output.json(
            {
                "action": done.action,
                "changed": done.changed,
                "revision": done.revision,
                "orders": done.control.to_fields(),
            }
        )
    else:
        output.line(said if done.changed else f"nothing changed: {already}")


def _orders(call: Invocation, store: Any, by: str | None) -> QueueOrders:
    from slurp_leader.jobs.queue_orders import QueueOrders
    from slurp_leader.jobs.records import JobKeys
    from slurp_leader.store.keyspace import Keyspace

    if by is not None and not by.strip():
        raise UsageError("--by: say who orders it, or leave it out for user and host")
    settings = call.settings()
    keys, name = JobKeys(Keyspace(settings.node.cluster_id)), operator() if by is None else by
    return QueueOrders(store, keys, SystemClock(), settings.jobs.rpc_timeout_s, name, call.timeout_s)


def _what(scope: str) -> str:
    return "the queue is" if scope == "all" else f"{scope} is"


def _limit(text: str) -> tuple[str, int | None]:
    scope, equals, most = text.rpartition("=")
    if not equals:
        raise UsageError(f"{text}: write SCOPE=N, as in role:tester=2")
    return scope, None if most == "none" else _whole(scope, most)


def _whole(what: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise UsageError(f"{what}: {text!r} is not a whole number")
    return int(text)


def _lately(heartbeats: Sequence[KeyValue]) -> dict[str, Any] | None:
    """What the leader tells of the jobs that ended in the last minutes; None: it does not."""
    from slurp_leader.errors import RecordError
    from slurp_leader.store.records import read_object

    try:
        lately = read_object(heartbeats[0].key, heartbeats[0].value).get("lately") if heartbeats else None
    except RecordError:
        return None
    return lately if isinstance(lately, dict) else None


def _in_words(lately: dict[str, Any] | None) -> tuple[str, str, str]:
    """Rate, waits and runs, for people; empty where nothing ended, or it cannot be read."""
    try:
        if lately is None or not lately["ended"]:
            return "", "", ""
        ended = ", ".join(f"{count} {status}" for status, count in sorted(lately["ended"].items()))
        rate = f"{ended} in the last {format_age(lately['window_s'])}, {lately['per_second']:.3g} a second"
        return rate, _percentiles(lately["wait"]), _percentiles(lately["run"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return "", "", ""


def _percentiles(of: dict[str, float]) -> str:
    told = ", ".join(f"{percent} % within {of[f'p{percent}_s']:.3g} s" for percent in (50, 95, 99))
    return f"{told}, the longest {of['max_s']:.3g} s"


def _show(output: Output, seen: QueueStatus, lately: dict[str, Any] | None) -> None:
    rate, waits, runs = _in_words(lately)
    counts = ", ".join(f"{count} {status}" for status, count in seen.counts.items() if count)
    output.fields(
        [
            ("jobs", f"{counts or 'none'} ({seen.size} bytes)"),
            *(
                (name, f"{each.jobs} waiting, the oldest {format_age(each.oldest_s)}")
                for name, each in seen.waiting.items()
            ),
            ("running", ", ".join([*_counted(seen.roles, "role"), *_counted(seen.projects, "project")])),
            ("ended", rate),
            ("they waited", waits),
            ("they ran", runs),
            ("workers", str(seen.workers)),
            ("closed", seen.closed),
        ]
    )
    if seen.held:
        output.line("held back:")
        output.bullets(f"{count} jobs: {why}" for why, count in seen.held.items())
    ordered = list(in_force(seen.control))
    if ordered:
        output.line("ordered:")
        output.bullets(ordered)


def _counted(counts: Any, kind: str) -> list[str]:
    told = [f"{count} of {kind} {name}" for name, count in list(counts.items())[:_MOST_NAMES]]
    return [*told, f"{len(counts) - _MOST_NAMES} more {kind}s"] if len(counts) > _MOST_NAMES else told
