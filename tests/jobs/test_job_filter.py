"""Which jobs a filter takes: a conjunction of conditions, over any report whatever stands in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.errors import RequestInvalidError
from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.job_filter import ENDED, LIVE, JobFilter, project_of, role_of
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.reports import JobReport
from slurp_leader.jobs.request import Priority

NOW = datetime(2026, 1, 8, tzinfo=UTC)
NAMES = st.sampled_from(["", "a", "b", "developer"])
NO_LATER = ["2026-01-01T00:00:00.000Z", "2026-01-07T23:59:59.999Z", "2026-01-08T00:00:00.000Z"]
DATES = st.sampled_from(["", *NO_LATER, "2026-01-08T00:00:00.001Z", "zzz"])
ADDRESSES = st.sampled_from(["ucxl://any:any@a:any/*^/x", "ucxl://any:any@b:any/*^/x", "ucxl://", "", 7, None])

REPORTS = st.builds(
    JobReport,
    id=st.just(LOWEST),
    status=st.sampled_from(JobStatus),
    priority=st.sampled_from([*(each.value for each in Priority), ""]),
    submitted_by=NAMES,
    submitted_at=DATES,
    finished_at=DATES | st.none(),
    error=st.none() | st.fixed_dictionaries({"code": NAMES | st.integers()}),
    request=st.none()
    | st.fixed_dictionaries({}, optional={"role": NAMES | st.integers(), "address": ADDRESSES, "project": NAMES}),
)
TEXTS = st.none() | st.sampled_from(["a", "b", "developer"])
FILTERS = st.builds(
    JobFilter,
    status=st.frozensets(st.sampled_from(JobStatus)),
    priority=st.none() | st.sampled_from(Priority),
    role=TEXTS,
    project=TEXTS,
    submitted_by=TEXTS,
    code=TEXTS,
    before=st.none() | st.just("2026-01-08T00:00:00.000Z"),
)
FIELDS = ("status", "priority", "role", "project", "submitted_by", "code", "before")


def alone(wanted: JobFilter, name: str) -> JobFilter:
    """The filter with only one of its conditions."""
    return JobFilter(**{name: getattr(wanted, name)})


@given(FILTERS, REPORTS)
def test_a_filter_takes_what_each_of_its_conditions_takes_alone(wanted: JobFilter, report: JobReport) -> None:
    assert wanted.matches(report) == all(alone(wanted, name).matches(report) for name in FIELDS)


@given(REPORTS)
def test_no_condition_takes_everything(report: JobReport) -> None:
    assert JobFilter().matches(report)
    assert JobFilter().is_empty


@given(FILTERS, REPORTS)
def test_each_condition_says_what_it_says(wanted: JobFilter, report: JobReport) -> None:
    told: dict[str, Any] = {
        "priority": next((each for each in Priority if each.value == report.priority), None),
        "role": role_of(report),
        "project": project_of(report),
        "submitted_by": report.submitted_by,
        "code": (report.error or {}).get("code"),
    }
    for name, value in told.items():
        asked = getattr(wanted, name)
        assert alone(wanted, name).matches(report) == (asked is None or asked == value)
    assert alone(wanted, "status").matches(report) == (not wanted.status or report.status in wanted.status)
    date = report.finished_at or report.submitted_at
    assert alone(wanted, "before").matches(report) == (wanted.before is None or date in NO_LATER)


@given(FILTERS, REPORTS)
def test_what_it_takes_is_among_what_it_wants_to_have_read(wanted: JobFilter, report: JobReport) -> None:
    """Of two kinds of records only those are read that may hold something."""
    if wanted.matches(report) and report.status in LIVE and report.error is None:
        assert wanted.wants_live
    if wanted.matches(report) and report.status in ENDED:
        assert wanted.wants_ended


@given(FILTERS, st.frozensets(st.sampled_from(JobStatus)), REPORTS)
def test_narrowed_it_takes_what_it_took_of_these(
    wanted: JobFilter, statuses: frozenset[JobStatus], report: JobReport
) -> None:
    narrowed = wanted.narrowed_to(statuses)
    assert (narrowed is not None and narrowed.matches(report)) == (wanted.matches(report) and report.status in statuses)


# ---------------------------------------------------------------- as it is written


def test_conditions_are_read_as_people_write_them() -> None:
    wanted = JobFilter.of(NOW, "failed", priority=5, role="developer", older_than=timedelta(days=1))
    assert wanted == JobFilter(
        frozenset({JobStatus.FAILED}), Priority.CRITICAL, "developer", before="2026-01-07T00:00:00.000Z"
    )
    assert JobFilter.of(NOW, [JobStatus.FAILED, "pending"]).status == {JobStatus.FAILED, JobStatus.PENDING}
    assert JobFilter.of(NOW, older_than=0).before == "2026-01-08T00:00:00.000Z"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"status": "dead"}, "status"),
        ({"priority": 9}, "priority"),
        ({"older_than": -1}, "older_than"),
        ({"older_than": True}, "older_than"),
        ({"older_than": "1d"}, "older_than"),
        ({"older_than": float("nan")}, "older_than"),
        ({"older_than": 1e18}, "older_than"),
        ({"role": ""}, "role"),
        ({"role": 7}, "role"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_condition_that_makes_no_sense_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestInvalidError) as caught:
        JobFilter.of(NOW, **given)
    assert caught.value.field == field


def test_the_project_is_the_one_of_the_address() -> None:
    def report(**request: Any) -> JobReport:
        return JobReport(LOWEST, JobStatus.PENDING, request=request)

    assert project_of(report(address="ucxl://any:any@shop:any/*^/x")) == "shop"
    assert project_of(report(address="nonsense")) is None
    assert project_of(report()) is None
    assert project_of(JobReport(LOWEST, JobStatus.PARKED)) is None
