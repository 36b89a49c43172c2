"""What is known of the records under ``control/`` of an election: the newest of what watches and answers told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from slurp_leader.election.records import ElectionKeys
from slurp_leader.election.transfer import AckRecord, TransferRecord
from slurp_leader.errors import RecordError
from slurp_leader.store import Event, EventKind, GetResult, KeyValue

R = TypeVar("R", TransferRecord, AckRecord)


class ControlView:
    """Offer and answer, each as of the newest revision heard of. What cannot be read is None, and means nothing.

    Attributes:
        revision: Up to which anything was heard by watch.
    """

    __slots__ = ("_keys", "_known", "ack", "ack_revision", "revision", "transfer", "transfer_revision")

    def __init__(self, keys: ElectionKeys) -> None:
        self._keys = keys
        self._known = {keys.transfer: -1, keys.ack: -1}
        self.revision = 0
        self.transfer: TransferRecord | None = None
        self.transfer_revision = 0
        """Of the record as it stands, also of one that cannot be read; 0: there is none."""
        self.ack: AckRecord | None = None
        self.ack_revision = 0

    def learn_events(self, revision: int, events: Iterable[Event]) -> None:
        for event in events:
            kv = event.kv
            if kv.key in self._known:
                self._learn(kv.key, kv.mod_revision, kv if event.kind is EventKind.PUT else None)
        self.revision = max(self.revision, revision)

    def learn_snapshot(self, revision: int, kvs: Iterable[KeyValue]) -> None:
        found = {kv.key: kv for kv in kvs if kv.key in self._known}
        for key in self._known:
            kv = found.get(key)
            self._learn(key, revision if kv is None else kv.mod_revision, kv)
        self.revision = max(self.revision, revision)

    def learn_read(self, key: bytes, result: GetResult) -> None:
        kv = result.kvs[0] if result.kvs else None
        self._learn(key, result.header.revision if kv is None else kv.mod_revision, kv)

    def learn_put(self, key: bytes, value: bytes, revision: int) -> None:
        """A write of our own that has committed."""
        self._learn(key, revision, KeyValue(key, value, revision, revision, 1))

    def _learn(self, key: bytes, revision: int, kv: KeyValue | None) -> None:
        if revision < self._known[key] or (revision == self._known[key] and kv is not None):
            return
        self._known[key] = revision
        standing = kv.mod_revision if kv is not None else 0
        if key == self._keys.transfer:
            self.transfer, self.transfer_revision = _read(TransferRecord, kv), standing
        else:
            self.ack, self.ack_revision = _read(AckRecord, kv), standing


def _read(kind: type[R], kv: KeyValue | None) -> R | None:
    try:
        return kind.from_value(kv.key, kv.value) if kv is not None else None
    except RecordError:
        return None
