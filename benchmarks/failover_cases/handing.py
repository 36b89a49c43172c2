"""F5: the leader hands over while a hundred jobs a second come in."""

from __future__ import annotations

import random
import time
from itertools import pairwise

from failover_cases.bench import Bench
from failover_cases.report import CaseReport, progress

_NODES = 3
_RATE = 100.0
_JOB_MS = 50
_BEFORE_S, _AFTER_S = 0.5, 1.5


def handover(runs: int, ways: tuple[str, ...] = ("transfer()", "stop()")) -> CaseReport:
    """F5."""
    report = CaseReport("f5", f"handover under {_RATE:g} jobs/s of {_JOB_MS} ms, half by transfer(), half by stop()")
    with Bench("system", jobs={"workers": 16}) as bench:
        bench.add_nodes(_NODES)
        submitter = bench.add_submitter(_RATE, {"ms": _JOB_MS})
        submitter.ask("go")
        time.sleep(2)
        measured_from = time.monotonic()
        moments: dict[str, list[float]] = {how: [] for how in ways}
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
                bench.replace(leader)
            progress(f"f5: {number + 1} of {runs}, by {how}, {durations[how][-1]:.0f} ms")
        time.sleep(_AFTER_S)
        submits = submitter.ask("halt")
        bench.observer.until(
            lambda: len(bench.observer.done) >= submits["submits"] - submits["failures"], 60, "all jobs"
        )
        report.number("handovers that were refused", refused, at_most=0)
        _count(report, bench, moments, durations, measured_from, submits)
    return report


def _count(
    report: CaseReport,
    bench: Bench,
    moments: dict[str, list[float]],
    durations: dict[str, list[float]],
    measured_from: float,
    submits: dict[str, object],
) -> None:
    seen = bench.observer
    ends = [each.at for each in seen.done if each.is_put]
    gaps = [(began, ended) for began, ended in pairwise(ends) if began >= measured_from]
    apart = list(gaps)
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
        longest = []
        for moment in at:
            near = [gap for gap in gaps if gap[1] > moment - _BEFORE_S and gap[0] < moment + _AFTER_S]
            apart = [gap for gap in apart if gap not in near]
            longest.append(max((ended - began for began, ended in near), default=0.0) * 1000)
        report.times(f"{how}: asked to the leader key of the next", durations[how])
        report.times(f"{how}: longest gap between two completions", longest, most_below=2 * _JOB_MS)
    report.number(
        "longest gap between two completions at other times",
        max((b - a for a, b in apart), default=0) * 1000,
        unit="ms",
    )
    records = [each.record for each in seen.done if each.is_put]
    report.number("jobs with more than one attempt", sum(1 for each in records if each["attempts"] > 1), at_most=0)
    report.number("jobs that were interrupted", sum(1 for each in records if each["interruptions"]), at_most=0)
    report.number("jobs that did not complete", sum(1 for each in records if each["status"] != "completed"), at_most=0)
    report.number("failed submits", float(str(submits["failures"])), at_most=0)
    longest_ms = float(str(submits["longest_s"])) * 1000
    report.notes.append(
        f"{submits['submits']} jobs, 16 workers, as 4 would do only 80 jobs/s; longest submit {longest_ms:.0f} ms"
    )
