"""Who goes first in an election, and what operators may say about it (PROTOCOL A17, A24)."""

from __future__ import annotations

import pytest

from slurp_leader.election import (
    Consent,
    ConsentWanted,
    ElectionOptions,
    ElectionState,
    FitnessChanged,
    Reason,
    ResignWanted,
    StopWanted,
)
from slurp_leader.election.history.entries import (
    KEPT,
    ActionRecord,
    HistoryRecord,
    action_key,
    election_key,
    read_entries,
)
from slurp_leader.election.operator import Forced, OperatorRecord
from slurp_leader.election.ranking.candidates import Candidate
from slurp_leader.election.ranking.eligible import Cause
from slurp_leader.election.ranking.scoring import Free
from slurp_leader.election.records import LeaderRecord, epoch_value
from slurp_leader.election.transfer import Readiness, Stage, TransferRecord
from slurp_leader.errors import StoreDeniedError
from slurp_leader.failover.manifest import FailoverKeys
from slurp_leader.orders import Order
from slurp_leader.store import Delete, Event, EventKind, Get, KeepAlive, Put, Revoke, prefix_end
from support.electing import (
    KEYS,
    KEYSPACE,
    LENDING,
    OPTIONS,
    BeliefWatch,
    Node,
    crash,
    end,
    leader_key,
    leader_record,
    leading_node,
    node,
    order,
)
from support.virtual import World, Write, failed, late, writes_key

OPS = Order("ops", "maintenance", "2026-01-01T00:00:00Z")
BUSY, IDLE = Free(0.1, 0.1, 0.1), Free(0.9, 0.9, 0.9)


def three(world: World, **more: object) -> tuple[Node, Node, Node]:
    """A leader, a standby with little to give, and one with much; all know each other."""
    leader = leading_node(world, "a", **more)
    poor, rich = node(world, "b", free=BUSY, **more), node(world, "c", free=IDLE, **more)
    world.run_for(3)
    return leader, poor, rich


def two(world: World, **more: object) -> tuple[Node, Node]:
    """A leader and a standby; they know each other."""
    leader, other = leading_node(world, "a", **more), node(world, "b", **more)
    world.run_for(3)
    return leader, other


def put_leader(world: World, node_id: str) -> None:
    """Write the leader key in the name of a candidate, which knows nothing of it."""
    theirs = candidates(world)[node_id]
    record = LeaderRecord(node_id, theirs.session, "ff" * 16, 10, 7)
    world.apply(Put(KEYS.leader, record.to_value(), lease=theirs.lease))


def candidates(world: World) -> dict[str, Candidate]:
    found = world.apply(Get(KEYS.candidates, prefix_end(KEYS.candidates))).kvs
    read = [Candidate.from_value(kv.key, kv.value) for kv in found]
    return {each.node_id: each for each in read}


def history(world: World, epoch: int) -> HistoryRecord:
    return HistoryRecord.from_value(world.apply(Get(election_key(KEYS, epoch))).kvs[0])


def wish(world: World, **fields: object) -> None:
    """Wish for a handover, as `Wish` does."""
    key = leader_key(world)
    assert key is not None
    value = TransferRecord(Stage.WISHED, key.mod_revision, "w1", **fields).to_value()  # type: ignore[arg-type]
    world.apply(Put(KEYS.transfer, value))


# ---------------------------------------------------------------- ranks


def test_the_best_candidate_goes_at_once_and_the_others_do_not_even_try() -> None:
    world = World()
    leader, poor, rich = three(world)
    crash(leader)
    world.run_until(lambda: rich.leads, within_s=0.2)
    world.run_for(5)
    assert not poor.terms


def test_when_the_best_does_nothing_the_next_one_comes_within_the_bound() -> None:
    world = World()
    leader, poor, rich = three(world)
    rich.host.pause()
    crash(leader)
    world.run_for(OPTIONS.rank_wait_s * 0.7)
    assert not poor.terms
    world.run_until(lambda: poor.leads, within_s=OPTIONS.rank_wait_s * 0.4)


def test_when_a_later_one_comes_is_drawn_so_that_two_with_one_place_do_not_come_at_once() -> None:
    def comes_after(seed: int) -> float:
        world = World(seed)
        leader, poor, rich = three(world)
        rich.host.pause()
        crash(leader)
        began = world.clock.now
        world.run_until(lambda: poor.leads, within_s=OPTIONS.rank_wait_s + 0.1)
        return world.clock.now - began

    waits = [comes_after(seed) for seed in range(6)]
    assert max(waits) - min(waits) > 0.02


def test_the_weights_of_the_settings_decide_who_goes_first() -> None:
    shares = dict.fromkeys(("resources", "uptime", "network", "experience"), 0.0) | {"capability": 1.0}
    options = ElectionOptions(lease_ttl=10, **{f"weight_{name}": share for name, share in shares.items()})
    world = World()
    leader = leading_node(world, "a", options)
    able = node(world, "b", options, free=BUSY, capabilities=("project_manager",))
    idle = node(world, "c", options, free=IDLE)
    world.run_for(3)
    crash(leader)
    world.run_until(lambda: able.leads, within_s=0.2)
    assert not idle.terms
    assert history(world, 2).weights.to_fields() == shares


