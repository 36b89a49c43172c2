"""Nodes that stand for election in a `virtual.World`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from slurp_leader.election import (
    BeatSaid,
    Drained,
    DropLease,
    ElectionOptions,
    ElectionState,
    Elector,
    Finished,
    HeldBack,
    HoldLease,
    Identity,
    LeaderChanged,
    Lending,
    Readiness,
    Reason,
    SayBeat,
    StateChanged,
    StopWanted,
)
from slurp_leader.election.operator import OperatorRecord, read_operator
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.election.records import ElectionKeys, LeaderRecord, nodes_prefix
from slurp_leader.guard.messages import Told
from slurp_leader.store import EventKind, Get, KeyValue, Put, Revoke
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.term import Term
from support.virtual import Host, Rule, Seat, World, Write

KEYSPACE = Keyspace("test")
KEYS = ElectionKeys.of(KEYSPACE, "slurp")
OPTIONS = ElectionOptions(lease_ttl=10)
"""Renewal each 2 s, calls of at most 1.33 s, a margin of 1 s."""


@dataclass(slots=True, eq=False)
class Node:
    """An elector on a host, and what it said."""

    host: Host
    options: ElectionOptions = OPTIONS
    node_id: str = ""
    drains_at_once: bool = True
    lending: Lending | None = None
    said: list[Any] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    told: Callable[[Any], None] | None = None
    guarded: bool = False
    guard_says: Told = Told.YES
    """What becomes of what the guard is told."""
    needs_progress: bool = False
    needs_consent: bool = False
    capabilities: tuple[str, ...] = ()
    version: str = ""
    requires: tuple[str, ...] = ()
    free: Free = field(default_factory=Free)
    ready: Callable[[], Readiness] = Readiness
    guard: dict[int, float] = field(default_factory=dict)
    """What a guard of this host knows: leases, and the host's time of the newest beat of each."""
    elector: Elector = field(init=False)
    seat: Seat = field(init=False)

    def __post_init__(self) -> None:
        self.node_id = self.node_id or self.host.name
        self.start()

    def start(self) -> None:
        """Begin a new life; after `Host.crash` this is the restart."""
        world, clock = self.host.world, self.host.clock
        rng = random.Random(world.rng.getrandbits(64))
        sessions = nodes_prefix(KEYSPACE, self.node_id)
        self.elector = Elector(
            self.options,
            Identity(self.node_id, "", capabilities=self.capabilities, version=self.version),
            KEYS,
            sessions,
            clock,
            rng,
            lending=self.lending,
            ready=lambda: self.ready(),
            free=lambda: self.free,
            requires=self.requires,
            guarded=self.guarded,
            needs_progress=self.needs_progress,
            needs_consent=lambda: self.needs_consent,
        )
        self.seat = self.host.seat(self.elector, self._hear)
        self.seat.carry_out(self.elector.start(clock.boottime()))
        self.host.follow(KEYSPACE.mirrored, self.seat.post)

    def _hear(self, command: Any) -> None:
        self.said.append(command)
        match command:
            case HoldLease(lease_id) | SayBeat(lease_id):
                now = self.host.clock.boottime()
                if self.guard_says is Told.YES:
                    self.guard[lease_id] = now
                is_new = isinstance(command, HoldLease) and self.guard_says is Told.GIVEN_BACK
                self.seat.post(BeatSaid(lease_id, now, Told.YES if is_new else self.guard_says))
            case DropLease(lease_id):
                self.guard.pop(lease_id, None)
            case _:
                pass
        if isinstance(command, StateChanged):
            if command.state is ElectionState.LEADER and command.term not in self.terms:
                assert command.term is not None
                self.terms.append(command.term)
            over = command.state is ElectionState.DRAINING or command.reason is Reason.HANDOVER
            if over and command.term is not None and self.drains_at_once:
                self.seat.post(Drained(command.term.token))
        if self.told is not None:
            self.told(command)

    # ------------------------------------------------------------ what it is

    @property
    def state(self) -> ElectionState:
        return self.elector.state

    @property
    def term(self) -> Term:
        """The newest term it was told of, in force or not."""
        return self.terms[-1]

    @property
    def leads(self) -> bool:
        """What `Election.is_leader` says: a term, and trust in it by this host's clock."""
        term = self.elector.term
        return term is not None and term.is_valid

    @property
    def believes_until(self) -> float:
        """In the world's time, the latest moment at which any of its terms is still trusted."""
        until = max((term.trust.until for term in self.terms), default=-math.inf)
        return self.host.clock.in_world(until)

    @property
    def states(self) -> list[tuple[ElectionState, Reason]]:
        return [(said.state, said.reason) for said in self.said if isinstance(said, StateChanged)]

    @property
    def last_reason(self) -> Reason:
        return self.states[-1][1]

    @property
    def leaders_seen(self) -> list[int | None]:
        changes = [said for said in self.said if isinstance(said, LeaderChanged)]
        return [change.leader.token if change.leader else None for change in changes]

    @property
    def held_back(self) -> str:
        """What it said last of what forbids it the key."""
        return next((said.why for said in reversed(self.said) if isinstance(said, HeldBack)), "")

    @property
    def finished(self) -> Finished | None:
        return next((said for said in self.said if isinstance(said, Finished)), None)

    def stop(self) -> None:
        self.seat.post(StopWanted())


