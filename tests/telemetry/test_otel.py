"""The OpenTelemetry adapters, with the SDK's in-memory reader and exporter."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from slurp_leader.errors import ConfigurationError
from slurp_leader.otel import OtelMetrics, OtelTracer, configure
from slurp_leader.telemetry import metrics as catalogue
from slurp_leader.telemetry.metrics import INSTRUMENTS, Kind, Metrics, NoMetrics
from slurp_leader.telemetry.tracing import NoTracer, Tracer


class Meters:
    """Metrics, and a way to read what was recorded."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader])
        self.port: Metrics = OtelMetrics(self.provider)

    def read(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        assert {scope.scope.name for scope in scopes} <= {"slurp_leader"}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}


@pytest.fixture
def meters() -> Iterator[Meters]:
    made = Meters()
    yield made
    made.provider.shutdown()


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[Tracer]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield OtelTracer(provider)
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_every_instrument_of_the_catalogue_can_be_recorded(meters: Meters) -> None:
    for instrument in INSTRUMENTS:
        labels = dict.fromkeys(instrument.attributes, "x")
        match instrument.kind:
            case Kind.COUNTER:
                meters.port.add(instrument, 2, **labels)
            case Kind.GAUGE:
                meters.port.set(instrument, 2, **labels)
            case Kind.HISTOGRAM:
                meters.port.record(instrument, 2, **labels)
    read = meters.read()
    assert set(read) == {instrument.name for instrument in INSTRUMENTS}
    for instrument in INSTRUMENTS:
        metric = read[instrument.name]
        (point,) = metric.data.data_points
        assert (metric.unit, metric.description) == (instrument.unit, instrument.description)
        assert dict(point.attributes) == dict.fromkeys(instrument.attributes, "x")
        assert getattr(point, "value", None) == 2 or point.sum == 2


def test_counters_add_up_and_gauges_keep_the_last_value(meters: Meters) -> None:
    for value in (3, 4):
        meters.port.add(catalogue.JOBS_ENDED, value, outcome="completed")
        meters.port.set(catalogue.IS_LEADER, value, election="a")
    read = meters.read()
    assert read["slurp.jobs.ended"].data.data_points[0].value == 7
    assert read["slurp.leader.is_leader"].data.data_points[0].value == 4


def test_histograms_of_seconds_tell_milliseconds_apart(meters: Meters) -> None:
    """The default buckets of OpenTelemetry begin at 5: every renewal would fall into the first one."""
    for seconds in (0.002, 0.02, 0.2):
        meters.port.record(catalogue.RENEWAL, seconds, election="a", outcome="ok")
    (point,) = meters.read()["slurp.lease.renewal.duration"].data.data_points
    assert [count for count in point.bucket_counts if count] == [1, 1, 1]


