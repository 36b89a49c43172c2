"""How a node is, as plain data: the words of `health` and `status`, and the bugs and ends they have to show."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from slurp_leader import JobInterrupted, SlurpLeaderSystem, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.election import ElectionState, Reason
from slurp_leader.election.events import Trouble
from slurp_leader.errors import StoreDeniedError
from slurp_leader.guard.client import GuardTrouble
from slurp_leader.jobs.messages import Lead
from slurp_leader.jobs.quota import Fill, judge
from slurp_leader.jobs.submitter import Submit
from slurp_leader.store import Grant
from slurp_leader.store.follow import FollowFailed
from slurp_leader.store.port import StoreOutage
from slurp_leader.system.condition import Facts, health_of
from slurp_leader.telemetry.metrics import Instrument, NoMetrics
from support.waiting import WAIT_S, until

CLOCK = SystemClock()


def words(**facts: Any) -> tuple[bool, bool, bool, list[str]]:
    health = health_of(Facts("a", "reports", **facts), CLOCK)
    assert all(problem["fix"] for problem in health["problems"])
    return health["live"], health["ready"], health["healthy"], [problem["what"] for problem in health["problems"]]


OUTAGE = StoreOutage(CLOCK.boottime() - 5, "connection refused")
UNGUARDED = GuardTrouble("UNAVAILABLE: connection refused", CLOCK.boottime() - 5)


DYING_ALONG = GuardTrouble("this process is process 1", CLOCK.boottime() - 5, dies_along=True)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, (True, True, True, [])),
        ({"is_running": False}, (False, False, False, [])),
        ({"is_stopping": True, "has_ended": True}, (True, False, True, [])),
        ({"has_heard": False}, (True, False, True, [])),
        ({"outage": OUTAGE}, (True, False, False, ["store_unreachable"])),
        ({"outage": OUTAGE, "lost_store": StoreDeniedError("no")}, (False, False, False, ["store"])),
        (
            {"state": ElectionState.SUSPENDED, "reason": Reason.UNREACHABLE, "outage": OUTAGE},
            (True, False, False, ["store_unreachable"]),
        ),
        ({"state": ElectionState.SUSPENDED, "reason": Reason.UNREACHABLE}, (True, True, False, ["suspended"])),
        ({"state": ElectionState.SUSPENDED, "reason": Reason.STORE_FULL}, (True, False, False, ["store_full"])),
        ({"trouble": Trouble(0, "StoreFullError", "grant a lease", "full")}, (True, False, False, ["store_full"])),
        ({"store": judge(Fill(0.6, 0.6, 2**31))}, (True, True, True, [])),
        ({"store": judge(Fill(0.8, 0.8, 2**31))}, (True, True, False, ["store_filling"])),
        ({"store": judge(Fill(0.9, 0.9, 2**31))}, (True, False, False, ["store_filling"])),
        (
            {"state": ElectionState.SUSPENDED, "reason": Reason.STORE_FULL, "store": judge(Fill(0.9, 0.9, 2**31))},
            (True, False, False, ["store_full"]),
        ),
        (
            {"state": ElectionState.SUSPENDED, "reason": Reason.UNREACHABLE, "store": judge(Fill(0.8, 0.8, 2**31))},
            (True, True, False, ["store_filling", "suspended"]),
        ),
        ({"trouble": Trouble(0, "StoreDeniedError", "grant a lease", "no")}, (True, True, False, ["cannot_stand"])),
        (
            {"trouble": Trouble(0, "StoreTimeoutError", "grant a lease", "late"), "outage": OUTAGE},
            (True, False, False, ["store_unreachable"]),
        ),
        ({"has_ended": True, "reason": Reason.FAILED}, (False, False, False, ["election"])),
        ({"has_ended": True, "engine_failure": ValueError("bug")}, (False, False, False, ["jobs"])),
        ({"has_ended": True, "executor_failure": OSError("no processes")}, (False, False, False, ["executor"])),
        ({"executor_trouble": "no worker comes up"}, (True, True, False, ["executor"])),
        ({"stuck_jobs": 2}, (True, True, False, ["stuck"])),
        ({"stuck_jobs": 1, "can_kill": True}, (True, True, False, ["stuck"])),
        ({"duplicates": ("f00",)}, (True, True, False, ["duplicate_node"])),
        ({"failing_work": {"report": ("ValueError('no')", 1.0)}}, (True, True, True, ["periodic_work"])),
        ({"guard_trouble": UNGUARDED}, (True, True, True, ["guard"])),
        ({"guard_trouble": UNGUARDED, "stuck_jobs": 1}, (True, True, False, ["stuck", "guard"])),
        ({"guard_trouble": UNGUARDED, "outage": OUTAGE}, (True, False, False, ["store_unreachable"])),
        ({"guard_trouble": UNGUARDED, "lost_store": StoreDeniedError("no")}, (False, False, False, ["store"])),
        (
            {"guard_trouble": replace(UNGUARDED, is_final=True), "outage": OUTAGE},
            (True, False, False, ["store_unreachable", "guard"]),
        ),
        ({"guard_trouble": DYING_ALONG}, (True, True, True, ["guard"])),
        ({"guard_trouble": DYING_ALONG, "outage": OUTAGE}, (True, False, False, ["store_unreachable", "guard"])),
        ({"guard_trouble": UNGUARDED, "is_running": False}, (False, False, False, [])),
    ],
)
def test_each_fact_is_said_in_the_words_it_deserves(
    facts: dict[str, Any], expected: tuple[bool, bool, bool, list[str]]
) -> None:
    assert words(**facts) == expected


def test_what_ended_the_election_is_said_in_words() -> None:
    facts = Facts("a", "reports", has_ended=True, reason=Reason.STORE_CHANGED, why_ended="another etcd cluster answers")
    (problem,) = health_of(facts, CLOCK)["problems"]
    assert problem["message"] == "this node stands for election no more: another etcd cluster answers"


@pytest.mark.parametrize("facts", [{"unfit": "no disk"}, {"held_back": "the election is frozen"}])
def test_a_command_that_is_named_is_about_this_election(facts: dict[str, Any]) -> None:
    (problem,) = health_of(Facts("a", "reports", **facts), CLOCK)["problems"]
    assert "`slurp leader explain --election reports`" in problem["fix"]


def test_a_guard_that_dies_along_is_not_said_to_be_out_of_work() -> None:
    (problem,) = health_of(Facts("a", "reports", guard_trouble=DYING_ALONG), CLOCK)["problems"]
    assert "although its crash guard works: this process is process 1" in problem["message"]
    assert "`slurp guard -- CMD`" in problem["fix"]


@pytest.mark.parametrize("facts", [{"outage": OUTAGE}, {"guard_trouble": UNGUARDED}, {"guard_trouble": DYING_ALONG}])
def test_what_lasts_is_dated(facts: dict[str, Any]) -> None:
    since = health_of(Facts("a", "reports", **facts), CLOCK)["problems"][0]["since"]
    assert since.endswith("Z")


def test_status_of_a_leader_tells_all_that_is_promised(make_system: Any) -> None:
    began, may_end = threading.Event(), threading.Event()

    def generate(request: Any, job: Any) -> None:
        if request.file_path == "slow.py":
            began.set()
            assert may_end.wait(WAIT_S)

    node = make_system(generate)
    assert node.wait_for_leadership(WAIT_S)
    node.request_context_generation("a.py", WAIT_S)
    node.submit("later.py", delay=3600)
    running = node.submit("slow.py")
    assert began.wait(WAIT_S)
    status = until(lambda: (found := node.status())["queue"]["jobs"] == 2 and found)
    may_end.set()
    running.result(WAIT_S)

    election = status["election"]
    assert (status["running"], status["candidate"], status["problems"]) == (True, True, [])
    assert (election["is_leader"], election["state"], election["reason"], election["epoch"]) == (
        True,
        "leader",
        "elected",
        1,
    )
    assert election["leader"]["node_id"] == status["node_id"]
    assert election["last_renewal"]["outcome"] == "ok"
    assert election["vacant_since"] is None
    queue = {name: status["queue"][name] for name in ("jobs", "pending", "scheduled", "running", "parked")}
    assert queue == {"jobs": 2, "pending": 0, "scheduled": 1, "running": 1, "parked": 0}
    assert status["store"]["reachable"]
    assert status["store"]["unreachable_since"] is None
    assert until(lambda: node.status()["commits"]["completed"] == 2)
    assert node.status()["commits"]["batches"] > 0


def test_every_status_and_health_is_json_with_the_same_names(make_system: Any) -> None:
    leader = make_system()
    assert leader.wait_for_leadership(WAIT_S)
    follower, client = make_system(), make_system(candidate=False)
    assert client.leader.get(WAIT_S)
    until(lambda: follower.health()["ready"])
    nodes = (leader, follower, client)
    until(lambda: all(node.status()["election"]["leader"] for node in nodes))  # each hears of it by a watch of its own
    running = [(node.status(), node.health()) for node in nodes]
    for node in nodes:
        node.stop()
    seen = running + [(node.status(), node.health()) for node in nodes]

    for status, health in seen:
        assert json.loads(json.dumps([status, health])) == [status, health]
        assert set(status) == set(seen[0][0])
        assert set(status["election"]) == set(seen[0][0]["election"])
        assert set(health) == set(seen[0][1])
    leaders = [status["election"]["leader"]["node_id"] for status, _ in running]
    assert leaders == [leader.settings.node.id] * 3


def test_a_node_whose_scheduler_failed_gives_the_lead_to_one_that_works(make_system: Any) -> None:
    """A leader without a scheduler would hold the key for ever, and no job would run anywhere."""

    def generate(request: Any, job: Any) -> Any:
        if job.run == 1:
            began.set()
            while not job.wait(1):
                pass
            raise JobInterrupted("told to stop")
        return {"run": job.run}

    began = threading.Event()
    broken = make_system(generate)
    assert broken.wait_for_leadership(WAIT_S)
    sound = make_system(generate)
    handle = sound.submit("a.py")
    assert began.wait(WAIT_S)

    broken._running_node().engine._loop.post(Lead(None))  # type: ignore[arg-type] - no scheduler survives this

    assert handle.result(WAIT_S).value == {"run": 2}
    assert sound.is_leader
    assert not broken.is_leader
    health = broken.health()
    assert (health["live"], [problem["what"] for problem in health["problems"]]) == (False, ["jobs"])


class _Hanging(NoMetrics):
    """Holds up the scheduler, which measures on its own thread."""

    def __init__(self) -> None:
        self.hangs, self.let_go = threading.Event(), threading.Event()

    def record(self, instrument: Instrument, value: float, **attributes: str) -> None:
        if self.hangs.is_set() and threading.current_thread().name == "slurp-jobs":
            self.let_go.wait(WAIT_S)


def test_a_node_whose_scheduler_hangs_gives_the_lead_to_one_that_works(shared: Any, make_system: Any) -> None:
    """Its lease is renewed by another thread, and would be for ever."""
    metrics = _Hanging()
    settings = SlurpSettings(node={"id": "stuck"}, election={"lease_ttl": 3, "stall_timeout": 2})
    stuck = SlurpLeaderSystem(settings, generator=lambda request, job: "stuck", stores=shared, metrics=metrics)
    with stuck:
        assert stuck.wait_for_leadership(WAIT_S)
        term = stuck.require_term()
        sound = make_system(lambda request, job: "sound")
        metrics.hangs.set()
        sound.submit("a.py")  # what becomes of it is measured by the leader
        assert term.lost.wait(WAIT_S)
        assert stuck.status()["election"]["reason"] == "stalled"
        assert sound.wait_for_leadership(WAIT_S)
        assert sound.submit("b.py").result(WAIT_S).value == "sound"
        metrics.let_go.set()


def test_a_dead_scheduler_is_not_waited_for_when_a_term_is_given_back(make_system: Any) -> None:
    """It may die before it was told of the term, and so before it could say that nothing of it runs."""
    broken = make_system()
    assert broken.wait_for_leadership(WAIT_S)
    engine = broken._running_node().engine
    engine._loop.stop()
    engine._failure = ValueError("planted")
    sound = make_system()

    broken.resign(pause=60)

    assert sound.wait_for_leadership(WAIT_S)


def test_a_follower_whose_scheduler_failed_never_leads(make_system: Any) -> None:
    sound = make_system()
    assert sound.wait_for_leadership(WAIT_S)
    broken = make_system()
    until(lambda: broken.health()["ready"])

    broken._running_node().engine._loop.post(Lead(None))  # type: ignore[arg-type] - no scheduler survives this
    until(lambda: not broken.health()["live"])
    sound.stop()

    assert not broken.wait_for_leadership(WAIT_S)


def test_a_node_whose_elector_failed_says_so(make_system: Any) -> None:
    broken = make_system()
    assert broken.wait_for_leadership(WAIT_S)

    broken._running_node().election._loop.post(object())  # no elector knows this

    until(lambda: not broken.health()["live"])
    assert not broken.is_leader
    assert [problem["what"] for problem in broken.health()["problems"]] == ["election"]
    assert "failed" in broken.health()["problems"][0]["message"]
    assert not broken.wait_for_leadership(WAIT_S)


def test_a_node_that_cannot_get_a_lease_says_so_until_it_can(make_system: Any, shared: Any) -> None:
    faults = shared.store.faults
    faults.refuse_full(10_000, when=lambda request: isinstance(request, Grant))
    node = make_system()
    assert until(lambda: node.health()["problems"])[0]["what"] == "store_full"
    assert not node.health()["ready"]

    faults.clear()

    assert node.wait_for_leadership(WAIT_S)
    assert node.health()["healthy"]


def test_a_client_whose_submitter_failed_says_so_to_everybody(make_system: Any) -> None:
    client = make_system(candidate=False)

    client._running().client._loop.post(Submit(0, None))  # type: ignore[arg-type] - no submitter survives this

    until(lambda: not client.health()["live"])
    with pytest.raises(Exception, match="submitter failed"):
        client.submit("a.py")


def test_a_node_that_lost_its_watch_for_good_leads_no_more_and_says_so(make_system: Any) -> None:
    node = make_system()
    assert node.wait_for_leadership(WAIT_S)

    node._running_node()._on_notice(FollowFailed(StoreDeniedError("permission denied")))

    until(lambda: not node.is_leader)
    assert not node.wait_for_leadership(WAIT_S)
    assert [problem["what"] for problem in node.health()["problems"]] == ["store"]
    assert "permission denied" in node.health()["problems"][0]["message"]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), RecursionError("deep")])
def test_whatever_a_generator_raises_harms_its_job_only(make_system: Any, error: BaseException) -> None:
    def generate(request: Any, job: Any) -> None:
        if request.file_path == "bad.py":
            raise error

    node = make_system(generate)
    bad = node.submit("bad.py", max_attempts=1)
    assert node.request_context_generation("good.py", WAIT_S).success
    assert bad.outcome(WAIT_S).status == "failed"
    assert node.health()["healthy"]
