"""While nobody leads, submitters see to it that they do not fill the store (PROTOCOL A9)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from jobs.rig import KEYS, LEADER_KEY, Client, Rig
from slurp_leader.errors import QueueFullError, StoreUnavailableError
from slurp_leader.jobs.quota import StoreLimits
from slurp_leader.jobs.unled import Signs, Unled
from slurp_leader.store import Delete, Get, Put, Request, Txn
from slurp_leader.store.maintenance import Survey
from support.virtual import World, failed

QUOTA = 1000 * 1024
SIGNS = Signs(LEADER_KEY, LEADER_KEY.replace(b"/leader", b"/hb"))


@pytest.fixture
def rig() -> Rig:
    return Rig(World(quota_bytes=QUOTA))


def unled_client(rig: Rig, queue_limit: int = 100) -> Client:
    return Client(rig.world, "looks after it", signs=SIGNS, queue_limit=queue_limit)


def refused(client: Client) -> str:
    """The reason why one more job is not taken; empty: it was taken."""
    error = client.answer(client.send()).error
    if error is None:
        return ""
    assert isinstance(error, QueueFullError)
    return error.reason


def fill(rig: Rig, share: float) -> None:
    rig.world.apply(Put(b"/of-others/filler", bytes(int(share * QUOTA))))


def beat(rig: Rig) -> None:
    rig.world.apply(Put(SIGNS.heartbeat, b"{}"))


def lead(rig: Rig) -> None:
    rig.world.apply(Put(LEADER_KEY, b"{}"))
    beat(rig)


def counting(rig: Rig, kind: type[Request[Any]]) -> list[float]:
    """When requests of this kind are sent, from now on."""
    seen: list[float] = []

    def look(request: Request[Any]) -> bool:
        if isinstance(request, kind):
            seen.append(rig.world.clock.now)
        return False

    rig.world.order(failed(StoreUnavailableError()), look)
    return seen


def test_jobs_are_taken_without_a_leader_while_there_is_room(rig: Rig) -> None:
    client = unled_client(rig)
    assert [refused(client) for _ in range(5)] == [""] * 5


def test_without_a_leader_a_store_that_is_nearly_full_takes_no_jobs_and_says_how_full_it_is(rig: Rig) -> None:
    fill(rig, 0.87)
    client = unled_client(rig)
    assert refused(client) == "store nearly full"
    error = client.answer(client.send()).error
    assert "87%" in str(error)
    assert "nobody leads" in str(error)
    assert rig.keys(KEYS.queue) == []


def test_without_a_leader_no_more_jobs_are_taken_than_may_wait_however_fast_they_come(rig: Rig) -> None:
    client = unled_client(rig, queue_limit=20)
    tickets = [client.send() for _ in range(50)]
    answers = [client.answer(ticket) for ticket in tickets]
    assert sum(answer.error is None for answer in answers) == 20
    assert len(rig.keys(KEYS.queue)) == 20
    assert all("jobs.queue_limit" in str(answer.error) for answer in answers if answer.error is not None)


def test_with_room_again_jobs_are_taken_again(rig: Rig) -> None:
    client = unled_client(rig, queue_limit=1)
    assert refused(client) == ""
    assert refused(client) == "queue full"
    rig.world.apply(Delete(rig.keys(KEYS.queue)[0]))
    rig.settle(1.1)
    assert refused(client) == ""


def test_the_store_is_asked_at_most_once_a_second_however_many_jobs_are_brought_in(rig: Rig) -> None:
    surveys = counting(rig, Survey)
    client = unled_client(rig, queue_limit=1000)
    for _ in range(40):
        refused(client)
        rig.settle(0.1)
    assert 4 <= len(surveys) <= 6
    assert all(later - earlier >= 1 for earlier, later in pairwise(surveys))


def test_a_leader_is_trusted_to_close_the_queue_itself(rig: Rig) -> None:
    lead(rig)
    fill(rig, 0.87)
    client = unled_client(rig, queue_limit=1)
    surveys = counting(rig, Survey)
    for _ in range(10):
        beat(rig)
        rig.settle(20)
        assert refused(client) == ""
    assert surveys == []


def test_a_leader_whose_heart_stood_still_for_a_minute_is_none(rig: Rig) -> None:
    lead(rig)
    fill(rig, 0.87)
    client = unled_client(rig)
    said = []
    for _ in range(8):
        said.append(refused(client))
        rig.settle(10)
    assert said[:6] == [""] * 6
    assert said[-1] == "store nearly full"
    beat(rig)
    rig.settle(1.1)
    assert refused(client) == ""


def test_a_leader_key_that_is_gone_means_at_once_that_nobody_leads(rig: Rig) -> None:
    lead(rig)
    fill(rig, 0.87)
    client = unled_client(rig)
    assert refused(client) == ""
    rig.world.apply(Delete(LEADER_KEY))
    rig.settle(16)
    refused(client)  # this one is let through while it looks
    assert refused(client) == "store nearly full"


def test_jobs_under_a_leader_wait_for_no_look(rig: Rig) -> None:
    lead(rig)
    client = unled_client(rig)
    refused(client)
    rig.settle(16)  # the next look is due
    looks = [request for request in _sent_by(rig, client) if isinstance(request, Txn) and not request.compares]
    assert len(looks) == 1  # beside the submit itself, not before it


def test_a_leader_is_looked_for_every_quarter_of_a_minute_however_many_jobs_are_brought_in(rig: Rig) -> None:
    lead(rig)
    client = unled_client(rig)
    looks: list[float] = []

    def look(request: Request[Any]) -> bool:
        if isinstance(request, Txn) and not request.compares:
            looks.append(rig.world.clock.now)
        return False

    rig.world.order(failed(StoreUnavailableError()), look)
    for _ in range(40):
        beat(rig)
        refused(client)
        rig.settle(1)
    assert len(looks) == 3


def _sent_by(rig: Rig, client: Client) -> list[Request[Any]]:
    """What one submit sends in the moment it is made."""
    sent: list[Request[Any]] = []

    def keep(request: Request[Any]) -> bool:
        sent.append(request)
        return False

    rig.world.order(failed(StoreUnavailableError()), keep)
    client.send()
    assert any(isinstance(request, Txn) and request.compares for request in sent)
    return sent


@pytest.mark.parametrize("kind", [Txn, Get, Survey])
def test_what_cannot_be_found_out_stops_nobody(rig: Rig, kind: type[Request[Any]]) -> None:
    def reads(request: Request[Any]) -> bool:
        return isinstance(request, kind) and not getattr(request, "compares", ())

    fill(rig, 0.87)
    rig.world.order(failed(StoreUnavailableError()), reads)
    assert refused(unled_client(rig)) == ""


def test_every_one_who_waits_is_told_once() -> None:
    asked: list[Any] = []
    told: list[tuple[int, Exception | None]] = []
    unled = Unled(KEYS.queue, SIGNS, StoreLimits(), 10, lambda request, handler: asked.append(handler))
    for number in range(3):
        unled.admit(lambda error, now, number=number: told.append((number, error)), 1.0)  # type: ignore[misc]
    assert (len(asked), told) == (1, [])
    asked[0](StoreUnavailableError(), 1.1)
    assert told == [(0, None), (1, None), (2, None)]
