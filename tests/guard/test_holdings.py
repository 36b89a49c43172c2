"""What the guard decides: plain values in, plain values out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.guard.holdings import TICK_S, Holdings, Kill, Revocation
from slurp_leader.guard.messages import (
    Beat,
    Bye,
    Drop,
    Group,
    Heard,
    Hello,
    Hold,
    Message,
    Ready,
    Route,
    decode,
    encode,
)

ROUTE = Route(("localhost:2379",))


def holding(*messages: Message) -> Holdings:
    holdings = Holdings()
    for message in (Hello(7, ROUTE), *messages):
        holdings.take(message)
    return holdings


def ticks(holdings: Holdings, seconds: float) -> list[Kill | Revocation]:
    return [revoked for _ in range(round(seconds / TICK_S)) for revoked in holdings.tick()]


def test_death_revokes_what_is_held_and_not_what_was_dropped() -> None:
    holdings = holding(Hold(7, 1, 15, 5), Hold(7, 2, 15, 5), Drop(7, 1))
    assert holdings.died(7) == [Revocation(2, 15, ROUTE, "died")]
    assert holdings.died(7) == []
    assert holdings.is_over


def test_only_the_leases_of_the_dead_are_revoked() -> None:
    holdings = holding(Hold(7, 1, 15, 5), Hello(8, ROUTE), Hold(8, 2, 15, 5))
    assert [each.lease_id for each in holdings.died(8) if isinstance(each, Revocation)] == [2]
    assert holdings.leases == (1,)
    assert not holdings.is_over


def test_silence_beyond_the_stall_timeout_revokes_and_no_sooner() -> None:
    holdings = holding(Hold(7, 1, 15, 2.0))
    assert ticks(holdings, 2.0) == []
    assert ticks(holdings, 0.1) == [Revocation(1, 15, ROUTE, "stalled")]
    assert ticks(holdings, 10) == []


def test_a_beat_counts_for_its_own_lease_only() -> None:
    holdings = holding(Hold(7, 1, 15, 2.0), Hold(7, 2, 15, 2.0))
    assert ticks(holdings, 1.9) == []
    holdings.take(Beat(7, 1))
    assert ticks(holdings, 1.9) == [Revocation(2, 15, ROUTE, "stalled")]


def test_without_a_stall_timeout_silence_means_nothing() -> None:
    holdings = holding(Hold(7, 1, 15, 0))
    assert ticks(holdings, 60) == []
    assert len(holdings.died(7)) == 1


def test_who_says_goodbye_loses_nothing() -> None:
    holdings = holding(Hold(7, 1, 15, 5), Bye(7))
    assert holdings.is_over
    assert holdings.died(7) == []


def test_the_group_ends_before_any_lease_does() -> None:
    holdings = holding(Group(7, 4242), Hold(7, 1, 15, 5))
    assert holdings.died(7) == [Kill(4242), Revocation(1, 15, ROUTE, "died")]


def test_the_group_of_who_stands_still_ends_once_and_before_any_lease_does() -> None:
    """It would run on beside that of the next leader."""
    holdings = holding(Group(7, 4242), Hold(7, 1, 15, 2.0))
    assert ticks(holdings, 2.1) == [Kill(4242), Revocation(1, 15, ROUTE, "stalled")]
    assert holdings.died(7) == []


def test_what_is_given_back_is_never_held_again() -> None:
    """Whoever moves again and says so must not believe in a lease that ends at any moment."""
    holdings = holding(Hold(7, 1, 15, 2.0))
    ticks(holdings, 2.1)
    for message in (Beat(7, 1), Hold(7, 1, 15, 2.0), Hello(7, ROUTE), Hold(7, 1, 15, 2.0)):
        holdings.take(message)
        assert not holdings.holds(7, 1)


def test_a_process_may_speak_of_two_etcds() -> None:
    other = Route(("elsewhere:2379",))
    holdings = holding(Hello(8, other, pid=7), Hold(7, 1, 15, 5), Hold(8, 2, 15, 5), Bye(7))
    assert holdings.died(8) == [Revocation(2, 15, other, "died")]


@pytest.mark.parametrize("group", [0, 1, -1])
def test_no_group_that_could_be_everybody_is_killed(group: int) -> None:
    assert holding(Group(7, group)).died(7) == []


def test_a_hello_that_comes_again_keeps_what_is_held() -> None:
    holdings = holding(Hold(7, 1, 15, 5), Hello(7, ROUTE))
    assert holdings.leases == (1,)


def test_a_stranger_can_do_nothing() -> None:
    holdings = holding(Hold(7, 1, 15, 5))
    for message in (Hold(9, 2, 15, 5), Beat(9, 1), Drop(9, 1), Bye(9), Group(9, 42)):
        holdings.take(message)
    assert holdings.leases == (1,)
    assert holdings.died(9) == []


MESSAGES = st.one_of(
    st.builds(Hello, st.integers(1, 2**22), st.builds(Route, st.tuples(st.text()), ca=st.none() | st.text())),
    st.builds(Hold, st.integers(1, 2**22), st.integers(1, 2**62), st.floats(1, 3600), st.floats(0, 3600)),
    st.builds(Beat, st.integers(1, 2**22), st.integers(1, 2**62)),
    st.builds(Drop, st.integers(1, 2**22), st.integers(1, 2**62)),
    st.builds(Group, st.integers(1, 2**22), st.integers(0, 2**22)),
    st.builds(Bye, st.integers(1, 2**22)),
    st.builds(Ready, st.text()),
    st.builds(Heard, st.integers(1, 2**62), st.integers(1), st.booleans()),
)


@given(MESSAGES)
def test_messages_arrive_as_they_were_sent(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200) | MESSAGES.map(encode).flatmap(lambda packet: st.just(packet[:-3])))
def test_what_is_no_message_is_refused_by_one_error(packet: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is that of whoever noticed
        decode(packet)


@given(st.lists(MESSAGES, max_size=30))
def test_nothing_that_is_said_breaks_the_guard(messages: list[Message]) -> None:
    holdings = Holdings()
    for message in messages:
        holdings.take(message)
    assert all(math.isfinite(each.ttl_s) for each in ticks(holdings, 3) if isinstance(each, Revocation))


def test_a_route_shows_no_secret() -> None:
    assert "hunter2" not in repr(Hello(1, Route(("h:1",), password="hunter2", key="hunter2")))


def test_what_a_later_version_says_beyond_what_is_known_is_passed_over() -> None:
    packet = encode(Beat(1, 2))
    assert decode(packet[:-1] + b', "mood": "good"}') == Beat(1, 2)
