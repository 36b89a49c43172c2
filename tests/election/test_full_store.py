"""A store over its quota: puts and grants are refused, keepalives go on (PROTOCOL A8, I9)."""

from __future__ import annotations

from slurp_leader.election import ElectionState, Reason
from slurp_leader.store import Delete, KeepAlive
from support.electing import KEYS, OPTIONS, BeliefWatch, leader_key, leading_node, node
from support.virtual import World, full, request_lost, takes_space, writes_key


def test_a_leader_that_finds_the_store_full_is_suspended_and_not_ended() -> None:
    world = World()
    leader, other = leading_node(world, "a"), node(world, "b")
    world.run_for(1.0)
    token = leader.term.token
    world.order(full(), takes_space)
    world.run_for(10 * OPTIONS.lease_ttl_s)
    assert leader.state is ElectionState.SUSPENDED
    assert leader.last_reason is Reason.STORE_FULL
    assert not leader.leads
    assert leader_key(world).mod_revision == token
    assert other.terms == []


def test_the_first_heartbeat_that_passes_resumes_the_same_term() -> None:
    world = World()
    leader = leading_node(world)
    watch = BeliefWatch([leader])
    world.on_write.append(watch)
    rule = world.order(full(), takes_space)
    world.run_for(5 * OPTIONS.lease_ttl_s)
    world.rules.remove(rule)
    world.run_until(lambda: leader.leads, within_s=1.0)
    assert leader.state is ElectionState.LEADER
    assert len(leader.terms) == 1
    assert watch.violations == []


def test_answers_that_are_lost_while_the_store_is_full_do_not_end_the_term() -> None:
    """The lease lives, and nobody else can win: what was known to be full is full until a heartbeat passes."""
    world = World()
    leader = leading_node(world)
    rule = world.order(full(), takes_space)
    world.run_for(3 * OPTIONS.lease_ttl_s)
    rule.fate = request_lost()
    world.run_for(2 * OPTIONS.lease_ttl_s)
    assert leader.state is ElectionState.SUSPENDED
    assert leader.last_reason is Reason.STORE_FULL


def test_a_leader_suspended_by_a_full_store_that_is_overtaken_steps_down() -> None:
    world = World()
    leader = leading_node(world)
    world.order(full(), takes_space)
    world.run_for(2 * OPTIONS.lease_ttl_s)
    world.apply(Delete(KEYS.leader))
    world.run_for(0.1)
    assert leader.state is ElectionState.CANDIDATE
    assert leader.last_reason is Reason.FENCED


def test_a_full_store_that_can_no_longer_be_reached_ends_the_term_when_the_lease_may_be_over() -> None:
    """The key is kept because nobody else can win; with the lease gone, somebody can."""
    world = World()
    leader = leading_node(world)
    world.order(full(), takes_space)
    world.run_for(2 * OPTIONS.lease_ttl_s)
    assert leader.state is ElectionState.SUSPENDED
    leader.host.cut_off = True
    world.run_for(OPTIONS.lease_ttl_s + 0.1)
    assert leader.last_reason is Reason.EXPIRED


def test_a_heartbeat_refused_as_full_but_written_proves_nothing() -> None:
    """A2: the caller was told no."""
    world = World()
    leader = leading_node(world)
    until = leader.believes_until
    world.order(full(written=True), writes_key(KEYS.heartbeat))
    world.run_for(OPTIONS.lease_ttl_s)
    assert leader.believes_until == until
    assert not leader.leads


def test_a_campaign_refused_as_full_but_written_is_found_to_be_won() -> None:
    world = World()
    world.order(full(written=True), writes_key(KEYS.leader), times=1)
    winner = node(world)
    world.run_until(lambda: winner.leads, within_s=2.0)
    assert winner.term.token == leader_key(world).mod_revision
    assert winner.last_reason is Reason.ELECTED


def test_a_full_store_refuses_new_sessions_until_there_is_space() -> None:
    world = World()
    rule = world.order(full(), takes_space)
    waiting = node(world)
    world.run_for(30.0)
    assert waiting.state is ElectionState.FOLLOWER
    world.rules.remove(rule)
    world.run_until(lambda: waiting.leads, within_s=2 * OPTIONS.retry_interval_s)


def test_a_win_that_is_not_proved_because_the_store_is_full_is_kept_without_trust() -> None:
    world = World()
    beats = world.order(full(), writes_key(KEYS.heartbeat))
    winner = node(world)
    world.run_for(3 * OPTIONS.lease_ttl_s)
    token = leader_key(world).mod_revision
    assert winner.terms == []
    world.rules.remove(beats)
    world.run_until(lambda: winner.leads, within_s=1.0)
    assert winner.term.token == token


def test_keepalives_go_on_while_the_store_is_full() -> None:
    world = World()
    leading_node(world)
    world.order(full(), takes_space)
    asked = 0
    apply = world.state.apply

    def count(request):
        nonlocal asked
        asked += isinstance(request, KeepAlive)
        return apply(request)

    world.state.apply = count
    world.run_for(20.0)
    assert asked >= 10
