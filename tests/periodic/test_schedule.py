"""When periodic work is due, held against a search that tries every minute."""

from __future__ import annotations

from datetime import MINYEAR, UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurp_leader.errors import ConfigurationError
from slurp_leader.periodic.cron import read_cron
from slurp_leader.periodic.schedule import Cron, Interval

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("last_s", "due_s"),
    [
        (None, 0),  # never ran: at once
        (0, 60),
        (-59, 1),
        (-60, 0),
        (-61, -1),  # missed
        (-200, -20),  # of several missed ones the newest
        (30, 60),  # the date was set back: as if it had run just now
        (3600, 60),
    ],
)
def test_an_interval_goes_on_from_the_last_due_time(last_s: float | None, due_s: float) -> None:
    last = None if last_s is None else NOON + seconds(last_s)
    schedule = Interval(60)
    assert schedule.due(schedule.start(last, NOON), NOON) == NOON + seconds(due_s)


@given(st.integers(1, 90_000), st.integers(-100_000, 10_000_000))
def test_an_interval_is_never_due_twice_and_never_waits_longer_than_it_is(every_s: int, since_s: int) -> None:
    last = NOON - seconds(since_s)
    schedule = Interval(every_s)
    due = schedule.due(schedule.start(last, NOON), NOON)
    assert due - min(last, NOON) >= seconds(every_s)
    assert NOON - seconds(every_s) < due <= NOON + seconds(every_s)
    if since_s >= 0:
        assert (due - last) % seconds(every_s) == seconds(0)


@pytest.mark.parametrize("every_s", [0, 0.5, -1, float("inf"), float("nan")])
def test_an_interval_that_cannot_be_is_refused(every_s: float) -> None:
    with pytest.raises(ConfigurationError, match="1 second or more"):
        Interval(every_s)


# ---------------------------------------------------------------- cron: what is written


@pytest.mark.parametrize(
    ("expression", "field", "numbers"),
    [
        ("5 * * * *", "minutes", {5}),
        ("*/20 * * * *", "minutes", {0, 20, 40}),
        ("10-13,50 * * * *", "minutes", {10, 11, 12, 13, 50}),
        ("5/20 * * * *", "minutes", {5, 25, 45}),
        ("0 8-18/5 * * *", "hours", {8, 13, 18}),
        ("0 0 1,31 * *", "days", {1, 31}),
        ("0 0 * Jan,mar-MAY *", "months", {1, 3, 4, 5}),
        ("0 0 * * mon-fri", "weekdays", {1, 2, 3, 4, 5}),
        ("0 0 * * 7", "weekdays", {0}),
        ("0 0 * * sat-sun", "weekdays", {6, 0}),
        ("0 0 * * 5-7", "weekdays", {5, 6, 0}),
        ("0 0 * * *", "weekdays", {0, 1, 2, 3, 4, 5, 6}),
        ("0 0 * * */3", "weekdays", {0, 3, 6}),
        (" @Hourly ", "minutes", {0}),
        ("@weekly", "weekdays", {0}),
    ],
)
def test_a_field_is_read_as_every_cron_reads_it(expression: str, field: str, numbers: set[int]) -> None:
    assert getattr(read_cron(expression), field) == numbers


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@reboot", "five fields"),
        ("60 * * * *", "minute: '60' is not 0-59"),
        ("* 24 * * *", "hour: '24'"),
        ("* * 0 * *", "day of the month: '0' is not 1-31"),
        ("* * * 13 *", "month: '13' is not 1-12 or jan-dec"),
        ("* * * * 8", "day of the week: '8' is not 0-7 or sun-sat"),
        ("*/0 * * * *", "minute: '0' is not 1-59"),
        ("* * * * */mon", "day of the week: 'mon' is not 1-7"),
        ("30-10 * * * *", "ends before it begins"),
        ("1,,2 * * * *", "minute: ''"),
        ("-5 * * * *", "minute: ''"),
        ("5- * * * *", "minute: ''"),
        ("* * L * *", "day of the month: 'l'"),
        ("* * * * mon#2", "day of the week"),
        ("² * * * *", "minute"),
        ("0 0 30 feb *", "no such day"),
        ("0 0 31 4,6,9,11 *", "no such day"),
    ],
)
def test_what_is_no_expression_is_refused_and_the_part_is_named(expression: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Cron.of(expression)
    assert says in str(caught.value)


# ---------------------------------------------------------------- cron: when it is due


def upcoming(expression: str, zone: str, start: str, count: int) -> list[str]:
    """The next due times in local time, as people write them."""
    cron, moment = Cron.of(expression, ZoneInfo(zone)), datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    found = []
    for _ in range(count):
        moment = cron.next_after(moment)
        found.append(moment.astimezone(cron.zone).strftime("%m-%d %H:%M %z"))
    return found


def test_a_day_that_fits_either_way_is_one_when_both_are_restricted() -> None:
    days = ["11-06 00:00 +0000", "11-13 00:00 +0000", "11-20 00:00 +0000", "11-27 00:00 +0000", "12-04 00:00 +0000",
            "12-11 00:00 +0000", "12-13 00:00 +0000"]  # fmt: skip
    assert upcoming("0 0 13 * fri", "UTC", "2026-11-01", 7) == days


def test_a_leap_day_is_found_years_ahead() -> None:
    cron = Cron.of("0 0 29 2 *")
    assert cron.next_after(NOON) == datetime(2028, 2, 29, tzinfo=UTC)
    assert cron.next_after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


BERLIN = "Europe/Berlin"  # 2026-03-29 02:00 -> 03:00, 2026-10-25 03:00 -> 02:00


def test_a_time_that_is_left_out_is_due_when_the_gap_ends() -> None:
    due = ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]
    assert upcoming("30 2 * * *", BERLIN, "2026-03-28", 3) == due


