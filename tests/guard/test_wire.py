"""The three messages that the guard writes by hand are those of etcd3."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.etcd import bridge
from slurp_leader.guard.etcd import authenticate_request, read_request, revoke_request, token_in

NAMES = st.text(st.characters(codec="utf-8"), max_size=300)


@pytest.fixture(scope="module")
def rpc() -> Any:
    return bridge.load().rpc


@given(lease_id=st.integers(1, 2**63 - 1))
def test_revoke(rpc: Any, lease_id: int) -> None:
    assert revoke_request(lease_id) == rpc.LeaseRevokeRequest(ID=lease_id).SerializeToString()


@given(name=NAMES.filter(bool), password=NAMES.filter(bool))
def test_authenticate(rpc: Any, name: str, password: str) -> None:
    assert (
        authenticate_request(name, password)
        == rpc.AuthenticateRequest(name=name, password=password).SerializeToString()
    )


def test_read(rpc: Any) -> None:
    expected = rpc.RangeRequest(key=b"\0", serializable=True, count_only=True)
    assert rpc.RangeRequest.FromString(read_request()) == expected


@given(token=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300))
def test_the_token_is_found_behind_the_header(rpc: Any, token: str) -> None:
    answer = rpc.AuthenticateResponse(token=token)
    answer.header.revision = 2**40
    answer.header.cluster_id = 2**63
    assert token_in(answer.SerializeToString()) == token


@given(st.binary(max_size=100))
def test_a_mangled_answer_breaks_nothing(answer: bytes) -> None:
    assert isinstance(token_in(answer), str)
