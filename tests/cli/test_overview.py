"""What `slurp status` makes of what the leader says with its heartbeat."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurp_leader.cli.overview import Reading, overview
from slurp_leader.clock import SystemClock
from slurp_leader.election.records import ElectionKeys
from slurp_leader.store import Header, KeyValue, StatusResult
from slurp_leader.store.keyspace import Keyspace

KEYSPACE = Keyspace("test")
KEYS = ElectionKeys.of(KEYSPACE, "slurp")
STORE = StatusResult(Header(1, 1, 9, 1), "3.6.0", 1, 1, 1, ())


def problems(*kvs: tuple[bytes, bytes]) -> list[dict[str, str]]:
    reading = Reading(9, tuple(KeyValue(key, value, 1, 1, 1, 0) for key, value in kvs), 0, STORE)
    found: list[dict[str, str]] = overview(reading, KEYSPACE, "slurp", SystemClock())["problems"]
    return [problem for problem in found if problem["what"] == "generator_fails"]


def as_json(heartbeat: dict[str, Any]) -> bytes:
    return json.dumps({"schema": 1, **heartbeat}).encode()


HOLD = {"hold": {"reason": "circuit_open", "until": "2026-01-01T00:00:05.000Z"}}
LEADER = (KEYS.leader, b"whoever")


def test_jobs_that_wait_for_their_generator_are_a_problem_with_its_reason() -> None:
    (problem,) = problems(LEADER, (KEYS.heartbeat, as_json(HOLD)))
    assert "circuit open until 2026-01-01T00:00:05.000Z" in problem["message"]


@pytest.mark.parametrize("heartbeat", [{}, {"hold": None}, {"hold": "no object"}, {"hold": 1}])
def test_a_heartbeat_that_says_nothing_of_it_is_no_problem(heartbeat: dict[str, Any]) -> None:
    assert problems(LEADER, (KEYS.heartbeat, as_json(heartbeat))) == []
    assert problems(LEADER, (KEYS.heartbeat, b"\x00")) == []
    assert problems(LEADER) == []


def test_the_heartbeat_of_a_leader_that_is_gone_is_not_listened_to() -> None:
    assert problems((KEYS.heartbeat, as_json(HOLD))) == []
