"""What the parts of one term share: the term, the picture, the group commit, the timers, and the jobs that are taken.

The parts of a term own their state alone; here is only what all of them need. A desk lives as long as its term
(PROTOCOL A29).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

from slurp_leader.clock import Clock, format_utc
from slurp_leader.jobs.breaker import JobBreaker
from slurp_leader.jobs.commit import CommitLimits, Committer
from slurp_leader.jobs.compaction import CompactionWatch
from slurp_leader.jobs.intent import Settlement
from slurp_leader.jobs.intents import TermGate
from slurp_leader.jobs.messages import Note, Tally
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.picking.control import QueueControl
from slurp_leader.jobs.picking.rules import Rules
from slurp_leader.jobs.picture import Picture
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.jobs.records import JobKeys
from slurp_leader.machine.calls import Call, Calls, Timers
from slurp_leader.resilience.options import BreakerOptions
from slurp_leader.store import Request
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Term


class Site:
    """What all terms of one scheduler share.

    Attributes:
        store_limits: How much of the store may be used.
        compaction: Whether anybody compacts it; it takes hours to find out, longer than many a term.
        call_ids: For the calls of all terms: an answer to a call of one must never fit a call of another.
        out: Commands of the step under way.
    """

    def __init__(
        self,
        options: JobsOptions,
        keys: JobKeys,
        node_id: str,
        clock: Clock,
        rng: random.Random,
        breaker: BreakerOptions,
        store_limits: StoreLimits,
        places: int,
        per_worker: int,
    ) -> None:
        self.options = options
        self.keys = keys
        self.node_id = node_id
        self.clock = clock
        self.rng = rng
        self.picture = Picture(keys)
        self.store_limits = store_limits
        self.compaction = CompactionWatch()
        self.tally = Tally()
        self.call_ids = count(1)
        self.out: list[Any] = []
        self.breaker = JobBreaker(breaker, rng, self.say)
        self._next_run_id = 0
        self._places, self._per_worker = places, per_worker
        self._rules: tuple[QueueControl, Rules] | None = None

    @property
    def rules(self) -> Rules:
        """What is in force for the queue at present: the settings, and before them what operators have ordered."""
        control = self.picture.control
        if self._rules is None or self._rules[0] is not control:
            self._rules = (control, Rules.of(self.options, control, self._places, self._per_worker))
        return self._rules[1]

    def say(self, command: Any) -> None:
        self.out.append(command)

    def new_run_id(self) -> int:
        self._next_run_id += 1
        return self._next_run_id


class Desk:
    """Where the parts of one term meet.

    Attributes:
        busy: Ids of jobs that are claimed, run, or written about: at most one of these at a time (PROTOCOL A3).
        fenced: A write of ours was refused because the term is over. What is not done by now will not be.
    """

    def __init__(self, site: Site, term: Term) -> None:
        self.term = term
        self.options = options = site.options
        self.keys = site.keys
        self.node_id = site.node_id
        self.picture = site.picture
        self.tally = site.tally
        self.store_limits = site.store_limits
        self.compaction = site.compaction
        self.rng = site.rng
        self.breaker = site.breaker
        self.timers = Timers()
        self.busy: set[str] = set()
        self.fenced = False
        self._site = site
        self._utcnow: datetime | None = None
        self._today = ""
        limits = CommitLimits(
            options.flush_items,
            options.flush_bytes,
            options.flush_delay_s,
            options.flushes_in_flight,
            options.rpc_timeout_s,
        )
        self.calls = Calls(site.call_ids)
        self.committer = Committer(self.calls, self.say, TermGate(term, site.keys), limits)

    # ------------------------------------------------------------ the calendar, read once a step

    def begin_step(self) -> None:
        self._utcnow = None

    @property
    def utcnow(self) -> datetime:
        """The calendar date of this step."""
        if self._utcnow is None:
            self._utcnow = self._site.clock.utcnow()
            self._today = format_utc(self._utcnow)
        return self._utcnow

    @property
    def today(self) -> str:
        """The calendar date of this step, as it stands in records."""
        if self._utcnow is None:
            _ = self.utcnow
        return self._today

    @property
    def rules(self) -> Rules:
        """What is in force for the queue at present."""
        return self._site.rules

    # ------------------------------------------------------------ saying and asking

    def say(self, command: Any) -> None:
        self._site.out.append(command)

    def note(self, level: int, event: LogEvent, **fields: Any) -> None:
        self._site.out.append(Note(level, event, fields))

    def ask(self, request: Request[Any], handler: Callable[[Any, float], None]) -> None:
        """Send a read; `handler` takes the response or the error."""
        self.say(self._call(request, handler))

    def _call(self, request: Request[Any], handler: Callable[[Any, float], None]) -> Call:
        return self.calls.send(request, self.options.rpc_timeout_s, handler)

    def new_op(self) -> str:
        """An id for a write, by which it is known again."""
        return f"{self.rng.getrandbits(64):016x}"

    def new_run_id(self) -> int:
        return self._site.new_run_id()

    # ------------------------------------------------------------ jobs that are taken

    def release(self, job_id: str) -> None:
        """Nothing about this job is under way any more: look at it anew."""
        self.busy.discard(job_id)
        self.picture.touched.add(job_id)

    def refused(self, what: str, subject: str, settlement: Settlement) -> None:
        """Say that a write was refused, and whether that was because the term is over."""
        if settlement.reason == "fenced":
            self.fenced = True
        self.note(logging.WARNING, LogEvent.COMMIT_REFUSED, what=what, subject=subject, reason=settlement.reason)
