"""Spans for OpenTelemetry, if its API is installed: ``pip install '.[otel]'``.

Nothing here raises. Spans contain ids, event types and outcomes of attempts, but no URLs, payloads or texts of
receivers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from .log import get_logger

_otel: Any
try:
    from opentelemetry import trace as _otel
except ImportError:
    _otel = None

logger = get_logger("flask_webhooks.tracing")

#: Milliseconds that a drain waits at its end until its spans are exported.
FLUSH = 1000


def enabled() -> bool:
    """Return whether the application has set up a tracer provider."""
    if _otel is None:
        return False
    idle = (_otel.ProxyTracerProvider, _otel.NoOpTracerProvider)
    return not isinstance(_otel.get_tracer_provider(), idle)


@contextlib.contextmanager
def emitting(event_type: str, event_id: str) -> Iterator[str | None]:
    """Trace the emission of an event; yield its context as a ``traceparent``, which is stored with the event."""
    span = context = None
    if enabled():
        with _quietly():
            span = _tracer().start_span(
                f"emit {event_type}",
                kind=_otel.SpanKind.PRODUCER,
                attributes=_attributes(event_id=event_id, event_type=event_type),
            )
            context = _traceparent(span.get_span_context())
    try:
        yield context
    finally:
        if span is not None:
            with _quietly():
                span.end()


def record_attempt(
    context: str,
    *,
    created_at: datetime | None,
    started_at: datetime,
    duration_ms: float | None,
    succeeded: bool,
    status: int | None,
    **attributes: Any,
) -> None:
    """Record an attempt as a child of the span that emitted its event.

    :param context: the context of the event, from `emitting`.
    :param created_at: the start of the wait; ``None`` omits the span of the wait.
    """
    with _quietly():
        parent = _parent(context)
        tracer, began = _tracer(), _nanoseconds(started_at)
        values = _attributes(**attributes)
        if created_at is not None:
            since = min(_nanoseconds(created_at), began)
            wait = tracer.start_span("wait", parent, start_time=since, attributes=values)
            wait.end(began)
            parent = _otel.set_span_in_context(wait)
        span = tracer.start_span(
            f"attempt {attributes['event_type']}",
            parent,
            kind=_otel.SpanKind.CLIENT,
            start_time=began,
            attributes=values,
        )
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if not succeeded:
            span.set_status(_otel.StatusCode.ERROR)
        span.end(began + round((duration_ms or 0.0) * 1_000_000))


def flush() -> None:
    """Export waiting spans, because a work-horse of RQ ends without Python's exit handlers."""
    with _quietly():
        provider = _otel.get_tracer_provider()
        if hasattr(provider, "force_flush"):
            provider.force_flush(FLUSH)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logger.debug("A span could not be recorded (%s)", type(error).__name__)


def _tracer() -> Any:
    return _otel.get_tracer("flask_webhooks")


def _attributes(**values: Any) -> dict[str, Any]:
    return {f"webhooks.{name}": value for name, value in values.items() if value is not None}


def _traceparent(context: Any) -> str | None:
    """Return a context in the form of W3C Trace Context, section 3.2."""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _parent(traceparent: str) -> Any:
    _, trace_id, span_id, flags = traceparent.split("-")
    context = _otel.SpanContext(
        int(trace_id, 16), int(span_id, 16), True, _otel.TraceFlags(int(flags, 16))
    )
    return _otel.set_span_in_context(_otel.NonRecordingSpan(context))


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
