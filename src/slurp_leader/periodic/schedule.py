"""When periodic work is due: pure functions from dates to dates. No clock, no zone of the machine.

A schedule answers two questions. `start(last, now)`: what to count from, given what is known of the last run when a
term begins. `due(last, now)`: given the due time of the last run and the date now, when is the next run due? An answer
in the past means that runs were missed; it is the newest of them, as one run makes up for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from typing import Protocol

from slurp_leader.errors import ConfigurationError
from slurp_leader.periodic.cron import CronFields, read_cron

_AN_HOUR = timedelta(hours=1)
_A_DAY = timedelta(days=1)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)
_YEARS_TO_LOOK = 400
"""After so many years the calendar repeats itself."""


class Schedule(Protocol):
    """When work is due."""

    @property
    def follows_calendar(self) -> bool:
        """Whether due times are dates, so that they move when the machine's date is set; else only time that passes
        counts, and dates serve to go on after a change of the leader."""
        ...

    def start(self, last: datetime | None, now: datetime) -> datetime | None:
        """What to count from.

        Args:
            last: Due time of the last run that is known of, aware; None: none is.
            now: The date now, aware.

        Returns:
            An aware date, or None: it is due at once.
        """
        ...

    def due(self, last: datetime | None, now: datetime) -> datetime:
        """When the next run is due.

        Args:
            last: What to count from; None: it is due at once.
            now: The date now, aware.

        Returns:
            An aware date: of the newest run that was missed, or of the next one.
        """
        ...


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds, counted from one due time to the next; at once when it never ran.

    A last run in the future means that the date was set back, or that the leader before had another date: it counts as
    a run of just now, so that nothing runs twice and nothing waits for longer than the interval.
    """

    every_s: float
    follows_calendar: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.every_s < math.inf:
            raise ConfigurationError(
                f"every {self.every_s!r} s: 1 second or more, as each run is written to etcd", field="every"
            )

    def start(self, last: datetime | None, now: datetime) -> datetime | None:
        return None if last is None else min(last, now)

    def due(self, last: datetime | None, now: datetime) -> datetime:
        if last is None:
            return now
        since_s = (now - last).total_seconds()
        return last + timedelta(seconds=self.every_s * max(1, math.floor(since_s / self.every_s)))


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone.

    **When the clocks change.** An expression that runs in every hour of the day goes by time that passes: nothing in
    the hour that is left out, and in both hours of a repeated one. Any other runs once for each local time: at the end
    of the gap if that time is left out, and at the first of the two if it is repeated. So ``30 2 * * *`` runs once on
    every day of the year.

    **A date that is set back** repeats nothing: due times only grow. What was run in the hour that is lived twice is
    run once. A last run more than a day ahead of the date is a mistake of an earlier clock, and is not believed. What
    never ran is due at the next time that fits, not at one before.
    """

    fields: CronFields
    zone: tzinfo = UTC
    follows_calendar: bool = field(default=True, init=False)

    @classmethod
    def of(cls, expression: str, zone: tzinfo = UTC) -> Cron:
        """Read an expression.

        Raises:
            ConfigurationError: It is none, or there is no such day (30 February).
        """
        cron = cls(read_cron(expression), zone)
        if next(cron._days_from(date(2000, 1, 1)), None) is None:
            raise ConfigurationError(f"cron {expression!r}: there is no such day", field="cron")
        return cron

    def start(self, last: datetime | None, now: datetime) -> datetime | None:
        return now if last is None or last > now + _A_DAY else last

    def due(self, last: datetime | None, now: datetime) -> datetime:
        if last is None:
            return now
        return self.newest_in(last, now) or self.next_after(max(last, now))

    def next_after(self, moment: datetime) -> datetime:
        """The first due time later than `moment`, in UTC."""
        found: list[datetime] = []
        until = date.max
        for day in self._days_from(moment.astimezone(self.zone).date() - _A_DAY):
            if day > until:
                break
            found += islice(self._moments_of(day, moment, _END_OF_TIME), 1)
            # A clock set back at midnight lets one date begin before the date before it has ended.
            if found and until == date.max:
                until = day + _A_DAY
        if not found:
            raise ConfigurationError(f"there is no due time after {moment}", field="cron")
        return min(found)

    def newest_in(self, after: datetime, until: datetime) -> datetime | None:
        """The last due time later than `after` and not later than `until`, in UTC; None: there is none."""
        day = until.astimezone(self.zone).date() + _A_DAY
        first = after.astimezone(self.zone).date() - _A_DAY
        found: list[datetime] = []
        while day >= first:
            if self.fields.has_day(day):
                found += islice(self._moments_of(day, after, until, newest_first=True), 1)
                if found:
                    first = max(first, day - _A_DAY)
            day -= _A_DAY
        return max(found, default=None)

    def _days_from(self, day: date) -> Iterator[date]:
        """The dates that fit, from this one on."""
        last_year = min(day.year + _YEARS_TO_LOOK, date.max.year - 1)
        while day.year <= last_year:
            if day.month not in self.fields.months:
                day = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
                continue
            if self.fields.has_day(day):
                yield day
            day += _A_DAY

    def _moments_of(
        self, day: date, after: datetime, until: datetime, *, newest_first: bool = False
    ) -> Iterator[datetime]:
        """The due times whose local date is this, later than `after` and not later than `until`, in order, in UTC."""
        offset = _steady_offset(day, self.zone)
        if offset is None:
            moments = (each for each in self._moments_around_a_change(day) if after < each <= until)
            return iter(sorted(moments, reverse=newest_first))
        midnight = datetime.combine(day, time(), UTC) - offset
        return (
            moment
            for hour in sorted(self.fields.hours, reverse=newest_first)
            if (begins := midnight + timedelta(hours=hour)) <= until and begins + _AN_HOUR > after
            for minute in sorted(self.fields.minutes, reverse=newest_first)
            if after < (moment := begins + timedelta(minutes=minute)) <= until
        )

    def _moments_around_a_change(self, day: date) -> set[datetime]:
        """Every due time whose local date is this, each looked up in the zone."""
        moments: set[datetime] = set()
        for hour in self.fields.hours:
            for minute in self.fields.minutes:
                first = datetime.combine(day, time(hour, minute, fold=0), self.zone)
                second = first.replace(fold=1)
                if _exists(first):
                    moments.add(first.astimezone(UTC))
                    if self.fields.runs_every_hour:
                        moments.add(second.astimezone(UTC))
                elif not self.fields.runs_every_hour:
                    moments.add(_end_of_gap(second.astimezone(UTC), first.astimezone(UTC), self.zone))
        return moments


def _steady_offset(day: date, zone: tzinfo) -> timedelta | None:
    """What the zone is ahead of UTC around this date; None: it changes."""
    midnight = datetime.combine(day, time(), UTC)
    offsets = {(midnight + days * _A_DAY).astimezone(zone).utcoffset() for days in (-2, 0, 1, 3)}
    return offsets.pop() if len(offsets) == 1 else None


def _exists(local: datetime) -> bool:
    """Whether clocks ever show this: a date and time that is left out comes back as another one."""
    there_and_back = local.astimezone(UTC).astimezone(local.tzinfo)
    return there_and_back.replace(tzinfo=None, fold=0) == local.replace(tzinfo=None, fold=0)


def _end_of_gap(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """When the clocks were set forward, between these two moments, in UTC. Whole seconds."""
    offset = before.astimezone(zone).utcoffset()
    low, high = 0, int((after - before).total_seconds())  # set forward after `low`, not after `high`
    while high - low > 1:
        middle = (low + high) // 2
        changed = (before + timedelta(seconds=middle)).astimezone(zone).utcoffset() != offset
        low, high = (low, middle) if changed else (middle, high)
    return before + timedelta(seconds=high)
