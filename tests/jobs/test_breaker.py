"""The breaker of the generator: while it is open jobs wait and cost nothing, and one job at a time finds out."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from jobs.rig import INTERRUPTED, KEYS, LIMITS, RAISED, RETURNED, Node, Rig, options, puts
from slurp_leader.errors import RequestTooLargeError
from slurp_leader.jobs.decisions import GoOn, RunEnd, RunReport, after_run, error_of
from slurp_leader.jobs.records import JobLimits, JobState, JobStatus, Spec
from slurp_leader.jobs.request import Priority
from slurp_leader.jobs.scheduler import StartRun
from slurp_leader.resilience import BreakerOptions, CircuitChange
from slurp_leader.store import Put
from support.virtual import failed, late

OPEN_S = 20.0
BREAKER = BreakerOptions(minimum_calls=4, open_base=OPEN_S, open_cap=80, open_jitter=0, probe_timeout=15)
PATIENT = replace(LIMITS, max_attempts=9, backoff_base_s=0.5, backoff_cap_s=0.5)
REFUSED = RunReport(RunEnd.REFUSED, error=error_of("circuit_open", "not now"), retry_after_s=3.0)
CACHED = replace(RETURNED, cached=True)
TERMINAL = RunReport(RunEnd.TERMINAL, error=error_of("terminal", "no use"))


class Works:
    """A generator that fails until it is healed. Counts the runs."""

    def __init__(self, report: RunReport = RAISED) -> None:
        self.report = report
        self.runs: list[StartRun] = []

    def __call__(self, start: StartRun) -> RunReport:
        self.runs.append(start)
        return self.report

    def heal(self) -> None:
        self.report = RETURNED


class BrokenRig(Rig):
    """A leader whose generator fails."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.works = Works()
        self.node.lead()
        self.node.body = self.works

    def submit(self, count: int) -> list[str]:
        return [self.client.submit(limits=PATIENT) for _ in range(count)]

    @property
    def states(self) -> list[str]:
        return [said.state.value for said in self.node.said if isinstance(said, CircuitChange)]

    def hold(self) -> tuple[str, float] | None:
        """The reason, and for how long."""
        now = self.node.host.clock.boottime()
        hold = self.node.scheduler.hold(now)
        return None if hold is None else (hold.reason, hold.until - now)

    def run_until_open(self) -> None:
        self.world.run_until(lambda: self.states[-1:] == ["open"])

    def opened(self) -> list[str]:
        """Jobs that failed until it opened; what was under way has come to its end."""
        jobs = self.submit(30)
        self.run_until_open()
        self.settle(1)
        return jobs

    def attempts(self, jobs: list[str]) -> int:
        return sum(state.attempts for job_id in jobs if (state := self.state(job_id)) is not None)


@pytest.fixture
def rig() -> BrokenRig:
    return BrokenRig(breaker=BREAKER)


# ---------------------------------------------------------------- open


def test_a_generator_that_keeps_failing_is_left_alone_and_jobs_wait_without_an_attempt(rig: BrokenRig) -> None:
    jobs = rig.opened()
    runs, attempts = len(rig.works.runs), rig.attempts(jobs)
    assert 4 <= runs == attempts < 10
    reason, wait_s = rig.hold() or ("", 0)
    assert (reason, wait_s) == ("circuit_open", pytest.approx(OPEN_S - 1, abs=0.5))
    rig.settle(wait_s - 0.1)
    assert len(rig.works.runs) == runs
    assert rig.attempts(jobs) == attempts
    assert rig.keys(KEYS.run) == []
    assert rig.states == ["open"]


def test_the_queue_wakes_up_by_itself_and_the_probe_brings_it_back(rig: BrokenRig) -> None:
    jobs = rig.submit(30)
    rig.run_until_open()
    rig.works.heal()
    ends_at = rig.world.clock.now + OPEN_S
    rig.world.run_until(lambda: rig.states[-1] == "half_open")
    assert abs(rig.world.clock.now - ends_at) < 0.1
    for job_id in jobs:
        assert rig.wait_for(job_id).status is JobStatus.COMPLETED
    assert rig.states == ["open", "half_open", "closed"]
    assert rig.hold() is None


