"""What is known of one check. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CheckState:
    """The last runs of a check.

    Attributes:
        threshold: So many failures in a row make it failing.
        failures: In a row, up to now.
        error: What the newest run came to; empty: it was ok.
        since: When the present row of failures began, in boottime seconds.
    """

    threshold: int
    failures: int = 0
    error: str = ""
    since: float | None = None

    @property
    def is_failing(self) -> bool:
        return self.failures >= self.threshold

    def passed(self) -> None:
        """A run was ok: all is well again."""
        self.failures, self.error, self.since = 0, "", None

    def failed(self, error: str, now: float) -> None:
        """A run failed, or did not end in time."""
        self.failures += 1
        self.error = error
        self.since = now if self.since is None else self.since
