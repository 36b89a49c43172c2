"""How fast jobs go through: one submitter, one leader process, one etcd with fsync, on this machine.

    python benchmarks/jobs.py [--jobs 10000] [--singles 500] [--json]

In one run: what this etcd does by itself through the same connection (single puts, transactions of 128 puts), then
no-op jobs of 1 KiB from submit to result read, many at once and one at a time. Absolute figures belong to a machine;
the ratios to etcd's own rates can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.store import Put, Txn

PAYLOAD = "x" * 700
"""Brings a queue record to about 1 KiB."""


def settings_for(endpoint: str, node_id: str) -> SlurpSettings:
    return SlurpSettings(
        etcd={"endpoints": [endpoint]}, node={"id": node_id, "cluster_id": "bench"}, jobs={"queue_limit": 1_000_000}
    )


def lead(endpoint: str) -> None:
    """The leader process: runs no-op jobs until its standard input ends."""
    system = SlurpLeaderSystem(settings_for(endpoint, "leader"), generator=lambda request, job: {"ok": True})
    if profile := os.environ.get("SLURP_BENCH_PROFILE"):
        _profile_loops(profile + ".leader")
    with system:
        if not system.wait_for_leadership(30):
            raise SystemExit("no leadership within 30 s")
        print("leading", flush=True)
        sys.stdin.read()


def raw_rates(endpoint: str) -> dict[str, float]:
    """What etcd does by itself: sequential puts and 128-put transactions of 1 KiB, through our connection."""
    store = EtcdStore(EtcdOptions(endpoints=[endpoint]))
    value = b"x" * 1024
    try:
        store.call(Put(b"bench/warm", value), 5).result()
        began = time.perf_counter()
        for number in range(500):
            store.call(Put(b"bench/%d" % (number % 64), value), 5).result()
        puts_per_s = 500 / (time.perf_counter() - began)
        began = time.perf_counter()
        for number in range(60):
            store.call(Txn((), tuple(Put(b"bench/%d/%d" % (number, each), value) for each in range(128))), 5).result()
        keys_per_s = 60 * 128 / (time.perf_counter() - began)
    finally:
        store.close()
    return {"puts_per_s": puts_per_s, "txn128_keys_per_s": keys_per_s}


def many(system: SlurpLeaderSystem, jobs: int) -> dict[str, float]:
    """All jobs at once: from the first submit to the last result read."""
    paths = [f"bench/{number}.txt" for number in range(jobs)]
    began = time.perf_counter()
    handles = system.submit_many(paths, metadata={"payload": PAYLOAD})
    submitted = time.perf_counter()
    for handle in handles:
        if isinstance(handle, Exception):
            raise handle
        handle.result(timeout=120)
    ended = time.perf_counter()
    return {"submit_per_s": jobs / (submitted - began), "jobs_per_s": jobs / (ended - began), "seconds": ended - began}


def singles(system: SlurpLeaderSystem, count: int) -> dict[str, float]:
    """One job at a time, submit to result."""
    times_ms = []
    for number in range(count):
        began = time.perf_counter()
        system.submit(f"single/{number}.txt", metadata={"payload": PAYLOAD}).result(timeout=30)
        times_ms.append((time.perf_counter() - began) * 1000)
    times_ms.sort()
    return {
        "median_ms": statistics.median(times_ms),
        "p95_ms": times_ms[int(0.95 * count)],
        "p99_ms": times_ms[int(0.99 * count)],
    }


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(jobs: int, count: int) -> dict[str, Any]:
    where = os.environ.get("SLURP_BENCH_DIR")
    with (
        tempfile.TemporaryDirectory(prefix="slurp-bench-", dir=where) as folder,
        EtcdProcess(data_dir=Path(folder) / "etcd") as etcd,
    ):
        report: dict[str, Any] = {"etcd": etcd.binary.version, "raw": raw_rates(etcd.endpoint), "jobs": jobs}
        command = [sys.executable, __file__, "--lead", etcd.endpoint]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as leader:
            assert leader.stdout is not None
            assert leader.stdin is not None
            if leader.stdout.readline().strip() != "leading":
                raise SystemExit("the leader process did not come up")
            pids = {"submitter": os.getpid(), "leader": leader.pid, "etcd": etcd.pid}
            with SlurpLeaderSystem(settings_for(etcd.endpoint, "submitter"), candidate=False) as system:
                many(system, 500)  # warm up: connections, imports, the estimate of run times
                report["one_at_a_time"] = singles(system, count)
                before = {name: cpu_seconds(pid) for name, pid in pids.items()}
                report["many"] = many(system, jobs)
                report["cpu_us_a_job"] = {
                    name: round((cpu_seconds(pid) - before[name]) / jobs * 1e6) for name, pid in pids.items()
                }
            leader.stdin.close()
            leader.wait(60)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--singles", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--lead", metavar="ENDPOINT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.lead:
        lead(arguments.lead)
        return
    if profile := os.environ.get("SLURP_BENCH_PROFILE"):
        _profile_loops(profile + ".submitter")
    report = measure(arguments.jobs, arguments.singles)
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    raw, all_at_once, one = report["raw"], report["many"], report["one_at_a_time"]
    print(f"etcd {report['etcd']}: {raw['puts_per_s']:,.0f} puts/s one after the other, ", end="")
    print(f"{raw['txn128_keys_per_s']:,.0f} keys/s in transactions of 128")
    print(f"{report['jobs']:,} jobs of 1 KiB at once: {all_at_once['jobs_per_s']:,.0f} jobs/s submit to result", end="")
    print(f" (submit alone {all_at_once['submit_per_s']:,.0f}/s)")
    spent = ", ".join(f"{name} {micros} us" for name, micros in report["cpu_us_a_job"].items())
    print(f"processor time a job: {spent}")
    print(f"one at a time: median {one['median_ms']:.2f} ms, p95 {one['p95_ms']:.2f}, p99 {one['p99_ms']:.2f}")


def _profile_loops(path: str) -> None:
    """Write a profile of each thread that starts from now on to ``path.<thread name>``."""
    import cProfile
    import threading

    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        profiler = cProfile.Profile()
        try:
            profiler.runcall(run, thread)
        finally:
            profiler.dump_stats(f"{path}.{thread.name}")

    threading.Thread.run = profiled  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
