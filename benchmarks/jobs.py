"""How fast jobs go through: one submitter, one leader process, one etcd with fsync, on this machine.

    python benchmarks/jobs.py [--jobs 10000] [--singles 500] [--threads 64] [--killed] [--depth 100000] [--json]

In one run: what this etcd does by itself through the same connection (single puts, transactions of 128 puts), then
no-op jobs of 1 KiB from submit to result read: many at once, one at a time, from many threads, with the leader killed
half way, and from a long queue. Absolute figures belong to a machine; the ratios to etcd's own rates can be compared.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from slurp_leader import JobHandle, SlurpLeaderSystem, SlurpSettings
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.store import Put, Txn

PAYLOAD = "x" * 700
"""Brings a queue record to about 1 KiB."""


def settings_for(endpoint: str, node_id: str) -> SlurpSettings:
    return SlurpSettings(
        etcd={"endpoints": [endpoint]}, node={"id": node_id, "cluster_id": "bench"}, jobs={"queue_limit": 1_000_000}
    )


def lead(endpoint: str, name: str) -> None:
    """The leader process: runs no-op jobs until its standard input ends."""
    system = SlurpLeaderSystem(settings_for(endpoint, name), generator=lambda request, job: {"ok": True})
    if profile := os.environ.get("SLURP_BENCH_PROFILE"):
        _profile_loops(profile + ".leader")
    with system:
        if not system.wait_for_leadership(600):
            raise SystemExit("no leadership within 600 s")
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
    results_of(handles)
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


def from_threads(system: SlurpLeaderSystem, threads: int, each: int) -> dict[str, float]:
    """Threads that submit a job and wait for its result, one after the other each."""

    def work(thread: int) -> list[float]:
        times_ms = []
        for number in range(each):
            began = time.perf_counter()
            system.submit(f"thread/{thread}/{number}.txt", metadata={"payload": PAYLOAD}).result(timeout=60)
            times_ms.append((time.perf_counter() - began) * 1000)
        return times_ms

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        times_ms = sorted(took for taken in pool.map(work, range(threads)) for took in taken)
    seconds = time.perf_counter() - began
    return {
        "p50_ms": statistics.median(times_ms),
        "p99_ms": times_ms[int(0.99 * len(times_ms))],
        "jobs_per_s": len(times_ms) / seconds,
    }


def long_queue(system: SlurpLeaderSystem, leader_pid: int, depth: int, jobs: int) -> dict[str, float]:
    """A queue that is long: what the leader takes for it, and how fast its first jobs end once it may run them."""
    before = resident_mib(leader_pid)
    system.queue.pause(why="benchmark", by="benchmark")
    handles = []
    for start in range(0, depth, 10_000):
        paths = [f"deep/{number}.txt" for number in range(start, min(start + 10_000, depth))]
        handles += system.submit_many(paths, metadata={"payload": PAYLOAD})
    after = resident_mib(leader_pid)
    system.queue.resume(by="benchmark")
    began = time.perf_counter()
    results_of(handles[:jobs])
    jobs_per_s = jobs / (time.perf_counter() - began)
    results_of(handles[jobs:])
    return {"leader_mib_over_idle": after - before, "jobs_per_s": jobs_per_s}


def leader_killed(system: SlurpLeaderSystem, leader: Leader, successor: Leader, jobs: int) -> dict[str, float]:
    """The leader is killed when half of the jobs have ended."""
    paths = [f"killed/{number}.txt" for number in range(jobs)]
    began = time.perf_counter()
    handles = system.submit_many(paths, metadata={"payload": PAYLOAD})
    results_of(handles[: jobs // 2])
    leader.process.kill()
    killed = time.perf_counter()
    outcomes = [handle.outcome(timeout=120) for handle in accepted(handles)]
    ended = time.perf_counter()
    assert successor.process.poll() is None
    leader.process.wait()
    return {
        "completed": sum(outcome.status.value == "completed" for outcome in outcomes),
        "different_jobs": len({outcome.job_id for outcome in outcomes}),
        "interrupted_once_or_more": sum(outcome.interruptions > 0 for outcome in outcomes),
        "first_half_s": killed - began,
        "second_half_s": ended - killed,
    }


def accepted(handles: Sequence[JobHandle[Any] | Exception]) -> list[JobHandle[Any]]:
    """All handles; the first job that was refused is an error."""
    for handle in handles:
        if isinstance(handle, Exception):
            raise handle
    return [handle for handle in handles if not isinstance(handle, Exception)]


def results_of(handles: Sequence[JobHandle[Any] | Exception]) -> None:
    """Read every result."""
    for handle in accepted(handles):
        handle.result(timeout=600)


def resident_mib(pid: int) -> float:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Leader:
    """A leader process."""

    def __init__(self, endpoint: str, name: str, *, waits: bool = True) -> None:
        command = [sys.executable, __file__, "--lead", endpoint, "--name", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if waits:
            self.wait()

    def wait(self) -> None:
        """Until it says that it leads."""
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "leading":
            raise SystemExit("the leader process did not come up")

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    where = os.environ.get("SLURP_BENCH_DIR")
    with (
        tempfile.TemporaryDirectory(prefix="slurp-bench-", dir=where) as folder,
        EtcdProcess(data_dir=Path(folder) / "etcd") as etcd,
    ):
        report: dict[str, Any] = {"etcd": etcd.binary.version, "raw": raw_rates(etcd.endpoint), "jobs": arguments.jobs}
        leader = Leader(etcd.endpoint, "leader")
        pids = {"submitter": os.getpid(), "leader": leader.process.pid, "etcd": etcd.pid}
        with SlurpLeaderSystem(settings_for(etcd.endpoint, "submitter"), candidate=False) as system:
            many(system, 500)  # warm up: connections, imports, the estimate of run times
            report["one_at_a_time"] = singles(system, arguments.singles)
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            report["many"] = many(system, arguments.jobs)
            report["cpu_us_a_job"] = {
                name: round((cpu_seconds(pid) - before[name]) / arguments.jobs * 1e6) for name, pid in pids.items()
            }
            if arguments.threads:
                report["from_threads"] = from_threads(system, arguments.threads, 5_000 // arguments.threads)
            if arguments.killed:
                successor = Leader(etcd.endpoint, "successor", waits=False)
                until = time.monotonic() + 30
                while "successor" not in {row.node_id for row in system.leader.simulate().rows}:
                    if time.monotonic() > until:
                        raise SystemExit("the successor did not come up")
                    time.sleep(0.1)
                report["leader_killed"] = leader_killed(system, leader, successor, arguments.jobs)
                leader = successor
            if arguments.depth:
                report["long_queue"] = long_queue(system, leader.process.pid, arguments.depth, arguments.jobs)
        leader.stop()
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--singles", type=int, default=500)
    parser.add_argument("--threads", type=int, default=64, help="submitters, one job each at a time; 0: leave it out")
    parser.add_argument("--depth", type=int, default=0, help="jobs of a long queue, such as 100000; 0: leave it out")
    parser.add_argument("--killed", action="store_true", help="kill the leader in the middle")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--lead", metavar="ENDPOINT", help=argparse.SUPPRESS)
    parser.add_argument("--name", default="leader", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.lead:
        lead(arguments.lead, arguments.name)
        return
    if profile := os.environ.get("SLURP_BENCH_PROFILE"):
        _profile_loops(profile + ".submitter")
    report = measure(arguments)
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)


def show(report: dict[str, Any]) -> None:
    raw, all_at_once, one = report["raw"], report["many"], report["one_at_a_time"]
    print(f"etcd {report['etcd']}: {raw['puts_per_s']:,.0f} puts/s one after the other, ", end="")
    print(f"{raw['txn128_keys_per_s']:,.0f} keys/s in transactions of 128")
    print(f"{report['jobs']:,} jobs of 1 KiB at once: {all_at_once['jobs_per_s']:,.0f} jobs/s submit to result", end="")
    print(f" (submit alone {all_at_once['submit_per_s']:,.0f}/s)")
    spent = ", ".join(f"{name} {micros} us" for name, micros in report["cpu_us_a_job"].items())
    print(f"processor time a job: {spent}")
    print(f"one at a time: median {one['median_ms']:.2f} ms, p95 {one['p95_ms']:.2f}, p99 {one['p99_ms']:.2f}")
    if told := report.get("from_threads"):
        print(f"from threads, one job each at a time: {told['jobs_per_s']:,.0f} jobs/s, ", end="")
        print(f"median {told['p50_ms']:.2f} ms, p99 {told['p99_ms']:.2f}")
    if told := report.get("leader_killed"):
        print(f"leader killed half way: {told['completed']:,} of {report['jobs']:,} completed, ", end="")
        print(f"{told['different_jobs']:,} of them different, {told['interrupted_once_or_more']} interrupted; ", end="")
        print(f"first half {told['first_half_s']:.2f} s, second {told['second_half_s']:.2f} s")
    if told := report.get("long_queue"):
        share = told["jobs_per_s"] / all_at_once["jobs_per_s"]
        print(f"long queue: leader {told['leader_mib_over_idle']:.0f} MiB over idle, ", end="")
        print(f"{told['jobs_per_s']:,.0f} jobs/s, {share:.2f} of what it is with an empty one")


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

    threading.Thread.run = profiled  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main()
