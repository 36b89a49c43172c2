"""What an elector keeps about one term, and about one renewal of it. Pure: no calls, no timers.

All of it belongs to the term: a node that is elected again starts anew, so that no late answer of an old term can touch
the new one (PROTOCOL A29).
"""

from __future__ import annotations

from dataclasses import dataclass

from slurp_leader.election.events import Reason
from slurp_leader.election.options import LeaseTiming
from slurp_leader.election.transfer import TransferRecord
from slurp_leader.store import Header
from slurp_leader.term import Term


@dataclass(slots=True, eq=False)
class Reign:
    """A term from the moment its key was taken.

    Attributes:
        reason: How it came about.
        prove_by: An unproven term is given back at this moment.
        proven: It was proven once.
        agreed: The owner has nothing against it, or is not asked.
        announced: All that with trust left, and the owner was told.
        window: The trust window by lease and heartbeats; the crash guard may set a nearer bound (`beats`).
        beats: Heartbeats that were proven.
        failures: Renewals in a row that proved nothing.
        store_full: A heartbeat was refused for want of space, and none has passed since.
        lease_until: The lease lives at least until then, whatever becomes of heartbeats.
        leaving: Why it will be given back; None: it will not.
        pause_s: How long this node stands back after that.
        wished: By whose wish; None: by its own.
        veto: Why its node could not start; empty: it did, or was not asked yet.
        heartbeat_revision: Of the last heartbeat; None while one is under way, or in doubt.
        resume_by: After a handover that failed, the key is kept so long for the heartbeat that proves the term again.
    """

    term: Term
    reason: Reason
    prove_by: float
    proven: bool = False
    agreed: bool = False
    announced: bool = False
    window: float = float("-inf")
    beats: int = 0
    failures: int = 0
    store_full: bool = False
    lease_until: float = float("-inf")
    leaving: Reason | None = None
    pause_s: float = 0.0
    wished: TransferRecord | None = None
    veto: str = ""
    heartbeat_revision: int | None = None
    resume_by: float = float("-inf")

    @property
    def held_until(self) -> float:
        """When to let go of the key unless a proof comes.

        That is when the window ends; but while a full etcd refuses all puts, nobody else can win: then the key is kept,
        without trust, as long as the lease lives (A8).
        """
        until = max(self.window, self.resume_by) if self.proven else self.prove_by
        return max(until, self.lease_until) if self.store_full else until


@dataclass(slots=True, eq=False)
class Round:
    """One renewal: a keepalive, then, in a term, a fenced heartbeat. `reign` is None when a mere candidate renews."""

    sent_at: float
    reign: Reign | None
    ttl_s: int = 0
    header: Header | None = None

    def proves_until(self, timing: LeaseTiming) -> float:
        """How far this round, when keepalive and heartbeat have both succeeded, moves trust.

        It counts from before the keepalive was *sent*, so that a slow answer cannot stretch it, and never lasts longer
        than the TTL published in the leader key: so long others wait before they take the key from a silent holder.
        """
        return self.sent_at + min(self.ttl_s, timing.ttl_s) - timing.margin_s


def same_raft_term(one: Header | None, other: Header) -> bool:
    """Whether two answers came from one reign of etcd's own leader; else they prove nothing together (A13)."""
    return one is not None and one.raft_term == other.raft_term
