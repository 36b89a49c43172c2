"""The end of a term, wanted or not: resigning, stopping, being overtaken."""

from __future__ import annotations

import pytest

from slurp_leader.election import Drained, ElectionState, Finished, FitnessChanged, Reason, ResignWanted
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.errors import StoreBusyError, StoreClosedError
from slurp_leader.store import Delete, Get, Grant, Put, Revoke, prefix_end
from slurp_leader.store.follow import Snapshot
from support.electing import (
    KEYS,
    KEYSPACE,
    LENDING,
    OPTIONS,
    BeliefWatch,
    Node,
    crash,
    leader_key,
    leader_record,
    leading_node,
    node,
)
from support.virtual import World, answer_lost, failed, fine, late, puts_of, request_lost, writes_key

TAKES_OR_GIVES_BACK = writes_key(KEYS.leader)
BEATS = writes_key(KEYS.heartbeat)


def left_behind(world: World) -> list[bytes]:
    """Leased keys that are still there: leader key and session keys."""
    nodes = KEYSPACE.mirrored + b"nodes/"
    kvs = world.apply(Get(nodes, prefix_end(nodes))).kvs + world.apply(Get(KEYS.leader)).kvs
    return [kv.key for kv in kvs]


# ---------------------------------------------------------------- overtaken


def test_a_leader_whose_key_was_deleted_steps_down_when_its_watch_says_so() -> None:
    world = World()
    leader = leading_node(world)
    term = leader.term
    world.order(request_lost(), BEATS)  # it can only learn by watch
    world.apply(Delete(KEYS.leader))
    world.run_for(0.1)
    assert not term.is_valid
    assert (ElectionState.CANDIDATE, Reason.FENCED) in leader.states


def test_a_leader_whose_watch_is_deaf_learns_from_its_refused_heartbeat() -> None:
    world = World()
    leader = leading_node(world)
    leader.host.deaf = True
    term = leader.term
    world.apply(Put(KEYS.leader, b"{}"))
    world.run_for(OPTIONS.renew_interval_s + 0.1)
    assert not term.is_valid
    assert leader.last_reason is Reason.FENCED


def test_the_delete_of_an_earlier_term_is_no_loss_of_this_one() -> None:
    """A22: what is older than the token does not concern the term, however late it is seen."""
    world = World()
    leader = leading_node(world)
    token = leader.term.token
    leader.seat.post(Snapshot(token - 1, ()))
    world.run_for(OPTIONS.renew_interval_s * 3)
    assert leader.leads
    assert leader.term.token == token


def test_a_fenced_leader_stands_again() -> None:
    """I10: losing is normal."""
    world = World()
    leader = leading_node(world)
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: len(leader.terms) == 2 and leader.leads)
    assert leader.terms[1].token > leader.terms[0].token


def test_answers_to_an_old_term_do_not_touch_the_next_one_of_the_same_node() -> None:
    """A29: the heartbeat of the old term is answered when the new one is already proven."""
    world = World()
    leader = leading_node(world)
    rule = world.order(fine(0.9, 0.4), BEATS, times=1)
    world.run_until(lambda: rule.met == 1)
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: len(leader.terms) == 2)
    second = leader.term
    world.run_for(1.5)
    assert leader.leads
    assert leader.term is second
    assert leader.states[-1] == (ElectionState.LEADER, Reason.ELECTED)


def test_a_term_that_ran_out_gives_the_key_back_by_token_until_that_is_definite() -> None:
    """A7: nothing may hold the key that does not lead, even when the lease lives on."""
    world = World()
    leader = leading_node(world)
    token = leader.term.token
    beats = world.order(request_lost(), BEATS)
    gives_back = world.order(request_lost(), TAKES_OR_GIVES_BACK, times=3)
    world.run_until(lambda: leader.last_reason is Reason.EXPIRED)
    assert leader_key(world).mod_revision == token
    world.rules.remove(beats)
    world.run_until(lambda: leader.leads)
    assert gives_back.met == 3
    assert leader.term.token > token
    assert leader.last_reason is Reason.ELECTED  # and not adopted: an ended token is never resumed


