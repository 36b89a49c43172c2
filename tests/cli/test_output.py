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


REASONED = (Column("NODE", whole=True), Column("LATE"), Column("SCORE", right=True), Column("WHY", below=True))


def on_a_terminal(
    columns: tuple[Column, ...], rows: list[list[str]], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    Output().table(columns, rows)


def test_a_long_reason_pushes_nothing_out_and_is_written_in_full_below_its_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "the disk of this machine is replaced by somebody who comes at noon"
    on_a_terminal(REASONED, [["node-a", "", "0.50", reason], ["node-b", "", "0.40", "short"]], 40, monkeypatch)
    written = capsys.readouterr()
    lines = written.out.splitlines()
    assert "LATE" not in lines[0]  # empty in all rows
    assert lines[1].startswith("node-a   0.50  the disk of this")
    assert " ".join(line.strip() for line in lines[2:-1]) == reason
    assert lines[-1] == "node-b   0.40  short"
    assert max(map(len, lines[1:])) <= 40
    assert written.err == ""


def test_where_there_is_no_room_for_reasons_at_all_they_stand_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal(REASONED, [["node-a", "", "0.50", "blocked"], ["node-b", "", "0.40", ""]], 14, monkeypatch)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()[1:]] == [
        "node-a   0.50",
        "blocked",
        "node-b   0.40",
    ]
    on_a_terminal(REASONED, [], 14, monkeypatch)


def test_a_column_for_wide_terminals_is_shown_where_all_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_terminal((Column("A"), Column("B", from_width=100)), [["a", "b"]], 60, monkeypatch)
    written = capsys.readouterr()
    assert (written.out.splitlines()[1], written.err) == ("a  b", "")


def test_numbers_are_never_cut_and_go_where_names_are_too_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (Column("NODE", whole=True), Column("UP", from_width=10, right=True), Column("N", right=True))
    on_a_terminal(columns, [["n" * 15, "0.123", "7"]], 20, monkeypatch)
    written = capsys.readouterr()
    assert written.out.splitlines()[1] == "n" * 15 + "  7"
    assert "no room for UP" in written.err


def test_sentences_break_at_words_on_a_terminal_and_nowhere_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "node-a leads since noon,\nin epoch 4: it was elected as the only candidate."
    Output().paragraph(text)
    assert capsys.readouterr().out == text.replace("\n", "\\n") + "\n"
    monkeypatch.setenv("COLUMNS", "30")
    Output(color=Color.ALWAYS).paragraph(text)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 30
    assert " ".join(lines) == text.replace("\n", "\\n")


def test_times_are_short_on_a_terminal_and_as_they_are_elsewhere() -> None:
    at = "2026-11-25T21:13:16.123Z"
    assert Output().time(at) == at
    assert Output(color=Color.ALWAYS).time(at) == "2026-11-25 21:13:16Z"
    assert Output(color=Color.ALWAYS).time("noon") == "noon"


def test_times_in_sentences_are_short_on_a_terminal_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Output(color=Color.ALWAYS).paragraph("node-a leads since 2026-11-25T21:13:16.123Z, in epoch 1.")
    assert capsys.readouterr().out == "node-a leads since 2026-11-25 21:13:16Z, in epoch 1.\n"


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


def test_heads_that_come_from_a_record_are_made_harmless_as_cells_are(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table([Column("\x1b[31mEVIL\nline")], [["cell"]])
    assert capsys.readouterr().out.splitlines() == ["\\x1b[31mEVIL\\nline", "cell"]
