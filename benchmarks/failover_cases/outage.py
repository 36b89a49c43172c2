"""F7: etcd has three members, and its own leader is killed."""

from __future__ import annotations

import time

from failover_cases.bench import Bench
from failover_cases.report import CaseReport, progress
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.store import Status

_NODES = 2
_RESUME_S = 30.0


def etcd_leader(runs: int) -> CaseReport:
    """F7."""
    report = CaseReport("f7", "the leader of three etcd members is killed, 20 submits a second")
    resumed, elections, failures, submits = [], 0, 0, 0
    with Bench("system", members=3) as bench:
        assert bench.cluster is not None
        bench.add_nodes(_NODES)
        for number in range(runs):
            submitter = bench.add_submitter(20, {"ms": 1})
            submitter.ask("go")
            time.sleep(2)
            _, token = bench.leader()
            member = _raft_leader(bench.cluster.members)
            member.kill()
            killed_at = time.monotonic()
            resumed.append(_wait_for_submit(submitter.ask, killed_at) - killed_at)
            time.sleep(1)
            answer = submitter.ask("halt")
            submits, failures = submits + answer["submits"], failures + answer["failures"]
            member.start()
            time.sleep(2)
            elections += 1 if bench.leader()[1] != token else 0
            submitter.end()
            progress(f"f7: {number + 1} of {runs}, {resumed[-1]:.2f} s")
    report.times("kill to the first submit, begun after it, that was acknowledged", resumed, unit="s", most_below=3)
    report.number("submits that failed", failures, at_most=0)
    report.number("elections of ours", elections)
    report.notes.append(
        f"{submits} submits; `kill` waits for the end of the process, some milliseconds, before the clock is read"
    )
    return report


def _wait_for_submit(ask: object, killed_at: float) -> float:
    assert callable(ask)
    until = killed_at + _RESUME_S
    while time.monotonic() < until:
        at = ask("resumed", killed_at)["at"]
        if at is not None:
            return float(at)
        time.sleep(0.02)
    raise TimeoutError(f"no submit succeeded within {_RESUME_S:g} s")


def _raft_leader(members: tuple[EtcdProcess, ...]) -> EtcdProcess:
    for member in members:
        store = EtcdStore(EtcdOptions(endpoints=[member.endpoint]))
        try:
            status = store.call(Status(), 5).result()
        finally:
            store.close()
        if status.header.member_id == status.leader_member_id:
            return member
    raise RuntimeError("no member says that it is etcd's leader")