def test_a_job_that_comes_in_while_it_is_open_waits_as_well(rig: BrokenRig) -> None:
    rig.submit(4)
    rig.run_until_open()
    late_job = rig.client.submit(limits=PATIENT, priority=Priority.CRITICAL)
    rig.settle(OPEN_S / 2)
    assert rig.node.runs_of(late_job) == []
    rig.works.heal()
    assert rig.wait_for(late_job).attempts == 1


def test_a_leader_that_is_asked_nothing_any_more_stays_quiet(rig: BrokenRig) -> None:
    """The open time ends, and nobody is there to be the probe: no loop, and no hold."""
    rig.client.submit(limits=replace(PATIENT, max_attempts=4))
    rig.run_until_open()
    rig.settle(100)
    assert rig.hold() is None
    rig.works.heal()
    assert rig.wait_for(rig.client.submit()).status is JobStatus.COMPLETED
    assert rig.states == ["open", "half_open", "closed"]


def test_one_that_is_switched_off_lets_every_job_fail() -> None:
    rig = BrokenRig(breaker=BreakerOptions(enabled=False))
    jobs = rig.submit(10)
    assert {rig.wait_for(job_id).status for job_id in jobs} == {JobStatus.FAILED}
    assert rig.states == []


# ---------------------------------------------------------------- batches

ONCE = replace(LIMITS, max_attempts=1, timeout_s=5.0)


def batch(rig: Rig, call: int, count: int = 6, limits: JobLimits = ONCE) -> list[StartRun]:
    """So many runs that have begun in one call of the generator."""
    runs = [rig.wait_for_run(rig.client.submit(limits=limits)) for _ in range(count)]
    for run in runs:
        rig.node.started(run, call)
    return runs


@pytest.fixture
def batches() -> BrokenRig:
    rig = BrokenRig(jobs=options(workers=6), breaker=BREAKER)
    rig.node.body = None
    return rig


def test_a_call_that_fails_counts_once_however_many_jobs_were_in_it(batches: BrokenRig) -> None:
    rig = batches
    for call in range(1, 5):
        assert rig.states == []
        for run in batch(rig, call):
            rig.node.end(run, RAISED)
        rig.settle()
    assert rig.states == ["open"]


def test_a_call_of_which_one_job_succeeded_has_succeeded_and_is_one_call(batches: BrokenRig) -> None:
    rig = batches
    for call in range(1, 3):
        for run, report in zip(batch(rig, call), (RAISED, TERMINAL, RETURNED, RAISED, RAISED, RAISED), strict=True):
            rig.node.end(run, report)
    rig.settle()
    window = rig.node.scheduler._site.breaker.circuit.window
    assert (window.calls, window.failures) == (2, 0)


def test_a_call_that_runs_out_of_time_counts_once_though_nothing_comes_back(batches: BrokenRig) -> None:
    rig = batches
    for run in batch(rig, 1):
        assert rig.wait_for(run.job.job_id).status is JobStatus.FAILED
    window = rig.node.scheduler._site.breaker.circuit.window
    assert (window.calls, window.failures) == (1, 1)


@pytest.mark.parametrize("report", [TERMINAL, INTERRUPTED], ids=["terminal", "interrupted"])
def test_a_call_that_says_nothing_counts_not_at_all(batches: BrokenRig, report: RunReport) -> None:
    rig = batches
    for run in batch(rig, 1, 3):
        rig.node.end(run, report)
    rig.settle()
    assert rig.node.scheduler._site.breaker.circuit.window.calls == 0


def test_a_probe_that_shares_its_call_settles_it_when_that_is_over(batches: BrokenRig) -> None:
    """Its call may have waited for company, and have got some that was claimed before the circuit opened."""
    rig = batches
    *failing, company = (run for call in range(5) for run in batch(rig, 10 + call, 1, replace(ONCE, timeout_s=600.0)))
    for run in failing:
        rig.node.end(run, RAISED)
    rig.run_until_open()
    rig.client.submit(limits=PATIENT)
    before = len(rig.node.runs)
    rig.settle(OPEN_S + 1)
    [probe] = rig.node.runs[before:]
    rig.node.started(probe, 14)
    rig.node.end(probe, RETURNED)
    rig.settle(0.1)
    assert rig.states[-1] == "half_open"
    rig.node.end(company, RAISED)
    rig.settle(0.1)
    assert rig.states[-1] == "closed"


# ---------------------------------------------------------------- half open


