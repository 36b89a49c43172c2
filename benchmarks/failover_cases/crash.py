"""F1, F2, F3: the leader is killed; alone, under a guard that is its parent, and together with its guard."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from failover_cases.bench import Bench, NodeLine
from failover_cases.machine import MachineLog
from failover_cases.observer import Seen
from failover_cases.report import CaseReport, Unmeasurable, progress

_NODES = 3
_TAKEOVER_S = 30.0
_WAITING_JOBS = 16
_WANTED_MS, _MOST_MS = 30, 150


def plain(runs: int) -> CaseReport:
    """F1."""
    report = CaseReport("f1", "SIGKILL of the leader, plain process, TTL 15 s")
    _both_kinds(report, runs, ())
    return report


def under_guard(runs: int) -> CaseReport:
    """F2."""
    report = CaseReport("f2", "SIGKILL of the leader under `slurp guard` in a PID namespace, TTL 15 s")
    try:
        _both_kinds(report, runs, [*_namespace(), *_slurp(), "guard", "--"])
    except Unmeasurable as error:
        report.skipped = str(error)
    return report


def with_its_guard(runs: int, ttl_s: int = 3) -> CaseReport:
    """F3."""
    report = CaseReport("f3", f"leader and guard killed together (loss of the machine), TTL {ttl_s} s")
    vacancies = []
    with Bench(election={"lease_ttl": ttl_s}, follow_jobs=False) as bench:
        bench.add_nodes(_NODES)
        for number in range(runs):
            leader, token = _settled(bench)
            leader.note_guards()
            if not leader.guards:
                report.notes.append(f"{leader.name} had no guard")
            for descriptor in leader.guards.values():
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            killed_at = leader.kill()
            vacancies.append(bench.observer.next_leader(token, _TAKEOVER_S).at - killed_at)
            progress(f"f3: {number + 1} of {runs}, {vacancies[-1]:.2f} s")
            bench.replace(leader)
    report.times("kill to the leader key of the next", vacancies, unit="s", most_below=ttl_s + 0.7)
    report.notes.append(
        "the lease lasts a TTL from the last renewal, a fifth of it is between two; etcd looks every 0.5 s"
    )
    return report


def _both_kinds(report: CaseReport, runs: int, prefix: Sequence[str]) -> None:
    with Bench("election", prefix=prefix, follow_jobs=False) as bench, MachineLog() as machine:
        bench.add_nodes(_NODES)
        gone, led = _kills(bench, runs, _Outliers(report, bench, machine))
    report.times(
        "LeaderElection: kill to the leader key of the next", led, median_below=_WANTED_MS, most_below=_MOST_MS
    )
    report.times("LeaderElection: of that, until the key of the dead was gone", gone)
    with Bench("system", prefix=prefix) as bench, MachineLog() as machine:
        bench.add_nodes(_NODES)
        gone, led, committed = _kills_with_jobs(bench, runs, _Outliers(report, bench, machine))
    report.times(
        "SlurpLeaderSystem: kill to the leader key of the next", led, median_below=_WANTED_MS, most_below=_MOST_MS
    )
    report.times("SlurpLeaderSystem: of that, until the key of the dead was gone", gone)
    report.times("SlurpLeaderSystem: kill to the first job committed", committed, median_below=60)


class _Outliers:
    """Notes what the machine and etcd were at while a takeover took longer than is wanted of any."""

    def __init__(self, report: CaseReport, bench: Bench, machine: MachineLog) -> None:
        assert bench.etcd is not None
        self.case = report.case
        self._report = report
        self._machine = machine
        self._log = bench.etcd.log_file
        self._read = 0

    def look(self, killed_at: float, led_at: float) -> None:
        """A takeover has ended."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            lines = file.read().decode(errors="replace").splitlines()
            self._read = file.tell()
        took_ms = (led_at - killed_at) * 1000
        if took_ms > _MOST_MS:
            time.sleep(0.1)
            shares = self._machine.during(killed_at, led_at) or "the machine was not looked at"
            warnings = [line for line in lines if '"level":"warn"' in line]
            said = f"etcd warned {len(warnings)} times since the kill before, last: {warnings[-1]}" if warnings else ""
            self._report.notes.append(f"takeover of {took_ms:.0f} ms: {shares}. {said or 'etcd warned of nothing'}")