def test_the_wait_counts_from_the_vacancy_and_no_event_restarts_it() -> None:
    world = World()
    leader, poor, rich = three(world)
    rich.host.pause()
    crash(leader)
    for number in range(6):
        world.run_for(0.15)
        order(world, lambda orders, number=number: orders.block(f"nobody-{number}", OPS))
    world.run_until(lambda: poor.leads, within_s=0.2)


def test_without_a_wait_scores_decide_nothing() -> None:
    world = World()
    options = ElectionOptions(lease_ttl=10, rank_wait=0)
    leader = leading_node(world, "a", options)
    poor, rich = node(world, "b", options, free=BUSY), node(world, "c", options, free=IDLE)
    world.run_for(3)
    rich.host.pause()
    crash(leader)
    world.run_until(lambda: poor.leads, within_s=0.2)


def test_a_leader_that_lives_but_lost_the_key_goes_last() -> None:
    world = World()
    leader = leading_node(world, "a", free=IDLE)
    poor = node(world, "b", free=BUSY)
    world.run_for(3)
    leader.host.cut_off = True
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: poor.leads, within_s=0.2)


def test_a_cold_candidate_lets_a_warm_one_go_first() -> None:
    world = World()
    leader = leading_node(world, "a")
    cold = node(world, "b", free=IDLE, ready=lambda: Readiness(0))
    warm = node(world, "c", free=BUSY, ready=lambda: Readiness(1))
    world.run_for(3)
    assert (candidates(world)["b"].warm, candidates(world)["c"].warm) == (False, True)
    crash(leader)
    world.run_until(lambda: warm.leads, within_s=0.2)
    assert not cold.terms


def test_a_new_node_that_finds_a_vacancy_knows_the_others_before_it_tries() -> None:
    world = World()
    order(world, lambda orders: orders.freeze(OPS))
    best = node(world, "b", free=IDLE)
    world.run_for(2)
    best.host.pause()
    order(world, OperatorRecord.unfreeze)
    newcomer = node(world, "c", free=BUSY)
    world.run_for(0.5)
    assert not newcomer.terms
    world.run_until(lambda: newcomer.leads, within_s=1)


def test_who_takes_the_key_from_a_silent_holder_is_chosen_by_rank_too() -> None:
    world = World()
    leader, poor, rich = three(world)
    watch = BeliefWatch([leader, poor, rich])
    world.on_write.append(watch)
    leader.host.cut_off = True
    world.order(late(60), host=leader.host)
    world.run_until(lambda: rich.leads, within_s=25)
    assert not poor.terms
    assert not watch.violations


# ---------------------------------------------------------------- what a candidate says of itself


def test_a_candidate_tells_at_once_that_it_is_unfit_and_that_it_is_well_again() -> None:
    world = World()
    leading_node(world, "a")
    standby = node(world, "b")
    world.run_for(3)
    standby.seat.post(FitnessChanged("disk full"))
    world.run_for(0.1)
    assert candidates(world)["b"].unfit == "disk full"
    standby.seat.post(FitnessChanged(""))
    world.run_until(lambda: candidates(world)["b"].unfit == "", within_s=2)


def test_a_late_copy_of_what_a_candidate_said_before_does_not_last() -> None:
    world = World()
    leading_node(world, "a")
    standby = node(world, "b")
    world.run_for(10)
    own_key = KEYS.candidate(candidates(world)["b"].session)
    world.order(late(8), writes_key(own_key), host=standby.host, times=1)
    standby.seat.post(FitnessChanged("disk full"))  # not answered, and written again
    world.run_for(2)
    standby.seat.post(FitnessChanged(""))
    world.run_until(lambda: candidates(world)["b"].unfit == "", within_s=2)
    world.run_until(lambda: candidates(world)["b"].unfit != "", within_s=10)
    world.run_until(lambda: candidates(world)["b"].unfit == "", within_s=2)


def test_a_record_that_somebody_deleted_is_written_again_at_once() -> None:
    world = World()
    leading_node(world, "a")
    node(world, "b")
    world.run_for(10)
    world.apply(Delete(KEYS.candidate(candidates(world)["b"].session)))
    world.run_until(lambda: "b" in candidates(world), within_s=2)
    written = len(world.log)
    world.run_for(30)
    assert sum(event.kv.key.startswith(KEYS.candidates) for write in world.log[written:] for event in write.events) <= 2


def test_a_candidate_counts_what_it_has_led() -> None:
    world = World()
    first = leading_node(world, "a")
    second = node(world, "b")
    world.run_for(20)
    first.seat.post(ResignWanted(first.term.token, 0.0))
    world.run_until(lambda: second.leads, within_s=5)
    world.run_for(100)
    inputs = candidates(world)["a"].inputs
    assert inputs.terms_led == 1
    assert 15 < inputs.led_s < 40
    assert inputs.round_trip_s == pytest.approx(0.002, abs=0.001)
    assert inputs.uptime_s > 60


