"""``slurp leader``: orders, stepping down and force, and why a node leads or does not; on real nodes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cli.conftest import Slurp
from slurp_leader import LeaderObserver, SlurpLeaderSystem, SlurpSettings
from slurp_leader.cli import orders
from slurp_leader.cli.asking import Asked, Lead, asking
from slurp_leader.cli.options import Invocation
from slurp_leader.election import ElectionKeys
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.records import LeaderRecord, epoch_value
from slurp_leader.election.transfer import Stage, TransferRecord
from slurp_leader.errors import StoreError, StoreTimeoutError
from slurp_leader.store import Grant, Put, Store
from slurp_leader.store.keyspace import Keyspace
from support.calls import do, get
from support.waiting import WAIT_S, until


@pytest.fixture
def other(node: SlurpLeaderSystem) -> Iterator[SlurpLeaderSystem]:
    """A second node, which stands."""
    with SlurpLeaderSystem(SlurpSettings(node={"id": "node-b"})) as system:
        until(lambda: "node-b" in {row.node_id for row in system.leader.simulate().rows}, not_yet=StoreError)
        yield system


def history(slurp: Slurp, *more: object) -> list[dict[str, Any]]:
    """The entries, the newest first."""
    told = slurp("leader", "history", "--json", *more).json
    assert (told["election"], told["unreadable"]) == ("slurp", 0)
    return list(told["entries"])


def test_a_frozen_election_is_shown_and_told_of_and_thawed(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    nothing = "nothing changed: the election 'slurp'"
    done = slurp("leader", "freeze", "--why", "the night", "--by", "ops", "--json").json
    assert (done["action"], done["changed"]) == ("freeze", True)
    assert done["orders"]["frozen"]["why"] == "the night"
    assert slurp("leader", "orders").out == "frozen by ops: the night\n"
    assert slurp("leader", "freeze").out == f"{nothing} was frozen already by ops: the night\n"
    assert slurp("leader", "unfreeze").out == "the election 'slurp' is not frozen any more\n"
    assert slurp("leader", "unfreeze").out == f"{nothing} was not frozen\n"
    assert slurp("leader", "orders").out == "nothing is ordered in the election 'slurp'\n"
    assert [each["action"] for each in history(slurp) if each["kind"] == "order"] == ["unfreeze", "freeze"]


def test_blocking_the_leader_moves_the_lead_and_explain_says_why(
    slurp: Slurp, node: SlurpLeaderSystem, other: SlurpLeaderSystem
) -> None:
    said, leads = slurp("leader", "block", "node-a", "--why", "new disk", "--by", "ops").out.splitlines()
    assert said == "node-a is blocked in the election 'slurp'"
    assert leads.startswith("node-b leads (epoch 2, ")
    assert other.wait_for_leadership(WAIT_S)
    told = slurp("leader", "explain", "node-a", "--json").json
    assert "node-a handed the lead over" in told["sentence"]
    assert any("blocked by ops: new disk" in note for note in told["notes"])
    assert slurp("leader", "explain", "node-b").out.startswith("node-b leads since ")
    assert slurp("leader", "explain", "node-b", "--epoch", 1).out.startswith("node-a led in epoch 1")
    assert slurp("leader", "transfer", "--to", "node-a", "--json").error["reason"] == "blocked"
    slurp("leader", "unblock", "node-a")
    done = slurp("leader", "transfer", "--to", "node-a", "--by", "ops", "--why", "back", "--json").json
    assert done["to"] == "node-a"
    (newest,) = history(slurp, "--limit", 1)
    assert (newest["node_id"], newest["by"], newest["why"], newest["before"]) == ("node-a", "ops", "back", "node-b")


def test_who_does_not_follow_an_order_in_time_is_said(
    slurp: Slurp, node: SlurpLeaderSystem, other: SlurpLeaderSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "_LONGEST_LOOK_S", 0.2)
    other.add_health_check("never", lambda: False, interval=0.05)
    until(lambda: next(row.against for row in node.leader.simulate().rows if row.node_id == "node-b"))
    pinned = slurp("leader", "pin", "node-b")
    assert pinned.out.splitlines()[1].startswith("node-a leads ")
    assert "that has not changed yet: `slurp leader explain node-b` tells why" in pinned.err


def test_pin_moves_the_lead(slurp: Slurp, node: SlurpLeaderSystem, other: SlurpLeaderSystem) -> None:
    assert slurp("leader", "pin", "node-b", "--json").json["leader"]["node_id"] == "node-b"
    assert other.wait_for_leadership(WAIT_S)
    assert "pinned to node-b" in slurp("leader", "orders").out
    stepped = slurp("leader", "step-down")
    assert stepped.code == 0
    assert "the lead is pinned to node-b, which takes it again" in stepped.err
    assert slurp("leader", "unpin").code == 0


def test_step_down_hands_over_or_gives_back(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    alone = slurp("leader", "step-down", "--by", "alice", "--why", "new disk", "--json").json
    assert (alone["from"], alone["leader"]) == ("node-a", None)
    assert node.wait_for_leadership(WAIT_S)
    told = [each for each in slurp("leader", "history", "--json").json["entries"] if each["kind"] == "order"]
    assert [(each["action"], each["by"], each["why"]) for each in told] == [("step_down", "alice", "new disk")]
    with SlurpLeaderSystem(SlurpSettings(node={"id": "node-b"})) as second:
        until(lambda: len(second.leader.simulate().rows) == 2)
        done = slurp("leader", "step-down", "--json").json
        assert (done["from"], done["leader"]["node_id"]) == ("node-a", "node-b")


def test_force_asks_or_wants_to_be_told_and_ends_the_term(
    slurp: Slurp, node: SlurpLeaderSystem, other: SlurpLeaderSystem
) -> None:
    assert slurp("leader", "force").code == 2
    assert node.is_leader
    before = node.require_term()
    over, leads = slurp("leader", "force", "--yes", "--to", "node-b").out.splitlines()
    assert over == "the term of the election 'slurp' is over; node-b goes first"
    assert leads.startswith("node-b leads (epoch 2, token ")
    assert other.wait_for_leadership(WAIT_S)
    assert before.lost.wait(WAIT_S)
    assert told_to_be_in_force(slurp) == [{}, {}, "nothing is ordered in the election 'slurp'\n"]  # that one is spent
    assert "forced" not in slurp("leader", "block", "node-x", "--json").json["orders"]
    refused = slurp("leader", "force", "--yes", "--to", "nowhere", "--json")
    assert (refused.code, refused.error["reason"]) == (6, "unknown")


def test_simulate_tries_other_weights_and_changes_nothing(
    slurp: Slurp, node: SlurpLeaderSystem, other: SlurpLeaderSystem
) -> None:
    told = slurp(
        "leader", "simulate", "--weights", "capability=1,resources=0,uptime=0,network=0,experience=0", "--json"
    )
    assert [row["score"] for row in told.json["candidates"]] == [0.8, 0.8]
    wrong = slurp("leader", "simulate", "--weights", "capability=0.5", "--json")
    assert (wrong.code, wrong.error["type"], wrong.error["field"]) == (2, "UsageError", "weights")
    assert slurp("leader", "simulate").out.startswith("If an election were held now, ")
    assert node.is_leader


def test_what_cannot_be_read_is_counted_and_the_rest_is_shown(
    slurp: Slurp, node: SlurpLeaderSystem, cluster: str, etcd_store: Store
) -> None:
    base = f"/slurp/v1/{cluster}/"
    etcd_store.call(Put(f"{base}b/history/slurp/0000000000".encode(), b"{"), WAIT_S).result()
    etcd_store.call(Put(f"{base}m/election/slurp/control/operator".encode(), b"["), WAIT_S).result()
    shown = slurp("leader", "history")
    assert "1 records cannot be read" in shown.err
    assert "node-a" in shown.out
    assert "cannot be read" in slurp("leader", "orders").err
    assert slurp("leader", "orders", "--json").json["problem"]


def test_without_any_history_it_says_so(slurp: Slurp, cluster: str) -> None:
    assert slurp("leader", "history").out == "nothing is remembered of the election 'slurp': nobody has led yet\n"
    assert slurp("leader", "explain", "me").out == "Nobody leads. No candidate is called me: nobody stands.\n"
    assert slurp("leader", "explain", "me").code == 5
    assert slurp("leader", "explain").out == "Nobody leads: nobody stands.\n"
    assert slurp("leader", "explain", "me", "--epoch", 4, "--json").code == 5


def test_an_order_about_a_node_that_does_not_stand_goes_through_and_says_so(
    slurp: Slurp, node: SlurpLeaderSystem, other: SlurpLeaderSystem
) -> None:
    away = "slurp: node-away does not stand now (node-a, node-b do)\n"
    done = slurp("leader", "block", "node-away", "--by", "ops", "--why", "old")
    said, leads = done.out.splitlines()
    assert (said, done.err) == ("node-away is blocked in the election 'slurp'", away)
    assert leads.startswith("node-a leads ")
    again = slurp("leader", "block", "node-away").out.splitlines()
    assert again == ["nothing changed: node-away was blocked already in the election 'slurp' by ops: old", leads]
    pinned = slurp("leader", "pin", "node-away")
    assert pinned.out.splitlines()[1].startswith("node-a leads ")
    assert pinned.err == f"{away}slurp: that has not changed yet: `slurp leader explain node-away` tells why\n"
    for order in (("transfer",), ("force", "--yes")):
        refused = slurp("leader", *order, "--to", "node-gone")
        assert refused.err.startswith(away.replace("node-away", "node-gone"))
        assert "see who stands with `slurp status`" in refused.err
    assert slurp("leader", "pin", "node-a").err == ""


def test_an_order_that_changes_nothing_says_what_was_so(slurp: Slurp, cluster: str) -> None:
    def told(*order: str) -> str:
        return slurp("leader", *order, "--by", "ops").out.removeprefix("nothing changed: ").splitlines()[0]

    assert told("unblock", "ghost") == "ghost was not blocked in the election 'slurp'"
    assert told("unpin") == "no node was pinned in the election 'slurp'"
    assert told("require-version", "") == "any version would do already in the election 'slurp'"
    told("pin", "node-a")
    assert told("pin", "node-a") == "the lead of the election 'slurp' was pinned to node-a already by ops"
    told("require-version", "2")
    assert told("require-version", "2") == "version 2 or newer was preferred already in the election 'slurp', by ops"


def test_who_orders_it_is_never_nobody_and_why_is_one_line(slurp: Slurp, cluster: str) -> None:
    refused = slurp("leader", "freeze", "--by", " ", "--json")
    assert (refused.code, refused.error["type"]) == (2, "UsageError")
    assert slurp("leader", "transfer", "--by", "").code == 2
    slurp("leader", "freeze", "--by", "ops", "--why", "one\nand \x1b[2Jtwo")
    assert slurp("leader", "orders").out == "frozen by ops: one\\nand \\x1b[2Jtwo\n"
    assert len(slurp("leader", "freeze").out.splitlines()) == 1
    assert len(slurp("leader", "history").out.splitlines()) == 2


def test_explain_without_a_node_is_about_who_leads(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    text = slurp("leader", "explain").out
    assert text.startswith("node-a leads since ")
    assert "The candidates as they stood in epoch 1, at " in text
    assert " CAP " in text
    assert " WAIT " in text
    told = slurp("leader", "explain", "--json").json
    assert (told["node_id"], told["nobody_leads"], told["leads"]) == ("node-a", False, True)
    assert [row["place"] for row in told["candidates"]] == [1]
    assert slurp("leader", "explain", "--epoch", 1).out.startswith("node-a leads since ")
    unknown = slurp("leader", "explain", "nobody-knows", "--json")
    assert (unknown.code, unknown.json["node_id"]) == (5, "nobody-knows")
    assert "No candidate is called nobody-knows" in unknown.json["sentence"]


def test_explain_without_a_node_says_of_every_candidate_why_nobody_leads(
    slurp: Slurp, node: SlurpLeaderSystem, other: SlurpLeaderSystem
) -> None:
    for name in ("node-b", "node-a"):
        slurp("leader", "block", name, "--by", "ops")
    until(lambda: slurp("leader", "show").code == 3)
    told = slurp("leader", "explain", "--json").json
    assert (told["node_id"], told["nobody_leads"], told["sentence"]) == (None, True, "Nobody leads.")
    for name in ("node-a", "node-b"):
        assert any(note.startswith(f"{name} does not campaign: it is blocked by ops") for note in told["notes"])
    text = slurp("leader", "explain").out
    assert text.startswith("Nobody leads.\n  - node-")
    assert "The candidates as they stand now:" in text
    assert slurp("leader", "show").err.endswith("see why with `slurp leader explain`\n")
    assert "see why with `slurp leader explain`" in slurp("status").out


def test_force_tells_who_leads_next_or_that_nobody_does_yet(
    slurp: Slurp, node: SlurpLeaderSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = slurp("leader", "force", "--yes", "--json").json
    assert (told["action"], told["leader"]["node_id"], told["leader"]["epoch"]) == ("force", "node-a", 2)
    monkeypatch.setattr(orders, "_leader_once", lambda _asked, _is_it: orders._Seen())
    assert slurp("leader", "force", "--yes").out.splitlines()[1] == "nobody leads yet"


def test_the_wait_for_the_next_leader_ends(slurp: Slurp, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_LONGEST_LOOK_S", 0.1)
    with asking(Invocation()) as asked:
        assert orders._leader_once(asked, bool) == orders._Seen()
    with asking(Invocation(timeout=0.1)) as asked:
        until(lambda: not asked.store.remaining_s())
        # etcd is not given the time to answer: said, and no failure
        assert orders._leader_once(asked, bool) == orders._Seen(is_known=False)


@pytest.mark.parametrize("order", [("pin", "node-x"), ("block", "node-x")], ids=" ".join)
def test_an_order_that_stands_is_told_of_where_etcd_does_not_say_who_leads_after_it(
    slurp: Slurp, cluster: str, monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    def silent(_: Asked) -> None:
        raise StoreTimeoutError("nothing was heard")

    monkeypatch.setattr(Asked, "lead", silent)
    told = slurp("leader", *order, "--json")
    assert (told.code, told.json["changed"], "leader" in told.json) == (0, True, False)
    assert "the order stands, but etcd did not say who leads now: nothing was heard" in told.err
    again = slurp("leader", *order)
    assert again.code == 0
    assert len(again.out.splitlines()) == 1  # that nobody leads is not known


def told_to_be_in_force(slurp: Slurp) -> list[Any]:
    """What every command says that tells of it."""
    as_json = [slurp(*command, "--json").json["orders"] for command in (("leader", "orders"), ("status",))]
    return [*as_json, slurp("leader", "orders").out]


def test_a_force_is_in_force_until_somebody_leads_again(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    hang_in(ElectionKeys.of(Keyspace(cluster), "slurp"), etcd_store)
    slurp("leader", "force", "--yes", "--to", "node-b", "--by", "ops", "--why", "it hangs")
    own, of_status, text = told_to_be_in_force(slurp)
    assert own["forced"] == of_status["forced"]
    assert (own["forced"]["to"], own["forced"]["why"]) == ("node-b", "it hangs")
    assert text == "node-b goes first after epoch 1, which was ended by force, by ops: it hangs\n"
    assert text.strip() in slurp("status").out.replace("\n", " ").replace("  ", "")


def hang_in(keys: ElectionKeys, store: Store) -> None:
    """An election in which node-a leads and does nothing more, and node-b stands."""
    lease = do(store, Grant(secrets.randbits(62), 60)).lease_id
    for name in ("node-a", "node-b"):
        each = Candidate(name, f"s-{name}", lease, 60)
        do(store, Put(keys.candidate(each.session), each.to_value(), lease=lease))
    silent = LeaderRecord("node-a", "s-node-a", "ab" * 16, 60, 1)
    do(store, Put(keys.epoch, epoch_value(1)))
    do(store, Put(keys.leader, silent.to_value(), lease=lease))


def test_while_the_leader_hangs_explain_says_how_a_pin_comes_true(
    slurp: Slurp, cluster: str, etcd_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "_LONGEST_LOOK_S", 0.1)
    hang_in(ElectionKeys.of(Keyspace(cluster), "reports"), etcd_store)
    slurp("leader", "pin", "node-b", "--election", "reports", "--by", "ops")
    waits = (
        "node-b is pinned by ops, and fit; node-a has not handed over to it yet. If node-a does not answer: "
        "`slurp leader force --to node-b --election reports`."
    )
    explain = ("leader", "explain", "--election", "reports", "--json")
    assert slurp(*explain, "node-b").json["sentence"].endswith(waits)
    assert waits in slurp(*explain).json["notes"]
    with LeaderObserver("reports") as anybody:
        assert str(anybody.explain("node-b")).startswith("node-a leads")
        assert waits in str(anybody.explain("node-b"))


def test_a_wish_that_nobody_obeys_in_time_is_taken_back(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    """It would be obeyed when the leader wakes up, with nobody waiting for it any more."""
    keys = ElectionKeys.of(Keyspace(cluster), "slurp")
    hang_in(keys, etcd_store)
    told = slurp("leader", "transfer", "--to", "node-b", "--timeout", 4, "--json")
    assert (told.code, told.error["reason"], told.error["outcome"]) == (75, "timeout", "not_applied")
    assert get(etcd_store, keys.transfer) is None


def test_a_node_that_refuses_the_lead_makes_no_handover(slurp: Slurp, node: SlurpLeaderSystem) -> None:
    refusing = SlurpLeaderSystem(SlurpSettings(node={"id": "node-b"}))

    @refusing.on_elected
    def mounted(term: Any) -> bool:
        return False

    with refusing:
        until(lambda: len(node.leader.simulate().rows) == 2)
        refused = slurp("leader", "transfer", "--to", "node-b", "--json")
        assert (refused.code, refused.error["reason"]) == (75, "vetoed")
        assert refused.error["message"].startswith("node-b was handed the lead and refused it: on_elected ")
        assert refused.error["message"].endswith(" returned False")
        assert node.wait_for_leadership(WAIT_S)
        (veto,) = [each for each in history(slurp) if each["kind"] == "veto"]
        assert (veto["epoch"], veto["what"]) == (2, "node-b")
        assert veto["why"].endswith(" returned False")
        assert "  refused " in slurp("leader", "history").out
        told = slurp("leader", "explain", "--epoch", 2).out
        assert told.startswith("node-b was to lead in epoch 2")
        assert "gave the term of epoch 2 back before it led" in told
        until(lambda: slurp("leader", "transfer", "--to", "node-b", "--dry-run").code)  # it has published it
        for dry_run in ([], ["--dry-run"]):
            again = slurp("leader", "transfer", "--to", "node-b", "--json", *dry_run)
            assert (again.code, again.error["reason"]) == (75, "unfit")
            assert "node-b is not fit: it was elected and could not start" in again.error["message"]
        assert node.require_term().epoch == 3


def test_who_holds_the_lead_and_does_not_lead_yet_is_not_said_to_lead(
    slurp: Slurp, node: SlurpLeaderSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "_LONGEST_LOOK_S", 1.0)
    asked, answered = threading.Event(), threading.Event()
    slow = SlurpLeaderSystem(SlurpSettings(node={"id": "node-b"}))

    @slow.on_elected
    def mounted(term: Any) -> None:
        asked.set()
        answered.wait(WAIT_S)

    with slow:
        until(lambda: len(node.leader.simulate().rows) == 2)
        pinned = slurp("leader", "pin", "node-b")
        assert asked.wait(WAIT_S)
        assert pinned.out.splitlines()[1].startswith("node-b holds the lead, and does not lead yet (epoch 2, ")
        assert "that has not changed yet" in pinned.err
        shown = slurp("leader", "show", "--json").json
        assert (shown["leader"]["node_id"], shown["starting"], shown["handover"]) == ("node-b", True, None)
        assert "it does not lead yet" in slurp("leader", "show").out
        answered.set()
        assert slow.wait_for_leadership(WAIT_S)
        until(lambda: not slurp("leader", "show", "--json").json["starting"])
        assert "starting" not in slurp("leader", "show").out


def test_pin_waits_for_the_node_to_lead_that_holds_the_lead(
    slurp: Slurp, node: SlurpLeaderSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, seen_starting = Asked.lead, threading.Event()

    def watched(asked: Asked) -> Lead:
        lead = look(asked)
        if not lead.has_begun:
            seen_starting.set()
        return lead

    slow = SlurpLeaderSystem(SlurpSettings(node={"id": "node-b"}))

    @slow.on_elected
    def mounted(term: Any) -> bool:
        return seen_starting.wait(WAIT_S)

    with slow:
        until(lambda: len(node.leader.simulate().rows) == 2)
        monkeypatch.setattr(Asked, "lead", watched)
        pinned = slurp("leader", "pin", "node-b")
        assert pinned.out.splitlines()[1].startswith("node-b leads (epoch 2, ")
        assert pinned.err == ""


def test_a_handover_that_is_under_way_is_shown(slurp: Slurp, cluster: str, etcd_store: Store) -> None:
    keys = ElectionKeys.of(Keyspace(cluster), "slurp")
    lease = do(etcd_store, Grant(secrets.randbits(62), 60)).lease_id
    leader = LeaderRecord("node-a", "s-node-a", "ab" * 16, 60, 1)
    token = do(etcd_store, Put(keys.leader, leader.to_value(), lease=lease)).header.revision
    offer = TransferRecord(Stage.OFFERED, token, "w", "node-b", "ops", "new disk", node_id="node-b")
    do(etcd_store, Put(keys.epoch, b"1"))
    do(etcd_store, Put(keys.transfer, offer.to_value()))
    said = "node-b is asked to take over, by ops: new disk"
    assert f"handover  {said}\n" in slurp("leader", "show").out
    assert slurp("leader", "show", "--json").json["handover"] == {
        "offered_to": "node-b",
        "steps_down": False,
        "to": "node-b",
        "by": "ops",
        "why": "new disk",
    }
    assert f"A handover is under way: {said}." in slurp("leader", "explain", "--json").json["notes"]


@pytest.mark.parametrize(("order", "default_s"), [("transfer", 30.0), ("step-down", 60.0)])
def test_a_handover_is_waited_for_as_long_as_by_the_library(
    slurp: Slurp, cluster: str, monkeypatch: pytest.MonkeyPatch, order: str, default_s: float
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Asked, "say_who_stands", lambda asked, *_: waits.append(asked.call.timeout_s))
    slurp("leader", order)
    slurp("leader", order, "--timeout", 5)
    slurp("--timeout", 6, "leader", order)
    assert waits == [default_s, 5, 6]
    told = " ".join(slurp("leader", order, "--help").out.replace("│", " ").split())
    assert "or the lead has not been" in told
    assert f"(default: {default_s:g})" in told
