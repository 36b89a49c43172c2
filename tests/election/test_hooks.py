"""Hooks: asked before a node leads, told of the rest, and never in the way of a renewal."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from slurp_leader.election import Consent, ElectionState, Reason
from slurp_leader.election.events import ConsentWanted, Published
from slurp_leader.election.history.entries import ActionRecord, read_entries
from slurp_leader.election.hooks import HookKind, Hooks
from slurp_leader.election.records import has_begun
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.store import Delete, EventKind, Get, KeyValue, Put, prefix_end
from support.calls import Recorder
from support.electing import KEYS, OPTIONS, Node, leader_key, leading_node, node
from support.errors import UnprintableError
from support.logs import events
from support.virtual import World

# ---------------------------------------------------------------- the elector


def _wants(standing: Node) -> ConsentWanted | None:
    return next((said for said in reversed(standing.said) if isinstance(said, ConsentWanted)), None)


def _asked_node(world: World) -> tuple[Node, ConsentWanted]:
    standing = node(world, needs_consent=True)
    world.run_until(lambda: _wants(standing) is not None)
    asked = _wants(standing)
    assert asked is not None
    return standing, asked


def test_nobody_leads_before_the_hook_agrees_and_renewal_goes_on_meanwhile() -> None:
    world = World()
    standing, asked = _asked_node(world)
    world.run_for(OPTIONS.hook_timeout_s - 0.5)
    assert not standing.leads
    assert standing.state is ElectionState.CANDIDATE
    assert leader_key(world) is not None
    standing.seat.post(Consent(asked.term.token, ""))
    world.run_for(0.01)
    assert standing.leads
    assert standing.term.token == asked.term.token


@pytest.mark.parametrize("how", ["veto", "silence"])
def test_a_veto_gives_the_key_to_others_and_costs_nobody_a_ttl(how: str) -> None:
    world = World()
    standing, asked = _asked_node(world)
    other = node(world, "b")
    world.run_for(1)
    if how == "veto":
        standing.seat.post(Consent(asked.term.token, "no disk"))
    world.run_until(lambda: other.leads, within_s=OPTIONS.hook_timeout_s + 0.5)
    assert not standing.terms


def test_who_vetoed_stands_back_and_then_tries_again() -> None:
    world = World()
    standing, asked = _asked_node(world)
    standing.seat.post(Consent(asked.term.token, "no disk"))
    world.run_for(4.5)
    assert leader_key(world) is None
    world.run_until(lambda: _wants(standing) is not asked, within_s=5)


def test_who_started_well_after_vetoes_keeps_the_lead_when_another_joins() -> None:
    world = World()
    standing, asked = _asked_node(world)
    for _ in range(3):
        standing.seat.post(Consent(asked.term.token, "no disk"))
        world.run_until(lambda before=asked: _wants(standing) is not before)  # type: ignore[misc]
        again = _wants(standing)
        assert again is not None
        asked = again
    standing.seat.post(Consent(asked.term.token, ""))
    world.run_until(lambda: standing.leads)
    node(world, "b")
    world.run_for(30)
    assert standing.leads
    assert len(standing.terms) == 1
    assert next(said for said in reversed(standing.said) if isinstance(said, Published)).unfit == ""


def test_a_late_consent_to_a_term_that_is_over_does_nothing() -> None:
    world = World()
    standing, asked = _asked_node(world)
    world.run_for(OPTIONS.hook_timeout_s + 0.1)
    standing.seat.post(Consent(asked.term.token, ""))
    world.run_for(0.5)
    assert not standing.leads
    assert Reason.ELECTED not in [reason for _, reason in standing.states]


@pytest.mark.parametrize("late", ["", "no disk"], ids=["consent", "veto"])
def test_what_is_said_of_an_earlier_term_does_not_count_for_the_next_one(late: str) -> None:
    world = World()
    standing, earlier = _asked_node(world)
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: _wants(standing) is not earlier)
    asked = _wants(standing)
    assert asked is not None
    standing.seat.post(Consent(earlier.term.token, late))
    world.run_for(0.5)
    assert not standing.leads
    standing.seat.post(Consent(asked.term.token, ""))
    world.run_for(0.01)
    assert standing.leads
    assert standing.term.token == asked.term.token


def _heartbeat(world: World) -> KeyValue:
    (kv,) = world.apply(Get(KEYS.heartbeat)).kvs
    return kv


def test_heartbeats_say_that_a_node_does_not_lead_yet_and_at_once_that_it_does() -> None:
    world = World()
    standing, asked = _asked_node(world)
    world.run_for(OPTIONS.renew_interval_s + 0.5)
    assert _heartbeat(world).version > 1
    assert not has_begun(asked.term.token, _heartbeat(world))
    standing.seat.post(Consent(asked.term.token, ""))
    world.run_for(0.1)
    assert standing.leads
    assert has_begun(asked.term.token, _heartbeat(world))


def test_who_asks_nobody_leads_from_the_first_heartbeat_on() -> None:
    world = World()
    leader = leading_node(world, "a")
    assert _heartbeat(world).version == 1
    assert has_begun(leader.term.token, _heartbeat(world))
    assert not has_begun(_heartbeat(world).mod_revision, _heartbeat(world))  # of an earlier term


@pytest.mark.parametrize("how", ["veto", "silence"])
def test_the_transaction_that_gives_a_vetoed_term_back_tells_the_history_why(how: str) -> None:
    world = World()
    standing, asked = _asked_node(world)
    if how == "veto":
        standing.seat.post(Consent(asked.term.token, "no disk"))
    world.run_until(lambda: leader_key(world) is None, within_s=OPTIONS.hook_timeout_s + 0.5)
    entries, _ = read_entries(world.apply(Get(KEYS.history, prefix_end(KEYS.history))).kvs)
    term, told = entries
    assert isinstance(told, ActionRecord)
    assert told.is_veto
    assert (told.epoch, told.what) == (term.epoch, standing.node_id)
    assert told.why == ("no disk" if how == "veto" else f"no answer within {OPTIONS.hook_timeout_s:g} s")
    deleted = [write.revision for write in world.log if any(each.kind is EventKind.DELETE for each in write.events)]
    assert deleted == [told.revision]


def _transfer(world: World) -> TransferRecord:
    (kv,) = world.apply(Get(KEYS.transfer)).kvs
    return TransferRecord.from_value(kv.key, kv.value)


def test_who_could_not_start_refuses_an_offer_for_as_long_as_it_says_so() -> None:
    world = World()
    standing, asked = _asked_node(world)
    standing.seat.post(Consent(asked.term.token, "no disk"))
    other = node(world, "b")
    world.run_until(lambda: other.leads)
    for number in ("w1", "w2"):
        record = TransferRecord(Stage.WISHED, other.term.token, number, standing.node_id)
        world.apply(Put(KEYS.transfer, record.to_value()))
        world.run_until(lambda: _transfer(world).stage is Stage.REFUSED, within_s=5)
        assert _transfer(world).reason == "unfit"
    assert other.leads
    assert len(other.terms) == 1
    world.run_for(300)
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, other.term.token, "w3", standing.node_id).to_value()))
    world.run_until(lambda: _wants(standing) is not asked, within_s=1)


# ---------------------------------------------------------------- the hooks


class _Term:
    token = 1


def _ask(hooks: Hooks) -> str:
    told: Recorder[str] = Recorder()
    hooks.ask(_Term(), told)  # type: ignore[arg-type]
    return told.next()


@pytest.mark.parametrize("answer", [None, True, 0, "no"])
def test_only_false_and_an_exception_veto(answer: object) -> None:
    hooks = Hooks("e", 5)
    hooks.add(HookKind.ELECTED, lambda term: answer)
    assert _ask(hooks) == ""


def test_false_an_exception_and_an_exit_veto() -> None:
    def refuse() -> bool:
        return False

    def fail(term: Any) -> None:
        raise SystemExit(3)

    async def fail_later(term: Any) -> None:
        await asyncio.sleep(0)
        raise OSError("no disk")

    for hook, why in ((refuse, "returned False"), (fail, "SystemExit(3)"), (fail_later, "no disk")):
        hooks = Hooks("e", 5)
        hooks.add(HookKind.ELECTED, hook)
        assert why in _ask(hooks)


def test_hooks_are_called_in_order_with_as_much_as_they_take() -> None:
    hooks = Hooks("e", 5)
    said: Recorder[Any] = Recorder()
    hooks.add(HookKind.LOST, lambda: said("nothing"))
    hooks.add(HookKind.LOST, lambda term: said(term))
    hooks.add(HookKind.LOST, lambda *all_of_it: said(all_of_it))
    hooks.call(HookKind.LOST, "term", "why")
    assert [said.next() for _ in range(3)] == ["nothing", "term", ("term", "why")]
    hooks.stop()


def test_a_hook_that_raises_is_reported_and_the_next_one_is_called(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks("e", 5)
    said: Recorder[str] = Recorder()
    hooks.add(HookKind.STANDBY, lambda: 1 / 0)
    hooks.add(HookKind.STANDBY, lambda: said("next"))
    hooks.call(HookKind.STANDBY)
    assert said.next() == "next"
    assert events(caplog) == ["election.hook_failed"]
    hooks.stop()


def test_an_error_that_cannot_be_printed_ends_no_other_hook() -> None:
    def fail() -> None:
        raise UnprintableError

    called: Recorder[str] = Recorder()
    hooks = Hooks("slurp", 5.0)
    hooks.add(HookKind.STANDBY, fail)
    hooks.add(HookKind.STANDBY, lambda: called("the next one"))
    try:
        hooks.call(HookKind.STANDBY)
        assert called.next() == "the next one"
    finally:
        hooks.stop()


def test_a_hook_that_hangs_is_reported_while_it_does(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks("e", 0.1)
    let_go, slow = threading.Event(), threading.Event()
    note, hooks._note_slow = hooks._note_slow, lambda *told: (note(*told), slow.set())  # type: ignore[method-assign]
    hooks.add(HookKind.STANDBY, let_go.wait)
    hooks.call(HookKind.STANDBY)
    assert slow.wait(20)
    assert len(hooks.slow) == 1
    assert events(caplog) == ["election.hook_slow"]
    let_go.set()
    hooks.stop()
    assert hooks.slow == ()


def test_a_hanging_on_elected_never_runs_twice(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks("e", 0.1)
    let_go, slow = threading.Event(), threading.Event()
    called: Recorder[str] = Recorder()
    told: Recorder[str] = Recorder()

    def hang() -> None:
        called("hang")
        let_go.wait()

    note, hooks._note_slow = hooks._note_slow, lambda *told: (note(*told), slow.set())  # type: ignore[method-assign]
    hooks.add(HookKind.ELECTED, hang)
    hooks.ask(_Term(), told)  # type: ignore[arg-type]
    assert called.next() == "hang"
    assert slow.wait(20)
    for _ in range(3):
        assert "hang of an earlier term still runs" in _ask(hooks)
    assert called.is_empty()
    assert len(hooks.slow) == 1
    assert events(caplog) == ["election.hook_slow"]
    let_go.set()
    assert told.next() == ""
    assert _ask(hooks) == ""
    assert called.next() == "hang"


def test_hooks_go_on_after_a_stop() -> None:
    hooks = Hooks("e", 5)
    said: Recorder[str] = Recorder()
    hooks.add(HookKind.STANDBY, lambda: said("called"))
    for _ in range(2):
        hooks.call(HookKind.STANDBY)
        hooks.stop()
        assert said.next() == "called"


def test_a_hook_that_hangs_over_a_stop_keeps_none_from_being_called_after_it() -> None:
    hooks, told, release = Hooks("jobs", 0.1), Recorder[Any](), threading.Event()
    hooks.add(HookKind.LEADING, lambda term: release.wait() if term == "first" else told(term))
    hooks.call(HookKind.LEADING, "first")
    hooks.stop()  # gives up on it
    hooks.call(HookKind.LEADING, "second")
    hooks.call(HookKind.LEADING, "third")
    assert told.until(lambda term: term == "third") == "third"
    assert "second" in told.seen
    release.set()
    hooks.stop()


def test_a_hook_that_ends_just_when_its_time_is_over_is_not_called_slow_for_ever() -> None:
    hooks = Hooks("jobs", 60)
    late: list[Any] = []
    hooks.add(HookKind.STANDBY, lambda: late.append(dict(hooks._running)))
    hooks.call(HookKind.STANDBY)
    hooks.stop()
    (call, name), *_ = late[0].items()
    hooks._note_slow(HookKind.STANDBY, name, call)  # its timer went off at that very moment
    assert hooks.slow == ()
