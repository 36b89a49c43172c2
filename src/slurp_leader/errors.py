"""Every error of the library, in one tree.

::

    SlurpLeaderError
    +- ConfigurationError (ValueError)        a setting is wrong; names the field and the fix
    +- LifecycleError (RuntimeError)          not started, started twice, closed
    +- AddressError (ValueError)              a UCXL address is malformed; names field and position
    +- RequestInvalidError (ValueError)       a request field is wrong
    +- LeadershipError
    |  +- NotLeaderError                      this node does not lead; `leader` is who does
    |  +- NoLeaderError                       nobody led within the time given
    |  +- LeadershipLostError                 the term ended under way
    |  +- HandoverError                       the lead was not handed over; `reason` says why
    |  +- OrderRefusedError                   an order for an election makes no sense as things stand
    |  +- DuplicateNodeError                  another live process has this node id
    |  +- StaleTokenError                     a receiver has seen a newer token for this resource
    +- StoreError                             etcd; carries `outcome`
    |  +- StoreUnavailableError               no answer, connection lost, no quorum
    |  +- StoreTimeoutError (TimeoutError)    the deadline of the call passed
    |  +- StoreDeniedError                    credentials, certificates, roles
    |  +- StoreFullError                      NOSPACE alarm or quota reached
    |  +- StoreBusyError                      "too many requests"
    |  +- StoreChangedError                   another etcd cluster answers, or its history went back
    |  +- RequestTooLargeError                beyond the request size or the operations of a transaction
    |  +- RequestMalformedError               etcd refused the form of the request (duplicate key, empty key)
    |  +- LeaseNotFoundError                  the lease is gone
    |  +- LeaseExistsError                    a lease with this id is there already
    |  +- RevisionCompactedError              the revision asked for was compacted away
    |  +- StoreClosedError                    the store was closed by its owner
    +- JobError
    |  +- QueueFullError                      admission is closed; `retry_after_s`
    |  +- IdempotencyConflictError            one idempotency key, two different bodies
    |  +- DuplicateJobError                   the idempotency key was used before, and the caller wanted to be told
    |  +- JobNotFoundError (LookupError)      no such job, now or ever
    |  +- ResultExpiredError (LookupError)    the job ended and its record was pruned
    |  +- ResultPendingError (TimeoutError)   still not ended when the wait was over
    |  +- JobFailedError                      ended `failed`; carries the recorded error
    |  +- JobCancelledError                   ended `cancelled`
    |  +- JobParkedError                      its record cannot be read; an operator has to look
    |  +- CheckpointInvalidError (ValueError) raised inside a running job: no JSON value, or too large
    +- CircuitOpenError                       a circuit breaker refused the call; `retry_after_s`
    +- PayloadError                           a result that is kept outside etcd; names its `reference`
    |  +- PayloadMissingError (LookupError)   it is not there
    |  +- PayloadCorruptError                 other bytes are there than were put
    |  +- PayloadStoreError                   the payload store did not do what it was asked to
    +- RecordError                            a record in etcd is corrupt, forged or newer than this version
    +- TerminalError                          raised by a generator: do not try again
    |  +- FileRefusedError                    the file cannot be worked on: outside, binary, empty, huge, gone ...
    +- RetryAfterError                        raised by a generator: try again, not before `delay_s`
    +- JobInterrupted                         raised inside a running job: it has to stop now

Two facts decide what a caller may do, and every error carries them:

* ``retryable``: the same call may succeed later.
* ``outcome``: whether the effect happened. ``NOT_APPLIED``: certainly not. ``UNKNOWN``: it may have, or may
  still. Repeating blindly is safe only after ``NOT_APPLIED``, or with an idempotency key.

All errors pickle.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """Whether the effect of a failed call happened."""

    NOT_APPLIED = "not_applied"
    UNKNOWN = "unknown"


_LONGEST_OF_A_RECORD = 1000


class SlurpLeaderError(Exception):
    """Root of every error this library raises on purpose."""

    retryable: bool = False
    outcome: Outcome = Outcome.NOT_APPLIED

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])
        for name, value in facts.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), dict(self.__dict__))


def _rebuild(kind: type[SlurpLeaderError], message: str, facts: dict[str, Any]) -> SlurpLeaderError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(facts)
    return error


# ---------------------------------------------------------------- the caller's side


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One wrong setting: ``field = given (origin): reason``. `given` is empty when it must not be shown."""

    field: str
    reason: str
    given: str = ""
    origin: str = ""

    def __str__(self) -> str:
        given = f" = {self.given}" if self.given else ""
        origin = f" ({self.origin})" if self.origin else ""
        return f"{self.field}{given}{origin}: {self.reason}"