def test_the_record_of_a_candidate_ends_with_its_session() -> None:
    world = World()
    leading_node(world, "a")
    standby = node(world, "b")
    world.run_for(3)
    assert set(candidates(world)) == {"a", "b"}
    standby.seat.post(StopWanted())
    world.run_for(3)
    assert set(candidates(world)) == {"a"}


def test_a_forged_candidate_that_hangs_on_no_lease_holds_nobody_up() -> None:
    world = World()
    leader, _, rich = three(world)
    forged = Candidate("z", "zz", 1, 10, inputs=candidates(world)["c"].inputs)
    world.apply(Put(KEYS.candidate("zz"), forged.to_value()))
    world.apply(Put(KEYS.candidate("garbage"), b"\xff{"))
    crash(leader)
    world.run_until(lambda: rich.leads, within_s=0.2)


def test_a_node_that_vetoed_lets_others_go_first_and_says_why() -> None:
    world = World()
    shy = node(world, "a", needs_consent=True)
    world.run_until(lambda: (ElectionState.CANDIDATE, Reason.STARTED) in shy.states, within_s=3)
    shy.told = lambda said: (
        shy.seat.post(Consent(said.term.token, "no room")) if isinstance(said, ConsentWanted) else None
    )
    world.run_for(1)
    shy.told = None
    world.run_for(1.5)
    assert candidates(world)["a"].unfit == "it was elected and could not start: no room"


# ---------------------------------------------------------------- orders


def test_in_a_frozen_election_the_leader_goes_on_and_nobody_follows_it() -> None:
    world = World()
    leader, poor, rich = three(world)
    order(world, lambda orders: orders.freeze(OPS))
    world.run_for(60)
    assert leader.leads
    assert len(leader.terms) == 1
    crash(leader)
    world.run_for(60)
    assert not poor.terms
    assert not rich.terms
    assert rich.held_back == "the election is frozen by ops: maintenance"
    order(world, OperatorRecord.unfreeze)
    world.run_until(lambda: rich.leads, within_s=1)
    assert rich.held_back == ""


def test_a_frozen_election_may_be_handed_over() -> None:
    world = World()
    leader, _, rich = three(world, lending=LENDING)
    order(world, lambda orders: orders.freeze(OPS))
    leader.stop()
    world.run_until(lambda: rich.leads, within_s=5)
    assert rich.last_reason is Reason.HANDOVER


def test_a_silent_successor_in_a_frozen_election_is_replaced_by_who_appointed_it() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    deaf = node(world, "b", lending=LENDING)
    world.run_for(3)
    order(world, lambda orders: orders.freeze(OPS))

    def pause_at_handover(write: Write) -> None:
        if any(event.kv.key == KEYS.leader and event.kind is EventKind.PUT for event in write.events):
            deaf.host.pause()

    world.on_write.append(pause_at_handover)
    wish(world, to="b")
    world.run_until(lambda: len(leader.terms) == 2 and leader.leads, within_s=20)
    assert leader.last_reason is Reason.STOLEN


def test_who_resigns_in_a_frozen_election_hands_over_and_gives_nothing_back() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    order(world, lambda orders: orders.freeze(OPS))
    world.run_for(1)
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.run_for(20)
    assert (leader.leads, len(leader.terms)) == (True, 1)
    other = node(world, "b", lending=LENDING)
    world.run_for(2)
    leader.seat.post(ResignWanted(leader.term.token, 2.0))
    world.run_until(lambda: other.leads, within_s=2)


def test_an_order_refuses_the_campaign_that_was_decided_on_before_it() -> None:
    world = World()
    leader, other = two(world)
    world.order(late(0.5), writes_key(KEYS.leader), host=other.host, times=1)
    crash(leader)
    world.run_for(0.2)  # its campaign is under way
    order(world, lambda orders: orders.freeze(OPS))
    world.run_for(30)
    assert leader_key(world) is None
    assert not other.terms


def test_an_order_refuses_the_handover_that_was_decided_on_before_it_and_the_leader_goes_on() -> None:
    world = World()
    leader, other = two(world, lending=LENDING)
    world.order(late(0.5), writes_key(KEYS.leader), host=leader.host, times=1)
    wish(world, to="b")
    world.run_for(0.2)
    order(world, lambda orders: orders.block("b", OPS))
    world.run_for(10)
    assert leader.leads
    assert len(leader.terms) == 1
    assert not other.terms


def test_a_blocked_candidate_never_leads_and_says_why() -> None:
    world = World()
    leader, blocked = two(world)
    order(world, lambda orders: orders.block("b", OPS))
    crash(leader)
    world.run_for(60)
    assert not blocked.terms
    assert blocked.held_back == "it is blocked by ops: maintenance"
    order(world, lambda orders: orders.unblock("b"))
    world.run_until(lambda: blocked.leads, within_s=1)


