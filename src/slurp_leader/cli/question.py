"""What `slurp leader explain` asks: why a node leads or does not, or, of nobody in particular, why things are so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slurp_leader.cli.exits import NotFoundError

if TYPE_CHECKING:
    from slurp_leader.cli.output import Output
    from slurp_leader.election.history.entries import Entry, HistoryRecord
    from slurp_leader.election.history.explain import Explanation
    from slurp_leader.election.history.situation import Situation
    from slurp_leader.settings import SlurpSettings

_MOST_CANDIDATES = 10
_NOBODY = "Nobody leads."


@dataclass(frozen=True, slots=True)
class Question:
    """An election as it stood when it was asked about.

    Attributes:
        situation: How it stands.
        entries: What is remembered of it, the oldest first.
        rank_wait_s: `ElectionOptions.rank_wait`, in seconds.
        named: The earlier term that was named; None: none was.
    """

    situation: Situation
    entries: Sequence[Entry]
    rank_wait_s: float
    named: HistoryRecord | None = None

    @classmethod
    def of(
        cls, election: str, situation: Situation, entries: Sequence[Entry], settings: SlurpSettings, epoch: int | None
    ) -> Question:
        """Raises NotFoundError when nothing is remembered of the epoch that was named."""
        from slurp_leader.election.history.entries import HistoryRecord

        records = [each for each in entries if isinstance(each, HistoryRecord)]
        named = next((each for each in records if each.epoch == epoch), None)
        if epoch is not None and named is None:
            raise NotFoundError(f"nothing is remembered of epoch {epoch} of the election {election!r}")
        return cls(situation, entries, settings.election.rank_wait_s, named)

    @property
    def record(self) -> HistoryRecord | None:
        """Of the term that is explained; None: nobody leads, or it is not told how that came about."""
        leader, newest = self.situation.record, self.situation.newest
        if self.named is not None or leader is None or newest is None:
            return self.named
        return newest if (newest.epoch, newest.session) == (leader.epoch, leader.session) else None

    def about(self, node_id: str) -> Explanation:
        """Why this node leads, or does not."""
        from slurp_leader.election.history.explain import explain

        return explain(node_id, self.situation, self.entries, rank_wait_s=self.rank_wait_s, record=self.named)

    def about_the_lead(self) -> Explanation:
        """Why the leader leads, or why nobody does. `node_id` is empty where there is none to name."""
        leader = self.named or self.situation.record
        if leader is not None:
            return self.about(leader.node_id)
        if self.situation.leader is not None:
            return replace(self.about(""), sentence="Somebody leads whose record cannot be read.", notes=())
        names = sorted({each.node_id for each in self.situation.candidates})
        if not names:
            return replace(self.about(""), sentence="Nobody leads: nobody stands.")
        told = [self.about(name) for name in names]
        order = [row.node_id for row in told[0].rows]
        told.sort(key=lambda each: order.index(each.node_id))  # the best first, as in the table
        sentences = [each.sentence.removeprefix(_NOBODY).strip() for each in told[:_MOST_CANDIDATES]]
        notes = [note for each in told for note in each.notes]
        return replace(told[0], node_id="", sentence=_NOBODY, notes=tuple(dict.fromkeys([*sentences, *notes])))

    def knows(self, node_id: str) -> bool:
        """Whether anything is told of a node: it stands or leads, or it did when the term began."""
        known = {each.node_id for each in self.situation.candidates}
        if self.situation.record is not None:
            known.add(self.situation.record.node_id)
        record = self.record
        if record is not None:
            known |= {record.node_id, record.before, *(each.candidate.node_id for each in record.standings)}
        return node_id in known

    def as_of(self, output: Output) -> str:
        """Of when the candidates of the table are, in words."""
        record = self.record
        if record is None:
            return "as they stand now"
        return f"as they stood in epoch {record.epoch}" + (f", at {output.time(record.at)}" if record.at else "")