class ConfigurationError(SlurpLeaderError, ValueError):
    """A setting is wrong. The message names the field and what to write instead."""

    field: str = ""
    problems: tuple[SettingProblem, ...] = ()


class LifecycleError(SlurpLeaderError, RuntimeError):
    """A part was used before it started, after it stopped, or started twice."""


class AddressError(SlurpLeaderError, ValueError):
    """A UCXL address is malformed."""

    field: str = ""
    position: int = 0
    raw: str = ""


class RequestInvalidError(SlurpLeaderError, ValueError):
    """A field of a request is wrong. Nothing was submitted."""

    field: str = ""


# ---------------------------------------------------------------- leadership


class LeadershipError(SlurpLeaderError):
    """Something about who leads."""


class NotLeaderError(LeadershipError):
    """This node does not lead."""

    retryable = True
    leader: str | None = None


class NoLeaderError(LeadershipError):
    """Nobody led within the time given."""

    retryable = True


class LeadershipLostError(LeadershipError):
    """The term ended while work was under way; what was being written may or may not have landed."""

    outcome = Outcome.UNKNOWN
    token: int = 0
    reason: str = ""


class HandoverError(LeadershipError):
    """The lead was not handed over. `outcome` tells whether it still may be.

    `reason`: ``nobody`` (no name was given), ``itself``, ``unknown`` (no such candidate), ``no_candidate`` (nobody else
    stands), ``busy`` (another handover is under way), ``unfit`` (the candidate is not ready), ``silent`` (it did not
    answer), ``blocked``, ``pinned_elsewhere``, ``capability`` (an order, or what the election requires, forbids it),
    ``refused`` (etcd refused the transaction: something had changed), ``changed`` (the term it was meant for is over),
    ``leaving`` (the leader gives the term back), ``vetoed`` (it was handed over, and the new leader gave it back before
    it led: its `on_elected` hook refused), ``timeout``.
    """

    retryable = True
    reason: str = ""


class OrderRefusedError(LeadershipError):
    """An order for an election makes no sense as things stand. Nothing was done.

    `reason`: ``frozen`` (nobody would follow the term that is to be ended), ``blocked``, ``unknown`` (no such
    candidate), ``itself`` (it leads already), ``pinned_elsewhere``, ``changed`` (the term it was meant for is over),
    ``busy`` (others give orders all the time), ``later_version`` (a later version of this library wrote what is
    ordered; this one cannot read it, and would undo it).
    """

    reason: str = ""


class DuplicateNodeError(LeadershipError):
    """Another live process uses this node id. Give each node its own `node.id`."""

    node_id: str = ""


class StaleTokenError(LeadershipError):
    """A receiver has seen a newer token for this resource: who sent this one leads no more. Nothing was written."""

    token: int = 0
    newest: int = 0
    resource: str = ""


# ---------------------------------------------------------------- the store


