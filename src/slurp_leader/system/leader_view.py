"""Who leads, and what changes that: ``system.leader``, ``election.control``, and what `LeaderObserver` is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slurp_leader.clock import Clock
from slurp_leader.election import ElectionKeys, ElectionOptions, LeaderInfo, Transferred, Wish
from slurp_leader.election.handover.wish import SteppedDown
from slurp_leader.election.history.entries import Entry
from slurp_leader.election.history.explain import Explanation
from slurp_leader.election.history.simulate import Simulation
from slurp_leader.election.observing.changes import WAITING_LIMIT, LeaderChanges
from slurp_leader.election.observing.observer import Observer, Sighting
from slurp_leader.election.operator import OperatorRecord
from slurp_leader.election.orders import Ordered, Orders
from slurp_leader.store import Store
from slurp_leader.system.aio import AsyncFace
from slurp_leader.system.connection import look

LEADER_VERBS = frozenset(
    {
        "block",
        "explain",
        "force",
        "freeze",
        "history",
        "orders",
        "pin",
        "require_version",
        "simulate",
        "step_down",
        "transfer",
        "unblock",
        "unfreeze",
        "unpin",
    }
)
"""What of it asks etcd each time, and so may wait."""


@dataclass(frozen=True, slots=True)
class Access:
    """How one election is reached from this process.

    Attributes:
        store: What is asked. Raises `LifecycleError` when nothing is started.
        observer: The observer of the election; opens its watch when first asked for. Raises `LifecycleError` too.
        keys: Of the election.
        options: Of the election.
        node_id: Of this process.
        clock: Source of time.
    """

    store: Callable[[], Store]
    observer: Callable[[], Observer]
    keys: ElectionKeys
    options: ElectionOptions
    node_id: str
    clock: Clock

    def look(self, timeout: float) -> Sighting:
        """Ask etcd who leads, linearizably, within so many seconds."""
        return look(self.store(), self.keys, self.clock, timeout)

    def orders(self) -> Orders:
        """What asks etcd about the election, and gives orders."""
        options = self.options
        return Orders(self.store(), self.keys, options.name, self.clock, options.rpc_timeout_s, self.node_id)

    def wish(self, by: str = "") -> Wish:
        """What asks the leader for a handover, on behalf of `by`; empty: of this process."""
        options = self.options
        return Wish(self.store(), self.keys, options.name, self.clock, options.rpc_timeout_s, by or self.node_id)


class LeaderView:
    """Who leads, who else stands, and how that came about, seen from anywhere. It changes nothing.

    Args:
        access: To the election.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def __repr__(self) -> str:
        return "<LeaderView: get, sighting, wait_for_leader, observe, history, explain>"

    def get(self, timeout: float = 5.0, *, fresh: bool = False) -> LeaderInfo | None:
        """Who leads, as last heard; None when nobody does, or when etcd did not say within `timeout` seconds.

        The first question opens a watch; the others are answered from memory. The answer says for which revision of
        etcd it is known to hold (`as_of`), and how long ago etcd was last heard (`age_s`, seconds).

        Args:
            timeout: Seconds.
            fresh: Ask etcd, linearizably, instead of answering from memory.

        Raises:
            StoreError: `fresh`, and etcd did not answer in time, or refused.
            LifecycleError: Not started.
        """
        seen = self.sighting(timeout, fresh=fresh)
        return seen.leader if seen else None

    def sighting(self, timeout: float = 5.0, *, fresh: bool = False) -> Sighting | None:
        """What `get` tells, and the same two figures where nobody leads. None when etcd did not say in time.

        Raises:
            StoreError, LifecycleError: As `get` does.
        """
        if fresh:
            return self._access.look(timeout)
        observer = self._access.observer()
        observer.wait_until_known(timeout)
        return observer.sighting

    def wait_for_leader(self, timeout: float | None = None) -> LeaderInfo:
        """Wait until anybody leads.

        Raises:
            NoLeaderError: Nobody did within `timeout` seconds, or before the end.
            LifecycleError: Not started.
        """
        return self._access.observer().wait_for_leader(timeout)

    def wait(self, timeout: float | None = None) -> LeaderInfo:
        """The shorter name of `wait_for_leader`."""
        return self.wait_for_leader(timeout)

    def observe(self, limit: int = WAITING_LIMIT) -> LeaderChanges:
        """Every change of leader from now on, vacancies too, in order and without loss, beginning with how things
        stand: ``for change in ...``, which blocks between them, or ``async for change in ...``, which does not.

        It ends at the end of what was started, or when etcd refuses it for good. After a time without etcd it goes on
        where it was. If etcd has compacted that away, the terms in between are read from what it still has; where there
        is nothing any more, `missed` of the next change counts them, or is None when nobody can.

        Args:
            limit: So many changes wait for a slow consumer, 1 or more; then the oldest are dropped, and `missed` of the
                next one says how many.

        Raises:
            ConfigurationError: `limit` is less than 1.
            LifecycleError: Not started.
        """
        return self._access.observer().observe(limit)

    def watch(self) -> LeaderChanges:
        """The older name of `observe`."""
        return self.observe()

    def history(self, limit: int = 20) -> list[Entry]:
        """How the newest terms came about, and what operators ordered, the newest first.

        Of each term: who stood, with which score, what stood against whom, how long the winner let others go first, and
        who and why. 100 elections and 100 orders are kept. Records that cannot be read are left out.

        Args:
            limit: So many entries at most.

        Raises:
            StoreError: etcd did not answer.
            LifecycleError: Not started.
        """
        entries, _ = self._access.orders().history()
        return entries[::-1][:limit]

    def explain(self, node_id: str | None = None, *, epoch: int | None = None) -> Explanation:
        """Why a node leads, or does not: one plain sentence (``sentence``), what else may matter (``notes``), and the
        candidates with their scores and what stands against them (``rows``).

        Args:
            node_id: Which; None: this one, "why not me?".
            epoch: Of an earlier term; None: how things stand.

        Raises:
            NoLeaderError: Nothing is remembered of that epoch.
            StoreError, LifecycleError: As for `history`.
        """
        return self._access.orders().explain(
            node_id or self._access.node_id, rank_wait_s=self._access.options.rank_wait_s, epoch=epoch
        )

    def simulate(self, weights: str | Mapping[str, float] = "") -> Simulation:
        """Who would go first if an election were held now, with other weights of the score. Changes nothing.

        Args:
            weights: Such as ``{"network": 0.5, "capability": 0}``, or as text ``"network=0.5, capability=0"``; what is
                not named stays as it is in force.

        Raises:
            ConfigurationError: These are no weights, or they do not sum to 1.
            StoreError, LifecycleError: As for `history`.
        """
        text = weights if isinstance(weights, str) else ",".join(f"{name}={each!r}" for name, each in weights.items())
        return self._access.orders().simulate(text, rank_wait_s=self._access.options.rank_wait_s)

    def orders(self) -> OperatorRecord:
        """What operators have ordered, and is in force.

        Raises:
            StoreError, LifecycleError: As for `history`.
        """
        return self._access.orders().situation().operator


