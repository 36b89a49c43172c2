"""How a node stands, as plain data with fixed names. What is not known is None; dates are UTC."""

from __future__ import annotations

from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.election import LeaderInfo
from slurp_leader.election.observing.observer import Observer
from slurp_leader.system.condition import Facts, date_of, hold_as_fields, problems_of
from slurp_leader.system.leader_view import describe_leader
from slurp_leader.system.node import Node

_QUEUE = (
    "jobs",
    "pending",
    "scheduled",
    "running",
    "parked",
    "claims",
    "slots",
    "slots_limit",
    "memory",
    "bytes",
    "stuck",
)


def status_of(
    facts: Facts, election: str, node: Node | None, observer: Observer | None, clock: Clock
) -> dict[str, Any]:
    """What `status` answers beyond who is asked.

    Returns:
        ``election``: name, state, why, the own term, who leads, the vacancy, and the last renewal of an own term.
        ``guard``: whether a crash guard runs, its pid where it is a child, and what it lacks; None: there is none.
        ``queue``: live jobs by status and what this node has seen; None for a client. Only a leader tells pending,
        scheduled and running apart. ``hold`` in it: why this leader claims none, and until when; else None. ``stuck``:
        runs that were told to stop, have not, and hold their workers.
        ``executor``: where jobs run here, and whether one that does not stop is killed; None for a client.
        ``statistics``: of the jobs that ended here in the last minutes: rate, success ratio, how long they waited
        and ran, and what they took, in all, by role, and by generator and its version; None for a client.
        ``cache``: how the result cache stands: hits, misses, entries and bytes; None: there is none.
        ``failover``: what this node found when it was handed the lead, the last time; None: it was not.
        ``commits``: counts since `start`, of jobs ended here and of group commits; None for a client.
        ``store``: whether etcd answers, and since when not.
        ``problems``: as in `health`.
    """
    return {
        "election": _election(facts, election, node, observer, clock),
        "guard": _guard(node),
        "queue": _queue(facts, node, clock) if node else None,
        "executor": _executor(node) if node else None,
        "statistics": node.engine.statistics() if node else None,
        "cache": _cache(node),
        "failover": node.failover.last.to_fields() if node and node.failover.last else None,
        "commits": node.engine.totals if node else None,
        "store": _store(facts, node, clock),
        "problems": [problem.to_wire() for problem in problems_of(facts, clock)],
    }


def _election(facts: Facts, name: str, node: Node | None, observer: Observer | None, clock: Clock) -> dict[str, Any]:
    term = node.election.term if node else None
    leader = node.election.leader if node else (observer.leader if observer else None)
    return {
        "name": name,
        "state": facts.state.value,
        "reason": facts.reason.value if facts.reason else None,
        "is_leader": term is not None,
        "token": term.token if term else None,
        "epoch": term.epoch if term else _epoch_of(leader),
        "trust_remaining_s": round(term.remaining_s(), 3) if term else None,
        "leader": describe_leader(leader),
        "held_back": facts.held_back or None,
        "vacant_since": date_of(node.vacant_since, clock) if node and node.vacant_since is not None else None,
        "last_vacancy_s": round(node.last_vacancy_s, 3) if node and node.last_vacancy_s is not None else None,
        "last_renewal": _last_renewal(node, clock) if node else None,
    }


def _guard(node: Node | None) -> dict[str, Any] | None:
    if node is None or node.guard is None:
        return None
    guard = node.guard.client
    problem = guard.problem  # asked first: it takes what the guard has said since
    return {"running": guard.is_running, "pid": guard.guard_pid, "problem": problem or None}


def _epoch_of(leader: LeaderInfo | None) -> int | None:
    return leader.record.epoch if leader and leader.record else None


def _last_renewal(node: Node, clock: Clock) -> dict[str, Any] | None:
    last = node.election.last_renewal
    if last is None:
        return None
    ended_at, renewed = last
    return {
        "at": date_of(ended_at, clock),
        "outcome": renewed.outcome,
        "duration_s": round(renewed.duration_s, 6),
    }


def _queue(facts: Facts, node: Node, clock: Clock) -> dict[str, Any]:
    depth, hold = node.engine.depth(), facts.hold
    counts = {name: depth[name] for name in _QUEUE}
    return {**counts, "hold": hold_as_fields(hold, clock) if hold else None}


def _executor(node: Node) -> dict[str, Any]:
    executor = node.engine.executor
    return {"name": executor.name, "can_kill": executor.can_kill, "trouble": executor.trouble or None}


def _cache(node: Node | None) -> dict[str, int] | None:
    figures = node.engine.cache() if node else None
    return None if figures is None else figures.to_fields()


def _store(facts: Facts, node: Node | None, clock: Clock) -> dict[str, Any]:
    outage = facts.outage
    return {
        "reachable": outage is None and facts.lost_store is None and facts.has_heard,
        "unreachable_since": date_of(outage.since, clock) if outage else None,
        "error": outage.error if outage else (str(facts.lost_store) if facts.lost_store else None),
        "seen_revision": node.engine.seen_revision if node else None,
    }
