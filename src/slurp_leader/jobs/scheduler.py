"""The scheduler: what a leader does with the queue. A machine, like the elector.

While this node does not lead it keeps the `Picture` warm, nothing else. With a term it reads from the top:

    lead -> (picture complete for the token) -> take over -> look at every job -> claim -> run -> finish, or try again

That part is `leading.Leading`, one for each term. Events and commands are in `messages`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.jobs.breaker import Hold
from slurp_leader.jobs.desk import Site
from slurp_leader.jobs.inventory import Inventory
from slurp_leader.jobs.leading import Leading
from slurp_leader.jobs.messages import (
    HandBack,
    HandedBack,
    HandedOver,
    JobEnded,
    Lead,
    Lost,
    Note,
    OfRun,
    Pause,
    RunEnded,
    RunProgress,
    RunStarted,
    Scale,
    StartRun,
    StopRun,
    TakeStock,
    Tally,
    WindDown,
    WorkerReady,
)
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.picture import Picture
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.jobs.records import JobKeys
from slurp_leader.jobs.workers import Workers
from slurp_leader.machine.calls import NEVER
from slurp_leader.resilience.options import BreakerOptions
from slurp_leader.store.follow import Changes, Progress, Snapshot
from slurp_leader.term import Term


class Scheduler:
    """Runs the queue while its node leads.

    Args:
        options: Workers, limits, retention.
        keys: Keys of the jobs.
        node_id: Written into outcomes, for people.
        clock: The calendar only.
        rng: Jitter and operation ids.
        breaker: When a generator that keeps failing is left alone; None: as by default.
        store_limits: How much of the store may be used.
        places: Slots that there are, where no operator has ordered another number of workers; None: those of
            `jobs.workers`.
        per_worker: Slots of one worker.
    """

    def __init__(
        self,
        options: JobsOptions,
        keys: JobKeys,
        node_id: str,
        clock: Clock,
        rng: random.Random,
        breaker: BreakerOptions | None = None,
        store_limits: StoreLimits | None = None,
        *,
        places: int | None = None,
        per_worker: int = 1,
    ) -> None:
        limits = store_limits or StoreLimits()
        places = options.workers * per_worker if places is None else places
        self._site = Site(options, keys, node_id, clock, rng, breaker or BreakerOptions(), limits, places, per_worker)
        self.inventory = Inventory(keys.mirrored)
        """What etcd has, as counts and one number, as far as the watch has told. May be asked from any thread."""
        self._workers = Workers()
        self._per_worker = per_worker
        self._scaled_to = places
        self._leading: Leading | None = None
        self._estates: list[Leading] = []  # terms that were handed over, with work that has not ended
        self._winds_down = False

    @property
    def picture(self) -> Picture:
        return self._site.picture

    @property
    def tally(self) -> Tally:
        return self._site.tally

    def hold(self, now: float) -> Hold | None:
        """Why no job is claimed here; None: nothing holds up the next one. May be asked from any thread."""
        return self._site.breaker.hold(now)

    @property
    def wake_at(self) -> float:
        return min((each.wake_at for each in self._all), default=NEVER)

    @property
    def _all(self) -> list[Leading]:
        return [*self._estates, self._leading] if self._leading else self._estates

    def stuck(self, now: float) -> int:
        """Runs that were told to stop, have not, and hold their places. From any thread."""
        return self._workers.stuck(now)

    def stuck_places(self, now: float) -> tuple[int, int]:
        """Slots and bytes of memory that these take while this node leads; else nobody misses them. From any thread."""
        return self._workers.stuck_places(now) if self._leading is not None else (0, 0)

    @property
    def leading(self) -> Leading | None:
        """The term at work, for reports; None while this node does not lead."""
        return self._leading

    @property
    def allocation(self) -> tuple[int, int, int]:
        """Slots that are taken, slots that there are, bytes of memory that runs are counted with. From any thread."""
        slots, memory = self._workers.allocated
        return slots, self._site.rules.workers, memory

    @property
    def lent_runs(self) -> int:
        """Runs of terms that this node handed over."""
        return sum(estate.running for estate in self._estates)

    def step(self, event: Any, now: float) -> list[Any]:
        """Take one event: what a `Follower` delivers, `Lead` ... `Lost`, what is told of runs (`OfRun`), `Answer`,
        `Tick`."""
        return self.step_many((event,), now)

    def step_many(self, events: Sequence[Any], now: float) -> list[Any]:
        """Take what came in together, then do once what it all asks for: under load, the looking and claiming and
        gathering that follows each event is most of the work."""
        self._site.out = []
        begun: list[Leading] = []
        for event in events:
            self._take(event, now)
            for each in self._concerned(event):
                if each not in begun:
                    begun.append(each)
                    each.begin(now)
                each.take(event, now)
        if self._estates:
            self._act_for_estates(begun, now)
        if self._leading is not None:
            self._leading.act(now)
        else:
            self.picture.touched.clear()  # nobody here acts on it; a new leader looks at every job
            self._site.out.append(TakeStock())  # nor is anything else said, and figures would grow stale
        return self._site.out

    def _concerned(self, event: Any) -> Sequence[Leading]:
        """Whose event it is: a run is of one term only, and one that no term knows is told to the present one."""
        if self._estates and isinstance(event, OfRun):
            owners = [estate for estate in self._estates if estate.has_run(event.run_id)]
            if owners:
                return owners
            return (self._leading,) if self._leading is not None else ()
        return self._all

    def _act_for_estates(self, begun: list[Leading], now: float) -> None:
        """Before the present term, which takes away what was touched."""
        for estate in self._estates:
            if estate not in begun:
                estate.begin(now)
            estate.look_at(self.picture.touched, now)
            estate.act(now)
        self._estates = [estate for estate in self._estates if not estate.is_over]

    def _take(self, event: Any, now: float) -> None:
        match event:
            case Changes() | Snapshot() | Progress():
                self._see(event)
            case Lead():
                self._lead(event.term, now)
            case Lost():
                self._lose(event.token, now)
            case HandedOver():
                self._hand_over(event, now)
            case WindDown():
                self._wind_down(now)
            case HandBack(token) if self._leading is None or self._leading.term.token != token:
                self._site.out.append(HandedBack(token))  # nothing of it is under way: do not let the election wait
            case RunStarted() | RunEnded() | WorkerReady():
                self._count(event)
            case _:
                pass  # of the term

    def _count(self, event: RunStarted | RunEnded | WorkerReady) -> None:
        """Keep account of the workers, whatever became of the terms of their runs."""
        match event:
            case RunStarted():
                self._workers.begun(event.run_id)
            case RunEnded():
                self._workers.release(event.run_id)
                if event.report is not None and event.duration_s > 0 and not event.report.cached:
                    self._workers.learn(event.duration_s)  # 0: its body has not begun; cached: others take longer
            case WorkerReady():
                self._workers.free_again()

    def _see(self, notice: Changes | Snapshot | Progress) -> None:
        match notice:
            case Changes():
                self.picture.change(notice.revision, notice.events)
                self.inventory.change(notice.revision, notice.events)
            case Snapshot():
                self.picture.load(notice.revision, notice.kvs)
                self.inventory.load(notice.revision, notice.kvs)
            case Progress():
                self.picture.progress(notice.revision)
                self.inventory.progress(notice.revision)

        wanted = self._site.rules.workers
        if wanted != self._scaled_to:
            self._scaled_to = wanted
            self._site.out.append(Scale(max(1, wanted // self._per_worker)))

    def _wind_down(self, now: float) -> None:
        self._winds_down = True
        for each in self._all:
            each.wind_down(now)

    def _lead(self, term: Term, now: float) -> None:
        if self._leading is None or self._leading.term.token != term.token:
            if self._leading is not None:
                self._leading.abandon(now)
            self._leading = Leading(self._site, self._workers, term, now)
            if self._winds_down:
                self._leading.wind_down(now)

    def _hand_over(self, event: HandedOver, now: float) -> None:
        leading = self._leading
        if leading is None or leading.term.token != event.token:
            self._site.out.append(HandedBack(event.token))  # nothing of it is under way
            return
        self._leading = None
        self._estates.append(leading)
        leading.begin(now)
        leading.lend(event.lent, now)

    def _lose(self, token: int, now: float) -> None:
        """Stop what runs (I4). What it still writes is refused by the fence."""
        if self._leading is not None and self._leading.term.token == token:
            self._leading.abandon(now)
            self._leading = None
        self._site.out.append(HandedBack(token))  # nothing of it is under way, and this loop moves


__all__ = [
    "HandBack",
    "HandedBack",
    "HandedOver",
    "JobEnded",
    "Lead",
    "Lost",
    "Note",
    "Pause",
    "RunEnded",
    "RunProgress",
    "RunStarted",
    "Scheduler",
    "StartRun",
    "StopRun",
    "TakeStock",
    "Tally",
    "WindDown",
]
