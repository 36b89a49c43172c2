"""Tables that fit, text that is harmless, JSON that every stream takes."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta

import pytest

from slurp_leader.cli.options import Color
from slurp_leader.cli.output import Column, Output, dump_json, fitted_widths
from slurp_leader.cli.results import format_age, format_seconds

JOB_ID = "01a208d6-957d-7000-8355-cafd07bc6916"
COLUMNS = (
    Column("ID", whole=True),
    Column("STATUS", whole=True),
    Column("FILE", keep_end=True),
    Column("NOTE", from_width=100),
)
ROW = [JOB_ID, "completed", "src/some/where/far/down/in/the/tree/module.py", "a note"]


def printed(width: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "dumb")
    Output(color=Color.AUTO).table(COLUMNS, [ROW])
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_fits_the_terminal_and_never_cuts_an_id(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(width, capsys, monkeypatch).splitlines()
    assert len(lines) == 2
    assert JOB_ID in lines[1]
    plain = [line.replace("\x1b[1m", "").replace("\x1b[0m", "") for line in lines]
    assert max(map(len, plain)) <= width
    assert ("NOTE" in lines[0]) == (width >= 100)
    assert "module.py" in lines[1]


@pytest.mark.parametrize("width", [0, 1, 20])
def test_a_terminal_that_is_too_narrow_still_gets_whole_ids(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert JOB_ID in printed(width, capsys, monkeypatch)


def test_columns_that_found_no_room_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    Output(color=Color.ALWAYS).table(COLUMNS, [ROW])
    assert "no room for NOTE" in capsys.readouterr().err
    Output(color=Color.ALWAYS).table(COLUMNS[:3], [ROW[:3]])
    assert capsys.readouterr().err == ""


def test_what_is_piped_is_never_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(None, capsys, monkeypatch)
    assert ROW[2] in text
    assert "NOTE" in text
    assert "\x1b" not in text


def test_the_widest_columns_give_way_first() -> None:
    assert fitted_widths([Column("A"), Column("B")], [30, 10], 32) == [20, 10]


def test_control_characters_in_data_are_written_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line("a\x1b]0;title\x07b")
    output.fields([("name", "x\ny")])
    output.table([Column("A")], [["\x9b31m"]])
    text = capsys.readouterr().out
    assert not set(text) & {"\x1b", "\x07", "\x9b"}
    assert len(text.splitlines()) == 4


def test_messages_go_to_standard_error_and_quiet_silences_them(capsys: pytest.CaptureFixture[str]) -> None:
    Output().say("hello")
    Output(quiet=True).say("silence")
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "slurp: hello\n")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_json_can_be_written_to_any_stream(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    document = {"name": "Käthe \u2028 \udc80 ☃", "when": timedelta(seconds=1)}
    print(dump_json(document))
    stream.flush()
    read = json.loads(raw.getvalue().decode(encoding))
    assert read == {"name": document["name"], "when": "0:00:01"}


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (5, "5s"), (119, "119s"), (150, "2m"), (8_000, "2h"), (500_000, "5d")]
)
def test_ages_are_short(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


def test_durations_are_short() -> None:
    assert (format_seconds(0.0123), format_seconds(12.34)) == ("12 ms", "12.3 s")
