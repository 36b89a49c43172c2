"""Why a node leads, or does not, in plain words. Pure functions.

What is said of a term comes from its own record, written by who won it, in the transaction that began it: scores and
orders as they were then, not as they are now. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slurp_leader.election.history.entries import ActionRecord, Entry, HistoryRecord
from slurp_leader.election.history.situation import Situation
from slurp_leader.election.history.table import Row, in_the_way, number, rows_of, seconds
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import Cause, Standing, lateness, lets_others_go_first, standings
from slurp_leader.election.ranking.scoring import Weights
from slurp_leader.election.transfer import under_way

_MOST_ACTIONS = 3
_MOST_NAMES = 10
_OF_ELECTIONS = (Cause.FROZEN, Cause.TOO_FEW_NODES)
"""What only forbids to begin an election."""
_NOT_REPLACED = "Who leads is not replaced by a candidate with a higher score."


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a node leads, or does not.

    Attributes:
        node_id: Which.
        sentence: The answer.
        notes: What else may matter, a sentence each.
        rows: The candidates, the best first: as they were when the term began; where nobody leads, as they are now.
        epoch: Of the term that is explained; 0: nobody leads.
        leads: Whether the node leads, or led, in it.
    """

    node_id: str
    sentence: str
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    epoch: int = 0
    leads: bool = False

    def __str__(self) -> str:
        return " ".join((self.sentence, *self.notes))

    def hinted(self, hint: Callable[[str], str]) -> Explanation:
        """With the commands that it names as `hint` writes them."""
        return replace(self, sentence=hint(self.sentence), notes=tuple(map(hint, self.notes)))

    def to_fields(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "node": self.node_id,
            "sentence": self.sentence,
            "notes": list(self.notes),
            "epoch": self.epoch,
            "leads": self.leads,
            "candidates": [row.to_fields() for row in self.rows],
        }


# ---------------------------------------------------------------- why this node, or why not


def explain(
    node_id: str,
    situation: Situation,
    entries: Sequence[Entry] = (),
    *,
    rank_wait_s: float,
    record: HistoryRecord | None = None,
) -> Explanation:
    """Why a node leads, or does not.

    Args:
        node_id: Which.
        situation: How the election stands.
        entries: What is remembered of it, the oldest first; for orders that were given meanwhile.
        rank_wait_s: `ElectionOptions.rank_wait`, in seconds.
        record: Of the term to be explained; None: that in force, or the vacancy.
    """
    if record is not None:
        found = _of_a_term(node_id, situation, record, _veto_of(entries, record.epoch))
    elif situation.leader is None:
        found = _of_a_vacancy(node_id, situation, rank_wait_s)
    elif (told := _told(situation)) is not None:
        found = _of_a_term(node_id, situation, told, _veto_of(entries, told.epoch))
    else:
        found = _of_a_term_untold(node_id, situation)
    if record is None:
        found = _with_a_pin_that_waits(found, situation)
    return replace(found, notes=(*found.notes, *_always(node_id, situation, entries, found.epoch or situation.epoch)))


def _with_a_pin_that_waits(found: Explanation, situation: Situation) -> Explanation:
    """Said of the one that leads, and of the one that is pinned, while the first has not handed over to the other."""
    leader, orders = situation.record, situation.operator
    if leader is None or orders.pinned_to == leader.node_id or orders.pinned_to not in situation.by_the_leader.able:
        return found
    waits = (
        f"{orders.pinned_to} is pinned {orders.pinned}, and fit; {leader.node_id} has not handed over to it yet. If "
        f"{leader.node_id} does not answer: `slurp leader force --to {orders.pinned_to}`."
    )
    if found.leads:
        return replace(found, notes=(*found.notes, waits))
    if found.node_id != orders.pinned_to:
        return found
    return replace(found, sentence=f"{found.sentence.removesuffix(_NOT_REPLACED).rstrip()} {waits}")


def _told(situation: Situation) -> HistoryRecord | None:
    """How the term in force came about."""
    leader, newest = situation.record, situation.newest
    if leader is None or newest is None:
        return None
    return newest if (newest.epoch, newest.session) == (leader.epoch, leader.session) else None


def _of_a_vacancy(node_id: str, situation: Situation, rank_wait_s: float) -> Explanation:
    led = situation.newest.session if situation.newest is not None else ""
    judged = standings(situation.candidates, situation.own_rules(gave_up=led), situation.weights)
    rows = rows_of(judged, rank_wait_s)
    return Explanation(node_id, f"Nobody leads. {_in_a_vacancy(node_id, judged, situation, rows)}", rows=rows)


