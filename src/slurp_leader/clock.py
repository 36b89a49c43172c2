"""The only module that reads the machine's clocks.

Two kinds of time, never mixed:

* **Boot time**: float seconds that never jump and go on counting while the machine is suspended
  (``CLOCK_BOOTTIME``; where there is none ``CLOCK_MONOTONIC``, which counts so on macOS). Every decision about
  leadership and every timeout rests on it, because a machine that was suspended must not wake up trusting an old lease.
* **Calendar time**: aware UTC dates, for people and for records (`run_at`, retention). Skew between machines
  shifts these; nothing that has to be safe rests on them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""`time.monotonic` is not the same as CLOCK_MONOTONIC everywhere: on macOS it stands still while the machine sleeps."""


class Clock(Protocol):
    """Where time comes from. `SystemClock` in a program, a virtual one in a simulation."""

    def boottime(self) -> float:
        """Seconds since some fixed moment; only differences mean anything."""
        ...

    def utcnow(self) -> datetime:
        """The calendar date now, aware, in UTC."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def boottime(self) -> float:
        if _BOOTTIME is None:
            return time.monotonic()
        return time.clock_gettime(_BOOTTIME)

    def utcnow(self) -> datetime:
        return datetime.now(UTC)


def format_utc(moment: datetime) -> str:
    """Write an aware date as it stands in records: ``2026-01-31T12:00:00.123Z``.

    Raises:
        ValueError: The date has no time zone, or is beyond the calendar in UTC.
    """
    if moment.tzinfo is None:
        raise ValueError(f"a date without time zone: {moment!r}")
    in_utc = moment if moment.tzinfo is UTC else _to_utc(moment)
    return in_utc.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_utc(text: str) -> datetime:
    """Read a date written by `format_utc`, or any ISO 8601 date with a time zone.

    Raises:
        ValueError: Not a date, one without a time zone, or one that is beyond the calendar in UTC.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a date without time zone: {text!r}")
    return _to_utc(moment)


def _to_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # who reads what others wrote looks out for `ValueError`
        raise ValueError(f"a date beyond the calendar: {moment.isoformat()}") from None
