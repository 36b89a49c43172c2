"""One simulation, from its seed to its verdict."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.checker import check
from simulation.cluster import ELECTION, JOB_KEYS, Cluster
from simulation.history import History
from simulation.trouble import PEACE_S, TROUBLE_S, Trouble
from slurp_leader.store import Get, prefix_end

_LOOK_EVERY_S = 0.5
_STILL_S = ELECTION.lease_ttl_s + 1.0
"""How long things are watched after all is done: an idle leader must stay leader."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a seed led to: nothing in `violations` is what we hope for."""

    seed: int
    history: History
    violations: list[str]
    counts: dict[str, int]


def simulate(seed: int) -> Verdict:
    """Run one seed to its end and check its history."""
    cluster = Cluster.build(seed)
    Trouble(cluster).begin()
    world, history = cluster.world, cluster.history
    world.run_for(TROUBLE_S)
    end = world.clock.now + PEACE_S
    while world.clock.now < end and history.settled_at is None:
        world.run_for(_LOOK_EVERY_S)
        _look(cluster)
    if history.settled_at is not None:
        world.run_for(_STILL_S)
    history.believers_at_end = [
        term.token for node in cluster.nodes if node.leads for term in node.terms if term.is_valid
    ]
    return Verdict(seed, history, check(history), world.counts)


def _look(cluster: Cluster) -> None:
    history, now = cluster.history, cluster.world.clock.now
    if history.led_at is None or any(s.submitter.pending for s in cluster.submitters if s.up):
        return
    queue = Get(JOB_KEYS.queue, prefix_end(JOB_KEYS.queue), count_only=True)
    accepted = {r.job_id for r in history.requests.values() if r.accepted}
    if accepted <= {job_id for _, job_id in history.outcomes_seen} and not cluster.world.apply(queue).count:
        history.settled_at = now
