"""F6, F9: nothing happens. No election may happen either, and little may be written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from itertools import pairwise
from pathlib import Path

from failover_cases.bench import Bench
from failover_cases.report import CaseReport, progress
from slurp_leader.etcd import EtcdOptions
from slurp_leader.etcd.route import route_of
from slurp_leader.guard.client import GuardClient

_NODES = 3
_HOG = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end: pass"


def hogs(minutes: float, count: int = 8) -> CaseReport:
    """F6."""
    report = CaseReport("f6", f"idle for {minutes:g} minutes beside {count} programs that take all processors")
    with Bench("system", follow_jobs=False) as bench:
        bench.add_nodes(_NODES)
        seconds = minutes * 60
        before = len(bench.observer.leaders)
        # They end by themselves, also when nobody is left to end them.
        running = [subprocess.Popen([sys.executable, "-c", _HOG, str(seconds)]) for _ in range(count)]
        try:
            until = time.monotonic() + seconds
            while (left_s := until - time.monotonic()) > 0:
                time.sleep(min(60.0, left_s))
                changes = len(bench.observer.leaders) - before
                progress(
                    f"f6: {max(0.0, until - time.monotonic()) / 60:.1f} min left, leader key changed {changes} times"
                )
        finally:
            for hog in running:
                hog.kill()
                hog.wait()
        beats = [each.at for each in bench.observer.heartbeats]
        report.number("elections", sum(1 for each in bench.observer.leaders[before:] if each.is_put), at_most=0)
        report.times("pause between two heartbeats", [later - earlier for earlier, later in pairwise(beats)], unit="s")
    return report


def cost(seconds: float) -> CaseReport:
    """F9."""
    report = CaseReport("f9", f"cost of {_NODES} idle nodes, seen for {seconds:g} s")
    for kind, name in (("election", "LeaderElection"), ("system", "SlurpLeaderSystem")):
        with Bench(kind, follow_jobs=False) as bench:
            bench.add_nodes(_NODES)
            time.sleep(3)
            assert bench.etcd is not None
            if kind == "election":
                report.times("start of a guard, until it is ready", _guard_starts(bench.etcd.endpoint), most_below=500)
            began, revision, proposals = time.monotonic(), bench.observer.revision(), _proposals(bench.etcd.endpoint)
            processor = [_processor_s(line.pid) for line in bench.nodes.values()]
            progress(f"f9: {name}")
            time.sleep(seconds)
            minutes = (time.monotonic() - began) / 60
            writes = (bench.observer.revision() - revision) / minutes
            report.number(f"{name}: revisions a minute", writes, at_most=60)
            report.number(f"{name}: raft proposals a minute", (_proposals(bench.etcd.endpoint) - proposals) / minutes)
            used = [
                (_processor_s(line.pid) - was) / minutes
                for line, was in zip(bench.nodes.values(), processor, strict=True)
            ]
            report.times(f"{name}: processor time of a node, a minute", [each * 1000 for each in used])
            for line in bench.nodes.values():
                line.note_guards()
            nodes = [line.pid for line in bench.nodes.values()]
            guards = [pid for line in bench.nodes.values() for pid in line.guards]
            for field in ("Rss", "Pss"):
                report.times(
                    f"{name}: {field.upper()} of a node", [_memory_mib(pid, field) for pid in nodes], unit="MiB"
                )
                report.times(
                    f"{name}: {field.upper()} of its guard",
                    [_memory_mib(pid, field) for pid in guards],
                    unit="MiB",
                    most_below=40 if field == "Rss" else None,
                )
    report.notes.append("a node of this benchmark loads `SlurpLeaderSystem` too, also where it runs a bare election")
    return report


def _guard_starts(endpoint: str, times: int = 10) -> list[float]:
    """From the decision to have a crash guard until it has told that it can reach etcd, in ms."""
    route = route_of(EtcdOptions(endpoints=[endpoint]))
    starts = []
    for number in range(times):
        began = time.monotonic()
        guard = GuardClient(route)
        guard.hold(number + 1, 60, 0)
        while guard.problem:
            time.sleep(0.002)
        starts.append((time.monotonic() - began) * 1000)
        guard.drop(number + 1)
        guard.close()
    return starts


def _proposals(endpoint: str) -> float:
    """How many proposals etcd has committed: what its disk has to take."""
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("etcd_server_proposals_committed_total ")).split()[1])


def _memory_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
