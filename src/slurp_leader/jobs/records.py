"""The records of jobs: what is written under which key. JSON objects; unknown fields are ignored, never refused, and
kept where a record is written anew (`JobState`), or goes on in another one (the request of a job that failed).

=========================  ==========================================================================================
``m/queue/{id}``           `Spec`: the request and its options, as resolved at submit. Written once. Its revision is the
                           job's incarnation; it is deleted only together with the writing of the outcome
``m/run/{token}-{seq}``    `Claim`: who runs in this flush: ``[[id, queue revision, run number], ...]``
``m/state/{id}``           `JobState`: only off the happy path (a retry, an interruption)
``m/cancel/{id}``          `Cancel`: a wish; names the incarnation it means
``m/grant/{token}``        `slurp_leader.term.Grant`: the right of an old leader to end what it had under way
``m/control/floor``        the pruning floor: a job id as JSON text. Ids at or below it are over
``m/control/closed``       there while no new jobs are admitted, and says why
``m/control/queue``        `picking.control.QueueControl`: what operators have paused, limited, and want to be drained
``m/parked/{kind}/{id}``   a note about a record that cannot be read; the record itself stays where it is
``b/done/{id}``            `JobOutcome`: how it ended; of a large result the reference of its payload
``b/idem/{hash}``          which job an idempotency key stands for
``b/progress/{id}``        the newest progress of a running job
``b/checkpoint/{id}``      what its next run is to find; goes with the outcome
=========================  ==========================================================================================

Status of a job: in ``done/`` it has ended; in a *live* entry of a claim it runs; with a `run_at` in ``state/`` it is
scheduled; else it is pending. An entry is live if and only if ``queue/{id}`` has the revision in it and its run number
is above the last closed one in ``state/`` (PROTOCOL B).

``done/`` lies under ``b/`` because results can be large and the leader does not need them to run jobs: a takeover reads
live jobs only. Those who wait for outcomes watch that one kind.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pydantic_core import from_json, to_json

from slurp_leader.clock import format_utc, parse_utc
from slurp_leader.errors import PayloadError, RecordError
from slurp_leader.jobs.ids import is_job_id
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.use import Use
from slurp_leader.payloads.port import is_reference
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.records import SCHEMA, read_object, unknown

ERRORS_KEPT = 5
_MOST_INFLATED = 64 * 1024 * 1024
LARGEST_PAYLOAD = 1024 * 1024 * 1024
"""Bytes. What a record says is held in memory when it is read, and the record may be forged."""
_ABOVE_ALL = "f"
"""No calendar gives an id that begins like this: a floor there would leave no room to mint above it."""


class JobStatus(StrEnum):
    """Where a job stands. `failed` is the dead-letter list."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PARKED = "parked"

    @property
    def is_final(self) -> bool:
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class JobKeys:
    """Keys of one cluster's jobs."""

    __slots__ = (
        "cancel",
        "checkpoint",
        "closed",
        "control",
        "done",
        "floor",
        "grant",
        "idem",
        "mirrored",
        "parked",
        "progress",
        "queue",
        "queue_control",
        "run",
        "state",
    )

    def __init__(self, keyspace: Keyspace) -> None:
        m, b = keyspace.mirrored, keyspace.bulk
        self.mirrored = m
        self.queue, self.run, self.state, self.cancel = m + b"queue/", m + b"run/", m + b"state/", m + b"cancel/"
        self.control, self.parked, self.grant = m + b"control/", m + b"parked/", m + b"grant/"
        self.floor, self.closed = self.control + b"floor", self.control + b"closed"
        self.queue_control = self.control + b"queue"
        self.done, self.idem, self.progress = b + b"done/", b + b"idem/", b + b"progress/"
        self.checkpoint = b + b"checkpoint/"

    def grant_of(self, token: int) -> bytes:
        """Key of the grant that the term with this token left behind."""
        return self.grant + b"%d" % token

    def note_of(self, key: bytes) -> bytes:
        """Key of the note that a record of ours cannot be read."""
        return self.parked + key[len(self.mirrored) :]

    def claim(self, token: int, sequence: int) -> bytes:
        """Key of one claim. Zero-padded, so that claims sort as they were made."""
        return self.run + b"%016d-%08d" % (token, sequence)


