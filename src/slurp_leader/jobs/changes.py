"""Changes to jobs that are there: a wish to cancel one, another try. A part of the submitter's machine.

    look, at one revision -> one transaction that compares what was seen -> refused: look again

Each is repeated as it is until it is answered (PROTOCOL A2). What a look finds after an answer was lost is told apart
by the revision of the incarnation, or the id of our write in it; a late copy finds its compares false for good.

Commands: `CancelAnswered`, `RetryAnswered`, `Written`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from slurp_leader.errors import (
    JobNotFoundError,
    RecordError,
    ResultExpiredError,
    StoreError,
)
from slurp_leader.jobs.admission import queue_full
from slurp_leader.jobs.records import (
    Cancel,
    Idempotency,
    JobKeys,
    JobLimits,
    JobOutcome,
    JobStatus,
    Retried,
    Spec,
    read_floor,
)
from slurp_leader.store import Compare, Delete, Get, KeyValue, Operation, Put, Txn, TxnResult, mod_revision, version_of

# ---------------------------------------------------------------- events and commands


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Event: somebody wants a job to end. `revision`: the incarnation that is meant; 0: the one that is there."""

    ticket: int
    job_id: str
    reason: str
    by: str
    revision: int = 0


class CancelAnswer(StrEnum):
    """What a cancel came to."""

    REQUESTED = "requested"
    """Written down; the leader will end the job."""
    CANCELLED = "cancelled"
    """The leader has ended it, within the time that was waited for that."""
    ALREADY_DONE = "already_done"
    """It had ended, or ended otherwise before the leader read the wish."""


@dataclass(frozen=True, slots=True)
class CancelAnswered:
    """Command: what became of a wish to cancel."""

    ticket: int
    answer: CancelAnswer | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class RetryJob:
    """Event: somebody wants an ended job tried again.

    Attributes:
        op: Unique to this wish.
        defaults: For a job whose record does not tell its options.
        today: The date, as it stands in records.
    """

    ticket: int
    job_id: str
    op: str
    by: str
    defaults: JobLimits
    today: str


class RetryAnswer(StrEnum):
    """What a retry came to."""

    RETRIED = "retried"
    """It is in the queue again; its attempts are counted anew, and the errors of the earlier ones are kept."""
    NOT_ENDED = "not_ended"
    """It waits or runs already."""
    NOT_KEPT = "not_kept"
    """Its request is not kept: it completed, or was too large to be kept with its error."""


@dataclass(frozen=True, slots=True)
class RetryAnswered:
    """Command: what became of a retry."""

    ticket: int
    answer: RetryAnswer | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """Event: bring this transaction to a definite answer. It must be one that may be repeated."""

    ticket: int
    txn: Txn


@dataclass(frozen=True, slots=True)
class Written:
    """Command: the answer. `applied` may be False for an own earlier copy: look what is there."""

    ticket: int
    applied: bool = False
    error: Exception | None = None


# ---------------------------------------------------------------- the machine


class Ask(Protocol):
    """Sends a transaction until it is answered, or tells `failed` that it is hopeless."""

    def __call__(
        self,
        request: Txn,
        handler: Callable[[Any, float], None],
        failed: Callable[[StoreError, float], None],
        began_at: float,
    ) -> None: ...