def _in_a_vacancy(node_id: str, judged: list[Standing], situation: Situation, rows: tuple[Row, ...]) -> str:
    mine = _best(node_id, judged)
    if mine is None:
        return f"{_who_led_last(node_id, situation)}{_unknown(node_id, situation.candidates)}{_why_nobody(judged)}"
    if mine.verdict.absolute:
        return f"{node_id} does not campaign: {in_the_way(mine)}."
    wait_s = next(row.wait_s or 0.0 for row in rows if row.session == mine.candidate.session)
    if mine.place == 0 and not lets_others_go_first(mine.verdict):
        return f"{node_id} goes first: it campaigns as soon as it sees that."
    lets = f"{node_id} lets others go first, for about {seconds(wait_s)} from when it saw that nobody leads"
    if mine.place == 0:
        return f"{lets}: {mine.verdict.text}."
    return f"{lets}: {judged[0].candidate.node_id} goes before it. {_behind(mine, judged[0], situation.weights)}."


def _who_led_last(node_id: str, situation: Situation) -> str:
    """Of the node that is asked about, if it led in the newest term and is gone."""
    newest = situation.newest
    if newest is None or newest.node_id != node_id:
        return ""
    return f"{node_id} led in epoch {newest.epoch}, and is gone. "


def _why_nobody(judged: list[Standing]) -> str:
    """What keeps all candidates from leading, if it is one thing."""
    reasons = {in_the_way(each) for each in judged}
    only = reasons.pop() if len(reasons) == 1 else ""
    return f" Nobody campaigns: {only}." if only else ""


def _of_a_term_untold(node_id: str, situation: Situation) -> Explanation:
    """Somebody leads, but there is no record of how that came about: another version wrote it, or it was removed."""
    judged = standings(situation.candidates, situation.own_rules(gave_up=""), situation.weights)
    leader = situation.record
    rows = rows_of(judged, None, leader.session if leader else "")
    if leader is None:
        sentence = f"Somebody leads whose record cannot be read, so there is no place for {node_id}."
        return Explanation(node_id, sentence, rows=rows)
    headline = f"{leader.node_id} leads, in epoch {leader.epoch}; how that came about is not told in the history"
    if leader.node_id == node_id:
        return Explanation(node_id, f"{headline}.", rows=rows, epoch=leader.epoch, leads=True)
    if not any(each.node_id == node_id for each in situation.candidates):
        sentence = f"{headline}. {_unknown(node_id, situation.candidates)}"
        return Explanation(node_id, sentence, rows=rows, epoch=leader.epoch)
    return Explanation(node_id, f"{headline}. {_NOT_REPLACED}", rows=rows, epoch=leader.epoch)


# ---------------------------------------------------------------- one term, by its record


def _veto_of(entries: Iterable[Entry], epoch: int) -> ActionRecord | None:
    """That the node which was to lead in this term gave it back before it did; None: it did not."""
    return next(
        (each for each in entries if isinstance(each, ActionRecord) and each.is_veto and each.epoch == epoch), None
    )


def _of_a_term(
    node_id: str, situation: Situation, record: HistoryRecord, veto: ActionRecord | None = None
) -> Explanation:
    leader = situation.record
    in_force = leader is not None and (leader.epoch, leader.session) == (record.epoch, record.session)
    when = record.at or "a time that is not told"
    if veto is not None:
        headline = f"{record.node_id} was to lead in epoch {record.epoch}, from {when} on"
    elif in_force:
        headline = f"{record.node_id} leads since {when}, in epoch {record.epoch}"
    else:
        headline = f"{record.node_id} led in epoch {record.epoch}, from {when} on"
    is_own = record.node_id == node_id
    leads = is_own and veto is None
    because = f"{headline}: {_how(record)}." if is_own else f"{headline}: {_why_not(node_id, situation, record)}"
    mine, now = _best(node_id, record.standings), _sessions(node_id, situation)
    notes = []
    if mine is not None and now and mine.candidate.session not in now:
        notes.append(f"{node_id} has been started anew since then.")
    if in_force and not is_own and now:
        notes += _at_present(node_id, situation)
    if (forced := record.circumstances.operator.forced) is not None and forced.epoch == record.epoch - 1:
        notes.append(f"The term before was ended by force, {forced.order}.")
    rank_wait_s = record.rank_wait_s if record.names_all_placed else None  # waits depend on how many could have led
    rows = rows_of(record.standings, rank_wait_s, record.session if veto is None else "")
    return Explanation(node_id, because, tuple(notes), rows, record.epoch, leads)


