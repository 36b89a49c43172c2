"""Group commit: many intents, one transaction; nobody is told before the store has answered.

Submitters and the leader use the same `Committer`; they differ in the *gate* every transaction of theirs passes:
the fence of a term, or the admission of new jobs. It is a part of a machine, without thread or clock:

    add(intent) ... -> flush -> Txn -> applied: settle all
                                    -> refused: by the gate? else look who changed, settle those, send the rest
                                    -> refused for its form or size: halve, down to the one at fault
                                    -> unknown: the same again, until it is definite

Why a refusal needs a look (PROTOCOL A5): one job that changed refuses the sixty-two beside it. The refused transaction
itself reads the gate's keys, and only that decides "fenced". Which intents were at fault is read afterwards: what that
read can find (a revision that moved on, a record with our own operation id) stays true for ever.

Why unknown means *the same* again (A2): "not there" on a read is not "did not happen"; it may arrive yet. When the
repeated transaction is refused, one of its compares has become false for good, so no late copy can apply any more. A
refusal for form or size is definite even then: no copy of that very request can ever apply.

How long to wait for an answer before the same is sent again is said in `patience`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from slurp_leader.errors import (
    Outcome,
    RequestMalformedError,
    RequestTooLargeError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
)
from slurp_leader.jobs.intent import HANDED_OVER, Gate, Intent, Rank, Settlement, Verdict
from slurp_leader.jobs.patience import Patience
from slurp_leader.machine.calls import NEVER, Call, Calls
from slurp_leader.store import GetResult, Operation, Txn, TxnResult

MOST_OPERATIONS = 128
"""etcd's limit for operations, and for compares, of one transaction."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_SAMPLES = 256
"""Batches whose size and duration are kept until somebody takes them."""


@dataclass(frozen=True, slots=True)
class CommitLimits:
    """How large and how many the transactions of a committer may be. Seconds and bytes."""

    items: int = 63
    size: int = 512 * 1024
    delay_s: float = 0.005
    in_flight: int = 4
    rpc_timeout_s: float = 5.0


@dataclass(slots=True)
class CommitStats:
    """What happened since they were last taken, for metrics: counted per batch."""

    batches: int = 0
    items: int = 0
    sizes: list[int] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)
    unknown: int = 0
    fenced: int = 0

    def clear(self) -> None:
        self.batches = self.items = self.unknown = self.fenced = 0
        self.sizes.clear()
        self.durations_s.clear()


