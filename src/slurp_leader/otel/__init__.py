"""The ports of `slurp_leader.telemetry`, fulfilled with OpenTelemetry. Nothing else imports it.

`OtelMetrics` and `OtelTracer` use the API only: handed a provider they use that, else whatever the host has set
globally, else they do nothing. `configure` builds providers with the SDK, for the command line and the examples; it
never sets the global ones, because those can be set once only and belong to the host.

A run is tied to its submit by a span *link*, not as its child: a job may start days after the trace of its submit was
closed, and runs several times when attempts fail. Links keep each trace short, and both ends findable.
"""

from slurp_leader.otel.metrics import OtelMetrics
from slurp_leader.otel.sdk import Telemetry, configure
from slurp_leader.otel.tracing import OtelTracer

__all__ = ["OtelMetrics", "OtelTracer", "Telemetry", "configure"]