def _how(record: HistoryRecord) -> str:
    """How the one that leads came to it."""
    match record.reason:
        case "elected":
            return _how_elected(record)
        case "stolen":
            return f"it took the lead from {record.before or 'a holder'}, which had gone silent"
        case "adopted":
            return "it found the lead in its own name after an interruption, and took it up again"
        case "handover":
            return f"{_handed_over(record)} to it{_wish(record)}"
        case other:
            return f"it came to the lead by {other or 'a way that is not told'}"


def _how_elected(record: HistoryRecord) -> str:
    own = _of_session(record)
    if own is None or own.place is None:
        return "it was elected"
    if record.stood == 1:
        return "it was elected as the only candidate"
    score = f"with a score of {number(own.score.total)}"
    if own.place == 0:
        after = f", after {seconds(record.waited_s)} in which no other came" if record.waited_s else ""
        return f"it was elected as the first of {record.stood} candidates, {score}{after}"
    ahead = record.standings[0].candidate.node_id
    return (
        f"it was elected {score}, as the first that came after a wait of {seconds(record.waited_s)}: {ahead} was to "
        f"go first, and did not come in time"
    )


def _why_not(node_id: str, situation: Situation, record: HistoryRecord) -> str:
    """Why another one leads; whole sentences."""
    winner = record.node_id
    if record.reason == "handover" and record.before == node_id:
        return f"{node_id} handed the lead over to it{_wish(record)}."
    mine = _best(node_id, record.standings)
    if mine is None:
        return _why_not_there(node_id, situation, record)
    if kept := _kept_from_it(mine, record):
        return f"{_came(record)}. {node_id} could not lead then: {kept}."
    if record.reason == "adopted":
        return f"{_how(record)}, so there was nothing for {node_id} to win."
    named = f"{winner} was the one that was named, or the first that agreed"
    own = _of_session(record)
    if own is None or own.place is None or mine.place is None:
        but = f", but {named}" if record.reason == "handover" else ""
        return f"{_came(record)}. {node_id} stood with a score of {number(mine.score.total)}{but}."
    if mine.place > own.place:
        return f"{_came(record)}. {_behind(mine, own, record.weights, past=True)}."
    scores = f"{number(mine.score.total)} against {number(own.score.total)}"
    if record.reason == "handover":
        return f"{_came(record)}. {node_id} stood before it, {scores}, but {named}."
    against = f" ({mine.verdict.text})" if mine.verdict.text else ""
    return (
        f"{_came(record)}. {node_id} stood before it, {scores}, but did not come in time{against}: after a wait of "
        f"{seconds(record.waited_s)}, whoever comes first leads."
    )


def _kept_from_it(mine: Standing, record: HistoryRecord) -> str:
    """What kept a candidate from the lead. It may be handed to anybody where no election is held."""
    without = _OF_ELECTIONS if record.reason == "handover" else ()
    return "; ".join(each.text for each in mine.verdict.absolute if each.cause not in without)


def _why_not_there(node_id: str, situation: Situation, record: HistoryRecord) -> str:
    if record.stood > len(record.standings):
        best = f"the best {len(record.standings)} of {record.stood} candidates"
        return f"{_came(record)}. {node_id} was not among {best}, and no more are kept."
    if _sessions(node_id, situation):
        return f"{_came(record)}. {node_id} was not standing then. {_NOT_REPLACED}"
    return f"{_came(record)}. {_unknown(node_id, situation.candidates)}"


def _came(record: HistoryRecord) -> str:
    """How another one came to the lead, in a few words."""
    match record.reason:
        case "handover":
            return f"{_handed_over(record)} to it{_wish(record)}"
        case "elected":
            return "it was elected"
        case _:
            return _how(record)


def _handed_over(record: HistoryRecord) -> str:
    return f"{record.before or 'who led before'} handed the lead over"


def _wish(record: HistoryRecord) -> str:
    by = f", as {record.by} wished" if record.by not in ("", record.before) else ""
    its_own = f"{record.before}: it "  # as a leader begins its own reasons; it has just been named
    why = record.why
    if why.startswith(its_own):
        why = f"{record.before} {why.removeprefix(its_own)}"
    return f"{by}: {why}" if why else by


