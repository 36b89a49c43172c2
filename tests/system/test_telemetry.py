"""What a run of whole systems really measures and traces, read with the SDK's in-memory readers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from slurp_leader import JobInterrupted, SlurpLeaderSystem, SlurpSettings, TerminalError
from slurp_leader.errors import CircuitOpenError
from slurp_leader.failover import Failover
from slurp_leader.otel import OtelMetrics, OtelTracer
from slurp_leader.resilience import BreakerOptions, CircuitBreaker
from slurp_leader.store import Delete
from slurp_leader.telemetry.metrics import INSTRUMENTS, PERIODIC_SKIPPED, Instrument
from slurp_leader.term import Term
from support.waiting import WAIT_S, when_it_stands

LEADER_KEY = b"/slurp/v1/default/m/election/slurp/leader"


def settings(node_id: str, cache: str = "1MiB") -> SlurpSettings:
    return SlurpSettings(
        node={"id": node_id},
        election={"lease_ttl": 3},
        jobs={"backoff_base": 0.01, "backoff_cap": 0.02, "cache_bytes": cache},
    )


def _nothing() -> None:
    """A hook, or a check that passes."""


class Told(OtelMetrics):
    """Says when a due time was skipped."""

    def __init__(self, provider: MeterProvider) -> None:
        super().__init__(provider)
        self.skipped = threading.Event()

    def add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        super().add(instrument, amount, **attributes)
        if instrument is PERIODIC_SKIPPED:
            self.skipped.set()


def test_every_instrument_is_recorded_and_carries_no_label_beyond_its_own(
    shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One life with everything in it: win, renew, run, retry, fail, lose the leader, run what it left again, hand over
    and be handed over to; and beside it periodic work that takes longer than its interval."""
    reader = InMemoryMetricReader()
    metrics = Told(MeterProvider([reader], shutdown_on_exit=False))
    began = threading.Event()

    def tick(term: Term) -> None:
        term.wait(WAIT_S)

    def generate(request: Any, job: Any) -> None:
        if request.file_path == "retried.py" and job.attempt == 1:
            raise ValueError("again, please")
        if request.file_path == "failed.py":
            raise TerminalError("no use")
        if request.file_path == "interrupted.py" and job.run == 1:
            began.set()
            while not job.wait(1):
                pass
            raise JobInterrupted("told to stop")
        if request.file_path == "fenced.py" and job.run == 1:
            shared.store.faults.break_watches()  # so that its outcome is sent before anybody knows
            shared.store.call(Delete(LEADER_KEY), 5).result()

    generate.content_hash = lambda request: "same" if request.file_path == "done.py" else None  # type: ignore[attr-defined]
    node = SlurpLeaderSystem(settings("a"), generator=generate, stores=shared, metrics=metrics)
    node.on_leading(_nothing)
    node.add_health_check("well", _nothing)
    node.every(1)(tick)
    with node:
        assert node.wait_for_leadership(WAIT_S)
        assert node.request_context_generation("done.py", WAIT_S).cached is False
        assert metrics.skipped.wait(WAIT_S)
        handles = [node.submit(path) for path in ("done.py", "retried.py", "failed.py", "interrupted.py")]
        assert began.wait(WAIT_S)
        shared.store.call(Delete(LEADER_KEY), 5).result()  # an operator deletes the key: the term ends
        outcomes = [handle.outcome(WAIT_S).status.value for handle in handles]
        token = node._running_node().election.require_term().token
        handle = node.submit("fenced.py")
        lost = threading.Event()
        node._running_node().election.subscribe(lambda event: lost.set())
        assert lost.wait(WAIT_S)
        shared.store.faults.mend_watches()
        assert handle.outcome(WAIT_S).token > token
        _lend_and_take_back(node, shared, monkeypatch)
    assert outcomes == ["completed", "completed", "failed", "completed"]
    _open_a_circuit(metrics)
    _run_in_a_process(shared, metrics)

    seen = _recorded(reader)
    assert {one.name for one in INSTRUMENTS} - set(seen) == set()
    for one in INSTRUMENTS:
        assert set(seen[one.name]) <= set(one.attributes), one.name
    assert seen["slurp.queue.jobs"]["status"] == {"pending", "scheduled", "running"}
    assert seen["slurp.jobs.ended"]["outcome"] == {"completed", "failed"}
    for name in ("slurp.jobs.ended", "slurp.job.run.duration"):
        assert any("test_telemetry" in str(generator) for generator in seen[name]["generator"]), name
    assert seen["slurp.commit.batch.size"]["side"] == {"leader", "submit"}
    assert {"leader", "draining", "candidate"} <= seen["slurp.election.transitions"]["state"]
    assert seen["slurp.cache.lookups"]["outcome"] == {"hit", "miss"}
    assert seen["slurp.circuit.state"]["circuit"] == {"generator", "payloads", "own"}


