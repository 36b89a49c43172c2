"""Log events: fixed names, fixed fields, one place.

Every entry of the library goes through `log_event`. The name is the message; the facts are fields, reachable as
attributes of the `logging.LogRecord` and printed by the formatters of `slurp_leader.telemetry.logs`.
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
    ELECTION_CAMPAIGN = "election.campaign"
    ELECTION_RENEWAL_FAILED = "election.renewal_failed"
    ELECTION_CALL_FAILED = "election.call_failed"
    ELECTION_DUPLICATE_NODE = "election.duplicate_node"
    ELECTION_LISTENER_FAILED = "election.listener_failed"
    SESSION_OPENED = "session.opened"
    SESSION_LOST = "session.lost"
    JOB_SUBMITTED = "job.submitted"
    JOB_STARTED = "job.started"
    JOB_ENDED = "job.ended"
    JOB_RETRY = "job.retry"
    JOB_INTERRUPTED = "job.interrupted"
    JOB_CANCEL_REQUESTED = "job.cancel_requested"
    JOB_STUCK = "job.stuck"
    JOB_LATE_RESULT = "job.late_result"
    QUEUE_TAKEOVER = "queue.takeover"
    QUEUE_CLOSED = "queue.closed"
    RECORD_PARKED = "record.parked"
    COMMIT_UNKNOWN = "commit.unknown"
    COMMIT_REFUSED = "commit.refused"
    STORE_UNAVAILABLE = "store.unavailable"
    STORE_BACK = "store.back"
    WATCH_RESUMED = "watch.resumed"
    WATCH_RELOADED = "watch.reloaded"
    SYSTEM_STARTED = "system.started"
    SYSTEM_STOPPED = "system.stopped"
    LOOP_FAILED = "loop.failed"


def log_event(logger: logging.Logger, level: int, event: LogEvent, **fields: Any) -> None:
    """Write one entry: `event` is the message, `fields` are its facts. Never raises."""
    if logger.isEnabledFor(level):
        logger.log(level, event.value, extra={"slurp": fields})
