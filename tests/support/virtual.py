"""A world of machines without threads: one store, many hosts, one random number generator, time moved by hand.

What happens in a program through threads, sockets and clocks happens here through one list of things to come, ordered
by time. The machines are those of the library, stepped as `slurp_leader.machine.Loop` steps them; the store is its
`MemoryState`. The same seed gives the same history.

What can go wrong:

* on the way (`Fate`): a request is lost, an answer is lost, a request arrives after its caller gave up, the store
  refuses it as full, and may have written it all the same;
* to a host: it is paused (time passes, nothing else), it crashes, it is cut off, its watches go deaf;
* to the store: everything before now is compacted away.

Every host has a clock of its own, with its own zero and its own speed, so that nothing can rest on comparing two.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from slurp_leader.errors import (
    RevisionCompactedError,
    StoreError,
    StoreFullError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from slurp_leader.machine import Answer, Call, Tick
from slurp_leader.store import Event, EventKind, Get, Grant, Put, Request, Txn, prefix_end
from slurp_leader.store.follow import Changes, Snapshot
from slurp_leader.store.maintenance import DEFAULT_QUOTA_BYTES
from slurp_leader.store.memory import MemoryState

_FIRST_DATE = datetime(2026, 1, 1, tzinfo=UTC)


# ---------------------------------------------------------------- time


class VirtualClock:
    """Time that passes only when it is told to."""

    def __init__(self, boottime: float = 1000.0) -> None:
        self.now = boottime
        self._start = boottime

    def boottime(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return _FIRST_DATE + timedelta(seconds=self.now - self._start)


class HostClock:
    """The clock of one host: the world's time, from another zero, at a slightly other speed, with another date."""

    def __init__(self, world: VirtualClock, zero: float = 0.0, speed: float = 1.0, date_off_s: float = 0.0) -> None:
        self._world = world
        self._zero = zero
        self._speed = speed
        self._date_off = timedelta(seconds=date_off_s)

    def boottime(self) -> float:
        return self._zero + self._world.now * self._speed

    def utcnow(self) -> datetime:
        return self._world.utcnow() + self._date_off

    def in_world(self, boottime: float) -> float:
        """When this clock shows `boottime`, in the world's time."""
        return (boottime - self._zero) / self._speed


