"""Taking the leader key: who may, when it counts, and what an answer that never came means."""

from __future__ import annotations

from slurp_leader.election import ElectionState, Reason, ResignWanted, StateChanged
from slurp_leader.errors import StoreBusyError
from slurp_leader.store import Delete, Get, Put, Txn
from support.electing import KEYS, OPTIONS, leader_key, leader_record, leading_node, node
from support.virtual import World, answer_lost, failed, fine, late, puts_of, request_lost, writes_key

TAKES = writes_key(KEYS.leader)
BEATS = writes_key(KEYS.heartbeat)


def test_a_lone_candidate_leads_at_once() -> None:
    world = World()
    alone = node(world)
    world.run_until(lambda: alone.leads, within_s=1.0)
    assert alone.states == [
        (ElectionState.CANDIDATE, Reason.STARTED),
        (ElectionState.LEADER, Reason.ELECTED),
    ]
    assert alone.term.token == leader_key(world).mod_revision


def test_of_three_candidates_one_leads_and_all_know_which() -> None:
    world = World()
    nodes = [node(world, name) for name in "abc"]
    world.run_for(1.0)
    leaders = [n for n in nodes if n.leads]
    assert len(leaders) == 1
    assert {n.leaders_seen[-1] for n in nodes} == {leaders[0].term.token}


def test_a_win_is_told_to_nobody_before_a_fenced_heartbeat_has_passed() -> None:
    world = World()
    world.order(request_lost(), BEATS)
    winner = node(world)
    world.run_until(lambda: leader_key(world) is not None)
    world.run_for(5.0)
    assert not winner.leads
    assert ElectionState.LEADER not in [state for state, _ in winner.states]


def test_a_win_that_is_never_proved_is_given_back_after_a_ttl() -> None:
    world = World()
    rule = world.order(request_lost(), BEATS)
    winner = node(world)
    world.run_until(lambda: leader_key(world) is not None)
    first = leader_key(world)
    world.run_until(lambda: leader_key(world) != first, within_s=OPTIONS.lease_ttl_s + 0.5)
    world.rules.remove(rule)
    world.run_until(lambda: winner.leads)
    assert first is not None
    assert winner.term.token > first.mod_revision


def test_the_first_window_counts_from_a_keepalive_sent_after_the_win() -> None:
    """Not from one that the candidate sent for its lease, however fresh."""
    world = World()
    first, second = leading_node(world, "a"), node(world, "b")
    world.run_for(OPTIONS.renew_interval_s * 2.5)  # the candidate has renewed its lease meanwhile
    world.order(fine(0.5, 0.5), TAKES, host=second.host, times=1)
    won_at: list[float] = []
    world.on_write.append(lambda write: won_at.append(write.at) if write.author == "b" else None)
    first.host.crash()  # a leader that stops would hand over
    world.run_until(lambda: second.leads)
    counted_from = second.believes_until - (OPTIONS.lease_ttl_s - OPTIONS.margin_s)
    assert counted_from >= won_at[0] + 0.5  # when the win was known


def test_a_campaign_whose_answer_was_lost_is_found_to_be_won() -> None:
    world = World()
    world.order(answer_lost(), TAKES, times=1)
    winner = node(world)
    world.run_until(lambda: winner.leads)
    assert len(puts_of(world.log, KEYS.leader)) == 1
    assert winner.term.token == puts_of(world.log, KEYS.leader)[0].kv.mod_revision


def test_a_campaign_that_arrives_long_after_its_repeat_changes_nothing() -> None:
    """The copy compares an epoch that has moved (A2, A21)."""
    world = World()
    world.order(late(8.0), TAKES, times=1)
    winner = node(world)
    world.run_until(lambda: winner.leads)
    token = winner.term.token
    world.run_for(20.0)
    assert winner.leads
    assert winner.term.token == token
    assert len(puts_of(world.log, KEYS.leader)) == 1


def test_an_unknown_campaign_is_repeated_as_it_was_and_not_replaced_by_another() -> None:
    world = World()
    rule = world.order(request_lost(), TAKES)
    asked: list[Txn] = []
    lost = rule.chosen
    rule.chosen = lambda request: lost(request) and not asked.append(request)
    node(world)
    world.run_for(6.0)
    assert len(asked) >= 3
    assert len(set(asked)) == 1


