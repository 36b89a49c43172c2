"""Decides when periodic work begins. No thread, no clock of its own, no user code: `step(event, now) -> commands`.

::

            term begins           read              due              claimed, term valid
    (idle) ------------> reading ------> waiting ---------> claiming ---------------------> begun
                                            ^                                                 |
                                            +-------------------------------------------------+
                                                          waits for the next due time

**At most once for each due time.** A due time is claimed in etcd before its run begins: one transaction under the fence
of the term that also compares the record's own revision. So two nodes never begin the same run, however late the
requests of an old leader arrive. An answer that did not come means that the claim may be there: the same transaction is
sent until it is definite (PROTOCOL A2), and nothing begins before.

**Not skipped by a change of the leader.** The next leader reads the record after its term began, when nothing of an
older term can be written any more, and begins what became due since: the newest one, if it is within its grace. A claim
whose run was not begun is given back when the term is given back, or is to be handed over: `Settle` holds everything up
until nothing is under way, and `GoOn` takes that back.

**What is lost.** A run that a crash cut off is not begun again, and neither is one whose node died between claim and
start: the claim stands. Work that must be done to its end belongs into the job queue.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from slurp_leader.clock import Clock
from slurp_leader.errors import RecordError, StoreError
from slurp_leader.machine import Answer, Calls, Tick, Timers
from slurp_leader.periodic.messages import (
    Begin,
    Cancel,
    Drained,
    Ended,
    GoOn,
    HandBack,
    Lead,
    Lose,
    Note,
    Pause,
    RunEnded,
    Settle,
    Settled,
    Skipped,
    SkipReason,
    Work,
)
from slurp_leader.periodic.records import Kept, claim, claim_value, give_back, read_due
from slurp_leader.store import Get, GetResult, KeyValue, Request, Txn, TxnResult
from slurp_leader.telemetry.events import LogEvent
from slurp_leader.term import Term

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
"""Between two sends of what was not answered."""
_LOOK_AT_CALENDAR_S = 30.0
"""Due times that are dates are looked at this often, for the date of the machine may be set while we wait."""
_LOOK_AT_PARKED_S = 60.0
"""A record that cannot be read is looked at this often: an operator may have mended it."""
_HELD_S = 0.5


@dataclass(slots=True, eq=False)
class _Claim:
    """A due time that is claimed, or being claimed."""

    due: datetime
    due_at: float
    before: Kept
    value: bytes


class _Run(NamedTuple):
    """A run under way."""

    run_id: int
    token: int
    claimed: _Claim


@dataclass(slots=True, eq=False)
class _Writing:
    """A transaction that has to become definite. `own_value` is what stands there once it was applied; None: the one
    before. `then` is called with the revision at which it was."""

    txn: Txn
    own_value: bytes | None
    then: Callable[[int, float], None]


@dataclass(slots=True, eq=False)
class _Task:
    """One work, and where it stands."""

    work: Work
    key: bytes
    run: _Run | None = None
    """It outlives its term: a thread cannot be ended from outside."""
    kept: Kept | None = None
    """What etcd has; None: not known yet."""
    last: datetime | None = None
    last_at: float = 0.0
    """When `last` was, in boottime seconds."""
    claimed: _Claim | None = None
    """Claimed, and not begun yet."""
    writing: _Writing | None = None
    again: Callable[[], None] = field(default=lambda: None)
    pause_s: float = _FIRST_PAUSE_S

    def forget_term(self) -> None:
        self.kept = self.claimed = self.writing = None
        self.pause_s = _FIRST_PAUSE_S


class PeriodicMachine:
    """All periodic work of one election.

    Args:
        works: What is to be done, by name, with the key of its record.
        clock: Source of dates.
        rng: Source of ids and jitter.
        timeout_s: Of one call.
    """

    def __init__(
        self, works: Mapping[str, tuple[Work, bytes]], clock: Clock, rng: random.Random, timeout_s: float
    ) -> None:
        self._tasks = {name: _Task(work, key) for name, (work, key) in works.items()}
        self._clock = clock
        self._rng = rng
        self._timeout_s = timeout_s
        self._calls = Calls()
        self._timers = Timers()
        self._out: list[Any] = []
        self._term: Term | None = None
        self._paused = False
        self._leaving = False
        self._settling = 0  # token of the term that is about to be handed over
        self._runs = 0

    @property
    def wake_at(self) -> float:
        return self._timers.next_at

    def step(self, event: Any, now: float) -> list[Any]:
        match event:
            case Tick():
                self._on_time(now)
            case Answer():
                self._calls.settle(event, now)
            case Lead():
                self._lead(event.term, now)
            case Pause():
                self._paused = self._paused or self._is_in_force(event.token)
            case HandBack():
                self._hand_back(event.token, now)
            case Settle():
                self._settle(event.token, now)
            case GoOn():
                self._go_on(event.token, now)
            case Lose():
                self._lose(event.token, now)
            case RunEnded():
                self._ended(event, now)
            case _:
                raise TypeError(f"periodic work knows no event {event!r}")
        out, self._out = self._out, []
        return out

    # ------------------------------------------------------------ the term

    def _is_in_force(self, token: int) -> bool:
        return self._term is not None and self._term.token == token

    def _lead(self, term: Term, now: float) -> None:
        self._paused = False
        if self._is_in_force(term.token):
            for task in self._tasks.values():
                self._look(task, now)
            return
        self._term, self._leaving = term, False
        for task in self._tasks.values():
            task.forget_term()
            self._read(task)

    def _hand_back(self, token: int, now: float) -> None:
        if not self._is_in_force(token):
            self._out.append(Drained(token))
            return
        self._leaving = True
        for task in self._tasks.values():
            self._look(task, now)
        self._say_done()

    def _settle(self, token: int, now: float) -> None:
        self._settling = token
        for task in self._tasks.values():
            self._look(task, now)
        if not self._is_in_force(token):
            self._out.append(Settled(token))
        self._say_done()

    def _go_on(self, token: int, now: float) -> None:
        if self._settling == token:
            self._settling = 0
            for task in self._tasks.values():
                self._look(task, now)

    @property
    def _is_settling(self) -> bool:
        return self._is_in_force(self._settling)

    def _say_done(self) -> None:
        """Once nothing runs and nothing is claimed or in doubt. Saying it twice does no harm."""
        if self._term is None or not (self._leaving or self._is_settling):
            return
        token = self._term.token
        if any(t.writing or t.claimed or (t.run and t.run.token == token) for t in self._tasks.values()):
            return
        if self._is_settling:
            self._out.append(Settled(token))
        if self._leaving:
            self._out.append(Drained(token))

    def _lose(self, token: int, now: float) -> None:
        if not self._is_in_force(token):
            return
        self._term = None
        self._calls.forget()
        self._timers.clear_all()
        for task in self._tasks.values():
            if task.claimed is not None:
                self._skip(task, SkipReason.LOST, task.claimed.due, now - task.claimed.due_at)
            if task.run is not None and task.run.token == token:
                self._out.append(Cancel(task.run.run_id))
            task.forget_term()
        self._say_let_go(token)

    def _say_let_go(self, token: int) -> None:
        """Once no run of a term that is over goes on: whoever handed it over may be waiting for just that."""
        if not any(task.run is not None and task.run.token == token for task in self._tasks.values()):
            self._out.append(Drained(token))

    # ------------------------------------------------------------ what is kept

    def _read(self, task: _Task) -> None:
        self._call(task, Get(task.key), partial(self._was_read, task), partial(self._read, task))

    def _was_read(self, task: _Task, result: GetResult, now: float) -> None:
        self._adopt(task, Kept.of(_only(result)), now)

    def _adopt(self, task: _Task, kept: Kept, now: float) -> None:
        """Go on from the record as it stands."""
        try:
            last = None if kept.value is None else read_due(task.key, kept.value)
        except RecordError as error:
            # Not overwritten: it may be of a newer version, which knows when this work was done (I7).
            task.kept = None
            self._note(logging.ERROR, LogEvent.RECORD_PARKED, task, error=str(error), fix="mend or delete the record")
            self._try_again(task, partial(self._read, task), now + _LOOK_AT_PARKED_S)
            return
        today = self._clock.utcnow()
        task.kept, task.last = kept, task.work.schedule.start(last, today)
        if task.last is not None:
            task.last_at = now - (today - task.last).total_seconds()
        if last is None and task.last is not None:
            self._note_first_sight(task, kept, task.last)
        else:
            self._look(task, now)

    def _note_first_sight(self, task: _Task, kept: Kept, today: datetime) -> None:
        """Keep what is counted from, for work that never ran: else a change of the leader would begin to count anew,
        and skip what was due just then."""
        assert self._term is not None
        value = self._value(today, self._term, kept)
        txn = claim(task.key, kept, value, self._term)
        self._write(task, _Writing(txn, value, partial(self._first_sight_noted, task, value)))

    def _first_sight_noted(self, task: _Task, value: bytes, revision: int, now: float) -> None:
        task.kept = Kept(revision, value)
        self._look(task, now)

    def _value(self, due: datetime, term: Term, kept: Kept) -> bytes:
        return claim_value(due, term, f"{self._rng.getrandbits(128):032x}", kept.value)

    # ------------------------------------------------------------ when it is due

    def _on_time(self, now: float) -> None:
        for timer in self._timers.take_due(now):
            name, _, what = timer.partition(" ")
            task = self._tasks[name]
            if what == "again":
                task.again()
            else:
                self._look(task, now)

    def _look(self, task: _Task, now: float) -> None:
        """Do what can be done for this work now, and set the time to look again."""
        if task.claimed is not None:
            self._begin(task, task.claimed, now)
        elif task.kept is not None and task.writing is None and not self._begins_nothing:
            self._look_at_schedule(task, task.kept, now)

    @property
    def _begins_nothing(self) -> bool:
        return self._paused or self._leaving or self._is_settling

    def _look_at_schedule(self, task: _Task, kept: Kept, now: float) -> None:
        schedule = task.work.schedule
        while True:
            today = self._today(task, now)
            if schedule.follows_calendar:
                task.last = schedule.start(task.last, today)  # the date may have been set back by years
            due = schedule.due(task.last, today)
            late_s = (today - due).total_seconds()
            if late_s < 0:
                wait_s = min(-late_s, _LOOK_AT_CALENDAR_S) if schedule.follows_calendar else -late_s
                self._timers.set(f"{task.work.name} due", now + wait_s)
                return
            if late_s > task.work.grace_s:
                self._skip(task, SkipReason.LATE, due, late_s)
            elif task.run is not None:
                self._skip(task, SkipReason.RUNNING, due, late_s)
            else:
                self._claim(task, kept, due, late_s, now)
                return
            task.last, task.last_at = due, now - late_s

    def _today(self, task: _Task, now: float) -> datetime:
        """The date that the schedule is asked with. Without a calendar it is counted on from the last due time, so that
        setting the date of the machine moves nothing during a term."""
        if task.last is None or task.work.schedule.follows_calendar:
            return self._clock.utcnow()
        return task.last + timedelta(seconds=now - task.last_at)

    # ------------------------------------------------------------ claim, begin, end

    def _claim(self, task: _Task, kept: Kept, due: datetime, late_s: float, now: float) -> None:
        assert self._term is not None
        # The record says the calendar's date, for the next leader compares it with its own.
        date = due if task.work.schedule.follows_calendar else self._clock.utcnow() - timedelta(seconds=late_s)
        value = self._value(date, self._term, kept)
        claimed = _Claim(due, now - late_s, kept, value)
        self._write(
            task, _Writing(claim(task.key, kept, value, self._term), value, partial(self._was_claimed, task, claimed))
        )

    def _was_claimed(self, task: _Task, claimed: _Claim, revision: int, now: float) -> None:
        task.kept = Kept(revision, claimed.value)
        task.last, task.last_at = claimed.due, claimed.due_at
        task.claimed = claimed
        self._begin(task, claimed, now)

    def _begin(self, task: _Task, claimed: _Claim, now: float) -> None:
        """Begin what is claimed, if this node may: the term is valid, and not to be given back."""
        term = self._term
        assert term is not None
        late_s = now - claimed.due_at
        if self._leaving or self._is_settling:
            self._give_back(task, claimed, term)
            return
        if self._paused or not term.is_valid:
            self._timers.set(f"{task.work.name} due", now + _HELD_S)
            return
        task.claimed = None
        if late_s > task.work.grace_s:
            self._skip(task, SkipReason.LATE, claimed.due, late_s)
        else:
            self._runs += 1
            task.run = _Run(self._runs, term.token, claimed)
            self._out.append(Begin(self._runs, task.work.name, claimed.due, term))
        self._look(task, now)

    def _give_back(self, task: _Task, claimed: _Claim, term: Term) -> None:
        assert task.kept is not None
        task.claimed = None
        txn = give_back(task.key, task.kept, claimed.before, term)
        self._write(task, _Writing(txn, None, partial(self._was_given_back, task, claimed.before)))

    def _was_given_back(self, task: _Task, before: Kept, revision: int, now: float) -> None:
        self._adopt(task, Kept() if before.value is None else Kept(revision, before.value), now)

    def _ended(self, event: RunEnded, now: float) -> None:
        for task in self._tasks.values():
            if task.run is not None and task.run.run_id == event.run_id:
                run, task.run = task.run, None
                if event.outcome is None:
                    self._was_not_begun(task, run, now)
                else:
                    self._out.append(Ended(task.work.name, event.outcome, event.duration_s))
                self._look(task, now)
                if not self._is_in_force(run.token):
                    self._say_let_go(run.token)
        self._say_done()

    def _was_not_begun(self, task: _Task, run: _Run, now: float) -> None:
        """Between our look at the term and that of the run it ceased to be valid. Its claim is what it was before: it
        waits for the term, is given back with it, or is lost with it."""
        if self._is_in_force(run.token):
            task.claimed = run.claimed
        else:
            self._skip(task, SkipReason.LOST, run.claimed.due, now - run.claimed.due_at)

    # ------------------------------------------------------------ calls

    def _write(self, task: _Task, writing: _Writing) -> None:
        task.writing = writing
        self._send(task, writing)

    def _send(self, task: _Task, writing: _Writing) -> None:
        self._call(task, writing.txn, partial(self._was_written, task, writing), partial(self._send, task, writing))

    def _was_written(self, task: _Task, writing: _Writing, result: TxnResult, now: float) -> None:
        task.writing = None
        if result.succeeded:
            writing.then(result.header.revision, now)
        else:
            leader, own = (_only(read) for read in result.results)
            self._was_refused(task, writing, leader, own, now)
        self._say_done()

    def _was_refused(
        self, task: _Task, writing: _Writing, leader: KeyValue | None, own: KeyValue | None, now: float
    ) -> None:
        term = self._term
        assert term is not None
        if own is not None and own.value == writing.own_value:
            writing.then(own.mod_revision, now)  # an earlier copy of this very transaction had arrived
        elif leader is None or (leader.mod_revision, leader.value) != (term.token, term.value):
            task.kept = None  # the term is over; the election will say so
        else:  # somebody wrote it who is no leader: an operator; or it was given back by an earlier copy
            self._adopt(task, Kept.of(own), now)

    def _call(
        self, task: _Task, request: Request[Any], then: Callable[[Any, float], None], again: Callable[[], None]
    ) -> None:
        """Send it until it is answered: the same request, as an answer that did not come decides nothing."""

        def answered(result: Any, now: float) -> None:
            if isinstance(result, StoreError):
                level = logging.WARNING if task.pause_s == _FIRST_PAUSE_S else logging.DEBUG
                self._note(level, LogEvent.PERIODIC_CALL_FAILED, task, error=str(result), kind=type(result).__name__)
                self._try_again(task, again, now + task.pause_s * (0.75 + self._rng.random() / 2))
                task.pause_s = min(2 * task.pause_s, _LONGEST_PAUSE_S)
            else:
                task.pause_s = _FIRST_PAUSE_S
                then(result, now)

        self._out.append(self._calls.send(request, self._timeout_s, answered))

    def _try_again(self, task: _Task, again: Callable[[], None], at: float) -> None:
        task.again = again
        self._timers.set(f"{task.work.name} again", at)

    # ------------------------------------------------------------ what it says

    def _skip(self, task: _Task, reason: SkipReason, due: datetime, late_s: float) -> None:
        self._out.append(Skipped(task.work.name, reason, due, late_s))

    def _note(self, level: int, event: LogEvent, task: _Task, **fields: object) -> None:
        self._out.append(Note(level, event, {"work": task.work.name, **fields}))


def _only(read: Any) -> KeyValue | None:
    """What a read of one key found."""
    kvs: Iterable[KeyValue] = read.kvs
    return next(iter(kvs), None)
