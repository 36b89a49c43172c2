"""Periodic work of a node, joined to its elector as a program joins it, and what must hold of it.

A run takes the time that is drawn for it; half of them end when they are cancelled, the others do not look. Three in
ten take longer than a handover waits.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from simulation.history import History
from slurp_leader.election import Drained as AllDrained
from slurp_leader.election import ElectionState, GoOn, SettleWanted, StateChanged
from slurp_leader.election import Settled as AllSettled
from slurp_leader.election.records import LeaderRecord
from slurp_leader.periodic import messages
from slurp_leader.periodic.machine import PeriodicMachine
from slurp_leader.periodic.messages import Begin, Cancel, Drained, RunEnded, RunOutcome, Settled, Work
from slurp_leader.periodic.records import periodic_key
from slurp_leader.periodic.schedule import Interval
from slurp_leader.store import Event, EventKind, Get
from support.electing import KEYS, KEYSPACE
from support.virtual import Host

EVERY_S = 1.0
LONGEST_S = 4.0
SETTLES_WITHIN_S = 2.0
_KEY = periodic_key(KEYSPACE, "slurp", "report")
_CANCELLED_WITHIN_S = 0.05


class SimPeriodic:
    """The periodic work of one life of a node.

    Args:
        say: Tells the elector `Drained` and `Settled`.
    """

    def __init__(self, host: Host, history: History, seed: int, say: Callable[[Any], None]) -> None:
        self._host = host
        self._life = host.life
        self._history = history
        self._say = say
        self._draw = random.Random(f"periodic {seed}")
        work = Work("report", Interval(EVERY_S), 3600.0)
        machine = PeriodicMachine({work.name: (work, _KEY)}, host.clock, random.Random(seed + 2), 0.8)
        self._seat = host.seat(machine, self._hear)
        self._under_way: dict[int, tuple[int, bool]] = {}  # runs, with token and whether they end when cancelled
        self._asked_at: dict[int, float] = {}  # when the work of a term was to be settled, and had not gone on since
        self._tokens: set[int] = set()

    # ------------------------------------------------------------ what the node tells

    def tell(self, change: StateChanged) -> None:
        term = change.term
        assert term is not None
        self._tokens.add(term.token)
        match change.state:
            case ElectionState.LEADER:
                self._seat.post(messages.Lead(term))
            case ElectionState.SUSPENDED:
                self._seat.post(messages.Pause(term.token))
            case ElectionState.DRAINING:
                self._seat.post(messages.HandBack(term.token))
            case _:
                self._seat.post(messages.Lose(term.token))

    def ask(self, question: SettleWanted | GoOn) -> None:
        token = question.token
        if isinstance(question, SettleWanted):
            self._asked_at[token] = self._host.world.clock.now
            self._host.world.count("periodic:held_up" if self._runs_of(token) else "periodic:idle")
            self._seat.post(messages.Settle(token))
        else:
            self._host.world.count("periodic:went_on" if self._asked_at.pop(token, None) else "periodic:not_asked")
            self._seat.post(messages.GoOn(token))

    def died(self) -> None:
        """The process is gone, and its runs with it."""
        self._under_way.clear()
        self._tokens.clear()

    # ------------------------------------------------------------ runs

    def _hear(self, command: Any) -> None:
        match command:
            case Begin():
                self._begin(command)
            case Cancel():
                _, is_obedient = self._under_way.get(command.run_id, (0, False))
                if is_obedient:
                    self._after(_CANCELLED_WITHIN_S, command.run_id, RunOutcome.INTERRUPTED)
            case Drained():
                self._say(AllDrained(command.token))
            case Settled():
                self._say(AllSettled(command.token))

    def _begin(self, begin: Begin) -> None:
        history, draw, token = self._history, self._draw, begin.term.token
        history.world.count("periodic:begun")
        history.periodic_begun_at = history.world.clock.now
        where = f"a run on {self._host.name} at {history.world.clock.now:.3f} (token {token})"
        if not begin.term.is_valid:
            history.broken_at_once.append(f"P {where} began without trust")
        claimed_by, claim = self._claim()
        if claimed_by == token:  # else the term is over, and the next leader has claimed since
            if claim in history.periodic_claims:
                history.broken_at_once.append(f"P {where} began under a claim that was begun before")
            history.periodic_claims.add(claim)
        self._under_way[begin.run_id] = (token, draw.random() < 0.5)
        takes_s = LONGEST_S if draw.random() < 0.3 else draw.choice((0.0, 0.1, 0.4, 1.3))
        self._after(takes_s, begin.run_id, RunOutcome.COMPLETED)

    def _after(self, seconds: float, run_id: int, outcome: RunOutcome) -> None:
        self._host.world.after(seconds, self._end, run_id, outcome)

    def _end(self, run_id: int, outcome: RunOutcome) -> None:
        if self._host.life == self._life:
            self._host.do(self._ended, run_id, outcome)

    def _ended(self, run_id: int, outcome: RunOutcome) -> None:
        if self._under_way.pop(run_id, None) is not None:
            self._seat.post(RunEnded(run_id, outcome, 0.0))

    # ------------------------------------------------------------ what must hold

    def lead_was_given(self, event: Event, token: int) -> None:
        """The leader key was written by this node, which had the term with this token: was it handed over in order?"""
        history, now = self._history, self._host.world.clock.now
        if event.kind is not EventKind.PUT or token not in self._tokens:
            return
        if LeaderRecord.from_value(KEYS.leader, event.kv.value).node_id == self._host.name:
            return
        waited_s = now - self._asked_at.get(token, now)
        if waited_s > 0.98 * SETTLES_WITHIN_S:  # by a clock that may run fast
            history.world.count("periodic:cut_off" if self._runs_of(token) else "periodic:waited_long")
            return
        if self._runs_of(token):
            history.broken_at_once.append(f"P {self._host.name} handed token {token} over at {now:.3f} in mid-run")
        claimed_by, claim = self._claim()
        if claimed_by == token and claim not in history.periodic_claims:
            history.broken_at_once.append(f"P {self._host.name} handed token {token} over with a claim not begun")

    def _runs_of(self, token: int) -> list[int]:
        return [run_id for run_id, (of, _) in self._under_way.items() if of == token]

    def _claim(self) -> tuple[int, str]:
        """Whose claim stands in the store, and which."""
        kvs = self._host.world.apply(Get(_KEY)).kvs
        record = json.loads(kvs[0].value) if kvs else {}
        return record.get("token", 0), record.get("claim", "")
