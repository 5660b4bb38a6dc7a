"""Spans as values: built after the fact with explicit times, kept in the store as MessagePack, exported as OTLP.

The SDK's own spans cost twenty microseconds each and lose events and links beyond 128 without a word; these cost one.
"""

from enum import IntEnum

import msgspec

Attribute = str | bool | int | float | list[str]
Attributes = dict[str, Attribute]


class SpanKind(IntEnum):
    """As in OTLP."""

    INTERNAL = 1
    SERVER = 2


class StatusCode(IntEnum):
    """As in OTLP."""

    UNSET = 0
    ERROR = 2


class SpanEvent(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Something that happened at one moment of a span."""

    name: str
    at_ns: int
    """Unix time."""
    attributes: Attributes = {}


class SpanLink(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Another span that this one has to do with, in this trace or another."""

    trace_id: bytes
    span_id: bytes
    attributes: Attributes = {}


class Span(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One span, complete. Times are Unix nanoseconds."""

    trace_id: bytes
    """16 bytes."""
    span_id: bytes
    """8 bytes."""
    parent_id: bytes | None
    name: str
    kind: SpanKind = SpanKind.INTERNAL
    start_ns: int
    end_ns: int
    attributes: Attributes = {}
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()
    status: StatusCode = StatusCode.UNSET
    message: str = ""
    """Why the status is an error."""
    trace_state: str = ""

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return (self.end_ns - self.start_ns) / 1e9


class TraceKind(IntEnum):
    """What a trace is of; the store bounds each kind by itself."""

    REQUEST = 0
    RESTART = 1
    STEP = 2


class TraceSummary(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What the store finds a trace by, and a list of them shows."""

    kind: TraceKind
    trace_id: str
    """32 hexadecimal digits."""
    root_id: str
    """16, of the span that Spillway began with."""
    name: str
    started_ns: int
    """Unix time."""
    duration_s: float
    request_id: str = ""
    model: str = ""
    tenant: str = ""
    outcome: str = ""
    ttft_s: float | None = None
    failed: bool = False
    recovered: bool = False
