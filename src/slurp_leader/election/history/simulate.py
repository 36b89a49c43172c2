"""Who would go first with other weights or other orders, in plain words. Pure functions; nothing is changed by them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from slurp_leader.election.history.table import Row, in_the_way, number, rows_of, seconds
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import Cause, Circumstances, OwnRules, Standing, score_tie, standings
from slurp_leader.election.ranking.scoring import Weights
from slurp_leader.election.records import LeaderRecord

_MOST_NAMES = 10
_MAKES_A_LEADER_GO = (Cause.BLOCKED, Cause.PINNED_ELSEWHERE)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Who would go first.

    Attributes:
        sentence: The answer.
        first: Node id of who would; empty: nobody could lead.
        first_before: The same by the weights and orders in force.
        rows: All candidates, the best first.
    """

    sentence: str
    first: str = ""
    first_before: str = ""
    rows: tuple[Row, ...] = ()

    def __str__(self) -> str:
        return self.sentence

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "sentence": self.sentence,
            "first": self.first,
            "first_before": self.first_before,
            "candidates": [row.to_fields() for row in self.rows],
        }


def simulate(
    candidates: Iterable[Candidate],
    circumstances: Circumstances | OwnRules,
    weights: Weights,
    *,
    rank_wait_s: float,
    leader: LeaderRecord | None,
    in_force: tuple[Circumstances | OwnRules, Weights] | None = None,
) -> Simulation:
    """Who would go first if an election were held now.

    Args:
        candidates: Who stands.
        circumstances: Orders and requirements to try, as `standings` takes them.
        weights: Those to try.
        rank_wait_s: `ElectionOptions.rank_wait`, in seconds.
        leader: Who leads at present; None: nobody.
        in_force: What to compare with; None: nothing.
    """
    known = list(candidates)
    judged = standings(known, circumstances, weights)
    before = standings(known, *in_force) if in_force is not None else []
    places = {each.candidate.session: each.place for each in before}
    rows = tuple(
        replace(row, place_before=places.get(row.session))
        for row in rows_of(judged, rank_wait_s, leader.session if leader is not None else "")
    )
    first, first_before = _first(judged), _first(before)
    sentences = [_who_would(judged, rows)]
    if in_force is not None:
        sentences.append(_compared(first, first_before))
    if leader is not None:
        sentences.append(_what_a_leader_would(leader, judged))
    return Simulation(" ".join(sentences), first, first_before, rows)


def _who_would(judged: list[Standing], rows: tuple[Row, ...]) -> str:
    if not judged:
        return "If an election were held now, nobody could lead: no candidate stands."
    if judged[0].place is None:
        reasons = "; ".join(f"{each.candidate.node_id}: {in_the_way(each)}" for each in judged[:_MOST_NAMES])
        return f"If an election were held now, nobody could lead. {reasons}."
    first = f"{judged[0].candidate.node_id} would go first, with a score of {number(judged[0].score.total)}"
    after = f", after a wait of about {seconds(rows[0].wait_s)}" if rows[0].wait_s else ""
    follows = ""
    if len(judged) > 1 and judged[1].place is not None:
        follows = f"; next comes {judged[1].candidate.node_id} with {number(judged[1].score.total)}"
        follows += ", which counts as equal" if score_tie(judged[0], judged[1]) else ""
        follows += f", after about {seconds(rows[1].wait_s or 0.0)}"
    return f"If an election were held now, {first}{after}{follows}."


def _compared(first: str, before: str) -> str:
    if first == before:
        return "That is the same as with the weights and orders in force."
    return f"With the weights and orders in force, {f'it is {before}' if before else 'nobody could lead'}."


def _what_a_leader_would(leader: LeaderRecord, judged: list[Standing]) -> str:
    own = next((each for each in judged if each.candidate.session == leader.session), None)
    goes = [each.text for each in own.verdict.absolute if each.cause in _MAKES_A_LEADER_GO] if own is not None else []
    if goes:
        return f"{leader.node_id} leads now, and would have to hand over: {'; '.join(goes)}."
    return f"{leader.node_id} leads now, and goes on leading: a score replaces no leader."


def _first(judged: list[Standing]) -> str:
    return judged[0].candidate.node_id if judged and judged[0].place is not None else ""