class Committer:
    """Gathers intents and commits them. Owned by one machine, which passes on answers through `calls`.

    Args:
        calls: The calls of the owning machine.
        send: Takes the `Call` commands.
        gate: What every transaction has to pass.
        limits: Sizes and delays.
    """

    def __init__(self, calls: Calls, send: Callable[[Call], None], gate: Gate, limits: CommitLimits) -> None:
        self._calls = calls
        self._send_call = send
        self._gate = gate
        self._limits = limits
        self._waiting: dict[Rank, deque[Intent]] = {rank: deque() for rank in Rank}
        self._count = 0  # intents that wait
        self._sent = 0  # intents under way
        self._subjects: set[str] = set()  # of the intents under way
        self._in_flight = 0
        self._gathering_since = NEVER
        self._flush_at = NEVER
        self._paused: list[tuple[float, _Batch]] = []
        self._held = False  # the term was handed over: nothing new is sent until it is known under which grant
        self.patience = Patience(limits.rpc_timeout_s)
        self.stats = CommitStats()

    def __len__(self) -> int:
        """Intents that are not settled yet."""
        return self._count + self._sent

    @property
    def wake_at(self) -> float:
        """When `flush` wants to be called."""
        again = min((at for at, _ in self._paused), default=NEVER)
        return min(self._flush_at, again)

    def add(self, intent: Intent, now: float) -> None:
        """Take an intent. It is sent with what else comes in this round, or when a place is free."""
        self._waiting[intent.rank].append(intent)
        self._count += 1
        self._gathering_since = min(self._gathering_since, now)
        self._plan(now)

    def withdraw(self, rank: Rank, subject: str) -> None:
        """Forget what waits about this subject at this rank, untold; what is under way stays so."""
        queue = self._waiting[rank]
        if queue:
            kept = [intent for intent in queue if intent.subject != subject]
            self._count -= len(queue) - len(kept)
            self._waiting[rank] = deque(kept)

    def switch(self, gate: Gate, now: float) -> None:
        """From here on pass another gate: the term was handed over. What may not be written under a grant is refused;
        what is under way, or in doubt, ends under the gate that it was sent through."""
        self._gate = gate
        self._held = False
        not_lent: list[Intent] = []
        for rank, queue in self._waiting.items():
            not_lent += (intent for intent in queue if not intent.lendable)
            self._waiting[rank] = deque(intent for intent in queue if intent.lendable)
        self._count -= len(not_lent)
        for intent in not_lent:
            intent.settled(Settlement(Verdict.REFUSED, reason=HANDED_OVER), now)
        self._gathering_since = now if self._count else NEVER
        self._plan(now)

    def flush(self, now: float) -> None:
        """Send what is due: batches in doubt whose pause is over, then full or old enough new ones."""
        if self._paused:
            due = [batch for at, batch in self._paused if at <= now]
            self._paused = [(at, batch) for at, batch in self._paused if at > now]
            for batch in due:
                self._send(batch, now)
        while self._may_send(now):
            intents = self._gather()
            if not intents:
                self._flush_at = NEVER  # all wait for what is under way; its end plans anew
                return
            for intent in intents:
                self._subjects.update(intent.subjects)
            self._sent += len(intents)
            self._gathering_since = now if self._count else NEVER
            self._in_flight += 1
            self._send(_Batch(intents, self._txn_of(intents, self._gate), self._gate), now)
        self._plan(now)

    # ------------------------------------------------------------ when, and how much

    def _plan(self, now: float) -> None:
        """When to flush: at once while nothing is under way, else when full or old enough."""
        if not self._count or self._in_flight >= self._limits.in_flight or self._held:
            self._flush_at = NEVER
        elif not self._in_flight or self._count >= self._limits.items:
            self._flush_at = now
        else:
            self._flush_at = self._gathering_since + self._limits.delay_s

    def _may_send(self, now: float) -> bool:
        if not self._count or self._in_flight >= self._limits.in_flight or self._held:
            return False
        if not self._in_flight or self._count >= self._limits.items:
            return True
        return now >= self._gathering_since + self._limits.delay_s

    def _gather(self) -> list[Intent]:
        """Take what fits into one transaction, most urgent first; what must wait stays in its place."""
        taken: list[Intent] = []
        room = _Room(self._limits)
        subjects: set[str] = set()
        for queue in self._waiting.values():
            kept: list[Intent] = []
            while queue and not room.full:
                intent = queue.popleft()
                if not self._is_free(intent, subjects) or not room.take(intent):
                    kept.append(intent)
                    room.misses += 1
                else:
                    subjects.update(intent.subjects)
                    taken.append(intent)
            queue.extendleft(reversed(kept))
            if room.full:
                break
        self._count -= len(taken)
        return taken

    def _is_free(self, intent: Intent, subjects: set[str]) -> bool:
        under_way = self._subjects
        return all(subject not in subjects and subject not in under_way for subject in intent.subjects)

    def _txn_of(self, intents: Sequence[Intent], gate: Gate) -> Txn:
        compares = list(gate.compares(intents))
        operations: list[Operation] = []
        for intent in intents:
            compares += intent.compares
            operations += intent.operations
        return Txn(tuple(compares), tuple(operations), gate.reads)

    # ------------------------------------------------------------ one batch

    def _send(self, batch: _Batch, now: float) -> None:
        if batch.first_sent_at is None:
            batch.first_sent_at = now
        batch.sent_at = now
        attempt_s = self.patience.attempt_s(now - batch.first_sent_at)
        self._send_call(self._calls.send(batch.txn, attempt_s, partial(self._answered, batch)))

    def _answered(self, batch: _Batch, result: Any, now: float) -> None:
        if isinstance(result, StoreError):
            self._failed(batch, result, now)
            return
        self.patience.answered(now - batch.sent_at)
        if result.succeeded:
            self._count_batch(batch, now)
            self._settle_all(batch, Settlement(Verdict.APPLIED, result.header.revision), now)
        else:
            self._refused(batch, result, now)

    def _failed(self, batch: _Batch, error: StoreError, now: float) -> None:
        if isinstance(error, RequestTooLargeError | RequestMalformedError):
            self._break_up(batch, error, now)
        elif isinstance(error, StoreClosedError) and not self._gate.patient:
            self._settle_all(batch, Settlement(Verdict.UNKNOWN, reason=str(error), error=error), now)
        elif error.outcome is Outcome.UNKNOWN:
            batch.in_doubt = True
            self.stats.unknown += 1
            self._pause(batch, now, now - batch.sent_at)
        elif isinstance(error, StoreBusyError | StoreTimeoutError) or batch.in_doubt or self._gate.patient:
            self._pause(batch, now, now - batch.sent_at)  # a timeout here: before it was sent, as during a login
        else:
            self._settle_all(batch, Settlement(Verdict.REFUSED, reason=str(error), error=error), now)

    def _pause(self, batch: _Batch, now: float, waited_s: float = 0.0) -> None:
        """Send it again, after a pause that grows from time to time. What was waited in vain for an answer counts: a
        write that was given to a member without a leader is sent again at once, however often that happens."""
        pause_s = min(_LONGEST_PAUSE_S, batch.pause_s * 2 or _FIRST_PAUSE_S)
        if waited_s < pause_s:
            batch.pause_s = pause_s
        self._paused.append((now + max(0.0, pause_s - waited_s), batch))

    def _break_up(self, batch: _Batch, error: StoreError, now: float) -> None:
        """etcd refused the form of the whole: send its halves, so that the one at fault harms no others."""
        if len(batch.intents) == 1:
            self._settle_all(batch, Settlement(Verdict.REFUSED, reason=str(error), error=error), now)
            return
        middle = len(batch.intents) // 2
        self._in_flight += 1
        for intents in (batch.intents[:middle], batch.intents[middle:]):
            self._send(_Batch(intents, self._txn_of(intents, batch.gate), batch.gate), now)

    def _refused(self, batch: _Batch, result: TxnResult, now: float) -> None:
        batch.refusal = batch.gate.refusal(result.results)  # type: ignore[arg-type]
        if batch.refusal == "fenced":
            self.stats.fenced += 1
        if batch.refusal == HANDED_OVER and batch.gate is self._gate:
            self._held = True
        if batch.refusal is not None and not batch.in_doubt:
            self._settle(batch, [_shut_out(batch.refusal, intent) for intent in batch.intents], now)
        else:
            batch.found = []
            self._look(batch)

    # ------------------------------------------------------------ who changed?

    def _look(self, batch: _Batch) -> None:
        """Read what the intents want to know, in as many requests as it takes, one after the other."""
        probes = [probe for intent in batch.intents for probe in intent.probes]
        rest = probes[len(batch.found) :][:MOST_OPERATIONS]
        self._send_call(
            self._calls.send(Txn(success=tuple(rest)), self._limits.rpc_timeout_s, partial(self._looked, batch))
        )

    def _looked(self, batch: _Batch, result: Any, now: float) -> None:
        if isinstance(result, StoreError):
            self._pause(batch, now)  # the refused transaction again: its refusal leads back here
            return
        batch.found += result.results
        if len(batch.found) < sum(len(intent.probes) for intent in batch.intents):
            self._look(batch)
        else:
            self._judge(batch, now)

    def _judge(self, batch: _Batch, now: float) -> None:
        found, verdicts = batch.found, []
        for intent in batch.intents:
            answers, found = found[: len(intent.probes)], found[len(intent.probes) :]
            verdicts.append(self._verdict(batch, intent, answers))
        if self._must_stay_together(batch, verdicts):
            self._pause(batch, now)
        else:
            self._settle(batch, verdicts, now)

    def _settle(self, batch: _Batch, verdicts: Sequence[Settlement], now: float) -> None:
        """Tell each what became of it; what is to be sent again waits, before all others."""
        self._leave(batch)
        told: list[tuple[Intent, Settlement]] = []
        for intent, settlement in zip(batch.intents, verdicts, strict=True):
            if settlement.verdict is Verdict.AGAIN:
                self._waiting[intent.rank].appendleft(intent)
                self._count += 1
                self._gathering_since = min(self._gathering_since, now)
            else:
                told.append((intent, settlement))
        for intent, settlement in told:
            intent.settled(settlement, now)
        self._plan(now)

    def _verdict(self, batch: _Batch, intent: Intent, answers: Sequence[GetResult]) -> Settlement:
        settlement = intent.judge(answers, batch.in_doubt)
        if settlement.verdict is Verdict.AGAIN and batch.refusal is not None and batch.gate.definite:
            return _shut_out(batch.refusal, intent)
        return settlement

    def _must_stay_together(self, batch: _Batch, verdicts: Sequence[Settlement]) -> bool:
        """Whether the very same transaction has to be sent again, after a pause."""
        again = [settlement.verdict is Verdict.AGAIN for settlement in verdicts]
        if batch.refusal == HANDED_OVER:
            return False  # no copy can pass this gate any more
        if batch.in_doubt and batch.refusal and not batch.gate.definite and any(again):
            return True  # an earlier send may still arrive once the gate opens
        return all(again)  # refused, and nobody at fault: it has passed, or asking at once would only ask again

    # ------------------------------------------------------------ the end

    def _settle_all(self, batch: _Batch, settlement: Settlement, now: float) -> None:
        self._leave(batch)
        for intent in batch.intents:
            intent.settled(settlement, now)
        self._plan(now)

    def _leave(self, batch: _Batch) -> None:
        """Nothing of this batch is under way any more. Before anybody is told: they may add what comes next."""
        self._in_flight -= 1
        self._sent -= len(batch.intents)
        for intent in batch.intents:
            self._subjects.difference_update(intent.subjects)

    def _count_batch(self, batch: _Batch, now: float) -> None:
        items = sum(intent.items for intent in batch.intents)
        self.stats.batches += 1
        self.stats.items += items
        if len(self.stats.sizes) < _SAMPLES:
            self.stats.sizes.append(items)
            self.stats.durations_s.append(now - batch.sent_at)


