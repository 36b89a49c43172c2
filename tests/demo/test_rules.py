"""When the leader is killed, what counts as its successor, and how requests are paced."""

from __future__ import annotations

from dataclasses import replace

from demo.planted import KEYSPACE, A, B, C, History, takeover
from slurp_leader.demo.checker import check
from slurp_leader.demo.drama import Kill, KillRule, may_be_killed, successor
from slurp_leader.demo.picture import Leader, Picture
from slurp_leader.demo.report import problems_of, takeovers
from slurp_leader.demo.submitter import Pace
from slurp_leader.jobs.records import Claim, ClaimEntry, JobKeys
from slurp_leader.store import Event, EventKind, KeyValue

KEYS = JobKeys(KEYSPACE)


def picture_of(history: History) -> Picture:
    """The picture after a history, one second of time for each revision."""
    picture = Picture(KEYSPACE)
    for event in history.events:
        picture.learn(event, float(event.kv.mod_revision))
    return picture


def claim(picture: Picture, token: int, *jobs: str) -> None:
    value = Claim("session", tuple(ClaimEntry(job, 1, 1) for job in jobs)).to_value()
    picture.learn(Event(EventKind.PUT, KeyValue(KEYS.claim(token, 1), value, 50, 50, 1)), 50.0)


def one_leader_with_an_outcome() -> tuple[Picture, int]:
    history = History()
    token = history.elect("node-1", 1)
    history.submit(A, B, C)
    history.end(A, token)
    return picture_of(history), token


def test_the_kill_waits_for_its_count_of_outcomes() -> None:
    picture, token = one_leader_with_an_outcome()
    claim(picture, token, B)

    assert KillRule(outcomes=1).wants(picture, 0.0)
    assert not KillRule(outcomes=2).wants(picture, 0.0)


def test_the_kill_waits_until_jobs_are_running() -> None:
    picture, token = one_leader_with_an_outcome()

    assert not KillRule(outcomes=1).wants(picture, 0.0)
    claim(picture, token, B, C)
    assert picture.running == 2
    assert KillRule(outcomes=1).wants(picture, 0.0)


def test_a_leader_that_stays_idle_is_killed_all_the_same() -> None:
    picture, _ = one_leader_with_an_outcome()

    assert KillRule(outcomes=1).wants(picture, 5.0)


def test_without_a_kill_rule_nobody_is_killed_by_itself() -> None:
    picture, token = one_leader_with_an_outcome()
    claim(picture, token, B)

    assert not KillRule(outcomes=None).wants(picture, 5.0)


def test_a_kill_needs_a_leader_that_recorded_something_a_second_node_and_work_left() -> None:
    picture, _ = one_leader_with_an_outcome()

    assert may_be_killed(picture, {"node-1", "node-2"}, more_to_come=True)
    assert not may_be_killed(picture, {"node-1"}, more_to_come=True)
    assert not may_be_killed(picture, {"node-2", "node-3"}, more_to_come=True)
    assert not may_be_killed(picture, {"node-1", "node-2"}, more_to_come=False)
    assert not may_be_killed(Picture(KEYSPACE), {"node-1", "node-2"}, more_to_come=True)


def test_a_leader_without_an_outcome_is_not_killed() -> None:
    history = History()
    history.elect("node-1", 1)

    assert not may_be_killed(picture_of(history), {"node-1", "node-2"}, more_to_come=True)


def test_an_outcome_is_not_running_any_more() -> None:
    picture, token = one_leader_with_an_outcome()
    claim(picture, token, A, B)

    assert picture.running == 1


def test_the_time_without_a_leader_ends_with_the_key_of_the_next_term() -> None:
    history, first, second = takeover()
    picture = picture_of(history)
    kill = Kill("node-1", 1, first, at_s=4.5, running=1)

    (found,) = takeovers([kill], picture)

    change = successor(kill, picture.changes)
    assert change is not None
    assert change.leader == Leader("node-2", 2, second)
    assert found.successor == "node-2"
    assert found.leaderless_ms == 1000 * (second - 4.5)
    assert found.idle_ms == 1000 * (second + 1 - 4.5)


def test_a_kill_that_nobody_followed_has_no_figure() -> None:
    picture, token = one_leader_with_an_outcome()

    (found,) = takeovers([Kill("node-1", 1, token, 10.0, 0)], picture)

    assert (found.successor, found.leaderless_ms, found.idle_ms) == (None, None, None)


def test_after_a_kill_two_leaders_have_to_commit() -> None:
    history, _, _ = takeover()
    verdict = check(history.events, [A, B], KEYSPACE)
    alone = replace(verdict, reigns=verdict.reigns[:1])

    assert problems_of(alone, 0, 2, []) == ()
    assert problems_of(alone, 1, 2, []) == ("terms that committed outcomes: 1; wanted: 2",)


def test_requests_that_were_refused_are_a_problem() -> None:
    history, _, _ = takeover()
    verdict = check(history.events, [A, B], KEYSPACE)

    (problem,) = problems_of(verdict, 1, 3, [ValueError("no room")])

    assert problem == "1 of 3 requests were not accepted, the first one because: no room"


def test_bursts_do_not_reach_into_what_is_held_back() -> None:
    pace = Pace(burst=4, pause_s=0.0, held_back=3)

    assert list(pace.bursts(9)) == [(0, 4), (4, 6), (6, 9)]


def test_bursts_cover_every_request_once() -> None:
    for held_back in (0, 5, 20):
        slices = list(Pace(3, 0.0, held_back).bursts(10))
        assert [index for first, end in slices for index in range(first, end)] == list(range(10))
