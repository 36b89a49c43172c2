"""The clocks of the machine: what follows the date, and what must not."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from slurp_leader.clock import SystemClock, format_utc, parse_utc


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


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_date_that_the_calendar_of_utc_does_not_have_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="beyond the calendar"):
        parse_utc(text)
    with pytest.raises(ValueError, match="beyond the calendar"):
        format_utc(datetime.fromisoformat(text))


def test_the_first_and_the_last_date_of_the_calendar_are_written_and_read() -> None:
    for moment in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC, microsecond=0)):
        assert parse_utc(format_utc(moment)) == moment
    east = timezone(timedelta(hours=1))
    assert format_utc(datetime(1, 1, 1, 1, tzinfo=east)) == "0001-01-01T00:00:00.000Z"
