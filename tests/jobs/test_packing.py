"""Where results go on their way into the record, and how they come back."""

from __future__ import annotations

import json
import queue
import random
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.rig import options
from slurp_leader.clock import SystemClock
from slurp_leader.errors import ConfigurationError, PayloadCorruptError, PayloadMissingError, PayloadStoreError
from slurp_leader.jobs.decisions import RunEnd, RunReport
from slurp_leader.jobs.messages import RunEnded, RunProgress, RunStarted
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.packing import ResultPacker, fetched
from slurp_leader.jobs.records import Codec, JobOutcome, JobStatus, Payload
from slurp_leader.payloads import FolderPayloadStore, PayloadStore
from slurp_leader.resilience import BreakerOptions, CircuitBreaker
from support.calls import PATIENCE_S

KIB, MIB = 1024, 1024 * 1024
SMALL = options(result_limit=2 * KIB, compress_above=512)
JOB_ID = "01890000-0000-7000-8000-000000000001"


def noise(size: int) -> bytes:
    """A JSON text of this size that compresses badly."""
    return b'"' + random.Random(size).randbytes(size).hex().encode()[: size - 2] + b'"'


def returned(result_json: bytes) -> RunReport:
    return RunReport(RunEnd.RETURNED, result_json=result_json)


def outcome_of(report: RunReport) -> JobOutcome:
    outcome = JobOutcome(JOB_ID, JobStatus.COMPLETED, "op", 1, 1, 1, 1, 0, "", None, "", "n", payload=report.payload)
    return JobOutcome.from_value(b"b/done/" + JOB_ID.encode(), outcome.to_value(0))


def packer(
    store: PayloadStore | None, limits: JobsOptions, post: Callable[[Any], None] = lambda event: None
) -> ResultPacker:
    return ResultPacker(store, limits, post, SystemClock())


class Broken(FolderPayloadStore):
    """Fails so many times, and then works."""

    def __init__(self, path: Path, failures: int, error: Exception) -> None:
        super().__init__(path)
        self.failures, self.error, self.puts = failures, error, 0

    def put(self, data: bytes) -> str:
        self.puts += 1
        if self.puts <= self.failures:
            raise self.error
        return super().put(data)


@pytest.mark.parametrize("size", [2, 512, 2 * KIB])
def test_what_fits_stays_in_the_record(tmp_path: Path, size: int) -> None:
    report = returned(noise(size))
    assert packer(FolderPayloadStore(tmp_path / "p"), SMALL).pack(report) is report
    assert not (tmp_path / "p").exists()


def test_what_fits_once_it_is_compressed_stays_too(tmp_path: Path) -> None:
    report = returned(b'"' + b"x" * 100 * KIB + b'"')
    assert packer(FolderPayloadStore(tmp_path / "p"), SMALL).pack(report) is report


def test_a_result_that_is_too_large_becomes_a_payload_and_comes_back(tmp_path: Path) -> None:
    store = FolderPayloadStore(tmp_path)
    result = noise(50 * KIB)
    report = packer(store, SMALL).pack(returned(result))
    assert report.end is RunEnd.RETURNED
    assert report.result_json is None
    assert report.payload is not None
    stored = store.get(report.payload.reference)
    assert (report.payload.size, report.payload.stored, report.payload.codec) == (50 * KIB, len(stored), Codec.ZLIB)
    assert len(stored) < 50 * KIB * 0.9
    assert fetched(outcome_of(report), store).result == json.loads(result)


def test_a_payload_is_not_compressed_where_that_is_not_wanted_or_saves_nothing(tmp_path: Path) -> None:
    store = FolderPayloadStore(tmp_path)
    unwanted = options(result_limit=2 * KIB, compress_above=MIB)
    report = packer(store, unwanted).pack(returned(noise(4 * KIB)))
    assert report.payload is not None
    assert store.get(report.payload.reference) == noise(4 * KIB)
    dense = json.dumps(
        "".join(chr(0x4E00 + random.Random(n).randrange(20000)) for n in range(5000)), ensure_ascii=False
    )
    packed = packer(store, SMALL).pack(returned(dense.encode()))
    assert packed.payload is not None
    assert fetched(outcome_of(packed), store).result == json.loads(dense)


