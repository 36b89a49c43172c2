"""A generator that fails, is left alone, is put right, and goes on; as a program sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.clock import SystemClock, parse_utc
from slurp_leader.errors import CircuitOpenError
from slurp_leader.jobs.breaker import Hold
from slurp_leader.resilience import BreakerOptions, CircuitBreaker
from slurp_leader.system.condition import Facts, health_of
from slurp_leader.telemetry.metrics import CIRCUIT_TRANSITIONS, Instrument, NoMetrics

MakeSystem = Callable[..., SlurpLeaderSystem]
WAIT_S = 30.0
JOBS = 20


class Transitions(NoMetrics):
    """Calls what is registered when a circuit changes its state: before any job that is claimed because of it runs."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.on: dict[str, Callable[[], None]] = {}

    def add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        if instrument is CIRCUIT_TRANSITIONS:
            self.seen.append(attributes["state"])
            self.on.get(attributes["state"], lambda: None)()


def test_jobs_wait_while_their_generator_fails_and_all_complete_when_it_is_healed(shared: Any) -> None:
    transitions, healed = Transitions(), threading.Event()
    failures: list[str] = []
    seen: dict[str, Any] = {}

    def generate(request: Any, job: Any) -> dict[str, str]:
        if not healed.is_set():
            failures.append(request.file_path)
            raise OSError("the model does not answer")
        return {"path": request.file_path}

    def opened() -> None:
        seen["failures"] = len(failures)
        seen["status"], seen["health"] = system.status(), system.health()
        seen["heartbeat"] = system._running_node()._facts()

    def half_open() -> None:
        seen["failures while it was open"] = len(failures) - seen["failures"]
        healed.set()

    transitions.on = {"open": opened, "half_open": half_open}
    settings = SlurpSettings(
        election={"lease_ttl": 3},
        jobs={"workers": 1, "max_attempts": 50, "backoff_base": 0.01, "backoff_cap": 0.02},
        breaker={"minimum_calls": 6, "open_base": 2, "open_jitter": 0},
    )
    system = SlurpLeaderSystem(settings, generator=generate, stores=shared, metrics=transitions)
    with system:
        handles = [system.submit(f"{number}.py") for number in range(JOBS)]
        outcomes = [handle.outcome(WAIT_S) for handle in handles]
        seen["status at the end"], seen["health at the end"] = system.status(), system.health()

    assert [outcome.status for outcome in outcomes] == ["completed"] * JOBS
    assert transitions.seen == ["open", "half_open", "closed"]
    assert seen["failures"] == len(failures) == 6
    assert seen["failures while it was open"] == 0
    assert sum(outcome.attempts for outcome in outcomes) == JOBS + 6
    hold = seen["status"]["queue"]["hold"]
    assert hold["reason"] == "circuit_open"
    assert parse_utc(hold["until"])
    assert seen["heartbeat"]["hold"]["reason"] == "circuit_open"
    (problem,) = seen["health"]["problems"]
    assert problem["what"] == "generator_fails"
    assert "OSError: the model does not answer" in problem["message"]
    assert seen["status at the end"]["queue"]["hold"] is None
    assert seen["health at the end"]["healthy"]


def test_a_breaker_inside_a_generator_puts_jobs_back_without_an_attempt(make_system: MakeSystem) -> None:
    options = BreakerOptions(minimum_calls=2, open_base=0.2, open_jitter=0)
    breaker, fails = CircuitBreaker("model", options), 2

    def ask() -> str:
        nonlocal fails
        if fails:
            fails -= 1
            raise OSError("no answer")
        return "fine"

    refused: list[CircuitOpenError] = []

    async def generate(request: Any, job: Any) -> dict[str, str]:
        try:
            with breaker.guard():
                return {"answer": ask()}
        except CircuitOpenError as error:
            refused.append(error)
            raise

    system = make_system(generate, jobs={"workers": 1, "max_attempts": 3}, breaker={"enabled": False})
    handles = [system.submit(f"{number}.py") for number in range(JOBS)]
    outcomes = [handle.outcome(WAIT_S) for handle in handles]
    assert [outcome.status for outcome in outcomes] == ["completed"] * JOBS
    assert refused
    assert sum(outcome.attempts for outcome in outcomes) == JOBS + 2


def test_a_probe_under_way_is_told_as_such() -> None:
    clock = SystemClock()
    hold = Hold("circuit_half_open", clock.boottime() + 60, "")
    health = health_of(Facts("a", "reports", hold=hold), clock)
    assert (health["live"], health["ready"], health["healthy"]) == (True, True, False)
    (problem,) = health["problems"]
    assert "one is tried now" in problem["message"]
