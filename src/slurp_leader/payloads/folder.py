"""A payload store in a folder: of this machine, or one that all nodes mount."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from slurp_leader.errors import PayloadMissingError, PayloadStoreError
from slurp_leader.payloads.port import PayloadEntry, check_reference, is_entry_name, reference_of, verified


class FolderPayloadStore:
    """Payloads as files, ``{path}/{first two digits}/{reference}``. Safe to use from any thread and process.

    A file appears whole or not at all, also when the machine loses power: it is written beside its place, synced, and
    renamed.

    Args:
        path: The folder. It is made when it is first needed, the folder that it lies in is not: a share that is not
            mounted must not become a folder that no other node sees.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = Path(path)

    def __repr__(self) -> str:
        return f"FolderPayloadStore({str(self._root)!r})"

    def put(self, data: bytes) -> str:
        reference = reference_of(data)
        path = self._path(reference)
        with self._translated("put", reference):
            if not self._refreshed(path, data):
                self._write(path, data)
        return reference

    def get(self, reference: str) -> bytes:
        path = self._path(check_reference(reference))
        with self._translated("get", reference):
            return verified(reference, path.read_bytes())

    def touch(self, reference: str) -> None:
        path = self._path(check_reference(reference))
        with self._translated("touch", reference):
            os.utime(path)

    def delete(self, reference: str, *, untouched_since: datetime | None = None) -> bool:
        if not is_entry_name(reference):
            check_reference(reference)
        path = self._path(reference)
        try:
            with self._translated("delete", reference):
                if untouched_since is None:
                    path.unlink()
                    return True
                return _touched_at(path) <= untouched_since and self._delete_untouched(path, untouched_since)
        except PayloadMissingError:
            return False

    def list(self, shard: str) -> Iterator[PayloadEntry]:
        with self._translated("list", ""):
            try:
                names = sorted(os.listdir(self._root / shard))
            except FileNotFoundError:
                self._require_parent()
                return
            for name in filter(is_entry_name, names):
                try:
                    stat = (self._root / shard / name).stat()
                except FileNotFoundError:
                    continue
                yield PayloadEntry(name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    # ------------------------------------------------------------ files

    def _path(self, name: str) -> Path:
        return self._root / name[:2] / name

    def _part(self, reference: str) -> Path:
        return self._path(f"{reference[:64]}.{secrets.token_hex(8)}.part")

    def _refreshed(self, path: Path, data: bytes) -> bool:
        """Whether these very bytes are there; then they count as put now. A file that rotted is written anew."""
        try:
            if path.read_bytes() != data:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _write(self, path: Path, data: bytes) -> None:
        for folder in (self._root, path.parent):
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                _sync_folder(folder.parent)
        part = self._part(path.name)
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def _delete_untouched(self, path: Path, untouched_since: datetime) -> bool:
        """Take the file out of its place, look at its time once more, and only then delete it.

        Somebody may put the same bytes at this moment. Before the rename he touches this very file, and it is put
        back; after it he finds none, and writes another one.
        """
        part = self._part(path.name)
        path.rename(part)
        if _touched_at(part) > untouched_since:
            part.replace(path)
            return False
        part.unlink()
        return True

    # ------------------------------------------------------------ errors

    @contextmanager
    def _translated(self, doing: str, reference: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            self._require_parent()
            raise PayloadMissingError(f"payload {reference} is not in {self._root}", reference=reference) from error
        except OSError as error:
            raise PayloadStoreError(f"{doing} payload in {self._root}: {error}", reference=reference) from error

    def _require_parent(self) -> None:
        if not self._root.parent.is_dir():
            raise PayloadStoreError(f"there is no folder {self._root.parent}: make it, or mount what belongs there")


def _touched_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _sync_folder(path: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
