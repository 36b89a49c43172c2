"""Checks as they run: threads, exceptions, and functions that never return."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from slurp_leader import LeaderElection, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.errors import ConfigurationError
from slurp_leader.health import HealthChecks, HealthOptions
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, Recorder
from support.waiting import until

OPTIONS = HealthOptions(interval=0.05, timeout=0.1, failure_threshold=2)


@pytest.fixture
def told() -> Recorder[str]:
    return Recorder()


@pytest.fixture
def checks(told: Recorder[str]) -> Any:
    made = HealthChecks(OPTIONS, SystemClock(), told)
    made.start()
    yield made
    made.stop()


def test_a_check_that_fails_often_enough_makes_unfit_and_one_success_makes_fit_again(
    checks: HealthChecks, told: Recorder[str]
) -> None:
    is_well = threading.Event()
    answers: list[bool] = []

    def check() -> bool:
        answers.append(is_well.is_set())
        return is_well.is_set()

    checks.add("disk", check)
    assert told.next() == "health checks fail: disk"
    assert answers.count(False) >= 2
    assert list(checks.failing) == ["disk"]
    is_well.set()
    assert told.next() == ""
    assert checks.failing == {}


@pytest.mark.parametrize("kind", ["raises", "exits", "async", "hangs"])
def test_every_way_to_fail_is_a_failure(checks: HealthChecks, told: Recorder[str], kind: str) -> None:
    forever = threading.Event()

    def exits() -> None:
        raise SystemExit

    async def later() -> None:
        await asyncio.sleep(0)
        raise OSError("no route")

    checks.add("it", {"raises": lambda: 1 / 0, "exits": exits, "async": later, "hangs": forever.wait}[kind])
    assert told.next() == "health checks fail: it"
    assert checks.failing["it"][0]
    forever.set()


def test_a_check_that_hangs_is_not_started_twice_and_holds_up_no_other(
    checks: HealthChecks, told: Recorder[str]
) -> None:
    let_go, starts = threading.Event(), Recorder[str]()
    others: Recorder[str] = Recorder()

    def hang() -> None:
        starts("start")
        let_go.wait(PATIENCE_S)

    checks.add("hanging", hang)
    checks.add("other", lambda: others("ran"))
    assert told.next() == "health checks fail: hanging"
    for _ in range(3):
        others.next()
    assert starts.next() == "start"
    assert starts.is_empty()
    let_go.set()
    assert starts.next() == "start"


def test_what_a_check_says_before_anybody_waits_for_it_is_told_at_once(told: Recorder[str]) -> None:
    """The thread tells what it knows between beginning a check and waiting for it; a quick one ends meanwhile."""
    patient = HealthOptions(interval=3600, timeout=3600, failure_threshold=1)
    checks, ended = HealthChecks(patient, SystemClock(), told), threading.Event()
    tell, check = checks._tell, checks._check

    def tell_and_dawdle() -> None:
        tell()
        assert ended.wait(PATIENCE_S)

    def check_and_say(*begun: Any) -> None:
        check(*begun)
        ended.set()

    checks._tell, checks._check = tell_and_dawdle, check_and_say  # type: ignore[method-assign]
    checks.add("disk", lambda: False)
    checks.start()
    assert told.next() == "health checks fail: disk"
    checks.stop()


def test_a_check_that_still_fails_after_a_new_start_is_told_again(told: Recorder[str]) -> None:
    """Whoever listens then is another election, which knows nothing of it."""
    may_answer = threading.Event()
    may_answer.set()
    checks = HealthChecks(HealthOptions(interval=3600, failure_threshold=1), SystemClock(), told)
    checks.add("disk", lambda: not may_answer.wait(PATIENCE_S))
    checks.start()
    assert told.next() == "health checks fail: disk"
    checks.stop()
    may_answer.clear()  # it is known to fail before it is asked again
    checks.start()
    try:
        assert told.next() == "health checks fail: disk"
    finally:
        may_answer.set()
        checks.stop()


def test_what_is_not_critical_is_only_shown(checks: HealthChecks, told: Recorder[str]) -> None:
    seen: Recorder[int] = Recorder()
    numbers = iter(range(1000))

    def fail() -> bool:
        seen(next(numbers))
        return False

    checks.add("cache", fail, critical=False)
    seen.until(lambda number: number >= 4)
    assert "cache" in checks.failing
    assert told.is_empty()


@pytest.mark.parametrize("times", [(0, 1), (1, 0), (-1, 1)])
def test_times_that_make_no_sense_are_refused(checks: HealthChecks, times: tuple[float, float]) -> None:
    with pytest.raises(ConfigurationError, match="more than 0"):
        checks.add("disk", bool, *times)


def test_a_name_is_taken_once(checks: HealthChecks) -> None:
    checks.add("disk", lambda: None)
    with pytest.raises(ConfigurationError, match="already"):
        checks.add("disk", lambda: None)


def test_what_cannot_be_called_is_no_check(checks: HealthChecks) -> None:
    answer: Any = True
    with pytest.raises(ConfigurationError, match="'disk': True cannot be called"):
        checks.add("disk", answer)


def test_an_election_shows_what_fails_and_leads_all_the_same_when_alone() -> None:
    with MemoryStore(SystemClock()) as store:
        settings = SlurpSettings(health={"interval": 0.05, "failure_threshold": 1})
        election = LeaderElection("checked", settings, stores=lambda: store)

        def problem() -> dict[str, Any] | None:
            return next((each for each in election.health()["problems"] if each["what"] == "health_check"), None)

        election.add_health_check("disk", lambda: False)
        with election:
            found = until(problem)
            assert election.wait_for_leadership(PATIENCE_S)
            assert found is not None
            assert "'disk'" in found["message"]
            assert found["fix"]
