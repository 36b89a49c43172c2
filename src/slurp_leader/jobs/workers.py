"""How many runs may be under way."""

from __future__ import annotations

from slurp_leader.jobs.intents import MOST_ENTRIES

_AHEAD_WINDOW_S = 0.005
"""Jobs may be claimed ahead of a free worker when they will be started within about this time."""


class Workers:
    """The places of the pool. Counted from runs that have not ended, whatever became of their terms."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._occupied: set[int] = set()
        self._typical_s = 1.0

    def started(self, run_id: int) -> None:
        self._occupied.add(run_id)

    def release(self, run_id: int) -> None:
        self._occupied.discard(run_id)

    def learn(self, duration_s: float) -> None:
        """Take note of how long a run took."""
        self._typical_s += 0.1 * (duration_s - self._typical_s)

    def free(self, claiming: int) -> int:
        """How many more may be claimed: free workers, and what short jobs will leave free within `_AHEAD_WINDOW_S`.

        A claim ahead of its worker shares the risk of a crash before its body has begun; it is kept to a few
        milliseconds of work, and a job that was interrupted is run alone before anything is held against it (A14).
        """
        ahead = int(self.count * _AHEAD_WINDOW_S / max(self._typical_s, 1e-5))
        return self.count + min(ahead, 2 * MOST_ENTRIES) - len(self._occupied) - claiming