LENDING = Lending(KEYSPACE.mirrored + b"grant/", lambda: 60.0)
"""Of a node whose work survives a handover."""


def node(world: World, name: str = "a", options: ElectionOptions = OPTIONS, *, node_id: str = "", **more: Any) -> Node:
    """A node on a host of its own, with a clock of its own."""
    host = world.host(name, zero=1000.0 * (len(world.hosts) + 1), speed=1.0)
    return Node(host, options, node_id, **more)


def leading_node(world: World, name: str = "a", options: ElectionOptions = OPTIONS, **more: Any) -> Node:
    """A node that leads, in the middle between two renewals."""
    standing = node(world, name, options, **more)
    world.run_until(lambda: standing.leads)
    world.run_for(options.renew_interval_s / 2)
    return standing


def leader_key(world: World) -> KeyValue | None:
    """The leader key as the store has it."""
    kvs = world.apply(Get(KEYS.leader)).kvs
    return kvs[0] if kvs else None


def leader_record(world: World) -> LeaderRecord:
    kv = leader_key(world)
    assert kv is not None
    return LeaderRecord.from_value(kv.key, kv.value)


def crash(leader: Node) -> None:
    """The leader dies, and its guard gives its lease back."""
    leader.host.crash()
    key = leader_key(leader.host.world)
    assert key is not None
    leader.host.world.apply(Revoke(key.lease))


def order(world: World, change: Callable[[OperatorRecord], OperatorRecord]) -> None:
    """Give an order, as an operator's own transaction does."""
    kvs = world.apply(Get(KEYS.operator)).kvs
    orders, problem = read_operator(kvs[0] if kvs else None)
    assert not problem
    world.apply(Put(KEYS.operator, change(orders).to_value()))


def end(world: World, rule: Rule) -> None:
    """Take a rule back."""
    world.rules.remove(rule)


@dataclass(slots=True)
class BeliefWatch:
    """Checks I3 at each moment it could break: when the leader key changes hands, nobody trusts an older term.

    A lease that an operator revoked takes the key from under the clock: tests that do that leave this out.
    """

    nodes: list[Node]
    violations: list[str] = field(default_factory=list)

    def __call__(self, write: Write) -> None:
        for event in write.events:
            if event.kv.key != KEYS.leader:
                continue
            for believer in self.nodes:
                for term in believer.terms:
                    until = believer.host.clock.in_world(term.trust.until)
                    if until > write.at and term.token < write.revision:
                        verb = "put" if event.kind is EventKind.PUT else "deleted"
                        self.violations.append(
                            f"{believer.node_id} trusts token {term.token} for {until - write.at:.3f} s more when the "
                            f"leader key is {verb} at revision {write.revision}"
                        )
