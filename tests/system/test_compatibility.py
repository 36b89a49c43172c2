"""A service on plain `LeaderElection` beside nodes of `SlurpLeaderSystem`, in one election."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from slurp_leader import LeaderElection, SlurpLeaderSystem, SlurpSettings
from slurp_leader.election import LeaderChanged
from slurp_leader.errors import HandoverError
from support.waiting import WAIT_S, until, when_it_stands


def both(settings: Callable[[str], SlurpSettings], stores: Any = None) -> tuple[LeaderElection, SlurpLeaderSystem]:
    plain = LeaderElection("slurp", settings("plain"), stores=stores)
    return plain, SlurpLeaderSystem(settings("system"), generator=lambda request, job: {"ok": True}, stores=stores)


def in_memory(node_id: str) -> SlurpSettings:
    return SlurpSettings(node={"id": node_id}, election={"lease_ttl": 3})


def check(first: Any, second: Any) -> None:
    """The first leads, then the second, and there is one leader for both."""
    first.start()
    try:
        assert first.wait_for_leadership(WAIT_S)
        token = first.term.token
        second.start()
        waits = second.leader.wait if isinstance(second, SlurpLeaderSystem) else second.wait_for_leader
        assert waits(WAIT_S).token == token
        assert not second.is_leader
        submitter = second if isinstance(second, SlurpLeaderSystem) else first
        handle = submitter.submit("a.py")  # kept until a node with jobs leads
        assert first.stop()
        assert second.wait_for_leadership(WAIT_S)
        assert second.term.token > token
        if isinstance(second, SlurpLeaderSystem):
            assert handle.result(WAIT_S).success
    finally:
        first.stop()
        second.stop()


def check_handover(settings: Callable[[str], SlurpSettings], stores: Any = None) -> None:
    """The lead goes to the plain election and back. What runs ends under a grant; what waits runs afterwards."""
    go_on, running = threading.Event(), threading.Semaphore(0)

    def generate(request: Any, job: Any) -> dict[str, Any]:
        running.release()
        while request.file_path == "slow.py" and not go_on.wait(0.01):
            job.check()
        return {"token": job.token}

    plain = LeaderElection("slurp", settings("plain"), stores=stores)
    system = SlurpLeaderSystem(settings("system"), generator=generate, stores=stores)
    leaders = []
    with system:
        assert system.wait_for_leadership(WAIT_S)
        first = system.term.token
        with plain:
            plain.subscribe(lambda event: leaders.append(event) if isinstance(event, LeaderChanged) else None)
            slow = system.submit("slow.py")
            assert running.acquire(timeout=WAIT_S)
            assert when_it_stands(system.leader.transfer, "plain", timeout=WAIT_S).node_id == "plain"
            assert plain.wait_for_leadership(WAIT_S)
            assert plain.reason == "handover"
            waiting = system.submit("waiting.py")
            go_on.set()
            assert slow.result(WAIT_S).success  # under the grant, while the other one leads
            report = system.jobs.report(slow.id)
            assert (report.attempts, report.interruptions, report.token) == (1, 0, first)
            assert waiting.status().value == "pending"
            assert when_it_stands(plain.transfer, "system", timeout=WAIT_S).node_id == "system"
            assert waiting.result(WAIT_S).success
            assert system.jobs.report(waiting.id).token == system.term.token > first
            until(lambda: leaders and leaders[-1].leader and leaders[-1].leader.node_id == "system")
    assert all(event.leader is not None for event in leaders)  # there was no moment without a leader


def test_the_lead_is_handed_over_and_back_with_jobs_under_way(shared: Any) -> None:
    check_handover(in_memory, shared)


@pytest.mark.etcd
def test_the_lead_is_handed_over_and_back_on_real_etcd(etcd_settings: Callable[[str], SlurpSettings]) -> None:
    check_handover(etcd_settings)


# ---------------------------------------------------------------- what each of them requires


def without_manager(node_id: str) -> SlurpSettings:
    return SlurpSettings(node={"id": node_id, "capabilities": ["context_curation"]}, election={"lease_ttl": 3})


def test_a_system_does_not_hand_over_to_an_election_that_lacks_what_it_requires_but_that_takes_a_vacancy(
    shared: Any,
) -> None:
    """Each goes by its own rules: a plain election requires nothing, so it leads when nobody does."""
    system = SlurpLeaderSystem(in_memory("system"), generator=lambda request, job: {"ok": True}, stores=shared)
    with LeaderElection("slurp", without_manager("plain"), stores=shared) as plain:
        assert plain.wait_for_leadership(WAIT_S)
        plain_token = plain.term.token
        with system:
            assert when_it_stands(plain.transfer, "system", timeout=WAIT_S).node_id == "system"
            assert system.wait_for_leadership(WAIT_S)
            with pytest.raises(HandoverError) as caught:
                system.leader.transfer("plain")
            assert caught.value.reason == "capability"
            handle = system.submit("a.py")
            assert handle.result(WAIT_S).success
        assert plain.wait_for_leadership(WAIT_S)  # the system stopped, and gave the term back
        assert plain.reason == "elected"
        assert plain.term.token > plain_token


def test_a_system_that_lacks_what_it_requires_takes_nothing_that_an_election_offers(shared: Any) -> None:
    system = SlurpLeaderSystem(without_manager("system"), generator=lambda request, job: {}, stores=shared)
    plain = LeaderElection("slurp", in_memory("plain"), stores=shared)
    with plain:
        assert plain.wait_for_leadership(WAIT_S)
        with system:
            until(lambda: any(each.node_id == "system" for each in plain.control.simulate().rows))
            until(lambda: refusal_of(plain) == "unfit")
            assert plain.is_leader
            assert not system.is_leader
            plain.stop()
            until(lambda: [each["what"] for each in system.health()["problems"]] == ["held_back"])
            assert not system.is_leader


def refusal_of(plain: LeaderElection) -> str:
    with pytest.raises(HandoverError) as caught:
        plain.transfer("system")
    return caught.value.reason


# ---------------------------------------------------------------- stops


@pytest.mark.parametrize("plain_first", [True, False])
def test_they_take_turns_in_memory(shared: Any, plain_first: bool) -> None:
    plain, system = both(in_memory, shared)
    check(*((plain, system) if plain_first else (system, plain)))


@pytest.mark.etcd
@pytest.mark.parametrize("plain_first", [True, False])
def test_they_take_turns_on_real_etcd(etcd_settings: Callable[[str], SlurpSettings], plain_first: bool) -> None:
    plain, system = both(etcd_settings)
    check(*((plain, system) if plain_first else (system, plain)))
