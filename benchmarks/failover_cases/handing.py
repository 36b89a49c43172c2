"""F5: the leader hands over while a hundred jobs a second come in."""

from __future__ import annotations

import random
import time
from itertools import pairwise

from failover_cases.bench import Bench
from failover_cases.machine import MachineLog
from failover_cases.report import CaseReport, progress

_NODES = 3
_RATE = 100.0
_JOB_MS = 50
_BEFORE_S, _AFTER_S = 0.5, 1.5


def handover(runs: int, ways: tuple[str, ...] = ("transfer()", "stop()")) -> CaseReport:
    """F5."""
    report = CaseReport("f5", f"handover under {_RATE:g} jobs/s of {_JOB_MS} ms, half by transfer(), half by stop()")
    with Bench("system", jobs={"workers": 16}) as bench, MachineLog() as machine:
        bench.add_nodes(_NODES)
        submitter = bench.add_submitter(_RATE, {"ms": _JOB_MS})
        submitter.ask("go")
        time.sleep(2)
        measured_from = time.monotonic()
        moments: dict[str, list[float]] = {how: [] for how in ways}
        starts: list[tuple[float, float]] = []
        durations: dict[str, list[float]] = {how: [] for how in ways}
        refused = 0
        for number in range(runs):
            time.sleep(random.uniform(_AFTER_S, _AFTER_S + 0.5))
            leader, token = bench.leader()
            how = ways[number % len(ways)]
            began_at = time.monotonic()
            problem = leader.ask(how.removesuffix("()")).get("error")
            if problem:
                refused += 1
                report.notes.append(f"handover {number + 1}: {problem}")
                continue
            following = bench.observer.next_leader(token, 40)
            moments[how].append(following.at)
            durations[how].append((following.at - began_at) * 1000)
            if how == "stop()":
                # Outside of what is looked at: a new interpreter takes one of two processors for half a second.
                time.sleep(max(0.0, following.at + _AFTER_S - time.monotonic()))
                began_at = time.monotonic()
                bench.replace(leader)
                starts.append((began_at, time.monotonic()))
            progress(f"f5: {number + 1} of {runs}, by {how}, {durations[how][-1]:.0f} ms")
        time.sleep(_AFTER_S)
        submits = submitter.ask("halt")
        bench.observer.until(
            lambda: len(bench.observer.done) >= submits["submits"] - submits["failures"], 60, "all jobs"
        )
        report.number("handovers that were refused", refused, at_most=0)
        _count(report, bench, machine, moments, durations, starts, measured_from, submits)
    return report


def _count(
    report: CaseReport,
    bench: Bench,
    machine: MachineLog,
    moments: dict[str, list[float]],
    durations: dict[str, list[float]],
    starts: list[tuple[float, float]],
    measured_from: float,
    submits: dict[str, object],
) -> None:
    seen = bench.observer
    ends = [each.at for each in seen.done if each.is_put]
    gaps = [(began, ended) for began, ended in pairwise(ends) if began >= measured_from]
    gaps_elsewhere = list(gaps)
    first = seen.leaders[0].revision
    report.number(
        "revisions at which nobody held the leader key",
        sum(
            later.revision - gone.revision
            for gone, later in pairwise([each for each in seen.leaders if each.revision >= first])
            if not gone.is_put
        ),
        at_most=0,
    )
    for how, at in moments.items():
        around = [(moment - _BEFORE_S, moment + _AFTER_S) for moment in at]
        report.times(f"{how}: asked to the leader key of the next", durations[how])
        report.times(f"{how}: longest gap between two completions", _longest(gaps, around), most_below=2 * _JOB_MS)
        report.notes += [
            f"gap of {(b - a) * 1000:.0f} ms at a {how}: {machine.during(a, b) or 'the machine was not looked at'}"
            for a, b in gaps
            if (b - a) * 1000 > 2 * _JOB_MS and any(_touches((a, b), each) for each in around)
        ]
        gaps_elsewhere = [gap for gap in gaps_elsewhere if not any(_touches(gap, each) for each in around)]
    report.times("longest gap while a node starts, after a stop()", _longest(gaps, starts))
    others = [gap for gap in gaps_elsewhere if not any(_touches(gap, each) for each in starts)]
    report.number("longest gap at other times", max((b - a for a, b in others), default=0.0) * 1000, unit="ms")
    records = [each.record for each in seen.done if each.is_put]
    report.number("jobs with more than one attempt", sum(1 for each in records if each["attempts"] > 1), at_most=0)
    report.number("jobs that were interrupted", sum(1 for each in records if each["interruptions"]), at_most=0)
    report.number("jobs that did not complete", sum(1 for each in records if each["status"] != "completed"), at_most=0)
    report.number("failed submits", float(str(submits["failures"])), at_most=0)
    longest_ms = float(str(submits["longest_s"])) * 1000
    report.notes.append(
        f"{submits['submits']} jobs, 16 workers, as 4 would do only 80 jobs/s; longest submit {longest_ms:.0f} ms"
    )


def _touches(gap: tuple[float, float], stretch: tuple[float, float]) -> bool:
    return gap[1] > stretch[0] and gap[0] < stretch[1]


def _longest(gaps: list[tuple[float, float]], stretches: list[tuple[float, float]]) -> list[float]:
    """The longest gap that touches each stretch, in ms."""
    return [
        max(((gap[1] - gap[0]) * 1000 for gap in gaps if _touches(gap, stretch)), default=0.0) for stretch in stretches
    ]
