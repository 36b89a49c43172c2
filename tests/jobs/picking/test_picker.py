"""Who is next: against a picker that looks at every job each time, and case by case."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurp_leader.jobs.ids import LOWEST
from slurp_leader.jobs.picking.control import ALL, project_scope, role_scope
from slurp_leader.jobs.picking.lanes import Lane
from slurp_leader.jobs.picking.picker import Picker
from slurp_leader.jobs.picking.rules import Room, Rules, Usage
from slurp_leader.jobs.picture import Job
from slurp_leader.jobs.records import JobLimits, Spec
from slurp_leader.jobs.request import Priority

STEP_S = 60.0
SPEC = Spec(LOWEST, {}, Priority.NORMAL, JobLimits(), "", "")
FREE = Rules(workers=1_000_000, age_step_s=STEP_S)


def job(revision: int, priority: Priority = Priority.NORMAL, **more: object) -> Job:
    job_id = f"{revision:08x}-0000-7000-8000-000000000000"
    return Job(replace(SPEC, job_id=job_id, priority=priority, **more), revision, 10)  # type: ignore[arg-type]


@dataclass
class Line:
    """A picker, and the jobs that are there."""

    jobs: dict[str, Job] = field(default_factory=dict)
    arrivals: dict[str, float] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        self.picker = Picker(lambda job_id, _now: self.arrivals[job_id], STEP_S)

    def push(self, *jobs: Job, now: float = 0.0, arrived: float | None = None) -> None:
        for each in jobs:
            self.jobs[each.job_id] = each
            self.arrivals[each.job_id] = now if arrived is None else arrived
            self.picker.push(each, now, aged=arrived is not None)

    def pick(self, most: int = 1000, now: float = 0.0, rules: Rules = FREE, room: Room | None = None) -> list[int]:
        picked = self.picker.pick(
            most, now, room or Room(1_000_000), rules, self.usage, lambda job_id: self.jobs.get(job_id)
        )
        for each, _ in picked:
            del self.jobs[each.job_id]
        return [each.revision for each, _ in picked]

    def over(self, each: Job) -> None:
        self.usage.give(each.spec)


def line(*jobs: Job) -> Line:
    made = Line()
    made.push(*jobs)
    return made


# ---------------------------------------------------------------- priority, arrival, age


def test_jobs_come_by_priority_then_by_arrival_and_not_by_id() -> None:
    assert line(job(3), job(1), job(2, Priority.CRITICAL), job(9, Priority.BACKGROUND)).pick() == [2, 1, 3, 9]


def test_a_job_is_in_line_once_and_keeps_the_time_since_when() -> None:
    made = Line()
    made.push(job(1), now=5.0)
    made.push(job(1), now=9.0)
    assert len(made.picker) == 1
    ((_, since),) = made.picker.pick(9, 9.0, Room(9), FREE, made.usage, made.jobs.get)
    assert since == 5.0
    assert len(made.picker) == 0


def test_a_job_taken_out_and_put_back_comes_once_and_at_the_head() -> None:
    made = line(job(1), job(2), job(3))
    made.picker.discard(job(1).job_id)
    assert len(made.picker) == 2
    assert made.pick(1) == [2]
    made.push(job(1), now=1.0)
    assert made.pick(now=1.0) == [1, 3]


def test_a_new_incarnation_takes_the_place_of_its_own_revision() -> None:
    made = line(job(1), job(2))
    again = Job(job(1).spec, 7, 10)
    made.push(again)
    assert made.pick() == [2, 7]


@pytest.mark.parametrize(("waited", "first"), [(0.0, "normal"), (59.0, "normal"), (60.0, "low"), (10_000.0, "low")])
def test_waiting_lifts_a_job_by_a_class_where_the_older_one_goes_first(waited: float, first: str) -> None:
    made = Line()
    made.push(job(1, Priority.LOW), now=0.0)
    made.push(job(2, Priority.NORMAL), now=waited)
    assert made.pick(1, now=waited) == [{"low": 1, "normal": 2}[first]]


def test_age_lifts_up_to_high_and_never_to_critical() -> None:
    made = Line()
    made.push(job(1, Priority.BACKGROUND), now=0.0)
    made.push(job(2, Priority.HIGH), job(3, Priority.CRITICAL), now=1e6)
    assert made.pick(now=1e6) == [3, 1, 2]


def test_a_flood_of_high_ones_starves_nobody() -> None:
    """A job of the lowest class, behind as many as come in each second, for ever."""
    made = line(job(1, Priority.BACKGROUND))
    for second in range(1, 1000):
        made.push(job(1000 + second, Priority.HIGH), now=float(second))
        if 1 in made.pick(1, now=float(second)):
            assert second <= 3 * STEP_S + 1
            return
    raise AssertionError("it starved")


def test_the_age_of_a_job_that_waited_elsewhere_is_asked_for() -> None:
    made = Line()
    made.push(job(1), now=100.0)
    made.push(job(2, Priority.LOW), now=100.0, arrived=100.0 - 5 * STEP_S)
    assert made.pick(now=100.0) == [2, 1]


def test_many_at_once_come_as_one_by_one_would() -> None:
    jobs = [job(n, list(Priority)[n % 5], project=f"p{n % 3}", role=f"r{n % 2}") for n in range(1, 200)]
    one_by_one, at_once = line(*jobs), Line(jobs={each.job_id: each for each in jobs})
    at_once.arrivals = dict.fromkeys(at_once.jobs, 0.0)
    random.Random(3).shuffle(jobs)
    at_once.picker.fill(jobs, 0.0)
    assert at_once.pick() == one_by_one.pick()


# ---------------------------------------------------------------- projects take turns


def test_projects_take_turns_within_a_class() -> None:
    many = [job(n, project="many") for n in range(1, 7)]
    few = [job(n, project="few") for n in (7, 8)]
    assert line(*many, *few).pick() == [1, 7, 2, 8, 3, 4, 5, 6]


def test_a_class_goes_before_a_turn() -> None:
    assert line(job(1, project="a"), job(2, project="a", priority=Priority.HIGH), job(3, project="b")).pick() == [
        2,
        3,
        1,
    ]


def test_who_comes_late_does_not_catch_up_on_turns() -> None:
    made = line(*(job(n, project="a") for n in range(1, 10)))
    made.pick(5)
    made.push(*(job(n, project="b") for n in range(20, 30)))
    assert made.pick(4) in ([20, 6, 21, 7], [6, 20, 7, 21])


@pytest.mark.parametrize(
    "held",
    [{"paused": frozenset({project_scope("b")})}, {"paused": frozenset({role_scope("of b")})}, {"projects": {"b": 0}}],
)
def test_a_project_that_was_held_back_takes_turns_and_does_not_make_up_for_it(held: dict[str, Any]) -> None:
    made = line(*(job(n, project="b", role="of b") for n in range(1, 100)))
    made.push(*(job(n, project="a") for n in range(100, 300)))
    assert made.pick(100, rules=replace(FREE, **held)) == list(range(100, 200))
    assert made.pick(8) == [1, 2, 200, 3, 201, 4, 202, 5]


def test_projects_share_whatever_classes_their_jobs_had_before() -> None:
    """One had urgent jobs; of what is not urgent each has its share from then on."""
    made = line(job(1, project="b"), job(2, project="b"), job(3, project="b"))
    made.push(*(job(n, project="a", priority=Priority.HIGH) for n in range(10, 60)))
    made.push(*(job(n, project="a") for n in range(60, 63)))
    assert made.pick(50) == list(range(10, 60))
    assert made.pick() == [1, 2, 60, 3, 61, 62]


def test_a_project_that_comes_back_at_once_does_not_go_first_each_time() -> None:
    made = line(*(job(n, project="many") for n in range(1, 50)), job(100, project="few"))
    picked = []
    for n in range(101, 121):
        (revision,) = made.pick(1)
        picked.append(revision)
        if revision >= 100:
            made.push(job(n, project="few"))
    assert sum(revision < 100 for revision in picked) == 10


def test_roles_of_a_project_share_its_turns() -> None:
    a = [job(1, project="a", role="x"), job(2, project="a", role="y"), job(3, project="a", role="x")]
    b = [job(4, project="b", role="x"), job(5, project="b", role="x")]
    assert line(*a, *b).pick() == [1, 4, 2, 5, 3]


# ---------------------------------------------------------------- limits and pauses


def test_a_role_at_its_limit_holds_back_nobody_else_and_goes_on_when_one_ends() -> None:
    slow = [job(n, role="slow", priority=Priority.HIGH) for n in range(1, 5)]
    made = line(*slow, job(9, role="quick"), job(10))
    rules = replace(FREE, roles={"slow": 2})
    assert made.pick(rules=rules) == [1, 2, 9, 10]
    assert made.pick(rules=rules) == []
    made.over(slow[0])
    assert made.pick(rules=rules) == [3]


def test_a_project_at_its_limit_holds_back_nobody_else() -> None:
    made = line(*(job(n, project="a") for n in range(1, 5)), job(9, project="b"))
    assert made.pick(rules=replace(FREE, each_project=1)) == [1, 9]
    assert made.pick(rules=replace(FREE, each_project=1, projects={"a": 3})) == [2, 3]


def test_the_limit_of_all_is_for_all() -> None:
    made = line(*(job(n, role=f"r{n}") for n in range(1, 5)))
    assert made.pick(rules=replace(FREE, total=3)) == [1, 2, 3]
    assert made.pick(rules=replace(FREE, total=3)) == []
    assert made.pick(rules=FREE) == [4]


@pytest.mark.parametrize(
    ("scope", "left"),
    [(ALL, []), (role_scope("x"), [2, 3]), (project_scope("p"), [1, 3]), (role_scope("z"), [1, 2, 3])],
)
def test_nothing_of_a_paused_scope_is_picked(scope: str, left: list[int]) -> None:
    made = line(job(1, role="x"), job(2, project="p"), job(3, role="y", project="q"))
    assert sorted(made.pick(rules=replace(FREE, paused=frozenset({scope})))) == left
    assert sorted(made.pick()) == [each for each in (1, 2, 3) if each not in left]


# ---------------------------------------------------------------- places


def test_a_large_job_is_passed_over_for_a_while_then_what_is_free_is_kept_for_it() -> None:
    rules = replace(FREE, workers=4)
    made = line(job(1, slots=4), job(2), job(3), job(4))
    assert made.pick(now=1.0, rules=rules, room=Room(2)) == [2, 3]
    assert made.pick(now=STEP_S, rules=rules, room=Room(3)) == []  # not job 4
    assert made.pick(now=STEP_S, rules=rules, room=Room(4)) == [1]


def test_a_job_that_can_never_fit_holds_back_nobody() -> None:
    made = line(job(1, slots=9), job(2))
    assert made.pick(now=1e6, rules=replace(FREE, workers=4), room=Room(4)) == [2]


@pytest.mark.parametrize(("huge", "large"), [({"slots": 4}, {"slots": 3}), ({"memory": 7 << 30}, {"memory": 5 << 30})])
def test_jobs_of_about_the_size_of_one_that_can_never_fit_go_on(huge: dict[str, int], large: dict[str, int]) -> None:
    rules = replace(FREE, workers=3, memory=6 << 30)
    made = line(job(1, **huge), job(2, **large), job(3, **huge), job(4, **large))
    assert made.pick(rules=rules, room=Room(3, 0, 6 << 30)) == [2]
    assert made.pick(rules=rules, room=Room(3, 0, 6 << 30)) == [4]
    assert len(made.picker) == 2


def test_jobs_that_did_not_fit_come_in_their_order_once_there_is_more() -> None:
    made = line(*(job(n, slots=4) for n in (1, 3, 5)), job(4, slots=4, priority=Priority.HIGH), job(9, slots=8))
    few, more = replace(FREE, workers=3), replace(FREE, workers=4)
    assert made.pick(rules=few) == []
    made.push(job(2, slots=4), now=1.0)
    assert made.pick(now=1.0, rules=few) == []
    assert made.pick(now=1.0, rules=more) == [4, 1, 2, 3, 5]
    assert len(made.picker) == 1
    assert made.pick(now=1.0, rules=replace(FREE, workers=8)) == [9]


def test_a_job_that_does_not_fit_leaves_like_any_other_and_comes_back_once() -> None:
    made = line(job(1, slots=4), job(2, slots=4), job(3, slots=4))
    assert made.pick(rules=replace(FREE, workers=3)) == []
    for each in (1, 2):
        made.picker.discard(job(each).job_id)
    assert len(made.picker) == 1
    made.push(job(2, slots=4))
    made.push(Job(job(3, slots=4).spec, 7, 10))  # a new incarnation
    made.push(Job(job(3, slots=4).spec, 7, 10))
    assert len(made.picker) == 2
    assert made.pick() == [2, 7]
    assert made.pick() == []


def test_very_many_that_can_never_fit_are_set_aside_and_put_back_over_several_picks() -> None:
    made = line(*(job(n, slots=4) for n in range(1, 2500)), job(2500, slots=3), job(2501))
    picks = [made.pick(rules=replace(FREE, workers=3), room=Room(3)) for _ in range(3)]
    assert picks == [[2501], [], [2500]]
    assert [made.pick(5000) for _ in range(3)] == [[*range(1, 1001)], [*range(1001, 2001)], [*range(2001, 2500)]]


def test_a_large_job_waited_while_it_did_not_fit() -> None:
    rules = replace(FREE, workers=4)
    made = line(job(1, slots=4), job(2))
    assert made.pick(rules=replace(FREE, workers=3), room=Room(0, ahead=1)) == [2]
    made.push(job(3), now=STEP_S)
    assert made.pick(now=STEP_S, rules=rules, room=Room(3)) == []  # what is free is kept for it


def test_nothing_is_kept_for_a_job_that_would_have_to_wait_for_a_stuck_run() -> None:
    rules = replace(FREE, workers=4)
    made = line(job(1, slots=4), job(2), job(3, slots=3), job(4))
    assert made.pick(1, now=STEP_S, rules=rules, room=Room(3)) == []
    assert made.pick(1, now=STEP_S, rules=rules.beside_stuck(1, 0), room=Room(3)) == [2]
    assert made.pick(now=STEP_S, rules=rules.beside_stuck(1, 0), room=Room(2)) == []  # kept for job 3
    assert made.pick(now=STEP_S, rules=rules.beside_stuck(1, 0), room=Room(3)) == [3]
    assert made.pick(now=STEP_S, rules=rules, room=Room(4)) == [1]  # it has come back


def test_memory_is_kept_within_what_there_is() -> None:
    mib = 1024 * 1024
    made = line(job(1, memory=6 * mib), job(2, memory=6 * mib), job(3, memory=4 * mib), job(4))
    assert made.pick(rules=replace(FREE, memory=10 * mib), room=Room(9, 0, 10 * mib)) == [1, 3, 4]


def test_only_small_jobs_are_claimed_ahead_of_a_worker() -> None:
    made = line(job(1, slots=2), job(2), job(3))
    assert made.pick(room=Room(0, ahead=1)) == [2]


# ---------------------------------------------------------------- against a simple one


@dataclass
class Simple:
    """Looks at every job, every time."""

    jobs: dict[int, tuple[Job, float]] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)
    turn: int = 0

    def push(self, each: Job, now: float) -> None:
        project = each.spec.project
        if not any(other.spec.project == project for other, _ in self.jobs.values()):
            self.turns[project] = self.turn + 1  # it has no claim to turns from before
        self.jobs.setdefault(each.revision, (each, now))

    def level(self, each: Job, since: float, now: float) -> int:
        rank = each.spec.priority.rank
        return rank if rank >= 4 else min(4, rank + int((now - since) / STEP_S))

    def pick(self, most: int, now: float, rules: Rules, usage: Usage) -> list[int]:
        picked: list[int] = []
        while len(picked) < most:
            heads = [
                (-self.level(each, since, now), self.turns[each.spec.project], each.revision)
                for each, since in self.heads(rules)
                if not rules.why_held(each.spec, usage)
            ]
            if not heads:
                return picked
            each, _ = self.jobs.pop(min(heads)[2])
            usage.take(each.spec)
            self.turn = max(self.turn, self.turns[each.spec.project])
            self.turns[each.spec.project] = self.turn + 1
            picked.append(each.revision)
        return picked

    def heads(self, rules: Rules) -> Iterable[tuple[Job, float]]:
        first: dict[tuple[object, ...], int] = {}
        for revision, (each, _) in sorted(self.jobs.items()):
            spec = each.spec
            if not rules.could_fit(spec):
                continue
            first.setdefault((spec.priority, spec.project, spec.role), revision)
        return [self.jobs[revision] for revision in first.values()]


names = st.sampled_from(["a", "b", "c"])
priorities = st.sampled_from(list(Priority))
common = [
    st.tuples(st.just("pick"), st.integers(1, 4)),
    st.tuples(st.just("over"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 30.0, 70.0])),
    st.tuples(st.just("discard"), st.integers(0, 9)),
]
of_one_size = st.lists(
    st.one_of(
        *common,
        st.tuples(st.just("push"), priorities, names, names, st.just(1)),
        st.tuples(st.just("limit"), st.sampled_from(["role", "project", "total"]), st.integers(0, 3)),
    ),
    max_size=60,
)
large = st.tuples(st.just("push"), st.just(Priority.NORMAL), st.just("a"), st.just("a"), st.sampled_from([3, 4]))
of_one_project = st.lists(
    st.one_of(
        *common,
        large,
        st.lists(large, min_size=2, max_size=4),
        st.tuples(st.just("push"), priorities, st.just("a"), names, st.sampled_from([1, 3, 4])),
        st.tuples(st.just("limit"), st.just("places"), st.integers(2, 4)),
    ),
    min_size=10,
    max_size=60,
).map(lambda taken: [step for each in taken for step in (each if isinstance(each, list) else [each])])


@settings(max_examples=600, deadline=None)
@given(of_one_size | of_one_project)
def test_it_picks_what_a_simple_one_would(taken: list[tuple[object, ...]]) -> None:
    made, simple = Line(), Simple()
    theirs, running, rules, now, revision = Usage(), [], FREE, 0.0, 0
    known: dict[int, Job] = {}
    for step in taken:
        match step:
            case ("push", priority, project, role, slots):
                revision += 1
                about = {"project": project, "role": role, "slots": slots}
                known[revision] = job(revision, priority, **about)  # type: ignore[arg-type]
                made.push(known[revision], now=now)
                simple.push(known[revision], now)
            case ("pick", int(most)):
                expected = simple.pick(most, now, rules, theirs)
                assert made.pick(most, now=now, rules=rules) == expected
                running += expected
            case ("over", int(which)) if running:
                ended = known[running.pop(which % len(running))]
                made.over(ended)
                theirs.give(ended.spec)
            case ("wait", float(seconds)):
                now += seconds
            case ("discard", int(which)) if simple.jobs:
                gone = sorted(simple.jobs)[which % len(simple.jobs)]
                del simple.jobs[gone]
                made.picker.discard(known[gone].job_id)
            case ("limit", str(what), int(most)):
                changes: dict[str, dict[str, object]] = {
                    "role": {"each_role": most, "roles": {"a": most + 1}},
                    "project": {"each_project": most, "projects": {"a": most + 1}},
                    "total": {"total": most + 2},
                    "places": {"workers": most},
                }
                rules = replace(FREE, **changes[what])  # type: ignore[arg-type]
        assert len(made.picker) == len(simple.jobs)
    assert (made.usage.total, made.usage.roles, made.usage.projects) == (theirs.total, theirs.roles, theirs.projects)


# ---------------------------------------------------------------- what is kept


def test_nothing_is_kept_of_jobs_that_are_gone() -> None:
    """Where each is claimed as it comes: else there were 60,000 dead objects after ten minutes of 100 jobs a second,
    and each full garbage collection stopped the leader for 100 ms."""
    made = Line()
    lanes = gc_count(Lane)
    for number in range(1, 1001):
        made.push(job(number, Priority.NORMAL), now=number / 100)
        assert made.pick(now=number / 100) == [number]
    assert gc_count(Lane) - lanes < 50


def test_what_lets_go_of_the_gone_lifts_those_that_wait() -> None:
    made = Line()
    made.push(job(1, Priority.LOW, project="p"), now=0.0)
    full = Rules(workers=1_000_000, age_step_s=STEP_S, projects={"p": 0})
    for number in range(2, 202):
        made.push(job(number, Priority.LOW, role=f"r{number}"), now=1.0)
        assert made.pick(now=1.0, rules=full) == [number]
    made.push(job(300, Priority.NORMAL), now=STEP_S)
    assert made.pick(1, now=STEP_S) == [1]


def gc_count(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())
