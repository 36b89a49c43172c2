"""Elections with their threads, on a store of their own kind."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slurp_leader.clock import SystemClock
from slurp_leader.election import Election, ElectionEvent, ElectionKeys, ElectionOptions, Identity
from slurp_leader.store import Store
from slurp_leader.store.follow import Follower
from slurp_leader.store.keyspace import Keyspace
from support.calls import Recorder, await_writes

OPTIONS = ElectionOptions(lease_ttl=6, renew_interval=0.4, retry_interval=0.5, stop_timeout=60)


class Standing:
    """One candidate: an `Election`, and the follower that feeds it."""

    def __init__(self, store: Store, keyspace: Keyspace, node_id: str, **more: Any) -> None:
        self.store = store
        self.keys = ElectionKeys.of(keyspace, OPTIONS.name)
        self.heard: Recorder[ElectionEvent] = Recorder()
        self.election = Election(store, keyspace, OPTIONS, Identity(node_id, ""), clock=SystemClock(), **more)
        self.election.subscribe(self.heard)
        self._follower = Follower(store, self.keys.prefix, self.election.feed)

    def start(self) -> Standing:
        self._follower.start()
        self.election.start()
        return self

    def stop(self) -> bool:
        clean = self.election.stop()
        self._follower.stop()
        return clean

    def wait_for_heartbeats(self, count: int) -> None:
        """Wait until so many more renewals of this leader have been proved."""
        await_writes(self.store, self.keys.heartbeat, count)


Stand = Callable[..., Standing]


@pytest.fixture
def keyspace() -> Keyspace:
    """A cluster of this test alone."""
    return Keyspace(uuid.uuid4().hex)


@pytest.fixture
def stand(keyspace: Keyspace) -> Iterator[Stand]:
    """Makes candidates, started; stops them after the test."""
    standing: list[Standing] = []

    def make(store: Store, node_id: str, **more: Any) -> Standing:
        standing.append(Standing(store, keyspace, node_id, **more))
        return standing[-1].start()

    yield make
    for each in standing:
        each.stop()
