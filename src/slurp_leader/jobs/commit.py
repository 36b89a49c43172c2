"""Group commit: many intents, one transaction; nobody is told before the store has answered.

Submitters and the leader use the same `Committer`; they differ in the *gate* every transaction of theirs passes:
the fence of a term, or the admission of new jobs. It is a part of a machine, without thread or clock:

    add(intent) ... -> flush -> Txn -> applied: settle all
                                    -> refused: by the gate? else look who changed, settle those, send the rest
                                    -> too large: halve
                                    -> unknown: the same again, until it is definite

Why a refusal needs a look (PROTOCOL A5): one job that changed refuses the sixty-two beside it. The refused transaction
itself reads the gate's keys, and only that decides "fenced". Which intents were at fault is read afterwards: what that
read can find (a revision that moved on, a record with our own operation id) stays true for ever.

Why unknown means *the same* again (A2): "not there" on a read is not "did not happen"; it may arrive yet. When the
repeated transaction is refused, one of its compares has become false for good, so no late copy can apply any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from slurp_leader.errors import Outcome, RequestTooLargeError, StoreBusyError, StoreError
from slurp_leader.machine.calls import NEVER, Call, Calls
from slurp_leader.store import Compare, Get, GetResult, Operation, Txn, TxnResult

MOST_OPERATIONS = 128
"""etcd's limit for operations, and for compares, of one transaction."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_OVERHEAD = 64
"""Bytes a compare or operation takes beyond its key and value; generous."""


class Rank(StrEnum):
    """What goes first when there is more than one transaction holds."""

    OUTCOME = "outcome"
    CLAIM = "claim"
    UPKEEP = "upkeep"
    PROGRESS = "progress"


class Verdict(StrEnum):
    """What became of an intent."""

    APPLIED = "applied"
    REFUSED = "refused"
    """Certainly not done; `Settlement.reason` says why."""
    UNKNOWN = "unknown"
    """Done or not, and no further call can tell."""
    AGAIN = "again"
    """Nothing stands in its way: send it once more. Never told to the owner."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of an intent.

    Attributes:
        revision: Of an applied one: the revision it was written at.
        reason: Of any other: ``fenced``, ``closed``, ``floor``, ``changed``, or the text of an error.
        error: The store's error, where there was one.
        found: What the look found, for intents that want to know.
    """

    verdict: Verdict
    revision: int = 0
    reason: str = ""
    error: StoreError | None = None
    found: Any = None


class Intent:
    """One thing to be written.

    Args:
        subject: What it is about. No two intents with one subject are ever under way together.
        rank: What it goes before and after.
        compares: Its own conditions, without the gate's.
        operations: What it writes.
        settled: Told once what became of it, with the time.
        probes: What to read to find out why it was refused, at most 8 reads.
        judge: Takes the answers to `probes`, and whether an earlier send may have arrived; returns a `Settlement`, of
            verdict AGAIN if nothing stands in its way.
        items: How many jobs it stands for, for the metrics and the size of a flush.
        alone: It shares a transaction with nothing else.
    """

    __slots__ = ("alone", "compares", "items", "judge", "operations", "probes", "rank", "settled", "size", "subject")

    def __init__(
        self,
        subject: str,
        rank: Rank,
        compares: tuple[Compare, ...],
        operations: tuple[Operation, ...],
        settled: Callable[[Settlement, float], None],
        probes: tuple[Get, ...],
        judge: Callable[[Sequence[GetResult], bool], Settlement],
        *,
        items: int = 1,
        alone: bool = False,
    ) -> None:
        self.subject = subject
        self.rank = rank
        self.compares = compares
        self.operations = operations
        self.settled = settled
        self.probes = probes
        self.judge = judge
        self.items = items
        self.alone = alone
        size = _OVERHEAD * (len(compares) + len(operations))
        for operation in operations:
            size += len(getattr(operation, "value", b""))
        self.size = size