def test_a_span_carries_its_attributes_and_ends(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with tracer.span("job.run", job_id="a", attempt=2):
        assert not exporter.get_finished_spans()
    span = by_name(exporter)["job.run"]
    assert dict(span.attributes or {}) == {"job_id": "a", "attempt": 2}
    assert span.status.status_code is trace_api.StatusCode.UNSET


def test_spans_inside_a_span_are_its_children(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with tracer.span("outer"), tracer.span("inner"):
        pass
    spans = by_name(exporter)
    assert spans["inner"].parent is not None
    assert spans["inner"].parent.span_id == spans["outer"].context.span_id


def test_a_run_links_to_the_submit_that_its_record_names(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with tracer.span("job.submit"):
        recorded = tracer.inject()
    with tracer.span("something else"), tracer.span("job.run", parent=recorded):
        pass
    submit, run = by_name(exporter)["job.submit"], by_name(exporter)["job.run"]
    assert [link.context.span_id for link in run.links] == [submit.context.span_id]
    assert [link.context.trace_id for link in run.links] == [submit.context.trace_id]
    assert run.parent is None
    assert run.context.trace_id != submit.context.trace_id


def test_what_is_injected_is_a_w3c_traceparent_of_the_open_span(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    assert tracer.inject() is None
    with tracer.span("job.submit"):
        recorded = tracer.inject()
    assert tracer.inject() is None
    context = by_name(exporter)["job.submit"].context
    assert recorded is not None
    assert re.fullmatch(f"00-{context.trace_id:032x}-{context.span_id:016x}-0[0-9a-f]", recorded)


@pytest.mark.parametrize("recorded", ["", "garbage", "00-0-0-01", f"00-{'0' * 32}-{'0' * 16}-01", "x" * 10_000, None])
def test_a_context_that_cannot_be_read_counts_as_none(
    tracer: Tracer, exporter: InMemorySpanExporter, recorded: str | None
) -> None:
    with tracer.span("job.run", parent=recorded):
        pass
    assert not by_name(exporter)["job.run"].links


def test_an_exception_marks_its_span_and_goes_on(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="broken"), tracer.span("job.run"):
        raise ValueError("broken")
    span = by_name(exporter)["job.run"]
    assert span.status.status_code is trace_api.StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]
    assert tracer.inject() is None


def test_without_a_provider_nothing_is_recorded_and_nothing_fails() -> None:
    port, tracer = OtelMetrics(), OtelTracer()
    port.add(catalogue.JOBS_SUBMITTED)
    with tracer.span("job.run", parent=f"00-{'1' * 32}-{'1' * 16}-01", job_id="a"):
        pass
    assert tracer.inject() is None


def test_without_an_exporter_there_is_nothing_to_close() -> None:
    telemetry = configure(node_id="n1")
    assert isinstance(telemetry.metrics, NoMetrics)
    assert isinstance(telemetry.tracer, NoTracer)
    telemetry.close()


def run_console_exporter(**options: bool) -> None:
    with configure(node_id="n1", exporter="console", **options) as telemetry:
        telemetry.metrics.add(catalogue.JOBS_SUBMITTED, 5)
        with telemetry.tracer.span("job.run"):
            pass
    telemetry.close()  # safe twice


def test_the_console_exporter_writes_to_standard_error_and_names_the_node(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    run_console_exporter()
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("slurp.jobs.submitted", "job.run", '"service.instance.id": "n1"', '"service.name": "slurp-leader"'):
        assert text in err


def test_metrics_and_traces_can_be_switched_off_each(capsys: pytest.CaptureFixture[str]) -> None:
    run_console_exporter(metrics=False)
    err = capsys.readouterr().err
    assert ("job.run" in err, "slurp.jobs.submitted" in err) == (True, False)
    run_console_exporter(traces=False)
    err = capsys.readouterr().err
    assert ("job.run" in err, "slurp.jobs.submitted" in err) == (False, True)


def test_the_standard_variables_name_the_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "reports")
    run_console_exporter()
    assert '"service.name": "reports"' in capsys.readouterr().err


def test_global_providers_are_never_set(capsys: pytest.CaptureFixture[str]) -> None:
    before = (trace_api.get_tracer_provider(), metrics_api.get_meter_provider())
    run_console_exporter()
    assert (trace_api.get_tracer_provider(), metrics_api.get_meter_provider()) == before


@pytest.mark.parametrize(("choice", "protocol"), [("otlp", "http"), ("otlp-grpc", "grpc")])
def test_an_exporter_whose_package_is_missing_is_a_setting_to_correct(
    monkeypatch: pytest.MonkeyPatch, choice: Any, protocol: str
) -> None:
    for module in ("metric_exporter", "trace_exporter"):
        # None in sys.modules is Python's own way to say: not there.
        monkeypatch.setitem(sys.modules, f"opentelemetry.exporter.otlp.proto.{protocol}.{module}", None)
    with pytest.raises(ConfigurationError, match=f"install opentelemetry-exporter-otlp-proto-{protocol}") as caught:
        configure(node_id="n1", exporter=choice)
    assert caught.value.field == "telemetry.exporter"


def test_only_the_adapter_imports_opentelemetry() -> None:
    """In a process of its own, because this one has imported it already."""
    program = """
import sys
import slurp_leader.telemetry.events, slurp_leader.telemetry.metrics, slurp_leader.telemetry.tracing
import slurp_leader.telemetry.logs, slurp_leader.settings
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
