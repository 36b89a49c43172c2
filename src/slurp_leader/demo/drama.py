"""The story of one run, in the order in which it happens."""

from __future__ import annotations

import queue
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from slurp_leader.clock import Clock
from slurp_leader.demo.picture import Leader, LeaderChange, Picture
from slurp_leader.demo.scene import News, Scene, describe_nodes
from slurp_leader.demo.stage import DemoError, NodeProcess
from slurp_leader.demo.submitter import Submitting
from slurp_leader.demo.witness import Witness

KILL_AT = 0.4
"""Share of the outcomes after which the leader is killed."""
STALL_S = 45.0
_CURTAIN_S = 60.0
_TICK_S = 0.1
_IDLE_LEADER_S = 1.0


class Aborted(Exception):  # noqa: N818 - a way out, not a fault
    """A signal asks for the end."""

    def __init__(self, signum: int) -> None:
        super().__init__("stopped; nothing is left behind")
        self.signum = signum


@dataclass(frozen=True, slots=True)
class Signalled:
    """Message: this signal came in."""

    signum: int


@dataclass(frozen=True, slots=True)
class KillAsked:
    """Message: somebody pressed the key."""


Message = Signalled | KillAsked | None
"""None: look again, something changed."""
Inbox = queue.SimpleQueue[Message]
"""A signal handler may put into it, unlike into an Event or a Queue."""


class Screen(Protocol):
    """Shows scenes. `show` is called about ten times a second; it may leave some out."""

    def show(self, scene: Scene) -> None: ...


