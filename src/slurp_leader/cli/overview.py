"""Everything that `slurp status` shows, read from etcd at one revision: a plain function over what was read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from slurp_leader.cli.asking import elections_of
from slurp_leader.cli.documents import leader_as_json
from slurp_leader.clock import Clock, format_utc
from slurp_leader.election.operator import read_operator
from slurp_leader.election.ranking.candidates import Candidate, read_candidates
from slurp_leader.election.ranking.scoring import Weights, score
from slurp_leader.election.records import ElectionKeys, LeaderInfo, leader_info, read_epoch, stands_in
from slurp_leader.errors import RecordError, StoreUnavailableError
from slurp_leader.jobs.picture import Picture
from slurp_leader.jobs.records import JobKeys
from slurp_leader.jobs.reports import count_by_status
from slurp_leader.store import Get, KeyValue, Status, StatusResult, Store, prefix_end
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.pages import read_pages
from slurp_leader.store.records import read_object


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: the mirrored keys at one revision, how many outcomes are kept, and the state of the member."""

    revision: int
    kvs: tuple[KeyValue, ...]
    outcomes: int
    store: StatusResult


def read(store: Store, keyspace: Keyspace, timeout_s: float) -> Reading:
    """Ask etcd.

    Raises:
        StoreUnavailableError: No answer; or the member answers but has lost its cluster, which is said.
        StoreError: Any other.
    """
    status = store.call(Status(), timeout_s).result()
    if not status.leader_member_id:
        raise StoreUnavailableError(
            f"etcd {status.version} answers, but its cluster has no quorum: nothing can be read or written until "
            "most of its members are back"
        )
    kvs: list[KeyValue] = []
    revision = 0
    for page in read_pages(store, keyspace.mirrored, prefix_end(keyspace.mirrored), timeout_s=timeout_s):
        revision = revision or page.header.revision
        kvs += page.kvs
    done = JobKeys(keyspace).done
    outcomes = store.call(Get(done, prefix_end(done), count_only=True), timeout_s).result().count
    return Reading(revision, tuple(kvs), outcomes, status)


def overview(
    reading: Reading, keyspace: Keyspace, election: str, clock: Clock, weights: Weights | None = None
) -> dict[str, Any]:
    """The document of `slurp status`. `weights`: of the scores of nodes; None: the defaults."""
    by_key = {kv.key: kv for kv in reading.kvs}
    keys = ElectionKeys.of(keyspace, election)
    leader = leader_info(by_key[keys.leader]) if keys.leader in by_key else None
    picture = Picture(JobKeys(keyspace))
    picture.load(reading.revision, reading.kvs)
    epoch_kv = by_key.get(keys.epoch)
    epoch = read_epoch(epoch_kv.value) if epoch_kv else 0
    orders, orders_problem = read_operator(by_key.get(keys.operator))
    candidates = {each.session: each for each in _candidates(keys, reading.kvs)}
    sessions = [kv for kv in reading.kvs if kv.key.startswith(keys.nodes)]
    nodes = [
        {**node, **_as_candidate(candidates.get(node["session"]), weights or Weights())}
        for node in _nodes([kv for kv in sessions if stands_in(kv, election)], keys, leader)
    ]
    hold = _hold(by_key.get(keys.heartbeat)) if leader is not None else None
    document: dict[str, Any] = {
        "cluster_id": keyspace.cluster_id,
        "election": election,
        "leader": leader_as_json(leader),
        "epoch": epoch,
        "queue": {**count_by_status(picture, format_utc(clock.utcnow())), "outcomes_kept": reading.outcomes},
        "nodes": nodes,
        "orders": orders.in_force_at(epoch).to_fields(),
        "orders_problem": orders_problem or None,
        "parked": {key.decode("ascii", "replace"): reason for key, reason in sorted(picture.parked.items())},
        "store": {
            "version": reading.store.version,
            "revision": reading.revision,
            "db_size": reading.store.db_size,
            "db_size_in_use": reading.store.db_size_in_use,
            "alarms": list(reading.store.alarms),
            "cluster": f"{reading.store.header.cluster_id:x}",
        },
    }
    others = sorted(elections_of(sessions) - {election})
    return {**document, "problems": [*_problems(document, others), *_problems_of_the_queue(hold)]}