def test_half_open_claims_exactly_one_job(rig: BrokenRig) -> None:
    rig.opened()
    rig.node.body = None  # bodies end when the test says so
    before = len(rig.node.runs)
    rig.settle(OPEN_S + 10)
    assert len(rig.node.runs) == before + 1
    assert rig.hold() is not None
    assert rig.states[-1] == "half_open"
    rig.node.do(rig.node.runs[-1])
    rig.settle(1)
    assert rig.states[-1] == "closed"
    assert len(rig.node.runs) > before + 2


def test_a_probe_that_fails_costs_one_attempt_and_opens_it_for_longer(rig: BrokenRig) -> None:
    jobs = rig.opened()
    attempts = rig.attempts(jobs)
    rig.settle(OPEN_S)
    assert rig.states == ["open", "half_open", "open"]
    assert rig.attempts(jobs) == attempts + 1
    assert (rig.hold() or ("", 0))[1] == pytest.approx(2 * OPEN_S, abs=1.5)


@pytest.mark.parametrize("report", [TERMINAL, INTERRUPTED, CACHED], ids=["terminal", "interrupted", "cached"])
def test_a_probe_that_says_nothing_about_the_generator_is_followed_by_the_next(
    rig: BrokenRig, report: RunReport
) -> None:
    rig.opened()
    rig.node.body = None
    before = len(rig.node.runs)
    rig.settle(OPEN_S)
    rig.node.do(rig.node.runs[-1], report)
    rig.settle(1)
    assert len(rig.node.runs) == before + 2
    assert rig.states == ["open", "half_open"]
    rig.node.do(rig.node.runs[-1])
    rig.settle(0.1)
    assert rig.states[-1] == "closed"


def test_a_probe_that_runs_out_of_time_counts_as_failed(rig: BrokenRig) -> None:
    rig.opened()
    rig.node.body = None
    rig.settle(OPEN_S)
    probe = rig.node.runs[-1]
    rig.node.started(probe)
    rig.settle(PATIENT.timeout_s + 1)
    assert rig.node.stops_of(probe) == ["timeout"]
    rig.node.end(probe, INTERRUPTED)  # it did as it was told
    rig.settle(0.1)
    assert rig.states == ["open", "half_open", "open"]


def test_answers_from_the_cache_do_not_hide_that_the_generator_fails(rig: BrokenRig) -> None:
    """Counted as calls they would take eight failures to open it; so it takes four."""
    rig.works.report = CACHED
    for job_id in rig.submit(8):
        assert rig.wait_for(job_id).cached
    rig.works.report = RAISED
    rig.submit(4)
    rig.run_until_open()
    assert rig.states == ["open"]
    assert len(rig.works.runs) < 8 + 8


def test_jobs_that_their_own_deadline_cut_short_do_not_open_it() -> None:
    rig = BrokenRig(jobs=options(workers=8), breaker=BREAKER)
    rig.node.body = None
    jobs = [rig.client.submit(deadline=rig.date(5)) for _ in range(8)]
    rig.settle()
    assert len(rig.node.runs) == 8
    for run in rig.node.runs:
        rig.node.started(run)
    rig.settle(6)
    for run in rig.node.runs:
        assert rig.node.stops_of(run) == ["timeout"]
        rig.node.end(run, INTERRUPTED)
    for job_id in jobs:
        error = rig.wait_for(job_id).error
        assert error is not None
        assert error["code"] == "deadline"
    assert rig.states == []


def test_a_cancelled_probe_is_followed_by_the_next(rig: BrokenRig) -> None:
    rig.opened()
    rig.node.body = None
    rig.settle(OPEN_S)
    probe = rig.node.runs[-1]
    rig.node.started(probe)
    rig.client.cancel(probe.job.job_id)
    rig.settle(0.1)
    rig.node.end(probe, INTERRUPTED)
    rig.settle(1)
    assert rig.node.runs[-1] is not probe
    assert rig.states == ["open", "half_open"]


def test_a_probe_whose_claim_is_refused_is_followed_by_the_next(rig: BrokenRig) -> None:
    rig.opened()
    rig.works.heal()
    rig.world.order(failed(RequestTooLargeError()), puts(KEYS.run), times=1)
    runs = len(rig.works.runs)
    rig.settle(OPEN_S + 1)
    assert len(rig.works.runs) > runs
    assert rig.states == ["open", "half_open", "closed"]


