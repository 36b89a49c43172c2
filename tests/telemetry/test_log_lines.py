"""How log entries look, and that nothing in them can forge an entry or steer a terminal."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurp_leader.errors import ConfigurationError
from slurp_leader.telemetry.events import LogEvent, log_event
from slurp_leader.telemetry.logs import ConsoleFormatter, JsonFormatter, configure_logging

NASTY = "a\r\nb\x1b[31m\x9b\u2028\u202e\x00\ud800"


def record(message: str = "election.state", exc_info: Any = None, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("slurp_leader.election", logging.INFO, "f.py", 1, message, None, exc_info)
    made.created = 1_769_860_800.1234
    made.slurp = fields
    return made


def raised(error: Exception) -> Any:
    try:
        raise error
    except Exception:
        return sys.exc_info()


@pytest.fixture
def configured() -> Iterator[Callable[..., None]]:
    """`configure_logging`, undone after the test."""
    undos: list[Callable[[], None]] = []

    def configure(**options: Any) -> None:
        undos.append(configure_logging(**options))

    yield configure
    for undo in reversed(undos):
        undo()


def test_a_line_for_people_has_date_level_logger_event_node_and_fields() -> None:
    line = ConsoleFormatter(node_id="n1").format(record(state="leader", ttl_s=15.0, reason="took over", none=None))
    assert line == (
        "2026-01-31T12:00:00.123Z INFO    slurp_leader.election election.state "
        'node=n1 state=leader ttl_s=15 reason="took over"'
    )


def test_facts_without_a_value_are_for_programs_only() -> None:
    facts: dict[str, Any] = {"token": None, "to": "", "ids": [], "left": 0, "clean": False}
    assert ConsoleFormatter().format(record(**facts)).endswith("election.state left=0 clean=False")
    assert json.loads(JsonFormatter().format(record(**facts)))["fields"] == facts


def test_a_json_entry_has_the_same_by_fixed_names() -> None:
    entry = json.loads(JsonFormatter(node_id="n1").format(record(state="leader", ttl_s=1.5, ids=("a", "b"))))
    assert entry == {
        "ts": "2026-01-31T12:00:00.123Z",
        "level": "info",
        "logger": "slurp_leader.election",
        "event": "election.state",
        "node_id": "n1",
        "fields": {"state": "leader", "ttl_s": 1.5, "ids": ["a", "b"]},
    }


def test_what_is_not_there_is_not_written() -> None:
    assert set(json.loads(JsonFormatter().format(record()))) == {"ts", "level", "logger", "event"}
    assert "node=" not in ConsoleFormatter().format(record())


@pytest.mark.parametrize("formatter", [ConsoleFormatter(NASTY), JsonFormatter(NASTY)])
def test_no_value_can_break_a_line_or_reach_the_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record(f"event {NASTY}", **{"path": NASTY, NASTY: [NASTY], "deep": {"x": {NASTY}}}))
    assert line.isprintable()
    line.encode("utf-8")


def test_a_value_cannot_pretend_to_be_another_field() -> None:
    line = ConsoleFormatter().format(record(path='x state=leader "y"'))
    assert r'path="x state=leader \"y\""' in line


def test_lines_of_an_exception_are_indented_so_that_they_cannot_pass_for_entries() -> None:
    forged = "oops\n2026-01-31T12:00:00.123Z INFO slurp_leader forged\x1b[2J"
    first, *others = ConsoleFormatter().format(record(exc_info=raised(ValueError(forged)))).split("\n")
    assert "election.state" in first
    assert others
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_an_exception_is_one_field_of_the_json_entry() -> None:
    line = JsonFormatter().format(record(exc_info=raised(ValueError("a\nb"))))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: a\nb")


def test_values_that_json_has_not_become_text() -> None:
    deep: dict[str, Any] = {}
    deep["self"] = deep
    entry = JsonFormatter().format(record(nan=float("nan"), inf=float("inf"), path=Path("/x"), deep=deep, none=None))
    fields = json.loads(entry, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["fields"]
    assert (fields["nan"], fields["inf"], fields["path"], fields["none"]) == ("nan", "inf", "/x", None)


def test_entries_of_others_are_written_too() -> None:
    other = logging.LogRecord("slurp_leader.x", logging.WARNING, "f.py", 1, "%s of %d", ("one", 2), None)
    assert "one of 2" in ConsoleFormatter().format(other)
    assert json.loads(JsonFormatter().format(other))["event"] == "one of 2"


def test_the_level_decides_what_is_written(configured: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    configured(level="warning", format="json", node_id="n1")
    logger = logging.getLogger("slurp_leader.jobs")
    log_event(logger, logging.INFO, LogEvent.JOB_ENDED, job_id="a")
    log_event(logger, logging.WARNING, LogEvent.JOB_RETRY, job_id="b")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert json.loads(line)["fields"] == {"job_id": "b"}


def test_the_root_logger_is_left_as_it_is(configured: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    configured(level="debug")
    log_event(logging.getLogger("slurp_leader.jobs"), logging.ERROR, LogEvent.LOOP_FAILED)
    assert (root.handlers, root.level) == before
    assert not caplog.records


def test_undoing_puts_everything_back() -> None:
    logger = logging.getLogger("slurp_leader")
    before = (logger.handlers[:], logger.level, logger.propagate)
    undo = configure_logging(level="debug")
    assert (logger.handlers, logger.level, logger.propagate) != before
    undo()
    assert (logger.handlers, logger.level, logger.propagate) == before


def test_a_log_file_may_be_moved_away_while_it_is_written(configured: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "slurp.log"
    configured(format="json", file=file)
    logger = logging.getLogger("slurp_leader.jobs")
    log_event(logger, logging.INFO, LogEvent.JOB_STARTED, job_id="ä\ud800")
    file.rename(tmp_path / "slurp.log.1")
    log_event(logger, logging.INFO, LogEvent.JOB_ENDED)
    events = [json.loads(name.read_text())["event"] for name in (tmp_path / "slurp.log.1", file)]
    assert events == ["job.started", "job.ended"]


def test_a_log_file_that_cannot_be_opened_is_a_setting_to_correct(tmp_path: Path) -> None:
    logger = logging.getLogger("slurp_leader")
    before = logger.handlers[:]
    with pytest.raises(ConfigurationError, match=r"logs\.file = .*No such file or directory") as caught:
        configure_logging(file=tmp_path / "missing" / "slurp.log")
    assert caught.value.field == "logs.file"
    assert logger.handlers == before


def test_importing_the_library_configures_nothing_and_stays_silent() -> None:
    """In a process of its own: a warning of the library goes nowhere, and the root logger has no handlers."""
    program = """
import logging
from slurp_leader.telemetry.events import LogEvent, log_event
log_event(logging.getLogger("slurp_leader.jobs"), logging.ERROR, LogEvent.LOOP_FAILED)
assert not logging.getLogger().handlers
assert [type(h) for h in logging.getLogger("slurp_leader").handlers] == [logging.NullHandler]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
