"""A trace on its way: what it is found by, and the record that its spans are made of when somebody wants them.

A request's record is its facts: to write those down costs a fifth of what its spans would, and nearly no trace is ever
looked at. What is rare (restarts, sampled steps) is recorded as spans at once.
"""

from dataclasses import dataclass
from functools import cached_property

import msgspec

from spillway.telemetry.tracing.facts import RequestFacts
from spillway.telemetry.tracing.span import Span, TraceSummary
from spillway.telemetry.tracing.spans import build, summarize


class Spans(msgspec.Struct, frozen=True, array_like=True, tag="spans"):
    """A record that is spans already: the root first, every parent before its children."""

    spans: tuple[Span, ...]


Record = RequestFacts | Spans


def unfold(record: Record) -> tuple[Span, ...]:
    """Return the spans of a record, the root first; the same each time."""
    return record.spans if isinstance(record, Spans) else build(record)


@dataclass(frozen=True)
class Trace:
    """Spillway's part of one trace."""

    summary: TraceSummary
    record: Record

    @classmethod
    def of_request(cls, facts: RequestFacts) -> "Trace":
        """Return a request's."""
        return cls(summarize(facts), facts)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """The root first, every parent before its children; made when they are first asked for."""
        return unfold(self.record)