def test_a_suspect_waits_too_and_may_be_the_probe(rig: BrokenRig) -> None:
    jobs = rig.opened()
    state = rig.state(jobs[0])
    assert state is not None
    rig.node.body = None
    rig.world.apply(Put(KEYS.state + jobs[0].encode(), replace(state, crashes=2, run_at=None).to_value()))
    before = len(rig.node.runs)
    rig.settle(OPEN_S / 2)
    assert len(rig.node.runs) == before
    rig.settle(OPEN_S / 2)
    assert rig.node.runs[-1].job.job_id == jobs[0]
    assert len(rig.node.runs) == before + 1
    rig.node.do(rig.node.runs[-1])
    rig.settle(0.1)
    assert rig.states[-1] == "closed"


# ---------------------------------------------------------------- terms


def test_it_outlives_the_term_and_a_probe_of_a_lost_term_is_waited_for_no_more(rig: BrokenRig) -> None:
    rig.opened()
    rig.node.body = None
    runs = len(rig.node.runs)
    rig.node.lose()
    rig.node.lead()
    rig.settle(OPEN_S / 2)
    assert len(rig.node.runs) == runs
    rig.settle(OPEN_S / 2)
    probe = rig.node.runs[-1]
    rig.node.lose()
    rig.node.lead()
    rig.settle(1)
    second = rig.node.runs[-1]
    assert second is not probe
    assert rig.states == ["open", "half_open"]
    rig.node.end(probe, RAISED)  # of the old term: nobody asks any more
    rig.settle(0.1)
    assert rig.states == ["open", "half_open"]
    rig.node.do(second)
    rig.settle(0.1)
    assert rig.states[-1] == "closed"


def test_a_term_that_is_lost_while_the_claim_of_the_probe_is_written_gives_its_place_back(rig: BrokenRig) -> None:
    rig.opened()
    rig.world.order(late(0.9), puts(KEYS.run), times=1)
    rig.world.run_until(lambda: rig.states[-1] == "half_open")
    rig.works.heal()
    rig.node.lose()
    rig.node.lead()
    rig.settle(5)
    assert rig.states == ["open", "half_open", "closed"]


def test_another_leader_begins_with_a_closed_one(rig: BrokenRig) -> None:
    rig.opened()
    other = Node(rig.world, "b", rig.jobs, BREAKER).lead()
    rig.settle(1)
    assert len(other.runs) == rig.jobs.workers


# ---------------------------------------------------------------- refused inside the generator


def test_a_run_that_a_breaker_inside_refused_counts_no_attempt_and_comes_back_in_time(rig: BrokenRig) -> None:
    rig.works.report = REFUSED
    job_id = rig.client.submit(limits=PATIENT)
    first = rig.wait_for_run(job_id)
    rig.settle(2.5)
    state = rig.state(job_id)
    assert state is not None
    assert (state.attempts, state.interruptions, state.crashes, state.errors) == (0, 0, 0, ())
    assert rig.node.runs_of(job_id) == [first]
    rig.works.heal()
    outcome = rig.wait_for(job_id)
    assert (outcome.status, outcome.attempts, outcome.run) == (JobStatus.COMPLETED, 1, 2)


def test_refusals_inside_open_it_so_that_jobs_wait_in_the_queue(rig: BrokenRig) -> None:
    rig.works.report = REFUSED
    jobs = rig.opened()
    assert len(rig.works.runs) < 10
    rig.works.heal()
    outcomes = [rig.wait_for(job_id) for job_id in jobs]
    assert {outcome.status for outcome in outcomes} == {JobStatus.COMPLETED}
    assert {outcome.attempts for outcome in outcomes} == {1}


def test_a_refused_run_never_comes_back_at_once() -> None:
    spec = Spec("j", {}, Priority.NORMAL, replace(LIMITS, max_attempts=1), "2026-01-01T00:00:00.000Z", "me")
    today = datetime(2026, 1, 1, tzinfo=UTC)
    report = RunReport(RunEnd.REFUSED, retry_after_s=0.0)
    decision = after_run(spec, JobState(), 7, report, today, random.Random(1), "op")
    assert isinstance(decision, GoOn)
    assert (decision.state.closed, decision.state.attempts) == (7, 0)
    assert decision.state.run_at == "2026-01-01T00:00:01.000Z"
