"""Work that only the leader does, through the public face: in memory, and on real etcd."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from slurp_leader import LeaderElection, LeadershipLostError, NotLeaderError, SlurpLeaderSystem, SlurpSettings, Term
from slurp_leader.clock import SystemClock
from slurp_leader.election import Reason, StateChanged
from slurp_leader.errors import ConfigurationError, LifecycleError
from slurp_leader.store import Delete, Get, Store
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.telemetry.metrics import PERIODIC_RUN, PERIODIC_SKIPPED, Instrument
from support.calls import Recorder
from support.waiting import WAIT_S, until

LEADER_KEY = b"/slurp/v1/default/m/election/reports/leader"


class Dated(SystemClock):
    """A machine whose date is off."""

    def __init__(self, off_s: float) -> None:
        self._off = timedelta(seconds=off_s)

    def utcnow(self) -> datetime:
        return super().utcnow() + self._off


class Counted:
    """Metrics that are kept."""

    def __init__(self) -> None:
        self.seen: queue.SimpleQueue[tuple[Instrument, dict[str, str]]] = queue.SimpleQueue()

    def add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        self.record(instrument, amount, **attributes)

    def set(self, instrument: Instrument, value: float, **attributes: str) -> None:
        return

    def record(self, instrument: Instrument, value: float, **attributes: str) -> None:
        if instrument in (PERIODIC_RUN, PERIODIC_SKIPPED):
            self.seen.put((instrument, attributes))


def election(shared: Any, node_id: str = "a", **parts: Any) -> LeaderElection:
    settings = SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3})
    return LeaderElection("reports", settings, stores=shared, **parts)


# ---------------------------------------------------------------- periodic


def run_hourly(mine: LeaderElection) -> tuple[list[Term], list[Term]]:
    """Lead until all that is due has begun, and stop. Returns the runs of the hourly work, and those of a probe."""
    hourly: list[Term] = []
    probe: list[Term] = []
    probed = threading.Event()

    @mine.every("1h", grace="12h")
    def report(term: Term) -> None:
        hourly.append(term)

    @mine.every(1, name=f"probe-{mine.settings.node.id}")
    async def probes(term: Term) -> None:
        probe.append(term)
        if len(probe) == 2:  # a second later than the hourly work was looked at
            probed.set()

    with mine:
        assert probed.wait(WAIT_S)
    return hourly, probe


@pytest.mark.parametrize("kind", ["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
def test_a_change_of_the_leader_neither_skips_nor_doubles_a_run(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "memory":
        shared = request.getfixturevalue("shared")

        def make(node_id: str, off_s: float) -> LeaderElection:
            return election(shared, node_id, clock=Dated(off_s))

    else:
        settings = request.getfixturevalue("etcd_settings")

        def make(node_id: str, off_s: float) -> LeaderElection:
            return LeaderElection("reports", settings(node_id), clock=Dated(off_s))

    first, _ = run_hourly(make("a", 0))
    assert len(first) == 1  # at once
    assert run_hourly(make("b", 600))[0] == []  # not due yet
    assert run_hourly(make("c", -3600))[0] == []  # a date an hour back
    missed, _ = run_hourly(make("d", 3 * 3600))
    assert len(missed) == 1  # one for all that were missed
    assert missed[0].token > first[0].token
    assert run_hourly(make("e", 3 * 3600))[0] == []


@pytest.mark.etcd
def test_two_elections_on_real_etcd_share_the_runs_of_one_schedule(
    etcd_settings: Callable[..., SlurpSettings], etcd_store: Store
) -> None:
    ran: queue.SimpleQueue[str] = queue.SimpleQueue()
    elections = {name: LeaderElection("x", etcd_settings(name)) for name in "ab"}
    for name, each in elections.items():
        each.every(1, name="tick")(lambda name=name: ran.put(name))
    elections["a"].start()
    assert elections["a"].wait_for_leadership(WAIT_S)
    elections["b"].start()
    assert [ran.get(timeout=WAIT_S) for _ in range(2)] == ["a", "a"]
    elections["a"].stop()
    while ran.get(timeout=WAIT_S) == "a":
        pass
    token = elections["b"].require_term().token
    elections["b"].stop()
    cluster = elections["b"].settings.node.cluster_id
    (kept,) = etcd_store.call(Get(f"/slurp/v1/{cluster}/b/periodic/x/tick".encode()), 5).result().kvs
    assert json.loads(kept.value).items() >= {"schema": 1, "token": token, "node": "b"}.items()


def test_losing_the_term_cancels_coroutines_and_tells_functions(shared: Any) -> None:
    mine, metrics = election(shared, metrics=(counted := Counted())), counted
    ended: queue.SimpleQueue[tuple[str, Term]] = queue.SimpleQueue()
    began = threading.Barrier(3)

    @mine.every(3600)
    async def coroutine(term: Term) -> None:
        try:
            await asyncio.to_thread(began.wait, WAIT_S)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.put(("coroutine", term))
            raise

    @mine.every(3600)
    def function(term: Term) -> None:
        began.wait(WAIT_S)
        assert term.wait(WAIT_S)
        ended.put(("function", term))
        term.check()

    with mine:
        began.wait(WAIT_S)
        shared.store.call(Delete(LEADER_KEY), 5).result()  # an operator deletes the key
        both = dict([ended.get(timeout=WAIT_S), ended.get(timeout=WAIT_S)])
        outcomes = [metrics.seen.get(timeout=WAIT_S)[1]["outcome"] for _ in both]
    assert set(both) == {"coroutine", "function"}
    assert all(term.should_stop for term in both.values())
    assert outcomes == ["interrupted", "interrupted"]


def test_stopping_waits_for_a_run_that_has_begun_and_begins_none(shared: Any) -> None:
    mine, other = election(shared, "a"), election(shared, "b")
    began, seen_stopping = threading.Event(), threading.Event()
    ended: list[bool] = []

    @mine.every(1)
    def report(term: Term) -> None:
        began.set()
        assert term.wait(WAIT_S)
        seen_stopping.set()
        ended.append(term.is_valid)  # still ours to finish

    with mine:
        assert began.wait(WAIT_S)
        with other:
            assert mine.stop()
            assert seen_stopping.is_set()
            assert ended == [True]
            assert other.wait_for_leadership(WAIT_S)


def test_an_error_ends_its_run_only_and_is_counted(shared: Any) -> None:
    metrics = Counted()
    mine = election(shared, metrics=metrics)
    runs: queue.SimpleQueue[int] = queue.SimpleQueue()

    @mine.every(1)
    def report() -> None:
        runs.put(1)
        raise ZeroDivisionError

    with mine:
        for _ in range(2):
            runs.get(timeout=WAIT_S)
        instrument, attributes = metrics.seen.get(timeout=WAIT_S)
    assert instrument is PERIODIC_RUN
    assert attributes == {"election": "reports", "work": "report", "outcome": "failed"}


@pytest.mark.parametrize("face", [LeaderElection, SlurpLeaderSystem])
def test_health_names_work_that_fails_while_this_process_leads(shared: Any, face: Any) -> None:
    mine = face(settings=SlurpSettings(node={"id": "a"}), stores=shared)
    let_go = threading.Event()

    @mine.every(1)
    def report() -> None:
        if not let_go.is_set():
            raise ValueError("no disk")

    def said() -> list[str]:
        return [each["message"] for each in mine.health()["problems"] if each["what"] == "periodic_work"]

    with mine:
        until(said)
        assert said() == ["the newest run of the periodic work 'report' failed: ValueError('no disk')"]
        assert mine.health()["healthy"]
        let_go.set()
        until(lambda: not said())
        assert mine.is_leader


def test_a_due_time_that_comes_while_the_run_goes_on_is_skipped_and_counted(shared: Any) -> None:
    metrics = Counted()
    mine = election(shared, metrics=metrics)
    runs: list[int] = []

    @mine.every(1)
    def report(term: Term) -> None:
        runs.append(1)
        term.wait(WAIT_S)

    with mine:
        instrument, attributes = metrics.seen.get(timeout=WAIT_S)
    assert instrument is PERIODIC_SKIPPED
    assert attributes["reason"] == "running"
    assert runs == [1]


def test_what_is_registered_stays_over_stops_and_starts(shared: Any) -> None:
    mine = election(shared)
    runs: queue.SimpleQueue[int] = queue.SimpleQueue()
    mine.every(1, name="tick")(lambda: runs.put(1))
    for _ in range(2):
        with mine:
            runs.get(timeout=WAIT_S)


def test_a_system_runs_periodic_work_beside_its_jobs(shared: Any) -> None:
    from slurp_leader import SlurpLeaderSystem

    system = SlurpLeaderSystem(
        SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3}),
        generator=lambda request, job: {"path": request.file_path},
        stores=shared,
    )
    terms: queue.SimpleQueue[Term] = queue.SimpleQueue()
    system.every(3600, name="report")(terms.put)
    with system:
        assert terms.get(timeout=WAIT_S) is system.require_term()
        assert system.submit("a.py").result(WAIT_S) is not None
        assert system.leader_only(lambda: "here")() == "here"
    with pytest.raises(NotLeaderError):
        system.leader_only(lambda: "here")()


@pytest.mark.parametrize(
    ("register", "says"),
    [
        (lambda mine: mine.every(0.5), "1 second or more"),
        (lambda mine: mine.every("soon"), "interval = 'soon'"),
        (lambda mine: mine.every(timedelta(days=9000 * 365)), "shorter than a hundred years"),
        (lambda mine: mine.every(60, grace=0), "grace = 0"),
        (lambda mine: mine.cron("x"), "five fields"),
        (lambda mine: mine.cron("@daily", timezone="Mars/Base"), "timezone = 'Mars/Base'"),
        (lambda mine: mine.cron("@daily", timezone="../etc/passwd"), "timezone"),
        (lambda mine: mine.every(60)(lambda: None), "name: '<lambda>'"),
        (lambda mine: mine.every(60, name="a/b")(lambda: None), "name: 'a/b'"),
        (lambda mine: [mine.every(60, name="x")(lambda: None) for _ in range(2)], "other work of this name"),
        (lambda mine: mine.every(60, name="x")(lambda a, b: None), "wants more"),
    ],
)
def test_work_that_cannot_be_is_refused_when_it_is_registered(
    register: Callable[[LeaderElection], Any], says: str, shared: Any
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        register(election(shared))
    assert says in str(caught.value)


def test_a_decorated_function_is_the_function(shared: Any) -> None:
    def report() -> None: ...

    mine = election(shared)
    assert mine.every(timedelta(minutes=1))(report) is report
    assert mine.cron("30 2 * * mon-fri", timezone="Europe/Berlin", name="nightly")(report) is report


def test_work_is_not_registered_while_it_runs(shared: Any) -> None:
    with election(shared) as mine, pytest.raises(LifecycleError, match=r"before start\(\)"):
        mine.every(60, name="x")(lambda: None)


# ---------------------------------------------------------------- periodic, and progress


def in_need_of_progress(shared: Any) -> LeaderElection:
    settings = SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3, "stall_timeout": 2})
    return LeaderElection("reports", settings, stores=shared, needs_progress=True)


def hints(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if getattr(record, "slurp_event", "") == LogEvent.PERIODIC_BEATS_NOT
    ]


def test_where_only_periodic_work_could_prove_progress_it_is_said_once_that_it_does_not_beat(
    shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mine, seen = in_need_of_progress(shared), Recorder[Any]()
    mine.subscribe(seen)

    @mine.every(60)
    def report() -> None:
        """A minute passes before the next one."""

    def stalls(event: Any) -> bool:
        return isinstance(event, StateChanged) and event.reason is Reason.STALLED

    with mine:
        first, second = seen.until(stalls), seen.until(stalls)
    assert first.term.token < second.term.token
    ((level, message),) = hints(caplog)
    assert level == "WARNING"
    assert "periodic work does not beat" in message
    assert "needs_progress" in message


def test_periodic_work_does_not_hide_a_loop_that_is_stuck_beside_it(
    shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mine = in_need_of_progress(shared)
    tokens: list[int] = []

    @mine.every(1)
    def report() -> None:
        """It goes on all the time."""

    def work(term: Term) -> str:
        tokens.append(term.token)
        if len(tokens) == 1:
            assert term.lost.wait(WAIT_S)
            term.check()
        return "in the next term"

    assert mine.run(work) == "in the next term"
    assert tokens[0] < tokens[1]
    assert len(hints(caplog)) == 1


# ---------------------------------------------------------------- leader_only


def test_leader_only_calls_on_the_leader_and_refuses_elsewhere(shared: Any) -> None:
    first, second = election(shared, "a"), election(shared, "b")
    called: list[str] = []

    @first.leader_only
    def on_first(text: str, *, mark: str = "") -> str:
        """Says what it was told."""
        called.append(text)
        return text + mark

    @second.leader_only
    async def on_second() -> None:
        called.append("second")

    assert (on_first.__name__, on_first.__doc__) == ("on_first", "Says what it was told.")
    with pytest.raises(NotLeaderError, match="not running"):
        on_first("early")
    with first:
        assert first.wait_for_leadership(WAIT_S)
        with second:
            assert on_first("told", mark="!") == "told!"
            with pytest.raises(NotLeaderError):
                asyncio.run(on_second())
    assert called == ["told"]


@pytest.mark.parametrize("check_after", [True, False])
@pytest.mark.parametrize("kind", ["function", "coroutine function", "object", "awaitable"])
def test_the_term_is_checked_again_only_if_asked(shared: Any, check_after: bool, kind: str) -> None:
    mine = election(shared)

    def lose() -> str:
        term = mine.require_term()
        shared.store.call(Delete(LEADER_KEY), 5).result()
        assert term.lost.wait(WAIT_S)
        return "done"

    async def lose_awaited() -> str:
        return lose()

    class Loses:
        async def __call__(self) -> str:
            return lose()

    guard = mine.leader_only(check_after=check_after)
    awaited: dict[str, Callable[[], Any]]
    awaited = {"coroutine function": lose_awaited, "object": Loses(), "awaitable": lambda: lose_awaited()}

    def call() -> str:
        return asyncio.run(guard(awaited[kind])()) if kind in awaited else guard(lose)()

    with mine:
        assert mine.wait_for_leadership(WAIT_S)
        if check_after:
            with pytest.raises(LeadershipLostError):
                call()
        else:
            assert call() == "done"


def test_leader_only_refuses_what_would_run_on_unchecked(shared: Any) -> None:
    with pytest.raises(ConfigurationError, match="yields"):

        @election(shared).leader_only
        def rows() -> Any:
            yield 1


def test_leader_only_refuses_an_object_whose_call_yields(shared: Any) -> None:
    class Rows:
        def __call__(self) -> Any:
            yield 1

    with pytest.raises(ConfigurationError, match="yields"):
        election(shared).leader_only(Rows())
