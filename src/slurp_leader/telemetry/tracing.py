"""The tracing port: spans around the work, and the context that travels inside a job record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Tracer(Protocol):
    """Where spans go. Implementations are thread-safe and never raise."""

    def inject(self) -> str | None:
        """The current trace context as a W3C `traceparent`, or None when nothing is being traced."""
        ...

    def span(self, name: str, *, parent: str | None = None, **attributes: str | int | float) -> SpanScope:
        """A context manager for one span. `parent` is a `traceparent` taken from a record."""
        ...


class SpanScope(Protocol):
    """A span that is open while its `with` block runs; an exception marks it as failed."""

    def __enter__(self) -> object: ...

    def __exit__(self, kind: object, error: object, traceback: object) -> None: ...


class NoTracer:
    """Traces nothing; the default."""

    def inject(self) -> str | None:
        return None

    @contextmanager
    def _nothing(self) -> Iterator[None]:
        yield

    def span(self, name: str, *, parent: str | None = None, **attributes: str | int | float) -> SpanScope:
        return self._nothing()  # type: ignore[return-value]