def test_a_blocked_leader_hands_over() -> None:
    world = World()
    leader, _, rich = three(world, lending=LENDING)
    order(world, lambda orders: orders.block("a", OPS))
    world.run_until(lambda: rich.leads, within_s=2)
    assert rich.last_reason is Reason.HANDOVER
    assert history(world, 2).why == "a: it is blocked by ops: maintenance"
    world.run_for(30)
    assert len(leader.terms) == 1


def test_a_blocked_leader_with_nobody_to_hand_over_to_gives_the_term_back() -> None:
    world = World()
    leader = leading_node(world, "a")
    order(world, lambda orders: orders.block("a", OPS))
    world.run_until(lambda: leader_key(world) is None, within_s=10)
    world.run_for(30)
    assert len(leader.terms) == 1
    order(world, lambda orders: orders.unblock("a"))
    world.run_until(lambda: leader.leads, within_s=3)


def test_a_blocked_leader_of_a_frozen_election_stays_until_somebody_can_take_over() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    order(world, lambda orders: orders.freeze(OPS).block("a", OPS))
    world.run_for(30)
    assert leader.leads
    late_one = node(world, "b", lending=LENDING)
    world.run_until(lambda: late_one.leads, within_s=15)
    assert late_one.last_reason is Reason.HANDOVER


def test_a_key_in_the_name_of_a_blocked_node_is_cleared_by_it_and_not_taken() -> None:
    world = World()
    leader, other = two(world)
    key = leader_key(world)
    assert key is not None
    order(world, lambda orders: orders.block("b", OPS).block("a", OPS))
    put_leader(world, "b")
    world.run_until(lambda: leader_key(world) is None, within_s=2)
    world.run_for(10)
    assert not other.terms
    assert not leader.leads


def test_a_late_copy_of_a_clearing_takes_the_key_from_nobody() -> None:
    """A7a: it compares the key that it saw; else whoever leads by then lost the lead to a blocked node."""
    world = World()
    leader, other = two(world)
    order(world, lambda orders: orders.block("b", OPS))
    rule = world.order(late(6.0), writes_key(KEYS.leader), host=other.host, times=1)
    put_leader(world, "b")
    world.run_until(lambda: rule.met > 0, within_s=2)
    world.run_until(lambda: leader.leads, within_s=5)
    token = leader.term.token
    world.run_for(10)
    assert (leader.leads, leader.term.token) == (True, token)
    assert not other.terms


def test_a_pinned_node_is_handed_the_lead_and_gets_it_back_when_it_returns() -> None:
    world = World()
    leader, poor, rich = three(world, lending=LENDING)
    order(world, lambda orders: orders.pin("b", OPS))
    world.run_until(lambda: poor.leads, within_s=2)
    crash(poor)
    world.run_until(lambda: leader.leads or rich.leads, within_s=3)
    poor.start()
    world.run_until(lambda: poor.leads, within_s=15)


def test_only_the_pinned_node_campaigns_while_it_is_there_and_fit() -> None:
    world = World()
    leader, poor, rich = three(world)
    poor.host.pause()
    order(world, lambda orders: orders.pin("b", OPS))
    crash(leader)
    world.run_for(6)  # its lease lives
    assert not rich.terms
    assert "pinned to b by ops" in rich.held_back
    world.run_until(lambda: rich.leads, within_s=15)  # its lease is over


def test_an_unfit_pinned_node_does_not_keep_the_others_from_leading() -> None:
    world = World()
    leader, poor, rich = three(world)
    order(world, lambda orders: orders.pin("b", OPS))
    poor.seat.post(FitnessChanged("disk full"))
    world.run_for(0.1)
    crash(leader)
    world.run_until(lambda: rich.leads, within_s=3)


def test_block_goes_before_freeze_and_freeze_before_pin() -> None:
    world = World()
    leader, poor, rich = three(world)
    order(world, lambda orders: orders.pin("b", OPS).block("b", OPS))
    crash(leader)
    world.run_until(lambda: rich.leads, within_s=3)
    assert not poor.terms


def test_an_older_leader_hands_over_to_a_node_of_the_version_that_is_wanted() -> None:
    world = World()
    leader = leading_node(world, "a", version="1.9.0", lending=LENDING)
    node(world, "b", version="1.9.0", lending=LENDING)
    world.run_for(2)
    order(world, lambda orders: orders.require_version("1.10", OPS))
    world.run_for(15)
    assert leader.leads
    newer = node(world, "c", version="1.10.0", lending=LENDING)
    world.run_until(lambda: newer.leads, within_s=15)


def test_who_is_too_old_leads_all_the_same_when_there_is_nobody_else() -> None:
    world = World()
    order(world, lambda orders: orders.require_version("2", OPS))
    old = node(world, "a", version="1.0")
    world.run_until(lambda: old.leads, within_s=3)


def test_orders_that_cannot_be_read_forbid_nothing() -> None:
    world = World()
    world.apply(Put(KEYS.operator, b'{"schema": 1, "frozen": 7}'))
    only = node(world, "a")
    world.run_until(lambda: only.leads, within_s=1)


