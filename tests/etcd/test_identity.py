"""Another cluster, or a history that went back, is refused; a member that only lags is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slurp_leader.errors import Outcome, StoreChangedError, StoreUnavailableError
from slurp_leader.etcd import EtcdOptions, EtcdStore
from slurp_leader.etcd.local import EtcdBinary, EtcdProcess
from slurp_leader.store import Get, Put, Request, Status, WatchEvents, WatchFailed, WatchNotice
from support.calls import PATIENCE_S, Recorder, do, put
from support.waiting import until

from .conftest import QUICK
from .scripted import ScriptedMember, answer_at

pytestmark = pytest.mark.etcd


def _port(etcd: EtcdProcess) -> int:
    return int(etcd.endpoint.rpartition(":")[2])


def test_another_cluster_at_the_same_address_is_refused_for_ever(binary: EtcdBinary) -> None:
    with EtcdProcess(binary=binary, extra_args=QUICK) as first:
        store = EtcdStore(EtcdOptions(endpoints=[first.endpoint]))
        notices: Recorder[WatchNotice] = Recorder()
        store.watch(b"k", None, put(store, b"k"), notices)
        notices.until(lambda notice: isinstance(notice, WatchEvents))
        first.stop()
        with EtcdProcess(binary=binary, extra_args=QUICK, client_port=_port(first)) as second:
            failure = notices.until(lambda notice: isinstance(notice, WatchFailed))
            assert isinstance(failure, WatchFailed)
            assert isinstance(failure.error, StoreChangedError)
            error = store.call(Put(b"k", b"w"), PATIENCE_S).exception()
            assert isinstance(error, StoreChangedError)
            assert error.outcome is Outcome.NOT_APPLIED
            store.close()
            with EtcdStore(EtcdOptions(endpoints=[second.endpoint])) as fresh:
                assert do(fresh, Get(b"k")).count == 0  # the refused write was not sent


def test_a_history_that_went_back_is_refused(binary: EtcdBinary, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EtcdProcess(data, binary=binary, extra_args=QUICK) as etcd:
        with EtcdStore(EtcdOptions(endpoints=[etcd.endpoint])) as writer:
            put(writer, b"k")
        etcd.stop()
        shutil.copytree(data, tmp_path / "backup")
        etcd.start()
        store = EtcdStore(EtcdOptions(endpoints=[etcd.endpoint]))
        for _ in range(5):
            put(store, b"k")
        etcd.stop()
        shutil.rmtree(data / "member-data")
        shutil.copytree(tmp_path / "backup" / "member-data", data / "member-data")
        etcd.start()
        with pytest.raises(StoreChangedError, match="went back"):
            until(lambda: do(store, Get(b"k")), not_yet=StoreUnavailableError)  # the connection has to come back first
        again = store.call(Put(b"k", b"w"), PATIENCE_S).exception()
        assert isinstance(again, StoreChangedError)
        assert again.outcome is Outcome.NOT_APPLIED
        store.close()


@pytest.mark.parametrize(
    ("request_", "outcome"), [(Put(b"k", b"v"), Outcome.UNKNOWN), (Get(b"k"), Outcome.NOT_APPLIED)], ids=["put", "get"]
)
def test_an_answer_of_another_cluster_tells_whether_the_request_took_effect(
    request_: Request[object], outcome: Outcome
) -> None:
    with (
        ScriptedMember(answer_at(10, cluster_id=1)) as ours,
        ScriptedMember(answer_at(10, cluster_id=2)) as other,
        EtcdStore(EtcdOptions(endpoints=[ours.endpoint, other.endpoint])) as store,
    ):
        do(store, Get(b"k"))
        store._members.leave(store._members.in_use())
        error = store.call(request_, PATIENCE_S).exception()
        assert isinstance(error, StoreChangedError)
        assert error.outcome is outcome


@pytest.mark.parametrize("request_", [Put(b"k", b"v"), Get(b"k")], ids=["put", "get"])
def test_a_stale_answer_that_another_member_contradicts_is_no_change(request_: Request[object]) -> None:
    with (
        ScriptedMember(answer_at(10)) as current,
        ScriptedMember(answer_at(5)) as stale,
        EtcdStore(EtcdOptions(endpoints=[current.endpoint, stale.endpoint])) as store,
    ):
        do(store, Get(b"k"))
        store._members.leave(store._members.in_use())
        result = do(store, request_)
        assert stale.methods == [type(request_).__name__.replace("Get", "Range")]
        assert current.methods == ["Range", "Range"]  # a write is confirmed by a read, never repeated
        # The read gets the current answer; the write keeps the one it got.
        assert result.header.revision == (10 if isinstance(request_, Get) else 5)  # type: ignore[attr-defined]


def test_status_and_serializable_reads_may_lag() -> None:
    with (
        ScriptedMember(answer_at(10)) as current,
        ScriptedMember(answer_at(5)) as lagging,
        EtcdStore(EtcdOptions(endpoints=[current.endpoint, lagging.endpoint])) as store,
    ):
        do(store, Get(b"k"))
        store._members.leave(store._members.in_use())
        assert do(store, Status()).header.revision == 5
        assert do(store, Get(b"k", serializable=True)).header.revision == 5
        assert current.methods == ["Range"]


def test_a_lower_revision_of_a_call_sent_before_the_higher_one_came_is_no_sign() -> None:
    revisions = iter([10, 20, 15])
    with (
        ScriptedMember(lambda method: answer_at(next(revisions))(method)) as member,
        EtcdStore(EtcdOptions(endpoints=[member.endpoint])) as store,
    ):
        do(store, Get(b"k"))
        calls = store._calls
        early = calls._new_call(Get(b"k"), store._around.clock.boottime() + PATIENCE_S)
        early.floor = store._around.identity.revision  # sent now
        do(store, Get(b"k"))
        message = answer_at(15)("Range")
        calls._accept(early, store._members.in_use(), message)  # and answered only now
        assert early.future.result().header.revision == 15
