"""The hooks of both faces, over one store in memory."""

from __future__ import annotations

from typing import Any

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.election import ElectionState
from support.calls import PATIENCE_S, Recorder


def test_an_election_tells_what_happens_to_it(shared: Any) -> None:
    said: Recorder[Any] = Recorder()
    election = LeaderElection("hooked", SlurpSettings(), stores=shared)

    @election.on_standby
    def standby() -> None:
        said("standby")

    @election.on_elected
    def elected(term: Any) -> None:
        said(("elected", election.is_leader))

    @election.on_leading
    async def leading(term: Any) -> None:
        said(("leading", term.token))

    @election.on_lost
    def lost(term: Any, why: Any) -> None:
        said(("lost", str(why)))

    with election:
        assert election.wait_for_leadership(PATIENCE_S)
        term = election.require_term()
    assert [said.next() for _ in range(4)] == [
        "standby",
        ("elected", False),
        ("leading", term.token),
        ("lost", "shutdown"),
    ]


def test_a_node_that_may_not_lead_runs_no_job(shared: Any, make_system: Any) -> None:
    asked: Recorder[Any] = Recorder()
    refusing = SlurpLeaderSystem(SlurpSettings(node={"id": "refusing"}), stores=shared, generator=lambda r, j: "wrong")

    @refusing.on_elected
    def refuse(term: Any) -> bool:
        asked(term)
        return False

    with refusing:
        vetoed = asked.next()
        assert refusing.state is not ElectionState.LEADER
        other = make_system(lambda request, job: "right")
        assert other.submit("a.py").result(PATIENCE_S).value == "right"
        assert not vetoed.is_valid