def _nodes(sessions: Iterable[KeyValue], keys: ElectionKeys, leader: LeaderInfo | None) -> Iterable[dict[str, Any]]:
    for kv in sessions:
        node_id, _, session = kv.key[len(keys.nodes) :].decode("ascii", "replace").partition("/")
        leads = leader is not None and leader.record is not None and leader.record.session == session
        yield {"node_id": node_id, "session": session, "leads": leads, **_facts(kv)}


def _candidates(keys: ElectionKeys, kvs: Iterable[KeyValue]) -> list[Candidate]:
    return read_candidates(kv for kv in kvs if kv.key.startswith(keys.candidates))


def _as_candidate(candidate: Candidate | None, weights: Weights) -> dict[str, Any]:
    """What a node says of itself as a candidate; of one that stands elsewhere, nothing."""
    if candidate is None:
        return {"score": None, "unfit": None, "warm": None}
    return {
        "score": round(score(candidate.inputs, weights).total, 4),
        "unfit": candidate.unfit or None,
        "warm": candidate.warm,
    }


def _facts(kv: KeyValue) -> dict[str, Any]:
    try:
        data = read_object(kv.key, kv.value)
    except RecordError:
        return {"readable": False}
    facts = {name: data.get(name) for name in ("endpoint", "version", "capabilities")}
    return {**{name: None if fact == "" else fact for name, fact in facts.items()}, "readable": True}


def _hold(heartbeat: KeyValue | None) -> dict[str, Any] | None:
    """Why the leader claims no job, as it says with its heartbeat; None: it does, or says nothing that can be read."""
    try:
        hold = read_object(heartbeat.key, heartbeat.value).get("hold") if heartbeat else None
    except RecordError:
        return None
    return hold if isinstance(hold, dict) else None


def _problems_of_the_queue(hold: dict[str, Any] | None) -> Iterable[dict[str, str]]:
    if hold is not None:
        reason, until = str(hold.get("reason", "unknown")).replace("_", " "), hold.get("until")
        message = f"jobs wait: {reason} until {until}, because the generator kept failing"
        yield {
            "what": "generator_fails",
            "message": message,
            "fix": "see `health` and the log of the leader; it goes on by itself",
        }


def _problems(document: dict[str, Any], others: list[str]) -> Iterable[dict[str, str]]:
    """What somebody should look at, each with its fix. `others`: elections that there are nodes of."""
    leader, queue = document["leader"], document["queue"]
    if leader is None and "frozen" in document["orders"]:
        order = document["orders"]["frozen"]
        message = f"nobody leads, and the election is frozen by {order['by']}"
        yield {"what": "no_leader", "message": message, "fix": "hold elections again with `slurp leader unfreeze`"}
    elif leader is None:
        yield {"what": "no_leader", "message": "nobody leads", "fix": _fix_of_a_vacancy(document, others)}
    elif not leader["readable"]:
        message = "the record of the leader cannot be read"
        yield {"what": "leader_unreadable", "message": message, "fix": "look at it with `etcdctl get`"}
    if document["orders_problem"]:
        message = "the orders of operators cannot be read, so none is in force"
        yield {"what": "orders_unreadable", "message": message, "fix": "look at them with `slurp leader orders`"}
    for node_id, sessions in _doubles(document["nodes"]).items():
        yield {
            "what": "duplicate_node",
            "message": f"{sessions} live sessions have the node id {node_id!r}",
            "fix": "give each node its own node.id; one that crashed and came back is gone within its lease",
        }
    if queue["parked"]:
        what = "a record that cannot be read is" if queue["parked"] == 1 else "records that cannot be read are"
        message = f"{queue['parked']} {what} set aside; the queue goes on without"
        yield {"what": "parked", "message": message, "fix": "see `slurp jobs ls --status parked`, then `etcdctl get`"}
    for alarm in document["store"]["alarms"]:
        fix = "make room with `slurp etcd doctor --fix`" if alarm == "NOSPACE" else "see `slurp etcd doctor`"
        yield {"what": "alarm", "message": f"etcd has raised the alarm {alarm}", "fix": fix}


def _fix_of_a_vacancy(document: dict[str, Any], others: list[str]) -> str:
    if document["nodes"]:
        return "see why with `slurp leader explain`"
    if others:
        return f"nobody stands in it; there are nodes of: {', '.join(others)}; name one with --election"
    return "start a node with `slurp run`"


def _doubles(nodes: Iterable[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node["node_id"]] = counts.get(node["node_id"], 0) + 1
    return {node_id: count for node_id, count in counts.items() if count > 1}
