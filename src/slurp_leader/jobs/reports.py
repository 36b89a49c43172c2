"""What can be read about jobs by anybody: one job, a list, the depth of the queue. Reads only, nothing decided."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from slurp_leader.clock import Clock, format_utc
from slurp_leader.errors import ConfigurationError, PayloadError, RecordError
from slurp_leader.jobs.changes import missing
from slurp_leader.jobs.decisions import expires_at
from slurp_leader.jobs.job_filter import JobFilter
from slurp_leader.jobs.packing import fetched
from slurp_leader.jobs.picture import Job, Picture, due_at
from slurp_leader.jobs.records import JobKeys, JobOutcome, JobStatus
from slurp_leader.payloads import PayloadStore
from slurp_leader.store import Get, GetResult, KeyValue, Store, Txn, prefix_end
from slurp_leader.store.pages import read_pages
from slurp_leader.store.records import read_object


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job as it stands. Dates in UTC.

    Attributes:
        attempts: Runs that came to an end of their own, failed or not; a run under way is not counted yet.
        run: Number of the newest run, interrupted ones included.
        node_id, started_at: Of the run under way (the date of its claim), or of the one that ended the job.
        token: Of the term that runs or ended it. The fencing token of a run is `JobContext.token`.
        expires_at: The date at which it ends unless it runs, by its deadline or the longest wait in the queue.
        deadline: From then on nothing of it starts, and a run is stopped.
        errors: The last few errors of its attempts, oldest first, those before a retry by an operator included.
        retried: How often an operator had it tried again.
        request: As it was submitted; of a completed job its short fields only.
        result: Of a completed job.
        payload: Of a completed job whose result is in the payload store: ``{"ref", "size", "stored", "codec"}``.
        slots, memory: What a run of it is counted with; of a completed job 0: that is not kept.
        use: What its last run has taken: ``{"cpu_s", "memory"}``, each only where it is known.
        cached: That result is the one of an earlier job with the same content; the generator was not called.
        result_problem: Why that result could not be fetched; empty when it was, and when nobody tried (in lists).
    """

    id: str
    status: JobStatus
    priority: str = ""
    attempts: int = 0
    interruptions: int = 0
    run: int = 0
    submitted_at: str = ""
    submitted_by: str = ""
    run_at: str | None = None
    expires_at: str | None = None
    deadline: str | None = None
    retried: int = 0
    started_at: str | None = None
    finished_at: str | None = None
    node_id: str | None = None
    token: int | None = None
    cancel_requested: bool = False
    progress: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    errors: tuple[dict[str, Any], ...] = ()
    request: dict[str, Any] | None = None
    result: Any = None
    payload: dict[str, Any] | None = None
    cached: bool = False
    slots: int = 0
    memory: int = 0
    use: dict[str, Any] | None = None
    result_problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_job(
    store: Store,
    keys: JobKeys,
    job_id: str,
    clock: Clock,
    timeout_s: float,
    payloads: PayloadStore | None = None,
) -> JobReport:
    """Read one job, at one revision. A result in the payload store is fetched; what prevents that stands in the report.

    Raises:
        JobNotFoundError, ResultExpiredError: There is no such job (any more).
        StoreError: The store did not answer.
    """
    raw = job_id.encode()
    request = Txn(
        success=(
            Get(keys.done + raw),
            Get(keys.queue + raw),
            Get(keys.state + raw),
            Get(keys.cancel + raw),
            Get(keys.progress + raw),
            Get(keys.floor),
            Get(keys.run, prefix_end(keys.run)),
        )
    )
    result = store.call(request, timeout_s).result()
    answers: list[GetResult] = list(result.results)  # type: ignore[arg-type]
    done, _, _, _, progress, floor, _ = answers
    if done.kvs:
        return _ended(done.kvs[0], lambda outcome: fetched(outcome, payloads))
    picture = _picture(keys, result.header.revision, (kv for answer in answers[1:] for kv in answer.kvs))
    job = picture.jobs.get(job_id)
    if job is None:
        if keys.queue + raw in picture.parked:
            return JobReport(
                job_id, JobStatus.PARKED, error={"code": "parked", "message": picture.parked[keys.queue + raw]}
            )
        raise missing(job_id, floor.kvs[0].value if floor.kvs else b"")
    return _live(picture, job, clock, progress.kvs[0] if progress.kvs else None)


def read_jobs(
    store: Store, keys: JobKeys, wanted: JobFilter, limit: int, clock: Clock, timeout_s: float
) -> list[JobReport]:
    """Read jobs, newest first. No more than `limit` outcomes are held at a time, however many there are."""
    reports: list[JobReport] = []
    if wanted.wants_live:
        reports += (report for report, _ in read_live(store, keys, clock, timeout_s) if wanted.matches(report))
    if wanted.wants_ended:
        ended = (report for report, _ in read_ended(store, keys, timeout_s) if wanted.matches(report))
        reports += deque(ended, maxlen=limit)  # they come in the order of their ids, the newest last
    reports.sort(key=lambda report: report.id, reverse=True)
    return reports[:limit]


def read_picture(store: Store, keys: JobKeys, timeout_s: float) -> Picture:
    """All live jobs, read at one revision."""
    picture = Picture(keys)
    kvs: list[KeyValue] = []
    revision = 0
    for page in read_pages(store, keys.mirrored, prefix_end(keys.mirrored), timeout_s=timeout_s):
        revision = revision or page.header.revision
        kvs += page.kvs
    picture.load(revision, kvs)
    return picture


