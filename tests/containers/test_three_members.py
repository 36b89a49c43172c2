"""Three members, one of which is frozen or dies: calls, watches and elections go on with the other two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containers.calls import open_store, write_until_accepted
from containers.members import Member
from slurp_leader import LeaderElection, SlurpSettings
from slurp_leader.election import ElectionKeys
from slurp_leader.store import Get, Put, Store, Txn, WatchEvents, WatchNotice
from slurp_leader.store.keyspace import Keyspace
from support.calls import PATIENCE_S, Recorder, await_writes, do, get
from support.members import leads_etcd

Members = tuple[Member, ...]


@pytest.fixture
def store(members: Members) -> Iterator[Store]:
    """A client that has used the first member, so that this is the one it would go on with."""
    with open_store(*members) as opened:
        for member in members:
            with open_store(member) as alone:
                write_until_accepted(alone, b"/ready/" + member.name.encode())
        write_until_accepted(opened, b"/ready")
        yield opened


def test_a_read_is_answered_while_the_member_in_use_is_frozen(members: Members, store: Store) -> None:
    do(store, Put(b"/key", b"before"))
    members[0].pause()
    answer = store.call(Get(b"/key"), 6.0).result()  # shared out among the members
    assert answer.kvs[0].value == b"before"


def test_writes_go_on_while_the_member_in_use_is_frozen_and_it_catches_up(members: Members, store: Store) -> None:
    members[0].pause()
    revision = write_until_accepted(store, b"/key", b"during")
    members[0].unpause()
    with open_store(members[0]) as alone:
        write_until_accepted(alone, b"/after")
        written = get(alone, b"/key")
    assert written is not None
    assert written.value == b"during"
    assert written.mod_revision >= revision  # a write given up as unanswered may land after the one that was accepted


def test_writes_and_watches_go_on_when_the_member_in_use_dies(members: Members, store: Store) -> None:
    notices: Recorder[WatchNotice] = Recorder()
    start = write_until_accepted(store, b"/watched", b"0")
    store.watch(b"/watched", None, start, notices)
    members[0].kill()
    for number in range(1, 4):
        write_until_accepted(store, b"/watched", str(number).encode())
    values: list[bytes] = []
    while not values or values[-1] != b"3":
        notice = notices.next()
        if isinstance(notice, WatchEvents):
            values += [event.kv.value for event in notice.events]
    # A write whose answer was lost was sent again, so one may be seen twice; none is missing, none is out of order.
    assert list(dict.fromkeys(values)) == [b"0", b"1", b"2", b"3"]
    assert values == sorted(values)


def test_a_term_outlives_the_leader_of_etcd(members: Members, store: Store) -> None:
    with LeaderElection("containers", _settings(members, "a", lease_ttl=9)) as election:
        assert election.wait_for_leadership(PATIENCE_S)
        term = election.require_term()
        next(filter(leads_etcd, members)).kill()
        await_writes(store, ElectionKeys.of(Keyspace("default"), "containers").heartbeat, 2)
        assert election.require_term().token == term.token
        assert do(store, Txn(compares=term.fence(), success=(Put(b"/fenced", b"v"),))).succeeded


def test_leadership_passes_on_while_the_member_in_use_is_dead(members: Members, store: Store) -> None:
    first = LeaderElection("containers", _settings(members, "a", lease_ttl=5))
    second = LeaderElection("containers", _settings(members, "b", lease_ttl=5))
    with first:
        assert first.wait_for_leadership(PATIENCE_S)
        earlier = first.require_term()
        second.start()
        try:
            members[0].kill()
            first.stop()
            assert second.wait_for_leadership(PATIENCE_S)
            assert second.require_term().token > earlier.token
        finally:
            second.stop()


def _settings(members: Members, node_id: str, *, lease_ttl: float) -> SlurpSettings:
    endpoints = [member.endpoint for member in members]
    return SlurpSettings(node={"id": node_id}, etcd={"endpoints": endpoints}, election={"lease_ttl": lease_ttl})
