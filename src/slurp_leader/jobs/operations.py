"""What operators do with jobs of any process: cancel, try again, purge, by id or by filter; and parked records.

By filter: first the jobs that meet it are read, then each is changed by itself, in a transaction that compares what was
read. So each has an answer of its own, and one that has moved on in between is left alone. Nothing here needs a leader
but the end of a cancelled job.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from slurp_leader.clock import Clock, format_utc
from slurp_leader.errors import (
    JobParkedError,
    RecordError,
    RequestInvalidError,
    ResultExpiredError,
    SlurpLeaderError,
    StoreTimeoutError,
)
from slurp_leader.jobs import intents
from slurp_leader.jobs.changes import CancelAnswer, CancelJob, RetryAnswer, RetryJob, Write, missing
from slurp_leader.jobs.decisions import clean_text
from slurp_leader.jobs.ids import is_job_id
from slurp_leader.jobs.intents import Expired
from slurp_leader.jobs.job_filter import ENDED, LIVE, JobFilter
from slurp_leader.jobs.parked import Parked
from slurp_leader.jobs.records import JobKeys, JobLimits, JobOutcome, JobStatus, read_floor
from slurp_leader.jobs.reports import read_ended, read_live
from slurp_leader.store import Get, Store, Txn

_LONGEST_REASON = 1000
"""Characters of the reason for a cancel that are kept."""
_AT_ONCE = 256
"""Changes under way at a time."""
_BATCH = 40
"""Outcomes purged in one transaction: a compare and up to two operations each."""


class PurgeAnswer(StrEnum):
    """What a purge came to."""

    PURGED = "purged"
    """Its outcome is gone."""
    NOT_ENDED = "not_ended"
    """It waits or runs; cancel it first."""
    CHANGED = "changed"
    """It was tried again and ended anew since it was looked at. It stays."""


class Access(Protocol):
    """What these operations need of the client."""

    def send(self, make: Callable[[int], Any]) -> Future[Any]:
        """Hand an event to the submitter; the future is its answer."""
        ...

    def outcome_of(self, job_id: str) -> Future[JobOutcome]:
        """A future for the outcome of any job."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times of one client, in seconds: of one read, and of a change until it is definite."""

    rpc_timeout_s: float
    change_timeout_s: float


