"""What happens in an election, as values: states, reasons, and what owner and elector say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slurp_leader.election.records import LeaderInfo
from slurp_leader.guard.messages import Told
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Term


class ElectionState(StrEnum):
    """Where this node stands."""

    FOLLOWER = "follower"
    """Not a candidate: not started, stopped, or without a session."""
    CANDIDATE = "candidate"
    """Has a live session and would lead if nobody does."""
    LEADER = "leader"
    SUSPENDED = "suspended"
    """Still holds the term but cannot prove it at present: starts nothing new."""
    DRAINING = "draining"
    """Will give the term back as soon as its owner says that all is done."""


class Reason(StrEnum):
    """Why a state was entered."""

    STARTED = "started"
    ELECTED = "elected"
    ADOPTED = "adopted"
    """Took a leader key that already named this node's session."""
    STOLEN = "stolen"
    """Took the key from a holder that was silent for its whole published TTL."""
    RENEWED = "renewed"
    UNREACHABLE = "unreachable"
    STORE_FULL = "store_full"
    EXPIRED = "expired"
    SHORT_TTL = "short_ttl"
    """etcd keeps leases for a shorter time than this node can renew them in."""
    VETOED = "vetoed"
    """A hook of this node did not agree to lead."""
    STALLED = "stalled"
    """The owner's loop, or the whole process, did not move for too long."""
    FENCED = "fenced"
    HANDING_OVER = "handing_over"
    """Trusts nothing any more until etcd has said whether the lead was handed over."""
    HANDOVER = "handover"
    """Handed the lead to a successor, or was handed it."""
    RESIGNED = "resigned"
    SHUTDOWN = "shutdown"
    STORE_CHANGED = "store_changed"
    """Another etcd answers than before."""
    STORE_CLOSED = "store_closed"
    FAILED = "failed"
    """A bug ended the elector; the log has the traceback."""


# ---------------------------------------------------------------- the elector to its owner


@dataclass(frozen=True, slots=True)
class StateChanged:
    """This node's state. `term` is the term that began, goes on or just ended; None when there is none."""

    state: ElectionState
    reason: Reason
    term: Term | None


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """Who leads, seen in etcd. `leader` is None while nobody does; `vacancy_s`: how long nobody did, if known.

    `missed` is 0 unless changes right before this one could not be told: then it is how many, or None when nobody can
    know. Of what etcd has compacted away only the terms can be counted, by their epochs.
    """

    leader: LeaderInfo | None
    revision: int
    vacancy_s: float | None = None
    missed: int | None = 0


@dataclass(frozen=True, slots=True)
class Published:
    """What others are told of this candidate. `unfit`: why it lets others go first; empty: it does not."""

    unfit: str


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What forbids this node to take the key although nobody leads, in words for people; empty: nothing any more."""

    why: str


@dataclass(frozen=True, slots=True)
class DuplicateNode:
    """Other live sessions carry this node's id for longer than a crashed predecessor leaves behind. Empty: no more."""

    node_id: str
    sessions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renewed:
    """A renewal round of a term ended. `remaining_s` is the trust that was left when it did."""

    duration_s: float
    outcome: str
    remaining_s: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Calls of the elector fail, beyond renewals. `since` is in boottime seconds; the rest is of the newest failure."""

    since: float
    kind: str
    """Name of the error's class."""
    doing: str
    error: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a log entry."""

    level: int
    event: LogEvent
    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class ConsentWanted:
    """The key is ours and proved; may this node lead? Answered with `Consent`, else the term is given back."""

    term: Term


@dataclass(frozen=True, slots=True)
class SettleWanted:
    """The term with this token is about to be handed over: begin nothing that cannot be lent, and answer `Settled` when
    none of it is under way. The term is in force meanwhile, and everything else goes on."""

    token: int


@dataclass(frozen=True, slots=True)
class GoOn:
    """The term with this token was not handed over: what `SettleWanted` has held up may begin again."""

    token: int


@dataclass(frozen=True, slots=True)
class HoldLease:
    """Have the crash guard revoke this lease when we die or stall. Answered with `BeatSaid`."""

    lease_id: int
    ttl_s: float
    stall_s: float


@dataclass(frozen=True, slots=True)
class SayBeat:
    """Tell the crash guard that we move. Answered with `BeatSaid`."""

    lease_id: int


@dataclass(frozen=True, slots=True)
class DropLease:
    """The crash guard has to leave this lease alone."""

    lease_id: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The elector has stopped: no term, no key, no lease, as far as it could make sure. `clean`: it could. `why`: what
    keeps this process from ever standing again, for people; empty: nothing does."""

    clean: bool
    why: str = ""


# ---------------------------------------------------------------- the owner to the elector


@dataclass(frozen=True, slots=True)
class Consent:
    """Whether this node may lead in the term with this token. `veto`: why not; empty: it may."""

    token: int
    veto: str


@dataclass(frozen=True, slots=True)
class FitnessChanged:
    """Whether this node should lead. `unfit`: why it should not; empty: it should."""

    unfit: str


@dataclass(frozen=True, slots=True)
class BeatSaid:
    """The crash guard was told that we move, or could not be.

    Attributes:
        at: Boottime *before* it was told.
        told: What that is worth.
    """

    lease_id: int
    at: float
    told: Told


@dataclass(frozen=True, slots=True)
class StopWanted:
    """Hand over, or drain and release; then end. `hands_over`: whether a successor is looked for first."""

    hands_over: bool = True


@dataclass(frozen=True, slots=True)
class ResignWanted:
    """Hand the term with this token over, or drain and release it, and stay a candidate; others go first for `pause_s`
    seconds. In a frozen election it is handed over, or kept. Of a term that is over, nothing."""

    token: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing of the term with this token is under way that cannot be lent. Saying it twice does no harm."""

    token: int


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing of the term with this token runs any more: release it."""

    token: int
