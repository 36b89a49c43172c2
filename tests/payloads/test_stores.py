"""One contract for every payload store: the folder, and `fsspec` on a folder and in memory."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from slurp_leader.errors import PayloadCorruptError, PayloadError, PayloadMissingError, PayloadStoreError
from slurp_leader.payloads import FolderPayloadStore, FsspecPayloadStore, PayloadStore, reference_of
from slurp_leader.payloads.port import SHARDS

DATA = b"what a job came to " * 1000
REFERENCE = reference_of(DATA)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
FAR_OFF = datetime(2100, 1, 1, tzinfo=UTC)


class Case:
    """A store, and ways to change what lies in it."""

    def __init__(self, store: PayloadStore, write: Callable[[str, bytes], Any], age: Callable[[str], Any]) -> None:
        self.store = store
        self.write = write
        """Put bytes under the name of a payload, whatever they are."""
        self.age = age
        """Make a payload look as if it had been touched last in the year 2000."""

    def names(self) -> list[str]:
        return sorted(entry.reference for shard in SHARDS for entry in self.store.list(shard))


def in_folder(path: Path, store: PayloadStore) -> Case:
    def place(name: str) -> Path:
        return path / name[:2] / name

    def write(name: str, data: bytes) -> None:
        place(name).parent.mkdir(exist_ok=True, parents=True)
        place(name).write_bytes(data)

    def age(name: str) -> None:
        os.utime(place(name), (LONG_AGO.timestamp(), LONG_AGO.timestamp()))

    return Case(store, write, age)


def in_memory() -> Case:
    fsspec = pytest.importorskip("fsspec")
    root = f"/{uuid.uuid4().hex}"
    files = fsspec.filesystem("memory")

    def age(name: str) -> None:
        files.store[f"{root}/{name[:2]}/{name}"].modified = LONG_AGO

    return Case(
        FsspecPayloadStore(f"memory:/{root}"),
        lambda name, data: files.pipe_file(f"{root}/{name[:2]}/{name}", data),
        age,
    )


@pytest.fixture(params=["folder", "fsspec file", "fsspec memory"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    match request.param:
        case "folder":
            return in_folder(tmp_path / "p", FolderPayloadStore(tmp_path / "p"))
        case "fsspec file":
            pytest.importorskip("fsspec")
            return in_folder(tmp_path / "p", FsspecPayloadStore(f"file://{tmp_path}/p"))
        case _:
            return in_memory()


# ---------------------------------------------------------------- the contract


def test_what_was_put_is_got_under_its_hash(case: Case) -> None:
    assert case.store.put(DATA) == REFERENCE
    assert case.store.get(REFERENCE) == DATA
    assert case.store.put(b"") == reference_of(b"")
    assert case.store.get(reference_of(b"")) == b""


def test_a_put_that_is_repeated_leaves_one_payload(case: Case) -> None:
    assert case.store.put(DATA) == case.store.put(DATA)
    assert case.names() == [REFERENCE]


def test_a_payload_that_is_not_there_is_missing(case: Case) -> None:
    with pytest.raises(PayloadMissingError, match=REFERENCE) as caught:
        case.store.get(REFERENCE)
    assert caught.value.reference == REFERENCE
    with pytest.raises(PayloadMissingError):
        case.store.touch(REFERENCE)
    assert case.store.delete(REFERENCE) is False
    assert case.names() == []


@pytest.mark.parametrize("found", [DATA[:-1], DATA + b"x", b"", b"X" + DATA[1:]])
def test_other_bytes_are_told_and_never_returned(case: Case, found: bytes) -> None:
    case.write(REFERENCE, found)
    with pytest.raises(PayloadCorruptError, match=REFERENCE) as caught:
        case.store.get(REFERENCE)
    assert caught.value.reference == REFERENCE


def test_a_put_heals_a_payload_that_was_damaged(case: Case) -> None:
    case.write(REFERENCE, b"X" + DATA[1:])
    case.store.put(DATA)
    assert case.store.get(REFERENCE) == DATA


@pytest.mark.parametrize("refresh", ["put", "touch"])
def test_putting_and_touching_refresh_the_time(case: Case, refresh: str) -> None:
    case.store.put(DATA)
    case.age(REFERENCE)
    assert [entry.touched_at for entry in case.store.list(REFERENCE[:2])] == [LONG_AGO]
    if refresh == "put":
        case.store.put(DATA)
    else:
        case.store.touch(REFERENCE)
    [entry] = case.store.list(REFERENCE[:2])
    assert entry.touched_at is not None
    assert entry.touched_at > LONG_AGO + timedelta(days=365)
    assert entry.size == len(DATA)


def test_what_was_touched_since_is_not_deleted(case: Case) -> None:
    case.store.put(DATA)
    assert case.store.delete(REFERENCE, untouched_since=LONG_AGO) is False
    assert case.store.get(REFERENCE) == DATA
    assert case.store.delete(REFERENCE, untouched_since=FAR_OFF) is True
    assert case.names() == []


def test_what_a_write_left_is_listed_and_can_be_deleted(case: Case) -> None:
    left = f"{REFERENCE}.0123456789abcdef.part"
    case.write(left, b"half")
    case.age(left)
    case.write("notes-of-somebody.txt", b"not ours")
    assert case.names() == [left]
    assert case.store.delete(left, untouched_since=FAR_OFF)
    assert case.names() == []


@pytest.mark.parametrize("forged", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "a" * 64 + "/x"])
def test_a_forged_reference_reaches_no_file(case: Case, forged: str) -> None:
    for use in (case.store.get, case.store.touch, case.store.delete):
        with pytest.raises(PayloadError, match="not a reference"):
            use(forged)


def test_payloads_are_spread_and_listed_by_their_first_digits(case: Case) -> None:
    references = {case.store.put(b"%d" % number) for number in range(40)}
    assert set(case.names()) == references
    for shard in SHARDS[:40]:
        assert all(entry.reference.startswith(shard) for entry in case.store.list(shard))


# ---------------------------------------------------------------- the folder


def test_a_payload_touched_while_it_is_being_deleted_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time was old when it was looked at first; then somebody put the same bytes; then it is taken away."""
    store = FolderPayloadStore(tmp_path)
    case = in_folder(tmp_path, store)
    store.put(DATA)
    case.age(REFERENCE)
    rename = Path.rename

    def put_first(self: Path, target: Path) -> Path:
        store.put(DATA)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", put_first)
    assert store.delete(REFERENCE, untouched_since=LONG_AGO + timedelta(days=1)) is False
    assert store.get(REFERENCE) == DATA
    assert case.names() == [REFERENCE]


