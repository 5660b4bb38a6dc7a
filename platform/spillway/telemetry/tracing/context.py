"""W3C trace context: `traceparent`, `tracestate` and `baggage` come in, `traceresponse` goes out.

Parsed by hand, strictly by the recommendations, because it happens for every request; a test holds it against
OpenTelemetry's propagators. What is malformed is as if it were not there: a caller's broken tracing is no error here.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

Headers = Iterable[tuple[bytes, bytes]]

_TRACEPARENT: Final = re.compile(rb"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?[ \t]*")
_KEY: Final = re.compile(r"[a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13}")
_VALUE: Final = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAGGAGE_VALUE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_MAX_STATE_MEMBERS: Final = 32
_MAX_BAGGAGE_BYTES: Final = 8192
_MAX_BAGGAGE_MEMBERS: Final = 180
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_SAMPLED: Final = 1
_OURS: Final = frozenset({b"traceparent", b"tracestate", b"baggage"})


class Parent(msgspec.Struct, frozen=True, array_like=True):
    """The caller's span."""

    trace_id: bytes
    span_id: bytes
    sampled: bool
    state: str = ""
    """`tracestate`, passed on as it came."""


class Incoming(msgspec.Struct, frozen=True):
    """What a request's headers said."""

    parent: Parent | None = None
    baggage: str = ""
    """Undecoded: nearly nobody asks for it (see `parse_baggage`)."""


NOTHING: Final = Incoming()


def read_headers(headers: Headers) -> Incoming:
    """Return the trace context in a request's headers; their names are in lower case."""
    found = [(name, value) for name, value in headers if name in _OURS]
    if not found:
        return NOTHING
    parents = [value for name, value in found if name == b"traceparent"]
    states = [value for name, value in found if name == b"tracestate"]
    baggage = b",".join(value for name, value in found if name == b"baggage")
    parent = parse_traceparent(parents[0]) if len(parents) == 1 else None
    if parent is not None and states:
        parent = Parent(parent.trace_id, parent.span_id, parent.sampled, parse_tracestate(b",".join(states)))
    return Incoming(parent, baggage.decode("latin-1"))


def parse_traceparent(value: bytes) -> Parent | None:
    """Return the caller's span, or None if the value is none that the recommendation allows."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Parent(bytes.fromhex(trace_id.decode()), bytes.fromhex(span_id.decode()), bool(int(flags, 16) & _SAMPLED))


def parse_tracestate(value: bytes) -> str:
    """Return the list in its normal form, or "" if a member of it is malformed, double, or one too many."""
    members: dict[str, str] = {}
    for member in value.decode("latin-1").split(","):
        stripped = member.strip(" \t")
        if not stripped:
            continue
        key, equals, said = stripped.partition("=")
        if not equals or key in members or not _KEY.fullmatch(key) or not _VALUE.fullmatch(said):
            return ""
        members[key] = said
    if len(members) > _MAX_STATE_MEMBERS:
        return ""
    return ",".join(f"{key}={said}" for key, said in members.items())


def parse_baggage(value: str) -> dict[str, str]:
    """Return the entries, percent-decoded, without their properties; malformed ones are left out."""
    entries: dict[str, str] = {}
    if len(value) > _MAX_BAGGAGE_BYTES:
        return entries
    for member in value.split(",")[:_MAX_BAGGAGE_MEMBERS]:
        key, equals, said = member.partition(";")[0].partition("=")
        key, said = key.strip(" \t"), said.strip(" \t")
        if equals and _TOKEN.fullmatch(key) and _BAGGAGE_VALUE.fullmatch(said):
            entries[key] = unquote_to_bytes(said).decode("utf-8", "replace")
    return entries


def traceparent(trace_id: bytes, span_id: bytes, *, sampled: bool) -> bytes:
    """Return the value that names a span, for `traceparent` and `traceresponse`."""
    return b"00-%b-%b-%02x" % (trace_id.hex().encode(), span_id.hex().encode(), _SAMPLED if sampled else 0)


def answer_headers(trace_id: bytes, span_id: bytes, *, sampled: bool) -> list[tuple[bytes, bytes]]:
    """Return what an answer bears so that its caller finds the trace.

    `traceresponse` is the name in the W3C's draft; `traceparent` is what tools look for meanwhile.
    """
    named = traceparent(trace_id, span_id, sampled=sampled)
    return [(b"traceresponse", named), (b"traceparent", named)]
