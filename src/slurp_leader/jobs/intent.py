"""Intents: what somebody wants to have written, and what can become of it. How that comes about is in `commit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from slurp_leader.errors import StoreError
from slurp_leader.store import Compare, Get, GetResult, Operation

_OVERHEAD = 64
"""Bytes a compare or operation takes beyond its value; generous, keys included."""


HANDED_OVER = "handed over"
"""Why a gate lets nothing pass: its term was handed over, and a grant of it stands."""


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
        reason: Of any other: ``fenced``, ``handed over``, ``closed``, ``floor``, ``changed``, or the text of an error.
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
        subject: What it is about. No two intents with a subject in common are ever under way together: one transaction
            may not write a key twice, and of two writes about one job the second has to know what became of the first.
        rank: What it goes before and after.
        compares: Its own conditions, without the gate's.
        operations: What it writes.
        settled: Told once what became of it, with the time.
        probes: What to read to find out why it was refused; a few reads, fewer than 128.
        judge: Takes the answers to `probes`, and whether an earlier send may have arrived; returns a `Settlement`, of
            verdict AGAIN if nothing stands in its way.
        also: Further subjects.
        items: How many jobs it stands for, for the metrics and the size of a flush.
        alone: It shares a transaction with nothing else.
        lendable: It ends what a term had under way, so it may be written under the grant too, once the term was handed
            over; everything else is the next leader's.
    """

    __slots__ = (
        "alone",
        "compares",
        "items",
        "judge",
        "lendable",
        "operations",
        "probes",
        "rank",
        "settled",
        "size",
        "subject",
        "subjects",
    )

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
        also: tuple[str, ...] = (),
        items: int = 1,
        alone: bool = False,
        lendable: bool = False,
    ) -> None:
        self.subject = subject
        self.subjects = (subject, *also)
        self.rank = rank
        self.compares = compares
        self.operations = operations
        self.settled = settled
        self.probes = probes
        self.judge = judge
        self.items = items
        self.alone = alone
        self.lendable = lendable
        size = _OVERHEAD * (len(compares) + len(operations))
        for operation in operations:
            size += len(getattr(operation, "value", b""))
        self.size = size


class Gate(Protocol):
    """The condition that all intents of one side share.

    Attributes:
        reads: What a refused transaction reads, so that it tells whether the gate refused it.
        definite: Whether a refusal by this gate also rules out that an earlier send arrives later.
        patient: Whether errors of the store are waited out, because there is nobody to tell: a leader holds the
            results of its jobs until they can be written (PROTOCOL A8).
    """

    reads: tuple[Get, ...]
    definite: bool
    patient: bool

    def compares(self, intents: Sequence[Intent]) -> tuple[Compare, ...]:
        """The compares for a transaction of these intents; at most 4."""
        ...

    def refusal(self, results: Sequence[GetResult]) -> str | None:
        """Given the answers to `reads`: why nothing may pass at present, or None."""
        ...
