"""Records as version 0.1 wrote them (`records-0.1.json`): read as they were meant, and written in the same form today.

A test here that fails says that the form of a record has changed. A new field is no break, if whoever does not know it
may pass it over: add it to a file of the new version, and leave this one. Anything else needs another `SCHEMA`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compatibility.values import JOB, KINDS, OTHER, PREFIX, SESSION, Kind
from slurp_leader.election.history.entries import action_key, election_key
from slurp_leader.election.records import ElectionKeys
from slurp_leader.failover.manifest import FailoverKeys, _checksum
from slurp_leader.jobs.records import JobKeys
from slurp_leader.periodic.records import periodic_key
from slurp_leader.store.keyspace import Keyspace

RECORDS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("records-0.1.json").read_text("utf-8"))
each_kind = pytest.mark.parametrize("name", KINDS)


def literally(value: Any) -> str:
    """So that 1 and 1.0 and true are three things."""
    return json.dumps(value, sort_keys=True)


def test_every_kind_has_its_record() -> None:
    assert RECORDS.keys() == KINDS.keys()


@each_kind
def test_a_record_of_0_1_is_read_as_it_was_meant(name: str) -> None:
    kind, record = KINDS[name], RECORDS[name]
    read = kind.read(record["key"].encode(), json.dumps(record["value"]).encode())
    assert read == kind.record


@each_kind
def test_what_is_written_today_is_what_0_1_wrote(name: str) -> None:
    written = json.loads(KINDS[name].value)
    expected = RECORDS[name]["value"]
    if name == "compressed":  # compressed by another zlib, the same text is another one
        assert written.pop("result_zlib")
        expected = {key: value for key, value in expected.items() if key != "result_zlib"}
    assert literally(written) == literally(expected)


@each_kind
def test_fields_of_a_later_minor_version_are_passed_over(name: str) -> None:
    kind, record = KINDS[name], RECORDS[name]
    if isinstance(record["value"], dict):
        later = {"zz_new": {"of": ["a", "later", "version"]}, **record["value"]}
        if name == "manifest":  # its checksum is one of all fields
            del later["sum"]
            later["sum"] = _checksum(later)
        read = kind.read(record["key"].encode(), json.dumps(later).encode())
        if isinstance(read, dict):
            del read["zz_new"]  # read field by field
        assert read == kind.record


@each_kind
def test_a_record_stands_under_the_key_of_0_1(name: str) -> None:
    keyspace = Keyspace("default")
    election, jobs = ElectionKeys.of(keyspace, "slurp"), JobKeys(keyspace)
    job = JOB.encode()
    key = {
        "leader": election.leader,
        "epoch": election.epoch,
        "heartbeat": election.heartbeat,
        "wish": election.transfer,
        "offer": election.transfer,
        "refusal": election.transfer,
        "ack": election.ack,
        "orders": election.operator,
        "no orders": election.operator,
        "candidate": election.candidate(OTHER),
        "node": election.session("a", SESSION),
        "election": election_key(election, 8),
        "action": action_key(election, 8, "0a1b"),
        "manifest": FailoverKeys(keyspace).manifest(9),
        "verification": FailoverKeys(keyspace).check(9),
        "job": jobs.queue + job,
        "claim": jobs.claim(9, 1),
        "state": jobs.state + job,
        "completed": jobs.done + job,
        "compressed": jobs.done + job,
        "failed": jobs.done + job,
        "cancel": jobs.cancel + job,
        "idempotency": jobs.idem + b"0123abcd",
        "progress": jobs.progress + job,
        "grant": jobs.grant_of(9),
        "parked": jobs.parked + b"queue/" + job,
        "closed": jobs.closed,
        "floor": jobs.floor,
        "periodic": periodic_key(keyspace, "slurp", "report"),
    }[name]
    assert key.decode() == RECORDS[name]["key"] == PREFIX + KINDS[name].key


# ---------------------------------------------------------------- who rewrites a record keeps what it does not know


def rewritten(kind: Kind, record: Any, **more: Any) -> dict[str, Any]:
    """The record of a later minor version, read here and written back."""
    value = json.dumps({**json.loads(kind.value), **more}).encode()
    written: dict[str, Any] = json.loads(record(kind.read((PREFIX + kind.key).encode(), value)).to_value())
    return written


NEW = {"zz_new": {"deep": [1, 2.5, None, "ä", 2**70]}}


@pytest.mark.parametrize("name", ["wish", "offer", "orders", "no orders", "job", "state"])
def test_what_a_later_version_wrote_beside_is_written_back(name: str) -> None:
    assert rewritten(KINDS[name], lambda record: record, **NEW) == {**RECORDS[name]["value"], **NEW}


@pytest.mark.parametrize("name", ["frozen", "pinned", "oldest_version", "forced"])
def test_what_a_later_version_wrote_into_an_order_is_written_back(name: str) -> None:
    orders = RECORDS["orders"]["value"]
    changed = {name: {**orders[name], **NEW}}
    assert rewritten(KINDS["orders"], lambda record: record, **changed) == {**orders, **changed}


def test_what_a_later_version_wrote_into_a_block_is_written_back() -> None:
    orders = RECORDS["orders"]["value"]
    changed = {"blocked": {"c": {**orders["blocked"]["c"], **NEW}}}
    assert rewritten(KINDS["orders"], lambda record: record, **changed) == {**orders, **changed}
