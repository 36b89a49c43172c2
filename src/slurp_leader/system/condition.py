"""How a node is, as plain data: functions over what it knows already. Nobody is asked, and nothing here waits.

Three questions, for whoever watches over a process:

* *live*: everything that was started runs. If not, only a new start of the process helps.
* *ready*: live, etcd answers, and requests can be brought in here.
* *healthy*: nobody has to do anything. What only makes a crash cost more is told of all the same.

A follower is all three. A node during an outage of etcd is live: it goes on by itself when etcd is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from slurp_leader.clock import Clock, format_utc
from slurp_leader.election import ElectionState, Reason
from slurp_leader.election.commands import about
from slurp_leader.election.events import Trouble
from slurp_leader.errors import StoreFullError
from slurp_leader.guard.client import GuardTrouble
from slurp_leader.jobs.breaker import Hold
from slurp_leader.jobs.quota import StoreVerdict
from slurp_leader.store.port import StoreOutage


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known. The defaults are those of a node that does well."""

    node_id: str
    election: str
    """Name of the election, which whoever reads this may not have in his settings."""
    is_running: bool = True
    is_stopping: bool = False
    has_heard: bool = True
    """Whether etcd has told this node how things stand."""
    state: ElectionState = ElectionState.FOLLOWER
    reason: Reason | None = None
    """Why that state was entered."""
    has_ended: bool = False
    """Whether the election stands no more, although the node runs."""
    why_ended: str = ""
    """What keeps it from ever standing again, if it is known."""
    duplicates: tuple[str, ...] = ()
    slow_hooks: tuple[str, ...] = ()
    failing_checks: Mapping[str, tuple[str, float | None]] = field(default_factory=dict)
    """Health checks that fail: what they say, and since when, in boottime seconds."""
    failing_work: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """Periodic work whose newest run in the term in force failed: what it raised, and when, in boottime seconds."""
    trouble: Trouble | None = None
    unfit: str = ""
    """Why this candidate lets others go first, beyond failing health checks."""
    held_back: str = ""
    """What forbids this node to take the key although nobody leads."""
    outage: StoreOutage | None = None
    lost_store: BaseException | None = None
    """Why nothing is heard of etcd any more, and never will be."""
    engine_failure: BaseException | None = None
    hold: Hold | None = None
    """Why this leader claims no job."""
    store: StoreVerdict | None = None
    """How full the store is, where this node leads."""
    executor_failure: BaseException | None = None
    """Why jobs will never run here again, though the scheduler does."""
    executor_trouble: str = ""
    """Why jobs cannot run here at present."""
    stuck_jobs: int = 0
    """Runs that were told to stop, have not, and hold their workers."""
    can_kill: bool = False
    """Whether a run that does not stop is killed."""
    guard_trouble: GuardTrouble | None = None
    """What keeps the crash guard from its work, where there is to be one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that somebody has to look at."""

    what: str
    message: str
    fix: str
    since: str | None = None
    """UTC date; None when it is not known."""
    ends_life: bool = field(default=False, kw_only=True)
    """Only a new start of the process helps."""
    stops_requests: bool = field(default=False, kw_only=True)
    """Requests cannot be brought in here."""
    is_minor: bool = field(default=False, kw_only=True)
    """The node does all that it has to: it is healthy."""

    def to_wire(self) -> dict[str, Any]:
        return {"what": self.what, "message": self.message, "fix": self.fix, "since": self.since}


def health_of(facts: Facts, clock: Clock) -> dict[str, Any]:
    """What `health` answers: `live`, `ready`, `healthy`, `state`, and the `problems`, each with its fix."""
    problems = problems_of(facts, clock)
    live = facts.is_running and not any(problem.ends_life for problem in problems)
    open_for_requests = facts.has_heard and not facts.is_stopping
    ready = live and open_for_requests and not any(problem.stops_requests for problem in problems)
    return {
        "live": live,
        "ready": ready,
        "healthy": live and all(problem.is_minor for problem in problems),
        "state": facts.state.value,
        "problems": [problem.to_wire() for problem in problems],
    }


