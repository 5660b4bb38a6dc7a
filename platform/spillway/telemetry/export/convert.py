"""Our spans as the SDK's, for its exporters.

They are made directly, not through the SDK's tracer: that has limits of 128 events and 128 links, and drops what is
beyond them without a word.
"""

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from spillway.telemetry.tracing.span import Span
from spillway.telemetry.tracing.span import SpanKind as OurKind
from spillway.telemetry.tracing.span import StatusCode as OurStatus
from spillway_wire import trace_names as names

_KINDS = {OurKind.INTERNAL: SpanKind.INTERNAL, OurKind.SERVER: SpanKind.SERVER}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


def readable(span: Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    """Return the span as the SDK has it."""
    parent = None
    if span.parent_id is not None:
        # the server span's parent is the caller's, another service
        parent = _context(span.trace_id, span.parent_id, remote=span.kind is OurKind.SERVER)
    status = Status(StatusCode.UNSET)
    if span.status is OurStatus.ERROR:
        status = Status(StatusCode.ERROR, span.message or None)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, state=span.trace_state),
        parent=parent,
        resource=resource,
        attributes=span.attributes,
        events=[Event(event.name, event.attributes, event.at_ns) for event in span.events],
        links=[Link(_context(link.trace_id, link.span_id, remote=True), link.attributes) for link in span.links],
        kind=_KINDS[span.kind],
        status=status,
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=scope,
    )


def readables(spans: Sequence[Span], resource: Resource, scope: InstrumentationScope) -> list[ReadableSpan]:
    """Return many."""
    return [readable(span, resource, scope) for span in spans]


def resource_of(attributes: Mapping[str, str]) -> Resource:
    """Return the resource without asking the machine again."""
    return Resource(dict(attributes), names.SCHEMA_URL)


def scope_of(version: str) -> InstrumentationScope:
    """Return what the spans were made by."""
    return InstrumentationScope(names.SCOPE, version, names.SCHEMA_URL)


def _context(trace_id: bytes, span_id: bytes, *, remote: bool = False, state: str = "") -> SpanContext:
    return SpanContext(
        int.from_bytes(trace_id, "big"),
        int.from_bytes(span_id, "big"),
        is_remote=remote,
        trace_flags=_SAMPLED,
        trace_state=TraceState.from_header([state]) if state else None,
    )
