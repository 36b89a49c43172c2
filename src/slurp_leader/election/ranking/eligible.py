"""Who may campaign, and how long who should wait: pure functions, the same on every node.

::

    candidates, orders of operators, settings
      -> eligible      of one candidate: what forbids it to lead, and what only puts it back
      -> standings     all of them, the best first
      -> waits_s       how long one of them lets better ones go first, in a vacancy

Orders and missing capabilities are absolute: who is held back by them does not campaign, however long nobody leads.
Everything else only delays: once for each vacancy, from when it was first seen, and then first come, first served. So
no mistake in scores, health checks or clocks, and no node that is best and does nothing, leaves a cluster without a
leader (PROTOCOL A17). None of this is what makes a leader safe: that is the transaction which takes the key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from slurp_leader.election.operator import OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.scoring import Score, Weights, has_capability, score


class Cause(StrEnum):
    """What keeps a candidate from leading, or puts it back."""

    BLOCKED = "blocked"
    FROZEN = "frozen"
    PINNED_ELSEWHERE = "pinned_elsewhere"
    """An operator wants another node, and that node is there and could lead."""
    CAPABILITY = "capability"
    """It lacks one that the election requires."""
    TOO_FEW_NODES = "too_few_nodes"
    UNFIT = "unfit"
    """It says itself that it should not: a health check, a veto, or that it stops, stalls or could not start."""
    TOO_OLD = "too_old"
    NOT_PINNED = "not_pinned"
    """An operator wants another node, which is not there, or cannot lead."""
    COOLING = "cooling"
    """It won more than three times in five minutes, so it keeps losing for a reason."""
    GAVE_UP = "gave_up"
    """It led until now, and gave that up or lost it by force."""
    NOT_FIRST = "not_first"
    """By force, an operator ended a term, and said who comes next."""


@dataclass(frozen=True, slots=True)
class Hindrance:
    """A cause, in words for people. `cause`: a `Cause`; of a record that a later version wrote, maybe another word."""

    cause: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What stands against a candidate. `absolute`: it does not campaign. `soft`: it lets others go first."""

    absolute: tuple[Hindrance, ...] = ()
    soft: tuple[Hindrance, ...] = ()

    @property
    def causes(self) -> tuple[str, ...]:
        return tuple(each.cause for each in (*self.absolute, *self.soft))

    @property
    def text(self) -> str:
        """All of it, for people; empty when nothing stands against it."""
        return "; ".join(each.text for each in (*self.absolute, *self.soft))


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What counts for all candidates of an election alike.

    Attributes:
        operator: Orders in force.
        requires: Capabilities without which nobody leads.
        live_nodes: Node ids that stand.
        min_nodes: Nobody campaigns before so many stand.
        able: Node ids that stand and that nothing but an order for another node keeps from leading.
        epoch: Of the newest term.
        gave_up: Session that led until now, if it gave that up while it lives on.
    """

    operator: OperatorRecord = field(default_factory=OperatorRecord)
    requires: tuple[str, ...] = ()
    live_nodes: frozenset[str] = frozenset()
    min_nodes: int = 1
    able: frozenset[str] = frozenset()
    epoch: int = 0
    gave_up: str = ""

    @classmethod
    def of(
        cls,
        candidates: Iterable[Candidate],
        operator: OperatorRecord,
        *,
        requires: tuple[str, ...] = (),
        min_nodes: int = 1,
        epoch: int = 0,
        gave_up: str = "",
        holder: str = "",
    ) -> Circumstances:
        """As these candidates make them.

        Args:
            candidates: Who stands.
            operator, requires, min_nodes, epoch, gave_up: See above.
            holder: Session that holds the key, where the question is who may take it: because it goes, or went silent.
                No order for its node keeps others from that.
        """
        known = list(candidates)
        live = frozenset(each.node_id for each in known)
        forced = operator.forced
        out = forced.instead_of if forced is not None and forced.epoch == epoch else ""
        if any(each.session == out and each.node_id == operator.pinned_to for each in known):
            operator = operator.unpin()  # while the lead that it was forced to give up is taken, no pin speaks for it
        able = frozenset(
            each.node_id
            for each in known
            if each.session != holder
            and each.node_id not in operator.blocked
            and not each.unfit
            and each.min_nodes <= len(live)
            and not missing(each.inputs.capabilities, requires)
        )
        return cls(operator, requires, live, min_nodes, able, epoch, gave_up)


OwnRules = Callable[[Candidate], Circumstances]
"""The circumstances by which a candidate judges itself: those of its own settings."""


def eligible(candidate: Candidate, circumstances: Circumstances) -> Verdict:
    """Whether a candidate may lead, and whether it should let others go first."""
    return Verdict(tuple(_forbidden(candidate, circumstances)), tuple(_put_back(candidate, circumstances)))


def _forbidden(candidate: Candidate, circumstances: Circumstances) -> Iterator[Hindrance]:
    """What holds however long nobody leads."""
    orders = circumstances.operator
    if (block := orders.blocked.get(candidate.node_id)) is not None:
        yield Hindrance(Cause.BLOCKED, f"it is blocked {block}")
    if orders.frozen is not None:
        yield Hindrance(Cause.FROZEN, f"the election is frozen {orders.frozen}")
    if orders.pinned_to not in ("", candidate.node_id) and orders.pinned_to in circumstances.able:
        yield Hindrance(Cause.PINNED_ELSEWHERE, f"the lead is pinned to {orders.pinned_to} {orders.pinned}")
    if lacks := missing(candidate.inputs.capabilities, circumstances.requires):
        yield Hindrance(Cause.CAPABILITY, f"it lacks the capability {', '.join(lacks)}")
    live = len(circumstances.live_nodes)
    if live < circumstances.min_nodes:
        text = f"{live} of at least {circumstances.min_nodes} nodes stand (election.min_nodes)"
        yield Hindrance(Cause.TOO_FEW_NODES, text)


def _put_back(candidate: Candidate, circumstances: Circumstances) -> Iterator[Hindrance]:
    """What only lets others go first. Whom an operator named when he ended a term by force, nothing puts back."""
    orders = circumstances.operator
    forced = orders.forced
    if forced is not None and forced.epoch == circumstances.epoch and forced.to == candidate.node_id:
        return
    if orders.pinned_to not in ("", candidate.node_id) and orders.pinned_to not in circumstances.able:
        text = f"the lead is pinned to {orders.pinned_to}, which cannot take it at present, {orders.pinned}"
        yield Hindrance(Cause.NOT_PINNED, text)
    if candidate.unfit:
        yield Hindrance(Cause.UNFIT, f"it is not fit: {candidate.unfit}")
    if _version(candidate.version) < _version(orders.oldest_version):
        text = f"its version {candidate.version or '?'} is older than {orders.oldest_version}, wanted {orders.versions}"
        yield Hindrance(Cause.TOO_OLD, text)
    if candidate.cooling:
        yield Hindrance(Cause.COOLING, "it won more than three times in five minutes, so others go first")
    if candidate.session == circumstances.gave_up:
        yield Hindrance(Cause.GAVE_UP, "it led last, so others go first")
    if (reason := _put_back_by_force(candidate, circumstances)) is not None:
        yield reason


def _put_back_by_force(candidate: Candidate, circumstances: Circumstances) -> Hindrance | None:
    forced = circumstances.operator.forced
    if forced is None or forced.epoch != circumstances.epoch:
        return None
    if candidate.session == forced.instead_of:
        return Hindrance(Cause.GAVE_UP, f"its term was ended {forced.order}")
    if forced.to not in ("", candidate.node_id):
        return Hindrance(Cause.NOT_FIRST, f"{forced.to} goes first, ordered {forced.order}")
    return None


def missing(capabilities: tuple[str, ...], requires: tuple[str, ...]) -> list[str]:
    """Required capabilities that are not among these."""
    return [name for name in requires if not has_capability(capabilities, name)]


def _version(text: str) -> tuple[int, ...]:
    """Numbers to compare by, where ``1.2`` is the same as ``1.2.0``; of what is no version: lower than any."""
    match = re.match(r"\d+(\.\d+)*", text[:64])
    if match is None:
        return ()
    numbers = [int(number) for number in match[0].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return (1, *numbers)


# ---------------------------------------------------------------- all of them


@dataclass(frozen=True, slots=True)
class Standing:
    """One candidate among the others. `place`: 0 for who goes first; None: it does not campaign."""

    candidate: Candidate
    score: Score
    verdict: Verdict
    place: int | None = None


def standings(
    candidates: Iterable[Candidate], circumstances: Circumstances | OwnRules, weights: Weights
) -> list[Standing]:
    """All candidates, the best first, those that may not lead last.

    Those with nothing against them come first, then who led too often, then who led until now, then those that should
    not lead. Among each of these: warm before cold, higher scores before lower; scores that differ by noise count as
    equal, and then the node id decides, so that all nodes see one order.

    Args:
        candidates: Who stands.
        circumstances: What counts for all of them, as a node sees it that stands itself; or for each what counts by its
            own settings, as somebody sees it who has none.
        weights: Of the scores.
    """
    by = circumstances if callable(circumstances) else lambda _: circumstances
    judged = [Standing(each, score(each.inputs, weights), eligible(each, by(each))) for each in candidates]
    judged.sort(key=_precedence)
    may = [each for each in judged if not each.verdict.absolute]
    placed = [Standing(each.candidate, each.score, each.verdict, place) for place, each in enumerate(may)]
    return placed + [each for each in judged if each.verdict.absolute]


def _precedence(each: Standing) -> tuple[object, ...]:
    candidate = each.candidate
    return (
        *lateness(each.verdict),
        not candidate.warm,
        -_rounded(each),
        candidate.node_id,
        candidate.session,
    )


def lateness(verdict: Verdict) -> tuple[bool, bool, bool]:
    """How far what only delays puts a candidate back, to compare by: the lower one comes first."""
    return lets_others_go_first(verdict), Cause.GAVE_UP in verdict.causes, bool(verdict.soft)


def score_tie(one: Standing, other: Standing) -> bool:
    """Whether two scores count as equal although they differ: by noise."""
    return _rounded(one) == _rounded(other) and one.score.total != other.score.total


def _rounded(each: Standing) -> float:
    """The rest is noise."""
    return round(each.score.total, 2)


def lets_others_go_first(verdict: Verdict) -> bool:
    """Whether it waits for longer than anybody with nothing against it. Who only led until now does not, nor who led
    too often: where nobody else is there, or all of them did, there is nothing to wait for."""
    return any(each.cause not in _ONLY_LATER for each in verdict.soft)


_ONLY_LATER = (Cause.GAVE_UP, Cause.COOLING)


def waits_s(standing: Standing, of: int, rank_wait_s: float, jitter: float = 0.0) -> float:
    """How long a candidate that may lead lets others go first, from when it first saw the vacancy.

    The first goes at once. The others come one after the other in the last quarter of `rank_wait_s`, the better ones
    earlier, so that not all of them come when the first does not. Who should not lead waits for twice as long as
    anybody, even where it is the first: it may know nothing of the others yet. Who led until now, or too often, is only
    the last of those with nothing against them.

    Nodes that see one order wait in that order, each in an interval of its own; so the jitter never turns two of them
    round. It parts those that see different orders, and hold one place both.

    Args:
        standing: Its place among the others.
        of: How many may lead.
        rank_wait_s: The bound for those with nothing against them; for the others it is twice that.
        jitter: From 0 up to 1, without 1; drawn once for each vacancy. Where in its own interval it comes.

    Returns:
        Seconds, from 0 to twice `rank_wait_s`.
    """
    place = standing.place or 0
    share = min(1.0, (place + jitter) / max(of, 1))  # a place beyond `of` may come of two looks at the candidates
    if lets_others_go_first(standing.verdict):
        return rank_wait_s * (1.75 + share / 4)
    return 0.0 if place == 0 else rank_wait_s * (0.75 + share / 4)


# ---------------------------------------------------------------- who is asked to take over

_IN_THE_WAY_OF_A_HANDOVER = (Cause.BLOCKED, Cause.CAPABILITY, Cause.PINNED_ELSEWHERE)
"""What forbids to be handed the lead. A frozen election may be handed on: it has a leader, and goes on having one."""


def choose_successor(
    candidates: Sequence[Candidate], circumstances: Circumstances, weights: Weights, to: str = ""
) -> tuple[list[Candidate], str]:
    """Who is to be asked to take over, one after the other, until one of them is fit; and if nobody is, why.

    Args:
        candidates: Who stands, without the leader.
        circumstances: Orders and requirements.
        weights: Of the score.
        to: Node id or session that is wanted; empty: any.
    """
    wanted = [each for each in candidates if to in ("", each.node_id, each.session)]
    if not wanted:
        return [], "unknown" if to else "no_candidate"
    asked: list[Candidate] = []
    reason = ""
    for each in standings(wanted, circumstances, weights):
        forbidden = [cause for cause in each.verdict.causes if cause in _IN_THE_WAY_OF_A_HANDOVER]
        if forbidden:
            reason = reason or str(forbidden[0])
        else:
            asked.append(each.candidate)
    asked.sort(key=lambda each: bool(each.unfit))  # stable: only who says that it is not fit comes last
    return asked, "" if asked else reason