# ---------------------------------------------------------------- what becomes of a call


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one call.

    Attributes:
        kind: For the record.
        request_s: Seconds until the store carries it out; None: never.
        answer_s: Seconds from there until the caller hears; None: it waits for its deadline.
        instead: What the caller hears in place of the store's answer.
    """

    kind: str
    request_s: float | None = 0.001
    answer_s: float | None = 0.001
    instead: Any = None


def fine(request_s: float = 0.001, answer_s: float = 0.001) -> Fate:
    return Fate("fine", request_s, answer_s)


def request_lost() -> Fate:
    return Fate("request_lost", None, None)


def silence() -> Fate:
    """Neither carried out nor ever answered, not even by a deadline."""
    return Fate("silence", None, math.inf)


def connection_refused(after_s: float = 0.001) -> Fate:
    return Fate("connection_refused", None, after_s, StoreUnavailableError("connection refused"))


def answer_lost() -> Fate:
    """Carried out; the caller waits for its deadline and then does not know."""
    return Fate("answer_lost", 0.001, None)


def late(after_s: float) -> Fate:
    """Carried out long after: longer than the caller waits, if `after_s` is longer than its deadline."""
    return Fate("late", after_s, None)


def full(*, written: bool = False) -> Fate:
    """Refused as full; sometimes it was written all the same (PROTOCOL A2)."""
    return Fate("full_but_written" if written else "full", 0.001 if written else None, 0.001, StoreFullError())


def failed(error: StoreError) -> Fate:
    """Not carried out, and answered with this error."""
    return Fate(type(error).__name__, None, 0.001, error)


def takes_space(request: Request[Any]) -> bool:
    """Whether a full etcd refuses this request."""
    if isinstance(request, Txn):
        return any(isinstance(step, Put) for step in (*request.success, *request.failure))
    return isinstance(request, Put | Grant)


def writes_key(key: bytes) -> Callable[[Request[Any]], bool]:
    """Chooses transactions that put or delete this key when they succeed."""

    def chosen(request: Request[Any]) -> bool:
        return isinstance(request, Txn) and any(
            step.key == key for step in request.success if not isinstance(step, Get | Txn)
        )

    return chosen


@dataclass(slots=True)
class Rule:
    """A fate to order: for the next `times` calls of `host` that `chosen` picks."""

    fate: Fate
    chosen: Callable[[Request[Any]], bool]
    host: Host | None = None
    times: float = math.inf
    met: int = 0


# ---------------------------------------------------------------- hosts


class Machine(Protocol):
    @property
    def wake_at(self) -> float: ...

    def step(self, event: Any, now: float) -> list[Any]: ...


class Seat:
    """One machine on its host, stepped as its loop would do it."""

    def __init__(self, host: Host, machine: Machine, perform: Callable[[Any], None]) -> None:
        self.host = host
        self.machine = machine
        self._perform = perform
        self._alarm_at = math.inf

    def post(self, event: Any) -> None:
        """Hand an event over; it waits while the host is paused, and is lost when it is down."""
        self.host.deliver(self, event)

    def take(self, event: Any) -> None:
        self.carry_out(self.machine.step(event, self.host.clock.boottime()))

    def carry_out(self, commands: list[Any]) -> None:
        for command in commands:
            if isinstance(command, Call):
                self.host.world.send(self, command)
            else:
                self._perform(command)
        self._set_alarm()

    def _set_alarm(self) -> None:
        wake_at = self.machine.wake_at
        if wake_at == math.inf:
            return
        world = self.host.world
        at = max(world.clock.now, self.host.clock.in_world(wake_at) + 1e-6)
        if at < self._alarm_at:
            self._alarm_at = at
            world.at(at, self._ring, at, self.host.life)

    def _ring(self, at: float, life: int) -> None:
        if life != self.host.life or at != self._alarm_at:
            return
        self._alarm_at = math.inf
        if self.machine.wake_at > self.host.clock.boottime():
            self._set_alarm()  # it was moved meanwhile
        else:
            self.post(Tick())


class Host:
    """A process with its machines and watches. `life` counts its starts: what was meant for an earlier one is lost."""

    def __init__(self, world: World, name: str, clock: HostClock) -> None:
        self.world = world
        self.name = name
        self.clock = clock
        self.life = 1
        self.paused = False
        self.cut_off = False
        self.deaf = False
        self.feeds: list[Feed] = []
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def seat(self, machine: Machine, perform: Callable[[Any], None]) -> Seat:
        return Seat(self, machine, perform)

    def deliver(self, seat: Seat, event: Any) -> None:
        self.do(seat.take, event)

    def do(self, what: Callable[..., None], *args: Any) -> None:
        """Do something on this host: now, or when it is woken."""
        if self.paused:
            self._waiting.append((what, args))
        else:
            what(*args)

    def pause(self) -> None:
        """As SIGSTOP does: time passes, nothing else."""
        self.paused = True

    def resume(self) -> None:
        """As SIGCONT does: all that came in meanwhile is found at once."""
        self.paused = False
        waiting, self._waiting = self._waiting, []
        life = self.life
        for what, args in waiting:
            if self.life == life:  # one of them may take the process with it
                self.do(what, *args)

    def crash(self) -> None:
        """Forget everything; what was sent is under way all the same."""
        self.life += 1
        self.paused = False
        self.feeds = []
        self._waiting = []

    def follow(self, prefix: bytes, sink: Callable[[Snapshot | Changes], None]) -> Feed:
        """Watch a prefix; the first notice is a `Snapshot`."""
        feed = Feed(self, prefix, sink)
        self.feeds.append(feed)
        feed.nudge()
        return feed


class Feed:
    """One watch of a host: hands over what changed, some time after it did."""

    def __init__(self, host: Host, prefix: bytes, sink: Callable[[Snapshot | Changes], None]) -> None:
        self._host = host
        self._life = host.life
        self.prefix = prefix
        self._end = prefix_end(prefix)
        self._sink = sink
        self._next = 0
        self._due = False

    def nudge(self) -> None:
        if not self._due:
            self._due = True
            world = self._host.world
            world.after(world.watch_delay_s(), self._look)

    def _look(self) -> None:
        self._due = False
        host, state = self._host, self._host.world.state
        if host.life != self._life or host.deaf or host.cut_off or self._next > state.revision:
            return
        notice = self._changes(state) if self._next else self._snapshot(state)
        self._next = state.revision + 1
        if notice is not None:
            self._sink(notice)

    def _changes(self, state: MemoryState) -> Snapshot | Changes | None:
        try:
            found = state.events_since(self._next, self.prefix, self._end)
        except RevisionCompactedError:
            self._host.world.count("watch_reloaded")
            return self._snapshot(state)
        events = tuple(event for entry in found for event in entry.events)
        return Changes(state.revision, events) if events else None

    def _snapshot(self, state: MemoryState) -> Snapshot:
        return Snapshot(state.revision, state.apply(Get(self.prefix, self._end)).kvs)


# ---------------------------------------------------------------- the world


@dataclass(slots=True, eq=False)
class _Pending:
    """A call under way; answered once."""

    seat: Seat
    call: Call
    life: int
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """What one revision changed, when, and whose request did it: empty for a lease that ran out, and for operators."""

    at: float
    revision: int
    events: tuple[Event, ...]
    author: str = ""


@dataclass(slots=True, repr=False)
class World:
    """Everything there is.

    Attributes:
        choose_fate: What becomes of a call that no `Rule` picks.
        log: Every revision of the store, in order; survives compaction.
        counts: How often each kind of fault had a chance to matter.
        on_write: Told of every revision at the moment it comes about.
    """

    seed: int = 0
    quota_bytes: int = DEFAULT_QUOTA_BYTES
    rng: random.Random = field(init=False)
    clock: VirtualClock = field(default_factory=VirtualClock)
    state: MemoryState = field(init=False)
    hosts: dict[str, Host] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    choose_fate: Callable[[Host, Request[Any]], Fate] = field(default=lambda _host, _request: fine())
    watch_delay_s: Callable[[], float] = field(default=lambda: 0.002)
    log: list[Write] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    on_write: list[Callable[[Write], None]] = field(default_factory=list)
    _coming: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = field(default_factory=list)
    _sequence: int = 0
    _logged: int = 1

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.state = MemoryState(self.clock, quota_bytes=self.quota_bytes)

    def host(self, name: str, *, zero: float = 0.0, speed: float = 1.0, date_off_s: float = 0.0) -> Host:
        host = self.hosts[name] = Host(self, name, HostClock(self.clock, zero, speed, date_off_s))
        return host

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    # ------------------------------------------------------------ time

    def at(self, time: float, do: Callable[..., None], *args: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._coming, (time, self._sequence, do, args))

    def after(self, seconds: float, do: Callable[..., None], *args: Any) -> None:
        self.at(self.clock.now + seconds, do, *args)

    def run_for(self, seconds: float) -> None:
        self.run_to(self.clock.now + seconds)

    def run_to(self, end: float) -> None:
        """Let everything happen that is due until then."""
        coming = self._coming
        while coming and coming[0][0] <= end:
            self._advance()
        while self.state.next_expiry() <= end:
            self._expire()
        self.clock.now = max(self.clock.now, end)

    def run_until(self, reached: Callable[[], bool], within_s: float = 60.0) -> None:
        """Let things happen until `reached`.

        Raises:
            AssertionError: It was not, within the time.
        """
        end = self.clock.now + within_s
        while not reached():
            assert self._next_at() <= end, f"not reached within {within_s} virtual seconds"
            self._advance()

    def _next_at(self) -> float:
        coming = self._coming[0][0] if self._coming else math.inf
        return min(coming, self.state.next_expiry())

    def _advance(self) -> None:
        if not self._coming or self.state.next_expiry() <= self._coming[0][0]:
            self._expire()
            return
        time, _, do, args = heapq.heappop(self._coming)
        if time > self.clock.now:
            self.clock.now = time
        do(*args)

    def _expire(self) -> None:
        self.clock.now = max(self.clock.now, self.state.next_expiry())
        self.state.expire_due()
        self.note_writes()

    # ------------------------------------------------------------ calls

    def order(
        self,
        fate: Fate,
        chosen: Callable[[Request[Any]], bool] = lambda _request: True,
        *,
        host: Host | None = None,
        times: float = math.inf,
    ) -> Rule:
        """Let the next `times` calls that fit meet this fate. Remove it from `rules` to end it."""
        rule = Rule(fate, chosen, host, times)
        self.rules.append(rule)
        return rule

    def send(self, seat: Seat, call: Call) -> None:
        fate = self._fate(seat.host, call.request)
        if fate.answer_s == math.inf:
            return
        pending = _Pending(seat, call, seat.host.life)
        if fate.kind != "fine":
            self.count(fate.kind)
        if fate.request_s is not None:
            self.after(fate.request_s, self._arrive, pending, fate)
        elif fate.answer_s is not None:
            self.after(fate.answer_s, self._answer, pending, fate.instead)
        if fate.answer_s is None or (fate.request_s or 0.0) + fate.answer_s >= call.timeout_s:
            self.after(call.timeout_s, self._answer, pending, StoreTimeoutError())

    def _fate(self, host: Host, request: Request[Any]) -> Fate:
        if host.cut_off:
            return Fate("cut_off", None, None)
        for rule in self.rules:
            if rule.met < rule.times and rule.host in (None, host) and rule.chosen(request):
                rule.met += 1
                return rule.fate
        return self.choose_fate(host, request)

    def _arrive(self, pending: _Pending, fate: Fate) -> None:
        result = self.apply(pending.call.request, pending.seat.host.name)
        if fate.answer_s is not None:
            self.after(fate.answer_s, self._answer, pending, fate.instead or result)

    def _answer(self, pending: _Pending, result: Any) -> None:
        host = pending.seat.host
        if pending.answered or host.life != pending.life:
            return
        pending.answered = True
        pending.seat.post(Answer(pending.call.call_id, result))

    def apply(self, request: Request[Any], author: str = "") -> Any:
        """Carry a request out now, as an operator at the store would. Returns the response, or the error."""
        if self.state.expire_due():
            self.note_writes()
        try:
            result: Any = self.state.apply(request)
        except StoreError as error:
            result = error
        self.note_writes(author)
        return result

    def compact(self) -> None:
        """Forget all history up to now."""
        self.note_writes()
        self.state.compact()
        self.count("compacted")

    def note_writes(self, author: str = "") -> None:
        """Keep what was just written, and wake the watches."""
        if self.state.revision == self._logged:
            return
        entries = self.state.events_since(self._logged + 1, b"\x00", b"\x00")
        self._logged = self.state.revision
        for entry in entries:
            write = Write(self.clock.now, entry.revision, entry.events, author)
            self.log.append(write)
            for told in self.on_write:
                told(write)
        keys = [event.kv.key for entry in entries for event in entry.events]
        for host in self.hosts.values():
            for feed in host.feeds:
                if any(key.startswith(feed.prefix) for key in keys):
                    feed.nudge()


def puts_of(log: list[Write], key: bytes) -> list[Event]:
    """Every put of a key, in order."""
    return [event for write in log for event in write.events if event.kv.key == key and event.kind is EventKind.PUT]
