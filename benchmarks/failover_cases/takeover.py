"""F8: a warm successor takes over a long queue."""

from __future__ import annotations

import time
from functools import partial

from failover_cases.bench import Bench, NodeLine
from failover_cases.report import CaseReport, progress
from slurp_leader import SlurpLeaderSystem, SlurpSettings

_RUNNING = 10
_WARM_S = 120.0
_TAKEOVER_S = 60.0
_CHUNK = 10_000


def takeover(runs: int, pending: int, long_runs: int, long_pending: int) -> CaseReport:
    """F8."""
    report = CaseReport("f8", f"takeover of a queue, {_RUNNING} jobs running, successor warm")
    for count, times in ((pending, runs), (long_pending, long_runs)):
        from_kill, from_term = _measure(count, times)
        name = f"{count:,} pending:"
        report.times(f"{name} kill to the first claim", from_kill, most_below=100 if count == pending else None)
        report.times(
            f"{name} revision of the term to the first claim", from_term, most_below=500 if count != pending else None
        )
    report.notes.append("kill, term and claim are seen by one watcher; the crash guard's share is what F1 shows")
    return report


def _measure(pending: int, runs: int) -> tuple[list[float], list[float]]:
    from_kill, from_term = [], []
    with Bench("system", jobs={"workers": _RUNNING, "queue_limit": 1_000_000}) as bench:
        bench.add_nodes(1)
        fill(bench, pending + _RUNNING)
        for number in range(runs):
            progress(f"f8: {pending:,} pending, {number + 1} of {runs}: until the successor is warm")
            bench.add_nodes(1)
            for line in bench.nodes.values():
                _wait_until_warm(line, pending)
            time.sleep(1)
            leader, token = bench.leader()
            killed_at = leader.kill()
            following = bench.observer.next_leader(token, _TAKEOVER_S)
            claim = bench.observer.until(
                partial(bench.observer.first_claim, following.revision), _TAKEOVER_S, "a claim"
            )
            from_kill.append((claim.at - killed_at) * 1000)
            from_term.append((claim.at - following.at) * 1000)
            leader.end()
            bench.nodes.pop(leader.name)
            successor, _ = bench.leader()
            # Those that were running twice under a crash would be suspects: let them end, others take their places.
            time.sleep(0.5)
            successor.ask("release")
    return from_kill, from_term


def fill(bench: Bench, count: int) -> None:
    """Submit jobs that are held wherever they run."""
    settings = SlurpSettings.model_validate(bench.settings("filler"))
    with SlurpLeaderSystem(settings, candidate=False) as client:
        for begin in range(0, count, _CHUNK):
            paths = [f"{number}.txt" for number in range(begin, min(begin + _CHUNK, count))]
            for answer in client.submit_many(paths, metadata={"held": True}):
                if isinstance(answer, Exception):
                    raise answer


def _wait_until_warm(line: NodeLine, jobs: int) -> None:
    until = time.monotonic() + _WARM_S
    while line.ask("queue")["jobs"] < jobs - 20 * _RUNNING:  # some ended in earlier rounds
        if time.monotonic() > until:
            raise TimeoutError(f"{line.name} has not seen the queue within {_WARM_S:g} s")
        time.sleep(0.1)
