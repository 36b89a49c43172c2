"""Which crash guard a node gets, by its settings."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from slurp_leader import SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.system.guarding import guard_of
from slurp_leader.telemetry.events import LogEvent
from support.logs import events


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
