"""The lease and the node key: repeated grants, lost leases, two processes with one name (PROTOCOL A12, A22, A23)."""

from __future__ import annotations

import logging

from slurp_leader.election import DuplicateNode, ElectionState, Finished, Reason
from slurp_leader.election.events import Note
from slurp_leader.errors import LeaseNotFoundError, StoreChangedError, StoreDeniedError
from slurp_leader.store import Grant, Header, KeepAlive, KeepAliveResult, Put, Revoke
from support.electing import KEYS, OPTIONS, leader_key, leading_node, node
from support.virtual import World, answer_lost, connection_refused, failed, request_lost, writes_key


def grants(request) -> bool:
    return isinstance(request, Grant)


def test_an_unknown_grant_is_repeated_with_the_same_id_and_not_leaked() -> None:
    world = World()
    world.order(answer_lost(), grants, times=1)
    seen: list[int] = []
    apply = world.state.apply

    def note(request):
        if isinstance(request, Grant):
            seen.append(request.lease_id)
        return apply(request)

    world.state.apply = note
    candidate = node(world)
    world.run_until(lambda: candidate.leads)
    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert leader_key(world).lease == seen[0]


def test_a_registration_whose_answer_was_lost_is_found_done() -> None:
    world = World()
    candidate = node(world)
    registers = writes_key(b"/slurp/v1/test/m/nodes/a/" + candidate.elector._sessions.current.name.encode())
    world.order(answer_lost(), registers, times=1)
    world.run_until(lambda: candidate.leads)
    assert [state for state, _ in candidate.states] == [ElectionState.CANDIDATE, ElectionState.LEADER]


def test_a_lost_lease_leads_to_a_new_session_under_another_name() -> None:
    world = World()
    leader = leading_node(world)
    before = leader.term
    world.apply(Revoke(leader_key(world).lease))
    world.run_until(lambda: len(leader.terms) == 2 and leader.leads)
    assert leader.term.session != before.session
    assert not before.is_valid


def test_a_candidate_without_a_term_notices_that_its_lease_is_gone() -> None:
    world = World()
    leading_node(world, "a")
    candidate = node(world, "b")
    world.run_for(1.0)
    candidate.host.cut_off = True
    world.run_for(OPTIONS.lease_ttl_s + 1.0)
    candidate.host.cut_off = False
    world.run_for(5.0)
    assert (ElectionState.FOLLOWER, Reason.EXPIRED) in candidate.states
    assert candidate.state is ElectionState.CANDIDATE


def test_lease_not_found_in_answer_to_a_keepalive_ends_the_term_at_once() -> None:
    world = World()
    leader = leading_node(world)
    world.order(failed(LeaseNotFoundError()), lambda request: isinstance(request, KeepAlive), times=1)
    world.run_for(OPTIONS.renew_interval_s + 0.01)
    assert (ElectionState.FOLLOWER, Reason.EXPIRED) in leader.states


def test_a_lease_that_ran_out_before_the_registration_starts_the_session_anew() -> None:
    world = World()
    candidate = node(world)
    first = candidate.elector._sessions.current.name
    world.order(request_lost(), writes_key(b"/slurp/v1/test/m/nodes/a/" + first.encode()))
    world.run_until(lambda: world.state.next_expiry() < float("inf"))
    world.run_for(OPTIONS.lease_ttl_s + 0.1)
    world.rules.clear()
    world.run_until(lambda: candidate.leads, within_s=10.0)
    assert candidate.term.session != first


def test_two_live_processes_with_one_node_id_share_nothing_and_the_newer_one_says_so() -> None:
    """A23"""
    world = World()
    older = leading_node(world, "a")
    newer = node(world, "b", node_id="a")
    world.run_for(1.0)
    assert not newer.leads
    assert not any(isinstance(said, DuplicateNode) for said in newer.said)  # it could be a crashed predecessor's
    world.run_for(2 * OPTIONS.lease_ttl_s)
    assert [said for said in newer.said if isinstance(said, DuplicateNode)] == [
        DuplicateNode("a", (older.term.session,))
    ]
    assert older.leads