def test_several_times_that_are_left_out_are_due_once() -> None:
    due = ["03-29 01:30 +0100", "03-29 03:00 +0200", "03-30 01:00 +0200"]
    assert upcoming("*/30 1-2 * * *", BERLIN, "2026-03-29T01:00", 3) == due


def test_a_time_that_is_repeated_is_due_once_and_at_its_first() -> None:
    assert upcoming("30 2 * * *", BERLIN, "2026-10-25", 2) == ["10-25 02:30 +0200", "10-26 02:30 +0100"]


def test_what_runs_in_every_hour_goes_by_the_time_that_passes() -> None:
    forward = ["03-29 01:30 +0100", "03-29 03:30 +0200", "03-29 04:30 +0200"]
    assert upcoming("30 * * * *", BERLIN, "2026-03-29T01:00", 3) == forward
    back = ["10-25 02:30 +0200", "10-25 02:30 +0100", "10-25 03:30 +0100"]
    assert upcoming("30 * * * *", BERLIN, "2026-10-25T02:00", 3) == back


def test_a_date_that_begins_before_the_one_before_it_has_ended() -> None:
    """St. John's set its clocks back at one minute past midnight, to one minute past eleven of the day before."""
    back = ["11-06 23:30 -0230", "11-07 00:00 -0230", "11-06 23:30 -0330", "11-07 00:00 -0330", "11-07 00:30 -0330"]
    assert upcoming("*/30 * * * *", "America/St_Johns", "2010-11-06T23:00", 5) == back


def test_a_day_that_was_left_out_as_a_whole_is_due_when_it_would_have_ended() -> None:
    assert upcoming("0 12 * * *", "Pacific/Apia", "2011-12-29", 3) == [
        "12-29 12:00 -1000", "12-31 00:00 +1400", "12-31 12:00 +1400",
    ]  # fmt: skip


# ---------------------------------------------------------------- cron: against every minute


