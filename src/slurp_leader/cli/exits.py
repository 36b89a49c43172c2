"""Errors as the command line shows them: one line, an exit code, and with ``--json`` a document.

The codes stand in `MEANINGS`, which ``slurp --help`` shows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from slurp_leader import errors


class Exit(IntEnum):
    """How a command ended. 69 to 78 are those of ``sysexits.h``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_LEADER = 3
    NOT_LEADER = 4
    NOT_FOUND = 5
    CONFLICT = 6
    UNAVAILABLE = 69
    TRY_AGAIN = 75
    DENIED = 77
    CONFIGURATION = 78


MEANINGS = {
    0: "done",
    1: "it failed",
    2: "wrong usage, or a request that is wrong in itself",
    3: "nobody leads",
    4: "this node does not lead, or does not any more",
    5: "no such job, node, epoch or manifest",
    6: "conflict: a key or a node id used twice, or orders at odds",
    69: "etcd does not answer",
    75: "not now: try again later",
    77: "etcd refuses the credentials, the certificate or the role",
    78: "the settings are wrong",
    129: "ended by SIGHUP: the terminal was closed",
    130: "ended by Ctrl-C (SIGINT)",
    143: "ended by SIGTERM",
}
"""What scripts may rely on."""


class UsageError(errors.SlurpLeaderError):
    """The command was called in a wrong way. `field`: which of its parts is wrong, where that has a name."""

    field: str = ""


@contextmanager
def as_typed() -> Iterator[None]:
    """What is found wrong here stands in no file and no variable: it was typed, so it is wrong usage.

    Raises:
        UsageError: In place of a ConfigurationError.
    """
    try:
        yield
    except errors.ConfigurationError as error:
        raise UsageError(str(error), field=error.field) from error


class NotFoundError(errors.SlurpLeaderError):
    """What was named is not there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the command line does with one kind of error. `fix` is empty where the message itself says what to do."""

    exit: Exit
    fix: str = ""


_START_ETCD = "is etcd running? check etcd.endpoints (SLURP_ETCD__ENDPOINTS), or start one with `slurp etcd dev`"
_LOOK_AT_JOBS = "see `slurp jobs ls`"
_AGAIN = "try again later"
_SAME_PAYLOADS = "is jobs.payload_store the same here as where the leader runs?"

ANSWERS: dict[type[BaseException], Answer] = {
    UsageError: Answer(Exit.USAGE),
    NotFoundError: Answer(Exit.NOT_FOUND, "see `slurp leader history`"),
    errors.SlurpLeaderError: Answer(Exit.FAILED),
    errors.ConfigurationError: Answer(Exit.CONFIGURATION),
    errors.LifecycleError: Answer(Exit.FAILED),
    errors.AddressError: Answer(Exit.USAGE),
    errors.RequestInvalidError: Answer(Exit.USAGE),
    errors.LeadershipError: Answer(Exit.FAILED),
    errors.NotLeaderError: Answer(Exit.NOT_LEADER, "see `slurp leader show`"),
    errors.NoLeaderError: Answer(Exit.NO_LEADER, "see why with `slurp leader explain`"),
    errors.LeadershipLostError: Answer(Exit.NOT_LEADER, "see `slurp leader show`"),
    errors.HandoverError: Answer(Exit.TRY_AGAIN, "see `slurp leader show`"),
    errors.OrderRefusedError: Answer(Exit.CONFLICT, "see `slurp leader orders` and `slurp leader show`"),
    errors.DuplicateNodeError: Answer(Exit.CONFLICT, "give each node its own node.id"),
    errors.StaleTokenError: Answer(Exit.NOT_LEADER, "see `slurp leader show`"),
    errors.StoreError: Answer(Exit.UNAVAILABLE),
    errors.StoreUnavailableError: Answer(Exit.UNAVAILABLE, _START_ETCD),
    errors.StoreTimeoutError: Answer(Exit.UNAVAILABLE, "is etcd healthy? give it longer with --timeout"),
    errors.StoreDeniedError: Answer(Exit.DENIED),
    errors.StoreFullError: Answer(Exit.TRY_AGAIN, "make room in etcd with `slurp etcd doctor --fix`"),
    errors.StoreBusyError: Answer(Exit.TRY_AGAIN, _AGAIN),
    errors.StoreChangedError: Answer(Exit.UNAVAILABLE),
    errors.RequestTooLargeError: Answer(Exit.USAGE, "send less: keep the bulk elsewhere and pass a reference"),
    errors.RequestMalformedError: Answer(Exit.FAILED),
    errors.LeaseNotFoundError: Answer(Exit.FAILED),
    errors.LeaseExistsError: Answer(Exit.FAILED),
    errors.RevisionCompactedError: Answer(Exit.TRY_AGAIN, _AGAIN),
    errors.StoreClosedError: Answer(Exit.FAILED),
    errors.JobError: Answer(Exit.FAILED),
    errors.QueueFullError: Answer(Exit.TRY_AGAIN, _AGAIN),
    errors.IdempotencyConflictError: Answer(Exit.CONFLICT),
    errors.DuplicateJobError: Answer(Exit.CONFLICT),
    errors.JobNotFoundError: Answer(Exit.NOT_FOUND, _LOOK_AT_JOBS),
    errors.ResultExpiredError: Answer(
        Exit.NOT_FOUND, "keep outcomes longer with jobs.retain_completed and jobs.retain_completed_count"
    ),
    errors.ResultPendingError: Answer(Exit.TRY_AGAIN, "wait for it with `slurp jobs wait`"),
    errors.JobFailedError: Answer(Exit.FAILED),
    errors.JobCancelledError: Answer(Exit.FAILED),
    errors.CheckpointInvalidError: Answer(Exit.FAILED, "keep a JSON value of at most 64 KiB"),
    errors.CircuitOpenError: Answer(Exit.TRY_AGAIN, "what it calls fails at present: try again later"),
    errors.JobParkedError: Answer(Exit.FAILED, "look at the record with `etcdctl get`"),
    errors.PayloadError: Answer(Exit.FAILED, _SAME_PAYLOADS),
    errors.PayloadMissingError: Answer(Exit.NOT_FOUND, _SAME_PAYLOADS),
    errors.PayloadCorruptError: Answer(Exit.FAILED, "submit the job again; the payload store has damaged its result"),
    errors.PayloadStoreError: Answer(Exit.UNAVAILABLE, "is jobs.payload_store reachable from here?"),
    errors.RecordError: Answer(Exit.FAILED, "look at the record with `etcdctl get`"),
    errors.TerminalError: Answer(Exit.FAILED),
    errors.FileRefusedError: Answer(Exit.FAILED),
    errors.RetryAfterError: Answer(Exit.TRY_AGAIN, _AGAIN),
    errors.JobInterrupted: Answer(Exit.FAILED),
    OSError: Answer(Exit.FAILED),
}
"""Every error of the library, by its own class; a test proves that none is missing."""

