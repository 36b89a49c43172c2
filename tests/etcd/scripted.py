"""A gRPC server on loopback whose answers a test decides: for what no real etcd does on command."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from slurp_leader.etcd import bridge

Answer = Callable[[str], Any]


class ScriptedMember(grpc.GenericRpcHandler):
    """Answers every unary call with what `answer(method)` returns: a message, or raises.

    Attributes:
        methods: The methods that were called, in order; without those that only see to the connection.
    """

    def __init__(self, answer: Answer, *, ignored: tuple[str, ...] = ("Status",)) -> None:
        self.ignored = ignored
        self._answer = answer
        self.methods: list[str] = []
        self._server = grpc.server(ThreadPoolExecutor(max_workers=2), handlers=[self])
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        if method not in self.ignored:
            self.methods.append(method)
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._answer(method).SerializeToString())

    def __enter__(self) -> ScriptedMember:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait()


def answer_at(revision: int, cluster_id: int = 7) -> Callable[[str], Any]:
    """Answers of a member that stands at this revision."""
    rpc = bridge.load().rpc
    kinds = {"Range": rpc.RangeResponse, "Put": rpc.PutResponse, "Txn": rpc.TxnResponse, "Status": rpc.StatusResponse}

    def answer(method: str) -> Any:
        return kinds[method](header={"cluster_id": cluster_id, "member_id": 1, "revision": revision, "raft_term": 2})

    return answer
