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
from slurp_leader.jobs.desk import Site
from slurp_leader.jobs.leading import Leading
from slurp_leader.jobs.messages import (
    HandBack,
    HandedBack,
    JobEnded,
    Lead,
    Lost,
    Note,
    Pause,
    RunEnded,
    RunProgress,
    RunStarted,
    StartRun,
    StopRun,
    TakeStock,
    Tally,
)
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.picture import Picture
from slurp_leader.jobs.records import JobKeys
from slurp_leader.jobs.workers import Workers
from slurp_leader.machine.calls import NEVER
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
    """

    def __init__(self, options: JobsOptions, keys: JobKeys, node_id: str, clock: Clock, rng: random.Random) -> None:
        self._site = Site(options, keys, node_id, clock, rng)
        self._workers = Workers(options.workers)
        self._leading: Leading | None = None

    @property
    def picture(self) -> Picture:
        return self._site.picture

    @property
    def tally(self) -> Tally:
        return self._site.tally

    @property
    def wake_at(self) -> float:
        return self._leading.wake_at if self._leading else NEVER

    @property
    def leading(self) -> Leading | None:
        """The term at work, for reports; None while this node does not lead."""
        return self._leading

    def step(self, event: Any, now: float) -> list[Any]:
        """Take one event: what a `Follower` delivers, `Lead` ... `Lost`, `RunStarted`, `RunEnded`, `RunProgress`,
        `Answer`, `Tick`."""
        return self.step_many((event,), now)

    def step_many(self, events: Sequence[Any], now: float) -> list[Any]:
        """Take what came in together, then do once what it all asks for: under load, the looking and claiming and
        gathering that follows each event is most of the work."""
        self._site.out = []
        begun: Leading | None = None
        for event in events:
            self._take(event, now)
            leading = self._leading
            if leading is not None:
                if leading is not begun:
                    begun = leading
                    leading.begin(now)
                leading.take(event, now)
        if self._leading is not None:
            self._leading.act(now)
        else:
            self.picture.touched.clear()  # nobody here acts on it; a new leader looks at every job
            self._site.out.append(TakeStock())  # nor is anything else said, and figures would grow stale
        return self._site.out

    def _take(self, event: Any, now: float) -> None:
        match event:
            case Changes():
                self.picture.change(event.revision, event.events)
            case Snapshot():
                self.picture.load(event.revision, event.kvs)
            case Progress():
                self.picture.progress(event.revision)
            case Lead():
                self._lead(event.term, now)
            case Lost():
                self._lose(event.token)
            case HandBack(token) if self._leading is None or self._leading.term.token != token:
                self._site.out.append(HandedBack(token))  # nothing of it is under way: do not let the election wait
            case RunEnded():
                self._workers.release(event.run_id)
                if event.report is not None:
                    self._workers.learn(event.duration_s)
            case _:
                pass  # of the term

    def _lead(self, term: Term, now: float) -> None:
        if self._leading is None or self._leading.term.token != term.token:
            if self._leading is not None:
                self._leading.abandon()
            self._leading = Leading(self._site, self._workers, term, now)

    def _lose(self, token: int) -> None:
        """Stop what runs (I4). What it still writes is refused by the fence."""
        if self._leading is not None and self._leading.term.token == token:
            self._leading.abandon()
            self._leading = None
        self._site.out.append(HandedBack(token))  # nothing of it is under way, and this loop moves


__all__ = [
    "HandBack",
    "HandedBack",
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
]
