"""Nodes that should not lead let others go first, and lead all the same when there is nobody else (PROTOCOL A17)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from slurp_leader.election import ElectionOptions, FitnessChanged, Reason, ResignWanted
from slurp_leader.election.events import Note
from slurp_leader.election.handover import Lending
from slurp_leader.election.history.entries import HistoryRecord, election_key
from slurp_leader.election.ranking.candidates import Candidate, read_candidates
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.orders import Order
from slurp_leader.store import Delete, Get, KeepAlive, Put, Txn, prefix_end
from slurp_leader.telemetry.events import LogEvent
from support.electing import KEYS, LENDING, Node, crash, leading_node, node, order
from support.virtual import World, fine, request_lost


def test_an_unfit_node_lets_a_fit_one_go_first() -> None:
    world = World()
    leader = leading_node(world)
    unfit = node(world, "b")
    fit = node(world, "c")
    unfit.seat.post(FitnessChanged("disk full"))
    leader.host.cut_off = True
    world.run_for(1)
    fit.host.pause()
    world.apply(Delete(KEYS.leader))
    world.run_for(1)
    fit.host.resume()
    world.run_until(lambda: fit.leads, within_s=5)
    assert not unfit.terms


def test_who_hands_over_for_its_health_says_so_in_the_history_and_in_the_log() -> None:
    world = World()
    leader = leading_node(world, "a")
    successor = node(world, "b")
    world.run_for(3)
    leader.seat.post(FitnessChanged("health checks fail: disk"))
    world.run_until(lambda: successor.leads, within_s=3)
    assert leader.last_reason is Reason.HANDOVER
    why = "a: it is not fit: health checks fail: disk"
    (kv,) = world.apply(Get(election_key(KEYS, successor.term.epoch))).kvs
    told = HistoryRecord.from_value(kv)
    assert (told.reason, told.by, told.why) == ("handover", "a", why)
    (note,) = [said for said in leader.said if isinstance(said, Note) and said.event is LogEvent.ELECTION_HANDED_OVER]
    assert (note.fields["to"], note.fields["by"], note.fields["why"]) == ("b", "a", why)


def test_when_all_are_unfit_one_leads_within_the_bound() -> None:
    world = World()
    nodes = [node(world, name) for name in "ab"]
    for each in nodes:
        each.seat.post(FitnessChanged("disk full"))
    world.run_until(lambda: any(each.leads for each in nodes), within_s=3)


def test_the_wait_of_the_unfit_begins_with_the_vacancy_and_is_never_restarted() -> None:
    world = World()
    unfit = node(world)
    unfit.seat.post(FitnessChanged("one"))
    for number in range(10):
        world.run_for(0.2)
        unfit.seat.post(FitnessChanged(f"again {number}"))
    world.run_until(lambda: unfit.leads, within_s=0.5)


def test_who_is_well_again_does_not_wait() -> None:
    world = World()
    leader = leading_node(world)
    other = node(world, "b")
    other.seat.post(FitnessChanged("disk full"))
    other.seat.post(FitnessChanged(""))
    world.run_for(2)
    leader.host.cut_off = True
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: other.leads, within_s=0.5)


def test_an_unfit_leader_hands_over_to_a_fit_node() -> None:
    world = World()
    leader = leading_node(world)
    fit = node(world, "b")
    world.run_for(2)
    leader.seat.post(FitnessChanged("disk full"))
    world.run_until(lambda: fit.leads, within_s=3)
    assert fit.last_reason is Reason.HANDOVER
    assert leader.leaders_seen.count(None) <= 1  # the beginning: at no revision after it nobody led


def test_an_unfit_leader_stays_where_nobody_else_stands() -> None:
    world = World()
    leader = leading_node(world)
    leader.seat.post(FitnessChanged("disk full"))
    world.run_for(30)
    assert leader.leads
    assert len(leader.terms) == 1
    late = node(world, "b")
    world.run_until(lambda: late.leads, within_s=15)


def wins_up_to(wins: int, world: World, leader: Node) -> None:
    """The key is deleted under it again and again, until it has won so often."""
    for won in range(2, wins + 1):
        world.apply(Delete(KEYS.leader))
        world.run_until(lambda won=won: len(leader.terms) == won, within_s=0.5)  # type: ignore[misc]


def test_who_wins_again_and_again_lets_others_go_first() -> None:
    world = World()
    winner = leading_node(world)
    wins_up_to(4, world, winner)
    other = node(world, "b")
    world.run_for(1)
    other.host.pause()
    world.apply(Delete(KEYS.leader))
    world.run_for(0.6)
    other.host.resume()
    world.run_until(lambda: other.leads, within_s=1)
    assert len(winner.terms) == 4


@pytest.mark.parametrize(
    ("wins", "later_s", "is_first"), [(3, 0, True), (4, 0, False), (4, 240, False), (4, 310, True)]
)
def test_more_than_three_wins_in_five_minutes_put_the_best_behind_the_others(
    wins: int, later_s: float, is_first: bool
) -> None:
    """Somebody else has led since: who merely led until now goes last anyway."""
    world = World()
    best = leading_node(world, free=Free(0.9, 0.9, 0.9))
    wins_up_to(wins, world, best)
    poor, between = (node(world, name, free=Free(0.1, 0.1, 0.1)) for name in "bc")
    world.run_for(later_s + 3)
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, best.term.token, "w", "c").to_value()))
    world.run_until(lambda: between.leads, within_s=3)
    world.run_for(3)
    crash(between)
    world.run_until(lambda: best.leads or poor.leads, within_s=0.2)
    assert best.leads is is_first


def test_who_won_again_and_again_lets_others_go_first_when_it_leads_no_more_and_not_before() -> None:
    """To give up the lead for that would be one loss more."""
    world = World()
    winner = leading_node(world)
    wins_up_to(4, world, winner)
    world.run_for(3)
    assert not _said_of(world, winner).cooling
    winner.host.cut_off = True
    world.apply(Delete(KEYS.leader))
    other = node(world, "b")
    world.run_until(lambda: other.leads)
    winner.host.cut_off = False
    for feed in winner.host.feeds:
        feed.nudge()
    world.run_for(3)
    assert _said_of(world, winner).cooling


def _said_of(world: World, standing: Node) -> Candidate:
    """What a node says of itself, to all."""
    records = read_candidates(world.apply(Get(KEYS.candidates, prefix_end(KEYS.candidates))).kvs)
    return next(each for each in records if each.node_id == standing.node_id)


def test_experience_grows_while_a_term_lasts() -> None:
    world = World()
    leader = leading_node(world)
    world.run_for(130)
    before = _said_of(world, leader).inputs
    world.run_for(130)
    after = _said_of(world, leader).inputs
    assert (before.terms_led, after.terms_led) == (1, 1)
    assert before.led_s > 0
    assert 60 < after.led_s - before.led_s < 200


def test_one_slow_answer_moves_the_round_trip_that_is_told_by_a_fifth_of_the_difference() -> None:
    world = World()
    leader = leading_node(world)

    def told() -> float | None:
        elector, clock = leader.elector, leader.host.clock
        session = elector._sessions.current
        assert session is not None
        return elector._service.measure(session, clock.boottime()).round_trip_s

    assert told() == pytest.approx(0.002)
    slow = world.order(fine(0.251, 0.251), lambda request: isinstance(request, KeepAlive), times=1)
    world.run_until(lambda: slow.met == 1)
    world.run_for(1)
    assert told() == pytest.approx(0.002 + 0.2 * 0.5)
    world.run_for(60)
    assert told() == pytest.approx(0.002, abs=0.001)


def test_where_all_have_won_again_and_again_nobody_is_waited_for() -> None:
    world = World()
    pair = node(world, "a"), node(world, "b")
    world.run_until(lambda: any(each.leads for each in pair))
    for _ in range(12):
        leader = next(each for each in pair if each.leads)
        standby = next(each for each in pair if each is not leader)
        world.run_for(2)
        world.apply(Delete(KEYS.leader))
        world.run_until(lambda standby=standby: standby.leads, within_s=0.5)  # type: ignore[misc]


def test_two_that_are_both_unfit_do_not_hand_the_lead_to_each_other_again_and_again() -> None:
    world = World()
    pair = leading_node(world, lending=LENDING), node(world, "b", lending=LENDING)
    for each in pair:
        each.seat.post(FitnessChanged("disk full"))
    world.run_for(120)
    assert sum(len(each.terms) for each in pair) == 1


def test_a_pinned_node_that_was_handed_the_lead_often_keeps_it() -> None:
    world = World()
    pinned = leading_node(world, lending=LENDING)
    other = node(world, "b", lending=LENDING)
    order(world, lambda orders: orders.pin("a", Order("ops")))
    world.run_for(2)
    for number in range(4):  # then it has won too often, and is handed the lead again once the first win is long ago
        value = TransferRecord(Stage.WISHED, pinned.term.token, f"w{number}", steps_down=True).to_value()
        world.apply(Put(KEYS.transfer, value))
        world.run_until(lambda: other.leads, within_s=5)
        world.run_until(lambda: pinned.leads, within_s=400)
    terms = len(pinned.terms)
    world.run_for(600)
    assert (pinned.leads, len(pinned.terms)) == (True, terms)


@pytest.mark.parametrize("lending", [None, LENDING], ids=["drains", "lends"])
def test_an_unfit_leader_asks_the_next_one_where_the_best_does_not_answer(lending: Lending | None) -> None:
    world = World()
    leader = leading_node(world, "a", lending=lending)
    best = [node(world, name, lending=lending, free=Free(1, 1, 1)) for name in "bcd"]
    last = node(world, "e", lending=lending, free=Free(0.1, 0.1, 0.1))
    world.run_for(130)  # measured and published
    for each in best:
        each.host.deaf = True  # their leases are renewed all the same
    leader.seat.post(FitnessChanged("disk full"))
    world.run_until(lambda: last.leads, within_s=60)


def test_an_unfit_leader_whom_nobody_answers_looks_once_in_ten_seconds() -> None:
    world = World()
    leader, silent = leading_node(world, "a", lending=LENDING), node(world, "b", lending=LENDING)
    world.run_for(2)
    silent.host.deaf = True
    looks = world.order(fine(), lambda request: isinstance(request, Get) and request.key == KEYS.candidates)
    leader.seat.post(FitnessChanged("disk full"))
    world.run_for(65)
    assert looks.met == 7
    assert leader.leads


def test_an_unfit_leader_asks_nobody_that_is_unfit_also_where_a_fit_one_does_not_answer() -> None:
    world = World()
    leader, silent, unfit = (node(world, name, lending=LENDING) for name in "abc")
    world.run_until(lambda: leader.leads)
    unfit.seat.post(FitnessChanged("disk full"))
    world.run_for(2)
    silent.host.deaf = True
    leader.seat.post(FitnessChanged("disk full"))
    world.run_for(65)
    assert leader.leads
    assert len(leader.terms) == 1
    assert not unfit.terms


def test_a_holder_that_speaks_again_holds_nobody_back() -> None:
    world = World()
    leader, other = leading_node(world, "a"), node(world, "b")
    order(world, lambda orders: orders.block("b", Order("ops", "disk")))
    world.run_for(5)
    lost = world.order(request_lost(), lambda request: isinstance(request, Txn), host=other.host)
    other.host.deaf = True
    world.run_for(12)
    assert "blocked" in other.held_back
    world.rules.remove(lost)
    other.host.deaf = False
    for feed in other.host.feeds:
        feed.nudge()
    world.run_for(10)
    assert leader.leads
    assert other.held_back == ""


def test_a_resignation_that_came_to_nothing_is_not_served_later() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    order(world, lambda orders: orders.freeze(Order("ops")))
    world.run_for(1)
    leader.seat.post(ResignWanted(leader.term.token, 3600.0))
    world.run_for(10)
    assert leader.leads  # nobody is there to take it
    order(world, lambda orders: orders.unfreeze())
    other = node(world, "b", lending=LENDING)
    world.run_for(30)
    wish = TransferRecord(Stage.WISHED, leader.term.token, "w1", to="b")
    world.apply(Put(KEYS.transfer, wish.to_value()))
    world.run_until(lambda: other.leads, within_s=10)
    world.run_for(120)
    assert leader.elector._candidacy.own(leader.elector._sessions.current, leader.host.clock.boottime()).unfit == ""


@pytest.mark.parametrize("min_nodes", [1, 2])
def test_an_old_leader_hands_over_to_a_newer_node_also_where_no_other_may_be_missing(min_nodes: int) -> None:
    world, options = World(), ElectionOptions(lease_ttl=timedelta(seconds=10), min_nodes=min_nodes)
    old = node(world, "a", options, version="1.0")
    world.run_for(0.01)
    new = node(world, "b", options, version="2.0")
    world.run_until(lambda: old.leads, within_s=30)
    order(world, lambda orders: orders.require_version("2.0", Order("ops")))
    world.run_until(lambda: new.leads, within_s=30)
