"""Records of the next major version, one of each kind: they stop nothing, and stay until whoever wrote them is back."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from slurp_leader import LeaderElection, SlurpSettings
from slurp_leader.store import Get, Grant, Put
from support.calls import do
from support.waiting import WAIT_S, when_it_stands

RECORDS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).parents[1].joinpath("compatibility", "records-0.1.json").read_text("utf-8")
)
OVERWRITTEN = {"leader", "heartbeat", "wish", "offer", "refusal", "ack"}
"""Of these there is one for an election: it is replaced by whoever leads next."""
DECIDED = {"closed", "grant", "parked"}
"""The leader decides these anew: whether jobs are admitted; a grant whose deadline it cannot read ends, or never would;
a note goes with its reason."""
NOTED = {"job": "queue", "claim": "run", "state": "state", "cancel": "cancel"}
"""Those that say what is to be done are parked, with a note."""


def later(name: str) -> bytes:
    """The record as the next version may write it: another schema, and fields of other types."""
    value = RECORDS[name]["value"]
    return json.dumps({**{field: ["moved"] for field in value}, "ttl": 3, "schema": 2}).encode()


def hand_over(leader: Any, to: str | None) -> Any:
    early = ("unknown", "unfit", "no_candidate")
    return when_it_stands(leader.leader.transfer, to, timeout=WAIT_S, not_yet=early)


@pytest.mark.parametrize("name", [name for name, record in RECORDS.items() if isinstance(record["value"], dict)])
def test_a_record_of_the_next_major_version_stops_neither_election_nor_queue(
    shared: Any, make_system: Any, name: str
) -> None:
    key, value = RECORDS[name]["key"].encode(), later(name)
    lease = do(shared.store, Grant(4711, 3600)).lease_id if name in ("candidate", "node") else 0
    do(shared.store, Put(key, value, lease))
    first = make_system()
    assert first.wait_for_leadership(WAIT_S)
    second = make_system()
    assert second.submit("a.py").result(WAIT_S).success
    assert hand_over(first, None).node_id == second.settings.node.id  # and nobody else was asked before
    assert first.submit("b.py").result(WAIT_S).success
    second.stop()
    assert first.wait_for_leadership(WAIT_S)
    assert first.submit("c.py").result(WAIT_S).success
    stands = do(shared.store, Get(key)).kvs
    if name not in OVERWRITTEN | DECIDED:
        assert [kv.value for kv in stands] == [value]
    if name in NOTED:
        note = b"/slurp/v1/default/m/parked/" + NOTED[name].encode() + b"/" + key.rpartition(b"/")[2]
        [parked] = do(shared.store, Get(note)).kvs
        assert "schema version 2" in json.loads(parked.value)["reason"]


def test_periodic_work_whose_record_is_of_the_next_major_version_waits_and_its_record_stays(shared: Any) -> None:
    election = LeaderElection("slurp", SlurpSettings(node={"id": "a"}, election={"lease_ttl": 3}), stores=shared)
    key, value = RECORDS["periodic"]["key"].encode(), later("periodic")
    do(shared.store, Put(key, value))
    begun: list[str] = []
    other = threading.Event()
    election.every(60, name="report")(lambda: begun.append("report"))
    election.every(60, name="other")(other.set)
    with election:
        assert election.wait_for_leadership(WAIT_S)
        assert other.wait(WAIT_S)
    assert begun == []
    assert [kv.value for kv in do(shared.store, Get(key)).kvs] == [value]
