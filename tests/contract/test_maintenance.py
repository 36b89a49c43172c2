"""The operator's side of a store: what members tell of themselves, and how room is made in a full one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slurp_leader.errors import RequestMalformedError, RevisionCompactedError, StoreFullError, StoreTimeoutError
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdProcess
from slurp_leader.store import Delete, Get, Grant, Put, Revoke, Status, Store
from slurp_leader.store.maintenance import HasMaintenance, Maintenance, Survey
from slurp_leader.store.memory import MemoryStore
from support.calls import PATIENCE_S, do, get, new_lease_id, put
from support.etcd import KINDS, EtcdServers, open_etcd

QUOTA_BYTES = 4 * 1024 * 1024


def maintenance_of(store: Store) -> Maintenance:
    assert isinstance(store, HasMaintenance)
    return store.maintenance


@pytest.fixture
def operating(store: Store) -> Maintenance:
    return maintenance_of(store)


@pytest.fixture(params=KINDS)
def small(request: pytest.FixtureRequest, etcd_servers: EtcdServers) -> Iterator[Store]:
    """A store that is soon full, and nobody else's."""
    if request.param == "memory":
        with MemoryStore(quota_bytes=QUOTA_BYTES) as memory:
            yield memory
        return
    with EtcdProcess(binary=etcd_servers.binary(request.param), quota_bytes=QUOTA_BYTES) as server:
        store = open_etcd(server.endpoint)
        yield store
        store.close()


def fill_up(store: Store) -> None:
    """Write until it is refused. etcd counts what was written only every 100 ms."""
    for _ in range(10_000):
        try:
            put(store, b"filler", bytes(100_000))
        except StoreFullError:
            return
    raise AssertionError("the quota was never met")


def test_a_member_tells_how_it_is(store: Store, operating: Maintenance, prefix: bytes) -> None:
    revision = put(store, prefix + b"a")
    [endpoint] = operating.endpoints
    status = operating.status(endpoint, PATIENCE_S).result()
    plain = do(store, Status())
    assert status.endpoint == endpoint
    assert status.version == plain.version
    assert status.header.member_id == plain.header.member_id
    assert status.header.revision >= revision
    assert 0 < status.db_size_in_use <= status.db_size
    assert status.leads
    assert status.raft_index > 0
    assert not status.is_learner
    assert status.alarms == ()


def test_a_survey_asks_every_member(store: Store, operating: Maintenance) -> None:
    survey = do(store, Survey())
    assert [member.endpoint for member in survey.members] == list(operating.endpoints)
    assert survey.silent == 0


def test_members_and_leases_are_told(store: Store, operating: Maintenance) -> None:
    [member] = operating.members(PATIENCE_S).result()
    assert member.member_id == do(store, Status()).header.member_id
    lease_id = do(store, Grant(new_lease_id(), 600)).lease_id
    assert operating.leases(PATIENCE_S).result() >= 1
    do(store, Revoke(lease_id))


def test_a_member_that_no_endpoint_names_is_not_asked(operating: Maintenance) -> None:
    with pytest.raises(RequestMalformedError, match="nowhere:1"):
        operating.defragment("nowhere:1", PATIENCE_S).result()


def test_a_compaction_forgets_what_was_overwritten_before(store: Store, operating: Maintenance, prefix: bytes) -> None:
    first, second = put(store, prefix + b"a", b"1"), put(store, prefix + b"a", b"2")
    operating.compact(second, PATIENCE_S).result()
    with pytest.raises(RevisionCompactedError):
        do(store, Get(prefix + b"a", revision=first))
    kv = get(store, prefix + b"a", second)
    assert kv is not None
    assert kv.value == b"2"
    with pytest.raises(RevisionCompactedError):
        operating.compact(second, PATIENCE_S).result()


def test_room_is_made_in_a_full_store(small: Store) -> None:
    operating = maintenance_of(small)
    [endpoint] = operating.endpoints
    fill_up(small)
    full = operating.status(endpoint, PATIENCE_S).result()
    [alarm] = operating.alarms(PATIENCE_S).result()
    assert (alarm.name, full.alarms) == ("NOSPACE", ("NOSPACE",))
    assert alarm.member_id == full.header.member_id

    do(small, Delete(b"filler"))
    operating.compact(do(small, Status()).header.revision, PATIENCE_S).result()
    operating.defragment(endpoint, PATIENCE_S).result()
    after = operating.status(endpoint, PATIENCE_S).result()
    assert after.db_size < full.db_size / 4
    with pytest.raises(StoreFullError):
        do(small, Put(b"a", b""))  # room alone is not enough
    operating.disarm(alarm, PATIENCE_S).result()
    assert operating.alarms(PATIENCE_S).result() == ()
    put(small, b"a", bytes(QUOTA_BYTES // 8))


def test_a_survey_that_nobody_answers_fails() -> None:
    with MemoryStore() as store:
        store.faults.lose_answer(when=lambda request: isinstance(request, Survey))
        with pytest.raises(StoreTimeoutError):
            store.call(Survey(), 0.05).result()


@pytest.mark.etcd
def test_a_silent_member_costs_its_deadline_and_no_other_is_asked_in_its_place(etcd_servers: EtcdServers) -> None:
    with (
        EtcdProcess(binary=etcd_servers.binary("any")) as etcd,
        EtcdStore(EtcdOptions(endpoints=[etcd.endpoint])) as store,
    ):
        do(store, Status())
        etcd.pause()
        for future in (
            store.maintenance.status(etcd.endpoint, 0.2),
            store.maintenance.members(0.2),
            store.maintenance.leases(0.2),
            store.maintenance.alarms(0.2),
            store.maintenance.compact(1, 0.2),
            store.maintenance.defragment(etcd.endpoint, 0.2),
            store.call(Survey(), 0.2),
        ):
            with pytest.raises(StoreTimeoutError):
                future.result()
        etcd.resume()