def test_the_same_result_is_one_payload(tmp_path: Path) -> None:
    packs = packer(FolderPayloadStore(tmp_path), SMALL)
    first, second = (packs.pack(returned(noise(9 * KIB))) for _ in range(2))
    assert first == second
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 1


@pytest.mark.parametrize(
    ("has_store", "size", "names"), [(False, 10 * KIB, "jobs.payload_store"), (True, 2 * MIB, "jobs.payload_limit")]
)
def test_a_result_that_can_be_kept_nowhere_ends_the_job_and_the_error_names_the_setting(
    tmp_path: Path, has_store: bool, size: int, names: str
) -> None:
    limits = options(result_limit=2 * KIB, payload_limit=MIB)
    report = packer(FolderPayloadStore(tmp_path) if has_store else None, limits).pack(returned(noise(size)))
    assert (report.end, report.result_json, report.payload) == (RunEnd.TERMINAL, None, None)
    assert report.error is not None
    assert report.error["code"] == "result_too_large"
    assert names in report.error["message"]
    assert list(tmp_path.iterdir()) == []


def test_ends_without_a_result_pass() -> None:
    for report in (RunReport(RunEnd.INTERRUPTED), RunReport(RunEnd.RAISED, error={"code": "x"})):
        assert packer(None, SMALL).pack(report) is report


@pytest.mark.parametrize("error", [PayloadStoreError("away"), ZeroDivisionError("a mistake of the store")])
def test_a_store_that_fails_is_tried_again_before_the_run_is_given_up(tmp_path: Path, error: Exception) -> None:
    store = Broken(tmp_path, 2, error)
    assert packer(store, SMALL).pack(returned(noise(9 * KIB))).payload is not None
    assert store.puts == 3
    gone = packer(Broken(tmp_path, 3, error), SMALL).pack(returned(noise(9 * KIB)))
    assert (gone.end, gone.result_json, gone.payload) == (RunEnd.NOT_STORED, None, None)
    assert gone.error is not None
    assert gone.error["code"] == "payload_store"
    assert str(error) in gone.error["message"]


def test_once_it_is_stopped_a_failed_put_is_not_repeated(tmp_path: Path) -> None:
    store = Broken(tmp_path, 99, PayloadStoreError("away"))
    packs = packer(store, SMALL)
    assert packs.stop()
    assert (packs.pack(returned(noise(9 * KIB))).end, store.puts) == (RunEnd.NOT_STORED, 1)


# ---------------------------------------------------------------- between the pool and the scheduler


