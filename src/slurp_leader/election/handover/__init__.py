"""Handing the lead over: from whoever wishes it, through the leader, to its successor (PROTOCOL C, A6).

`wish` (asks for it from any process, and follows what becomes of it) -> `handover` (the leader's side, a part of the
elector's machine) -> `successor` (the candidate's side, another part).
"""

from slurp_leader.election.handover.handover import Handover, Lending, Phase
from slurp_leader.election.handover.successor import Successor

__all__ = ["Handover", "Lending", "Phase", "Successor"]
