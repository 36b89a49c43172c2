"""The tracing port on OpenTelemetry."""

from __future__ import annotations

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from slurp_leader.otel.metrics import SCOPE

# Ours, not the global propagator: records hold W3C contexts whatever the host speaks on its wires.
_W3C = TraceContextTextMapPropagator()


class OtelTracer:
    """Opens spans with OpenTelemetry.

    Args:
        tracer_provider: Where to; None: the global provider of the host, which does nothing unless the host set one.

    Threads: any. A span belongs to the thread or task that opened it.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)

    def inject(self) -> str | None:
        """The current trace context as a W3C `traceparent`, or None when nothing is being traced."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def span(self, name: str, *, parent: str | None = None, **attributes: str | int | float) -> OtelSpan:
        """A span for a `with` block.

        Args:
            name: Few and fixed; what varies goes into attributes.
            parent: `traceparent` of what caused this, from a record. The span then begins a trace of its own and links
                to it. One that cannot be read counts as none.
            attributes: Facts; here job ids and paths are welcome.
        """
        return OtelSpan(self._tracer, name, _linked(parent), attributes)


class OtelSpan:
    """One span, open and current while its `with` block runs. An exception marks it as failed and goes on."""

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        cause: trace.SpanContext | None,
        attributes: dict[str, str | int | float],
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._cause = cause
        self._attributes = attributes

    def __enter__(self) -> trace.Span:
        self._span = self._start()
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        context.detach(self._token)
        if isinstance(error, BaseException):
            self._span.set_attribute("error.type", type(error).__qualname__)
            self._span.record_exception(error)
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
        self._span.end()

    def _start(self) -> trace.Span:
        if self._cause is None:
            return self._tracer.start_span(self._name, attributes=self._attributes)
        return self._tracer.start_span(
            self._name,
            context=Context(),
            kind=trace.SpanKind.CONSUMER,
            attributes=self._attributes,
            links=[trace.Link(self._cause)],
        )


def _linked(traceparent: str | None) -> trace.SpanContext | None:
    if not traceparent:
        return None
    found = trace.get_current_span(_W3C.extract({"traceparent": traceparent}, Context())).get_span_context()
    return found if found.is_valid else None
