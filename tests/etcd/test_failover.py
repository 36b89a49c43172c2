"""Several members: a silent, dead or cut-off one is left for the next, and writes are never repeated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slurp_leader.errors import Outcome, StoreError, StoreTimeoutError, StoreUnavailableError
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdBinary, EtcdCluster, EtcdProcess
from slurp_leader.store import Get, Grant, KeepAlive, Put, Status, WatchEvents
from support.calls import PATIENCE_S, Recorder, do, new_lease_id, put, put_once_taken
from support.members import leads_etcd
from support.waiting import until

from .conftest import Servers

pytestmark = pytest.mark.etcd


@pytest.fixture
def cluster(binary: EtcdBinary, servers: Servers) -> EtcdCluster:
    running = servers.get(("cluster", binary.version), lambda: EtcdCluster(3, binary=binary))
    for member in running.members:
        if member.is_running():
            member.resume()
    running.start()
    with EtcdStore(EtcdOptions(endpoints=running.endpoints)) as probe:
        put_once_taken(probe, b"k", timeout_s=5.0)
    return running


@pytest.fixture
def store(cluster: EtcdCluster) -> Iterator[EtcdStore]:
    """The first member is the one in use, and it is no leader: its loss does not stop the others."""
    followers_first = sorted(cluster.members, key=leads_etcd)
    with EtcdStore(EtcdOptions(endpoints=[member.endpoint for member in followers_first])) as made:
        put(made, b"k")
        yield made


def _member_in_use(store: EtcdStore, cluster: EtcdCluster) -> EtcdProcess:
    endpoint = store._members.in_use().endpoint
    return next(member for member in cluster.members if member.endpoint == endpoint)


def test_a_read_leaves_a_frozen_member_within_its_own_deadline(store: EtcdStore, cluster: EtcdCluster) -> None:
    frozen = _member_in_use(store, cluster)
    frozen.pause()
    answer = store.call(Get(b"k"), 6.0)  # a third of its time goes to the frozen one
    assert answer.result().kvs[0].value == b"v"
    assert _member_in_use(store, cluster) is not frozen
    frozen.resume()


def test_a_write_to_a_frozen_member_is_unknown_sent_once_and_the_next_goes_elsewhere(
    store: EtcdStore, cluster: EtcdCluster
) -> None:
    frozen = _member_in_use(store, cluster)
    before = do(store, Get(b"k")).kvs[0].version
    frozen.pause()
    error = store.call(Put(b"k", b"lost"), 1.0).exception()
    assert isinstance(error, StoreTimeoutError)
    assert error.outcome is Outcome.UNKNOWN
    put(store, b"other")  # by another member, at once
    assert do(store, Get(b"k")).kvs[0].version == before  # nobody repeated it
    frozen.resume()


def test_a_dead_member_costs_one_write_at_most(store: EtcdStore, cluster: EtcdCluster) -> None:
    _member_in_use(store, cluster).kill()
    failures = [error for _ in range(10) if (error := store.call(Put(b"k", b"w"), PATIENCE_S).exception())]
    assert len(failures) <= 1
    assert all(isinstance(error, StoreUnavailableError) for error in failures)


def test_a_member_without_peers_says_so_and_renews_no_lease(store: EtcdStore, cluster: EtcdCluster) -> None:
    lease = new_lease_id()
    do(store, Grant(lease, 60))
    alone = _member_in_use(store, cluster)
    with EtcdStore(EtcdOptions(endpoints=[alone.endpoint])) as only_this:
        do(only_this, KeepAlive(lease))
        for member in cluster.members:
            if member is not alone:
                member.pause()
        refusals: list[StoreError] = []

        def is_refused() -> bool:
            error = only_this.call(KeepAlive(lease), PATIENCE_S).exception()
            if isinstance(error, StoreError):
                refusals.append(error)
            return error is not None

        until(is_refused)
        assert "no leader" in str(refusals[-1])
        with pytest.raises(StoreUnavailableError, match="no leader"):
            do(only_this, Put(b"k", b"w"))
        assert do(only_this, Get(b"k", serializable=True)).count == 1
        assert do(only_this, Status()).leader_member_id == 0
        for member in cluster.members:
            if member is not alone:
                member.resume()
        put_once_taken(only_this, b"k", b"w", 2.0)


def test_a_watch_moves_from_a_frozen_member_and_misses_nothing(cluster: EtcdCluster, store: EtcdStore) -> None:
    options = EtcdOptions(
        endpoints=[member.endpoint for member in sorted(cluster.members, key=leads_etcd)],
        watch_probe_interval=0.3,
        watch_probe_timeout=0.5,
    )
    with EtcdStore(options) as watching:
        notices: Recorder[object] = Recorder()
        first = put(store, b"w/0")
        watching.watch(b"w/", b"w0", first, notices)
        notices.until(lambda notice: isinstance(notice, WatchEvents))
        frozen = _member_in_use(watching, cluster)
        frozen.pause()
        revisions = [first]
        while _member_in_use(store, cluster) is frozen:
            store.call(Get(b"k"), 0.5).exception()
        revisions += [put(store, b"w/%d" % number) for number in range(1, 6)]
        notices.until(lambda notice: isinstance(notice, WatchEvents) and notice.revision == revisions[-1])
        frozen.resume()
        changes = [notice for notice in notices.seen if isinstance(notice, WatchEvents)]
        assert [event.kv.mod_revision for notice in changes for event in notice.events] == revisions
