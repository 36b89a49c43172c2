"""``slurp leader freeze | pin | block | step-down | force ...``: what operators may say about an election."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.commands import command
from slurp_leader.cli.connection import reading
from slurp_leader.cli.exits import UsageError
from slurp_leader.cli.options import Invocation
from slurp_leader.clock import SystemClock

if TYPE_CHECKING:
    from slurp_leader.election.operator import OperatorRecord
    from slurp_leader.election.orders import Ordered, Orders

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for people; it stands in the history.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who orders it; unset: user and host.")]
Node = Annotated[str, typer.Argument(metavar="NODE", help="Node id.", show_default=False)]


def register(leader: typer.Typer) -> None:
    command(leader, "orders")(show)
    command(leader, "freeze")(freeze)
    command(leader, "unfreeze")(unfreeze)
    command(leader, "pin")(pin)
    command(leader, "unpin")(unpin)
    command(leader, "block")(block)
    command(leader, "unblock")(unblock)
    command(leader, "require-version")(require_version)
    command(leader, "step-down")(step_down)
    command(leader, "force")(force)


def show(call: Invocation) -> None:
    """Show what operators have ordered, and is in force."""
    with giving_orders(call, "") as orders:
        situation = orders.situation()
    output = call.output()
    if output.as_json:
        problem = situation.operator_problem or None
        output.json({"orders": situation.operator.to_fields(), "revision": situation.revision, "problem": problem})
        return
    if situation.operator_problem:
        output.say(f"the record cannot be read, so nothing is in force: {situation.operator_problem}")
    lines = list(in_force(situation.operator))
    output.block("\n".join(lines) if lines else "nothing is ordered")


def freeze(call: Invocation, why: Why = "", by: By = "") -> None:
    """Hold no new election. Who leads goes on leading and may hand over; if it dies, nobody leads until `unfreeze`."""
    _give(call, by, lambda orders: orders.freeze(why), "the election is frozen")


def unfreeze(call: Invocation, why: Why = "", by: By = "") -> None:
    """Hold elections again."""
    _give(call, by, lambda orders: orders.unfreeze(why), "elections are held")


def pin(call: Invocation, node: Node, why: Why = "", by: By = "") -> None:
    """Let a node lead whenever it stands and is fit. Whoever else leads hands over to it; without it, others lead."""
    _give(call, by, lambda orders: orders.pin(node, why), f"the lead is pinned to {node}")


def unpin(call: Invocation, why: Why = "", by: By = "") -> None:
    """Prefer no node any more. Who leads goes on leading."""
    _give(call, by, lambda orders: orders.unpin(why), "no node is pinned")


def block(call: Invocation, node: Node, why: Why = "", by: By = "") -> None:
    """Keep a node from leading. If it leads it hands over; where nobody can take over, it gives the term back."""
    _give(call, by, lambda orders: orders.block(node, why), f"{node} is blocked")


def unblock(call: Invocation, node: Node, why: Why = "", by: By = "") -> None:
    """Let a node lead again."""
    _give(call, by, lambda orders: orders.unblock(node, why), f"{node} is not blocked")


def require_version(
    call: Invocation,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As in 1.4; '' for any.", show_default=False)],
    why: Why = "",
    by: By = "",
) -> None:
    """Prefer nodes of a version or newer: older ones go last, and an older leader hands over to a newer node."""
    said = f"version {version} or newer is preferred" if version else "any version will do"
    _give(call, by, lambda orders: orders.require_version(version, why), said)


def step_down(call: Invocation, why: Why = "", by: By = "") -> None:
    """Have the leader hand over to the best candidate; where nobody can take over, give the term back."""
    from slurp_leader.cli.leader import leader_as_json
    from slurp_leader.election import ElectionKeys, Wish
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    election = settings.election
    keys = ElectionKeys.of(Keyspace(settings.node.cluster_id), election.name)
    with reading(call, settings) as store:
        wish = Wish(store, keys, election.name, SystemClock(), election.rpc_timeout_s, by or operator())
        done = wish.step_down(why, call.timeout_s)
    output = call.output()
    leader = done.leader
    if output.as_json:
        shown = leader_as_json(leader) if leader else None
        output.json({"election": election.name, "from": done.before, "took_s": round(done.took_s, 3), "leader": shown})
    elif leader is None:
        output.line(f"{done.before} has given the term back in {done.took_s:.3f} s; nobody could take over")
    else:
        output.line(f"{leader.node_id} leads (token {leader.token}), handed over by {done.before}")


def force(
    call: Invocation,
    to: Annotated[str, typer.Option("--to", metavar="NODE", help="Who goes first in the next election.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    why: Why = "",
    by: By = "",
) -> None:
    """End the term at once, without asking its leader. For a leader that does not answer.

    What it has under way is interrupted, and runs again elsewhere. Until it notices, it may act for a moment longer:
    its writes through the fence are refused, what it does elsewhere is not. `transfer` and `step-down` cost nothing.
    """
    if not yes:
        _ask(f"end the term of the election {call.settings().election.name!r} by force?")
    said = f"the term is over; {to} goes first" if to else "the term is over; another goes first"
    _give(call, by, lambda orders: orders.force(to, why), said)


# ---------------------------------------------------------------- what they share


@contextmanager
def giving_orders(call: Invocation, by: str) -> Iterator[Orders]:
    """Asks about the election of the settings, and orders."""
    from slurp_leader.election import ElectionKeys
    from slurp_leader.election.orders import Orders
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    election = settings.election
    keys = ElectionKeys.of(Keyspace(settings.node.cluster_id), election.name)
    with reading(call, settings) as store:
        who = by or operator()
        yield Orders(store, keys, election.name, SystemClock(), election.rpc_timeout_s, who, call.timeout_s)


def operator() -> str:
    """Who sits there: user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as containers have them
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _give(call: Invocation, by: str, give: Callable[[Orders], Ordered], said: str) -> None:
    with giving_orders(call, by) as orders:
        done = give(orders)
    output = call.output()
    if output.as_json:
        output.json(_as_json(done, call.settings().election.name))
    else:
        output.line(said if done.changed else f"{said}: it was ordered before")


def _as_json(done: Ordered, election: str) -> dict[str, Any]:
    return {
        "election": election,
        "action": done.action,
        "changed": done.changed,
        "revision": done.revision,
        "orders": done.orders.to_fields(),
    }


def in_force(orders: OperatorRecord) -> Iterator[str]:
    """Each order, in words."""
    if orders.frozen is not None:
        yield f"frozen {orders.frozen}"
    if orders.pinned_to:
        yield f"pinned to {orders.pinned_to} {orders.pinned}"
    for node_id, order in sorted(orders.blocked.items()):
        yield f"{node_id} is blocked {order}"
    if orders.oldest_version:
        yield f"version {orders.oldest_version} or newer is preferred, {orders.versions}"


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: say --yes")
    if not typer.confirm(question, err=True):
        raise UsageError("not done")