def test_a_crashed_predecessor_is_not_reported_as_a_duplicate() -> None:
    world = World()
    crashed = leading_node(world, "a")
    crashed.host.crash()
    crashed.start()
    world.run_for(3 * OPTIONS.lease_ttl_s)
    assert crashed.leads
    assert not any(isinstance(said, DuplicateNode) for said in crashed.said)


def test_a_duplicate_that_has_gone_is_taken_back() -> None:
    world = World()
    older, newer = leading_node(world, "a"), node(world, "b", node_id="a")
    world.run_for(2 * OPTIONS.lease_ttl_s)
    older.stop()
    world.run_for(2 * OPTIONS.lease_ttl_s)
    assert [said.sessions for said in newer.said if isinstance(said, DuplicateNode)][-1] == ()


def test_a_store_that_denies_access_is_asked_ever_more_slowly_and_for_ever() -> None:
    world = World()
    rule = world.order(failed(StoreDeniedError()))
    denied = node(world)
    world.run_for(60.0)
    assert 15 <= rule.met <= 40
    world.rules.clear()
    world.run_until(lambda: denied.leads, within_s=2 * OPTIONS.retry_interval_s)


def test_an_outage_is_warned_of_once_and_again_when_it_comes_back() -> None:
    world = World()
    leading_node(world, "a")
    candidate = node(world, "b")
    world.run_for(1.0)
    for outage in (1, 2):
        rule = world.order(connection_refused(), host=candidate.host)
        world.run_for(OPTIONS.lease_ttl_s / 2)
        world.rules.remove(rule)
        world.run_for(OPTIONS.lease_ttl_s / 2)
        warned = [note for note in candidate.said if isinstance(note, Note) and note.level == logging.WARNING]
        assert len(warned) == outage


def test_another_etcd_behind_the_same_address_ends_everything_at_once() -> None:
    """A10, I10: a changed cluster id counts at once."""
    world = World()
    leader = leading_node(world)
    apply = world.state.apply

    def other_cluster(request):
        answer = apply(request)
        if isinstance(answer, KeepAliveResult):
            return KeepAliveResult(Header(99, 1, answer.header.revision, 1), answer.lease_id, answer.ttl_s)
        return answer

    world.state.apply = other_cluster
    world.run_for(OPTIONS.renew_interval_s + 0.1)
    assert leader.finished == Finished(clean=False, why="another etcd cluster answers: id 63, before 1")
    assert leader.last_reason is Reason.STORE_CHANGED
    assert not leader.terms[0].is_valid


def test_a_store_that_reports_another_cluster_ends_everything_whatever_was_asked() -> None:
    for chosen in (grants, lambda request: isinstance(request, KeepAlive), writes_key(KEYS.leader)):
        world = World()
        world.order(failed(StoreChangedError("it went back")), chosen)
        standing = node(world)
        world.run_until(lambda n=standing: n.finished is not None, within_s=5.0)
        assert standing.last_reason is Reason.STORE_CHANGED
        assert standing.finished == Finished(clean=False, why="it went back")


def test_sessions_of_one_node_in_other_elections_are_no_duplicates() -> None:
    """A process that stands in several elections has a session in each, all under its node id."""
    world = World()
    world.apply(Put(b"/slurp/v1/test/m/nodes/a/elsewhere", b'{"schema":1,"node":"a","election":"mail"}'))
    leader = leading_node(world)
    world.run_for(2 * OPTIONS.lease_ttl_s)
    assert not any(isinstance(said, DuplicateNode) for said in leader.said)

    world.apply(Put(b"/slurp/v1/test/m/nodes/a/earlier-version", b'{"schema":1,"node":"a"}'))
    newer = node(world, "b", node_id="a")
    world.run_for(2 * OPTIONS.lease_ttl_s)
    found = [said.sessions for said in newer.said if isinstance(said, DuplicateNode)]
    assert found == [tuple(sorted(("earlier-version", leader.term.session)))]  # one that does not say may be one
