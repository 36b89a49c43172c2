"""`slurp leader watch`, when its watch has ended for good."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from cli.conftest import Slurp
from slurp_leader.cli import connection
from slurp_leader.clock import SystemClock
from slurp_leader.errors import StoreDeniedError
from slurp_leader.store import Watch, WatchFailed, WatchSink
from slurp_leader.store.memory import MemoryStore


class Refusing:
    """A store that answers until it is watched, and then refuses everything."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner
        self._refuses = False

    def call(self, request: Any, timeout_s: float) -> Future[Any]:
        if not self._refuses:
            return self._inner.call(request, timeout_s)
        refused: Future[Any] = Future()
        refused.set_exception(StoreDeniedError("the role was taken away"))
        return refused

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: WatchSink) -> Watch:
        self._refuses = True
        watch = self._inner.watch(key, range_end, start_revision, lambda _: None)
        sink(WatchFailed(StoreDeniedError("the role was taken away")))
        return watch

    def close(self) -> None:
        self._inner.close()


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_watch_that_etcd_refuses_ends_with_the_error_of_that(
    slurp: Slurp, memory_store: MemoryStore, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    store = connection.DeadlineStore(Refusing(memory_store), 10, SystemClock())  # type: ignore[arg-type]
    monkeypatch.setattr(connection, "_connect", lambda _call, _settings: store)
    ended = slurp("leader", "watch", *more)
    assert ended.code == 77
    assert "the role was taken away" in ended.err