class Changes:
    """Carries out `CancelJob`, `RetryJob` and `Write`.

    Args:
        keys: Keys of the jobs.
        ask: Of the submitter.
        say: Takes the commands.
    """

    def __init__(self, keys: JobKeys, ask: Ask, say: Callable[[Any], None]) -> None:
        self._keys = keys
        self._ask = ask
        self._say = say

    def take(self, event: CancelJob | RetryJob | Write, now: float) -> None:
        match event:
            case CancelJob(revision=0):
                self._cancel(event, now)
            case CancelJob():
                self._wish(event, event.revision, 0, now)
            case RetryJob():
                self._retry(event, now)
            case Write():
                self._write(event, now)

    # ------------------------------------------------------------ cancel

    def _cancel(self, event: CancelJob, now: float) -> None:
        """Write the wish down, bound to the incarnation that is there now (A18)."""
        raw, keys = event.job_id.encode(), self._keys
        look = Txn(
            success=(
                Get(keys.queue + raw, keys_only=True),
                Get(keys.done + raw, keys_only=True),
                Get(keys.floor),
                Get(keys.cancel + raw),
            )
        )
        self._ask(look, partial(self._looked, event), partial(self._cancel_failed, event), now)

    def _looked(self, event: CancelJob, result: TxnResult, now: float) -> None:
        queue, done, floor, wish = (answer.kvs for answer in result.results)  # type: ignore[union-attr]
        if queue and event.revision not in (0, queue[0].mod_revision):
            self._say(CancelAnswered(event.ticket, CancelAnswer.ALREADY_DONE))  # and was tried again since
        elif queue and is_wished(wish, queue[0].mod_revision):
            self._say(CancelAnswered(event.ticket, CancelAnswer.REQUESTED))
        elif queue:
            self._wish(event, queue[0].mod_revision, wish[0].mod_revision if wish else 0, now)
        elif done:
            self._say(CancelAnswered(event.ticket, CancelAnswer.ALREADY_DONE))
        else:
            self._say(CancelAnswered(event.ticket, error=missing(event.job_id, floor[0].value if floor else b"")))

    def _wish(self, event: CancelJob, revision: int, before: int, now: float) -> None:
        """`before`: revision of a wish for another incarnation, whose place this one takes."""
        raw = event.job_id.encode()
        key = self._keys.cancel + raw
        txn = Txn(
            (mod_revision(self._keys.queue + raw, revision), mod_revision(key, before)),
            (Put(key, Cancel(revision, event.reason, event.by).to_value()),),
        )
        self._ask(txn, partial(self._wished, event), partial(self._cancel_failed, event), now)

    def _wished(self, event: CancelJob, result: TxnResult, now: float) -> None:
        if result.succeeded:
            self._say(CancelAnswered(event.ticket, CancelAnswer.REQUESTED))
        else:
            self._cancel(event, now)  # wished already, ended in between, or come back in another incarnation

    def _cancel_failed(self, event: CancelJob, error: StoreError, now: float) -> None:
        self._say(CancelAnswered(event.ticket, error=error))

    # ------------------------------------------------------------ retry

    def _retry(self, event: RetryJob, now: float, seen: int = 0) -> None:
        """`seen`: the incarnation that an earlier look found ended; another one since then was this, or a like wish."""
        raw, keys = event.job_id.encode(), self._keys
        look = Txn(success=(Get(keys.queue + raw), Get(keys.done + raw), Get(keys.floor)))
        self._ask(look, partial(self._retry_looked, event, seen), partial(self._retry_failed, event), now)

    def _retry_looked(self, event: RetryJob, seen: int, result: TxnResult, now: float) -> None:
        queue, done, floor = (answer.kvs for answer in result.results)  # type: ignore[union-attr]
        if queue:
            ours = _op_of(queue[0]) == event.op
            self._say(RetryAnswered(event.ticket, RetryAnswer.RETRIED if ours else RetryAnswer.NOT_ENDED))
            return
        if not done:
            self._say(RetryAnswered(event.ticket, error=missing(event.job_id, floor[0].value if floor else b"")))
            return
        try:
            outcome = JobOutcome.from_value(done[0].key, done[0].value)
            spec = spec_again(outcome, event)
        except RecordError as error:
            self._say(RetryAnswered(event.ticket, error=error))
            return
        if seen and outcome.queue_revision != seen:
            self._say(RetryAnswered(event.ticket, RetryAnswer.RETRIED))
        elif spec is None:
            self._say(RetryAnswered(event.ticket, RetryAnswer.NOT_KEPT))
        elif outcome.idem is None:
            self._put_back(event, outcome, done[0], spec, None, now)
        else:
            key = self._keys.idem + outcome.idem.encode()
            handler = partial(self._key_looked, event, outcome, done[0], spec)
            self._ask(Txn(success=(Get(key),)), handler, partial(self._retry_failed, event), now)

    def _key_looked(
        self, event: RetryJob, outcome: JobOutcome, done: KeyValue, spec: Spec, result: TxnResult, now: float
    ) -> None:
        """The idempotency key goes along, if it still stands for this job."""
        kvs = result.results[0].kvs  # type: ignore[union-attr]
        self._put_back(event, outcome, done, spec, kvs[0] if kvs and _stands_for(kvs[0], outcome) else None, now)

    def _put_back(
        self, event: RetryJob, outcome: JobOutcome, done: KeyValue, spec: Spec, idem: KeyValue | None, now: float
    ) -> None:
        again = partial(self._put_back_done, event, outcome.queue_revision)
        self._ask(retry_txn(self._keys, done, spec, idem), again, partial(self._retry_failed, event), now)

    def _put_back_done(self, event: RetryJob, seen: int, result: TxnResult, now: float) -> None:
        if result.succeeded:
            self._say(RetryAnswered(event.ticket, RetryAnswer.RETRIED))
        elif closed := result.results[0].kvs:  # type: ignore[union-attr]
            self._say(RetryAnswered(event.ticket, error=queue_full(closed[0])))
        else:
            self._retry(event, now, seen)

    def _retry_failed(self, event: RetryJob, error: StoreError, now: float) -> None:
        self._say(RetryAnswered(event.ticket, error=error))

    # ------------------------------------------------------------ anything else

    def _write(self, event: Write, now: float) -> None:
        self._ask(event.txn, partial(self._written, event), partial(self._write_failed, event), now)

    def _written(self, event: Write, result: TxnResult, now: float) -> None:
        self._say(Written(event.ticket, result.succeeded))

    def _write_failed(self, event: Write, error: StoreError, now: float) -> None:
        self._say(Written(event.ticket, error=error))


