"""The clocks of the machine: what follows the date, and what must not."""

from __future__ import annotations

import time

import pytest

from slurp_leader.clock import SystemClock


def test_time_since_boot_does_not_follow_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a date that is set back by an hour would stretch the trust of a leader by an hour."""
    clock = SystemClock()
    before = clock.boottime()
    date = time.time_ns() - 3600 * 10**9
    monkeypatch.setattr(time, "time", lambda: date / 10**9)
    monkeypatch.setattr(time, "time_ns", lambda: date)
    clock_gettime = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda which: date / 10**9 if which == 0 else clock_gettime(which))
    assert 0 <= clock.boottime() - before < 60