def problems_of(facts: Facts, clock: Clock) -> list[Problem]:
    """Everything that is wrong, the worst first."""
    if not facts.is_running:
        return []
    return [
        *_for_good(facts),
        *_of_the_store(facts, clock),
        *_of_the_queue(facts, clock),
        *_of_the_executor(facts),
        *_of_the_service(facts, clock),
        *_of_settings(facts),
        *_of_periodic_work(facts, clock),
        *_of_the_guard(facts, clock),
    ]


def _for_good(facts: Facts) -> list[Problem]:
    problems = []
    lost = facts.lost_store
    restart = "see the log, put right what it names, then start this process anew"
    if lost is not None:
        problems.append(Problem("store", str(lost) or repr(lost), restart, ends_life=True, stops_requests=True))
    elif facts.has_ended and not facts.is_stopping and facts.engine_failure is None and not facts.executor_failure:
        why = facts.why_ended or (facts.reason.value if facts.reason else "unknown")
        message = f"this node stands for election no more: {why}"
        problems.append(Problem("election", message, restart, ends_life=True))
    if facts.engine_failure is not None:
        message = f"the scheduler of jobs failed, so this node leads no more: {facts.engine_failure!r}"
        problems.append(
            Problem("jobs", message, "report this bug, with the log; start this process anew", ends_life=True)
        )
    if facts.executor_failure is not None:
        message = f"jobs cannot run here any more, so this node leads no more: {facts.executor_failure!r}"
        problems.append(Problem("executor", message, restart, ends_life=True))
    return problems


def _of_the_store(facts: Facts, clock: Clock) -> list[Problem]:
    if facts.lost_store is not None:
        return []  # said already, and worse
    problems = []
    if facts.outage is not None:
        message = f"etcd does not answer: {facts.outage.error}"
        fix = "look at etcd and at etcd.endpoints; this node goes on by itself when etcd is back"
        since = date_of(facts.outage.since, clock)
        problems.append(Problem("store_unreachable", message, fix, since, stops_requests=True))
    if _is_full(facts):
        fix = "make room in etcd with `slurp etcd doctor --fix`; where that is not enough, raise its quota"
        problems.append(Problem("store_full", "etcd is full and takes no writes", fix, stops_requests=True))
        return problems
    if facts.store is not None and facts.store.pressure > 0:
        problems.append(_of_the_space(facts.store))
    if facts.outage is None:
        problems += _of_the_election(facts, clock)
    return problems


def _of_the_election(facts: Facts, clock: Clock) -> list[Problem]:
    problems = []
    if (trouble := facts.trouble) is not None:
        message = f"this node cannot stand for election: it could not {trouble.doing}: {trouble.error}"
        since = date_of(trouble.since, clock)
        problems.append(Problem("cannot_stand", message, "put right what the message names", since))
    if facts.unfit and not facts.held_back:
        message = f"this node lets others go first, and leads only when they do not: {facts.unfit}"
        fix = about(facts.election, "put right what the message names; see `slurp leader explain`")
        problems.append(Problem("unfit", message, fix))
    if facts.held_back:
        message = f"nobody leads, and this node may not: {facts.held_back}"
        fix = about(facts.election, "see `slurp leader explain`, and whether other nodes that may lead are up")
        problems.append(Problem("held_back", message, fix))
    if facts.state is ElectionState.SUSPENDED:
        message = f"the term cannot be proved at present: {facts.reason.value if facts.reason else 'unknown'}"
        problems.append(Problem("suspended", message, "look at etcd: does it answer in time?"))
    return problems


def _of_the_space(store: StoreVerdict) -> Problem:
    fix = "see `slurp etcd doctor`; compact and defragment etcd, or raise its quota and etcd.quota_bytes"
    if store.refuse:
        return Problem("store_filling", f"new jobs are refused: {store.fill}", fix, stops_requests=True)
    return Problem("store_filling", f"outcomes of jobs are pruned early: {store.fill}", fix)


def _is_full(facts: Facts) -> bool:
    if facts.state is ElectionState.SUSPENDED:
        return facts.reason is Reason.STORE_FULL
    return facts.trouble is not None and facts.trouble.kind == StoreFullError.__name__


