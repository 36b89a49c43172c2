"""All keys, now and at every revision since the last compaction."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from operator import attrgetter

from slurp_leader.errors import RequestMalformedError, RevisionCompactedError
from slurp_leader.store.requests import Event, EventKind, KeyValue, WatchEvents

KEY_OVERHEAD_BYTES = 256
"""What etcd reckons for one version of a key besides key and value (`kvOverhead` in its `quota.go`)."""

_FROM_KEY = b"\x00"
_mod_revision = attrgetter("mod_revision")


class Keyspace:
    """Keys with their versions, and the log of changes by revision.

    A write is one or more `put` and `delete`, then `commit`, which gives all of them one new revision. Reads in
    between see them already, as the operations of an etcd transaction do.
    """

    def __init__(self) -> None:
        self.revision = 1  # of an etcd that was never written to
        self.compact_revision = 0
        self.bytes_held = 0
        self._live: dict[bytes, KeyValue] = {}
        self._live_order: list[bytes] = []
        # Every version since the compaction, oldest first; one with version 0 marks a delete.
        self._past: dict[bytes, list[KeyValue]] = {}
        self._past_order: list[bytes] = []
        self._log: list[WatchEvents] = []  # one entry a revision, the last one for `revision`
        self._pending: list[Event] = []

    # ------------------------------------------------------------ reading

    def get(self, key: bytes) -> KeyValue | None:
        """The key as it is now, or None."""
        return self._live.get(key)

    def read(self, key: bytes, range_end: bytes | None, revision: int, limit: int) -> tuple[list[KeyValue], int]:
        """Keys of a range in byte order, and how many the whole range has.

        Args:
            key: The key, or the start of the range.
            range_end: End of the range; None or empty for one key; a zero byte for every key from `key` on.
            revision: As of this revision; 0 or less for now. Ask `check_revision` first.
            limit: Most keys to return; 0 or less for all.
        """
        if 0 < revision < self.revision or (revision > 0 and self._pending):
            found = self._at(key, range_end, revision)
            return (found[:limit] if limit > 0 else found), len(found)
        names = self._names_now(key, range_end)
        wanted = names[:limit] if limit > 0 else names
        return [self._live[name] for name in wanted], len(names)

    def check_revision(self, revision: int) -> None:
        """Refuse to read at a revision that is gone or not there yet; 0 or less means now."""
        if revision <= 0:
            return
        if revision > self.revision:
            raise RequestMalformedError(f"revision {revision} lies ahead; the newest is {self.revision}")
        if revision < self.compact_revision:
            raise self._compacted(revision)

    def events_since(self, revision: int, key: bytes, range_end: bytes | None) -> list[WatchEvents]:
        """Changes in a range from `revision` on, one entry for each revision that touched it, in order.

        Raises:
            RevisionCompactedError: Some of them are gone.
        """
        if revision < self.compact_revision:
            raise self._compacted(revision)
        first_logged = self.revision - len(self._log) + 1
        wanted = _matcher(key, range_end)
        found = []
        for entry in self._log[max(0, revision - first_logged) :]:
            events = tuple(event for event in entry.events if wanted(event.kv.key))
            if events:
                found.append(WatchEvents(entry.revision, events))
        return found

    def _names_now(self, key: bytes, range_end: bytes | None) -> list[bytes]:
        if range_end:
            return _slice(self._live_order, key, range_end)
        return [key] if key in self._live else []

    def _at(self, key: bytes, range_end: bytes | None, revision: int) -> list[KeyValue]:
        names = _slice(self._past_order, key, range_end) if range_end else [key]
        versions = (_version_at(self._past.get(name, ()), revision) for name in names)
        return [kv for kv in versions if kv is not None]

    def _compacted(self, revision: int) -> RevisionCompactedError:
        return RevisionCompactedError(
            f"revision {revision} was compacted away; the oldest left is {self.compact_revision}",
            compact_revision=self.compact_revision,
        )

    # ------------------------------------------------------------ writing

    def put(self, key: bytes, value: bytes, lease: int) -> KeyValue | None:
        """Write a key at the coming revision. Returns what it replaced."""
        revision = self.revision + 1
        before = self._live.get(key)
        if before is None:
            kv = KeyValue(key, value, revision, revision, 1, lease)
            insort(self._live_order, key)
        else:
            kv = KeyValue(key, value, before.create_revision, revision, before.version + 1, lease)
        self._live[key] = kv
        self._remember(kv)
        self._pending.append(Event(EventKind.PUT, kv))
        return before

    def delete(self, key: bytes, range_end: bytes | None) -> list[KeyValue]:
        """Delete a key or range at the coming revision. Returns what was there."""
        revision = self.revision + 1
        gone = [self._live[name] for name in self._names_now(key, range_end)]
        for kv in gone:
            del self._live[kv.key]
            del self._live_order[bisect_left(self._live_order, kv.key)]
            tombstone = KeyValue(kv.key, b"", 0, revision, 0)
            self._remember(tombstone)
            self._pending.append(Event(EventKind.DELETE, tombstone))
        return gone

    def commit(self) -> None:
        """Give everything written since the last commit one revision; none when nothing was written."""
        if self._pending:
            self.revision += 1
            self._log.append(WatchEvents(self.revision, tuple(self._pending)))
            self._pending.clear()

    def compact(self, revision: int) -> None:
        """Forget every version that nobody can see at `revision` or later.

        Raises:
            RevisionCompactedError: That was done before.
            RequestMalformedError: The revision lies ahead.
        """
        if revision > self.revision:
            raise RequestMalformedError(f"revision {revision} lies ahead; the newest is {self.revision}")
        if revision <= self.compact_revision:
            raise self._compacted(revision)
        first_logged = self.revision - len(self._log) + 1
        del self._log[: max(0, revision - first_logged)]
        self.compact_revision = revision
        self._past = {key: kept for key, all_ in self._past.items() if (kept := _visible(all_, revision))}
        self._past_order = [key for key in self._past_order if key in self._past]
        self.bytes_held = sum(_bytes(kv) for versions in self._past.values() for kv in versions)

    def _remember(self, kv: KeyValue) -> None:
        versions = self._past.get(kv.key)
        if versions is None:
            self._past[kv.key] = [kv]
            insort(self._past_order, kv.key)
        else:
            versions.append(kv)
        self.bytes_held += _bytes(kv)


def _bytes(kv: KeyValue) -> int:
    return KEY_OVERHEAD_BYTES + len(kv.key) + len(kv.value)


def _slice(order: list[bytes], key: bytes, range_end: bytes) -> list[bytes]:
    begin = bisect_left(order, key)
    return order[begin:] if range_end == _FROM_KEY else order[begin : bisect_left(order, range_end)]


def _version_at(versions: list[KeyValue] | tuple[()], revision: int) -> KeyValue | None:
    after = bisect_right(versions, revision, key=_mod_revision)
    kv = versions[after - 1] if after else None
    return kv if kv is not None and kv.version else None


def _visible(versions: list[KeyValue], revision: int) -> list[KeyValue]:
    after = bisect_right(versions, revision, key=_mod_revision)
    first = after - 1 if after and versions[after - 1].version else after
    return versions[first:]


def _matcher(key: bytes, range_end: bytes | None) -> Callable[[bytes], bool]:
    if not range_end:
        return lambda name: name == key
    if range_end == _FROM_KEY:
        return lambda name: name >= key
    return lambda name: key <= name < range_end
