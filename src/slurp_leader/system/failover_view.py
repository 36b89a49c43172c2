"""``system.failover``: what leaders left to their successors, and whether it was found so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import NotLeaderError
from slurp_leader.failover import Failover, FailoverKeys, Manifest, Verification
from slurp_leader.failover.keeping import Kept, read_kept, verify_kept
from slurp_leader.store import Store
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.term import Term

FAILOVER_VERBS = frozenset({"manifest", "verify"})
"""Those of its verbs that ``system.aio`` has."""


class FailoverView:
    """``system.failover``: ``manifest``, ``verify``, ``kept``, ``last``.

    Args:
        store: Where to read; raises LifecycleError while nothing runs.
        own: What this node has of failovers, and its term; None: this is no candidate, or it is not running.
        keyspace: Of the cluster.
        clock: Source of time.
        settings: In force here, to be compared with those in manifests.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        own: Callable[[], tuple[Failover, Term | None] | None],
        keyspace: Keyspace,
        clock: Clock,
        settings: Callable[[], dict[str, Any]],
    ) -> None:
        self._store = store
        self._own = own
        self._keyspace = keyspace
        self._keys = FailoverKeys(keyspace)
        self._clock = clock
        self._settings = settings

    def __repr__(self) -> str:
        return "<FailoverView: manifest, verify, kept, last>"

    @property
    def last(self) -> Verification | None:
        """What this node found when it was handed the lead, the last time; None: it was not, or is looking yet."""
        own = self._own()
        return own[0].last if own else None

    def manifest(self, timeout: float = 5.0) -> Manifest:
        """Write down what this leader has seen of the queue: counts, hash, and what is in force. At a handover that is
        done by itself.

        In a coroutine: ``await system.aio.manifest()``.

        Raises:
            NotLeaderError: This node does not lead. Nothing was written.
            StoreError: No definite answer within `timeout` seconds. It may be asked for again.
            LifecycleError: Not started.
        """
        self._store()
        own = self._own()
        failover, term = own if own is not None else (None, None)
        if failover is None:
            raise NotLeaderError("only the leader writes down what it has seen; this system is no candidate")
        return failover.write_down(term, timeout)

    def verify(self, epoch: int | None = None, timeout: float = 5.0) -> Verification:
        """Compare a manifest with what etcd had at its revision. From any process; a new leader does it by itself.

        In a coroutine: ``await system.aio.verify()``.

        Args:
            epoch: Of the term it was left for, or asked for in; None: the newest manifest of all.
            timeout: Seconds for each page of keys.

        Raises:
            StoreError: etcd did not answer, or refused.
            LifecycleError: Not started.
        """
        return verify_kept(self._store(), self._keyspace, epoch, self._clock, timeout, self._settings())

    def kept(self, timeout: float = 5.0) -> list[Kept]:
        """What is kept of the newest epochs: manifests, and what the successors found. The newest first.

        Raises:
            StoreError: etcd did not answer, or refused.
            LifecycleError: Not started.
        """
        return read_kept(self._store(), self._keys, timeout)
