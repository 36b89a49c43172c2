"""Group commit: what goes together; what becomes of a refusal, of doubt, of what is too much (PROTOCOL A2, A5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from slurp_leader.errors import (
    Outcome,
    RequestMalformedError,
    RequestTooLargeError,
    StoreBusyError,
    StoreClosedError,
    StoreDeniedError,
    StoreError,
    StoreTimeoutError,
)
from slurp_leader.jobs.commit import CommitLimits, Committer
from slurp_leader.jobs.intent import Intent, Rank, Settlement, Verdict
from slurp_leader.machine import Answer, Call, Calls
from slurp_leader.store import Compare, Delete, Get, GetResult, Put, Txn, version_of
from slurp_leader.store.memory import MemoryState
from support.virtual import VirtualClock

GATE = b"gate"


class OpenGate:
    """Lets through while its key is absent."""

    definite = True
    patient = False

    def __init__(self) -> None:
        self.reads: tuple[Get, ...] = (Get(GATE),)

    def compares(self, intents: Sequence[Intent]) -> tuple[Compare, ...]:
        return (version_of(GATE, 0),)

    def refusal(self, results: Sequence[GetResult]) -> str | None:
        return "fenced" if results[0].kvs else None


class Desk:
    """A committer whose calls wait in `sent` until the test answers them, from a store in memory or otherwise."""

    def __init__(self, **limits: Any) -> None:
        self.state = MemoryState(VirtualClock())
        self.calls = Calls()
        self.gate = OpenGate()
        self.sent: list[Call] = []
        self.now = 100.0
        self.settled: dict[str, Settlement] = {}
        self.committer = Committer(self.calls, self.sent.append, self.gate, CommitLimits(**limits))

    def add(self, name: str, *, key: str = "", rank: Rank = Rank.OUTCOME, size: int = 1, **more: Any) -> Intent:
        """Ask for `key` to be created; `name` is what it is about."""
        target = (key or name).encode()
        value = b"x" * size

        def judge(found: Sequence[GetResult], in_doubt: bool) -> Settlement:
            if not found[0].kvs:
                return Settlement(Verdict.AGAIN)
            ours = found[0].kvs[0].value == value
            return Settlement(Verdict.APPLIED if ours else Verdict.REFUSED, reason="changed")

        intent = Intent(
            name,
            rank,
            (version_of(target, 0),),
            (Put(target, value),),
            lambda settlement, now: self._settle(name, settlement),
            (Get(target),),
            judge,
            **more,
        )
        self.committer.add(intent, self.now)
        return intent

    def _settle(self, name: str, settlement: Settlement) -> None:
        assert name not in self.settled, f"{name} was settled twice"
        self.settled[name] = settlement

    def flush(self) -> list[Call]:
        self.committer.flush(self.now)
        return self.sent

    def keys(self, call: Call) -> list[str]:
        assert isinstance(call.request, Txn)
        return [step.key.decode() for step in call.request.success if not isinstance(step, Txn)]

    def carry_out(self, call: Call) -> Any:
        try:
            return self.state.apply(call.request)
        except StoreError as error:
            return error

    def answer(self, result: Any = None) -> Call:
        """Answer the oldest call: with what the store says, or with `result`. Then flush, as a step does."""
        call = self.sent.pop(0)
        self.calls.settle(Answer(call.call_id, self.carry_out(call) if result is None else result), self.now)
        self.flush()
        return call

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.flush()

    def run(self) -> None:
        """Answer everything until nothing is left."""
        for _ in range(1000):
            if self.sent:
                self.answer()
            elif len(self.committer):
                self.now = max(self.now, self.committer.wake_at)
                self.flush()
            else:
                return
        raise AssertionError("it never ends")

    def verdicts(self) -> dict[str, str]:
        return {name: settlement.verdict.value for name, settlement in self.settled.items()}


# ---------------------------------------------------------------- what goes together, and when


def test_what_comes_in_one_round_goes_in_one_transaction_at_once() -> None:
    desk = Desk()
    for name in "abc":
        desk.add(name)
    assert [desk.keys(call) for call in desk.flush()] == [["a", "b", "c"]]
    desk.answer()
    assert desk.verdicts() == dict.fromkeys("abc", "applied")
    assert len(desk.committer) == 0


def test_while_one_is_under_way_more_are_gathered_until_it_is_time() -> None:
    desk = Desk(delay_s=0.005)
    desk.add("a")
    desk.flush()
    desk.add("b")
    desk.later(0.004)
    assert len(desk.sent) == 1
    assert desk.committer.wake_at == pytest.approx(100.005)
    desk.later(0.002)
    assert [desk.keys(call) for call in desk.sent] == [["a"], ["b"]]


def test_a_full_batch_does_not_wait() -> None:
    desk = Desk(items=3)
    desk.add("a")
    desk.flush()
    for name in "bcd":
        desk.add(name)
    assert [desk.keys(call) for call in desk.flush()] == [["a"], ["b", "c", "d"]]


def test_no_more_are_in_flight_than_allowed_and_nothing_spins_meanwhile() -> None:
    desk = Desk(items=1, in_flight=2)
    for name in "abcd":
        desk.add(name)
    assert len(desk.flush()) == 2
    assert desk.committer.wake_at == float("inf")
    desk.answer()
    assert len(desk.sent) == 2
    desk.run()
    assert len(desk.settled) == 4


def test_outcomes_go_before_claims_before_upkeep_before_progress() -> None:
    desk = Desk(items=1)
    for rank in (Rank.PROGRESS, Rank.UPKEEP, Rank.CLAIM, Rank.OUTCOME):
        desk.add(rank.value, rank=rank)
    desk.flush()
    assert [desk.keys(call) for call in desk.sent] == [["outcome"], ["claim"], ["upkeep"], ["progress"]]


def test_a_batch_stays_within_compares_operations_and_bytes() -> None:
    desk = Desk(items=1000, size=10_000)
    for n in range(300):
        desk.add(f"k{n}", size=20)
    for call in desk.flush():
        assert isinstance(call.request, Txn)
        assert len(call.request.compares) <= 128
    big = Desk(items=1000, size=2000)
    for n in range(10):
        big.add(f"k{n}", size=900)
    assert max(len(big.keys(call)) for call in big.flush()) == 1


def test_what_alone_has_no_room_is_tried_alone() -> None:
    desk = Desk(size=100)
    desk.add("huge", size=5000)
    desk.add("small")
    desk.run()
    assert desk.verdicts() == {"huge": "applied", "small": "applied"}


def test_an_intent_that_wants_to_be_alone_is() -> None:
    desk = Desk()
    for name, alone in (("a", False), ("b", True), ("c", False)):
        desk.add(name, alone=alone)
    desk.flush()
    desk.later(1)
    assert sorted(desk.keys(call) for call in desk.sent) == [["a", "c"], ["b"]]


# ---------------------------------------------------------------- subjects


def test_two_intents_with_a_subject_in_common_are_never_in_one_transaction_nor_under_way_together() -> None:
    desk = Desk(delay_s=0)
    desk.add("a", key="first", also=("shared",))
    desk.add("b", key="second", also=("shared",))
    assert [desk.keys(call) for call in desk.flush()] == [["first"]]
    desk.later(10)
    assert len(desk.sent) == 1
    assert desk.committer.wake_at == float("inf")  # it waits for an answer, not for a time
    desk.answer()
    assert [desk.keys(call) for call in desk.sent] == [["second"]]


def test_what_waits_can_be_withdrawn_and_what_is_under_way_cannot() -> None:
    desk = Desk()
    desk.add("a", rank=Rank.PROGRESS)
    desk.flush()
    desk.add("a", key="a2", rank=Rank.PROGRESS)
    desk.add("b", rank=Rank.PROGRESS)
    desk.committer.withdraw(Rank.PROGRESS, "a")
    assert len(desk.committer) == 2
    desk.run()
    assert desk.verdicts() == {"a": "applied", "b": "applied"}


# ---------------------------------------------------------------- refused


def test_one_that_changed_is_told_and_its_neighbours_are_committed() -> None:
    desk = Desk()
    desk.state.apply(Put(b"b", b"somebody else's"))
    for name in "abc":
        desk.add(name)
    desk.flush()
    desk.run()
    assert desk.verdicts() == {"a": "applied", "b": "refused", "c": "applied"}
    assert desk.settled["b"].reason == "changed"


def test_a_refusal_by_the_gate_is_told_to_all_without_a_look() -> None:
    desk = Desk()
    desk.state.apply(Put(GATE, b"shut"))
    for name in "ab":
        desk.add(name)
    desk.flush()
    desk.answer()
    assert {settlement.reason for settlement in desk.settled.values()} == {"fenced"}
    assert desk.sent == []
    assert desk.committer.stats.fenced == 1


def test_a_compare_that_failed_is_not_called_fenced() -> None:
    desk = Desk()
    desk.state.apply(Put(b"a", b"somebody else's"))
    desk.add("a")
    desk.flush()
    desk.run()
    assert desk.settled["a"].reason == "changed"
    assert desk.committer.stats.fenced == 0


def test_a_refusal_with_nobody_at_fault_is_asked_again_after_a_pause_only() -> None:
    """Else the two would be sent to and fro as fast as the store answers."""
    desk = Desk()
    desk.state.apply(Put(b"a", b"in the way"))
    desk.add("a")
    desk.flush()
    desk.answer()  # refused
    desk.state.apply(Delete(b"a"))
    desk.answer()  # the look finds nothing
    assert desk.sent == []
    assert desk.committer.wake_at > desk.now
    desk.run()
    assert desk.verdicts() == {"a": "applied"}


def test_many_probes_are_read_in_as_many_requests_as_it_takes() -> None:
    desk = Desk(items=120)
    desk.state.apply(Put(b"k7", b"somebody else's"))
    for n in range(120):
        intent = desk.add(f"k{n}")
        intent.probes = (intent.probes[0], Get(b"other"))
    desk.flush()
    desk.run()
    assert sum(verdict == "refused" for verdict in desk.verdicts().values()) == 1
    assert len(desk.settled) == 120


def test_a_look_that_failed_begins_anew() -> None:
    desk = Desk()
    desk.state.apply(Put(b"a", b"somebody else's"))
    for name in "ab":
        desk.add(name)
    desk.flush()
    desk.answer()
    desk.answer(StoreTimeoutError())
    desk.run()
    assert desk.verdicts() == {"a": "refused", "b": "applied"}


def test_what_an_earlier_look_had_found_is_not_mixed_with_a_later_one() -> None:
    desk = Desk(items=120)
    desk.state.apply(Put(b"k70", b"somebody else's"))
    for n in range(70):
        intent = desk.add(f"k{n}")
        intent.probes = (intent.probes[0], Get(b"other"))
    desk.add("k70")
    desk.flush()
    desk.answer()  # refused
    desk.answer()  # the first 128 probes
    desk.answer(StoreTimeoutError())  # the rest is lost: all begins anew
    desk.state.apply(Put(b"k0", b"another's"))
    desk.run()
    assert {name for name, verdict in desk.verdicts().items() if verdict == "refused"} == {"k0", "k70"}
    assert len(desk.settled) == 71


# ---------------------------------------------------------------- in doubt


def test_an_unknown_outcome_is_followed_by_the_very_same_request_after_growing_pauses() -> None:
    desk = Desk(in_flight=1)
    desk.add("a")
    first = desk.flush()[0].request
    pauses = []
    for _ in range(7):
        desk.add(f"other {len(pauses)}")
        desk.answer(StoreTimeoutError())
        assert desk.sent == []
        pauses.append(desk.committer.wake_at - desk.now)
        desk.now = desk.committer.wake_at
        assert [call.request for call in desk.flush()] == [first]
    assert pauses[0] < pauses[3] <= pauses[-1] <= 1.001
    assert desk.committer.stats.unknown == 7


def test_what_was_applied_though_its_answer_was_lost_is_told_as_applied_once() -> None:
    desk = Desk()
    for name in "ab":
        desk.add(name)
    call = desk.flush()[0]
    desk.carry_out(call)
    desk.answer(StoreTimeoutError())
    desk.run()
    assert desk.verdicts() == {"a": "applied", "b": "applied"}
    assert desk.state.revision == 2


def test_a_batch_in_doubt_that_meets_a_definite_gate_is_looked_at_before_it_is_called_fenced() -> None:
    desk = Desk()
    desk.add("a")
    call = desk.flush()[0]
    desk.carry_out(call)
    desk.answer(StoreTimeoutError())
    desk.state.apply(Put(GATE, b"shut"))
    desk.run()
    assert desk.verdicts() == {"a": "applied"}


def test_a_batch_in_doubt_waits_for_a_gate_that_may_open_again() -> None:
    desk = Desk()
    desk.gate.definite = False
    desk.add("a")
    desk.flush()
    desk.answer(StoreTimeoutError())
    desk.state.apply(Put(GATE, b"shut"))
    for _ in range(5):
        desk.now = desk.committer.wake_at
        desk.flush()
        desk.answer()  # refused by the gate
        desk.answer()  # nothing there
    assert desk.settled == {}
    desk.state.apply(Delete(GATE))
    desk.run()
    assert desk.verdicts() == {"a": "applied"}


# ---------------------------------------------------------------- how long one attempt takes


def test_who_waited_in_vain_sends_the_same_again_long_before_the_deadline_and_at_once() -> None:
    """A follower of etcd that lost its leader says nothing to a write, before it and after the next one is there."""
    desk = Desk(rpc_timeout_s=5)
    desk.add("a")
    first = desk.flush()[0]
    assert first.timeout_s <= 0.5
    desk.now += first.timeout_s
    desk.answer(StoreTimeoutError())
    desk.later(0)
    assert [call.request for call in desk.sent] == [first.request]


def test_attempts_grow_with_what_they_waited_for_up_to_the_deadline() -> None:
    desk = Desk(rpc_timeout_s=5)
    desk.add("a")
    attempts = []
    desk.flush()
    for _ in range(20):
        attempts.append(desk.sent[0].timeout_s)
        desk.now += attempts[-1]
        desk.answer(StoreTimeoutError())
        desk.later(0)
    assert attempts == sorted(attempts)
    assert sum(attempts[:5]) <= 3
    assert attempts[-1] == 5
    desk.run()
    assert desk.verdicts() == {"a": "applied"}


def test_a_store_that_is_slow_is_not_given_everything_twice() -> None:
    desk = Desk(rpc_timeout_s=5)
    for name in "ab":
        desk.add(name)
        attempt_s = desk.flush()[0].timeout_s
        desk.now += 2
        desk.answer()
    assert attempt_s == 5
    for n in range(50):
        desk.add(f"quick {n}")
        attempt_s = desk.flush()[0].timeout_s
        desk.answer()
    assert attempt_s <= 0.5


def test_what_was_not_sent_in_time_is_sent_in_the_next_attempt() -> None:
    """A login may take longer than an attempt: that refuses no job."""
    desk = Desk()
    desk.add("a")
    desk.flush()
    desk.answer(StoreTimeoutError(outcome=Outcome.NOT_APPLIED))
    assert desk.settled == {}
    desk.run()
    assert desk.verdicts() == {"a": "applied"}


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("error", [RequestTooLargeError(), RequestMalformedError()])
def test_a_refusal_for_size_or_form_is_halved_down_to_the_one_at_fault(error: StoreError) -> None:
    desk = Desk()
    for n in range(9):
        desk.add(f"k{n}")
    desk.flush()
    while desk.sent:
        desk.answer(error if "k5" in desk.keys(desk.sent[0]) else None)
    assert desk.verdicts().pop("k5") == "refused"
    assert desk.settled["k5"].error is error
    assert sum(verdict == "applied" for verdict in desk.verdicts().values()) == 8
    assert len(desk.committer) == 0


@pytest.mark.parametrize("error", [RequestTooLargeError(), RequestMalformedError()])
def test_a_refusal_for_size_or_form_is_definite_even_in_doubt(error: StoreError) -> None:
    desk = Desk()
    desk.add("a")
    desk.flush()
    desk.answer(StoreTimeoutError())
    desk.later(1)
    desk.answer(error)
    assert desk.verdicts() == {"a": "refused"}


def test_a_busy_store_is_asked_again() -> None:
    desk = Desk()
    desk.add("a")
    desk.flush()
    desk.answer(StoreBusyError())
    desk.run()
    assert desk.verdicts() == {"a": "applied"}


def test_a_denial_is_told_where_somebody_waits_and_endured_where_nobody_does() -> None:
    hasty, patient = Desk(), Desk()
    patient.gate.patient = True
    for desk in (hasty, patient):
        desk.add("a")
        desk.flush()
        desk.answer(StoreDeniedError())
    assert hasty.verdicts() == {"a": "refused"}
    assert patient.settled == {}
    patient.run()
    assert patient.verdicts() == {"a": "applied"}


def test_a_closed_store_leaves_those_who_wait_with_an_unknown_outcome() -> None:
    desk = Desk()
    desk.add("a")
    desk.flush()
    desk.answer(StoreClosedError())
    assert desk.verdicts() == {"a": "unknown"}


def test_whoever_is_told_may_ask_for_the_next_thing_about_the_same_subject() -> None:
    desk = Desk()
    intent = desk.add("a")
    intent.settled = lambda settlement, now: desk.add("a", key="a2") and None
    desk.flush()
    desk.answer()
    assert [desk.keys(call) for call in desk.sent] == [["a2"]]


def test_batches_are_counted_for_whoever_measures() -> None:
    desk = Desk()
    for name in "abc":
        desk.add(name, items=2)
    desk.flush()
    desk.now += 0.5
    desk.answer()
    stats = desk.committer.stats
    assert (stats.batches, stats.items, stats.sizes, stats.durations_s) == (1, 6, [6], [0.5])
    stats.clear()
    assert (stats.batches, stats.sizes) == (0, [])
