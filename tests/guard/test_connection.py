"""What the guard does on its connection to etcd while nothing happens."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from slurp_leader.etcd import EtcdOptions
from slurp_leader.etcd.route import route_of
from slurp_leader.guard.etcd import Connection
from slurp_leader.guard.messages import Route
from support.waiting import WAIT_S

_TOKEN = "a-token"
_A_MINUTE_IN_TICKS = 600


class _Listening(grpc.GenericRpcHandler):
    """An etcd that gives everybody the same token, and remembers with which token it was asked for what."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = call.method.rpartition("/")[2]
        token = dict(call.invocation_metadata).get("token")

        def answer(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            self.calls.put((method, str(token) if token else None))
            return bytes([2 << 3 | 2, len(_TOKEN)]) + _TOKEN.encode() if method == "Authenticate" else b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def etcd() -> Iterator[tuple[_Listening, Route]]:
    listening = _Listening()
    server = grpc.server(ThreadPoolExecutor(1), handlers=[listening])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield (
            listening,
            route_of(EtcdOptions(endpoints=[f"127.0.0.1:{port}"], username="app", password="secret")),
        )
    finally:
        server.stop(None).wait()


def test_a_token_is_used_once_a_minute(etcd: tuple[_Listening, Route]) -> None:
    """A simple token of etcd dies after five minutes without use; a login at the death would cost time then."""
    listening, route = etcd
    arrived = threading.Semaphore(0)
    connection = Connection(route, arrived.release)

    def take_one() -> tuple[str, str | None]:
        assert arrived.acquire(timeout=WAIT_S)
        connection.take_answers()
        return listening.calls.get(timeout=WAIT_S)

    assert [take_one(), take_one()] == [("Authenticate", None), ("Range", _TOKEN)]
    for _ in range(2):
        for _ in range(_A_MINUTE_IN_TICKS):
            connection.tick()
        assert take_one() == ("Range", _TOKEN)
        assert connection.problem == ""
    assert listening.calls.empty()