# ---------------------------------------------------------------- resigning


def test_resigning_drains_first_and_keeps_the_key_meanwhile() -> None:
    world = World()
    leader = leading_node(world)
    leader.drains_at_once = False
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.run_for(20.0)
    assert leader.state is ElectionState.DRAINING
    assert leader.leads  # renewed all the while: what is under way may end
    assert leader_key(world).mod_revision == leader.term.token


def test_who_resigns_lets_others_go_first() -> None:
    world = World()
    leader, other = leading_node(world, "a"), node(world, "b")
    watch = BeliefWatch([leader, other])
    world.on_write.append(watch)
    world.run_for(1.0)
    world.watch_delay_s = lambda: 0.5  # others hear late
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.run_until(lambda: other.leads, within_s=3.0)
    assert leader.state is ElectionState.CANDIDATE
    assert watch.violations == []


def test_who_resigns_with_nobody_there_leads_again_after_the_pause() -> None:
    world = World()
    leader = leading_node(world)
    leader.seat.post(ResignWanted(leader.term.token, 3.0))
    world.run_for(2.9)
    assert not leader.leads
    world.run_until(lambda: leader.leads, within_s=0.5)


def test_trust_ends_before_the_key_is_given_back() -> None:
    world = World()
    leader = leading_node(world)
    watch = BeliefWatch([leader])
    world.on_write.append(watch)
    term = leader.term
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.run_until(lambda: not term.is_valid, within_s=0.1)  # it has looked for a successor, and there is none
    world.run_for(1.0)
    assert leader_key(world) is None
    assert watch.violations == []


def test_a_drain_that_does_not_end_is_ended_after_the_stop_timeout() -> None:
    world = World()
    leader = leading_node(world)
    leader.drains_at_once = False
    leader.seat.post(ResignWanted(leader.term.token, 60.0))
    world.run_for(OPTIONS.stop_timeout_s - 0.1)
    assert leader.leads
    world.run_for(0.2)
    assert not leader.leads
    assert leader_key(world) is None


def test_drained_of_another_term_does_not_release_this_one() -> None:
    world = World()
    leader = leading_node(world)
    leader.drains_at_once = False
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    leader.seat.post(Drained(leader.term.token - 1))
    world.run_for(1.0)
    assert leader.leads
    leader.seat.post(Drained(leader.term.token))
    assert not leader.leads


def test_drained_without_a_wish_to_leave_changes_nothing() -> None:
    world = World()
    leader = leading_node(world)
    leader.seat.post(Drained(leader.term.token))
    world.run_for(1.0)
    assert leader.leads
    assert len(leader.terms) == 1


def test_a_term_lost_while_draining_says_how_it_was_lost() -> None:
    world = World()
    leader = leading_node(world)
    leader.drains_at_once = False
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.apply(Delete(KEYS.leader))
    world.run_for(0.1)
    assert (ElectionState.CANDIDATE, Reason.FENCED) in leader.states


def test_a_release_whose_answer_was_lost_is_repeated_and_frees_the_key_once() -> None:
    world = World()
    leader, other = leading_node(world, "a"), node(world, "b")
    world.run_for(1.0)
    world.order(answer_lost(), TAKES_OR_GIVES_BACK, host=leader.host, times=2)
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.run_for(10.0)
    assert other.leads
    assert len(other.terms) == 1


def test_a_copy_of_a_release_that_arrives_late_does_not_hit_the_next_term() -> None:
    world = World()
    leader, other = leading_node(world, "a"), node(world, "b")
    world.run_for(1.0)
    world.order(late(6.0), TAKES_OR_GIVES_BACK, host=leader.host, times=1)
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.run_until(lambda: other.leads, within_s=4.0)
    world.run_for(10.0)
    assert other.leads
    assert len(other.terms) == 1


def test_a_release_that_the_store_would_not_look_at_is_sent_again_and_not_turned_into_an_adoption() -> None:
    world = World()
    leader = leading_node(world)
    world.order(failed(StoreBusyError()), TAKES_OR_GIVES_BACK, times=2)
    leader.seat.post(ResignWanted(leader.term.token, 5.0))
    world.run_for(2.0)
    assert leader_key(world) is None
    assert Reason.ADOPTED not in [reason for _, reason in leader.states]


