"""One log entry when etcd stops answering, and one when it is back."""

from __future__ import annotations

import logging
import threading

from slurp_leader.clock import Clock
from slurp_leader.telemetry.events import LogEvent, log_event

log = logging.getLogger("slurp_leader.etcd")


class Outage:
    """Whether etcd answers us at present. Threads: safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards _since
        self._since: float | None = None

    def failed(self, error: Exception) -> None:
        """No member answered."""
        with self._lock:
            if self._since is not None:
                return
            self._since = self._clock.boottime()
        log_event(log, logging.WARNING, LogEvent.STORE_UNAVAILABLE, error=str(error))

    def answered(self) -> None:
        """A member answered."""
        if self._since is None:
            return  # the common case, without the lock
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log_event(log, logging.INFO, LogEvent.STORE_BACK, outage_s=round(self._clock.boottime() - since, 3))
