"""The record of what operators ordered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from election.test_candidates import JSON, TEXTS
from slurp_leader.election.operator import Forced, OperatorRecord, read_operator
from slurp_leader.errors import ConfigurationError, RecordError
from slurp_leader.orders import Order
from slurp_leader.store import KeyValue
from support.electing import KEYS

OPS = Order("ops", "disk is failing", "2026-01-31T12:00:00.000Z")
LATER = Order("dev", "", "2026-02-01T12:00:00.000Z")
ALL = (
    OperatorRecord()
    .freeze(OPS)
    .pin("n-a", OPS)
    .block("n-c", OPS)
    .block("n-b", LATER)
    .require_version("1.2", OPS)
    .force(Forced(7, "n-a", "s1", OPS))
)
ORDERS = st.builds(Order, TEXTS, TEXTS, TEXTS)


def pinned(node_id: str, order: Order) -> dict[str, Any]:
    return {"pinned_to": node_id, "pinned": order if node_id else Order()}


def oldest(version: str, order: Order) -> dict[str, Any]:
    return {"oldest_version": version, "versions": order if version else Order()}


RECORDS = st.builds(
    lambda frozen, pin, blocked, version, forced: OperatorRecord(
        frozen=frozen, blocked=blocked, forced=forced, **pin, **version
    ),
    frozen=st.none() | ORDERS,
    pin=st.builds(pinned, TEXTS, ORDERS),
    blocked=st.dictionaries(TEXTS.filter(bool), ORDERS, max_size=4),
    version=st.builds(oldest, TEXTS, ORDERS),
    forced=st.none() | st.builds(Forced, st.integers(0, 2**62), TEXTS, TEXTS, ORDERS),
)


def kv(value: bytes) -> KeyValue:
    return KeyValue(KEYS.operator, value, 5, 5, 1)


def written(**fields: Any) -> bytes:
    return json.dumps({"schema": 1, **fields}).encode()


# ---------------------------------------------------------------- orders


def test_orders_add_up() -> None:
    assert (
        OperatorRecord(
            frozen=OPS,
            pinned_to="n-a",
            pinned=OPS,
            blocked={"n-b": LATER, "n-c": OPS},
            oldest_version="1.2",
            versions=OPS,
            forced=Forced(7, "n-a", "s1", OPS),
        )
        == ALL
    )


def test_each_order_can_be_taken_back_alone() -> None:
    assert ALL.unfreeze().frozen is None
    assert (ALL.unpin().pinned_to, ALL.unpin().pinned) == ("", Order())
    assert ALL.unblock("n-c").blocked == {"n-b": LATER}
    assert ALL.unblock("n-x") == ALL
    assert ALL.require_version("", LATER).oldest_version == ""
    assert ALL.require_version("", LATER).versions == Order()
    bare = OperatorRecord(forced=ALL.forced)
    assert ALL.unfreeze().unpin().unblock("n-b").unblock("n-c").require_version("", OPS) == bare


def test_the_newest_order_counts() -> None:
    assert ALL.block("n-c", LATER).blocked["n-c"] == LATER
    assert ALL.pin("n-b", LATER).pinned_to == "n-b"
    assert ALL.freeze(LATER).frozen == LATER


def test_an_order_says_who_and_why() -> None:
    assert str(OPS) == "by ops: disk is failing"
    assert str(LATER) == "by dev"
    assert str(Order()) == "by somebody"
    assert str(Order(why="disk")) == "by somebody: disk"


# ---------------------------------------------------------------- the record


@given(RECORDS)
def test_a_record_can_be_read_again(record: OperatorRecord) -> None:
    assert OperatorRecord.from_value(KEYS.operator, record.to_value()) == record
    assert read_operator(kv(record.to_value())) == (record, "")


def test_what_is_not_ordered_is_not_written() -> None:
    assert OperatorRecord().to_value() == b'{"schema":1}'
    assert read_operator(None) == (OperatorRecord(), "")
    assert set(ALL.to_fields()) == {"frozen", "pinned", "blocked", "oldest_version", "forced"}


def test_the_same_orders_are_written_the_same() -> None:
    one, other = (OperatorRecord(blocked=dict.fromkeys(names, OPS)) for names in (("n-a", "n-b"), ("n-b", "n-a")))
    assert one.to_value() == other.to_value()


def test_a_newer_writer_may_add_fields() -> None:
    record, problem = read_operator(kv(written(frozen={"by": "ops", "newer": 1}, newer=[])))
    assert record == OperatorRecord(frozen=Order("ops"))
    assert problem == ""


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no JSON",
        ALL.to_value()[:-1],
        b"[1]",
        written(schema=2),
        written(frozen=True),
        written(frozen={"by": 1}),
        written(frozen={"why": "x" * 1025}),
        written(frozen={"at": []}),
        written(pinned={"by": "ops"}),
        written(pinned={"node": ""}),
        written(pinned={"node": 1}),
        written(pinned="n-a"),
        written(blocked=["n-a"]),
        written(blocked={"n-a": None}),
        written(blocked={"": {}}),
        written(blocked={"x" * 1025: {}}),
        written(oldest_version={"version": ""}),
        written(oldest_version={}),
        written(oldest_version="1.2"),
        written(forced={}),
        written(forced={"epoch": -1}),
        written(forced={"epoch": True}),
        written(forced={"epoch": 1.5}),
        written(forced={"epoch": 2**63}),
        written(forced={"epoch": 1, "to": None}),
        written(forced={"epoch": 1, "instead_of": 3}),
        written(newer="x" * 70_000),
    ],
)
def test_a_record_that_cannot_be_read_orders_nothing_and_is_shown(value: bytes) -> None:
    with pytest.raises(RecordError) as refused:
        OperatorRecord.from_value(KEYS.operator, value)
    assert refused.value.key == KEYS.operator.decode()  # type: ignore[attr-defined]
    record, problem = read_operator(kv(value))
    assert record == OperatorRecord()
    assert problem


@given(JSON, st.sampled_from([None, "frozen", "pinned", "blocked", "oldest_version", "forced"]))
def test_whatever_stands_there_is_read_or_shown_to_be_unreadable(data: Any, at: str | None) -> None:
    value = json.dumps(data).encode() if at is None else written(**{at: data})
    record, problem = read_operator(kv(value))
    assert record == OperatorRecord() or not problem
    if not problem:
        assert OperatorRecord.from_value(KEYS.operator, record.to_value()) == record


# ---------------------------------------------------------------- what nobody could read is not written


@pytest.mark.parametrize("name", ["by", "why", "at"])
def test_words_that_nobody_could_read_are_refused(name: str) -> None:
    Order(**{name: "x" * 1024})
    with pytest.raises(ConfigurationError, match="1025 characters, at most 1024 are kept: shorten it") as refused:
        Order(**{name: "x" * 1025})
    assert refused.value.field == name


@pytest.mark.parametrize("verb", ["pin", "block", "require_version"])
def test_names_that_nobody_could_read_are_refused(verb: str) -> None:
    with pytest.raises(ConfigurationError, match="shorten it"):
        getattr(OperatorRecord(), verb)("x" * 1025, OPS)


def test_more_than_can_be_read_is_not_written() -> None:
    record = OperatorRecord(blocked={f"n-{number}": Order(why="x" * 1000) for number in range(60)})
    assert OperatorRecord.from_value(KEYS.operator, record.to_value()) == record
    for number in range(60, 70):
        record = record.block(f"n-{number}", Order(why="x" * 1000))
    with pytest.raises(ConfigurationError, match="unblock some of the 70 nodes") as refused:
        record.to_value()
    assert refused.value.field == "orders"
