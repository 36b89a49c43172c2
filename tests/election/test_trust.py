"""The trust window: what moves it, what does not, and from when it counts (PROTOCOL D, A1, A13)."""

from __future__ import annotations

import pytest

from slurp_leader.election import ElectionOptions, ElectionState, Reason, Renewed
from slurp_leader.errors import LeadershipLostError
from slurp_leader.store import KeepAlive, KeepAliveResult, Request, Revoke, TxnResult
from support.electing import KEYS, OPTIONS, BeliefWatch, Node, leader_key, leading_node, node
from support.virtual import Fate, Host, World, answer_lost, fine, request_lost, silence, writes_key

BEATS = writes_key(KEYS.heartbeat)
WINDOW_S = OPTIONS.lease_ttl_s - OPTIONS.margin_s


def keepalives(request: Request[object]) -> bool:
    return isinstance(request, KeepAlive)


def test_a_slow_answer_does_not_stretch_the_window() -> None:
    world = World()
    leader = leading_node(world)
    sent: list[float] = []

    def slow(_host: Host, request: Request[object]) -> Fate:
        if isinstance(request, KeepAlive):
            sent.append(world.clock.now)
        return fine(0.6, 0.6)

    world.choose_fate = slow
    before = leader.believes_until
    world.run_until(lambda: leader.believes_until > before)
    assert leader.believes_until == pytest.approx(sent[0] + WINDOW_S)


def test_a_keepalive_alone_proves_nothing() -> None:
    """A member of etcd that is cut off from the others goes on answering keepalives."""
    world = World()
    leader = leading_node(world)
    until = leader.believes_until
    world.order(request_lost(), BEATS)
    world.run_for(WINDOW_S + 2.0)
    assert leader.term.trust.until <= until
    assert not leader.leads


def test_a_heartbeat_alone_proves_nothing() -> None:
    world = World()
    leader = leading_node(world)
    until = leader.believes_until
    world.order(request_lost(), keepalives)
    world.run_to(until - 0.1)
    assert leader.leads
    world.run_to(until + 0.1)
    assert not leader.leads


def test_a_heartbeat_whose_answer_was_lost_does_not_extend_and_the_next_round_does() -> None:
    world = World()
    leader = leading_node(world)
    until = leader.believes_until
    rule = world.order(answer_lost(), BEATS, times=1)
    world.run_until(lambda: rule.met == 1)
    world.run_for(OPTIONS.rpc_timeout_s / 2)
    assert leader.believes_until == until
    world.run_until(lambda: leader.believes_until > until, within_s=OPTIONS.rpc_timeout_s)
    assert leader.leads


def test_one_whole_failed_renewal_does_not_cost_the_term() -> None:
    """What the options check: one failed and one good renewal fit into the window (A13)."""
    world = World()
    leader = leading_node(world)
    world.order(answer_lost(), BEATS, times=1)
    world.order(request_lost(), keepalives, times=1)
    world.choose_fate = lambda _host, _request: fine(0.5, 0.5)
    world.run_for(60.0)
    assert leader.leads
    assert len(leader.terms) == 1


def test_the_window_only_moves_forward() -> None:
    world = World()
    leader = leading_node(world)
    seen = [leader.believes_until]
    for _ in range(200):
        world.run_for(0.1)
        seen.append(leader.believes_until)
    assert seen == sorted(seen)


def test_the_window_never_outlasts_the_ttl_that_others_wait_for() -> None:
    """A lease that exists already does not tell its TTL: etcd may have granted more than what is published."""
    world = World()
    longer = 30
    leader = leading_node(world)
    apply = world.state.apply

    def stretch(request):
        answer = apply(request)
        if isinstance(answer, KeepAliveResult):
            return KeepAliveResult(answer.header, answer.lease_id, longer)
        return answer

    world.state.apply = stretch
    renewed_at = world.clock.now
    world.run_for(5.0)
    assert renewed_at < leader.believes_until <= world.clock.now + WINDOW_S


def test_answers_from_two_raft_terms_prove_nothing_and_the_round_is_repeated() -> None:
    """A13: keepalive and heartbeat may be served by members that disagree about etcd's own leader."""
    world = World()
    leader = leading_node(world)
    until = leader.believes_until
    apply = world.state.apply
    asked = 0

    def split(request):
        nonlocal asked
        answer = apply(request)
        if isinstance(answer, KeepAliveResult):
            asked += 1
            header = type(answer.header)(answer.header.cluster_id, 2, answer.header.revision, 7)
            return KeepAliveResult(header, answer.lease_id, answer.ttl_s)
        return answer

    world.state.apply = split
    world.run_until(lambda: asked == 2)
    assert leader.believes_until == until
    assert [said.outcome for said in leader.said if isinstance(said, Renewed)][-1] == "mixed"
    world.state.apply = apply
    world.run_until(lambda: leader.believes_until > until)
    assert leader.leads