def _at_present(node_id: str, situation: Situation) -> Iterator[str]:
    """What would stand against it, were there an election now."""
    mine = _best(node_id, standings(situation.candidates, situation.own_rules(), situation.weights))
    if mine is None:
        return
    if mine.verdict.absolute:
        yield f"At present {node_id} could not lead: {in_the_way(mine)}."
    elif mine.verdict.soft:
        yield f"At present {node_id} would let others go first: {mine.verdict.text}."


def _always(node_id: str, situation: Situation, entries: Iterable[Entry], epoch: int) -> Iterator[str]:
    """What may matter whoever leads."""
    if len(sessions := _sessions(node_id, situation)) > 1:
        yield (
            f"{len(sessions)} processes stand with the node id {node_id}, sessions {', '.join(sessions)}. Each of them "
            f"is a candidate of its own, and the best placed one is meant here; give each its own node id."
        )
    if situation.operator_problem:
        yield f"The orders of operators cannot be read, so none is in force: {situation.operator_problem}."
    if (veto := _veto_of(entries, epoch)) is not None:
        yield f"{veto.what} gave the term of epoch {epoch} back before it led: {veto.why}."
    leader = situation.leader
    handover = under_way(situation.transfer, leader.mod_revision) if leader is not None else None
    if handover is not None and epoch == situation.epoch:
        yield f"A handover is under way: {handover}."
    actions = [each for each in entries if isinstance(each, ActionRecord) and each.epoch == epoch and not each.is_veto]
    for each in actions[-_MOST_ACTIONS:]:
        what = f"{each.action.replace('_', ' ')} {each.what}".rstrip()
        why = f": {each.why}" if each.why else ""
        yield f"In epoch {epoch}, {each.by or 'somebody'} ordered {what}{why}."


# ---------------------------------------------------------------- one candidate behind another


def _behind(mine: Standing, ahead: Standing, weights: Weights, *, past: bool = False) -> str:
    """Why a candidate comes after another one: the first thing in which they differ, in the order that counts."""
    node, other = mine.candidate.node_id, ahead.candidate.node_id
    scores = f"{number(mine.score.total)} against {number(ahead.score.total)} for {other}"
    if lateness(mine.verdict) > lateness(ahead.verdict):
        return f"{node} {'let' if past else 'lets'} others go first, with {scores}: {mine.verdict.text}"
    if ahead.candidate.warm and not mine.candidate.warm:
        return f"{node} {'had' if past else 'has'} not yet seen all that it needs to lead at once, with {scores}"
    if round(mine.score.total, 2) < round(ahead.score.total, 2):
        return f"{node} {'scored' if past else 'scores'} {scores}{_most_of_it(mine, ahead, weights)}"
    rule = "the order of node ids decides" if node != other else "the order of sessions decides"
    return f"{node} {'scored' if past else 'scores'} {scores}: that is equal, and then {rule}"


def _most_of_it(mine: Standing, ahead: Standing, weights: Weights) -> str:
    """The component that makes the largest difference."""
    shares = weights.to_fields()
    parts, others = mine.score.parts, ahead.score.parts
    told = [name for name in shares if name in parts and name in others]
    lost = {name: shares[name] * (others[name] - parts[name]) for name in told}
    if not lost or (most := max(lost.values())) <= 0:
        return ""
    name = next(each for each, points in lost.items() if points == most)
    return (
        f"; most of the difference is {name}, {number(parts[name])} against {number(others[name])}, "
        f"which counts {shares[name]:.0%}"
    )


# ---------------------------------------------------------------- small words


def _best(node_id: str, judged: Iterable[Standing]) -> Standing | None:
    """Of one node, which may have been started twice, the standing with the best place."""
    return next((each for each in judged if each.candidate.node_id == node_id), None)


def _of_session(record: HistoryRecord) -> Standing | None:
    return next((each for each in record.standings if each.candidate.session == record.session), None)


def _sessions(node_id: str, situation: Situation) -> list[str]:
    return sorted(each.session for each in situation.candidates if each.node_id == node_id)


def _unknown(node_id: str, candidates: Iterable[Candidate]) -> str:
    names = sorted({each.node_id for each in candidates})
    if not names:
        return f"No candidate is called {node_id}: nobody stands."
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    verb = "stands" if len(names) == 1 else "stand"
    return f"No candidate is called {node_id}: {', '.join(names[:_MOST_NAMES])}{more} {verb}."
