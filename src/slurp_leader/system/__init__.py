"""The faces of the library: `LeaderElection` (an election alone), `Elections` (many of them over one connection),
`LeaderObserver` (who leads, seen from outside), and `SlurpLeaderSystem` (election and queue).

Wiring only; the first thing to read is the docstring of `slurp_leader.system.system`.
"""

from slurp_leader.system.hub import Elections
from slurp_leader.system.leader_election import LeaderElection
from slurp_leader.system.leader_observer import LeaderObserver
from slurp_leader.system.system import SlurpLeaderSystem

__all__ = ["Elections", "LeaderElection", "LeaderObserver", "SlurpLeaderSystem"]
