"""Giving orders to an election, from any process: freeze, pin, block, force, and what takes each of them back.

An order is one transaction: it changes ``control/operator``, compares the revision of what it was made from, and writes
who gave it and why into the history. It is in force from that very revision on, since whoever takes the key compares
the record too. So nothing here waits for a leader, and orders work while nobody leads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from slurp_leader.clock import Clock, format_utc
from slurp_leader.election.commands import about
from slurp_leader.election.history.entries import (
    KEPT,
    ActionRecord,
    Entry,
    HistoryRecord,
    action_key,
    action_keys,
    read_entries,
)
from slurp_leader.election.history.explain import Explanation, explain
from slurp_leader.election.history.simulate import Simulation, simulate
from slurp_leader.election.history.situation import Ask, Situation, look_at
from slurp_leader.election.operator import Forced, OperatorRecord
from slurp_leader.election.ranking.eligible import Cause, eligible
from slurp_leader.election.ranking.scoring import parse_weights
from slurp_leader.election.records import ElectionKeys
from slurp_leader.errors import ConfigurationError, NoLeaderError, OrderRefusedError, StoreError
from slurp_leader.orders import Order
from slurp_leader.store import Delete, Get, Put, Request, Store, Txn, TxnResult, mod_revision, prefix_end
from slurp_leader.store.keyspace import key_segment
from slurp_leader.store.repeat import asks_until, until_definite
from slurp_leader.store.requests import Compare, Operation

_LONGEST_WHY = 500
_LONGEST_BY = 200


@dataclass(frozen=True, slots=True)
class Ordered:
    """What became of an order.

    Attributes:
        action: What was ordered.
        orders: All that is in force now.
        revision: Since which; of an order that was in force already, when it was read.
        changed: Whether it changed anything.
    """

    action: str
    orders: OperatorRecord
    revision: int
    changed: bool = True


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An order that was decided on: the new record, and what else happens in the transaction."""

    orders: OperatorRecord
    what: str = ""
    compares: tuple[Compare, ...] = ()
    more: tuple[Operation, ...] = ()


