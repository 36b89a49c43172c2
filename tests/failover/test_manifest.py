"""The value: what is read is what was written, and nothing else is read at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurp_leader.errors import RecordError
from slurp_leader.failover.manifest import KEPT, FailoverKeys, Manifest, ManifestReason, _checksum, changed_settings
from slurp_leader.failover.verification import Verdict, Verification, judge, misplaced, read_check
from slurp_leader.jobs.inventory import Stock
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.store import Delete, KeyValue
from slurp_leader.store.keyspace import Keyspace

KEYS = FailoverKeys(Keyspace("test"))
STOCK = Stock(41, {"queue": 3, "run": 1}, 0xABC)
LEFT = Manifest(7, 40, STOCK, ManifestReason.HANDOVER, "a", "2026-01-01T00:00:00.000Z", {"workers": 4}, {"floor": None})


def record(manifest: Manifest, value: bytes | None = None, key: bytes | None = None) -> KeyValue:
    return KeyValue(key or KEYS.of(manifest), value or manifest.to_value(), 42, 42, 1)


def rewritten(**fields: Any) -> bytes:
    """A manifest of another hand: the fields are changed, and the checksum fits."""
    data = json.loads(LEFT.to_value()) | fields
    data.pop("sum")
    return json.dumps({**data, "sum": _checksum(data)}).encode()


@given(
    epoch=st.integers(0, 10**10 - 1),
    total=st.integers(0, 2**128 - 1),
    counts=st.dictionaries(st.text(max_size=9), st.integers(0, 2**40), max_size=9),
    reason=st.sampled_from(ManifestReason),
    node_id=st.text(max_size=20),
)
def test_what_was_written_is_read(
    epoch: int, total: int, counts: dict[str, int], reason: ManifestReason, node_id: str
) -> None:
    manifest = Manifest(epoch, 9, Stock(5, counts, total), reason, node_id, "now", {"a": 1.5}, {"floor": "x"})
    read = Manifest.from_value(record(manifest))
    assert (read, read.revision) == (manifest, 42)


def test_a_field_of_a_newer_version_is_no_reason_to_refuse_it() -> None:
    assert Manifest.from_value(record(LEFT, rewritten(new_field=[1]))) == LEFT


@pytest.mark.parametrize("length", range(0, len(LEFT.to_value()), 7))
def test_a_truncated_one_is_refused(length: int) -> None:
    with pytest.raises(RecordError):
        Manifest.from_value(KeyValue(KEYS.of(LEFT), LEFT.to_value()[:length], 1, 1, 1))


@pytest.mark.parametrize(
    ("field", "forged"),
    [("hash", "0" * 32), ("revision", 3), ("token", 1), ("counts", {"queue": 4}), ("node", "b"), ("control", {})],
    ids=lambda value: str(value),
)
def test_a_forged_one_is_refused(field: str, forged: Any) -> None:
    data = json.loads(LEFT.to_value())
    data[field] = forged
    with pytest.raises(RecordError, match="checksum"):
        Manifest.from_value(record(LEFT, json.dumps(data).encode()))


@pytest.mark.parametrize(
    "fields",
    [
        {"schema": 2}, {"schema": True}, {"epoch": -1}, {"epoch": "7"}, {"epoch": True}, {"revision": 0},
        {"revision": 2**70}, {"token": None}, {"counts": []}, {"counts": {"queue": -1}}, {"counts": {"queue": 1.5}},
        {"hash": "abc"}, {"hash": "g" * 32}, {"hash": 12}, {"reason": "whim"}, {"node": 1}, {"at": None},
        {"settings": 1}, {"control": None},
    ],
    ids=str,
)  # fmt: skip
def test_one_that_makes_no_sense_is_refused_though_its_checksum_fits(fields: dict[str, Any]) -> None:
    with pytest.raises(RecordError) as caught:
        Manifest.from_value(record(LEFT, rewritten(**fields)))
    assert caught.value.key == KEYS.of(LEFT).decode()


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b'{"schema":1}', b"[" * 100_000, b" " * 70_000])
def test_what_is_no_manifest_is_refused(value: bytes) -> None:
    with pytest.raises(RecordError):
        Manifest.from_value(KeyValue(KEYS.of(LEFT), value, 1, 1, 1))


def test_a_large_one_is_refused_before_anybody_reads_it() -> None:
    padded = rewritten(padding="x" * 70_000)
    with pytest.raises(RecordError, match="too many"):
        Manifest.from_value(record(LEFT, padded))


@pytest.mark.parametrize("key", [KEYS.manifest(8), KEYS.manifest(7) + b"-demand", KEYS.check(7), b"elsewhere"])
def test_one_under_a_key_that_is_not_its_own_is_refused(key: bytes) -> None:
    with pytest.raises(RecordError, match="epoch 7"):
        Manifest.from_value(record(LEFT, key=key))


def test_all_but_the_newest_epochs_make_room_in_one_operation() -> None:
    assert KEYS.make_room(KEPT) == ()
    (delete,) = KEYS.make_room(100)
    assert isinstance(delete, Delete)
    assert delete.range_end is not None
    gone = [epoch for epoch in range(1, 101) if delete.key <= KEYS.check(epoch) < delete.range_end]
    assert gone == list(range(1, 101 - KEPT))


# ---------------------------------------------------------------- the comparison


def test_equal_stocks_are_verified() -> None:
    assert judge(LEFT, STOCK, {}).verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (Stock(41, {"queue": 3, "run": 1}, 0xABD), ["hash: "]),
        (Stock(41, {"queue": 2, "run": 1}, 0xABC), ["queue: 3 left, 2 found"]),
        (Stock(41, {"queue": 3}, 1), ["run: 1 left, 0 found", "hash: "]),
        (Stock(41, {"queue": 3, "run": 1, "new": 2}, 1), ["new: 0 left, 2 found", "hash: "]),
    ],
)
def test_what_differs_is_named(found: Stock, named: list[str]) -> None:
    result = judge(LEFT, found, {})
    assert result.verdict is Verdict.MISMATCH
    assert len(result.differences) == len(named)
    for difference, begin in zip(result.differences, named, strict=True):
        assert difference.startswith(begin)


def test_a_manifest_has_to_be_of_before_it_was_written_and_of_the_handover_itself() -> None:
    read = Manifest.from_value(record(LEFT))
    assert misplaced(read, 42) == misplaced(read, None) == ""
    assert "written again" in misplaced(read, 41)
    late = Manifest.from_value(KeyValue(KEYS.of(LEFT), LEFT.to_value(), 41, 41, 1))
    assert "describes revision 41" in misplaced(late, 41)


def test_settings_that_differ_are_told_and_are_nothing_wrong() -> None:
    result = judge(LEFT, STOCK, {"workers": 8, "unknown_there": 1})
    assert result.verdict is Verdict.VERIFIED
    assert result.changed == {"workers": (4, 8)}
    assert changed_settings(LEFT, {"workers": 4}) == {}


def test_what_is_in_force_is_told_in_seconds_and_bytes() -> None:
    assert JobsOptions().in_force() == {
        "workers": 4,
        "memory_limit": 0,
        "limit": 0,
        "limit_per_role": 0,
        "limit_per_project": 0,
        "age_step_s": 60.0,
        "max_attempts": 3,
        "max_interruptions": 3,
        "queue_limit": 10_000,
        "queue_bytes": 256 * 1024**2,
        "result_limit": 1024**2,
        "payload_limit": 64 * 1024**2,
        "retain_completed_count": 200_000,
        "retain_failed_count": 50_000,
        "retain_cancelled_count": 50_000,
        "timeout_s": 300.0,
        "drain_timeout_s": 30.0,
        "retain_completed_s": 3600.0,
        "retain_failed_s": 7 * 86400.0,
        "retain_cancelled_s": 3600.0,
    }


def test_a_check_is_read_as_it_was_written_down() -> None:
    check = Verification(7, Verdict.MISMATCH, "why", ("queue: 3 left, 2 found",), STOCK, None, {"workers": (4, 8)})
    assert read_check(KeyValue(KEYS.check(7), check.to_value(), 1, 1, 1)) == check.to_fields()
    with pytest.raises(RecordError):
        read_check(KeyValue(KEYS.check(7), b'{"schema":1,"verdict":"fine"}', 1, 1, 1))
