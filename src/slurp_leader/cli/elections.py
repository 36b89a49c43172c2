"""``slurp leader ls``: which elections there are in a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slurp_leader.cli.asking import elections_of
from slurp_leader.cli.connection import reading
from slurp_leader.cli.documents import leader_as_json
from slurp_leader.cli.options import Invocation
from slurp_leader.cli.output import Column

if TYPE_CHECKING:
    from slurp_leader.election import LeaderInfo
    from slurp_leader.election.records import ElectionKeys
    from slurp_leader.store import KeyValue, Store
    from slurp_leader.store.keyspace import Keyspace

_COLUMNS = (
    Column("ELECTION", whole=True),
    Column("LEADER", whole=True),
    Column("EPOCH", right=True),
    Column("CANDIDATES", right=True),
    Column("FROZEN"),
)


@dataclass(frozen=True, slots=True)
class Held:
    """One election of a cluster.

    Attributes:
        name: Of the election.
        leader: Who leads; None: nobody.
        epoch: Number of the newest term; 0: there has been none.
        candidates: How many stand.
        frozen: By whom it is frozen and why; empty: it is not.
    """

    name: str
    leader: LeaderInfo | None
    epoch: int
    candidates: int
    frozen: str

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "election": self.name,
            "leader": leader_as_json(self.leader),
            "epoch": self.epoch,
            "candidates": self.candidates,
            "frozen": bool(self.frozen),
        }


def ls(call: Invocation) -> None:
    """List the elections of the cluster: those that somebody stands in, and those that were held once.

    One that was held once stays in the list for good, also when nobody stands in it any more.
    """
    from slurp_leader.store.keyspace import Keyspace

    settings = call.settings()
    keyspace = Keyspace(settings.node.cluster_id)
    with reading(call, settings) as store:
        found = read_elections(store, keyspace, call.timeout_s)
    output = call.output()
    if output.as_json:
        output.json({"cluster_id": keyspace.cluster_id, "elections": [each.to_fields() for each in found]})
    elif found:
        output.table(_COLUMNS, [_row(each) for each in found])
    else:
        output.say(f"no elections in the cluster {keyspace.cluster_id!r}")


def read_elections(store: Store, keyspace: Keyspace, timeout_s: float) -> list[Held]:
    """All elections of a cluster as they were at one revision, by name.

    Raises:
        StoreError: etcd did not answer, or refused.
    """
    from slurp_leader.election.records import elections_prefix
    from slurp_leader.store import prefix_end
    from slurp_leader.store.pages import read_pages

    revision = 0
    read: list[list[KeyValue]] = []
    for prefix in (elections_prefix(keyspace), keyspace.mirrored + b"nodes/"):
        kvs: list[KeyValue] = []
        for page in read_pages(store, prefix, prefix_end(prefix), timeout_s=timeout_s, revision=revision):
            revision = revision or page.header.revision
            kvs += page.kvs
        read.append(kvs)
    return elections_in(keyspace, *read)


def elections_in(keyspace: Keyspace, kvs: Sequence[KeyValue], sessions: Iterable[KeyValue]) -> list[Held]:
    """The elections that have a key of their own, or a session. By name."""
    from slurp_leader.election.records import ElectionKeys, elections_prefix
    from slurp_leader.errors import ConfigurationError

    prefix = elections_prefix(keyspace)
    names = {kv.key[len(prefix) :].partition(b"/")[0].decode("ascii", "replace") for kv in kvs}
    found = []
    for name in sorted(names | elections_of(sessions)):
        try:
            found.append(_held(name, ElectionKeys.of(keyspace, name), kvs))
        except ConfigurationError:  # somebody else's key: no election can have that name
            continue
    return found


def _held(name: str, keys: ElectionKeys, kvs: Sequence[KeyValue]) -> Held:
    from slurp_leader.election.operator import read_operator
    from slurp_leader.election.ranking.candidates import read_candidates
    from slurp_leader.election.records import leader_info, read_epoch

    own = {kv.key: kv for kv in kvs if kv.key.startswith(keys.prefix)}
    leader, epoch = own.get(keys.leader), own.get(keys.epoch)
    frozen = read_operator(own.get(keys.operator))[0].frozen
    return Held(
        name,
        leader_info(leader) if leader else None,
        read_epoch(epoch.value) if epoch else 0,
        len(read_candidates(kv for kv in own.values() if kv.key.startswith(keys.candidates))),
        str(frozen) if frozen else "",
    )


def _row(held: Held) -> list[str]:
    leader = "nobody" if held.leader is None else held.leader.node_id or "cannot be read"
    return [held.name, leader, str(held.epoch), str(held.candidates), held.frozen or "no"]
