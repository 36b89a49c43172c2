"""Engines and clients with their threads, on a real store: a follower, a term taken by writing the leader key."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

from slurp_leader.clock import SystemClock
from slurp_leader.jobs.client import JobClient
from slurp_leader.jobs.engine import JobEngine
from slurp_leader.jobs.options import JobsOptions
from slurp_leader.jobs.records import JobKeys, Spec
from slurp_leader.jobs.runner import JobContext
from slurp_leader.store import Put, Store
from slurp_leader.store.follow import Follower
from slurp_leader.store.keyspace import Keyspace
from slurp_leader.term import Term, Trust
from support.calls import PATIENCE_S, do

CLOCK = SystemClock()
OPTIONS = JobsOptions(
    rpc_timeout=timedelta(seconds=2),
    backoff_base=timedelta(milliseconds=20),
    backoff_cap=timedelta(milliseconds=50),
    drain_timeout=timedelta(seconds=5),
)

Body = Callable[[Spec, JobContext], Any]


class Cluster:
    """One cluster's keys in a store, and who uses them. Everything ends with the `with` block."""

    def __init__(self, store: Store, options: JobsOptions = OPTIONS) -> None:
        self.store = store
        self.options = options
        self.keyspace = Keyspace(uuid.uuid4().hex)
        self.keys = JobKeys(self.keyspace)
        self.leader_key = self.keyspace.mirrored + b"election/slurp/leader"
        self._stack = ExitStack()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def client(self, name: str = "client", **more: Any) -> JobClient:
        client = JobClient(self.store, self.keyspace, self.options, node_id=name, clock=CLOCK, **more)
        client.start()
        self._stack.callback(client.stop)
        return client

    def engine(self, body: Body, name: str = "node", **more: Any) -> Leader:
        leader = Leader(self, body, name, more)
        self._stack.callback(leader.stop)
        return leader


class Leader:
    """An engine that leads from the start."""

    def __init__(self, cluster: Cluster, body: Body, name: str, more: dict[str, Any]) -> None:
        self.cluster = cluster
        self.name = name
        self.handed_back = threading.Event()
        self.engine = JobEngine(
            cluster.store,
            cluster.keyspace,
            cluster.options,
            body,
            node_id=name,
            clock=CLOCK,
            handed_back=lambda token: self.handed_back.set(),
            **more,
        )
        self.engine.start()
        self.follower = Follower(cluster.store, cluster.keyspace.mirrored, self.engine.feed)
        self.follower.start()
        self.trust = Trust()
        self.term = self.lead()

    def lead(self, lease: int = 0) -> Term:
        value = uuid.uuid4().hex.encode()
        token = do(self.cluster.store, Put(self.cluster.leader_key, value, lease)).header.revision
        self.trust = Trust()
        self.trust.until = math.inf
        key = self.cluster.leader_key
        self.term = Term("slurp", token, 1, self.name, "session", "term", key, value, CLOCK, self.trust)
        self.engine.lead(self.term)
        return self.term

    def drain(self) -> None:
        self.engine.hand_back(self.term.token)
        assert self.handed_back.wait(PATIENCE_S)

    def stop(self) -> None:
        self.follower.stop()
        self.engine.stop()


class Gate:
    """A body that waits for a word, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.runs: list[JobContext] = []

    def __call__(self, spec: Spec, job: JobContext) -> Any:
        self.runs.append(job)
        self.begun.set()
        while not self.open.is_set():
            job.check()
            self.open.wait(0.02)
        return spec.payload

    def wait_until_begun(self) -> None:
        assert self.begun.wait(PATIENCE_S)


@contextmanager
def cluster_on(store: Store, options: JobsOptions = OPTIONS) -> Iterator[Cluster]:
    with Cluster(store, options) as cluster:
        yield cluster