def test_nobody_campaigns_before_enough_nodes_stand() -> None:
    world = World()
    options = ElectionOptions(lease_ttl=10, min_nodes=3)
    nodes = [node(world, name, options) for name in "ab"]
    world.run_for(30)
    assert not any(each.terms for each in nodes)
    assert nodes[0].held_back == "2 of at least 3 nodes stand (election.min_nodes)"
    nodes.append(node(world, "c", options))
    world.run_until(lambda: any(each.leads for each in nodes), within_s=3)


def test_enough_nodes_are_needed_to_begin_and_not_to_go_on() -> None:
    world = World()
    options = ElectionOptions(lease_ttl=10, min_nodes=2)
    nodes = [node(world, name, options) for name in "ab"]
    world.run_until(lambda: any(each.leads for each in nodes), within_s=3)
    leader = next(each for each in nodes if each.leads)
    standby = next(each for each in nodes if each is not leader)
    standby.host.crash()
    world.run_for(60)
    assert leader.leads
    assert len(leader.terms) == 1


def test_two_processes_with_one_node_id_count_once() -> None:
    world = World()
    options = ElectionOptions(lease_ttl=10, min_nodes=2)
    nodes = [node(world, name, options, node_id="same") for name in "ab"]
    world.run_for(30)
    assert not any(each.terms for each in nodes)


def test_who_lacks_a_capability_neither_campaigns_nor_is_handed_the_lead() -> None:
    world = World()
    requires = ("project_manager",)
    leader = leading_node(world, "a", capabilities=("Project-Manager",), requires=requires, lending=LENDING)
    lacking = node(world, "b", requires=requires, lending=LENDING)
    world.run_for(3)
    wish(world, to="b")
    world.run_for(3)
    assert leader.leads
    standing = world.apply(Get(KEYS.transfer)).kvs[0]
    assert TransferRecord.from_value(standing.key, standing.value).reason == Cause.CAPABILITY
    crash(leader)
    world.run_for(30)
    assert not lacking.terms
    assert lacking.held_back == "it lacks the capability project_manager"


def test_who_may_not_lead_by_its_own_rules_refuses_what_a_leader_with_others_offers() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    lacking = node(world, "b", requires=("project_manager",), lending=LENDING)
    world.run_for(3)
    wish(world, to="b")
    world.run_for(3)
    standing = world.apply(Get(KEYS.transfer)).kvs[0]
    assert TransferRecord.from_value(standing.key, standing.value).reason == "unfit"
    assert (leader.leads, lacking.terms) == (True, [])


# ---------------------------------------------------------------- a pin to a node that does not campaign


def test_a_pinned_node_that_stops_keeps_nobody_from_leading_while_what_it_lent_ends() -> None:
    world = World()
    pinned = leading_node(world, "a", lending=LENDING, drains_at_once=False)
    others = [node(world, name, lending=LENDING) for name in "bc"]
    world.run_for(2)
    order(world, lambda orders: orders.pin("a", OPS))
    pinned.stop()
    world.run_until(lambda: any(each.leads for each in others), within_s=5)
    others.sort(key=lambda each: each.leads)
    crash(others.pop())
    world.run_until(lambda: others[0].leads, within_s=4)
    assert pinned.finished is None


def test_a_pinned_node_that_lacks_what_it_requires_itself_keeps_nobody_from_leading() -> None:
    world = World()
    leader = leading_node(world, "a")
    other = node(world, "b")
    node(world, "c", requires=("project_manager",))
    world.run_for(2)
    order(world, lambda orders: orders.pin("c", OPS))
    world.run_for(5)
    crash(leader)
    world.run_until(lambda: other.leads, within_s=3)


def test_a_pinned_node_that_has_resigned_keeps_nobody_from_leading_meanwhile() -> None:
    world = World()
    pinned = leading_node(world, "a", lending=LENDING)
    order(world, lambda orders: orders.pin("a", OPS))
    pinned.seat.post(ResignWanted(pinned.term.token, 60.0))
    world.run_until(lambda: leader_key(world) is None, within_s=5)
    other = node(world, "b", lending=LENDING)
    world.run_until(lambda: other.leads, within_s=5)


def test_a_pinned_node_that_cannot_start_is_handed_the_lead_more_and_more_seldom() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    shy = node(world, "b", lending=LENDING, needs_consent=True)
    shy.told = lambda said: (
        shy.seat.post(Consent(said.term.token, "no room")) if isinstance(said, ConsentWanted) else None
    )
    world.run_for(2)
    order(world, lambda orders: orders.pin("b", OPS))
    world.run_for(600)
    assert leader.leads
    assert 4 < len(leader.terms) < 10


