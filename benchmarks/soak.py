"""Steady load for a long time: does anything grow, and does anything go wrong?

    python benchmarks/soak.py [--minutes 30] [--rate 500] [--retention 60] [--json]

One etcd that compacts its history each minute, one leader process, and a submitter in this process that gives it so
many no-op jobs of 1 KiB a second, reads every result, and looks every ten seconds at the size of the database and at
the memory of each process. What is kept comes to rest after the retention and a few compactions; from then on the last
third of the samples is compared with the first third. Jobs that fail, are refused or run twice are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from slurp_leader import JobHandle, SlurpLeaderSystem, SlurpSettings
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.store import Status

PAYLOAD = "x" * 700
"""Brings a queue record to about 1 KiB."""
_SAMPLE_EVERY_S = 10.0
_FLAT = 1.1
"""What counts as not growing: the last third is at most a tenth above the first."""
_RESULT_WITHIN_S = 60.0
_SETTLES_S = 240.0
"""Beyond three retentions: etcd keeps one to two minutes of history, and finds free pages only after that."""


def settings_for(endpoint: str, node_id: str, retention_s: float) -> SlurpSettings:
    return SlurpSettings(
        etcd={"endpoints": [endpoint]},
        node={"id": node_id, "cluster_id": "soak"},
        jobs={"retain_completed": retention_s, "retain_failed": retention_s},
    )


def lead(endpoint: str, retention_s: float) -> None:
    """The leader process: runs no-op jobs until its standard input ends."""
    with SlurpLeaderSystem(settings_for(endpoint, "leader", retention_s), generator=lambda request, job: {"ok": True}):
        sys.stdin.read()


class Load:
    """Submits at a steady rate and reads every result, in the order of submitting.

    Args:
        system: A client.
        rate: Jobs a second.
    """

    def __init__(self, system: SlurpLeaderSystem, rate: float) -> None:
        self._system = system
        self._every_s = 1 / rate
        self._ending = threading.Event()
        self._open: deque[tuple[float, JobHandle[Any]]] = deque()
        self.ended: Counter[str] = Counter()
        """How jobs ended, and what else went wrong."""
        self.took_ms: deque[float] = deque(maxlen=100_000)
        """From submit to result of the newest ones; seen a moment late, as results are read one after the other."""
        self._threads = [threading.Thread(target=each) for each in (self._submit, self._read)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Submit no more, and read what is open."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _submit(self) -> None:
        due = time.monotonic()
        number = 0
        with ThreadPoolExecutor(64) as pool:
            while not self._ending.is_set():
                pool.submit(self._submit_one, number)
                number += 1
                due += self._every_s
                time.sleep(max(0.0, due - time.monotonic()))

    def _submit_one(self, number: int) -> None:
        began = time.monotonic()
        try:
            handle = self._system.submit(f"soak/{number}.txt", metadata={"payload": PAYLOAD})
        except Exception as error:
            self.ended[f"submit: {type(error).__name__}"] += 1
        else:
            self._open.append((began, handle))

    def _read(self) -> None:
        while self._open or not self._ending.is_set():
            if not self._open:
                time.sleep(self._every_s)
                continue
            began, handle = self._open.popleft()
            try:
                outcome = handle.outcome(timeout=_RESULT_WITHIN_S)
            except Exception as error:
                self.ended[f"result: {type(error).__name__}"] += 1
            else:
                again = "" if (outcome.attempts, outcome.interruptions) == (1, 0) else ", not at once"
                self.ended[outcome.status.value + again] += 1
                self.took_ms.append((time.monotonic() - began) * 1000)


def resident_mib(pid: int) -> float:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(minutes: float, rate: float, retention_s: float) -> dict[str, Any]:
    with EtcdProcess(extra_args=("--auto-compaction-retention=1m",)) as etcd:
        command = [sys.executable, __file__, "--lead", etcd.endpoint, "--retention", str(retention_s)]
        leader = subprocess.Popen(command, stdin=subprocess.PIPE)
        store = EtcdStore(EtcdOptions(endpoints=[etcd.endpoint]))
        pids = {"leader": leader.pid, "submitter": os.getpid(), "etcd": etcd.pid}
        samples: list[dict[str, float]] = []
        try:
            with SlurpLeaderSystem(settings_for(etcd.endpoint, "submitter", retention_s), candidate=False) as system:
                system.leader.wait(60)
                load = Load(system, rate)
                began = time.monotonic()
                until = began + minutes * 60
                while time.monotonic() < until:
                    time.sleep(min(_SAMPLE_EVERY_S, max(0.0, until - time.monotonic())))
                    status = store.call(Status(), 10).result()
                    samples.append(
                        {
                            "at_s": round(time.monotonic() - began, 1),
                            "db_mib": status.db_size / 2**20,
                            "db_in_use_mib": status.db_size_in_use / 2**20,
                            **{f"{name}_mib": resident_mib(pid) for name, pid in pids.items()},
                        }
                    )
                    if len(samples) % 6 == 0:
                        _tell(samples[-1], load.ended, until - time.monotonic())
                load.end()
        finally:
            store.close()
            assert leader.stdin is not None
            leader.stdin.close()
            leader.wait(60)
        took_ms = sorted(load.took_ms)
        return {
            "etcd": etcd.binary.version,
            "minutes": minutes,
            "jobs_per_s": rate,
            "retention_s": retention_s,
            "ended": dict(load.ended),
            "result_ms": {"median": statistics.median(took_ms), "p99": took_ms[int(0.99 * len(took_ms))]},
            "figures": figures(samples, 3 * retention_s + _SETTLES_S),
            "samples": samples,
        }


def figures(samples: list[dict[str, float]], settled_after_s: float) -> dict[str, dict[str, Any]]:
    """Of each size, in MiB: the median of the first and of the last third of what was seen after it came to rest, the
    most, and whether it is flat. Empty when it was not seen for long enough."""
    settled = [sample for sample in samples if sample["at_s"] > settled_after_s]
    third = len(settled) // 3
    if third < 1:
        return {}
    told: dict[str, dict[str, Any]] = {}
    for name in [name for name in settled[0] if name.endswith("_mib")]:
        values = [sample[name] for sample in settled]
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        told[name.removesuffix("_mib")] = {
            "first": round(first, 1),
            "last": round(last, 1),
            "most": round(max(values), 1),
            "flat": last <= first * _FLAT,
        }
    return told


def show(report: dict[str, Any]) -> None:
    print(f"etcd {report['etcd']}: {report['jobs_per_s']:g} jobs/s for {report['minutes']:g} minutes, ", end="")
    print(f"outcomes kept for {report['retention_s']:g} s")
    print("ended: " + ", ".join(f"{count:,} {name}" for name, count in sorted(report["ended"].items())))
    took = report["result_ms"]
    print(f"submit to result: median {took['median']:.1f} ms, p99 {took['p99']:.1f}")
    if not report["figures"]:
        print("too short to say whether anything grows: it takes some minutes to come to rest")
    for name, each in report["figures"].items():
        verdict = "flat" if each["flat"] else "GROWS"
        print(f"  {name:<10} {each['first']:>8.1f} -> {each['last']:.1f} MiB, at most {each['most']:.1f}   {verdict}")


def _tell(sample: dict[str, float], ended: Counter[str], left_s: float) -> None:
    sizes = ", ".join(f"{name.removesuffix('_mib')} {size:.0f}" for name, size in sample.items() if name != "at_s")
    print(f"  .. {left_s / 60:.1f} min left; {sum(ended.values()):,} ended; MiB: {sizes}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=500.0, help="jobs a second")
    parser.add_argument("--retention", type=float, default=60.0, help="seconds for which outcomes are kept")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--lead", metavar="ENDPOINT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.lead:
        lead(arguments.lead, arguments.retention)
        return 0
    report = soak(arguments.minutes, arguments.rate, arguments.retention)
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    went_wrong = set(report["ended"]) != {"completed"} or not all(each["flat"] for each in report["figures"].values())
    return 1 if went_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
