"""What members of different versions tell of themselves, and what becomes of a question to one that is gone."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from slurp_leader.errors import StoreDeniedError, StoreUnavailableError
from slurp_leader.etcd import EtcdOptions, EtcdStore, bridge, codec
from slurp_leader.etcd.local import EtcdBinary, EtcdProcess
from slurp_leader.etcd.ports import LOOPBACK, free_ports
from slurp_leader.store import Status
from slurp_leader.store.maintenance import Survey
from support.calls import PATIENCE_S, do
from support.etcd import EtcdOperator

from .conftest import QUICK


def varint(field: int, value: int) -> bytes:
    raw = bytes([field << 3])
    while value > 0x7F:
        raw, value = raw + bytes([value & 0x7F | 0x80]), value >> 7
    return raw + bytes([value])


def text(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2, len(value)]) + value


def answer(later_fields: bytes) -> object:
    response = bridge.load().rpc.StatusResponse
    known = response(header={"member_id": 7, "revision": 5}, version="3.6.1", dbSize=900_000, leader=7, raftIndex=11)
    return response.FromString(known.SerializeToString() + later_fields)


def test_all_that_later_versions_tell_is_read() -> None:
    """The protocol file of etcd3 is older, and does not name these fields."""
    alarms = text(8, b"memberID:7 alarm:NOSPACE ") + text(8, b"etcdserver: no leader")
    told = alarms + varint(9, 300_000) + varint(10, 1) + varint(12, 2 * 1024**3)
    status = codec.member_status(answer(told), "m:1")
    assert (status.db_size, status.db_size_in_use, status.quota_bytes) == (900_000, 300_000, 2 * 1024**3)
    assert (status.is_learner, status.leads, status.alarms) == (True, True, ("NOSPACE",))
    assert (status.raft_index, status.version, status.header.revision) == (11, "3.6.1", 5)


def test_what_earlier_versions_do_not_tell_is_not_made_up() -> None:
    status = codec.member_status(answer(b""), "m:1")
    assert (status.db_size_in_use, status.quota_bytes) == (900_000, 0)
    assert (status.is_learner, status.alarms) == (False, ())


@pytest.mark.etcd
def test_a_member_that_is_gone_is_no_outage_and_no_other_answers_for_it(own_etcd: EtcdProcess) -> None:
    gone = f"{LOOPBACK}:{free_ports(1)[0]}"
    with EtcdStore(EtcdOptions(endpoints=[own_etcd.endpoint, gone])) as store:
        in_use = do(store, Status())
        with pytest.raises(StoreUnavailableError, match=gone):
            store.maintenance.status(gone, PATIENCE_S).result()
        survey = do(store, Survey())
        assert ([member.endpoint for member in survey.members], survey.silent) == ([own_etcd.endpoint], 1)
        assert store.outage is None
        assert survey.members[0].header.member_id == in_use.header.member_id


def test_a_survey_that_nobody_answers_says_why() -> None:
    gone = f"{LOOPBACK}:{free_ports(1)[0]}"
    with EtcdStore(EtcdOptions(endpoints=[gone])) as store, pytest.raises(StoreUnavailableError, match=gone):
        do(store, Survey())


@pytest.mark.etcd
def test_only_root_may_defragment_and_that_is_said(binary: EtcdBinary) -> None:
    with EtcdProcess(binary=binary, extra_args=QUICK) as etcd:
        operator = EtcdOperator(etcd.endpoint)
        for name in ("root", "plain"):
            operator.post("/v3/auth/role/add", name=name)
            operator.post("/v3/auth/user/add", name=name, password="secret")
            operator.post("/v3/auth/user/grant", user=name, role=name)
        operator.post("/v3/auth/enable")
        login = EtcdOptions(endpoints=[etcd.endpoint], username="plain", password=SecretStr("secret"))
        with EtcdStore(login) as store:
            assert do(store, Survey()).members[0].endpoint == etcd.endpoint  # everybody may ask for that
            with pytest.raises(StoreDeniedError, match="role root"):
                store.maintenance.defragment(etcd.endpoint, PATIENCE_S).result()
        with EtcdStore(login.model_copy(update={"username": "root"})) as store:
            store.maintenance.defragment(etcd.endpoint, PATIENCE_S).result()
