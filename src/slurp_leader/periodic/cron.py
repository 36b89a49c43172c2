"""Cron expressions, as text and as sets of numbers.

::

    minute  hour  day of the month  month  day of the week
    0-59    0-23  1-31              1-12   0-7 (0 and 7 are Sunday)

Each is ``*``, a number, a range ``a-b``, any of these with a step (``*/15``, ``8-18/2``, ``5/20`` from 5 on), or a list
of all that. Months and weekdays have their English names (``jan``, ``mon-fri``). ``@hourly @daily @midnight @weekly
@monthly @yearly @annually`` stand for themselves.

If both the day of the month and the day of the week are restricted (do not begin with ``*``), a day that fits *either*
is one: ``0 0 13 * fri`` is each 13th and each Friday. That is what every cron does, and what few expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from slurp_leader.errors import ConfigurationError

_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SUNDAY_TOO = 7


@dataclass(frozen=True, slots=True)
class CronFields:
    """What an expression allows. Weekdays from 0, Sunday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool = False
    """Both kinds of days are restricted: one of them has to fit, not both."""

    @property
    def runs_every_hour(self) -> bool:
        """Whether it is due in every hour of its days."""
        return len(self.hours) == 24

    def has_day(self, day: date) -> bool:
        """Whether it is due on this date."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, _SUNDAY_TOO, _WEEKDAYS),
)


def read_cron(expression: str) -> CronFields:
    """Read an expression.

    Raises:
        ConfigurationError: It is none; the message says which part, and what may stand there.
    """
    parts = _SHORT.get(expression.strip().lower(), expression).lower().split()
    if len(parts) != len(_FIELDS):
        raise ConfigurationError(
            f"cron {expression!r}: write five fields, minute hour day month weekday, or one of {' '.join(_SHORT)}",
            field="cron",
        )
    try:
        minutes, hours, days, months, weekdays = (
            _read_field(field, part) for field, part in zip(_FIELDS, parts, strict=True)
        )
    except ValueError as error:
        raise ConfigurationError(f"cron {expression!r}: {error}", field="cron") from None
    return CronFields(
        minutes,
        hours,
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        either_day=not parts[2].startswith("*") and not parts[4].startswith("*"),
    )


def _read_field(field: _Field, text: str) -> frozenset[int]:
    return frozenset(number for item in text.split(",") for number in _read_item(field, item))


def _read_item(field: _Field, item: str) -> range:
    span, slash, step_text = item.partition("/")
    step = _number(_Field(field.name, 1, field.high), step_text, 1, field.high) if slash else 1
    low, high = _read_span(field, span, has_step=bool(slash))
    if low > high:
        raise ValueError(f"{field.name}: {span!r} ends before it begins; write it as two ranges")
    return range(low, high + 1, step)


def _read_span(field: _Field, span: str, *, has_step: bool) -> tuple[int, int]:
    if span == "*":
        return field.low, min(field.high, 6) if field.names is _WEEKDAYS else field.high
    first, dash, last = span.partition("-")
    low = _number(field, first, field.low, field.high)
    if not dash:
        return (low, field.high) if has_step else (low, low)
    high = _number(field, last, field.low, field.high)
    if field.names is _WEEKDAYS and high == 0 < low:
        high = _SUNDAY_TOO  # sat-sun
    return low, high


def _number(field: _Field, text: str, low: int, high: int) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if not (text.isascii() and text.isdigit()) or len(text) > 4 or not low <= int(text) <= high:
        names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
        raise ValueError(f"{field.name}: {text!r} is not {low}-{high}{names}")
    return int(text)
