"""`--election` and `slurp leader ls`: which election a command is about, and what hints at a wrong name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.conftest import Slurp
from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.cli.elections import elections_in
from slurp_leader.store import KeyValue, Put, Store
from slurp_leader.store.keyspace import Keyspace
from support.waiting import WAIT_S, until

pytestmark = pytest.mark.etcd


@pytest.fixture
def reports(cluster: str) -> Iterator[LeaderElection]:
    """A service that leads an election of its own."""
    with LeaderElection("reports", SlurpSettings(node={"id": "node-r"})) as election:
        assert election.wait_for_leadership(WAIT_S)
        yield election


def test_a_command_is_about_the_election_that_is_named(slurp: Slurp, reports: LeaderElection) -> None:
    shown = slurp("leader", "show", "--election", "reports", "--json").json
    assert (shown["election"], shown["leader"]["node_id"]) == ("reports", "node-r")
    frozen = slurp("leader", "freeze", "--election", "reports", "--by", "ops")
    assert (frozen.out, frozen.err) == ("the election 'reports' is frozen\n", "")
    assert slurp("leader", "orders", "--election", "reports", "--json").json["orders"]["frozen"]["by"] == "ops"
    assert slurp("leader", "orders", "--json").json["orders"] == {}
    assert slurp("leader", "--election", "reports", "show", "--json").json["leader"]["node_id"] == "node-r"
    assert slurp("status", "--election", "reports", "--json").json["leader"]["node_id"] == "node-r"
    assert slurp("leader", "explain", "--election", "reports").out.startswith("node-r leads since ")
    wrong = slurp("leader", "show", "--election", "a/b", "--json")
    assert (wrong.code, wrong.error["type"]) == (2, "UsageError")
    assert slurp("leader", "show", "--election", "").code == 2


def test_an_order_where_nobody_stands_says_so_and_names_the_elections_that_there_are(
    slurp: Slurp, reports: LeaderElection
) -> None:
    hint = "slurp: nobody stands in the election 'slurp'; there are nodes of: reports\n"
    done = slurp("leader", "block", "node-r")
    assert (done.code, done.out, done.err) == (0, "node-r is blocked in the election 'slurp'\nnobody leads\n", hint)
    shown = slurp("leader", "show")
    assert (shown.code, shown.err.startswith(hint)) == (3, True)
    assert shown.err.endswith("see why with `slurp leader explain`\n")
    assert "there are nodes of: reports" in slurp("status").out


def test_what_is_to_be_done_next_names_the_election(slurp: Slurp, reports: LeaderElection) -> None:
    pinned = slurp("leader", "pin", "zz", "--election", "reports")
    assert "`slurp leader explain zz --election reports` tells why" in pinned.err
    slurp("leader", "freeze", "--election", "nobodys")
    (problem,) = slurp("status", "--election", "nobodys", "--json").json["problems"]
    assert problem["fix"] == "hold elections again with `slurp leader unfreeze --election nobodys`"
    shown = slurp("leader", "show", "--election", "nobodys", "--json")
    assert shown.error["fix"] == "see why with `slurp leader explain --election nobodys`"
    assert shown.err.endswith(f"{shown.error['fix']}\n")


def test_without_any_other_election_the_hint_is_short(slurp: Slurp, cluster: str) -> None:
    assert slurp("leader", "freeze", "--json").err == "slurp: nobody stands in the election 'slurp'\n"
    assert slurp("leader", "step-down").err.splitlines()[0] == "slurp: nobody stands in the election 'slurp'"


def test_status_shows_the_nodes_of_its_own_election(
    slurp: Slurp, node: SlurpLeaderSystem, reports: LeaderElection
) -> None:
    assert [each["node_id"] for each in slurp("status", "--json").json["nodes"]] == ["node-a"]
    of_reports = slurp("status", "--election", "reports", "--json").json
    assert [each["node_id"] for each in of_reports["nodes"]] == ["node-r"]
    assert of_reports["problems"] == []


def test_ls_lists_every_election_of_the_cluster(slurp: Slurp, node: SlurpLeaderSystem, reports: LeaderElection) -> None:
    slurp("leader", "freeze", "--election", "old", "--by", "ops")
    until(lambda: [each["candidates"] for each in slurp("leader", "ls", "--json").json["elections"]] == [0, 1, 1])
    old, of_reports, own = slurp("leader", "ls", "--json").json["elections"]
    assert old == {"election": "old", "leader": None, "epoch": 0, "candidates": 0, "frozen": True}
    assert (of_reports["leader"]["node_id"], of_reports["epoch"], of_reports["frozen"]) == ("node-r", 1, False)
    assert (own["election"], own["leader"]["node_id"]) == ("slurp", "node-a")
    lines = [line.split() for line in slurp("leader", "ls").out.splitlines()]
    assert lines[1] == ["old", "nobody", "0", "0", "by", "ops"]
    assert lines[2] == ["reports", "node-r", "1", "1", "no"]


def test_ls_of_an_empty_cluster_says_so(slurp: Slurp, cluster: str) -> None:
    result = slurp("leader", "ls")
    assert (result.code, result.out) == (0, "")
    assert "no elections" in result.err
    assert slurp("leader", "ls", "--json").json["elections"] == []


def test_an_election_with_a_session_and_no_key_is_listed_and_a_foreign_key_is_not() -> None:
    session = KeyValue(b"/slurp/v1/c/m/nodes/a/1", b'{"schema": 1, "node": "a", "election": "web"}', 1, 1, 1)
    foreign = KeyValue(b"/slurp/v1/c/m/election/a b/leader", b"{}", 1, 1, 1)
    broken = KeyValue(b"/slurp/v1/c/m/nodes/a/2", b"{", 1, 1, 1)
    assert [each.name for each in elections_in(Keyspace("c"), [foreign], [session, broken])] == ["web"]


def test_a_leader_that_cannot_be_read_is_listed_as_somebody(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    etcd_store.call(Put(f"/slurp/v1/{cluster}/m/election/slurp/leader".encode(), b"?"), WAIT_S).result()
    (held,) = slurp("leader", "ls", "--json").json["elections"]
    assert (held["leader"]["node_id"], held["leader"]["readable"]) == (None, False)
    assert "cannot be read" in slurp("leader", "ls").out
    assert slurp("leader", "explain").out.startswith("Somebody leads whose record cannot be read.")
