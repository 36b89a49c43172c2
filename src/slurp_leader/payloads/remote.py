"""A payload store on any file system that `fsspec` knows: S3, GCS, Azure, SFTP, HDFS, memory ..."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from slurp_leader.errors import ConfigurationError, PayloadMissingError, PayloadStoreError, SlurpLeaderError
from slurp_leader.payloads.port import PayloadEntry, check_reference, is_entry_name, reference_of, verified


class FsspecPayloadStore:
    """Payloads as files of a file system, ``{url}/{first two digits}/{reference}``. Safe to use from any thread.

    A payload is written beside its place and moved there, so that a file system which does not write at once shows no
    half of it. How durable a write is, is up to the file system. Where that does not tell the time of a file, nothing
    is ever collected.

    Args:
        url: Any URL of `fsspec`. What it needs beside that, credentials for one, comes from its own configuration.
        options: Passed on to the file system.

    Raises:
        ConfigurationError: `fsspec`, or the package for this kind of URL, is not installed; or the URL is not of a kind
            that can be opened.
    """

    def __init__(self, url: str, **options: Any) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise ConfigurationError(
                f"jobs.payload_store: {url!r} needs fsspec: install the extra `slurp-leader[fsspec]`",
                field="jobs.payload_store",
            ) from error
        try:
            self._fs, root = url_to_fs(url, **options)
        except Exception as error:  # of any class; where a package is missing, the text names it
            raise ConfigurationError(
                f"jobs.payload_store: {url!r} cannot be opened: {error}", field="jobs.payload_store"
            ) from error
        self._root = root.rstrip("/")
        self._url = url

    def __repr__(self) -> str:
        return f"FsspecPayloadStore({self._url!r})"

    def put(self, data: bytes) -> str:
        """Keep `data`. It is written anew even if it is there: not every file system can refresh the time of a file."""
        reference = reference_of(data)
        path = self._path(reference)
        part = self._path(f"{reference}.{secrets.token_hex(8)}.part")
        with self._translated("put", reference):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(part, data)
            self._fs.mv(part, path)
        return reference

    def get(self, reference: str) -> bytes:
        path = self._path(check_reference(reference))
        with self._translated("get", reference):
            return verified(reference, bytes(self._fs.cat_file(path)))

    def touch(self, reference: str) -> None:
        self.put(self.get(reference))

    def delete(self, reference: str, *, untouched_since: datetime | None = None) -> bool:
        """Delete a payload. Between the look at its time and the deletion lies one request: nobody can do better on
        file systems in general, and it matters only to bytes that are put again at that moment after a day."""
        if not is_entry_name(reference):
            check_reference(reference)
        path = self._path(reference)
        try:
            with self._translated("delete", reference):
                self._fs.invalidate_cache()
                if untouched_since is not None:
                    touched_at = self._touched_at(path)
                    if touched_at is None or touched_at > untouched_since:
                        return False
                self._fs.rm_file(path)
        except PayloadMissingError:
            return False
        return True

    def list(self, shard: str) -> Iterator[PayloadEntry]:
        with self._translated("list", ""):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(f"{self._root}/{shard}", detail=True)
            except FileNotFoundError:
                return
            for info in found:
                name = str(info["name"]).rpartition("/")[2]
                if is_entry_name(name):
                    yield PayloadEntry(name, int(info.get("size") or 0), self._touched_at(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"

    def _touched_at(self, path: str) -> datetime | None:
        try:
            moment = self._fs.modified(path)
        except NotImplementedError:
            return None
        if not isinstance(moment, datetime):
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    @contextmanager
    def _translated(self, doing: str, reference: str) -> Iterator[None]:
        """Each file system has errors of its own, of any class: what is not ours is an error of the store."""
        try:
            yield
        except SlurpLeaderError:
            raise
        except FileNotFoundError as error:
            raise PayloadMissingError(f"payload {reference} is not in {self._url}", reference=reference) from error
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise PayloadStoreError(f"{doing} payload in {self._url}: {said:.500}", reference=reference) from error
