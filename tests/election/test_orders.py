"""Giving orders to an election: one transaction each, in force from its own revision on, and told of in the history."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.election import ElectionKeys
from slurp_leader.election.history.entries import KEPT, ActionRecord, action_key
from slurp_leader.election.operator import Forced, OperatorRecord, read_operator
from slurp_leader.election.orders import Ordered, Orders
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.scoring import ScoreInputs
from slurp_leader.election.records import LeaderRecord, epoch_value
from slurp_leader.errors import (
    ConfigurationError,
    NoLeaderError,
    OrderRefusedError,
    Outcome,
    SlurpLeaderError,
    StoreDeniedError,
    StoreTimeoutError,
)
from slurp_leader.orders import Order
from slurp_leader.store import Delete, Get, Grant, Put, Request, Store, Txn, prefix_end
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.store.memory import MemoryStore
from support.calls import do, get, put

SHORT_S = 0.05
_ORDER = Order("earlier", "before", "2026-01-01T00:00:00Z")


def keys_of(keyspace: Keyspace) -> ElectionKeys:
    return ElectionKeys.of(keyspace, "slurp")


def orders_of(store: Store, keyspace: Keyspace, by: str = "ops", **more: float) -> Orders:
    return Orders(store, keys_of(keyspace), "slurp", SystemClock(), more.pop("rpc_timeout_s", 5.0), by, **more)


def in_force(store: Store, keyspace: Keyspace) -> OperatorRecord:
    record, problem = read_operator(get(store, keys_of(keyspace).operator))
    assert not problem
    return record


def a_leader(store: Store, keyspace: Keyspace, node_id: str = "a", *others: str) -> int:
    """Somebody leads, and these stand. Returns the token."""
    keys = keys_of(keyspace)
    lease = do(store, Grant(4711, 60)).lease_id
    for each in (node_id, *others):
        candidate = Candidate(each, f"s-{each}", lease, 60)
        do(store, Put(keys.candidate(candidate.session), candidate.to_value(), lease=lease))
    do(store, Put(keys.epoch, epoch_value(7)))
    record = LeaderRecord(node_id, f"s-{node_id}", "ab" * 16, 60, 7)
    return do(store, Put(keys.leader, record.to_value(), lease=lease)).header.revision


def gives_an_order(request: Request[object]) -> bool:
    return isinstance(request, Txn) and bool(request.compares)


EACH: list[tuple[str, Callable[[Orders], Ordered], str]] = [
    ("freeze", lambda orders: orders.freeze("why"), ""),
    ("unfreeze", lambda orders: orders.unfreeze("why"), ""),
    ("pin", lambda orders: orders.pin("b", "why"), "b"),
    ("unpin", lambda orders: orders.unpin("why"), "p"),
    ("block", lambda orders: orders.block("b", "why"), "b"),
    ("unblock", lambda orders: orders.unblock("x", "why"), "x"),
    ("require_version", lambda orders: orders.require_version("1.4", "why"), "1.4"),
    ("force", lambda orders: orders.force("b", "why"), "b"),
]


@pytest.mark.parametrize(("action", "give", "what"), EACH, ids=[each[0] for each in EACH])
def test_each_order_tells_the_history_who_gave_it_and_why(
    memory_store: MemoryStore, keyspace: Keyspace, action: str, give: Callable[[Orders], Ordered], what: str
) -> None:
    before = OperatorRecord().block("x", _ORDER).pin("p", _ORDER)
    if action == "unfreeze":
        before = before.freeze(_ORDER)
    put(memory_store, keys_of(keyspace).operator, before.to_value())
    a_leader(memory_store, keyspace, "a", "b")
    done = give(orders_of(memory_store, keyspace))
    assert done.changed
    assert done.action == action
    assert in_force(memory_store, keyspace) == done.orders
    [entry], unreadable = orders_of(memory_store, keyspace).history()
    assert isinstance(entry, ActionRecord)
    assert (entry.action, entry.by, entry.why, entry.what, entry.epoch) == (action, "ops", "why", what, 7)
    assert (entry.revision, unreadable) == (done.revision, 0)


def test_a_force_of_an_earlier_term_is_not_in_force_and_is_gone_with_the_next_order(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    spent = OperatorRecord().force(Forced(6, "a", "s-b", _ORDER)).pin("p", _ORDER)
    put(memory_store, keys_of(keyspace).operator, spent.to_value())
    a_leader(memory_store, keyspace, "a", "b")
    orders = orders_of(memory_store, keyspace)
    now = orders.situation().operator
    assert (now.forced, now.pinned_to) == (None, "p")
    assert orders.block("x").orders.forced is None
    assert in_force(memory_store, keyspace).forced is None
    assert orders.force("b").orders.forced is not None
    assert orders.situation().operator.forced is not None


def test_orders_add_up_and_are_taken_back_one_by_one(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    orders = orders_of(memory_store, keyspace)
    orders.freeze()
    orders.pin("a")
    orders.block("b")
    orders.block("c")
    orders.unblock("b")
    orders.unfreeze()
    now = in_force(memory_store, keyspace)
    assert (now.frozen, now.pinned_to, set(now.blocked)) == (None, "a", {"c"})


def test_an_order_that_is_in_force_already_changes_nothing(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    first = orders_of(memory_store, keyspace, "first").freeze("one")
    again = orders_of(memory_store, keyspace, "second").freeze("two")
    assert (first.changed, again.changed) == (True, False)
    assert in_force(memory_store, keyspace).frozen == first.orders.frozen
    assert len(orders_of(memory_store, keyspace).history()[0]) == 1


@pytest.mark.parametrize("at_once", [False, True])
def test_an_order_whose_answer_was_lost_is_given_once(
    memory_store: MemoryStore, keyspace: Keyspace, at_once: bool
) -> None:
    orders = orders_of(memory_store, keyspace, rpc_timeout_s=0.2)
    memory_store.faults.lose_answer(when=gives_an_order, at_once=at_once)
    done = orders.block("b", "why")
    assert done.changed
    assert done.revision == get(memory_store, keys_of(keyspace).operator).mod_revision  # type: ignore[union-attr]
    assert len(orders.history()[0]) == 1


def test_an_order_that_never_arrived_is_sent_again(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    memory_store.faults.lose_request(when=gives_an_order, at_once=True, count=3)
    orders_of(memory_store, keyspace).freeze()
    assert in_force(memory_store, keyspace).frozen is not None


def test_without_an_answer_in_time_it_is_said_that_the_order_may_be_in_force(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    orders = orders_of(memory_store, keyspace, rpc_timeout_s=SHORT_S, timeout_s=0.2)
    memory_store.faults.lose_answer(count=1000, when=gives_an_order)
    with pytest.raises(StoreTimeoutError) as caught:
        orders.freeze()
    assert caught.value.outcome is Outcome.UNKNOWN


def test_where_only_the_look_before_it_fails_the_order_is_known_not_to_be_in_force(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    orders = orders_of(memory_store, keyspace, rpc_timeout_s=SHORT_S)
    memory_store.faults.lose_request(when=lambda request: not gives_an_order(request))
    with pytest.raises(StoreTimeoutError) as caught:
        orders.freeze()
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert in_force(memory_store, keyspace).frozen is None


def test_no_call_of_an_order_is_given_longer_than_the_order_itself(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    class Watched:
        def __init__(self) -> None:
            self.given: list[float] = []

        def call(self, request: Request[object], timeout_s: float) -> object:
            self.given.append(timeout_s)
            return memory_store.call(request, timeout_s)

    store = Watched()
    orders_of(store, keyspace, timeout_s=2.0).freeze()  # type: ignore[arg-type]  # only calls are made
    assert len(store.given) > 2
    assert max(store.given) <= 2.0


def test_two_who_order_at_once_are_both_obeyed(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    names = [f"node-{number}" for number in range(8)]
    threads = [
        threading.Thread(target=orders_of(memory_store, keyspace, name).block, args=(name,), daemon=True)
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(in_force(memory_store, keyspace).blocked) == set(names)
    assert len(orders_of(memory_store, keyspace).history()[0]) == 8


def test_a_record_that_cannot_be_read_is_replaced_by_the_next_order(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    put(memory_store, keys_of(keyspace).operator, b"\xff\x00")
    orders = orders_of(memory_store, keyspace)
    assert orders.situation().operator_problem
    assert orders.unfreeze().changed
    assert in_force(memory_store, keyspace) == OperatorRecord()


@pytest.mark.parametrize(
    ("give", "field"),
    [
        (lambda orders: orders.pin(""), "node_id"),
        (lambda orders: orders.block("a/b"), "node_id"),
        (lambda orders: orders.unblock("x" * 200), "node_id"),
        (lambda orders: orders.force("a b"), "node_id"),
        (lambda orders: orders.require_version("newest"), "version"),
        (lambda orders: orders.require_version("1" * 100), "version"),
        (lambda orders: orders.freeze("w" * 501), "why"),
    ],
)
def test_what_cannot_be_written_down_is_refused_by_name(
    memory_store: MemoryStore, keyspace: Keyspace, give: Callable[[Orders], Ordered], field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        give(orders_of(memory_store, keyspace))
    assert caught.value.field == field
    assert get(memory_store, keys_of(keyspace).operator) is None


def test_an_order_keeps_what_a_later_version_ordered_beside(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    later = {"schema": 1, "quiet_hours": {"from": "22:00"}, "blocked": {"x": {"by": "ops", "until": "friday"}}}
    put(memory_store, keys_of(keyspace).operator, json.dumps(later).encode())
    orders = orders_of(memory_store, keyspace)
    orders.block("b")
    orders.pin("a")
    orders.unblock("b")
    stands = get(memory_store, keys_of(keyspace).operator)
    assert stands is not None
    now = json.loads(stands.value)
    assert now.pop("pinned")["node"] == "a"
    assert now["blocked"]["x"].items() >= later["blocked"]["x"].items()
    assert {**now, "blocked": later["blocked"]} == later


@pytest.mark.parametrize(("action", "give", "what"), EACH, ids=[each[0] for each in EACH])
def test_orders_that_a_later_version_wrote_in_its_own_form_are_not_undone(
    memory_store: MemoryStore, keyspace: Keyspace, action: str, give: Callable[[Orders], Ordered], what: str
) -> None:
    a_leader(memory_store, keyspace, "a", "b")
    later = b'{"schema": 2, "frozen": [{"by": "ops"}]}'
    put(memory_store, keys_of(keyspace).operator, later)
    orders = orders_of(memory_store, keyspace)
    with pytest.raises(OrderRefusedError, match="give orders with that version") as caught:
        give(orders)
    assert (caught.value.reason, caught.value.outcome) == ("later_version", Outcome.NOT_APPLIED)
    stands = get(memory_store, keys_of(keyspace).operator)
    assert stands is not None
    assert stands.value == later
    assert "schema version 2" in orders.situation().operator_problem


# ---------------------------------------------------------------- force


def test_force_ends_the_term_in_its_own_transaction(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    a_leader(memory_store, keyspace, "a", "b")
    put(memory_store, keys_of(keyspace).transfer, b"{}")
    done = orders_of(memory_store, keyspace).force("b", "it hangs")
    assert get(memory_store, keys_of(keyspace).leader) is None
    assert get(memory_store, keys_of(keyspace).transfer) is None
    forced = done.orders.forced
    assert forced is not None
    assert (forced.epoch, forced.to, forced.instead_of) == (7, "b", "s-a")


def test_force_says_who_goes_first_where_nobody_leads(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    a_leader(memory_store, keyspace, "a", "b")
    do(memory_store, Delete(keys_of(keyspace).leader))
    assert orders_of(memory_store, keyspace).force("b").changed
    with pytest.raises(NoLeaderError):
        orders_of(memory_store, keyspace).force()


@pytest.mark.parametrize(("picky", "is_refused"), [("d", True), ("b", False)])
def test_whether_the_pinned_one_could_lead_is_judged_by_the_settings_of_who_is_named(
    memory_store: MemoryStore, keyspace: Keyspace, picky: str, is_refused: bool
) -> None:
    """As that one will do it itself. What a third one requires is its own matter."""
    a_leader(memory_store, keyspace, "a", "b", "c", "d")
    requires_more = Candidate(picky, f"s-{picky}", 4711, 60, inputs=ScoreInputs(("lead",)), requires=("lead",))
    value = requires_more.to_value()
    do(memory_store, Put(keys_of(keyspace).candidate(requires_more.session), value, lease=4711))
    orders_of(memory_store, keyspace).pin("c")
    if is_refused:
        with pytest.raises(OrderRefusedError) as caught:
            orders_of(memory_store, keyspace).force("b")
        assert caught.value.reason == "pinned_elsewhere"
    else:
        assert orders_of(memory_store, keyspace).force("b").changed


def test_force_hits_no_other_term_than_the_one_it_was_meant_for(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    a_leader(memory_store, keyspace, "a", "b")
    keys = keys_of(keyspace)

    class Meanwhile:
        """Lets another term begin between the look and the order."""

        def __init__(self) -> None:
            self.done = False

        def call(self, request: Request[object], timeout_s: float) -> object:
            if gives_an_order(request) and not self.done:
                self.done = True
                put(memory_store, keys.leader, LeaderRecord("c", "s-c", "cd" * 16, 60, 8).to_value())
            return memory_store.call(request, timeout_s)

    with pytest.raises(OrderRefusedError) as caught:
        orders_of(Meanwhile(), keyspace).force()  # type: ignore[arg-type]  # only calls are made
    assert caught.value.reason == "changed"
    assert get(memory_store, keys.leader) is not None


@pytest.mark.parametrize(
    ("before", "to", "reason"),
    [
        (lambda orders: orders.freeze(), "b", "frozen"),
        (lambda orders: orders.freeze(), "", "frozen"),
        (lambda orders: orders.block("b"), "b", "blocked"),
        (lambda orders: orders.pin("c"), "b", "pinned_elsewhere"),
        (lambda orders: orders.unfreeze(), "nowhere", "unknown"),
        (lambda orders: orders.unfreeze(), "a", "itself"),
    ],
)
def test_force_is_refused_where_it_would_leave_nobody_or_somebody_else(
    memory_store: MemoryStore, keyspace: Keyspace, before: Callable[[Orders], Ordered], to: str, reason: str
) -> None:
    a_leader(memory_store, keyspace, "a", "b", "c")
    orders = orders_of(memory_store, keyspace)
    before(orders)
    with pytest.raises(OrderRefusedError) as caught:
        orders.force(to)
    assert caught.value.reason == reason
    assert caught.value.outcome is Outcome.NOT_APPLIED
    assert get(memory_store, keys_of(keyspace).leader) is not None


# ---------------------------------------------------------------- the history


def test_only_the_newest_orders_are_remembered_and_no_election_is_forgotten_for_them(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    keys = keys_of(keyspace)
    put(memory_store, keys.history + b"0000000001", b"{}")
    for number in range(KEPT + 5):
        put(memory_store, action_key(keys, 1, f"{number:04}"), ActionRecord("freeze", 1, why=str(number)).to_value())
    orders_of(memory_store, keyspace).freeze("the newest")
    kept = do(memory_store, Get(keys.history, prefix_end(keys.history))).kvs
    entries, unreadable = orders_of(memory_store, keyspace).history()
    assert len(kept) == KEPT + 1
    assert unreadable == 1
    assert [entries[0].why, entries[-1].why] == ["6", "the newest"]


def test_a_history_longer_than_a_page_is_read_whole(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    keys = keys_of(keyspace)
    for number in range(150):
        put(memory_store, action_key(keys, number, "x"), ActionRecord("freeze", number).to_value())
    entries, _ = orders_of(memory_store, keyspace).history()
    assert [entry.epoch for entry in entries] == list(range(150))


def test_an_error_that_no_repetition_helps_is_raised_at_once(memory_store: MemoryStore, keyspace: Keyspace) -> None:
    class Denies:
        def call(self, _request: Request[object], _timeout_s: float) -> object:
            raise StoreDeniedError("permission denied", outcome=Outcome.NOT_APPLIED)

    with pytest.raises(SlurpLeaderError) as caught:
        orders_of(Denies(), keyspace).freeze()  # type: ignore[arg-type]  # only calls are made
    assert caught.value.outcome is Outcome.NOT_APPLIED


# ---------------------------------------------------------------- questions


@pytest.mark.parametrize("epoch", [0, 6, 99])
def test_of_an_epoch_that_nothing_is_remembered_of_nothing_is_explained(
    memory_store: MemoryStore, keyspace: Keyspace, epoch: int
) -> None:
    a_leader(memory_store, keyspace, "a", "b")
    orders = orders_of(memory_store, keyspace)
    with pytest.raises(NoLeaderError, match=f"nothing is remembered of epoch {epoch} of the election 'slurp'"):
        orders.explain("a", rank_wait_s=1.0, epoch=epoch)
    assert orders.explain("a", rank_wait_s=1.0).node_id == "a"


def test_who_leads_is_not_put_back_in_an_election_that_is_only_simulated(
    memory_store: MemoryStore, keyspace: Keyspace
) -> None:
    a_leader(memory_store, keyspace, "a", "b")
    told = orders_of(memory_store, keyspace).simulate("", rank_wait_s=1.0)
    assert (told.first, told.first_before) == ("a", "a")  # all else is equal, so the node id decides
    assert [row.against for row in told.rows] == ["", ""]
