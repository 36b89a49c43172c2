"""The store as a node of the next minor version would use it: each record that it writes has a field that is new."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from pydantic_core import from_json, to_json

from slurp_leader.errors import StoreTimeoutError
from slurp_leader.failover.manifest import _checksum
from slurp_leader.store import Event, GetResult, KeyValue, Put, Request, Txn, TxnResult, WatchEvents
from slurp_leader.store.requests import Compare, CompareTarget

FIELD, CONTENT = "zz_new", {"of": ["the", "next", "version"]}


class NextMinor:
    """Connections to the store of a test, for one node.

    What the node writes gets a field more on its way; what it wrote itself comes back to it as it knows it, for the
    next version would know its own field. What others wrote comes as it stands.

    Attributes:
        is_later: False: nothing is changed on the way.
        is_mute: Its writes are lost; reads, leases and watches go on.
        written: Keys that were written with the new field.
    """

    def __init__(self, shared: Any, *, is_later: bool = True) -> None:
        self._shared = shared
        self.is_later = is_later
        self.is_mute = False
        self.written: set[bytes] = set()
        self._wire: dict[bytes, bytes] = {}
        self._own: dict[bytes, bytes] = {}

    def __call__(self) -> Any:
        return _Connection(self._shared(), self)

    # ------------------------------------------------------------ on the way out

    def out(self, request: Any) -> Any:
        match request:
            case Put(key, value):
                return replace(request, value=self._with_field(key, value))
            case Txn(compares, success, failure):
                return Txn(
                    tuple(map(self._compare, compares)), tuple(map(self.out, success)), tuple(map(self.out, failure))
                )
        return request

    def _with_field(self, key: bytes, value: bytes) -> bytes:
        data = from_json(value)
        if not self.is_later or not isinstance(data, dict):  # the epoch, the floor
            return value
        data = {FIELD: CONTENT, **data}
        if b"/b/failover/" in key and "sum" in data:  # the checksum of a manifest is one of all fields
            del data["sum"]
            data["sum"] = _checksum(data)
        wire = to_json(data)
        self._wire[value], self._own[wire] = wire, value
        self.written.add(key)
        return wire

    def _compare(self, compare: Compare) -> Compare:
        if compare.target is not CompareTarget.VALUE:
            return compare
        assert isinstance(compare.operand, bytes)
        return compare._replace(operand=self._wire.get(compare.operand, compare.operand))

    # ------------------------------------------------------------ on the way back

    def back(self, result: Any) -> Any:
        match result:
            case KeyValue():
                return replace(result, value=self._own.get(result.value, result.value))
            case GetResult():
                return replace(result, kvs=tuple(map(self.back, result.kvs)))
            case TxnResult():
                return replace(result, results=tuple(map(self.back, result.results)))
            case WatchEvents():
                return replace(result, events=tuple(map(self.back, result.events)))
            case Event():
                return replace(result, kv=self.back(result.kv))
        return result


class _Connection:
    def __init__(self, connection: Any, way: NextMinor) -> None:
        self._connection = connection
        self._way = way
        self.close = connection.close

    def call(self, request: Request[Any], timeout_s: float) -> Future[Any]:
        answer: Future[Any] = Future()
        if self._way.is_mute and isinstance(request, Txn) and request.compares:
            answer.set_exception(StoreTimeoutError())
            return answer

        def arrived(came: Future[Any]) -> None:
            error = came.exception()
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(self._way.back(came.result()))

        self._connection.call(self._way.out(request), timeout_s).add_done_callback(arrived)
        return answer

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: Any) -> Any:
        return self._connection.watch(key, range_end, start_revision, lambda notice: sink(self._way.back(notice)))
