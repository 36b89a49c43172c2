"""Systems over one store in memory, and over real etcd."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.store.memory import MemoryStore

MakeSystem = Callable[..., SlurpLeaderSystem]


class Shared:
    """The one store of a test, as many connections: closing one does not close the others."""

    def __init__(self) -> None:
        self.store = MemoryStore(SystemClock())

    def __call__(self) -> Any:
        return _Connection(self.store)


class _Connection:
    def __init__(self, store: MemoryStore) -> None:
        self.call = store.call
        self.watch = store.watch

    def close(self) -> None:
        """The store is closed with the test."""


@pytest.fixture
def shared() -> Iterator[Shared]:
    shared = Shared()
    yield shared
    shared.store.close()


@pytest.fixture
def make_system(shared: Shared) -> Iterator[MakeSystem]:
    """Makes started systems of one cluster in memory; stops them after the test."""
    systems: list[SlurpLeaderSystem] = []
    numbers = itertools.count(1)

    def make(generator: Any = None, *, candidate: bool = True, **sections: Any) -> SlurpLeaderSystem:
        settings = SlurpSettings(
            node={"id": f"node-{next(numbers)}"},
            election={"lease_ttl": 3},
            jobs={"backoff_base": 0.01, "backoff_cap": 0.02, **sections.pop("jobs", {})},
            **sections,
        )
        chosen = generator or (lambda request, job: {"path": request.file_path})
        system = SlurpLeaderSystem(settings, generator=chosen, candidate=candidate, stores=shared)
        systems.append(system)
        system.start()
        return system

    yield make
    for system in reversed(systems):
        system.stop()


@pytest.fixture
def etcd_settings(etcd_endpoint: str) -> Callable[[str], SlurpSettings]:
    """Settings for nodes of one cluster, on real etcd, that nobody else uses."""
    cluster = f"test-{uuid.uuid4().hex[:12]}"

    def settings(node_id: str, **sections: Any) -> SlurpSettings:
        return SlurpSettings(
            etcd={"endpoints": [etcd_endpoint]},
            node={"id": node_id, "cluster_id": cluster},
            election={"lease_ttl": 3},
            **sections,
        )

    return settings