def test_a_pinned_node_without_the_rights_to_lead_keeps_nobody_from_leading() -> None:
    """A26. It says so, and tries all the same: nobody tells it when it has them."""
    world = World()
    leader, other, pinned = leading_node(world, "a"), node(world, "b"), node(world, "c")
    denied = world.order(failed(StoreDeniedError("no rights")), writes_key(KEYS.leader), host=pinned.host)
    world.run_for(3)
    crash(leader)
    order(world, lambda orders: orders.pin("c", OPS))
    world.run_until(lambda: other.leads, within_s=15)
    assert "it may not take the key: no rights" in candidates(world)["c"].unfit
    crash(other)
    tried = denied.met
    world.run_until(lambda: denied.met > tried + 3)
    end(world, denied)
    world.run_until(lambda: pinned.leads, within_s=15)
    world.run_for(2)
    assert not candidates(world)["c"].unfit


def test_a_pinned_node_that_waits_for_more_nodes_keeps_nobody_from_leading() -> None:
    world = World()
    order(world, lambda orders: orders.pin("b", OPS))
    pinned, other = node(world, "b", OPTIONS.but(min_nodes=3)), node(world, "a")
    world.run_until(lambda: other.leads, within_s=5)
    third = node(world, "c")
    world.run_until(lambda: pinned.leads, within_s=15)
    assert not third.terms


def test_a_leader_that_the_lead_is_pinned_to_may_step_down_all_the_same_and_gets_it_back() -> None:
    world = World()
    pinned = leading_node(world, "a", lending=LENDING)
    other = node(world, "b", lending=LENDING)
    world.run_for(2)
    order(world, lambda orders: orders.pin("a", OPS))
    wish(world, steps_down=True)
    world.run_until(lambda: other.leads, within_s=1)
    assert other.last_reason is Reason.HANDOVER
    world.run_for(1)
    assert other.leads
    world.run_until(lambda: pinned.leads, within_s=5)
    assert (len(pinned.terms), len(other.terms), leader_key(world) is None) == (2, 1, False)


def test_a_wish_does_not_take_the_lead_from_who_it_is_pinned_to() -> None:
    world = World()
    pinned = leading_node(world, "a", lending=LENDING)
    node(world, "b", lending=LENDING)
    world.run_for(2)
    order(world, lambda orders: orders.pin("a", OPS))
    wish(world, to="b")
    world.run_for(3)
    standing = world.apply(Get(KEYS.transfer)).kvs[0]
    assert TransferRecord.from_value(standing.key, standing.value).reason == Cause.PINNED_ELSEWHERE
    assert len(pinned.terms) == 1


def test_a_pinned_successor_that_stays_silent_is_replaced_as_soon_as_any_other() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    deaf = node(world, "b", lending=LENDING)
    world.run_for(2)

    def pause_at_handover(write: Write) -> None:
        if any(event.kv.key == KEYS.leader and event.kind is EventKind.PUT for event in write.events):
            deaf.host.pause()

    world.on_write.append(pause_at_handover)
    order(world, lambda orders: orders.pin("b", OPS))
    world.run_until(lambda: len(leader.terms) == 2 and leader.leads, within_s=OPTIONS.takeover_timeout_s + 1.5)


def test_a_pinned_holder_that_is_silent_loses_the_key_although_its_lease_lives() -> None:
    world = World()
    pinned = leading_node(world, "a")
    other = node(world, "b")
    world.run_for(2)
    order(world, lambda orders: orders.pin("a", OPS))
    world.run_for(1)
    key = leader_key(world)
    assert key is not None
    pinned.host.pause()
    for _ in range(8):  # somebody else renews its lease
        world.run_for(2)
        world.apply(KeepAlive(key.lease))
    assert other.leads


def test_a_deaf_node_learns_who_else_stands_when_the_holder_is_silent_too() -> None:
    world = World()
    leader, deaf, pinned = three(world)
    order(world, lambda orders: orders.pin("c", OPS))
    key = leader_key(world)
    assert key is not None
    leader.host.pause()
    deaf.host.deaf = True
    pinned.host.crash()
    world.apply(Revoke(candidates(world)["c"].lease))
    for _ in range(10):  # somebody else renews the lease of the silent holder
        world.run_for(2)
        world.apply(KeepAlive(key.lease))
    assert deaf.leads


# ---------------------------------------------------------------- stepping down, and force


def test_a_leader_that_is_to_step_down_hands_over() -> None:
    world = World()
    leader, _, rich = three(world, lending=LENDING)
    wish(world, by="ops", why="reboot", steps_down=True)
    world.run_until(lambda: rich.leads, within_s=3)
    assert (history(world, 2).by, history(world, 2).why) == ("ops", "reboot")
    assert leader.last_reason is Reason.HANDOVER


def test_with_nobody_to_hand_over_to_it_gives_the_term_back_and_its_wish_is_gone_with_it() -> None:
    world = World()
    leader = leading_node(world, "a")
    wish(world, by="ops", steps_down=True)
    world.run_until(lambda: leader_key(world) is None, within_s=5)
    assert leader.last_reason is Reason.RESIGNED
    assert not world.apply(Get(KEYS.transfer)).kvs
    world.run_until(lambda: len(leader.terms) == 2, within_s=10)
    world.run_for(20)
    assert leader.leads  # the wish meant the old term, and no other


