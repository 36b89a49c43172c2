"""The circuit as a function over values: when it opens, what a probe is, and that nothing can wedge it."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from slurp_leader.resilience.circuit import CallEnd, Circuit, CircuitState, Permit, Rules, admit, settle

RULES = Rules(window_s=60, minimum_calls=4, failure_ratio=0.5, open_s=5, longest_open_s=40, jitter=0, lease_s=30)
OK, FAILED, UNCOUNTED = CallEnd.SUCCEEDED, CallEnd.FAILED, CallEnd.UNCOUNTED


class Bench:
    """A circuit, and the time."""

    def __init__(self, rules: Rules = RULES, seed: int = 1) -> None:
        self.rules = rules
        self.circuit = Circuit()
        self.now = 1000.0
        self.rng = random.Random(seed)

    def ask(self) -> Permit | None:
        self.circuit, permit = admit(self.circuit, self.rules, self.now)
        return permit

    def end(self, permit: Permit | None, end: CallEnd, duration_s: float = 0.0) -> None:
        assert permit is not None, "refused"
        self.circuit = settle(self.circuit, self.rules, permit, end, duration_s, self.now, self.rng)

    def calls(self, *ends: CallEnd) -> Bench:
        for end in ends:
            self.end(self.ask(), end)
        return self

    @property
    def state(self) -> CircuitState:
        return self.circuit.state

    @property
    def wait_s(self) -> float:
        return self.circuit.wait_s(self.now)

    def opened(self) -> Bench:
        return self.calls(FAILED, FAILED, FAILED, FAILED)

    def probe(self) -> Permit:
        """Wait until the open time is over, and ask."""
        self.now += self.wait_s
        permit = self.ask()
        assert permit is not None
        assert permit.is_probe
        return permit


# ---------------------------------------------------------------- when it opens


@pytest.mark.parametrize(
    ("ends", "opens"),
    [
        ((FAILED,) * 3, False),
        ((FAILED,) * 4, True),
        ((OK, OK, FAILED, FAILED), True),
        ((FAILED, FAILED, FAILED, OK), True),
        ((OK, OK, OK, FAILED), False),
        ((OK, OK, OK, FAILED, FAILED, FAILED), True),
        ((FAILED, FAILED, UNCOUNTED, UNCOUNTED, UNCOUNTED, FAILED), False),
        ((OK,) * 1000, False),
    ],
)
def test_it_opens_with_enough_calls_of_which_enough_failed(ends: tuple[CallEnd, ...], opens: bool) -> None:
    assert (Bench().calls(*ends).state is CircuitState.OPEN) is opens


def test_a_ratio_that_is_no_binary_fraction_is_met_exactly() -> None:
    bench = Bench(replace(RULES, minimum_calls=100, failure_ratio=0.07))
    assert bench.calls(*([OK] * 93), *([FAILED] * 6)).state is CircuitState.CLOSED
    assert bench.calls(FAILED).state is CircuitState.OPEN


def test_what_is_older_than_the_window_does_not_count() -> None:
    bench = Bench().calls(FAILED, FAILED, FAILED)
    bench.now += 60
    assert bench.calls(FAILED, FAILED, FAILED).state is CircuitState.CLOSED
    assert bench.calls(FAILED).state is CircuitState.OPEN


def test_the_window_slides() -> None:
    """Failures spread over more than one stretch of sixty seconds on the clock are counted together."""
    bench = Bench()
    for _ in range(3):
        bench.calls(FAILED)
        bench.now += 15
    assert bench.calls(FAILED).state is CircuitState.OPEN


def test_memory_does_not_grow_with_the_calls() -> None:
    bench = Bench(replace(RULES, minimum_calls=math.inf))
    for _ in range(5000):
        bench.calls(OK)
        bench.now += 0.1
    assert len(bench.circuit.window.slices) <= 20
    assert 560 <= bench.circuit.window.calls <= 600


def test_a_call_that_took_too_long_counts_as_failed() -> None:
    bench = Bench(replace(RULES, slow_s=2.0))
    for _ in range(4):
        bench.end(bench.ask(), OK, duration_s=2.0)
    assert bench.state is CircuitState.CLOSED
    for _ in range(4):
        bench.end(bench.ask(), OK, duration_s=2.1)
    assert bench.state is CircuitState.OPEN


def test_one_that_never_opens() -> None:
    bench = Bench(replace(RULES, minimum_calls=math.inf))
    assert bench.calls(*([FAILED] * 1000)).state is CircuitState.CLOSED


# ---------------------------------------------------------------- open, and the probe


def test_while_it_is_open_all_are_refused_and_told_for_how_long() -> None:
    bench = Bench().opened()
    assert bench.ask() is None
    assert bench.wait_s == 5
    bench.now += 4.9
    assert bench.ask() is None
    assert bench.wait_s == pytest.approx(0.1)


def test_one_call_is_let_through_when_its_time_is_over_and_no_second() -> None:
    bench = Bench().opened()
    bench.probe()
    assert bench.state is CircuitState.HALF_OPEN
    assert [bench.ask() for _ in range(100)] == [None] * 100
    assert bench.wait_s == 30


def test_a_probe_that_succeeds_closes_it_and_the_past_is_forgotten() -> None:
    bench = Bench().opened()
    bench.end(bench.probe(), OK)
    assert bench.state is CircuitState.CLOSED
    assert bench.calls(FAILED, FAILED, FAILED).state is CircuitState.CLOSED


def test_probes_that_fail_double_the_open_time_up_to_the_cap() -> None:
    bench = Bench().opened()
    waits = []
    for _ in range(6):
        waits.append(bench.wait_s)
        bench.end(bench.probe(), FAILED)
    assert waits == [5, 10, 20, 40, 40, 40]


def test_a_thousand_failed_probes_do_not_overflow() -> None:
    bench = Bench(replace(RULES, longest_open_s=math.inf)).opened()
    for _ in range(1000):
        bench.end(bench.probe(), FAILED)
    assert bench.wait_s == 5 * 2.0**60


def test_one_that_opens_again_soon_stays_open_for_longer() -> None:
    bench = Bench().opened()
    bench.end(bench.probe(), OK)
    bench.now += 59
    assert bench.opened().wait_s == 10


def test_one_that_was_well_for_a_window_begins_with_the_first_open_time() -> None:
    bench = Bench().opened()
    bench.end(bench.probe(), FAILED)
    bench.end(bench.probe(), OK)
    bench.now += 60
    assert bench.opened().wait_s == 5


def test_the_jitter_makes_the_open_time_shorter_never_longer_and_comes_from_the_seed() -> None:
    rules = replace(RULES, jitter=0.2)
    waits = [Bench(rules, seed).opened().wait_s for seed in range(200)]
    assert all(4 <= wait <= 5 for wait in waits)
    assert len(set(waits)) > 100
    assert waits == [Bench(rules, seed).opened().wait_s for seed in range(200)]


# ---------------------------------------------------------------- probes that say nothing, and late calls


def test_a_probe_that_says_nothing_leaves_its_place_to_the_next_one() -> None:
    bench = Bench().opened()
    bench.end(bench.probe(), UNCOUNTED)
    assert bench.state is CircuitState.HALF_OPEN
    second = bench.ask()
    assert second is not None
    assert bench.ask() is None
    bench.end(second, OK)
    assert bench.state is CircuitState.CLOSED


def test_a_probe_that_vanishes_does_not_wedge_it() -> None:
    bench = Bench().opened()
    lost = bench.probe()
    bench.now += 29.9
    assert bench.ask() is None
    bench.now += 0.1
    second = bench.ask()
    assert second is not None
    assert bench.ask() is None
    bench.end(lost, FAILED)  # it was alive after all: nobody waits for it any more
    assert bench.state is CircuitState.HALF_OPEN
    bench.end(second, OK)
    assert bench.state is CircuitState.CLOSED


def test_a_probe_that_is_late_still_counts_while_no_other_is_under_way() -> None:
    bench = Bench().opened()
    late = bench.probe()
    bench.now += 100
    bench.end(late, OK)
    assert bench.state is CircuitState.CLOSED


def test_calls_from_before_it_opened_do_not_count_afterwards() -> None:
    bench = Bench()
    old = [bench.ask() for _ in range(50)]
    bench.opened()
    for permit in old[:10]:
        bench.end(permit, OK)
    assert bench.state is CircuitState.OPEN
    probe = bench.probe()
    for permit in old[10:20]:
        bench.end(permit, OK)
    assert bench.state is CircuitState.HALF_OPEN
    bench.end(probe, OK)
    for permit in old[20:]:
        bench.end(permit, FAILED)
    assert bench.state is CircuitState.CLOSED


# ---------------------------------------------------------------- in any order


class AnyOrder(RuleBasedStateMachine):
    """Calls begin, end in any order, or never; time passes. Beside the circuit stands a model that keeps every call."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.stretch = 0  # counts changes of state, and probes
        self.under_way: list[tuple[Permit, int]] = []  # with the stretch they began in
        self.counted: deque[tuple[float, bool]] = deque()  # calls that ended while it was closed: when, failed
        self.probe: tuple[Permit, int] | None = None  # the newest one
        self.probe_due = math.inf  # until when it holds its lease

    @initialize(calls=st.integers(1, 5), ratio=st.sampled_from([0.01, 0.3, 0.5, 1.0]), jitter=st.sampled_from([0, 0.5]))
    def choose_rules(self, calls: int, ratio: float, jitter: float) -> None:
        self.bench.rules = replace(RULES, minimum_calls=calls, failure_ratio=ratio, jitter=jitter)

    @rule(seconds=st.sampled_from([0.5, 3.0, 29.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.now += seconds

    @rule()
    def time_passes_until_a_call_is_let_through(self) -> None:
        self.bench.now += self.bench.wait_s

    @rule(calls=st.integers(1, 3))
    def calls_begin(self, calls: int) -> None:
        for _ in range(calls):
            self._call()

    @rule(number=st.integers(0, 1000), end=st.sampled_from(CallEnd))
    def a_call_ends(self, number: int, end: CallEnd) -> None:
        if self.under_way:
            self._end(*self.under_way.pop(number % len(self.under_way)), end)

    @rule(end=st.sampled_from(CallEnd))
    def a_lost_probe_ends_after_all(self, end: CallEnd) -> None:
        """It was given up, and the next one is under way."""
        self.bench.now += self.bench.wait_s
        if self._call():
            lost = self.under_way.pop()
            self.bench.now += self.bench.wait_s
            self._call()
            self._end(*lost, end)

    @rule(end=st.sampled_from(CallEnd))
    def the_newest_probe_ends(self, end: CallEnd) -> None:
        """Perhaps once more: the same run may be told of twice."""
        if self.probe is not None:
            self._end(*self.probe, end)

    @rule(calls=st.integers(1, 5), end=st.sampled_from([OK, FAILED]))
    def calls_come_and_go(self, calls: int, end: CallEnd) -> None:
        for _ in range(calls):
            if self._call():
                self._end(*self.under_way.pop(), end)

    def _call(self) -> bool:
        before = self.bench.circuit
        permit = self.bench.ask()
        if permit is None:
            assert before.state is not CircuitState.CLOSED, "refused although it is closed"
            assert self.bench.circuit is before
            assert 0 < self.bench.wait_s <= 40
            if before.state is CircuitState.HALF_OPEN:
                assert self.bench.now < self.probe_due, "refused although no probe is under way"
            return False
        assert permit.is_probe == (before.state is not CircuitState.CLOSED)
        if permit.is_probe:
            assert before.state is CircuitState.OPEN or self.bench.now >= self.probe_due, "two probes at one time"
            assert before.until <= self.bench.now, "a probe before the open time was over"
            self.stretch += 1
            self.probe = permit, self.stretch
            self.probe_due = self.bench.now + self.bench.rules.lease_s
        self.under_way.append((permit, self.stretch))
        return True

    def _end(self, permit: Permit, stretch: int, end: CallEnd) -> None:
        before, is_current = self.bench.circuit, stretch == self.stretch
        self.bench.end(permit, end)
        after = self.bench.circuit
        self.stretch += after.state is not before.state
        if not is_current:
            assert after is before, "a call from before a change of state changed something"
        elif before.state is CircuitState.HALF_OPEN:
            expected = {OK: CircuitState.CLOSED, FAILED: CircuitState.OPEN, UNCOUNTED: CircuitState.HALF_OPEN}
            assert after.state is expected[end]
            self.counted.clear()
            if end is UNCOUNTED:
                self.probe_due = min(self.probe_due, self.bench.now)
        elif end is not UNCOUNTED:
            self.counted.append((self.bench.now, end is FAILED))
            assert (after.state is CircuitState.OPEN) == self._should_open(), "opened, or not, against its rules"

    def _should_open(self) -> bool:
        """By its definition: of the calls in the present slice of the window and the nineteen before it."""
        rules, slice_s = self.bench.rules, self.bench.rules.window_s / 20
        newest = self.bench.now // slice_s
        counted = [failed for at, failed in self.counted if at // slice_s > newest - 20]
        return len(counted) >= rules.minimum_calls and sum(counted) / len(counted) >= rules.failure_ratio

    @invariant()
    def it_is_never_wedged(self) -> None:
        """Whatever became of all others: after the time that it tells, one call is let through, and can close it."""
        bench = self.bench
        circuit, now = bench.circuit, bench.now + bench.wait_s
        probing, permit = admit(circuit, bench.rules, now)
        assert permit is not None
        assert settle(probing, bench.rules, permit, OK, 0.0, now, random.Random(1)).state is not CircuitState.HALF_OPEN

    @invariant()
    def the_sums_are_those_of_the_slices(self) -> None:
        window = self.bench.circuit.window
        assert window.calls == sum(each.calls for each in window.slices)
        assert window.failures == sum(each.failures for each in window.slices)
        assert len(window.slices) <= 20


AnyOrder.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None, derandomize=True)
test_in_any_order = AnyOrder.TestCase
