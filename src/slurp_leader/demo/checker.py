"""The judge: from what etcd committed, in order, to a verdict. Plain functions over values; believes nobody.

A history is every change under the cluster's prefix since the first revision, as `Event`. What is judged:

* every accepted job has exactly one outcome, and that is *completed*;
* an outcome is written while the leader key names the term of its token, and in the revision that ends the job;
* the leader key is written once in each term.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from slurp_leader.election.records import LeaderRecord
from slurp_leader.errors import RecordError
from slurp_leader.jobs.records import JobKeys, JobOutcome, JobStatus
from slurp_leader.store import Event, EventKind
from slurp_leader.store.keyspace import Keyspace

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Reign:
    """One term of one leader, and how many outcomes were committed under its token."""

    token: int
    node_id: str
    epoch: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the accepted jobs. Where ids are given, they are in the order of submission.

    Attributes:
        accepted: Jobs whose submit was answered.
        completed, failed, cancelled: Of these, by their outcome; the first one where there are two.
        first_failure: What the first failed one says of itself; empty when there is none.
        lost: Ids without an outcome.
        twice: Ids with more than one.
        interrupted: Ids that were interrupted at least once, and completed.
        reigns: All terms, in order.
        violations: Other promises that were broken, in words.
    """

    accepted: int
    completed: int
    failed: int
    cancelled: int
    first_failure: str
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    interrupted: tuple[str, ...]
    reigns: tuple[Reign, ...]
    violations: tuple[str, ...]

    def problems(self, leaders_wanted: int) -> list[str]:
        """Why this is not the history that was promised; empty when it is.

        Args:
            leaders_wanted: Terms that must have committed outcomes.
        """
        found = []
        for what, ids in (("lost", self.lost), ("recorded twice", self.twice)):
            if ids:
                found.append(f"{what}: {len(ids)} of {self.accepted} accepted jobs ({_some(ids)})")
        if self.failed:
            found.append(f"failed: {self.failed} of {self.accepted} accepted jobs; the first one: {self.first_failure}")
        if self.cancelled:
            found.append(f"cancelled: {self.cancelled} of {self.accepted} accepted jobs")
        committed = sum(1 for reign in self.reigns if reign.outcomes)
        if committed < leaders_wanted:
            found.append(f"terms that committed outcomes: {committed}; wanted: {leaders_wanted}")
        if not self.accepted:
            found.append("no job was accepted")
        return found + list(self.violations)


def check(history: Iterable[Event], accepted: Collection[str], keyspace: Keyspace) -> Verdict:
    """Judge a history.

    Args:
        history: Every change since the first revision, in order.
        accepted: Ids of the jobs whose submit was answered, in the order of submission.
        keyspace: Of the cluster.
    """
    reading = _Reading(JobKeys(keyspace))
    for event in history:
        reading.take(event)
    reading.close()
    first = {job_id: reading.outcomes[job_id][0] for job_id in accepted if job_id in reading.outcomes}
    by_status = {status: [job for job, end in first.items() if end.status is status] for status in JobStatus}
    failures = [str((first[job_id].error or {}).get("message", "")) for job_id in by_status[JobStatus.FAILED]]
    return Verdict(
        accepted=len(accepted),
        completed=len(by_status[JobStatus.COMPLETED]),
        failed=len(by_status[JobStatus.FAILED]),
        cancelled=len(by_status[JobStatus.CANCELLED]),
        first_failure=failures[0] if failures else "",
        lost=tuple(job_id for job_id in accepted if job_id not in first),
        twice=tuple(job_id for job_id in accepted if len(reading.outcomes.get(job_id, ())) > 1),
        interrupted=tuple(job_id for job_id in by_status[JobStatus.COMPLETED] if first[job_id].interruptions),
        reigns=tuple(reading.reigns()),
        violations=tuple(reading.violations),
    )


