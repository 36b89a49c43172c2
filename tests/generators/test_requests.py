"""Requests and results as values: valid once they exist, the same after a trip over the wire."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.errors import RecordError, RequestInvalidError
from slurp_leader.jobs.request import MAX_METADATA_BYTES, ContextGenerationRequest, Priority
from slurp_leader.jobs.result import ContextGenerationResult, ContextNode, ResultError
from slurp_leader.ucxl import UcxlAddress, parse


def deep(levels: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def test_the_sample_of_the_description_is_a_valid_request() -> None:
    request = ContextGenerationRequest(
        ucxl_address="ucxl://example.com/path/to/file",
        file_path="/path/to/file.go",
        role="developer",
        priority=Priority.NORMAL,
    )
    assert str(request.address) == "ucxl://any:any@example.com:any/*^/path/to/file"
    assert request.address.raw == request.ucxl_address == "ucxl://example.com/path/to/file"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"file_path": ""}, "file_path"),
        ({"file_path": None}, "file_path"),
        ({"file_path": "a\0b"}, "file_path"),
        ({"file_path": "a\nb"}, "file_path"),
        ({"file_path": "a\udc80"}, "file_path"),
        ({"file_path": "ä" * 2500}, "file_path"),
        ({"role": ""}, "role"),
        ({"role": "a b"}, "role"),
        ({"role": "dev\n"}, "role"),
        ({"role": "x" * 65}, "role"),
        ({"ucxl_address": "http://x"}, "ucxl_address"),
        ({"ucxl_address": 7}, "ucxl_address"),
        ({"priority": "urgentissimo"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 0}, "priority"),
        ({"priority": 6}, "priority"),
        ({"priority": 3.0}, "priority"),
        ({"priority": float("nan")}, "priority"),
        ({"priority": None}, "priority"),
        ({"force": "yes"}, "force"),
        ({"force": 1}, "force"),
        ({"max_depth": -1}, "max_depth"),
        ({"max_depth": 9}, "max_depth"),
        ({"max_depth": True}, "max_depth"),
        ({"max_depth": 2.0}, "max_depth"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1.0}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": 10**400}, "timeout"),
        ({"timeout": 8 * 24 * 3600}, "timeout"),
        ({"timeout": timedelta(0)}, "timeout"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {1: 2}}, "metadata"),
        ({"metadata": {"a": object()}}, "metadata"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"metadata": {"a": "\ud800"}}, "metadata"),
        ({"metadata": {"a": "x" * MAX_METADATA_BYTES}}, "metadata"),
        ({"metadata": {"a": 10**5000}}, "metadata"),
        ({"metadata": deep(20)}, "metadata"),
        ({"metadata": deep(100_000)}, "metadata"),
        ({"requested_by": "x" * 129}, "requested_by"),
        ({"requested_by": "a\x1b[31m"}, "requested_by"),
        ({"prioritty": "high"}, "prioritty"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict[str, object], field: str) -> None:
    with pytest.raises(RequestInvalidError) as caught:
        ContextGenerationRequest(**({"file_path": "a.py"} | fields))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert pickle.loads(pickle.dumps(caught.value)).field == field


def test_a_typing_error_in_a_field_name_gets_a_suggestion() -> None:
    with pytest.raises(RequestInvalidError, match="did you mean 'priority'"):
        ContextGenerationRequest.build("a.py", prioritty="high")


def test_a_refusal_does_not_repeat_what_was_given() -> None:
    with pytest.raises(RequestInvalidError) as caught:
        ContextGenerationRequest.build("a.py", metadata={"password": {"hunter2"}})
    assert "hunter2" not in str(caught.value)


def test_priorities_are_read_from_names_and_from_the_numbers_of_bzzz() -> None:
    assert [Priority.parse(number) for number in range(1, 6)] == list(Priority)
    assert [priority.rank for priority in Priority] == [1, 2, 3, 4, 5]
    assert Priority.parse("HIGH") is Priority.HIGH
    assert ContextGenerationRequest.build("a.py", priority=5).priority is Priority.CRITICAL


def test_a_timeout_is_seconds_or_a_timedelta() -> None:
    for timeout in (90, 90.0, timedelta(seconds=90)):
        assert ContextGenerationRequest(file_path="a.py", timeout=timeout).timeout_s == 90.0
    assert ContextGenerationRequest(file_path="a.py").timeout_s is None


def test_metadata_is_cut_off_from_the_callers_object() -> None:
    inner = [1]
    mine: dict[str, object] = {"a": {"b": inner}}
    request = ContextGenerationRequest.build("a.py", metadata=mine)
    inner.append(2)
    mine.clear()
    assert request.metadata == {"a": {"b": [1]}}


def test_a_request_cannot_be_changed() -> None:
    request = ContextGenerationRequest(file_path="a.py")
    with pytest.raises(ValueError, match="frozen"):
        request.role = "tester"  # type: ignore[misc]


def test_a_request_can_be_built_from_another() -> None:
    one = ContextGenerationRequest(file_path="a.py", priority=Priority.HIGH)
    other = ContextGenerationRequest.build(one, role="tester")
    assert (other.file_path, other.priority, other.role) == ("a.py", Priority.HIGH, "tester")
    with pytest.raises(RequestInvalidError, match="given twice"):
        ContextGenerationRequest.build("a.py", file_path="b.py")


def test_an_address_object_is_as_good_as_its_text() -> None:
    address = parse("ucxl://a:r@p:t/x")
    request = ContextGenerationRequest.build("x", ucxl_address=address)
    assert (request.address, request.ucxl_address) == (address, address.raw)
    built = UcxlAddress("a", "r", "p", "t")
    assert ContextGenerationRequest.build("x", ucxl_address=built).address == built


def test_without_an_address_one_is_derived_from_path_and_role() -> None:
    request = ContextGenerationRequest(file_path="/src/./a.py", role="tester")
    assert str(request.address) == "ucxl://any:tester@any:any/*^/src/a.py"


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=6).map("/".join))
def test_whatever_path_is_accepted_has_an_address_that_can_be_read(path: str) -> None:
    try:
        request = ContextGenerationRequest(file_path=path)
    except RequestInvalidError:
        return
    assert parse(str(request.address)) == request.address


def test_paths_that_an_address_cannot_hold_do_not_share_one() -> None:
    paths = ["a b.py", "a-b.py", "a+b.py", "a/ b.py", "ä.py", "ö.py", "x" * 2000, "x" * 2001]
    addresses = {str(ContextGenerationRequest(file_path=path).address) for path in paths}
    assert len(addresses) == len(paths)


def test_a_request_survives_the_wire() -> None:
    request = ContextGenerationRequest(
        file_path="src/ä b.py",
        role="tester",
        ucxl_address="ucxl://example.com/x",
        priority=Priority.LOW,
        force=True,
        max_depth=0,
        timeout=timedelta(minutes=2),
        metadata={"a": [None, True, 1.5, "x"]},
        requested_by="node-1",
    )
    wire = json.loads(json.dumps(request.to_wire()))
    assert ContextGenerationRequest.from_wire(wire) == request
    assert ContextGenerationRequest.from_wire(wire | {"added_later": 1}) == request
    assert wire["address"] == "ucxl://any:any@example.com:any/*^/x"


@pytest.mark.parametrize("wire", [None, [], "x", {}, {"file_path": 3}, {"file_path": "a", "timeout_s": "x"}])
def test_a_wire_form_that_is_no_request_is_refused(wire: object) -> None:
    with pytest.raises(RequestInvalidError):
        ContextGenerationRequest.from_wire(wire)


NODE = ContextNode(path="a.py", ucxl_address="ucxl://a:r@p:t", summary="s", purpose="p", confidence=0.5)


def test_a_result_carries_a_node_or_any_other_value() -> None:
    result = ContextGenerationResult.of(NODE.to_wire(), job_id="j", status="completed")
    assert (result.node, result.value, result.confidence, result.success, result.request_id) == (
        NODE,
        None,
        0.5,
        True,
        "j",
    )
    result = ContextGenerationResult.of([1], job_id="j", status="completed", request_id="mine")
    assert (result.node, result.value, result.confidence, result.request_id) == (None, [1], None, "mine")


def test_a_result_survives_the_wire() -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 123000, tzinfo=UTC)
    result = ContextGenerationResult.of(
        NODE.to_wire(),
        job_id="j",
        status="failed",
        token=7,
        epoch=2,
        started_at=moment,
        finished_at=moment,
        duration_s=0.5,
        error=ResultError(code="binary", message="m"),
    )
    wire = json.loads(json.dumps(result.to_wire()))
    assert wire["started_at"] == "2026-01-31T12:00:00.123Z"
    assert ContextGenerationResult.from_wire(wire) == result
    assert not result.success


@pytest.mark.parametrize("wire", [{}, {"kind": "context_node", "schema": 2}, [], None, {"kind": "other", "schema": 1}])
def test_other_json_is_not_taken_for_a_node(wire: object) -> None:
    assert not ContextNode.is_wire(wire)


def test_a_node_with_a_wrong_field_is_a_broken_record() -> None:
    with pytest.raises(RecordError, match="confidence"):
        ContextNode.from_wire(NODE.to_wire() | {"confidence": 7})