_LOOK_AT_ORDERS = "see `slurp leader orders`"
_LOOK_WHO_STANDS = "see who stands with `slurp status`"
BY_REASON: dict[str, str] = {
    "blocked": _LOOK_AT_ORDERS,
    "pinned_elsewhere": _LOOK_AT_ORDERS,
    "frozen": _LOOK_AT_ORDERS,
    "unknown": _LOOK_WHO_STANDS,
    "no_candidate": _LOOK_WHO_STANDS,
    "unfit": _LOOK_WHO_STANDS,
}
"""What to do about a handover or an order that was refused for one of these reasons; else that of its class."""

HANDOVER_EXITS: dict[str, Exit] = {
    "nobody": Exit.USAGE,
    "itself": Exit.CONFLICT,
    "unknown": Exit.CONFLICT,
    "blocked": Exit.CONFLICT,
    "pinned_elsewhere": Exit.CONFLICT,
    "capability": Exit.CONFLICT,
}
"""Handovers that cannot be done as they were asked for, however often."""

INTERNAL_HINT = "this is a mistake in slurp; run it again with -vv and report what it prints"


def answer_to(error: BaseException) -> Answer | None:
    """What to do with an error; None for one that nobody raises on purpose."""
    return next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), None)


def describe(error: BaseException, hint: str = "", said: Callable[[str], str] = str) -> dict[str, Any]:
    """An error as plain data, with all its facts. `said`: what to do, as it is said; see `Invocation.hint`."""
    answer = answer_to(error)
    fix = said(_fix(error, answer) if answer else hint)
    described: dict[str, Any] = {
        "type": type(error).__name__,
        "message": _message(error, expected=answer is not None),
        "exit_code": int(_exit(error, answer) if answer else Exit.FAILED),
    }
    if fix:
        described["fix"] = fix
    if isinstance(error, errors.SlurpLeaderError):
        described |= {"retryable": error.retryable, "outcome": str(getattr(error, "outcome", ""))}
        described |= {name: value for name, value in vars(error).items() if _is_plain(value)}
    return described


def report(error: BaseException, *, as_json: bool, hint: str = "", said: Callable[[str], str] = str) -> int:
    """Say what went wrong, in one line on standard error, with `as_json` as a document on standard output too.

    Returns:
        The exit code.
    """
    from slurp_leader.cli.output import dump_json
    from slurp_leader.telemetry.logs import printable

    described = describe(error, hint, said)
    fix = described.get("fix", "")
    # Of several wrong settings each has a line of its own. Elsewhere a line end is part of what somebody said.
    parts = [described["message"]] if isinstance(error, errors.LeadershipError) else described["message"].split("\n")
    lines = [printable(part) for part in parts]
    print("slurp: " + "\n".join(lines) + (f"; {fix}" if fix else ""), file=sys.stderr)
    if as_json:
        print(dump_json({"error": described}))
    return int(described["exit_code"])


def _exit(error: BaseException, answer: Answer) -> Exit:
    return HANDOVER_EXITS.get(error.reason, answer.exit) if isinstance(error, errors.HandoverError) else answer.exit


def _fix(error: BaseException, answer: Answer) -> str:
    if isinstance(error, errors.HandoverError | errors.OrderRefusedError):
        return BY_REASON.get(error.reason, answer.fix)
    return answer.fix


def _message(error: BaseException, *, expected: bool) -> str:
    if isinstance(error, OSError) and not isinstance(error, errors.SlurpLeaderError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error)
    return text if expected and text else f"{type(error).__name__}: {text}"


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