class Orders:
    """Gives orders for one election. Blocks; safe to use from any thread.

    Each order raises:
        ConfigurationError: A name or a reason cannot be written down. Nothing was ordered.
        OrderRefusedError: A later version of this library wrote what is ordered. Nothing was ordered.
        StoreError: etcd did not answer within `timeout_s`; `outcome` says whether the order may be in force: where only
            the look before it failed, it is not. It can be repeated: an order that is in force already changes nothing.

    Args:
        store: Where calls go.
        keys: Of the election.
        election: Its name.
        clock: Source of time, and of dates for people.
        rpc_timeout_s: Deadline of one call.
        by: Who orders, for people.
        timeout_s: Longest time for one order, in seconds.
    """

    def __init__(
        self,
        store: Store,
        keys: ElectionKeys,
        election: str,
        clock: Clock,
        rpc_timeout_s: float,
        by: str,
        timeout_s: float = 30.0,
    ) -> None:
        self._store = store
        self._keys = keys
        self._election = election
        self._clock = clock
        self._rpc_timeout_s = rpc_timeout_s
        self._by = by[:_LONGEST_BY]
        self._timeout_s = timeout_s

    def on_behalf_of(self, by: str) -> Orders:
        """The same, but it is `by` who orders; empty: as before."""
        who = by or self._by
        return Orders(self._store, self._keys, self._election, self._clock, self._rpc_timeout_s, who, self._timeout_s)

    # ------------------------------------------------------------ orders

    def freeze(self, why: str = "") -> Ordered:
        """Hold no new election; who leads goes on leading, and may still hand over."""
        return self._order("freeze", why, lambda now, order: _Wanted(now.operator.freeze(order)))

    def unfreeze(self, why: str = "") -> Ordered:
        """Hold elections again."""
        return self._order("unfreeze", why, lambda now, _order: _Wanted(now.operator.unfreeze()))

    def pin(self, node_id: str, why: str = "") -> Ordered:
        """Let this node lead whenever it stands and is fit; whoever else leads hands over to it."""
        name = _node(node_id)
        return self._order("pin", why, lambda now, order: _Wanted(now.operator.pin(name, order), name))

    def unpin(self, why: str = "") -> Ordered:
        """Prefer no node any more."""
        return self._order("unpin", why, lambda now, _order: _Wanted(now.operator.unpin(), now.operator.pinned_to))

    def block(self, node_id: str, why: str = "") -> Ordered:
        """Keep a node from leading. If it leads, it hands over; where nobody can take over, it gives the term back."""
        name = _node(node_id)
        return self._order("block", why, lambda now, order: _Wanted(now.operator.block(name, order), name))

    def unblock(self, node_id: str, why: str = "") -> Ordered:
        """Let a node lead again."""
        name = _node(node_id)
        return self._order("unblock", why, lambda now, _order: _Wanted(now.operator.unblock(name), name))

    def require_version(self, version: str, why: str = "") -> Ordered:
        """Let nodes of an older version go last, and an older leader hand over to a newer one; empty: any will do."""
        name = _version(version)
        return self._order(
            "require_version", why, lambda now, order: _Wanted(now.operator.require_version(name, order), name)
        )

    def force(self, to: str = "", why: str = "") -> Ordered:
        """End the term in force at once, without asking its leader, and say who goes first in the next election.

        For a leader that does not answer. What it has under way is interrupted, and runs again elsewhere. Until it
        notices, it may go on acting for a moment, by a clock that nobody else can see: its writes through the fence are
        refused, but what it does elsewhere is not (PROTOCOL A1). `transfer` and `step_down` do not have this gap.

        Args:
            to: Node id that goes first; empty: any but the one that led.
            why: For people.

        Raises:
            OrderRefusedError: Nothing was done: the election is frozen, so that nobody would follow; `to` is blocked,
                does not stand, or leads already; the lead is pinned to another; the term ended by itself meanwhile.
            NoLeaderError: Nobody leads, and no `to` was named: there is nothing to force.
        """
        name = _node(to) if to else ""
        meant: list[int] = []  # the token seen first: no other term is ended in its place (A24)

        def decide(now: Situation, order: Order) -> _Wanted:
            token = now.leader.mod_revision if now.leader is not None else 0
            meant.append(token)
            if token != meant[0]:
                raise OrderRefusedError("the term that was to be ended is over; see who leads now", reason="changed")
            return self._forced(now, name, order)

        return self._order("force", why, decide)

    def _forced(self, now: Situation, to: str, order: Order) -> _Wanted:
        orders = now.operator
        if now.leader is None and not to:
            raise NoLeaderError(f"nobody leads the election {self._election!r}: there is no term to end")
        if orders.frozen is not None:
            raise OrderRefusedError(
                f"the election is frozen {orders.frozen}: nobody would follow; unfreeze it first", reason="frozen"
            )
        if to in orders.blocked:
            raise OrderRefusedError(f"{to} is blocked {orders.blocked[to]}; unblock it first", reason="blocked")
        if to and to not in {each.node_id for each in now.candidates}:
            raise OrderRefusedError(f"{to} does not stand in the election {self._election!r}", reason="unknown")
        if to and now.record is not None and now.record.node_id == to:
            raise OrderRefusedError(f"{to} leads already", reason="itself")
        rules = now.own_rules()
        judged = [eligible(each, rules(each)) for each in now.candidates if each.node_id == to]
        if judged and all(Cause.PINNED_ELSEWHERE in verdict.causes for verdict in judged):
            raise OrderRefusedError(
                f"the lead is pinned to {orders.pinned_to} {orders.pinned}; unpin it first", reason="pinned_elsewhere"
            )
        forced = Forced(now.epoch, to, now.record.session if now.record is not None else "", order)
        leader = now.leader
        compares = (mod_revision(self._keys.leader, leader.mod_revision if leader else 0),)
        more: tuple[Operation, ...] = (Delete(self._keys.leader), Delete(self._keys.transfer)) if leader else ()
        return _Wanted(orders.force(forced), to, compares, more)

    # ------------------------------------------------------------ questions

    def situation(self) -> Situation:
        """How the election stands."""
        return look_at(self._ask, self._keys)

    def explain(self, node_id: str, *, rank_wait_s: float, epoch: int | None = None) -> Explanation:
        """Why a node leads, or does not.

        Args:
            node_id: Which.
            rank_wait_s: `ElectionOptions.rank_wait`, in seconds.
            epoch: Of an earlier term; None: how things stand.

        Raises:
            NoLeaderError: Nothing is remembered of that epoch.
            StoreError: etcd did not answer.
        """
        entries, _ = self.history()
        situation = self.situation()
        record = next((each for each in entries if isinstance(each, HistoryRecord) and each.epoch == epoch), None)
        if epoch is not None and record is None:
            raise NoLeaderError(f"nothing is remembered of epoch {epoch} of the election {self._election!r}")
        told = explain(node_id, situation, entries, rank_wait_s=rank_wait_s, record=record)
        return told.hinted(partial(about, self._election))

    def simulate(self, weights: str, *, rank_wait_s: float) -> Simulation:
        """Who would go first if an election were held now, with other weights. Changes nothing.

        Args:
            weights: As `parse_weights` takes them; what is not named stays as it is in force.
            rank_wait_s: `ElectionOptions.rank_wait`, in seconds.

        Raises:
            ConfigurationError: These are no weights.
            StoreError: etcd did not answer.
        """
        now = self.situation()
        rules = now.own_rules(gave_up="")  # an election among all, also who leads
        in_force = (rules, now.weights)
        tried = parse_weights(weights, now.weights)
        return simulate(now.candidates, rules, tried, rank_wait_s=rank_wait_s, leader=now.record, in_force=in_force)

    def history(self) -> tuple[list[Entry], int]:
        """Elections and orders, the oldest first, and how many records could not be read."""
        return read_entries(self._history_kvs(self._ask))

    def _history_kvs(self, ask: Ask) -> tuple[Any, ...]:
        kvs: list[Any] = []
        key = self._keys.history
        while True:
            page = ask(Get(key, prefix_end(self._keys.history), limit=_PAGE))
            kvs += page.kvs
            if not page.more:
                return tuple(kvs)
            key = page.kvs[-1].key + b"\0"

    # ------------------------------------------------------------ one order

    def _order(self, action: str, why: str, decide: Callable[[Situation, Order], _Wanted]) -> Ordered:
        """Decide on how things stand, and write that; again from the start when somebody else was first."""
        if len(why) > _LONGEST_WHY:
            raise ConfigurationError(f"why has {len(why)} characters; {_LONGEST_WHY} at most", field="why")
        deadline = self._clock.boottime() + self._timeout_s
        order = Order(self._by, why, format_utc(self._clock.utcnow()))
        while True:
            now = look_at(self._asks_until(deadline), self._keys)  # an etcd that is away is told of at once
            if now.operator_is_later:  # to write over it would undo all that is ordered
                raise OrderRefusedError(
                    "a later version of slurp_leader wrote the orders in force: give orders with that version",
                    reason="later_version",
                )
            wanted = decide(now, order)
            if not wanted.more and _means_the_same(wanted.orders, now.operator) and not now.operator_problem:
                return Ordered(action, now.operator, now.revision, changed=False)
            done = self._write(action, now, wanted, order, deadline)
            if done is not None:
                return done
            if self._clock.boottime() >= deadline:
                raise OrderRefusedError("others give orders all the time; try again", reason="busy")

    def _write(self, action: str, now: Situation, wanted: _Wanted, order: Order, deadline: float) -> Ordered | None:
        """The same transaction until it is definite (A2). None: what it was made from has changed meanwhile."""
        keys = self._keys
        entry = action_key(keys, now.epoch, secrets.token_hex(8))
        record = ActionRecord(action, now.epoch, order.by, order.why, order.at, wanted.what)
        txn = Txn(
            compares=(mod_revision(keys.operator, now.operator_revision), *wanted.compares),
            success=(
                Put(keys.operator, wanted.orders.to_value()),
                Put(entry, record.to_value()),
                *wanted.more,
            ),
            failure=(Get(entry), Get(keys.operator)),
        )
        ask = self._asks_until(deadline)
        result: TxnResult = until_definite(lambda: ask(txn), self._clock, deadline)
        if result.succeeded:
            self._make_room(deadline)
            return Ordered(action, wanted.orders, result.header.revision)
        own = result.results[0].kvs  # type: ignore[union-attr]  # the first read of the branch
        return Ordered(action, wanted.orders, own[0].mod_revision) if own else None

    def _make_room(self, deadline: float) -> None:
        """The oldest actions beyond `KEPT` go. Nothing depends on it: a later order does it anew."""
        ask = self._asks_until(deadline)
        try:
            actions = action_keys(self._history_kvs(ask))
            for key in actions[: max(0, len(actions) - KEPT)][:_PAGE]:
                ask(Delete(key))
        except StoreError:
            pass

    def _asks_until(self, deadline: float) -> Ask:
        return asks_until(self._store, self._rpc_timeout_s, self._clock, deadline)

    def _ask(self, request: Request[Any]) -> Any:
        return self._store.call(request, self._rpc_timeout_s).result()


_PAGE = 64


def _means_the_same(one: OperatorRecord, other: OperatorRecord) -> bool:
    """Whether two records order the same, whoever ordered it, and why."""
    return one.without_words() == other.without_words()


def _node(node_id: str) -> str:
    return key_segment("node_id", node_id)


def _version(text: str) -> str:
    if text and (len(text) > 64 or not text[0].isdigit()):
        raise ConfigurationError(f"version {text!r:.80}: as in 1.4.2, or empty for any", field="version")
    return text