# ---------------------------------------------------------------- queue/


_OF_SPEC = frozenset(
    (
        *(
            "schema",
            "id",
            "request",
            "priority",
            "options",
            "submitted_at",
            "by",
            "run_at",
            "deadline",
            "idem",
            "trace",
        ),
        *("retried", "role", "project", "slots", "memory", "sum"),
    )
)


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What the submitter's options came to. Stored with the job: a newer leader does not change them. Seconds."""

    timeout_s: float = 300.0
    max_attempts: int = 3
    max_interruptions: int = 3
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    backoff_jitter: float = 0.2
    queue_timeout_s: float | None = None
    """Longest wait for the first run; None: any."""

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {
            "timeout_s": self.timeout_s,
            "max_attempts": self.max_attempts,
            "max_interruptions": self.max_interruptions,
            "backoff_base_s": self.backoff_base_s,
            "backoff_cap_s": self.backoff_cap_s,
            "backoff_jitter": self.backoff_jitter,
        }
        if self.queue_timeout_s is not None:
            wire["queue_timeout_s"] = self.queue_timeout_s
        return wire

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> JobLimits:
        """Raises KeyError, TypeError or ValueError when it makes no sense."""
        return _limits(
            wire["timeout_s"],
            wire["max_attempts"],
            wire["max_interruptions"],
            wire["backoff_base_s"],
            wire["backoff_cap_s"],
            wire["backoff_jitter"],
            wire.get("queue_timeout_s"),
        )


@lru_cache(maxsize=256, typed=True)
def _limits(
    timeout_s: Any, attempts: Any, interruptions: Any, base_s: Any, cap_s: Any, jitter: Any, waits_s: Any
) -> JobLimits:
    """Read once: most jobs have the same. By type too, as `True` is no count although it equals 1."""
    return JobLimits(
        timeout_s=_number(timeout_s, 0.001),
        max_attempts=_whole(attempts, 1),
        max_interruptions=_whole(interruptions, 1),
        backoff_base_s=_number(base_s, 0),
        backoff_cap_s=_number(cap_s, 0),
        backoff_jitter=_number(jitter, 0),
        queue_timeout_s=None if waits_s is None else _number(waits_s, 0),
    )


@dataclass(frozen=True, slots=True)
class Retried:
    """That an operator had an ended job tried again, and what had become of it until then.

    Attributes:
        op: Unique to the write that did it.
        times: How often, this time included.
        errors: The last few errors of all attempts before, oldest first.
    """

    op: str
    by: str
    times: int
    errors: tuple[dict[str, Any], ...] = ()

    def to_wire(self) -> dict[str, Any]:
        return {"op": self.op, "by": self.by, "times": self.times, "errors": list(self.errors[-ERRORS_KEPT:])}

    @classmethod
    def from_wire(cls, wire: Any) -> Retried | None:
        """Raises KeyError, TypeError or ValueError when it makes no sense."""
        if wire is None:
            return None
        errors = tuple(error for error in wire.get("errors", ()) if isinstance(error, dict))
        return cls(_text(wire["op"]), _text(wire.get("by", "")), _whole(wire["times"], 1), errors)


