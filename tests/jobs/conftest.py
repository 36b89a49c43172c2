"""What tests of jobs with threads share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.threaded import Cluster, cluster_on
from slurp_leader.store.memory import MemoryStore


@pytest.fixture
def cluster(memory_store: MemoryStore) -> Iterator[Cluster]:
    with cluster_on(memory_store) as cluster:
        yield cluster
