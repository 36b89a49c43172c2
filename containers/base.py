"""A base image with the Python of this machine, for where no registry can be reached.

It holds the interpreter, its standard library, the shared libraries they load, git with its own, the certificates of
the authorities, and a user database. Nothing is executed while it is made, and nothing comes from a network. Where
the engine runs the same kind of machine, which it does for an engine on this one, the image runs there.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker

IMAGE = "slurp-python"
_UNWANTED = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "lib2to3"}
)
_USERS = "root:x:0:0:root:/root:/sbin/nologin\nslurp:x:65532:65532:slurp:/tmp:/sbin/nologin\n"
_GROUPS = "root:x:0:\nslurp:x:65532:\n"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def build(client: docker.DockerClient) -> str:
    """Make the image. Returns its tag."""
    tag = f"{sys.version_info.major}.{sys.version_info.minor}-host"
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as root:
            _fill(root)
        file.seek(0)
        client.api.import_image_from_data(file, repository=IMAGE, tag=tag, changes=["ENV PATH=/usr/local/bin:/usr/bin"])
    return f"{IMAGE}:{tag}"


def _fill(root: tarfile.TarFile) -> None:
    python = Path(os.path.realpath(sys.executable))
    programs = [python, *_git()]
    files = {*programs, *_standard_library()}
    for library in _libraries([*programs, *(file for file in files if ".so" in file.suffixes), *_extension_modules()]):
        files.add(library)
    if _CERTIFICATES.exists():
        files.add(_CERTIFICATES)
    for file in sorted(files):
        _add(root, file)
    _add_link(root, "usr/local/bin/python3", python)
    _add_text(root, "etc/passwd", _USERS)
    _add_text(root, "etc/group", _GROUPS)
    temporary = tarfile.TarInfo("tmp")
    temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
    root.addfile(temporary)


def _git() -> Iterator[Path]:
    """For the history of the files that contexts are generated for. Without git there is none."""
    path = shutil.which("git")
    if path is not None:
        yield Path(path)


def _standard_library() -> Iterator[Path]:
    for name in {"stdlib", "platstdlib"}:
        for folder, folders, files in os.walk(sysconfig.get_path(name)):
            folders[:] = [each for each in folders if each not in _UNWANTED and not each.startswith("config-")]
            yield from (Path(folder, file) for file in files)


def _extension_modules() -> Iterator[Path]:
    """Those of the packages installed here: the wheels in the image load the same libraries."""
    yield from Path(sysconfig.get_path("platlib")).rglob("*.so")


def _libraries(programs: list[Path]) -> set[Path]:
    """Every shared library that these programs and libraries load, and the loader itself, by the paths they ask for."""
    found: set[Path] = set()
    answer = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    packages = sysconfig.get_path("platlib")
    for line in answer.splitlines():
        match = re.match(r"\t(?:\S+ => )?(/\S+) \(0x", line)
        if match and not match[1].startswith(packages):
            found.add(Path(match[1]))
    return found


def _add(root: tarfile.TarFile, file: Path) -> None:
    """Add a file under the path it has here; what is a link here is a copy there."""
    real = file.resolve(strict=True)
    if not real.is_file():
        return
    entry = tarfile.TarInfo(str(file).lstrip("/"))
    entry.size = real.stat().st_size
    entry.mode = 0o755 if os.access(real, os.X_OK) else 0o644
    with real.open("rb") as content:
        root.addfile(entry, content)


def _add_text(root: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    entry.mode = 0o644
    root.addfile(entry, io.BytesIO(text.encode()))


def _add_link(root: tarfile.TarFile, name: str, target: Path) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.SYMTYPE
    entry.linkname = str(target)
    root.addfile(entry)