def test_a_store_that_will_not_look_at_a_campaign_is_asked_ever_more_slowly() -> None:
    world = World()
    rule = world.order(failed(StoreBusyError()), TAKES)
    refused = node(world)
    world.run_for(20.0)
    assert 5 <= rule.met <= 15
    world.rules.remove(rule)
    world.run_until(lambda: refused.leads, within_s=OPTIONS.retry_interval_s * 1.3)


def test_a_copy_of_a_campaign_that_arrives_when_the_key_is_free_again_is_refused() -> None:
    """A21: it compares an epoch that has moved; else two terms had one epoch, and even one term id."""
    world = World()
    world.order(late(8.0), TAKES, times=1)
    winner = node(world)
    world.run_until(lambda: winner.leads)
    winner.seat.post(ResignWanted(winner.term.token, 30.0))
    world.run_for(12.0)
    assert len(puts_of(world.log, KEYS.leader)) == 1
    assert leader_key(world) is None


def test_a_campaign_does_not_overwrite_a_key_that_came_before_it() -> None:
    world = World()
    world.order(fine(0.5, 0.001), TAKES, times=1)
    candidate = node(world)
    world.run_for(0.2)
    world.apply(Put(KEYS.leader, b"{}"))  # by hand: the epoch has not moved
    world.run_for(1.0)
    assert world.apply(Get(KEYS.leader)).kvs[0].value == b"{}"
    assert candidate.terms == []


def test_a_proof_that_comes_too_late_to_be_worth_anything_is_not_announced() -> None:
    world = World()
    winner = node(world)
    valid_when_told: list[bool] = []
    winner.told = lambda said: (
        valid_when_told.append(said.term.is_valid)
        if isinstance(said, StateChanged) and said.state is ElectionState.LEADER
        else None
    )
    world.run_until(lambda: leader_key(world) is not None)
    world.run_for(0.002)  # the first keepalive is under way
    winner.host.pause()
    world.run_for(OPTIONS.lease_ttl_s - OPTIONS.margin_s / 2)
    winner.host.resume()
    world.run_until(lambda: winner.leads)
    assert valid_when_told == [True]


def test_the_next_epoch_is_one_above_the_newest_that_was_seen() -> None:
    world = World()
    world.watch_delay_s = lambda: 0.3
    slow = node(world)
    world.run_until(lambda: slow.leads)
    world.apply(Put(KEYS.epoch, b"41"))
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: len(slow.terms) == 2 and slow.leads)
    assert slow.term.epoch == 42
    assert leader_record(world).epoch == 42


def test_every_win_has_its_own_term_id() -> None:
    world = World()
    winner = leading_node(world)
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: len(winner.terms) == 2)
    one, two = winner.terms
    assert one.term_id != two.term_id
    assert one.value != two.value


def test_a_candidate_whose_watch_is_deaf_finds_a_vacancy_by_looking() -> None:
    """A17: no event, no standstill."""
    world = World()
    first = leading_node(world, "a")
    second = node(world, "b")
    world.run_for(1.0)
    second.host.deaf = True
    first.stop()
    world.run_until(lambda: second.leads, within_s=1.3 * OPTIONS.retry_interval_s + 2.0)  # it answers no offer


def test_a_leader_key_that_cannot_be_read_is_respected_until_it_stays_silent_for_a_ttl() -> None:
    world = World()
    world.apply(Put(KEYS.leader, b"\xff not a record"))
    candidate = node(world)
    world.run_for(OPTIONS.lease_ttl_s - 1.0)
    assert not candidate.leads
    world.run_until(lambda: candidate.leads, within_s=2.0)
    assert candidate.last_reason is Reason.STOLEN


def test_a_deposition_seen_before_the_campaigns_own_answer_ends_the_win_unannounced() -> None:
    world = World()
    candidate = node(world)
    world.order(fine(0.001, 0.5), TAKES, times=1)
    world.run_until(lambda: leader_key(world) is not None)
    world.apply(Put(KEYS.leader, b"{}"))
    world.run_for(1.0)
    assert candidate.terms == []
    assert world.apply(Get(KEYS.leader)).kvs[0].value == b"{}"
