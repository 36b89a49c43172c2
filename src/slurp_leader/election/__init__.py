"""Who leads, and until when.

::

                 session opened               key taken, then proved once
    follower ----------------> candidate ---------------------------------> leader
        ^                       ^   ^                                       |    ^
        |                       |   |  fenced, expired                      |    | renewed
        |                       |   +---------------------------------------+    |
        |                       |                                           |    |
        |                       |    released              asked to leave   v    |
        |                       +------------- draining <------------- suspended-+
        |  stopped                                |                (cannot prove it
        +-----------------------------------------+                 at present)

**A term** is opened by a put of the leader key and closed by the next put or delete of it. Its *token* is the
`mod_revision` of that key, which is written exactly once a term. Every write made as leader compares the token.

**The trust window** says until when this node may believe that it leads: it counts from before the last successful
keepalive was *sent*, lasts the TTL that etcd granted less a margin, and needs a fenced heartbeat committed *after* that
keepalive (a cut-off etcd member goes on answering keepalives). The clock is one that counts through suspends. While a
crash guard runs, the window also ends before the guard may take a standstill for death (`beats`).

**What is promised.** At any revision at most one term holds the key. No write made under a fence lands after its term.
**What is not.** That nothing of an old term still *runs* somewhere: a paused process cannot be told. Whatever it then
writes through the fence is refused; whatever it does elsewhere has to be fenced there, by the token.

**How the lead is handed over.** Without a revision in which nobody leads: one transaction writes the successor's term
onto the successor's lease (`handover`). It is prepared before: an offer to one session, its answer.
Trust ends before the transaction is sent and comes back only after a definite refusal and a heartbeat sent after that;
so it never matters how long the answer takes, or how often or late the transaction arrives. The successor begins the
term under the token of that very put, once, and only because it answered that very offer; any other key in its name it
rewrites. Work under way is not thrown away: where the owner can lend it, a grant lets the old leader end it, and only
end it, while the new one already leads; where it cannot, it ends before, while the term is in force.

**Who goes first.** Each candidate publishes what it measured; all nodes compute the same order from that
(`ranking`). In a vacancy the best goes at once, the others let it go first for a bounded time, and then it is first
come, first served: scores decide who campaigns first, never who may win. What operators order (`operator`, `orders`)
and what an election requires forbids it. Each term is told of in the history, and can be explained (`history`).

The way in: `Election` (threads and listeners) -> `Elector` (the machine, no thread, no clock), made of `SessionKeeper`
(the lease), `Campaign` and `Contest` (when and how the key is taken), `Renewal`, `Standstill`, `Handover` and
`Successor`, `Attempts` (writes that must become definite), and what it keeps about a term (`reign`) -> `transactions`,
`records`, `view`, `ranking`, `history` (pure values). From other processes: `observing`, `orders`, `handover.wish`.
"""

from slurp_leader.election.beats import CrashGuard
from slurp_leader.election.election import Election, ElectionEvent, Listener
from slurp_leader.election.elector import Elector
from slurp_leader.election.events import (
    BeatSaid,
    Consent,
    ConsentWanted,
    Drained,
    DropLease,
    DuplicateNode,
    ElectionState,
    Finished,
    FitnessChanged,
    GoOn,
    HeldBack,
    HoldLease,
    LeaderChanged,
    Reason,
    Renewed,
    ResignWanted,
    SayBeat,
    Settled,
    SettleWanted,
    StateChanged,
    StopWanted,
)
from slurp_leader.election.handover import Lending
from slurp_leader.election.handover.wish import Transferred, Wish
from slurp_leader.election.options import ElectionOptions
from slurp_leader.election.records import ElectionKeys, Identity, LeaderInfo, LeaderRecord, nodes_prefix
from slurp_leader.election.transfer import Readiness

__all__ = [
    "BeatSaid",
    "Consent",
    "ConsentWanted",
    "CrashGuard",
    "Drained",
    "DropLease",
    "DuplicateNode",
    "Election",
    "ElectionEvent",
    "ElectionKeys",
    "ElectionOptions",
    "ElectionState",
    "Elector",
    "Finished",
    "FitnessChanged",
    "GoOn",
    "HeldBack",
    "HoldLease",
    "Identity",
    "LeaderChanged",
    "LeaderInfo",
    "LeaderRecord",
    "Lending",
    "Listener",
    "Readiness",
    "Reason",
    "Renewed",
    "ResignWanted",
    "SayBeat",
    "SettleWanted",
    "Settled",
    "StateChanged",
    "StopWanted",
    "Transferred",
    "Wish",
    "nodes_prefix",
]
