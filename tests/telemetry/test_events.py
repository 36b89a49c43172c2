"""Entries under any configuration of `logging`."""

from __future__ import annotations

import logging

import pytest

from slurp_leader.telemetry.events import LogEvent, log_event


def test_an_entry_says_its_facts_under_any_configuration(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("slurp_leader.jobs")
    log_event(logger, logging.WARNING, LogEvent.JOB_ENDED, job_id="j", error="a\nb", x=None, y=[])

    record = caplog.records[0]
    assert record.getMessage() == "job.ended job_id='j' error='a\\nb'"
    assert (record.slurp_event, record.slurp) == ("job.ended", {"job_id": "j", "error": "a\nb", "x": None, "y": []})  # type: ignore[attr-defined]


def test_an_entry_that_nobody_reads_is_not_written() -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise AssertionError("rendered for nobody")

    logger = logging.getLogger("slurp_leader.nobody")
    logger.setLevel(logging.ERROR)
    log_event(logger, logging.WARNING, LogEvent.JOB_ENDED, value=Unprintable())
