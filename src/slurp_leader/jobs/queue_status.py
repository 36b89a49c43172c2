"""How the queue stands, as a value: what waits and why, what runs, what is ordered. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from slurp_leader.clock import format_utc, parse_utc
from slurp_leader.jobs.options import ExecutorName, JobsOptions
from slurp_leader.jobs.picking.control import QueueControl
from slurp_leader.jobs.picking.rules import Rules, Usage
from slurp_leader.jobs.picture import Job, Picture
from slurp_leader.jobs.records import JobStatus
from slurp_leader.jobs.request import Priority

_MOST_REASONS = 50
"""Different reasons that are told apart; names of roles and projects are the callers'."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The jobs of one priority that could run.

    Attributes:
        jobs: How many.
        oldest_s: How long the oldest has waited since it was submitted, or since its date came, in seconds.
    """

    jobs: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How the queue stands.

    Attributes:
        revision: Of etcd, at which this is so.
        jobs, size: Live jobs, and bytes of their queue records.
        counts: Live jobs by status.
        waiting: What is pending, by priority.
        held: Pending jobs that something holds back, by the reason. What waits for a free worker only is not in it.
        roles, projects: How many jobs run of each.
        closed: Why no new jobs are taken; empty: they are.
        control: What operators have ordered.
        workers: That a leader has, by this order or by the settings of whoever asks.
    """

    revision: int
    jobs: int
    size: int
    counts: Mapping[str, int]
    waiting: Mapping[str, Waiting]
    held: Mapping[str, int]
    roles: Mapping[str, int]
    projects: Mapping[str, int]
    closed: str
    control: QueueControl = field(repr=False)
    workers: int = 0

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        ordered = self.control.to_fields()
        return {
            "revision": self.revision,
            "jobs": self.jobs,
            "bytes": self.size,
            "counts": dict(self.counts),
            "waiting": {
                name: {"jobs": each.jobs, "oldest_s": round(each.oldest_s, 3)} for name, each in self.waiting.items()
            },
            "held": dict(self.held),
            "running": {"roles": dict(self.roles), "projects": dict(self.projects)},
            "closed": self.closed or None,
            "paused": ordered.get("paused", {}),
            "limits": ordered.get("limits", {}),
            "draining": ordered.get("draining"),
            "workers": self.workers,
        }


@dataclass(frozen=True, slots=True)
class Places:
    """Slots that a leader has where no operator has ordered another number of workers.

    Attributes:
        slots: So many.
        per_worker: Of one worker.
    """

    slots: int
    per_worker: int = 1


def most_places(options: JobsOptions) -> Places:
    """For who does not know the generator, and so not where its jobs run: as many as there could be. What is too large
    for these is too large, whatever the generator is."""
    threads, coroutines = options.workers * options.batch_size, options.coroutines
    match options.executor:
        case ExecutorName.PROCESSES:
            return Places(options.workers)
        case ExecutorName.COROUTINES:
            return Places(coroutines)
        case ExecutorName.THREADS:  # in batches, perhaps
            return Places(threads, options.batch_size)
        case ExecutorName.AUTO:
            return Places(max(threads, coroutines), options.batch_size)


def queue_status(
    picture: Picture,
    options: JobsOptions,
    today: datetime,
    stuck: tuple[int, int] = (0, 0),
    places: Places | None = None,
) -> QueueStatus:
    """How the queue stands.

    Args:
        picture: All live jobs, at one revision.
        options: Settings, for limits that no operator has ordered: those of whoever asks.
        today: The calendar date.
        stuck: Slots and bytes of memory that runs of the leader take which were told to stop and do not; only its own
            process knows.
        places: Slots that a leader has, by the generator of whoever asks; None: it is not known here, and only what
            would be too large for any generator is told to be.
    """
    places = places or most_places(options)
    rules = Rules.of(options, picture.control, places.slots, places.per_worker).beside_stuck(*stuck)
    date, ordered = format_utc(today), picture.control.workers
    by_status: dict[JobStatus, list[Job]] = {}
    for job in picture.jobs.values():
        by_status.setdefault(picture.status(job, date), []).append(job)
    usage = Usage(job.spec for job in by_status.get(JobStatus.RUNNING, ()))
    pending = by_status.get(JobStatus.PENDING, [])
    counts = {
        status.value: len(by_status.get(status, ()))
        for status in (JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING)
    }
    return QueueStatus(
        revision=picture.revision,
        jobs=len(picture.jobs),
        size=picture.size,
        counts={**counts, JobStatus.PARKED.value: len(picture.parked)},
        waiting=_waiting(picture, pending, today),
        held=_held(pending, rules, usage),
        roles={name: count for name, count in usage.roles.most_common() if name},
        projects={name: count for name, count in usage.projects.most_common() if name},
        closed=picture.closed.reason if picture.closed is not None else "",
        control=picture.control,
        workers=ordered.most if ordered is not None else options.workers,
    )


def _waiting(picture: Picture, pending: list[Job], today: datetime) -> dict[str, Waiting]:
    waiting: dict[str, Waiting] = {}
    for priority in reversed(Priority):
        since = [
            max(job.spec.submitted_at, job.spec.run_at or "", picture.state_of(job.job_id).state.run_at or "")
            for job in pending
            if job.spec.priority is priority
        ]
        if since:
            waiting[priority.value] = Waiting(len(since), _age_s(min(since), today))
    return waiting


def _age_s(date: str, today: datetime) -> float:
    try:
        return max(0.0, (today - parse_utc(date)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0


def _held(pending: list[Job], rules: Rules, usage: Usage) -> dict[str, int]:
    alike: Counter[tuple[str, str, int, int]] = Counter()
    example = {}
    for job in pending:
        spec = job.spec
        kind = (spec.role, spec.project, spec.slots, spec.memory)
        alike[kind] += 1
        example[kind] = spec
    held: Counter[str] = Counter()
    for kind, count in alike.items():
        why = rules.why_held(example[kind], usage)
        if why:
            held[why if len(held) < _MOST_REASONS or why in held else "other reasons"] += count
    return dict(held.most_common())
