"""The options of the job queue."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from slurp_leader.options import Count, Duration, FieldError, Options, Ratio, Size
from slurp_leader.payloads.opening import problem_with

_KIB = 1024
_MIB = 1024 * _KIB
_COUNTED = (
    *("workers", "memory_limit", "limit", "limit_per_role", "limit_per_project"),
    *("max_attempts", "max_interruptions", "queue_limit", "queue_bytes", "result_limit", "payload_limit"),
    *("retain_completed_count", "retain_failed_count", "retain_cancelled_count"),
)
_TIMED = ("timeout", "age_step", "drain_timeout", "retain_completed", "retain_failed", "retain_cancelled")
_INSTANT = timedelta(milliseconds=1)


def _check_payload_store(url: str) -> str:
    problem = problem_with(url)
    if problem:
        raise ValueError(problem)
    return url


class BatchBy(StrEnum):
    """What the jobs of one batch have in common."""

    ROLE = "role"
    PROJECT = "project"
    NONE = "none"


class ExecutorName(StrEnum):
    """Where bodies run."""

    AUTO = "auto"
    """Coroutines for a generator that is an ``async def``, else threads."""
    THREADS = "threads"
    COROUTINES = "coroutines"
    PROCESSES = "processes"


class JobsOptions(Options):
    """How jobs are run, kept and written. The leader's values rule; submitters use theirs for what they send."""

    section: ClassVar[str] = "jobs"

    workers: Count = Field(default=4, ge=1, le=256)
    """Jobs that run at once on the leader, 1 to 256. More: more throughput for work that waits, more memory, and more
    jobs that are interrupted when the leader dies."""

    memory_limit: Size = Field(default=0, ge=0, le=1024 * 1024 * _MIB)
    """Memory that jobs which say how much they need may take together on the leader, 0 (not limited) to 1 TiB. More:
    more of them at once, nearer to where the system ends processes."""

    limit: Count = Field(default=0, ge=0, le=1_000_000)
    """Jobs that run at once in the cluster, 0 (only `workers` limit them) to 1,000,000. An order of an operator goes
    before this and the next two."""

    limit_per_role: Count = Field(default=0, ge=0, le=1_000_000)
    """Jobs of one role that run at once, 0 (not limited) to 1,000,000. Less: no role can take all workers."""

    limit_per_project: Count = Field(default=0, ge=0, le=1_000_000)
    """Jobs of one project that run at once, 0 (not limited) to 1,000,000. Less: no project can take all workers."""

    age_step: Duration = Field(default=timedelta(seconds=60), ge=timedelta(milliseconds=10), le=timedelta(days=7))
    """Waiting that lifts a job by one class of priority, up to `high`; 10 ms to 7 d. Longer: priorities count for more,
    and jobs of low ones wait longer under load."""
    executor: ExecutorName = ExecutorName.AUTO
    """Where generators run, if they do not say: auto, threads, coroutines or processes. auto: on one event loop for an
    async def, else on threads. processes: slower to begin, but what does not stop is killed; the generator has to be
    found by name."""

    coroutines: Count = Field(default=100, ge=1, le=10_000)
    """Jobs that run at once on the leader when they are coroutines, 1 to 10,000; `workers` counts then for nothing.
    More: more throughput for work that waits, more that is interrupted when the leader dies."""

    batch_size: Count = Field(default=16, ge=1, le=1_000)
    """Jobs that a generator with `generate_batch` gets in one call at most, 1 to 1,000; each of the `workers` has one
    batch at a time. More: less overhead for each, more that fails or waits together."""

    batch_wait: Duration = Field(default=timedelta(milliseconds=50), ge=timedelta(0), le=timedelta(minutes=1))
    """How long the first job of a batch waits for more, 0 to 1 min. Longer: fuller batches, slower single jobs."""

    batch_by: BatchBy = BatchBy.ROLE
    """What the jobs of one batch have in common: role, project or none. none: the fullest batches."""

    kill_grace: Duration = Field(default=timedelta(milliseconds=100), ge=timedelta(0), le=timedelta(seconds=4))
    """How long a job in a worker process that was told to stop may take before it is killed, 0 to 4 s. Longer: more
    time to clean up, a later end. When the term is lost it is killed at once."""

    process_memory: Size = Field(default=0, ge=0, le=1024 * 1024 * _MIB)
    """Memory that a worker process and what it has started may take before it is killed, 0 to 1 TiB; 0: any. More:
    larger jobs, and more that they can take from the others. Looked at four times a second."""

    max_extension: Duration = Field(default=timedelta(hours=1), ge=timedelta(0), le=timedelta(days=7))
    """By how much a job may prolong one run, in all, 0 to 7 d. Longer: a job that extends itself for ever holds its
    worker for longer."""

    max_attempts: Count = Field(default=3, ge=1, le=100)
    """Failed attempts after which a job ends `failed`, 1 to 100. More: rides out longer faults of what the generator
    calls, but a hopeless job is paid for as often."""

    max_interruptions: Count = Field(default=3, ge=1, le=100)
    """Crashes of a leader under a job after which it ends `failed`, 1 to 100. More: a job that kills its process may do
    so that often."""

    timeout: Duration = Field(default=timedelta(seconds=300), ge=timedelta(milliseconds=10), le=timedelta(days=7))
    """Longest run of one attempt, 10 ms to 7 d. Longer: a job that hangs holds its worker for as long."""

    drain_timeout: Duration = Field(default=timedelta(seconds=30), ge=timedelta(0), le=timedelta(hours=1))
    """How long a stop waits for running jobs to end by themselves, 0 to 1 h. Longer: fewer runs thrown away, a slower
    stop."""

    queue_limit: Count = Field(default=10_000, ge=1, le=1_000_000)
    """Jobs that may wait before new ones are refused, 1 to 1,000,000. More: about 2 KiB of memory on every node for
    each, and a longer takeover."""

    queue_bytes: Size = Field(default=256 * _MIB, ge=1 * _MIB, le=4 * 1024 * _MIB)
    """Bytes of waiting jobs before new ones are refused, 1 MiB to 4 GiB. More: nearer to the quota of etcd, where not
    even a leader can be elected."""

    queue_high_mark: Ratio = Field(default=0.8, ge=0.1, le=1)
    """Share of `queue_limit` or `queue_bytes` at which the leader warns that the queue fills up, 0.1 to 1. More: later
    warnings, less time to act before jobs are refused."""

    backoff_base: Duration = Field(default=timedelta(seconds=1), ge=_INSTANT, le=timedelta(hours=1))
    """Wait before the second attempt, doubled for each further one. 1 ms to 1 h. Longer: kinder to what failed, later
    results."""

    backoff_cap: Duration = Field(default=timedelta(seconds=60), ge=_INSTANT, le=timedelta(days=1))
    """Longest wait between two attempts, 1 ms to 1 d and not below `backoff_base`. Longer: kinder, later."""

    backoff_jitter: Ratio = Field(default=0.2, ge=0, le=1)
    """Random share by which each wait is made longer or shorter, 0 to 1. More: jobs that failed together spread
    out more."""

    retain_completed: Duration = Field(default=timedelta(hours=1), ge=timedelta(0), le=timedelta(days=3650))
    """How long the outcome of a completed job can be read, 0 to 10 years. Longer: more space in etcd."""

    retain_failed: Duration = Field(default=timedelta(days=7), ge=timedelta(0), le=timedelta(days=3650))
    """How long a failed job can be read and tried again, 0 to 10 years. Longer: more space in etcd."""

    retain_cancelled: Duration = Field(default=timedelta(hours=1), ge=timedelta(0), le=timedelta(days=3650))
    """How long a cancelled job can be read, 0 to 10 years. Longer: more space in etcd."""

    retain_completed_count: Count = Field(default=200_000, ge=0, le=10_000_000)
    """Most completed jobs whose outcome can be read, 0 to 10,000,000; beyond that the oldest go before their time.
    More: more space in etcd, and about 0.5 KiB of memory on the leader for each."""

    retain_failed_count: Count = Field(default=50_000, ge=0, le=10_000_000)
    """Most failed jobs that can be read and tried again, 0 to 10,000,000; beyond that the oldest go before their time.
    More: more space in etcd, where each keeps its request."""

    retain_cancelled_count: Count = Field(default=50_000, ge=0, le=10_000_000)
    """Most cancelled jobs that can be read, 0 to 10,000,000; beyond that the oldest go before their time. More: more
    space in etcd, where each keeps its request."""

    flush_items: Count = Field(default=63, ge=1, le=63)
    """Jobs written in one transaction, 1 to 63: two compares and two operations each, and etcd takes 128. More: more
    throughput, a longer single write."""

    flush_bytes: Size = Field(default=512 * _KIB, ge=16 * _KIB, le=1280 * _KIB)
    """Bytes after which a transaction is sent without waiting for more, 16 KiB to 1280 KiB (etcd takes 1.5 MiB). More:
    fewer, larger writes, which delay the heartbeats behind them."""

    flush_delay: Duration = Field(default=timedelta(milliseconds=5), ge=timedelta(0), le=timedelta(seconds=1))
    """Longest wait for more jobs to write together while other writes are under way, 0 to 1 s. Longer: fuller
    transactions, slower single jobs."""

    flushes_in_flight: Count = Field(default=4, ge=1, le=64)
    """Transactions under way at once, 1 to 64. More: more throughput up to what etcd's disk takes, then only longer
    queues in etcd."""

    rpc_timeout: Duration = Field(default=timedelta(seconds=5), ge=timedelta(milliseconds=50), le=timedelta(minutes=5))
    """Deadline of one call to etcd, 50 ms to 5 min. Longer: a slow etcd is endured, a dead member is noticed later by
    reads. Writes that were not answered are sent again before that, first after 0.5 s, later the slower etcd is."""

    submit_timeout: Duration = Field(
        default=timedelta(seconds=30), ge=timedelta(milliseconds=50), le=timedelta(hours=1)
    )
    """How long a submit goes on trying for a definite answer, 50 ms to 1 h. Longer: survives longer outages, holds the
    caller for as long."""

    result_limit: Size = Field(default=1 * _MIB, ge=1 * _KIB, le=1 * _MIB)
    """Largest result of a job that is kept in etcd, as it is stored (after compression), 1 KiB to 1 MiB. A larger one
    goes to the payload store; without one its job ends `failed`. More: more space in etcd and slower takeovers."""

    payload_store: Annotated[str, AfterValidator(_check_payload_store)] = ""
    """Where results above `result_limit` are kept: the absolute path or file:// URL of a folder that all nodes and
    clients share, or any URL of fsspec such as s3://bucket/folder. Empty: nowhere. With one, results are bounded by
    `payload_limit` alone, and whoever reads them needs the same setting and access to it."""

    payload_limit: Size = Field(default=64 * _MIB, ge=1 * _MIB, le=1024 * _MIB)
    """Largest result of a job with a payload store, before compression, 1 MiB to 1 GiB; a job with a larger one ends
    `failed`. More: a few times as much memory while one is written or read."""

    compress_above: Size = Field(default=4 * _KIB, ge=0, le=1 * _MIB)
    """Results larger than this are stored compressed, 0 to 1 MiB. More: less processor time, more space."""

    cache_bytes: Size = Field(default=0, ge=0, le=64 * 1024 * _MIB)
    """Memory for the last results on the leader, 0 (nothing is kept) to 64 GiB. A request with the same content, role,
    generator version and options is answered from there; the generator has to say what the content is
    (`content_hash`), and to run in the leader's own process. More: more is answered without being generated, more
    memory on the leader; less than one result: that one is never kept."""

    cache_age: Duration = Field(default=timedelta(hours=1), ge=timedelta(seconds=1), le=timedelta(days=365))
    """How long such a result is given again, 1 s to 365 d. Longer: fewer are generated anew; what a generator depends
    on and does not say in its `content_hash` is noticed later."""

    @model_validator(mode="after")
    def _check_backoff(self) -> Self:
        if self.backoff_cap < self.backoff_base:
            raise FieldError(
                "backoff_cap",
                f"{self.backoff_cap.total_seconds():g} s is less than backoff_base "
                f"{self.backoff_base.total_seconds():g} s: raise it or lower backoff_base",
            )
        return self

    def in_force(self) -> dict[str, float]:
        """What the leader's values mean to jobs and to those who submit them. Seconds and bytes."""
        counted = {name: getattr(self, name) for name in _COUNTED}
        return counted | {f"{name}_s": getattr(self, name).total_seconds() for name in _TIMED}

    @property
    def timeout_s(self) -> float:
        """Longest run of one attempt in seconds."""
        return self.timeout.total_seconds()

    @property
    def age_step_s(self) -> float:
        """Waiting that lifts a job by one class, in seconds."""
        return self.age_step.total_seconds()

    @property
    def batch_wait_s(self) -> float:
        """How long the first job of a batch waits for more in seconds."""
        return self.batch_wait.total_seconds()

    @property
    def max_extension_s(self) -> float:
        """By how much one run may be prolonged in seconds."""
        return self.max_extension.total_seconds()

    @property
    def drain_timeout_s(self) -> float:
        """Longest wait of a stop for running jobs in seconds."""
        return self.drain_timeout.total_seconds()

    @property
    def backoff_base_s(self) -> float:
        """First wait between two attempts in seconds."""
        return self.backoff_base.total_seconds()

    @property
    def backoff_cap_s(self) -> float:
        """Longest wait between two attempts in seconds."""
        return self.backoff_cap.total_seconds()

    @property
    def flush_delay_s(self) -> float:
        """Longest wait for a fuller transaction in seconds."""
        return self.flush_delay.total_seconds()

    @property
    def cache_age_s(self) -> float:
        """How long a result is given again in seconds."""
        return self.cache_age.total_seconds()

    @property
    def rpc_timeout_s(self) -> float:
        """Deadline of one call to etcd in seconds."""
        return self.rpc_timeout.total_seconds()

    @property
    def submit_timeout_s(self) -> float:
        """Longest time a submit tries in seconds."""
        return self.submit_timeout.total_seconds()