def test_a_gap_beyond_the_window_ends_the_term_before_anything_else_is_done() -> None:
    """A1: SIGSTOP, and SIGCONT after another could have been elected."""
    world = World()
    watch = BeliefWatch([])
    paused, other = leading_node(world, "a"), node(world, "b")
    watch.nodes = [paused, other]
    world.on_write.append(watch)
    world.run_for(1.0)
    term = paused.term
    paused.host.pause()
    world.run_until(lambda: other.leads, within_s=OPTIONS.lease_ttl_s + 1.0)
    assert not term.is_valid  # what user code of the woken process would see first
    with pytest.raises(LeadershipLostError):
        term.check()
    paused.host.resume()
    assert paused.state is not ElectionState.LEADER
    world.run_for(30.0)
    assert [n.leads for n in (paused, other)] == [False, True]
    assert watch.violations == []


def test_a_gap_that_ends_inside_the_window_costs_nothing() -> None:
    world = World()
    leader = leading_node(world)
    leader.host.pause()
    world.run_for(5.0)
    leader.host.resume()
    world.run_for(5.0)
    assert leader.leads
    assert len(leader.terms) == 1


def test_an_answer_from_before_the_gap_does_not_prove_anything_after_it() -> None:
    world = World()
    leader = leading_node(world)
    world.order(fine(0.01, 0.01), BEATS)
    pending = world.order(fine(0.01, 1.0), BEATS, times=1)
    world.rules.reverse()
    world.run_until(lambda: pending.met == 1)
    term = leader.term
    leader.host.pause()
    world.run_for(OPTIONS.lease_ttl_s + 1.0)
    leader.host.resume()
    assert not term.is_valid
    assert leader.last_reason is Reason.EXPIRED


def test_a_refused_heartbeat_ends_the_term_even_if_the_key_looks_unchanged() -> None:
    """I2: after a restore from a snapshot the revision can be the same, and only the value differs."""
    world = World()
    leader = leading_node(world)
    apply = world.state.apply

    def refuse(request):
        answer = apply(request)
        if BEATS(request):
            reads = tuple(apply(step) for step in request.failure)
            return TxnResult(answer.header, False, reads)
        return answer

    world.state.apply = refuse
    world.run_until(lambda: leader.state is not ElectionState.LEADER, within_s=OPTIONS.renew_interval_s)
    assert leader.last_reason is Reason.FENCED
    assert not leader.terms[0].is_valid


def test_two_failed_renewals_suspend_and_a_good_one_resumes_the_same_term() -> None:
    world = World()
    leader = leading_node(world)
    rule = world.order(request_lost(), BEATS)
    world.run_until(lambda: leader.state is ElectionState.SUSPENDED)
    assert leader.leads  # the window is still open: what runs may go on
    assert leader.last_reason is Reason.UNREACHABLE
    world.rules.remove(rule)
    world.run_until(lambda: leader.state is ElectionState.LEADER)
    assert leader.last_reason is Reason.RENEWED
    assert len(leader.terms) == 1


def test_one_failed_renewal_does_not_suspend() -> None:
    world = World()
    leader = leading_node(world)
    world.order(request_lost(), BEATS, times=1)
    world.run_for(20.0)
    assert ElectionState.SUSPENDED not in [state for state, _ in leader.states]


def test_renewal_goes_on_when_no_answer_ever_comes() -> None:
    """Every call has a deadline, but a host that wakes up may have lost the answer and the timeout alike."""
    world = World()
    leader = leading_node(world)
    swallowed = world.order(silence(), keepalives, times=1)
    world.run_until(lambda: swallowed.met == 1)
    world.run_for(2 * OPTIONS.lease_ttl_s)
    assert leader.leads
    assert len(leader.terms) == 1


def test_a_lease_that_is_gone_ends_the_term_at_the_next_renewal_without_waiting() -> None:
    world = World()
    leader = leading_node(world)
    kv = leader_key(world)
    assert kv is not None
    leader.host.deaf = True  # it can only learn from the keepalive
    world.apply(Revoke(kv.lease))
    world.run_for(OPTIONS.renew_interval_s + 0.1)
    assert leader.states[-3:][0][1] is Reason.EXPIRED
    assert not leader.terms[0].is_valid


def test_belief_never_outlasts_the_key_on_a_clock_that_runs_slow() -> None:
    """The margin covers clocks that run at different speeds."""
    world = World()
    host = world.host("slow", speed=0.95)
    watch = BeliefWatch([])
    slow = Node(host, ElectionOptions(lease_ttl=10))
    world.run_until(lambda: slow.leads)
    other = node(world, "b")
    watch.nodes = [slow, other]
    world.on_write.append(watch)
    host.cut_off = True
    world.run_until(lambda: other.leads)
    assert watch.violations == []
