"""The options of health checks."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from slurp_leader.options import Count, Duration, Options


class HealthOptions(Options):
    """How the checks of a service are made, where a check does not say otherwise."""

    section: ClassVar[str] = "health"

    interval: Duration = Field(default=timedelta(seconds=30), ge=timedelta(milliseconds=50), le=timedelta(hours=24))
    """Pause between two runs of a check. 50 ms to 24 h. Longer: less load, trouble is noticed later."""

    timeout: Duration = Field(default=timedelta(seconds=10), ge=timedelta(milliseconds=50), le=timedelta(hours=1))
    """What a check may take before it counts as failed. 50 ms to 1 h. Longer: a slow answer is endured, a check that
    hangs is noticed later."""

    failure_threshold: Count = Field(default=3, ge=1, le=1000)
    """So many failures of one check in a row make the node unhealthy, 1 to 1000. More: calmer, later."""

    @property
    def interval_s(self) -> float:
        """Pause between two runs, in seconds."""
        return self.interval.total_seconds()

    @property
    def timeout_s(self) -> float:
        """What a check may take, in seconds."""
        return self.timeout.total_seconds()
