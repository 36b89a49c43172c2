"""One request to one member: answers, deadlines, sizes, and the ends of a store."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator

import pytest

from slurp_leader.errors import (
    Outcome,
    RequestMalformedError,
    RequestTooLargeError,
    RevisionCompactedError,
    StoreClosedError,
    StoreFullError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from slurp_leader.etcd import EtcdOptions, EtcdStore, bridge
from slurp_leader.etcd.local import EtcdBinary, EtcdProcess
from slurp_leader.store import (
    Delete,
    Get,
    Grant,
    KeepAlive,
    Put,
    Request,
    Revoke,
    Status,
    Txn,
    WatchFailed,
    WatchNotice,
)
from support import forking
from support.calls import PATIENCE_S, Recorder, do, new_lease_id, put
from support.etcd import EtcdOperator

pytestmark = pytest.mark.etcd


@pytest.fixture
def store(own_etcd: EtcdProcess) -> Iterator[EtcdStore]:
    with EtcdStore(EtcdOptions(endpoints=[own_etcd.endpoint])) as made:
        yield made


def test_a_keepalive_of_a_dead_lease_answers_zero_and_belongs_to_its_question(store: EtcdStore) -> None:
    alive, dead = new_lease_id(), new_lease_id()
    do(store, Grant(alive, 30))
    answers = [store.call(KeepAlive(lease), PATIENCE_S) for lease in (alive, dead, alive, dead)]
    assert [(answer.result().lease_id, answer.result().ttl_s) for answer in answers] == [
        (alive, 30),
        (dead, 0),
        (alive, 30),
        (dead, 0),
    ]
    do(store, Revoke(alive))
    assert do(store, KeepAlive(alive)).ttl_s <= 0


def test_status_tells_version_sizes_and_leader(store: EtcdStore, own_etcd: EtcdProcess) -> None:
    status = do(store, Status())
    assert status.version == own_etcd.binary.version
    assert status.leader_member_id == status.header.member_id != 0
    assert status.db_size >= status.db_size_in_use > 0
    assert status.alarms == ()


def test_status_tells_what_is_used_from_what_is_occupied(store: EtcdStore, own_etcd: EtcdProcess) -> None:
    put(store, b"k", b"x" * 2**20)
    EtcdOperator(own_etcd.endpoint).compact(do(store, Delete(b"k")).header.revision)
    for _ in range(200):  # freed pages show after etcd's next commit
        status = do(store, Status())
        if status.db_size_in_use < status.db_size - 2**19:
            return
        put(store, b"k")
    pytest.fail(f"{status} does not show the free space")


def test_a_full_etcd_is_told_by_error_and_by_status(binary: EtcdBinary) -> None:
    with (
        EtcdProcess(binary=binary, quota_bytes=4 * 2**20) as etcd,
        EtcdStore(EtcdOptions(endpoints=[etcd.endpoint])) as store,
    ):
        value = b"x" * 2**20
        error: Exception | None = None
        for _ in range(50):
            error = store.call(Put(b"k", value), PATIENCE_S).exception()
            if error is not None:
                break
        assert isinstance(error, StoreFullError)
        assert error.outcome is Outcome.UNKNOWN
        assert do(store, Status()).alarms == ("NOSPACE",)
        with pytest.raises(StoreFullError):
            do(store, Grant(new_lease_id(), 30))


def test_answers_beyond_the_four_mebibytes_of_grpc_are_taken(store: EtcdStore) -> None:
    value = b"x" * 2**20
    for number in range(6):
        put(store, b"big/%d" % number, value)
    result = do(store, Get(b"big/", b"big0"))
    assert [len(kv.value) for kv in result.kvs] == [2**20] * 6
    first = do(store, Get(b"big/", b"big0", limit=2, keys_only=True))
    assert first.more
    assert first.count == 6
    assert [kv.value for kv in first.kvs] == [b"", b""]


@pytest.mark.parametrize("size", [1_600_000, 3_000_000])  # refused by etcd, and before that by its gRPC server
def test_a_request_that_is_too_large_was_not_applied(store: EtcdStore, size: int) -> None:
    with pytest.raises(RequestTooLargeError) as caught:
        do(store, Put(b"k", b"x" * size))
    assert caught.value.outcome is Outcome.NOT_APPLIED


def test_a_compacted_revision_is_refused_by_name(store: EtcdStore, own_etcd: EtcdProcess) -> None:
    old = put(store, b"k")
    newer = put(store, b"k")
    EtcdOperator(own_etcd.endpoint).compact(newer)
    with pytest.raises(RevisionCompactedError):
        do(store, Get(b"k", revision=old))


@pytest.mark.parametrize("request_", [Put("text", b""), Grant(2**64, 1), Txn(success=(Put(b"k", 1),))], ids=repr)
def test_values_of_the_wrong_type_fail_the_future_and_send_nothing(store: EtcdStore, request_: Request[object]) -> None:
    error = store.call(request_, PATIENCE_S).exception()
    assert isinstance(error, RequestMalformedError)
    assert error.outcome is Outcome.NOT_APPLIED


def test_a_frozen_member_fails_calls_at_their_deadline_reads_as_not_applied(
    store: EtcdStore, own_etcd: EtcdProcess
) -> None:
    put(store, b"k")
    own_etcd.pause()
    write, read = store.call(Put(b"k", b"late"), 0.3), store.call(Get(b"k"), 0.3)
    late, missed = write.exception(), read.exception()
    assert isinstance(late, StoreTimeoutError)
    assert late.outcome is Outcome.UNKNOWN
    assert isinstance(missed, StoreTimeoutError)
    assert missed.outcome is Outcome.NOT_APPLIED
    own_etcd.resume()
    assert do(store, Get(b"k")).kvs[0].value in {b"v", b"late"}


def test_with_nobody_there_a_call_fails_at_once_and_works_again_when_etcd_is_back(
    store: EtcdStore, own_etcd: EtcdProcess
) -> None:
    put(store, b"k")
    own_etcd.kill()
    error = store.call(Put(b"k", b"w"), PATIENCE_S).exception()
    assert isinstance(error, StoreUnavailableError)
    assert error.outcome is Outcome.UNKNOWN
    assert own_etcd.endpoint in str(error)
    own_etcd.start()
    refusals = 0
    while store.call(Get(b"k"), PATIENCE_S).exception() is not None:
        refusals += 1
        assert threading.Event().wait(0.05) is False
        assert refusals < 60, "not used again within 3 s"


def test_a_lost_member_is_connected_again_without_further_calls(store: EtcdStore, own_etcd: EtcdProcess) -> None:
    put(store, b"k")
    own_etcd.kill()
    assert store.call(Get(b"k"), PATIENCE_S).exception() is not None
    knock = store._members.in_use()._knock
    own_etcd.start()
    assert knock.result(timeout=PATIENCE_S).version == own_etcd.binary.version


def test_closing_fails_what_is_under_way_and_refuses_what_comes_later(own_etcd: EtcdProcess) -> None:
    store = EtcdStore(EtcdOptions(endpoints=[own_etcd.endpoint]))
    put(store, b"k")
    notices: list[object] = []
    store.watch(b"k", None, 0, notices.append)
    own_etcd.pause()
    write, read = store.call(Put(b"k", b"w"), PATIENCE_S), store.call(Get(b"k"), PATIENCE_S)
    cancelled = threading.Semaphore(0)
    for under_way in store._calls._under_way:
        under_way.rpc.add_done_callback(lambda _: cancelled.release())  # after our own
    store.close()
    for call, outcome in ((write, Outcome.UNKNOWN), (read, Outcome.NOT_APPLIED)):
        error = call.exception(timeout=PATIENCE_S)
        assert isinstance(error, StoreClosedError)
        assert error.outcome is outcome
    assert isinstance(notices[-1], WatchFailed)
    assert isinstance(notices[-1].error, StoreClosedError)
    later = store.call(Get(b"k"), PATIENCE_S).exception()
    assert isinstance(later, StoreClosedError)
    assert later.outcome is Outcome.NOT_APPLIED
    with pytest.raises(StoreClosedError):
        store.watch(b"k", None, 0, notices.append)
    store.close()
    assert all(cancelled.acquire(timeout=PATIENCE_S) for _ in range(2))
    assert store.outage is None  # that it was cancelled by us says nothing of etcd


def test_a_future_can_close_its_store_from_its_callback(own_etcd: EtcdProcess) -> None:
    store = EtcdStore(EtcdOptions(endpoints=[own_etcd.endpoint]))
    closed = threading.Event()
    store.call(Get(b"k"), PATIENCE_S).add_done_callback(lambda _: (store.close(), closed.set()))
    assert closed.wait(PATIENCE_S)


def test_a_forked_child_is_told_that_it_cannot_connect(own_etcd: EtcdProcess) -> None:
    done = forking.run(
        """
