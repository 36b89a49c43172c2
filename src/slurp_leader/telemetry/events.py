"""Log events: fixed names, fixed fields, one place.

Every entry of the library goes through `log_event`. The message is the name with its facts; both are also attributes of
the `logging.LogRecord`, which the formatters of `slurp_leader.telemetry.logs` print for people or as JSON.
Loggers are named after the package that speaks (``slurp_leader.election`` ...), carry no handlers, and stay silent
until a service configures logging.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Any

# Without it, Python prints a library's warnings to standard error when the host has not configured logging.
logging.getLogger("slurp_leader").addHandler(logging.NullHandler())


class LogEvent(StrEnum):
    """Names of the log entries. Once released, a name and the meaning of its fields do not change."""

    ELECTION_STATE = "election.state"
    ELECTION_ENDED = "election.ended"
    ELECTION_CAMPAIGN = "election.campaign"
    ELECTION_RENEWAL_FAILED = "election.renewal_failed"
    ELECTION_CALL_FAILED = "election.call_failed"
    ELECTION_DUPLICATE_NODE = "election.duplicate_node"
    ELECTION_HANDED_OVER = "election.handed_over"
    ELECTION_NOT_HANDED_OVER = "election.not_handed_over"
    ELECTION_NOT_SETTLED = "election.not_settled"
    ELECTION_LISTENER_FAILED = "election.listener_failed"
    ELECTION_HOOK_FAILED = "election.hook_failed"
    ELECTION_HOOK_SLOW = "election.hook_slow"
    ELECTION_VETOED = "election.vetoed"
    ELECTION_HELD_BACK = "election.held_back"
    ELECTION_NOT_PUBLISHED = "election.not_published"
    SESSION_OPENED = "session.opened"
    SESSION_LOST = "session.lost"
    GUARD_LOST = "guard.lost"
    GUARD_UNAVAILABLE = "guard.unavailable"
    GUARD_STATE = "guard.state"
    JOB_SUBMITTED = "job.submitted"
    JOB_STARTED = "job.started"
    JOB_ENDED = "job.ended"
    JOB_RETRY = "job.retry"
    JOB_INTERRUPTED = "job.interrupted"
    JOB_CANCEL_REQUESTED = "job.cancel_requested"
    JOB_STUCK = "job.stuck"
    CACHE_UNUSED = "cache.unused"
    CACHE_HASH_FAILED = "cache.hash_failed"
    CHECKPOINT_UNREADABLE = "checkpoint.unreadable"
    EXECUTOR_LOST = "executor.lost"
    GRANT_ENDED = "grant.ended"
    JOB_LATE_RESULT = "job.late_result"
    FAILOVER_CHECKED = "failover.checked"
    PAYLOAD_STORE_FAILED = "payload.store_failed"
    PAYLOAD_COLLECTED = "payload.collected"
    PERIODIC_STARTED = "periodic.started"
    PERIODIC_ENDED = "periodic.ended"
    PERIODIC_SKIPPED = "periodic.skipped"
    PERIODIC_BEATS_NOT = "periodic.beats_not"
    PERIODIC_CALL_FAILED = "periodic.call_failed"
    QUEUE_TAKEOVER = "queue.takeover"
    QUEUE_CLOSED = "queue.closed"
    QUEUE_LEVEL = "queue.level"
    RECORD_PARKED = "record.parked"
    COMMIT_UNKNOWN = "commit.unknown"
    COMMIT_REFUSED = "commit.refused"
    CIRCUIT_STATE = "circuit.state"
    HEALTH_CHANGED = "health.changed"
    RESOURCES_UNREADABLE = "resources.unreadable"
    STORE_UNAVAILABLE = "store.unavailable"
    STORE_BACK = "store.back"
    STORE_FILLING = "store.filling"
    STORE_NOT_COMPACTED = "store.not_compacted"
    WATCH_RESUMED = "watch.resumed"
    WATCH_RELOADED = "watch.reloaded"
    SYSTEM_STARTED = "system.started"
    SYSTEM_STOPPED = "system.stopped"
    LOOP_FAILED = "loop.failed"


class _Message:
    """An entry as one line of text: ``job.ended job_id=... status=failed``, for handlers that know nothing of fields.

    Rendered only when somebody prints it. Values are written with `repr`, so that none can look like another field or
    begin a new line. Facts without a value are left out.
    """

    __slots__ = ("event", "fields")

    def __init__(self, event: LogEvent, fields: dict[str, Any]) -> None:
        self.event = event
        self.fields = fields

    def __str__(self) -> str:
        facts = (f" {name}={value!r:.500}" for name, value in self.fields.items() if has_value(value))
        return self.event.value + "".join(facts)


def has_value(value: Any) -> bool:
    """Whether a fact says something to people: it is neither None nor empty. 0 and False do."""
    return bool(value) if isinstance(value, str | tuple | list | dict | set | frozenset) else value is not None


def log_event(logger: logging.Logger, level: int, event: LogEvent, **fields: Any) -> None:
    """Write one entry. Never raises.

    The message is the event's name with its facts, readable under any `logging` configuration. The facts are on the
    record too (``record.slurp``), and the bare name (``record.slurp_event``), for formatters that want them apart.
    """
    if logger.isEnabledFor(level):
        logger.log(level, _Message(event, fields), extra={"slurp": fields, "slurp_event": event.value})
