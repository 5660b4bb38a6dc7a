"""A request's facts as a tree of spans.

::

    chat demo (SERVER)
    ├─ admission
    ├─ queue
    ├─ attempt 1 ── queue, prefill, decode, stalled          one for each engine that was tried
    ├─ stalled
    ├─ attempt 2 ── stalled, decode                          linked to attempt 1
    ├─ send
    └─ tail

Of a request with one prompt the children tile their parent, at both levels. Those of several prompts overlap, each
marked with its prompt; the times in the server span's attributes are then those of the prompt that is furthest, and
still add up to the whole.
"""

from collections.abc import Generator, Iterator, Sequence
from itertools import groupby

from spillway.telemetry.tracing import describe
from spillway.telemetry.tracing.facts import AttemptFacts, RequestFacts, Strand
from spillway.telemetry.tracing.ids import ChildIds
from spillway.telemetry.tracing.span import (
    Attributes,
    Span,
    SpanEvent,
    SpanKind,
    SpanLink,
    StatusCode,
    TraceKind,
    TraceSummary,
)
from spillway.telemetry.tracing.timeline import Phase, Segment, tile, tile_strand, totals
from spillway_wire import trace_names as names
from spillway_wire.messages import Moment, MomentKind

_ENDS = frozenset({Phase.SEND, Phase.TAIL})


def build(facts: RequestFacts) -> tuple[Span, ...]:
    """Return the spans of a request, the server span first; the same facts give the same spans."""
    segments = tile(facts.life)
    return (_root(facts, segments), *_Builder(facts).children(segments))


def summarize(facts: RequestFacts) -> TraceSummary:
    """Return what a request's trace is found by."""
    life = facts.life
    return TraceSummary(
        kind=TraceKind.REQUEST,
        trace_id=facts.trace_id.hex(),
        root_id=facts.span_id.hex(),
        name=describe.name(facts),
        started_ns=life.arrived_ns + facts.wall_offset_ns,
        duration_s=max(0, life.ended_ns - life.arrived_ns) / 1e9,
        request_id=facts.request_id,
        model=facts.model,
        tenant=facts.tenant,
        outcome=facts.outcome.value,
        ttft_s=describe.ttft_s(facts),
        failed=describe.failed(facts.outcome),
        recovered=describe.num_recoveries(facts) > 0,
    )


def _root(facts: RequestFacts, segments: Sequence[Segment]) -> Span:
    offset = facts.wall_offset_ns
    first_ns = describe.first_token_ns(facts)
    events = () if first_ns is None else (SpanEvent(name=names.EVENT_FIRST_TOKEN, at_ns=first_ns + offset),)
    failed = describe.failed(facts.outcome)
    return Span(
        trace_id=facts.trace_id,
        span_id=facts.span_id,
        parent_id=None if facts.parent is None else facts.parent.span_id,
        name=describe.name(facts),
        kind=SpanKind.SERVER,
        start_ns=segments[0].start_ns + offset,
        end_ns=segments[-1].end_ns + offset,
        attributes=describe.request(facts, totals(segments)),
        events=events,
        status=StatusCode.ERROR if failed else StatusCode.UNSET,
        message=facts.message if failed else "",
        trace_state="" if facts.parent is None else facts.parent.state,
    )