def test_a_payload_put_while_it_is_being_deleted_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderPayloadStore(tmp_path)
    case = in_folder(tmp_path, store)
    store.put(DATA)
    case.age(REFERENCE)
    utime = os.utime

    def delete_first(path: Path) -> None:
        monkeypatch.setattr(os, "utime", utime)
        assert store.delete(REFERENCE, untouched_since=LONG_AGO + timedelta(days=1)) is True
        utime(path)

    monkeypatch.setattr(os, "utime", delete_first)
    store.put(DATA)
    assert store.get(REFERENCE) == DATA


def test_a_write_that_fails_leaves_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    store = FolderPayloadStore(tmp_path)
    (tmp_path / REFERENCE[:2]).mkdir()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PayloadStoreError, match="No space left") as caught:
        store.put(DATA)
    assert caught.value.retryable
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_share_that_is_not_mounted_is_no_missing_payload_and_is_not_made(tmp_path: Path) -> None:
    store = FolderPayloadStore(tmp_path / "share" / "cluster")
    for use in (lambda: store.put(DATA), lambda: store.get(REFERENCE), lambda: list(store.list("00"))):
        with pytest.raises(PayloadStoreError, match="mount"):
            use()
    assert not (tmp_path / "share").exists()


# ---------------------------------------------------------------- fsspec


def test_errors_of_a_file_system_become_errors_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    store = FsspecPayloadStore("memory://broken")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the bucket is on fire")

    for name in ("pipe_file", "cat_file", "ls", "modified"):
        monkeypatch.setattr(type(store._fs), name, broken)
    for use in (
        lambda: store.put(DATA),
        lambda: store.get(REFERENCE),
        lambda: list(store.list("00")),
        lambda: store.delete(REFERENCE, untouched_since=FAR_OFF),
    ):
        with pytest.raises(PayloadStoreError, match="RuntimeError: the bucket is on fire"):
            use()


def test_where_times_are_not_told_nothing_is_deleted_for_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    case = in_memory()
    store = case.store
    assert isinstance(store, FsspecPayloadStore)
    store.put(DATA)

    def untold(self: object, path: str) -> None:
        raise NotImplementedError

    monkeypatch.setattr(type(store._fs), "modified", untold)
    assert [entry.touched_at for entry in store.list(REFERENCE[:2])] == [None]
    assert store.delete(REFERENCE, untouched_since=FAR_OFF) is False
    assert store.get(REFERENCE) == DATA
