"""The changes of leader that nobody told us of, read from what etcd still remembers.

A watch that was away for longer than etcd keeps its history is told how things stand now, and not how they came to be.
But etcd keeps more than the watch can be given: from the compacted revision on, every old state can still be read. So
the terms in between are found by reading backwards, one state for each: the epoch key is written together with the
leader key and never deleted, so it names the newest term even where the leader key is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from slurp_leader.election.events import LeaderChanged
from slurp_leader.election.records import ElectionKeys, LeaderInfo, leader_info, read_epoch
from slurp_leader.errors import StoreError
from slurp_leader.store import Get, GetResult, KeyValue, prefix_end

Ask = Callable[[Get], GetResult]
"""Asks etcd, and waits for the answer. May raise any `StoreError`."""

MOST_TERMS = 256
"""So many terms are read back at most: who was away for longer wants to know who leads, and not a chronicle."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Leader key and epoch key as they were at one revision."""

    revision: int
    leader: KeyValue | None
    epoch: KeyValue | None

    @classmethod
    def of(cls, keys: ElectionKeys, revision: int, kvs: Iterable[KeyValue]) -> Standing:
        found = {kv.key: kv for kv in kvs if kv.key in (keys.leader, keys.epoch)}
        return cls(revision, found.get(keys.leader), found.get(keys.epoch))

    @property
    def info(self) -> LeaderInfo | None:
        """Who led then."""
        return None if self.leader is None else leader_info(self.leader)

    @property
    def change(self) -> LeaderChanged:
        """The change that led to it. The revision of a delete is not kept: then it is one at which nobody led."""
        return LeaderChanged(self.info, self.leader.mod_revision if self.leader else self.revision)

    @property
    def newest_term(self) -> int:
        """Revision of the newest term known to it, in force or ended; 0: none."""
        kvs = [kv for kv in (self.leader, self.epoch) if kv is not None]
        return max((kv.mod_revision for kv in kvs), default=0)

    @property
    def epoch_number(self) -> int | None:
        """Number of that term; None when it cannot be read."""
        info = self.info
        if info is not None and info.record is not None:
            return info.record.epoch
        if self.leader is None or (self.epoch and self.epoch.mod_revision == self.leader.mod_revision):
            return read_epoch(self.epoch.value) or None if self.epoch else 0
        return None


def differs(before: Standing, now: Standing) -> bool:
    """Whether anything happened between the two that an observer has to be told of."""
    return now.newest_term != before.newest_term or (now.leader is None) != (before.leader is None)


def changes_between(before: Standing, now: Standing, keys: ElectionKeys, ask: Ask | None) -> list[LeaderChanged]:
    """Every change after `before`, oldest first, up to and with the one to `now`.

    Args:
        before: What was last told.
        now: How things stand.
        keys: Of the election.
        ask: Asks etcd for what lies between; None: nobody can be asked.

    Returns:
        At least one change. The first has `missed` set when some before it could not be found.
    """
    found, is_whole = [now], False
    if ask is not None:
        is_whole = _read_back(found, before, keys, ask)
    found.reverse()
    if len(found) > 1 and not differs(before, found[0]):  # how things stood is known already
        del found[0]
    changes = [standing.change for standing in found]
    if not is_whole:
        changes[0] = replace(changes[0], missed=_terms_between(before, found[0]))
    return changes


def _read_back(found: list[Standing], before: Standing, keys: ElectionKeys, ask: Ask) -> bool:
    """Append older and older standings, each after another change. Returns whether all are found."""
    for _ in range(2 * MOST_TERMS):
        oldest = found[-1]
        if oldest.leader is not None:
            at = oldest.leader.mod_revision - 1
        else:  # the term that ended in this vacancy; never the same revision twice, whatever stands there
            at = min(oldest.newest_term, oldest.revision - 1)
        if at <= before.revision:
            return True
        try:
            result = ask(Get(keys.prefix, prefix_end(keys.prefix), revision=at))
        except StoreError:  # compacted away; or etcd does not answer, and then nobody shall wait for it
            return False
        found.append(Standing.of(keys, at, result.kvs))
    return False


def _terms_between(before: Standing, after: Standing) -> int | None:
    """Terms after the one of `before` and before the one of `after`, or up to its end if that has ended too."""
    first, last = before.epoch_number, after.epoch_number
    if first is None or last is None:
        return None
    return max(0, last - first - (1 if after.leader is not None else 0))
