"""The instruments of the library, and the port they are recorded through."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One thing that is measured. `attributes` are the only labels it ever carries."""

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()


class Metrics(Protocol):
    """Where measurements go. Implementations must be cheap, thread-safe, and never raise."""

    def add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        """Add to a counter."""
        ...

    def set(self, instrument: Instrument, value: float, **attributes: str) -> None:
        """Set a gauge."""
        ...

    def record(self, instrument: Instrument, value: float, **attributes: str) -> None:
        """Record one value into a histogram."""
        ...


class NoMetrics:
    """Measures nothing; the default."""

    def add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        return

    def set(self, instrument: Instrument, value: float, **attributes: str) -> None:
        return

    def record(self, instrument: Instrument, value: float, **attributes: str) -> None:
        return


IS_LEADER = Instrument("slurp.leader.is_leader", Kind.GAUGE, "1", "1 while this node may act as leader", ("election",))
EPOCH = Instrument("slurp.leader.epoch", Kind.GAUGE, "1", "Epoch of the newest term this node saw", ("election",))
TRANSITIONS = Instrument(
    "slurp.election.transitions",
    Kind.COUNTER,
    "{transition}",
    "State changes of this node, by new state and reason",
    ("election", "state", "reason"),
)
HEALTH_CHECKS = Instrument(
    "slurp.health.checks", Kind.COUNTER, "{run}", "Runs of health checks, by what came of them", ("check", "outcome")
)
HOOKS = Instrument(
    "slurp.election.hooks",
    Kind.COUNTER,
    "{call}",
    "Hooks called, by what came of it: ok, vetoed, raised, slow (then counted again when it ends)",
    ("election", "hook", "outcome"),
)
VACANCY = Instrument(
    "slurp.election.vacancy.duration",
    Kind.HISTOGRAM,
    "s",
    "Time without a leader, as seen by the node that ended it",
    ("election",),
)
FAILOVER_CHECKS = Instrument(
    "slurp.failover.checks",
    Kind.COUNTER,
    "{check}",
    "What new leaders found of what they were left: verified, mismatch or unverifiable",
    ("outcome",),
)
RENEWAL = Instrument(
    "slurp.lease.renewal.duration",
    Kind.HISTOGRAM,
    "s",
    "One renewal: keepalive and fenced heartbeat, from send to commit",
    ("election", "outcome"),
)
TRUST_REMAINING = Instrument(
    "slurp.lease.trust.remaining",
    Kind.GAUGE,
    "s",
    "Trust window left just before it was extended",
    ("election",),
)
QUEUE_JOBS = Instrument("slurp.queue.jobs", Kind.GAUGE, "{job}", "Jobs in the queue, by status", ("status",))
QUEUE_FILL = Instrument(
    "slurp.queue.fill",
    Kind.GAUGE,
    "1",
    "Used share of the queue's limits; new jobs are refused at 1",
)
SLOTS = Instrument("slurp.jobs.slots", Kind.GAUGE, "{slot}", "Slots of workers that runs take here")
MEMORY_ALLOCATED = Instrument(
    "slurp.jobs.memory", Kind.GAUGE, "By", "Memory that runs here are counted with, as their requests said"
)
JOBS_SUBMITTED = Instrument("slurp.jobs.submitted", Kind.COUNTER, "{job}", "Jobs accepted by this process")
JOBS_ENDED = Instrument(
    "slurp.jobs.ended", Kind.COUNTER, "{job}", "Jobs whose outcome this leader recorded", ("outcome", "generator")
)
JOBS_RETRIED = Instrument("slurp.jobs.retried", Kind.COUNTER, "{job}", "Attempts that failed and will be repeated")
JOBS_INTERRUPTED = Instrument(
    "slurp.jobs.interrupted", Kind.COUNTER, "{job}", "Runs of an earlier term that were put back"
)
JOBS_STUCK = Instrument(
    "slurp.jobs.stuck", Kind.GAUGE, "{job}", "Runs that were told to stop, did not, and hold their worker"
)
JOB_WAIT = Instrument("slurp.job.wait.duration", Kind.HISTOGRAM, "s", "From becoming due to the start of the run")
JOBS_CPU = Instrument(
    "slurp.jobs.cpu.time", Kind.COUNTER, "s", "Processor time of runs that ended their jobs, where known"
)
JOB_MEMORY = Instrument("slurp.job.memory", Kind.HISTOGRAM, "By", "The most memory that a run in a process took")
JOB_RUN = Instrument("slurp.job.run.duration", Kind.HISTOGRAM, "s", "Run of one attempt", ("outcome", "generator"))
CACHE_LOOKUPS = Instrument(
    "slurp.cache.lookups", Kind.COUNTER, "{job}", "Jobs that this leader looked up in its result cache", ("outcome",)
)
CIRCUIT_STATE = Instrument(
    "slurp.circuit.state", Kind.GAUGE, "1", "State of a circuit breaker: 0 closed, 1 half open, 2 open", ("circuit",)
)
CIRCUIT_TRANSITIONS = Instrument(
    "slurp.circuit.transitions",
    Kind.COUNTER,
    "{transition}",
    "State changes of circuit breakers, by new state",
    ("circuit", "state"),
)
CIRCUIT_REFUSED = Instrument(
    "slurp.circuit.refused",
    Kind.COUNTER,
    "{call}",
    "Calls that a circuit breaker refused; jobs are not refused, they wait",
    ("circuit",),
)
PERIODIC_RUN = Instrument(
    "slurp.periodic.run.duration",
    Kind.HISTOGRAM,
    "s",
    "Run of periodic work on this leader",
    ("election", "work", "outcome"),
)
PERIODIC_SKIPPED = Instrument(
    "slurp.periodic.skipped",
    Kind.COUNTER,
    "{run}",
    "Due times of periodic work that passed without a run, by reason",
    ("election", "work", "reason"),
)
COMMIT_BATCH = Instrument("slurp.commit.batch.size", Kind.HISTOGRAM, "{item}", "Items in one group commit", ("side",))
COMMIT_DURATION = Instrument(
    "slurp.commit.duration", Kind.HISTOGRAM, "s", "One group commit, from send to answer", ("side",)
)
FENCED_WRITES = Instrument(
    "slurp.store.fenced_writes", Kind.COUNTER, "{write}", "Writes refused because the term was over"
)
STORE_IN_USE = Instrument(
    "slurp.store.in_use", Kind.GAUGE, "1", "Share of the quota of etcd that is in use, on the fullest member"
)
PARKED = Instrument(
    "slurp.records.parked", Kind.GAUGE, "{record}", "Records that cannot be read and wait for an operator"
)

INSTRUMENTS: tuple[Instrument, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Instrument)
)
"""Every instrument, for adapters and for the test that compares the list with the documentation."""
