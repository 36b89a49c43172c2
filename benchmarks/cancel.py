"""How soon a running job has stopped after its cancel, where it is killed: in worker processes, on a real etcd.

    python benchmarks/cancel.py [--times 20] [--json]

Two bodies that never look whether they should stop: one alone, and one that has started a process of its own. Measured
from the call of `cancel` until all processes of the job are gone, and until its outcome has been read.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from slurp_leader import ContextGenerationRequest, JobContext, SlurpLeaderSystem, SlurpSettings
from slurp_leader.etcd.local import EtcdProcess


def never_look(request: ContextGenerationRequest, job: JobContext) -> None:
    pids = [os.getpid()]
    if request.metadata["family"]:
        pids.append(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid)
    said = Path(str(request.metadata["say"]))
    draft = said.with_suffix(".draft")
    draft.write_text(json.dumps(pids))
    draft.rename(said)
    while True:
        signal.pause()


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def cancel_once(system: SlurpLeaderSystem, say: Path, *, family: bool) -> tuple[float, float]:
    handle = system.submit("bench/file.txt", metadata={"say": str(say), "family": family})
    while not say.exists():
        time.sleep(0.005)
    pids = json.loads(say.read_text())
    began = time.perf_counter()
    handle.cancel("measured")
    while any(is_there(pid) for pid in pids):
        time.sleep(0.001)
    gone = time.perf_counter()
    handle.outcome(timeout=30)
    return (gone - began) * 1000, (time.perf_counter() - began) * 1000


def measure(times: int) -> dict[str, Any]:
    where = os.environ.get("SLURP_BENCH_DIR")
    report: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="slurp-bench-", dir=where) as folder,
        EtcdProcess(data_dir=Path(folder) / "etcd") as etcd,
    ):
        settings = SlurpSettings(etcd={"endpoints": [etcd.endpoint]}, node={"cluster_id": "bench"})
        with SlurpLeaderSystem(settings, generator=never_look, executor="processes") as system:
            if not system.wait_for_leadership(30):
                raise SystemExit("no leadership within 30 s")
            for name, family in (("alone", False), ("with a process of its own", True)):
                taken = [cancel_once(system, Path(folder) / f"{name} {each}", family=family) for each in range(times)]
                for what, values in zip(("gone", "recorded"), zip(*taken, strict=True), strict=True):
                    report[f"{name}, {what}"] = {"median_ms": statistics.median(values), "max_ms": max(values)}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="How soon a running job has stopped after its cancel.")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = measure(options.times)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, figures in report.items():
        print(f"{name}: median {figures['median_ms']:.0f} ms, longest {figures['max_ms']:.0f} ms")


if __name__ == "__main__":
    main()
