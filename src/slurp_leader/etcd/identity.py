"""Whether it is still the same cluster, with the same history, that answers.

Restoring etcd from a snapshot gives a new cluster id and rolls revisions back; every token and every mirror of this
process is void then, so nothing may be sent any more.

A lower revision alone proves nothing: keepalive and status answers of a member that lags show lower ones than
were seen elsewhere, and etcd has had linearizable reads go stale for a moment after a pause. So only an answer to
a linearizable request counts that was sent *after* the higher revision had been received, and only when a second
one confirms it (PROTOCOL A10). A changed cluster id counts at once.
"""

from __future__ import annotations

import threading
from typing import Any

from slurp_leader.errors import Outcome, StoreChangedError


class ClusterIdentity:
    """What is known of the cluster. Threads: safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all below
        self._cluster_id = 0
        self._revision = 0
        self._refusal: str | None = None

    @property
    def revision(self) -> int:
        """The highest revision any answer has shown."""
        return self._revision

    def check(self) -> None:
        """Before sending anything.

        Raises:
            StoreChangedError: The cluster was found changed earlier.
        """
        if self._refusal is not None:
            raise StoreChangedError(self._refusal, outcome=Outcome.NOT_APPLIED)

    def observe(self, header: Any) -> None:
        """Take note of the header of an answer.

        Raises:
            StoreChangedError: It comes from another cluster than the first answer.
        """
        cluster_id, revision = header.cluster_id, header.revision
        if cluster_id == self._cluster_id and revision <= self._revision:
            return  # the common case, without the lock
        with self._lock:
            if self._cluster_id == 0:
                self._cluster_id = cluster_id
            if cluster_id != self._cluster_id:
                self._refusal = self._refusal or (
                    f"another etcd cluster answers: id {cluster_id:x}, before {self._cluster_id:x}. It was restored or "
                    "replaced, or etcd.endpoints name members of two clusters. Nothing more is sent: check etcd, then "
                    "start this process anew"
                )
                raise StoreChangedError(self._refusal)
            self._revision = max(self._revision, revision)

    def went_back(self, revision: int, seen_before: int) -> StoreChangedError:
        """Two answers agree on a revision below one that was seen before they were asked for: refuse from now on."""
        with self._lock:
            self._refusal = self._refusal or (
                f"the history of etcd went back: revision {revision} after {seen_before}. Its data was restored. "
                "Nothing more is sent: check etcd, then start this process anew"
            )
            return StoreChangedError(self._refusal)
