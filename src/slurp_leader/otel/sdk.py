"""Wires the SDK: for the command line and the examples. Services hand in their own providers instead."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from slurp_leader.errors import ConfigurationError
from slurp_leader.otel.metrics import OtelMetrics
from slurp_leader.otel.tracing import OtelTracer
from slurp_leader.telemetry.metrics import Metrics, NoMetrics
from slurp_leader.telemetry.tracing import NoTracer, Tracer

Exporter = Literal["none", "console", "otlp", "otlp-grpc"]

_PROTOCOLS = {"otlp": "http", "otlp-grpc": "grpc"}


class Telemetry:
    """The two ports, and what has to be closed after them. A context manager; `close` is safe twice."""

    def __init__(self, metrics: Metrics, tracer: Tracer, closers: list[Callable[[], None]]) -> None:
        self.metrics = metrics
        self.tracer = tracer
        self._closers = closers

    def close(self) -> None:
        """Send what is still held back, and stop the threads of the SDK."""
        while self._closers:
            self._closers.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def configure(*, node_id: str, exporter: Exporter = "none", metrics: bool = True, traces: bool = True) -> Telemetry:
    """Build what exports metrics and traces. Nothing global is set, and nothing is exported with ``none``.

    Endpoint, headers, intervals, sampling and further resource attributes come from the standard ``OTEL_*`` variables,
    which the SDK reads itself.

    Args:
        node_id: Stands as ``service.instance.id`` on everything exported.
        exporter: ``none``; ``console`` (standard error); ``otlp`` (HTTP); ``otlp-grpc``.
        metrics: Whether metrics are exported.
        traces: Whether traces are exported.

    Raises:
        ConfigurationError: The package of the exporter is not installed.
    """
    # First what may be refused, then what has threads: a refusal leaves nothing running.
    metric_exporter = _metric_exporter(exporter) if metrics and exporter != "none" else None
    span_exporter = _span_exporter(exporter) if traces and exporter != "none" else None
    closers: list[Callable[[], None]] = []
    metrics_port: Metrics = NoMetrics()
    tracer_port: Tracer = NoTracer()
    if metric_exporter is not None:
        meters = MeterProvider([PeriodicExportingMetricReader(metric_exporter)], resource=_resource(node_id))
        metrics_port = OtelMetrics(meters)
        closers.append(meters.shutdown)
    if span_exporter is not None:
        tracers = TracerProvider(resource=_resource(node_id))
        tracers.add_span_processor(BatchSpanProcessor(span_exporter))
        tracer_port = OtelTracer(tracers)
        closers.append(tracers.shutdown)
    return Telemetry(metrics_port, tracer_port, closers)


def _resource(node_id: str) -> Resource:
    """Who sends: the node id always; the service name only where OTEL_* did not give one."""
    resource = Resource.create({SERVICE_INSTANCE_ID: node_id})
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "slurp-leader"}))
    return resource


def _metric_exporter(exporter: Exporter) -> MetricExporter:
    if exporter == "console":
        return ConsoleMetricExporter(out=sys.stderr)
    made: MetricExporter = _otlp(exporter, "metric_exporter").OTLPMetricExporter()
    return made


def _span_exporter(exporter: Exporter) -> SpanExporter:
    if exporter == "console":
        return ConsoleSpanExporter(out=sys.stderr)
    made: SpanExporter = _otlp(exporter, "trace_exporter").OTLPSpanExporter()
    return made


def _otlp(exporter: Exporter, module: str) -> Any:
    protocol = _PROTOCOLS[exporter]
    try:
        return importlib.import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.{module}")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"telemetry.exporter = {exporter!r}: install opentelemetry-exporter-otlp-proto-{protocol}, or choose "
            "none or console",
            field="telemetry.exporter",
        ) from error
