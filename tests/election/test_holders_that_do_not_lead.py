"""A leader key whose holder does not lead: adopted by its own session, taken from a silent one (PROTOCOL A7)."""

from __future__ import annotations

import pytest

from slurp_leader.election import ElectionState, Reason
from slurp_leader.election.records import LeaderRecord
from slurp_leader.store import Get, Put, Txn
from support.electing import KEYS, OPTIONS, BeliefWatch, leader_key, leading_node, node
from support.virtual import World, fine, late, request_lost, writes_key

BEATS = writes_key(KEYS.heartbeat)
TAKES = writes_key(KEYS.leader)


def key_of_session(session: str, ttl_s: int = OPTIONS.lease_ttl_s) -> bytes:
    return LeaderRecord("a", session, "f" * 32, ttl_s, epoch=1).to_value()


def test_a_key_that_names_our_session_is_taken_up_under_a_new_token() -> None:
    world = World()
    blocked = world.order(request_lost(), TAKES)
    candidate = node(world)
    world.run_until(lambda: candidate.state is ElectionState.CANDIDATE)
    session = candidate.elector._sessions.current.name
    candidate.host.cut_off = True
    world.apply(Put(KEYS.leader, key_of_session(session)))
    world.apply(Put(KEYS.epoch, b"1"))
    token = leader_key(world).mod_revision
    candidate.host.cut_off = False
    world.rules.remove(blocked)
    world.run_until(lambda: candidate.leads)
    assert candidate.last_reason is Reason.ADOPTED
    assert candidate.term.token > token
    assert candidate.term.epoch == 2


def test_a_key_that_names_our_session_is_not_taken_up_when_it_has_changed_meanwhile() -> None:
    world = World()
    leader, candidate = leading_node(world, "a"), node(world, "b")
    world.run_for(0.5)
    session = candidate.elector._sessions.current
    slow = world.order(fine(0.3, 0.1), TAKES, host=candidate.host, times=1)
    record = LeaderRecord("b", session.name, "f" * 32, OPTIONS.lease_ttl_s, epoch=leader.term.epoch)
    world.apply(Put(KEYS.leader, record.to_value(), lease=session.lease_id))
    world.run_until(lambda: slow.met == 1)
    changed = LeaderRecord("c", "of another", "c" * 32, OPTIONS.lease_ttl_s, epoch=leader.term.epoch)
    world.apply(Put(KEYS.leader, changed.to_value()))
    world.run_for(1)
    assert leader_key(world).value == changed.to_value()
    assert not candidate.terms


def test_a_key_that_names_an_earlier_session_of_this_node_is_not_adopted() -> None:
    """A restarted node is somebody else: the new session waits like everybody."""
    world = World()
    first = leading_node(world, "a")
    token = first.term.token
    first.host.crash()
    first.start()
    world.run_for(OPTIONS.lease_ttl_s / 2)
    assert not first.leads
    assert leader_key(world).mod_revision == token


def test_a_holder_that_keeps_its_lease_but_stays_silent_is_replaced_after_its_ttl() -> None:
    world = World()
    silent, other = leading_node(world, "a"), node(world, "b")
    watch = BeliefWatch([silent, other])
    world.on_write.append(watch)
    world.run_for(1.0)
    world.order(request_lost(), BEATS, host=silent.host)
    world.order(request_lost(), TAKES, host=silent.host)  # nor can it give the key back
    last_beat = world.apply(Get(KEYS.heartbeat)).kvs[0].mod_revision
    silent_since = next(write.at for write in world.log if write.revision == last_beat)
    world.run_until(lambda: other.leads)
    assert other.last_reason is Reason.STOLEN
    assert OPTIONS.lease_ttl_s <= world.clock.now - silent_since <= OPTIONS.lease_ttl_s + 1.0
    assert watch.violations == []


def test_the_published_ttl_of_the_holder_decides_not_our_own() -> None:
    world = World()
    world.apply(Put(KEYS.leader, key_of_session("somebody", ttl_s=40)))
    candidate = node(world)
    world.run_for(39.0)
    assert candidate.terms == []
    world.run_until(lambda: candidate.leads, within_s=2.0)


def test_a_candidate_that_missed_all_heartbeats_does_not_take_the_key() -> None:
    """By all it saw the holder was silent; the compare of the heartbeat knows better."""
    world = World()
    leader, deaf = leading_node(world, "a"), node(world, "b")
    watch = BeliefWatch([leader, deaf])
    world.on_write.append(watch)
    world.run_for(1.0)
    deaf.host.deaf = True
    world.order(request_lost(), looks, host=deaf.host)
    tried = world.order(fine(), TAKES, host=deaf.host)
    world.run_for(3 * OPTIONS.lease_ttl_s)
    assert tried.met >= 1
    assert leader.leads
    assert deaf.terms == []
    assert watch.violations == []


def looks(request) -> bool:
    return isinstance(request, Txn) and not request.compares


def test_each_node_measures_silence_by_its_own_clock_from_what_it_saw() -> None:
    world = World()
    leader = leading_node(world, "a")
    world.run_for(30.0)
    newcomer = node(world, "b")  # sees a heartbeat of unknown age
    leader.host.pause()
    began = world.clock.now
    world.run_until(lambda: newcomer.leads)
    assert world.clock.now - began >= OPTIONS.lease_ttl_s - OPTIONS.renew_interval_s


def test_a_late_campaign_of_a_dead_session_cannot_take_the_key() -> None:
    """Its lease is gone, so the put is refused."""
    world = World()
    rule = world.order(late(4 * OPTIONS.lease_ttl_s), TAKES, times=1)
    crashed = node(world, "a")
    world.run_until(lambda: rule.met == 1)
    crashed.host.crash()
    other = node(world, "b")
    world.run_for(6 * OPTIONS.lease_ttl_s)
    assert other.leads
    assert len(other.terms) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_campaign_applied_while_its_node_was_away_ends_in_a_term_or_in_a_free_key(seed: int) -> None:
    world = World(seed)
    world.order(late(3.0), TAKES, times=1)
    away = node(world, "a")
    other = node(world, "b")
    world.run_for(0.01)
    away.host.pause()
    world.run_for(5.0)
    away.host.resume()
    world.run_until(lambda: away.leads or other.leads, within_s=2 * OPTIONS.lease_ttl_s + 1.0)
    world.run_for(5.0)
    assert [away.leads, other.leads].count(True) == 1
