"""Records of candidates, and who stands by them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from election.test_scoring import INPUTS
from slurp_leader.election.ranking.candidates import Candidate, CandidateView, read_candidate
from slurp_leader.election.ranking.scoring import ScoreInputs
from slurp_leader.errors import RecordError
from slurp_leader.store import Event, EventKind, KeyValue
from support.electing import KEYS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
"""Whatever can be written as JSON, and NaN."""

SOMEBODY = Candidate("n-a", "s1", lease=7, ttl_s=10, endpoint="http://a", version="1.2", inputs=ScoreInputs(uptime_s=5))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
CANDIDATES = st.builds(
    Candidate,
    node_id=TEXTS.filter(bool),
    session=TEXTS.filter(bool),
    lease=st.integers(0, 2**62),
    ttl_s=st.integers(1, 86_400),
    endpoint=TEXTS,
    version=TEXTS,
    unfit=TEXTS,
    warm=st.booleans(),
    inputs=INPUTS,
)


def kv(session: str, value: bytes, revision: int = 5, lease: int = 7) -> KeyValue:
    return KeyValue(KEYS.candidate(session), value, revision, revision, 1, lease)


def put(session: str, value: bytes, revision: int, lease: int = 7) -> Event:
    return Event(EventKind.PUT, kv(session, value, revision, lease))


def gone(session: str, revision: int) -> Event:
    return Event(EventKind.DELETE, KeyValue(KEYS.candidate(session), b"", 0, revision, 0))


def changed(**fields: Any) -> bytes:
    return json.dumps({"schema": 1, **SOMEBODY.to_fields(), **fields}).encode()


def without(name: str) -> bytes:
    fields = SOMEBODY.to_fields()
    del fields[name]
    return json.dumps({"schema": 1, **fields}).encode()


def named(session: str, node_id: str = "n-a") -> bytes:
    return changed(session=session, node=node_id)


# ---------------------------------------------------------------- records


@given(CANDIDATES)
def test_a_record_can_be_read_again(candidate: Candidate) -> None:
    read = Candidate.from_value(b"key", candidate.to_value())
    assert read.to_fields() == candidate.to_fields()
    assert read.to_value() == candidate.to_value()


def test_an_older_record_without_what_came_later_can_be_read() -> None:
    value = b'{"schema": 1, "node": "n-a", "session": "s1", "lease": 7, "ttl": 10, "newer": {}}'
    assert Candidate.from_value(b"key", value) == Candidate("n-a", "s1", 7, 10)


def test_a_long_reason_is_written_as_far_as_it_can_be_read() -> None:
    long = Candidate("n-a", "s1", 7, 10, unfit="x" * 5000)
    assert Candidate.from_value(b"key", long.to_value()).unfit == "x" * 1024


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        SOMEBODY.to_value()[:-1],
        b"[]",
        b"\xff",
        changed(schema=2),
        changed(schema=True),
        *map(without, ("node", "session", "lease", "ttl")),
        changed(node=""),
        changed(node=1),
        changed(node="n" * 1025),
        changed(session=""),
        changed(session=None),
        changed(lease=-1),
        changed(lease=1.5),
        changed(lease=True),
        changed(lease=2**63),
        changed(lease="7"),
        changed(ttl=-1),
        changed(endpoint=[]),
        changed(version=3),
        changed(unfit={"why": "x"}),
        changed(unfit="x" * 1025),
        changed(inputs=[]),
        changed(inputs=None),
        changed(inputs={"cpu_free": -1}),
        changed(inputs={"uptime_s": float("nan")}),
        changed(inputs={"capabilities": ["x" * 65]}),
    ],
)
def test_what_is_no_record_of_a_candidate_is_nobody(value: bytes) -> None:
    with pytest.raises(RecordError) as refused:
        Candidate.from_value(KEYS.candidate("s1"), value)
    assert refused.value.key == KEYS.candidate("s1").decode()  # type: ignore[attr-defined]
    assert read_candidate(kv("s1", value)) is None


def test_only_a_plain_yes_is_warm() -> None:
    assert Candidate.from_value(b"key", changed(warm=True)).warm
    assert not Candidate.from_value(b"key", changed(warm=False)).warm
    assert not Candidate.from_value(b"key", changed(warm="yes")).warm


@given(JSON, st.sampled_from([None, *SOMEBODY.to_fields()]))
def test_whatever_stands_there_is_a_candidate_or_nobody(data: Any, at: str | None) -> None:
    written = json.dumps(data if at is None else {"schema": 1, **SOMEBODY.to_fields(), at: data}).encode()
    candidate = read_candidate(kv("s1", written))
    assert candidate is None or candidate.session == "s1"


@given(st.binary(max_size=60))
def test_whatever_bytes_stand_there_are_nobody(value: bytes) -> None:
    assert read_candidate(kv("s1", value)) is None


def test_who_stands_is_whose_record_hangs_on_its_own_lease_under_its_own_key() -> None:
    value = SOMEBODY.to_value()
    assert read_candidate(kv("s1", value)) == SOMEBODY
    assert read_candidate(kv("s1", value, lease=0)) is None
    assert read_candidate(kv("s1", value, lease=8)) is None
    assert read_candidate(kv("s2", value)) is None
    assert read_candidate(kv("s1", changed(lease=0), lease=0)) is None


# ---------------------------------------------------------------- the view


def sessions(view: CandidateView) -> list[str]:
    return sorted(each.session for each in view)


def test_who_comes_and_goes_is_seen() -> None:
    view = CandidateView(KEYS)
    assert view.revision == -1
    view.learn_events(6, [put("s1", named("s1"), 5), put("s2", named("s2"), 6)])
    assert sessions(view) == ["s1", "s2"]
    view.learn_events(7, [gone("s1", 7)])
    assert sessions(view) == ["s2"]
    assert view.revision == 7


def test_other_keys_are_no_candidates() -> None:
    view = CandidateView(KEYS)
    other = KeyValue(KEYS.leader, SOMEBODY.to_value(), 5, 5, 1, 7)
    view.learn_events(5, [Event(EventKind.PUT, other)])
    assert view.unreadable == set()
    view.learn_snapshot(6, [other])
    assert sessions(view) == []
    assert view.unreadable == set()


def test_an_older_event_changes_nothing() -> None:
    view = CandidateView(KEYS)
    view.learn_events(9, [put("s1", named("s1"), 9)])
    view.learn_events(8, [gone("s1", 8), put("s2", named("s2"), 8)])
    assert sessions(view) == ["s1"]
    assert view.revision == 9


def test_a_snapshot_replaces_all_unless_it_is_older() -> None:
    view = CandidateView(KEYS)
    view.learn_events(9, [put("s1", named("s1"), 8), put("s2", b"broken", 9)])
    view.learn_snapshot(8, [kv("s3", named("s3"))])
    assert sessions(view) == ["s1"]
    assert view.revision == 9
    view.learn_snapshot(9, [kv("s4", named("s4"))])
    assert sessions(view) == ["s4"]
    assert view.unreadable == set()
    view.learn_snapshot(12, [])
    assert sessions(view) == []
    assert view.revision == 12


def test_who_cannot_be_read_any_more_stands_no_more_and_is_counted() -> None:
    view = CandidateView(KEYS)
    view.learn_events(5, [put("s1", named("s1"), 5)])
    view.learn_events(6, [put("s1", b"broken", 6)])
    assert sessions(view) == []
    assert view.unreadable == {KEYS.candidate("s1")}
    view.learn_events(7, [put("s1", named("s1"), 7)])
    assert sessions(view) == ["s1"]
    assert view.unreadable == set()
    view.learn_events(9, [put("s1", b"broken", 8), gone("s1", 9)])
    assert view.unreadable == set()