class Cast(Protocol):
    """The nodes, and how they are. In a run it is the `Stage`."""

    @property
    def nodes(self) -> Sequence[NodeProcess]: ...

    def failure(self) -> str | None: ...

    def logs(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Kill:
    """A leader that was killed: who, in which term, when (boot time), and with how many jobs on its hands."""

    node_id: str
    pid: int
    token: int
    at_s: float
    running: int


@dataclass(frozen=True, slots=True)
class KillRule:
    """When a leader is killed by itself: at `outcomes` outcomes; None: only when asked."""

    outcomes: int | None

    def wants(self, picture: Picture, reached_for_s: float) -> bool:
        """Whether now is the moment: the count is reached, and the leader is in the middle of something.

        Args:
            picture: How things stand.
            reached_for_s: For how long the count has been reached. A leader that stays idle is killed all the same.
        """
        if self.outcomes is None or len(picture.ended) < self.outcomes:
            return False
        return picture.running > 0 or reached_for_s > _IDLE_LEADER_S


def may_be_killed(picture: Picture, alive: Collection[str], more_to_come: bool) -> bool:
    """Whether a kill shows anything: the leader has recorded something, another node lives, and work is left for it."""
    leader = picture.leader
    if leader is None or leader.node_id not in alive or len(alive) < 2:
        return False
    return more_to_come and picture.outcomes.get(leader.token, 0) > 0


def successor(kill: Kill, changes: Sequence[LeaderChange]) -> LeaderChange | None:
    """The change that brought the next leader after a kill; None when there was none yet."""
    return next((one for one in changes if one.leader and one.leader.token > kill.token), None)


def describe(change: LeaderChange, kill: Kill | None) -> str:
    """A change of leader in words. `kill`: the one that it makes good."""
    if change.leader is None:
        return "the leader key is gone: nobody leads"
    text = f"{change.leader.node_id} leads: epoch {change.leader.epoch}, token {change.leader.token}"
    return f"{text}, {1000 * (change.at_s - kill.at_s):,.0f} ms after the kill" if kill else text


class Drama:
    """Plays one run, on the thread that calls `perform`.

    Args:
        cast: The started nodes.
        witness: Sees what is committed.
        submitting: Brings the requests in; started here.
        total: How many requests those are.
        rule: When to kill the leader.
        inbox: Signals, keys, and notes that something changed.
        screen: Shows it.
        clock: Source of time.
    """

    def __init__(
        self,
        cast: Cast,
        witness: Witness,
        submitting: Submitting,
        total: int,
        rule: KillRule,
        inbox: Inbox,
        screen: Screen,
        clock: Clock,
    ) -> None:
        self._cast = cast
        self._witness = witness
        self._submitting = submitting
        self._total = total
        self._rule = rule
        self._inbox = inbox
        self._screen = screen
        self._clock = clock
        self._began_s = clock.boottime()
        self._shown_s = 0.0
        self._moved_s = self._began_s
        self._due_since_s: float | None = None
        self._told = 0  # changes of leader that are in the news already
        self.news: list[News] = []
        self.kills: list[Kill] = []

    # ------------------------------------------------------------ the story

    def perform(self) -> None:
        """From the first election to the last outcome.

        Raises:
            Aborted: A signal came in.
            DemoError: A node or etcd ended by itself, or nothing moves any more; shows their logs.
        """
        self._until(self._all_stand, _CURTAIN_S, "not all nodes stood for election")
        self._tell(f"{self._total} requests begin to come in")
        self._submitting.start()
        if self._rule.outcomes is None:
            self._submitting.release()
        self._until(self._all_ended, None, "nothing was recorded, requested or elected")
        with self._witness.looking() as picture:
            self._tell(f"all {len(picture.ended)} outcomes are recorded")
        self._show(now=True)

    def _all_stand(self, picture: Picture) -> bool:
        return picture.leader is not None and picture.standing.issuperset(node.name for node in self._cast.nodes)

    def _all_ended(self, picture: Picture) -> bool:
        self._kill_when_due(picture)
        accepted = self._submitting.accepted
        answered = len(accepted) + len(self._submitting.refusals)
        return answered >= self._total and picture.ended.issuperset(accepted)

    def _until(self, reached: Callable[[Picture], bool], limit_s: float | None, otherwise: str) -> None:
        """Go on until `reached`; at most `limit_s` seconds in all, or as long as something moves."""
        started_s = self._clock.boottime()
        while True:
            with self._witness.looking() as picture:
                if reached(picture):
                    return
                self._tell_of_leaders(picture)
                self._moved_s = max(self._moved_s, picture.progressed_at_s or 0.0)
            if (failure := self._cast.failure()) is not None:
                raise DemoError(failure)
            now = self._clock.boottime()
            quiet_s, allowed_s = (now - self._moved_s, STALL_S) if limit_s is None else (now - started_s, limit_s)
            if quiet_s > allowed_s:
                raise DemoError(f"{otherwise} within {allowed_s:g} s; the logs of the nodes end:\n{self._cast.logs()}")
            self._show()
            self._listen()

    # ------------------------------------------------------------ the kill

    def _kill_when_due(self, picture: Picture) -> None:
        if self.kills or self._rule.outcomes is None or len(picture.ended) < self._rule.outcomes:
            return
        now = self._clock.boottime()
        self._due_since_s = self._due_since_s or now
        if self._rule.wants(picture, now - self._due_since_s):
            self._kill(picture)

    def _kill(self, picture: Picture) -> None:
        alive = {node.name: node for node in self._cast.nodes if not node.was_killed}
        answered = len(self._submitting.accepted) + len(self._submitting.refusals)
        if picture.leader is None or not may_be_killed(picture, alive, answered < self._total):
            return
        victim: NodeProcess = alive[picture.leader.node_id]
        at_s = self._clock.boottime()
        victim.kill()
        self.kills.append(Kill(victim.name, victim.pid, picture.leader.token, at_s, picture.running))
        self._tell(f"kill -9 {victim.pid}: {victim.name}, the leader, with {picture.running} jobs running", grave=True)
        self._submitting.release()

    # ------------------------------------------------------------ hear and show

    def _listen(self) -> None:
        """Wait for a message, a moment at most, and take all there are."""
        try:
            self._hear(self._inbox.get(timeout=_TICK_S))
            while True:
                self._hear(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _hear(self, message: Message) -> None:
        if isinstance(message, Signalled):
            raise Aborted(message.signum)
        if isinstance(message, KillAsked):
            with self._witness.looking() as picture:
                self._kill(picture)

    def _tell(self, text: str, *, grave: bool = False) -> None:
        self.news.append(News(self._clock.boottime() - self._began_s, text, grave))

    def _tell_of_leaders(self, picture: Picture) -> None:
        for change in picture.changes[self._told :]:
            kill = next((kill for kill in self.kills if successor(kill, picture.changes) is change), None)
            self._tell(describe(change, kill))
        self._told = len(picture.changes)

    def _leader_alive(self, picture: Picture) -> Leader | None:
        """The leader by its key, unless we know better than etcd yet: its key outlives it."""
        dead = {kill.token for kill in self.kills}
        return None if picture.leader is None or picture.leader.token in dead else picture.leader

    def _show(self, *, now: bool = False) -> None:
        at_s = self._clock.boottime()
        if not now and at_s - self._shown_s < _TICK_S:
            return
        self._shown_s = at_s
        accepted = len(self._submitting.accepted)
        with self._witness.looking() as picture:
            leader = self._leader_alive(picture)
            scene = Scene(
                elapsed_s=at_s - self._began_s,
                total=self._total,
                accepted=accepted,
                recorded=len(picture.ended),
                waiting=len(picture.waiting) - picture.running,
                running=picture.running,
                rate=picture.rate(at_s),
                leader=leader,
                vacant_s=at_s - self.kills[-1].at_s if self.kills and leader is None else None,
                nodes=describe_nodes(self._cast.nodes, picture),
                news=tuple(self.news),
                recent=tuple(picture.recent),
            )
        self._screen.show(scene)