@dataclass(frozen=True, slots=True)
class Spec:
    """What is to be done. Immutable."""

    job_id: str
    payload: dict[str, Any]
    """The request, as JSON. The queue does not look into it."""
    priority: Priority
    limits: JobLimits
    submitted_at: str
    submitted_by: str
    run_at: str | None = None
    idem: str | None = None
    """Hash of the idempotency key, if one was given."""
    trace: str | None = None
    role: str = ""
    """Whose limits it counts against; empty: nobody's."""
    project: str = ""
    """Which takes turns with others, and has limits."""
    slots: int = 1
    """Workers that a run of it takes up."""
    memory: int = 0
    """Bytes that a run of it is counted with."""
    deadline: str | None = None
    """From this date on nothing of it starts, and a run under way is stopped."""
    retried: Retried | None = None
    rest: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Fields that are not known."""

    def to_value(self) -> bytes:
        data: dict[str, Any] = {
            **self.rest,
            "schema": SCHEMA,
            "id": self.job_id,
            "request": self.payload,
            "priority": self.priority.value,
            "options": self.limits.to_wire(),
            "submitted_at": self.submitted_at,
            "by": self.submitted_by,
        }
        optional = (("run_at", self.run_at), ("deadline", self.deadline), ("idem", self.idem), ("trace", self.trace))
        for name, value in optional:
            if value is not None:
                data[name] = value
        data.update(self._limited_by())
        if self.retried is not None:
            data["retried"] = self.retried.to_wire()
        data["sum"] = _checksum(data["request"])
        return to_json(data)

    def _limited_by(self) -> dict[str, Any]:
        """What it counts against and takes up, where that is anything out of the ordinary."""
        data: dict[str, Any] = {}
        if self.role or self.project:
            data["role"], data["project"] = self.role, self.project
        if self.slots != 1 or self.memory:
            data["slots"], data["memory"] = self.slots, self.memory
        return data

    def kept(self) -> dict[str, Any]:
        """What the outcome of a job that did not complete keeps, so that an operator can have it tried again."""
        kept: dict[str, Any] = {
            **self.rest,
            "request": self.payload,
            "priority": self.priority.value,
            "by": self.submitted_by,
            "options": self.limits.to_wire(),
        }
        if self.deadline is not None:
            kept["deadline"] = self.deadline
        kept.update(self._limited_by())
        if self.retried is not None:
            kept["retried"] = self.retried.to_wire()
        return kept

    @classmethod
    def from_kept(cls, job_id: str, kept: dict[str, Any], defaults: JobLimits, submitted_at: str) -> Spec:
        """The job of an outcome, as `kept` left it; older versions left no options, which then are `defaults`.

        Raises:
            KeyError, TypeError, ValueError: It makes no sense.
        """
        request = kept["request"]
        if not isinstance(request, dict):
            raise TypeError("the request is not an object")
        options = kept.get("options")
        return cls(
            job_id=job_id,
            payload=request,
            priority=Priority(kept.get("priority", Priority.NORMAL)),
            limits=defaults if options is None else JobLimits.from_wire(options),
            submitted_at=submitted_at,
            submitted_by=_text(kept.get("by", "")),
            role=_text(kept.get("role", "")),
            project=_text(kept.get("project", "")),
            slots=_whole(kept.get("slots", 1), 1),
            memory=_whole(kept.get("memory", 0), 0),
            deadline=_maybe_date(kept.get("deadline")),
            retried=Retried.from_wire(kept.get("retried")),
            rest=unknown(kept, _OF_SPEC),
        )

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> Spec:
        """Read a spec.

        Raises:
            RecordError: Corrupt, forged, or of another schema version. The job has to be parked.
        """
        data = read_object(key, value)
        try:
            job_id = _id_of(key, data["id"])
            if not isinstance(data["request"], dict):
                raise TypeError("the request is not an object")
            if data["sum"] != _checksum(data["request"]):
                raise ValueError("the checksum does not match the request")
            return cls(
                job_id=job_id,
                payload=data["request"],
                priority=Priority(data["priority"]),
                limits=JobLimits.from_wire(data["options"]),
                submitted_at=_text(data["submitted_at"]),
                submitted_by=_text(data["by"]),
                run_at=_maybe_date(data.get("run_at")),
                idem=_maybe_text(data.get("idem")),
                trace=_maybe_text(data.get("trace")),
                role=_text(data.get("role", "")),
                project=_text(data.get("project", "")),
                slots=_whole(data.get("slots", 1), 1),
                memory=_whole(data.get("memory", 0), 0),
                deadline=_maybe_date(data.get("deadline")),
                retried=Retried.from_wire(data.get("retried")),
                rest=unknown(data, _OF_SPEC),
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise _bad("queue record", key, error) from error


# ---------------------------------------------------------------- run/


@dataclass(frozen=True, slots=True)
class ClaimEntry:
    """One job in a claim: which incarnation of it, and the number of this run, counted from 1."""

    job_id: str
    queue_revision: int
    run: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The jobs that one flush of a leader took.

    Attributes:
        quarantined: A single suspect, and nothing else.
        node_id, claimed_at: Who took them and when, for people.
    """

    session: str
    entries: tuple[ClaimEntry, ...]
    quarantined: bool = False
    node_id: str = ""
    claimed_at: str = ""

    def to_value(self) -> bytes:
        return to_json(
            {
                "schema": SCHEMA,
                "session": self.session,
                "node": self.node_id,
                "at": self.claimed_at,
                "quarantined": self.quarantined,
                "entries": [[entry.job_id, entry.queue_revision, entry.run] for entry in self.entries],
            }
        )

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> Claim:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            entries = tuple(
                ClaimEntry(_text(job_id), _whole(revision, 1), _whole(run, 1))
                for job_id, revision, run in data["entries"]
            )
            quarantined = data.get("quarantined") is True
            return cls(
                _text(data["session"]), entries, quarantined, _text(data.get("node", "")), _text(data.get("at", ""))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _bad("run record", key, error) from error


# ---------------------------------------------------------------- state/


_OF_STATE = frozenset(
    ("schema", "closed", "attempts", "interruptions", "crashes", "sole_crashes", "not_begun", "run_at", "errors", "op")
)


@dataclass(frozen=True, slots=True)
class JobState:
    """What happened to a job so far, when it was not simply run once.

    Attributes:
        closed: Number of the last run that is over. Claims of that or a lower number are not live any more.
        attempts: Runs that failed by themselves.
        interruptions: Runs that ended with their leader, through no fault of their own.
        crashes: Those of them where the leader crashed.
        sole_crashes: Crashes in which this job was the only quarantined suspect (A14).
        run_at: Not before this date; None: at once.
        errors: The last few, oldest first.
        op: Unique to the write that made this record.
        not_begun: Closed runs of which it is known that no body began. Counted, and not a mark on the job: a leader of
            an older version closes runs without a word about it, and then not all of them are in it.
    """

    closed: int = 0
    attempts: int = 0
    interruptions: int = 0
    crashes: int = 0
    sole_crashes: int = 0
    run_at: str | None = None
    errors: tuple[dict[str, Any], ...] = ()
    op: str = ""
    not_begun: int = 0
    rest: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Fields that are not known."""

    def to_value(self) -> bytes:
        return to_json(
            {
                **self.rest,
                "schema": SCHEMA,
                "closed": self.closed,
                "attempts": self.attempts,
                "interruptions": self.interruptions,
                "crashes": self.crashes,
                "sole_crashes": self.sole_crashes,
                "run_at": self.run_at,
                "errors": list(self.errors[-ERRORS_KEPT:]),
                "op": self.op,
                **({"not_begun": self.not_begun} if self.not_begun else {}),
            }
        )

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> JobState:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            return cls(
                closed=_whole(data["closed"], 0),
                attempts=_whole(data["attempts"], 0),
                interruptions=_whole(data["interruptions"], 0),
                crashes=_whole(data.get("crashes", 0), 0),
                sole_crashes=_whole(data.get("sole_crashes", 0), 0),
                not_begun=_whole(data.get("not_begun", 0), 0),
                run_at=_maybe_date(data.get("run_at")),
                errors=tuple(error for error in data.get("errors", ()) if isinstance(error, dict)),
                op=_text(data.get("op", "")),
                rest=unknown(data, _OF_STATE),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _bad("state record", key, error) from error


# ---------------------------------------------------------------- done/


class Codec(StrEnum):
    """How a result became the bytes of its payload."""

    PLAIN = "plain"
    ZLIB = "zlib"


@dataclass(frozen=True, slots=True)
class Payload:
    """A result that is kept in the payload store.

    Attributes:
        reference: Under which it lies there: the hash of the stored bytes.
        size: Bytes of the result as JSON text.
        stored: Bytes in the store.
        codec: How the one became the other.
    """

    reference: str
    size: int
    stored: int
    codec: Codec

    def to_fields(self) -> dict[str, Any]:
        return {"ref": self.reference, "size": self.size, "stored": self.stored, "codec": self.codec.value}

    @classmethod
    def from_fields(cls, data: Any) -> Payload:
        """Raises KeyError, TypeError or ValueError when it is none."""
        reference = _text(data["ref"])
        if not is_reference(reference):
            raise ValueError(f"{reference!r:.100} is not the reference of a payload")
        size, stored = _whole(data["size"], 0), _whole(data["stored"], 0)
        if max(size, stored) > LARGEST_PAYLOAD:
            raise ValueError(f"a payload of {max(size, stored)} bytes: the largest has {LARGEST_PAYLOAD}")
        return cls(reference, size, stored, Codec(data["codec"]))


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """How a job ended. Written exactly once, in the transaction that deletes its queue record.

    Attributes:
        op: Unique to the write that made this record.
        run: Number of the run that ended it; 0 when it never ran.
        queue_revision: The incarnation that ended.
        result_json: What a completed job came to: any JSON value, as UTF-8 text. None when it is a payload that was not
            fetched.
        payload: Where the result is, if that is not in the record.
        error: Of a failed one: ``{"code", "message", ...}``.
        about: The short fields of the request, so that people can tell what it was.
        spec: The whole request of a job that failed or was cancelled, for an operator who wants it to be tried again.
        cached: The generator was not called: an earlier job had come to this result already.
        use: What its last run has taken; None: that is not known.
    """

    job_id: str
    status: JobStatus
    op: str
    token: int
    run: int
    queue_revision: int
    attempts: int
    interruptions: int
    submitted_at: str
    started_at: str | None
    finished_at: str
    node_id: str
    epoch: int = 0
    priority: str = ""
    submitted_by: str = ""
    result_json: bytes | None = None
    error: dict[str, Any] | None = None
    errors: tuple[dict[str, Any], ...] = ()
    idem: str | None = None
    about: dict[str, Any] | None = None
    spec: dict[str, Any] | None = None
    payload: Payload | None = None
    cached: bool = False
    use: Use | None = None

    def to_value(self, compress_above: int) -> bytes:
        data: dict[str, Any] = {
            "schema": SCHEMA,
            "id": self.job_id,
            "status": self.status.value,
            "op": self.op,
            "token": self.token,
            "epoch": self.epoch,
            "run": self.run,
            "queue_revision": self.queue_revision,
            "attempts": self.attempts,
            "interruptions": self.interruptions,
            "submitted_at": self.submitted_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "node": self.node_id,
            "priority": self.priority,
            "by": self.submitted_by,
        }
        for name, value in (("error", self.error), ("idem", self.idem), ("about", self.about), ("spec", self.spec)):
            if value is not None:
                data[name] = value
        if self.errors:
            data["errors"] = list(self.errors[-ERRORS_KEPT:])
        if self.cached:
            data["cached"] = True
        if self.use is not None:
            data["use"] = self.use.to_fields()
        if self.payload is not None:
            return to_json({**data, "payload": self.payload.to_fields()})
        if self.result_json is None:
            return to_json(data)
        packed = packed_inline(self.result_json, compress_above)
        if packed is not None:
            return to_json({**data, "result_zlib": packed.decode("ascii"), "result_bytes": len(self.result_json)})
        return to_json(data)[:-1] + b',"result":' + self.result_json + b"}"

    @property
    def result(self) -> Any:
        """The result as a JSON value; None when there is none.

        Raises:
            PayloadError: It is in the payload store, and was not fetched from there.
        """
        if self.result_json is None and self.payload is not None:
            reference = self.payload.reference
            raise PayloadError(
                f"the result of job {self.job_id} is in the payload store: `JobHandle.result` fetches it",
                reference=reference,
            )
        return None if self.result_json is None else from_json(self.result_json)

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> JobOutcome:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            status = JobStatus(data["status"])
            if not status.is_final:
                raise ValueError(f"{status.value!r} is no outcome")
            return cls(
                job_id=_id_of(key, data["id"]),
                status=status,
                op=_text(data["op"]),
                token=_whole(data["token"], 0),
                run=_whole(data["run"], 0),
                queue_revision=_whole(data.get("queue_revision", 0), 0),
                attempts=_whole(data.get("attempts", 0), 0),
                interruptions=_whole(data.get("interruptions", 0), 0),
                submitted_at=_text(data["submitted_at"]),
                started_at=_maybe_text(data.get("started_at")),
                finished_at=_text(data["finished_at"]),
                node_id=_text(data.get("node", "")),
                epoch=_whole(data.get("epoch", 0), 0),
                priority=_text(data.get("priority", "")),
                submitted_by=_text(data.get("by", "")),
                about=_maybe_object(data.get("about")),
                result_json=_result_in(data),
                error=_maybe_object(data.get("error")),
                errors=tuple(error for error in data.get("errors", ()) if isinstance(error, dict)),
                idem=_maybe_text(data.get("idem")),
                spec=_maybe_object(data.get("spec")),
                payload=None if data.get("payload") is None else Payload.from_fields(data["payload"]),
                cached=data.get("cached") is True,
                use=Use.from_fields(data.get("use")),
            )
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise _bad("outcome record", key, error) from error


def packed_inline(result_json: bytes, compress_above: int) -> bytes | None:
    """A result compressed as text for its record; None when it stands there as it is."""
    if len(result_json) <= compress_above:
        return None
    packed = base64.b85encode(zlib.compress(result_json, 1))
    return packed if len(packed) < len(result_json) else None


def _result_in(data: dict[str, Any]) -> bytes | None:
    packed = data.get("result_zlib")
    if packed is None:
        return to_json(data["result"]) if "result" in data else None
    inflater = zlib.decompressobj()
    plain = inflater.decompress(base64.b85decode(packed), _MOST_INFLATED)  # bounded: the record may be forged
    if inflater.unconsumed_tail or len(plain) != data.get("result_bytes"):
        raise ValueError("the compressed result does not have the size it names")
    from_json(plain)
    return plain


# ---------------------------------------------------------------- cancel/, idem/, control/


@dataclass(frozen=True, slots=True)
class Cancel:
    """A wish to end a job. It means the incarnation with this queue revision, and no other."""

    queue_revision: int
    reason: str
    by: str

    def to_value(self) -> bytes:
        return to_json({"schema": SCHEMA, "queue_revision": self.queue_revision, "reason": self.reason, "by": self.by})

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> Cancel:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            return cls(_whole(data["queue_revision"], 1), _text(data.get("reason", "")), _text(data.get("by", "")))
        except (KeyError, TypeError, ValueError) as error:
            raise _bad("cancel record", key, error) from error


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Which job an idempotency key stands for, and the digest of the fields that the caller gave (A27)."""

    job_id: str
    digest: str

    def to_value(self) -> bytes:
        return to_json({"schema": SCHEMA, "id": self.job_id, "digest": self.digest})

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> Idempotency:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            return cls(_text(data["id"]), _text(data["digest"]))
        except (KeyError, TypeError) as error:
            raise _bad("idempotency record", key, error) from error


def idempotency_hash(key: str) -> str:
    """What an idempotency key is stored under: its text may be long, or anything at all."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def digest_of(fields: dict[str, Any]) -> str:
    """Digest of the fields a caller gave, for telling one body from another."""
    return hashlib.blake2b(_canonical(fields), digest_size=16).hexdigest()


def floor_value(job_id: str) -> bytes:
    """A floor as it is stored. Compared as bytes by etcd: quotes and length are the same for all."""
    return b'"%s"' % job_id.encode()


def read_floor(value: bytes) -> str | None:
    """The id in a floor record; None when it is not one."""
    text = value[1:-1].decode("ascii", "replace")
    return text if is_job_id(text) and text < _ABOVE_ALL and value == floor_value(text) else None


@dataclass(frozen=True, slots=True)
class Closed:
    """That the queue takes no new jobs, and why. It holds as long as its record is there, whatever stands in it.

    Attributes:
        reason, by: For people.
        cause: What has to pass for it to open, for the next leader: the queue is ``full``, the ``store`` nearly so, or
            it is ``draining``. Empty: an older version does not say.
        jobs, jobs_limit, size, size_limit: How full it was, where it is that; sizes in bytes.
        retry_after_s: When there is likely to be room again, by the rate at which jobs ended.
    """

    reason: str = ""
    by: str = ""
    cause: str = ""
    jobs: int | None = None
    jobs_limit: int | None = None
    size: int | None = None
    size_limit: int | None = None
    retry_after_s: float | None = None

    @property
    def is_full(self) -> bool:
        """Whether it is closed as it is full; older versions did not say so, but told by how much."""
        return self.cause == "full" or (not self.cause and self.jobs is not None)

    def to_value(self) -> bytes:
        data: dict[str, Any] = {"schema": SCHEMA, "reason": self.reason, "by": self.by}
        optional = (
            ("cause", self.cause or None),
            ("jobs", self.jobs),
            ("jobs_limit", self.jobs_limit),
            ("bytes", self.size),
            ("bytes_limit", self.size_limit),
            ("retry_after_s", self.retry_after_s),
        )
        return to_json(data | {name: value for name, value in optional if value is not None})

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> Closed:
        """Raises RecordError when it cannot be read."""
        data = read_object(key, value)
        try:
            after_s = data.get("retry_after_s")
            return cls(
                _text(data["reason"]),
                _text(data["by"]),
                _text(data.get("cause", "")),
                _maybe_whole(data.get("jobs")),
                _maybe_whole(data.get("jobs_limit")),
                _maybe_whole(data.get("bytes")),
                _maybe_whole(data.get("bytes_limit")),
                None if after_s is None else _number(after_s, 0),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _bad("record of a closed queue", key, error) from error


def closed_value(reason: str, by: str) -> bytes:
    return Closed(reason, by).to_value()


def read_closed(key: bytes, value: bytes) -> Closed:
    """Why the queue is closed, whatever stands in the record."""
    try:
        return Closed.from_value(key, value)
    except RecordError:
        return Closed("closed, and not said why")


def parked_value(reason: str) -> bytes:
    return to_json({"schema": SCHEMA, "reason": reason})


def progress_value(run: int, fraction: float, note: str) -> bytes:
    return to_json({"schema": SCHEMA, "run": run, "fraction": fraction, "note": note})


def checkpoint_value(run: int, data: bytes) -> bytes:
    """A checkpoint as it is stored. `data`: JSON text."""
    return b'{"schema":%d,"run":%d,"data":%s}' % (SCHEMA, run, data)


def read_checkpoint(key: bytes, value: bytes) -> bytes:
    """The JSON text in a checkpoint record. Raises RecordError when it cannot be read."""
    data = read_object(key, value)
    if "data" not in data:
        raise _bad("checkpoint record", key, KeyError("data"))
    return to_json(data["data"])


# ---------------------------------------------------------------- reading fields


def _checksum(payload: Any) -> str:
    return hashlib.blake2b(_canonical(payload), digest_size=8).hexdigest()


def _canonical(value: Any) -> bytes:
    """One form for equal JSON values: keys sorted at every level."""
    return _ENCODER.encode(value).encode()


_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
"""Made once: `json.dumps` with options makes one for every call."""


def _id_of(key: bytes, job_id: Any) -> str:
    """The job id inside a record, which has to be the one in its key."""
    if not is_job_id(_text(job_id)) or not key.endswith(b"/" + job_id.encode()):
        raise ValueError(f"the id inside, {job_id!r:.100}, is not the one in the key")
    return str(job_id)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.100} is not text")
    return value


def _maybe_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _maybe_date(value: Any) -> str | None:
    """A date in the one form in which dates can be compared as text."""
    return None if value is None else format_utc(parse_utc(_text(value)))


def _maybe_object(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"{value!r:.100} is not an object")
    return value


def _whole(value: Any, low: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 2**62:
        raise ValueError(f"{value!r:.100} is not a whole number from {low} on")
    return value


def _maybe_whole(value: Any) -> int | None:
    return None if value is None else _whole(value, 0)


def _number(value: Any, low: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value < 1e12:
        raise ValueError(f"{value!r:.100} is not a number from {low} on")
    return float(value)


def _bad(what: str, key: bytes, error: Exception) -> RecordError:
    name = key.decode("ascii", "replace")
    return RecordError(f"{name}: {what}: {error}", key=name)
