"""Payloads that no record refers to: of writes whose record was never committed, and of outcomes that were pruned.

What is an orphan is a plan over values. Only age makes it safe to delete one: a leader puts a payload *before* it
commits the record, so for a while every new payload looks like an orphan; and bytes that a pruned record referred to
may be put again for another one, which refreshes their time (PROTOCOL A28).
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from slurp_leader.errors import PayloadError
from slurp_leader.payloads.port import PayloadEntry, PayloadStore
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.payloads")

GRACE = timedelta(hours=24)
"""So long a payload that nothing refers to is left alone after it was put or touched: longer than a leader may hold a
result that it cannot record, and than the clocks of machines differ."""
_MOST = 500
"""Payloads deleted in one round."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One round: a shard, and what records refer to in it.

    Attributes:
        as_of: The date at which `referenced` was complete. Every record that came later was preceded by a put, and that
            refreshed the time of its payload: so age is counted from this date, however late the round is made.
    """

    shard: str
    referenced: Set[str]
    as_of: datetime


def orphans(
    entries: Iterable[PayloadEntry], referenced: Set[str], as_of: datetime, most: int = _MOST
) -> tuple[str, ...]:
    """Which of the entries may be deleted: nothing refers to them, and nobody touched them for `GRACE`; the oldest
    first, `most` at most. One whose time is not known stays."""
    old = [
        (entry.touched_at, entry.reference)
        for entry in entries
        if entry.touched_at is not None and entry.touched_at < as_of - GRACE and entry.reference not in referenced
    ]
    return tuple(reference for _, reference in sorted(old)[:most])


class Collector:
    """Makes rounds on a thread of its own: a slow store must not hold up the leader.

    Args:
        store: Where payloads are.
    """

    def __init__(self, store: PayloadStore) -> None:
        self._store = store
        self._inbox: queue.Queue[Collection | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._run, name="slurp-payloads", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End after the round under way. Safe twice and before `start`. Returns whether the thread has ended."""
        if not self._thread.is_alive():
            return True
        try:
            self._inbox.get_nowait()
        except queue.Empty:
            pass
        self._inbox.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def collect(self, collection: Collection) -> None:
        """Make a round. Never waits: while one is under way, another is left out, and comes round again."""
        try:
            self._inbox.put_nowait(collection)
        except queue.Full:
            pass

    def _run(self) -> None:
        while (collection := self._inbox.get()) is not None:
            make_round(self._store, collection)


def make_round(store: PayloadStore, collection: Collection) -> int:
    """Delete the orphans of one shard. What the store does not do now comes round again.

    Returns:
        How many were deleted.
    """
    deleted = 0
    try:
        found = orphans(store.list(collection.shard), collection.referenced, collection.as_of)
        for reference in found:
            deleted += store.delete(reference, untouched_since=collection.as_of - GRACE)
    except PayloadError as error:
        log_event(_logger, logging.WARNING, LogEvent.PAYLOAD_STORE_FAILED, doing="collect", error=str(error))
    if deleted:
        log_event(_logger, logging.INFO, LogEvent.PAYLOAD_COLLECTED, count=deleted)
    return deleted