class LeaderControl(LeaderView):
    """The same, and what changes who leads: for operators, from any process.

    Orders (freeze, pin, block, require a version) are records in etcd: in force from the moment the call returns, while
    nobody leads as well, and under every later leader, until they are taken back. Each says who gave it (`by`; unset:
    ``node.id`` of this process) and why, and stands in the history; so does a wish for a handover that was met. When
    they contradict each other: block, freeze, pin, then scores.
    Each order raises:

    * ConfigurationError: A name or a reason cannot be written down. Nothing was ordered.
    * StoreError: etcd did not answer; `outcome` says whether the order may be in force. It can be repeated.
    * LifecycleError: Not started.

    Args:
        access: To the election.
    """

    def __init__(self, access: Access) -> None:
        super().__init__(access)
        self.aio = AsyncFace(
            lambda name: getattr(self, name), LEADER_VERBS | {"get", "sighting", "wait", "wait_for_leader"}
        )
        """The verbs that wait, awaited: ``await election.control.aio.explain()``."""

    def __repr__(self) -> str:
        return "<LeaderControl: get, observe, history, explain, transfer, step_down, freeze, pin, block, force ...>"

    def transfer(
        self, to: str | None = None, *, why: str = "", by: str = "", dry_run: bool = False, timeout: float = 30.0
    ) -> Transferred:
        """Have the lead handed over to another node, without a moment in which nobody leads. From any process.

        Jobs in flight are not interrupted: the old leader ends them, while the new one claims what comes next. Periodic
        runs that have begun end first, while the old one still leads; it waits for them up to its
        ``election.stop_timeout``.

        Args:
            to: Node id of the successor; None: the best candidate.
            why: For people; it stands in the history of the next term.
            by: Who wishes it, for the history; empty: ``node.id`` of this process.
            dry_run: Only tell who would be asked first. Nothing is written.
            timeout: Seconds to wait until the successor leads: until periodic runs have ended, it has proved its term,
                and its hooks agree.

        Raises:
            NoLeaderError: Nobody leads.
            HandoverError: It was not handed over, or the successor refused it (``vetoed``); `reason` says why,
                `outcome` whether it still may be.
            StoreError: etcd did not answer, or refused. `outcome` says whether the wish may stand all the same.
            LifecycleError: Not started.
        """
        return self._access.wish(by).transfer(to, why, timeout, dry_run=dry_run)

    def step_down(self, why: str = "", timeout: float = 60.0, *, by: str = "") -> SteppedDown:
        """Have the leader hand over to whoever can take over; where nobody can, give the term back. From any process.

        Args:
            why: For people.
            timeout: Seconds to wait. Periodic runs that have begun end first, and where nobody can take over, all that
                the leader has in flight.
            by: Who wishes it, for the history; empty: ``node.id`` of this process.

        Raises:
            NoLeaderError: Nobody leads.
            HandoverError: It goes on leading; `reason` says why, such as a frozen election in which nobody can take
                over. ``timeout`` with `outcome` UNKNOWN: it may still do it. A leader that does not answer at all is
                for `force`.
            StoreError: etcd did not answer, or refused. `outcome` says whether the wish may stand all the same.
            LifecycleError: Not started.
        """
        return self._access.wish(by).step_down(why, timeout)

    def freeze(self, why: str = "", *, by: str = "") -> Ordered:
        """Hold no new election until `unfreeze`. Who leads goes on leading, and may hand over; if it dies, nobody
        leads."""
        return self._access.orders().on_behalf_of(by).freeze(why)

    def unfreeze(self, why: str = "", *, by: str = "") -> Ordered:
        """Hold elections again."""
        return self._access.orders().on_behalf_of(by).unfreeze(why)

    def pin(self, node_id: str, why: str = "", *, by: str = "") -> Ordered:
        """Let this node lead whenever it stands and is fit: whoever else leads hands over to it. While it is away or
        unfit, others lead."""
        return self._access.orders().on_behalf_of(by).pin(node_id, why)

    def unpin(self, why: str = "", *, by: str = "") -> Ordered:
        """Prefer no node any more. Who leads goes on leading."""
        return self._access.orders().on_behalf_of(by).unpin(why)

    def block(self, node_id: str, why: str = "", *, by: str = "") -> Ordered:
        """Keep a node from leading until `unblock`. If it leads, it hands over; where nobody can take over, it gives
        the term back, and nobody leads."""
        return self._access.orders().on_behalf_of(by).block(node_id, why)

    def unblock(self, node_id: str, why: str = "", *, by: str = "") -> Ordered:
        """Let a node lead again."""
        return self._access.orders().on_behalf_of(by).unblock(node_id, why)

    def require_version(self, version: str, why: str = "", *, by: str = "") -> Ordered:
        """Prefer nodes of this version of the library or newer, as in ``1.4``: older ones go last, and an older leader
        hands over to a newer node. Empty: any version will do."""
        return self._access.orders().on_behalf_of(by).require_version(version, why)

    def force(self, to: str = "", *, why: str = "", by: str = "") -> Ordered:
        """End the term in force at once, without asking its leader: for one that does not answer. See `Orders.force`
        for what that costs; `step_down` and `transfer` cost nothing.

        Args:
            to: Node id that goes first in the election that follows; empty: any but the one that led.
            why: For people.

        Raises:
            NoLeaderError: Nobody leads, and no `to` was named.
            OrderRefusedError: It makes no sense as things stand; `reason` says why. Nothing was done.
        """
        return self._access.orders().on_behalf_of(by).force(to, why)


def describe_leader(info: LeaderInfo | None) -> dict[str, Any] | None:
    """A leader as plain data."""
    if info is None:
        return None
    record = info.record
    return {
        "node_id": info.node_id,
        "token": info.token,
        "epoch": record.epoch if record else None,
        "endpoint": record.endpoint if record else None,
        "session": record.session if record else None,
        "readable": record is not None,
    }