# ---------------------------------------------------------------- stopping


def test_a_stopped_leader_leaves_nothing_behind() -> None:
    world = World()
    leader = leading_node(world)
    leader.stop()
    world.run_for(1.0)
    assert leader.finished == Finished(clean=True)
    assert left_behind(world) == []
    assert leader.states[-2:] == [
        (ElectionState.CANDIDATE, Reason.SHUTDOWN),
        (ElectionState.FOLLOWER, Reason.SHUTDOWN),
    ]


@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.0015, 0.0025, 0.0035, 0.0045, 0.0055, 0.0065, 0.0075, 0.0085, 0.5])
def test_a_stop_at_any_moment_of_the_start_ends_soon_and_leaves_nothing_behind(after_s: float) -> None:
    world = World()
    starting = node(world)
    world.run_for(after_s)
    starting.stop()
    world.run_for(1.0)
    assert starting.finished == Finished(clean=True)
    world.run_for(OPTIONS.lease_ttl_s)
    assert left_behind(world) == []
    assert not starting.leads


def test_a_win_that_comes_in_after_the_stop_is_not_announced() -> None:
    world = World()
    world.order(fine(0.3, 0.3), TAKES_OR_GIVES_BACK, times=1)
    starting = node(world)
    world.run_until(lambda: leader_key(world) is not None)
    starting.stop()
    world.run_for(2.0)
    assert starting.terms == []
    assert starting.finished == Finished(clean=True)
    assert left_behind(world) == []


def test_a_suspended_leader_can_be_stopped() -> None:
    world = World()
    leader = leading_node(world)
    world.order(request_lost(), BEATS)
    world.run_until(lambda: leader.state is ElectionState.SUSPENDED)
    leader.stop()
    world.run_for(2.0)
    assert leader.finished == Finished(clean=True)
    assert left_behind(world) == []


def test_a_stop_while_a_resignation_drains_ends_as_a_stop() -> None:
    world = World()
    leader = leading_node(world)
    leader.drains_at_once = False
    leader.seat.post(ResignWanted(leader.term.token, 60.0))
    leader.stop()
    world.run_for(1.0)
    leader.seat.post(Drained(leader.term.token))
    world.run_for(1.0)
    assert leader.finished == Finished(clean=True)


def test_a_stop_without_a_store_gives_up_soon_and_says_that_it_was_not_clean() -> None:
    world = World()
    leader = leading_node(world)
    leader.host.cut_off = True
    leader.stop()
    world.run_until(lambda: not leader.leads, within_s=1.5)  # it has asked for a successor in vain
    world.run_until(lambda: leader.finished is not None, within_s=5.0)
    assert leader.finished == Finished(clean=False)
    world.run_for(OPTIONS.lease_ttl_s)
    assert left_behind(world) == []


def test_a_candidate_that_is_stopped_without_a_store_gives_up_soon() -> None:
    world = World()
    candidate = node(world)
    candidate.host.cut_off = True
    world.run_for(1.0)
    candidate.stop()
    world.run_until(lambda: candidate.finished is not None, within_s=5.0)


def test_work_that_does_not_drain_delays_a_stop_by_the_stop_timeout_and_no_more() -> None:
    world = World()
    leader = leading_node(world)
    leader.drains_at_once = False
    leader.stop()
    world.run_for(OPTIONS.stop_timeout_s - 0.1)
    assert leader.leads
    world.run_for(1.0)
    assert leader.finished == Finished(clean=True)
    assert left_behind(world) == []


def test_after_the_end_nothing_is_sent_any_more() -> None:
    world = World()
    leader = leading_node(world)
    leader.stop()
    world.run_for(1.0)
    rule = world.order(fine())
    leader.stop()
    world.run_for(60.0)
    assert rule.met == 0


def test_a_store_that_was_closed_under_the_elector_ends_it() -> None:
    world = World()
    leader = leading_node(world)
    world.order(failed(StoreClosedError()))
    world.run_until(lambda: leader.finished is not None, within_s=OPTIONS.renew_interval_s)
    assert leader.last_reason is Reason.STORE_CLOSED
    assert not leader.leads


