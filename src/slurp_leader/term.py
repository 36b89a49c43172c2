"""The value that joins election and jobs: one unbroken stretch of leadership.

A `Term` is handed out when a node has won and has proved it once (a keepalive and a fenced heartbeat). It carries

* the *token*, `mod_revision` of the leader key, which grows with every term and fences every write;
* the *trust window*: until when this node may act without asking again. It moves forward with each renewal and is
  compared with the clock at every use. There is no boolean that could go stale.

Two conditions make up the fence: the revision of the leader key, and its whole value. The value is unique to the term
(a random term id); it is compared too because restoring etcd from a snapshot rolls revisions back.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

from slurp_leader.clock import Clock
from slurp_leader.errors import LeadershipLostError
from slurp_leader.store import Compare, CompareOp, mod_revision, value_of

_BEAT_EVERY_S = 0.5
"""Pause between two beats of somebody who waits."""


class Trust:
    """Until when a term may be trusted, in boottime seconds. Written by the elector alone, read by anybody.

    Reading and writing one float is atomic in CPython, so there is no lock.
    """

    __slots__ = ("_pid", "until")

    def __init__(self) -> None:
        self.until = float("-inf")
        self._pid = os.getpid()

    def remaining_s(self, now: float) -> float:
        """Seconds of trust left. None in a child process: a fork copies the term, but nothing that renews or ends it,
        so parent and child would both act as the leader."""
        return max(0.0, self.until - now) if os.getpid() == self._pid else 0.0


class Progress:
    """When the loop that does the work of a term last proved that it moves, in boottime seconds."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = float("-inf")


@dataclass(frozen=True, slots=True)
class Term:
    """One holder's unbroken stretch of leadership. Safe to use from any thread.

    Attributes:
        election: Name of the election.
        token: `mod_revision` of the leader key: grows with every term of every election in this etcd.
        epoch: 1, 2, 3 ... for people. Never used for safety.
        node_id: Who leads in it.
        session: Which start of that node.
        term_id: Random, unique to the term.
        key: The leader key.
        value: All that stands there during the term.
        clock: What the trust window is compared with.
        trust: The window itself; ask `is_valid` or `remaining_s`.
        lost: Set when the term has ended. It may lag behind `is_valid`, which reads the clock.
        leaving: Set when the term will be given back, or has ended: begin nothing new, finish what is under way.
        progress: The newest `beat`.
    """

    election: str
    token: int
    epoch: int
    node_id: str
    session: str
    term_id: str
    key: bytes
    value: bytes
    clock: Clock = field(repr=False)
    trust: Trust = field(repr=False, default_factory=Trust)
    lost: threading.Event = field(repr=False, default_factory=threading.Event)
    leaving: threading.Event = field(repr=False, default_factory=threading.Event)
    progress: Progress = field(repr=False, default_factory=Progress)

    def remaining_s(self) -> float:
        """Seconds of trust left; 0 when the term must not be acted upon any more."""
        return self.trust.remaining_s(self.clock.boottime())

    @property
    def is_valid(self) -> bool:
        """Whether this node may act as leader right now."""
        return self.remaining_s() > 0

    @property
    def should_stop(self) -> bool:
        """Whether work of this term should come to its end: the term is to be given back, or is over."""
        return self.leaving.is_set() or not self.is_valid

    def wait(self, seconds: float) -> bool:
        """Wait until the term is to be given back or is over, at most this long. Who waits here is not stuck: it beats.

        Returns:
            `should_stop`: so ``while not term.wait(60): ...`` is a loop that ends with the term.
        """
        until = self.clock.boottime() + max(0.0, seconds)
        while (left_s := until - self.clock.boottime()) > 0 and not self.leaving.is_set():
            self.beat()
            self.leaving.wait(min(left_s, _BEAT_EVERY_S))
        self.beat()
        return self.should_stop

    def beat(self) -> None:
        """Say that the loop which does the work of this term moves. Costs a fraction of a microsecond.

        Matters where renewal depends on it: then a loop that does not beat for `election.stall_timeout` loses the term
        (see ``LeaderElection(needs_progress=True)``; the scheduler of jobs beats by itself).
        """
        self.progress.at = self.clock.boottime()

    def check(self) -> None:
        """Raise unless this node may act as leader right now.

        Raises:
            LeadershipLostError: The trust window is over. Whatever is under way has to stop.
        """
        if not self.is_valid:
            raise LeadershipLostError(f"the term of {self.node_id!r} with token {self.token} is over", token=self.token)

    def fence(self) -> tuple[Compare, Compare]:
        """The two compares that let a transaction through only while this term holds the leader key."""
        return (
            mod_revision(self.key, self.token),
            value_of(self.key, CompareOp.EQUAL, self.value),
        )
