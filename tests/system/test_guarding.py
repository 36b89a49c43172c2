"""Which crash guard a node gets, by its settings, and what `health` says of one that does not work."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.system.guarding import guard_of
from slurp_leader.telemetry.events import LogEvent
from support.logs import events
from support.waiting import WAIT_S, until


def test_a_guard_can_be_switched_off() -> None:
    assert guard_of(SlurpSettings(election={"guard": False}), SystemClock()) is None
    guard = guard_of(SlurpSettings(), SystemClock())
    assert guard is not None
    assert not guard.client.is_running  # it begins with the first lease
    guard.release()


def test_where_a_guard_could_not_reach_etcd_the_node_goes_on_without_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    authority = tmp_path / "ca.pem"
    authority.write_text("it goes away")
    settings = SlurpSettings(etcd={"endpoints": ["127.0.0.1:9"], "ca_file": authority})
    authority.unlink()
    assert guard_of(settings, SystemClock()) is None
    assert events(caplog) == [LogEvent.GUARD_UNAVAILABLE]


def of_the_system(settings: SlurpSettings) -> SlurpLeaderSystem:
    return SlurpLeaderSystem(settings, generator=lambda request, job: None)


def of_the_election(settings: SlurpSettings) -> LeaderElection:
    return LeaderElection("reports", settings)


@pytest.mark.etcd
@pytest.mark.parametrize("make", [of_the_system, of_the_election])
@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_node_without_the_guard_it_should_have_says_so_and_is_well(
    etcd_settings: Callable[[str], SlurpSettings],
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[SlurpSettings], SlurpLeaderSystem | LeaderElection],
    is_wanted: bool,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    settings = etcd_settings("a")
    with make(settings.model_copy(update={"election": settings.election.but(guard=is_wanted)})) as node:
        assert node.wait_for_leadership(WAIT_S)
        until(lambda: node.health()["ready"])
        health = node.health()
        assert (health["live"], health["healthy"]) == (True, True)
        assert [problem["what"] for problem in health["problems"]] == (["guard"] if is_wanted else [])
        assert all("/nowhere/python" in problem["message"] for problem in health["problems"])
        if isinstance(node, SlurpLeaderSystem):
            assert node.status()["problems"] == health["problems"]
