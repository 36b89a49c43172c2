"""Calls under way and timers that run."""

from __future__ import annotations

from slurp_leader.errors import StoreTimeoutError
from slurp_leader.machine import Answer, Calls, Timers
from slurp_leader.store import Get

REQUEST = Get(b"k")


def test_an_answer_reaches_who_asked_and_only_once() -> None:
    calls = Calls()
    heard: list[tuple[str, object, float]] = []
    first = calls.send(REQUEST, 1.0, lambda result, now: heard.append(("first", result, now)))
    second = calls.send(REQUEST, 1.0, lambda result, now: heard.append(("second", result, now)))
    calls.settle(Answer(second.call_id, "yes"), 5.0)
    calls.settle(Answer(second.call_id, "again"), 6.0)
    error = StoreTimeoutError()
    calls.settle(Answer(first.call_id, error), 7.0)
    assert heard == [("second", "yes", 5.0), ("first", error, 7.0)]
    assert len(calls) == 0


def test_forgotten_calls_are_not_answered() -> None:
    calls = Calls()
    heard: list[object] = []
    call = calls.send(REQUEST, 1.0, lambda result, _: heard.append(result))
    calls.forget()
    calls.settle(Answer(call.call_id, "late"), 1.0)
    assert heard == []


def test_a_number_is_not_used_again_after_forgetting() -> None:
    """Else a late answer would settle a newer call (A29)."""
    calls = Calls()
    before = calls.send(REQUEST, 1.0, lambda *_: None)
    calls.forget()
    assert calls.send(REQUEST, 1.0, lambda *_: None).call_id != before.call_id


def test_timers_are_taken_when_due_the_earliest_first_and_once() -> None:
    timers = Timers()
    timers.set("late", 3.0)
    timers.set("early", 1.0)
    timers.set("later", 9.0)
    assert timers.next_at == 1.0
    assert timers.take_due(5.0) == ["early", "late"]
    assert timers.take_due(5.0) == []
    assert timers.next_at == 9.0


def test_setting_a_timer_again_moves_it() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    timers.set("a", 4.0)
    assert timers.take_due(3.0) == []
    timers.set_no_later("a", 9.0)
    assert timers.next_at == 4.0
    timers.set_no_later("a", 2.0)
    assert timers.next_at == 2.0


def test_cleared_timers_never_come() -> None:
    timers = Timers()
    for name in "abc":
        timers.set(name, 1.0)
    timers.clear("a")
    timers.clear("not there")
    assert timers.take_due(2.0) == ["b", "c"]
    timers.set("d", 1.0)
    timers.clear_all()
    assert timers.next_at == float("inf")
