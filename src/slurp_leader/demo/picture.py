"""How things stand, by the records that the checker judges: for the screen, and for choosing the moment to kill."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from slurp_leader.demo.checker import is_leader_key, read_leader
from slurp_leader.errors import RecordError
from slurp_leader.jobs.records import Claim, JobKeys, JobOutcome, JobStatus
from slurp_leader.store import Event, EventKind
from slurp_leader.store.keyspace import Keyspace

_RATE_WINDOW_S = 3.0
_RECENT = 4


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, by the leader key."""

    node_id: str
    epoch: int
    token: int


@dataclass(frozen=True, slots=True)
class LeaderChange:
    """The leader key was written (`leader`), or went (None), and this process saw it at `at_s` (boot time)."""

    at_s: float
    leader: Leader | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An outcome that was just recorded."""

    node_id: str
    status: JobStatus
    role: str
    path: str
    summary: str


@dataclass(slots=True)
class Picture:
    """Learns one event after the other. Not safe for use from several threads: the witness guards it."""

    keyspace: Keyspace
    leader: Leader | None = None
    changes: list[LeaderChange] = field(default_factory=list)
    standing: set[str] = field(default_factory=set)
    """Nodes with a live session, by their lease."""
    waiting: set[str] = field(default_factory=set)
    """Jobs with a request and no outcome, running ones included."""
    claimed: dict[bytes, set[str]] = field(default_factory=dict)
    outcomes: dict[int, int] = field(default_factory=dict)
    """Outcomes by token."""
    ended: set[str] = field(default_factory=set)
    recent: deque[Recorded] = field(default_factory=lambda: deque(maxlen=_RECENT))
    progressed_at_s: float | None = None
    """When a leader, a request or an outcome was last written."""
    first_outcome_s: dict[int, float] = field(default_factory=dict)
    """When the first outcome under each token was seen."""
    last_outcome_s: float | None = None
    """When the newest outcome was seen."""
    _sessions: dict[bytes, str] = field(default_factory=dict)
    _ends: deque[float] = field(default_factory=deque)

    def learn(self, event: Event, at_s: float) -> None:
        """Take in the next event, seen at boot time `at_s`."""
        keys, key = JobKeys(self.keyspace), event.kv.key
        if key.startswith(keys.done):
            self._learn_outcome(event, at_s)
        elif key.startswith(keys.queue):
            self._learn_request(key[len(keys.queue) :].decode("ascii", "replace"), event, at_s)
        elif key.startswith(keys.run):
            self._learn_claim(event)
        elif is_leader_key(key, keys):
            self._learn_leader(event, at_s)
        elif key.startswith(self.keyspace.mirrored + b"nodes/"):
            self._learn_session(event)

    @property
    def running(self) -> int:
        """Jobs that are claimed and have not ended, as far as the records say."""
        return sum(len(jobs) for jobs in self.claimed.values())

    def rate(self, now: float) -> float:
        """Outcomes a second, over the last few seconds."""
        while self._ends and self._ends[0] < now - _RATE_WINDOW_S:
            self._ends.popleft()
        return len(self._ends) / _RATE_WINDOW_S

    # ------------------------------------------------------------ kinds of records

    def _learn_leader(self, event: Event, at_s: float) -> None:
        self.progressed_at_s = at_s
        if event.kind is EventKind.DELETE:
            self.leader = None
        else:
            record = read_leader(event)
            name, epoch = (record.node_id, record.epoch) if record else ("?", 0)
            self.leader = Leader(name, epoch, event.kv.mod_revision)
        self.changes.append(LeaderChange(at_s, self.leader))

    def _learn_session(self, event: Event) -> None:
        if event.kind is EventKind.DELETE:
            self._sessions.pop(event.kv.key, None)
        else:
            prefix = len(self.keyspace.mirrored + b"nodes/")
            self._sessions[event.kv.key] = event.kv.key[prefix:].partition(b"/")[0].decode("ascii", "replace")
        self.standing = set(self._sessions.values())

    def _learn_request(self, job_id: str, event: Event, at_s: float) -> None:
        if event.kind is EventKind.DELETE:
            self.waiting.discard(job_id)
        else:
            self.progressed_at_s = at_s
            self.waiting.add(job_id)

    def _learn_claim(self, event: Event) -> None:
        if event.kind is EventKind.DELETE:
            self.claimed.pop(event.kv.key, None)
            return
        try:
            claim = Claim.from_value(event.kv.key, event.kv.value)
        except RecordError:
            return  # the checker judges; here it is only not counted
        self.claimed[event.kv.key] = {entry.job_id for entry in claim.entries} - self.ended

    def _learn_outcome(self, event: Event, at_s: float) -> None:
        if event.kind is EventKind.DELETE:
            return
        self.progressed_at_s = at_s
        try:
            outcome = JobOutcome.from_value(event.kv.key, event.kv.value)
        except RecordError:
            return
        self.ended.add(outcome.job_id)
        for jobs in self.claimed.values():
            jobs.discard(outcome.job_id)
        self.outcomes[outcome.token] = self.outcomes.get(outcome.token, 0) + 1
        self.first_outcome_s.setdefault(outcome.token, at_s)
        self.last_outcome_s = at_s
        self._ends.append(at_s)
        self.recent.append(_recorded(outcome))


def _recorded(outcome: JobOutcome) -> Recorded:
    result = outcome.result
    node = result if isinstance(result, dict) else {}
    error = outcome.error or {}
    return Recorded(
        outcome.node_id,
        outcome.status,
        str(node.get("role", "")),
        str(node.get("path", "")),
        str(node.get("summary", "") or error.get("message", "")),
    )
