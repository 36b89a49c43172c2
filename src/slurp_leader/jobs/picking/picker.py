"""The picker: which job is claimed next.

The order, read from the left: the class (priority, lifted by age), whose turn it is among the projects, arrival. Each
role has a heap of its lanes, so that a role at its limit is passed over at once, however many jobs it has.

Entries of the heaps are never searched for. A lane that moved gets a new entry, and old ones are dropped where they
come up. The turn of a project only ever moves on, so an entry with an old turn comes up too early, and is put back.

Projects share from now on, whatever was before. The turn at hand (`_turn`) only moves on too, and whoever was picked
has the one after it: a project that was held back for an hour goes first once, and then takes turns with the others.

A job that would not fit if nothing ran but what is stuck is set aside when it comes up: its lane holds others of about
its size, which may fit. It is put back when there is more to fit into.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from itertools import count

from slurp_leader.jobs.picking.lanes import Lane, LaneKey
from slurp_leader.jobs.picking.rules import Room, Rules, Usage
from slurp_leader.jobs.picture import Job
from slurp_leader.jobs.request import Priority

_TOP = Priority.HIGH.rank
"""Age lifts up to this class."""
_FEW = 16
"""Empty heaps that are not worth the tidying."""
_MOST_ASIDE = 1000
"""Jobs set aside in one pick, or put back: some milliseconds of work. Where there are more, the next picks go on with
it."""

_Entry = tuple[int, int, int, int, Lane]
"""-class, turn of the project, revision of the head, serial number, lane."""

Arrived = Callable[[str, float], float]
"""Since when a job waits, by the local clock, of one whose arrival was not seen. Takes its id and the time."""


class Picker:
    """Jobs that could run.

    Args:
        arrived: Asked about the heads of lanes, for jobs that were put in as `aged`.
        age_step_s: So much waiting lifts a job by one class.
    """

    def __init__(self, arrived: Arrived, age_step_s: float) -> None:
        self._arrived = arrived
        self._age_step_s = age_step_s
        self._lanes: dict[LaneKey, Lane] = {}
        self._waiting: dict[str, tuple[int, float, bool]] = {}  # id -> revision, since when, whether it waited before
        self._heaps: dict[str, list[_Entry]] = {}  # by role
        self._lifts: list[tuple[float, int, Lane]] = []
        self._unfit: dict[str, Job] = {}  # wait, and are in no lane: as things stand they would never fit
        self._places: tuple[float, float] = (0, 0)  # slots and memory, by which these were taken out
        self._to_put_back: list[str] = []  # of these, to be looked at by what there is now
        self._lanes_of: Counter[str] = Counter()  # by project
        self._turns: dict[str, int] = {}  # of projects that have lanes
        self._turn = 0  # the latest that a picked job had
        self._serial = count(1)

    def __len__(self) -> int:
        return len(self._waiting)

    # ------------------------------------------------------------ in and out

    def push(self, job: Job, now: float, *, aged: bool) -> None:
        """Add a job; one that waits already keeps its place. `aged`: it waited before, somewhere else."""
        job_id, revision = job.spec.job_id, job.revision
        known = self._waiting.get(job_id)
        if known is not None and known[0] == revision:
            return
        self._waiting[job_id] = (revision, now, aged)
        self._unfit.pop(job_id, None)
        self._line_up(job, now)

    def fill(self, jobs: list[Job], now: float) -> None:
        """Add many jobs at once to an empty picker, all of which waited before: a fraction of the time one by one."""
        assert not self._waiting, "jobs that wait already would lose their place"
        self._waiting = {job.spec.job_id: (job.revision, now, True) for job in jobs}
        for job in jobs:
            self._lane(LaneKey.of(job.spec)).heap.append((job.revision, job.spec.job_id))
        for lane in list(self._lanes.values()):
            heapq.heapify(lane.heap)
            self._place(lane, now)

    def discard(self, job_id: str) -> None:
        self._waiting.pop(job_id, None)
        self._unfit.pop(job_id, None)

    def pick(
        self, most: int, now: float, room: Room, rules: Rules, usage: Usage, claimable: Callable[[str], Job | None]
    ) -> list[tuple[Job, float]]:
        """Take the next jobs out, and since when each could have run.

        Args:
            most: So many at most.
            now: The time.
            room: What there is for them; what they take is taken off.
            rules: What holds jobs back.
            usage: What runs; what is picked is added.
            claimable: The job of an id, if it may be claimed; one that may not is dropped.
        """
        picked: list[tuple[Job, float]] = []
        passed_over: list[_Entry] = []
        self._lift(now)
        self._put_back_unfit(rules, now)
        most_unfit = len(self._unfit) + _MOST_ASIDE
        if len(self._heaps) > 2 * len(self._lanes) + _FEW:
            self._heaps = {role: heap for role, heap in self._heaps.items() if heap}
        while len(picked) < most and room.is_left and rules.total_room(usage) > 0:
            entry = self._take_best(now, rules, usage)
            if entry is None:
                break
            lane = entry[-1]
            job_id = lane.heap[0][1]
            job = claimable(job_id)
            if job is None:
                self._leave(lane, job_id, now)
            elif not rules.could_fit(job.spec) and len(self._unfit) < most_unfit:
                self._unfit[job_id] = job
                self._next_head(lane, now)
            elif rules.project_room(job.spec.project, usage) <= 0:
                passed_over.append(entry)
            elif not room.fits(job.spec):
                passed_over.append(entry)
                if self._age_s(job_id, now) >= rules.age_step_s and rules.could_fit(job.spec):
                    break  # it was passed over for long enough: what becomes free is kept for it
            else:
                picked.append((job, self._waiting[job_id][1]))
                room.take(job.spec)
                usage.take(job.spec)
                self._turn = max(self._turn, self._turns[lane.key.project])
                self._turns[lane.key.project] = self._turn + 1
                self._leave(lane, job_id, now)
        for entry in passed_over:
            heapq.heappush(self._heaps[entry[-1].key.role], entry)
        return picked

    def _put_back_unfit(self, rules: Rules, now: float) -> None:
        """What there is has changed: those that did not fit into it may now. A part of them at a time."""
        if rules.places != self._places:
            self._places = rules.places
            self._to_put_back = list(reversed(self._unfit))  # the first one is taken from the end
        lined_up = 0
        while self._to_put_back and lined_up < _MOST_ASIDE:
            job = self._unfit.get(self._to_put_back.pop())
            if job is not None and rules.could_fit(job.spec):
                del self._unfit[job.spec.job_id]
                self._line_up(job, now)
                lined_up += 1

    # ------------------------------------------------------------ lanes

    def _line_up(self, job: Job, now: float) -> None:
        lane = self._lane(LaneKey.of(job.spec))
        lane.push(job.revision, job.spec.job_id)
        if lane.heap[0][0] == job.revision:
            self._place(lane, now)

    def _lane(self, key: LaneKey) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
            self._lanes_of[key.project] += 1
            # Who comes back has no claim to the turns that it did not use; and it may have had the one at hand.
            self._turns.setdefault(key.project, self._turn + 1)
        return lane

    def _place(self, lane: Lane, now: float) -> None:
        """Find the place of a lane anew: its head is another one, or older."""
        while lane.heap and not self._waits(*lane.heap[0]):
            lane.pop()
        if not lane.heap:
            self._drop(lane)
            return
        revision, job_id = lane.heap[0]
        lane.level = self._level(lane, job_id, now)
        lane.entry = next(self._serial)
        turn = self._turns[lane.key.project]
        heap = self._heaps.setdefault(lane.key.role, [])
        heapq.heappush(heap, (-lane.level, turn, revision, lane.entry, lane))

    def _waits(self, revision: int, job_id: str) -> bool:
        known = self._waiting.get(job_id)
        return known is not None and known[0] == revision

    def _drop(self, lane: Lane) -> None:
        del self._lanes[lane.key]
        lane.entry = 0
        self._lanes_of[lane.key.project] -= 1
        if not self._lanes_of[lane.key.project]:
            del self._lanes_of[lane.key.project], self._turns[lane.key.project]

    def _leave(self, lane: Lane, job_id: str, now: float) -> None:
        """The head of a lane, whose entry was taken, is gone."""
        del self._waiting[job_id]
        self._next_head(lane, now)

    def _next_head(self, lane: Lane, now: float) -> None:
        lane.pop()
        self._place(lane, now)

    def _take_best(self, now: float, rules: Rules, usage: Usage) -> _Entry | None:
        """Take out the entry that goes first among the roles that have room."""
        best: list[_Entry] | None = None
        for role, heap in self._heaps.items():
            if rules.role_room(role, usage) > 0:
                self._clean(heap, now)
                if heap and (best is None or heap[0] < best[0]):
                    best = heap
        return heapq.heappop(best) if best else None

    def _clean(self, heap: list[_Entry], now: float) -> None:
        """See to it that what is on top is true."""
        while heap:
            _, turn, revision, entry, lane = heap[0]
            if entry != lane.entry:
                heapq.heappop(heap)
            elif turn != self._turns[lane.key.project] or not self._waits(revision, lane.heap[0][1]):
                heapq.heappop(heap)
                self._place(lane, now)
            else:
                return

    # ------------------------------------------------------------ age

    def _level(self, lane: Lane, job_id: str, now: float) -> int:
        """The class of a lane's head; and when to look again."""
        rank = lane.key.rank
        if rank >= _TOP:
            return rank
        steps = int(self._age_s(job_id, now) / self._age_step_s)
        if rank + steps >= _TOP:
            return _TOP
        lifts_at = now - self._age_s(job_id, now) + (steps + 1) * self._age_step_s
        if lifts_at < lane.lifts_at:  # else it is looked at before that anyway
            lane.lifts_at = lifts_at
            heapq.heappush(self._lifts, (lifts_at, next(self._serial), lane))
            self._tidy_lifts()
        return rank + steps

    def _tidy_lifts(self) -> None:
        """Let go of lanes that are gone. Where jobs are claimed as they come each has a lane of its own, and all of
        them would be kept for as long as a job waits until it is lifted."""
        if len(self._lifts) > 2 * len(self._lanes) + _FEW:
            self._lifts = [
                entry
                for entry in self._lifts
                if self._lanes.get(entry[-1].key) is entry[-1] and entry[0] == entry[-1].lifts_at
            ]
            heapq.heapify(self._lifts)

    def _age_s(self, job_id: str, now: float) -> float:
        _, since, aged = self._waiting[job_id]
        return max(0.0, now - (self._arrived(job_id, now) if aged else since))

    def _lift(self, now: float) -> None:
        """Lift the lanes whose heads have waited long enough."""
        while self._lifts and self._lifts[0][0] <= now:
            lane = heapq.heappop(self._lifts)[-1]
            lane.lifts_at = float("inf")
            if self._lanes.get(lane.key) is lane:
                self._place(lane, now)
