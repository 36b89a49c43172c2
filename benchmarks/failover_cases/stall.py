"""F4: the leader is stopped (SIGSTOP), and wakes up beside its successor."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field

from failover_cases.bench import Bench
from failover_cases.report import CaseReport, progress

_NODES = 3
_AWAKE_S = 1.5
"""How long the old leader is looked at after it has woken up."""


@dataclass(slots=True)
class _Found:
    """What was seen over all runs at one `stall_timeout`."""

    vacancies: list[float] = field(default_factory=list)
    tries: int = 0
    unanswered: int = 0
    accepted: int = 0
    started: int = 0
    believed_ms: float = 0.0
    stretches: int = 0
    looks: int = 0
    others: int = 0


def stalled(runs: int, stall_timeouts_s: tuple[float, ...] = (5.0, 2.0)) -> CaseReport:
    """F4."""
    report = CaseReport("f4", "SIGSTOP of the leader, SIGCONT after the successor leads, TTL 15 s")
    for stall_s in stall_timeouts_s:
        found = _measure(stall_s, runs)
        at = f"stall_timeout {stall_s:g} s:"
        report.times(f"{at} stop to the next leader key", found.vacancies, unit="s", most_below=stall_s + 0.5)
        report.number(f"{at} effects accepted after the successor's term began", found.accepted, at_most=0)
        report.number(f"{at} jobs started then", found.started, at_most=0)
        report.number(f"{at} is_leader then", found.believed_ms, unit="ms", at_most=0)
        report.number(f"{at} times is_leader was true then", found.stretches, at_most=0)
        report.notes.append(
            f"{at} the woken leader tried {found.tries} fenced writes with its old term, and looked at is_leader "
            f"{found.looks:,} times in all; of all writes {found.unanswered} had no answer"
        )
        if found.others:
            report.notes.append(f"{at} {found.others} changes of leader that nobody had asked for")
    return report


def _measure(stall_s: float, runs: int) -> _Found:
    found = _Found()
    with Bench("system", election={"stall_timeout": stall_s}, watched=True) as bench:
        bench.add_nodes(_NODES)
        submitter = bench.add_submitter(20, {"ms": 10})
        submitter.ask("go")
        for number in range(runs):
            time.sleep(random.uniform(1.0, 1.6))
            leader, token = bench.leader()
            os.kill(leader.pid, signal.SIGSTOP)
            stopped_at = time.monotonic()
            try:
                following = bench.observer.next_leader(token, 20 + stall_s)
            finally:
                os.kill(leader.pid, signal.SIGCONT)
            found.vacancies.append(following.at - stopped_at)
            time.sleep(_AWAKE_S)
            answer = leader.ask("since", following.at, token)
            found.tries += answer["tries"]
            found.unanswered += answer["unanswered"]
            found.started += answer["started"]
            found.believed_ms += answer["believed_ms"]
            found.stretches += answer["stretches"]
            found.looks += answer["looks"]
            key = b"/%d" % token
            found.accepted += sum(
                1 for each in bench.observer.effects if each.revision > following.revision and each.key.endswith(key)
            )
            later = [each for each in bench.observer.leaders if each.is_put and each.revision > following.revision]
            found.others += len(later)
            progress(f"f4: stall_timeout {stall_s:g} s, {number + 1} of {runs}, {found.vacancies[-1]:.2f} s")
        submitter.ask("halt")
    return found