def in_a_process(request: Any, job: Any) -> None:
    """Found by name in another process."""


def _run_in_a_process(shared: Any, metrics: OtelMetrics) -> None:
    """What only such a run is measured for."""
    system = SlurpLeaderSystem(
        settings("p", "0"), generator=in_a_process, executor="processes", stores=shared, metrics=metrics
    )
    with system:
        system.submit("done.py").result(WAIT_S)


def _open_a_circuit(metrics: OtelMetrics) -> None:
    """One call fails, and the next is refused."""
    breaker = CircuitBreaker("own", BreakerOptions(minimum_calls=1), metrics=metrics)
    with pytest.raises(OSError, match="gone"), breaker.guard():
        raise OSError("gone")
    with pytest.raises(CircuitOpenError), breaker.guard():
        raise AssertionError("not refused")


def _lend_and_take_back(node: SlurpLeaderSystem, shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another leads for a moment; what it leaves is checked, by this node."""
    checked = threading.Event()
    mine = node._running_node().failover
    tell = Failover._tell
    monkeypatch.setattr(Failover, "begin_after_s", 0.0)
    monkeypatch.setattr(Failover, "_tell", lambda self, *args: (tell(self, *args), self is mine and checked.set()))
    other = SlurpLeaderSystem(settings("b"), generator=lambda request, job: None, stores=shared)
    assert node.wait_for_leadership(WAIT_S)
    other.start()
    when_it_stands(node.leader.transfer, "b", timeout=WAIT_S)
    assert other.wait_for_leadership(WAIT_S)
    assert other.stop()
    assert checked.wait(WAIT_S)
    assert node.wait_for_leadership(WAIT_S)


def test_a_run_is_linked_to_its_submit_over_two_systems(shared: Any) -> None:
    submits, runs = InMemorySpanExporter(), InMemorySpanExporter()
    client = SlurpLeaderSystem(settings("client"), candidate=False, stores=shared, tracer=_tracer(submits))
    node = SlurpLeaderSystem(settings("node"), generator=lambda request, job: None, stores=shared, tracer=_tracer(runs))
    with client, node:
        assert client.request_context_generation("a.py", WAIT_S).success

    (submit,) = (span for span in submits.get_finished_spans() if span.name == "slurp.jobs.submit")
    (run,) = (span for span in runs.get_finished_spans() if span.name == "slurp.job.run")
    assert [link.context.span_id for link in run.links] == [submit.context.span_id]
    assert [link.context.trace_id for link in run.links] == [submit.context.trace_id]


def _tracer(exporter: InMemorySpanExporter) -> OtelTracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OtelTracer(provider)


def _recorded(reader: InMemoryMetricReader) -> dict[str, dict[str, set[Any]]]:
    """What was recorded: the names of the instruments, of their attributes, and all the values of those."""
    data = reader.get_metrics_data()
    assert data is not None
    seen: dict[str, dict[str, set[Any]]] = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                attributes = seen.setdefault(metric.name, {})
                for point in metric.data.data_points:
                    for name, value in (point.attributes or {}).items():
                        attributes.setdefault(name, set()).add(value)
    return seen