def count_by_status(picture: Picture, today: str) -> dict[str, int]:
    """How many live jobs stand where."""
    counts = {status.value: 0 for status in (JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING)}
    for job in picture.jobs.values():
        status = picture.status(job, today).value
        counts[status] = counts.get(status, 0) + 1
    counts[JobStatus.PARKED.value] = len(picture.parked)
    return counts


def read_live(store: Store, keys: JobKeys, clock: Clock, timeout_s: float) -> Iterator[tuple[JobReport, int]]:
    """The jobs that have not ended, with the revisions of their queue records (0 of one that cannot be read)."""
    picture = read_picture(store, keys, timeout_s)
    for job in picture.jobs.values():
        yield _live(picture, job, clock, None), job.revision
    for key, reason in picture.parked.items():
        if key.startswith(keys.queue):
            job_id = key[len(keys.queue) :].decode("ascii", "replace")
            yield JobReport(job_id, JobStatus.PARKED, error={"code": "parked", "message": reason}), 0


def read_ended(store: Store, keys: JobKeys, timeout_s: float) -> Iterator[tuple[JobReport, KeyValue]]:
    """The jobs that have ended, oldest id first, with their records. A page at a time."""
    for page in read_pages(store, keys.done, prefix_end(keys.done), timeout_s=timeout_s, page=200):
        for kv in page.kvs:
            yield _ended(kv), kv


def _picture(keys: JobKeys, revision: int, kvs: Iterable[KeyValue]) -> Picture:
    picture = Picture(keys)
    picture.load(revision, (kv for kv in kvs if kv.key.startswith(keys.mirrored)))
    return picture


def _live(picture: Picture, job: Job, clock: Clock, progress: KeyValue | None) -> JobReport:
    spec, view = job.spec, picture.state_of(job.job_id)
    claims = picture.live_claims(job)
    claim = picture.claims[claims[0][0]] if claims else None
    return JobReport(
        id=spec.job_id,
        status=picture.status(job, format_utc(clock.utcnow())),
        priority=spec.priority.value,
        attempts=view.state.attempts,
        interruptions=view.state.interruptions,
        run=claims[0][1].run if claims else view.state.closed,
        submitted_at=spec.submitted_at,
        submitted_by=spec.submitted_by,
        run_at=due_at(job, view.state),
        expires_at=expires_at(spec, view.state),
        deadline=spec.deadline,
        retried=spec.retried.times if spec.retried else 0,
        started_at=claim.claim.claimed_at or None if claim else None,
        node_id=claim.claim.node_id or None if claim else None,
        token=claim.token if claim else None,
        cancel_requested=picture.wanted_cancel(job) is not None,
        progress=_progress(progress),
        errors=(*(spec.retried.errors if spec.retried else ()), *view.state.errors),
        request=spec.payload,
        slots=spec.slots,
        memory=spec.memory,
    )


def _ended(kv: KeyValue, fetch: Callable[[JobOutcome], JobOutcome] | None = None) -> JobReport:
    try:
        outcome = JobOutcome.from_value(kv.key, kv.value)
    except RecordError as error:
        job_id = kv.key.rpartition(b"/")[2].decode("ascii", "replace")
        return JobReport(job_id, JobStatus.PARKED, error={"code": "parked", "message": str(error)})
    problem = ""
    if outcome.payload is not None and fetch is not None:
        try:
            outcome = fetch(outcome)
        except (PayloadError, ConfigurationError) as error:
            problem = str(error)
    return JobReport(
        id=outcome.job_id,
        status=outcome.status,
        priority=outcome.priority,
        attempts=outcome.attempts,
        interruptions=outcome.interruptions,
        run=outcome.run,
        submitted_at=outcome.submitted_at,
        submitted_by=outcome.submitted_by,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        deadline=_kept_text(outcome, "deadline"),
        retried=_times_retried(outcome),
        node_id=outcome.node_id,
        token=outcome.token,
        error=outcome.error,
        errors=outcome.errors,
        request=(outcome.spec or {}).get("request", outcome.about),
        result=None if outcome.result_json is None else outcome.result,
        payload=None if outcome.payload is None else outcome.payload.to_fields(),
        cached=outcome.cached,
        slots=_kept_number(outcome, "slots", 1),
        memory=_kept_number(outcome, "memory", 0),
        use=None if outcome.use is None else outcome.use.to_fields(),
        result_problem=problem,
    )


def _kept_text(outcome: JobOutcome, name: str) -> str | None:
    value = (outcome.spec or {}).get(name)
    return value if isinstance(value, str) else None


def _kept_number(outcome: JobOutcome, name: str, otherwise: int) -> int:
    if outcome.spec is None:
        return 0
    value = outcome.spec.get(name)
    return value if type(value) is int else otherwise


def _times_retried(outcome: JobOutcome) -> int:
    retried = (outcome.spec or {}).get("retried")
    times = retried.get("times") if isinstance(retried, dict) else 0
    return times if type(times) is int else 0


def _progress(kv: KeyValue | None) -> dict[str, Any] | None:
    if kv is None:
        return None
    try:
        data = read_object(kv.key, kv.value)
    except RecordError:
        return None
    return {name: data.get(name) for name in ("run", "fraction", "note")}
