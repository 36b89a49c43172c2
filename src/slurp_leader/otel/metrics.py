"""The metrics port on OpenTelemetry."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import metrics

from slurp_leader.telemetry.metrics import INSTRUMENTS, Instrument, Kind

SCOPE = "slurp_leader"

# OpenTelemetry's own buckets begin at 5, as they are meant for milliseconds.
_BUCKETS: dict[str, Sequence[float]] = {
    "s": (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    "By": tuple(2**power for power in range(20, 38, 2)),
    "{item}": (1, 2, 4, 8, 16, 32, 48, 63),
}


class OtelMetrics:
    """Records into the instruments of `slurp_leader.telemetry.metrics.INSTRUMENTS`.

    Args:
        meter_provider: Where to; None: the global provider of the host, which does nothing unless the host set one.

    Threads: any.
    """

    def __init__(self, meter_provider: metrics.MeterProvider | None = None) -> None:
        meter = self._meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self._counters = {
            one.name: meter.create_counter(one.name, one.unit, one.description) for one in _of(Kind.COUNTER)
        }
        self._gauges = {one.name: meter.create_gauge(one.name, one.unit, one.description) for one in _of(Kind.GAUGE)}
        self._histograms = {one.name: _histogram(meter, one) for one in _of(Kind.HISTOGRAM)}

    def add(self, instrument: Instrument, amount: float = 1, **attributes: str) -> None:
        """Add to a counter."""
        counter = self._counters.get(instrument.name)
        if counter is None:  # the service's own; the SDK gives the same one to two that ask at once
            counter = self._meter.create_counter(instrument.name, instrument.unit, instrument.description)
            self._counters[instrument.name] = counter
        counter.add(amount, attributes)

    def set(self, instrument: Instrument, value: float, **attributes: str) -> None:
        """Set a gauge."""
        gauge = self._gauges.get(instrument.name)
        if gauge is None:
            gauge = self._meter.create_gauge(instrument.name, instrument.unit, instrument.description)
            self._gauges[instrument.name] = gauge
        gauge.set(value, attributes)

    def record(self, instrument: Instrument, value: float, **attributes: str) -> None:
        """Record one value into a histogram."""
        histogram = self._histograms.get(instrument.name)
        if histogram is None:
            histogram = self._histograms[instrument.name] = _histogram(self._meter, instrument)
        histogram.record(value, attributes)


def _of(kind: Kind) -> list[Instrument]:
    return [instrument for instrument in INSTRUMENTS if instrument.kind is kind]


def _histogram(meter: metrics.Meter, instrument: Instrument) -> metrics.Histogram:
    return meter.create_histogram(
        instrument.name,
        instrument.unit,
        instrument.description,
        explicit_bucket_boundaries_advisory=_BUCKETS[instrument.unit],
    )