class _Builder:
    """Makes the spans below one server span."""

    def __init__(self, facts: RequestFacts) -> None:
        self._facts, self._ids = facts, ChildIds(facts.trace_id, facts.span_id)
        self._offset = facts.wall_offset_ns

    def children(self, segments: Sequence[Segment]) -> Iterator[Span]:
        strands = self._facts.life.strands
        if len(strands) == 1:
            yield from self._strand(strands[0], segments, {})
            return
        for segment in segments:
            if segment.phase is Phase.ADMISSION or segment.phase in _ENDS:
                yield self._phase(segment, self._facts.span_id, {})
        for prompt, strand in enumerate(strands):
            own = [
                segment
                for segment in tile_strand(self._facts.life, strand)
                if segment.phase is not Phase.ADMISSION and segment.phase not in _ENDS
            ]
            yield from self._strand(strand, own, {names.PROMPT: prompt})

    def _strand(self, strand: Strand, segments: Sequence[Segment], more: Attributes) -> Iterator[Span]:
        before: SpanLink | None = None
        done = 0
        """Attempts that have their span."""
        at_ns = segments[0].start_ns if segments else self._facts.life.arrived_ns
        for index, group in groupby(segments, key=lambda segment: segment.attempt):
            own = tuple(group)
            if index is None:
                for segment in own:
                    yield self._phase(segment, self._facts.span_id, more)
            else:
                for missed in range(done, index):  # one that took no time at all
                    before = yield from self._attempt(strand, missed, (), at_ns=at_ns, before=before, more=more)
                before = yield from self._attempt(strand, index, own, at_ns=at_ns, before=before, more=more)
                done = index + 1
            at_ns = own[-1].end_ns
        for missed in range(done, len(strand.attempts)):
            before = yield from self._attempt(strand, missed, (), at_ns=at_ns, before=before, more=more)

    def _attempt(
        self,
        strand: Strand,
        index: int,
        segments: Sequence[Segment],
        *,
        at_ns: int,
        before: SpanLink | None,
        more: Attributes,
    ) -> Generator[Span, None, SpanLink]:
        """Yield an attempt and its phases; return the link to it. One without any is at `at_ns`."""
        attempt = strand.attempts[index]
        start_ns, end_ns = (segments[0].start_ns, segments[-1].end_ns) if segments else (at_ns, at_ns)
        span_id = self._ids.span_id()
        events: tuple[SpanEvent, ...] = ()
        if attempt.lost:
            lost: Attributes = {names.ATTEMPT_END: attempt.end}
            events = (SpanEvent(name=names.EVENT_ENGINE_LOST, at_ns=end_ns + self._offset, attributes=lost),)
        yield Span(
            trace_id=self._facts.trace_id,
            span_id=span_id,
            parent_id=self._facts.span_id,
            name=names.ATTEMPT,
            start_ns=start_ns + self._offset,
            end_ns=end_ns + self._offset,
            attributes={**describe.attempt(attempt), **more},
            events=events,
            links=() if before is None else (before,),
            status=StatusCode.ERROR if attempt.lost else StatusCode.UNSET,
            message=attempt.end if attempt.lost else "",
        )
        for segment in segments:
            yield self._phase(segment, span_id, more, attempt, strand)
        return SpanLink(trace_id=self._facts.trace_id, span_id=span_id)

    def _phase(
        self,
        segment: Segment,
        parent_id: bytes,
        more: Attributes,
        attempt: AttemptFacts | None = None,
        strand: Strand | None = None,
    ) -> Span:
        moments: list[tuple[int, Moment]] = []
        attributes = dict(more)
        if attempt is not None and strand is not None:
            last = segment.end_ns if segment.phase is Phase.DECODE else segment.end_ns - 1
            moments = [pair for pair in attempt.moments if segment.start_ns <= pair[1].at_ns <= last]
            attributes |= describe.phase(segment, attempt, strand, [moment for _, moment in moments])
        return Span(
            trace_id=self._facts.trace_id,
            span_id=self._ids.span_id(),
            parent_id=parent_id,
            name=segment.phase.value,
            start_ns=segment.start_ns + self._offset,
            end_ns=segment.end_ns + self._offset,
            attributes=attributes,
            events=tuple(self._events(moments)),
        )

    def _events(self, moments: Sequence[tuple[int, Moment]]) -> Iterator[SpanEvent]:
        for choice, moment in moments:
            attributes: Attributes = {names.CHOICE: choice} if choice else {}
            if moment.kind is MomentKind.PREFILL_CHUNK:
                name, attributes[names.CHUNK_TOKENS] = names.EVENT_PREFILL_CHUNK, moment.value
            elif moment.kind is MomentKind.FIRST_TOKEN:
                name = names.EVENT_FIRST_TOKEN
            else:
                continue
            yield SpanEvent(name=name, at_ns=moment.at_ns + self._offset, attributes=attributes)
