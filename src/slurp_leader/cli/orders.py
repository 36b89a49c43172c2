"""``slurp leader freeze | pin | block | step-down | force ...``: what operators may say about an election."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slurp_leader.cli.asking import Asked, Lead, asking
from slurp_leader.cli.commands import Waits, command
from slurp_leader.cli.documents import as_document, leader_as_json, leads
from slurp_leader.cli.exits import UsageError
from slurp_leader.cli.options import Invocation
from slurp_leader.errors import StoreError

if TYPE_CHECKING:
    from slurp_leader.election import LeaderInfo
    from slurp_leader.election.operator import OperatorRecord
    from slurp_leader.election.orders import Ordered, Orders

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for people; it stands in the history.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who orders it. (default: user and host)", show_default=False),
]
Node = Annotated[str, typer.Argument(metavar="NODE", help="Node id.", show_default=False)]

_HANDOVER_WAIT = "Give up when etcd has not answered, or the lead has not been handed over, within this time."
TRANSFER_WAITS = Waits(_HANDOVER_WAIT, 30.0)
"""As long as the library waits: the work of the term may have to end first."""
_STEP_DOWN_WAITS = Waits(_HANDOVER_WAIT.replace("handed over", "given away"), 60.0)
_LONGEST_LOOK_S = 5.0
"""How long an order that moves the lead waits to tell where it went. A vacancy is over sooner, or it lasts."""
_LOOK_EVERY_S = 0.05


def register(leader: typer.Typer) -> None:
    command(leader, "orders", election=True)(show)
    command(leader, "freeze", election=True)(freeze)
    command(leader, "unfreeze", election=True)(unfreeze)
    command(leader, "pin", election=True)(pin)
    command(leader, "unpin", election=True)(unpin)
    command(leader, "block", election=True)(block)
    command(leader, "unblock", election=True)(unblock)
    command(leader, "require-version", election=True)(require_version)
    command(leader, "step-down", election=True, waits=_STEP_DOWN_WAITS)(step_down)
    command(leader, "force", election=True)(force)


def show(call: Invocation) -> None:
    """Show what operators have ordered, and is in force."""
    with asking(call) as asked:
        situation = asked.orders().situation()
    output = call.output()
    if output.as_json:
        output.json(
            {
                "election": asked.name,
                "orders": as_document(situation.operator.to_fields()),
                "revision": situation.revision,
                "problem": situation.operator_problem or None,
            }
        )
        return
    if situation.operator_problem:
        output.say(f"the record cannot be read, so nothing is in force: {situation.operator_problem}")
    for line in list(in_force(situation.operator)) or [f"nothing is ordered in the election {asked.name!r}"]:
        output.line(line)


def freeze(call: Invocation, why: Why = "", by: By = None) -> None:
    """Hold no new election. Who leads goes on leading and may hand over; if it dies, nobody leads until `unfreeze`."""
    _give(
        call,
        by,
        lambda orders: orders.freeze(why),
        lambda election: f"{election} is frozen",
        lambda election, now: f"{election} was frozen already {now.frozen}",
    )


def unfreeze(call: Invocation, why: Why = "", by: By = None) -> None:
    """Hold elections again."""
    _give(
        call,
        by,
        lambda orders: orders.unfreeze(why),
        lambda election: f"{election} is not frozen any more",
        lambda election, _now: f"{election} was not frozen",
    )


def pin(call: Invocation, node: Node, why: Why = "", by: By = None) -> None:
    """Let a node lead whenever it stands and is fit. Whoever else leads hands over to it; without it, others lead.

    The order is in force at once. Waits up to 5 s for the node to lead, and tells who does.
    """
    _give(
        call,
        by,
        lambda orders: orders.pin(node, why),
        lambda election: f"the lead of {election} is pinned to {node}",
        lambda election, now: f"the lead of {election} was pinned to {node} already {now.pinned}",
        node,
        until=lambda leader: _is_led_by(leader, node),
    )


def unpin(call: Invocation, why: Why = "", by: By = None) -> None:
    """Prefer no node any more. Who leads goes on leading."""
    _give(
        call,
        by,
        lambda orders: orders.unpin(why),
        lambda election: f"no node is pinned any more in {election}",
        lambda election, _now: f"no node was pinned in {election}",
    )


def block(call: Invocation, node: Node, why: Why = "", by: By = None) -> None:
    """Keep a node from leading. If it leads it hands over; where nobody can take over, it gives the term back.

    The order is in force at once. Waits up to 5 s for a leader that is blocked to go, and tells who leads.
    """
    _give(
        call,
        by,
        lambda orders: orders.block(node, why),
        lambda election: f"{node} is blocked in {election}",
        lambda election, now: f"{node} was blocked already in {election} {now.blocked[node]}",
        node,
        until=lambda leader: not _is_led_by(leader, node),
    )


def unblock(call: Invocation, node: Node, why: Why = "", by: By = None) -> None:
    """Let a node lead again."""
    _give(
        call,
        by,
        lambda orders: orders.unblock(node, why),
        lambda election: f"{node} is not blocked any more in {election}",
        lambda election, _now: f"{node} was not blocked in {election}",
        node,
    )


def require_version(
    call: Invocation,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="As in 1.4; '' for any.", show_default=False)],
    why: Why = "",
    by: By = None,
) -> None:
    """Prefer nodes with this version of slurp_leader or a newer one: older ones go last, an older leader hands over."""
    said, already = f"version {version} or newer is preferred", f"version {version} or newer was preferred already"
    if not version:
        said, already = "any version will do", "any version would do already"
    _give(
        call,
        by,
        lambda orders: orders.require_version(version, why),
        lambda election: f"{said} in {election}",
        lambda election, now: f"{already} in {election}" + (f", {now.versions}" if version else ""),
    )


def transfer(
    call: Invocation,
    to: Annotated[str | None, typer.Option(metavar="NODE", help="Node id of the successor.")] = None,
    why: Why = "",
    by: By = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell who would be asked first.")] = False,
) -> None:
    """Hand the lead over to another node, without a moment in which nobody leads. Jobs in flight go on.

    Waits until the other node leads. Fails when it refuses, or when that is not decided in time.
    """
    with asking(call, by) as asked:
        asked.say_who_stands(*([to] if to else []))
        done = asked.wish().transfer(to, why, asked.store.remaining_s(), dry_run=dry_run)
    output = call.output()
    if output.as_json:
        output.json(
            {
                "election": asked.name,
                "dry_run": done.is_dry_run,
                "from": done.before,
                "to": done.node_id,
                "took_s": round(done.took_s, 3),
                "leader": leader_as_json(done.leader),
            }
        )
    elif done.is_dry_run:
        output.line(f"{done.before} would hand over to {done.node_id} in the election {asked.name!r}")
    else:
        by_whom = f"handed over by {done.before} in {done.took_s:.3f} s"
        output.line(f"{leads(done.leader)} in the election {asked.name!r}, {by_whom}")


def step_down(call: Invocation, why: Why = "", by: By = None) -> None:
    """Have the leader hand over to the best candidate; where nobody can take over, give the term back.

    Waits until the other node leads, or the term is given back. Fails when that node refuses.
    """
    with asking(call, by) as asked:
        asked.say_who_stands()
        pinned_to = asked.orders().situation().operator.pinned_to
        done = asked.wish().step_down(why, asked.store.remaining_s())
    output = call.output()
    if pinned_to == done.before:
        output.say(f"the lead is pinned to {pinned_to}, which takes it again when it is fit: `unpin` or `block` it")
    took = f"in {done.took_s:.3f} s"
    if output.as_json:
        output.json(
            {
                "election": asked.name,
                "from": done.before,
                "took_s": round(done.took_s, 3),
                "leader": leader_as_json(done.leader),
            }
        )
    elif done.leader is None:
        output.line(
            f"{done.before} has given the term of the election {asked.name!r} back {took}; nobody could take over"
        )
    else:
        output.line(f"{leads(done.leader)} in the election {asked.name!r}, handed over by {done.before} {took}")


def force(
    call: Invocation,
    to: Annotated[str, typer.Option("--to", metavar="NODE", help="Who goes first in the next election.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    why: Why = "",
    by: By = None,
) -> None:
    """End the term at once, without asking its leader. For a leader that does not answer.

    What it has under way is interrupted, and runs again elsewhere. Until it notices, it may act for a moment longer:
    its writes through the fence are refused, what it does elsewhere is not. `transfer` and `step-down` cost nothing.
    Waits up to 5 s for the next leader, and tells who it is.
    """
    settings = call.settings()
    if not yes:
        _ask(f"end the term of the election {settings.election.name!r} by force?")
    with asking(call, by, settings) as asked:
        asked.say_who_stands(*([to] if to else []))
        before, pinned_to = asked.lead().leader, asked.orders().situation().operator.pinned_to
        done = asked.orders().force(to, why)
        output = call.output()
        if not output.as_json:
            output.line(f"the term of the election {asked.name!r} is over; {to or 'another'} goes first")
        if pinned_to and _is_led_by(before, pinned_to):
            output.say(f"the lead is pinned to {pinned_to}, which takes it again when it is fit: `unpin` or `block` it")
        seen = _leader_once(asked, lambda leader: leader is not None and leader.token > done.revision)
    if output.as_json:
        output.json({**_as_json(done, asked.name), **seen.to_fields()})
    elif seen.is_known:
        output.line(leads(seen.leader, has_begun=seen.has_begun) if seen.leader else "nobody leads yet")


# ---------------------------------------------------------------- what they share


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
    if (forced := orders.forced) is not None:
        ended = f"epoch {forced.epoch}, which was ended by force, {forced.order}"
        yield f"{forced.to or 'another'} goes first after {ended}"


def _give(
    call: Invocation,
    by: str | None,
    give: Callable[[Orders], Ordered],
    said: Callable[[str], str],
    already: Callable[[str, OperatorRecord], str],
    *named: str,
    until: Callable[[LeaderInfo | None], bool] | None = None,
) -> None:
    """Give an order and say so.

    Args:
        call: How it is called.
        by: Who orders it.
        give: The order.
        said: What is so from now on; of the election, in words.
        already: What was so before, where the order changed nothing; of the election and what is in force.
        named: Node ids that the order names.
        until: Of an order that moves the lead: whether who leads now is what it asks for. Waited for, and told.
    """
    output = call.output()
    with asking(call, by) as asked:
        missing = asked.say_who_stands(*named)
        done = give(asked.orders())
        election = f"the election {asked.name!r}"
        if not output.as_json:
            output.line(said(election) if done.changed else f"nothing changed: {already(election, done.orders)}")
        seen = _leader_once(asked, until, waits=not missing) if until else None  # nobody waits for who is not there
    if output.as_json:
        output.json({**_as_json(done, asked.name), **(seen.to_fields() if seen else {})})
    elif until and seen and seen.is_known:
        output.line(leads(seen.leader, has_begun=seen.has_begun))
        if not (seen.has_begun and until(seen.leader)):
            output.say(call.hint(f"that has not changed yet: `slurp leader explain {named[0]}` tells why"))


def _as_json(done: Ordered, election: str) -> dict[str, Any]:
    return {
        "election": election,
        "action": done.action,
        "changed": done.changed,
        "revision": done.revision,
        "orders": as_document(done.orders.to_fields()),
    }


def _is_led_by(leader: LeaderInfo | None, node_id: str) -> bool:
    return leader is not None and leader.record is not None and leader.record.node_id == node_id


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of the lead after an order.

    Attributes:
        leader: Who holds it; None: nobody.
        is_known: Whether etcd said so.
        has_begun: Whether that node leads already.
    """

    leader: LeaderInfo | None = None
    is_known: bool = True
    has_begun: bool = True

    def to_fields(self) -> dict[str, Any]:
        """As plain data; nothing where nothing is known."""
        return {"leader": leader_as_json(self.leader), "starting": not self.has_begun} if self.is_known else {}


def _leader_once(asked: Asked, is_it: Callable[[LeaderInfo | None], bool], *, waits: bool = True) -> _Seen:
    """Who leads once that is as wanted; after a short time, or at once unless it `waits`, who leads anyway, if anybody.
    Whoever holds the lead and does not lead yet is waited for: it may refuse.

    The order stands, whatever happens here: where etcd falls silent, that is said, and is no failure of it.
    """
    pause, tries = threading.Event(), int(min(_LONGEST_LOOK_S, asked.store.remaining_s()) / _LOOK_EVERY_S)
    lead = Lead()
    try:
        for look in range(max(1, tries if waits else 1)):
            if look:
                pause.wait(_LOOK_EVERY_S)
            lead = asked.lead()
            if lead.has_begun and is_it(lead.leader):
                break
    except StoreError as error:
        asked.call.output().say(f"the order stands, but etcd did not say who leads now: {error}")
        return _Seen(is_known=False)
    return _Seen(lead.leader, has_begun=lead.has_begun)


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: say --yes")
    if not typer.confirm(question, err=True):
        raise UsageError("not done")