@dataclass(slots=True, eq=False)
class _Batch:
    """Intents in one transaction, until each of them is settled or goes back to wait."""

    intents: list[Intent]
    txn: Txn
    gate: Gate
    first_sent_at: float | None = None
    sent_at: float = 0.0
    in_doubt: bool = False
    pause_s: float = 0.0
    refusal: str | None = None
    found: list[Any] = field(default_factory=list)


def _shut_out(refusal: str, intent: Intent) -> Settlement:
    """What a definite refusal by the gate means to one intent: under a grant, the end of a run can still be written."""
    if refusal == HANDED_OVER and intent.lendable:
        return Settlement(Verdict.AGAIN)
    return Settlement(Verdict.REFUSED, reason=refusal)


class _Room:
    """What one transaction still takes."""

    __slots__ = ("compares", "full", "items", "misses", "operations", "size")

    _GATE_COMPARES = 4
    _MOST_MISSES = 64

    def __init__(self, limits: CommitLimits) -> None:
        self.items = limits.items
        self.size = limits.size
        self.compares = MOST_OPERATIONS - self._GATE_COMPARES
        self.operations = MOST_OPERATIONS
        self.misses = 0
        self.full = False

    def take(self, intent: Intent) -> bool:
        """Whether it fits; if so, its room is used up. A first intent always fits: alone it has to be tried."""
        untouched = self.operations == MOST_OPERATIONS
        fits = (
            self.items >= 1
            and len(intent.compares) <= self.compares
            and len(intent.operations) <= self.operations
            and intent.size <= self.size
            and not intent.alone
        )
        if not fits and not untouched:
            self.full = self.misses >= self._MOST_MISSES or self.items < 1 or self.operations < 2
            return False
        self.items -= 1
        self.compares -= len(intent.compares)
        self.operations -= len(intent.operations)
        self.size -= intent.size
        self.full = intent.alone or self.items < 1 or self.operations < 1
        return True


__all__ = ["CommitLimits", "CommitStats", "Committer", "Gate", "Intent", "Rank", "Settlement", "Verdict"]
