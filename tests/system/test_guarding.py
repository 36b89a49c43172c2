"""Which crash guard a node gets, by its settings, and what `health` says of one that does not work."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurp_leader import Elections, LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.system.guarding import Reach, guard_of
from slurp_leader.telemetry.events import LogEvent
from support.logs import events
from support.waiting import WAIT_S, until


def test_a_guard_can_be_switched_off() -> None:
    assert guard_of(SlurpSettings(election={"guard": False}), SystemClock(), Reach()) is None
    guard = guard_of(SlurpSettings(), SystemClock(), Reach())
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
    assert guard_of(settings, SystemClock(), Reach()) is None
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


# ---------------------------------------------------------------- stores that were handed in


def system_over(settings: SlurpSettings, **parts: Any) -> SlurpLeaderSystem:
    return SlurpLeaderSystem(settings, generator=lambda request, job: None, **parts)


def election_over(settings: SlurpSettings, **parts: Any) -> LeaderElection:
    return LeaderElection("reports", settings, **parts)


def elections_over(settings: SlurpSettings, **parts: Any) -> Elections:
    elections = Elections(settings, **parts)
    elections.add("reports")
    elections.add("mail")
    return elections


FACES = pytest.mark.parametrize("make", [system_over, election_over, elections_over])


def notices(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if getattr(record, "slurp_event", "") == LogEvent.GUARD_UNAVAILABLE
    ]


@FACES
def test_that_stores_which_are_handed_in_mean_no_guard_is_said_once_at_each_start(
    shared: Any, caplog: pytest.LogCaptureFixture, make: Callable[..., Any]
) -> None:
    caplog.set_level(logging.INFO)
    node = make(SlurpSettings(), stores=shared)
    assert notices(caplog) == []
    with node:
        pass
    ((level, message),) = notices(caplog)
    assert level == "INFO"
    assert "there is no crash guard" in message
    assert "reaches_etcd=True" in message


@FACES
@pytest.mark.parametrize(
    ("guard", "parts"), [(False, {}), (True, {"reaches_etcd": False}), (False, {"reaches_etcd": True})]
)
def test_who_wants_no_guard_is_not_told_that_there_is_none(
    shared: Any, caplog: pytest.LogCaptureFixture, make: Callable[..., Any], guard: bool, parts: dict[str, bool]
) -> None:
    caplog.set_level(logging.INFO)
    with make(SlurpSettings(election={"guard": guard}), stores=shared, **parts):
        pass
    assert notices(caplog) == []


def test_a_client_has_nothing_to_guard(shared: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with SlurpLeaderSystem(SlurpSettings(), candidate=False, stores=shared):
        pass
    assert notices(caplog) == []


@FACES
def test_stores_that_are_said_to_lead_to_etcd_are_guarded(
    shared: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, make: Callable[..., Any]
) -> None:
    """A guard that cannot be started tells that one was wanted."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    caplog.set_level(logging.INFO)
    with make(SlurpSettings(election={"lease_ttl": 3}), stores=shared, reaches_etcd=True) as node:
        one = node["reports"] if isinstance(node, Elections) else node
        assert one.wait_for_leadership(WAIT_S)
        assert [problem["what"] for problem in one.health()["problems"]] == ["guard"]
    ((level, message),) = notices(caplog)
    assert level == "WARNING"
    assert "it cannot be started" in message
