"""The names of `--json`: the same for all commands."""

from __future__ import annotations

from slurp_leader.cli.documents import as_document, leader_as_json, leads
from slurp_leader.election import LeaderInfo
from slurp_leader.election.operator import OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.records import LeaderRecord
from slurp_leader.orders import Order


def test_a_candidate_has_the_names_of_the_rest_of_the_command_line_and_no_lease() -> None:
    told = as_document(Candidate("node-a", "s1", lease=7, ttl_s=15).to_fields())
    assert (told["node_id"], told["ttl_s"], told["unfit"], told["endpoint"]) == ("node-a", 15, None, None)
    assert not {"node", "ttl", "lease"} & set(told)


def test_what_is_named_by_data_keeps_its_names() -> None:
    orders = OperatorRecord().block("lease", Order("ops")).block("node", Order("ops", "why")).pin("ttl", Order("ops"))
    told = as_document(orders.to_fields())
    assert told["blocked"]["lease"] == {"by": "ops", "why": None, "at": ""}
    assert told["blocked"]["node"]["why"] == "why"
    assert told["pinned"]["node_id"] == "ttl"


def test_places_are_counted_from_one_as_in_the_table() -> None:
    rows = [{"place": 0, "place_before": 2}, {"place": None}]
    assert as_document({"candidates": rows})["candidates"] == [{"place": 1, "place_before": 3}, {"place": None}]


def test_a_leader_that_cannot_be_read_is_still_somebody() -> None:
    told = leader_as_json(LeaderInfo(9))
    assert told is not None
    assert (told["token"], told["node_id"], told["readable"], told["endpoint"]) == (9, None, False, None)
    assert leads(LeaderInfo(9)) == "somebody leads whose record cannot be read (token 9)"
    assert leader_as_json(None) is None
    assert leads(None) == "nobody leads"
    assert leads(LeaderInfo(9, LeaderRecord("a", "s", "t", 3, 4))) == "a leads (epoch 4, token 9)"
