"""What is kept of elections."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from election.test_candidates import JSON, TEXTS
from election.test_eligible import CANDIDATES, NO_ORDERS, OPS, ORDERS, RULES, candidate
from election.test_scoring import WEIGHTS
from slurp_leader.election.history.entries import (
    KEPT,
    STEP_DOWN,
    VETO,
    ActionRecord,
    HistoryRecord,
    action_key,
    action_keys,
    election_key,
    end_key,
    read_entries,
    remember,
    remember_end,
)
from slurp_leader.election.operator import OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import Cause, Circumstances, standings
from slurp_leader.election.ranking.scoring import Weights
from slurp_leader.election.records import ElectionKeys
from slurp_leader.errors import RecordError
from slurp_leader.orders import Order
from slurp_leader.store import Delete, KeyValue, Put
from slurp_leader.store.keyspace import Keyspace
from support.electing import KEYS


def told(
    candidates: list[Candidate],
    orders: OperatorRecord = NO_ORDERS,
    weights: Weights | None = None,
    rules: dict[str, Any] | None = None,
    **more: Any,
) -> HistoryRecord:
    weights = weights or Weights()
    circumstances = Circumstances.of(candidates, orders, **{"epoch": 7, **(rules or {})})
    placed = tuple(standings(candidates, circumstances, weights))
    facts: dict[str, Any] = {
        "epoch": 8, "node_id": "n-a", "session": "s-n-a", "reason": "elected", "at": "2026-01-31T12:00:00.000Z",
        "vacancy_s": 1.25, "waited_s": 0.5, "before": "n-b", "by": "ops", "why": "upgrade", "stood": len(candidates),
        **more,
    }  # fmt: skip
    return HistoryRecord(standings=placed, circumstances=circumstances, weights=weights, **facts)


def kv(value: bytes, revision: int = 5, epoch: int = 8) -> KeyValue:
    return KeyValue(election_key(KEYS, epoch), value, revision, revision, 1)


def read_again(record: HistoryRecord) -> HistoryRecord:
    return HistoryRecord.from_value(kv(record.to_value()))


def altered(**fields: Any) -> bytes:
    return json.dumps({"schema": 1, **told([candidate()]).to_fields(), **fields}).encode()


def standing_with(**fields: Any) -> list[dict[str, Any]]:
    (one,) = told([candidate()]).to_fields()["candidates"]
    return [{**one, **fields}]


# ---------------------------------------------------------------- elections


def test_a_record_can_be_read_again() -> None:
    nodes = [candidate("n-a"), candidate("n-b", unfit="ill"), candidate("n-c")]
    record = told(nodes, NO_ORDERS.block("n-c", OPS).pin("n-x", OPS))
    read = HistoryRecord.from_value(kv(record.to_value(), revision=99))
    assert read.to_fields() == record.to_fields()
    assert read.token == 99
    assert read.circumstances == record.circumstances
    assert read.weights == record.weights
    assert [each.verdict for each in read.standings] == [each.verdict for each in record.standings]
    assert [each.place for each in read.standings] == [0, 1, None]
    assert read.standings[2].verdict.causes == (Cause.BLOCKED, Cause.NOT_PINNED)


@given(
    CANDIDATES, ORDERS, RULES, WEIGHTS, st.none() | st.floats(0, 1e6), st.floats(0, 1e6), st.none() | st.floats(0, 60),
    TEXTS, TEXTS, TEXTS,
)  # fmt: skip
def test_any_record_can_be_read_again(
    candidates: list[Candidate], orders: OperatorRecord, rules: dict[str, Any], weights: Weights,
    vacancy_s: float | None, waited_s: float, rank_wait_s: float | None, before: str, by: str, why: str,
) -> None:  # fmt: skip
    waits = {"vacancy_s": vacancy_s, "waited_s": waited_s, "rank_wait_s": rank_wait_s}
    more = {**waits, "before": before, "by": by, "why": why}
    record = told(candidates, orders, weights, rules, **more)
    read = read_again(record)
    assert read.to_fields() == record.to_fields()
    assert read.circumstances == record.circumstances


def test_an_older_record_without_what_came_later_can_be_read() -> None:
    value = b'{"schema": 1, "epoch": 8, "node": "n-a", "session": "s1", "reason": "elected", "newer": 1}'
    read = HistoryRecord.from_value(kv(value, revision=6))
    assert read == HistoryRecord(8, "n-a", "s1", "elected", circumstances=Circumstances(epoch=7))
    assert read.rank_wait_s is None


def test_at_most_32_candidates_are_named_and_how_many_there_were() -> None:
    nodes = [candidate(f"n-{number:03}") for number in range(50)]
    read = read_again(told(nodes))
    assert [each.candidate.node_id for each in read.standings] == [f"n-{number:03}" for number in range(32)]
    assert read.stood == 50


def test_a_record_is_never_so_large_that_nobody_could_be_elected() -> None:
    wordy = [
        candidate(f"n-{number:03}", unfit="x" * 1024, endpoint="e" * 1024, capabilities=("c" * 64,) * 64)
        for number in range(50)
    ]
    record = told(wordy, by="b" * 5000, why="w" * 5000)
    assert len(record.to_value()) <= 65_536
    read = read_again(record)
    assert 4 <= len(read.standings) < 32
    assert read.stood == 50
    assert (read.by, read.why) == ("b" * 1024, "w" * 1024)

    blocked = OperatorRecord(blocked={f"n-{number}": Order(why="x" * 1000) for number in range(63)})
    record = told([candidate()], blocked, rules={"requires": ("r" * 64,) * 64})
    assert len(record.to_value()) <= 65_536
    assert read_again(record).circumstances.operator == NO_ORDERS
    record = told([candidate()], rules={"requires": ("r" * 1024,) * 64})
    assert len(record.to_value()) <= 65_536
    assert read_again(record).circumstances.requires == ()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"3",
        told([]).to_value()[:-1],
        altered(schema=2),
        altered(epoch="8"),
        altered(epoch=-1),
        altered(epoch=float("inf")),
        altered(epoch=None),
        altered(node=""),
        altered(node={}),
        altered(session=""),
        altered(reason=1),
        altered(reason="x" * 1025),
        altered(at=2026),
        altered(vacancy_s=-1),
        altered(vacancy_s="nan"),
        altered(waited_s=-1),
        altered(waited_s=None),
        altered(rank_wait_s=-1),
        altered(rank_wait_s="1 s"),
        altered(before=1),
        altered(by=1),
        altered(why=[]),
        altered(stood=-1),
        altered(stood=0.5),
        altered(requires="lead"),
        altered(requires=[1]),
        altered(min_nodes=-1),
        altered(orders=[]),
        altered(orders={"frozen": 1}),
        altered(weights={"capability": 1}),
        altered(weights={"speed": 1}),
        altered(weights={"speed": 0.5, "capability": "much"}),
        altered(weights=[]),
        altered(candidates={}),
        altered(candidates="abc"),
        altered(candidates=[1]),
        altered(candidates=[{}]),
        altered(candidates=standing_with(score=1.1)),
        altered(candidates=standing_with(score="nan")),
        altered(candidates=standing_with(score=-0.1)),
        altered(candidates=standing_with(parts={"uptime": 2})),
        altered(candidates=standing_with(parts=[])),
        altered(candidates=standing_with(place=-1)),
        altered(candidates=standing_with(place=0.5)),
        altered(candidates=standing_with(absolute="x")),
        altered(candidates=standing_with(absolute=[{"cause": "", "text": ""}])),
        altered(candidates=standing_with(absolute=[{"cause": ["mood"], "text": ""}])),
        altered(candidates=standing_with(soft=[{"cause": "unfit", "text": 1}])),
        altered(candidates=standing_with(soft=[{"cause": "unfit"}])),
        altered(candidates=standing_with(soft=[1])),
        altered(candidates=standing_with(node=1)),
    ],
)
def test_what_is_no_history_is_refused(value: bytes) -> None:
    with pytest.raises(RecordError) as refused:
        HistoryRecord.from_value(kv(value))
    assert refused.value.key == election_key(KEYS, 8).decode()  # type: ignore[attr-defined]
    assert read_entries([kv(value)]) == ([], 1)


def test_a_cause_of_a_later_version_stays_the_word_that_it_is() -> None:
    soft = [{"cause": "too_hot", "text": "it is too hot"}, {"cause": "unfit", "text": "it is ill"}]
    record = HistoryRecord.from_value(kv(altered(candidates=standing_with(soft=soft))))
    (read,) = record.standings
    assert read.verdict.causes == ("too_hot", Cause.UNFIT)
    assert read.verdict.text == "it is too hot; it is ill"
    assert read_again(record) == record


def test_of_the_weights_of_a_later_version_those_that_are_known_keep_their_proportions() -> None:
    usual = Weights().to_fields()
    idle = HistoryRecord.from_value(kv(altered(weights={**usual, "moon": 0.0})))
    assert idle.weights.to_fields() == pytest.approx(usual)
    halved = {name: share / 2 for name, share in usual.items()}
    record = HistoryRecord.from_value(kv(altered(weights={**halved, "moon": 0.5})))
    assert record.weights.to_fields() == pytest.approx(usual)
    assert read_again(record).weights.to_fields() == pytest.approx(usual)


@given(JSON, st.sampled_from([None, *told([]).to_fields()]), st.none() | st.sampled_from([*standing_with()[0]]))
def test_whatever_stands_there_is_read_or_counted_as_unreadable(data: Any, at: str | None, part: str | None) -> None:
    if at is None:
        value = json.dumps(data).encode()
    elif part is None:
        value = altered(**{at: data})
    else:
        value = altered(candidates=standing_with(**{part: data}))
    entries, unreadable = read_entries([kv(value)])
    assert len(entries) + unreadable == 1
    for entry in entries:
        assert isinstance(entry, HistoryRecord)
        rounded = read_again(entry)  # as it is written; others may have written more digits
        assert read_again(rounded) == rounded


# ---------------------------------------------------------------- actions

ACTION = ActionRecord("pin", 7, "ops", "disk is failing", "2026-01-31T12:00:00.000Z", "n-b")


def action(value: bytes, revision: int = 6, action_id: str = "x1", epoch: int = 7) -> KeyValue:
    return KeyValue(action_key(KEYS, epoch, action_id), value, revision, revision, 1)


def changed_action(**fields: Any) -> bytes:
    return json.dumps({"schema": 1, **ACTION.to_fields(), **fields}).encode()


def test_an_action_can_be_read_again() -> None:
    read = ActionRecord.from_value(action(ACTION.to_value()))
    assert read == ACTION
    assert read.revision == 6
    bare = ActionRecord.from_value(action(b'{"schema": 1, "action": "freeze", "epoch": 0, "newer": 1}'))
    assert bare == ActionRecord("freeze", 0)


def test_a_long_reason_of_an_action_is_written_as_far_as_it_can_be_read() -> None:
    long = dataclasses.replace(ACTION, why="w" * 5000)
    assert ActionRecord.from_value(action(long.to_value())).why == "w" * 1024


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        changed_action(schema=0),
        changed_action(action=""),
        changed_action(action=None),
        changed_action(epoch="7"),
        changed_action(epoch=-1),
        changed_action(by=1),
        changed_action(why="x" * 1025),
        changed_action(at=None),
        changed_action(what=[]),
    ],
)
def test_what_is_no_action_is_refused(value: bytes) -> None:
    with pytest.raises(RecordError) as refused:
        ActionRecord.from_value(action(value))
    assert refused.value.key == action_key(KEYS, 7, "x1").decode()  # type: ignore[attr-defined]


@given(JSON, st.sampled_from([None, *ACTION.to_fields()]))
def test_whatever_stands_for_an_action_is_read_or_counted(data: Any, at: str | None) -> None:
    value = json.dumps(data).encode() if at is None else changed_action(**{at: data})
    entries, unreadable = read_entries([action(value)])
    assert len(entries) + unreadable == 1


# ---------------------------------------------------------------- keys


def test_history_is_read_in_the_order_in_which_it_happened() -> None:
    record = told([candidate()])
    found, unreadable = read_entries(
        [
            kv(dataclasses.replace(record, epoch=9).to_value(), revision=30, epoch=9),
            action(ACTION.to_value(), revision=20),
            kv(record.to_value(), revision=10),
            kv(b"broken", revision=5, epoch=7),
        ]
    )
    assert [type(each).__name__ for each in found] == ["HistoryRecord", "ActionRecord", "HistoryRecord"]
    assert [each.epoch for each in found] == [8, 7, 9]
    assert unreadable == 1


def test_dashes_in_names_make_no_action_of_an_election() -> None:
    keys = ElectionKeys.of(Keyspace("my-cluster"), "my-election")
    value = told([candidate()]).to_value()
    (entry,), _ = read_entries([KeyValue(election_key(keys, 8), value, 5, 5, 1)])
    assert isinstance(entry, HistoryRecord)


def test_actions_are_named_the_oldest_first() -> None:
    kvs = [action(b"", 9, "a"), kv(b"", 5), action(b"", 7, "b")]
    assert action_keys(kvs) == [action_key(KEYS, 7, "b"), action_key(KEYS, 7, "a")]


def test_a_veto_takes_no_room_of_what_operators_ordered_and_makes_its_own() -> None:
    veto = KeyValue(end_key(KEYS, 8, VETO), b"", 1, 1, 1)
    given_back = KeyValue(end_key(KEYS, 8, STEP_DOWN), b"", 2, 2, 1)
    assert action_keys([veto, given_back]) == [given_back.key]
    put, oldest = remember_end(KEYS, ActionRecord(VETO, KEPT + 8))
    assert isinstance(put, Put)
    assert put.key == end_key(KEYS, KEPT + 8, VETO)
    assert oldest == Delete(veto.key)


def test_keys_are_in_the_order_of_epochs() -> None:
    assert election_key(KEYS, 9) < action_key(KEYS, 9, "zz") < election_key(KEYS, 10) < election_key(KEYS, 10**9)


def test_the_newest_hundred_elections_stay_and_the_vetoes_of_their_terms() -> None:
    """However seldom there are vetoes: their number has a bound."""
    record = dataclasses.replace(told([candidate()]), epoch=KEPT)
    assert remember(KEYS, record) == (Put(election_key(KEYS, KEPT), record.to_value()),)
    later = dataclasses.replace(record, epoch=KEPT + 1)
    assert remember(KEYS, later) == (
        Put(election_key(KEYS, KEPT + 1), later.to_value()),
        Delete(election_key(KEYS, 1)),
        Delete(end_key(KEYS, 1, VETO)),
    )