class StoreError(SlurpLeaderError):
    """A call to etcd failed. `outcome` tells whether it may have had an effect."""

    def __init__(self, message: str = "", *, outcome: Outcome | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        if outcome is not None:
            self.outcome = outcome


class StoreUnavailableError(StoreError):
    """No answer came from etcd: connection lost, member down, or no quorum."""

    retryable = True
    outcome = Outcome.UNKNOWN


class StoreTimeoutError(StoreError, TimeoutError):
    """The deadline of the call passed before etcd answered."""

    retryable = True
    outcome = Outcome.UNKNOWN


class StoreDeniedError(StoreError):
    """etcd refused the credentials, the certificate or the role."""


class StoreFullError(StoreError):
    """etcd is over its quota (NOSPACE). At the edge such a write may have been applied."""

    retryable = True
    outcome = Outcome.UNKNOWN


class StoreBusyError(StoreError):
    """etcd refused the request before looking at it: too many requests."""

    retryable = True


class StoreChangedError(StoreError):
    """Another etcd cluster answers than before, or its history went back. Refusing to go on."""


class RequestTooLargeError(StoreError):
    """The request is beyond etcd's size limit, or beyond the operations allowed in one transaction."""


class RequestMalformedError(StoreError):
    """etcd refused the form of the request."""


class LeaseNotFoundError(StoreError):
    """The lease is gone."""


class LeaseExistsError(StoreError):
    """A lease with this id exists already."""


class RevisionCompactedError(StoreError):
    """The revision asked for was compacted away; read anew and go on from there."""

    compact_revision: int = 0


class StoreClosedError(StoreError):
    """The store was closed by its owner."""

    outcome = Outcome.UNKNOWN


# ---------------------------------------------------------------- jobs


class JobError(SlurpLeaderError):
    """Something about a job."""

    job_id: str = ""


class QueueFullError(JobError):
    """The queue takes no new jobs at present. Nothing was submitted."""

    retryable = True
    retry_after_s: float = 1.0
    """When there is likely to be room again, by the rate at which jobs ended of late."""
    reason: str = ""
    depth: int | None = None
    """Jobs in the queue when it was closed; None where that is not told."""
    limit: int | None = None
    """Jobs that the queue takes."""
    size: int | None = None
    """Bytes of them."""
    size_limit: int | None = None
    """Bytes that the queue takes."""


class IdempotencyConflictError(JobError):
    """This idempotency key was used before with another request. Nothing was submitted."""


class DuplicateJobError(JobError):
    """This idempotency key stands for job `job_id` already. Nothing was submitted."""


class JobNotFoundError(JobError, LookupError):
    """There is no such job."""


class ResultExpiredError(JobError, LookupError):
    """The job ended, and its record was pruned, by age or by count."""


class ResultPendingError(JobError, TimeoutError):
    """The job had not ended when the time to wait was over. It goes on."""

    retryable = True


class JobFailedError(JobError):
    """The job ended `failed`. `error` is the last recorded error, `errors` all that were kept."""

    error: dict[str, Any] | None = None
    errors: tuple[dict[str, Any], ...] = ()


class JobCancelledError(JobError):
    """The job ended `cancelled`."""

    reason: str = ""


class JobParkedError(JobError):
    """The record of the job cannot be read. It is kept for an operator to look at."""


class PayloadError(SlurpLeaderError):
    """A result that is kept in the payload store cannot be had. `reference` says which."""

    reference: str = ""


class PayloadMissingError(PayloadError, LookupError):
    """The payload is not in the payload store."""


class PayloadCorruptError(PayloadError):
    """What lies in the payload store under this reference is not what was put there."""


class PayloadStoreError(PayloadError):
    """The payload store failed. A read may be repeated, and so may a put, whose outcome is unknown."""

    retryable = True
    outcome = Outcome.UNKNOWN


class CheckpointInvalidError(JobError, ValueError):
    """Raised inside a running job: what it wanted to keep is no JSON value, or too large. The one before stands."""


class RecordError(SlurpLeaderError):
    """A record in etcd is corrupt, forged, or of a newer version than this library reads.

    The message is cut where it is long: it tells of what stands in the record, which may be a megabyte of anything.
    """

    key: str = ""

    def __init__(self, message: str = "", **facts: Any) -> None:
        if len(message) > _LONGEST_OF_A_RECORD:
            message = f"{message[:_LONGEST_OF_A_RECORD]} ..."
        super().__init__(message, **facts)


# ---------------------------------------------------------------- circuit breakers


class CircuitOpenError(SlurpLeaderError):
    """A circuit breaker refused the call, as those before it failed. It was not made.

    Raised out of a generator, it puts the job back for `retry_after_s` seconds, and costs it no attempt.
    """

    retryable = True
    circuit: str = ""
    retry_after_s: float = 0.0


# ---------------------------------------------------------------- raised by, or inside, generators


class TerminalError(SlurpLeaderError):
    """Raised by a generator: trying again cannot help. The job ends `failed` at once."""

    code: str = "terminal"


class FileRefusedError(TerminalError):
    """The file cannot be worked on. `code` tells why: outside, missing, binary, empty, too_large, encoding ..."""

    path: str = ""


class RetryAfterError(SlurpLeaderError):
    """Raised by a generator: try again, but not before `delay_s` (seconds or a `timedelta`) has passed.

    It counts as a failed attempt. The longer of this wait and the usual back-off holds, also over a failover.
    """

    retryable = True
    delay_s: float | timedelta = 0.0


class JobInterrupted(SlurpLeaderError):  # noqa: N818 - a signal to stop, not a fault
    """Raised inside a running job that has to stop: cancelled, out of time, or the term is over."""

    reason: str = ""


def repr_of(error: BaseException | None, longest: int = 500) -> str:
    """What user code raised, for logs and messages. Nothing in it is trusted to print, or to be short."""
    try:
        return repr(error)[:longest]
    except Exception:
        return type(error).__name__
