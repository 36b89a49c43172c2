"""Recovery: what a leader has to put right, as a plan. Pure: it looks at the picture, and changes nothing.

::

    grant whose time is up, or whose owner is gone   -> end it                  PROTOCOL C, A25
    claim of another term, under no grant            -> close it: its jobs are put back at the head of their class
    claim of this term, also one in doubt            -> none of it: its write is repeated until it is definite (A2)
    cancel or state of a job that is gone            -> delete it
    record that cannot be read                       -> note it down, once; it stays where it is (I7)
    note about one that can be read, or is gone      -> delete it

It is level-triggered: made at the takeover, every few seconds, and whenever somebody's heirs may have changed, always
from how things stand, never from what an earlier plan came to. So a step that was refused, or whose answer was lost, is
planned again if it is still needed, and a step that was done is not. Each is carried out in a transaction that compares
what the plan was made from.

An orphan is one by proof, not by clock: the token in its key is not the one that leads. The clock decides only how long
a grant is honoured, and it is counted from when this term first saw it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from slurp_leader.jobs.picture import CancelView, ClaimView, GrantView, Picture, StateView
from slurp_leader.jobs.records import ClaimEntry, JobKeys


@dataclass(frozen=True, slots=True)
class EndGrant:
    """From the revision of its delete on, nothing of the old leader is accepted."""

    token: int
    view: GrantView
    why: str


@dataclass(frozen=True, slots=True)
class CloseClaim:
    """Count an interruption for each of these runs, and delete the record.

    Attributes:
        entries: The live ones, without those whose job cannot be read: it stays parked, and holds back no others.
    """

    view: ClaimView
    entries: tuple[ClaimEntry, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Delete a record that has served its purpose."""

    key: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Park:
    """Note down that a record cannot be read, and why."""

    key: bytes
    reason: str


Step = EndGrant | CloseClaim | Sweep | Park


@dataclass(frozen=True, slots=True)
class InHand:
    """What this term is about already.

    Attributes:
        claims: Keys of its own claims, written or being written.
        writing: Keys of records with a write under way.
        jobs: Ids of jobs that are claimed, run, or written about: at most one of these at a time (A3).
        honoured_s: How long this term has honoured each grant, by token and revision; it knows of no other.
    """

    claims: Set[bytes] = frozenset()
    writing: Set[bytes] = frozenset()
    jobs: Set[str] = frozenset()
    honoured_s: Mapping[tuple[int, int], float] = field(default_factory=dict)


def plan(picture: Picture, keys: JobKeys, in_hand: InHand) -> tuple[Step, ...]:
    """What there is to do, in this order; empty when all is well.

    Args:
        picture: How things stand, complete for the token of the term.
        keys: Of the jobs.
        in_hand: What is under way already: it is not planned again.
    """
    return (
        *_grants_to_end(picture, in_hand),
        *_claims_to_close(picture, in_hand),
        *_leftovers(picture, keys, in_hand),
        *_to_park(picture, keys, in_hand),
        *_notes_out_of_date(picture, keys, in_hand),
    )


def _grants_to_end(picture: Picture, in_hand: InHand) -> Iterator[EndGrant]:
    for token, view in picture.grants.items():
        why = _why_over(picture, view, in_hand.honoured_s.get((token, view.revision), 0.0))
        if why and view.key not in in_hand.writing:
            yield EndGrant(token, view, why)


def _why_over(picture: Picture, view: GrantView, honoured_s: float) -> str:
    if view.grant is None:
        return "it cannot be read"
    if view.grant.session not in picture.sessions:
        return "its owner is gone"
    return "its time is up" if honoured_s >= view.grant.longest_s else ""


def _claims_to_close(picture: Picture, in_hand: InHand) -> Iterator[CloseClaim]:
    """Every claim that is not ours. One under our own token that we do not know is a late copy of one that was deleted;
    it is swept up too."""
    taken = set(in_hand.jobs)
    for view in picture.claims.values():
        if view.token in picture.grants:
            continue  # its old leader may still end it
        if view.key in in_hand.claims or view.key in in_hand.writing:
            continue
        live = picture.live_entries(view)
        if any(entry.job_id in taken for entry in live):
            continue  # it is being written about; the next look comes soon
        entries = tuple(entry for entry in live if not picture.is_parked(entry.job_id))
        taken.update(entry.job_id for entry in entries)
        yield CloseClaim(view, entries)


def _leftovers(picture: Picture, keys: JobKeys, in_hand: InHand) -> Iterator[Sweep]:
    """Of jobs that are gone."""
    records: tuple[tuple[bytes, Mapping[str, CancelView | StateView]], ...]
    records = ((keys.cancel, picture.cancels), (keys.state, picture.states))
    for prefix, of_kind in records:
        for job_id, record in of_kind.items():
            if job_id not in picture.jobs and not picture.is_parked(job_id):
                key = prefix + job_id.encode()
                if key not in in_hand.writing:
                    yield Sweep(key, record.revision)


def _to_park(picture: Picture, keys: JobKeys, in_hand: InHand) -> Iterator[Park]:
    for key, reason in picture.parked.items():
        note = keys.note_of(key)
        if note not in picture.notes and note not in in_hand.writing:
            yield Park(key, reason)


def _notes_out_of_date(picture: Picture, keys: JobKeys, in_hand: InHand) -> Iterator[Sweep]:
    for note, revision in picture.notes.items():
        if keys.mirrored + note[len(keys.parked) :] not in picture.parked and note not in in_hand.writing:
            yield Sweep(note, revision)
