"""Instruments of a service's own, into OpenTelemetry."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from slurp_leader import SlurpLeaderSystem, SlurpSettings
from slurp_leader.clock import SystemClock
from slurp_leader.errors import ConfigurationError
from slurp_leader.otel import OtelMetrics
from slurp_leader.telemetry.metrics import NoMetrics
from slurp_leader.telemetry.own import Telemetry


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [
        metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    ]
    return {metric.name: list(metric.data.data_points) for metric in metrics}


def test_what_is_counted_set_and_timed_arrives_under_its_name() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    system = SlurpLeaderSystem(SlurpSettings(), candidate=False, metrics=OtelMetrics(provider))
    system.telemetry.counter("reports.sent").add(2, kind="pdf")
    system.telemetry.counter("reports.sent").add(kind="pdf")
    system.telemetry.gauge("reports.waiting").set(7)
    parsing = system.telemetry.timer("reports.parsing")

    @parsing
    def parse(number: int) -> int:
        return number + 1

    assert parse(1) == 2
    with pytest.raises(ValueError, match="broken"), parsing.time(kind="pdf"):
        raise ValueError("broken")
    parsing.record(0.5, kind="pdf")
    seen = points(reader)
    assert [(point.value, dict(point.attributes)) for point in seen["reports.sent"]] == [(3, {"kind": "pdf"})]
    assert seen["reports.waiting"][0].value == 7
    assert sum(point.count for point in seen["reports.parsing"]) == 3
    provider.shutdown()


@pytest.mark.parametrize("name", ["", "1st", "a b", "slurp.jobs", "Slurp.jobs", "x" * 300, None])
def test_a_name_that_cannot_be_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Telemetry(NoMetrics(), SystemClock()).counter(name)
    assert refused.value.field == "name"


def test_a_name_stands_for_one_kind() -> None:
    telemetry = Telemetry(NoMetrics(), SystemClock())
    telemetry.counter("reports")
    telemetry.counter("reports").add()
    with pytest.raises(ConfigurationError, match="is a counter already"):
        telemetry.gauge("reports")


def test_a_coroutine_is_not_measured_by_its_call() -> None:
    async def work() -> None:
        return

    with pytest.raises(ConfigurationError, match=r"with timer\.time"):
        Telemetry(NoMetrics(), SystemClock()).timer("work")(work)
