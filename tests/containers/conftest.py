"""etcd in containers. Where no engine answers, these tests are skipped and say why; SLURP_TEST_REQUIRE_DOCKER=1 makes
that a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Read when testcontainers is imported. Its cleaner is an image that would have to be pulled: we sweep ourselves.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
# Ports are published on loopback and reached there, also where the machine looks like a container to testcontainers.
os.environ["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
os.environ["TESTCONTAINERS_HOST_OVERRIDE"] = "127.0.0.1"

import pytest

from containers import engine
from containers.members import Member, cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.xdist_group("containers"))  # one worker: one image, one sweep


@pytest.fixture(scope="session")
def etcd_image() -> Iterator[str]:
    """The image, built out of the wheel when this content was not built before. Sweeps containers before and after."""
    reason = engine.why_not()
    if reason is not None:
        if os.environ.get("SLURP_TEST_REQUIRE_DOCKER") == "1":
            pytest.fail(f"SLURP_TEST_REQUIRE_DOCKER=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    engine.sweep_leftovers()
    yield engine.build_etcd_image()
    engine.sweep_own()


@pytest.fixture
def member(etcd_image: str) -> Iterator[Member]:
    """One member alone."""
    with cluster(etcd_image, size=1) as members:
        yield members[0]


@pytest.fixture
def members(etcd_image: str) -> Iterator[tuple[Member, ...]]:
    """Three members that belong to one test, which may pause or kill them."""
    with cluster(etcd_image, size=3) as started:
        yield started