@st.composite
def field(draw: st.DrawFn, low: int, high: int) -> tuple[str, frozenset[int]]:
    """A field, and the numbers it means."""
    if draw(st.integers(0, 2)) == 0:
        return "*", frozenset(range(low, high + 1))
    texts, numbers = [], set[int]()
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        step = draw(st.integers(1, high))
        texts.append(f"{first}-{last}/{step}")
        numbers |= set(range(first, last + 1, step))
    return ",".join(texts), frozenset(numbers)


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), field(1, 31), st.just(("*", frozenset(range(1, 13)))), field(0, 6))
ZONES = st.sampled_from(
    [
        ("UTC", date(2026, 6, 1)),
        ("Europe/Berlin", date(2026, 3, 29)),
        ("Europe/Berlin", date(2026, 10, 25)),
        ("America/St_Johns", date(2010, 11, 7)),
        ("Australia/Lord_Howe", date(2026, 4, 5)),  # half an hour
        ("Australia/Lord_Howe", date(2026, 10, 4)),
        ("America/Havana", date(2026, 3, 8)),  # at midnight
        ("Asia/Kathmandu", date(2026, 6, 1)),
    ]
)  # fmt: skip


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def every_due_time(
    fields: list[frozenset[int]], stars: tuple[bool, bool], zone: ZoneInfo, around: date
) -> list[datetime]:
    """All due times from three days before to three days after, minute by minute, as the text of `Cron` has it."""
    minutes, hours, days, months, weekdays = fields

    def fits(local: datetime) -> bool:
        by_month, by_week = local.day in days, (local.weekday() + 1) % 7 in weekdays
        day = (by_month or by_week) if stars == (False, False) else (by_month and by_week)
        return local.minute in minutes and local.hour in hours and local.month in months and day

    start = midnight(around) - timedelta(days=3)
    shown: dict[datetime, datetime] = {}  # each local time, and when it is shown first
    found = set()
    for number in range(6 * 24 * 60):
        moment = start + number * MINUTE
        local = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if len(hours) == 24 and fits(local):
            found.add(moment)
        shown.setdefault(local, moment)
    if len(hours) < 24:
        local, latest = min(shown), max(shown)
        while local <= latest:
            if fits(local):
                later = local
                while later not in shown:
                    later += MINUTE
                found.add(shown[later])
            local += MINUTE
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, ZONES, st.data())
def test_due_times_are_those_of_a_search_through_every_minute(
    expression: tuple[tuple[str, frozenset[int]], ...], zone_and_day: tuple[str, date], data: st.DataObject
) -> None:
    name, around = zone_and_day
    zone = ZoneInfo(name)
    texts = [text for text, _ in expression]
    expected = every_due_time([numbers for _, numbers in expression], (texts[2] == "*", texts[4] == "*"), zone, around)
    cron = Cron.of(" ".join(texts), zone)
    low = midnight(around) - timedelta(days=2)
    high = midnight(around) + timedelta(days=2)
    after = low + seconds(data.draw(st.integers(0, 4 * 86_400)))
    until = after + seconds(data.draw(st.integers(0, max(0, int((high - after).total_seconds())))))
    coming = [each for each in expected if after < each]
    if coming:
        assert cron.next_after(after) == coming[0]
    missed = [each for each in expected if after < each <= until]
    assert cron.newest_in(after, until) == (missed[-1] if missed else None)
    assert cron.due(after, until) == (missed[-1] if missed else cron.next_after(until))


def test_the_newest_of_many_missed_runs_is_found_without_counting_them() -> None:
    cron = Cron.of("* * * * *")
    assert cron.due(NOON - timedelta(days=3650), NOON + seconds(5)) == NOON


@pytest.mark.parametrize("hours", [-23, 0, 23])
def test_what_is_counted_from_the_earliest_date_that_is_read_ends_with_the_newest(hours: int) -> None:
    cron = Cron.of("0 12 29 2 *", timezone(timedelta(hours=hours)))
    earliest = datetime(MINYEAR + 1, 1, 1, tzinfo=UTC)
    assert cron.due(earliest, NOON) == datetime(2024, 2, 29, 12, tzinfo=UTC) - timedelta(hours=hours)
    assert cron.newest_in(earliest, earliest + timedelta(days=30)) is None


def test_a_date_that_was_set_back_repeats_nothing() -> None:
    cron, back = Cron.of("@hourly"), NOON - timedelta(minutes=59)
    assert cron.start(NOON, back) == NOON
    assert cron.due(NOON, back) == NOON + timedelta(hours=1)


def test_what_never_ran_waits_for_the_next_time_that_fits() -> None:
    cron = Cron.of("@hourly")
    assert cron.due(cron.start(None, NOON + MINUTE), NOON + MINUTE) == NOON + timedelta(hours=1)


def test_a_last_run_more_than_a_day_ahead_is_not_believed() -> None:
    cron = Cron.of("@hourly")
    assert cron.start(NOON + timedelta(days=3650), NOON) == NOON
    assert cron.start(NOON + timedelta(hours=23), NOON) == NOON + timedelta(hours=23)
