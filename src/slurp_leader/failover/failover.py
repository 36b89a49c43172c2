"""What a node has of failovers: the manifests it leaves, and the check of the one it was left."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from slurp_leader.clock import Clock, format_utc
from slurp_leader.errors import NotLeaderError, StoreError
from slurp_leader.failover.keeping import verify, write_demanded
from slurp_leader.failover.manifest import FailoverKeys, Manifest, ManifestReason
from slurp_leader.failover.verification import Verdict, Verification
from slurp_leader.jobs.inventory import Stock
from slurp_leader.resilience.retrying import trying_again
from slurp_leader.store import Delete, Put, Store, Txn
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.term import Term

_logger = logging.getLogger("slurp_leader.failover")

_BETWEEN_PAGES_S = 0.005
"""Pause after each page of keys, in which the threads that run jobs have the processor."""
_LEVELS = {
    Verdict.VERIFIED: logging.INFO,
    Verdict.UNVERIFIABLE: logging.WARNING,
    Verdict.MISMATCH: logging.ERROR,
}


class Failover:
    """Manifests of one node. Safe to use from any thread.

    Args:
        store: Where calls go. Not closed here.
        keyspace: Of the cluster.
        node_id: Who this is.
        stock: What this node has seen; must not take longer than some milliseconds.
        control: What is in force in etcd, for the manifest.
        settings: What is in force by this node's settings.
        timeout_s: Seconds for each call.
        clock: Source of time.
        metrics: Where measurements go.
    """

    begin_after_s = 1.0
    """The check begins so long after the takeover: claims come first. Longer: etcd may have compacted what it reads."""

    def __init__(
        self,
        store: Store,
        keyspace: Keyspace,
        *,
        node_id: str,
        stock: Callable[[], Stock],
        control: Callable[[], Mapping[str, Any]],
        settings: Mapping[str, Any],
        timeout_s: float,
        clock: Clock,
        metrics: Metrics | None = None,
    ) -> None:
        self._store = store
        self._keyspace = keyspace
        self._keys = FailoverKeys(keyspace)
        self._node_id = node_id
        self._stock = stock
        self._control = control
        self._settings = settings
        self._timeout_s = timeout_s
        self._clock = clock
        self._metrics = metrics or NoMetrics()
        self._lock = threading.Lock()  # guards _check and _stopped
        self._check: _Check | None = None
        self._stopped = False
        self.last: Verification | None = None
        """The newest check of this node; None: there was none."""

    # ------------------------------------------------------------ what is left

    def left_for(self, epoch: int, term: Term) -> tuple[Put | Delete, ...]:
        """What the transaction of a handover writes of it: always the same number of keys, however long the queue.

        Args:
            epoch: Of the term that begins.
            term: The one that ends.
        """
        manifest = self._manifest(term, epoch, ManifestReason.HANDOVER)
        if manifest is None:
            return ()
        return (Put(self._keys.of(manifest), manifest.to_value()), *self._keys.make_room(epoch))

    def write_down(self, term: Term | None, timeout_s: float) -> Manifest:
        """Write a manifest of how things stand, under the fence of this term. Waits for etcd.

        Raises:
            NotLeaderError: This node does not lead, or has seen nothing yet. Nothing was written.
            StoreError: No definite answer. It may be asked for again.
        """
        manifest = self._manifest(term, term.epoch, ManifestReason.DEMAND) if term is not None else None
        if term is None or manifest is None:
            raise NotLeaderError("only the leader writes down what it has seen; this node does not lead")
        return write_demanded(self._store, self._keys, term, manifest, timeout_s)

    def _manifest(self, term: Term, epoch: int, reason: ManifestReason) -> Manifest | None:
        stock = self._stock()
        if stock.revision == 0:
            return None  # nothing was seen yet
        return Manifest(
            epoch,
            term.token,
            stock,
            reason,
            self._node_id,
            format_utc(self._clock.utcnow()),
            self._settings,
            self._control(),
        )

    # ------------------------------------------------------------ what was left

    def took_over(self, term: Term) -> None:
        """This node was handed the lead: check later, on a thread of its own, what it was left. Returns at once."""
        with self._lock:
            if self._stopped:
                return
            if self._check is not None:
                self._check.ending.set()
            self._check = check = _Check(term)
            check.thread = threading.Thread(target=self._run, args=(check,), name="slurp-verify", daemon=True)
            check.thread.start()

    def stop(self) -> None:
        """Check no more. When this returns nothing is under way. Safe twice."""
        with self._lock:
            self._stopped = True
            check, self._check = self._check, None
        if check is not None and check.thread is not None:
            check.ending.set()
            check.thread.join()

    def _run(self, check: _Check) -> None:
        term = check.term
        found = replace(self._look(check), node_id=self._node_id)
        with self._lock:
            is_newest = self._check is check
            if is_newest:
                self.last = found
        self._tell(found, term)
        if is_newest:  # else its term is over, or the node stops, which waits for this thread: nothing is written
            self._note_down(found, term)

    def _look(self, check: _Check) -> Verification:
        """What is to be told of this takeover. Each has a verdict: who finds none cannot know that nobody looked."""
        epoch = check.term.epoch
        try:
            check.pause(self.begin_after_s)
            again = trying_again(_may_pass, failed=lambda error: None, pause=check.pause)
            return again(partial(self._verify, check))
        except _Ended:
            with self._lock:
                what = "the node stopped" if self._stopped else "the term was over"
            return Verification(epoch, Verdict.UNVERIFIABLE, f"{what} before what it was left was looked at")
        except StoreError as error:
            return Verification(epoch, Verdict.UNVERIFIABLE, f"etcd refuses to be read: {error}")

    def _verify(self, check: _Check) -> Verification:
        term = check.term
        return verify(
            self._store,
            self._keyspace,
            self._keys.manifest(term.epoch),
            term.epoch,
            clock=self._clock,
            timeout_s=self._timeout_s,
            token=term.token,
            settings=self._settings,
            between=lambda: check.pause(_BETWEEN_PAGES_S),
        )

    def _tell(self, found: Verification, term: Term) -> None:
        self._metrics.add(instruments.FAILOVER_CHECKS, outcome=found.verdict.value)
        log_event(
            _logger,
            _LEVELS[found.verdict],
            LogEvent.FAILOVER_CHECKED,
            outcome=found.verdict.value,
            epoch=found.epoch,
            token=term.token,
            revision=found.left.revision if found.left else None,
            jobs=found.left.counts.get("queue") if found.left else None,
            reason=found.why or None,
            differences=list(found.differences) or None,
            settings_changed=sorted(found.changed) or None,
            took_s=round(found.took_s, 3),
        )

    def _note_down(self, found: Verification, term: Term) -> None:
        """For people, beside the manifest; best effort."""
        try:
            txn = Txn(term.fence(), (Put(self._keys.check(term.epoch), found.to_value()),))
            self._store.call(txn, self._timeout_s).result()
        except StoreError as error:
            log_event(_logger, logging.DEBUG, LogEvent.COMMIT_REFUSED, what="check", reason=str(error))


class _Check:
    """One check under way."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self.ending = threading.Event()
        self.thread: threading.Thread | None = None

    def pause(self, seconds: float) -> None:
        """Wait; raise once there is no use in going on."""
        if self.ending.wait(seconds) or self.term.lost.is_set():
            raise _Ended


class _Ended(Exception):  # noqa: N818 - a way out, not a fault
    """The node stops, or the term is over."""


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, StoreError) and error.retryable
