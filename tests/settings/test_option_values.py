"""Durations, sizes and small fields: what is read, what is refused."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr

from slurp_leader.errors import ConfigurationError
from slurp_leader.options import (
    Count,
    Duration,
    FieldError,
    Flag,
    KeySegment,
    Options,
    format_about,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (15, 15),
        (0.5, 0.5),
        (0, 0),
        (timedelta(minutes=2), 120),
        ("15", 15),
        (" 0.25 ", 0.25),
        ("5s", 5),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("1h 30m", 5400),
        ("7d", 604_800),
    ],
)
def test_a_duration_is_seconds_a_timedelta_or_numbers_with_units(written: object, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    [
        *("", "s", "5 parsecs", "-5s", "5s!", "PT5S", "1e3", "٣s", "nan", "9" * 70, "9" * 40 + "d"),
        *(True, None, [], float("nan"), float("inf"), -1, -0.001, 1e300, 10**10, 10**400, timedelta(seconds=-1)),
    ],
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_duration(written)


@pytest.mark.parametrize("text", ["0s", "250us", "5ms", "15s", "90s", "5m", "36h", "7d", "1500ms"])
def test_a_duration_is_written_as_it_can_be_read_again(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (4096, 4096),
        ("17", 17),
        ("512KiB", 524_288),
        ("1.5 mib", 1_572_864),
        ("1MB", 1_000_000),
        ("2GiB", 2**31),
    ],
)
def test_a_size_is_bytes_or_a_number_with_a_unit(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "KiB", "-1", "1 furlong", "0.3B", "1e6", 1.5, True, None, -1, "9" * 30])
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_size(written)


@pytest.mark.parametrize("text", ["0B", "17B", "512KiB", "3MiB", "2GiB", "1000000B"])
def test_a_size_is_written_as_it_can_be_read_again(text: str) -> None:
    assert format_size(parse_size(text)) == text


class Sample(Options):
    """Options with one field of each kind."""

    section: ClassVar[str] = "sample"

    count: Count = Field(default=1, ge=1)
    wait: Duration = timedelta(seconds=1)
    name: KeySegment = "a"
    on: Flag = True
    secret: SecretStr | None = None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "ä", "a\0", "x" * 129])
def test_a_name_that_could_break_an_etcd_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sample\.name = .*1 to 128 letters"):
        Sample(name=name)


@pytest.mark.parametrize(("text", "on"), [("yes", True), ("ON", True), ("1", True), ("no", False), ("false", False)])
def test_a_switch_is_read_from_text(text: str, on: bool) -> None:
    assert Sample.model_validate({"on": text}).on is on


@pytest.mark.parametrize("value", ["maybe", 1, None])
def test_a_switch_is_nothing_else(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"sample\.on"):
        Sample(on=value)  # type: ignore[arg-type]


def test_true_is_not_a_number() -> None:
    with pytest.raises(ConfigurationError, match=r"sample\.count = True: must be a number, not true or false"):
        Sample(count=True)


def test_a_wrong_value_is_named_with_field_value_and_rule() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sample(count=0)
    assert str(caught.value) == "sample.count = 0: must be greater than or equal to 1"
    assert caught.value.field == "sample.count"


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sample(count=0, name="/")
    assert [problem.field for problem in caught.value.problems] == ["sample.count", "sample.name"]
    assert str(caught.value).startswith("2 settings are wrong:\n  - sample.count")


def test_an_unknown_name_gets_a_suggestion_and_its_value_stays_unsaid() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sample(secert="hunter2")  # type: ignore[call-arg]
    assert str(caught.value) == "sample.secert: unknown setting; did you mean 'secret'?"


def test_a_secret_of_the_wrong_kind_is_not_shown_nor_carried_along() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sample(secret=["hunter2"])  # type: ignore[arg-type]
    error = caught.value
    assert error.field == "sample.secret"
    assert "hunter2" not in f"{error} {error!r} {error.problems} {error.__dict__}"
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("user", ["root:hunter2", "hunter2", "root:a hunter2", "root:a'hunter2", "root:hunter2@x"])
def test_user_and_password_of_an_address_are_not_shown(user: str) -> None:
    class Picky(Options):
        address: KeySegment = "a"

    with pytest.raises(ConfigurationError) as caught:
        Picky(address=f"http://{user}@db:2379")
    assert "hunter2" not in str(caught.value)
    assert "db:2379" in str(caught.value)


def test_a_long_value_is_cut_short_and_stays_on_one_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sample(name="x\n" * 5000)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_a_rule_between_fields_names_the_field_to_change() -> None:
    class Ordered(Options):
        section: ClassVar[str] = "ordered"
        low: int = 0

        def model_post_init(self, context: object, /) -> None:
            if self.low > 5:
                raise FieldError("low", "must be at most 5")

    with pytest.raises(ConfigurationError, match=r"^ordered\.low: must be at most 5$"):
        Ordered(low=6)


def test_a_refusal_can_be_sent_to_another_process() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sample(count=0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.problems == caught.value.problems


def test_options_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Sample().count = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1, "1KiB"), (4095 * 1024 + 1, "4MiB"), (5 * 1024**2 + 1, "6MiB"), (2**30, "1GiB")]
)
def test_a_measured_size_is_told_about(size: int, text: str) -> None:
    assert format_about(size) == text