def test_a_grant_that_arrives_after_the_stop_dies_by_itself() -> None:
    world = World()
    world.order(late(3.0), lambda request: isinstance(request, Grant), times=1)
    starting = node(world)
    world.run_for(0.1)
    starting.stop()
    world.run_for(2.0)
    assert starting.finished == Finished(clean=True)
    world.run_for(5.0 + OPTIONS.lease_ttl_s)
    assert world.state.next_expiry() == float("inf")


def test_a_revoke_whose_answer_was_lost_is_found_done() -> None:
    world = World()
    leader = leading_node(world)
    world.order(answer_lost(), lambda request: isinstance(request, Revoke), times=1)
    leader.stop()
    world.run_for(3.0)
    assert leader.finished == Finished(clean=True)


def test_a_heartbeat_that_arrives_after_its_term_is_refused() -> None:
    """I2, as far as the elector writes: the fence is in the transaction."""
    world = World()
    leader, other = leading_node(world, "a"), node(world, "b")
    world.run_for(0.5)
    world.order(late(4.0), BEATS, host=leader.host, times=1)
    world.run_for(OPTIONS.renew_interval_s)
    leader.stop()
    world.run_until(lambda: other.leads)
    world.run_for(8.0)
    over = other.term.token
    beats = [event.kv for event in puts_of(world.log, KEYS.heartbeat) if event.kv.mod_revision > over]
    assert beats
    assert all(b'"node":"b"' in kv.value for kv in beats)


def test_a_resignation_that_comes_after_its_term_leaves_the_next_one_alone() -> None:
    world = World()
    leader = leading_node(world)
    token = leader.term.token
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: leader.leads and leader.term.token > token)
    leader.seat.post(ResignWanted(token, 2.0))
    world.run_for(3.0)
    assert leader.leads
    assert len(leader.terms) == 2


# ---------------------------------------------------------------- stopping, while what was lent goes on


def _lends_for_long(world: World) -> tuple[Node, Node, Node]:
    """The first has handed the lead to the second, and what it lent does not end; the third would rather not lead."""
    options = OPTIONS.but(stop_timeout=30)
    first = leading_node(world, "a", options, lending=LENDING, drains_at_once=False)
    second = node(world, "b", options, lending=LENDING)
    world.run_for(5)
    first.seat.post(ResignWanted(first.term.token, 0.0))
    world.run_until(lambda: second.leads)
    third = node(world, "c", options, lending=LENDING, free=Free(0, 0, 0))
    world.run_for(5)
    return first, second, third


def _is_taken_soon(world: World, *nodes: Node) -> None:
    """Sooner than it takes until a holder counts as silent."""
    world.run_until(lambda: any(each.leads for each in nodes), within_s=OPTIONS.takeover_timeout_s - 0.1)


def test_a_campaign_that_is_applied_late_keeps_the_key_from_nobody() -> None:
    """A7a. Its session lives on, so the end of the lease does not free it."""
    world = World()
    first, second, third = _lends_for_long(world)
    third.seat.post(FitnessChanged("slow"))
    world.run_for(3)
    campaigns = world.order(late(0.3), TAKES_OR_GIVES_BACK, host=first.host, times=1)
    crash(second)
    world.run_until(lambda: campaigns.met == 1)
    first.stop()
    _is_taken_soon(world, third)


def test_a_handover_that_was_agreed_to_before_the_stop_keeps_the_key_from_nobody() -> None:
    world = World()
    first, second, third = _lends_for_long(world)
    world.order(fine(0.02), writes_key(KEYS.ack), host=first.host, times=1)
    wish = TransferRecord(Stage.WISHED, second.term.token, "w1", "a", "somebody")
    world.apply(Put(KEYS.transfer, wish.to_value()))
    world.run_until(lambda: first.elector._successor._promised)
    first.stop()
    world.run_until(lambda: leader_key(world) is not None and leader_record(world).node_id == "a", within_s=1)
    world.run_for(0.05)
    _is_taken_soon(world, second, third)
