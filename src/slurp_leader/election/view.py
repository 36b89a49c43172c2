"""What a candidate knows of the election: the newest of what watches and answers told."""

from __future__ import annotations

from collections.abc import Iterable

from slurp_leader.election.operator import OperatorRecord, read_operator
from slurp_leader.election.records import ElectionKeys, LeaderInfo, LeaderRecord, read_epoch
from slurp_leader.errors import RecordError
from slurp_leader.store import Event, EventKind, GetResult, KeyValue


class View:
    """The keys of an election that decide, each as of the newest revision heard of.

    Knowledge comes from two sides (a watch, and reads inside refused transactions) and may arrive out of order; per
    key, the newer revision wins. `changed_at` is when leader key or heartbeat was last seen to change, by this node's
    own clock: the measure of a holder's silence (PROTOCOL A7).
    """

    __slots__ = (
        "_keys",
        "_known",
        "changed_at",
        "epoch",
        "heartbeat",
        "last_leader_record",
        "leader",
        "leader_record",
        "operator",
        "operator_problem",
        "operator_revision",
        "thawed_at",
    )

    def __init__(self, keys: ElectionKeys, now: float) -> None:
        self._keys = keys
        self._known: dict[bytes, int] = dict.fromkeys((keys.leader, keys.epoch, keys.heartbeat, keys.operator), -1)
        self.leader: KeyValue | None = None
        self.leader_record: LeaderRecord | None = None  # None although there is a leader: its value cannot be read
        self.last_leader_record: LeaderRecord | None = None  # in force, or of the term before this vacancy
        self.epoch: KeyValue | None = None
        self.operator = OperatorRecord()
        self.operator_problem = ""  # why the record cannot be read
        self.thawed_at = float("-inf")  # when it was seen last that elections are held again
        self.operator_revision = 0  # of the record as it stands, also of one that cannot be read; 0: there is none
        self.heartbeat: KeyValue | None = None
        self.changed_at = now

    @property
    def is_known(self) -> bool:
        """Whether anything was heard of the leader key at all."""
        return self._known[self._keys.leader] >= 0

    def learn_events(self, events: Iterable[Event], now: float) -> None:
        for event in events:
            kv = event.kv
            if kv.key in self._known:
                self._learn(kv.key, kv.mod_revision, kv if event.kind is EventKind.PUT else None, now)

    def learn_snapshot(self, revision: int, kvs: Iterable[KeyValue], now: float) -> None:
        found = {kv.key: kv for kv in kvs if kv.key in self._known}
        for key in self._known:
            kv = found.get(key)
            self._learn(key, revision if kv is None else kv.mod_revision, kv, now)

    def learn_read(self, key: bytes, result: GetResult, now: float) -> None:
        kv = result.kvs[0] if result.kvs else None
        self._learn(key, result.header.revision if kv is None else kv.mod_revision, kv, now)

    def _learn(self, key: bytes, revision: int, kv: KeyValue | None, now: float) -> None:
        if revision < self._known[key] or (revision == self._known[key] and kv is not None):
            return
        self._known[key] = revision
        if key == self._keys.epoch:
            self.epoch = kv
            return
        if key == self._keys.operator:
            was_frozen = self.operator.frozen is not None
            self.operator, self.operator_problem = read_operator(kv)
            if was_frozen and self.operator.frozen is None:
                self.thawed_at = now
            self.operator_revision = kv.mod_revision if kv is not None else 0
            return
        before = self.leader if key == self._keys.leader else self.heartbeat
        if key == self._keys.leader:
            self.leader = kv
            self.leader_record = None if kv is None else _read_leader(kv)
            if kv is not None:
                self.last_leader_record = self.leader_record
        else:
            self.heartbeat = kv
        if (before and before.mod_revision) != (kv and kv.mod_revision):
            self.changed_at = now

    # ------------------------------------------------------------ reading it

    @property
    def leader_revision(self) -> int:
        """Revision up to which the leader key is known: of its last write, its delete, or of a read that found none."""
        return self._known[self._keys.leader]

    @property
    def epoch_number(self) -> int:
        return read_epoch(self.epoch.value) if self.epoch else 0

    @property
    def epoch_revision(self) -> int:
        return self.epoch.mod_revision if self.epoch else 0

    @property
    def heartbeat_revision(self) -> int:
        return self.heartbeat.mod_revision if self.heartbeat else 0

    def leader_changed_after(self, token: int) -> bool:
        """Whether the leader key was written again, or deleted, since the revision `token`."""
        newest = self.leader_revision if self.leader is None else self.leader.mod_revision
        return newest > token

    def leader_info(self) -> LeaderInfo | None:
        """Who leads; a value that cannot be read still means that somebody does."""
        if self.leader is None:
            return None
        return LeaderInfo(self.leader.mod_revision, self.leader_record)


def _read_leader(kv: KeyValue) -> LeaderRecord | None:
    try:
        return LeaderRecord.from_value(kv.key, kv.value)
    except RecordError:
        return None
