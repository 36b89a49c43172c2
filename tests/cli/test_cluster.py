"""`status` and `leader`: what an operator sees, also of what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cli.conftest import Slurp
from slurp_leader import LeaderChanged, LeaderControl, SlurpLeaderSystem, SlurpSettings
from slurp_leader.cli.overview import overview, read
from slurp_leader.clock import SystemClock
from slurp_leader.etcd.local import EtcdCluster, EtcdProcess
from slurp_leader.store import Put, Store
from slurp_leader.store.keyspace import Keyspace
from support.waiting import WAIT_S, until

pytestmark = pytest.mark.etcd


def test_status_tells_who_leads_and_how_queue_nodes_and_store_are(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    slurp("submit", "greet.py", "--wait", "--for", WAIT_S)
    slurp("submit", "greet.py", "--delay", 3600)
    document = slurp("status", "--json").json
    assert document["leader"]["node_id"] == "node-a"
    assert document["epoch"] == 1
    assert document["queue"] == {"pending": 0, "scheduled": 1, "running": 0, "parked": 0, "outcomes_kept": 1}
    assert [(each["node_id"], each["leads"]) for each in document["nodes"]] == [("node-a", True)]
    assert document["store"]["alarms"] == []
    assert document["problems"] == []
    text = slurp("status").out
    assert "node-a (epoch 1" in text
    assert "no alarms" in text


def test_status_of_an_empty_cluster_says_that_nobody_leads(slurp: Slurp, cluster: str) -> None:
    result = slurp("status")
    assert result.code == 0
    assert "! nobody leads; start a node with `slurp run`" in result.out
    assert [problem["what"] for problem in slurp("status", "--json").json["problems"]] == ["no_leader"]


def test_an_alarm_of_etcd_is_a_problem_with_its_fix(etcd_store: Store) -> None:
    keyspace = Keyspace("nobody-is-here")
    seen = read(etcd_store, keyspace, WAIT_S)
    full = replace(seen, store=replace(seen.store, alarms=("NOSPACE",)))
    document = overview(full, keyspace, "slurp", SystemClock())
    assert [problem["what"] for problem in document["problems"]] == ["no_leader", "alarm"]
    assert "disarm" in document["problems"][1]["fix"]


def test_a_corrupt_record_is_shown_as_parked(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    job_id = "01a208d6-957d-7000-8355-cafd07bc6916"
    key = f"/slurp/v1/{cluster}/m/queue/{job_id}".encode()
    etcd_store.call(Put(key, b"\x00 no record"), WAIT_S).result()
    good = slurp("submit", "a.py").out.strip()
    parked = slurp("jobs", "ls", "--status", "parked", "--json").json["jobs"]
    assert [job["id"] for job in parked] == [job_id]
    assert "parked" in slurp("jobs", "ls").out
    assert slurp("jobs", "show", job_id, "--json").json["jobs"][0]["status"] == "parked"
    document = slurp("status", "--json").json
    assert (document["queue"]["parked"], document["queue"]["pending"]) == (1, 1)
    assert list(document["parked"]) == [key.decode()]
    assert "cannot be read" in slurp("status").out
    assert good in slurp("jobs", "ls").out


def test_a_corrupt_leader_record_is_somebody_who_leads(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    etcd_store.call(Put(f"/slurp/v1/{cluster}/m/election/slurp/leader".encode(), b"?"), WAIT_S).result()
    shown = slurp("leader", "show")
    assert shown.code == 0
    assert "cannot be read" in shown.out
    assert slurp("leader", "show", "--json").json["leader"]["readable"] is False
    assert "leader_unreadable" in [problem["what"] for problem in slurp("status", "--json").json["problems"]]


def test_a_second_node_with_the_same_id_is_a_problem_that_status_names(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    with SlurpLeaderSystem(SlurpSettings(node={"id": "node-a"})) as second:
        second.leader.wait(WAIT_S)
        sessions = 0
        while sessions < 2:
            document = slurp("status", "--json").json
            sessions = len(document["nodes"])
        assert [problem["what"] for problem in document["problems"]] == ["duplicate_node"]
        assert "give each node its own node.id" in slurp("status").out


def test_leader_show_exits_with_3_when_nobody_leads(slurp: Slurp, cluster: str) -> None:
    result = slurp("leader", "show", "--json")
    assert (result.code, result.error["type"]) == (3, "NoLeaderError")
    assert slurp("leader", "show", "--for", 0.2).code == 3


def test_leader_show_tells_token_and_epoch(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    assert node.term is not None
    shown = slurp("leader", "show", "--for", 1, "--json").json
    assert (shown["leader"]["token"], shown["leader"]["epoch"]) == (node.term.token, 1)
    assert f"token     {node.term.token}" in slurp("leader", "show").out


def test_leader_transfer_hands_the_lead_over(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    refused = slurp("leader", "transfer", "--json")
    assert (refused.code, refused.error["type"], refused.error["reason"]) == (75, "HandoverError", "no_candidate")
    assert slurp("leader", "transfer", "--to", "node-a", "--json").error["reason"] == "itself"
    with SlurpLeaderSystem(SlurpSettings(node={"id": "node-b"})) as other:
        to_b = ("leader", "transfer", "--to", "node-b")
        planned = until(lambda: (asked := slurp(*to_b, "--dry-run")).code == 0 and asked)
        assert planned.out == "node-a would hand over to node-b in the election 'slurp'\n"
        assert node.is_leader
        done = slurp(*to_b, "--why", "to see", "--json").json
        assert (done["from"], done["to"], done["dry_run"]) == ("node-a", "node-b", False)
        assert other.wait_for_leadership(WAIT_S)
        assert other.term is not None
        assert (done["leader"]["token"], done["leader"]["reason"]) == (other.term.token, "handover")
        assert slurp("leader", "transfer").out.startswith("node-a leads (epoch 3, token ")


def test_leader_watch_begins_with_how_things_stand(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    assert "node-a leads (epoch 1" in slurp("leader", "watch", "--count", 1).out
    assert slurp("leader", "watch", "--count", 1, "--json").json["leader"]["node_id"] == "node-a"


@pytest.mark.parametrize(
    ("missed", "words"),
    [
        (0, ""),
        (3, " (missed before this one: 3)"),
        (None, " (changes before this one were missed; nobody knows how many)"),
    ],
)
def test_leader_watch_says_what_it_could_not_tell(
    slurp: Slurp, cluster: str, monkeypatch: pytest.MonkeyPatch, missed: int | None, words: str
) -> None:
    changes = [LeaderChanged(None, 7, missed=missed)]
    monkeypatch.setattr(LeaderControl, "watch", lambda self: iter(changes))
    assert slurp("leader", "watch", "--count", 1).out.rstrip("\n").endswith(f"nobody leads{words}")
    assert slurp("leader", "watch", "--count", 1, "--json").json["missed"] == missed


def test_status_without_quorum_says_that_it_is_the_quorum(
    slurp: Slurp, monkeypatch: pytest.MonkeyPatch, etcd_server: EtcdProcess
) -> None:
    with EtcdCluster(3, extra_args=("--heartbeat-interval=50", "--election-timeout=300")) as etcd:
        monkeypatch.setenv("SLURP_ETCD__ENDPOINTS", etcd.endpoints[0])
        for member in etcd.members[1:]:
            member.kill()
        result = slurp("status", "--timeout", 5)
        assert result.code == 69
        while "quorum" not in result.err:  # the member takes its election timeout to notice
            result = slurp("status", "--timeout", 1)
            assert result.code == 69