# ---------------------------------------------------------------- what is written


def retry_txn(keys: JobKeys, done: KeyValue, spec: Spec, idem: KeyValue | None) -> Txn:
    """The outcome goes, the job comes back, at one revision (PROTOCOL B); only while the queue is open.

    It is another incarnation: nothing that was written about the earlier one can be taken for it. No floor is compared:
    the outcome that is there proves that this id was not pruned. The idempotency key is written anew with it, since
    retention tells by its revision to which incarnation it belongs.
    """
    raw = spec.job_id.encode()
    compares: tuple[Compare, ...] = (
        mod_revision(done.key, done.mod_revision),
        version_of(keys.queue + raw, 0),
        version_of(keys.closed, 0),
    )
    operations: tuple[Operation, ...] = (
        Put(keys.queue + raw, spec.to_value()),
        Delete(done.key),
        Delete(keys.cancel + raw),
        Delete(keys.progress + raw),
    )
    if idem is not None:
        compares = (*compares, mod_revision(idem.key, idem.mod_revision))
        operations = (*operations, Put(idem.key, idem.value))
    return Txn(compares, operations, (Get(keys.closed),))


def spec_again(outcome: JobOutcome, event: RetryJob) -> Spec | None:
    """The job of an outcome, to be tried again; None when its request was not kept.

    Its attempts are counted anew and their errors kept. A deadline that has passed is dropped: whoever wants it tried
    again wants it to run.

    Raises:
        RecordError: What was kept makes no sense.
    """
    kept = outcome.spec
    if kept is None or "request" not in kept:
        return None
    try:
        spec = Spec.from_kept(outcome.job_id, kept, event.defaults, event.today)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"the request kept with the outcome of {outcome.job_id} cannot be read: {error}") from error
    times = 1 + (spec.retried.times if spec.retried else 0)
    errors = outcome.errors or ((outcome.error,) if outcome.error and outcome.status is JobStatus.FAILED else ())
    deadline = spec.deadline if spec.deadline is not None and spec.deadline > event.today else None
    return replace(spec, deadline=deadline, idem=outcome.idem, retried=Retried(event.op, event.by, times, errors))


def is_wished(wish: tuple[KeyValue, ...], revision: int) -> bool:
    """Whether a cancel record wishes this incarnation to end."""
    try:
        return bool(wish) and Cancel.from_value(wish[0].key, wish[0].value).queue_revision == revision
    except RecordError:
        return False


def missing(job_id: str, floor: bytes) -> JobNotFoundError | ResultExpiredError:
    """The error for a job without any record: below the floor it was there once."""
    lowest = read_floor(floor)
    if lowest is not None and job_id <= lowest:
        return ResultExpiredError(f"job {job_id} ended, and its record was pruned", job_id=job_id)
    return JobNotFoundError(f"there is no job {job_id!r}", job_id=job_id)


def _op_of(queue: KeyValue) -> str | None:
    try:
        retried = Spec.from_value(queue.key, queue.value).retried
    except RecordError:
        return None
    return retried.op if retried else None


def _stands_for(idem: KeyValue, outcome: JobOutcome) -> bool:
    try:
        return Idempotency.from_value(idem.key, idem.value).job_id == outcome.job_id
    except RecordError:
        return False
