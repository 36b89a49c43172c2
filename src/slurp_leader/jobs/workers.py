"""How many runs may be under way, and how much they may take."""

from __future__ import annotations

from slurp_leader.jobs.intents import MOST_ENTRIES
from slurp_leader.jobs.picking.rules import Room, Rules
from slurp_leader.jobs.records import Spec

_AHEAD_WINDOW_S = 0.005
"""Jobs may be claimed ahead of a free worker when they will be started within about this time."""


class Workers:
    """The places of the pool. Counted from runs that have not ended, whatever became of their terms: a thread that does
    not stop keeps its place."""

    def __init__(self) -> None:
        self._occupied: dict[int, Spec] = {}
        self._slots = 0
        self._memory = 0
        self._due_back: dict[int, float] = {}  # told to stop, and until when they should have
        self._waiting: set[int] = set()  # given to the pool, and not begun
        self._jam: frozenset[int] = frozenset()  # the stuck runs that kept others from beginning
        self._jam_places = 0
        self._typical_s = 1.0

    def started(self, run_id: int, spec: Spec) -> None:
        """It takes its place; once, however often that is said."""
        if run_id in self._occupied:
            return
        self._occupied[run_id] = spec
        self._slots += spec.slots
        self._memory += spec.memory

    def release(self, run_id: int) -> None:
        self._due_back.pop(run_id, None)
        self._waiting.discard(run_id)
        if run_id in self._jam:
            self.free_again()
        spec = self._occupied.pop(run_id, None)
        if spec is not None:
            self._slots -= spec.slots
            self._memory -= spec.memory

    def given(self, run_id: int) -> None:
        """The pool has this run, and begins it when it can."""
        self._waiting.add(run_id)

    def begun(self, run_id: int) -> None:
        """Its body has begun: there was a worker for it."""
        self._waiting.discard(run_id)
        self.free_again()

    def free_again(self) -> None:
        """There is a worker for what comes next."""
        self._jam = frozenset()

    def told_to_stop(self, run_id: int, back_by: float) -> None:
        """This run should come back by then. Until it does its place is taken, and given to nobody else."""
        if run_id in self._occupied:
            self._due_back.setdefault(run_id, back_by)

    def stuck(self, now: float) -> int:
        """Runs that were told to stop and have not. From any thread."""
        return sum(back_by <= now for back_by in list(self._due_back.values()))

    def is_still(self, now: float) -> bool:
        """Whether all that has begun is stuck, so that nothing leaves a worker free for what waits."""
        stuck = self._stuck_bodies(now)
        return bool(stuck) and self._occupied.keys() <= stuck | self._waiting

    def jammed(self, rules: Rules, now: float) -> None:
        """What waited did not begin: there is no room, whatever the places say, until one that is stuck comes back,
        another begins, or there is a worker more. One body may hold up a worker of many places."""
        self._jam, self._jam_places = frozenset(self._stuck_bodies(now)), rules.workers

    def _stuck_bodies(self, now: float) -> set[int]:
        return {run_id for run_id, back_by in self._due_back.items() if back_by <= now} - self._waiting

    def stuck_places(self, now: float) -> tuple[int, int]:
        """Slots and bytes of memory that such runs take. From any thread."""
        if not self._due_back:
            return 0, 0
        late = [self._occupied.get(run_id) for run_id, back_by in list(self._due_back.items()) if back_by <= now]
        specs = [spec for spec in late if spec is not None]
        return sum(spec.slots for spec in specs), sum(spec.memory for spec in specs)

    def learn(self, duration_s: float) -> None:
        """Take note of how long a run took."""
        self._typical_s += 0.1 * (duration_s - self._typical_s)

    @property
    def allocated(self) -> tuple[int, int]:
        """Slots and bytes of memory that runs are counted with."""
        return self._slots, self._memory

    def room(self, rules: Rules, claiming: Claiming) -> Room:
        """What is left for more claims: free workers, and what short jobs will leave free within `_AHEAD_WINDOW_S`.

        A claim ahead of its worker shares the risk of a crash before its body has begun; it is kept to a few
        milliseconds of work, and a job that was interrupted is run alone before anything is held against it (A14).
        """
        memory = rules.memory - self._memory - claiming.memory
        if self._jam and rules.workers <= self._jam_places:
            return Room(0, 0, memory)
        free = rules.workers - self._slots - claiming.slots
        moving = rules.workers - len(self._due_back)
        ahead = min(int(moving * _AHEAD_WINDOW_S / max(self._typical_s, 1e-5)), 2 * MOST_ENTRIES)
        return Room(max(0, free), max(0, ahead + min(0, free)), memory)


class Claiming:
    """Jobs whose claim is being written."""

    __slots__ = ("jobs", "memory", "slots")

    def __init__(self) -> None:
        self.jobs = self.slots = self.memory = 0

    def add(self, spec: Spec) -> None:
        self.jobs += 1
        self.slots += spec.slots
        self.memory += spec.memory

    def remove(self, spec: Spec) -> None:
        self.jobs -= 1
        self.slots -= spec.slots
        self.memory -= spec.memory
