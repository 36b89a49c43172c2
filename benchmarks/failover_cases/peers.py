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

QUOTED = (
    ("etcdctl elect (TTL 60 s, fixed)", "50.9 s"),
    ("python etcd3.Lock, default / shortest", "50 s / 2.0 s"),
    ("tooz on etcd, default / shortest", "19.4 s / 2.3 s"),
    ("Kazoo on ZooKeeper, default / shortest (server's tick changed)", "9.1 s / 4.5 s (1.2 s)"),
    ("etcdctl lock, default / shortest", "8.2 s / 1.7 s"),
)
"""SIGKILL of the leader to the next leader's first action, medians of 10 to 20; taken over from the issue that asked
for this benchmark. It does not say on which day they were measured."""


def etcdctl(runs: int, *, with_elect: bool) -> CaseReport:
    """SIGKILL of the holder to the first word of the next one; all runs at once, each with a name of its own."""
    report = CaseReport("peers", "etcdctl: SIGKILL of the holder to the first word of the next one")
    report.notes += [f"quoted, day of measuring not recorded: {name}: {figure}" for name, figure in QUOTED]
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
