"""The picture: every live job of the cluster, in memory, kept by one watch over ``m/``.

Every candidate keeps one, so a new leader starts from memory, not from a scan. Per key the newer revision wins, so it
takes both what the watch delivers and, ahead of the watch, what this node's own commits wrote (`put`, `delete`).

It is *complete for token T* once `revision` >= T: etcd orders events, and every write of an older leader is below T
(PROTOCOL A15).

A record that cannot be read stops nothing (I7): it is noted in `parked` and its job, if any, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

from slurp_leader.errors import RecordError
from slurp_leader.jobs.ids import is_job_id
from slurp_leader.jobs.picking.control import NOTHING_ORDERED, QueueControl
from slurp_leader.jobs.records import (
    Cancel,
    Claim,
    ClaimEntry,
    Closed,
    JobKeys,
    JobState,
    JobStatus,
    Spec,
    read_closed,
    read_floor,
)
from slurp_leader.store import Event, EventKind, KeyValue
from slurp_leader.term import Grant

_LONGEST_TOKEN = 20
"""Digits of the largest revision."""

FRESH = JobState()
"""The state of a job that has no state record."""


@dataclass(slots=True, eq=False)
class Job:
    """A live job: its spec and the revision of its queue record, which is its incarnation and its place in line."""

    spec: Spec
    revision: int
    size: int

    @property
    def job_id(self) -> str:
        return self.spec.job_id


@dataclass(frozen=True, slots=True)
class StateView:
    """A state record and its revision; revision 0: there is none."""

    state: JobState = FRESH
    revision: int = 0


@dataclass(frozen=True, slots=True)
class CancelView:
    cancel: Cancel
    revision: int


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A claim record as it stands. `token`: of the leader that made it, from the key."""

    key: bytes
    revision: int
    token: int
    claim: Claim


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant as it stands; None: one that cannot be read."""

    key: bytes
    revision: int
    grant: Grant | None


_NO_STATE = StateView()


class Picture:
    """All live jobs. Not thread-safe: it belongs to one machine."""

    def __init__(self, keys: JobKeys) -> None:
        self._keys = keys
        self._start = len(keys.mirrored)
        self._gone: dict[bytes, int] = {}  # keys this node deleted ahead of the watch
        self._readers = {
            b"queue": self._read_queue,
            b"state": self._read_state,
            b"cancel": self._read_cancel,
            b"run": self._read_claim,
            b"control": self._read_control,
            b"parked": self._read_parked_note,
            b"grant": self._read_grant,
            b"nodes": self._read_session,
        }
        self.revision = 0
        """Everything up to here has been seen."""
        self.jobs: dict[str, Job] = {}
        self.states: dict[str, StateView] = {}
        self.cancels: dict[str, CancelView] = {}
        self.claims: dict[bytes, ClaimView] = {}
        self._entries: dict[str, dict[bytes, ClaimEntry]] = {}  # job id -> claims that name it
        self.parked: dict[bytes, str] = {}
        """Keys of records that cannot be read, and why."""
        self.notes: dict[bytes, int] = {}
        """Keys of the notes about them, and their revisions."""
        self.grants: dict[int, GrantView] = {}
        """Of terms that were handed over, by their token."""
        self.sessions: set[str] = set()
        """Of all nodes that live."""
        self.heirs_changed = 0
        """Counts changes of grants, and sessions that ended: what is an orphan may have changed with them."""
        self.floor: str | None = None
        self.floor_revision = 0
        self.control = NOTHING_ORDERED
        """What operators have ordered for the queue."""
        self.control_revision = 0
        """Newest revision that said something about it."""
        self.closed_revision = 0
        self.closed: Closed | None = None
        """Why no new jobs are admitted; empty: they are."""
        self._closed_seen = 0  # newest revision that said something about `closed`
        self.size = 0
        """Bytes of all queue records."""
        self.touched: set[str] = set()
        """Ids of jobs about which something changed; the owner takes them away."""

    # ------------------------------------------------------------ what comes in

    def load(self, revision: int, kvs: Iterable[KeyValue]) -> None:
        """Replace everything by a snapshot: what is not in it is gone, unless this node wrote it later."""
        newer = list(self._written_after(revision))
        gone = {key: at for key, at in self._gone.items() if at > revision}
        known_before = set(self.jobs)
        self._clear()
        for kv in kvs:
            if kv.mod_revision > gone.get(kv.key, 0):
                self._apply(kv.key, kv.value, kv.mod_revision)
        for kv in newer:
            self._apply(kv.key, kv.value, kv.mod_revision)
        self._gone = gone
        self.revision = max(self.revision, revision)
        self.touched |= known_before | set(self.jobs)

    def change(self, revision: int, events: Iterable[Event]) -> None:
        """Take what the watch delivered."""
        gone = self._gone
        for event in events:
            kv = event.kv
            if event.kind is EventKind.DELETE:
                self._apply(kv.key, None, kv.mod_revision)
            elif not gone or kv.mod_revision > gone.get(kv.key, 0):
                self._apply(kv.key, kv.value, kv.mod_revision)
        self.progress(revision)

    def progress(self, revision: int) -> None:
        """Everything up to `revision` has been seen."""
        self.revision = max(self.revision, revision)
        if self._gone:
            self._gone = {key: at for key, at in self._gone.items() if at > self.revision}

    def put(self, key: bytes, value: bytes, revision: int) -> None:
        """Note a write of this node that has committed."""
        if revision > self._gone.get(key, 0):
            self._apply(key, value, revision)

    def delete(self, key: bytes, revision: int) -> None:
        """Note a delete of this node that has committed."""
        self._apply(key, None, revision)
        if revision > self.revision:
            self._gone[key] = revision

    # ------------------------------------------------------------ questions

    def state_of(self, job_id: str) -> StateView:
        return self.states.get(job_id, _NO_STATE)

    def plain_jobs(self, but: Set[str]) -> list[Job]:
        """Jobs of which nothing is known but their spec, which wait for no date and end at none, and may be
        interrupted: nearly all of a long queue. Without those in `but`."""
        parked = {key.rpartition(b"/")[2].decode("ascii", "replace") for key in self.parked}
        more_known = set().union(self.states, self.cancels, self._entries, parked, but)
        return [job for job_id, job in self.jobs.items() if job_id not in more_known and _is_plain(job.spec)]

    def live_claims(self, job: Job) -> list[tuple[bytes, ClaimEntry]]:
        """Claims in which this job runs, by key. More than one only after something went wrong."""
        entries = self._entries.get(job.job_id)
        if not entries:
            return []
        closed = self.state_of(job.job_id).state.closed
        return [
            (key, entry)
            for key, entry in entries.items()
            if entry.queue_revision == job.revision and entry.run > closed
        ]

    def live_entries(self, view: ClaimView) -> list[ClaimEntry]:
        """Entries of a claim that are live: their job is there, in that incarnation, and that run is not closed."""
        return [
            entry
            for entry in view.claim.entries
            if (job := self.jobs.get(entry.job_id)) is not None
            and job.revision == entry.queue_revision
            and entry.run > self.state_of(entry.job_id).state.closed
        ]

    def lent_runs(self) -> int:
        """How many jobs old leaders still run under grants (A19). May be asked from any thread."""
        return sum(len(self.live_entries(view)) for view in self._lent_claims())

    def lent_specs(self) -> tuple[Spec, ...]:
        """The jobs that old leaders still run under grants."""
        return tuple(self.jobs[entry.job_id].spec for view in self._lent_claims() for entry in self.live_entries(view))

    def _lent_claims(self) -> list[ClaimView]:
        return [view for view in list(self.claims.values()) if view.token in self.grants] if self.grants else []

    def wanted_cancel(self, job: Job) -> Cancel | None:
        """The wish to end this incarnation of the job, if there is one."""
        view = self.cancels.get(job.job_id)
        return view.cancel if view is not None and view.cancel.queue_revision == job.revision else None

    def is_parked(self, job_id: str) -> bool:
        """Whether a record of this job cannot be read, so that it must not be run."""
        raw = job_id.encode()
        return bool(self.parked) and (self._keys.state + raw in self.parked or self._keys.queue + raw in self.parked)

    def status(self, job: Job, today: str) -> JobStatus:
        """Where a job stands; `today` in the form of `run_at`."""
        if self.is_parked(job.job_id):
            return JobStatus.PARKED
        if self.live_claims(job):
            return JobStatus.RUNNING
        run_at = due_at(job, self.state_of(job.job_id).state)
        return JobStatus.SCHEDULED if run_at is not None and run_at > today else JobStatus.PENDING

    # ------------------------------------------------------------ reading records

    def _apply(self, key: bytes, value: bytes | None, revision: int) -> None:
        kind, _, name = key[self._start :].partition(b"/")
        reader = self._readers.get(kind)
        if reader is None:
            return
        if self.parked:
            self.parked.pop(key, None)
        try:
            reader(key, name, value, revision)
        except RecordError as error:
            self.parked[key] = str(error)
            self.touched.add(name.decode("ascii", "replace"))

    def _read_queue(self, key: bytes, name: bytes, value: bytes | None, revision: int) -> None:
        job_id = name.decode("ascii", "replace")
        known = self.jobs.get(job_id)
        if known is not None and known.revision >= revision:
            return
        if known is not None:
            del self.jobs[job_id]
            self.size -= known.size
        self.touched.add(job_id)
        if value is not None:
            self.jobs[job_id] = Job(Spec.from_value(key, value), revision, len(value))
            self.size += len(value)

    def _read_state(self, key: bytes, name: bytes, value: bytes | None, revision: int) -> None:
        job_id = name.decode("ascii", "replace")
        if self.state_of(job_id).revision >= revision:
            return
        self.touched.add(job_id)
        self.states.pop(job_id, None)
        if value is not None:
            _require_job_id(key, job_id)
            self.states[job_id] = StateView(JobState.from_value(key, value), revision)

    def _read_cancel(self, key: bytes, name: bytes, value: bytes | None, revision: int) -> None:
        job_id = name.decode("ascii", "replace")
        known = self.cancels.get(job_id)
        if known is not None and known.revision >= revision:
            return
        self.touched.add(job_id)
        self.cancels.pop(job_id, None)
        if value is not None:
            _require_job_id(key, job_id)
            self.cancels[job_id] = CancelView(Cancel.from_value(key, value), revision)

    def _read_claim(self, key: bytes, name: bytes, value: bytes | None, revision: int) -> None:
        known = self.claims.get(key)
        if known is not None and known.revision >= revision:
            return
        if known is not None:
            del self.claims[key]
            for entry in known.claim.entries:
                self._forget_entry(entry.job_id, key)
        if value is None:
            return
        head = name.partition(b"-")[0]
        if not head.isdigit() or len(head) > _LONGEST_TOKEN:
            raise RecordError(
                f"{key.decode('ascii', 'replace')}: no token in the key", key=key.decode("ascii", "replace")
            )
        view = ClaimView(key, revision, int(head), Claim.from_value(key, value))
        self.claims[key] = view
        for entry in view.claim.entries:
            self._entries.setdefault(entry.job_id, {})[key] = entry
            self.touched.add(entry.job_id)

    def _forget_entry(self, job_id: str, key: bytes) -> None:
        self.touched.add(job_id)
        entries = self._entries.get(job_id)
        if entries is not None:
            entries.pop(key, None)
            if not entries:
                del self._entries[job_id]

    def _read_control(self, key: bytes, name: bytes, value: bytes | None, revision: int) -> None:
        if name == b"floor" and revision > self.floor_revision:
            self.floor_revision = revision
            self.floor = None if value is None else read_floor(value)
            if value is not None and self.floor is None:
                raise _unreadable(key, "not a job id")
        elif name == b"closed" and revision > self._closed_seen:
            self._closed_seen = revision
            self.closed_revision = 0 if value is None else revision
            self.closed = None if value is None else read_closed(key, value)
        elif name == b"queue" and revision > self.control_revision:
            self.control_revision = revision
            self.control = NOTHING_ORDERED  # also when it cannot be read
            if value is not None:
                self.control = QueueControl.from_value(key, value)

    def _read_parked_note(self, key: bytes, name: bytes, value: bytes | None, revision: int) -> None:
        if value is None:
            self.notes.pop(key, None)
        else:
            self.notes[key] = revision

    def _read_grant(self, key: bytes, name: bytes, value: bytes | None, revision: int) -> None:
        if not name.isdigit() or len(name) > _LONGEST_TOKEN:
            raise _unreadable(key, "no token in the key")
        token = int(name)
        self.heirs_changed += 1
        known = self.grants.pop(token, None)
        if known is not None and known.revision > revision:
            self.grants[token] = known
        elif value is not None:
            self.grants[token] = GrantView(key, revision, _grant_of(key, value))

    def _read_session(self, key: bytes, name: bytes, value: bytes | None, revision: int) -> None:
        session = name.rpartition(b"/")[2].decode("ascii", "replace")
        if value is None:
            self.heirs_changed += 1
            self.sessions.discard(session)
        else:
            self.sessions.add(session)

    # ------------------------------------------------------------ snapshots

    def _clear(self) -> None:
        for known in (self.jobs, self.states, self.cancels, self.claims, self._entries, self.parked, self.notes):
            known.clear()
        self.grants.clear()
        self.sessions.clear()
        self.heirs_changed += 1
        self.floor, self.floor_revision, self.closed_revision, self._closed_seen, self.size = None, 0, 0, 0, 0
        self.control, self.control_revision, self.closed = NOTHING_ORDERED, 0, None

    def _written_after(self, revision: int) -> Iterator[KeyValue]:
        """Records this node wrote after a snapshot was taken; a handful at most."""
        keys = self._keys
        for job_id, job in self.jobs.items():
            if job.revision > revision:
                yield _record(keys.queue + job_id.encode(), job.spec.to_value(), job.revision)
        for job_id, view in self.states.items():
            if view.revision > revision:
                yield _record(keys.state + job_id.encode(), view.state.to_value(), view.revision)
        for job_id, wish in self.cancels.items():
            if wish.revision > revision:
                yield _record(keys.cancel + job_id.encode(), wish.cancel.to_value(), wish.revision)
        for key, claim in self.claims.items():
            if claim.revision > revision:
                yield _record(key, claim.claim.to_value(), claim.revision)


def _is_plain(spec: Spec) -> bool:
    limits = spec.limits
    return (
        spec.run_at is None
        and spec.deadline is None
        and limits.queue_timeout_s is None
        and limits.max_interruptions > 0
    )


def _grant_of(key: bytes, value: bytes) -> Grant | None:
    try:
        return Grant.from_value(key, value)
    except RecordError:
        return None


def due_at(job: Job, state: JobState) -> str | None:
    """The date before which a job must not run; None: at once."""
    return state.run_at if state.run_at is not None else (job.spec.run_at if state is FRESH else None)


def _require_job_id(key: bytes, job_id: str) -> None:
    if not is_job_id(job_id):
        raise _unreadable(key, "the key does not end with a job id")


def _unreadable(key: bytes, why: str) -> RecordError:
    name = key.decode("ascii", "replace")
    return RecordError(f"{name}: {why}", key=name)


def _record(key: bytes, value: bytes, revision: int) -> KeyValue:
    return KeyValue(key, value, revision, revision, 1)
