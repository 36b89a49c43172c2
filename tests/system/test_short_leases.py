"""A store that grants leases for a shorter time than was asked, seen by who runs a service."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.store import Grant, GrantResult, Request, Revoke

WAIT_S = 20


class Stingy:
    """The store of a test, but leases are granted for one second until `is_well`."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared
        self.is_well = False
        self.was_given_back = threading.Event()

    def __call__(self) -> Any:
        connection = self._shared()
        self._call, connection.call = connection.call, self.call
        return connection

    def call(self, request: Request[Any], timeout_s: float) -> Future[Any]:
        answer: Future[Any] = self._call(request, timeout_s)
        if isinstance(request, Revoke):
            self.was_given_back.set()
        if self.is_well or not isinstance(request, Grant):
            return answer
        short: Future[GrantResult] = Future()
        short.set_result(replace(answer.result(), ttl_s=1))
        return short


@pytest.mark.parametrize("kind", [LeaderElection, SlurpLeaderSystem])
def test_health_says_that_leases_are_too_short_and_what_to_change_until_they_are_long_enough(
    shared: Any, kind: Any
) -> None:
    stores = Stingy(shared)
    settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3})
    node = kind(settings=settings, stores=stores) if kind is LeaderElection else kind(settings, stores=stores)
    if isinstance(node, SlurpLeaderSystem):
        node.generator(lambda request, job: {})
    node.start()
    try:
        assert stores.was_given_back.wait(WAIT_S)
        assert not node.wait_for_leadership(0.1)
        health = node.health()
        [problem] = [each for each in health["problems"] if each["what"] == "cannot_stand"]
        assert (health["live"], health["healthy"]) == (True, False)
        assert "election.lease_ttl: etcd granted 1 s of 3 s" in problem["message"]
        assert "let etcd grant 2 s or more" in problem["message"]
        stores.is_well = True
        assert node.wait_for_leadership(WAIT_S)
        assert node.health()["healthy"]
    finally:
        node.stop()