def _of_the_queue(facts: Facts, clock: Clock) -> list[Problem]:
    hold = facts.hold
    if hold is None:
        return []
    tried = (
        "one is tried now" if hold.reason == "circuit_half_open" else f"one is tried at {date_of(hold.until, clock)}"
    )
    message = f"jobs wait, because the generator kept failing; {tried}. What failed last: {hold.error or 'unknown'}"
    return [Problem("generator_fails", message, "put right what the message names; the queue goes on by itself")]


def _of_the_executor(facts: Facts) -> list[Problem]:
    problems = []
    if facts.executor_trouble and facts.executor_failure is None:
        message = f"jobs cannot run here at present: {facts.executor_trouble}"
        problems.append(
            Problem("executor", message, "put right what the message names; it is tried again all the time")
        )
    if facts.stuck_jobs:
        what = "1 job does" if facts.stuck_jobs == 1 else f"{facts.stuck_jobs} jobs do"
        message = f"{what} not stop although told to, and hold as many workers"
        fix = "have the generator call job.check() between steps, or run it in processes, which are killed; " + (
            "see what holds its process" if facts.can_kill else "only a new start of the process frees the workers"
        )
        problems.append(Problem("stuck", message, fix))
    return problems


def _of_the_service(facts: Facts, clock: Clock) -> list[Problem]:
    return [
        Problem(
            "health_check",
            f"the health check {name!r} fails: {error}",
            "put right what it checks; this node is well again when it passes once",
            None if since is None else date_of(since, clock),
        )
        for name, (error, since) in sorted(facts.failing_checks.items())
    ]


def _of_periodic_work(facts: Facts, clock: Clock) -> list[Problem]:
    """It harms nothing but itself: the node does what it has to, and no other would do it better."""
    return [
        Problem(
            "periodic_work",
            f"the newest run of the periodic work {name!r} failed: {error}",
            "see the log for where it was raised; the work is begun again when it is due",
            date_of(at, clock),
            is_minor=True,
        )
        for name, (error, at) in sorted(facts.failing_work.items())
    ]


def _of_settings(facts: Facts) -> list[Problem]:
    problems = []
    if facts.duplicates:
        message = f"another live process uses the node id {facts.node_id!r}"
        problems.append(Problem("duplicate_node", message, "give each node its own node.id"))
    if facts.slow_hooks:
        message = f"hooks take longer than election.hook_timeout: {', '.join(facts.slow_hooks)}"
        problems.append(Problem("slow_hook", message, "see why they hang; long work belongs on a thread of its own"))
    return problems


def _of_the_guard(facts: Facts, clock: Clock) -> list[Problem]:
    trouble = facts.guard_trouble
    if trouble is None:
        return []
    if trouble.dies_along:
        message = f"a crash of this process costs the lease's TTL, although its crash guard works: {trouble.problem}"
        fix = "run this program as `slurp guard -- CMD`; where a crash may cost the TTL, set election.guard to false"
        return [Problem("guard", message, fix, date_of(trouble.since, clock), is_minor=True)]
    if not trouble.is_final and (facts.outage is not None or facts.lost_store is not None):
        return []  # etcd, which it does not reach either, was told of
    message = f"a crash of this process costs the lease's TTL, as its crash guard does not work: {trouble.problem}"
    goes_on = "then start this process anew" if trouble.is_final else "it is tried again all the time"
    fix = f"put right what the message names, {goes_on}; where no guard can run, set election.guard to false"
    return [Problem("guard", message, fix, date_of(trouble.since, clock), is_minor=True)]


def hold_as_fields(hold: Hold, clock: Clock) -> dict[str, Any]:
    """Why no job is claimed, and until when, as plain data."""
    return {"reason": hold.reason, "until": date_of(hold.until, clock)}


def date_of(moment: float, clock: Clock) -> str:
    """A moment in boottime seconds as a UTC date."""
    return format_utc(clock.utcnow() - timedelta(seconds=clock.boottime() - moment))