@dataclass(slots=True)
class _Reading:
    """One pass over a history."""

    keys: JobKeys
    terms: dict[int, LeaderRecord | None] = field(default_factory=dict)
    token: int = 0
    """Of the term in force; 0: nobody leads."""
    outcomes: dict[str, list[JobOutcome]] = field(default_factory=lambda: defaultdict(list))
    queued: set[str] = field(default_factory=set)
    """Jobs whose request was ever written."""
    ended: dict[str, int] = field(default_factory=dict)
    """Job to the revision of its newest outcome."""
    deleted: dict[str, int] = field(default_factory=dict)
    """Job to the revision at which its request was deleted."""
    revision: int = 0
    violations: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        key, kv = event.kv.key, event.kv
        if kv.mod_revision < self.revision:
            self.violations.append(f"the history is out of order at revision {kv.mod_revision}")
        self.revision = max(self.revision, kv.mod_revision)
        if key.startswith(self.keys.done):
            if event.kind is EventKind.PUT:
                self._outcome(event)
        elif key.startswith(self.keys.queue):
            self._queue(event)
        elif is_leader_key(key, self.keys):
            self._leader(event)

    def _leader(self, event: Event) -> None:
        revision = event.kv.mod_revision
        if event.kind is EventKind.DELETE:
            self.token = 0
            return
        before, record = self.terms.get(self.token), read_leader(event)
        # A key that is written over ends a term as well: candidates steal it from a leader that fell silent.
        if before is not None and record is not None and before.term_id == record.term_id:
            self.violations.append(f"the leader key was written again at revision {revision}, within one term")
        self.token = revision
        self.terms[revision] = record

    def _queue(self, event: Event) -> None:
        job_id = event.kv.key[len(self.keys.queue) :].decode("ascii", "replace")
        if event.kind is EventKind.DELETE:
            self.deleted[job_id] = event.kv.mod_revision
            return
        if job_id in self.queued:
            self.violations.append(f"the request of job {job_id} was written again, at {event.kv.mod_revision}")
        self.queued.add(job_id)

    def _outcome(self, event: Event) -> None:
        job_id = event.kv.key[len(self.keys.done) :].decode("ascii", "replace")
        self.ended[job_id] = event.kv.mod_revision
        try:
            outcome = JobOutcome.from_value(event.kv.key, event.kv.value)
        except RecordError as error:
            self.violations.append(f"an outcome cannot be read: {error}")
            return
        if event.kv.version > 1 and not self.outcomes[job_id]:
            self.outcomes[job_id].append(outcome)  # stands for the one before it, which was never seen
        self.outcomes[job_id].append(outcome)
        if outcome.token != self.token:
            in_force = f"token {self.token} was in force" if self.token else "nobody led"
            self.violations.append(f"job {job_id} ended under token {outcome.token} when {in_force}")

    def close(self) -> None:
        """After the last event: a request goes in the revision that brings the outcome, and in no other."""
        for job_id in dict.fromkeys([*self.deleted, *self.ended]):
            deleted, ended = self.deleted.get(job_id), self.ended.get(job_id)
            if deleted != ended:
                when = f"outcome at revision {ended}, request deleted at {deleted}"
                self.violations.append(f"job {job_id} did not end in one transaction: {when}")

    def reigns(self) -> Iterable[Reign]:
        counts = Counter(end.token for ends in self.outcomes.values() for end in ends)
        for token, record in self.terms.items():
            yield Reign(token, record.node_id if record else "?", record.epoch if record else 0, counts[token])


def is_leader_key(key: bytes, keys: JobKeys) -> bool:
    """Whether this is the leader key of an election of the cluster."""
    return key.startswith(keys.mirrored + b"election/") and key.endswith(b"/leader")


def read_leader(event: Event) -> LeaderRecord | None:
    """Who wrote the leader key; None when that cannot be read."""
    try:
        return LeaderRecord.from_value(event.kv.key, event.kv.value)
    except RecordError:
        return None


def _some(ids: Collection[str]) -> str:
    shown = ", ".join(list(ids)[:_SHOWN])
    return shown if len(ids) <= _SHOWN else f"{shown} ..."