def orders_told(world: World) -> list[ActionRecord]:
    """What the history tells of operators."""
    entries, unreadable = read_entries(world.apply(Get(KEYS.history, prefix_end(KEYS.history))).kvs)
    assert not unreadable
    return [each for each in entries if isinstance(each, ActionRecord)]


def test_a_term_given_back_for_an_operator_is_told_of_with_who_wished_it_in_the_same_transaction() -> None:
    world = World()
    leader = leading_node(world, "a")
    released: list[Write] = []
    world.on_write.append(lambda write: released.append(write) if any(_frees(each) for each in write.events) else None)
    wish(world, by="ops", why="reboot", steps_down=True)
    world.run_until(lambda: leader_key(world) is None, within_s=5)
    (told,) = orders_told(world)
    assert (told.action, told.epoch, told.by, told.why) == ("step_down", 1, "ops", "reboot")
    assert [write.revision for write in released] == [told.revision]
    world.run_until(lambda: len(leader.terms) == 2, within_s=10)
    leader.seat.post(ResignWanted(leader.term.token, 0.0))
    world.run_until(lambda: len(leader.terms) == 3, within_s=10)
    assert len(orders_told(world)) == 1  # who gives it back by itself tells nothing of an operator


def _frees(event: Event) -> bool:
    return event.kind is EventKind.DELETE and event.kv.key == KEYS.leader


def test_a_step_down_that_is_a_handover_is_told_of_once() -> None:
    world = World()
    _, _, rich = three(world, lending=LENDING)
    wish(world, by="ops", why="reboot", steps_down=True)
    world.run_until(lambda: rich.leads, within_s=3)
    assert orders_told(world) == []
    assert history(world, 2).by == "ops"


def test_only_the_newest_step_downs_are_remembered() -> None:
    world = World()
    world.apply(Put(KEYS.epoch, epoch_value(KEPT)))
    world.apply(Put(action_key(KEYS, 1, "step-down"), ActionRecord("step_down", 1, "ops").to_value()))
    world.apply(Put(action_key(KEYS, 2, "step-down"), ActionRecord("step_down", 2, "ops").to_value()))
    leading_node(world, "a")
    wish(world, by="ops", steps_down=True)
    world.run_until(lambda: leader_key(world) is None, within_s=5)
    assert [each.epoch for each in orders_told(world)] == [2, KEPT + 1]


def test_in_a_frozen_election_it_does_not_give_the_term_back() -> None:
    world = World()
    leader = leading_node(world, "a")
    order(world, lambda orders: orders.freeze(OPS))
    wish(world, by="ops", steps_down=True)
    world.run_for(20)
    assert leader.leads
    assert len(leader.terms) == 1
    standing = world.apply(Get(KEYS.transfer)).kvs[0]
    assert TransferRecord.from_value(standing.key, standing.value).stage is Stage.REFUSED


def force(world: World, to: str = "") -> None:
    """As `Orders.force` does."""
    key = leader_key(world)
    assert key is not None
    record = LeaderRecord.from_value(key.key, key.value)
    order(world, lambda orders: orders.force(Forced(record.epoch, to, record.session, OPS)))
    world.apply(Delete(KEYS.leader))


def test_after_force_the_named_node_goes_first() -> None:
    world = World()
    leader, poor, rich = three(world)
    force(world, "b")
    world.run_until(lambda: poor.leads, within_s=0.3)
    world.run_for(20)
    assert poor.leads
    assert not rich.terms
    assert len(leader.terms) == 1


def test_after_force_whoever_led_goes_last_and_leads_again_when_it_is_alone() -> None:
    world = World()
    leader = leading_node(world, "a")
    force(world)
    world.run_until(lambda: leader.last_reason is Reason.FENCED, within_s=3)
    world.run_until(lambda: len(leader.terms) == 2, within_s=5)


def test_a_forced_choice_counts_for_one_election_only() -> None:
    world = World()
    leader, poor, rich = three(world)
    force(world, "b")
    world.run_until(lambda: poor.leads, within_s=1)
    crash(poor)
    world.run_until(lambda: rich.leads or leader.leads, within_s=0.3)


# ---------------------------------------------------------------- what is remembered


def test_each_term_is_told_of_in_the_transaction_that_begins_it() -> None:
    world = World()
    leader, _, rich = three(world)
    crash(leader)
    world.run_until(lambda: rich.leads, within_s=1)
    told = history(world, 2)
    assert told.token == rich.term.token
    assert (told.node_id, told.before, told.reason) == ("c", "a", "elected")
    assert [each.candidate.node_id for each in told.standings] == ["c", "b"]
    assert told.standings[0].score.total > told.standings[1].score.total
    assert told.vacancy_s is not None
    assert told.vacancy_s < 0.2
    assert told.waited_s == 0.0


