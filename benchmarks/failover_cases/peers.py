"""`etcdctl lock` and `etcdctl elect`, by the same measure; and what was measured of other peers, with its date."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time

from failover_cases.report import CaseReport, progress
from slurp_leader.etcd.local import EtcdProcess

_MEASURED_ON = "2026-11-26"
QUOTED = (
    (
        "python etcd3 0.12 Lock, TTL 60 s (default) / 2 s (shortest) / 1 s (etcd's election made shorter)",
        "47.6 / 2.1 / 1.0",
    ),
    ("tooz 9.1 lock on etcd, 30 s (default) / 2 s (shortest) / 1 s (etcd's election made shorter)", "25.0 / 2.3 / 1.2"),
    (
        "Kazoo 2.11 Election on ZooKeeper, 10 s (default) / 4 s (shortest) / 1 s (the server's tick made shorter)",
        "9.0 / 4.2 / 1.2",
    ),
)
"""SIGKILL of the leader to the first word of the next one, medians of 10 runs, all at once, on two processors; with
etcd 3.4.23 of one member, and ZooKeeper 3.8.0. The first needs a tenacity older than today's; tooz has no election
on etcd, so it is its lock. What differs between runs is where in the time to the next renewal the kill falls."""


def etcdctl(runs: int, *, with_elect: bool) -> CaseReport:
    """SIGKILL of the holder to the first word of the next one; all runs at once, each with a name of its own."""
    report = CaseReport("peers", "etcdctl: SIGKILL of the holder to the first word of the next one")
    report.notes += [f"quoted, measured on {_MEASURED_ON}: {name}: {figure} s" for name, figure in QUOTED]
    program = shutil.which("etcdctl")
    if program is None:
        report.skipped = "no `etcdctl` on PATH"
        return report
    with EtcdProcess() as etcd:
        for verb, wait_s in (("lock", 30.0), ("elect", 90.0)):
            if verb == "elect" and not with_elect:
                report.notes.append("etcdctl elect takes most of a minute; run it with --case peers")
                continue
            progress(f"peers: {runs} times etcdctl {verb}")
            report.times(f"etcdctl {verb}", _kill_holders(program, etcd.endpoint, verb, runs, wait_s), unit="s")
    return report


def _kill_holders(program: str, endpoint: str, verb: str, runs: int, wait_s: float) -> list[float]:
    pairs: list[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]] = []
    started: list[subprocess.Popen[bytes]] = []

    def begin(number: int, who: str) -> subprocess.Popen[bytes]:
        extra = [who] if verb == "elect" else []
        process = subprocess.Popen(
            [program, f"--endpoints={endpoint}", verb, f"bench-{number}", *extra],
            stdout=subprocess.PIPE,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        started.append(process)
        return process

    try:
        for number in range(runs):
            holder = begin(number, "one")
            _wait_for_words([holder], 20)
            pairs.append((holder, begin(number, "two")))
        time.sleep(2)
        killed: dict[subprocess.Popen[bytes], float] = {}
        for holder, waiter in pairs:
            holder.send_signal(signal.SIGKILL)
            killed[waiter] = time.monotonic()
        return _first_words(killed, wait_s)
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _wait_for_words(processes: list[subprocess.Popen[bytes]], wait_s: float) -> None:
    if not select.select([each.stdout for each in processes if each.stdout], [], [], wait_s)[0]:
        raise TimeoutError(f"etcdctl held nothing within {wait_s:g} s")


def _first_words(killed: dict[subprocess.Popen[bytes], float], wait_s: float) -> list[float]:
    """Seconds from each kill to the first output of who waited."""
    times = []
    waiting = {each.stdout: at for each, at in killed.items() if each.stdout}
    until = time.monotonic() + wait_s
    while waiting and (left_s := until - time.monotonic()) > 0:
        ready, _, _ = select.select(list(waiting), [], [], left_s)
        now = time.monotonic()
        times += [now - waiting.pop(pipe) for pipe in ready]
    return times