from slurp_leader.errors import LifecycleError
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.store import Get, Put
from slurp_leader.store.maintenance import Survey
store = EtcdStore(EtcdOptions(endpoints=[sys.argv[1]]))
store.call(Put(b"k", b"v"), 20.0).result()
watched = threading.Event()
watch = store.watch(b"k", None, 1, lambda notice: watched.set())
assert watched.wait(20)

def check():
    refuses(
        LifecycleError,
        lambda: store.call(Get(b"k"), 1.0),
        lambda: store.call(Survey(), 1.0),
        lambda: store.watch(b"k", None, 0, print),
        lambda: store.maintenance.status(sys.argv[1], 1.0),
        lambda: EtcdStore(EtcdOptions(endpoints=[sys.argv[1]])),
        saying="spawn",
    )
    watch.cancel()
    store.close()

with held(store._lock, watch._lock, watch._delivering, watch._stopped._cond, watch._stream._changed):
    code = code_of_child(check)
assert code == 0, code
assert store.call(Get(b"k"), 20.0).result().count == 1
store.close()
""",
        own_etcd.endpoint,
    )
    assert done.returncode == 0, done


def test_the_client_of_the_host_is_used_and_left_open(own_etcd: EtcdProcess) -> None:
    bridge.load()
    etcd3 = importlib.import_module("etcd3")
    host, _, port = own_etcd.endpoint.rpartition(":")
    client = etcd3.client(host=host, port=int(port))
    store = EtcdStore.from_client(client)
    assert put(store, b"k", b"ours") > 0
    store.close()
    assert client.get(b"k")[0] == b"ours"
    client.close()
    late = EtcdStore.from_client(client)
    error = late.call(Delete(b"k"), PATIENCE_S).exception()
    assert isinstance(error, StoreClosedError)
    assert error.outcome is Outcome.NOT_APPLIED
    notices: Recorder[WatchNotice] = Recorder()
    late.watch(b"k", None, 0, notices)
    failure = notices.next()
    assert isinstance(failure, WatchFailed)
    assert isinstance(failure.error, StoreClosedError)
    late.close()
