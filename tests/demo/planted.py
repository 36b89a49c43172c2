"""Histories written by hand: what etcd would have committed, event by event."""

from __future__ import annotations

from typing import Any

from slurp_leader.election.records import ElectionKeys, LeaderRecord
from slurp_leader.jobs.records import JobKeys, JobOutcome, JobStatus
from slurp_leader.store import Event, EventKind, KeyValue
from slurp_leader.store.keyspace import Keyspace

KEYSPACE = Keyspace("planted")
A, B, C, D = (f"00000000-0000-7000-8000-00000000000{letter}" for letter in "abcd")
"""Ids of jobs."""
_DATE = "2026-01-31T12:00:00.000Z"


class History:
    """Grows by one revision with each call, as etcd does."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.revision = 1
        self._keys = JobKeys(KEYSPACE)
        self._leader_key = ElectionKeys.of(KEYSPACE, "slurp").leader
        self._versions: dict[bytes, int] = {}

    def elect(self, node: str, epoch: int, term_id: str | None = None) -> int:
        """Somebody wins. Returns the token."""
        record = LeaderRecord(node, f"session-{node}", term_id or f"term-{epoch}", 3, epoch)
        self._put(self._leader_key, record.to_value())
        return self._next()

    def vacate(self) -> None:
        """The leader key goes with its lease."""
        self._delete(self._leader_key)
        self._next()

    def submit(self, *jobs: str) -> None:
        for job in jobs:
            self._put(self._keys.queue + job.encode(), b"{}")
            self._next()

    def fail(self, job: str, token: int, message: str) -> None:
        """As `end`, of a job that failed."""
        self.end(job, token, JobStatus.FAILED, error={"code": "missing", "message": message})

    def end(
        self,
        job: str,
        token: int,
        status: JobStatus = JobStatus.COMPLETED,
        *,
        interruptions: int = 0,
        keep: bool = False,
        error: dict[str, Any] | None = None,
    ) -> None:
        """The transaction that records an outcome and, unless `keep`, deletes the request."""
        outcome = JobOutcome(
            job_id=job,
            status=status,
            op=f"op-{self.revision}",
            token=token,
            run=1,
            queue_revision=1,
            attempts=0,
            interruptions=interruptions,
            submitted_at=_DATE,
            started_at=_DATE,
            finished_at=_DATE,
            node_id="node-1",
            result_json=None if error else b"{}",
            error=error,
        )
        self._put(self._keys.done + job.encode(), outcome.to_value(4096))
        if not keep:
            self._delete(self._keys.queue + job.encode())
        self._next()

    def corrupt_outcome(self, job: str) -> None:
        self._put(self._keys.done + job.encode(), b"not json")
        self._delete(self._keys.queue + job.encode())
        self._next()

    def prune(self, job: str) -> None:
        """An outcome is deleted by age."""
        self._delete(self._keys.done + job.encode())
        self._next()

    def drop_request(self, job: str) -> None:
        """A request goes, and nothing says why."""
        self._delete(self._keys.queue + job.encode())
        self._next()

    def _put(self, key: bytes, value: bytes) -> None:
        version = self._versions[key] = self._versions.get(key, 0) + 1
        self.events.append(Event(EventKind.PUT, KeyValue(key, value, self.revision, self.revision, version)))

    def _delete(self, key: bytes) -> None:
        self._versions.pop(key, None)
        self.events.append(Event(EventKind.DELETE, KeyValue(key, b"", 0, self.revision, 0)))

    def _next(self) -> int:
        self.revision += 1
        return self.revision - 1


def takeover() -> tuple[History, int, int]:
    """Two jobs, each ended under another leader; the second was interrupted. And both tokens."""
    history = History()
    first = history.elect("node-1", 1)
    history.submit(A, B)
    history.end(A, first)
    history.vacate()
    second = history.elect("node-2", 2)
    history.end(B, second, interruptions=1)
    return history, first, second
