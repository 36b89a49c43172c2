"""What the library tells the outside: log events, metrics, trace context; as ports whose defaults do nothing.

* `events`: the fixed names and fields of every log entry, and `log_event`, which writes one through stdlib logging.
* `metrics`: the instruments the library records into, and the `Metrics` port. Counted per batch, never per job.
* `tracing`: the `Tracer` port: spans, and the trace context that travels inside records.

`slurp_leader.otel` fulfils the ports with OpenTelemetry. Nothing here imports it.
"""