def _kills(bench: Bench, runs: int, outliers: _Outliers) -> tuple[list[float], list[float]]:
    gone, led = [], []
    for number in range(runs):
        leader, token = _settled(bench)
        killed_at = leader.kill()
        following = bench.observer.next_leader(token, _TAKEOVER_S)
        outliers.look(killed_at, following.at)
        led.append((following.at - killed_at) * 1000)
        gone += _vacated(bench, token, killed_at)
        _tell(outliers.case, "LeaderElection", number, runs, led)
        bench.replace(leader)
    return gone, led


def _kills_with_jobs(bench: Bench, runs: int, outliers: _Outliers) -> tuple[list[float], list[float], list[float]]:
    gone, led, committed = [], [], []
    for number in range(runs):
        leader, token = _settled(bench)
        # Jobs that never end on this node and at once on any other: its workers are busy, the rest waits.
        bench.client.submit_many(
            [f"{number}/{each}" for each in range(_WAITING_JOBS)], metadata={"not_on": leader.name}
        )
        bench.observer.until(partial(bench.observer.first_claim, token), _TAKEOVER_S, "a claim")
        killed_at = leader.kill()
        following = bench.observer.next_leader(token, _TAKEOVER_S)
        first: Seen = bench.observer.until(
            partial(bench.observer.first_done, following.revision), _TAKEOVER_S, "a job of the successor"
        )
        outliers.look(killed_at, following.at)
        led.append((following.at - killed_at) * 1000)
        committed.append((first.at - killed_at) * 1000)
        gone += _vacated(bench, token, killed_at)
        _tell(outliers.case, "SlurpLeaderSystem", number, runs, led)
        bench.observer.until(partial(_has_done, bench, (number + 1) * _WAITING_JOBS), _TAKEOVER_S, "the last job")
        bench.replace(leader)
    return gone, led, committed


def _vacated(bench: Bench, token: int, killed_at: float) -> list[float]:
    deletes = [each for each in bench.observer.leaders[-4:] if not each.is_put and each.revision > token]
    return [(deletes[0].at - killed_at) * 1000] if deletes else []


def _has_done(bench: Bench, jobs: int) -> bool:
    return len(bench.observer.done) >= jobs


def _settled(bench: Bench) -> tuple[NodeLine, int]:
    """The leader, after a moment of rest: a node that starts takes a processor, and renewals have their own rhythm."""
    time.sleep(random.uniform(0.4, 0.9))
    return bench.leader()


def _tell(case: str, kind: str, number: int, runs: int, led: list[float]) -> None:
    if (number + 1) % 10 == 0 or number + 1 == runs:
        progress(f"{case}: {kind}, {number + 1} of {runs}, the last one {led[-1]:.1f} ms")


def _namespace() -> list[str]:
    """A command that runs another one as process 1 of a new PID namespace."""
    for extra in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *extra, "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        if extra and os.geteuid() == 0:
            continue
        try:
            if subprocess.run([*command, "true"], capture_output=True, timeout=10, check=False).returncode == 0:
                return command
        except (OSError, subprocess.TimeoutExpired):
            pass
    raise Unmeasurable("no PID namespace can be made here (`unshare --pid --fork --mount-proc`)")


def _slurp() -> list[str]:
    """The command line of this interpreter, if it has the guard."""
    command = [sys.executable, "-c", "from slurp_leader.cli import main; main()"]
    found = subprocess.run([*command, "guard", "--help"], capture_output=True, timeout=60, check=False)
    if found.returncode != 0:
        raise Unmeasurable("this version has no `slurp guard`")
    return command
