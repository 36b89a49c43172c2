"""The submitter: brings new jobs and wishes into the store. A machine, on any node or in a pure client.

    submit -> one create-only transaction for many -> told only after the commit

No leader is needed for that: the durable queue is the way to the leader. An answer that was lost is asked for again,
with the same id, until it is definite; a caller who stops waiting has a job that exists or not, and its idempotency
key to find out.

One window is left open (PROTOCOL A27): an answer about an idempotency key holds as long as the key's record. When it
told "used before" while an earlier copy of the same submit was on its way, and the other job is pruned before that copy
arrives, the copy finds the key free and becomes a job that nobody was told of. Its outcome is recorded once, too.

What is asked for about jobs that are there already is in `changes`. Commands: `Call`, `Submitted`, and those.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from slurp_leader.errors import (
    DuplicateJobError,
    IdempotencyConflictError,
    Outcome,
    RecordError,
    RequestTooLargeError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from slurp_leader.jobs import intents
from slurp_leader.jobs.admission import queue_full
from slurp_leader.jobs.changes import (
    CancelAnswer,
    CancelAnswered,
    CancelJob,
    Changes,
    RetryJob,
    Write,
    is_wished,
    missing,
)
from slurp_leader.jobs.commit import CommitLimits, Committer
from slurp_leader.jobs.ids import LOWEST, IdMint
from slurp_leader.jobs.intent import Settlement, Verdict
from slurp_leader.jobs.intents import Replaced
from slurp_leader.jobs.new_job import OnDuplicate
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.jobs.records import Idempotency, JobKeys, Spec, floor_value, read_floor
from slurp_leader.jobs.unled import Signs, Unled
from slurp_leader.machine.calls import Answer, Call, Calls, Timers
from slurp_leader.store import Delete, Get, KeyValue, Put, Request, Txn, TxnResult, mod_revision, version_of
from slurp_leader.telemetry.events import LogEvent

_PAUSE_S = 0.2


# ---------------------------------------------------------------- events and commands


@dataclass(frozen=True, slots=True)
class Submit:
    """Event: bring this job in. `ticket` comes back with the answer."""

    ticket: int
    spec: Spec
    digest: str = ""
    """Of the fields the caller gave; with an idempotency key only."""
    on_duplicate: OnDuplicate = OnDuplicate.RETURN_EXISTING
    value: bytes = b""
    """The queue record as it is written, from who has it; empty: it is made here."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Command: what became of a submit.

    Attributes:
        job_id: The job; with an idempotency key that was used before, the job of that time.
        created: False: it was there already.
        revision: Its queue record's, 0 when not known.
        replaced: The job whose place it took.
        error: Set instead when it did not become a job, or nobody can tell.
    """

    ticket: int
    job_id: str = ""
    created: bool = True
    revision: int = 0
    replaced: str | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Command: something worth a log entry."""

    level: int
    event: LogEvent
    fields: dict[str, Any]


# ---------------------------------------------------------------- the machine


