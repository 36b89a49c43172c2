"""Standing still: what the crash guard may do meanwhile, and what the leader may still believe (PROTOCOL A1, A16)."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from slurp_leader.election import (
    Consent,
    ConsentWanted,
    Drained,
    DropLease,
    ElectionOptions,
    ElectionState,
    Elector,
    HoldLease,
    Identity,
    Reason,
    Renewed,
    SayBeat,
)
from slurp_leader.election.records import nodes_prefix
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.errors import ConfigurationError
from slurp_leader.guard.messages import Told
from slurp_leader.machine import Call
from slurp_leader.store import Get, Grant, KeepAlive, Put, Request, Revoke
from support.electing import KEYS, KEYSPACE, LENDING, OPTIONS, BeliefWatch, Node, leader_key, leading_node, node
from support.virtual import Fate, Host, VirtualClock, World, fine, request_lost, writes_key

STALL_S = OPTIONS.stall_timeout_s
BOUND_S = STALL_S - OPTIONS.stall_margin_s


def lease_of(leader: Node) -> int:
    return next(said.lease_id for said in reversed(leader.said) if isinstance(said, HoldLease))


def stand_still(world: World, leader: Node, seconds: float) -> None:
    leader.host.pause()
    world.run_for(seconds)
    leader.host.resume()


def test_the_guard_is_told_of_a_lease_before_it_is_asked_for() -> None:
    sessions = nodes_prefix(KEYSPACE, "a")
    elector = Elector(OPTIONS, Identity("a", ""), KEYS, sessions, VirtualClock(), random.Random(1), guarded=True)
    hold, call = elector.start(0.0)
    assert isinstance(hold, HoldLease)
    assert isinstance(call.request, Grant)
    assert hold.lease_id == call.request.lease_id


def test_trust_ends_before_the_guard_may_act() -> None:
    world = World()
    leader = leading_node(world, guarded=True)
    last_beat = leader.guard[lease_of(leader)]
    leader.host.pause()
    world.run_to(leader.host.clock.in_world(last_beat + BOUND_S) - 0.01)
    assert leader.term.is_valid
    world.run_for(0.02)
    assert not leader.term.is_valid
    assert BOUND_S < STALL_S


@pytest.mark.parametrize("pauses", [False, True])
@pytest.mark.parametrize("needs_consent", [False, True])
def test_at_no_step_is_a_guarded_term_trusted_beyond_the_guards_bound(needs_consent: bool, pauses: bool) -> None:
    """Not even between a proof and the next beat: a standstill may begin at any moment."""
    world = World()
    options = ElectionOptions(lease_ttl=10, stall_timeout=2)
    leader = node(world, "a", options, guarded=True, needs_consent=needs_consent)
    bound_s = options.stall_timeout_s - options.stall_margin_s

    def hear(said: object) -> None:
        if isinstance(said, ConsentWanted):
            leader.seat.post(Consent(said.term.token, ""))
        elif isinstance(said, Renewed) and pauses:
            leader.host.pause()
            world.after(bound_s - 0.1, leader.host.resume)

    def is_over() -> bool:
        for term in leader.terms:
            assert term.trust.until <= leader.guard[lease_of(leader)] + bound_s
        return world.clock.now >= end

    leader.told = hear
    end = world.clock.now + 30
    world.run_until(is_over)
    assert sum(isinstance(said, Renewed) for said in leader.said) > 5
    assert len(leader.terms) == 1


def test_without_a_guard_a_standstill_costs_nothing_before_the_lease_does() -> None:
    world = World()
    leader = leading_node(world)
    leader.host.pause()
    world.run_for(STALL_S + 0.5)
    assert leader.term.is_valid


def test_after_a_standstill_nothing_is_believed_before_a_heartbeat_was_committed() -> None:
    world = World()
    leader = leading_node(world, guarded=True)
    world.order(request_lost(), writes_key(KEYS.heartbeat), times=1)  # the first proof after the gap gets lost
    stand_still(world, leader, STALL_S + 0.2)
    world.run_for(0.3)
    assert leader.state is ElectionState.SUSPENDED
    assert leader.last_reason is Reason.STALLED
    assert not leader.leads
    world.run_until(lambda: leader.leads)
    assert leader.last_reason is Reason.RENEWED
    assert len(leader.terms) == 1


def test_an_answer_from_before_the_standstill_proves_nothing_after_it() -> None:
    world = World()
    leader = leading_node(world, guarded=True)
    slow = world.order(fine(0.001, 1.2), writes_key(KEYS.heartbeat))
    world.run_until(lambda: _round_is_under_way(leader), within_s=10)
    world.rules.remove(slow)
    stand_still(world, leader, STALL_S + 0.2)
    world.choose_fate = lambda _host, request: request_lost() if _renews(request) else fine()
    world.run_for(1.5)
    assert not leader.leads


def test_what_was_proved_before_the_standstill_does_not_begin_a_term_after_it() -> None:
    """The owner agrees to a term that was proved; the guard may have acted since."""
    world = World()
    options = ElectionOptions(lease_ttl=30, hook_timeout=60)
    leader = node(world, "a", options, guarded=True, needs_consent=True)
    world.run_until(lambda: _asked(leader) is not None, within_s=5)
    stand_still(world, leader, STALL_S + 0.2)
    lost = world.order(request_lost(), _renews)
    world.run_for(0.3)  # the guard has heard again
    asked = _asked(leader)
    assert asked is not None
    leader.seat.post(Consent(asked.term.token, ""))
    world.run_for(0.3)
    assert ElectionState.LEADER not in [state for state, _ in leader.states]  # so no hook
    world.rules.remove(lost)
    world.run_until(lambda: leader.leads, within_s=20)
    assert leader.term.token == asked.term.token


def test_a_first_proof_from_before_the_standstill_does_not_begin_a_term_after_it() -> None:
    world = World()
    slow = world.order(fine(0.001, STALL_S + 0.3), writes_key(KEYS.heartbeat), times=1)
    leader = node(world, "a", ElectionOptions(lease_ttl=60), guarded=True)
    world.run_until(lambda: slow.met == 1, within_s=5)
    leader.host.pause()
    world.run_for(BOUND_S + 0.1)
    leader.host.resume()
    lost = world.order(request_lost(), _renews)
    world.run_for(1)
    assert ElectionState.LEADER not in [state for state, _ in leader.states]
    world.rules.remove(lost)
    world.run_until(lambda: leader.leads, within_s=20)
    assert len(leader.terms) == 1


@pytest.mark.parametrize("one_way_s", [0.1, 0.4])
def test_a_proof_after_a_standstill_may_take_longer_than_the_pause_between_two_beats(one_way_s: float) -> None:
    world = World()
    world.choose_fate = lambda _host, _request: fine(one_way_s, one_way_s)
    leader = leading_node(world, "a", ElectionOptions(lease_ttl=timedelta(seconds=15)), guarded=True)
    world.run_for(30)
    stand_still(world, leader, STALL_S - 0.3)  # trust is over, the guard has not acted
    world.run_until(lambda: leader.leads, within_s=5)
    assert leader.last_reason is Reason.RENEWED
    assert len(leader.terms) == 1


def _asked(standing: Node) -> ConsentWanted | None:
    return next((said for said in standing.said if isinstance(said, ConsentWanted)), None)


def _renews(request: Request[object]) -> bool:
    return isinstance(request, KeepAlive) or writes_key(KEYS.heartbeat)(request)


def _round_is_under_way(leader: Node) -> bool:
    this = leader.elector._renewal.round
    return this is not None and this.header is not None


def test_a_lease_that_was_revoked_meanwhile_ends_the_term() -> None:
    world = World()
    leader = leading_node(world, guarded=True)
    successor = node(world, "b", guarded=True)
    watch = BeliefWatch([leader, successor])
    world.note_writes()
    leader.host.pause()
    world.run_for(STALL_S)
    world.apply(Revoke(lease_of(leader)))
    world.run_until(lambda: successor.leads)
    leader.host.resume()
    assert not leader.leads
    world.run_for(5)
    assert successor.leads
    assert not leader.leads
    for write in world.log:
        watch(write)
    assert watch.violations == []


def test_while_the_guard_cannot_be_told_only_the_lease_bounds_trust() -> None:
    world = World()
    leader = leading_node(world, guarded=True)
    leader.guard_says = Told.NOBODY
    world.run_for(3)
    stand_still(world, leader, STALL_S)
    assert leader.term.is_valid


def test_while_a_guard_may_act_and_does_not_answer_nothing_is_believed() -> None:
    """Proofs go on, and prove nothing: the guard may be about to revoke what they renew (A1)."""
    world = World()
    leader = leading_node(world, guarded=True)
    leader.guard_says = Told.UNHEARD
    world.run_for(BOUND_S + 0.1)
    assert not leader.leads
    world.run_for(10)
    assert not leader.leads
    assert leader.state is ElectionState.SUSPENDED
    leader.guard_says = Told.YES
    world.run_until(lambda: leader.leads, within_s=2)
    assert len(leader.terms) == 1


def test_a_proof_from_before_the_guard_answered_again_proves_nothing_after_it() -> None:
    """Its heartbeat was committed while the guard may have been about to act."""
    world = World()
    leader = leading_node(world, "a", ElectionOptions(lease_ttl=10, stall_timeout=2), guarded=True)
    leader.guard_says = Told.UNHEARD
    slow = world.order(fine(0.001, 1.2), writes_key(KEYS.heartbeat), times=1)
    world.run_until(lambda: not leader.leads, within_s=2)
    assert slow.met == 1
    assert _round_is_under_way(leader)
    lost = world.order(request_lost(), _renews)
    leader.guard_says = Told.YES
    world.run_for(1)
    assert leader.state is ElectionState.SUSPENDED
    assert not leader.leads
    world.rules.remove(lost)
    world.run_until(lambda: leader.leads, within_s=2)
    assert len(leader.terms) == 1


def test_no_proof_is_asked_for_that_would_not_count_while_the_guard_does_not_answer() -> None:
    world = World()
    leader = leading_node(world, guarded=True)
    leader.guard_says = Told.UNHEARD
    world.run_until(lambda: not leader.leads, within_s=STALL_S)
    asked = world.order(fine(), lambda request: isinstance(request, KeepAlive))
    world.run_for(10 * OPTIONS.renew_interval_s)
    assert 9 <= asked.met <= 11


def test_when_a_guard_that_did_not_answer_is_gone_the_term_is_proved_at_once() -> None:
    """By the next beat, not by the next renewal."""
    world = World()
    leader = leading_node(world, "a", ElectionOptions(lease_ttl=60), guarded=True)
    leader.guard_says = Told.UNHEARD
    world.run_until(lambda: not leader.leads, within_s=STALL_S)
    leader.guard_says = Told.NOBODY
    world.run_until(lambda: leader.leads, within_s=0.3)
    assert leader.last_reason is Reason.RENEWED


def test_a_lease_that_the_guard_gives_back_is_let_go_before_it_ends() -> None:
    world = World()
    leader = leading_node(world, guarded=True)
    given_back = lease_of(leader)
    leader.guard_says = Told.GIVEN_BACK
    world.run_until(lambda: not leader.leads, within_s=2)
    leader.guard_says = Told.YES
    world.run_until(lambda: lease_of(leader) != given_back, within_s=2)


def test_a_stop_has_the_guard_leave_the_lease_alone() -> None:
    world = World()
    leader = leading_node(world, guarded=True)
    leader.stop()
    world.run_until(lambda: leader.finished is not None)
    assert any(isinstance(said, DropLease) for said in leader.said)
    assert leader.guard == {}


def test_beats_go_on_for_a_mere_candidate() -> None:
    world = World()
    leading_node(world, guarded=True)
    candidate = node(world, "b", guarded=True)
    world.run_for(10)
    assert sum(isinstance(said, SayBeat) for said in candidate.said) >= 8


@pytest.mark.parametrize("stall_timeout", [0.5, 1.999])
def test_a_stall_timeout_that_a_busy_machine_would_break_is_refused(stall_timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="stall_timeout"):
        ElectionOptions(stall_timeout=stall_timeout)


def test_a_stall_timeout_of_nothing_switches_it_off() -> None:
    world = World()
    options = ElectionOptions(lease_ttl=10, stall_timeout=0)
    leader = leading_node(world, "a", options, guarded=True, needs_progress=True)
    leader.host.pause()
    world.run_for(5)
    assert leader.term.is_valid
    leader.host.resume()
    world.run_for(30)
    assert len(leader.terms) == 1


# ---------------------------------------------------------------- the owner's loop


def test_an_owner_that_does_not_move_gives_the_key_away() -> None:
    world = World()
    leader = leading_node(world, needs_progress=True)
    successor = node(world, "b")
    leader.drains_at_once = False
    world.run_until(lambda: not leader.leads, within_s=STALL_S + 1)
    assert (ElectionState.CANDIDATE, Reason.STALLED) in leader.states
    world.run_until(lambda: successor.leads, within_s=2)


def test_an_owner_that_moves_goes_on() -> None:
    world = World()
    leader = leading_node(world, needs_progress=True)
    for _ in range(20):
        world.run_for(STALL_S / 2)
        leader.term.beat()
    assert leader.leads
    assert len(leader.terms) == 1


def test_who_stands_still_does_not_lead_again_before_he_moves() -> None:
    world = World()
    leader = leading_node(world, needs_progress=True)
    world.run_until(lambda: not leader.leads, within_s=STALL_S + 1)
    world.run_for(30)
    assert leader_key(world) is None
    leader.terms[0].beat()
    world.run_until(lambda: len(leader.terms) == 2, within_s=STALL_S)


def test_who_has_let_go_of_the_stalled_term_may_lead_again() -> None:
    world = World()
    leader = leading_node(world, needs_progress=True)
    world.run_until(lambda: not leader.leads, within_s=STALL_S + 1)
    leader.seat.post(Drained(leader.terms[0].token))
    world.run_until(lambda: len(leader.terms) == 2, within_s=STALL_S)


def test_no_renewal_is_sent_for_an_owner_that_does_not_move() -> None:
    world = World()
    leader = leading_node(world, needs_progress=True)
    world.run_until(lambda: not leader.leads, within_s=STALL_S + 1)
    sent: list[Call] = []

    def watch(_host: Host, request: Request[object]) -> Fate:
        if writes_key(KEYS.heartbeat)(request):
            sent.append(request)  # type: ignore[arg-type]
        return fine()

    world.choose_fate = watch
    world.run_for(20)
    assert sent == []


def test_a_standstill_of_the_whole_process_is_not_blamed_on_the_owner() -> None:
    """Both were stopped, and both go on: the owner gets a chance to move first."""
    world = World()
    leader = leading_node(world, needs_progress=True)
    stand_still(world, leader, STALL_S + 2)
    leader.term.beat()
    world.run_for(STALL_S / 2)
    leader.term.beat()
    world.run_for(1)
    assert Reason.STALLED not in [reason for _, reason in leader.states]


def test_who_does_not_move_refuses_an_offer_for_it_would_not_take_the_key() -> None:
    world = World()
    stalled = leading_node(world, "a", lending=LENDING, needs_progress=True)
    leader = node(world, "b", lending=LENDING)
    world.run_until(lambda: leader.leads, within_s=30)
    wish = TransferRecord(Stage.WISHED, leader.term.token, "w1", to="a")
    world.apply(Put(KEYS.transfer, wish.to_value()))
    world.run_for(3)
    standing = world.apply(Get(KEYS.transfer)).kvs[0]
    assert TransferRecord.from_value(standing.key, standing.value).reason == "unfit"
    assert (leader.leads, len(leader.terms), len(stalled.terms)) == (True, 1, 1)


def test_a_handover_in_doubt_for_longer_than_the_stall_timeout_is_not_ended_for_that() -> None:
    """Whose term it is will be known: to give the key back now would leave nobody with it."""
    world = World()
    leader = leading_node(world, "a", lending=LENDING, needs_progress=True)
    other = node(world, "b", lending=LENDING)
    world.run_for(0.5)
    decision = world.order(request_lost(), writes_key(KEYS.ack), host=leader.host)
    leader.term.beat()
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, leader.term.token, "w1", to="b").to_value()))
    world.run_for(STALL_S + 2)
    assert decision.met > 1
    assert leader.last_reason is Reason.HANDING_OVER
    world.rules.remove(decision)
    world.run_until(lambda: other.leads, within_s=3)
    assert other.last_reason is Reason.HANDOVER
    assert (ElectionState.CANDIDATE, Reason.HANDOVER) in leader.states
