"""How an election stands, read from etcd at one revision, by anybody: for orders, wishes, and questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from slurp_leader.election.history.entries import HistoryRecord, election_key
from slurp_leader.election.operator import OperatorRecord, read_operator
from slurp_leader.election.ranking.candidates import Candidate, read_candidates
from slurp_leader.election.ranking.eligible import Circumstances
from slurp_leader.election.ranking.scoring import Weights
from slurp_leader.election.records import ElectionKeys, LeaderRecord, read_epoch
from slurp_leader.errors import RecordError
from slurp_leader.store import Get, KeyValue, Request, Txn, prefix_end
from slurp_leader.store.records import is_of_later_version

Ask = Callable[[Request[Any]], Any]
"""Makes one call and waits for its answer; raises StoreError."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What stands in etcd.

    Attributes:
        revision: At which it was read.
        leader, record: The leader key, and what it says; None: nobody leads, or the record cannot be read.
        epoch: Number of the newest term.
        transfer: The record of a handover, whatever it says.
        operator, operator_revision: Orders in force, and the revision of their record (0: there is none).
        operator_problem: Why that record cannot be read; then no order is in force.
        operator_is_later: A later version than this one wrote it.
        candidates: Who stands, the leader among them.
        newest: How the newest term came about, which tells the weights in force; None: not known.
    """

    revision: int
    leader: KeyValue | None = None
    record: LeaderRecord | None = None
    epoch: int = 0
    transfer: KeyValue | None = None
    operator: OperatorRecord = field(default_factory=OperatorRecord)
    operator_revision: int = 0
    operator_problem: str = ""
    operator_is_later: bool = False
    candidates: tuple[Candidate, ...] = ()
    newest: HistoryRecord | None = None

    @property
    def others(self) -> list[Candidate]:
        """Who stands without the leader, and without other processes that carry its node id."""
        record = self.record
        if record is None:
            return list(self.candidates)
        return [each for each in self.candidates if each.node_id != record.node_id and each.session != record.session]

    @property
    def weights(self) -> Weights:
        """Of the newest election; the usual ones where that is not known."""
        return self.newest.weights if self.newest is not None else Weights()

    @property
    def circumstances(self) -> Circumstances:
        """What counts for all candidates alike; requirements are those that any of them has in its settings."""
        return Circumstances.of(
            self.candidates,
            self.operator,
            requires=tuple(dict.fromkeys(name for each in self.candidates for name in each.requires)),
            min_nodes=max((each.min_nodes for each in self.candidates), default=1),
            epoch=self.epoch,
            gave_up=self.record.session if self.record is not None else "",
        )

    @property
    def by_the_leader(self) -> Circumstances:
        """The same, but with what the leader requires by its own settings: it is the one that hands over."""
        own = [each.requires for each in self.candidates if self.record and each.session == self.record.session]
        return replace(self.circumstances, requires=own[0]) if own else self.circumstances


def look_at(ask: Ask, keys: ElectionKeys) -> Situation:
    """Read it. Two calls: how the newest term came about is never changed, so it may be read after the rest.

    Raises:
        StoreError: etcd did not answer.
    """
    reads = (
        Get(keys.leader),
        Get(keys.epoch),
        Get(keys.transfer),
        Get(keys.operator),
        Get(keys.candidates, prefix_end(keys.candidates)),
    )
    result = ask(Txn(success=reads))
    leader, epoch_kv, transfer, operator_kv = (_first(read.kvs) for read in result.results[:4])
    operator, problem = read_operator(operator_kv)
    epoch = read_epoch(epoch_kv.value) if epoch_kv is not None else 0
    return Situation(
        revision=result.header.revision,
        leader=leader,
        record=_leader_record(leader),
        epoch=epoch,
        transfer=transfer,
        operator=operator,
        operator_revision=operator_kv.mod_revision if operator_kv is not None else 0,
        operator_problem=problem,
        operator_is_later=operator_kv is not None and is_of_later_version(operator_kv.value),
        candidates=tuple(read_candidates(result.results[4].kvs)),
        newest=_history_record(_first(ask(Get(election_key(keys, epoch))).kvs)) if epoch else None,
    )


def _first(kvs: tuple[KeyValue, ...]) -> KeyValue | None:
    return kvs[0] if kvs else None


def _leader_record(kv: KeyValue | None) -> LeaderRecord | None:
    try:
        return LeaderRecord.from_value(kv.key, kv.value) if kv is not None else None
    except RecordError:
        return None


def _history_record(kv: KeyValue | None) -> HistoryRecord | None:
    try:
        return HistoryRecord.from_value(kv) if kv is not None else None
    except RecordError:
        return None