def test_the_history_tells_how_long_the_winner_waited_for_better_ones() -> None:
    world = World()
    leader, poor, rich = three(world)
    rich.host.pause()
    crash(leader)
    world.run_until(lambda: poor.leads, within_s=2)
    told = history(world, 2)
    assert told.waited_s == pytest.approx(0.9, abs=0.15)
    assert told.vacancy_s == pytest.approx(told.waited_s, abs=0.1)
    assert told.rank_wait_s == 1.0


def test_a_handover_is_told_of_with_who_wanted_it() -> None:
    world = World()
    _, poor, _ = three(world, lending=LENDING)
    wish(world, to="b", by="ops", why="reboot of a")
    world.run_until(lambda: poor.leads, within_s=3)
    told = history(world, 2)
    assert (told.reason, told.node_id, told.before, told.by, told.why) == ("handover", "b", "a", "ops", "reboot of a")
    assert {each.candidate.node_id for each in told.standings} == {"b", "c"}
    assert told.vacancy_s is None
    assert told.rank_wait_s is None  # nobody let others go first


def test_the_default_successor_is_the_best_candidate() -> None:
    world = World()
    leader, _, rich = three(world, lending=LENDING)
    leader.seat.post(ResignWanted(leader.term.token, 0.0))
    world.run_until(lambda: rich.leads, within_s=3)


def test_only_the_newest_elections_are_remembered() -> None:
    world = World()
    only = leading_node(world, "a")
    world.apply(Put(KEYS.epoch, epoch_value(KEPT)))
    world.apply(Put(election_key(KEYS, 1), b"{}"))
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: len(only.terms) == 2, within_s=5)
    assert only.term.epoch == KEPT + 1
    assert not world.apply(Get(election_key(KEYS, 1))).kvs
    assert world.apply(Get(election_key(KEYS, KEPT + 1))).kvs


@pytest.mark.parametrize(("stands", "next_epoch"), [(10**10 - 2, 10**10 - 1), (10**10 - 1, 1), (10**18, 1)])
def test_epochs_have_ten_digits_whatever_somebody_writes(stands: int, next_epoch: int) -> None:
    """With more of them the key of a manifest would lie in the range that makes room for it, and etcd refuses that."""
    world = World()
    only = leading_node(world, "a")
    world.apply(Put(KEYS.epoch, epoch_value(stands)))
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: len(only.terms) == 2, within_s=5)
    assert only.term.epoch == next_epoch
    manifests = FailoverKeys(KEYSPACE)
    for room in manifests.make_room(next_epoch):
        assert room.range_end is not None
        assert manifests.manifest(next_epoch) >= room.range_end


def test_whom_an_operator_named_goes_first_also_when_it_is_unfit() -> None:
    world = World()
    leader, poor, rich = three(world)
    poor.seat.post(FitnessChanged("disk full"))
    world.run_for(0.1)
    force(world, "b")
    world.run_until(lambda: poor.leads, within_s=0.3)
    assert not rich.terms
    assert len(leader.terms) == 1


def test_being_handed_the_lead_again_and_again_is_no_sign_of_losing_it() -> None:
    world = World()
    first = leading_node(world, "a", lending=LENDING)
    second = node(world, "b", lending=LENDING)
    world.run_for(3)
    for number in range(10):
        to = "b" if number % 2 == 0 else "a"
        wish(world, to=to)
        world.run_until(lambda to=to: (second if to == "b" else first).leads, within_s=5)
    world.run_for(30)
    assert first.leads
    assert [(each.unfit, each.cooling) for each in candidates(world).values()] == [("", False), ("", False)]


def test_an_order_is_obeyed_at_once_also_right_after_a_leader_looked_for_a_successor() -> None:
    world = World()
    leader = leading_node(world, "a", lending=LENDING)
    order(world, lambda orders: orders.freeze(OPS).block("a", OPS))
    world.run_for(1)  # nobody can take over: it looks again in ten seconds
    assert leader.leads
    order(world, OperatorRecord.unfreeze)
    world.run_until(lambda: leader_key(world) is None, within_s=1)


def test_how_long_nobody_led_is_not_told_by_who_came_later() -> None:
    world = World()
    leader = leading_node(world, "a")
    crash(leader)
    world.run_for(20)
    late_one = node(world, "b")
    world.run_until(lambda: late_one.leads, within_s=1)
    assert history(world, 2).vacancy_s is None


@pytest.mark.parametrize("hung", [False, True])
def test_a_term_that_is_ended_by_force_is_taken_by_another_although_the_lead_is_pinned(hung: bool) -> None:
    world = World()
    leader, other = leading_node(world, "a", lending=LENDING), node(world, "b", lending=LENDING)
    order(world, lambda orders: orders.pin("a", Order("ops")))
    world.run_for(20.5)
    if hung:
        leader.host.pause()
        world.run_for(0.5)
    record = leader_record(world)
    order(world, lambda orders: orders.force(Forced(record.epoch, "", record.session, Order("ops", "hangs"))))
    world.apply(Delete(KEYS.leader))
    world.run_until(lambda: other.leads, within_s=2)
    if not hung:
        world.run_until(lambda: leader.leads, within_s=30)  # it is pinned, and well