class Gate(Protocol):
    """The condition that all intents of one side share."""

    reads: tuple[Get, ...]
    """What a refused transaction reads, so that it tells whether the gate refused it."""
    definite: bool
    """Whether a refusal by this gate also rules out that an earlier send arrives later."""

    def compares(self, intents: Sequence[Intent]) -> tuple[Compare, ...]:
        """The compares for a transaction of these intents; at most 4."""
        ...

    def refusal(self, results: Sequence[GetResult]) -> str | None:
        """Given the answers to `reads`: why nothing may pass at present, or None."""
        ...


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
        self._count = 0
        self._subjects: set[str] = set()
        self._in_flight = 0
        self._gathering_since = NEVER
        self._flush_at = NEVER
        self._paused: list[tuple[float, _Batch]] = []
        self.stats = CommitStats()

    def __len__(self) -> int:
        """Intents that are not settled yet."""
        return self._count + len(self._subjects)

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

    def flush(self, now: float) -> None:
        """Send what is due: batches in doubt whose pause is over, then full or old enough new ones."""
        due = [batch for at, batch in self._paused if at <= now]
        self._paused = [(at, batch) for at, batch in self._paused if at > now]
        for batch in due:
            self._send(batch, now)
        while self._count and self._may_send(now):
            intents = self._gather()
            if not intents:
                break
            self._subjects.update(intent.subject for intent in intents)
            self._gathering_since = now if self._count else NEVER
            self._in_flight += 1
            self._send(_Batch(intents, self._txn_of(intents)), now)
        self._plan(now)

    # ------------------------------------------------------------ when, and how much

    def _plan(self, now: float) -> None:
        """When to flush: at once while nothing is under way, else when full or old enough."""
        if not self._count or self._in_flight >= self._limits.in_flight:
            self._flush_at = NEVER
        elif not self._in_flight or self._count >= self._limits.items:
            self._flush_at = now
        else:
            self._flush_at = self._gathering_since + self._limits.delay_s

    def _may_send(self, now: float) -> bool:
        if self._in_flight >= self._limits.in_flight:
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
                if intent.subject in subjects or intent.subject in self._subjects or not room.take(intent):
                    kept.append(intent)
                    room.misses += 1
                else:
                    subjects.add(intent.subject)
                    taken.append(intent)
            queue.extendleft(reversed(kept))
            if room.full:
                break
        self._count -= len(taken)
        return taken

    def _txn_of(self, intents: Sequence[Intent]) -> Txn:
        compares = list(self._gate.compares(intents))
        operations: list[Operation] = []
        for intent in intents:
            compares += intent.compares
            operations += intent.operations
        return Txn(tuple(compares), tuple(operations), self._gate.reads)

    # ------------------------------------------------------------ one batch

    def _send(self, batch: _Batch, now: float) -> None:
        batch.sent_at = now
        self._send_call(self._calls.send(batch.txn, self._limits.rpc_timeout_s, partial(self._answered, batch)))

    def _answered(self, batch: _Batch, result: Any, now: float) -> None:
        if isinstance(result, StoreError):
            self._failed(batch, result, now)
        elif result.succeeded:
            self._count_batch(batch, now)
            self._settle_all(batch, Settlement(Verdict.APPLIED, result.header.revision), now)
        else:
            self._refused(batch, result, now)

    def _failed(self, batch: _Batch, error: StoreError, now: float) -> None:
        if error.outcome is Outcome.UNKNOWN:
            batch.in_doubt = True
            self.stats.unknown += 1
            self._pause(batch, now)
        elif isinstance(error, RequestTooLargeError) and len(batch.intents) > 1:
            self._halve(batch, now)
        elif isinstance(error, StoreBusyError) or batch.in_doubt:
            self._pause(batch, now)
        else:
            self._settle_all(batch, Settlement(Verdict.REFUSED, reason=str(error), error=error), now)

    def _pause(self, batch: _Batch, now: float) -> None:
        batch.pause_s = min(_LONGEST_PAUSE_S, batch.pause_s * 2 or _FIRST_PAUSE_S)
        self._paused.append((now + batch.pause_s, batch))

    def _halve(self, batch: _Batch, now: float) -> None:
        middle = len(batch.intents) // 2
        self._in_flight += 1
        for intents in (batch.intents[:middle], batch.intents[middle:]):
            self._send(_Batch(intents, self._txn_of(intents)), now)

    def _refused(self, batch: _Batch, result: TxnResult, now: float) -> None:
        batch.refusal = self._gate.refusal(result.results)  # type: ignore[arg-type]
        if batch.refusal == "fenced":
            self.stats.fenced += 1
        if batch.refusal is not None and not batch.in_doubt:
            self._settle_all(batch, Settlement(Verdict.REFUSED, reason=batch.refusal), now)
        else:
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
        found, batch.found = batch.found, []
        verdicts: list[tuple[Intent, Settlement]] = []
        for intent in batch.intents:
            answers, found = found[: len(intent.probes)], found[len(intent.probes) :]
            verdicts.append((intent, self._verdict(batch, intent, answers)))
        if batch.in_doubt and batch.refusal and not self._gate.definite and _any_again(verdicts):
            self._pause(batch, now)  # an earlier send may still arrive once the gate opens: ask again as we are
            return
        self._in_flight -= 1
        for intent, settlement in verdicts:
            self._subjects.discard(intent.subject)
            if settlement.verdict is Verdict.AGAIN:
                self._waiting[intent.rank].appendleft(intent)
                self._count += 1
            else:
                intent.settled(settlement, now)
        self._plan(now)

    def _verdict(self, batch: _Batch, intent: Intent, answers: Sequence[GetResult]) -> Settlement:
        settlement = intent.judge(answers, batch.in_doubt)
        if settlement.verdict is Verdict.AGAIN and batch.refusal is not None and self._gate.definite:
            return Settlement(Verdict.REFUSED, reason=batch.refusal)
        return settlement

    # ------------------------------------------------------------ the end

    def _settle_all(self, batch: _Batch, settlement: Settlement, now: float) -> None:
        self._in_flight -= 1
        for intent in batch.intents:
            self._subjects.discard(intent.subject)
        for intent in batch.intents:
            intent.settled(settlement, now)
        self._plan(now)

    def _count_batch(self, batch: _Batch, now: float) -> None:
        items = sum(intent.items for intent in batch.intents)
        self.stats.batches += 1
        self.stats.items += items
        self.stats.sizes.append(items)
        self.stats.durations_s.append(now - batch.sent_at)


@dataclass(slots=True, eq=False)
class _Batch:
    """Intents in one transaction, until each of them is settled or goes back to wait."""

    intents: list[Intent]
    txn: Txn
    sent_at: float = 0.0
    in_doubt: bool = False
    pause_s: float = 0.0
    refusal: str | None = None
    found: list[Any] = field(default_factory=list)


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


def _any_again(verdicts: Sequence[tuple[Intent, Settlement]]) -> bool:
    return any(settlement.verdict is Verdict.AGAIN for _, settlement in verdicts)
