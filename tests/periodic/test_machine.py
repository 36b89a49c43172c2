"""When periodic work begins: on virtual time, with nodes that crash, stall, and hear nothing."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic_core import to_json

from periodic.rig import KEY, all_dues, leading, record, recorded_due, worker
from slurp_leader.election import ElectionState
from slurp_leader.periodic.messages import (
    Drained,
    Ended,
    GoOn,
    Lead,
    Note,
    RunOutcome,
    Settle,
    Settled,
    Skipped,
    SkipReason,
)
from slurp_leader.periodic.schedule import Cron, Interval
from slurp_leader.store import Delete, Get, Put, Request
from slurp_leader.telemetry.events import LogEvent
from support.electing import KEYS
from support.virtual import Fate, World, answer_lost, connection_refused, fine, full, late, request_lost, writes_key

MINUTELY = Cron.of("* * * * *")
START = datetime(2026, 1, 1, tzinfo=UTC)
PAUSES_S = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0)
"""Between two sends of what was not answered, but for the jitter."""


# ---------------------------------------------------------------- one leader


def test_it_begins_at_once_and_then_at_every_interval() -> None:
    world = World()
    a = leading(world)
    first = a.begun_at[0]
    world.run_for(179)
    assert a.begun_at == [first, first + 60, first + 120]
    found = record(world)
    assert found is not None
    assert (found["token"], found["node"]) == (a.node.term.token, "a")
    assert abs(recorded_due(world) - (START + timedelta(seconds=first + 120))) < timedelta(seconds=0.1)


def test_cron_begins_at_its_times_and_not_before() -> None:
    world = World()
    a = leading(world, schedule=MINUTELY)
    assert a.begun == []
    world.run_for(150)
    assert a.dues == [START + timedelta(minutes=1), START + timedelta(minutes=2)]
    assert recorded_due(world) == a.dues[-1]


def test_nothing_begins_before_the_claim_is_known_to_be_there() -> None:
    world = World()
    lost = world.order(answer_lost(), writes_key(KEY), times=3)
    a = worker(world)
    world.run_until(lambda: lost.met == 3)
    assert record(world) is not None
    assert a.begun == []
    world.run_for(10)
    assert len(a.begun) == 1
    assert len({write.revision for write in world.log for event in write.events if event.kv.key == KEY}) == 1


@pytest.mark.parametrize("fate", [request_lost(), full(), full(written=True), late(1.5)], ids=lambda fate: fate.kind)
def test_whatever_becomes_of_the_claim_the_run_begins_once(fate: object) -> None:
    world = World()
    world.order(fate, writes_key(KEY), times=2)  # type: ignore[arg-type]
    a = leading(world)
    world.run_for(50)
    assert len(a.begun) == 1


def test_an_etcd_that_refuses_is_asked_less_and_less_often_and_warned_of_once() -> None:
    world = World()
    sent: list[float] = []

    def is_claim(request: Request[Any]) -> bool:
        is_one = writes_key(KEY)(request)
        sent.extend([world.clock.now] * is_one)
        return is_one

    outage = world.order(connection_refused(), is_claim)
    a = worker(world)
    for _ in range(2):  # the second one begins with short pauses again
        world.run_until(lambda: len(sent) == 9)
        pauses = [later - earlier for earlier, later in itertools.pairwise(sent)]
        assert all(0.75 * wanted < pause < 1.25 * wanted + 0.01 for pause, wanted in zip(pauses, PAUSES_S, strict=True))
        noted = [said.level for said in a.said if isinstance(said, Note)]
        assert (noted[0], {*noted[1:]}) == (logging.WARNING, {logging.DEBUG})
        world.rules.remove(outage)
        world.run_for(10)
        assert len(a.begun) > 0
        sent.clear()
        a.said.clear()
        world.rules.append(outage)


def test_work_that_still_runs_is_not_begun_beside_itself_and_makes_up_for_nothing() -> None:
    world = World()
    a = leading(world, holds=True)
    world.run_for(130)
    assert (len(a.begun), a.skipped) == (1, ["running", "running"])
    a.end_run()
    world.run_for(40)
    assert len(a.begun) == 1
    world.run_for(20)
    assert len(a.begun) == 2


def test_a_node_that_slept_makes_up_once_for_all_it_missed() -> None:
    world = World()
    a = leading(world, schedule=Interval(2))
    before = len(a.begun)
    a.host.pause()
    world.run_for(7)
    a.host.resume()
    world.run_for(0.2)
    assert len(a.begun) == before + 1


# ---------------------------------------------------------------- a change of the leader


@pytest.mark.parametrize("schedule", [Interval(60), MINUTELY], ids=["interval", "cron"])
def test_a_due_time_while_nobody_leads_is_begun_once_by_the_next_leader(schedule: Interval | Cron) -> None:
    world = World()
    a = leading(world, "a", schedule)
    b = worker(world, "b", schedule)
    world.run_to(1000 + 118 - 1)
    done = len(a.begun)
    a.crash()
    world.run_until(lambda: b.node.leads)
    assert 1120 < world.clock.now < 1135
    world.run_for(1)
    assert len(a.begun) == done
    assert len(b.begun) == 1
    assert timedelta(seconds=59) < b.dues[0] - a.dues[-1] < timedelta(seconds=61)
    world.run_to(1000 + 200)
    gaps = {round((y - x).total_seconds()) for x, y in itertools.pairwise(all_dues([a, b]))}
    assert gaps == {60}


def test_a_change_of_the_leader_between_two_due_times_doubles_nothing() -> None:
    world = World()
    a = leading(world)
    b = worker(world, "b")
    world.run_for(10)
    a.crash()
    world.run_until(lambda: b.node.leads)
    world.run_to(1059)
    assert b.begun == []
    world.run_to(1070)
    assert len(b.begun) == 1


def test_cron_that_never_ran_is_not_skipped_by_a_change_of_the_leader() -> None:
    world = World()
    a, b = leading(world, "a", MINUTELY), worker(world, "b", MINUTELY)
    world.run_to(1055)
    a.crash()
    world.run_to(1075)
    assert b.dues == [START + timedelta(minutes=1)]


def test_a_claim_of_an_old_term_that_arrives_late_changes_nothing() -> None:
    world = World()
    a, b = leading(world), worker(world, "b")
    world.order(late(30), writes_key(KEY), host=a.host)
    world.run_for(59.7)  # sent, and under way
    a.crash()
    world.run_until(lambda: b.node.leads)
    world.run_for(40)
    assert (len(a.begun), len(b.begun)) == (1, 1)
    assert record(world)["node"] == "b"  # type: ignore[index]


def test_a_claim_of_an_old_term_does_not_land_where_nobody_wrote_since() -> None:
    world = World()
    a, b = leading(world, grace_s=5), worker(world, "b", grace_s=5)
    before = recorded_due(world)
    world.order(late(30), writes_key(KEY), host=a.host)
    world.run_for(59.7)  # sent, and under way
    a.crash()
    world.run_until(lambda: b.node.leads)
    world.run_to(1095)
    assert b.skipped == ["late"]
    assert recorded_due(world) == before


def test_a_claim_whose_answer_was_lost_with_the_term_is_begun_by_nobody() -> None:
    world = World()
    a, b = leading(world), worker(world, "b")
    lost = world.order(answer_lost(), writes_key(KEY), host=a.host)
    world.run_until(lambda: lost.met == 1)
    a.crash()
    world.run_until(lambda: b.node.leads)
    world.run_for(30)
    assert (len(a.begun), len(b.begun)) == (1, 0)  # at most once
    world.run_for(30)
    assert len(b.begun) == 1


@pytest.mark.parametrize("end", [Delete(KEYS.leader), Put(KEYS.leader, b"of another node")], ids=["gone", "another's"])
@pytest.mark.parametrize("schedule", [Interval(60), Cron.of("0 12 * * *")], ids=["claim", "first sight"])
def test_what_the_fence_refused_is_left_alone_until_the_election_says_that_the_term_is_over(
    schedule: Interval | Cron, end: Delete | Put
) -> None:
    """Whatever is sent in this term is refused too: claimed anew, it would be sent as fast as etcd answers."""
    world = World()
    first = world.order(request_lost(), writes_key(KEY), times=1)
    a = worker(world, schedule=schedule)
    world.run_until(lambda: first.met == 1)
    a.host.deaf = True  # the election has to ask, which it does at its next renewal
    world.apply(end)
    refused = world.order(fine(), writes_key(KEY))
    world.run_until(lambda: refused.met == 1)
    world.run_for(0.1)
    a.seat.post(Lead(a.node.term))  # as after a pause whose end was proven before the term ended
    world.run_until(lambda: a.node.state is not ElectionState.LEADER)
    assert refused.met == 1
    assert (a.begun, record(world)) == ([], None)


def test_a_claim_whose_term_ends_before_its_run_may_begin_is_said_to_be_lost() -> None:
    world = World()
    a = leading(world)
    claims = world.order(fine(0.001, 0.9), writes_key(KEY), host=a.host, times=1)
    world.run_until(lambda: claims.met == 1)
    a.node.term.trust.until = float("-inf")
    world.run_for(1)  # it is claimed, and waits for trust
    claimed = recorded_due(world)
    assert a.skipped == []
    world.apply(Delete(a.node.term.key))
    world.run_for(0.5)
    lost = [said for said in a.said if isinstance(said, Skipped)]
    assert [(each.reason, each.due) for each in lost] == [(SkipReason.LOST, claimed)]
    assert 0.9 < lost[0].late_s < 2
    world.run_until(lambda: a.node.leads)
    world.run_for(1)
    assert len(a.begun) == 1  # the claim stands
    world.run_for(60)
    assert len(a.begun) == 2


def test_a_claim_that_was_not_begun_is_given_back_with_the_term() -> None:
    world = World()
    a, b = leading(world), worker(world, "b")
    lost = world.order(answer_lost(), writes_key(KEY), host=a.host, times=1)
    world.run_until(lambda: lost.met == 1)
    a.node.stop()
    world.run_until(lambda: b.node.leads)
    world.run_for(1)
    assert (len(a.begun), len(b.begun)) == (1, 1)
    assert b.dues[0] - a.dues[0] < timedelta(seconds=61)


def test_a_first_claim_that_was_not_begun_leaves_no_record_behind() -> None:
    world = World()
    lost = world.order(answer_lost(), writes_key(KEY), times=1)
    a = worker(world)
    world.run_until(lambda: lost.met == 1)
    a.node.stop()
    world.run_until(lambda: a.node.finished is not None)
    assert a.begun == []
    assert record(world) is None


def test_the_term_is_given_back_when_what_runs_has_ended() -> None:
    world = World()
    a = leading(world, holds=True)
    a.node.stop()
    world.run_for(5)
    assert a.node.finished is None
    assert a.cancelled == []
    a.end_run()
    world.run_for(1)
    assert a.node.finished is not None


def test_a_run_that_its_term_did_not_let_begin_waits_for_the_term() -> None:
    world = World()
    a = leading(world, holds=True)
    a.node.term.trust.until = float("-inf")
    a.refuse_run()
    world.run_for(0.1)
    assert len(a.begun) == 1
    world.run_until(lambda: a.node.term.is_valid)
    world.run_for(1)
    assert a.dues == [a.dues[0]] * 2
    assert a.begun[0][1].run_id != a.begun[1][1].run_id
    a.end_run()
    world.run_for(0.1)
    assert [said.outcome for said in a.said if isinstance(said, Ended)] == [RunOutcome.COMPLETED]
    assert a.skipped == []


def test_a_run_that_its_term_did_not_let_begin_is_given_back_with_the_term() -> None:
    world = World()
    a, b = leading(world, holds=True), worker(world, "b")
    a.node.stop()
    world.run_for(0.1)
    a.refuse_run()
    world.run_until(lambda: b.node.leads)
    world.run_for(1)
    assert len(b.begun) == 1
    assert b.dues[0] - a.dues[0] < timedelta(seconds=59)


def test_a_run_that_did_not_begin_before_its_term_was_lost_is_said_to_be_lost() -> None:
    world = World()
    a = leading(world, holds=True)
    world.apply(Delete(a.node.term.key))
    world.run_until(lambda: a.cancelled != [])
    a.refuse_run()
    world.run_for(0.1)
    lost = [said for said in a.said if isinstance(said, Skipped)]
    assert [(each.reason, each.due) for each in lost] == [(SkipReason.LOST, a.dues[0])]
    assert 0 < lost[0].late_s < 2
    assert not any(isinstance(said, Ended) for said in a.said)


def test_before_a_handover_what_runs_ends_and_nothing_begins_until_the_term_goes_on() -> None:
    world = World()
    a = leading(world, holds=True)
    token = a.node.term.token
    a.seat.post(Settle(token))
    world.run_for(120)
    assert Settled(token) not in a.said
    a.end_run()
    assert Settled(token) in a.said
    world.run_for(120)
    assert len(a.begun) == 1
    assert a.skipped == []  # they are left to whoever leads next
    a.seat.post(GoOn(token))
    world.run_for(0.5)
    assert len(a.begun) == 2


def test_before_a_handover_nothing_is_waited_for_where_nothing_is_under_way() -> None:
    world = World()
    a = leading(world)
    token = a.node.term.token
    a.seat.post(Settle(token))
    assert a.said[-1] == Settled(token)
    assert Drained(token) not in a.said


@pytest.mark.parametrize("fate", [answer_lost(), fine(1.5, 0.1), request_lost()], ids=["applied", "late", "lost"])
def test_a_claim_that_is_under_way_before_a_handover_is_given_back_and_claimed_again_if_the_term_goes_on(
    fate: Fate,
) -> None:
    world = World()
    a = leading(world)
    token, before = a.node.term.token, record(world)
    claim = world.order(fate, writes_key(KEY), times=1)
    world.run_until(lambda: claim.met == 1, within_s=61)
    a.seat.post(Settle(token))
    assert Settled(token) not in a.said
    world.run_for(5)
    assert Settled(token) in a.said
    assert len(a.begun) == 1
    assert record(world) == before
    a.seat.post(GoOn(token))
    world.run_for(0.5)
    assert len(a.begun) == 2
    assert a.dues[1] - a.dues[0] < timedelta(seconds=61)
    world.run_for(60)
    assert len(a.begun) == 3


def test_a_claim_that_was_given_back_when_the_answer_was_lost_is_claimed_again_if_the_term_goes_on() -> None:
    world = World()
    a = leading(world)
    token, before = a.node.term.token, record(world)
    claim = world.order(fine(0.1, 0.1), writes_key(KEY), times=1)
    world.run_until(lambda: claim.met == 1, within_s=61)
    a.seat.post(Settle(token))
    world.order(answer_lost(), writes_key(KEY), times=1)
    world.run_for(5)
    assert Settled(token) in a.said
    assert record(world) == before
    a.seat.post(GoOn(token))
    world.run_for(0.5)
    assert len(a.begun) == 2


def test_a_term_that_is_to_be_handed_over_before_its_beginning_was_told_begins_nothing() -> None:
    """Who tells of terms may lag behind: another listener holds it up."""
    world = World()
    a = worker(world)
    a.node.told = None
    world.run_until(lambda: a.node.leads)
    token = a.node.term.token
    a.seat.post(Settle(token))
    assert a.said == [Settled(token)]
    a.seat.post(Lead(a.node.term))
    world.run_for(5)
    assert a.begun == []
    a.seat.post(GoOn(token))
    world.run_for(0.5)
    assert len(a.begun) == 1


def test_the_loss_of_the_term_cancels_what_runs_and_the_next_term_begins_nothing_beside_it() -> None:
    world = World()
    a = leading(world, schedule=Interval(5), holds=True)
    world.apply(Delete(a.node.term.key))
    world.run_for(0.5)
    assert a.cancelled == [a.begun[0][1].run_id]
    world.run_until(lambda: a.node.leads)  # again, while the old run has not noticed
    world.run_for(20)
    assert len(a.begun) == 1
    a.end_run()
    world.run_for(6)
    assert len(a.begun) == 2
    assert a.begun[1][1].term is a.node.term


def test_a_term_that_is_over_is_let_go_of_when_its_run_has_ended_and_at_once_without_one() -> None:
    """Who handed it over with other work under way waits for that before it stops."""
    world = World()
    a = leading(world, holds=True)
    token = a.node.term.token
    world.apply(Delete(a.node.term.key))
    world.run_for(0.5)
    assert Drained(token) not in a.said
    a.end_run()
    assert Drained(token) in a.said

    idle = leading(World())
    idle.host.world.apply(Delete(idle.node.term.key))
    idle.host.world.run_for(0.5)
    assert Drained(idle.begun[0][1].term.token) in idle.said


def test_the_run_of_an_old_term_does_not_hold_up_the_next_one() -> None:
    world = World()
    a = leading(world, holds=True)
    world.apply(Delete(a.node.term.key))
    world.run_until(lambda: len(a.node.terms) == 2 and a.node.leads)
    a.node.stop()
    world.run_for(5)
    assert a.node.finished is not None


# ---------------------------------------------------------------- trust


def test_nothing_begins_without_trust_and_what_is_claimed_waits_for_it() -> None:
    world = World()
    a = leading(world)
    claims = world.order(fine(0.001, 0.9), writes_key(KEY), host=a.host)
    world.run_until(lambda: claims.met == 1)
    trusted, a.node.term.trust.until = a.node.term.trust.until, float("-inf")
    world.run_for(1)
    assert len(a.begun) == 1
    a.node.term.trust.until = trusted
    world.run_for(1)
    assert len(a.begun) == 2


def test_a_term_that_cannot_be_proven_begins_nothing_until_it_can() -> None:
    world = World()
    a = leading(world, schedule=Interval(3))
    a.host.cut_off = True
    world.run_for(9.5)  # beyond its trust
    begun = len(a.begun)
    assert not a.node.leads
    world.run_for(20)
    assert len(a.begun) == begun


# ---------------------------------------------------------------- grace and dates


def test_what_is_later_than_its_grace_is_skipped_and_said_so() -> None:
    world = World()
    a, b = leading(world, grace_s=5), worker(world, "b", grace_s=5)
    world.run_for(59)
    a.crash()
    world.run_until(lambda: b.node.leads)
    world.run_for(1)
    assert (b.begun, b.skipped) == ([], ["late"])
    world.run_for(60)
    assert len(b.begun) == 1


def test_a_claim_that_took_longer_than_the_grace_is_not_begun() -> None:
    world = World()
    a = leading(world, grace_s=5)
    lost = world.order(request_lost(), writes_key(KEY), host=a.host)
    world.run_until(lambda: lost.met > 0)
    world.run_for(10)
    world.rules.remove(lost)
    world.run_for(6)
    assert (len(a.begun), a.skipped) == (1, ["late"])


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_interval_does_not_notice_that_the_date_is_set(hours: int) -> None:
    world = World()
    a = leading(world)
    first = a.begun_at[0]
    world.run_for(30)
    a.set_date(hours)
    world.run_for(100)
    assert a.begun_at == [first, first + 60, first + 120]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_date_that_was_set_during_a_term_neither_skips_nor_doubles_under_the_next_leader(hours: int) -> None:
    world = World()
    a, b = leading(world), worker(world, "b")
    first = a.begun_at[0]
    world.run_for(30)
    a.set_date(hours)
    b.set_date(hours)
    world.run_for(60)
    a.crash()
    world.run_until(lambda: b.node.leads)
    world.run_for(60)
    assert a.begun_at == [first, first + 60]
    assert b.begun_at == pytest.approx([first + 120], abs=0.5)


def test_a_date_set_back_an_hour_begins_no_cron_run_again() -> None:
    world = World()
    a = leading(world, schedule=Cron.of("*/30 * * * *"))
    world.run_for(3700)
    assert len(a.begun) == 2
    a.set_date(-1)
    world.run_for(3600)
    assert len(a.begun) == 2
    world.run_for(1800)
    assert len(a.begun) == 3
    assert len(set(a.dues)) == 3


def test_a_date_that_was_years_ahead_and_is_put_right_does_not_stop_cron() -> None:
    world = World()
    a = worker(world, schedule=MINUTELY)
    a.set_date(24 * 3650)
    world.run_for(130)
    begun = len(a.begun)
    assert begun == 2
    a.set_date(-24 * 3650)
    world.run_for(130)
    assert len(a.begun) == begun + 2


@pytest.mark.parametrize("schedule", [Interval(60), MINUTELY], ids=["interval", "cron"])
def test_a_next_leader_whose_date_is_an_hour_back_begins_nothing_again(schedule: Interval | Cron) -> None:
    world = World()
    a, b = leading(world, "a", schedule), worker(world, "b", schedule)
    b.set_date(-1)
    world.run_to(1070)
    done = len(a.begun)
    a.crash()
    world.run_until(lambda: b.node.leads)
    since = world.clock.now
    world.run_for(55)
    assert b.begun == []
    assert done > 0
    world.run_for(3600)
    assert len(set(all_dues([a, b]))) == len(all_dues([a, b]))
    if isinstance(schedule, Interval):
        assert b.begun_at[0] == pytest.approx(since - 1000 + 60, abs=1)


# ---------------------------------------------------------------- what others wrote


@pytest.mark.parametrize("schedule", [Interval(60), MINUTELY], ids=["interval", "cron"])
@pytest.mark.parametrize(
    "value",
    [
        b"{",
        b"[]",
        b'{"schema": 2}',
        b'{"schema": 1}',
        b'{"schema": 1, "due": "today"}',
        b'{"schema": 1, "due": "0001-01-01T00:00:00Z"}',
        b'{"schema": 1, "due": "0001-01-01T00:00:00+01:00"}',
        b'{"schema": 1, "due": "9999-12-31T23:59:59-01:00"}',
    ],
)
def test_a_record_that_cannot_be_read_is_kept_and_the_work_waits_for_an_operator(
    value: bytes, schedule: Interval | Cron
) -> None:
    world = World()
    world.apply(Put(KEY, value))
    a = leading(world, schedule=schedule)
    world.run_for(200)
    assert a.begun == []
    notes = [said for said in a.said if getattr(said, "event", None) is LogEvent.RECORD_PARKED]
    assert notes
    assert [kv.value for kv in world.apply(Get(KEY)).kvs] == [value]
    world.apply(Delete(KEY))
    world.run_until(lambda: len(a.begun) == 1, within_s=121)  # looked at each minute, and due in the next one


@pytest.mark.parametrize("schedule", [Interval(60), MINUTELY], ids=["interval", "cron"])
@pytest.mark.parametrize("due", ["0002-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_date_near_an_end_of_the_calendar_is_gone_on_from(due: str, schedule: Interval | Cron) -> None:
    world = World()
    world.apply(Put(KEY, to_json({"schema": 1, "due": due})))
    a = leading(world, schedule=schedule)
    world.run_for(61)
    assert len(a.begun) >= 1


def test_a_record_that_an_operator_wrote_is_gone_on_from() -> None:
    world = World()
    a = leading(world)
    world.run_for(30)
    world.apply(Put(KEY, to_json({"schema": 1, "due": "2026-01-01T00:00:50Z"})))
    world.run_to(1105)
    assert len(a.begun) == 1
    world.run_to(1115)
    assert len(a.begun) == 2


def test_what_a_later_version_wrote_beside_is_kept_by_every_claim() -> None:
    world = World()
    later = {"schema": 1, "due": "2026-01-01T00:00:00Z", "zz_new": {"of": ["a", "later", "version"]}}
    world.apply(Put(KEY, to_json(later)))
    a = leading(world)
    world.run_for(130)
    assert len(a.begun) >= 2
    stands = record(world)
    assert stands is not None
    assert stands["zz_new"] == later["zz_new"]
    assert stands["due"] > str(later["due"])


# ---------------------------------------------------------------- all at once


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_each_due_time_begins_at_most_once_and_none_is_forgotten(seed: int) -> None:
    world = World(seed)
    fates = [fine()] * 12 + [request_lost(), answer_lost(), late(0.7), late(5), late(40), full(), full(written=True)]
    world.choose_fate = lambda host, request: world.rng.choice(fates)
    nodes = [worker(world, name, MINUTELY) for name in "abc"]
    for _ in range(25):
        world.run_for(world.rng.uniform(5, 60))
        unlucky = world.rng.choice(nodes)
        match world.rng.randrange(4):
            case 0:
                unlucky.crash()
                unlucky.restart()
            case 1:
                unlucky.host.pause()
                world.run_for(world.rng.uniform(1, 30))
                unlucky.host.resume()
            case 2:
                world.apply(Delete(unlucky.node.elector._keys.leader))
            case _:
                pass
    world.choose_fate = lambda host, request: fine()
    world.run_for(150)
    dues = all_dues(nodes)
    assert len(dues) == len(set(dues)), dues
    assert dues
    assert START + timedelta(seconds=world.clock.now - 1000) - dues[-1] < timedelta(seconds=65)
    for each in nodes:  # no user code of a term without its trust
        assert all(begin.term.token in {term.token for term in each.node.terms} for _, begin in each.begun)
