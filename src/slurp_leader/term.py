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

from pydantic_core import to_json

from slurp_leader.clock import Clock
from slurp_leader.errors import LeadershipLostError, RecordError
from slurp_leader.forks import set_in_child
from slurp_leader.store import Compare, CompareOp, mod_revision, value_of
from slurp_leader.store.records import SCHEMA, read_object

_LONGEST_GRANT_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a term that was handed over leaves behind, under ``m/grant/{token}``: the right of its old leader to end
    what it had under way. Nothing else may be written under it, and only while the record stands (PROTOCOL C, A25).

    Attributes:
        session: Of the old leader. When its session key is gone, nobody will end anything under the grant.
        node_id: Who that was, for people.
        nonce: Random, unique to the handover; so the value is never the same twice.
        longest_s: How long whoever leads honours it, counted by its own clock from when it began to lead.
    """

    session: str
    node_id: str
    nonce: str
    longest_s: float

    def to_value(self) -> bytes:
        return to_json(
            {
                "schema": SCHEMA,
                "session": self.session,
                "node": self.node_id,
                "nonce": self.nonce,
                "longest_s": self.longest_s,
            }
        )

    @classmethod
    def from_value(cls, key: bytes, value: bytes) -> Grant:
        """Read a grant.

        Raises:
            RecordError: Corrupt, forged, or of another schema version.
        """
        data = read_object(key, value)
        session, node_id, nonce, longest_s = (data.get(name) for name in ("session", "node", "nonce", "longest_s"))
        texts = (session, node_id, nonce)
        if not all(isinstance(text, str) for text in texts) or not isinstance(longest_s, int | float):
            name = key.decode("ascii", "replace")
            raise RecordError(f"{name}: not a grant", key=name)
        return cls(str(session), str(node_id), str(nonce), float(min(max(0.0, longest_s), _LONGEST_GRANT_S)))


@dataclass(frozen=True, slots=True)
class Lent:
    """The grant of a term that this node handed over, as it stands in etcd.

    Attributes:
        key, value, revision: Its record. All three are compared by whatever is written under it.
        begin_until: Claimed work may still begin until then, in boottime seconds: the trust that was proved before the
            handover. So long this node's lease lives for sure, and with it the grant.
        end_by: When the last work under it has to be written down, in boottime seconds: counted from before the
            handover was sent, so it is never later than the deadline of the successor.
    """

    key: bytes
    value: bytes
    revision: int
    begin_until: float
    end_by: float


_BEAT_EVERY_S = 0.5
"""Pause between two beats of somebody who waits."""


class Trust:
    """Until when a term may be trusted, in boottime seconds. Written by the elector alone, read by anybody.

    Reading and writing one attribute is atomic in CPython, so there is no lock.

    Attributes:
        until: When this node stops to be the leader.
        changing_hands: The term is being handed over: trusted no more, but what runs goes on until that is decided.
        lent: The grant, once the term was handed over with work under way.
        refusals: How often `Term.check` has refused. Several at once may count as one.
    """

    __slots__ = ("_pid", "changing_hands", "lent", "refusals", "until")

    def __init__(self) -> None:
        self.until = float("-inf")
        self.changing_hands = False
        self.lent: Lent | None = None
        self.refusals = 0
        self._pid = os.getpid()

    @property
    def is_ours(self) -> bool:
        """Whether this very process has the term; a forked child has a copy, but nothing that renews or ends it."""
        return os.getpid() == self._pid

    def remaining_s(self, now: float) -> float:
        """Seconds of trust left. None in a child process: a fork copies the term, but nothing that renews or ends it,
        so parent and child would both act as the leader."""
        return max(0.0, self.until - now) if self.is_ours else 0.0


class Progress:
    """When the loop that does the work of a term last proved that it moves, in boottime seconds."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = float("-inf")


def _new_end() -> threading.Event:
    return set_in_child(threading.Event())


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
        lost: Set when the term has ended. It may lag behind `is_valid`, which reads the clock. Set in a forked child.
        leaving: Set when the term will be given back, or has ended: begin nothing new, finish what is under way. Set in
            a forked child.
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
    lost: threading.Event = field(repr=False, default_factory=_new_end)
    leaving: threading.Event = field(repr=False, default_factory=_new_end)
    progress: Progress = field(repr=False, default_factory=Progress)

    def remaining_s(self) -> float:
        """Seconds of trust left; 0 when the term must not be acted upon any more."""
        return self.trust.remaining_s(self.clock.boottime())

    @property
    def is_valid(self) -> bool:
        """Whether this node may act as leader right now."""
        return self.remaining_s() > 0

    @property
    def may_begin(self) -> bool:
        """Whether work claimed under this term may begin: the term is in force, or was just handed over with it."""
        lent = self.trust.lent
        return self.is_valid or (lent is not None and self.trust.is_ours and self.clock.boottime() < lent.begin_until)

    @property
    def may_go_on(self) -> bool:
        """Whether work under way may go on: the term is in force, is changing hands, or was handed over.

        Of a term that was handed over, the end of the grant is told to each run (I4).
        """
        trust = self.trust
        return self.is_valid or (trust.is_ours and (trust.changing_hands or trust.lent is not None))

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
            self.trust.refusals += 1
            raise LeadershipLostError(f"the term of {self.node_id!r} with token {self.token} is over", token=self.token)

    def fence(self) -> tuple[Compare, Compare]:
        """The two compares that let a transaction through only while this term holds the leader key."""
        return (
            mod_revision(self.key, self.token),
            value_of(self.key, CompareOp.EQUAL, self.value),
        )
