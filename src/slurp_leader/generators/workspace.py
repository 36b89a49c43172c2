"""Reading files below one root, and nothing else.

How a path is read: a leading ``/`` means the root, as in a chroot, so ``/src/a.py`` and ``src/a.py`` are one file.
A path that begins with the root's own absolute path is accepted too. ``..`` is refused wherever it stands.

How it is opened: folder by folder, each one relative to the descriptor of its parent and with ``O_NOFOLLOW``. A
symbolic link anywhere below the root is refused, whatever it points to. The other way, resolving the path first and
opening it afterwards, leaves a gap in which a folder can be replaced by a link; checking the path of the open
descriptor afterwards needs ``/proc`` and has already opened the foreign file, which matters for FIFOs and devices.
Links inside the root are refused with the rest: one file has one name, hence one node.

Not covered: hard links, bind mounts and other file systems mounted below the root. Whoever can make those can read
the files anyway.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slurp_leader.errors import ConfigurationError, FileRefusedError, RetryAfterError

DEFAULT_MAX_BYTES = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for a writer. It means nothing for a regular file.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EINTR, errno.EAGAIN, errno.ENODEV}
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_FOREIGN_MARKS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32"))


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A text file as it was at one moment.

    Attributes:
        path: Relative to the root, with ``/``.
        data: All bytes.
        text: The same as text, without a byte order mark.
    """

    path: str
    data: bytes
    text: str


class Workspace:
    """The files below one root. Holds no descriptor between calls; safe to use from any thread."""

    def __init__(self, root: str | os.PathLike[str], max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Take a folder as the root.

        Args:
            root: An existing folder. It may be reached through a symbolic link: the operator named it.
            max_bytes: Largest file that is read.

        Raises:
            ConfigurationError: Not a folder, or a limit below 1.
        """
        if max_bytes < 1:
            raise ConfigurationError(f"max_bytes: must be 1 or more, not {max_bytes}")
        given = Path(root).absolute()
        self.root = Path(os.path.realpath(given))
        self.max_bytes = max_bytes
        self._prefixes = tuple({f"{given}/", f"{self.root}/"} - {"/", "//"})
        if not self.root.is_dir():
            raise ConfigurationError(f"workspace_root: {str(root)!r} is not a folder; create it or name another one")

    def relative(self, path: str) -> str:
        """Turn a path as people write it into one relative to the root.

        Raises:
            FileRefusedError: `outside` for ``..``, `directory` for the root itself, `missing` for no name at all.
        """
        for prefix in self._prefixes:
            if f"{path}/".startswith(prefix):
                path = path[len(prefix) :]
                break
        segments = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in segments:
            raise _refused(path, "outside", "'..' is not allowed; write the path from the workspace root")
        if "\0" in path:
            raise _refused(path.replace("\0", "\\0"), "missing", "a file name cannot hold a NUL character")
        if not segments:
            raise _refused(path or "/", "directory", "this is the workspace root; name one file in it")
        return "/".join(segments)

    def read(self, path: str) -> SourceFile:
        """Read one text file.

        Raises:
            FileRefusedError: It cannot be worked on; `code` is one of outside, missing, directory, not_a_file, binary,
                empty, too_large, encoding, unreadable.
            RetryAfterError: The machine could not read it just now (too many open files, I/O error, root gone).
        """
        relative = self.relative(path)
        data = self._read_bytes(relative, self.max_bytes)
        return SourceFile(relative, data, _decode(relative, data))

    def glance(self, relative: str, max_bytes: int = 256 * 1024) -> str | None:
        """Read a neighbour of the file, or None when there is no such text file of that size below the root."""
        try:
            return _decode(relative, self._read_bytes(self.relative(relative), max_bytes))
        except FileRefusedError:
            return None
        except RetryAfterError:
            self._missed()
            return None

    def names(self, folder: str) -> dict[str, bool]:
        """The names in a folder, and whether each is a regular file. Empty when there is no such folder."""
        try:
            segments = [part for part in folder.split("/") if part]
            with self._open_folder(segments) as descriptor, os.scandir(descriptor) as entries:
                return {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
        except OSError as error:
            if error.errno in _PASSING:
                self._missed()
            return {}

    def _missed(self) -> None:
        """Something could not be seen around a file, for a reason that passes. It is taken for not being there."""

    @contextmanager
    def _open_folder(self, segments: list[str]) -> Iterator[int]:
        descriptor = os.open(self.root, _FOLDER)
        try:
            for segment in segments:
                inner = os.open(segment, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _read_bytes(self, relative: str, limit: int) -> bytes:
        *folders, name = relative.split("/")
        try:
            with self._open_folder(folders) as folder:
                return _read_regular(folder, name, relative, limit)
        except OSError as error:
            raise self._explain(relative, error) from error

    def _explain(self, relative: str, error: OSError) -> FileRefusedError | RetryAfterError:
        if error.errno in _PASSING or not self.root.is_dir():
            return RetryAfterError(f"{relative}: cannot be read just now: {error.strerror}", delay_s=1.0)
        if (link := self._first_link(relative)) is not None:
            return _refused(relative, "outside", f"{link!r} is a symbolic link; write the path of the file itself")
        if error.errno in _NOT_THERE:
            return _refused(
                relative, "missing", f"no such file below {str(self.root)!r}; it may have been moved or deleted"
            )
        if error.errno == errno.ENXIO:  # a socket, or a device without a driver
            return _refused(relative, "not_a_file", "is a socket or a device; name a regular file")
        fix = f"give this process the right to read it ({error.strerror})"
        return _refused(relative, "unreadable", fix)

    def _first_link(self, relative: str) -> str | None:
        """Which part of a refused path is a link. Only for the message: the open has failed already."""
        walked = self.root
        for segment in relative.split("/"):
            walked = walked / segment
            try:
                if stat.S_ISLNK(walked.lstat().st_mode):
                    return str(walked.relative_to(self.root))
            except OSError:
                return None
        return None


def _read_regular(folder: int, name: str, relative: str, limit: int) -> bytes:
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise _refused(relative, "directory", "is a folder; name one file in it")
        if not stat.S_ISREG(found.st_mode):
            raise _refused(relative, "not_a_file", "is a FIFO, a socket or a device; name a regular file")
        data = b"" if found.st_size > limit else _read_up_to(descriptor, limit + 1)
    finally:
        os.close(descriptor)
    size = max(found.st_size, len(data))  # the file may have grown since it was opened
    if size > limit:
        raise _refused(
            relative, "too_large", f"has {size} bytes, the limit is {limit}; raise max_bytes or leave it out"
        )
    return data


def _read_up_to(descriptor: int, limit: int) -> bytes:
    parts = []
    while limit > 0 and (part := os.read(descriptor, limit)):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _decode(relative: str, data: bytes) -> str:
    for mark, name in _FOREIGN_MARKS:
        if data.startswith(mark):
            raise _refused(relative, "encoding", f"is {name}; convert it to UTF-8")
    if (at := data.find(b"\0")) >= 0:
        raise _refused(relative, "binary", f"holds a NUL byte at offset {at}; only text can be worked on")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}); convert it to UTF-8"
        raise _refused(relative, "encoding", problem) from None
    if not text.strip():
        raise _refused(relative, "empty", "holds nothing; there is no context to generate")
    return text


def _refused(path: str, code: str, problem: str) -> FileRefusedError:
    return FileRefusedError(f"{path}: {code}: {problem}", code=code, path=path)