class Operations:
    """Changes to jobs of any process. Safe to use from any thread.

    Args:
        access: The client.
        store: Where to read.
        keys: Keys of the jobs.
        clock: Source of time.
        bounds: How long to wait.
        defaults: Options of jobs whose record does not tell theirs.
        node_id: Who does it, for people.
    """

    def __init__(
        self,
        access: Access,
        store: Store,
        keys: JobKeys,
        clock: Clock,
        bounds: Bounds,
        defaults: JobLimits,
        node_id: str,
    ) -> None:
        self._access = access
        self._store = store
        self._keys = keys
        self._clock = clock
        self._bounds = bounds
        self._defaults = defaults
        self._node_id = node_id
        self.parked = Parked(store, keys, bounds.rpc_timeout_s, self._write, self._new_outcome)
        """Records that cannot be read."""

    # ------------------------------------------------------------ cancel

    def cancel(self, job_id: str, reason: str = "", wait_s: float = 0.0) -> CancelAnswer:
        """Ask for a job to end, and wait at most so long until it has.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
            StoreTimeoutError: No answer in time; the wish may have been written.
        """
        _require_ids([job_id])
        asked = self._cancelling(job_id, reason)
        answer: CancelAnswer = self._answer_of(asked, f"the cancel of {job_id}")
        if answer is not CancelAnswer.REQUESTED or wait_s <= 0:
            return answer
        return self._await_cancelled(job_id, self._clock.boottime() + wait_s)

    def cancel_all(
        self, wanted: JobFilter | Sequence[str], reason: str = "", wait_s: float = 0.0
    ) -> dict[str, CancelAnswer | Exception]:
        """The same for many jobs. A filter takes those that have not ended.

        Raises:
            RequestInvalidError: A filter without any condition, or something that is no job id.
            StoreError: The jobs could not be read. Nothing was asked for.
        """
        found = self._live_ids(wanted) if isinstance(wanted, JobFilter) else dict.fromkeys(_require_ids(wanted), 0)
        deadline = self._clock.boottime() + wait_s
        answers = self._each(found.items(), lambda item: self._cancelling(item[0], reason, item[1]), "cancel")
        if wait_s > 0:
            for job_id, answer in answers.items():
                if answer is CancelAnswer.REQUESTED:
                    answers[job_id] = self._await_cancelled(job_id, deadline)
        return answers

    def _cancelling(self, job_id: str, reason: str, revision: int = 0) -> Future[Any]:
        text = clean_text(reason[:_LONGEST_REASON])
        return self._access.send(lambda ticket: CancelJob(ticket, job_id, text, self._node_id, revision))

    def _live_ids(self, wanted: JobFilter) -> dict[str, int]:
        narrowed = _require_conditions(wanted).narrowed_to(LIVE)
        if narrowed is None:
            return {}
        live = read_live(self._store, self._keys, self._clock, self._bounds.rpc_timeout_s)
        return {report.id: revision for report, revision in live if revision and narrowed.matches(report)}

    def _await_cancelled(self, job_id: str, deadline: float) -> CancelAnswer:
        """How a job ended that is wished to end, if it does in time."""
        try:
            left_s = max(0.0, deadline - self._clock.boottime())
            status = self._access.outcome_of(job_id).result(left_s).status
        except ResultExpiredError:
            return CancelAnswer.ALREADY_DONE
        except (FutureTimeoutError, SlurpLeaderError):
            return CancelAnswer.REQUESTED
        return CancelAnswer.CANCELLED if status is JobStatus.CANCELLED else CancelAnswer.ALREADY_DONE

    # ------------------------------------------------------------ retry

    def retry(self, job_id: str) -> RetryAnswer:
        """Have a job that failed or was cancelled tried again, under its id.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
            QueueFullError: The queue is closed. Nothing was changed.
            RecordError: Its outcome cannot be read.
            StoreTimeoutError: No answer in time; it may be in the queue again.
        """
        _require_ids([job_id])
        answer: RetryAnswer = self._answer_of(self._retrying(job_id), f"the retry of {job_id}")
        return answer

    def retry_all(self, wanted: JobFilter | Sequence[str]) -> dict[str, RetryAnswer | Exception]:
        """The same for many jobs. A filter that names no status takes those that failed.

        Raises:
            RequestInvalidError: A filter without any condition, or something that is no job id.
            StoreError: The jobs could not be read. Nothing was changed.
        """
        ids = self._ended_ids(wanted) if isinstance(wanted, JobFilter) else _require_ids(wanted)
        return self._each(((job_id, 0) for job_id in ids), lambda item: self._retrying(item[0]), "retry")

    def _retrying(self, job_id: str) -> Future[Any]:
        op, today = secrets.token_hex(8), format_utc(self._clock.utcnow())
        return self._access.send(lambda ticket: RetryJob(ticket, job_id, op, self._node_id, self._defaults, today))

    def _ended_ids(self, wanted: JobFilter) -> list[str]:
        statuses = wanted.status or frozenset({JobStatus.FAILED})
        narrowed = _require_conditions(wanted).narrowed_to(statuses & ENDED)
        if narrowed is None:
            return []
        ended = read_ended(self._store, self._keys, self._bounds.rpc_timeout_s)
        return [report.id for report, _ in ended if narrowed.matches(report)]

    # ------------------------------------------------------------ purge

    def purge(self, job_id: str) -> PurgeAnswer:
        """Delete what is kept of a job that has ended.

        Raises:
            JobNotFoundError, ResultExpiredError: There is no such job (any more).
            JobParkedError: Its outcome cannot be read: see `Parked.release`.
            StoreTimeoutError: No answer in time; it may be gone.
        """
        answer = self.purge_all([job_id])[job_id]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def purge_all(self, wanted: JobFilter | Sequence[str]) -> dict[str, PurgeAnswer | Exception]:
        """The same for many jobs. A filter takes those that have ended.

        Raises:
            RequestInvalidError: A filter without any condition, or something that is no job id.
            StoreError: The jobs could not be read, or the floor cannot be. What was purged until then is gone.
        """
        answers: dict[str, PurgeAnswer | Exception] = {}
        if isinstance(wanted, JobFilter):
            found = self._expired(wanted)
        else:
            found = [each for job_id in _require_ids(wanted) if (each := self._look_at(job_id, answers)) is not None]
        for start in range(0, len(found), _BATCH):
            answers.update(self._purge(found[start : start + _BATCH]))
        return answers

    def _expired(self, wanted: JobFilter) -> list[Expired]:
        narrowed = _require_conditions(wanted).narrowed_to(ENDED)
        if narrowed is None:
            return []
        ended = read_ended(self._store, self._keys, self._bounds.rpc_timeout_s)
        return [expired_of(kv.key, kv.value, kv.mod_revision) for report, kv in ended if narrowed.matches(report)]

    def _look_at(self, job_id: str, answers: dict[str, PurgeAnswer | Exception]) -> Expired | None:
        """An ended job by its id; of any other the answer is noted down."""
        raw, keys = job_id.encode(), self._keys
        look = Txn(success=(Get(keys.queue + raw, keys_only=True), Get(keys.done + raw), Get(keys.floor)))
        queue, done, floor = self._read(look)
        if queue:
            answers[job_id] = PurgeAnswer.NOT_ENDED
        elif not done:
            answers[job_id] = missing(job_id, floor[0].value if floor else b"")
        else:
            try:
                return expired_of(done[0].key, done[0].value, done[0].mod_revision)
            except RecordError as error:
                answers[job_id] = JobParkedError(f"the outcome of {job_id} cannot be read: {error}", job_id=job_id)
        return None

    def _purge(self, batch: list[Expired]) -> dict[str, PurgeAnswer]:
        """Purge a few. As the pruner does, without the fence: what is compared is as good under any leader."""
        answers: dict[str, PurgeAnswer] = {}
        while batch:
            keys = self._keys
            look = [Get(keys.done + each.job_id.encode(), keys_only=True) for each in batch]
            floor, *found = self._read(Txn(success=(Get(keys.floor), *look)))
            lowest = read_floor(floor[0].value) if floor else None
            if lowest is None:
                name = keys.floor.decode()
                raise RecordError(f"{name} is missing, or not a job id; an operator has to put it right", key=name)
            left = []
            for each, kvs in zip(batch, found, strict=True):
                if not kvs:
                    answers[each.job_id] = PurgeAnswer.PURGED
                elif kvs[0].mod_revision != each.revision:
                    answers[each.job_id] = PurgeAnswer.CHANGED
                else:
                    left.append(each)
            batch = left
            if batch:
                newest = max([lowest, *(each.job_id for each in batch)])
                wish = intents.prune(keys, batch, newest, floor[0].mod_revision, lambda *_: None)
                if self._write(Txn(wish.compares, wish.operations), "a purge"):
                    answers.update((each.job_id, PurgeAnswer.PURGED) for each in batch)
                    batch = []
        return answers

    # ------------------------------------------------------------ small things

    def _each(
        self, items: Iterable[tuple[str, int]], begin: Callable[[tuple[str, int]], Future[Any]], what: str
    ) -> dict[str, Any]:
        """Change each, some at a time; answers in the order of the items."""
        answers: dict[str, Any] = {}
        waiting: deque[tuple[str, Future[Any]]] = deque()
        for item in items:
            if len(waiting) >= _AT_ONCE:
                self._note_answer(answers, *waiting.popleft(), what)
            waiting.append((item[0], begin(item)))
        while waiting:
            self._note_answer(answers, *waiting.popleft(), what)
        return answers

    def _note_answer(self, answers: dict[str, Any], job_id: str, future: Future[Any], what: str) -> None:
        try:
            answers[job_id] = self._answer_of(future, f"the {what} of {job_id}")
        except SlurpLeaderError as error:
            answers[job_id] = error

    def _answer_of(self, future: Future[Any], what: str) -> Any:
        try:
            answered = future.result(self._bounds.change_timeout_s)
        except FutureTimeoutError as error:
            if isinstance(error, StoreTimeoutError):
                raise
            raise StoreTimeoutError(f"no answer to {what} in time; it may have been written") from None
        if answered.error is not None:
            raise answered.error
        return answered.applied if hasattr(answered, "applied") else answered.answer

    def _new_outcome(self, job_id: str, error: dict[str, Any], queue_revision: int) -> JobOutcome:
        """The outcome of a job whose request nobody can read."""
        return JobOutcome(
            job_id=job_id,
            status=JobStatus.FAILED,
            op=secrets.token_hex(8),
            token=0,
            run=0,
            queue_revision=queue_revision,
            attempts=0,
            interruptions=0,
            submitted_at="",
            started_at=None,
            finished_at=format_utc(self._clock.utcnow()),
            node_id=self._node_id,
            error=error,
        )

    def _write(self, txn: Txn, what: str) -> bool:
        applied: bool = self._answer_of(self._access.send(lambda ticket: Write(ticket, txn)), what)
        return applied

    def _read(self, txn: Txn) -> list[Any]:
        result = self._store.call(txn, self._bounds.rpc_timeout_s).result()
        return [answer.kvs for answer in result.results]  # type: ignore[union-attr]


def expired_of(key: bytes, value: bytes, revision: int) -> Expired:
    """What deleting an outcome takes.

    Raises:
        RecordError: It cannot be read.
    """
    outcome = JobOutcome.from_value(key, value)
    return Expired(outcome.job_id, outcome.idem, outcome.queue_revision, revision)


def _require_ids(ids: Sequence[str]) -> list[str]:
    for job_id in ids:
        if not is_job_id(job_id):
            raise RequestInvalidError(f"{job_id!r} is not a job id", field="job_id")
    return list(dict.fromkeys(ids))


def _require_conditions(wanted: JobFilter) -> JobFilter:
    if wanted.is_empty:
        raise RequestInvalidError("give at least one condition, such as status; name all statuses for all jobs")
    return wanted
