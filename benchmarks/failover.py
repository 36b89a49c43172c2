"""How long the cluster is without a leader, and what that costs: crash, loss of a machine, standstill, handover, idle.

    python benchmarks/failover.py [--case f1 ...] [--runs N] [--minutes M] [--seconds S] [--quick] [--json]

Each case starts an etcd of its own on loopback, and nodes as processes of this interpreter; they end with it. A time
runs from the return of kill(2) to the watch event in this process, both by its CLOCK_MONOTONIC: what nodes say about
themselves counts for nothing. Settings are the defaults (TTL 15 s) where a case does not say otherwise.

f1     SIGKILL of the leader; of 16 jobs that wait, the first one that the successor commits
f2     the same under ``slurp guard -- python ...`` as process 1 of a PID namespace
f3     leader and crash guard killed together, as when a machine is lost, at TTL 3 s
f4     SIGSTOP; SIGCONT once the successor leads: what the old leader still believes, writes and begins
f5     handover while 100 jobs a second of 50 ms come in; gaps while a node starts anew are told apart
f6     idle beside eight programs that take all processors, for 30 minutes
f7     the leader of three etcd members is killed: until submits succeed again
f8     takeover with 10 jobs running, and 1,000 or 100,000 waiting
f9     what three idle nodes write, the memory of a node and its guard, and how soon a guard is ready
peers  ``etcdctl lock`` and ``elect`` by the same measure, where installed

Without ``--case`` all of them run; with ``--quick`` in less than three minutes, with few repetitions, 10,000 waiting
jobs in place of 100,000, and without the minute that ``etcdctl elect`` takes. Times belong to a machine, and to what
else it does at that time: the load is in the report.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from failover_cases import crash, handing, outage, peers, quiet, stall, takeover
from failover_cases.report import CaseReport, print_report, progress

from slurp_leader.etcd.local import find_etcd


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is run."""

    quick: bool
    runs: int | None
    minutes: float | None
    seconds: float | None

    def times(self, full: int, quick: int) -> int:
        """How often: what was asked for, else by the size of the run."""
        return self.runs or (quick if self.quick else full)


CASES: dict[str, Callable[[Scope], CaseReport]] = {
    "f1": lambda scope: crash.plain(scope.times(200, 6)),
    "f2": lambda scope: crash.under_guard(scope.times(200, 3)),
    "f3": lambda scope: crash.with_its_guard(scope.times(20, 2)),
    "f4": lambda scope: stall.stalled(scope.times(10, 1)),
    "f5": lambda scope: handing.handover(scope.times(50, 4)),
    "f6": lambda scope: quiet.hogs(scope.minutes or (0.15 if scope.quick else 30.0)),
    "f7": lambda scope: outage.etcd_leader(scope.times(10, 1)),
    "f8": lambda scope: takeover.takeover(
        scope.times(10, 2), 1_000, min(scope.times(5, 1), 10), 10_000 if scope.quick else 100_000
    ),
    "f9": lambda scope: quiet.cost(scope.seconds or (6.0 if scope.quick else 60.0)),
    "peers": lambda scope: peers.etcdctl(scope.times(5, 5), with_elect=not scope.quick),
}


def run(name: str, scope: Scope) -> CaseReport:
    """One case. One that breaks says so in its report: the others go on."""
    began = time.monotonic()
    progress(f"{name} begins")
    try:
        report = CASES[name](scope)
    except (TimeoutError, RuntimeError, OSError) as error:
        report = CaseReport(name, "broke off")
        report.failed = f"{type(error).__name__}: {error}"
    progress(f"{name} took {time.monotonic() - began:.0f} s")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES), help="which (default: all)")
    parser.add_argument("--runs", type=int, help="repetitions of each case")
    parser.add_argument("--minutes", type=float, help="how long f6 takes")
    parser.add_argument("--seconds", type=float, help="how long f9 looks, for each kind of node")
    parser.add_argument("--quick", action="store_true", help="few repetitions of everything, in less than 3 minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    # What was seen is kept, many thousands of objects: to look through them would hold up the observer, and every time
    # it takes meanwhile. The nodes are other processes, and collect as they do anywhere.
    gc.disable()
    scope = Scope(arguments.quick, arguments.runs, arguments.minutes, arguments.seconds)
    about = {"etcd": find_etcd().version, "processors": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}
    reports = []
    for name in arguments.case:
        reports.append(run(name, scope))
        if not arguments.json:
            print_report(reports[-1])
            sys.stdout.flush()
    about["load_after"] = round(os.getloadavg()[0], 2)
    if arguments.json:
        print(json.dumps({**about, "cases": [report.to_wire() for report in reports]}, indent=2))
    else:
        print("\n" + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in about.items()))
    return 1 if any(report.failed for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
