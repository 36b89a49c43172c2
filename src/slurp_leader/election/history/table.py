"""Candidates as rows of a table, and the few words in which they are spoken of. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slurp_leader.election.ranking.eligible import Standing, waits_s


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate, for a table.

    Attributes:
        place: 0 for who goes first; None: it may not lead.
        node_id, session: Who it is.
        score, parts: What it is worth, 0 to 1, in all and by component before weights.
        against: What keeps it from leading or puts it back; empty: nothing.
        wait_s: How long it lets others go first, or let them in the term that is explained, at least; None: it does
            not come at all, or that is not told.
        leads: Whether it is the one that leads, or led, in the term that is explained.
        place_before: Its place by the weights and orders that are in force; only in a simulation.
    """

    place: int | None
    node_id: str
    session: str
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)
    against: str = ""
    wait_s: float | None = None
    leads: bool = False
    place_before: int | None = None

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "place": self.place,
            "node": self.node_id,
            "session": self.session,
            "score": round(self.score, 4),
            "parts": {name: round(part, 4) for name, part in self.parts.items()},
            "against": self.against,
            "wait_s": None if self.wait_s is None else round(self.wait_s, 3),
            "leads": self.leads,
            "place_before": self.place_before,
        }


def rows_of(judged: Sequence[Standing], rank_wait_s: float | None, leading: str = "") -> tuple[Row, ...]:
    """A row for each standing.

    Args:
        judged: The standings.
        rank_wait_s: Of the election; None where there are no waits, or they are not to be told.
        leading: Session of who leads.
    """
    placed = sum(each.place is not None for each in judged)
    return tuple(
        Row(
            each.place,
            each.candidate.node_id,
            each.candidate.session,
            each.score.total,
            each.score.parts,
            each.verdict.text,
            None if each.place is None or rank_wait_s is None else waits_s(each, placed, rank_wait_s),
            each.candidate.session == leading,
        )
        for each in judged
    )


def in_the_way(each: Standing) -> str:
    """What keeps a candidate from leading."""
    return "; ".join(hindrance.text for hindrance in each.verdict.absolute)


def number(score: float) -> str:
    return f"{score:.2f}"


def seconds(wait_s: float) -> str:
    return f"{wait_s:.1f} s"
