"""Waiting for outcomes: one watch over ``b/done/``, however many jobs are waited for.

The watch begins before the first job is submitted, at a revision that was read, so no outcome can slip through. It is
the fastest way to know: the event carries the result. Records of other submitters' jobs are passed over unread.
"""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.errors import (
    JobParkedError,
    LifecycleError,
    RecordError,
    ResultExpiredError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from slurp_leader.forks import free_in_child
from slurp_leader.jobs.changes import missing
from slurp_leader.jobs.records import JobKeys, JobOutcome
from slurp_leader.resilience import pause_s
from slurp_leader.store import (
    EventKind,
    Get,
    Store,
    Txn,
    Watch,
    WatchCompacted,
    WatchEvents,
    WatchFailed,
    WatchNotice,
    WatchProgress,
    prefix_end,
)
from slurp_leader.telemetry.events import LogEvent, log_event

_logger = logging.getLogger("slurp_leader.jobs")


class Outcomes:
    """Resolves a future for each job that is waited for. Safe to use from any thread.

    Args:
        store: Where to watch and read.
        keys: Keys of the jobs.
        rpc_timeout_s: Deadline of one read.
        clock: Says how long an outage lasted.
    """

    def __init__(self, store: Store, keys: JobKeys, rpc_timeout_s: float, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys
        self._start = len(keys.done)
        self._timeout_s = rpc_timeout_s
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        # Guarded by _lock:
        self._waiting: dict[str, Future[JobOutcome]] = {}
        self._asked: set[str] = set()  # those that have to be there; the others are still being submitted
        self._failed: Exception | None = None
        self._watch: Watch | None = None
        self._stopping = threading.Event()
        self._watching = threading.Event()
        # Of the thread alone:
        self._failures = 0  # calls in a row that the store did not answer
        self._outage_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="slurp-outcomes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the watch; who still waits gets a `LifecycleError`. Safe twice and before `start`."""
        self._stopping.set()
        self._inbox.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5)
        self._fail_all(LifecycleError("the client was stopped before the job ended; the job goes on"))

    @property
    def failure(self) -> Exception | None:
        """Why nothing will be told any more; None while it follows, and after `stop`."""
        return None if isinstance(self._failed, LifecycleError) else self._failed

    def wait_until_watching(self, timeout_s: float) -> bool:
        """Wait until outcomes cannot be missed any more; False when the store did not answer in time."""
        return self._watching.wait(timeout_s)

    def expect(self, job_id: str) -> Future[JobOutcome]:
        """A future for the outcome of a job that is about to be submitted. One future for each job."""
        with self._lock:
            if self._failed is not None:
                raise self._failed
            future = self._waiting.get(job_id)
            if future is None:
                future = self._waiting[job_id] = Future()
                free_in_child(future._condition)  # the handle that has it tells there, too, what it knows
                # Shared by all who wait: one of them giving up (an asyncio timeout cancels) must not take it away.
                future.set_running_or_notify_cancel()
            return future

    def forget(self, job_id: str) -> None:
        """Nobody waits for this one any more: it never became a job."""
        with self._lock:
            self._waiting.pop(job_id, None)
            self._asked.discard(job_id)

    def ask(self, job_id: str) -> Future[JobOutcome]:
        """A future for the outcome of any job: of one that ended before, and of one that is still to end.

        The future fails with `JobNotFoundError` or `ResultExpiredError` when there is no such job.
        """
        future = self.expect(job_id)
        with self._lock:
            self._asked.add(job_id)
        self._inbox.put(job_id)
        return future

    # ------------------------------------------------------------ on its thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._watch is None and not self._begin_watch():
                self._pause()
                continue
            item = self._inbox.get()
            if isinstance(item, str):
                self._look_up(item)
            elif item is not None:
                self._take(item)
        if self._watch is not None:
            self._watch.cancel()

    def _begin_watch(self) -> bool:
        """Watch from a revision that was read, then ask after all that are waited for: they may have ended before."""
        try:
            result = self._store.call(Get(self._keys.floor), self._timeout_s).result()
            start = result.header.revision + 1
            self._watch = self._store.watch(self._keys.done, prefix_end(self._keys.done), start, self._inbox.put)
        except StoreClosedError as error:
            self._fail_all(error)
            self._stopping.set()
            return False
        except StoreError as error:
            self._note_outage(error)
            return False
        self._note_answer()
        self._watching.set()
        with self._lock:
            waiting = list(self._waiting)
        for job_id in waiting:
            self._inbox.put(job_id)
        return True

    def _pause(self) -> None:
        """Wait before the store is asked again, longer each time."""
        self._failures += 1
        self._stopping.wait(pause_s(self._failures))

    def _note_outage(self, error: StoreError) -> None:
        """Say once for each outage that outcomes cannot be followed."""
        if self._outage_since is None:
            self._outage_since = self._clock.boottime()
            log_event(_logger, logging.WARNING, LogEvent.STORE_UNAVAILABLE, doing="watch outcomes", error=str(error))

    def _note_answer(self) -> None:
        self._failures = 0
        if self._outage_since is not None:
            outage_s = round(self._clock.boottime() - self._outage_since, 3)
            self._outage_since = None
            log_event(_logger, logging.INFO, LogEvent.STORE_BACK, doing="watch outcomes", outage_s=outage_s)

    def _take(self, notice: WatchNotice) -> None:
        match notice:
            case WatchEvents():
                for event in notice.events:
                    if event.kind is EventKind.PUT:
                        self._resolve(event.kv.key, event.kv.value)
            case WatchCompacted():
                log_event(_logger, logging.WARNING, LogEvent.WATCH_RELOADED, prefix="done")
                self._watch = None
            case WatchFailed():
                self._fail_all(notice.error)
                self._stopping.set()
            case WatchProgress():
                pass  # alive, and nothing new

    def _resolve(self, key: bytes, value: bytes) -> None:
        job_id = key[self._start :].decode("ascii", "replace")
        future = self._take_future(job_id)
        if future is None:
            return
        try:
            future.set_result(JobOutcome.from_value(key, value))
        except RecordError as error:
            parked = JobParkedError(f"the outcome of job {job_id} cannot be read: {error}", job_id=job_id)
            future.set_exception(parked)

    def _look_up(self, job_id: str) -> None:
        """Read the outcome of one job; without one, and with no job in the queue either, it is gone or never was."""
        with self._lock:
            if job_id not in self._waiting:
                return
        raw = job_id.encode("utf-8", "replace")
        request = Txn(
            success=(Get(self._keys.done + raw), Get(self._keys.queue + raw, keys_only=True), Get(self._keys.floor))
        )
        try:
            done, queued, floor = self._store.call(request, self._timeout_s).result().results
        except StoreError as error:
            if not isinstance(error, StoreClosedError):
                self._note_outage(error)
                self._pause()
                self._inbox.put(job_id)
            return
        self._note_answer()
        if done.kvs:  # type: ignore[union-attr]
            self._resolve(done.kvs[0].key, done.kvs[0].value)  # type: ignore[union-attr]
        elif not queued.kvs:  # type: ignore[union-attr]
            self._miss(job_id, floor.kvs[0].value if floor.kvs else b"")  # type: ignore[union-attr]

    def _miss(self, job_id: str, floor: bytes) -> None:
        """There is no record of this job. One being submitted may come yet, unless the floor has passed it."""
        error = missing(job_id, floor)
        with self._lock:
            is_final = job_id in self._asked or isinstance(error, ResultExpiredError)
        future = self._take_future(job_id) if is_final else None
        if future is not None:
            future.set_exception(error)

    def _take_future(self, job_id: str) -> Future[JobOutcome] | None:
        with self._lock:
            self._asked.discard(job_id)
            return self._waiting.pop(job_id, None)

    def _fail_all(self, error: Exception) -> None:
        with self._lock:
            self._failed = (
                error if isinstance(error, StoreError | LifecycleError) else StoreUnavailableError(str(error))
            )
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