class Slow(FolderPayloadStore):
    """Takes what it is given once the gate is open, and says that it was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked, self.gate = threading.Event(), threading.Event()

    def put(self, data: bytes) -> str:
        self.asked.set()
        assert self.gate.wait(PATIENCE_S)
        return super().put(data)


def test_who_tells_of_a_large_result_is_not_held_up_and_others_pass(tmp_path: Path) -> None:
    told: queue.Queue[Any] = queue.Queue()
    store = Slow(tmp_path)
    packs = packer(store, SMALL, told.put)
    packs.post(RunEnded(1, returned(noise(9 * KIB)), 0.5))
    assert store.asked.wait(PATIENCE_S)
    others = [RunStarted(2), RunProgress(2, 0.5, ""), RunEnded(2, returned(b"1"), 0.1), RunEnded(3, None)]
    for event in others:
        packs.post(event)
    assert [told.get_nowait() for _ in others] == others
    assert told.empty()
    assert not packs.stop(0)
    store.gate.set()
    ended = told.get(timeout=PATIENCE_S)
    assert (ended.run_id, ended.duration_s, ended.report.end) == (1, 0.5, RunEnd.RETURNED)
    assert ended.report.payload is not None
    assert packs.stop(PATIENCE_S)


def test_a_run_ends_whatever_happens_while_its_result_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> bytes:
        raise MemoryError("no more")

    monkeypatch.setattr(zlib, "compress", no_memory)
    told: queue.Queue[Any] = queue.Queue()
    packs = packer(FolderPayloadStore(tmp_path), SMALL, told.put)
    packs.post(RunEnded(1, returned(noise(9 * KIB))))
    assert told.get(timeout=PATIENCE_S).report.end is RunEnd.NOT_STORED
    assert packs.stop(PATIENCE_S)


# ---------------------------------------------------------------- the way back


@pytest.fixture
def packed(tmp_path: Path) -> JobOutcome:
    return outcome_of(packer(FolderPayloadStore(tmp_path), SMALL).pack(returned(noise(9 * KIB))))


def test_a_result_in_the_record_needs_no_store() -> None:
    outcome = outcome_of(RunReport(RunEnd.RETURNED))
    assert fetched(outcome, None) is outcome


def test_without_a_store_the_error_names_the_setting(packed: JobOutcome) -> None:
    with pytest.raises(ConfigurationError, match=r"^jobs\.payload_store"):
        fetched(packed, None)


def test_a_payload_that_is_gone_or_damaged_is_told(packed: JobOutcome, tmp_path: Path) -> None:
    assert packed.payload is not None
    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(PayloadCorruptError, match=packed.payload.reference):
        fetched(packed, FolderPayloadStore(tmp_path))
    path.unlink()
    with pytest.raises(PayloadMissingError, match=packed.payload.reference):
        fetched(packed, FolderPayloadStore(tmp_path))


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (zlib.compress(b"[" + b"0," * 10_000_000 + b"0]"), {"size": 100}),
        (zlib.compress(b'"x"')[:-2], {"size": 3}),
        (b"not compressed", {"size": 3}),
        (b'"x"', {"size": 4, "codec": Codec.PLAIN}),
        (b"no JSON", {"size": 7, "codec": Codec.PLAIN}),
    ],
    ids=["bomb", "cut off", "other codec", "other size", "no JSON"],
)
def test_a_record_that_does_not_fit_its_payload_is_told(data: bytes, payload: dict[str, Any], tmp_path: Path) -> None:
    store = FolderPayloadStore(tmp_path)
    forged = Payload(store.put(data), **{"size": 0, "stored": len(data), "codec": Codec.ZLIB, **payload})
    with pytest.raises(PayloadCorruptError, match="is not the result"):
        fetched(outcome_of(RunReport(RunEnd.RETURNED, payload=forged)), store)


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    store = FolderPayloadStore(tmp_path)
    data = zlib.compress(b" " * 30 * MIB)
    bomb = outcome_of(RunReport(RunEnd.RETURNED, payload=Payload(store.put(data), 100, len(data), Codec.ZLIB)))
    tracemalloc.start()
    try:
        with pytest.raises(PayloadCorruptError):
            fetched(bomb, store)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_the_result_of_an_outcome_is_never_none_by_mistake(packed: JobOutcome) -> None:
    with pytest.raises(Exception, match=r"JobHandle\.result"):
        _ = packed.result


@pytest.mark.parametrize(
    "fields", [{"ref": "../x"}, {"ref": None}, {"size": -1}, {"size": 2**40}, {"codec": "lzma"}, {"stored": "1"}]
)
def test_a_forged_reference_makes_the_record_unreadable(packed: JobOutcome, fields: dict[str, Any]) -> None:
    assert packed.payload is not None
    key = b"b/done/" + JOB_ID.encode()
    wire = json.loads(packed.to_value(0))
    wire["payload"] |= fields
    with pytest.raises(Exception, match="outcome record"):
        JobOutcome.from_value(key, json.dumps(wire).encode())


def test_a_record_with_a_payload_is_written_as_it_is_read(packed: JobOutcome) -> None:
    assert JobOutcome.from_value(b"b/done/" + JOB_ID.encode(), packed.to_value(0)) == packed
    assert "result" not in json.loads(replace(packed, payload=None).to_value(0))


def test_the_limits_of_a_default_installation() -> None:
    limits = JobsOptions()
    assert (limits.result_limit, limits.payload_limit, limits.compress_above) == (MIB, 64 * MIB, 4 * KIB)


def test_a_store_that_keeps_failing_is_left_alone_and_the_run_is_told_until_when(tmp_path: Path) -> None:
    store = Broken(tmp_path, 1000, PayloadStoreError("away"))
    circuit = CircuitBreaker("payloads", BreakerOptions(minimum_calls=3))
    packing = ResultPacker(store, SMALL, lambda event: None, SystemClock(), circuit)
    first = packing.pack(returned(noise(10 * KIB)))
    puts = store.puts
    second = packing.pack(returned(noise(10 * KIB)))
    assert (first.end, second.end) == (RunEnd.NOT_STORED, RunEnd.NOT_STORED)
    assert store.puts == puts == 3
    assert second.retry_after_s > 0