class Submitter:
    """Brings in jobs and wishes.

    Args:
        keys: Keys of the jobs.
        mint: Mints ids; told about the floor.
        limits: Of the group commit.
        signs: Of the leader, without which the store is looked after here; None: that is left to leaders.
        store_limits: How much of the store may be used.
        queue_limit: Jobs that may wait while nobody leads.
    """

    def __init__(
        self,
        keys: JobKeys,
        mint: IdMint,
        limits: CommitLimits,
        *,
        signs: Signs | None = None,
        store_limits: StoreLimits | None = None,
        queue_limit: int = 10_000,
    ) -> None:
        self._keys = keys
        self._mint = mint
        self._limits = limits
        self._calls = Calls()
        self._timers = Timers()
        self._gate = intents.AdmissionGate(keys)
        self.committer = Committer(self._calls, self._send, self._gate, limits)
        self._unled = (
            Unled(keys.queue, signs, store_limits or StoreLimits(), queue_limit, self._read) if signs else None
        )
        self._out: list[Any] = []
        self._ready = False
        self._preparing = False
        self._prepare_began_at = 0.0
        self._early: list[Submit] = []
        self._repeats: dict[str, Callable[[float], None]] = {}
        self._repeats_made = 0
        self._changes = Changes(keys, self._ask, self._say)

    @property
    def wake_at(self) -> float:
        return min(self._timers.next_at, self.committer.wake_at)

    @property
    def pending(self) -> int:
        """Submits that were not answered yet."""
        return len(self.committer) + len(self._early) + (self._unled.waiting if self._unled else 0)

    def step(self, event: Any, now: float) -> list[Any]:
        """Take `Submit`, `Answer`, `Tick`, or an event of `changes`."""
        self._out = []
        for name in self._timers.take_due(now):
            if name == "prepare":
                self._prepare(now)
            elif name in self._repeats:
                self._repeats.pop(name)(now)
        match event:
            case Submit():
                self._receive(event, now)
            case CancelJob() | RetryJob() | Write():
                self._changes.take(event, now)
            case Answer():
                self._calls.settle(event, now)
            case _:
                pass  # a tick
        self.committer.flush(now)
        return self._out

    # ------------------------------------------------------------ the floor has to be there

    def _prepare(self, now: float) -> None:
        """Make sure that there is a floor: a compare of a missing key's value is false for ever (A4)."""
        if not self._preparing:
            self._preparing, self._prepare_began_at = True, now
        floor = self._keys.floor
        txn = Txn((version_of(floor, 0),), (Put(floor, floor_value(LOWEST)),), (Get(floor),))
        self._send(self._calls.send(txn, self._attempt_s(txn, now - self._prepare_began_at), self._prepared))

    def _prepared(self, result: Any, now: float) -> None:
        if isinstance(result, StoreError):
            self._not_prepared(result, now)
            return
        self._preparing = False
        lowest = LOWEST if result.succeeded else read_floor(result.results[0].kvs[0].value)
        if lowest is None:
            self._refuse_early(_bad_floor(self._keys))
            return
        self._ready = True
        self._mint.stay_above(lowest)
        early, self._early = self._early, []
        for submit in early:
            self._submit(submit, now)

    def _not_prepared(self, error: StoreError, now: float) -> None:
        if error.retryable or (error.outcome is Outcome.UNKNOWN and not isinstance(error, StoreClosedError)):
            self._timers.set("prepare", now + _PAUSE_S)
        else:
            self._preparing = False
            self._refuse_early(error)

    def _refuse_early(self, error: Exception) -> None:
        early, self._early = self._early, []
        for submit in early:
            self._out.append(Submitted(submit.ticket, error=error))

    # ------------------------------------------------------------ submit

    def _receive(self, submit: Submit, now: float) -> None:
        if self._unled is None:
            self._submit(submit, now)
        else:
            self._unled.admit(partial(self._admitted, submit), now)

    def _admitted(self, submit: Submit, refusal: Exception | None, now: float) -> None:
        if refusal is None:
            self._submit(submit, now)
        else:
            self._out.append(Submitted(submit.ticket, error=refusal))

    def _submit(self, submit: Submit, now: float) -> None:
        if not self._ready:
            self._early.append(submit)
            if not self._preparing:
                self._prepare(now)
            return
        spec = submit.spec
        idempotency = Idempotency(spec.job_id, submit.digest) if spec.idem is not None else None
        settled = partial(self._settled, submit)
        value = submit.value or spec.to_value()
        self.committer.add(intents.submit(self._keys, self._gate, spec, value, idempotency, settled), now)

    def _settled(self, submit: Submit, settlement: Settlement, now: float, *, replaced: Replaced | None = None) -> None:
        match settlement.verdict, settlement.reason:
            case Verdict.APPLIED, _:
                old = replaced.job_id if replaced else None
                self._out.append(
                    Submitted(submit.ticket, submit.spec.job_id, revision=settlement.revision, replaced=old)
                )
            case Verdict.UNKNOWN, _:
                lost = StoreUnavailableError("the answer was lost, and so much was pruned since that nobody can tell")
                self._out.append(Submitted(submit.ticket, error=settlement.error or lost))
            case _, "duplicate":
                self._existing(submit, settlement.found, now)
            case _, "changed" if replaced is not None:
                self._submit(submit, now)  # who has the key now? A late copy of this finds its revision gone
            case _, "closed":
                self._out.append(Submitted(submit.ticket, error=queue_full(self._gate.closed)))
            case _, "floor":
                self._mint.stay_above(self._gate.floor)
                self._submit(replace(submit, spec=replace(submit.spec, job_id=self._mint.mint()), value=b""), now)
            case _, "no floor":
                self._ready = False
                self._submit(submit, now)
            case _, "bad floor":
                self._out.append(Submitted(submit.ticket, error=_bad_floor(self._keys)))
            case _:
                self._out.append(Submitted(submit.ticket, error=_refusal(settlement)))

    # ------------------------------------------------------------ an idempotency key used before

    def _existing(self, submit: Submit, kv: KeyValue, now: float) -> None:
        """The key stands for a job already: the same request gets that job, another one is a conflict (A27)."""
        try:
            known = Idempotency.from_value(kv.key, kv.value)
        except RecordError as error:
            self._out.append(Submitted(submit.ticket, error=error))
            return
        if known.job_id == submit.spec.job_id:
            self._out.append(Submitted(submit.ticket, known.job_id, revision=kv.mod_revision))
        else:
            self._look_for(submit, known, kv, now)

    def _look_for(self, submit: Submit, known: Idempotency, kv: KeyValue, now: float) -> None:
        """Is the job that the key stands for still there? If it was pruned, the key is free again."""
        raw = known.job_id.encode()
        keys = self._keys
        look = Txn(
            success=(
                Get(keys.queue + raw, keys_only=True),
                Get(keys.done + raw, keys_only=True),
                Get(keys.cancel + raw),
            )
        )
        self._ask(look, partial(self._found, submit, known, kv), partial(self._submit_failed, submit), now)

    def _found(self, submit: Submit, known: Idempotency, kv: KeyValue, result: TxnResult, now: float) -> None:
        queue, done, wish = (answer.kvs for answer in result.results)  # type: ignore[union-attr]
        if not queue and not done:
            free = Txn((mod_revision(kv.key, kv.mod_revision),), (Delete(kv.key),), ())
            self._ask(free, lambda _, later: self._submit(submit, later), partial(self._submit_failed, submit), now)
        elif submit.on_duplicate is OnDuplicate.REPLACE:
            self._replace(submit, _replaced(kv, known.job_id, queue, wish), now)
        elif known.digest != submit.digest:
            conflict = IdempotencyConflictError(
                "this idempotency key was used for another request; use a new key, or send the same request",
                job_id=known.job_id,
            )
            self._out.append(Submitted(submit.ticket, error=conflict))
        elif submit.on_duplicate is OnDuplicate.RAISE:
            duplicate = DuplicateJobError(f"this idempotency key stands for job {known.job_id}", job_id=known.job_id)
            self._out.append(Submitted(submit.ticket, error=duplicate))
        else:
            self._out.append(Submitted(submit.ticket, known.job_id, created=False, revision=kv.mod_revision))

    def _replace(self, submit: Submit, replaced: Replaced, now: float) -> None:
        """Take the key over, at one revision. If anything has moved since it was looked at: look again."""
        idempotency = Idempotency(submit.spec.job_id, submit.digest)
        settled = partial(self._settled, submit, replaced=replaced)
        self.committer.add(intents.replace(self._keys, self._gate, submit.spec, idempotency, replaced, settled), now)

    def _submit_failed(self, submit: Submit, error: StoreError, now: float) -> None:
        self._out.append(Submitted(submit.ticket, error=error))

    # ------------------------------------------------------------ small things

    def _ask(
        self,
        request: Txn,
        handler: Callable[[Any, float], None],
        failed: Callable[[StoreError, float], None],
        began_at: float,
    ) -> None:
        """Send a request that may be repeated as it is, until it is answered; or tell `failed` that it is hopeless."""

        def answered(result: Any, now: float) -> None:
            if not isinstance(result, StoreError):
                handler(result, now)
            elif not result.retryable:
                failed(result, now)
            else:
                self._out.append(Note(logging.WARNING, LogEvent.COMMIT_UNKNOWN, {"error": str(result)}))
                self._repeat(send, now)

        def send(now: float) -> None:
            self._send(self._calls.send(request, self._attempt_s(request, now - began_at), answered))

        send(began_at)

    def _attempt_s(self, request: Txn, waited_s: float) -> float:
        """Deadline of one attempt. Reads have all the time: the store itself asks the next member meanwhile."""
        only_reads = all(isinstance(step, Get) for step in request.success)
        return self._limits.rpc_timeout_s if only_reads else self.committer.patience.attempt_s(waited_s)

    def _repeat(self, send: Callable[[float], None], now: float) -> None:
        self._repeats_made += 1
        name = f"repeat {self._repeats_made}"
        self._repeats[name] = send
        self._timers.set(name, now + _PAUSE_S)

    def _read(self, request: Request[Any], handler: Callable[[Any, float], None]) -> None:
        self._send(self._calls.send(request, self._limits.rpc_timeout_s, handler))

    def _send(self, call: Call) -> None:
        self._out.append(call)

    def _say(self, command: Any) -> None:
        self._out.append(command)


def _replaced(idem: KeyValue, job_id: str, queue: tuple[KeyValue, ...], wish: tuple[KeyValue, ...]) -> Replaced:
    """What a new job takes the place of, as it was read."""
    if not queue:
        return Replaced(idem, job_id)
    revision = queue[0].mod_revision
    return Replaced(idem, job_id, revision, wish[0].mod_revision if wish else 0, is_wished(wish, revision))


def _bad_floor(keys: JobKeys) -> RecordError:
    name = keys.floor.decode()
    return RecordError(
        f"{name} is not a job id: an operator has to put it right before jobs can be submitted", key=name
    )


def _refusal(settlement: Settlement) -> Exception:
    if isinstance(settlement.error, RequestTooLargeError):
        return RequestTooLargeError(f"the request is too large for etcd: {settlement.error}")
    return settlement.error or StoreUnavailableError(settlement.reason)


__all__ = [
    "CancelAnswer",
    "CancelAnswered",
    "CancelJob",
    "Note",
    "Submit",
    "Submitted",
    "Submitter",
    "missing",
]
