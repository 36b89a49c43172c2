"""What the engine measures: counts and times of ended jobs, commits and the cache, told to the metrics once a second.

Counted per batch, not per job: telemetry must not cost what group commit gains.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.jobs.admission import Load
from slurp_leader.jobs.cache import ResultCache
from slurp_leader.jobs.commit import CommitStats
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.scheduler import JobEnded, Scheduler
from slurp_leader.jobs.statistics import Statistics
from slurp_leader.telemetry import metrics as instruments
from slurp_leader.telemetry.metrics import Metrics

_MEASURE_EVERY_S = 1.0
_SAMPLES = 64
"""Durations recorded in one interval: every job under light load, a sample under heavy load."""


class Meter:
    """Counts what the scheduler does. Called on its thread where not said otherwise.

    Args:
        scheduler: What is measured; only read, but for its tally, which is emptied.
        options: What a full queue is.
        clock: Source of time.
        metrics: Where it goes.
        cache: The result cache, if there is one.
        generator: Its name.
        version: And its version.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        options: JobsOptions,
        clock: Clock,
        metrics: Metrics,
        cache: ResultCache | None,
        generator: str,
        version: str,
    ) -> None:
        self._scheduler = scheduler
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._cache = cache
        self._generator = generator
        self._generator_and_version = f"{generator} {version}".rstrip()
        self._totals: Counter[str] = Counter()
        self._statistics = Statistics(clock.boottime())
        self._statistics_lock = threading.Lock()
        self._ended: Counter[str] = Counter()
        self._waits_s: list[float] = []
        self._runs_s: list[tuple[float, str]] = []
        self._cpu_s = 0.0
        self._memory: list[int] = []
        self._measured_at = float("-inf")
        self._stats: CommitStats | None = None
        self._cache_measured = (0, 0)

    # ------------------------------------------------------------ reports (from any thread: counts may be a moment old)

    @property
    def totals(self) -> dict[str, int]:
        """See `JobEngine.totals`."""
        names = (*(status.value for status in JobStatus if status.is_final), "batches", "items", "unknown", "fenced")
        return {name: self._totals[name] for name in names}

    def statistics(self) -> dict[str, Any]:
        """See `JobEngine.statistics`."""
        with self._statistics_lock:
            return self._statistics.as_dict(self._clock.boottime())

    def depth(self) -> dict[str, int]:
        """See `JobEngine.depth`."""
        picture, leading = self._scheduler.picture, self._scheduler.leading
        running, scheduled = (leading.running, leading.scheduled) if leading else (0, 0)
        running += picture.lent_runs()
        slots, slots_limit, memory = self._scheduler.allocation
        return {
            "jobs": len(picture.jobs),
            "pending": max(0, len(picture.jobs) - running - scheduled),
            "scheduled": scheduled,
            "running": running,
            "claims": len(picture.claims),
            "slots": slots,
            "slots_limit": slots_limit,
            "memory": memory,
            "stuck": self._scheduler.stuck(self._clock.boottime()),
            "parked": len(picture.parked),
            "bytes": picture.size,
        }

    # ------------------------------------------------------------ counting

    def count_ended(self, ended: JobEnded) -> None:
        """A job ended here."""
        status = ended.outcome.status.value
        self._ended[status] += 1
        use = ended.outcome.use
        if use is not None:
            self._cpu_s += use.cpu_s or 0.0
            if use.memory is not None and len(self._memory) < _SAMPLES:
                self._memory.append(use.memory)
        with self._statistics_lock:
            now = self._clock.boottime()
            self._statistics.add(ended.role, self._generator_and_version, status, ended.wait_s, ended.run_s, now, use)
        if len(self._waits_s) < _SAMPLES:
            self._waits_s.append(ended.wait_s)
            self._runs_s.append((ended.run_s, status))

    def look_at_the_time(self) -> None:
        """Measure now and then."""
        leading = self._scheduler.leading
        if leading is not None and leading.stats is not self._stats:
            self._measure_commits()  # the rest of an earlier term: mostly what the fence refused at its end
            self._stats = leading.stats
        now = self._clock.boottime()
        if now >= self._measured_at + _MEASURE_EVERY_S:
            self._measured_at = now
            self.measure()

    def measure(self) -> None:
        """Tell what came since the last time."""
        metrics = self._metrics
        generator = self._generator
        for status, count in self._ended.items():
            metrics.add(instruments.JOBS_ENDED, count, outcome=status, generator=generator)
        self._totals.update(self._ended)
        for wait_s in self._waits_s:
            metrics.record(instruments.JOB_WAIT, wait_s)
        for run_s, status in self._runs_s:
            metrics.record(instruments.JOB_RUN, run_s, outcome=status, generator=generator)
        if self._cpu_s:
            metrics.add(instruments.JOBS_CPU, self._cpu_s)
        for memory in self._memory:
            metrics.record(instruments.JOB_MEMORY, memory)
        self._ended.clear()
        self._memory.clear()
        self._cpu_s = 0.0
        self._waits_s.clear()
        self._runs_s.clear()
        tally = self._scheduler.tally
        if tally.retried:
            metrics.add(instruments.JOBS_RETRIED, tally.retried)
        if tally.interrupted:
            metrics.add(instruments.JOBS_INTERRUPTED, tally.interrupted)
        tally.retried = tally.interrupted = 0
        depth = self.depth()
        for live in (JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING):
            metrics.set(instruments.QUEUE_JOBS, depth[live.value], status=live.value)
        metrics.set(instruments.PARKED, depth["parked"])
        metrics.set(instruments.JOBS_STUCK, depth["stuck"])
        metrics.set(instruments.SLOTS, depth["slots"])
        metrics.set(instruments.MEMORY_ALLOCATED, depth["memory"])
        leading = self._scheduler.leading
        if leading is not None and leading.store_verdict is not None:
            metrics.set(instruments.STORE_IN_USE, leading.store_verdict.fill.in_use)
        metrics.set(instruments.QUEUE_FILL, Load(depth["jobs"], depth["bytes"]).fill(self._options))
        self._measure_cache()
        self._measure_commits()

    def _measure_cache(self) -> None:
        if self._cache is None:
            return
        figures = self._cache.figures()
        before, self._cache_measured = self._cache_measured, (figures.hits, figures.misses)
        for outcome, count, earlier in zip(("hit", "miss"), self._cache_measured, before, strict=True):
            if count > earlier:
                self._metrics.add(instruments.CACHE_LOOKUPS, count - earlier, outcome=outcome)

    def _measure_commits(self) -> None:
        stats = self._stats
        if stats is None:
            return
        for size, duration_s in list(zip(stats.sizes, stats.durations_s, strict=True))[:_SAMPLES]:
            self._metrics.record(instruments.COMMIT_BATCH, size, side="leader")
            self._metrics.record(instruments.COMMIT_DURATION, duration_s, side="leader")
        figures = {"batches": stats.batches, "items": stats.items, "unknown": stats.unknown, "fenced": stats.fenced}
        self._totals.update(figures)
        if stats.fenced:
            self._metrics.add(instruments.FENCED_WRITES, stats.fenced)
        stats.clear()
