"""How commands reach etcd: within the time given, whatever they do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from slurp_leader.cli.options import Invocation
from slurp_leader.clock import Clock, SystemClock
from slurp_leader.errors import LifecycleError

if TYPE_CHECKING:
    from slurp_leader.settings import SlurpSettings
    from slurp_leader.store import Request, Store, Watch, WatchSink
    from slurp_leader.system import SlurpLeaderSystem

R = TypeVar("R")
_LEAST_S = 0.05
"""Shortest time that settings take for a call."""


class DeadlineStore:
    """A store of which all calls end by one deadline, however many there are. Watches have none.

    Args:
        store: Where calls go. Closed with this one.
        seconds: From now.
        clock: Source of time.
    """

    def __init__(self, store: Store, seconds: float, clock: Clock) -> None:
        self.inner = store
        self._clock = clock
        self._deadline = clock.boottime() + seconds

    def remaining_s(self) -> float:
        return max(0.0, self._deadline - self._clock.boottime())

    def call(self, request: Request[R], timeout_s: float) -> Future[R]:
        """Send one request; see `Store.call`."""
        return self.inner.call(request, min(timeout_s, self.remaining_s()))

    def watch(self, key: bytes, range_end: bytes | None, start_revision: int, sink: WatchSink) -> Watch:
        """Follow changes; see `Store.watch`."""
        return self.inner.watch(key, range_end, start_revision, sink)

    def close(self) -> None:
        self.inner.close()


@contextmanager
def reading(call: Invocation, settings: SlurpSettings) -> Iterator[DeadlineStore]:
    """A store for a command that reads and ends.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    store = _connect(call, settings)
    undo = call.log_to_stderr("critical")
    try:
        yield store
    finally:
        store.close()
        undo()


@contextmanager
def client(call: Invocation, settings: SlurpSettings, *, log_level: str = "critical") -> Iterator[SlurpLeaderSystem]:
    """A running system that does not stand for election. etcd has answered when it is handed out.

    What it submits or cancels is given up within what is left of the time; waiting for jobs is not limited here.

    Raises:
        ConfigurationError: A setting is wrong.
        StoreError: etcd does not answer, or refuses.
    """
    from slurp_leader.store import Status
    from slurp_leader.system import SlurpLeaderSystem

    store = _connect(call, settings)
    undo = call.log_to_stderr("critical")
    try:
        store.call(Status(), call.timeout_s).result()
        undo()
        undo = call.log_to_stderr(log_level)
        left = timedelta(seconds=max(_LEAST_S, store.remaining_s()))
        jobs = settings.jobs.model_copy(
            update={"submit_timeout": left, "rpc_timeout": min(left, settings.jobs.rpc_timeout)}
        )
        shortened = settings.model_copy(update={"jobs": jobs})
        with (
            telemetry(settings) as ports,
            SlurpLeaderSystem(shortened, candidate=False, stores=lambda: store.inner, **ports) as system,
        ):
            yield system
    finally:
        store.close()
        undo()


def check_live(system: SlurpLeaderSystem, timeout_s: float) -> None:
    """See whether a system can go on. An outage of etcd does not end it.

    Raises:
        StoreError: It cannot: etcd refuses us, or is another one than before.
        LifecycleError: It cannot, for another reason.
    """
    health = system.health()
    if health["live"]:
        return
    if not health["problems"]:
        raise LifecycleError("the system was stopped by the program itself; nothing is left to run")
    worst = health["problems"][0]
    if worst["what"] == "store":
        system.ping(timeout_s)  # mostly fails in the same way, and so with the right exit code
    raise LifecycleError(f"this node cannot go on: {worst['message']}; {worst['fix']}")


@contextmanager
def telemetry(settings: SlurpSettings) -> Iterator[dict[str, Any]]:
    """What a system is given to measure and trace with, as the settings say. Sent off at the end."""
    options = settings.telemetry
    if options.exporter == "none":
        yield {}
        return
    from slurp_leader.otel import configure  # late: the SDK is not needed otherwise

    with configure(
        node_id=settings.node.id, exporter=options.exporter, metrics=options.metrics, traces=options.traces
    ) as ports:
        yield {"metrics": ports.metrics, "tracer": ports.tracer}


def _connect(call: Invocation, settings: SlurpSettings) -> DeadlineStore:
    from slurp_leader.etcd import EtcdStore  # late: gRPC takes long to import

    clock = SystemClock()
    return DeadlineStore(EtcdStore(settings.etcd, clock=clock), call.timeout_s, clock)
