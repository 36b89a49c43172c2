"""The options of circuit breakers."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import ClassVar, Self

from pydantic import Field, model_validator

from slurp_leader.options import Count, Duration, FieldError, Flag, Options, Ratio
from slurp_leader.resilience.circuit import Rules

_INSTANT = timedelta(milliseconds=1)


class BreakerOptions(Options):
    """When a generator that keeps failing is left alone for a while. Jobs wait for it and use up no attempt."""

    section: ClassVar[str] = "breaker"

    enabled: Flag = True
    """Whether there is a breaker. Off: every job is tried as soon as its turn comes, whatever became of those before,
    and a fault of what the generator calls uses up the attempts of all of them."""

    window: Duration = Field(default=timedelta(seconds=60), ge=timedelta(milliseconds=100), le=timedelta(hours=24))
    """How far back calls count, 100 ms to 24 h. Longer: calls that are rare can open it too, but after long good work
    a fault is noticed later."""

    minimum_calls: Count = Field(default=10, ge=1, le=1_000_000)
    """Calls in the window before it may open, 1 to 1,000,000. More: a few failures open nothing, a fault costs more
    attempts."""

    failure_ratio: Ratio = Field(default=0.5, gt=0, le=1)
    """Share of the calls in the window that has to fail, above 0 up to 1. More: a fault that hits only some of them is
    endured. Wrong input should not count: a generator says so with `TerminalError`."""

    slow_call: Duration | None = Field(default=None, ge=_INSTANT, le=timedelta(days=7))
    """A call that takes longer counts as failed, 1 ms to 7 d; unset: none does. Longer: slowness is endured."""

    open_base: Duration = Field(default=timedelta(seconds=5), ge=_INSTANT, le=timedelta(hours=24))
    """How long it is open the first time, doubled each further time. 1 ms to 24 h. Longer: kinder to what fails, and
    the end of the fault is noticed later."""

    open_cap: Duration = Field(default=timedelta(seconds=60), ge=_INSTANT, le=timedelta(hours=24))
    """How long it is open at most, 1 ms to 24 h and not below `open_base`. Longer: kinder, later."""

    open_jitter: Ratio = Field(default=0.2, ge=0, le=1)
    """Random share, 0 to 1, by which the open time is made shorter. More: breakers that opened together ask again
    at different times."""

    probe_timeout: Duration = Field(default=timedelta(seconds=60), ge=_INSTANT, le=timedelta(days=7))
    """How long a probe may be unheard of before the next one is let through, 1 ms to 7 d; of a job, beyond its own
    timeout. Longer: fewer calls to what may hang, but one that was lost holds up all others for as long."""

    @model_validator(mode="after")
    def _check_open_time(self) -> Self:
        if self.open_cap < self.open_base:
            raise FieldError(
                "open_cap",
                f"{self.open_cap.total_seconds():g} s is less than open_base "
                f"{self.open_base.total_seconds():g} s: raise it or lower open_base",
            )
        return self

    @property
    def rules(self) -> Rules:
        """The same as plain numbers."""
        return Rules(
            window_s=self.window.total_seconds(),
            minimum_calls=self.minimum_calls if self.enabled else math.inf,
            failure_ratio=self.failure_ratio,
            slow_s=math.inf if self.slow_call is None else self.slow_call.total_seconds(),
            open_s=self.open_base.total_seconds(),
            longest_open_s=self.open_cap.total_seconds(),
            jitter=self.open_jitter,
            lease_s=self.probe_timeout.total_seconds(),
        )
