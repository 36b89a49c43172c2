"""Periodic work of nodes that stand for election in a `virtual.World`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from slurp_leader.clock import parse_utc
from slurp_leader.election import ElectionState, StateChanged
from slurp_leader.periodic.machine import PeriodicMachine
from slurp_leader.periodic.messages import (
    Begin,
    Cancel,
    Drained,
    HandBack,
    Lead,
    Lose,
    Pause,
    RunEnded,
    RunOutcome,
    Skipped,
    Work,
)
from slurp_leader.periodic.records import periodic_key
from slurp_leader.periodic.schedule import Interval, Schedule
from slurp_leader.store import Get
from support.electing import KEYSPACE, Node, node
from support.virtual import Host, Seat, World

EVERY_MINUTE = Interval(60)
KEY = periodic_key(KEYSPACE, "slurp", "report")


@dataclass(slots=True, eq=False)
class Worker:
    """A node with periodic work. Runs take no time, unless `holds`."""

    node: Node
    schedule: Schedule = EVERY_MINUTE
    grace_s: float = 3600.0
    holds: bool = False
    said: list[Any] = field(default_factory=list)
    begun: list[tuple[float, Begin]] = field(default_factory=list)
    seat: Seat = field(init=False)

    def __post_init__(self) -> None:
        self.node.drains_at_once = False
        self.start()

    def start(self) -> None:
        host = self.node.host
        work = Work("report", self.schedule, self.grace_s)
        rng = random.Random(host.world.rng.getrandbits(64))
        machine = PeriodicMachine({work.name: (work, KEY)}, host.clock, rng, 1.0)
        self.seat = host.seat(machine, self._hear)
        self.node.told = self._on_election

    @property
    def host(self) -> Host:
        return self.node.host

    @property
    def dues(self) -> list[datetime]:
        """Due times of the runs that were begun here."""
        return [begin.due for _, begin in self.begun]

    @property
    def begun_at(self) -> list[float]:
        """When, in the world's time, from its beginning."""
        return [round(at - 1000, 1) for at, _ in self.begun]

    @property
    def skipped(self) -> list[str]:
        return [said.reason.value for said in self.said if isinstance(said, Skipped)]

    @property
    def cancelled(self) -> list[int]:
        return [said.run_id for said in self.said if isinstance(said, Cancel)]

    def end_run(self) -> None:
        """Let the newest run end."""
        self._say_ended(RunOutcome.COMPLETED)

    def refuse_run(self) -> None:
        """Let the newest run find its term not valid before it calls anything."""
        self._say_ended(None)

    def set_date(self, hours: float) -> None:
        """Set the date of this machine forward, or back."""
        self.host.clock._date_off += timedelta(hours=hours)

    def crash(self) -> None:
        self.host.crash()

    def restart(self) -> None:
        self.start()
        self.node.start()

    def _say_ended(self, outcome: RunOutcome | None) -> None:
        self.seat.post(RunEnded(self.begun[-1][1].run_id, outcome, 0.0))

    def _hear(self, command: Any) -> None:
        self.said.append(command)
        if isinstance(command, Begin):
            self.begun.append((self.host.world.clock.now, command))
            if not self.holds:
                self.end_run()
        elif isinstance(command, Drained):
            from slurp_leader.election import Drained as ElectionDrained

            self.node.seat.post(ElectionDrained(command.token))

    def _on_election(self, event: Any) -> None:
        if not isinstance(event, StateChanged) or event.term is None:
            return
        token = event.term.token
        match event.state:
            case ElectionState.LEADER:
                self.seat.post(Lead(event.term))
            case ElectionState.SUSPENDED:
                self.seat.post(Pause(token))
            case ElectionState.DRAINING:
                self.seat.post(HandBack(token))
            case _:
                self.seat.post(Lose(token))


def worker(world: World, name: str = "a", schedule: Schedule = EVERY_MINUTE, **facts: Any) -> Worker:
    return Worker(node(world, name), schedule, **facts)


def leading(world: World, name: str = "a", schedule: Schedule = EVERY_MINUTE, **facts: Any) -> Worker:
    """A worker whose node leads, and has begun what was due at once."""
    made = worker(world, name, schedule, **facts)
    world.run_until(lambda: made.node.leads)
    world.run_for(0.5)
    return made


def record(world: World) -> dict[str, Any] | None:
    """What etcd has."""
    kvs = world.apply(Get(KEY)).kvs
    return json.loads(kvs[0].value) if kvs else None


def recorded_due(world: World) -> datetime:
    found = record(world)
    assert found is not None
    return parse_utc(found["due"])


def all_dues(workers: Iterable[Worker]) -> list[datetime]:
    return sorted(due for each in workers for due in each.dues)
