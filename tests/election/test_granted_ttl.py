"""A store that keeps leases for a shorter time than was asked: its word counts, whatever it said before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slurp_leader.election import ElectionOptions, ElectionState, Reason
from slurp_leader.election.events import Note
from slurp_leader.store import Get, Grant, KeepAlive, Request, Revoke
from slurp_leader.telemetry.events import LogEvent
from support.electing import KEYS, OPTIONS, BeliefWatch, Node, leader_key, leading_node, node
from support.virtual import Rule, World, answer_lost, fine


class Stingy(World):
    """Leases live for `lives_s`, and what is said of that are `granted_s` and `kept_s`. None: as was asked."""

    lives_s: int | None = None
    granted_s: int | None = None
    kept_s: int | None = None

    def apply(self, request: Request[Any], author: str = "") -> Any:
        if isinstance(request, Grant) and self.lives_s is not None:
            request = replace(request, ttl_s=self.lives_s)
        result = super().apply(request, author)
        said = {Grant: self.granted_s, KeepAlive: self.kept_s}.get(type(request))
        return result if said is None or isinstance(result, Exception) else replace(result, ttl_s=said)


def troubles(standing: Node) -> list[str]:
    """What health shows of it."""
    notes = (said for said in standing.said if isinstance(said, Note) and said.event is LogEvent.ELECTION_CALL_FAILED)
    return [f"{note.fields['doing']}: {note.fields['error']}" for note in notes]


def count(world: World, kind: type[Request[Any]]) -> Rule:
    """Counts requests of a kind."""
    return world.order(fine(), lambda request: isinstance(request, kind))


@pytest.mark.parametrize("granted_s", [-5, 0, 1])
def test_a_lease_too_short_to_be_renewed_is_given_back_and_asked_for_ever_more_slowly(granted_s: int) -> None:
    world = Stingy()
    world.granted_s = granted_s
    asked, given_back = count(world, Grant), count(world, Revoke)
    short = node(world)
    world.run_for(120)
    assert short.state is ElectionState.FOLLOWER
    assert not short.terms
    assert leader_key(world) is None
    assert 3 <= asked.met <= 12
    assert troubles(short)[-1].startswith(f"keep a lease: election.lease_ttl: etcd granted {granted_s} s of 10 s. ")
    assert given_back.met == asked.met
    world.granted_s = None
    world.run_until(lambda: short.leads, within_s=40)


def test_a_leader_whose_lease_is_found_too_short_trusts_nothing_and_leaves_the_key() -> None:
    world = Stingy()
    short = leading_node(world)
    ended = short.term
    world.kept_s = 1
    world.run_until(lambda: short.last_reason is Reason.SHORT_TTL, within_s=3)
    assert not ended.is_valid
    world.run_for(0.01)
    assert leader_key(world) is None
    assert "etcd granted 1 s" in troubles(short)[-1]
    world.run_for(120)
    assert not short.leads
    assert len(short.states) <= 30  # a session is tried now and then, with growing pauses
    world.kept_s = None
    world.run_until(lambda: short.leads, within_s=40)


def test_a_stop_in_the_pause_after_a_lease_that_was_too_short_ends_at_once() -> None:
    world = Stingy()
    world.granted_s = 1
    short = node(world)
    world.run_for(20)
    short.stop()
    world.run_for(0.1)
    assert short.finished is not None
    assert short.finished.clean


def test_a_lease_that_is_kept_for_less_time_than_asked_is_renewed_the_more_often() -> None:
    world = Stingy()
    world.lives_s = world.kept_s = 4  # and the grant says 10
    world.granted_s = 10
    leader = leading_node(world)
    watch = BeliefWatch([leader])
    world.on_write.append(watch)
    for _ in range(60):
        world.run_for(0.5)
        assert leader.leads
        assert leader.believes_until <= world.clock.now + 4
    assert len(leader.terms) == 1
    leader.host.cut_off = True
    world.run_until(lambda: leader_key(world) is None, within_s=4)
    assert watch.violations == []


def test_the_ttl_of_a_grant_whose_answer_was_lost_is_told_by_the_first_keepalive() -> None:
    world = Stingy()
    world.lives_s = world.granted_s = world.kept_s = 4
    world.order(answer_lost(), lambda request: isinstance(request, Grant), times=1)
    leader = leading_node(world)
    other = node(world, "b")
    watch = BeliefWatch([leader, other])
    world.on_write.append(watch)
    world.run_for(30)
    assert (leader.leads, len(leader.terms)) == (True, 1)
    leader.host.cut_off = True
    world.run_until(lambda: other.leads, within_s=6)
    assert watch.violations == []


def test_times_set_by_hand_that_do_not_fit_the_granted_ttl_are_named_with_the_number_to_change() -> None:
    world = Stingy()
    world.lives_s = world.granted_s = 5
    short = node(world, options=ElectionOptions(lease_ttl=10, renew_interval=3))
    world.run_for(5)
    assert not short.terms
    assert "lower renew_interval below" in troubles(short)[0]


def test_a_candidate_that_may_not_renew_in_time_hinders_nobody() -> None:
    world = Stingy()
    world.lives_s = world.granted_s = 5
    short = node(world, options=ElectionOptions(lease_ttl=10, renew_interval=3))
    well = node(world, "b", OPTIONS)
    world.run_until(lambda: well.leads, within_s=3)
    world.run_for(30)
    assert (short.terms, len(well.terms)) == ([], 1)
    assert [kv.lease for kv in world.apply(Get(KEYS.leader)).kvs] == [well.elector._sessions.current.lease_id]
