"""How an election stands, read from etcd at one revision, by anybody: for orders, wishes, and questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from slurp_leader.election.history.entries import HistoryRecord, election_key
from slurp_leader.election.operator import OperatorRecord, read_operator
from slurp_leader.election.ranking.candidates import Candidate, read_candidates
from slurp_leader.election.ranking.eligible import Circumstances, OwnRules
from slurp_leader.election.ranking.scoring import Weights
from slurp_leader.election.records import ElectionKeys, LeaderRecord, read_epoch
from slurp_leader.errors import Outcome, RecordError, StoreError
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
    def by_the_leader(self) -> Circumstances:
        """What counts for all candidates alike where the leader hands over: what it requires, by its own settings. One
        that does not stand is not known to require anything."""
        own = next((each for each in self.candidates if self.record and each.session == self.record.session), None)
        return self._circumstances(own.requires if own else (), own.min_nodes if own else 1)

    def own_rules(self, *, gave_up: str | None = None) -> OwnRules:
        """What counts for each candidate when it judges itself, by its own settings: a plain election and a
        `SlurpLeaderSystem` in one do not require the same.

        Args:
            gave_up: Session that led until now; None: who leads.
        """
        known: dict[tuple[tuple[str, ...], int], Circumstances] = {}

        def of(candidate: Candidate) -> Circumstances:
            rules = (candidate.requires, candidate.min_nodes)
            if rules not in known:
                known[rules] = self._circumstances(*rules, gave_up)
            return known[rules]

        return of

    def _circumstances(self, requires: tuple[str, ...], min_nodes: int, gave_up: str | None = None) -> Circumstances:
        leads = self.record.session if self.record is not None else ""
        return Circumstances.of(
            self.candidates,
            self.operator,
            requires=requires,
            min_nodes=min_nodes,
            epoch=self.epoch,
            gave_up=leads if gave_up is None else gave_up,
        )


def look_at(ask: Ask, keys: ElectionKeys) -> Situation:
    """Read it. Two calls: how the newest term came about is never changed, so it may be read after the rest.

    Raises:
        StoreError: etcd did not answer. Its `outcome` is that nothing was written.
    """
    reads = (
        Get(keys.leader),
        Get(keys.epoch),
        Get(keys.transfer),
        Get(keys.operator),
        Get(keys.candidates, prefix_end(keys.candidates)),
    )
    try:
        result = ask(Txn(success=reads))
        kvs = result.results[1].kvs
        epoch = read_epoch(kvs[0].value) if kvs else 0
        told = ask(Get(election_key(keys, epoch))).kvs if epoch else ()
    except StoreError as error:
        error.outcome = Outcome.NOT_APPLIED  # whoever asked has written nothing yet
        raise
    leader, _, transfer, operator_kv = (_first(read.kvs) for read in result.results[:4])
    operator, problem = read_operator(operator_kv)
    return Situation(
        revision=result.header.revision,
        leader=leader,
        record=_leader_record(leader),
        epoch=epoch,
        transfer=transfer,
        operator=operator.in_force_at(epoch),
        operator_revision=operator_kv.mod_revision if operator_kv is not None else 0,
        operator_problem=problem,
        operator_is_later=operator_kv is not None and is_of_later_version(operator_kv.value),
        candidates=tuple(read_candidates(result.results[4].kvs)),
        newest=_history_record(_first(told)),
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
