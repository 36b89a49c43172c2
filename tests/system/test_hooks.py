"""The hooks and health checks of both faces, over one store in memory."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from slurp_leader import HandoverError, LeaderControl, LeaderElection, SlurpLeaderSystem, SlurpSettings
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
    told = [said.next() for _ in range(4)]
    assert "standby" in told[:2]  # which may be overtaken by the question
    told.remove("standby")
    assert told == [("elected", False), ("leading", term.token), ("lost", "shutdown")]
    assert said.is_empty()  # it stands by no more


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


# ---------------------------------------------------------------- health checks


def _checked(face: str, shared: Any, node_id: str) -> Any:
    settings = SlurpSettings(
        node={"id": node_id}, election={"lease_ttl": 3}, health={"interval": 0.05, "failure_threshold": 1}
    )
    if face == "election":
        return LeaderElection("slurp", settings, stores=shared)
    return SlurpLeaderSystem(settings, generator=lambda request, job: {}, stores=shared)


def _control(node: Any) -> LeaderControl:
    return node.leader if isinstance(node, SlurpLeaderSystem) else node.control


def _when_it_is_well(control: LeaderControl, node_id: str) -> None:
    """Hand the lead over, as soon as that node says that it is well."""
    for _ in range(int(PATIENCE_S * 50)):
        try:
            control.transfer(node_id)
        except HandoverError as error:
            if error.reason != "unfit":
                raise
            threading.Event().wait(0.02)
        else:
            return
    raise AssertionError("it never became well")


@pytest.mark.parametrize("face", ["election", "system"])
def test_a_leader_whose_health_check_fails_hands_over_and_may_lead_again_when_it_is_well(
    shared: Any, face: str
) -> None:
    is_well = threading.Event()
    is_well.set()
    first, second = _checked(face, shared, "a"), _checked(face, shared, "b")
    first.add_health_check("disk", is_well.is_set)
    with first:
        assert first.wait_for_leadership(PATIENCE_S)
        with second:
            is_well.clear()
            assert second.wait_for_leadership(PATIENCE_S)
            (told,) = _control(second).history(1)
            assert (told.reason, told.before) == ("handover", "a")
            assert told.why == "a: it is not fit: health checks fail: disk"
            with pytest.raises(HandoverError, match="a is not fit: health checks fail: disk"):
                _control(second).transfer("a")
            is_well.set()
            _when_it_is_well(_control(second), "a")
            assert first.wait_for_leadership(PATIENCE_S)
