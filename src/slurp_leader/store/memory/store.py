"""`MemoryStore`: the `Store` Protocol around a `MemoryState`, with threads, real time, and faults to order."""

from __future__ import annotations

import heapq
import itertools
import math
import os
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from slurp_leader.clock import Clock, SystemClock
from slurp_leader.errors import (
    LifecycleError,
    Outcome,
    StoreClosedError,
    StoreFullError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from slurp_leader.forks import free_in_child
from slurp_leader.store.maintenance import DEFAULT_QUOTA_BYTES
from slurp_leader.store.memory.faults import Fault, FaultKind, Faults
from slurp_leader.store.memory.maintenance import MemoryMaintenance
from slurp_leader.store.memory.state import MemoryState
from slurp_leader.store.memory.watches import Watches
from slurp_leader.store.port import Watch, WatchSink
from slurp_leader.store.requests import Request

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Call:
    """One request under way. Only the serving thread settles it, so it is settled once."""

    request: Request[Any]
    future: Future[Any]
    deadline: float
    met_its_fault: bool = False


_Timers = list[tuple[float, int, _Call]]
_Settled = list[tuple[_Call, Any]]


class MemoryStore:
    """A whole etcd in this process. Fulfils `slurp_leader.store.Store`.

    One thread takes the requests in the order of arrival, answers them, and ends leases when their time is up;
    another hands over what the watches see. Both end with `close`, and a forked child has neither: it can use none.

    Attributes:
        faults: What goes wrong, to order.
        maintenance: The operator's side.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        quota_bytes: int = DEFAULT_QUOTA_BYTES,
        cluster_id: int = 1,
        progress_interval_s: float = 5.0,
    ) -> None:
        """Start empty.

        Args:
            clock: Must run as real time does, for it is waited on; for virtual time drive a `MemoryState`.
            quota_bytes: Size of the database at which puts and grants are refused.
            cluster_id: What headers show.
            progress_interval_s: Every so many seconds a watch without news is told that it is up to date.
        """
        self._clock = clock or SystemClock()
        self._pid = os.getpid()
        self._lock = free_in_child(threading.Lock())  # guards all below but `faults`
        self._arrivals = threading.Condition(self._lock)
        self._state = MemoryState(self._clock, quota_bytes=quota_bytes, cluster_id=cluster_id)
        self._inbox: deque[_Call] = deque()
        self._deadlines: _Timers = []
        self._late: _Timers = []
        self._count = itertools.count()
        self._closed = False
        self.faults = Faults(self._wake)
        self.maintenance = MemoryMaintenance(self.call, self._count_leases, self.compact, self.disarm)
        self._watches = Watches(self._state, self._lock, self.faults, self._clock, progress_interval_s)
        self._thread = threading.Thread(target=self._serve, name="slurp-memory-store", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ the Protocol

    def call(self, request: Request[R], timeout_s: float) -> Future[R]:
        self._refuse_fork()
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()  # what was sent cannot be taken back
        call = _Call(request, future, self._clock.boottime() + timeout_s)
        with self._lock:
            if not self._closed:
                self._inbox.append(call)
                heapq.heappush(self._deadlines, (call.deadline, next(self._count), call))
                self._arrivals.notify()
                return future
        future.set_exception(StoreClosedError("the store is closed", outcome=Outcome.NOT_APPLIED))
        return future

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: WatchSink) -> Watch:
        self._refuse_fork()
        return self._watches.add(key, range_end, start_revision, sink)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._arrivals.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._watches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_fork(self) -> None:
        if os.getpid() != self._pid:
            raise LifecycleError(
                "this store was made by the parent of this process, whose threads serve it: use it in the parent only"
            )

    # ------------------------------------------------------------ the operator's side

    def compact(self, revision: int | None = None) -> None:
        """Forget what was overwritten or deleted before `revision`; None: before the newest."""
        with self._lock:
            self._state.compact(revision)
            self._watches.wake()

    def _count_leases(self) -> int:
        with self._lock:
            return self._state.leases

    def disarm(self) -> None:
        """Clear the NOSPACE alarm."""
        with self._lock:
            self._state.disarm()

    # ------------------------------------------------------------ serving

    def _wake(self) -> None:
        with self._lock:
            self._arrivals.notify()
            self._watches.wake()

    def _serve(self) -> None:
        while (settled := self._next_settled()) is not None:
            for call, outcome in settled:
                _settle(call.future, outcome)
        for _, _, call in self._deadlines:
            if not call.future.done():
                _settle(call.future, StoreClosedError("the store was closed before it answered"))

    def _next_settled(self) -> _Settled | None:
        """Wait until there is something to do and do it; None when the store was closed."""
        with self._lock:
            while not self._closed:
                stalled = self.faults.stalled
                now = self._clock.boottime()
                idle_s = 0.0 if self._inbox and not stalled else self._next_time(stalled) - now
                if idle_s <= 0:
                    return self._advance(now, stalled)
                self._arrivals.wait(None if idle_s == math.inf else idle_s)
        return None

    def _next_time(self, stalled: bool) -> float:
        while self._deadlines and self._deadlines[0][2].future.done():
            heapq.heappop(self._deadlines)
        times = [timers[0][0] for timers in (self._deadlines, self._late) if timers]
        if not stalled:
            times.append(self._state.next_expiry())
        return min(times, default=math.inf)

    def _advance(self, now: float, stalled: bool) -> _Settled:
        """Everything that is due at `now`. Returns the calls that are settled by it."""
        settled: _Settled = []
        revision = self._state.revision
        self._inbox.extend(_take_due(self._late, now))
        if not stalled:
            self._state.expire_due()
            while self._inbox:
                self._arrive(self._inbox.popleft(), now, settled)
        for call in _take_due(self._deadlines, now):
            settled.append((call, StoreTimeoutError("the deadline passed before an answer came")))
        if self._state.revision != revision:
            self._watches.wake()
        return settled

    def _arrive(self, call: _Call, now: float, settled: _Settled) -> None:
        fault = None if call.met_its_fault else self.faults.take(call.request)
        if fault is None:
            settled.append((call, self._apply(call.request)))
        elif fault.kind is FaultKind.DELAY:
            call.met_its_fault = True
            heapq.heappush(self._late, (now + fault.delay_s, next(self._count), call))
        else:
            self._go_wrong(call, fault, settled)

    def _go_wrong(self, call: _Call, fault: Fault, settled: _Settled) -> None:
        if fault.applied or fault.kind is FaultKind.LOSE_ANSWER:
            self._apply(call.request)  # its answer is what gets lost
        if fault.kind is FaultKind.REFUSE_FULL:
            settled.append((call, StoreFullError("the database is full (a fault to order)")))
        elif fault.at_once:
            settled.append((call, StoreUnavailableError("the connection broke (a fault to order)")))

    def _apply(self, request: Request[Any]) -> Any:
        try:
            return self._state.apply(request)
        except Exception as error:  # a bug is shown to whoever asked; the thread has others to serve
            return error


def _take_due(timers: _Timers, now: float) -> list[_Call]:
    due = []
    while timers and timers[0][0] <= now:
        due.append(heapq.heappop(timers)[2])
    return due


def _settle(future: Future[Any], outcome: Any) -> None:
    """Resolve a future once: a late answer finds it settled by its deadline and is dropped, as on a network."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
