"""What `jobs.payload_store` may be, and which store it means."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slurp_leader.errors import ConfigurationError
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.payloads import FolderPayloadStore, FsspecPayloadStore, open_payload_store

DATA = b"x" * 100


def test_empty_is_none() -> None:
    assert open_payload_store("", "c") is None
    assert JobsOptions().payload_store == ""


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_path_is_a_folder_with_one_folder_for_each_cluster(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    url = form.format(str(folder).replace(" ", "%20") if "://" in form else folder)
    assert JobsOptions(payload_store=url).payload_store == url
    one, other = open_payload_store(url, "one"), open_payload_store(url, "other")
    assert isinstance(one, FolderPayloadStore)
    assert isinstance(other, FolderPayloadStore)
    reference = one.put(DATA)
    assert (folder / "one" / reference[:2] / reference).read_bytes() == DATA
    assert list(other.list(reference[:2])) == []


def test_any_other_url_is_one_of_fsspec_with_one_folder_for_each_cluster() -> None:
    pytest.importorskip("fsspec")
    one, other = open_payload_store("memory://opening/", "one"), open_payload_store("memory://opening/", "other")
    assert isinstance(one, FsspecPayloadStore)
    assert other is not None
    reference = one.put(DATA)
    assert one.get(reference) == DATA
    assert list(other.list(reference[:2])) == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("payloads", "absolute path"),
        ("./payloads", "absolute path"),
        ("file://host/share", "names a host"),
        ("sftp://me:secret@host/share", "must hold no password"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^jobs\.payload_store.*{reason}"):
        JobsOptions(payload_store=url)


def test_without_fsspec_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ConfigurationError, match=r"slurp-leader\[fsspec\]") as caught:
        open_payload_store("s3://bucket/folder", "c")
    assert caught.value.field == "jobs.payload_store"


@pytest.mark.parametrize("url", ["nosuchkind://x/y", "github://x"])
def test_a_kind_of_url_that_cannot_be_opened_is_an_error_of_the_setting(url: str) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(ConfigurationError, match=r"jobs\.payload_store"):
        open_payload_store(url, "c")
