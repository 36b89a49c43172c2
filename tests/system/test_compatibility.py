"""A service on plain `LeaderElection` beside nodes of `SlurpLeaderSystem`, in one election."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings

WAIT_S = 30


def both(settings: Callable[[str], SlurpSettings], stores: Any = None) -> tuple[LeaderElection, SlurpLeaderSystem]:
    plain = LeaderElection("slurp", settings("plain"), stores=stores)
    return plain, SlurpLeaderSystem(settings("system"), generator=lambda request, job: {"ok": True}, stores=stores)


def in_memory(node_id: str) -> SlurpSettings:
    return SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3})


def check(first: Any, second: Any) -> None:
    """The first leads, then the second, and there is one leader for both."""
    first.start()
    try:
        assert first.wait_for_leadership(WAIT_S)
        token = first.term.token
        second.start()
        waits = second.leader.wait if isinstance(second, SlurpLeaderSystem) else second.wait_for_leader
        assert waits(WAIT_S).token == token
        assert not second.is_leader
        submitter = second if isinstance(second, SlurpLeaderSystem) else first
        handle = submitter.submit("a.py")  # kept until a node with jobs leads
        assert first.stop()
        assert second.wait_for_leadership(WAIT_S)
        assert second.term.token > token
        if isinstance(second, SlurpLeaderSystem):
            assert handle.result(WAIT_S).success
    finally:
        first.stop()
        second.stop()


@pytest.mark.parametrize("plain_first", [True, False])
def test_they_take_turns_in_memory(shared: Any, plain_first: bool) -> None:
    plain, system = both(in_memory, shared)
    check(*((plain, system) if plain_first else (system, plain)))


@pytest.mark.etcd
@pytest.mark.parametrize("plain_first", [True, False])
def test_they_take_turns_on_real_etcd(etcd_settings: Callable[[str], SlurpSettings], plain_first: bool) -> None:
    plain, system = both(etcd_settings)
    check(*((plain, system) if plain_first else (system, plain)))
