"""What is said while outcomes cannot be followed."""

from __future__ import annotations

import logging

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.jobs.outcomes import Outcomes
from slurp_leader.jobs.records import JobKeys
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore

PATIENCE_S = 30


def test_an_outage_is_said_once_and_so_is_its_end(memory_store: MemoryStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="slurp_leader.jobs")
    memory_store.faults.lose_request(4, at_once=True)
    outcomes = Outcomes(memory_store, JobKeys(Keyspace("outages")), 5.0, SystemClock())
    outcomes.start()
    try:
        assert outcomes.wait_until_watching(PATIENCE_S)
    finally:
        outcomes.stop()
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == ["store.unavailable", "store.back"]
