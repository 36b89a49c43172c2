"""One log entry when etcd stops answering, and one when it is back."""

from __future__ import annotations

import logging
import threading

from slurp_leader.clock import Clock
from slurp_leader.store.port import StoreOutage
from slurp_leader.telemetry.events import LogEvent, log_event

log = logging.getLogger("slurp_leader.etcd")


class Outage:
    """Whether etcd answers us at present. Threads: safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards _current
        self._current: StoreOutage | None = None

    @property
    def current(self) -> StoreOutage | None:
        """The outage under way, if there is one."""
        return self._current

    def failed(self, error: Exception) -> None:
        """No member answered."""
        with self._lock:
            if self._current is not None:
                return
            self._current = StoreOutage(self._clock.boottime(), str(error))
        log_event(log, logging.WARNING, LogEvent.STORE_UNAVAILABLE, error=str(error))

    def answered(self) -> None:
        """A member answered."""
        if self._current is None:
            return  # the common case, without the lock
        with self._lock:
            ended, self._current = self._current, None
        if ended is not None:
            log_event(log, logging.INFO, LogEvent.STORE_BACK, outage_s=round(self._clock.boottime() - ended.since, 3))
