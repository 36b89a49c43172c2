"""A calendar that is set back an hour, or forward a year: it is told to people, and decides nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from slurp_leader.clock import parse_utc
from slurp_leader.election import Reason
from slurp_leader.election.history.entries import HistoryRecord, read_entries
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.orders import Order
from slurp_leader.store import Get, Put, prefix_end
from support.electing import KEYS, LENDING, OPTIONS, BeliefWatch, Node, crash, leading_node, node, order
from support.virtual import World

HOURS = pytest.mark.parametrize("hours", [-1, 365 * 24], ids=["an hour back", "a year ahead"])


def set_date(of: Node, hours: float) -> None:
    of.host.clock._date_off += timedelta(hours=hours)


def entries(world: World) -> list[HistoryRecord]:
    found, unreadable = read_entries(world.apply(Get(KEYS.history, prefix_end(KEYS.history))).kvs)
    assert unreadable == 0
    return [entry for entry in found if isinstance(entry, HistoryRecord)]


def test_a_date_that_is_set_in_the_middle_of_a_term_changes_nothing_of_it() -> None:
    world = World()
    leader, other = leading_node(world, "a"), node(world, "b")
    watch = BeliefWatch([leader, other])
    world.on_write.append(watch)
    for hours in (-1, 365 * 24, -365 * 24, 1):
        until = leader.term.trust.until
        set_date(leader, hours)
        set_date(other, -hours)
        assert leader.term.trust.until == until
        for _ in range(100):
            world.run_for(0.25)
            assert leader.leads
    assert (len(leader.terms), other.terms, watch.violations) == (1, [], [])


@HOURS
def test_elections_handovers_and_steals_go_on_and_the_history_keeps_the_order_of_terms(hours: float) -> None:
    world = World()
    leader, other = leading_node(world, "a", lending=LENDING), node(world, "b", lending=LENDING)
    watch = BeliefWatch([leader, other])
    world.on_write.append(watch)
    world.run_for(3)
    set_date(other, hours)
    world.apply(Put(KEYS.transfer, TransferRecord(Stage.WISHED, leader.term.token, "w1").to_value()))
    world.run_until(lambda: other.leads, within_s=1)
    world.run_for(5)
    set_date(leader, -hours)
    other.host.cut_off = True
    world.run_until(lambda: leader.leads, within_s=OPTIONS.lease_ttl_s + 2 * OPTIONS.rank_wait_s)
    other.host.cut_off = False
    world.run_for(3)
    assert watch.violations == []
    crash(leader)
    world.run_until(lambda: other.leads, within_s=OPTIONS.rank_wait_s + 0.5)
    told = entries(world)
    assert [(entry.epoch, entry.node_id) for entry in told] == [(1, "a"), (2, "b"), (3, "a"), (4, "b")]
    assert [entry.reason for entry in told][:2] == [Reason.ELECTED, Reason.HANDOVER]
    assert [entry.token for entry in told] == sorted(entry.token for entry in told)
    dates = [parse_utc(entry.at) for entry in told]
    assert is_off(world, dates[3], hours)  # the winner's own date stands there, whatever it is
    assert all(entry.vacancy_s is None or 0 <= entry.vacancy_s < 60 for entry in told)  # seconds are counted, not dates


def is_off(world: World, date: datetime, hours: float) -> bool:
    return abs(date - world.clock.utcnow() - timedelta(hours=hours)) < timedelta(minutes=5)


@HOURS
def test_scores_waits_and_orders_know_no_date(hours: float) -> None:
    world = World()
    leader = leading_node(world, "a")
    other = node(world, "b")
    world.run_for(3)
    set_date(leader, hours)
    set_date(other, -hours)
    world.run_for(130)  # both have published anew
    order(world, lambda orders: orders.block("a", Order("ops", "new disk", "2099-01-01T00:00:00Z")))
    world.run_until(lambda: other.leads, within_s=1)
    order(world, lambda orders: orders.freeze(Order("ops")))
    world.run_for(10)
    assert other.leads
    inputs = {each.node_id: each.inputs for each in other.elector._contest._known}
    assert all(0 <= each.uptime_s < 300 and each.led_s < 300 for each in inputs.values())
