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
        self._due_back: dict[int, float] = {}  # told to stop, and until when they should have
        self._typical_s = 1.0

    def started(self, run_id: int) -> None:
        self._occupied.add(run_id)

    def release(self, run_id: int) -> None:
        self._occupied.discard(run_id)
        self._due_back.pop(run_id, None)

    def told_to_stop(self, run_id: int, back_by: float) -> None:
        """This run should come back by then. Until it does its place is taken, and given to nobody else."""
        if run_id in self._occupied:
            self._due_back.setdefault(run_id, back_by)

    def stuck(self, now: float) -> int:
        """Runs that were told to stop and have not. From any thread."""
        return sum(back_by <= now for back_by in list(self._due_back.values()))

    def learn(self, duration_s: float) -> None:
        """Take note of how long a run took."""
        self._typical_s += 0.1 * (duration_s - self._typical_s)

    def free(self, claiming: int) -> int:
        """How many more may be claimed: free workers, and what short jobs will leave free within `_AHEAD_WINDOW_S`.

        A claim ahead of its worker shares the risk of a crash before its body has begun; it is kept to a few
        milliseconds of work, and a job that was interrupted is run alone before anything is held against it (A14).
        """
        ahead = int((self.count - len(self._due_back)) * _AHEAD_WINDOW_S / max(self._typical_s, 1e-5))
        return self.count + min(max(0, ahead), 2 * MOST_ENTRIES) - len(self._occupied) - claiming
